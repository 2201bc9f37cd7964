"""Hoppers, walkers, humanoids and quadrupeds of different numbers of limbs, 18 bodies in all.

Families and numbers of limbs are those of the 3D benchmark of Chen, Han, Sun & Huang, Subequivariant Graph Reinforcement
Learning in 3D Environments, ICML 2023, arXiv 2305.18951; the shapes are our own. ``body("walker_5")`` makes one.
"""

from __future__ import annotations

from coset.data.limbs import Body, Limb, Point
from coset.errors import unknown


def _leg(side: str, count: int, parent: int, hip: Point, *, first: int, lengths: tuple[float, float, float],
         radius: float) -> list[Limb]:  # fmt: skip
    """The first ``count`` of thigh, shin and foot, hanging down from ``hip`` on ``parent``; ``first`` is the thigh's index."""
    thigh, shin, foot = lengths
    whole = [
        Limb(f"{side}thigh", parent, "thigh", hip, ((0, 0, 0), (0, 0, -thigh)), radius),
        Limb(f"{side}shin", first, "shin", (0, 0, -thigh), ((0, 0, 0), (0, 0, -shin)), 0.9 * radius),
        Limb(f"{side}foot", first + 1, "foot", (0, 0, -shin), ((-0.4 * foot, 0, 0), (0.6 * foot, 0, 0)), 0.9 * radius),
    ]
    return whole[:count]


def _upright(radius: float = 0.07) -> Limb:
    return Limb("torso", -1, "torso", (0, 0, 0), ((0, 0, 0), (0, 0, 0.35)), radius)


def _hopper(n: int) -> tuple[Limb, ...]:
    """A chain: torso, thigh, n - 3 shins, foot."""
    links, length = n - 2, 0.6 / (n - 2)
    chain = [_upright()]
    for i in range(links):
        kind, joint = ("thigh", (0.0, 0.0, 0.0)) if i == 0 else ("shin", (0.0, 0.0, -length))
        chain.append(Limb(f"link{i}", i, kind, joint, ((0, 0, 0), (0, 0, -length)), 0.05))
    chain.append(Limb("foot", links, "foot", (0, 0, -length), ((-0.13, 0, 0), (0.26, 0, 0)), 0.06))
    return tuple(chain)


def _walker(n: int) -> tuple[Limb, ...]:
    """A torso and n - 1 limbs of two legs; the right leg is never the shorter one."""
    legs, limbs = (n // 2, (n - 1) // 2), [_upright()]
    for name, count, y in zip(("right_", "left_"), legs, (-0.1, 0.1), strict=True):
        limbs += _leg(name, count, 0, (0, y, 0), first=len(limbs), lengths=(0.45, 0.5, 0.2), radius=0.05)
    return tuple(limbs)


def _humanoid(n: int) -> tuple[Limb, ...]:
    """A torso, two legs of thigh and shin, two arms; below nine limbs forearms are missing."""
    limbs = [_upright(0.09)]
    for name, y in (("right_", -0.1), ("left_", 0.1)):
        limbs += _leg(name, 2, 0, (0, y, 0), first=len(limbs), lengths=(0.45, 0.5, 0.2), radius=0.06)
    for name, y, whole in (("right_", -1.0, n >= 8), ("left_", 1.0, n >= 9)):
        first = len(limbs)
        limbs.append(Limb(f"{name}arm", 0, "thigh", (0, 0.15 * y, 0.35), ((0, 0, 0), (0, 0.2 * y, -0.15)), 0.04))
        if whole:
            limbs.append(Limb(f"{name}forearm", first, "shin", (0, 0.2 * y, -0.15), ((0, 0, 0), (0.2, 0, -0.1)), 0.035))
    return tuple(limbs)


def _cheetah(n: int) -> tuple[Limb, ...]:
    """A lying torso, four legs of thigh, shin and foot, a tail; the tail is missing below 14 limbs, then feet are."""
    limbs = [Limb("torso", -1, "torso", (0, 0, 0), ((-0.35, 0, 0), (0.35, 0, 0)), 0.08)]
    places = [
        (f"{end}_{side}_", x, y)
        for end, x in (("back", -0.35), ("front", 0.35))
        for side, y in (("right", -0.15), ("left", 0.15))
    ]
    for i, (name, x, y) in enumerate(places):
        count = 2 if i >= n - 9 else 3
        limbs += _leg(name, count, 0, (x, y, 0), first=len(limbs), lengths=(0.22, 0.22, 0.12), radius=0.04)
    if n == 14:
        limbs.append(Limb("tail", 0, "thigh", (-0.35, 0, 0), ((0, 0, 0), (-0.3, 0, 0.1)), 0.03))
    return tuple(limbs)


FAMILIES = {
    "hopper": (_hopper, range(3, 6)),
    "walker": (_walker, range(2, 8)),
    "humanoid": (_humanoid, range(7, 10)),
    "cheetah": (_cheetah, range(10, 15)),
}
NAMES = tuple(f"{family}_{n}" for family, (_, sizes) in FAMILIES.items() for n in sizes)


def body(name: str) -> Body:
    """A body by family and number of limbs, ``"hopper_3"`` to ``"cheetah_14"``; InputError with the nearest name otherwise."""
    if name not in NAMES:
        raise unknown("body", name, NAMES)
    family, _, size = name.rpartition("_")
    limbs = FAMILIES[family][0](int(size))
    depth = [0.0] * len(limbs)
    for i, limb in enumerate(limbs):
        depth[i] = (depth[limb.parent] if limb.parent >= 0 else 0.0) + limb.joint[2]
    lowest = min(d + min(end[2] for end in limb.ends) - limb.radius for d, limb in zip(depth, limbs, strict=True))
    return Body(name, limbs, 0.01 - lowest)
