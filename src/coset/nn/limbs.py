"""What a policy over limbs is given: fields of one observation, and the checks at its edge.

Per limb six vectors (position relative to the torso, linear and angular velocity, three joint axes) and 17 scalars (three
joint angles; three times normalized angle, low and high end of the range; height; kind, one of four); per body gravity and
the direction of the target, which are repeated in every limb: 41 numbers. Positions in the tree are ``codes`` and pairs of
limbs ``relations``, both constant. Velocities and axes are axial as much as the rest is polar: nothing is claimed about
reflections.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError

VECTORS, SCALARS, CODES, RELATIONS = 6, 17, 3, 3
AXES = slice(3, 6)  #: the joint axes among the vectors
DOWN = (0.0, 0.0, -1.0)  #: gravity, as bodies are told it
INPUTS = {
    "gravity": "B x vector",
    "target": "B x vector",
    "vectors": f"B x N x {VECTORS} x vector",
    "scalars": f"B x N x {SCALARS} x scalar",
    "codes": f"B x N x {CODES} x scalar",
    "relations": f"B x N x N x {RELATIONS} x scalar",
}
LEFT_BEHIND = {**INPUTS, "gravity": "B x 3 x fixed"}  #: gravity stays where it is while all else turns
ACTIONS = "B x N x 3 x scalar"  #: torques about the joint axes in units of the largest, invariant


def check_limbs(
    gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor, relations: Tensor
) -> tuple[int, int]:
    """The numbers of bodies and limbs.

    Raises InputError for shapes that are not those of :data:`INPUTS`, no gravity, or a target without a direction.
    """
    b, n = vectors.shape[:2] if vectors.ndim == 4 else (0, 0)
    found = {
        "gravity": gravity,
        "target": target,
        "vectors": vectors,
        "scalars": scalars,
        "codes": codes,
        "relations": relations,
    }
    asked = {
        "gravity": (b, 3), "target": (b, 3), "vectors": (b, n, VECTORS, 3), "scalars": (b, n, SCALARS),
        "codes": (b, n, CODES), "relations": (b, n, n, RELATIONS),
    }  # fmt: skip
    for name, value in found.items():
        if tuple(value.shape) != asked[name] or not n:
            raise InputError(f"limbs: expected {name} as {INPUTS[name]}, {asked[name]} here, got shape {tuple(value.shape)}")
    if not bool(gravity.any(-1).all()):
        raise InputError("limbs: gravity is zero, so there is no vertical; give its direction, such as (0, 0, -1)")
    if not bool(target.any(-1).all()):
        raise InputError("limbs: the target's direction is zero (the target is where the torso is); set the target elsewhere")
    return b, n


def check_vertical(gravity: Tensor) -> None:
    """InputError unless every gravity (..., 3) is the unit vector down: what recorded and simulated states must hold."""
    down = torch.tensor(DOWN, dtype=gravity.dtype, device=gravity.device)
    if not torch.allclose(gravity, down.expand_as(gravity), atol=1e-5):
        worst = gravity.reshape(-1, 3)[(gravity.reshape(-1, 3) - down).abs().sum(-1).argmax()].tolist()
        raise InputError(f"limbs: gravity is expected as (0, 0, -1), z up; got {worst}: another vector stands in its slot")
