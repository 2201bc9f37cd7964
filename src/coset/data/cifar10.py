"""CIFAR-10 from a file: the public binary form, or images in one folder for each class; and a stand-in without a file.

Binary: ``data_batch_1.bin .. data_batch_5.bin`` and ``test_batch.bin`` in a folder, or the ``.tar.gz`` they come in; a record
is one byte of label and 3072 bytes of red, green and blue planes. Images: a folder or a zip whose files end in
``<class>/<name>``, classes numbered in the order of their names (``0_airplane``, ``1_automobile``, ...); a part called
``train`` or ``test`` in the path keeps the set's own split. Krizhevsky, Learning Multiple Layers of Features from Tiny
Images, 2009.
"""

from __future__ import annotations

import io
import math
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from coset.data.digits import split_order
from coset.errors import InputError, reason, require, unknown
from coset.recipe import Data, Request
from coset.records import DAMAGED

SIZE = 32
RECORD = 1 + 3 * SIZE * SIZE
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
#: mean and standard deviation of red, green and blue over the training images, in 0..1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
#: training and test images
SIZES = {"smoke": (64, 48), "cpu": (4000, 1000), "full": (50000, 10000)}

Split = tuple[Tensor, Tensor]  #: images (n, 3, 32, 32) uint8 and classes (n,) int64


def cifar10(request: Request) -> Data:
    """``train``, ``valid`` and ``test``: ``x`` (n, 3, 32, 32), standardized per color, and ``y`` (n,).

    ``files`` may name ``cifar10`` (everything, or what is to be trained on) and ``test`` (what is tested on then). Without a
    file :func:`gratings` stand in. A tenth of the training part validates. ``audit`` is 16 test images; ``info``: classes,
    channels, size, source, full (whether the size is ``full``). InputError for an unknown name or size, or a file that is no
    CIFAR-10.
    """
    given = {name: Path(path) for name, path in request.files}
    if wrong := sorted(set(given) - {"cifar10", "test"}):
        raise unknown("data file", wrong[0], ["cifar10", "test"])
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    if "cifar10" in given:
        train, test = read_cifar10(given["cifar10"], given.get("test"))
        source = "cifar10"
    elif given:
        raise InputError("cifar10: a file to test on needs one to train on, --data cifar10=PATH")
    else:
        seen, tested = SIZES["cpu" if request.size == "full" else request.size]
        train, test, source = gratings(10 * seen // 9 + 1, seed=0), gratings(tested, seed=1), "gratings"
    counts = SIZES[request.size]
    order = split_order(len(train[1]))
    count = min(counts[0], len(order) - max(1, len(order) // 10))
    parts = [standard(*train, order[:count]), standard(*train, order[count:][: max(1, count // 9)])]
    parts.append(standard(*test, split_order(len(test[1]))[: counts[1]]))
    info = {"classes": 10, "channels": 3, "size": SIZE, "source": source, "full": request.size == "full"}
    return Data(parts[0], parts[2], parts[2]["x"][:16], parts[1], info)


def standard(x: Tensor, y: Tensor, index: Tensor) -> dict[str, Tensor]:
    """The images at ``index``, standardized per color: float32 (n, 3, 32, 32), and their classes."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return {"x": (x[index].float() / 255 - mean) / std, "y": y[index]}


def read_cifar10(path: Path, test: Path | None = None) -> tuple[Split, Split]:
    """Training and test part. Without a test part of its own, or a second file, a fifth of the images tests, at random.

    InputError for a missing path, files of another form or length, labels beyond 9, or pictures of another size.
    """
    parts: dict[str, list[Split]] = {"train": [], "test": []}
    for place, name in ((path, "train"), *([(test, "test")] if test is not None else [])):
        for part, found in _read(place):
            parts["test" if name == "test" else part].append(found)
    if not parts["train"]:
        parts["train"], parts["test"] = parts["test"], []
    whole = [(torch.cat([x for x, _ in some]), torch.cat([y for _, y in some])) for some in parts.values() if some]
    if len(whole) == 2:
        return whole[0], whole[1]
    x, y = whole[0]
    order, stop = split_order(len(y)), max(1, len(y) // 5)
    return (x[order[stop:]], y[order[stop:]]), (x[order[:stop]], y[order[:stop]])


def _read(path: Path) -> list[tuple[str, Split]]:
    """Parts of one place: ``train`` or ``test`` with images and classes."""
    if not path.exists():
        raise InputError(f"cifar10: {path} does not exist")
    try:
        files = list(_files(path))
    except (tarfile.TarError, *DAMAGED) as error:
        raise InputError(f"cifar10: cannot read {path}: {reason(error)}; is it whole?") from error
    binary = [(_part(name), _records(name, raw)) for name, raw in files if name.endswith(".bin")]
    if binary:
        return binary
    pictures = [(name, raw) for name, raw in files if PurePosixPath(name).suffix.lower() in PICTURES]
    if not pictures:
        raise InputError(
            f"cifar10: {path} holds neither data_batch_*.bin nor pictures in folders of classes; give the folder or .tar.gz of "
            f"the binary version, or a folder or .zip of pictures"
        )
    return _pictures(path, pictures)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names (inside the place, with slashes) and contents of what may be CIFAR-10."""
    kinds = (*PICTURES, ".bin")
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in kinds:
                yield file.relative_to(path).as_posix(), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if PurePosixPath(name).suffix.lower() in kinds:
                    yield name, archive.read(name)
    elif path.suffix == ".bin":
        yield path.name, path.read_bytes()
    else:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                content = archive.extractfile(member) if PurePosixPath(member.name).suffix.lower() in kinds else None
                if content is not None:
                    yield member.name, content.read()


def _part(name: str) -> str:
    path = PurePosixPath(name)
    return "test" if "test" in path.parts[:-2] or path.name.startswith("test_batch") else "train"


def _records(name: str, raw: bytes) -> Split:
    if not raw or len(raw) % RECORD:
        raise InputError(f"cifar10: {name} has {len(raw)} bytes; expected records of {RECORD}: a label and 3 x 32 x 32 pixels")
    rows = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(-1, RECORD).copy())
    if int(rows[:, 0].max()) > 9:
        raise InputError(f"cifar10: {name}: labels are 0..9, got {int(rows[:, 0].max())}; CIFAR-100 has two bytes of label")
    return rows[:, 1:].reshape(-1, 3, SIZE, SIZE), rows[:, 0].long()


def _pictures(path: Path, files: list[tuple[str, bytes]]) -> list[tuple[str, Split]]:
    image = require("PIL.Image", extra="report")
    classes = sorted({PurePosixPath(name).parent.name for name, _ in files})
    if len(classes) > 10 or "" in classes:
        raise InputError(
            f"cifar10: {path}: expected at most ten folders of classes, got {len(classes)} ({', '.join(classes[:4])} ...)"
        )
    found: dict[str, tuple[list[Tensor], list[int]]] = {}
    for name, raw in files:
        try:
            pixels = np.array(image.open(io.BytesIO(raw)).convert("RGB"))
        except DAMAGED as error:
            raise InputError(f"cifar10: {path}: {name} is no picture: {reason(error)}") from error
        if pixels.shape != (SIZE, SIZE, 3):
            raise InputError(f"cifar10: {path}: {name} has {pixels.shape[:2]} pixels, expected 32 x 32")
        images, labels = found.setdefault(_part(name), ([], []))
        images.append(torch.from_numpy(pixels).movedim(-1, 0))
        labels.append(classes.index(PurePosixPath(name).parent.name))
    return [(part, (torch.stack(images), torch.tensor(labels))) for part, (images, labels) in found.items()]


def gratings(count: int, *, seed: int = 0) -> Split:
    """Ten classes of colored gratings under noise, in CIFAR-10's form: the class is the direction and period of the waves.

    Waves fit the 32 pixels whole, so that the class does not change under circular shifts.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (count,), generator=generator)
    waves = torch.tensor([(1, 3), (3, 1), (3, 3), (3, -3), (5, 0), (0, 5), (5, 5), (5, -5), (2, 6), (6, 2)])[y].double()
    i = torch.arange(SIZE, dtype=torch.float64) * 2 * math.pi / SIZE
    phase = 2 * math.pi * torch.rand(count, 3, 1, 1, generator=generator, dtype=torch.float64)
    angle = waves[:, 0, None, None] * i[:, None] + waves[:, 1, None, None] * i
    color = torch.rand(count, 3, 1, 1, generator=generator, dtype=torch.float64)
    x = 0.5 + 0.25 * color * torch.sin(angle[:, None] + phase)
    x = x + 0.15 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8), y
