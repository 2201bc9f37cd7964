"""Handwritten digits for the first comparison: scikit-learn's 8 x 8 scans, or MNIST from a file.

Sources are 28 x 28 images in [0, 1] (scikit-learn's digits enlarged bicubically to 22 px, in a 28 px frame). What a model
sees is 16 x 16: every angle, 0 included, is ONE bilinear resampling of the source with a soft disc mask, the kind
``Image(size=16, disc=True)``, so that no angle is sharper than another. Hence every split holds both

- ``x`` (n, 1, 28, 28): the source, which augmentation and orbits act on (``contract.act``);
- ``upright`` (n, 1, 16, 16): ``contract.origin(x)``, what upright training and plain evaluation read;
- ``y`` (n,): the class;

and the test split ``noise_10``, ``noise_20``, ``noise_30`` (upright with Gaussian noise of .1, .2, .3 inside the disc) and
``shift_1`` (upright moved by one pixel left, right, up or down). The split is fixed: seeds vary training, not data.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError, require, unknown
from coset.groups.group import Family
from coset.groups.matrix import SO
from coset.recipe import Data, Request
from coset.records import load_arrays
from coset.reps.fields import Field
from coset.reps.image import Image, disc_mask, resample

SIZE = 16  #: side of what models see, in pixels
FRAME = 28  #: side of the sources
SPLIT_SEED = 1234
NOISE = (0.1, 0.2, 0.3)
#: training images, test images, test images whose whole orbit is evaluated
SIZES = {"smoke": (200, 60, 20), "cpu": (1200, 597, 150), "full": (1200, 597, 597)}
MNIST_SIZES = {"smoke": (200, 60, 20), "cpu": (6000, 1000, 150), "full": (60000, 10000, 10000)}


def center_logits(y: Tensor) -> Tensor:
    """Logits minus their mean over classes, ``(..., classes)``: a common shift changes no probability."""
    return y - y.mean(-1, keepdim=True)


def digits_contract(group: Family | None = None, *, size: int = SIZE) -> Contract:
    """The symmetry of the task: turning the digit (SO(2) by default) leaves its class alone, up to a shift of all logits."""
    image = Field(("B", "1"), Image(size=size, disc=True))
    return Contract(group or SO(2), image, "B x 10 x scalar", view=center_logits)


def digits(request: Request) -> Data:
    """The data of one comparison; ``files`` may name ``mnist``: an .npz, an idx file (.gz or not) or a folder of them.

    ``audit`` is 64 sources. ``info``: classes, channels, size, source (which data), train, test, and orbit, the number of
    test images (the first ones) whose orbits are to be evaluated. InputError for an unknown name or size, or a file that
    holds no digits.
    """
    given = dict(request.files)
    if wrong := sorted(set(given) - {"mnist"}):
        raise unknown("data file", wrong[0], ["mnist"])
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    if "mnist" in given:
        train, test = read_mnist(Path(given["mnist"]))
        counts, source = MNIST_SIZES[request.size], "mnist"
    else:
        x, y = scikit_scans()
        x = framed(x, 22, FRAME)
        order, stop = split_order(len(x)), SIZES["full"][0]
        train, test = (x[order[:stop]], y[order[:stop]]), (x[order[stop:]], y[order[stop:]])
        counts, source = SIZES[request.size], "scikit-learn digits"
    train, test = _first(train, counts[0]), _first(test, counts[1])
    info = {"classes": 10, "channels": 1, "size": SIZE, "source": source, "train": len(train[1]), "test": len(test[1])}
    info |= {"orbit": min(counts[2], len(test[1]))}
    return Data(_tensors(*train), corrupted(_tensors(*test)), audit=test[0][:32], info=info)


def scikit_scans() -> tuple[Tensor, Tensor]:
    """All of scikit-learn's digits (1797, 1, 8, 8) in [0, 1], and their classes; extra ``train``."""
    bunch = require("sklearn.datasets", extra="train").load_digits()
    return torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16, torch.tensor(bunch.target, dtype=torch.int64)


def framed(x: Tensor, inner: int, frame: int) -> Tensor:
    """Images (n, 1, h, w) enlarged bicubically to ``inner`` pixels, in the middle of a black ``frame``."""
    x = F.interpolate(x, size=inner, mode="bicubic", align_corners=False).clamp(0, 1)
    before = (frame - inner) // 2
    return F.pad(x, (before, frame - inner - before, before, frame - inner - before))


def split_order(n: int) -> Tensor:
    """The fixed order in which samples are divided."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(SPLIT_SEED))


def upright(x: Tensor) -> Tensor:
    """Sources (n, 1, 28, 28) as a model sees them unturned: (n, 1, 16, 16)."""
    return resample(x, torch.eye(2, dtype=torch.float64), size=SIZE) * disc_mask(SIZE, SIZE, dtype=x.dtype)


def add_noise(x: Tensor, sigma: float, *, generator: torch.Generator) -> Tensor:
    """Independent Gaussian noise in every pixel of the disc."""
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x + sigma * noise * disc_mask(*x.shape[-2:], dtype=x.dtype)


def shifted(x: Tensor, *, generator: torch.Generator) -> Tensor:
    """Every image moved by one pixel in one of the four directions."""
    side = torch.randint(4, (len(x),), generator=generator)
    padded = F.pad(x, (1, 1, 1, 1))
    h, w = x.shape[-2:]
    moved = torch.stack([padded[..., i : i + h, j : j + w] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))])
    return moved[side, torch.arange(len(x))]


def corrupted(test: dict[str, Tensor]) -> dict[str, Tensor]:
    """The test split with its noisy and shifted versions."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    noisy = {f"noise_{round(100 * s)}": add_noise(test["upright"], s, generator=generator) for s in NOISE}
    return {**test, **noisy, "shift_1": shifted(test["upright"], generator=generator)}


def read_mnist(path: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test part, each (sources, classes), from one file or a folder.

    An .npz with x_train, y_train, x_test, y_test or a folder with the four idx files keep their own split. One set of
    images (an .npz with images and labels, an idx file beside its labels) is divided: six parts of seven train.
    """
    if not path.exists():
        raise InputError(f"mnist: {path} does not exist")
    arrays = _idx_folder(path) if path.is_dir() else _npz(path) if path.suffix == ".npz" else _idx_pair(path)
    if len(arrays) == 4:
        return (_checked(path, *arrays[:2]), _checked(path, *arrays[2:]))
    x, y = _checked(path, *arrays)
    order, stop = split_order(len(x)), len(x) * 6 // 7
    return (x[order[:stop]], y[order[:stop]]), (x[order[stop:]], y[order[stop:]])


def _npz(path: Path) -> list[np.ndarray]:
    stored = load_arrays(path)
    for names in (("x_train", "y_train", "x_test", "y_test"), ("images", "labels"), ("x", "y")):
        if set(names) <= set(stored):
            return [stored[name] for name in names]
    raise InputError(f"mnist: {path} holds {sorted(stored)}; expected images and labels, or x_train, y_train ...")


def _idx_folder(path: Path) -> list[np.ndarray]:
    found = []
    for part in ("train", "t10k"):
        images = sorted(path.glob(f"{part}-images*"))
        if images:
            found += _idx_pair(images[0])
    if not found:
        raise InputError(f"mnist: no train-images-idx3-ubyte[.gz] or t10k-images-idx3-ubyte[.gz] in {path}")
    return found


def _idx_pair(path: Path) -> list[np.ndarray]:
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels == path or not labels.exists():
        raise InputError(
            f"mnist: expected an idx file of images with its labels beside it, got {path}; give .npz, idx or a folder"
        )
    return [read_idx(path), read_idx(labels)]


def read_idx(path: Path) -> np.ndarray:
    """One array of the idx format (unsigned bytes), plain or gzipped. InputError for anything else."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, axes = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
        if zero or kind != 8:
            raise InputError(f"mnist: {path} is no idx file of unsigned bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise InputError(f"mnist: cannot read {path} as an idx file: {error}") from error


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    x = torch.tensor(np.asarray(images, dtype=np.float32))
    if x.ndim == 2 and x.shape[1] == FRAME * FRAME:
        x = x.view(-1, FRAME, FRAME)
    x = x[:, None] if x.ndim == 3 else x
    if x.shape[1:] != (1, FRAME, FRAME) or len(labels) != len(x):
        raise InputError(f"mnist: {path}: expected images (n, 28, 28) and n labels, got {images.shape} and {labels.shape}")
    if not bool(torch.isfinite(x).all()):
        raise InputError(f"mnist: {path}: {int((~torch.isfinite(x)).sum())} pixels are NaN or infinite")
    y = torch.tensor(np.asarray(labels, dtype=np.int64))
    if y.numel() == 0 or int(y.min()) < 0 or int(y.max()) > 9:
        raise InputError(f"mnist: {path}: labels are 0..9")
    return x / 255 if float(x.max()) > 1 else x, y


def _first(part: tuple[Tensor, Tensor], n: int) -> tuple[Tensor, Tensor]:
    return part[0][:n], part[1][:n]


def _tensors(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {"x": x, "upright": upright(x), "y": y}


__all__ = [
    "add_noise", "center_logits", "corrupted", "digits", "digits_contract", "framed", "read_idx", "read_mnist",
    "scikit_scans", "shifted", "split_order", "upright",
]  # fmt: skip
