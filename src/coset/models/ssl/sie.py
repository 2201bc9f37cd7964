"""SIE: features in two halves, one that ignores a motion and one on which the motion acts by a predicted matrix.

Garrido, Najman & LeCun, Self-supervised learning of Split Invariant Equivariant representations, ICML 2023, arXiv
2302.10283. ``h = backbone(x) = [h_inv | h_equi]``, each half through a projector of its own to ``i`` and ``e``, and
``e(second view) ~ W(z) e(first view)`` with ``z`` the relative pose and ``W`` a hypernetwork without biases
(:mod:`coset.nn.hypernetwork`). Nothing forces ``W`` to keep products; :mod:`coset.audits.homomorphism` measures it.
Contracts: SO(3) on recorded views, ``i`` invariant, ``e`` moved by ``W``, learned; ``W`` homogeneous in ``z``, exact.
Ours: rotation matrices as an alternative to quaternions (``q`` and ``-q`` give opposite ``W``), either frame, widths
of the projector as they are told (not shared out), a start of ``W`` that keeps lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.matrix import GL, SO
from coset.groups.poses import FRAMES, Frame, check_unit
from coset.groups.rotations import quaternion_from_rotation, rotation_from_quaternion
from coset.nn.hypernetwork import HyperPredictor, Multiplied
from coset.nn.projector import features_of, projector
from coset.nn.resnet import ResNet
from coset.reps.action import Fixed, Learned, Recorded
from coset.reps.fields import Field

MOTIONS = {"quaternion": 4, "matrix": 9}


class SIE(nn.Module):
    """Images ``(B, 3, H, W)`` to ``invariant`` and ``equivariant`` embeddings ``(B, widths[-1])``.

    ``equivariant`` is the number of features in the second half (half of them by default), ``changes`` that of further
    numbers (differences of hue) in a motion, ``hidden`` the ReLU layers of a deep hypernetwork. ``frame``: in whose axes
    motions are told (the paper's: body). Raises InputError for sizes below 1, a split that leaves one part empty, unknown
    names, and a backbone whose number of features is not known.
    """

    def __init__(
        self, backbone: nn.Module | None = None, widths: Sequence[int] = (256, 256, 256), *, features: int | None = None,
        equivariant: int | None = None, motion: Literal["quaternion", "matrix"] = "quaternion", changes: int = 0,
        frame: Frame = "body", hidden: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if motion not in MOTIONS or frame not in FRAMES or changes < 0:
            raise InputError(
                f"SIE: motion is one of {', '.join(MOTIONS)}, frame of {', '.join(FRAMES)}, changes >= 0; "
                f"got {motion!r}, {frame!r}, {changes}"
            )
        self.config: dict[str, Any] = {
            "backbone": backbone, "widths": list(widths), "features": features, "equivariant": equivariant, "motion": motion,
            "changes": changes, "frame": frame, "hidden": list(hidden),
        }  # fmt: skip
        self.backbone = ResNet() if backbone is None else backbone
        self.features = features_of(self.backbone, features)
        second = self.features // 2 if equivariant is None else equivariant
        if not 0 < second < self.features:
            raise InputError(f"SIE: the equivariant part takes some of the {self.features} features but not all, got {second}")
        self.sizes, self.kind, self.frame, self.changes = (self.features - second, second), motion, frame, changes
        self.invariant, self.equivariant = (projector(size, widths, bias=True) for size in self.sizes)
        self.predictor = HyperPredictor(MOTIONS[motion] + changes, widths[-1], hidden=hidden)
        self.contracts = self._promises(widths[-1])

    def _promises(self, width: int) -> tuple[Contract, ...]:
        photograph = Field(("B", "3"), Recorded(2))
        invariant = Field.of(f"B x {width} x scalar")
        moved = Contract(
            SO(3),
            {"x": photograph},
            {"invariant": invariant, "equivariant": Field(("B",), Learned(Predicted(self)))},
            "learned",
        )
        if self.config["hidden"]:
            return (moved,)
        still = Field(("B", "3", "8", "8"), Fixed())
        z = Field(("B", str(self.predictor.motion)), Multiplied())
        scaled = Contract(
            GL(1), {"x": still, "z": z}, {"predicted": Field(("B", str(width)), Multiplied())}, name="GL(1) on the motion"
        )
        return (moved, scaled)

    def represent(self, x: Tensor) -> Tensor:
        """Features ``(B, features)``, the invariant ones first."""
        return self.backbone(x)

    def halves(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Features split into their invariant and equivariant parts."""
        first, second = h.split(self.sizes, -1)
        return first, second

    def forward(self, x: Tensor, z: Tensor | None = None) -> dict[str, Tensor]:
        """``invariant``, ``equivariant``, and with a motion ``z`` (as :meth:`motion` gives it) what it makes of the latter."""
        i, e = (f(h) for f, h in zip((self.invariant, self.equivariant), self.halves(self.represent(x)), strict=True))
        return {"invariant": i, "equivariant": e} | ({} if z is None else {"predicted": self.predict(e, z)})

    def predict(self, e: Tensor, z: Tensor) -> Tensor:
        """``W(z) e`` ``(B, D)``."""
        return self.predictor(e, z)

    def motion(self, q: Tensor, change: Tensor | None = None) -> Tensor:
        """What the predictor takes, from unit quaternions ``(..., 4)`` and further changes ``(..., changes)``.

        Raises InputError for quaternions that are not of unit length, and changes that are missing or not asked for.
        """
        check_unit(q)
        if (0 if change is None else change.shape[-1]) != self.changes:
            raise InputError(
                f"SIE: the motion has {self.changes} further changes, got {None if change is None else change.shape}"
            )
        z = q if self.kind == "quaternion" else rotation_from_quaternion(q).flatten(-2)
        return z if change is None else torch.cat([z, change.to(z)], -1)


class Predicted:
    """The action that SIE learns: ``g . e = W(z(g)) e``, with ``z(g) = g`` in the world's frame, ``g^-1`` in the body's.

    Told in the body's axes motions act from the right; the inverse makes a left action of them.
    """

    def __init__(self, model: SIE) -> None:
        self.parts = (model.predictor, model.motion, model.frame, model.changes)

    def __call__(self, g: Tensor, x: Tensor) -> Tensor:
        """``g`` (*batch, 3, 3), ``x`` (*batch, ..., D)."""
        predictor, motion, frame, changes = self.parts
        q = quaternion_from_rotation(g if frame == "world" else g.mT)
        z = motion(q, q.new_zeros(*q.shape[:-1], changes) if changes else None)
        return predictor(x, z.reshape(*z.shape[:-1], *[1] * (x.ndim - z.ndim), z.shape[-1]))
