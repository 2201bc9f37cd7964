"""All linear equivariant maps between two representations, and the projections on them.

``W`` intertwines ``rho_in`` and ``rho_out`` if ``rho_out(g) W = W rho_in(g)`` for all g. It is enough to ask this of
discrete generators h and, infinitesimally, of a basis A of the Lie algebra,

    rho_out(h) W = W rho_in(h),        drho_out(A) W = W drho_in(A),

whose common null space is found by singular values, for finite, compact and non-compact groups alike (Finzi, Welling,
Wilson, ICML 2021, arXiv 2104.09459). The Reynolds projection averages instead, ``P W = mean_g rho_out(g)^-1 W rho_in(g)``.
Both work on one small block for every pair of different summands, so that sums of many copies stay cheap.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import Rule
from coset.reps.defining import Trivial
from coset.reps.infinitesimal import check_real, generators
from coset.reps.representation import Representation, kron

LARGEST = 4096  #: entries of a block (dim_out * dim_in of two summands) up to which its null space is computed


def intertwiners(rep_in: Representation, rep_out: Representation) -> Tensor:
    """An orthonormal basis ``(k, dim_out, dim_in)``, float64, of all W with ``rho_out(g) W = W rho_in(g)``.

    For sums the basis is made of one block each; :func:`block_bases` gives these without the zeros around them. Raises
    ContractError for different groups or where singular values leave no clear gap, InputError for too large a summand.
    """
    found = []
    for (type_in, type_out), basis in block_bases(rep_in, rep_out).items():
        for rows in places(rep_out)[type_out]:
            for columns in places(rep_in)[type_in]:
                block = torch.zeros(len(basis), rep_out.dim, rep_in.dim, dtype=torch.float64)
                block[:, rows.unsqueeze(-1), columns] = basis
                found.append(block)
    return torch.cat(found) if found else torch.zeros(0, rep_out.dim, rep_in.dim, dtype=torch.float64)


def block_bases(rep_in: Representation, rep_out: Representation) -> dict[tuple[Representation, Representation], Tensor]:
    """For every pair (summand of ``rep_in``, summand of ``rep_out``) of different types their basis ``(k, d_out, d_in)``.

    Pairs without a common map are left out. :func:`places` tells where the copies of a type stand.
    """
    _check_groups(rep_in, rep_out)
    pairs = {(a, b): _null_space(a, b).clone() for a in places(rep_in) for b in places(rep_out)}
    return {pair: basis for pair, basis in pairs.items() if len(basis)}


def places(rep: Representation) -> dict[Representation, Tensor]:
    """For every type of summand the coordinates of its copies in the whole, ``(copies, dim of the type)``."""
    return dict(_places(rep))


@lru_cache(maxsize=4096)
def _places(rep: Representation) -> dict[Representation, Tensor]:
    found: dict[Representation, list[Tensor]] = {}
    start = 0
    for part in rep.summands():
        found.setdefault(part, []).append(torch.arange(start, start + part.dim))
        start += part.dim
    return {part: torch.stack(copies) for part, copies in found.items()}


def invariants(rep: Representation) -> Tensor:
    """An orthonormal basis ``(k, dim)`` of the vectors that the group leaves where they are."""
    return intertwiners(Trivial(rep.group), rep).squeeze(-1)


def projector(rep_in: Representation, rep_out: Representation, rule: Rule | None = None) -> Tensor:
    """The projection on the intertwiners of two summands, ``(d_out d_in, d_out d_in)`` acting on ``W.flatten()``.

    For a compact group and orthogonal representations the Haar mean, by ``rule`` or one of sufficient degree; without a
    rule, otherwise, the orthogonal projection on the null space. Raises InputError for a rule below the degree of the
    representations (so that ``P P = P`` or equivariance fails), or one given where these are not orthogonal.
    """
    _check_groups(rep_in, rep_out)
    if rule is None:
        return _projector(rep_in, rep_out).clone()
    if not (rep_in.orthogonal() and rep_out.orthogonal()):
        raise InputError(
            f"projector: averaging {rep_in!r} -> {rep_out!r} is no orthogonal projection; leave the rule out (null space)"
        )
    return _average(rep_in, rep_out, rule)


def reynolds(weight: Tensor, rep_in: Representation, rep_out: Representation, rule: Rule | None = None) -> Tensor:
    """The equivariant part of ``weight`` ``(..., dim_out, dim_in)``; differentiable, dtype and device kept.

    Every pair of summand types uses one small :func:`projector`; a bias is a weight from ``Trivial(group)``:
    ``reynolds(b.unsqueeze(-1), Trivial(G), rep_out)``. Raises as :func:`projector`, and InputError for another shape.
    """
    _check_groups(rep_in, rep_out)
    if weight.shape[-2:] != (rep_out.dim, rep_in.dim):
        raise InputError(f"reynolds: expected a weight (..., {rep_out.dim}, {rep_in.dim}), got {tuple(weight.shape)}")
    flat = weight.flatten(-2)
    out = torch.zeros_like(flat)
    for (type_in, type_out), at in _blocks(rep_in, rep_out).items():
        p = _projector(type_in, type_out) if rule is None else projector(type_in, type_out, rule)
        at = at.to(weight.device)  # (copies_out, copies_in, d_out d_in) places in the flat weight
        out[..., at] = flat[..., at] @ p.to(weight).mT
    return out.view_as(weight)


@lru_cache(maxsize=1024)
def _blocks(rep_in: Representation, rep_out: Representation) -> dict[tuple[Representation, Representation], Tensor]:
    """For every pair of types where the blocks of its copies stand in ``W.flatten()``."""
    found = {}
    for type_in, columns in _places(rep_in).items():
        for type_out, rows in _places(rep_out).items():
            found[type_in, type_out] = (rows[:, None, :, None] * rep_in.dim + columns[None, :, None, :]).flatten(-2)
    return found


def _check_groups(rep_in: Representation, rep_out: Representation) -> None:
    if rep_in.group != rep_out.group:
        raise ContractError(
            f"{rep_in!r} and {rep_out!r} are representations of different groups; restrict both to a common one"
        )


@lru_cache(maxsize=4096)
def _constraints(rep_in: Representation, rep_out: Representation) -> tuple[Tensor, ...]:
    """One matrix for every generator, ``(d_out d_in, d_out d_in)`` on ``W.flatten()``, of norm about one."""
    size = rep_in.dim * rep_out.dim
    if size > LARGEST:
        raise InputError(
            f"intertwiners: {rep_in!r} -> {rep_out!r} has {size} entries, more than {LARGEST}; write it as a sum of parts"
        )
    check_real(rep_in)
    check_real(rep_out)
    unit_in, unit_out = (torch.eye(rep.dim, dtype=torch.float64) for rep in (rep_in, rep_out))
    steps = generators(rep_in.group)
    pairs = [*zip(rep_in.algebra(), rep_out.algebra(), strict=True)]
    if len(steps):
        pairs += zip(rep_in.matrix(steps).to(torch.float64), rep_out.matrix(steps).to(torch.float64), strict=True)
    found = []
    for inner, outer in pairs:
        constraint = kron(outer, unit_in) - kron(unit_out, inner.mT)
        scale = max(inner.abs().max().item(), outer.abs().max().item(), 1e-300)
        if constraint.any():
            found.append(constraint / scale)
    return tuple(found)


@lru_cache(maxsize=4096)
def _null_space(rep_in: Representation, rep_out: Representation) -> Tensor:
    """Orthonormal basis ``(k, d_out, d_in)``: the null space of one constraint after the other, each inside the last."""
    size = rep_in.dim * rep_out.dim
    constraints = _constraints(rep_in, rep_out)
    basis = torch.eye(size, dtype=torch.float64)
    for constraint in constraints:
        if not basis.shape[1]:
            break
        _, values, right = torch.linalg.svd(constraint @ basis, full_matrices=False)
        null = values <= 1e-9
        clear = values[~null]
        if len(clear) and clear.min() < 1e-6:
            raise ContractError(
                f"intertwiners {rep_in!r} -> {rep_out!r}: singular value {clear.min():.1e} is neither zero nor clear of it; "
                f"the matrices are too inaccurate or too badly scaled"
            )
        basis = basis @ right[null].T
    return torch.linalg.qr(basis).Q.T.reshape(-1, rep_out.dim, rep_in.dim)


@lru_cache(maxsize=4096)
def _projector(rep_in: Representation, rep_out: Representation) -> Tensor:
    group = rep_in.group
    summable = group.order <= 2000 or group.dim  # all permutations are too many
    if group.compact and summable and rep_in.orthogonal() and rep_out.orthogonal():
        try:
            rule = group.quadrature(rep_in.degree + rep_out.degree, dtype=torch.float64)
        except ContractError:  # a group without a rule: the null space serves as well
            rule = None
        if rule is not None:
            return _average(rep_in, rep_out, rule)
    basis = _null_space(rep_in, rep_out).flatten(1)
    return basis.T @ basis


def _average(rep_in: Representation, rep_out: Representation, rule: Rule) -> Tensor:
    """``mean_g rho_out(g)^-1 (x) rho_in(g)^T`` as a matrix, checked."""
    degree = rep_in.degree + rep_out.degree
    if rule.degree < degree:
        raise InputError(
            f"reynolds: {rep_in!r} -> {rep_out!r} needs a rule of degree {degree}, this one has degree {rule.degree:g}"
        )
    inner, outer = rep_in.matrix(rule.elements).to(torch.float64), rep_out.matrix(rule.elements).to(torch.float64)
    weights = rule.weights.to(inner)
    size = rep_in.dim * rep_out.dim
    p = torch.einsum("n,nba,ncd->adbc", weights, outer, inner).reshape(size, size)
    gaps = [(p @ p - p).abs().max(), *((constraint @ p).abs().max() for constraint in _constraints(rep_in, rep_out))]
    if not max(gap.item() for gap in gaps) <= 1e-8:
        raise InputError(
            f"reynolds: the rule of {len(rule)} elements is not exact for {rep_in!r} -> {rep_out!r} "
            f"(P P - P or rho P - P rho is {max(gap.item() for gap in gaps):.1e}); take a higher degree"
        )
    return p
