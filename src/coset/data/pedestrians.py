"""Pedestrians seen from above: the recordings of ETH and UCY in their public text form, or walkers of our own making.

A recording is a text file (``.txt``, also ``.txt.gz``) of rows ``frame pedestrian x y``, meters, annotated every 0.4 s. A
window of 20 consecutive annotations is one scene: those present in all of it, 8 positions given and 12 to predict, in the
plane. Those within 3 m of one another in the last given frame are joined by edges. Pellegrini et al. (2009), Lerner et al.
(2007); windows as in Gupta et al., Social GAN, CVPR 2018, arXiv 1803.10892.

Leave one scene out: all recordings in a folder but those of the tested scene are for training. Without files the walkers are
generated: they head for goals of their own and step aside for one another, a law invariant under E(2).
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coset.data.trajectories import Scenes, scene
from coset.errors import InputError, unknown

PAST, FUTURE = 8, 12
REACH = 3.0  #: meters
FRAME = 0.4  #: seconds
#: the five scenes of the benchmark and the recordings they consist of
SCENES = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
#: rows from this frame on are for validation, as published; of other recordings the last fifth is
CUTS = {
    "biwi_eth": 10240, "biwi_hotel": 14400, "crowds_zara01": 7110, "crowds_zara02": 8010, "crowds_zara03": 6030,
    "students001": 3550, "students003": 4320, "uni_examples": 5940,
}  # fmt: skip


def read_recording(path: str | Path) -> np.ndarray:
    """Rows ``(n, 4)`` of frame, pedestrian, x, y, sorted by frame; InputError for a file that holds anything else."""
    path = Path(path)
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a recording ({error})") from error
    try:
        rows = np.array([[float(word) for word in line.split()] for line in text.splitlines() if line.strip()])
    except ValueError as error:
        raise InputError(f"{path}: expected rows 'frame pedestrian x y', got {error}") from error
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        raise InputError(f"{path}: expected finite rows 'frame pedestrian x y', got an array of shape {rows.shape}")
    return rows[np.argsort(rows[:, 0], kind="stable")]


def windows(rows: np.ndarray, *, past: int = PAST, future: int = FUTURE, stride: int = 1) -> list[Tensor]:
    """Tracks ``(N, past + future, 2)`` of all windows in which someone is present throughout; a gap of frames ends a window."""
    length = past + future
    frames = np.unique(rows[:, 0])
    if len(frames) < length:
        return []
    pace = np.diff(frames).min()
    tracks = [{int(row[1]): row[2:] for row in rows[rows[:, 0] == frame]} for frame in frames]
    out = []
    for start in range(0, len(frames) - length + 1, stride):
        if frames[start + length - 1] - frames[start] != pace * (length - 1):
            continue
        here = tracks[start : start + length]
        if present := [who for who in here[0] if all(who in frame for frame in here)]:
            out.append(torch.from_numpy(np.array([[frame[who] for frame in here] for who in present])))
    return out


def meet(tracks: Tensor, *, past: int = PAST, reach: float = REACH) -> dict[str, Tensor]:
    """One scene from tracks ``(N, T, 2)``: edges between those within ``reach`` at the last given frame."""
    tracks = tracks.float()
    near = torch.cdist(tracks[:, past - 1], tracks[:, past - 1]) < reach
    edge_index = torch.stack(torch.where(near & ~torch.eye(len(tracks), dtype=torch.bool)))
    return scene(tracks, past, torch.ones(len(tracks)), edge_index=edge_index)


def leave_out(folder: str | Path, test: str, *, stride: int = 1) -> tuple[Scenes, Scenes, Scenes]:
    """Train, valid and test scenes: the recordings of the scene ``test`` are tested, all others in the folder train.

    ``stride`` thins the windows of training and validation. Raises InputError for a folder without recordings, an unknown
    scene, or one whose recordings are not there.
    """
    if test not in SCENES:
        raise unknown("scene", test, SCENES)
    found = {name_of(path): path for path in sorted(Path(folder).glob("*.txt*"))}
    if missing := [name for name in SCENES[test] if name not in found]:
        raise InputError(f"{folder}: the scene {test!r} is recorded in {missing[0]}.txt, there is {', '.join(found) or 'none'}")
    train: list[Tensor] = []
    valid: list[Tensor] = []
    for name, path in found.items():
        if name in SCENES[test]:
            continue
        rows = read_recording(path)
        early = rows[:, 0] < CUTS.get(name, np.quantile(rows[:, 0], 0.8))
        train += windows(rows[early], stride=stride)
        valid += windows(rows[~early], stride=stride)
    tested = [track for name in SCENES[test] for track in windows(read_recording(found[name]))]
    train, valid, tested = ([meet(track) for track in part] for part in (train, valid, tested))  # type: ignore[assignment]
    return Scenes(train), Scenes(valid), Scenes(tested)  # type: ignore[arg-type]


def scene_of(path: str | Path) -> str:
    """The scene that a recording belongs to; InputError for one of no scene of the benchmark."""
    for name, recordings in SCENES.items():
        if name_of(Path(path)) in recordings:
            return name
    raise unknown("recording", name_of(Path(path)), [name for names in SCENES.values() for name in names])


def name_of(path: Path) -> str:
    """``biwi_eth`` of ``biwi_eth.txt`` or ``biwi_eth.txt.gz``."""
    return path.name.partition(".")[0]


def walkers(count: int, *, generator: torch.Generator, people: Sequence[int] = (2, 5)) -> Scenes:
    """``count`` generated scenes of ``people`` (least, most) walkers: goals of their own, pushed apart below about 1 m.

    Accelerations in m/s²: ``(wanted velocity - v) / 0.8 + 2 sum exp(-(d - 0.6) / 0.3)`` away from the others, and noise.
    """
    least, most = people
    if not 1 <= least <= most:
        raise InputError(f"walkers: people is (least, most) with 1 <= least <= most, got {people}")
    shape = (count, most, 2)
    here = torch.arange(most) < torch.randint(least, most + 1, (count, 1), generator=generator)
    at = 2.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    way = torch.randn(shape, generator=generator, dtype=torch.float64) - 0.5 * at  # mostly inwards, so that they meet
    pace = 1.3 + 0.2 * torch.randn(*shape[:2], 1, generator=generator, dtype=torch.float64)
    wanted = pace * way / way.norm(dim=-1, keepdim=True)
    v, path, small = wanted, [], FRAME / 4
    for step in range(4 * (PAST + FUTURE)):
        if step % 4 == 0:
            path.append(at)
        apart = at.unsqueeze(2) - at.unsqueeze(1)
        d = apart.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        push = (2 * torch.exp(-(d - 0.6) / 0.3) * apart / d * here[:, None, :, None]).sum(2)
        kick = 0.3 * small**0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
        v = v + small * ((wanted - v) / 0.8 + push) + kick
        at = at + small * v
    tracks = torch.stack(path, 2)
    return Scenes([meet(tracks[i, here[i]]) for i in range(count)])
