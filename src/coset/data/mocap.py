"""People in motion: skeletons and their joint positions, from CMU's ``.asf`` and ``.amc`` files, from ``.npz``, or generated.

A bone ``b`` with direction ``d`` and length ``l`` ends where its parent ends, plus ``l R_b d``; its frame is turned by
``R_b = R_parent C M(angles) C^-1`` with ``C`` the axis of its joint and ``M`` the product of the rotations that the file
lists, ``Rz Ry Rx`` of those named. Lengths are the file's divided by its ``length`` scale (times 0.0254, meters), y is up.
CMU Graphics Lab Motion Capture Database, mocap.cs.cmu.edu. Also read: ``.npz`` with ``pos`` ``(frames, joints, 3)``,
``seq_ptr`` and ``edges``, in which some works share the joints.

A scene is a piece of one motion, 8 frames given and 12 to predict; a node feature for every joint; edges are bones (1) and
the ends of two bones that meet (-1). The true symmetry is that of the ground, turns about the vertical; E(3) is assumed, as
is usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coset.data.trajectories import Scenes, scene
from coset.errors import InputError
from coset.records import load_arrays

PAST, FUTURE = 8, 12
EVERY = 4  #: frames of 120 per second: 30 per second
METER = 0.0254


@dataclass(frozen=True)
class Motions:
    """Joint positions ``(frames, joints, 3)`` of every recording, and bones ``(bones, 2)``, each once."""

    sequences: tuple[np.ndarray, ...]
    bones: np.ndarray


@dataclass
class Bone:
    """One bone of a skeleton file."""

    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: np.ndarray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()
    parent: str = ""


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """``Rz Ry Rx`` of angles in degrees."""
    (a, b, c), (s, t, u) = np.cos(np.radians([x, y, z])), np.sin(np.radians([x, y, z]))
    rx = np.array([[1, 0, 0], [0, a, -s], [0, s, a]])
    ry = np.array([[b, 0, t], [0, 1, 0], [-t, 0, b]])
    rz = np.array([[c, -u, 0], [u, c, 0], [0, 0, 1]])
    return rz @ ry @ rx


def read_asf(path: str | Path) -> dict[str, Bone]:
    """Bones by name, ``root`` first, parents before children; InputError for a file that is no skeleton."""
    try:
        parts = _sections(path)
        scale = METER / float({line[0]: line[1] for line in parts["units"]}["length"])
        root = {line[0]: line[1:] for line in parts["root"]}
        axis = rotation(*map(float, root["orientation"][:3]))
        found = {"root": Bone(length=scale, axis=axis, dof=tuple(word.lower() for word in root["order"]))}
        for block in _blocks(parts["bonedata"]):
            lines = {line[0]: line[1:] for line in block}
            if lines["axis"][-1].upper() != "XYZ":
                raise InputError(f"{path}: axes are in the order XYZ, got {lines['axis'][-1]}")
            found[lines["name"][0]] = Bone(
                np.array(lines["direction"], dtype=float), float(lines["length"][0]) * scale,
                rotation(*map(float, lines["axis"][:3])), tuple(lines.get("dof", ())),
            )  # fmt: skip
        order = ["root"]
        for parent, *children in next(_blocks(parts["hierarchy"])):
            order += children
            for child in children:
                found[child].parent = parent
        return {name: found[name] for name in order}
    except (OSError, UnicodeDecodeError, StopIteration, KeyError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a skeleton in .asf form ({type(error).__name__}: {error})") from error


def read_amc(path: str | Path, bones: Mapping[str, Bone]) -> np.ndarray:
    """Joint positions ``(frames, joints, 3)`` in meters, in the order of ``bones``; InputError for a file that does not fit."""
    frames: list[dict[str, list[float]]] = []
    try:
        for line in Path(path).read_text().splitlines():
            word = line.split()
            if len(word) == 1 and word[0].isdigit():
                frames.append({})
            elif frames and len(word) > 1:
                frames[-1][word[0]] = [float(value) for value in word[1:]]
        poses = np.array([_pose(frame, bones) for frame in frames])
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a motion of this skeleton in .amc form ({type(error).__name__}: {error})") from error
    if not frames or not np.isfinite(poses).all():
        raise InputError(f"{path}: expected finite frames in .amc form, got {len(frames)} frames")
    return poses


def _pose(frame: Mapping[str, list[float]], bones: Mapping[str, Bone]) -> np.ndarray:
    """Where every bone ends, ``(joints, 3)``."""
    place: dict[str, np.ndarray] = {}
    turn: dict[str, np.ndarray] = {}
    for name, bone in bones.items():
        angle = dict(zip(bone.dof, frame.get(name, []), strict=True))
        local = bone.axis @ rotation(*(angle.get(f"r{axis}", 0.0) for axis in "xyz")) @ bone.axis.T
        if not bone.parent:  # the root's length is the unit of its place
            turn[name], place[name] = local, bone.length * np.array([angle[f"t{axis}"] for axis in "xyz"])
            continue
        turn[name] = turn[bone.parent] @ local
        place[name] = place[bone.parent] + bone.length * (turn[name] @ bone.direction)
    return np.array([place[name] for name in bones])


def _sections(path: str | Path) -> dict[str, list[list[str]]]:
    """The lines of a skeleton file as words, under the headings ``:name`` they follow."""
    out: dict[str, list[list[str]]] = {}
    here: list[list[str]] = []
    for line in Path(path).read_text().splitlines():
        words = line.partition("#")[0].split()
        if words and words[0].startswith(":"):
            here = out.setdefault(words[0][1:], [])
        elif words:
            here.append(words)
    return out


def _blocks(lines: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """The lines between every ``begin`` and ``end``."""
    inside: list[list[str]] = []
    for words in lines:
        if words[0] == "begin":
            inside = []
        elif words[0] == "end":
            yield inside
        else:
            inside.append(words)


def read_motions(path: str | Path) -> Motions:
    """All motions of a folder with one ``.asf`` and its ``.amc`` files, or of one ``.npz``; InputError for anything else."""
    path = Path(path)
    if path.suffix == ".npz":
        ends, pos, edges = _arrays(path)
        return Motions(tuple(pos[a:b] for a, b in pairwise(ends)), edges)
    skeletons, recordings = sorted(path.glob("*.asf")), sorted(path.glob("*.amc"))
    if len(skeletons) != 1 or not recordings:
        raise InputError(
            f"{path}: expected one .asf and its .amc files, or a .npz; found {len(skeletons)} and {len(recordings)}"
        )
    bones = read_asf(skeletons[0])
    names = list(bones)
    pairs = np.array([(names.index(bone.parent), i) for i, bone in enumerate(bones.values()) if bone.parent])
    return Motions(tuple(read_amc(file, bones) for file in recordings), pairs)


def _arrays(path: Path) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Where motions begin and end, positions, bones."""
    expected = f"{path}: expected arrays pos (frames, joints, 3), seq_ptr and edges"
    try:
        found = load_arrays(path)
        ends, pos, bones = found["seq_ptr"], found["pos"].astype(float), found["edges"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{expected} ({error})") from error
    if pos.ndim != 3 or pos.shape[2] != 3 or not np.isfinite(pos).all():
        raise InputError(f"{expected}; pos has shape {pos.shape}, or holds NaN or infinite numbers")
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or (np.diff(ends) < 1).any() or {*ends[[0, -1]]} - {0, len(pos)}:
        raise InputError(f"{expected}; seq_ptr rises from 0 to the number of frames, {len(pos)}")
    if bones.ndim != 2 or bones.shape[1] != 2 or bones.dtype.kind not in "iu" or not _within(bones, pos.shape[1]):
        raise InputError(f"{expected}; edges are pairs (parent, joint) of numbers below {pos.shape[1]}")
    return ends.tolist(), pos, bones


def _within(numbers: np.ndarray, count: int) -> bool:
    return bool(((numbers >= 0) & (numbers < count)).all())


# ---------------------------------------------------------------------------------------------------- scenes


def pieces(motions: Motions, *, every: int = EVERY, past: int = PAST, future: int = FUTURE, stride: int = 8) -> list[Scenes]:
    """Train, valid and test: all pieces of ``past + future`` frames, ``every``-th taken, begun ``stride`` frames apart.

    The last recording is for the test, the one before it for validation; a lone recording or two are cut in time instead,
    60, 20 and 20 percent. Raises InputError where the recordings are too short.
    """
    sequences = list(motions.sequences)
    if len(sequences) < 3:
        sequences = [part for whole in sequences for part in np.split(whole, [int(0.6 * len(whole)), int(0.8 * len(whole))])]
        groups = [sequences[i::3] for i in range(3)]
    else:
        groups = [sequences[:-2], sequences[-2:-1], sequences[-1:]]
    span = every * (past + future)
    graph = joined(motions.bones, sequences[0].shape[1])
    out = []
    for group in groups:
        starts = [whole[i : i + span : every] for whole in group for i in range(0, len(whole) - span + 1, stride)]
        out.append(Scenes([body(piece, graph, past) for piece in starts]))
    return out


def joined(bones: np.ndarray, joints: int) -> Tensor:
    """``(joints, joints)``: 1 for a bone, -1 for two joints that a third one joins, 0 for all other pairs."""
    near = torch.zeros(joints, joints)
    near[bones[:, 0], bones[:, 1]] = near[bones[:, 1], bones[:, 0]] = 1
    second = ((near @ near) > 0) & (near == 0) & ~torch.eye(joints, dtype=torch.bool)
    return near - second.float()


def body(piece: np.ndarray, graph: Tensor, past: int = PAST) -> dict[str, Tensor]:
    """One scene from joint positions ``(T, joints, 3)``; every joint is known by a feature of its own."""
    path = torch.from_numpy(np.ascontiguousarray(piece.swapaxes(0, 1))).float()
    return scene(path, past, torch.eye(len(path)), graph, torch.stack(torch.where(graph != 0)))


STICKS = np.array(
    [(0, 1), (1, 2), (0, 3), (3, 4), (0, 5), (5, 6), (6, 7), (6, 8)]
)  #: hips, legs, trunk, arms of a generated walker


def walks(count: int, *, generator: torch.Generator, frames: int = 240) -> Motions:
    """``count`` generated walks of nine joints, 120 frames per second, meters, y up: pendulum legs and arms on a moving hip.

    Pace, stride, build and heading are drawn for every walk.
    """
    t = np.arange(frames) / 120
    out = []
    for _ in range(count):
        speed, build, phase, heading = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        tempo = 2 * np.pi * (0.8 + 0.4 * speed)
        height, swing = 0.9 + 0.2 * build, 0.35 + 0.25 * speed
        angle = swing * np.sin(tempo * t + 2 * np.pi * phase)
        hip = np.stack([np.zeros(frames), height + 0.02 * np.cos(2 * tempo * t), (0.9 + 0.7 * speed) * t], -1)

        def hang(top: np.ndarray, length: float, angle: np.ndarray) -> np.ndarray:
            return top + length * np.stack([np.zeros(frames), -np.cos(angle), np.sin(angle)], -1)

        legs = []
        for side in (1, -1):
            knee = hang(hip, height / 2, side * angle)
            legs += [knee, hang(knee, height / 2, side * angle - 0.4 * (1 + np.sin(tempo * t + side)))]
        chest, neck = hip + [0, 0.25, 0], hip + [0, 0.5 * height, 0]
        arms = [hang(neck + [0.2 * side, 0, 0], 0.6 * height, -0.8 * side * angle) for side in (1, -1)]
        out.append(np.stack([hip, *legs, chest, neck, *arms], 1) @ rotation(0, 360 * heading, 0).T)
    return Motions(tuple(out), STICKS)
