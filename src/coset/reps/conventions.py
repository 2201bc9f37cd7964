"""Other people's conventions for irreps, rotations and images, and the way from and to each.

| what | here | elsewhere |
|---|---|---|
| block of a feature | ``(2l + 1, mul)``, "ir_mul" | e3nn ``(mul, 2l + 1)``, "mul_ir": :func:`to_mul_ir`, :func:`to_ir_mul` |
| matrix between features | rows and columns in ir_mul | :func:`matrix_to_mul_ir`, :func:`matrix_to_ir_mul` |
| real harmonics | y polar: degree 1 is x, y, z (e3nn) | z polar: y, z, x: :func:`to_literature`, :func:`from_literature` |
| 3j tensors | signs of e3nn 0.6 | e3nn 0.4: times :func:`e3nn_sign` |
| feature of SO(3) | as above | escnn: both at once, mul_ir and z polar: :func:`to_escnn`, :func:`from_escnn` |
| quaternions | ``(w, x, y, z)`` (also e3nn, kornia) | scipy, escnn, ROS ``(x, y, z, w)``: :func:`quaternion_to_xyzw` |
| Euler angles | ``Ry(alpha) Rx(beta) Ry(gamma)`` (e3nn) | ``Rz Ry Rz``: the same angles after :func:`rotation_to_literature` |
| motion of an image | y up, -1 to 1 between edges | kornia, OpenCV: y down, pixel centers: :func:`motion_to_pixels` |

Rotation matrices and rotation vectors (axis times angle) are those of scipy, escnn and kornia: nothing to convert.

A linear layer needs no conversion of its weights ``(mul_in, mul_out)``: they stand between channels, whatever the layout.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps
from coset.reps.wigner import wigner_blocks

# ---------------------------------------------------------------------- layout


def mul_ir_order(irreps: Irreps) -> Tensor:
    """The places ``(dim,)`` with ``x_mul_ir = x_ir_mul[..., order]``; ``order.argsort()`` leads back."""
    return _order(irreps).clone()


def to_mul_ir(irreps: Irreps, x: Tensor) -> Tensor:
    """A channels-last feature ``(..., dim)`` in e3nn's order: the components of a copy side by side."""
    return _check(irreps, x)[..., _order(irreps).to(x.device)]


def to_ir_mul(irreps: Irreps, x: Tensor) -> Tensor:
    """A feature of e3nn ``(..., dim)`` in this package's order: the channels of a component side by side."""
    return _check(irreps, x)[..., _order(irreps).argsort().to(x.device)]


def matrix_to_mul_ir(irreps_out: Irreps, irreps_in: Irreps, matrix: Tensor) -> Tensor:
    """A matrix ``(..., dim_out, dim_in)`` between channels-last features as one between features of e3nn."""
    return to_mul_ir(irreps_in, to_mul_ir(irreps_out, matrix.mT).mT)


def matrix_to_ir_mul(irreps_out: Irreps, irreps_in: Irreps, matrix: Tensor) -> Tensor:
    """The inverse of :func:`matrix_to_mul_ir`."""
    return to_ir_mul(irreps_in, to_ir_mul(irreps_out, matrix.mT).mT)


@lru_cache(maxsize=1024)
def _order(irreps: Irreps) -> Tensor:
    places, start = [torch.zeros(0, dtype=torch.int64)], 0
    for mul, ir in irreps:
        places.append(start + torch.arange(ir.dim * mul).view(ir.dim, mul).T.flatten())
        start += ir.dim * mul
    return torch.cat(places)


def _check(irreps: Irreps, x: Tensor) -> Tensor:
    if x.shape[-1:] != (irreps.dim,):
        raise InputError(f"{irreps} has {irreps.dim} components, got shape {tuple(x.shape)}")
    return x


# ---------------------------------------------------------------------- axes and order of the harmonics

#: (x, y, z) -> (y, z, x): what the literature calls y, z, x stands where this package has x, y, z
CYCLE = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))


def to_literature(irreps: Irreps, x: Tensor) -> Tensor:
    """A feature ``(..., dim)`` in the basis of textbooks and scipy: z polar, orders -l..l, no Condon-Shortley sign.

    Degree 1 becomes ``(y, z, x)``, degree 2 ``(xy, yz, 3z^2 - r^2, xz, x^2 - y^2)`` up to factors. Physical axes stay; the
    matrix is ``D^l`` of the cyclic exchange of axes. Layout as ``irreps`` states, dtype kept.
    """
    return _turn(irreps, x, torch.tensor(CYCLE, dtype=torch.float64))


def from_literature(irreps: Irreps, x: Tensor) -> Tensor:
    """The inverse of :func:`to_literature`."""
    return _turn(irreps, x, torch.tensor(CYCLE, dtype=torch.float64).T)


def to_escnn(irreps: Irreps, x: Tensor) -> Tensor:
    """A channels-last feature ``(..., dim)`` as escnn has it: copies one behind the other, each in the basis of textbooks."""
    return to_literature(Irreps(irreps, layout="mul_ir"), to_mul_ir(irreps, x))


def from_escnn(irreps: Irreps, x: Tensor) -> Tensor:
    """The inverse of :func:`to_escnn`; ``irreps`` are channels-last."""
    return to_ir_mul(irreps, from_literature(Irreps(irreps, layout="mul_ir"), x))


def _turn(irreps: Irreps, x: Tensor, rotation: Tensor) -> Tensor:
    _check(irreps, x)
    degrees = sorted({ir.l for _, ir in irreps})
    blocks = dict(zip(degrees, wigner_blocks(degrees, rotation), strict=True))
    out, spec = [x[..., :0]], "ij,...jm->...im" if irreps.layout == "ir_mul" else "ij,...mj->...mi"
    for (mul, ir), part in zip(irreps, irreps.slices(), strict=True):
        shape = (ir.dim, mul) if irreps.layout == "ir_mul" else (mul, ir.dim)
        out.append(torch.einsum(spec, blocks[ir.l].to(x), x[..., part].unflatten(-1, shape)).flatten(-2))
    return torch.cat(out, -1)


def rotation_to_literature(rotation: Tensor) -> Tensor:
    """``(..., 3, 3)`` with the axes renamed (x, y, z) -> (z, x, y): ``Ry(a) Rx(b) Ry(c)`` becomes ``Rz(a) Ry(b) Rz(c)``.

    The matrix ``D^l`` here is the textbook's matrix (real form) of the renamed rotation.
    """
    cycle = torch.tensor(CYCLE).to(rotation)
    return cycle.mT @ rotation @ cycle


def rotation_from_literature(rotation: Tensor) -> Tensor:
    """The inverse of :func:`rotation_to_literature`."""
    cycle = torch.tensor(CYCLE).to(rotation)
    return cycle @ rotation @ cycle.mT


def quaternion_to_xyzw(q: Tensor) -> Tensor:
    """``(w, x, y, z)`` to ``(x, y, z, w)``."""
    return q.roll(-1, -1)


def quaternion_from_xyzw(q: Tensor) -> Tensor:
    """``(x, y, z, w)`` to ``(w, x, y, z)``."""
    return q.roll(1, -1)


# ---------------------------------------------------------------------- motions of images


def motion_to_pixels(matrix: Tensor, shift: Tensor | None, size: tuple[int, int]) -> Tensor:
    """``p -> matrix p + shift`` as the ``(..., 2, 3)`` matrix between pixels of ``kornia.warp_affine`` and ``cv2.warpAffine``.

    There a pixel's center is ``(column, row)``, rows run downwards, and the matrix leads from source to destination, as an
    element moves the content of an image here. ``size`` is ``(H, W)``; ``matrix`` is ``(..., 2, 2)``, ``shift`` ``(..., 2)``.
    """
    shift = matrix.new_zeros(matrix.shape[:-1]) if shift is None else shift
    scale, middle = _pixels(matrix, size)
    turn = scale[:, None] * matrix / scale
    return torch.cat([turn, (middle + scale * shift - (turn @ middle[:, None])[..., 0])[..., None]], -1)


def motion_from_pixels(pixels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The inverse of :func:`motion_to_pixels`: matrix and shift."""
    scale, middle = _pixels(pixels, size)
    turn = pixels[..., :2]
    return turn * scale / scale[:, None], (pixels[..., 2] - middle + (turn @ middle[:, None])[..., 0]) / scale


def _pixels(like: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels per unit along x and (downwards) y, and the center of the image in pixels."""
    height, width = size
    return like.new_tensor([width / 2, -height / 2]), like.new_tensor([(width - 1) / 2, (height - 1) / 2])


# ---------------------------------------------------------------------- signs of 3j tensors


@lru_cache(maxsize=4096)
def e3nn_sign(l1: int, l2: int, l3: int, version: str = "0.6") -> int:
    """The sign s with ``e3nn.o3.wigner_3j(l1, l2, l3) = s * wigner_3j(l1, l2, l3)`` in e3nn 0.4 or 0.6.

    0.6 has the signs of this package. Both agree where ``l1 + l2 + l3`` is even (the entry of orders 0, 0, 0 is positive).
    Where it is odd the tensor is antisymmetric under exchange of its indices, and 0.4 makes the first entry that is not
    zero positive, in the order of ``(l1, l2, l3)`` sorted. Works both ways, since s is its own inverse.
    """
    if version not in ("0.4", "0.6"):
        raise unknown("version of e3nn", version, ("0.4", "0.6"))
    if version == "0.6" or (l1 + l2 + l3) % 2 == 0:
        return 1
    entries = wigner_3j(*sorted((l1, l2, l3))).flatten()  # type: ignore[arg-type]
    return 1 if entries[entries != 0][0] > 0 else -1


def e3nn_wigner_3j(l1: int, l2: int, l3: int, version: str = "0.6") -> Tensor:
    """``e3nn.o3.wigner_3j`` of that version, float64 and exact."""
    return e3nn_sign(l1, l2, l3, version) * wigner_3j(l1, l2, l3)
