"""From representations to irreps and back: multiplicities by characters, and the change of basis that shows the blocks.

For the groups of rank one the character is known on one circle of elements, ``t(a)`` (a turn by ``a``); its Fourier
coefficients ``n_m`` count the weights, and the irreps are read off from the highest down:

    SO(3), SU(2):   irrep l occurs  n_l - n_{l+1}  times,        SO(2):   frequency m occurs n_m times,

O(3) on even and odd parts under -1, O(2) with the trace of a mirror, ``n_{0e} - n_{0o}``. The circle is a quadrature of the
representation's degree (:mod:`coset.groups.haar`), so the counts are exact. Finite groups are summed whole. Copies
are then found as intertwiners, which Schur's lemma makes isometries up to a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup, Group
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.reps.defining import Trivial
from coset.reps.intertwiners import intertwiners
from coset.reps.irrep_labels import Degree, FiniteIrrep, Frequency, Irrep, Label, Spin, Wave
from coset.reps.irreps import Irreps
from coset.reps.representation import Representation, Sum


@dataclass(frozen=True, repr=False)
class Irreducible(Representation):
    """The representation that a label names."""

    label: Label

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.label.group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.label.dim

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.label.degree

    def matrix(self, g: Any) -> Tensor:
        return self.label.matrix(g)

    def dual(self) -> Representation:
        return super().dual() if isinstance(self.label, Spin) else self

    def __str__(self) -> str:
        return f"irrep({self.label})"


def irreps_representation(irreps: Irreps) -> Representation:
    """The representation by which ``irreps.group`` moves features of these irreps, coordinates in their layout."""
    parts: list[Representation] = []
    for mul, ir in irreps.remove_zero_multiplicities():
        single = Irreducible(ir)
        if irreps.layout == "mul_ir" or mul == 1:
            parts += [single] * mul
        else:
            parts.append(single * (mul * Trivial(irreps.group)))
    if not parts:
        raise InputError(f"{irreps!r} has no component, and a representation needs at least one")
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


# ---------------------------------------------------------------------- multiplicities


def irreps_of(rep: Representation) -> Irreps:
    """The irreps of ``rep`` with their multiplicities, sorted; also ``rep.irreps()``.

    For representations of O(3), SO(3), SU(2), O(2), SO(2) and finite groups; ContractError for others, and InputError
    where the characters are none of a (continuous, finite-dimensional) representation of the stated degree.
    """
    group = rep.group
    if isinstance(group, FiniteGroup):
        return _of_finite(rep, group)
    rules = {O(3): _of_o3, SO(3): _of_so3, SU(2): _of_su2, O(2): _of_o2, SO(2): _of_so2}
    if group not in rules:
        raise ContractError(
            f"{rep!r}: irreps are known of O(3), SO(3), SU(2), O(2), SO(2) and finite groups; pull back with .restrict(...)"
        )
    counts = [(ir, _count(rep, ir, n)) for ir, n in rules[group](rep)]
    found = Irreps([(n, ir) for ir, n in counts if n], group)
    if found.dim != rep.dim:
        raise InputError(f"{rep!r}: {found!r} make {found.dim} of its {rep.dim} dimensions; is its degree {rep.degree}?")
    return found


def _count(rep: Representation, ir: Label, n: float) -> int:
    if abs(n - round(n)) > 1e-6 or n < -1e-6:
        raise InputError(f"{rep!r}: irrep {ir} would occur {n:.6g} times; is this a representation of degree {rep.degree}?")
    return round(n)


def _of_finite(rep: Representation, group: FiniteGroup) -> Irreps:
    table = FiniteIrrep(group, 0)._table
    character = rep.character(group.elements())
    if character.is_complex():
        raise ContractError(f"{rep!r} is complex; write Realified({rep}) for its real irreps")
    counts = table.multiplicities(character)
    return Irreps([(n, FiniteIrrep(group, i)) for i, n in enumerate(counts) if n], group)


def _weights(rep: Representation, circle: Any, top: int) -> Tensor:
    """``n_m = mean_a chi(t(a)) cos(m a)`` for ``m = 0, ..., top``; ``circle(angles)`` makes the elements."""
    rule = SO(2).quadrature(rep.degree + top + 1, dtype=torch.float64)
    angles = torch.atan2(rule.elements[:, 1, 0], rule.elements[:, 0, 0])
    character = rep.character(circle(angles))
    character = (character.real if character.is_complex() else character).to(torch.float64)
    waves = torch.cos(torch.arange(top + 1, dtype=torch.float64)[:, None] * angles)
    return waves @ (rule.weights * character)


def _turns(angles: Tensor) -> Tensor:
    zero = torch.zeros_like(angles)
    return SO(3).exp(torch.stack([zero, angles, zero], -1))


def _of_so3(rep: Representation) -> list[tuple[Label, float]]:
    weights = _weights(rep, _turns, rep.degree + 1)
    return [(Degree(l), float(weights[l] - weights[l + 1])) for l in range(rep.degree + 1)]


def _of_o3(rep: Representation) -> list[tuple[Label, float]]:
    plain, turned = (_weights(rep, lambda a, s=s: s * _turns(a), rep.degree + 1) for s in (1, -1))
    found: list[tuple[Label, float]] = []
    for l in range(rep.degree + 1):
        for p in (-1, 1):
            weights = (plain + p * turned) / 2
            found.append((Irrep(l, p), float(weights[l] - weights[l + 1])))
    return found


def _of_su2(rep: Representation) -> list[tuple[Label, float]]:
    """The circle is ``diag(exp(i a), exp(-i a))``, on which spin j has the frequencies 2j, 2j - 2, ..., -2j."""
    top = rep.degree + 2
    weights = _weights(rep, lambda a: torch.diag_embed(torch.exp(1j * torch.stack([a, -a], -1))), top)
    return [(Spin(t / 2), float(weights[t] - weights[t + 2])) for t in range(rep.degree + 1)]  # type: ignore[arg-type]


def _of_so2(rep: Representation) -> list[tuple[Label, float]]:
    weights = _weights(rep, SO(2).from_angle, rep.degree)
    return [(Frequency(m), float(weights[m])) for m in range(rep.degree + 1)]


def _of_o2(rep: Representation) -> list[tuple[Label, float]]:
    weights = _weights(rep, SO(2).from_angle, rep.degree)
    mirror = float(rep.character(O(2).components(dtype=torch.float64)[0]))
    found: list[tuple[Label, float]] = [(Wave(0, p), (float(weights[0]) + p * mirror) / 2) for p in (-1, 1)]
    return found + [(Wave(m), float(weights[m])) for m in range(1, rep.degree + 1)]


# ---------------------------------------------------------------------- change of basis


def decompose(rep: Representation) -> tuple[Irreps, Tensor]:
    """``(irreps, Q)`` with ``Q`` orthogonal and ``Q rep(g) Q^T`` block diagonal, float64.

    ``irreps`` has the layout ``mul_ir`` (one block after the other), so that ``Q rep(g) Q^T`` is
    ``irreps.representation().matrix(g)``. Raises as :func:`irreps_of`, and ContractError for representations that are
    not orthogonal or are complex (their basis is unitary, not real).
    """
    found = irreps_of(rep)
    if not rep.orthogonal():
        raise ContractError(f"{rep!r} is not orthogonal, so no orthogonal basis shows its irreps; conjugate it first")
    rows = [copy for mul, ir in found for copy in _copies(rep, ir, mul)]
    return Irreps(found.blocks, found.group, layout="mul_ir"), torch.cat(rows)


def _copies(rep: Representation, ir: Label, mul: int) -> list[Tensor]:
    """``mul`` orthogonal copies of ``ir`` in ``rep``, each as orthonormal rows ``(ir.dim, rep.dim)``."""
    copies: list[Tensor] = []
    for map_in in intertwiners(Irreducible(ir), rep):  # (rep.dim, ir.dim)
        rest = map_in
        for _ in range(2):  # twice is enough
            for copy in copies:
                rest = rest - copy.T @ (copy @ rest)
        size = rest.norm() / ir.dim**0.5
        if len(copies) < mul and float(size * ir.dim**0.5) > 1e-6:
            copies.append(rest.T / size)
    if len(copies) < mul:
        raise InputError(f"{rep!r}: only {len(copies)} of {mul} copies of {ir} were found; its matrices are too inaccurate")
    return copies
