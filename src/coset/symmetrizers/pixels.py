"""What a grid of pixels keeps of a promise: quarter turns and flips move entries, everything else interpolates.

An average or a canonical pose that is exact for SO(2) in the plane is exact for C(4) on images, and approximate, by one
resampling, for the rest: two contracts instead of one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce

from coset.contract import Contract
from coset.groups.euclidean import SE, E
from coset.groups.finite import C, D
from coset.groups.group import Family
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.groups.product import Power
from coset.reps.action import Fibre
from coset.reps.fields import Fields
from coset.reps.image import Image


def promises_on_grid(contract: Contract) -> tuple[Contract, ...]:
    """The contract itself without images or where the grid keeps it; else its exact part and the approximate whole."""
    if not (_pictured(contract.inputs) or _pictured(contract.outputs)):
        return (contract,)
    kept = kept_by_pixels(contract.group)
    if kept == contract.group:
        return (contract,)
    whole = replace(contract, claim="approximate", bound=None)
    return (whole,) if kept is None else (replace(contract, group=kept), whole)


def kept_by_pixels(group: Family) -> Family | None:
    """The subgroup that moves square images without interpolating, None if that is known of no part."""
    if isinstance(group, Power):
        inner = kept_by_pixels(group.base)
        return None if inner is None else Power(inner, group.index)  # type: ignore[arg-type]
    parts = group.factors()
    if len(parts) > 1:
        found = [part for part in map(kept_by_pixels, parts) if part is not None]
        return reduce(lambda a, b: a * b, found) if found else None
    if isinstance(group, (C, D)):
        return type(group)(math.gcd(group.n, 4))
    if isinstance(group, (SO, SE, O, E)) and group.n == 2:
        return C(4) if isinstance(group, (SO, SE)) else D(4)
    return group if isinstance(group, S) else None


def _pictured(fields: Fields) -> bool:
    return any(isinstance(d.kind.base if isinstance(d.kind, Fibre) else d.kind, Image) for _, d in fields)
