"""Group-convolutional networks over C(n) and D(n), with a choice of invariant head.

A lifting convolution, group convolutions with steerable kernels, blurred pooling after the first ``pool`` layers, a disc
mask, and a head that turns regular maps (B, C, order, N, N) into invariants. Exact for quarter turns (and flips, D(n)) of
the pixel grid; for the whole of SO(2) the error is that of the grid and of what lies between the group's elements, and
training upright enlarges it. Cohen & Welling, arXiv 1602.07576; Weiler et al., arXiv 1711.07289; the moment head:
J. Singh & C. Singh, arXiv 2209.10944. Contract: exact for the part of the group that keeps
the pixel grid, approximate for all of it.

Heads: ``spectrum`` (magnitudes of the Fourier transform of the spatial mean along C(n)); ``pool`` (spatial means of the mean
and of the maximum over the group) and ``zernike``, ``pseudo-zernike``, ``fourier-mellin`` (magnitudes of moments of the same
two maps; :class:`coset.nn.pool.MomentPool`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.group import FiniteGroup
from coset.groups.parse import parse_group
from coset.nn.feature_map import grid_subgroup, is_cyclic, regular_field
from coset.nn.group_conv import GroupConv2d, LiftingConv2d, RegularBatchNorm2d
from coset.nn.pool import BlurPool, DiscMask, MomentPool, group_spectrum
from coset.ops.moments import MOMENTS
from coset.reps.fields import Field
from coset.reps.image import Image

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
HEADS = ("spectrum", "pool", *MOMENTS)


class GroupCNN(nn.Module):
    """``x`` (B, channels, size, size) to logits (B, classes), invariant under ``group`` (C(n), D(n), or its name).

    ``widths`` are channels per layer, each with ``group.order`` components; ``norm`` is ``batch`` or ``layer`` (of the head's
    features), ``order`` the order of a moment head.
    InputError for sizes that cannot be halved, an unknown head, or a head that does not fit the group.
    """

    def __init__(
        self,
        group: FiniteGroup | str = "C(8)",
        widths: tuple[int, ...] = (4, 6, 10),
        *,
        kernel: int = 5,
        head: str = "spectrum",
        order: int = 5,
        norm: str = "batch",
        hidden: int = 64,
        blur: float = 1.2,
        size: int = 16,
        channels: int = 1,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.group = finite_group(group)
        self.config: dict[str, Any] = {
            "group": str(self.group), "widths": list(widths), "kernel": kernel, "head": head, "order": order, "norm": norm,
            "hidden": hidden, "blur": blur, "size": size, "channels": channels, "classes": classes,
        }  # fmt: skip
        if head not in HEADS:
            raise unknown("head", head, HEADS)
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
        if size % 2 or not widths:
            raise InputError(f"GroupCNN: an even size and at least one width, got {size} and {widths}")
        self.body = self._body(tuple(widths), kernel, blur, size, channels)
        self.head = _Head(head, order, widths[-1], self.group, size // 2)
        self.norm = NORMS[norm](self.head.features)
        self.classify = nn.Sequential(nn.Linear(self.head.features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.contracts = self._contracts(size, channels, classes)

    def _body(self, widths: tuple[int, ...], kernel: int, blur: float, size: int, channels: int) -> nn.Sequential:
        grid = grid_subgroup(self.group)
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(zip((channels, *widths), widths, strict=False)):
            convolution = GroupConv2d if place else LiftingConv2d
            layers += [convolution(inputs, outputs, group=self.group, kernel=kernel)]
            layers += [RegularBatchNorm2d(outputs, self.group), nn.ReLU()]
            if place == 0:
                layers += [BlurPool(regular_field(outputs, self.group), grid, width=blur)]
        return nn.Sequential(*layers, DiscMask(size // 2, regular_field(widths[-1], self.group), grid))

    def _contracts(self, size: int, channels: int, classes: int) -> tuple[Contract, ...]:
        field, out = Field(("B", str(channels)), Image(size=size, disc=True)), f"B x {classes} x scalar"
        exact = Contract(grid_subgroup(self.group), field, out)
        # measured on digits trained upright: .5 for C(8), relative to centred logits
        whole = Contract(self.group, field, out, "approximate", 1.0)
        return (exact,) if whole.group == exact.group else (exact, whole)

    def features(self, x: Tensor) -> Tensor:
        """The invariants that the classifier reads, (B, F)."""
        return self.head(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.norm(self.features(x)))


def finite_group(group: FiniteGroup | str) -> FiniteGroup:
    """The group itself or by its name; InputError for one that is not finite."""
    found = parse_group(group) if isinstance(group, str) else group
    if not isinstance(found, FiniteGroup):
        raise InputError(f"GroupCNN: expected C(n) or D(n), got {found}; HarmonicCNN is for SO(2)")
    return found


class _Head(nn.Module):
    """Regular maps (B, C, order, N, N) to invariants (B, features)."""

    def __init__(self, kind: str, order: int, channels: int, group: FiniteGroup, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.moments = None
        if kind in MOMENTS:
            self.moments = MomentPool(kind, order, channels=channels, size=size, group=group, subpixels=4)
            self.features = self.moments.features
        elif kind == "spectrum":
            if not is_cyclic(group):
                raise InputError(f"head spectrum: the group axis of {group} is not cyclic; use head 'pool' or a moment head")
            self.features = channels * (int(group.order) // 2 + 1)
        else:
            self.features = 2 * channels

    def forward(self, x: Tensor) -> Tensor:
        if self.moments is not None:
            return self.moments(x)
        disc = 4 / math.pi  # means over the disc, not over the square
        if self.kind == "spectrum":
            return group_spectrum(disc * x.mean((-1, -2))).flatten(1)
        return disc * torch.cat([x.mean(2), x.amax(2)], 1).mean((-1, -2))
