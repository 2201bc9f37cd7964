"""What most likely lies behind a law that a potential does not meet, in words: one sentence or two for each fault.

Laws fail in patterns. Forces that do not turn beside an energy that does not change come from a head of their own; a gradient
that is off by one factor everywhere is in other units; what errs by more the farther a structure is from the origin rounds its
positions. The sentences say what the pattern is, and what it usually means: they are advice, the figures are the finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coset.audits.verdict import FAIL

FORCES, STRESS = "forces = -dE/dx", "stress = dE/d(strain)/V"
EDGES = ("cutoff: energy", "cutoff: force", "cutoff: curvature")
ALIKE = 1e-2  #: share of an error that may be left for one factor to explain it
Document = Mapping[str, Any]


@dataclass
class Case:
    """Checks by name, as :meth:`coset.audits.potential.Check.to_json` has them, and the layers of a network of this package."""

    checks: dict[str, Document]
    layers: Sequence[Document]

    @property
    def failed(self) -> list[str]:
        """Names of laws that are not met."""
        return [name for name, check in self.checks.items() if check["verdict"] == FAIL]

    def beyond(self, name: str, part: str) -> bool:
        """Whether a part of an error is above the limit; NaN is."""
        check = self.checks[name]
        return not check["parts"].get(part, 0.0) <= check["limit"]

    def factor(self, name: str) -> float | None:
        """The one factor by which all derivatives are off, where it explains the error."""
        check = self.checks[name]
        factor, left = (check["parts"].get(key, math.nan) for key in ("factor", "left"))
        explained = left <= max(ALIKE * check["error"], check["limit"]) and abs(factor) > 1e-6
        return factor if explained else None


def causes(checks: Sequence[Document], layers: Sequence[Document] = ()) -> list[tuple[str, str]]:
    """For every law that failed, its name and what that usually means. The three laws of the cutoff count as one."""
    case = Case({check["name"]: check for check in checks}, layers)
    edges = [name for name in EDGES if name in case.failed]
    told = [name for name in case.failed if name in SAYINGS and name not in edges[1:]]
    return [(name, said if isinstance(said := SAYINGS[name], str) else said(case)) for name in told]


def headline(checks: Sequence[Document]) -> str:
    """One sentence: what holds, what does not, what was not judged."""
    failed = [str(check["name"]) for check in checks if check["verdict"] == FAIL]
    skipped = [str(check["name"]) for check in checks if check["skipped"]]
    judged = len(checks) - len(skipped)
    rest = f"; not judged: {', '.join(skipped)}" if skipped else ""
    if not failed:
        return f"All {judged} laws hold{rest}."
    return f"{judged - len(failed)} of {judged} laws hold; not met: {', '.join(failed)}{rest}."


def _rotation(case: Case) -> str:
    if not case.beyond("rotation", "energy"):
        late = " and ".join(part for part in ("forces", "stress") if case.beyond("rotation", part))
        return (
            f"The energy does not change, but {late} do not move with the structure: they come from a head that is not "
            "equivariant, or in other axes or another order than the positions."
        )
    first = next((layer for layer in case.layers if layer["error"] > case.checks["rotation"]["limit"]), None)
    if first is not None:
        return f"The energy changes. The first layer that does not move as it states is {first['name']} ({first['error']:.1e})."
    return (
        "The energy depends on the direction in space: a network without built-in symmetry that learned it from turned data, "
        "harmonics on a grid that is too coarse, or an external field (then this is no fault)."
    )


def _inversion(case: Case) -> str:
    if "rotation" in case.failed:
        return "As under rotations: what depends on the direction in space is not the same in a mirror either."
    if not case.beyond("inversion", "energy"):
        if not case.beyond("inversion", "forces"):
            return (
                "Only the stress is wrong, and only in a mirror: it is divided by a volume that is negative for left-handed "
                "cells, a determinant without its absolute value. Right-handed cells are safe."
            )
        return "The energy is the same in a mirror and forces are not mirrored: they come from a head that lost their parity."
    return (
        "Rotations hold and reflections do not: the network tells left from right, as one does that multiplies features "
        "without their parity. Enantiomers get different energies."
    )


def _translation(case: Case) -> str:
    check = case.checks["translation"]
    lengths = [value for name, value in check["parts"].items() if name.endswith(" A")]
    if lengths and lengths[0] <= check["limit"]:
        return (
            "Only far from the origin: positions are rounded to single precision before differences are taken. Center "
            "structures first, or take differences in double precision."
        )
    return "Answers depend on where the structure is: absolute positions, or a grid that is fixed in space, go in."


def _gradient(case: Case) -> str:
    factor = case.factor(FORCES)
    if factor is not None:
        return f"Forces are the gradient times {factor:.6g}: other units than the energy's, or a wrong sign."
    steps = any(name in case.failed for name in EDGES)
    return (
        "Forces are no gradient of this energy, as of a network that gives forces directly, or where a part of the energy is "
        "left out of the derivative. Runs at constant energy drift."
        + " Or the energy steps between two points of a difference."
        * steps
    )


def _strain(case: Case) -> str:
    factor = case.factor(STRESS)
    if factor is not None:
        return f"The stress is right times {factor:.6g}: its unit (eV/A^3, GPa, a virial) or its sign (positive under tension)."
    if not case.beyond(STRESS, "normal components"):
        return "Normal components are right and shear is not: their order is another than xx, yy, zz, yz, xz, xy."
    if FORCES in case.failed:
        return "Like the forces, the stress is no derivative of this energy."
    return (
        "Forces are right and the stress is not: derived with respect to the cell at fixed positions instead of a strain of "
        "both, from a head of its own, or a part is missing or added. Relaxed cells will be wrong."
    )


def _edge(case: Case) -> str:
    if EDGES[0] in case.failed:
        return (
            "The energy has a step where an atom enters: it is cut and not faded out, or neighbors are bounded in number. "
            "A run at constant energy gains or loses the step at every crossing."
        )
    if EDGES[1] in case.failed:
        return "Forces jump where an atom enters: the envelope goes to zero with a slope. Runs at constant energy drift."
    return (
        "Forces have a kink where an atom enters: the envelope has no second derivative there. Phonons and long integrations "
        "suffer, dynamics hardly."
    )


def _drift(case: Case) -> str:
    if FORCES in case.failed:
        return "Follows from forces that are no gradient."
    if any(name in case.failed for name in EDGES):
        return "Follows from the steps at the cutoff."
    return (
        "Forces are a gradient and smooth: 0.5 fs is too long a step for this surface, or it has features that are too sharp."
    )


SAYINGS: dict[str, str | Callable[[Case], str]] = {
    "rotation": _rotation,
    "inversion": _inversion,
    "translation": _translation,
    "permutation": "The order of the atoms matters: the number of neighbors is cut off in the order of the file, or atoms have "
    "features by their place in it.",
    "periodic images": "Atoms outside of the cell are not taken back into it: the search for neighbors expects wrapped "
    "positions.",
    "two copies": "Twice a structure has not twice its energy: something is averaged over all atoms, attention reaches every "
    "atom, or the number of neighbors is bounded. With charges or long-range terms a small remainder is physics.",
    FORCES: _gradient,
    STRESS: _strain,
    **dict.fromkeys(EDGES, _edge),
    "drift": _drift,
}
