"""A reacher-glider in 3D: three point limbs on springs, thrusters along their own axes, an expert that flies to a target.

    f_i = d - 0.8 (1 + |v_i| / 2) v_i + (h - z_i) e_z + springs + weight,    a_ij = tanh(axis_ij . f_i / 3)

d is the horizontal way to the target, z the height, h = 1. The expert is equivariant under rotations about gravity by
construction, and behavior cloning asks what a student makes of states whose target lies in a sector of 60 degrees when the
target lies elsewhere. A glider faces its target more or less, so states for another heading are states turned, not merely
another number. The task is that of the benchmark of Chen et al. (ICML 2023) in miniature; its states are laid out as in
:mod:`coset.nn.limbs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from coset.data.limbs import tree_codes, tree_relations
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.recipe import Data, Request

SIZES = {"smoke": (60, 40), "cpu": (500, 2000), "full": (500, 20000)}  #: training states, test states inside and outside
SECTOR = math.radians(60)
PARENTS = (-1, 0, 1)
SPACING, STIFFNESS, HEIGHT = 0.5, 4.0, 1.0  #: meters, 1/s^2, meters
STRENGTH, WEIGHT, DRAG, STEP = 3.0, 1.0, 0.2, 0.05  #: m/s^2, m/s^2, 1/s, s
RANGE = 0.5  #: radians, how far a limb's axes may be turned against the body's


def expert(state: dict[str, Tensor]) -> Tensor:
    """The expert's actions (B, 3, 3) in [-1, 1] for states as models see them."""
    place, velocity, axes = state["vectors"][:, :, 0], state["vectors"][:, :, 1], state["vectors"][:, :, 3:6]
    up = -state["gravity"][:, None]
    damping = 0.8 * (1 + 0.5 * velocity.norm(dim=-1, keepdim=True)) * velocity
    climb = (HEIGHT - state["scalars"][..., 12:13] + WEIGHT) * up
    force = state["target"][:, None] - damping + climb - springs(place)
    return torch.tanh((axes @ force.unsqueeze(-1)).squeeze(-1) / STRENGTH)


def springs(place: Tensor) -> Tensor:
    """Accelerations (B, 3, 3) by the springs between neighbors at ``place`` (B, 3, 3)."""
    gap = place[:, 1:] - place[:, :-1]
    pull = STIFFNESS * gap * (1 - SPACING / gap.norm(dim=-1, keepdim=True).clamp(min=1e-6))
    out = torch.zeros_like(place)
    out[:, :-1] += pull
    out[:, 1:] -= pull
    return out


def observe(place: Tensor, velocity: Tensor, spin: Tensor, angles: Tensor, axes: Tensor, target: Tensor) -> dict[str, Tensor]:
    """What a policy sees: world positions, velocities, spins (B, 3, 3), angles (B, 3, 3), axes as rows, target (B, 3).

    Raises InputError for a target at the torso's place on the ground.
    """
    b = len(place)
    way = (target - place[:, 0]) * torch.tensor([1.0, 1.0, 0.0]).to(place)
    if not bool(way.any(-1).all()):
        raise InputError("glider: the target is where the torso is: its direction is not defined")
    kinds = torch.eye(4).to(place)[:3].expand(b, 3, 4)
    span = torch.full_like(angles, RANGE / math.pi)
    ranges = torch.stack([(angles + RANGE) / (2 * RANGE), -span, span], -1).flatten(-2)
    vectors = torch.cat([torch.stack([place - place[:, :1], velocity, spin], 2), axes], 2)
    constants = {"codes": tree_codes(PARENTS), "relations": tree_relations(PARENTS)}
    return {
        "gravity": torch.tensor([0.0, 0.0, -1.0]).to(place).repeat(b, 1),
        "target": way / way.norm(dim=-1, keepdim=True),
        "vectors": vectors,
        "scalars": torch.cat([angles, ranges, place[..., 2:], kinds], -1),
        **{name: value.to(place).repeat(b, *[1] * value.ndim) for name, value in constants.items()},
    }


def frames(yaw: Tensor, angles: Tensor) -> Tensor:
    """Axes (B, 3, 3, 3) as rows: the body's axes at ``yaw`` (B,), each limb's turned by the vector ``angles`` (B, 3, 3)."""
    turn = SO(3).exp(torch.stack([torch.zeros_like(yaw), torch.zeros_like(yaw), yaw], -1))
    return (turn[:, None] @ SO(3).exp(angles)).mT


def sample(headings: Tensor, *, generator: torch.Generator) -> dict[str, Tensor]:
    """One state for each heading (B,) in radians, float32, with the expert's action ``y``."""
    b = len(headings)

    def normal(*shape: int) -> Tensor:
        return torch.randn(b, *shape, generator=generator, dtype=torch.float64)

    # drawn for a target ahead, along x, then turned to the heading
    yaw, ahead, up = 0.35 * normal(), torch.tensor([1.0, 0, 0]).double(), torch.tensor([0, 0, 1.0]).double()
    nose = torch.stack([yaw.cos(), yaw.sin(), torch.zeros_like(yaw)], -1)
    angles = (0.2 * normal(3, 3)).clamp(-RANGE, RANGE)
    behind = -SPACING * torch.arange(3, dtype=torch.float64)[:, None] * nose[:, None]
    place = behind + (HEIGHT + 0.3 * normal(1, 1)) * up + 0.1 * normal(3, 3)
    speed = 1.2 * torch.rand(b, 1, 1, generator=generator, dtype=torch.float64)
    velocity, spin = speed * ahead + 0.3 * normal(3, 3), 0.3 * normal(3, 3)
    turn = frames(headings.double(), torch.zeros_like(angles))[:, 0]  # rows: x, y, z of the heading's frame
    place, velocity, spin = (value @ turn for value in (place, velocity, spin))
    target = place[:, 0] + 10 * (ahead @ turn)
    state = observe(place, velocity, spin, angles, frames(headings.double() + yaw, angles), target)
    state["y"] = expert(state)
    return {name: value.float() for name, value in state.items()}


def fly(policy: Callable[..., Tensor], headings: Tensor, *, steps: int = 300) -> Tensor:
    """Tracks of the torso on the ground, (E, steps + 1, 2), one flight for each heading, from rest, facing the target."""
    headings = headings.float()
    start = torch.tensor([[0.0, 0.0, HEIGHT], [-SPACING, 0.0, HEIGHT], [-2 * SPACING, 0.0, HEIGHT]])
    angles = torch.zeros(len(headings), 3, 3)
    axes = frames(headings, angles)
    place = (axes[:, 0].mT @ start.T).mT
    velocity, way = torch.zeros_like(place), torch.stack([headings.cos(), headings.sin(), 0 * headings], -1)
    down = torch.tensor([0.0, 0.0, -WEIGHT])
    tracks = [place[:, 0, :2]]
    for _ in range(steps):
        seen = observe(place, velocity, torch.zeros_like(place), angles, axes, place[:, 0] + 10 * way)
        thrust = STRENGTH * (policy(**seen).unsqueeze(-2) @ axes).squeeze(-2)
        velocity = velocity + STEP * (thrust + springs(place) + down - DRAG * velocity)
        place = place + STEP * velocity
        tracks.append(place[:, 0, :2])
    return torch.stack(tracks, 1)


def glider(request: Request) -> Data:
    """Training and validation states inside the sector, test states ``inside`` and ``outside``; InputError for a file."""
    if request.files:
        raise InputError(f"glider states are generated; they take no data file, got {request.files[0][0]!r}")
    train, test = SIZES[request.size]
    generator = torch.Generator().manual_seed(2000 + request.seed)

    def states(count: int, low: float, high: float) -> dict[str, Tensor]:
        return sample(low + (high - low) * torch.rand(count, generator=generator), generator=generator)

    half = SECTOR / 2
    parts = [states(train, -half, half), states(test // 4, -half, half), states(test, -half, half)]
    outside = states(test, half, 2 * math.pi - half)
    audit = {name: value[:32] for name, value in outside.items() if name != "y"}
    return Data(parts[0], {"inside": parts[2], "outside": outside}, audit, parts[1], {"size": request.size, "limbs": 3})
