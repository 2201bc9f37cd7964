"""Reading the names of irreps: text, numbers, pairs and labels, for every group that has names for its irreps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from coset.errors import ContractError, InputError, unknown
from coset.groups.group import FiniteGroup, Group
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.reps.finite_irreps import finite_table
from coset.reps.irrep_labels import Degree, FiniteIrrep, Frequency, Irrep, Label, Spin, Wave


def parse_label(text: Any, group: Group) -> Label:
    """The irrep of ``group`` that ``text`` (or a number, a pair, a label) names; InputError with a hint where there is none.

    0 is the trivial one for every group. Raises ContractError for a group whose irreps are not known.
    """
    if isinstance(text, Label):
        if text.group != group:
            raise ContractError(f"{text!r} is an irrep of {text.group}, not of {group}")
        return text
    if isinstance(group, FiniteGroup):
        return _finite_label(text, group)
    spoken = text.strip() if isinstance(text, str) else text
    if group == O(3):
        return Irrep(0, 1) if spoken == 0 else Irrep(spoken)
    try:
        if group == SU(2):
            return Spin(Fraction(spoken))
        if group == O(2):
            return _wave(spoken)
        if group in (SO(3), SO(2)):
            return Degree(int(spoken)) if group == SO(3) else Frequency(int(spoken))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"irrep {text!r} of {group}: {_EXPECTED[str(group)]}") from error
    raise ContractError(f"the irreps of {group} have no names here; known are O(3), SO(3), SU(2), O(2), SO(2), finite groups")


_EXPECTED = {
    "SU(2)": "write a spin such as 0, 1/2, 1",
    "O(2)": "write 0e, 0o or a frequency 1, 2, ...",
    "SO(3)": "write a degree 0, 1, 2, ... (parities such as 1o belong to O(3))",
    "SO(2)": "write a frequency 0, 1, 2, ...",
}


def _wave(spoken: Any) -> Wave:
    if isinstance(spoken, tuple):
        return Wave(*spoken)
    if spoken in (0, "0e", "0o"):
        return Wave(0, -1 if spoken == "0o" else 1)
    if str(spoken) == "0":
        raise InputError("irrep '0' of O(2): it lacks a parity: write 0e or 0o (the determinant)")
    return Wave(int(spoken))


def _finite_label(text: Any, group: FiniteGroup) -> FiniteIrrep:
    names = finite_table(group).names
    if isinstance(text, int) or (isinstance(text, str) and text.strip().isdigit()):
        return FiniteIrrep(group, int(text))
    if str(text).strip() not in names:
        raise unknown(f"irrep of {group}", str(text).strip(), names)
    return FiniteIrrep(group, names.index(str(text).strip()))
