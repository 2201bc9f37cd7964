"""Bodies made of limbs: trees, tree codes, relations of pairs, and their MJCF.

A :class:`Body` is a tree of capsules whose every joint has three hinges, so that limbs move in all of space. One policy
serves many bodies because it is told where a limb stands in its tree: by the places at which the pre-, in- and post-order
of the left-child-right-sibling tree visit it, and by relations of pairs. Chen, Han, Sun & Huang, Subequivariant Graph
Reinforcement Learning in 3D Environments, ICML 2023, arXiv 2305.18951. Bodies: :mod:`coset.data.limb_families`. Lengths are
meters, angles radians (degrees in MJCF); x is ahead, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError, unknown

Point = tuple[float, float, float]
KINDS = ("torso", "thigh", "shin", "foot")
#: degrees about x (sideways), y (back and forth, positive is backward) and z (twist)
RANGES = {
    "thigh": ((-30, 30), (-80, 50), (-30, 30)),
    "shin": ((-10, 10), (-5, 110), (-10, 10)),
    "foot": ((-20, 20), (-45, 45), (-20, 20)),
}
GEAR = {"thigh": 40, "shin": 40, "foot": 40}  #: N m at full action
SPRING = {"thigh": 40, "shin": 40, "foot": 80}  #: N m / rad towards the straight pose
RESTART = 0.2  #: chance to go home in the random walk behind the personalized PageRank


@dataclass(frozen=True)
class Limb:
    """A capsule (a foot: a flat box) from ``ends[0]`` to ``ends[1]`` in its own frame, whose origin, the joint, lies at
    ``joint`` in the parent's."""

    name: str
    parent: int  #: index of the limb that this one hangs on; -1 for the torso
    kind: str
    joint: Point
    ends: tuple[Point, Point]
    radius: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of limb", self.kind, KINDS)


@dataclass(frozen=True)
class Body:
    """A tree of limbs, the torso first; ``height`` is that of the torso's origin at the start.

    Raises InputError for limbs that are no tree.
    """

    name: str
    limbs: tuple[Limb, ...]
    height: float

    def __post_init__(self) -> None:
        check_tree(self.parents)

    def __len__(self) -> int:
        return len(self.limbs)

    @property
    def parents(self) -> tuple[int, ...]:
        """The parent of every limb, -1 for the torso."""
        return tuple(limb.parent for limb in self.limbs)

    def codes(self) -> Tensor:
        """:func:`tree_codes` of this body, ``(N, 3)``."""
        return tree_codes(self.parents)

    def relations(self) -> Tensor:
        """:func:`tree_relations` of this body, ``(N, N, 3)``."""
        return tree_relations(self.parents)

    def mjcf(self) -> str:
        """The body on a plane, in MuJoCo's XML."""
        inside = _torso(self)
        motors = "".join(
            f'<motor joint="{limb.name}_{axis}" gear="{GEAR[limb.kind]}" ctrlrange="-1 1" ctrllimited="true"/>'
            for limb in self.limbs[1:]
            for axis in "xyz"
        )
        return (
            f'<mujoco model="{self.name}"><compiler angle="degree"/><option timestep="0.004" integrator="implicitfast"/>'
            '<default><joint type="hinge" limited="true" armature="0.3" damping="3"/>'
            '<geom friction="1 0.1 0.1" density="1000" conaffinity="0"/></default>'
            '<worldbody><geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="1"/>'
            f"{inside}</worldbody><actuator>{motors}</actuator></mujoco>"
        )


def check_tree(parents: Sequence[int]) -> None:
    """InputError unless the first limb is the only root (-1) and every other leads to it."""
    if not parents or parents[0] != -1 or list(parents).count(-1) != 1:
        raise InputError(f"a limb tree begins with its only root, parent -1; got parents {list(parents)}")
    if not all(-1 <= parent < len(parents) for parent in parents):
        raise InputError(f"parents are indices below {len(parents)}, got {list(parents)}")
    for limb in range(len(parents)):
        at, steps = limb, 0
        while at != 0:
            at, steps = parents[at], steps + 1
            if steps > len(parents):
                raise InputError(f"the limbs above limb {limb} form a cycle: parents {list(parents)}; a body is a tree")


def tree_codes(parents: Sequence[int]) -> Tensor:
    """When pre-, in- and post-order of the left-child-right-sibling tree visit each limb: integers as float32 ``(N, 3)``.

    A limb's left child is its first limb, its right child the next limb on the same parent. Raises InputError for what
    is no tree.
    """
    check_tree(parents)
    below: list[list[int]] = [[i for i, parent in enumerate(parents) if parent == limb] for limb in range(len(parents))]
    orders: tuple[list[int], list[int], list[int]] = ([], [], [])

    def visit(family: list[int]) -> None:
        if not family:
            return
        limb, siblings = family[0], family[1:]
        orders[0].append(limb)
        visit(below[limb])
        orders[1].append(limb)
        visit(siblings)
        orders[2].append(limb)

    visit([0])
    return torch.tensor(orders).argsort(-1).T.to(torch.float32).contiguous()


def tree_relations(parents: Sequence[int]) -> Tensor:
    """What pairs of limbs are to one another, ``(N, N, 3)``: hops, personalized PageRank, normalized Laplacian.

    PageRank is ``r (1 - (1 - r) A D^-1)^-1`` with the restart ``r`` = 0.2; the Laplacian is ``1 - D^-1/2 A D^-1/2``.
    """
    check_tree(parents)
    n = len(parents)
    near = torch.zeros(n, n, dtype=torch.float64)
    for limb, parent in enumerate(parents):
        if parent >= 0:
            near[limb, parent] = near[parent, limb] = 1
    unit, degree = torch.eye(n, dtype=torch.float64), near.sum(0).clamp(min=1)
    hops, reached = torch.zeros_like(near), unit.bool()
    for step in range(1, n):
        wider = (reached.double() @ (near + unit)) > 0
        hops[wider & ~reached] = step
        reached = wider
    rank = RESTART * torch.linalg.inv(unit - (1 - RESTART) * near / degree)
    laplacian = unit - near * (degree[:, None] * degree).rsqrt()
    return torch.stack([hops, rank, laplacian], -1).to(torch.float32)


# ---------------------------------------------------------------------------------------------------- MJCF


def _torso(tree: Body) -> str:
    children = "".join(_hung(tree, i) for i, limb in enumerate(tree.limbs) if limb.parent == 0)
    return f'<body name="torso" pos="0 0 {tree.height:.4f}"><freejoint name="root"/>{_shape(tree.limbs[0])}{children}</body>'


def _hung(tree: Body, index: int) -> str:
    """A limb with its three hinges, and all that hangs on it."""
    limb = tree.limbs[index]
    children = "".join(_hung(tree, i) for i, other in enumerate(tree.limbs) if other.parent == index)
    hinges = "".join(
        f'<joint name="{limb.name}_{axis}" axis="{place}" range="{low} {high}" stiffness="{SPRING[limb.kind]}"/>'
        for axis, place, (low, high) in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), RANGES[limb.kind], strict=True)
    )
    return f'<body name="{limb.name}" pos="{_numbers(limb.joint)}">{hinges}{_shape(limb)}{children}</body>'


def _shape(limb: Limb) -> str:
    """A capsule; of a foot a flat sole twice as wide as it is high, on which a body can stand."""
    if limb.kind == "foot":
        (x0, y0, z0), (x1, y1, z1) = limb.ends
        middle, size = ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2), ((x1 - x0) / 2, 2 * limb.radius, limb.radius)
        return f'<geom name="{limb.name}" type="box" pos="{_numbers(middle)}" size="{_numbers(size)}"/>'
    return (
        f'<geom name="{limb.name}" type="capsule" size="{limb.radius:.4f}" fromto="{_numbers(limb.ends[0] + limb.ends[1])}"/>'
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
