"""One observation of a body: vectors and scalars of every limb, from a simulator's state in world coordinates.

Everything that is scaled or cut is scaled or cut as a vector: a velocity is shortened to at most ``FASTEST``, never clipped
component by component, and no mean is taken off, since both would tell north from east. Lengths in meters, angles in
radians, world frame with z up. Layout: :mod:`coset.nn.limbs`.
"""

from __future__ import annotations

import numpy as np

from coset.data.limbs import KINDS, Body
from coset.errors import InputError

FASTEST = 10.0  #: m/s, rad/s
DOWN = np.array([0.0, 0.0, -1.0], dtype=np.float32)


def clip_norm(v: np.ndarray, longest: float = FASTEST) -> np.ndarray:
    """Vectors (..., 3) no longer than ``longest``, their directions kept."""
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return v * np.minimum(1.0, longest / np.maximum(length, 1e-12))


def direction(target: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The unit vector in the ground plane from ``position`` to ``target``, (..., 3).

    Raises InputError where the two are the same place on the ground: there is no direction.
    """
    way = (target - position) * np.array([1.0, 1.0, 0.0])
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    if not np.all(length > 1e-9):
        raise InputError("the target is where the torso is: its direction is not defined; draw another target")
    return way / length


class Observer:
    """Observations of one body; what does not change (kinds, ranges) is laid out once.

    ``ranges`` (N - 1, 3, 2) are the hinges' limits in radians. Raises InputError for limits that are not finite.
    """

    def __init__(self, body: Body, ranges: np.ndarray) -> None:
        n = len(body)
        if ranges.shape != (n - 1, 3, 2) or not np.isfinite(ranges).all() or not (ranges[..., 0] < ranges[..., 1]).all():
            raise InputError(f"{body.name}: expected finite hinge limits ({n - 1}, 3, 2), low below high; got {ranges.shape}")
        self.low, self.span = ranges[..., 0], ranges[..., 1] - ranges[..., 0]
        self.blank = np.zeros((n, 17), dtype=np.float32)
        self.blank[1:, 3:12] = np.stack([self.low * 0, ranges[..., 0] / np.pi, ranges[..., 1] / np.pi], -1).reshape(n - 1, 9)
        self.blank[np.arange(n), [13 + KINDS.index(limb.kind) for limb in body.limbs]] = 1

    def __call__(self, position: np.ndarray, velocity: np.ndarray, spin: np.ndarray, axes: np.ndarray, angles: np.ndarray,
                 target: np.ndarray) -> dict[str, np.ndarray]:  # fmt: skip
        """``position, velocity, spin`` (N, 3); ``axes`` (N - 1, 3, 3) a hinge's axis per row; ``angles`` (N - 1, 3)."""
        vectors = np.zeros((len(position), 6, 3), dtype=np.float32)
        vectors[:, 0] = position - position[0]
        vectors[:, 1], vectors[:, 2] = clip_norm(velocity), clip_norm(spin)
        vectors[1:, 3:] = axes
        scalars = self.blank.copy()
        scalars[1:, :3] = angles
        scalars[1:, 3:12:3] = (angles - self.low) / self.span
        scalars[:, 12] = position[:, 2]
        way = direction(target, position[0]).astype(np.float32)
        return {"gravity": DOWN.copy(), "target": way, "vectors": vectors, "scalars": scalars}
