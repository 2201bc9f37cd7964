"""Pose distributions on SO(3) from one image: an induction layer, then layers that rotations of space commute with.

    img -> encoder -> map -> lift -> signal on the sphere or SO(3) -> nonlinearity on a grid -> SO(3) convolution -> F^l_mn,
    log p(R | img) = sum_l sqrt(2l + 1) <F^l, D^l(R)> - log Z,

normalised on the HEALPix grid of SO(3): trained by cross-entropy with the nearest rotation, evaluated as a density (cells of
volume pi^2 / N) on any finer grid. Howell, Klee, Biza, Zhao & Walters, Equivariant Single View Pose Prediction via Induced
and Restricted Representations, NeurIPS 2023, arXiv 2307.03704; head and ``lift="orthographic"``: Klee, Biza, Platt & Walters,
Image to Sphere, ICLR 2023, arXiv 2302.13926. Axes (:mod:`coset.nn.in_plane`): R takes the object to a camera that sees z to
the right and x up, so that turning the image by ``a`` is ``p(R) -> p(r(a)^-1 R)``.

Contract: C(4) exact with the C(4) encoder (with a learned orthographic lift only measured), claimed broken with the plain
one; from the lift on SO(2), up to the pixel grid, and from the sphere on all of SO(3): exact with ``activation="product"``,
up to the grid with the paper's ``"relu"``. Differs from the papers: encoders are small and trained from the start (no
ImageNet weights), the filter near the identity has 25 points in balls of one and two steps, and the loss is taken over the
whole grid.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import CLAIMS, Contract, evaluating
from coset.errors import InputError, unknown
from coset.groups.finite import C
from coset.nn.group_conv import GroupPool
from coset.nn.in_plane import GridValues
from coset.nn.induce import Induce, Orthographic, RegularToHarmonics
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.map_encoder import GroupEncoder, PlainEncoder, halved
from coset.nn.so3_conv import SO3Activation, SO3Conv
from coset.ops.healpix import RotationGrid
from coset.ops.so3_fourier import density, grid_logits, signal_irreps
from coset.reps.fields import Field
from coset.reps.image import Image

LIFTS = ("induced", "orthographic")
ENCODERS = ("cnn", "c4")


class PoseHead(nn.Module):
    """Signals on the sphere or SO(3), flat, to one signal ``(B, rows)`` on SO(3); what it promises is about all of SO(3)."""

    def __init__(self, irreps_in: Any, lmax: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = SO3Activation(hidden, lmax, activation)
        self.enter = IrrepsLinear(irreps_in, signal_irreps(lmax, self.activation.inputs))
        self.leave = SO3Conv(hidden, 1, lmax)
        grid = self.activation.contracts[0]
        bound = None if grid.bound is None else 2 * grid.bound  # the filter may weaken what is right more than what is wrong
        self.contracts = (Contract(grid.group, irreps_in, signal_irreps(lmax), grid.claim, bound),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.leave(self.activation(self.enter(x)))


class InducedPose(nn.Module):
    """``img`` (B, colors, size, size) to logits (B, 72 * 8^level) at the rotations of ``RotationGrid(level)``.

    ``lift`` is ``"induced"`` or ``"orthographic"``, ``encoder`` ``"cnn"`` or ``"c4"``; ``target`` says whether the induction
    goes to ``channels`` signals on the ``"sphere"`` or directly to ``hidden`` signals on the ``"rotations"``. With
    ``classes`` a label of the object (B,), or probabilities (B, classes), is needed beside the image. InputError for names
    and sizes that do not fit.
    """

    def __init__(
        self,
        lmax: int = 4,
        level: int = 2,
        *,
        lift: str = "induced",
        encoder: str = "c4",
        target: str = "sphere",
        activation: str = "relu",
        widths: tuple[int, ...] = (8, 16),
        channels: int = 32,
        hidden: int = 8,
        phase: bool = True,
        learned: bool = True,
        size: int = 32,
        colors: int = 3,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if lift not in LIFTS:
            raise unknown("lift", lift, LIFTS)
        if encoder not in ENCODERS:
            raise unknown("encoder", encoder, ENCODERS)
        self.config: dict[str, Any] = {
            "lmax": lmax, "level": level, "lift": lift, "encoder": encoder, "target": target, "activation": activation,
            "widths": list(widths), "channels": channels, "hidden": hidden, "phase": phase, "learned": learned, "size": size,
            "colors": colors, "classes": classes,
        }  # fmt: skip
        self.grid, self.size, self.colors, self.classes = RotationGrid(level), size, colors, classes
        side, width = halved(size, len(widths)), widths[-1]
        self.encoder, self.read = self._encoder(encoder, lift, widths)
        if lift == "induced":
            order = self.read.order if isinstance(self.read, RegularToHarmonics) else 0
            outputs = channels if target == "sphere" else hidden
            self.lift: Induce | Orthographic = Induce(
                width + classes, outputs, lmax, side, order=order, target=target, phase=phase
            )
        else:
            self.lift = Orthographic(width + classes, channels, lmax, side, learned=learned)
        self.head = PoseHead(self.lift.irreps_out, lmax, hidden, activation)
        self.scale = 1 / math.sqrt(signal_irreps(lmax).dim)  # logits of variance about 1 at the start
        self.contracts = (self._contract(encoder),)

    def _encoder(self, encoder: str, lift: str, widths: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """The encoder, and how its features are read: as scalars, or with all the frequencies that C(4) tells apart."""
        if encoder == "cnn":
            return PlainEncoder(widths, colors=self.colors), nn.Identity()
        group = C(4)
        read = RegularToHarmonics(widths[-1], group) if lift == "induced" else GroupPool(widths[-1], group)
        return GroupEncoder(widths, group=group, colors=self.colors), read

    def _contract(self, encoder: str) -> Contract:
        inputs = {"img": Field(("B", str(self.colors)), Image(size=self.size))}
        if self.classes:
            inputs["label"] = Field.of(f"B x {self.classes} x scalar")
        claim = "broken" if encoder == "cnn" else max("exact", self.lift.contracts[0].claim, key=CLAIMS.index)
        return Contract(C(4), inputs, Field(("B",), GridValues()), claim)  # type: ignore[arg-type]

    def signal(self, img: Tensor, label: Tensor | None = None) -> Tensor:
        """The coefficients ``F`` (B, rows) of ``log p`` on SO(3), up to a constant."""
        if img.shape[1:] != (self.colors, self.size, self.size):
            raise InputError(
                f"InducedPose: expected images (B, {self.colors}, {self.size}, {self.size}), got {tuple(img.shape)}"
            )
        features = self.read(self.encoder(img))
        if self.classes or label is not None:
            features = self._with_label(features, label)
        return self.head(self.lift(features)) * self.scale

    def _with_label(self, features: Tensor, label: Tensor | None) -> Tensor:
        """Constant channels that name the class: scalars, so beside frequencies they fill the component 1 only."""
        if label is None or not self.classes:
            raise InputError(f"InducedPose: built for {self.classes} classes, got {'no label' if label is None else 'a label'}")
        hot = label if label.ndim == 2 else F.one_hot(label.long(), self.classes)
        if hot.shape != (len(features), self.classes):
            raise InputError(f"InducedPose: labels are (B,) or (B, {self.classes}), got {tuple(label.shape)}")
        shape = (*hot.shape, *[1] * (features.ndim - 2))
        spread = hot.to(features).view(shape).expand(*hot.shape, *features.shape[2:])
        if features.ndim == 5:
            spread = F.pad(spread[:, :, :1], (0, 0, 0, 0, 0, features.shape[2] - 1))
        return torch.cat([features, spread], 1)

    def forward(self, img: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits on the grid."""
        return grid_logits(self.signal(img, label), self.grid)

    def density(
        self, img: Tensor, rotation: Tensor | None = None, label: Tensor | None = None, *, level: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """``(mode (B, 3, 3), log p at rotation (B,))`` in eval mode on the grid of ``level`` (5 in the papers)."""
        with evaluating(self), torch.no_grad():
            return density(self.signal(img, label), self.grid if level is None else RotationGrid(level), rotation)

    def predict(self, img: Tensor, label: Tensor | None = None, *, level: int | None = None) -> Tensor:
        """The most probable rotation (B, 3, 3) of the grid of ``level``."""
        return self.density(img, None, label, level=level)[0]
