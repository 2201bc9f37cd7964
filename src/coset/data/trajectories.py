"""Trajectories of bodies that pull and push: charges, springs, gravity; as scenes with given and future frames.

``charged``: charges ±1, Coulomb forces. ``springs``: each pair joined with probability 1/2, force -0.1 times the distance.
``gravity``: unit masses, center of mass at rest. Leapfrog in float64 with step 0.001, one frame every 0.1 units of time: the
systems of Han et al. (2024), after Kipf et al. (2018), in free space. All laws are invariant under E(3) and under permutations
of the bodies. Differs: charges are softened at 0.1 as masses are (there each coordinate of a force is cut at 100, which no
rotation respects).

A scene is ``{"cond": (N, past, 3), "x": (N, future, 3), "h": (N, F), "edge_index": (2, E), "edge_attr": (E, A), "batch":
(N,)}``; :class:`Scenes` holds many, of any sizes, and joins them into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coset.data.nbody import forces
from coset.errors import InputError, unknown
from coset.reps.fields import Fields

#: what a scene may hold; ``cond`` is absent where whole trajectories are generated
SCENE = {
    "cond": "N x Tc x position",
    "x": "N x T x position",
    "h": "N x F x scalar",
    "edge_index": "2 x E -> N",
    "edge_attr": "E x A x scalar",
    "batch": "N -> B",
}
LAWS = ("charged", "springs", "gravity")
FRAME, STEP, SOFTENING = 0.1, 0.001, 0.1


class Scenes(Dataset):
    """Scenes of any sizes; ``collate`` joins them into one graph of many parts. InputError for none, or for unlike ones."""

    def __init__(self, scenes: Sequence[Mapping[str, Tensor]]) -> None:
        if not scenes:
            raise InputError("Scenes: at least one scene; a shorter window, or a longer recording, gives some")
        names = [name for name in SCENE if name in scenes[0]]
        if odd := [scene for scene in scenes if set(scene) != set(names)]:
            raise InputError(f"Scenes: every scene holds {names}, one holds {sorted(odd[0])}")
        self.scenes, self.fields = list(scenes), Fields({name: SCENE[name] for name in names})

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        return self.scenes[index]

    def collate(self, scenes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One batch: nodes and edges side by side, pointers shifted."""
        return self.fields.join(scenes)

    def parts(self, size: int) -> list[dict[str, Tensor]]:
        """All scenes in order, in batches of ``size``."""
        return [self.collate(self.scenes[i : i + size]) for i in range(0, len(self), size)]


@dataclass(frozen=True)
class System:
    """``bodies`` under a law, seen in ``past + future`` frames; InputError for an unknown law or sizes that leave nothing."""

    law: str = "charged"
    bodies: int = 5
    past: int = 10
    future: int = 20
    step: float = STEP

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise unknown("law", self.law, LAWS)
        if self.bodies < 2 or self.past < 0 or self.future < 1 or not 0 < self.step <= FRAME:
            raise InputError(f"System: at least 2 bodies, 1 future frame and a step up to {FRAME}, got {self}")

    def sample(self, count: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Scenes:
        """``count`` scenes; node feature: the charge (else 1); edge feature: product of charges, spring or not (else 1)."""
        shape = (count, self.bodies, 3)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        v = torch.randn(shape, generator=generator, dtype=torch.float64)
        h = torch.ones(shape[:2], dtype=torch.float64)
        if self.law == "gravity":
            v = v - v.mean(1, keepdim=True)
        else:
            v = 0.5 * v / v.norm(dim=-1, keepdim=True)
        if self.law == "charged":
            x = x * (self.bodies / 5) ** (1 / 3)
            h = torch.randint(2, shape[:2], generator=generator).double() * 2 - 1
        pair = h.unsqueeze(-1) * h.unsqueeze(-2)
        if self.law == "springs":
            x = 0.5 * x
            drawn = torch.randint(2, pair.shape, generator=generator).double().tril(-1)
            pair = drawn + drawn.mT
        path = follow(x, v, self._law(h, pair), frames=self.past + self.future, step=self.step).to(dtype)
        return Scenes([scene(path[i], self.past, h[i].to(dtype), pair[i].to(dtype)) for i in range(count)])

    def _law(self, h: Tensor, pair: Tensor) -> Callable[[Tensor], Tensor]:
        """Accelerations ``(count, bodies, 3)`` as a function of positions."""
        if self.law != "springs":
            sign = 1 if self.law == "charged" else -1
            return lambda x: sign * forces(x, h, softening=SOFTENING)
        return lambda x: -0.1 * (pair.unsqueeze(-1) * (x.unsqueeze(-2) - x.unsqueeze(-3))).sum(-2)


def follow(
    x: Tensor, v: Tensor, law: Callable[[Tensor], Tensor], *, frames: int, step: float = STEP, frame: float = FRAME
) -> Tensor:
    """Positions ``(count, bodies, frames, 3)`` by leapfrog, the first frame being the start."""
    path, a = [x], law(x)
    for _ in range(frames - 1):
        for _ in range(round(frame / step)):
            v = v + 0.5 * step * a
            x = x + step * v
            a = law(x)
            v = v + 0.5 * step * a
        path.append(x)
    return torch.stack(path, 2)


def scene(
    path: Tensor, past: int, h: Tensor, pair: Tensor | None = None, edge_index: Tensor | None = None
) -> dict[str, Tensor]:
    """One scene from positions ``(N, past + future, n)``; ``h`` ``(N,)`` or ``(N, F)``; ``pair`` ``(N, N)`` belongs to edges.

    Without ``edge_index`` all pairs are joined. With ``past = 0`` there is no ``cond``.
    """
    n = len(path)
    if edge_index is None:
        edge_index = torch.stack(torch.where(~torch.eye(n, dtype=torch.bool)))
    out = {"x": path[:, past:], "h": h if h.ndim == 2 else h.unsqueeze(-1), "edge_index": edge_index}
    if pair is not None:
        out["edge_attr"] = pair[edge_index[0], edge_index[1]].unsqueeze(-1)
    if past:
        out["cond"] = path[:, :past]
    return {**out, "batch": torch.zeros(n, dtype=torch.int64)}


def split_frames(x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """``(cond, future)`` from trajectories ``(N, T, n)`` and a mask ``(T,)`` of the frames that are given.

    Raises InputError for a mask of another length, an empty or a full one, and for frames that are not finite.
    """
    given = given.bool()
    if given.shape != x.shape[1:2]:
        raise InputError(f"split_frames: the mask names {x.shape[1]} frames, got {tuple(given.shape)}")
    if not bool(given.any()) or bool(given.all()):
        what = "no frame is given: generate without conditioning (prior='none')" if not bool(given.any()) else "nothing is left"
        raise InputError(f"split_frames: {what}; a mask is neither empty nor full")
    if not bool(torch.isfinite(x).all()):
        raise InputError("split_frames: coordinates hold NaN or infinite values; drop these tracks, or fill them in, first")
    return x[:, given], x[:, ~given]
