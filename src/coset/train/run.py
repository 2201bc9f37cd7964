"""What a training loop is told besides the recipe (where, when, how long) and what it leaves besides the model."""

from __future__ import annotations

import csv
import io
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coset.errors import InputError, unknown
from coset.records import write_atomically

LOGGERS = ("csv", "tensorboard")
EVERY = 600.0  #: seconds of training between checkpoints within an epoch


@dataclass
class Trace:
    """What a loop leaves besides the model; kept in the stage's file, so a row that shares the stage reports the same."""

    steps: int = 0  #: optimizer steps
    seconds: float = 0.0  #: in these steps, without validation and checkpoints
    total: float = 0.0  #: in the loop, all included
    stopped: str = ""  #: why training ended before its last epoch; empty if it did not
    curve: list[dict[str, float]] = field(default_factory=list)  #: one line per epoch, of ``curve.csv``
    losses: list[float] = field(default_factory=list)  #: of single steps, where ``Run.record`` asks for them

    def add(self, later: Trace) -> None:
        """Count a further stage in."""
        self.steps += later.steps
        self.seconds += later.seconds
        self.total += later.total
        self.stopped = "; ".join(filter(None, [self.stopped, later.stopped]))
        self.curve += later.curve
        self.losses += later.losses

    @property
    def seconds_per_step(self) -> float:
        """Mean over all steps; 0 without any."""
        return self.seconds / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Progress:
    """How far a row is: what a bar shows."""

    stage: int
    epoch: int  #: finished epochs
    epochs: int
    step: int
    loss: float
    note: str = ""  #: said once, e.g. that training goes on from a checkpoint


@dataclass(frozen=True)
class Run:
    """Circumstances of one training: they decide where files go and when it stops, never what is learned.

    Only ``seed`` changes figures, and ``deadline`` (compared with ``time.time()``): the learning rate has come down by then.
    ``folder`` is where ``<name>.resume.safetensors`` is written after every epoch, and within long ones, and ``curve.csv`` is
    kept up to date; without it nothing is written.
    """

    folder: Path | None = None
    seed: int = 0
    stage: int = 1
    device: str = "cpu"  #: cpu, cuda or cuda:1
    devices: int = 1  #: processes, started by torchrun or :mod:`coset.train.ranks`; each holds an equal share of a batch
    logger: str = "csv"  #: csv or tensorboard (which has the CSV file too)
    resume: bool = True  #: go on from a checkpoint found in ``folder``
    deadline: float = math.inf
    every: float = EVERY  #: seconds between checkpoints within an epoch; each epoch ends with one in any case
    record: bool = False  #: keep the loss of every step in the trace
    earlier: tuple[dict[str, float], ...] = ()  #: lines of ``curve.csv`` from the stages before
    report: Callable[[Progress], None] | None = None
    trace: Trace = field(default_factory=Trace)

    def __post_init__(self) -> None:
        if self.logger not in LOGGERS:
            raise unknown("logger", self.logger, LOGGERS)
        if self.devices < 1:
            raise InputError(f"devices is a number of processes >= 1, got {self.devices}")

    @property
    def checkpoint(self) -> Path | None:
        """The file that a half-trained stage goes on from."""
        return self.folder / f"stage-{self.stage}.resume.safetensors" if self.folder else None

    def expired(self) -> bool:
        """Whether the time given is spent."""
        return time.time() >= self.deadline

    def say(self, **changes: Any) -> None:
        """Report progress to whoever listens."""
        if self.report is not None:
            self.report(Progress(**({"stage": self.stage, "epoch": 0, "epochs": 0, "step": 0, "loss": math.nan} | changes)))


def write_curve(path: Path, lines: Sequence[Mapping[str, float]]) -> None:
    """``curve.csv``: a line per epoch with stage, epoch, step, seconds, lr, loss, further terms, ``valid_`` terms."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomically(path, stream.getvalue())


def mix(*numbers: int) -> int:
    """One seed from several: a fixed function (splitmix64), the same on every machine; below 2**63."""
    state = 0
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def seconds(duration: str | float, what: str = "a budget") -> float:
    """``"90"``, ``"90s"``, ``"5m"``, ``"1h30m"`` or a number, in seconds; InputError for anything else or nothing."""
    text = str(duration).strip().lower()
    if isinstance(duration, (int, float)) or re.fullmatch(r"\d+(\.\d+)?", text):
        found = float(duration)
    else:
        parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
        values = parts.groups() if parts else (None,)
        found = sum(float(value) * unit for value, unit in zip(values, (3600, 60, 1), strict=False) if value)
    if not found > 0 or not math.isfinite(found):
        raise InputError(f"{what} is a time such as 90s, 5m or 1h30m, got {duration!r}")
    return found
