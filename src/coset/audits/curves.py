"""Curves: named series over one coordinate, kept beside a row and drawn in its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.bars import lines
from coset.records import Finding


@dataclass
class Curves(Finding):
    """``values (series, points)`` over ``x (points,)``; one name per series. InputError where these do not fit."""

    x: np.ndarray
    values: np.ndarray
    names: list[str]
    labels: list[str] = field(default_factory=lambda: ["x", "value"])  #: of the two axes
    title: str = ""

    def __post_init__(self) -> None:
        self.x, self.values = np.asarray(self.x, dtype=float), np.asarray(self.values, dtype=float)
        if self.values.shape != (len(self.names), *self.x.shape):
            raise InputError(f"Curves: {len(self.names)} names and x {self.x.shape} do not fit values {self.values.shape}")

    def plot(self) -> Any:
        """The series as lines."""
        x_label, y_label = self.labels
        return lines(self.x, dict(zip(self.names, self.values, strict=True)), labels=(x_label, y_label), title=self.title)
