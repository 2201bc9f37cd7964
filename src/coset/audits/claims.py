"""Judging what a contract claims: a tolerance for exact, a bound for approximate and broken, tests for mean and law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coset.audits.precision import tolerance
from coset.audits.twosample import LEVEL, energy_test, mean_test
from coset.contract import Contract, frozen, relative

BROKEN = 1e-3  #: by how much a broken contract must fail unless it says
PERMUTATIONS = 9999  #: enough to go below LEVEL after correcting for the elements visited
DRAWS = 128  #: runs of a stochastic model behind a statement about its mean or law


@dataclass
class Verdict:
    """Whether a claim holds, and the figures behind it."""

    holds: bool
    error: float
    limit: float
    place: int | None = None  #: which of the elements was worst
    p_value: float | None = None
    what: str = "relative error"


def judge_claim(
    f: Callable[..., Any], contract: Contract, x: dict[str, Tensor], g: Any, *, limit: float = tolerance(torch.float64)
) -> Verdict:
    """Judge a contract bound to ``x`` at the elements ``g``; ``where`` restricts it to the members it names.

    ``exact``: every error is within ``limit``, the dtype's tolerance. ``approximate``: within ``bound``. ``broken``: the
    largest exceeds ``bound`` (1e-3 by default). ``learned``: measured only. ``mean``: the residual averages to zero over
    seeds (random signs). ``law``: outputs at ``g . x`` and ``g .`` outputs at ``x`` have one law (energy distance).
    """
    if contract.claim in ("mean", "law"):
        return _statistical(f, contract, x, g)
    errors = [_error(f, contract, x, g[i]) for i in range(len(g))]
    worst = max(range(len(errors)), key=lambda i: errors[i] if errors[i] == errors[i] else float("inf"))
    error = errors[worst]
    if contract.claim == "learned":
        return Verdict(True, error, float("inf"), worst)
    if contract.claim == "broken":
        least = BROKEN if contract.bound is None else contract.bound
        return Verdict(error > least, error, least, worst)
    if contract.claim == "approximate":
        limit = float("inf") if contract.bound is None else max(contract.bound, limit)
    return Verdict(error <= limit, error, limit, worst)


def _error(f: Callable[..., Any], contract: Contract, x: dict[str, Tensor], g: Any) -> float:
    if contract.where is None:
        return contract.error(f, x, g)
    mask = torch.as_tensor(contract.where(contract.inputs.unpack(x)), dtype=torch.bool)
    if not bool(mask.any()):
        return 0.0
    with frozen(f):
        gap, want = contract.compare(f, x, g)
    return max(float(relative(_kept(gap[name], mask).detach(), _kept(want[name], mask).detach())) for name in gap)


def _kept(value: Tensor, mask: Tensor) -> Tensor:
    """Outputs of the members that the contract speaks of, where they stand along the first axis."""
    return value[mask] if mask.ndim == 1 and value.ndim and len(value) == len(mask) else value


def _statistical(f: Callable[..., Any], contract: Contract, x: dict[str, Tensor], g: Any) -> Verdict:
    """The smallest p-value over a few elements, corrected for their number."""
    visited = list(range(len(g)))[:6]
    generator = torch.Generator().manual_seed(0)
    best = Verdict(True, 0.0, LEVEL, 0, 1.0, "distance of the laws" if contract.claim == "law" else "norm of the mean residual")
    origin = contract.inputs.pack(contract.origin(x))
    for place in visited:
        moved = contract.inputs.pack(contract.act(g[place], x))
        with frozen(f):
            here = [contract.call(f, origin, seed=seed) for seed in range(DRAWS)]
            shift = DRAWS if contract.claim == "law" else 0  # a law is judged without coupling
            there = [contract.call(f, moved, seed=seed + shift) for seed in range(DRAWS)]
        want = torch.stack(
            [_flat(contract.act(g[place], contract.outputs.unpack(y), on="outputs", given=x), contract) for y in here]
        )
        seen = torch.stack([_flat(contract.outputs.unpack(y), contract) for y in there])
        if contract.claim == "law":
            # where nothing is random both laws are points, and equal points are one law
            if torch.allclose(want, seen, rtol=tolerance(torch.float64), atol=1e-12):
                continue
            figure, p = _staged(lambda n: energy_test(seen, want, permutations=n, generator=generator))  # noqa: B023
        else:
            gaps = seen - want
            if gaps.norm() <= tolerance(torch.float64) * max(float(want.norm()), 1e-300):
                continue
            figure, p = _staged(lambda n: mean_test(gaps, permutations=n, generator=generator))  # noqa: B023
        p = min(1.0, p * len(visited))
        if p < best.p_value:  # type: ignore[operator]
            best = replace(best, error=figure, place=place, p_value=p, holds=p > LEVEL)
        if not best.holds:
            break
    return best


def _staged(test: Callable[[int], tuple[float, float]]) -> tuple[float, float]:
    """A test with few permutations, and with many only where few do not settle it."""
    figure, p = test(199)
    return (figure, p) if p > 0.05 else test(PERMUTATIONS)


def _flat(y: Any, contract: Contract) -> Tensor:
    packed = contract.outputs.pack(y)
    return torch.cat([packed[name].detach().double().flatten() for name in contract.outputs.names()])
