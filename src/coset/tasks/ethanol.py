"""Ethanol: potentials at equilibrium, along two vibrations and for pairs of atoms that dissociate.

    coset compare ethanol --data ethanol=FOLDER

Contracts: E(3) and permutations of atoms, exact. 950 configurations train, 50 validate (seed 0), 1000 test; beyond them
energies of dimers (what an atom pair costs that no molecule showed) and along two normal modes. Data: revised MD17, Christensen
and von Lilienfeld, arXiv 2007.09593, as extended in BOTNet-datasets (dataset_ethanol). Two energies of the test occur in
training too. Rows and metrics as in :mod:`coset.tasks.potential`.
"""

from __future__ import annotations

from dataclasses import replace

from coset.data.atomic_sets import folder_of, frames_in
from coset.interop.potential_metrics import metrics
from coset.task import Data, Request
from coset.tasks import potential

WHERE = "github.com/davkovacs/BOTNet-datasets (dataset_ethanol)"
BEYOND = {"dimers": "test_dimers", "mode_874": "test_norm_mode_874", "mode_3005": "test_norm_mode_3005"}


def ethanol(request: Request) -> Data:
    """See the module."""
    if request.size == "smoke" and not request.files:
        return potential.stand_in(request, {name: seed for seed, name in enumerate(["test", *BEYOND], 1)})
    folder = folder_of(request, "ethanol", WHERE)
    train, valid = potential.set_aside(frames_in(folder, "train"), 50)
    tests = {"test": frames_in(folder, "test_MD")} | {name: frames_in(folder, stem) for name, stem in BEYOND.items()}
    return potential.assemble(request, train, valid, tests, isolated=frames_in(folder, "isolated_atoms"))


task = replace(potential.task, methods=potential.methods, data=ethanol, metrics=metrics(["test"], energies=list(BEYOND)))
