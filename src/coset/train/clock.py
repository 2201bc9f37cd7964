"""How much of its time a training has used, over all calls that it was broken off between; the same in all processes."""

from __future__ import annotations

import math
import time

from coset.train.ranks import of_first
from coset.train.run import Run


class Clock:
    """The share of the time allowed that is used, and whether a checkpoint is due, as of the last :meth:`tick`.

    Allowed is what ``run.deadline`` leaves when training starts. ``before``, from a checkpoint, is what earlier calls used of
    it: a training that goes on with the same budget goes on where it was.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.world = run, 1
        self.before = self.share = 0.0
        self.due = False
        self.began = self.written = time.time()

    def start(self, world: int) -> None:
        """Training starts now, in so many processes."""
        self.world, self.began = world, time.time()
        self.written = self.began

    @property
    def used(self) -> float:
        """Seconds of training so far, validation and checkpoints included."""
        return self.before + time.time() - self.began

    def tick(self) -> None:
        """Look at the clock, once per step; of several processes all look at the first one's."""
        allowed = self.run.deadline - self.began
        self.share = 0.0 if math.isinf(allowed) else self.used / allowed if allowed > 0 else 1.0
        self.due = self.run.checkpoint is not None and time.time() - self.written >= self.run.every
        if self.world > 1:
            self.share, due = of_first([self.share, float(self.due)], self.run.device)
            self.due = due > 0
        if self.due:
            self.written = time.time()
