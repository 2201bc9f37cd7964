"""Potentials in TorchSim: many systems at once through its ``ModelInterface``.

    import torch_sim as ts
    model = torchsim_model("water.safetensors", device="cuda")
    ts.optimize(system=[first, second], model=model, optimizer=ts.Optimizer.fire)

TorchSim wants Python 3.12 in its newest release; nothing of it is imported before :func:`torchsim_model` is called. Written for
the interface of its releases 0.3 to 0.6: a state has ``positions``, ``row_vector_cell``, ``pbc`` (one boolean or three),
``system_idx`` and ``atomic_numbers``; answers are ``energy``, ``forces`` and ``stress`` (eV, angstrom, ASE's sign).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from coset.data.structures import join, sample_of
from coset.errors import InputError, require
from coset.interop.evaluation import Committee, Given


def torchsim_model(potential: Given | Sequence[Given], *, device: str = "cpu", dtype: str = "float64") -> Any:
    """A ``torch_sim.models.interface.ModelInterface`` of a potential, its file or folder, or a committee.

    All systems of a state are one batch. MissingExtra without TorchSim; calls raise InputError as the ASE calculator does.
    """
    return _interface()(Committee(potential, device=device, dtype=dtype))


@cache
def _interface() -> Any:
    """The class, made when it is first needed: it inherits from TorchSim's."""
    base: Any = require("torch_sim.models.interface", extra="atoms").ModelInterface

    class TorchSimPotential(base):
        def __init__(self, committee: Committee) -> None:
            super().__init__()
            self.committee = committee
            self.members = torch.nn.ModuleList(committee.members)
            self._device, self._dtype = committee.device, committee.dtype
            self._compute_forces = self._compute_stress = True
            self._memory_scales_with = "n_atoms_x_density"

        def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
            return answer(self.committee, state)

    return TorchSimPotential


def answer(committee: Committee, state: Any) -> dict[str, Tensor]:
    """``energy`` (S,), ``forces`` (N, 3) and ``stress`` (S, 3, 3) of a state of S systems, on the committee's device.

    ``state`` has the attributes that the module names, or is a mapping with ``positions``, ``cell`` (columns), ``pbc``,
    ``system_idx`` and ``atomic_numbers``.
    """
    part = (lambda name: state[name]) if isinstance(state, dict) else (lambda name: getattr(state, name))
    pos, z, system = (part(name).detach().cpu() for name in ("positions", "atomic_numbers", "system_idx"))
    cell = (part("cell").mT if isinstance(state, dict) else state.row_vector_cell).detach().cpu().double()
    periodic = torch.as_tensor(part("pbc")).reshape(-1).expand(3).bool().tolist()
    if unknown := sorted(set(z.tolist()) - set(committee.elements)):
        raise InputError(f"elements {unknown} are unknown to the potential, it was trained for {list(committee.elements)}")
    if not any(periodic):  # then a cell may be of zeros, and a stress is that of nothing
        cell = torch.eye(3, dtype=torch.float64).expand_as(cell)
    frames = [
        {"pos": pos[system == s].double(), "z": z[system == s].long(), "cell": cell[s], "periodic": tuple(periodic)}
        for s in range(len(cell))
    ]
    graphs = [join([sample_of(f, member.r_max, dtype=torch.float64) for f in frames]) for member in committee.members]
    out = committee(graphs)
    out["stress"] = out["stress"] * any(periodic)
    return {name: out[name].to(committee.device, committee.dtype) for name in ("energy", "forces", "stress")}
