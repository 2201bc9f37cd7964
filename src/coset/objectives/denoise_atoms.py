"""DeNS: atoms of structures under forces are moved at random, and the model says where they were.

In a batch every structure is chosen with probability ``p``; of a chosen one a share of the atoms moves, ``x_i -> x_i + s n_i``
with standard normal ``n_i``. The model sees the moved positions and, at moved atoms, the forces that held before: only these
tell which of all structures nearby was meant. With ``M`` the atoms that moved,

    loss = base loss (energies of all, forces of atoms outside M) + w mean_(i in M, a) |n_ia - n'_ia|

so that labels of structures far from equilibrium, which forces alone do not denoise, teach once more. Liao, Smidt & Das,
TMLR 2024, arXiv 2403.09549. Differs from the paper: ``w`` weighs a mean absolute error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.objectives.energy_forces import LABELS, EnergyForces


class DenoiseAtoms(nn.Module):
    """``(model, batch) -> {"loss", "noise", ...}`` beside ``base``; outside training ``base`` alone.

    ``base`` is told of the plan and of every step, so that a weight that changes goes on changing.

    ``probability`` of a structure, ``share`` of its atoms, ``std`` of the noise (angstrom), ``weight`` of the new term. The
    model takes ``known`` forces and gives ``noise`` in units of ``std``. InputError for numbers out of range, for a batch
    without forces, and for a model made without ``denoise``.
    """

    def __init__(self, base: EnergyForces | None = None, *, probability: float = 0.5, share: float = 0.5, std: float = 0.025,
                 weight: float = 10.0) -> None:  # fmt: skip
        if not (0 <= probability <= 1 and 0 <= share <= 1 and std > 0 and weight >= 0):
            raise InputError(
                f"DenoiseAtoms: probability and share in 0..1, std > 0, weight >= 0; "
                f"got {probability}, {share}, {std}, {weight}"
            )
        super().__init__()
        self.base = base or EnergyForces()
        self.probability, self.share, self.std, self.weight = probability, share, std, weight

    def plan(self, steps_per_epoch: int, epochs: int) -> None:
        """Called before the first step."""
        self.base.plan(steps_per_epoch, epochs)

    def after_step(self, model: Any, step: int) -> None:
        """``step`` steps are done."""
        self.base.after_step(model, step)

    def denominators(self, batch: Mapping[str, Tensor]) -> dict[str, int]:
        """Those of ``base``; atoms for the noise, since how many move is not known before."""
        return {**self.base.denominators(batch), "noise": len(batch["z"])}

    def forward(self, model: Any, batch: Mapping[str, Tensor], shares: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Loss and terms; ``shares`` as for ``base``."""
        if not getattr(model, "training", False):
            return self.base(model, batch, shares)
        if "forces" not in batch:
            raise InputError(f"DenoiseAtoms: the batch has no forces, which tell the structure; it holds {sorted(batch)}")
        if not getattr(model, "config", {}).get("denoise"):
            raise InputError(f"DenoiseAtoms: {type(model).__name__} takes no known forces; build it with denoise=True")
        moved, noise = self.draw(batch)
        given = {name: value for name, value in batch.items() if name not in LABELS}
        given["pos"] = batch["pos"] + self.std * noise
        out = model(**given, known=batch["forces"] * moved)
        # at moved atoms the forces are an input, not a label
        forces = torch.where(moved, batch["forces"], out["forces"])
        errors = self.base.errors(model, {**out, "forces": forces}, batch)
        count = moved.sum().clamp(min=1)
        errors["noise"] = ((out["noise"] - noise).abs() * moved).sum() / (3 * count)
        weights = {name: self.weight if name == "noise" else self.base.weight(name) for name in errors}
        loss: Any = sum(weights[name] * (shares or {}).get(name, 1.0) * error for name, error in errors.items())
        return {"loss": loss, **{name: error.detach() for name, error in errors.items()}}

    def draw(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Which atoms move ``(N, 1)`` and by how many ``std`` ``(N, 3)``, 0 for all others; torch's global seed."""
        pos, graph = batch["pos"], batch["batch"]
        chosen = torch.rand(int(graph.max()) + 1, device=pos.device) < self.probability
        moved = (chosen[graph] & (torch.rand(len(pos), device=pos.device) < self.share)).unsqueeze(-1)
        return moved, torch.randn_like(pos) * moved
