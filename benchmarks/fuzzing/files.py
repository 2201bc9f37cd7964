"""What is done to files: cut, flipped, spliced, swapped, emptied, and changed within their format."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

HUGE = (2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, 10**12)
#: what stands where a number is expected
NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1e999", "-1e308", "1e-320", "999999999999", "3.5", "", "abc", "0x10", "١٢", "1_000",
    "--5", "1,5", "9" * 400, "None", "true", "[]",
)  # fmt: skip
#: what stands where a word is expected
WORDS = (
    "", " ", "\0", "ünïcödé ☃", "𝔾" * 50, "a" * 5000, "../passwd", "/proc/", "~", "$(touch EXPLODED)", "%s%n", "{0}", "'\"",
    "<script>", "\n\n", "-", "--", "=", ":", "a=b=c", "C:\\x", "\udcff", "null", "__import__('os')",
)  # fmt: skip
PLAIN: tuple[Any, ...] = (None, True, -1, 0, 2**63, 1e308, -0.5, "", "x", "nan", [], [[]], {}, {"a": 1}, [1, "2", None])


def damage(path: Path, chance: Random, stock: Path) -> str:
    """Do one thing to a file or to something in a folder; what was done, in words."""
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "report.html")
        if inside and chance.random() < 0.9:
            one = chance.choice(inside)
            return f"{one.relative_to(path)}: {damage(one, chance, stock)}"
        shutil.rmtree(path)
        if chance.random() < 0.5:
            path.mkdir()
            return "an empty folder"
        path.write_bytes(b"no folder")
        return "a file for a folder"
    how = chance.choice(_ways(path))
    try:
        how(path, chance, stock)
    except Exception:  # no longer of its format: it was damaged before
        how = _overwritten if path.is_file() and not path.is_symlink() else _kept
        how(path, chance, stock)
    return how.__name__.strip("_").replace("_", " ")


def _ways(path: Path) -> list[Callable[[Path, Random, Path], None]]:
    own: list[Callable[[Path, Random, Path], None]] = []
    if path.suffix in (".json", ".jsonl"):
        own = [_json_changed] * 6
    elif path.suffix == ".npz":
        own = [_array_changed] * 5 + [_array_declared_huge]
    elif path.suffix == ".npy":
        own = [_array_file_changed] * 5 + [_array_file_declared_huge]
    elif path.suffix == ".safetensors":
        own = [_header_changed] * 4 + [_sealed_anew] * 4
    elif path.name == "audit.html":
        own = [_page_changed] * 6
    elif path.suffix in (".zip", ".pt2"):
        own = [_member_changed] * 5
    elif _is_text(path):
        own = [_number_changed] * 5 + [_line_changed] * 3
    return [_cut, _cut, _flipped, _flipped, _flipped, _overwritten, _spliced, _emptied, _swapped, _moved_away, *own]


def _is_text(path: Path) -> bool:
    return path.suffix in (".txt", ".extxyz", ".xyz", ".raw", ".asf", ".amc", ".ply", ".csv", ".html", ".md", ".py")


# ---------------------------------------------------------------------------------------------------- of any file


def _cut(path: Path, chance: Random, stock: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw) + 1)])


def _flipped(path: Path, chance: Random, stock: Path) -> None:
    raw = bytearray(path.read_bytes())
    reach = min(len(raw), chance.choice((64, 512, 10**9)))
    for _ in range(chance.choice((1, 1, 2, 8))):
        if raw:
            raw[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)


def _overwritten(path: Path, chance: Random, stock: Path) -> None:
    raw = bytearray(path.read_bytes())
    start, size = chance.randrange(len(raw) + 1), chance.choice((1, 4, 8, 100, 5000))
    raw[start : start + size] = chance.choice((b"\0" * size, b"\xff" * size, chance.randbytes(size), b"9" * size))
    path.write_bytes(raw)


def _spliced(path: Path, chance: Random, stock: Path) -> None:
    raw = path.read_bytes()
    a, b, c = sorted(chance.randrange(len(raw) + 1) for _ in range(3))
    path.write_bytes(chance.choice((raw[:b] + raw[a:], raw[:a] + raw[b:], raw[:a] + raw[b:c] + raw[a:b] + raw[c:], raw + raw)))


def _kept(path: Path, chance: Random, stock: Path) -> None:
    """Nothing more."""


def _emptied(path: Path, chance: Random, stock: Path) -> None:
    path.write_bytes(b"")


def _swapped(path: Path, chance: Random, stock: Path) -> None:
    """Another kind of file under this name."""
    others = sorted(p for p in stock.rglob("*") if p.is_file() and p.stat().st_size < 200_000)
    path.write_bytes(chance.choice(others).read_bytes())


def _moved_away(path: Path, chance: Random, stock: Path) -> None:
    path.unlink()
    what = chance.randrange(4)
    if what == 1:
        path.mkdir()
    elif what == 2:
        path.symlink_to(path.name)  # a loop
    elif what == 3:
        path.symlink_to("/dev/null")


# ---------------------------------------------------------------------------------------------------- of a format


def _number_changed(path: Path, chance: Random, stock: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    found = list(re.finditer(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", text))
    for match in sorted(chance.sample(found, min(len(found), chance.choice((1, 1, 3)))), key=lambda m: -m.start()):
        text = text[: match.start()] + chance.choice(NUMBERS) + text[match.end() :]
    path.write_text(text, encoding="utf-8")


def _line_changed(path: Path, chance: Random, stock: Path) -> None:
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True) or [""]
    i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
    what = chance.randrange(4)
    if what == 0:
        del lines[i]
    elif what == 1:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 2:
        lines.insert(i, chance.choice(WORDS).encode("utf-8", "replace").decode() + "\n")
    else:
        words = lines[i].split(" ")
        words[chance.randrange(len(words))] = chance.choice(WORDS).encode("utf-8", "replace").decode()
        lines[i] = " ".join(words)
    path.write_text("".join(lines), encoding="utf-8")


def _json_changed(path: Path, chance: Random, stock: Path) -> None:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    if not lines:
        return
    i = chance.randrange(len(lines))
    try:
        lines[i] = json.dumps(changed(json.loads(lines[i]), chance))
    except ValueError:
        lines[i] = lines[i][:-1]
    path.write_text("\n".join(lines) + "\n")


def changed(tree: Any, chance: Random) -> Any:
    """One node of a JSON tree replaced, taken away, or nested a thousand deep."""
    if isinstance(tree, (dict, list)) and tree and chance.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = chance.choice(keys)
        tree = tree.copy()
        if chance.random() < 0.15:
            del tree[key]
        else:
            tree[key] = changed(tree[key], chance)
        return tree
    if chance.random() < 0.05:
        deep: Any = 0
        for _ in range(900):
            deep = [deep]
        return deep
    return chance.choice(PLAIN)


def spoiled(array: np.ndarray, chance: Random) -> np.ndarray:
    """Another dtype, another shape, or numbers that are none."""
    what = chance.randrange(9)
    if what == 0:
        kind = chance.choice(("f4", "f2", "i1", "u8", "?", "c8", "U7", "S3", "M8[D]", ">f8"))
        try:
            return array.astype(kind)
        except (ValueError, TypeError):
            return array.astype("U7")
    if what == 1:
        return array[:0]
    if what == 2:
        return array[None]
    if what == 3:
        return array.ravel()[: chance.randrange(array.size + 1)]
    if what == 4:
        return array.swapaxes(0, -1) if array.ndim else array
    if what == 5:
        return np.array([{"EXPLODED": 1}], dtype=object)
    out = np.array(array, dtype=chance.choice(("f8", "i8")) if array.dtype.kind in "OUS" else array.dtype) if (
        array.dtype.kind not in "OUSV") else np.zeros(3)  # fmt: skip
    if out.size:
        bad = (float("nan"), float("inf"), 1e308, -1e300) if out.dtype.kind == "f" else (-1, 2**31 - 1, -(2**31), 120)
        with np.errstate(all="ignore"):
            flat = out.reshape(-1)
            flat[chance.randrange(out.size)] = np.array(chance.choice(bad)).astype(out.dtype)
            return flat.reshape(out.shape)
    return np.array(chance.choice((0.0, 3)))


def _arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        try:
            return {name: stored[name] for name in stored.files}
        except Exception:  # what was damaged once already
            return {"x": np.zeros(3)}


def _array_changed(path: Path, chance: Random, stock: Path) -> None:
    if path.name.startswith("bomb"):
        return
    arrays = _arrays_of(path)
    name = chance.choice(sorted(arrays))
    what = chance.random()
    if what < 0.1:
        del arrays[name]
    elif what < 0.2:
        arrays[chance.choice(("", "../x", "ünï", "__json__", "arr_0"))] = arrays.pop(name)
    else:
        arrays[name] = spoiled(arrays[name], chance)
    np.savez(path, **arrays)


def _huge_header(chance: Random) -> bytes:
    stream = io.BytesIO()
    shape = chance.choice(((chance.choice(HUGE),), (10**6, 10**6, 3), (chance.choice(HUGE), 3), (2**40, 2**40)))
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 48


def _array_declared_huge(path: Path, chance: Random, stock: Path) -> None:
    names = sorted(_arrays_of(path)) if not path.name.startswith("bomb") else ["pos"]
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(f"{name}.npy", _huge_header(chance))


def _array_file_changed(path: Path, chance: Random, stock: Path) -> None:
    if not path.name.startswith("bomb"):
        np.save(path, spoiled(np.load(path), chance))


def _array_file_declared_huge(path: Path, chance: Random, stock: Path) -> None:
    path.write_bytes(_huge_header(chance))


def _header_changed(path: Path, chance: Random, stock: Path) -> None:
    """The JSON before the tensors, with a length that fits or one that would fill any memory."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + size])
    what = chance.random()
    if what < 0.2:
        path.write_bytes(struct.pack("<Q", chance.choice(HUGE)) + raw[8:])
        return
    names = [name for name in head if name != "__metadata__"]
    if what < 0.5 and names:
        entry = head[chance.choice(names)]
        entry["shape"] = chance.choice(([chance.choice(HUGE)], [0], [-1], [2**20, 2**20], [], entry["shape"][::-1], ["a"]))
        if chance.random() < 0.5:
            entry["data_offsets"] = chance.choice(([0, chance.choice(HUGE)], [8, 0], [0, 8], "x"))
    elif what < 0.65 and names:
        head[chance.choice(names)]["dtype"] = chance.choice(("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X"))
    elif what < 0.75 and "__metadata__" in head:
        key = chance.choice(sorted(head["__metadata__"]))
        try:
            head["__metadata__"][key] = json.dumps(changed(json.loads(head["__metadata__"][key]), chance))
        except ValueError:
            head["__metadata__"][key] = chance.choice(WORDS).encode("utf-8", "replace").decode()
    else:
        head = changed(head, chance)
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def _sealed_anew(path: Path, chance: Random, stock: Path) -> None:
    """The description or a tensor changed, and the checksums made to fit: what somebody would do on purpose."""
    import safetensors
    import safetensors.torch

    from coset.interop.potential_file import _digest

    with safetensors.safe_open(str(path), "pt") as stored:
        tensors, metadata = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    about = json.loads(metadata["coset"])
    if chance.random() < 0.7:
        about = changed(about, chance)
    elif tensors:
        name = chance.choice(sorted(tensors))
        array = spoiled(tensors[name].numpy(), chance)
        tensors[name] = safetensors.torch.torch.from_numpy(np.ascontiguousarray(array))
    text = json.dumps(about)
    metadata = {"coset": text, "sha256": _digest(text, tensors)}
    if isinstance(about, dict) and about.get("kind") == "structures":
        from coset.data.store import KINDS, header_digest

        short = {v: k for k, v in KINDS.items()}
        kinds = {name: np.dtype(str(value.numpy().dtype)).str.replace("|", "") for name, value in tensors.items()}
        arrays = {name: (kinds[name], tuple(value.shape[1:]), 0) for name, value in tensors.items() if kinds[name] in short}
        metadata["sha256"] = header_digest(text, arrays)
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def _page_changed(path: Path, chance: Random, stock: Path) -> None:
    """The JSON that a page draws."""
    head, mark, rest = path.read_text().partition('id="payload">')
    text, end, tail = rest.partition("</script>")
    path.write_text(head + mark + json.dumps(changed(json.loads(text), chance)) + end + tail)


def _member_changed(path: Path, chance: Random, stock: Path) -> None:
    """One member of an archive damaged, the archive itself whole."""
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    name = chance.choice(sorted(parts))
    room = path.with_name(f"{path.name}.room")
    room.mkdir()
    inner = room / (Path(name).name or "x")
    inner.write_bytes(parts[name])
    _ = damage(inner, chance, stock) if inner.suffix not in (".zip", ".pt2") else inner.write_bytes(b"")
    if inner.is_file() and not inner.is_symlink():
        parts[name] = inner.read_bytes()
    else:
        del parts[name]
    shutil.rmtree(room)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, content)


def copy(name: str, stock: Path, into: Path) -> Path:
    """One thing of the stock, a file or a folder (without the pages of runs, which are large and never read)."""
    source, target = stock / name, into / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("report.html", ".lock"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    os.utime(target)
    return target
