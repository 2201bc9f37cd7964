"""What a potential is trained for: energies, forces and stress, weighed against one another.

    loss = w_E mean_b l((E_b - E_b') / N_b) + w_F mean_(i,a) l(F_ia - F_ia') + w_S mean_b l(V (s_b - s_b') / N_b)

with ``l`` a square, an absolute value or Huber's; forces may be measured by the length of their error instead (``"l2"``).
Energies are compared without references, in float64, so that a total of 1e4 eV costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError, unknown

SHAPES = ("square", "absolute", "huber", "l2")


class EnergyForces(nn.Module):
    """``(model, batch) -> {"loss", "energy", "forces", "stress"}``; weights of what the batch lacks must be 0.

    ``shape`` is ``"square"``, ``"absolute"``, ``"huber"`` (``delta`` in the unit of each term) or ``"l2"`` (of a force's error;
    of energies the absolute value). With ``later`` the energy's weight goes from ``energy`` to ``later`` over the training,
    geometrically: forces shape the surface first. InputError for an unknown shape, negative weights or missing labels.
    """

    done: Tensor

    def __init__(self, energy: float = 1.0, forces: float = 100.0, stress: float = 0.0, *, shape: str = "square",
                 delta: float = 0.01, later: float | None = None) -> None:  # fmt: skip
        super().__init__()
        if shape not in SHAPES:
            raise unknown("loss shape", shape, SHAPES)
        if min(energy, forces, stress) < 0 or not energy + forces + stress > 0:
            raise InputError(f"EnergyForces: weights are not negative and not all zero, got {energy}, {forces}, {stress}")
        if later is not None and not min(energy, later) > 0:
            raise InputError(f"EnergyForces: a weight that changes geometrically is positive, got {energy} to {later}")
        self.weights = {"energy": energy, "forces": forces, "stress": stress}
        self.shape, self.delta, self.later = shape, delta, later
        self.steps = 0
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))  # steps; goes on with a training that goes on

    def plan(self, steps_per_epoch: int, epochs: int) -> None:
        """Called before the first step."""
        self.steps = steps_per_epoch * epochs

    def after_step(self, model: Any, step: int) -> None:
        """``step`` steps are done."""
        self.done.fill_(step)

    def weight(self, name: str) -> float:
        """The weight of a term in the next step."""
        first = self.weights[name]
        if name != "energy" or self.later is None or not self.steps:
            return first
        return first * (self.later / first) ** min(int(self.done) / self.steps, 1.0)

    def denominators(self, batch: Mapping[str, Tensor]) -> dict[str, int]:
        """What each term is a mean over: structures, or atoms."""
        structures = len(batch["energy"]) if "energy" in batch else int(batch["batch"].max()) + 1
        return {"energy": structures, "forces": len(batch["z"]), "stress": structures}

    def forward(self, model: Any, batch: Mapping[str, Tensor], shares: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Loss and terms; of a part of a batch ``shares`` says what each term weighs in the mean over the whole."""
        out = model(**{name: value for name, value in batch.items() if name not in LABELS})
        errors = self.errors(model, out, batch)
        loss: Any = sum(self.weight(name) * (shares or {}).get(name, 1.0) * error for name, error in errors.items())
        return {"loss": loss, **{name: error.detach() for name, error in errors.items()}}

    def errors(self, model: Any, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms that have a weight, each a mean."""
        wanted = [name for name, weight in self.weights.items() if weight > 0]
        if missing := [name for name in wanted if name not in batch]:
            raise InputError(f"EnergyForces: {missing[0]} has a weight but no label; the batch holds {sorted(batch)}")
        counts = torch.bincount(batch["batch"], minlength=len(out["energy"])).to(out["energy"])
        terms = {}
        if "energy" in wanted:
            label = batch["energy"] - model.reference_energy(batch["z"], batch["batch"])
            terms["energy"] = self._of(((out["interaction"].double() - label) / counts).to(out["energy"])).mean()
        if "forces" in wanted:
            gap = out["forces"] - batch["forces"]
            terms["forces"] = _length(gap).mean() if self.shape == "l2" else self._of(gap).mean()
        if "stress" in wanted:
            volume = torch.linalg.det(batch["cell"]).abs()
            terms["stress"] = self._of((out["stress"] - batch["stress"]) * (volume / counts).view(-1, 1, 1)).mean()
        return terms

    def _of(self, gap: Tensor) -> Tensor:
        kinds: dict[str, Callable[[Tensor], Tensor]] = {
            "square": torch.square,
            "absolute": torch.abs,
            "l2": torch.abs,
            "huber": lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none", delta=self.delta),
        }
        return kinds[self.shape](gap)


LABELS = ("energy", "forces", "stress", "dipole", "polarizability")  #: what is in a batch beside a potential's input


def _length(x: Tensor) -> Tensor:
    """``|x|`` along the last axis, with a finite derivative at zero."""
    return (x.square().sum(-1) + 1e-18).sqrt()
