"""Convolutions in the frames of edges: what is equivariant there is linear, order by order.

In a frame whose polar axis is the edge, a filter ``Y(edge)`` has only its entries ``m = 0``. What couples a source feature to a
message must then commute with turns about that axis: any matrix over degrees and channels for ``m = 0``, and for each ``m > 0``
a complex one on the pair ``(x_-m, x_m)``,

    y_0 = W_0 x_0,     y_-m = W_r x_-m - W_i x_m,     y_m = W_r x_m + W_i x_-m

``O(L^3)`` multiplications instead of ``O(L^6)`` for all Clebsch-Gordan paths, and the same set of functions if ``mmax = lmax``:
:func:`weights_from_paths` gives the weights that equal given paths. Cutting orders ``|m| > mmax`` loses functions, not the
symmetry. Passaro & Zitnick, ICML 2023, arXiv 2302.03655; Liao et al., arXiv 2604.09130 for merged frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from coset.errors import InputError
from coset.ops.index import Index
from coset.ops.orders import Orders
from coset.ops.rotation import Frames
from coset.reps.clebsch_gordan import wigner_3j

Mix = Callable[..., Tensor]  #: (items, rows in, C) and data of the items -> (items, rows out, C')


def so2_linear(z: Tensor, weights: Sequence[Tensor], orders_in: Orders, orders_out: Orders) -> Tensor:
    """``z`` ``(..., orders_in.rows, C)`` to ``(..., orders_out.rows, C')``; one matrix product per order.

    ``weights[0]`` is ``(degrees out * C', degrees in * C)``, ``weights[m]`` ``(2, degrees out * C', degrees in * C)`` with the
    real part first; degrees are those that have the order. InputError for other shapes or two different ``mmax``.
    """
    channels_out = _fitting(z, weights, orders_in, orders_out)
    lead, out = z.shape[:-2], []
    for m, weight in enumerate(weights):
        part = z[..., orders_in.block(m), :]
        if m == 0:
            out.append((part.flatten(-2) @ weight.mT).unflatten(-1, (orders_out.degrees(0), channels_out)))
            continue
        pair = part.unflatten(-2, (2, orders_in.degrees(m))).flatten(-2)  # (..., -m | +m, degrees * C)
        real, imaginary = (pair @ weight.flatten(0, 1).mT).chunk(2, -1)
        turned = torch.stack([-imaginary[..., 1, :], imaginary[..., 0, :]], -2)
        out.append((real + turned).reshape(*lead, 2 * orders_out.degrees(m), channels_out))
    return torch.cat(out, -2)


def _fitting(z: Tensor, weights: Sequence[Tensor], orders_in: Orders, orders_out: Orders) -> int:
    """The number of channels that come out; InputError where shapes do not fit."""
    if orders_in.mmax != orders_out.mmax or len(weights) != orders_in.mmax + 1:
        raise InputError(
            f"so2_linear: orders in, orders out and weights share one mmax; got {orders_in}, {orders_out} and "
            f"{len(weights)} weights"
        )
    if z.shape[-2] != orders_in.rows:
        raise InputError(f"so2_linear: expected {orders_in.rows} rows ({orders_in}), got {tuple(z.shape)}")
    channels_out = weights[0].shape[-2] // orders_out.degrees(0)
    for m, weight in enumerate(weights):
        matrix = (orders_out.degrees(m) * channels_out, orders_in.degrees(m) * z.shape[-1])
        want = matrix if m == 0 else (2, *matrix)
        if tuple(weight.shape) != want:
            raise InputError(f"so2_linear: the weight of order {m} is {want} here, got {tuple(weight.shape)}")
    return channels_out


def in_frames(
    mix: Mix,
    x: Tensor,
    frames: Frames,
    indices: Mapping[str, Index],
    orders_in: Orders,
    orders_out: Orders,
    *,
    ends: tuple[str, ...] = ("source",),
    data: tuple[Tensor, ...] = (),
    chunk: int | None = None,
) -> Tensor:
    """Messages mixed in the frames of their edges and summed: ``sum_{e -> i} D_e^T mix(D_e x_{j(e)}, data_e)``, ``(N, rows,
    C')``.

    ``x`` is ``(N, rows, C)``; with ``ends=("source", "target")`` the features of both ends stand side by side as channels,
    rotated together. ``mix`` may hold several layers: one rotation there and one back serve them all. ``data`` are tensors with
    one entry per edge, handed to ``mix``. ``chunk`` treats so many edges at a time and computes them again in the backward
    pass, so that no tensor of all edges lives; the default treats all at once.
    """
    edges = len(indices["target"].values)

    def messages(x: Tensor, start: int, stop: int) -> Tensor:
        whole = start == 0 and stop == edges
        part = {name: index if whole else Index(index.values[start:stop], index.size) for name, index in indices.items()}
        turned = frames if whole else frames.part(start, stop)
        read = [turned.enter(x, orders_in, part[end]) for end in ends]
        z = mix(read[0] if len(read) == 1 else torch.cat(read, -1), *(value[start:stop] for value in data))
        return turned.leave(z, orders_out, part["target"])

    if chunk is None or chunk >= edges:
        return messages(x, 0, edges)
    if chunk < 1:
        raise InputError(f"in_frames: chunk is a number of edges of at least 1, got {chunk}")
    total = messages(x, 0, 0)
    for at in range(0, edges, chunk):
        total = total + checkpoint(messages, x, at, min(at + chunk, edges), use_reentrant=False)
    return total


def weights_from_paths(paths: Mapping[tuple[int, int, int], Tensor], orders_in: Orders, orders_out: Orders) -> list[Tensor]:
    """Weights of :func:`so2_linear` that equal a Clebsch-Gordan convolution with the harmonics of the edge.

    ``paths[l1, l2, l3]`` is a matrix ``(C', C)``: the convolution ``sqrt(2 l3 + 1) sum 3j(l1, l2, l3) x_l1 Y_l2 (edge)``, mixed
    by it, with component-normalized harmonics. On the polar axis ``Y_l2`` is ``sqrt(2 l2 + 1)`` at ``m = 0`` and zero
    elsewhere. A path with ``l1 + l2 + l3`` even goes to the real parts, odd (which parity forbids to scalars of O(3)) to the
    imaginary ones. InputError for a degree outside of the orders.
    """
    first = next(iter(paths.values()))
    rows, columns = first.shape
    out = []
    for m in range(orders_in.mmax + 1):
        shape = (orders_out.degrees(m), rows, orders_in.degrees(m), columns)
        out.append(first.new_zeros(*(() if m == 0 else (2,)), *shape))
    for (l1, l2, l3), matrix in paths.items():
        if l1 > orders_in.lmax or l3 > orders_out.lmax:
            raise InputError(f"weights_from_paths: path {(l1, l2, l3)} lies outside of {orders_in} -> {orders_out}")
        slab = wigner_3j(l1, l2, l3)[:, l2, :] * math.sqrt((2 * l2 + 1) * (2 * l3 + 1))
        for m in range(min(l1, l3, orders_in.mmax) + 1):
            if m == 0:
                out[0][l3, :, l1, :] += float(slab[l1, l3]) * matrix
            else:
                out[m][0, l3 - m, :, l1 - m, :] += float(slab[l1 + m, l3 + m]) * matrix
                out[m][1, l3 - m, :, l1 - m, :] += float(slab[l1 - m, l3 + m]) * matrix
    return [weight.flatten(-2).flatten(-3, -2) for weight in out]
