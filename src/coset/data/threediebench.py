"""3DIEBench as it is published, a folder of rendered views with their latents, read view by view.

    FOLDER/<synset>/<object>/image_0.jpg ... image_49.jpg, latent_0.npy ... latent_49.npy
    FOLDER/{train,val}_images.npy    paths of objects within FOLDER, as strings ("/02691156/1a04...")
    FOLDER/{train,val}_labels.npy    their classes, 0..54

(The four lists come with the code of the paper, the views with the data.) Garrido, Najman & LeCun, ICML 2023, arXiv
2302.10283; CC-BY-NC. Latents are the seven numbers of :mod:`coset.data.mini3die`, the published note that says nine
notwithstanding; ten with a translation (3DIEBench-T). Without lists, folders are found by walking and every fifth object of
a class is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coset.errors import InputError, reason, require
from coset.groups.poses import angle_quaternion
from coset.records import DAMAGED, load_arrays

VIEWS = 50
SPLITS = ("train", "val")


class Objects(Dataset):
    """Some views of every object: ``x`` uint8 (views, 3, size, size), ``pose`` (views, 4), ``latents`` (views, 7 or 10), ``y``.

    ``views`` are drawn anew at every visit (torch's global seed), or are the first ones with ``fixed``. ``size`` resizes images
    (None: as they are); ``most`` takes only that many objects. Raises InputError for a missing folder, list, image or
    latent, latents of another length, and images of different sizes.
    """

    def __init__(
        self, folder: str | Path, split: str, *, views: int = 2, fixed: bool = False, size: int | None = None, most: int = 0
    ) -> None:
        self.folder = Path(folder)
        if split not in SPLITS or not 1 <= views <= VIEWS:
            raise InputError(f"3diebench: split is one of {', '.join(SPLITS)}, views 1..{VIEWS}; got {split!r}, {views}")
        paths, labels = _lists(self.folder, split)
        self.paths, self.labels = paths[: most or None], labels[: most or None]
        self.views, self.fixed, self.size = views, fixed, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        home = self.folder / self.paths[i]
        there = len(list(home.glob("image_*.jpg")))
        if there < self.views:
            raise InputError(f"3diebench: {home} holds {there} images image_0.jpg, ..., but {self.views} views are asked for")
        which = (torch.arange(there) if self.fixed else torch.randperm(there))[: self.views].tolist()
        latents = torch.from_numpy(np.stack([_latent(home / f"latent_{k}.npy") for k in which]))
        return {
            "x": torch.stack([_image(home / f"image_{k}.jpg", self.size) for k in which]),
            "pose": angle_quaternion(latents[:, :3]).float(),
            "latents": latents.float(),
            "y": torch.tensor(self.labels[i]),
        }

    @staticmethod
    def collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Objects side by side."""
        shapes = {tuple(item["x"].shape) for item in items}
        if len(shapes) > 1:
            raise InputError(f"3diebench: images of one batch have one size, got {sorted(shapes)}; give a size to resize to")
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _lists(folder: Path, split: str) -> tuple[list[str], list[int]]:
    """Objects and classes of a split."""
    if not folder.is_dir():
        raise InputError(f"3diebench: {folder} is no folder")
    names = [folder / f"{split}_{what}.npy" for what in ("images", "labels")]
    if all(name.is_file() for name in names):
        images, labels = (_load(name) for name in names)
        if images.shape != labels.shape or images.ndim != 1 or images.dtype.kind not in "US":
            raise InputError(
                f"3diebench: {names[0].name} holds strings, {names[1].name} as many classes; got {images.shape}, {labels.shape}"
            )
        return [str(path).lstrip("/") for path in images.astype(str)], labels.astype(np.int64).tolist()
    paths, classes = [], []
    for label, synset in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for place, thing in enumerate(sorted(path for path in synset.iterdir() if path.is_dir())):
            if (place % 5 == 4) == (split == "val"):
                paths.append(f"{synset.name}/{thing.name}")
                classes.append(label)
    if not paths:
        raise InputError(f"3diebench: {folder} has no {names[0].name} and no folders <class>/<object> to take in its place")
    return paths, classes


def _latent(path: Path) -> np.ndarray:
    latent = _load(path).astype(np.float64)
    if latent.shape not in ((7,), (10,)):
        raise InputError(
            f"3diebench: {path} holds latents of shape {latent.shape}; expected 7 numbers, or 10 with a translation"
        )
    return latent


def _load(path: Path) -> np.ndarray:
    found = load_arrays(path)
    if "" not in found:
        raise InputError(f"3diebench: cannot read {path}: it is no .npy file")
    return found[""]


def _image(path: Path, size: int | None) -> Tensor:
    module = require("PIL.Image", extra="report")
    try:
        with module.open(path) as file:
            image = file.convert("RGB")
            image = image if size is None else image.resize((size, size), module.Resampling.BILINEAR)
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    except DAMAGED as error:
        raise InputError(f"3diebench: cannot read {path}: {reason(error)}") from error
