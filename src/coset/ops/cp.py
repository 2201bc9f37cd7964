"""Canonical polyadic decomposition: a tensor as a sum of ``R`` outer products, by regularized alternating least squares.

    T[i, j, k] ~ sum_r A[i, r] B[j, r] C[k, r]

With all factors but one fixed, the best remaining factor solves linear equations: for ``A``, with ``K`` the Khatri-Rao product
of the others and ``G = K^T K``,

    A (G + ridge I) = T_(1) K        (+ ridge A_before in the last sweeps)

The ridge falls from 1e-2 to 1e-10 while a start settles; in the last sweeps it only holds a factor near its previous value,
so that a tensor of rank R is met to rounding. All starts run side by side in one batch, in float64, from a seed.

Where the tensor is made of blocks whose sizes are conventions (the paths of a coupling), one scale per block may be fitted
together with the factors: the rank needed depends on them. Sources: Harshman 1970; Kolda & Bader, SIAM Review 51 (2009) 455;
the choice of scales is our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Operand, Plan

RIDGE = (1e-2, 1e-10)  #: first and last
SETTLED = 0.7  #: the part of the sweeps after which the ridge no longer pulls towards zero
LIMITS = (0.4, 2.5)  #: sizes of fitted scales: no block may be switched off to please the error
TIES = 1e-12  #: ridges this close to rounding add nothing


@dataclass(frozen=True, eq=False)
class CP:
    """Factors ``(n_m, R)`` of every mode, the scale of every block, and the relative error ``|CP - T| / |T|`` (Frobenius)."""

    factors: tuple[Tensor, ...]
    scales: Tensor
    error: float

    @property
    def rank(self) -> int:
        """The number of outer products."""
        return self.factors[0].shape[-1]

    def dense(self) -> Tensor:
        """The tensor that the factors stand for."""
        return _dense([factor.unsqueeze(0) for factor in self.factors])[0]


def cp_als(tensor: Tensor, rank: int, *, blocks: Tensor | None = None, starts: int = 6, sweeps: int = 800, seed: int = 0) -> CP:
    """The best of ``starts`` decompositions of ``tensor`` (any number of modes, at least two) into ``rank`` products.

    ``blocks``, integers of the tensor's shape, says to which block an entry belongs; one scale per block is then fitted too
    (sizes within ``LIMITS``, signs drawn per start), and the error is relative to the scaled tensor. InputError for a rank
    below 1 or above what is ever needed, and for a tensor that vanishes.
    """
    tensor = tensor.detach().to("cpu", torch.float64)
    most = full_rank(tuple(tensor.shape))
    if not 1 <= rank <= most:
        raise InputError(f"cp_als: the rank of a tensor of shape {tuple(tensor.shape)} lies in 1..{most}, got {rank}")
    if starts < 1 or sweeps < 1:
        raise InputError(f"cp_als: at least one start and one sweep, got {starts} and {sweeps}")
    if not bool(tensor.any()):
        raise InputError("cp_als: the tensor vanishes, there is nothing to decompose")
    count = 1 if blocks is None else int(blocks.max()) + 1
    if exact := _by_fibers(tensor, rank):
        return CP(exact, torch.ones(count, dtype=torch.float64), 0.0)
    search = _Search(tensor, rank, blocks, starts, torch.Generator().manual_seed(seed))
    for sweep in range(sweeps):
        search.sweep(sweep / sweeps)
    return search.best()


def full_rank(shape: tuple[int, ...]) -> int:
    """A rank that suffices for every tensor of this shape: all entries but those of the longest mode are fibers."""
    return math.prod(shape) // max(shape)


def _by_fibers(tensor: Tensor, rank: int) -> tuple[Tensor, ...] | None:
    """The exact decomposition into non-zero fibers along the longest mode, if ``rank`` of them are enough."""
    longest = max(range(tensor.ndim), key=lambda m: tensor.shape[m])
    fibers = tensor.movedim(longest, -1)
    places = torch.nonzero(fibers.abs().amax(-1) > 0)
    if len(places) > rank:
        return None
    others = [n for m, n in enumerate(tensor.shape) if m != longest]
    factors = [torch.zeros(n, rank, dtype=tensor.dtype) for n in others]
    for factor, at in zip(factors, places.T, strict=True):
        factor[at, torch.arange(len(places))] = 1.0
    last = torch.zeros(tensor.shape[longest], rank, dtype=tensor.dtype)
    last[:, : len(places)] = fibers[tuple(places.T)].T
    factors.insert(longest, last)
    return tuple(factors)


class _Search:
    """Several starts of alternating least squares, side by side along the first axis."""

    def __init__(self, tensor: Tensor, rank: int, blocks: Tensor | None, starts: int, generator: torch.Generator) -> None:
        self.fixed = blocks is None
        self.labels = torch.zeros(tensor.numel(), dtype=torch.int64) if blocks is None else blocks.flatten().long()
        count = int(self.labels.max()) + 1
        self.weight = torch.zeros(count, dtype=torch.float64).index_add(0, self.labels, tensor.flatten().square())
        self.plain = tensor
        self.scales = torch.ones(starts, count, dtype=torch.float64)
        if not self.fixed:
            self.scales = torch.randint(2, (starts, count), generator=generator).double() * 2 - 1
        size = rank ** (-1 / tensor.ndim)
        self.factors = [torch.randn(starts, n, rank, generator=generator, dtype=torch.float64) * size for n in tensor.shape]

    def target(self) -> Tensor:
        """The scaled tensor of every start."""
        return self.plain * self.scales[:, self.labels].view(-1, *self.plain.shape)

    def sweep(self, done: float) -> None:
        """Every factor once, then the scales; ``done`` is the part of the sweeps behind us."""
        first, last = RIDGE
        ridge = first * (last / first) ** min(done / SETTLED, 1.0)
        target = self.target()
        for mode in range(len(self.factors)):
            self._solve(mode, target, ridge, towards_last=done > SETTLED)
        norms = [factor.norm(dim=1, keepdim=True).clamp(min=TIES) for factor in self.factors]
        mean = torch.stack(norms).log().mean(0).exp()  # the columns of a product share its size equally
        self.factors = [factor / norm * mean for factor, norm in zip(self.factors, norms, strict=True)]
        if not self.fixed:
            self._fit_scales()

    def _solve(self, mode: int, target: Tensor, ridge: float, *, towards_last: bool) -> None:
        others = [factor for m, factor in enumerate(self.factors) if m != mode]
        khatri, gram = others[0], others[0].mT @ others[0]
        for factor in others[1:]:
            khatri = (khatri.unsqueeze(2) * factor.unsqueeze(1)).flatten(1, 2)
            gram = gram * (factor.mT @ factor)
        right = target.movedim(mode + 1, 1).flatten(2) @ khatri
        if towards_last:
            right = right + ridge * self.factors[mode]
        gram = gram + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype)
        self.factors[mode] = torch.linalg.solve(gram, right.mT).mT

    def _fit_scales(self) -> None:
        overlap = torch.zeros_like(self.scales).index_add(1, self.labels, (_dense(self.factors) * self.plain).flatten(1))
        scales = overlap / self.weight.clamp(min=TIES)
        self.scales = torch.where(scales < 0, -1.0, 1.0) * scales.abs().clamp(*LIMITS)

    def best(self) -> CP:
        target = self.target().flatten(1)
        errors = (_dense(self.factors).flatten(1) - target).norm(dim=1) / target.norm(dim=1)
        place = int(errors.nan_to_num(math.inf).argmin())
        return CP(tuple(f[place].clone() for f in self.factors), self.scales[place].clone(), float(errors[place]))


def _dense(factors: list[Tensor]) -> Tensor:
    """``sum_r`` of the outer products, for every start."""
    grown = factors[0]
    for factor in factors[1:-1]:
        grown = (grown.unsqueeze(2) * factor.unsqueeze(1)).flatten(1, 2)
    sizes = [factor.shape[1] for factor in factors]
    return (grown @ factors[-1].mT).view(-1, *sizes)


# ------------------------------------------------------------------------------------------------ any plan


def dense_tensor(plan: Plan) -> Tensor:
    """The coefficients of a plan as a tensor ``(rows of input 1, ..., rows of the output)``, float64."""
    tensor = torch.zeros([operand.rows for operand in (*plan.inputs, plan.output)], dtype=torch.float64)
    coefficients = torch.tensor(plan.coefficients, dtype=torch.float64)
    return tensor.index_put(tuple(torch.from_numpy(plan.table.T.copy())), coefficients, accumulate=True)


def decompose_plan(plan: Plan, rank: int, *, starts: int = 6, sweeps: int = 800, seed: int = 0) -> CP:
    """A decomposition of any plan's coefficients, one factor for every input and then the output's."""
    return cp_als(dense_tensor(plan), rank, starts=starts, sweeps=sweeps, seed=seed)


def evaluate(plan: Plan, cp: CP, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The plan with the decomposition in place of its coefficients: the same operands, gathers and sums."""
    total: Tensor | None = None
    for operand, factor, x in zip(plan.inputs, cp.factors[:-1], inputs, strict=True):
        seen = factor.to(x).mT @ _read(operand, x, indices)
        total = seen if total is None else total * seen
    if total is None:
        raise InputError(f"plan {plan.label!r} has no inputs")
    if not plan.output.channels:
        total = total.sum(-1, keepdim=True)
    out = cp.factors[-1].to(total) @ total
    out = out if plan.output.channels else out.squeeze(-1)
    out = out.expand(items, *out.shape[1:])
    if plan.output.index == ITEM:
        return out
    if plan.output.index == SHARED:
        return out.sum(0)
    index = indices[plan.output.index]
    return out.new_zeros(index.size, *out.shape[1:]).index_add(0, index.values, out)


def _read(operand: Operand, x: Tensor, indices: Mapping[str, Index]) -> Tensor:
    """The operand as every item sees it, ``(items or 1, rows, C or 1)``."""
    x = x if operand.channels else x.unsqueeze(-1)
    if operand.index == SHARED:
        return x.unsqueeze(0)
    return x if operand.index == ITEM else x.index_select(0, indices[operand.index].values)
