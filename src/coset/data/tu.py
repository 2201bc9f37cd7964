"""Graph classification sets in the TU Dortmund text form: read from a folder or zip, written, cut into ten folds.

A set DS is ``DS_A.txt`` (one arc "i, j" per line, nodes counted from 1 through all graphs), ``DS_graph_indicator.txt`` (the
graph of every node, from 1), ``DS_graph_labels.txt`` (one integer per graph) and, where there are any, ``DS_node_labels.txt``,
``DS_node_attributes.txt``, ``DS_edge_labels.txt``, ``DS_edge_attributes.txt``. Labels become one-hot features in the order of
their values, attributes stand beside them; nodes or edges without any get the constant 1. Morris et al., TUDataset, 2020,
arXiv 2007.08663. :func:`molecules` generates a set of the same form.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coset.data.graphs import Graphs
from coset.errors import InputError, reason
from coset.recipe import Data, Request
from coset.records import DAMAGED

FOLDS = 10
EXACT, FAR = 2.0**53, 3e38  #: the largest integer and the largest attribute that are kept as they are
Reader = Callable[[str], str | None]  #: the text of DS_<part>.txt, None where the set has no such file


def read_tu(path: str | Path, *, undirected: bool = True) -> Graphs:
    """A set as :class:`~coset.data.graphs.Graphs`; labels are numbered from 0 in the order of their values.

    ``path`` is a folder or zip file that holds one set. Raises InputError for a path without one, lines that are no numbers,
    files of lengths that do not fit, arcs between graphs, and with ``undirected`` arcs without their reverse.
    """
    name, text = _open(Path(path))
    arcs = _table(name, "A", text, integer=True)
    owner = _column(name, "graph_indicator", text)
    labels = _column(name, "graph_labels", text)
    if arcs is None or owner is None or labels is None:
        raise InputError(f"{path}: a TU set needs {name}_A.txt, {name}_graph_indicator.txt and {name}_graph_labels.txt")
    if not len(owner) or owner.min() != 1 or owner.max() != len(labels) or (np.diff(owner) < 0).any():
        raise InputError(f"{name}: graph_indicator counts graphs from 1 to {len(labels)}, in order; one number per node")
    arcs = arcs.reshape(-1, 2) - 1
    if arcs.size and not 0 <= arcs.min() <= arcs.max() < len(owner):
        raise InputError(f"{name}: A.txt counts nodes from 1 to {len(owner)}, got {arcs.min() + 1}..{arcs.max() + 1}")
    if (owner[arcs[:, 0]] != owner[arcs[:, 1]]).any():
        raise InputError(f"{name}: A.txt joins nodes of two graphs")
    if undirected and {*map(tuple, arcs.tolist())} != {(j, i) for i, j in arcs.tolist()}:
        raise InputError(f"{name}: an arc of A.txt lacks its reverse; read with undirected=False if arcs have a direction")
    x, edge_attr = _features(name, "node", text, len(owner)), _features(name, "edge", text, len(arcs))
    _, y = np.unique(labels, return_inverse=True)
    return _cut(torch.from_numpy(y), torch.from_numpy(owner - 1), x, torch.from_numpy(arcs), edge_attr)


def write_tu(folder: str | Path, name: str, graphs: Mapping[str, np.ndarray]) -> Path:
    """Write a set: ``arcs (E, 2)`` from 0, ``graph (N,)`` from 0, ``labels (G,)``, and any of ``node_labels``,
    ``node_attributes``, ``edge_labels``, ``edge_attributes``; the folder ``folder/name``.
    """
    out = Path(folder) / name
    out.mkdir(parents=True, exist_ok=True)
    parts = {"A": graphs["arcs"] + 1, "graph_indicator": graphs["graph"] + 1, "graph_labels": graphs["labels"]}
    known = ("node_labels", "node_attributes", "edge_labels", "edge_attributes")
    for part, values in {**parts, **{key: graphs[key] for key in known if key in graphs}}.items():
        rows = np.asarray(values).reshape(len(values), -1)
        lines = (", ".join(f"{v:g}" if rows.dtype.kind == "f" else str(v) for v in row) for row in rows)
        (out / f"{name}_{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    return out


def folds(labels: Tensor, count: int = FOLDS, *, seed: int = 0) -> Tensor:
    """The fold of every graph, ``(graphs,)``: classes shared out evenly, at random by ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.empty(len(labels), dtype=torch.int64)
    shift = 0
    for label in labels.unique().tolist():
        own = torch.nonzero(labels == label).flatten()
        out[own[torch.randperm(len(own), generator=generator)]] = (torch.arange(len(own)) + shift) % count
        shift += len(own)
    return out


def molecules(count: int, *, generator: torch.Generator) -> dict[str, np.ndarray]:
    """``count`` chains of rings with substituents, as :func:`write_tu` takes them; label 1 where a group N(O)(O) hangs on.

    Both classes hold the same atoms: without the group, N and O hang on one by one. Node labels are C 0, N 1, O 2.
    """
    arcs: list[tuple[int, int]] = []
    owner: list[int] = []
    labels: list[int] = []
    atoms: list[int] = []
    for g in range(count):
        y = g % 2
        bonds, kinds = _molecule(y, generator)
        start = len(atoms)
        arcs += [(start + a, start + b) for i, j in bonds for a, b in ((i, j), (j, i))]
        owner += [g] * len(kinds)
        atoms += kinds
        labels.append(y)
    found = {"arcs": arcs, "graph": owner, "labels": labels, "node_labels": atoms}
    return {name: np.array(value, dtype=np.int64) for name, value in found.items()}


def _molecule(y: int, generator: torch.Generator) -> tuple[list[tuple[int, int]], list[int]]:
    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    bonds: list[tuple[int, int]] = []
    kinds: list[int] = []
    for ring in range(1 + draw(3)):
        size, start = 5 + draw(2), len(kinds)
        kinds += [0] * size
        bonds += [(start + i, start + (i + 1) % size) for i in range(size)]
        if ring:
            bonds.append((start - 1, start))
    carbons = len(kinds)
    at = torch.randperm(carbons, generator=generator)[:3].tolist()
    n = len(kinds)
    kinds += [1, 2, 2]
    bonds += [(at[0], n), *(((n, n + 1), (n, n + 2)) if y else ((at[1], n + 1), (at[2], n + 2)))]
    return bonds, kinds


def tu_set(request: Request) -> Data:
    """Fold ``seed`` of ten as test, the next as valid, eight for training: seeds 0 to 9 are the 10-fold protocol.

    The set is that of ``--data NAME=PATH``; sizes ``smoke`` and ``cpu`` generate one where no file is given. Raises
    InputError at size ``full`` without a file and for several files.
    """
    if len(request.files) > 1:
        raise InputError(f"one set at a time: --data NAME=PATH, got {[name for name, _ in request.files]}")
    if request.files:
        graphs = read_tu(request.files[0][1])
    elif request.size == "full":
        raise InputError("size full needs the public set: --data mutag=FOLDER_OR_ZIP with its DS_*.txt files")
    else:
        made = molecules({"smoke": 60, "cpu": 300}[request.size], generator=torch.Generator().manual_seed(0))
        y, owner, arcs = (torch.from_numpy(made[key]) for key in ("labels", "graph", "arcs"))
        graphs = _cut(y, owner, _one_hot(made["node_labels"]), arcs, np.ones((len(arcs), 1), np.float32))
    fold, k = folds(graphs.labels), request.seed % FOLDS
    parts = [graphs.subset(torch.nonzero(chosen).flatten()) for chosen in _parts(fold, k)]
    train, valid, test = parts
    sample = graphs.samples[0]
    seen = test.joined(8)
    audit = {name: seen[name] for name in ("x", "edge_index", "batch", "edge_attr")}
    info = {"features": sample["x"].shape[1], "edge_features": sample["edge_attr"].shape[1]}
    info["classes"] = int(graphs.labels.max()) + 1
    return Data(train, test, audit, valid, info)


def _parts(fold: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    test, valid = fold == k, fold == (k + 1) % FOLDS
    return ~(test | valid), valid, test


def _cut(y: Tensor, owner: Tensor, x: np.ndarray, arcs: Tensor, edge_attr: np.ndarray) -> Graphs:
    """One sample per graph out of flat arrays; nodes stand in the order of their graphs."""
    count = len(y)
    nodes = torch.bincount(owner, minlength=count)
    start = nodes.cumsum(0) - nodes
    edge_owner = owner[arcs[:, 0]]
    order = torch.argsort(edge_owner, stable=True)
    local = (arcs - start[edge_owner].unsqueeze(-1))[order].T
    edges = torch.bincount(edge_owner, minlength=count).tolist()
    pieces = zip(
        y.split(1),
        torch.from_numpy(x).split(nodes.tolist()),
        local.split(edges, 1),
        torch.from_numpy(edge_attr)[order].split(edges),
        strict=True,
    )
    return Graphs(
        [
            {"y": label, "x": part, "edge_index": ends, "batch": torch.zeros(len(part), dtype=torch.int64), "edge_attr": attr}
            for label, part, ends, attr in pieces
        ]
    )


# ---------------------------------------------------------------------- text


def _open(path: Path) -> tuple[str, Reader]:
    """The name of the set and a reader of its parts."""
    found: dict[str, bytes] = {}
    try:
        if path.is_dir():
            found = {file.name: file.read_bytes() for file in sorted(path.rglob("*.txt"))}
        elif path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as whole:
                found = {Path(inner).name: whole.read(inner) for inner in whole.namelist() if inner.endswith(".txt")}
        else:
            raise InputError(f"{path}: expected a folder or a zip file with DS_A.txt, DS_graph_indicator.txt and so on")
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}; is it whole?") from error
    names = [file.removesuffix("_A.txt") for file in found if file.endswith("_A.txt")]
    if len(names) != 1:
        raise InputError(f"{path}: expected the files of one set (DS_A.txt), found {names or 'none'}")
    texts = {file: content.decode("utf-8", "replace") for file, content in found.items() if file.startswith(f"{names[0]}_")}
    return names[0], lambda part: texts.get(f"{names[0]}_{part}.txt")


def _table(name: str, part: str, text: Reader, *, integer: bool) -> np.ndarray | None:
    """The numbers of a file, ``(lines, columns)``."""
    content = text(part)
    if content is None:
        return None
    rows = [line.replace(",", " ").split() for line in content.splitlines() if line.strip()]
    try:
        table = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{name}_{part}.txt: every line holds the same count of numbers; {error}") from error
    if not (np.abs(table) <= (EXACT if integer else FAR)).all():
        raise InputError(f"{name}_{part}.txt: a number is NaN, infinite or too large to be one of a graph")
    return table.astype(np.int64 if integer else np.float32)


def _column(name: str, part: str, text: Reader) -> np.ndarray | None:
    table = _table(name, part, text, integer=True)
    return None if table is None else table[:, 0] if table.ndim == 2 else table


def _features(name: str, what: str, text: Reader, length: int) -> np.ndarray:
    """One-hot labels, then attributes, ``(length, columns)``; the constant 1 where the set has neither."""
    labels = _table(name, f"{what}_labels", text, integer=True)
    attributes = _table(name, f"{what}_attributes", text, integer=False)
    parts = [] if labels is None else [_one_hot(column) for column in labels.T]
    parts += [] if attributes is None else [attributes]
    if bad := [len(part) for part in parts if len(part) != length]:
        raise InputError(f"{name}: {what} labels or attributes have {bad[0]} lines, expected {length}")
    return np.concatenate(parts, 1) if parts else np.ones((length, 1), np.float32)


def _one_hot(labels: np.ndarray) -> np.ndarray:
    values, at = np.unique(labels, return_inverse=True)
    return np.eye(len(values), dtype=np.float32)[at]
