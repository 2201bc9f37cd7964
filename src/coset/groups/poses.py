"""Poses of rigid things as unit quaternions: from angles, from pose to pose, and how far apart they are.

Quaternions are ``(w, x, y, z)`` and keep the sign that composition gives: a pose that moves continuously has a quaternion
that moves continuously, which ``quaternion_from_rotation`` (always ``w >= 0``) cannot promise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.rotations import multiply_quaternions

Frame = Literal["body", "world"]  #: in whose axes a change of pose is told: R1^-1 R2 or R2 R1^-1
FRAMES = ("body", "world")
UNIT = 1e-3  #: by how much the length of a pose's quaternion may differ from 1


def angle_quaternion(angles: Tensor) -> Tensor:
    """Angles ``(..., 3)`` to the quaternions of ``Rz(c) Ry(b) Rx(a)``: turns about fixed axes, x first."""
    half = angles / 2
    o = torch.zeros_like(half[..., 0])
    qx, qy, qz = (
        torch.stack([half[..., i].cos(), *(half[..., i].sin() if i == axis else o for axis in range(3))], -1) for i in range(3)
    )
    return multiply_quaternions(qz, multiply_quaternions(qy, qx))


def relative_quaternion(first: Tensor, second: Tensor, frame: Frame = "body") -> Tensor:
    """From pose to pose, both ``(..., 4)``: ``q1^-1 q2`` in the axes of the ``body``, ``q2 q1^-1`` in those of the ``world``.

    Told in the body's axes, motions act from the right: after ``z1`` and then ``z2`` the pose is ``q z1 z2``; in the world's
    it is ``z2 z1 q``. Raises InputError for another frame, and for quaternions whose length is not 1 to 1e-3.
    """
    if frame not in FRAMES:
        raise InputError(f"frame is 'body' (q1^-1 q2) or 'world' (q2 q1^-1), got {frame!r}")
    for q in (first, second):
        check_unit(q)
    back = first * first.new_tensor([1.0, -1.0, -1.0, -1.0])
    return multiply_quaternions(back, second) if frame == "body" else multiply_quaternions(second, back)


def check_unit(q: Tensor) -> None:
    """InputError unless ``q`` is ``(..., 4)`` of unit length to 1e-3."""
    if q.shape[-1] != 4:
        raise InputError(f"a quaternion has 4 components (w, x, y, z), got shape {tuple(q.shape)}")
    gap = float((q.detach().norm(dim=-1) - 1).abs().max()) if q.numel() else 0.0
    if not gap <= UNIT:
        raise InputError(
            f"a pose is a unit quaternion; the length differs from 1 by {gap:.2g}, more than {UNIT:g}: normalize it"
        )


def quaternion_angle(p: Tensor, q: Tensor) -> Tensor:
    """The angle between two poses ``(..., 4)``, in radians in [0, pi]; neither length nor sign matters."""
    p, q = (v.double() / v.double().norm(dim=-1, keepdim=True) for v in (p, q))
    apart = torch.stack([(p - q).norm(dim=-1), (p + q).norm(dim=-1)], -1)
    return 4 * torch.atan2(apart.amin(-1), apart.amax(-1))
