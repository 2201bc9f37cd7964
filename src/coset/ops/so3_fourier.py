"""Functions on the rotations in Fourier form: values, coefficients, shifts, and grids on which products are exact.

    f(R) = sum_l sqrt(2l + 1) sum_mn F^l_mn D^l_mn(R),      F^l_mn = sqrt(2l + 1) mean_R f(R) D^l_mn(R)

with the orthonormal functions ``sqrt(2l + 1) D^l_mn`` under the Haar mean. A signal is ``(..., rows, C)``: for every degree the
``(2l + 1)^2`` coefficients, ``m`` outermost, channels last, so that per degree it is ``2l + 1`` columns of an irrep and,
flat, a feature of :func:`signal_irreps`. The group acts on the left, ``(g . f)(R) = f(g^-1 R)``, by ``F^l -> D^l(g) F^l``: if
R takes an object into the camera's frame, this turns the camera's frame. ``F^l -> F^l D^l(g)^T`` is ``f(R g)``: it turns the
object.

Grids are products of equal angles alpha and gamma with Gauss-Legendre nodes in beta (Kostelec & Rockmore, JFAA 14, 2008); the
number of alphas is a multiple of four, so that quarter turns about the polar axis permute any grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.groups.orthogonal import SO
from coset.ops.healpix import RotationGrid, check_rotations
from coset.ops.s2grid import constant, polar_rule
from coset.reps.irreps import Irreps
from coset.reps.wigner import rotation_from_euler, wigner_blocks

CHUNK = 8192  #: rotations at which a signal is evaluated at a time


def signal_rows(lmax: int) -> int:
    """``sum (2l + 1)^2`` for l = 0, ..., lmax."""
    return (lmax + 1) * (2 * lmax + 1) * (2 * lmax + 3) // 3


def signal_irreps(lmax: int, channels: int = 1) -> Irreps:
    """A signal's coefficients as a flat feature of SO(3): ``(2l + 1) channels`` copies of degree l."""
    return Irreps([((2 * l + 1) * channels, str(l)) for l in range(lmax + 1)], SO(3))


def degree_of_signal(signal: Tensor) -> int:
    """``lmax`` of ``(..., rows, C)``; InputError where the rows are not those of degrees 0, ..., lmax."""
    rows = signal.shape[-2] if signal.ndim > 1 else 0
    for lmax in range(64):
        if signal_rows(lmax) == rows:
            return lmax
    raise InputError(
        f"a signal on SO(3) is (..., rows, C) with 1, 10, 35, 84, 165, 286, 455 ... rows, got {tuple(signal.shape)}"
    )


def split_degrees(signal: Tensor) -> list[Tensor]:
    """``(..., rows, C)`` as one ``(..., 2l + 1, 2l + 1, C)`` for each degree."""
    sizes = [2 * l + 1 for l in range(degree_of_signal(signal) + 1)]
    parts = signal.split([n * n for n in sizes], -2)
    return [part.unflatten(-2, (n, n)) for part, n in zip(parts, sizes, strict=True)]


def join_degrees(parts: list[Tensor]) -> Tensor:
    """The inverse of :func:`split_degrees`."""
    return torch.cat([part.flatten(-3, -2) for part in parts], -2)


def basis(lmax: int, rotation: Tensor) -> Tensor:
    """``sqrt(2l + 1) D^l_mn`` at rotations ``(..., 3, 3)``: ``(..., rows)``."""
    return torch.cat([math.sqrt(d.shape[-1]) * d.flatten(-2) for d in wigner_blocks(lmax, rotation)], -1)


def transform(table: Tensor, x: Tensor) -> Tensor:
    """``table (K, rows)`` times ``x (..., rows, C)``: ``(..., K, C)`` as one product over all channels, which stay outermost.

    A signal on SO(3) has few channels and many rows, so that a product for each member would be ten times slower on a CPU.
    """
    lines = x.movedim(-1, -2)
    return (lines.reshape(-1, x.shape[-2]) @ table.mT).view(*lines.shape[:-1], len(table)).movedim(-1, -2)


def evaluate(signal: Tensor, rotation: Tensor) -> Tensor:
    """Values ``(..., N, C)`` of signals ``(..., rows, C)`` at rotations ``(N, 3, 3)``, differentiable in both."""
    check_rotations(rotation, "evaluate")
    return transform(basis(degree_of_signal(signal), rotation.to(signal)), signal)


def shift(signal: Tensor, g: Tensor, side: str = "left") -> Tensor:
    """``f(g^-1 R)`` (``"left"``: the camera's frame turns) or ``f(R g)`` (``"right"``: the object) for one ``g`` (3, 3)."""
    if side not in ("left", "right"):
        raise unknown("side", side, ["left", "right"])
    check_rotations(g, "shift")
    rule = "im,...mnc->...inc" if side == "left" else "in,...mnc->...mic"
    parts = split_degrees(signal)
    return join_degrees(
        [torch.einsum(rule, d, x) for d, x in zip(wigner_blocks(len(parts) - 1, g.to(signal)), parts, strict=True)]
    )


@dataclass(frozen=True)
class SO3Grid:
    """Angles alpha x beta x gamma on which signals up to degree ``lmax`` are sampled and projected back.

    ``degree`` (3 lmax unless given) is that of the integrands treated exactly: a signal needs 2 lmax, a product of two
    projected onto the same degrees 3 lmax. InputError below 2 lmax.
    """

    lmax: int
    degree: int = -1

    def __post_init__(self) -> None:
        if self.lmax < 0:
            raise InputError(f"SO3Grid: lmax is at least 0, got {self.lmax}")
        if self.degree < 0:
            object.__setattr__(self, "degree", 3 * self.lmax)
        if self.degree < 2 * self.lmax:
            raise InputError(f"SO3Grid: signals of degree {self.lmax} need degree >= {2 * self.lmax}, got {self.degree}")
        object.__setattr__(self, "_tables", {})

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many alpha (a multiple of four), beta and gamma there are."""
        return 4 * (self.degree // 4 + 1), self.degree // 2 + 1, self.degree + 1

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def rotations(self) -> Tensor:
        """``(points, 3, 3)`` float64, alpha outermost."""
        alphas, betas, gammas = self.shape
        alpha, gamma = (torch.arange(n, dtype=torch.float64) * (2 * math.pi / n) for n in (alphas, gammas))
        beta = torch.from_numpy(np.arccos(polar_rule("gauss", betas)[0]))
        return rotation_from_euler(*torch.meshgrid(alpha, beta, gamma, indexing="ij")).reshape(-1, 3, 3)

    @property
    def weights(self) -> Tensor:
        """``(points,)`` float64, summing to 1."""
        alphas, betas, gammas = self.shape
        polar = torch.from_numpy(polar_rule("gauss", betas)[1]) / 2
        return (polar / (alphas * gammas))[None, :, None].expand(alphas, betas, gammas).flatten()

    def to_grid(self, signal: Tensor) -> Tensor:
        """Values ``(..., points, C)`` of ``(..., rows, C)``."""
        if degree_of_signal(signal) != self.lmax:
            raise InputError(f"{self} takes {signal_rows(self.lmax)} rows, got {tuple(signal.shape)}")
        return transform(self._table("to", signal), signal)

    def from_grid(self, values: Tensor) -> Tensor:
        """Coefficients ``(..., rows, C)`` of values ``(..., points, C)``: the projection onto degrees up to lmax."""
        if values.shape[-2:-1] != (len(self),):
            raise InputError(f"{self} has {len(self)} points, got values {tuple(values.shape)}")
        return transform(self._table("from", values), values)

    def _table(self, way: str, like: Tensor) -> Tensor:
        def make() -> Tensor:
            table = basis(self.lmax, self.rotations)
            return table if way == "to" else (table * self.weights.unsqueeze(-1)).mT.contiguous()

        return constant(self._tables, way, make, like)  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- densities


_GRID_TABLES: dict[Any, Tensor] = {}


def grid_logits(signal: Tensor, grid: RotationGrid) -> Tensor:
    """Values ``(B, N)`` of signals ``(B, rows)`` at all rotations of a grid; the table is kept, so for levels up to 3."""
    lmax = degree_of_signal(signal.unsqueeze(-1))
    make: Callable[[], Tensor] = lambda: basis(lmax, grid.rotations)  # noqa: E731
    return signal @ constant(_GRID_TABLES, (lmax, grid), make, signal).mT


def walk(signal: Tensor, grid: RotationGrid, *, chunk: int = CHUNK) -> Iterator[tuple[int, Tensor]]:
    """``(start, values (B, chunk))`` of signals ``(B, rows)`` over a grid of any level, a part at a time."""
    lmax = degree_of_signal(signal.unsqueeze(-1))
    for start in range(0, len(grid), chunk):
        yield start, signal @ basis(lmax, grid.part(start, start + chunk).to(signal)).mT


def density(signal: Tensor, grid: RotationGrid, rotation: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """``(mode (B, 3, 3), log p (B,))`` of the densities ``exp f`` of signals ``(B, rows)``, normalised on a fine grid.

    The mode is the best rotation of the grid. ``log p`` is at the cells of ``rotation`` ``(B, 3, 3)``, None without it.
    """
    best = signal.new_full((len(signal),), -math.inf)
    index = torch.zeros(len(signal), dtype=torch.int64, device=signal.device)
    total = best
    for start, values in walk(signal, grid):
        top, place = values.max(-1)
        index, best = torch.where(top > best, place + start, index), torch.maximum(top, best)
        total = torch.logaddexp(total, values.logsumexp(-1))
    mode = torch.cat([grid.part(i, i + 1) for i in index.tolist()]).to(signal)
    if rotation is None:
        return mode, None
    cells = torch.cat([grid.part(i, i + 1) for i in grid.nearest(rotation).tolist()]).to(signal)
    at = (basis(degree_of_signal(signal.unsqueeze(-1)), cells) * signal).sum(-1)
    return mode, at - total - math.log(grid.cell)
