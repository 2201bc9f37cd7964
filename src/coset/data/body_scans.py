"""Body scans with part labels, supplied by the user: a folder with ``train``, ``test`` and, if held out, ``unseen``.

Each of the three is a folder of one file per scan, or one ``.npz`` of many:

- ``scan.npz``: ``vertices (V, 3)``, ``normals (V, 3)``, ``labels (V,)`` integers from 0;
- ``scan.ply``, ascii or binary little endian: vertex properties ``x y z nx ny nz`` and an integer ``label`` (or ``part``,
  ``segment``);
- ``train.npz`` with one array ``(scans, V, at least 7)``: position, normal, label in columns 0-2, 3-5 and 6, the layout in
  which the experiments of APEN keep registrations of DFAUST (which needs a licence and is not shipped; dfaust.is.tue.mpg.de).

Lengths are expected in meters: bodies about 2 high. From every scan the same number of points is drawn, without replacement
where there are enough.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, reason
from coset.records import load_arrays

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]  #: vertices, normals, labels
COORDINATES = ("x", "y", "z", "nx", "ny", "nz")
LABELS = ("label", "labels", "part", "segment")
PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


def load_bodies(
    folder: str | Path, points: int, *, generator: torch.Generator | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """``train``, ``test`` and ``unseen`` (``test`` again where there is none): ``pos, normal (S, n, 3)``, ``body, y (S, n)``.

    Normals are brought to unit length. Raises InputError, naming the file, for missing folders and files that do not hold
    points with normals and labels.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"bodies: {root} is no folder; it should hold train and test, as folders of .npz or .ply or as .npz")
    names = ("train", "test", "unseen" if _source(root, "unseen") else "test")
    train, test, unseen = (_sampled(_read(root, name), points, generator) for name in names)
    return train, test, unseen


def _source(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / f"{name}.npz") if path.exists()), None)


def _read(root: Path, name: str) -> list[Scan]:
    """All scans of one split."""
    source = _source(root, name)
    if source is None:
        raise InputError(f"bodies: {root} has no folder {name} and no {name}.npz")
    if source.is_file():
        table: np.ndarray = next(iter(load_arrays(source).values()), np.zeros(0))
        if table.ndim != 3 or table.shape[-1] < 7:
            raise InputError(f"{source}: expected one array (scans, points, at least 7 columns), got shape {table.shape}")
        return [_checked(source, scan[:, :3], scan[:, 3:6], scan[:, 6]) for scan in table]
    files = sorted(path for path in source.iterdir() if path.suffix in (".npz", ".ply"))
    if not files:
        raise InputError(f"bodies: {source} holds no .npz and no .ply")
    return [_checked(path, *(_npz(path) if path.suffix == ".npz" else _ply(path))) for path in files]


def _npz(path: Path) -> Scan:
    stored = load_arrays(path)
    if not {"vertices", "normals", "labels"} <= set(stored):
        raise InputError(f"{path}: expected arrays vertices, normals and labels, found {', '.join(stored)}")
    return stored["vertices"], stored["normals"], stored["labels"]


def _ply(path: Path) -> Scan:
    """Vertices, normals and labels of a PLY file; what comes after the vertices is not read."""
    try:
        raw = path.read_bytes()
        return _columns(path, raw)
    except (OSError, ValueError, IndexError, TypeError, OverflowError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as PLY: {reason(error)}; is it whole?") from error


def _columns(path: Path, raw: bytes) -> Scan:
    head, end, body = raw.partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    elements = [i for i, line in enumerate(lines) if line[:1] == ["element"]]
    if not end or lines[:1] != [["ply"]] or not elements or lines[elements[0]][1] != "vertex":
        raise InputError(f"{path}: not a PLY file that begins with its vertices")
    stop = elements[1] if len(elements) > 1 else len(lines)
    properties = [line[1:] for line in lines[elements[0] : stop] if line[:1] == ["property"]]
    names = [line[-1] for line in properties]
    label = next((name for name in LABELS if name in names), None)
    if label is None or not set(COORDINATES) <= set(names) or any(line[0] not in PLY_TYPES for line in properties):
        raise InputError(
            f"{path}: vertices need {' '.join(COORDINATES)} and one of {', '.join(LABELS)}; found {', '.join(names)}"
        )
    count, layout = int(lines[elements[0]][2]), lines[1][1]
    if layout == "ascii":
        rows = [row.split() for row in body.decode("ascii", "replace").splitlines()[:count]]
        if len(rows) != count or any(len(row) != len(names) for row in rows):
            raise InputError(f"{path}: {count} vertices of {len(names)} numbers are announced, not found")
        table = np.array(rows, dtype=np.float64)
        column = dict(zip(names, table.T, strict=True))
    elif layout == "binary_little_endian":
        kind = np.dtype([(line[-1], "<" + PLY_TYPES[line[0]]) for line in properties])
        if len(body) < count * kind.itemsize:
            raise InputError(f"{path}: cut off inside its {count} vertices")
        packed = np.frombuffer(body, kind, count)
        column = {name: packed[name] for name in names}
    else:
        raise InputError(f"{path}: PLY is ascii or binary_little_endian here, got {layout}")
    axes = np.stack([column[axis] for axis in COORDINATES], -1)
    return axes[:, :3], axes[:, 3:], column[label]


def _checked(path: Path, vertices: np.ndarray, normals: np.ndarray, labels: np.ndarray) -> Scan:
    shapes = vertices.shape, normals.shape, labels.shape
    if vertices.ndim != 2 or shapes != ((len(vertices), 3), (len(vertices), 3), (len(vertices),)) or not len(vertices):
        raise InputError(f"{path}: vertices (V, 3), normals (V, 3) and labels (V,), got {shapes}")
    if not all(np.isfinite(part).all() for part in (vertices, normals, labels)) or (labels < 0).any() or (labels % 1).any():
        raise InputError(f"{path}: vertices and normals are finite and labels are integers from 0")
    return vertices, normals, labels


def _sampled(scans: list[Scan], points: int, generator: torch.Generator | None) -> dict[str, Tensor]:
    """The same number of points of every scan, centered."""
    drawn = []
    for scan in scans:
        n = len(scan[0])
        rounds = [torch.randperm(n, generator=generator) for _ in range(-(-points // n))]
        drawn.append([torch.from_numpy(np.ascontiguousarray(part))[torch.cat(rounds)[:points]] for part in scan])
    x, normal, label = (torch.stack(column) for column in zip(*drawn, strict=True))
    x, label = x.float(), label.long()
    normal = torch.nn.functional.normalize(normal.float(), dim=-1)
    return {"pos": x - x.mean(1, keepdim=True), "normal": normal, "body": label, "y": label}
