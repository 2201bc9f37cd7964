"""Group convolutions over linear maps of the plane: continuous kernels at sampled elements, carried out as one conv2d.

A motion ``(t, A)`` acts on images by ``f(A^-1 (x - t))`` and on lifted maps by ``f(A^-1 (x - t), A^-1 h)``. The left Haar
measure of the affine group is ``dx dh / |det h|``, so with a kernel ``k`` and samples of H that carry weights ``w``,

    lift   y(x, h) = |det h|^-1 sum_x'             f(x')     k(h^-1 (x' - x))
    group  y(x, h) = sum_h' w_h' |det h'|^-1 sum_x' f(x', h') k(h^-1 (x' - x), xi^-1(h^-1 h'))

are equivariant. The determinant belongs to the axis that the measure runs over: the output axis of a lift, the input axis
of a group convolution. Kernels are functions of ``h^-1 o`` at the offsets ``o = x' - x`` of a window of pixels and of
``h^-1 h'``, so moving offsets and samples by any A leaves every value of the kernel alone; what is not exact is that pixels
and finite samples are not moved into themselves. Where they are (turns of the grid, and shears by whole pixels where the
window holds the kernel), so is the convolution.
Mironenco and Forré, ICLR 2024, arXiv 2310.11366. There the sum over h' has no weights and ``det`` is that of equal samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.decompose import Draw, LogPolar


def window_offsets(kernel: int, *, radius: float | None = None) -> Tensor:
    """Offsets of the pixels of a window from its centre, float64 ``(kernel, kernel, 2)``: x to the right, y up.

    Rows run downwards, as those of an image: entry ``[i, j]`` is ``(j - c, c - i) / radius``. ``radius`` is the number of
    pixels to the unit circle; by default ``kernel / 2``, whose square [-1, 1]^2 is the window. InputError for a size that
    is even (no centre) or below 3: of one pixel the coordinates vanish, whatever the kernel is.
    """
    if kernel < 3 or kernel % 2 == 0:
        raise InputError(f"Lie convolution: the kernel is an odd number of pixels from 3 up, got {kernel}")
    if radius is not None and not radius > 0:
        raise InputError(f"Lie convolution: the radius is a positive number of pixels, got {radius}")
    line = torch.arange(kernel, dtype=torch.float64) - kernel // 2
    y, x = torch.meshgrid(-line, line, indexing="ij")
    return torch.stack([x, y], -1) / (kernel / 2 if radius is None else radius)


def kernel_points(samples: Draw, offsets: Tensor) -> Tensor:
    """``h^-1 o`` for every sample and offset: ``(S, k, k, 2)``."""
    return offsets @ samples.inverses.mT[:, None]


def relations(chart: LogPolar, outputs: Draw, inputs: Draw) -> Tensor:
    """``xi^-1(h^-1 h')``, log-polar coordinates, ``(S_out, S_in, dim)``."""
    return chart.coordinates(outputs.inverses[:, None] @ inputs.elements)


def window(chart: LogPolar, points: Tensor) -> Tensor:
    """How much of the kernel is kept at ``h^-1 o``: ``(...)`` for points ``(..., 2)``.

    On SL(2) one inside the unit circle and zero outside; on GL+(2), where samples zoom, the smooth
    ``sigmoid(2 (1 - |h^-1 o|))``.
    """
    radius = torch.linalg.vector_norm(points, dim=-1)
    return (radius <= 1).to(points) if chart.dim == 3 else torch.sigmoid(2 * (1 - radius))


def volumes(samples: Draw) -> Tensor:
    """``|det h|``, ``(S,)``."""
    return torch.linalg.det(samples.elements).abs()


def lift(x: Tensor, kernel: Tensor, outputs: Draw, *, padding: int = 0) -> Tensor:
    """Images (B, I, H, W) and kernels ``(S, O, I, k, k)``, values of k, to maps (B, O, S, H', W').

    The factor ``1 / |det h|`` of ``outputs`` is applied here.
    """
    _check(x, 4, kernel, 5)
    scaled = kernel / volumes(outputs).to(kernel)[:, None, None, None, None]
    stacked = scaled.transpose(0, 1)  # O, S, I: channels of the output in front, as in the result
    y = F.conv2d(x, stacked.flatten(0, 1), padding=padding)
    return y.unflatten(1, stacked.shape[:2])


def group_conv(x: Tensor, kernel: Tensor, inputs: Draw, *, padding: int = 0) -> Tensor:
    """Maps (B, I, S_in, H, W) and kernels ``(S_out, S_in, O, I, k, k)`` to maps (B, O, S_out, H', W').

    The measure ``w_h' / |det h'|`` of ``inputs``, the samples summed over, is applied here.
    """
    _check(x, 5, kernel, 6)
    if x.shape[2] != kernel.shape[1] or len(inputs.weights) != kernel.shape[1]:
        raise InputError(
            f"Lie convolution: the map has {x.shape[2]} samples, kernel {kernel.shape[1]}, measure {len(inputs.weights)}"
        )
    measure = (inputs.weights / volumes(inputs)).to(kernel)
    stacked = (kernel * measure[:, None, None, None, None]).permute(2, 0, 3, 1, 4, 5)  # O, S_out, I, S_in, k, k
    y = F.conv2d(x.flatten(1, 2), stacked.flatten(2, 3).flatten(0, 1), padding=padding)
    return y.unflatten(1, stacked.shape[:2])


def _check(x: Tensor, axes: int, kernel: Tensor, kernel_axes: int) -> None:
    if x.ndim != axes or kernel.ndim != kernel_axes or x.shape[1] != kernel.shape[-3]:
        raise InputError(
            f"Lie convolution: expected {axes} axes with {kernel.shape[-3] if kernel.ndim > 2 else '?'} channels on the second "
            f"and a kernel of {kernel_axes} axes, got shapes {tuple(x.shape)} and {tuple(kernel.shape)}"
        )
