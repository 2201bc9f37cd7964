"""A run folder: whose it is, what was asked of it, which rows are finished.

``environment.json`` holds schema, request (what decides figures: task, size, files, recipe changes, device, threads),
machine, versions, command, commit, notes and whether all rows are finished. A folder is continued only by the same
request, and by one process at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from coset.errors import InputError, reason
from coset.records import SCHEMA, Result, load_json, read_results, sweep, write_atomically, write_results

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None  # type: ignore[assignment]

PATIENCE = 3.0  #: seconds that a folder in use is waited for


class Folder:
    """One run folder, opened for writing."""

    def __init__(self, path: Path, environment: dict[str, Any], finished: list[Result]) -> None:
        self.path = path
        self.environment = environment
        self.finished = {(result.method, result.seed): result for result in finished}

    def row(self, slug: str, seed: int) -> Path:
        """Where one row and seed keeps its files."""
        return self.path / "rows" / slug / str(seed)

    def keep(self, result: Result, order: list[tuple[str, int]]) -> None:
        """Add a finished row and rewrite ``results.jsonl``, in the task's order."""
        self.finished[result.method, result.seed] = result
        place = {key: index for index, key in enumerate(order)}
        last = len(place)
        write_results(self.path, sorted(self.finished.values(), key=lambda r: place.get((r.method, r.seed), last)))

    def note(self, key: str, text: str) -> None:
        """Something that a reader of the results must know, e.g. that a budget ended a row early."""
        self.environment["notes"][key] = text
        self.write_environment()

    def write_environment(self, **changes: Any) -> None:
        """Rewrite ``environment.json``."""
        self.environment |= changes
        write_atomically(self.path / "environment.json", json.dumps(self.environment, indent=1) + "\n")


@contextlib.contextmanager
def open_folder(path: Path, request: Mapping[str, Any], command: str) -> Iterator[Folder]:
    """Make or continue a run folder.

    Raises InputError when it cannot be written, belongs to another request or another version, holds results of unknown
    origin, or is in use.
    """
    with locked(path):
        stored = _read(path / "environment.json")
        if stored is None and (path / "results.jsonl").exists():
            raise InputError(f"{path} holds results without an environment.json; use another --out folder")
        if stored is not None:
            _same(path, stored["request"], json.loads(json.dumps(request)))
        finished = read_results(path) if (path / "results.jsonl").exists() else []
        environment = {
            "schema": SCHEMA,
            "request": dict(request),
            "token": os.urandom(8).hex(),  # how a worker knows that the path it was told is this folder
            "command": command,
            "commit": commit(),
            "versions": versions(),
            "machine": {"platform": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
            "started": (stored or {}).get("started") or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "notes": (stored or {}).get("notes", {}),
            "finished": False,
        }
        folder = Folder(path, environment, finished)
        folder.write_environment()
        sweep(path)
        for leftover in path.glob("rows/*/*/.*"):  # what a killed process was writing
            leftover.unlink(missing_ok=True)
        yield folder


def choose_folder(name: str, request: Mapping[str, Any], *, root: Path = Path("runs")) -> Path:
    """``runs/<name>-<n>``: the newest one if the same request was broken off there, otherwise a new one."""
    known = sorted((int(p.name.rpartition("-")[2]), p) for p in root.glob(f"{name}-*") if p.name.rpartition("-")[2].isdigit())
    if known:
        number, newest = known[-1]
        with contextlib.suppress(InputError, KeyError):
            stored = _read(newest / "environment.json")
            if stored and not stored["finished"] and stored["request"] == json.loads(json.dumps(request)):
                return newest
        return root / f"{name}-{number + 1}"
    return root / f"{name}-1"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with the process, however that ends, and with what it was just starting."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        stream = (path / ".lock").open("w")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {reason(error)}; name another folder with --out") from error
    with stream:
        if fcntl is not None and not _held(stream):
            raise InputError(f"{path} is in use by another coset process; wait for it or name another --out folder")
        yield


def _held(stream: Any) -> bool:
    """Whether the lock came: at once, or within :data:`PATIENCE`, for a killed process may leave a child that ends after it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        stored = load_json(path)
    except InputError as error:
        raise InputError(f"{path} is damaged ({error}); use another --out folder") from error
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA or "request" not in stored:
        found = stored.get("schema") if isinstance(stored, dict) else None
        raise InputError(
            f"{path.parent} was written by another version (schema {found}, this is {SCHEMA}); use another --out folder"
        )
    if not isinstance(stored["request"], dict) or not isinstance(stored.get("notes", {}), dict):
        raise InputError(f"{path} is damaged (request and notes are JSON objects); use another --out folder")
    return stored


def _same(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if changed := [name for name in {**stored, **asked} if stored.get(name) != asked.get(name)]:
        lines = "; ".join(f"{name} was {stored.get(name)!r}, now {asked.get(name)!r}" for name in changed)
        raise InputError(f"{path} holds results of another request ({lines}); use another --out folder, or ask for the same")


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for name in ("coset", "torch", "numpy", "scipy", "lightning", "safetensors", "ray"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def commit() -> str:
    """The commit of this package's checkout, with ``+`` when files differ from it; empty when it is no checkout."""
    place = Path(__file__).parent
    git = ["git", "-C", str(place)]
    try:
        inside = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=10, check=False)
        if inside.returncode:
            return ""
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", str(place.parent)], timeout=10, check=False).returncode
        return f"{head}+" if changed else head
    except (OSError, subprocess.SubprocessError):
        return ""


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform
