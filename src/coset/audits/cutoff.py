"""What happens where an atom crosses the cutoff of a potential: the jumps of energy, force and curvature.

A bonded pair ``i, j`` and a third atom ``k`` at distance ``r`` from ``i``, at 110 degrees, so that ``k`` is farther from ``j``.
Polynomials through the values on either side of the cutoff give the limits there: ``E``, ``E' = -F_k . u`` and ``E''``. There
is a bonded pair, and not a single atom, because a network may scale what it hears by how much it hears. The cutoff is the one
that is given, or the distance beyond which the energy no longer changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from coset.audits.potential import ROUNDING, Answer, Check, Frame
from coset.errors import CosetError

REACH = 12.0  #: angstrom: cutoffs are looked for up to here
LIMITS = {"energy": (1e-6, "eV"), "force": (1e-5, "eV/A"), "curvature": (1e-3, "eV/A^2")}
STEP, POINTS, DEGREE = 1.5e-3, 10, 4  #: of the fits on either side
PAIRS = 6  #: pairs of elements at most
SCATTER = 6.0  #: standard deviations that rounding may explain


@dataclass
class Crossing:
    """Around the cutoff: ``r``, ``energy``, ``slope`` (points,), and the jumps there."""

    cutoff: float
    pair: str  #: atomic numbers of ``i`` and ``k``
    r: np.ndarray
    energy: np.ndarray
    slope: np.ndarray
    jumps: dict[str, float]
    unsure: dict[str, float]  #: by how much rounding alone could move the jumps


def crossing(answer: Answer, i: int, j: int, k: int, bond: float, cutoff: float | None = None) -> Crossing | None:
    """Atoms of numbers ``i, j, k``; None where the energy still changes at :data:`REACH`."""
    at = cutoff if cutoff is not None else _find(answer, (i, j, k), bond)
    if at is None:
        return None
    steps = STEP * (np.arange(POINTS) + 0.5)
    sides = {side: [_at(answer, (i, j, k), bond, at + side * step) for step in steps] for side in (-1, 1)}
    (left, below), (right, above) = (_limits(side * steps, np.array(rows)) for side, rows in sides.items())
    jumps, unsure = (dict(zip(LIMITS, values.tolist(), strict=True)) for values in (np.abs(left - right), below + above))
    order = np.concatenate([-steps[::-1], steps])
    values = np.concatenate([np.array(sides[-1])[::-1], np.array(sides[1])])
    return Crossing(at, f"{i}-{k}", at + order, values[:, 0], values[:, 1], jumps, unsure)


def continuity(
    answer: Answer, frames: Sequence[Frame], cutoff: float | None = None, symbols: Sequence[str] = ()
) -> tuple[list[Check], Crossing | None]:
    """The worst jumps over pairs of the frames' elements, and the crossing at which the curvature's was.

    ``symbols`` are names of elements by atomic number. A limit is never below six times what the scatter about the
    polynomials, which is rounding, makes of a jump.
    """
    frame = max(frames, key=lambda f: len(f["z"]))
    elements = sorted({int(z) for f in frames for z in f["z"]})
    bond, partner = _bond(frame)
    pairs = islice(((i, k) for i in elements for k in elements), PAIRS)
    try:
        found = [crossing(answer, i, partner, k, bond, cutoff) for i, k in pairs]
    except CosetError as error:
        return [_skipped(f"three atoms in empty space: {error}")], None
    except Exception as error:  # a calculator of somebody else may want a cell, or a charge
        return [_skipped(f"three atoms in empty space: {type(error).__name__}: {error}")], None
    ends = [one for one in found if one is not None]
    if not ends:
        return [_skipped(f"the energy still changes at {REACH:g} A; give the cutoff")], None

    def named(one: Crossing) -> str:
        return "-".join(symbols[int(z)] if symbols else z for z in one.pair.split("-"))

    checks = []
    for name, (limit, unit) in LIMITS.items():
        allowed = [max(limit, SCATTER * one.unsure[name]) for one in ends]
        place = int(np.argmax([one.jumps[name] / most for one, most in zip(ends, allowed, strict=True)]))
        where = f"jump at {ends[place].cutoff:.4f} A, elements {named(ends[place])}"
        checks.append(Check(f"cutoff: {name}", ends[place].jumps[name], allowed[place], unit, where))
    return checks, max(ends, key=lambda one: one.jumps["curvature"])


def _skipped(why: str) -> Check:
    return Check("cutoff", math.nan, 0.0, detail=why, skipped=True)


def _at(answer: Answer, z: tuple[int, int, int], bond: float, r: float) -> tuple[float, float]:
    """Energy and its derivative with respect to ``r``."""
    angle = math.radians(110)
    u, v = (torch.tensor(x, dtype=torch.float64) for x in ([0.36, 0.48, 0.8], [0.8, -0.6, 0.0]))
    pos = torch.stack([0 * u, bond * (math.cos(angle) * u + math.sin(angle) * v), r * u])
    out = answer({"pos": pos, "z": torch.tensor(z)})
    return float(out["energy"]), -float(out["forces"][2] @ u)


def _find(answer: Answer, z: tuple[int, int, int], bond: float) -> float | None:
    """The distance beyond which the energy is what it is far away."""
    outside = [_at(answer, z, bond, (4 + n / 3) * REACH)[0] for n in range(4)]
    far, spread = outside[0], max(outside) - min(outside)
    small = max(1e-13 * max(abs(far), 10.0), min(4 * spread, ROUNDING * max(abs(far), 1.0)))
    grid = np.arange(bond, REACH, 0.1)
    last = next((float(r) for r in grid[::-1] if abs(_at(answer, z, bond, float(r))[0] - far) > small), None)
    if last is None or last == grid[-1]:
        return None
    low, high = last, last + 0.1
    while high - low > 1e-10:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if abs(_at(answer, z, bond, middle)[0] - far) > small else (low, middle)
    return high


def _limits(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy, slope and curvature at 0 of ``rows`` (points, 2), energies and slopes at ``x``; their standard deviations."""
    scale = float(np.abs(x).max())
    powers = np.vander(x / scale, DEGREE + 1, increasing=True)
    inverse = np.linalg.pinv(powers)
    fit = inverse @ rows
    scatter = np.sqrt(np.square(rows - powers @ fit).sum(0) / (len(x) - DEGREE - 1))
    gain = np.linalg.norm(inverse, axis=1)
    values = np.array([fit[0, 0], fit[0, 1], fit[1, 1] / scale])
    return values, np.array([gain[0] * scatter[0], gain[0] * scatter[1], gain[1] * scatter[1] / scale])


def _bond(frame: Frame) -> tuple[float, int]:
    """The least distance of a frame's atoms inside their cell, and the element of one of the two."""
    pos: Tensor = frame["pos"]
    if len(pos) < 2:
        return 2.0, int(frame["z"][0])
    apart = torch.cdist(pos, pos) + torch.diag(torch.full((len(pos),), math.inf, dtype=pos.dtype))
    place = int(apart.argmin())
    return float(apart.flatten()[place]), int(frame["z"][place // len(pos)])
