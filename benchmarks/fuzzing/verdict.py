"""What a case must keep: an exit code as documented, a message, nothing half-written, nothing lost, nothing unpickled."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

CODES = (0, 1, 2, 3)
LEFT = re.compile(r"^\..*\.[a-z0-9_]{8}$|\.(part|tmp|new)$|~$")  #: names of what is being written
CACHES = ("cache", "sets", ".config", ".cache")  #: of the case's own home


def snapshot(room: Path) -> dict[str, str]:
    """Every file below a folder, with a digest of its content."""
    found = {}
    for path in sorted(room.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[str(path.relative_to(room))] = hashlib.sha1(path.read_bytes()).hexdigest()
    return found


def judge_loader(error: BaseException | None, room: Path, before: dict[str, str]) -> dict[str, Any]:
    """Faults of a call: an error that is none of ours, and what stays behind."""
    from coset.errors import CosetError

    faults, said = kept(room, before), ""
    if error is not None:
        said = f"{type(error).__name__}: {error}"[:300]
        if not isinstance(error, CosetError):
            faults.append(f"{type(error).__name__} at {_place(traceback.extract_tb(error.__traceback__))}")
        elif len(str(error)) < 12:
            faults.append("a message that says nothing")
    return {"faults": faults, "said": said, "code": 0 if error is None else 2}


def _place(frames: Any) -> str:
    mine = [frame for frame in frames if "/src/coset/" in frame.filename]
    return f"{mine[-1].filename.rpartition('/src/coset/')[2]}:{mine[-1].name}" if mine else "elsewhere"


def judge_command(code: int, out: str, err: str, room: Path, before: dict[str, str], line: Any) -> dict[str, Any]:
    """Faults of a command line."""
    faults = kept(room, before, failed=code not in (0, 1))
    if code not in CODES and not (code == 130 and line.tokens[:1] == ["serve"]):  # which the user ends
        faults.append(f"exit code {code}")
    if "Traceback (most recent call last)" in (text := out + err):
        found = re.findall(r'File "[^"]*/src/coset/([^"]+)", line \d+, in (\w+)', text)
        kinds = re.findall(r"^(\w[\w.]*(?:Error|Exception|Interrupt|Exit|Iteration|Warning)\b)[^\n]*", text, re.M)
        where = ":".join(found[-1]) if found else "elsewhere"
        faults.append(f"{kinds[-1] if kinds else 'traceback'} at {where}")
    if code in (2, 3) and not re.search(r"^coset: .{10,}", err, re.M | re.S):
        faults.append("no message")
    if code == 1 and line.trouble not in ("pipe", "stdout") and not (out + err).strip():
        faults.append("no verdict")
    return {"faults": faults}


def kept(room: Path, before: dict[str, str], *, failed: bool = False) -> list[str]:
    """What is wrong with the files: half-written, left behind, lost, or the work of a pickle."""
    faults, after = [], {}
    for path in sorted(room.rglob("*")):
        name = str(path.relative_to(room))
        if path.name == "EXPLODED":
            faults.append("a pickle was opened")
        if name.split("/")[0] in CACHES:
            continue
        if name not in before and LEFT.search(path.name) and path.name != "whole":
            faults.append(f"left behind: {re.sub(r'[a-z0-9_]{8}$', '*', path.name)}")
        elif path.is_file() and not path.is_symlink():
            after[name] = path
    for name, path in after.items():
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        if before.get(name) == digest or (failed and path.name == "trajectory.extxyz"):
            continue
        if wrong := unreadable(path):
            faults.append(f"half-written: {path.suffix}: {wrong}"[:200])
    faults += [f"lost: {Path(name).name}" for name in before if name not in after and not _replaced(room / name)]
    return faults


def _replaced(path: Path) -> bool:
    """What a command takes away on purpose: leftovers of killed processes, samples and trajectory of the run before."""
    return path.name.startswith(".") or path.name in ("samples.npz", "trajectory.extxyz") or path.is_symlink()


def unreadable(path: Path) -> str:
    """Why a result cannot be read; empty if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _read(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _read(path: Path) -> None:
    raw = path.read_bytes()
    if path.suffix == ".json":
        json.loads(raw)
    elif path.suffix == ".jsonl":
        _ = [json.loads(line) for line in raw.decode().splitlines()]
    elif path.suffix in (".npz", ".npy"):
        stored = np.load(io.BytesIO(raw), allow_pickle=False)
        _ = [stored[name] for name in stored.files] if path.suffix == ".npz" else stored
    elif path.suffix == ".safetensors":
        import safetensors.torch

        safetensors.torch.load(raw)
    elif path.suffix == ".html" and not raw.rstrip().endswith(b"</html>"):
        raise ValueError("no end")
    elif path.suffix == ".csv" and (
        not raw.endswith(b"\n") or len({len(row) for row in csv.reader(raw.decode().splitlines())}) > 1
    ):
        raise ValueError("a broken line")
    elif path.suffix == ".png":
        from PIL import Image

        Image.open(io.BytesIO(raw)).load()
    elif path.suffix == ".pt2":
        with zipfile.ZipFile(path) as packed:
            if packed.testzip():
                raise ValueError("a damaged member")
    elif path.suffix == ".extxyz":
        from ase.io import read

        read(io.StringIO(raw.decode()), ":", format="extxyz")
