"""Kernels that map circular harmonics to circular harmonics: all SO(2)-equivariant convolutions of the plane.

A map of frequency m moves as ``z -> e^{i m a} z(R^{-1} x)``. With kernels ``k_d(r, phi) = R(r) e^{i d phi}``,

    out_n = sum_m  k_{n-m} * z_m  +  k_{n+m} * conj(z_m)

is equivariant, and nothing else linear is. Maps are kept as real components ``1, Re 1, Im 1, ...``. Worrall et al.,
Harmonic Networks, CVPR 2017, arXiv 1612.04642; Weiler & Cesa, NeurIPS 2019, arXiv 1911.08251.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.circular import circular_harmonic, pixel_centers


def harmonic_kernels(order_in: int, order_out: int, kernel: int) -> tuple[Tensor, Tensor]:
    """A basis of equivariant kernels, float64 ``(n, 2 order_out + 1, 2 order_in + 1, k, k)``, and the frequency of each.

    Every row (output component) of a basis element has unit norm, so that sums of n of them with unit weights have
    variance n. Frequency d lives on rings of at least d / 2 pixels. InputError for an even kernel or a negative order.
    """
    if kernel < 1 or kernel % 2 == 0 or min(order_in, order_out) < 0:
        raise InputError(f"harmonic kernel: odd size and orders >= 0, got size {kernel}, orders {order_in}, {order_out}")
    return harmonic_filters(order_in, order_out, kernel)


def harmonic_filters(order_in: int, order_out: int, size: int, *, phases: bool = True) -> tuple[Tensor, Tensor]:
    """The same on a map of any ``size``, read about its center; without ``phases`` only the real multiples of the rings."""
    elements, frequencies = [], []
    for n in range(order_out + 1):
        for m in range(order_in + 1):
            # against conj(z): for n = 0 or m = 0 it repeats the first term
            for sign in (1,) if n == 0 or m == 0 else (1, -1):
                for ring in _rings(n - sign * m, size):
                    for factor in (1, 1j) if phases and (n or m) else (1,):
                        elements.append(_real_block(factor * ring, n, m, sign, order_in, order_out))
                        frequencies.append(n)
    basis = torch.stack(elements)
    rows = torch.tensor([1.0 if n == 0 else 2.0 for n in frequencies], dtype=torch.float64)
    unit = basis.flatten(1).norm(dim=1) / rows.sqrt()
    return basis / unit.view(-1, 1, 1, 1, 1), torch.tensor(frequencies)


def _rings(frequency: int, kernel: int) -> list[Tensor]:
    """``R_p(r) e^{i d phi}`` on every ring that can carry frequency d, complex ``(k, k)``, inside the disc of the kernel."""
    x, y = pixel_centers(kernel)
    inside = (x * x + y * y) <= 1 + 1e-9
    return [
        circular_harmonic("rings", p, frequency, x, y, unit=kernel / 2) * inside
        for p in range(kernel // 2 + 1)
        if abs(frequency) <= 2 * p
    ]


def _real_block(k: Tensor, n: int, m: int, sign: int, order_in: int, order_out: int) -> Tensor:
    """The real matrix field of ``z -> k z`` (sign 1) or ``z -> k conj(z)`` (sign -1) between frequencies m and n."""
    out = torch.zeros(2 * order_out + 1, 2 * order_in + 1, *k.shape, dtype=torch.float64)
    columns = [k] if m == 0 else [k, sign * 1j * k]  # images of z = 1 and z = i
    column, row = max(2 * m - 1, 0), max(2 * n - 1, 0)
    for offset, value in enumerate(columns):
        out[row, column + offset] = value.real
        if n:
            out[row + 1, column + offset] = value.imag
    return out
