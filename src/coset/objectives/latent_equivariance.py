"""TransIP's loss: a backbone without symmetry is taught that rotations act on its latent by a transform T.

Of every structure x there are two copies, each turned about its centroid by a Haar-random rotation, ``x' = R x``:

    loss = L(x) + L(x') + weight * mean_i |T(h_i(x), R) - h_i(x')|^2 / mean_i |h_i|^2

with L the task's loss and ``h_i`` the features of atom i at a named layer. Dividing by ``|h|^2`` (of both copies) forbids the
way out of small features; a latent that no longer depends on the pose is not forbidden and costs accuracy at large weights.
The contrastive form asks instead that ``T(h_i(x), R)`` be nearest to ``h_i(x')`` among all atoms of the batch. With weight 0
this is augmentation with two copies per step, the twin by which a gain is judged. Elhag et al., Learning Inter-Atomic
Potentials without Explicit Equivariance, 2025, arXiv 2510.00027; form and weights of the loss are our reconstruction, the
warm-up is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError, unknown
from coset.groups.group import Group
from coset.groups.matrix import SO, O
from coset.nn.draws import Draws
from coset.objectives.energy_forces import LABELS
from coset.ops.scatter import scatter_mean
from coset.reps.action import Tensorial

MEASURES = ("square", "contrastive")
ROTATIONS, SPACE = SO(3), O(3)
#: what a rotation turns: rank, and whether rows are atoms (else structures)
MOVED = {"forces": (1, True), "cell": (1, False), "stress": (2, False), "dipole": (1, False), "polarizability": (2, False)}


class LatentEquivariance(nn.Module):
    """``(model, batch) -> {"loss", "alignment", ...}`` around ``base`` (``EnergyForces``); in eval mode ``base`` alone.

    ``layer`` names the submodule whose output is the latent ``(N, width)``. ``transform`` is T, ``(h, R) -> h'``: the name of a
    submodule of the model, which then keeps it, or a module that is trained along. ``group`` is SO(3) or O(3).

    ``upright`` leaves the first copy as it is; ``both=False`` takes the task's loss of the first copy only; ``detach`` stops
    the gradient at ``h(x')``; ``measure`` is ``"square"`` or ``"contrastive"`` (``temperature``); ``invariance`` weighs
    ``mean |E(x) - E(x')|`` per atom, for forces that are gradients. The weight is 0 for the share ``start`` of all steps,
    then grows linearly over the share ``ramp``. InputError for numbers out of range and a model without these submodules.
    """

    share: Tensor

    def __init__(
        self, base: Any, weight: float = 1.0, *, layer: str = "latent", transform: str | nn.Module = "transform",
        group: Group = ROTATIONS, measure: str = "square", upright: bool = False, both: bool = True, detach: bool = False,
        invariance: float = 0.0, temperature: float = 0.1, start: float = 0.3, ramp: float = 0.1, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not (0 <= weight < math.inf and 0 <= invariance < math.inf):
            raise InputError(f"LatentEquivariance: weights are >= 0 and finite, got {weight} and invariance {invariance}")
        if measure not in MEASURES:
            raise unknown("measure of alignment", measure, MEASURES)
        if not (0 <= start < 1 and ramp >= 0 and temperature > 0):
            raise InputError(
                f"LatentEquivariance: 0 <= start < 1, ramp >= 0, temperature > 0; got {start}, {ramp}, {temperature}"
            )
        self.base, self.weight, self.layer, self.transform, self.group = base, weight, layer, transform, group
        self.measure, self.upright, self.both, self.detach = measure, upright, both, detach
        self.invariance, self.temperature, self.start, self.ramp = invariance, temperature, start, ramp
        self.draws, self.steps = Draws(seed), 0
        self.register_buffer("share", torch.ones((), dtype=torch.float64))  # of the weight, in the present step

    def plan(self, steps_per_epoch: int, epochs: int) -> None:
        """Called before the first step."""
        self.steps = steps_per_epoch * epochs
        self.share.fill_(self.warmth(0))
        if hasattr(self.base, "plan"):
            self.base.plan(steps_per_epoch, epochs)

    def after_step(self, model: Any, step: int) -> None:
        """The weight of the next step."""
        self.share.fill_(self.warmth(step))
        if hasattr(self.base, "after_step"):
            self.base.after_step(model, step)

    def warmth(self, step: int) -> float:
        """The share of the weight at a step; 1 where the number of steps is not known."""
        if not self.steps:
            return 1.0
        past = step / self.steps - self.start
        return 0.0 if past < 0 else min(past / self.ramp, 1.0) if self.ramp else 1.0

    def forward(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss, and beside it the task's terms of the first copy and the alignment."""
        if not getattr(model, "training", False):
            return self.base(model, batch)
        first, second, relative = self.copies(batch)
        weight = self.weight * float(self.share)
        out, h = observed(model, joined(first, second), self.layer if weight else None)
        here, there = ({name: half(value, side) for name, value in out.items()} for side in (0, 1))
        terms = self.base(Answered(model, here), first)
        loss = terms["loss"]
        if self.both:
            loss = loss + self.base(Answered(model, there), second)["loss"]
        told = {name: value.detach() for name, value in terms.items() if name != "loss"}
        if h is not None:
            gap = self.alignment(model, half(h, 0), half(h, 1), relative[batch["batch"]])
            loss, told["alignment"] = loss + weight * gap, gap.detach()
        if self.invariance:
            atoms = torch.bincount(batch["batch"], minlength=len(relative)).to(loss)
            change = ((here["interaction"] - there["interaction"]).abs() / atoms).mean()
            loss, told["invariance"] = loss + self.invariance * change, change.detach()
        return {"loss": loss, **told}

    def copies(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The two turned batches and the rotation ``(B, 3, 3)`` that takes every structure of the first to the second."""
        pos, count = batch["pos"], int(batch["batch"].max()) + 1
        generator = self.draws.next()
        g, h = (self.group.sample(count, generator=generator, dtype=pos.dtype, device=pos.device) for _ in range(2))
        if self.upright:
            return dict(batch), turned(batch, h), h
        return turned(batch, g), turned(batch, h), h @ g.mT

    def alignment(self, model: Any, here: Tensor, there: Tensor, rotation: Tensor) -> Tensor:
        """How far ``T(h(x), R)`` is from ``h(x')``: latents ``(N, width)``, a rotation for every atom ``(N, 3, 3)``."""
        transform = submodule(model, self.transform) if isinstance(self.transform, str) else self.transform
        there = there.detach() if self.detach else there
        moved = transform(here, rotation)
        if self.measure == "contrastive":
            logits = F.normalize(moved, dim=-1) @ F.normalize(there, dim=-1).mT / self.temperature
            return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
        size = 0.5 * (here.square().sum(-1).mean() + there.square().sum(-1).mean())
        return (moved - there).square().sum(-1).mean() / size


class Answered:
    """A model whose answer to the next batch is known; anything else is asked of the model itself."""

    def __init__(self, model: Any, out: Mapping[str, Tensor]) -> None:
        self.model, self.out = model, out

    def __call__(self, **inputs: Tensor) -> Mapping[str, Tensor]:
        """The answer."""
        return self.out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def turned(batch: Mapping[str, Tensor], g: Tensor) -> dict[str, Tensor]:
    """The batch with every structure turned about its centroid by its own element ``g`` ``(B, 3, 3)``, labels along with it."""
    index, vector = batch["batch"], Tensorial(1)
    each, out = g[index], dict(batch)
    center = scatter_mean(batch["pos"], index, len(g))[index]
    out["pos"] = center + vector.move(SPACE, each, batch["pos"] - center, {})
    for name, (rank, atoms) in MOVED.items():
        if name in batch:
            out[name] = Tensorial(rank).move(SPACE, each if atoms else g, batch[name], {})
    return out


def joined(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of two batches of equal structures as one."""
    atoms, structures = len(first["z"]), int(first["batch"].max()) + 1
    shift = {"edge_index": atoms, "batch": structures}
    return {
        name: torch.cat([value, second[name] + shift.get(name, 0)], int(name == "edge_index"))
        for name, value in first.items()
        if name not in LABELS
    }


def observed(model: Any, inputs: Mapping[str, Tensor], layer: str | None) -> tuple[Mapping[str, Tensor], Tensor | None]:
    """The model's answer and what the submodule ``layer`` gave on the way; InputError where that is no row per atom."""
    if layer is None:
        return model(**inputs), None
    seen: list[Any] = []
    handle = submodule(model, layer).register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        out = model(**inputs)
    finally:
        handle.remove()
    if len(seen) != 1 or not isinstance(seen[0], Tensor) or seen[0].ndim != 2 or len(seen[0]) != len(inputs["z"]):
        found = [tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for value in seen]
        raise InputError(f"layer {layer!r} is to give one latent ({len(inputs['z'])} atoms, width) in a pass, it gave {found}")
    return out, seen[0]


def submodule(model: Any, name: str) -> nn.Module:
    """The submodule of that name; InputError with those that there are."""
    found = dict(model.named_modules()).get(name) if name and isinstance(model, nn.Module) else None
    if found is None:
        children = [child for child, _ in model.named_children()] if isinstance(model, nn.Module) else []
        raise InputError(
            f"{type(model).__name__} has no submodule {name!r} to take the latent or its transform from: {children}"
        )
    return found


def half(x: Tensor, side: int) -> Tensor:
    """The first or the second half of the rows."""
    return x.chunk(2)[side]
