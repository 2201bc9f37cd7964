"""Spherical signals as Fourier series on a torus: the engine ``fourier`` of Gaunt products.

Let the polar angle b run the whole circle: ``Y_lm(b, a)`` is then a trigonometric polynomial of degree l in b, |m| in a,

    Y_lm = sum_{u = -l..l} sum_{v = +-m} y^{lm}_{uv} exp(i (u b + v a)),

sparse in v. Products of signals are convolutions of these coefficients, that is, products of values on an ``n x n`` torus
with ``n = 2 band + 1``, by FFT. Back to degrees by ``x_lm = sum_uv f_uv z^{lm}_{uv}``, where z integrates over the sphere,
``z^{lm}_{uv} = integral exp(i (u b + v a)) Y_lm sin b db da``; exp(i u b) is not orthogonal under sin b, so z is not the
conjugate of y. A signal's coefficients have the symmetry ``f_{-u,v} = (-1)^v f_{u,v}``, so only cos u b (v even) and i sin u
b (v odd) enter z; with them the integrand is a polynomial in cos b and Gauss-Legendre nodes integrate it exactly. Luo, Chen &
Krishnapriyan, ICLR 2024, arXiv 2401.10216.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.s2grid import SCALES, TRUTH, Degrees, constant, degree_list, legendre


@dataclass(frozen=True)
class TorusGrid:
    """Values on a torus for signals whose product has degree up to ``band``, projected onto degrees up to ``lmax``."""

    band: int
    lmax: int
    normalization: str = field(default="component", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tables", {})

    def prepare(self, degrees: Degrees) -> None:
        """Compute the tables for these degrees now: code that is compiled finds them."""
        for name in ("y", "z"):
            self._table(name, degree_list(degrees), TRUTH.to(torch.complex128))

    @property
    def size(self) -> int:
        """Points along each circle."""
        return 2 * self.band + 1

    def to_grid(self, x: Tensor, degrees: Degrees) -> Tensor:
        """Values ``(..., size, size, C)`` of the signals ``x (..., rows, C)``. InputError for half precision."""
        if x.dtype in (torch.float16, torch.bfloat16):
            raise InputError(f"the Fourier engine needs float32 or float64, got {x.dtype}: cast up, or take the engine 'grid'")
        degrees = degree_list(degrees)
        waves = pairs(x, degrees)  # (..., degree, v, C)
        table = self._table("y", degrees, waves)  # (v, u, degree)
        spectrum = torch.einsum("vul,...lvc->...uvc", table, waves)
        lmax = degrees[-1]
        u = torch.arange(-lmax, lmax + 1, device=x.device) % self.size
        padded = spectrum.new_zeros(*spectrum.shape[:-3], self.size, self.band + 1, spectrum.shape[-1])
        padded = padded.index_copy(-3, u, _pad(spectrum, self.band + 1))
        return torch.fft.irfft2(padded, s=(self.size, self.size), dim=(-3, -2), norm="forward")

    def from_grid(self, values: Tensor, degrees: Degrees) -> Tensor:
        """Coefficients ``(..., rows, C)`` of values ``(..., size, size, C)``."""
        degrees = degree_list(degrees)
        spectrum = torch.fft.rfft2(values, dim=(-3, -2), norm="forward")[..., : degrees[-1] + 1, :]
        table = self._table("z", degrees, spectrum)  # (v, degree, u)
        return rows(torch.einsum("vlu,...uvc->...lvc", table, spectrum), degrees)

    def _table(self, name: str, degrees: tuple[int, ...], like: Tensor) -> Tensor:
        def make() -> np.ndarray:
            table = forward_table(degrees) if name == "y" else backward_table(degrees, self.band)
            scale = np.sqrt([SCALES[self.normalization](l) for l in degrees])
            return table * scale if name == "y" else table / scale[:, None]

        return constant(self._tables, (name, degrees), make, like)  # type: ignore[attr-defined]


def _pad(spectrum: Tensor, width: int) -> Tensor:
    """Orders v up to ``width - 1``, the new ones zero."""
    extra = width - spectrum.shape[-2]
    zeros = spectrum.new_zeros(*spectrum.shape[:-2], extra, spectrum.shape[-1])
    return torch.cat([spectrum, zeros], -2)


def pairs(x: Tensor, degrees: Sequence[int]) -> Tensor:
    """Rows +-v of every degree as one complex number: ``(..., rows, C)`` to ``(..., degrees, lmax + 1, C)``.

    Of ``sqrt 2 (x_v cos v a + x_-v sin v a)`` the coefficient of exp(i v a) is ``(x_v - i x_-v) / sqrt 2``; v = 0 stands
    alone.
    """
    parts, start, top = [], 0, degrees[-1] + 1
    for l in degrees:
        block = x[..., start : start + 2 * l + 1, :]
        start += 2 * l + 1
        cosine, sine = block[..., l + 1 :, :], block[..., :l, :].flip(-2)
        positive = torch.complex(cosine, -sine) * math.sqrt(0.5)
        zero = torch.complex(block[..., l : l + 1, :], torch.zeros_like(block[..., :1, :]))
        parts.append(_pad(torch.cat([zero, positive], -2), top))
    return torch.stack(parts, -3)


def rows(waves: Tensor, degrees: Sequence[int]) -> Tensor:
    """The inverse arrangement: ``x_0 = Re c_0``, ``x_v = sqrt 2 Re c_v``, ``x_-v = -sqrt 2 Im c_v``."""
    parts = []
    for i, l in enumerate(degrees):
        block = waves[..., i, : l + 1, :]
        positive = block[..., 1:, :] * math.sqrt(2)
        parts += [-positive.imag.flip(-2), block[..., :1, :].real, positive.real]
    return torch.cat(parts, -2)


def forward_table(degrees: Sequence[int]) -> np.ndarray:
    """y of orthonormal harmonics at v >= 0, ``(v, u, degree)`` complex128, ``u`` from -lmax to lmax.

    By a discrete Fourier transform of ``N P(cos b)`` around the circle, where sin b changes its sign with b; exact, since 2
    lmax + 1 points hold all frequencies.
    """
    lmax = max(degrees)
    n = 2 * lmax + 1
    circle = 2 * math.pi * np.arange(n) / n
    polar = legendre(lmax, np.cos(circle))  # of |sin b|
    order = np.arange(lmax + 1)
    polar = polar * np.where(np.sin(circle)[:, None, None] < 0, (-1.0) ** order, 1.0)
    u = np.arange(-lmax, lmax + 1)
    spectrum = np.einsum("un,nlv->vul", np.exp(-1j * u[:, None] * circle) / n, polar)
    real = (np.arange(lmax + 1) % 2 == 0)[:, None, None]  # even v: a cosine series, odd v: a sine series
    return np.where(real, spectrum.real, 1j * spectrum.imag)[:, :, list(degrees)]


def backward_table(degrees: Sequence[int], band: int) -> np.ndarray:
    """z at v >= 0 for series of degree up to ``band``, ``(v, degree, u)`` complex128, ``u`` in the order of the FFT."""
    lmax = max(degrees)
    nodes, weights = np.polynomial.legendre.leggauss((band + lmax) // 2 + 1)
    angle = np.arccos(nodes)
    u = np.fft.fftfreq(2 * band + 1, 1 / (2 * band + 1)).round()
    polar = legendre(lmax, nodes)[:, list(degrees)] * weights[:, None, None] * 2 * math.pi
    turn = angle[:, None] * u
    even = np.einsum("nlv,nu->vlu", polar, np.cos(turn))
    odd = 1j * np.einsum("nlv,nu->vlu", polar, np.sin(turn))
    return np.where((np.arange(lmax + 1) % 2 == 0)[:, None, None], even, odd)
