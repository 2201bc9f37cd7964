"""The process that runs cases: forked from one that has imported everything, watched in time and memory, then thrown away."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from . import commands, loaders
from .files import copy
from .verdict import judge_command, judge_loader, snapshot

CPU = 20  #: seconds of computing that a case may take
WALL = 150  #: seconds by the clock, on a busy machine
MEMORY = 3 * 2**30  #: bytes of addresses beyond what imports take
SERVED = 1.5  #: seconds after which a server is interrupted


def warm() -> None:
    """Import all that cases need, so that every process forked later has it; one thread, or forks are not safe."""
    import torch

    torch.set_num_threads(1)
    for name in ("lightning", "matplotlib.pyplot", "ase.io", "ase.db", "ase.optimize", "ase.filters", "ase.build", "scipy.io",
                 "sklearn.datasets", "PIL.Image", "plotly.offline", "jinja2", "lmdb", "vesin", "torch.export"):  # fmt: skip
        importlib.import_module(name)
    import coset.cli
    import coset.models

    for package in (coset.cli, coset.models):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("comparison", "train.fit", "train.rows", "interop.potential_page", "interop.dynamics", "tasks.potential",
                 "tasks.digits", "tasks.bodies", "tasks.tu_graphs", "tasks.walking", "tasks.locomotion", "tasks.shifted_digits",
                 "tasks.cifar10_shift", "tasks.learned_equivariance", "interop.potential_audit", "interop.serve"):  # fmt: skip
        importlib.import_module(f"coset.{name}")
    gc.collect()
    gc.freeze()  # what is imported is never looked through again, and stays shared


def forked(function: Callable[[], Any], *, wall: float = WALL) -> tuple[str, Any]:
    """What ``function`` returns (JSON) in a process of its own: ``("done", value)``, or how that process ended instead."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            os.setpgid(0, 0)
            answer = json.dumps(function()).encode()
            with os.fdopen(writing, "wb") as stream:
                stream.write(answer)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    text = b""
    end = time.monotonic() + wall
    os.set_blocking(reading, False)
    while True:
        with contextlib.suppress(BlockingIOError):
            if not (part := os.read(reading, 1 << 16)):
                break
            text += part
            continue
        if time.monotonic() > end:
            break
        time.sleep(0.005)
    os.close(reading)
    _, status = _ended(pid)
    with contextlib.suppress(ValueError):
        return "done", json.loads(text)
    return _told(status, late=time.monotonic() > end), None


def _ended(pid: int) -> tuple[int, int]:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)


def prepare(room: Path) -> None:
    """This process becomes one that runs cases: no more memory than allowed, one worker, caches in the case's folder."""
    size = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")).split()[1]
    )
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.sched_getaffinity = lambda pid: {0}  # type: ignore[assignment]  # rows run in this process
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.environ |= {"COSET_CACHE": str(room / "cache"), "COSET_DATA": str(room / "sets"), "HOME": str(room), "COLUMNS": "100"}


def batched(
    numbers: list[int], seed: int, stock: Path, place: Path, tables: dict[str, Any], add: Callable[[dict[str, Any]], None]
) -> tuple[int | None, str]:
    """Run cases one after the other in one process; the case that ended it and how, or None."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            os.close(reading)
            prepare(place / "home")
            with os.fdopen(writing, "w") as stream:
                for number in numbers:
                    print(json.dumps({"begins": number}), file=stream, flush=True)
                    print(json.dumps(run_case(number, seed, stock, place, tables)), file=stream, flush=True)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    os.set_blocking(reading, False)
    text, running, end = b"", None, time.monotonic() + WALL
    while True:
        try:
            part = os.read(reading, 1 << 16)
        except BlockingIOError:
            if time.monotonic() > end:
                break
            time.sleep(0.01)
            continue
        if not part:
            break
        text += part
        *lines, text = text.split(b"\n")
        for line in map(json.loads, lines):
            end = time.monotonic() + WALL
            if "begins" in line:
                running = line["begins"]
            else:
                add(line)
                running = None
    os.close(reading)
    return running, _told(_ended(pid)[1], late=time.monotonic() > end)


def _told(status: int, *, late: bool) -> str:
    """How a process ended."""
    code = os.waitstatus_to_exitcode(status)
    return "out of time" if late or code in (-signal.SIGPROF, -signal.SIGXCPU) else f"the process ended with {code}"


def run_case(number: int, seed: int, stock: Path, place: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """One case from its number: made, run, judged; its folder is removed unless something was wrong."""
    chance = Random(f"{seed}:{number}")
    room = place / f"case-{number}"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    before = os.getcwd()
    os.chdir(room)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, CPU)
    try:
        told = _command(chance, stock, room) if chance.random() < 0.55 else _loader(chance, stock, room, tables)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.chdir(before)
    told |= {"case": number, "seconds": round(time.monotonic() - began, 2)}
    if not told["faults"]:
        shutil.rmtree(room, ignore_errors=True)
        shutil.rmtree(room.with_name(f"{room.name}.out"), ignore_errors=True)
    return told


def _loader(chance: Random, stock: Path, room: Path, tables: dict[str, Any]) -> dict[str, Any]:
    words, call, loader = loaders.make(chance, stock, room, tables)
    before = snapshot(room)
    result = error = None
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = call()
    except BaseException as caught:
        error = caught
    told = judge_loader(error, room, before)
    sealed = loader is not None and loader.same is not None and "sealed anew" not in words
    if sealed and error is None and loader.same(result) != _good(loader, stock, room):
        told["faults"].append("a damaged file was taken for another")
    return {"kind": "loader", "what": words} | told


def _good(loader: Any, stock: Path, room: Path) -> Any:
    whole = room / "whole"
    whole.mkdir()
    return loader.same(loader.call(*[copy(item, stock, whole) for item in loader.items]))


def _command(chance: Random, stock: Path, room: Path) -> dict[str, Any]:
    """A command line in this process, its streams in files."""
    line = commands.make(chance, stock, room)
    if line.trouble:
        return _apart(line, room)
    return _ran(line, room)


def _apart(line: commands.Line, room: Path) -> dict[str, Any]:
    """A command whose surroundings make trouble, in a process of its own."""
    state, told = forked(lambda: _troubled(line, room))
    if state != "done":
        told = {"kind": "command", "what": _said(line), "code": None, "faults": [state]}
    return told


def _troubled(line: commands.Line, room: Path) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, CPU)
    disk, mounted = room / "disk", False
    if line.trouble in ("full", "readonly", "closed"):
        mounted = _mounted(disk, line.amount if line.trouble == "full" else 2**26)
        if not mounted:  # who may not mount gets files that end early
            line.trouble = "limit"
        elif line.trouble == "closed":  # the folder that the command runs in
            shutil.copytree(room, disk, dirs_exist_ok=True, ignore=shutil.ignore_patterns("disk"))
            os.chdir(disk)
        else:
            line.tokens = _placed(line.tokens, disk)
        if mounted and line.trouble != "full":
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=True)
    elif line.trouble == "vanished":
        (room / "gone").mkdir()
        os.chdir(room / "gone")
        (room / "gone").rmdir()
    try:
        return _ran(line, room, trouble=True)
    finally:
        if mounted:
            os.chdir("/")
            subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def _mounted(disk: Path, size: int) -> bool:
    """A disk of a few bytes in memory, where this process may have one."""
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={max(size, 4096)}", "tmpfs", str(disk)]
    return (
        shutil.which("mount") is not None
        and not subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    )


def _placed(tokens: list[str], folder: Path) -> list[str]:
    """The words with every result in ``folder``."""
    out = list(tokens)
    for i, word in enumerate(tokens[:-1]):
        if word in ("--out", "--save"):
            out[i + 1] = str(folder / Path(tokens[i + 1].replace("\0", "") or "x").name)
    return out


def _said(line: commands.Line) -> str:
    words = " ".join(repr(word) if not word.isprintable() or " " in word or not word else word for word in line.tokens)
    around = f" [{line.trouble} {line.amount}]" if line.trouble else ""
    return f"{words[:300]}{around}; " + "; ".join(line.done)


def _ran(line: commands.Line, room: Path, *, trouble: bool = False) -> dict[str, Any]:
    from coset.cli.app import run

    logs = room.with_name(f"{room.name}.out")
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    before = snapshot(room)
    saved = [os.dup(1), os.dup(2)]
    streams: list[Any] = [(logs / name).open("wb") for name in ("stdout", "stderr")]
    cats = [subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stream) for stream in streams if line.trouble == "limit"]
    for stream in streams[: len(cats)]:  # the limit is for files, not for what is said
        stream.close()
    streams = [cat.stdin for cat in cats] or streams
    sys.stdout.flush(), sys.stderr.flush()
    first = os.open("/dev/full", os.O_WRONLY) if line.trouble == "stdout" else _broken() if line.trouble == "pipe" else None
    os.dup2(streams[0].fileno() if first is None else first, 1)
    os.dup2(streams[1].fileno(), 2)
    if trouble and line.trouble == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (line.amount, resource.RLIM_INFINITY))
    words = list(sys.argv)
    sys.argv = ["coset", *line.tokens]
    try:
        code = _interrupted(lambda: run(line.tokens)) if line.tokens[:1] == ["serve"] else run(line.tokens)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = -1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
        for handle in saved:
            os.close(handle)
        for stream in streams:
            stream.close()
        for cat in cats:
            cat.wait()
        sys.argv = words
        import matplotlib.pyplot as plt

        plt.close("all")
    out, err = ((logs / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    told = judge_command(code, out, err, room, before, line)
    return {"kind": "command", "what": _said(line), "code": code, "said": err.strip()[-400:]} | told


def _broken() -> int:
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _interrupted(call: Callable[[], int]) -> int:
    """As if the user ended a server by Ctrl-C."""
    pid = os.fork()
    if pid == 0:
        time.sleep(SERVED)
        os.kill(os.getppid(), signal.SIGINT)
        os._exit(0)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return call()
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        signal.signal(signal.SIGINT, old)
