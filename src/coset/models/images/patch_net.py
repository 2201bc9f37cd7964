"""One hidden layer on patches, as a convolutional, locally connected or dense network: one class, one argument.

    f(x) = sum_i phi_b(z_i),   z = PatchLinear(x),   phi_b a soft threshold with learned b >= 0

Invariant under permutation of the patches when weights are shared (CNN), under nothing when they are not (LCN, FCN).
Lahoti et al., ICLR 2024, arXiv 2403.15707; there the thresholds are scheduled by hand, here they are learned.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coset.contract import Claim, Contract
from coset.errors import unknown
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.nn.patches import PatchLinear, SoftThreshold

#: the sharing of each named architecture
ARCHITECTURES = {"cnn": "shared", "lcn": "local", "fcn": "dense"}


class PatchNet(nn.Module):
    """``x`` (B, patches, size) to scores ``(B,)``, whose sign is the prediction; ``sharing`` as in PatchLinear."""

    def __init__(self, patches: int, size: int, *, sharing: str = "shared", scale: float | None = None) -> None:
        super().__init__()
        self.config = {"patches": patches, "size": size, "sharing": sharing, "scale": scale}
        self.linear = PatchLinear(patches, size, sharing=sharing, scale=scale)
        self.threshold = SoftThreshold()
        # without shared weights nothing is promised about the order of patches
        whole = Contract(S("K"), f"B x K x {size} x scalar", "B x scalar")
        self.contracts: tuple[Contract, ...] = (whole,) if sharing == "shared" else ()

    @classmethod
    def named(cls, architecture: str, patches: int, size: int) -> PatchNet:
        """``cnn``, ``lcn`` or ``fcn``; InputError with the nearest name otherwise."""
        if architecture not in ARCHITECTURES:
            raise unknown("architecture", architecture, ARCHITECTURES)
        return cls(patches, size, sharing=ARCHITECTURES[architecture])

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(B,)``."""
        return self.threshold(self.linear(x)).sum(-1)


def descent_step(net: PatchNet, optimizer: Callable[..., torch.optim.Optimizer], *, lr: float) -> Callable[..., Tensor]:
    """One training step as a function of fields, ``(w, x, y) -> w'``: what :func:`step_contract` is about."""

    def step(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        weight = w.detach().clone().requires_grad_(True)
        patches = x.unflatten(-1, (-1, net.linear.size)) if net.linear.sharing == "dense" else x
        score = torch.func.functional_call(net, {"linear.weight": weight}, (patches,))
        weight.grad = torch.autograd.grad(nn.functional.softplus(-y * score).mean(), weight)[0]
        optimizer([weight], lr=lr).step()
        return weight.detach()

    return step


def step_contract(sharing: str, patches: int, size: int, *, claim: Claim = "exact", bound: float | None = None) -> Contract:
    """The symmetry of plain gradient descent: orthogonal maps of what one filter sees.

    ``O(d)`` for shared weights, ``O(d)`` of its own for every patch for local ones, ``O(k d)`` for dense ones (x flattened
    to ``(B, k d)``); it is what the lower bounds on samples rest on. Adam rescales coordinates and breaks it.
    """
    groups = {"shared": O(size), "local": O(size) ** "K", "dense": O(patches * size)}
    if sharing not in groups:
        raise unknown("sharing", sharing, groups)
    w = "vector" if sharing == "shared" else "K x vector"
    x = "B x vector" if sharing == "dense" else "B x K x vector"
    return Contract(groups[sharing], {"w": w, "x": x, "y": "B x scalar"}, w, claim, bound, name=f"step of {sharing}")
