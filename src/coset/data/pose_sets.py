"""Two public sets of images with poses, by path: ModelNet10-SO(3) and SYMSOL.

``modelnet10-so3``: a folder with ``modelnet10_train.npz`` and ``modelnet10_test.npz``, each ``imgs`` (n, 224, 224, 1) uint8,
``rots`` (n, 3, 3) and ``cat_ids`` (n,): the set of Liao et al., CVPR 2019, in the form that the code of Image to Sphere
prepares. ``symsol``: the folder of Murphy et al., ICML 2021, with ``train`` and ``test``, each ``rotations.npz`` (one array
(n, symmetries, 3, 3) for every solid) and ``images/SOLID_00000.png``. One of the equivalent poses is the label, all are kept
for the test.

Their cameras have x to the right, y up and z towards the camera: rotations are taken to the axes of :mod:`coset.nn.in_plane`,
which are these cyclically, z to the right, x up, y towards the camera. Images stay bytes until they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coset.errors import InputError, reason, require, unknown
from coset.ops.healpix import RotationGrid, check_rotations
from coset.records import DAMAGED, load_arrays

SETS = ("modelnet10-so3", "symsol")
VALID = 20  #: one training sample in so many validates
#: rows: what a public set calls y, z, x
AXES = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)


class PoseImages(Dataset):
    """Items: ``img`` (3, H, H) in [0, 1], ``rotation`` (3, 3), ``equivalent`` (symmetries, 3, 3), ``label``, ``y`` (cell).

    ``read(i)`` gives the bytes of image i, ``(H, H, 1 or 3)``; ``poses`` are ``(n, symmetries, 3, 3)``, the first is the label.
    """

    def __init__(self, read: Callable[[int], np.ndarray], poses: Tensor, label: Tensor, grid: RotationGrid, where: str) -> None:
        if poses.ndim != 4 or len(poses) != len(label) or not len(poses):
            raise InputError(f"{where}: expected as many poses as labels, got {tuple(poses.shape)} and {tuple(label.shape)}")
        check_rotations(poses.double(), where)
        self.read, self.label, self.poses = read, label, (AXES @ poses.double()).float()
        self.y = torch.cat([grid.nearest(part) for part in self.poses[:, 0].split(1024)])
        first = read(0)
        if first.ndim != 3 or first.shape[0] != first.shape[1] or first.dtype != np.uint8:
            raise InputError(f"{where}: expected square images (H, H, channels) of bytes, got {first.dtype} {first.shape}")
        self.size = int(first.shape[0])

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        img = torch.from_numpy(np.ascontiguousarray(self.read(i)[..., :3])).permute(2, 0, 1).float() / 255
        poses = self.poses[i]
        return {
            "img": img.expand(3, -1, -1).contiguous(),
            "rotation": poses[0],
            "equivalent": poses,
            "label": self.label[i],
            "y": self.y[i],
        }

    def part(self, index: Iterable[int]) -> PoseImages:
        """The same set with these members only."""
        chosen = torch.tensor(list(index))
        other = object.__new__(PoseImages)
        other.size, other.poses, other.label, other.y = self.size, self.poses[chosen], self.label[chosen], self.y[chosen]
        other.read = lambda i: self.read(int(chosen[i]))
        return other


def public_set(files: tuple[tuple[str, Path], ...], grid: RotationGrid) -> tuple[PoseImages, PoseImages, PoseImages]:
    """Train, test and valid (every twentieth of train). InputError for an unknown name or files of another form."""
    (name, path), *more = files
    if more or name not in SETS:
        raise unknown("data file", more[0][0] if more and name in SETS else name, SETS)
    reader = read_modelnet if name == "modelnet10-so3" else read_symsol
    train, test = (reader(Path(path), part, grid) for part in ("train", "test"))
    if len(train) < 2:
        raise InputError(f"{name}: {path} holds one training image; at least two are needed")
    held = range(0, len(train), VALID)
    return train.part(i for i in range(len(train)) if i % VALID), test, train.part(held)


def read_modelnet(path: Path, part: str, grid: RotationGrid) -> PoseImages:
    """One half of ModelNet10-SO(3)."""
    arrays = _arrays(path / f"modelnet10_{part}.npz", "modelnet10-so3")
    if missing := sorted({"imgs", "rots", "cat_ids"} - set(arrays)):
        raise InputError(f"modelnet10-so3: {path} lacks {missing}; expected imgs, rots and cat_ids")
    images = arrays["imgs"]
    if images.ndim != 4 or len(images) != len(arrays["rots"]):
        raise InputError(f"modelnet10-so3: imgs {images.shape} and rots {arrays['rots'].shape} do not fit")
    poses, label = torch.from_numpy(arrays["rots"]).unsqueeze(1), torch.from_numpy(arrays["cat_ids"]).long()
    return PoseImages(lambda i: images[i], poses, label, grid, f"modelnet10-so3 {part}")


def read_symsol(path: Path, part: str, grid: RotationGrid) -> PoseImages:
    """One half of SYMSOL, all solids whose poses are there; fewer symmetries than the most are repeated to fill up."""
    folder = path / part
    arrays = dict(sorted(_arrays(folder / "rotations.npz", "symsol").items()))
    most = max(array.shape[1] if array.ndim == 4 else 0 for array in arrays.values())
    if not most:
        raise InputError(f"symsol: {folder / 'rotations.npz'} holds no arrays (n, symmetries, 3, 3)")
    poses, label, names = [], [], []
    for place, (solid, array) in enumerate(arrays.items()):
        repeated = np.arange(most) % array.shape[1]
        poses.append(torch.from_numpy(array[:, repeated].astype(np.float32)))
        label += [place] * len(array)
        names += [folder / "images" / f"{solid}_{i:05d}.png" for i in range(len(array))]
    if absent := [name for name in names if not name.is_file()][:1]:
        raise InputError(f"symsol: {absent[0]} does not exist, though rotations.npz lists its pose")
    pillow = require("PIL.Image", extra="report")  # comes with matplotlib

    def read(i: int) -> np.ndarray:
        try:
            with pillow.open(names[i]) as image:
                return np.array(image.convert("RGB"))
        except DAMAGED as error:
            raise InputError(f"symsol: {names[i]} is no picture: {reason(error)}") from error

    return PoseImages(read, torch.cat(poses), torch.tensor(label), grid, f"symsol {part}")


def _arrays(path: Path, name: str) -> dict[str, np.ndarray]:
    try:
        return load_arrays(path)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
