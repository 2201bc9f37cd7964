"""Bodies that walk to a target in any direction of the ground plane: a gymnasium environment over MuJoCo (extra ``control``).

    reward = (decrease of the distance to the target) / dt + 1 - 0.001 |a|^2

An episode starts at a random yaw with a target at a random heading, 10 km away (``far``, v1 of the paper) or 10 to 20 m away
and drawn anew within a meter (``near``, v2); it ends when the torso sinks below half its height or tilts by more than a
radian, or after ``episode`` steps of 0.016 s. Everything follows from the seed, and :meth:`Walking.state` restores a running
episode bit for bit. Chen, Han, Sun & Huang, ICML 2023, arXiv 2305.18951; bodies: :mod:`coset.data.limb_families`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from coset.data.limb_families import body
from coset.data.limb_observation import Observer
from coset.data.limbs import Body
from coset.errors import InputError, require, unknown

TARGETS = {"far": (10_000.0, 10_000.0), "near": (10.0, 20.0)}  #: distances in meters
REACHED = 1.0  #: meters; a near target is drawn anew within
TILT, SINK = 1.0, 0.5  #: radians; share of the height at the start
FRAMES = 4  #: simulation steps of 4 ms in one step
COST = 1e-3  #: of squared actions


def environment(
    name: str | Body = "hopper_3",
    *,
    target: str = "far",
    headings: tuple[float, float] = (-math.pi, math.pi),
    episode: int = 1000,
) -> Any:
    """The environment of a body, targets drawn at ``headings`` (radians from x); a ``gymnasium.Env``.

    Raises MissingExtra without gymnasium or mujoco; InputError for an unknown body or target, and an empty range.
    """
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    if not headings[0] < headings[1] or episode < 1:
        raise InputError(f"environment: headings (low, high) and an episode of 1 step or more, got {headings} and {episode}")
    return _environment()(name if isinstance(name, Body) else body(name), target, headings, episode)


@cache
def _environment() -> type:
    return type("Walk", (Walking, require("gymnasium", extra="control").Env), {})


class Walking:
    """What the environment does; mixed with ``gymnasium.Env`` by :func:`environment`."""

    np_random: np.random.Generator
    metadata: Mapping[str, Any] = {"render_modes": []}

    def __init__(self, tree: Body, target: str, headings: tuple[float, float], episode: int) -> None:
        mujoco, spaces = require("mujoco", extra="control"), require("gymnasium.spaces", extra="control")
        self.body, self.headings, self.episode, self.reach = tree, headings, episode, TARGETS[target]
        self.model = mujoco.MjModel.from_xml_string(tree.mjcf())
        self.data = mujoco.MjData(self.model)
        self.mujoco, self.near = mujoco, target == "near"
        n = len(tree)
        self.ids = [self.model.body(limb.name).id for limb in tree.limbs]
        hinges = [self.model.joint(f"{limb.name}_{axis}").id for limb in tree.limbs[1:] for axis in "xyz"]
        self.hinges = np.array(hinges).reshape(n - 1, 3)
        self.places = self.model.jnt_qposadr[self.hinges]
        self.observe = Observer(tree, self.model.jnt_range[self.hinges])
        self.dt = FRAMES * self.model.opt.timestep
        self.target, self.steps = np.zeros(3), 0
        self.constants = {"codes": tree.codes().numpy(), "relations": tree.relations().numpy()}
        shapes = {"gravity": (3,), "target": (3,), "vectors": (n, 6, 3), "scalars": (n, 17)}
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, shape, np.float32) for name, shape in shapes.items()}
        )
        self.action_space = spaces.Box(-1.0, 1.0, (n, 3), np.float32)  # the torso has no hinge, its row is not used

    def reset(self, *, seed: int | None = None, options: Mapping[str, float] | None = None) -> tuple[dict, dict]:
        """A body at rest, nearly upright; ``options`` may fix ``heading`` and ``yaw`` (radians)."""
        super().reset(seed=seed)  # type: ignore[misc]
        options = options or {}
        self.mujoco.mj_resetData(self.model, self.data)
        yaw = self.np_random.uniform(-math.pi, math.pi)
        heading = self.np_random.uniform(*self.headings)
        yaw, heading = options.get("yaw", yaw), options.get("heading", heading)
        self.data.qpos[3:7] = math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)  # (w, x, y, z)
        self.data.qpos[self.places] += self.np_random.uniform(-0.01, 0.01, self.places.shape)
        self.data.qvel[:] = self.np_random.uniform(-0.01, 0.01, self.data.qvel.shape)
        self.mujoco.mj_forward(self.model, self.data)
        self.steps = 0
        self._aim(heading)
        return self._see(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Four simulation steps under the torques of ``action`` (N, 3)."""
        if np.shape(action) != self.action_space.shape or not np.isfinite(action).all():
            raise InputError(f"{self.body.name}: expected finite actions {self.action_space.shape}, got {np.shape(action)}")
        pushed = np.clip(action[1:], -1.0, 1.0).reshape(-1)
        self.data.ctrl[:] = pushed
        before = self._distance()
        self.mujoco.mj_step(self.model, self.data, FRAMES)
        self.steps += 1
        observation = self._see()
        gain = (before - self._distance()) / self.dt
        reward = float(gain + 1.0 - COST * np.square(pushed).sum())
        fallen = self._fallen()
        if self.near and self._distance() < REACHED:
            self._aim(self.np_random.uniform(*self.headings))
            observation = self._see()
        return observation, reward, fallen, self.steps >= self.episode, {}

    def place(self) -> np.ndarray:
        """Where the torso is on the ground, (2,) in meters."""
        return self.data.xpos[self.ids[0], :2].copy()

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs to go on as if nothing had happened."""
        kind = self.mujoco.mjtState.mjSTATE_INTEGRATION
        values = np.empty(self.mujoco.mj_stateSize(self.model, kind))
        self.mujoco.mj_getState(self.model, self.data, values, kind)
        return {"physics": values, "target": self.target.copy(), "steps": self.steps,
                "random": self.np_random.bit_generator.state}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; the environment must have been reset once."""
        self.mujoco.mj_setState(self.model, self.data, state["physics"], self.mujoco.mjtState.mjSTATE_INTEGRATION)
        self.target, self.steps = state["target"].copy(), int(state["steps"])
        self.np_random.bit_generator.state = state["random"]
        self._see()

    def _aim(self, heading: float) -> None:
        far = self.np_random.uniform(*self.reach)
        self.target = self.data.xpos[self.ids[0]] + far * np.array([math.cos(heading), math.sin(heading), 0.0])

    def _distance(self) -> float:
        return float(np.linalg.norm((self.target - self.data.qpos[:3])[:2]))

    def _fallen(self) -> bool:
        upright = self.data.xmat[self.ids[0], 8]  # cosine of the angle between the torso's z and the vertical
        height = self.data.qpos[2]
        return not (upright > math.cos(TILT) and height > SINK * self.body.height)  # NaN has fallen, too

    def _see(self) -> dict[str, np.ndarray]:
        model, data, mujoco = self.model, self.data, self.mujoco
        for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_comVel):  # mj_step leaves these one step behind
            update(model, data)
        motion = np.zeros((len(self.ids), 6))
        for row, limb in zip(motion, self.ids, strict=True):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, limb, row, 0)
        return self.observe(
            data.xpos[self.ids], motion[:, 3:], motion[:, :3], data.xaxis[self.hinges], data.qpos[self.places], self.target
        )
