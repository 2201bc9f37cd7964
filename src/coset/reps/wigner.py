"""Wigner matrices ``D^l(R)`` in the real basis (y polar, ``D^1(R) = R``), from every parametrization of rotations.

A rotation is split by one Givens turn, ``R = Ry(alpha) Rx(beta) Ry(gamma)``; cosines and sines come from the entries of ``R``
alone, and ``gamma`` is read off *after* the turn by ``-alpha`` so that the product is ``R`` to the last digits also at the
poles, where ``alpha`` is arbitrary. Between the two turns about y stands ``d^l(beta)``, a Fourier series whose coefficients are
products of the exact ``d^l(pi / 2)`` (:mod:`coset.reps.wigner_tables`): one matrix product for all rotations, no exponential.

The derivative is the group's own, ``dD = D rho(omega)`` with ``hat(omega) = R^T dR`` and ``rho`` the representation of the
Lie algebra, so that first and second derivatives are finite everywhere, identity, half turns and poles included. They are
taken along the rotations: what leads off them (a scaled ``R``) has derivative zero. Angles are computed in float64 whatever
the dtype; for float32 only the last product and the turns run in float32 (largest error 4e-7 at l = 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.rotations import hat, rotation_from_quaternion, rotation_from_vector
from coset.reps.wigner_tables import algebra, series


def wigner_matrix(l: int, rotation: Tensor) -> Tensor:
    """``D^l`` of rotations ``(..., 3, 3)``: ``(..., 2 l + 1, 2 l + 1)``, acting on columns, dtype and device kept.

    ``rotation`` is taken to be orthogonal with determinant 1 (not checked: reflections are the affair of
    :class:`coset.reps.irreps.Irreps`). Raises InputError for another shape or dtype and a negative degree.
    """
    return wigner_blocks([l], rotation)[0]


def wigner_blocks(degrees: int | Sequence[int] | Any, rotation: Tensor) -> tuple[Tensor, ...]:
    """``D^l`` for several degrees in one pass over the rotations: a tuple of ``(..., 2 l + 1, 2 l + 1)``.

    ``degrees`` is ``lmax`` (for 0, ..., lmax), a sequence of degrees, or Irreps, whose distinct degrees are taken in
    ascending order (``irreps.ls`` without repetition).
    """
    chosen = _degrees(degrees)
    if rotation.shape[-2:] != (3, 3) or not rotation.is_floating_point():
        raise InputError(
            f"wigner: expected rotations (..., 3, 3) of real numbers, got {rotation.dtype} {tuple(rotation.shape)}"
        )
    if not chosen:
        return ()
    flat = _wigner(rotation.reshape(-1, 3, 3), list(chosen))
    return tuple(d.view(*rotation.shape[:-2], *d.shape[-2:]) for d in flat)


def wigner_matrix_from_quaternion(l: int, q: Tensor) -> Tensor:
    """``D^l`` of quaternions ``(..., 4)`` in the order ``(w, x, y, z)``, of any length but zero."""
    return wigner_matrix(l, rotation_from_quaternion(q))


def wigner_matrix_from_axis_angle(l: int, axis: Tensor, angle: Tensor) -> Tensor:
    """``D^l`` of turns by ``angle`` ``(...)``, radians counter-clockwise, about ``axis`` ``(..., 3)``, not zero."""
    unit = axis / torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    return wigner_matrix(l, rotation_from_vector(unit * angle.unsqueeze(-1)))


def wigner_matrix_from_euler(l: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """``D^l`` of ``Ry(alpha) Rx(beta) Ry(gamma)``: first ``gamma`` about y, then ``beta`` about x, then ``alpha`` about y.

    Angles in radians, broadcast; e3nn's convention. See :func:`rotation_from_euler`.
    """
    return wigner_matrix(l, rotation_from_euler(alpha, beta, gamma))


def rotation_from_euler(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """``Ry(alpha) Rx(beta) Ry(gamma)``, ``(..., 3, 3)``; angles in radians, counter-clockwise, broadcast."""
    alpha, beta, gamma = torch.broadcast_tensors(alpha, beta, gamma)
    (ca, cb, cg), (sa, sb, sg) = ([f(t) for t in (alpha, beta, gamma)] for f in (torch.cos, torch.sin))
    rows = [
        [ca * cg - sa * cb * sg, sa * sb, ca * sg + sa * cb * cg],
        [sb * sg, cb, -sb * cg],
        [-sa * cg - ca * cb * sg, ca * sb, ca * cb * cg - sa * sg],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def euler_from_rotation(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse: ``alpha``, ``beta`` in ``[0, pi]``, ``gamma``; at the poles ``alpha = 0``. Not differentiable there."""
    cosines, sines = _givens(rotation.to(torch.float64))
    return tuple(torch.atan2(s, c).to(rotation.dtype) for c, s in zip(cosines, sines, strict=True))  # type: ignore[return-value]


def _degrees(degrees: Any) -> tuple[int, ...]:
    if isinstance(degrees, int) and not isinstance(degrees, bool):
        chosen = tuple(range(degrees + 1)) if degrees >= 0 else (degrees,)
    else:
        chosen = tuple(sorted(set(degrees.ls))) if hasattr(degrees, "ls") else tuple(degrees)
    if bad := [l for l in chosen if isinstance(l, bool) or not isinstance(l, int) or l < 0]:
        raise InputError(f"wigner: a degree is a whole number of at least 0, got {bad[0]!r}")
    return chosen


# ---------------------------------------------------------------------- values


def _givens(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ``alpha, beta, gamma``, each ``(3, ...)``, for ``(..., 3, 3)``."""
    x, z = rotation[..., 0, :], rotation[..., 2, :]
    tilt = torch.hypot(x[..., 1], z[..., 1])
    upright = tilt == 0
    safe = torch.where(upright, torch.ones_like(tilt), tilt)
    ca, sa = torch.where(upright, torch.ones_like(tilt), z[..., 1] / safe), x[..., 1] / safe
    turned = ca.unsqueeze(-1) * x - sa.unsqueeze(-1) * z  # the first row of Ry(-alpha) R = Rx(beta) Ry(gamma)
    cosines = torch.stack([ca, rotation[..., 1, 1], turned[..., 0]])
    sines = torch.stack([sa, tilt, turned[..., 2]])
    length = torch.hypot(cosines, sines)
    return cosines / length, sines / length


def _multiples(cosine: Tensor, sine: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """``cos(m t)`` and ``sin(m t)`` for ``m = 0, ..., most``: ``(3, n)`` to ``(3, most + 1, n)``."""
    c, s = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(most):
        c, s = [*c, c[-1] * cosine - s[-1] * sine], [*s, s[-1] * cosine + c[-1] * sine]
    return torch.stack(c, 1), torch.stack(s, 1)


def _evaluate(rotation: Tensor, degrees: tuple[int, ...]) -> tuple[Tensor, ...]:
    """All blocks for ``(n, 3, 3)``, without derivatives: ``Z(alpha) d(beta) Z(gamma)``.

    Rotations stand last until the end, so that every step runs along contiguous memory.
    """
    cosines, sines = (x.to(rotation.dtype) for x in _multiples(*_givens(rotation.to(torch.float64)), max(degrees)))
    blocks = []
    for l in degrees:
        waves = torch.cat([cosines[1, : l + 1], sines[1, 1 : l + 1]])
        d = (series(l).to(waves) @ waves).unflatten(0, (2 * l + 1, 2 * l + 1))
        (ca, sa), (cg, sg) = (_signed(cosines[k, : l + 1], sines[k, : l + 1]) for k in (0, 2))
        right = d * cg + d.flip(1) * sg  # a turn about y mixes the orders m and -m
        both = right * ca[:, None] - right.flip(0) * sa[:, None]
        blocks.append(both.permute(2, 0, 1).contiguous())
    return tuple(blocks)


def _signed(cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """``cos(m t)`` and ``sin(m t)`` for ``m = -l, ..., l``, first axis."""
    return torch.cat([cosines[1:].flip(0), cosines]), torch.cat([-sines[1:].flip(0), sines])


# ---------------------------------------------------------------------- derivatives


@torch.library.custom_op("coset::wigner", mutates_args=())
def _wigner(rotation: Tensor, degrees: list[int]) -> list[Tensor]:
    """``(n, 3, 3)`` to the blocks; one node for compilers, which cannot look into the tables."""
    return list(_evaluate(rotation, tuple(degrees)))


@_wigner.register_fake
def _shapes(rotation: Tensor, degrees: list[int]) -> list[Tensor]:
    return [rotation.new_empty(rotation.shape[0], 2 * l + 1, 2 * l + 1) for l in degrees]


@torch.library.custom_op("coset::wigner_algebra", mutates_args=())
def _algebra(like: Tensor, l: int) -> Tensor:
    """The constants :func:`coset.reps.wigner_tables.algebra` in the dtype and on the device of ``like``."""
    return algebra(l).to(like, copy=True)


@_algebra.register_fake
def _algebra_shape(like: Tensor, l: int) -> Tensor:
    return like.new_empty(3, 2 * l + 1, 2 * l + 1)


def _save(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    rotation, ctx.degrees = inputs
    ctx.save_for_backward(rotation, *output)


def _backward(ctx: Any, slopes: list[Tensor]) -> Any:
    """``tr(slope^T D rho_k)`` is the torque about axis k in the body's frame; it turns ``R`` to ``R hat(torque)``.

    Made of differentiable steps on the saved blocks, so that it has derivatives itself.
    """
    rotation, *blocks = ctx.saved_tensors
    torque = torch.zeros_like(rotation[:, 0])
    for l, block, slope in zip(ctx.degrees, blocks, slopes, strict=True):
        if l:
            torque = torque + (block.mT @ slope).flatten(1) @ _algebra(rotation.detach(), l).flatten(1).mT
    return rotation @ hat(torque) / 2, None


_wigner.register_autograd(_backward, setup_context=_save)
