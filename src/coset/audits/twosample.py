"""Are two samples drawn from one law? Permutation tests, valid at any size, and corrections for testing many times.

Energy distance (Székely and Rizzo, 2013): ``2 E|a - b| - E|a - a'| - E|b - b'|``, zero only for equal laws. Beside it,
kernels of several widths (Gretton et al., 2012, *A Kernel Two-Sample Test*); the largest studentized statistic counts, and
its permutation law makes up for the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coset.errors import InputError

#: below this probability a claim is taken as refuted where a single test is judged
LEVEL = 1e-3


def energy_test(
    a: Tensor, b: Tensor, *, permutations: int = 1999, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """Energy distance of samples ``(n, d)`` and ``(m, d)``, and its permutation p-value."""
    both = torch.cat([_rows(a), _rows(b)])
    kernels = -torch.cdist(both, both).unsqueeze(0)
    return _permuted(kernels, len(a), len(b), permutations, generator)


def kernel_test(
    a: Tensor, b: Tensor, *, permutations: int = 1999, generator: torch.Generator | None = None, paired: bool = False
) -> tuple[float, float]:
    """The largest studentized discrepancy over energy distance and kernels of three widths, and its p-value.

    ``paired`` swaps within pairs ``(a_i, b_i)`` instead of permuting all: valid where a pair is exchangeable, as ``x`` and
    ``g x`` are for Haar ``g`` if ``x`` has an invariant law.
    """
    a, b = _rows(a), _rows(b)
    both = torch.cat([a, b])
    spread = both.std(0)
    both = both / torch.where(spread > 1e-12 * spread.max(), spread, torch.ones_like(spread))
    distance = torch.cdist(both, both)
    middle = distance[distance > 0].median() if bool((distance > 0).any()) else distance.new_ones(())
    kernels = torch.stack([-distance, *(torch.exp(-0.5 * (distance / (width * middle)) ** 2) for width in (0.25, 0.5, 1.0))])
    return _permuted(kernels, len(a), len(b), permutations, generator, paired)


def _permuted(
    kernels: Tensor, n: int, m: int, permutations: int, generator: torch.Generator | None, paired: bool = False
) -> tuple[float, float]:
    if paired and n != m:
        raise InputError(f"paired samples are of one size, got {n} and {m}")
    total = n + m
    kernels = kernels - kernels.mean(-1, keepdim=True) - kernels.mean(-2, keepdim=True) + kernels.mean((-1, -2), keepdim=True)
    if paired:  # swapping a pair flips its sign in a quadratic form over pairs
        kernels = kernels[:, :n, :n] + kernels[:, n:, n:] - kernels[:, :n, n:] - kernels[:, n:, :n]
        signs = (torch.randint(0, 2, (permutations + 1, n), generator=generator).to(kernels.dtype) * 2 - 1) / n
        signs[0] = 1.0 / n
    else:
        first = torch.cat([torch.full((n,), 1.0 / n), torch.full((m,), -1.0 / m)]).to(kernels.dtype)
        order = torch.argsort(torch.rand(permutations + 1, total, generator=generator, dtype=torch.float64), 1)
        order[0] = torch.arange(total)
        signs = first[order]
    found = torch.stack([((signs @ kernel) * signs).sum(1) for kernel in kernels])
    scale = found[:, 1:].std(1, keepdim=True)
    studentized = (found - found[:, 1:].mean(1, keepdim=True)) / torch.where(scale > 0, scale, torch.ones_like(scale))
    largest = studentized.amax(0)
    slack = 1e-9 * largest.abs().max()
    return float(found[0, 0]), float(((largest[1:] >= largest[0] - slack).sum() + 1) / (permutations + 1))


def mean_test(gaps: Tensor, *, permutations: int = 1999, generator: torch.Generator | None = None) -> tuple[float, float]:
    """Is the mean of ``gaps`` ``(draws, d)`` zero? Norm of the mean and the p-value of random signs."""
    gaps = _rows(gaps)
    flips = torch.randint(0, 2, (permutations, len(gaps)), generator=generator).to(gaps) * 2 - 1
    found = gaps.mean(0).norm()
    others = (flips @ gaps / len(gaps)).norm(dim=1)
    return float(found), float(((others >= found * (1 - 1e-9)).sum() + 1) / (permutations + 1))


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for testing them all (Holm, 1979): the chance of a single false alarm stays below the level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        out[i] = running
    return out


def _rows(x: Tensor) -> Tensor:
    x = torch.as_tensor(x)
    if x.is_complex():
        x = torch.view_as_real(x)
    if not len(x) or not bool(torch.isfinite(x.double()).all()):
        raise InputError(f"a sample of shape {tuple(x.shape)} is empty or holds NaN or infinite numbers")
    return x.double().reshape(len(x), -1)
