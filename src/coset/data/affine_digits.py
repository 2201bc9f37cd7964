"""Digits under affine maps: trained upright, tested turned, sheared and zoomed; scikit-learn's scans, MNIST or affNIST.

Sources are 40 x 40 (scikit-learn's 8 x 8 scans enlarged to 24, MNIST's 28 in the middle); models see 20 x 20 (digits of 12
pixels) or, at size ``full``, 40 x 40. Every test image, upright or moved, is one resampling of a source. Maps are those of
affNIST (T. Tieleman): a turn of up to 20 degrees either way, a shear of up to 0.2, zooms of .8 to 1.2 along both axes, here
without shifts. Splits hold ``x`` (n, 1, s, s), upright, and ``y`` (n,); the test also ``moved`` (m, 1, s, s) and ``moved_y``
(m,), three fixed maps of every digit or the images of affNIST.

Files: ``mnist`` as in :func:`coset.data.digits.read_mnist`; ``affnist``, a .mat batch of the public set or a folder of them.
The split is fixed: seeds vary training, not data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from coset.contract import Contract
from coset.data.digits import center_logits, framed, read_mnist, scikit_scans, split_order
from coset.errors import InputError, unknown
from coset.groups.group import Family
from coset.recipe import Data, Request
from coset.reps.fields import Field
from coset.reps.image import Image, resample

FRAME = 40  #: side of the sources, and of affNIST
INNER = 24  #: side of a digit of scikit-learn in the frame
SIDES = {"smoke": 20, "cpu": 20, "full": 40}  #: what models see
MAPS = 3  #: maps of every test digit
MAP_SEED = 2024
#: training, validation and test images
SIZES = {"smoke": (80, 40, 40), "cpu": (1000, 197, 600), "full": (1000, 197, 600)}
MNIST_SIZES = {"smoke": (80, 40, 40), "cpu": (6000, 1000, 1000), "full": (55000, 5000, 10000)}
Part = tuple[Tensor, Tensor]  #: images and classes


@dataclass(frozen=True)
class AffineMaps(Family):
    """Turns, shears and zooms within limits: ``x -> R(a) [[1, s], [0, 1]] diag(z_1, z_2) x``, all uniform.

    ``degrees`` and ``shear`` either way, ``zoom`` from ``1 - zoom`` to ``1 + zoom``. InputError for limits out of range.
    """

    degrees: float = 20.0
    shear: float = 0.2
    zoom: float = 0.2

    element_shape = (2, 2)

    def __post_init__(self) -> None:
        if not (0 <= self.degrees <= 180 and 0 <= self.shear < math.inf and 0 <= self.zoom < 1):
            raise InputError(f"AffineMaps: 0..180 degrees, a shear >= 0 and a zoom in [0, 1), got {self}")

    def __str__(self) -> str:
        return f"affine maps within {self.degrees:g} degrees, shear {self.shear:g}, zoom {self.zoom:g}"

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        angle, shear, first, second = 2 * torch.rand(4, n, generator=generator, dtype=torch.float64) - 1
        angle, shear = angle * math.radians(self.degrees), shear * self.shear
        c, s = angle.cos(), angle.sin()
        first, second = 1 + self.zoom * first, 1 + self.zoom * second
        rows = [torch.stack([c * first, (c * shear - s) * second], -1), torch.stack([s * first, (s * shear + c) * second], -1)]
        return torch.stack(rows, -2).to(dtype=dtype or torch.float64, device=device)

    def linear(self, g: Tensor) -> Tensor:
        return g


def affine_contract(family: Family | None = None) -> Contract:
    """The symmetry of the task: the maps (of ``family``) leave a digit's class alone, up to a shift of all logits."""
    return Contract(family or AffineMaps(), Field(("B", "1"), Image()), "B x 10 x scalar", view=center_logits)


def affine_digits(request: Request) -> Data:
    """The data of one comparison; see the module for what it holds, and for ``files``.

    ``audit`` is 32 upright test images. ``info``: classes, channels, size, source, test (where the moved images come
    from), scale (the request's size). InputError for an unknown name or size, or a file that holds something else.
    """
    given = dict(request.files)
    if wrong := sorted(set(given) - {"mnist", "affnist"}):
        raise unknown("data file", wrong[0], ["mnist", "affnist"])
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    if "mnist" in given:
        learn, test = (_framed(part) for part in read_mnist(Path(given["mnist"])))
        counts, source = MNIST_SIZES[request.size], "mnist"
    else:
        x, y = scikit_scans()
        x, order = framed(x, INNER, FRAME), split_order(len(y))
        counts, source = SIZES[request.size], "scikit-learn digits"
        stop = SIZES["full"][0] + SIZES["full"][1]
        learn, test = (x[order[:stop]], y[order[:stop]]), (x[order[stop:]], y[order[stop:]])
    valid_count = min(counts[1], len(learn[1]) // 6)
    train, valid = _slice(learn, 0, min(counts[0], len(learn[1]) - valid_count)), _slice(learn, -valid_count, None)
    side, most = SIDES[request.size], MAPS * counts[2]
    moved = _slice(read_affnist(Path(given["affnist"])), 0, most) if "affnist" in given else None
    tested = _test(_slice(test, 0, counts[2]), moved, side)
    info = {"classes": 10, "channels": 1, "size": side, "source": source, "scale": request.size}
    info["test"] = "affnist" if moved else f"{MAPS} maps of every digit"
    return Data(_upright(train, side), tested, audit=tested["x"][:32], valid=_upright(valid, side), info=info)


def _upright(part: Part, side: int) -> dict[str, Tensor]:
    return {"x": seen(part[0], side), "y": part[1]}


def _slice(part: Part, start: int, stop: int | None) -> Part:
    return part[0][start:stop], part[1][start:stop]


def _framed(part: Part) -> Part:
    """MNIST in the middle of the frame."""
    before = (FRAME - part[0].shape[-1]) // 2
    return F.pad(part[0], (before, before, before, before)), part[1]


def seen(x: Tensor, side: int, matrix: Tensor | None = None) -> Tensor:
    """Sources (n, 1, 40, 40) as a model sees them, (n, 1, side, side), each moved by its own matrix (n, 2, 2)."""
    return resample(x, torch.eye(2, dtype=torch.float64) if matrix is None else matrix, size=side)


def _test(test: Part, moved: Part | None, side: int) -> dict[str, Tensor]:
    out = _upright(test, side)
    if moved is not None:
        return out | {"moved": seen(moved[0], side), "moved_y": moved[1]}
    g = AffineMaps().sample(MAPS * len(test[1]), generator=torch.Generator().manual_seed(MAP_SEED))
    return out | {"moved": seen(test[0].repeat(MAPS, 1, 1, 1), side, g), "moved_y": test[1].repeat(MAPS)}


def read_affnist(path: Path) -> Part:
    """Images (n, 1, 40, 40) in [0, 1] and classes of affNIST: one .mat file, or all of a folder by number.

    A file holds the struct ``affNISTdata`` with ``image``, bytes (1600, n), rows of pixels one after the other, and
    ``label_int`` (1, n). InputError for anything else.
    """
    if not path.exists():
        raise InputError(f"affnist: {path} does not exist")
    files = sorted(path.glob("*.mat"), key=lambda file: (len(file.stem), file.stem)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"affnist: no .mat file in {path}; expected 1.mat, 2.mat ... as in transformed/test_batches")
    parts = [_batch(file) for file in files]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def _batch(path: Path) -> Part:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        record: Any = loadmat(path, simplify_cells=True)["affNISTdata"]
        image, label = np.asarray(record["image"]), np.atleast_1d(np.asarray(record["label_int"]))
    except (MatReadError, OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError) as error:
        raise InputError(f"affnist: cannot read {path} as a MATLAB file with the struct affNISTdata: {error!r}") from error
    image = image[:, None] if image.ndim == 1 else image
    if image.shape != (FRAME * FRAME, label.size) or label.ndim != 1:
        raise InputError(f"affnist: {path}: expected image (1600, n) and label_int (1, n), got {image.shape} and {label.shape}")
    y = torch.tensor(label.astype(np.int64))
    if image.dtype != np.uint8 or not len(y) or int(y.min()) < 0 or int(y.max()) > 9:
        raise InputError(
            f"affnist: {path}: expected bytes and labels 0..9, got {image.dtype} and {sorted(set(label.tolist()))}"
        )
    return torch.tensor(image.T.astype(np.float32) / 255).view(-1, 1, FRAME, FRAME), y
