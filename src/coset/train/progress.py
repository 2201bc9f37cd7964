"""Progress on stderr: a bar for every running row on a terminal, a line for every finished row elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Shows rows as they run; silent when not ``enabled``."""

    def __init__(self, total: int, *, enabled: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not enabled, highlight=False, soft_wrap=True)
        self.live = enabled and self.console.is_terminal
        self.total, self.done = total, 0
        self.rows: dict[Any, TaskID] = {}
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
            transient=True,
        )

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False)

    def update(self, key: Any, seen: Mapping[str, Any]) -> None:
        """What a row reports: the fields of :class:`coset.train.run.Progress`."""
        if seen.get("note"):
            self.say(f"{label(key)}: {seen['note']}")
        if not self.live:
            return
        if key not in self.rows:
            self.rows[key] = self.bars.add_task(label(key), total=None, state="")
        loss = "" if math.isnan(float(seen["loss"])) else f"loss {float(seen['loss']):.3g}"
        stage = f"stage {seen['stage']} " if seen["stage"] > 1 else ""
        state = f"{stage}epoch {seen['epoch']}/{seen['epochs']} {loss}"
        self.bars.update(self.rows[key], completed=seen["epoch"], total=seen["epochs"] or None, state=state)

    def finish(self, key: Any, text: str) -> None:
        """A row has ended."""
        self.done += 1
        if key in self.rows:
            self.bars.remove_task(self.rows.pop(key))
        self.say(f"[{self.done}/{self.total}] {label(key)}: {text}")


def label(key: Any) -> str:
    """A row in words."""
    method, seed = key
    return f"{method}, seed {seed}"
