"""Restriction of irreps to subgroups and induction from them, with the bases in which they fall apart.

About an axis ``n`` the irrep of degree l holds every frequency up to l once,

    Res D^l = 0 + 1 + ... + l   of SO(2),        tr Res D^l(a) = sum_{m=-l}^{l} cos(m a),

in the basis that :func:`restrict_to_axis` gives: an exchange of rows after a rotation of ``n`` to the polar axis y. Going up,
Frobenius reciprocity counts without ever making the (infinite-dimensional) induced representation,

    Hom_G(D, Ind sigma) = Hom_H(Res D, sigma)

(Serre, Linear Representations of Finite Groups, 7.2; for the image plane inside SO(3), Howell et al., NeurIPS 2023,
arXiv 2307.03704). Between finite groups the induced matrices exist: :class:`coset.reps.induced.Induced` and its ``irreps()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup, Group
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.reps.characters import Irreducible, decompose, irreps_of
from coset.reps.finite_irreps import finite_table
from coset.reps.irrep_labels import Degree, FiniteIrrep, Frequency, Irrep, Label, Spin, Wave
from coset.reps.irreps import Irreps
from coset.reps.wigner import wigner_blocks

Axis = Sequence[float] | Tensor
POLAR = (0.0, 1.0, 0.0)


def about_axis(axis: Axis = POLAR, *, mirrors: bool = False) -> Callable[[Tensor], Tensor]:
    """The embedding of SO(2) or O(2) in O(3) about ``axis`` (3,): a turn by ``a`` becomes the turn by ``a`` about the axis.

    A reflection of O(2) becomes the half turn about an axis perpendicular to ``axis`` (the image is in SO(3)), with
    ``mirrors`` the mirror at a plane that contains ``axis``. Zero axes raise InputError.
    """
    frame = _frame(axis)

    def embed(h: Tensor) -> Tensor:
        inner = frame.to(h)
        zero = torch.zeros_like(h[..., 0, 0])
        last = torch.ones_like(zero) if mirrors else torch.linalg.det(h)
        rows = [  # the plane has the axes z and x: a turn about y leads from z to x
            [h[..., 1, 1], zero, h[..., 1, 0]],
            [zero, last, zero],
            [h[..., 0, 1], zero, h[..., 0, 0]],
        ]
        upright = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return inner.mT @ upright @ inner

    return embed


def restrict_to_axis(irreps: Irreps, axis: Axis = POLAR) -> tuple[Irreps, Tensor]:
    """``(frequencies, Q)``: irreps of O(3) or SO(3) seen by the turns about ``axis``, in ``mul_ir`` order, sorted.

    ``Q`` ``(dim, dim)`` is orthogonal, float64; with ``h`` of SO(2), ``Q x`` moves by ``frequencies`` when the feature ``x``
    (in the layout of ``irreps``) moves by :func:`about_axis` of ``h``. Parities have no effect on turns.
    """
    if irreps.group not in (O(3), SO(3)):
        raise ContractError(f"restrict_to_axis: expected irreps of O(3) or SO(3), got {irreps!r}")
    degrees = sorted({ir.l for _, ir in irreps})
    upright = dict(zip(degrees, wigner_blocks(degrees, _frame(axis)), strict=True))
    found: dict[int, list[Tensor]] = {}
    for (mul, ir), part in zip(irreps, irreps.slices(), strict=True):
        for copy in range(mul):
            own = torch.arange(ir.dim)
            place = part.start + (own * mul + copy if irreps.layout == "ir_mul" else own + copy * ir.dim)
            rows = torch.zeros(ir.dim, irreps.dim, dtype=torch.float64)
            rows[:, place] = upright[ir.l]
            for m in range(ir.l + 1):  # (cosine, sine) turns like a vector of the plane
                found.setdefault(m, []).append(rows[[ir.l + m, ir.l - m] if m else [ir.l]])
    blocks = [(len(pairs), Frequency(m)) for m, pairs in sorted(found.items())]
    basis = torch.cat([row for _, pairs in sorted(found.items()) for row in pairs] or [torch.zeros(0, 0)])
    return Irreps(blocks, SO(2), layout="mul_ir"), basis


def restrict(irreps: Irreps, subgroup: Group, embedding: Any = None) -> tuple[Irreps, Tensor]:
    """``(irreps of the subgroup, Q)`` by characters and intertwiners; see :func:`coset.reps.characters.decompose`.

    ``embedding`` as in ``Representation.restrict``: left out, finite groups of R^3 enter O(3) by their matrices.
    """
    return decompose(irreps.representation().restrict(subgroup, embedding))


def induced_irreps(sigma: Irreps, parent: Group, *, top: float = 4, embedding: Any = None) -> Irreps:
    """The irreps of ``parent`` up to degree (spin, frequency) ``top`` in the induction of ``sigma``, by Frobenius reciprocity.

    ``sigma`` are irreps of a subgroup that ``embedding`` leads into ``parent`` (as in ``Representation.restrict``; for SO(2)
    and O(2) in groups of space the default is :func:`about_axis`). Finite parents are summed whole.
    """
    if embedding is None and sigma.group in (SO(2), O(2)) and parent in (SO(3), O(3)):
        embedding = about_axis()
    blocks = []
    for ir in irreps_up_to(parent, top):
        seen = irreps_of(Irreducible(ir).restrict(sigma.group, embedding))
        maps = sum(mul * sigma.count(tau) * tau.commutant for mul, tau in seen)
        if maps:
            blocks.append((maps // ir.commutant, ir))
    return Irreps(blocks, parent)


def irreps_up_to(group: Group, top: float) -> list[Label]:
    """All irreps of ``group`` up to degree, spin or frequency ``top``, ascending; all there are for a finite group."""
    if isinstance(group, FiniteGroup):
        return [FiniteIrrep(group, i) for i in range(len(finite_table(group).names))]
    whole = range(int(top) + 1)
    if group == O(3):
        return [Irrep(l, p) for l in whole for p in (-1, 1)]
    if group == SO(3):
        return [Degree(l) for l in whole]
    if group == SU(2):
        return [Spin(t / 2) for t in range(int(2 * top) + 1)]  # type: ignore[arg-type]
    if group == SO(2):
        return [Frequency(m) for m in whole]
    if group == O(2):
        return [Wave(0, -1), Wave(0, 1), *(Wave(m) for m in whole if m)]
    raise ContractError(f"the irreps of {group} are not known here; known are O(3), SO(3), SU(2), O(2), SO(2), finite groups")


def _frame(axis: Axis) -> Tensor:
    """A rotation that takes ``axis`` to the polar axis y; the identity for y itself."""
    n = torch.as_tensor(axis, dtype=torch.float64)
    if n.shape != (3,) or not bool(torch.isfinite(n).all()) or not bool(n.norm() > 0):
        raise InputError(f"an axis is a vector of three numbers that is not zero, got {axis}")
    half = torch.diag(torch.tensor([1.0, -1.0, -1.0] if n[1] < 0 else [1.0, 1.0, 1.0], dtype=torch.float64))
    x, y, z = (half @ n / n.norm()).tolist()
    # after a half turn where the axis points down, the shortest turn: 1 + K + K^2 / (1 + y) with K = hat(n x e_y)
    k = torch.tensor([[0.0, -x, 0.0], [x, 0.0, z], [0.0, -z, 0.0]], dtype=torch.float64)
    return (torch.eye(3, dtype=torch.float64) + k + k @ k / (1 + y)) @ half
