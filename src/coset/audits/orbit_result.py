"""The finding of an orbit run: values over samples and elements, the numbers that sum them up, and their plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coset.audits.embed import embed
from coset.errors import InputError
from coset.records import Finding


@dataclass
class OrbitResult(Finding):
    """Values ``(samples, *grid)`` of a metric on orbits; ``axes`` tells the grid's coordinates and how to draw them."""

    values: np.ndarray
    axes: list[dict[str, Any]]  #: kind, name, coordinates, labels of every axis of the grid
    metric: str
    better: str  #: "higher" or "lower"
    reference: str  #: "truth" or "consensus"; a consensus is no truth
    contract: str = ""
    group: str = ""
    identity: int = 0  #: place of the identity along the flattened grid, -1 if absent
    cyclic: bool = False
    limit: list[float] | None = None  #: fixed range of the metric
    angles: np.ndarray | None = None  #: degrees, of a grid over one angle
    vectors: np.ndarray | None = None  #: rotation vectors ``(k, 3)``, of rotations of space
    predictions: np.ndarray | None = None  #: ``(samples, k, ...)``, turned back by ``g^-1``
    classes: np.ndarray | None = None  #: ``(samples, k)`` predicted classes
    consensus: np.ndarray | None = None
    labels: np.ndarray | None = None
    exact: np.ndarray | None = None  #: ``(k,)`` elements that keep the pixel grid, where others are resampled
    pictures: np.ndarray | None = None  #: ``(samples, H, W)`` in 0..1, for the report
    notes: list[str] = field(default_factory=list)

    @property
    def flat(self) -> np.ndarray:
        """Values ``(samples, k)``."""
        return self.values.reshape(len(self.values), -1)

    @property
    def names(self) -> list[str]:
        """Names of the elements along the flattened grid."""
        out = [""]
        for axis in self.axes:
            out = [f"{before} · {label}" if before else label for before in out for label in axis["labels"]]
        return out

    def aggregate(self, by_class: bool = False) -> Any:
        """Mean over samples ``grid``; with ``by_class`` a mapping from class to mean (InputError without labels)."""
        if not by_class:
            return self.values.mean(0)
        if self.labels is None:
            raise InputError("orbits by class need labels: pass truth=labels to orbits()")
        return {int(c): self.values[self.labels == c].mean(0) for c in np.unique(self.labels)}

    def individual(self, sample: int) -> np.ndarray:
        """The orbit of one sample, ``grid``."""
        if not -len(self.values) <= sample < len(self.values):
            raise InputError(f"there are {len(self.values)} samples, got number {sample}")
        return self.values[sample]

    def most_varied(self, count: int = 10) -> np.ndarray:
        """Samples in order of the variance over their orbit, the largest first."""
        return np.argsort(-self.flat.std(1), kind="stable")[:count]

    # ------------------------------------------------------------------ numbers

    @property
    def mean(self) -> float:
        """Over samples and elements."""
        return float(self.flat.mean())

    @property
    def std(self) -> float:
        """Mean over samples of the standard deviation over the orbit: 0 for a flat plot."""
        return float(self.flat.std(1).mean())

    @property
    def worst(self) -> tuple[str, float]:
        """The element with the worst aggregate value."""
        mean = self.flat.mean(0)
        place = int(mean.argmin() if self.better == "higher" else mean.argmax())
        return self.names[place], float(mean[place])

    @property
    def worst_case(self) -> float:
        """Mean over samples of the worst value of their orbit."""
        return float((self.flat.min(1) if self.better == "higher" else self.flat.max(1)).mean())

    @property
    def worst_case_accuracy(self) -> float | None:
        """Share of samples whose class is right at every element; None without classes and labels."""
        if self.classes is None or self.labels is None:
            return None
        return float((self.classes == self.labels[:, None]).all(1).mean())

    @property
    def accuracy(self) -> float | None:
        """Share of right classes over samples and elements; None without classes and labels."""
        return None if self.classes is None or self.labels is None else float((self.classes == self.labels[:, None]).mean())

    @property
    def consistency(self) -> float | None:
        """Mean share of an orbit that predicts the orbit's most frequent class; None without classes."""
        if self.classes is None:
            return None
        top = [np.bincount(row - row.min()).max() / len(row) for row in self.classes]
        return float(np.mean(top))

    def spectrum(self) -> np.ndarray:
        """Mean amplitude of the orbits at each frequency per turn, ``(k // 2 + 1,)``; entry 0 is the mean.

        A peak at frequency 4 is an artefact of the pixel grid. InputError where the grid is no cyclic group.
        """
        if not self.cyclic:
            raise InputError(f"a Fourier spectrum needs equal angles around the circle, this orbit is over {self.group}")
        order = np.argsort(self.angles) if self.angles is not None else np.arange(self.flat.shape[1])
        found = np.abs(np.fft.rfft(self.flat[:, order], axis=1)).mean(0) / self.flat.shape[1]
        found[1 : (self.flat.shape[1] + 1) // 2] *= 2
        return found

    def numbers(self) -> dict[str, Any]:
        """Every number of the overview, by name; what does not apply is left out."""
        told: dict[str, Any] = {
            "metric": self.metric, "reference": self.reference, "mean": self.mean, "std": self.std, "worst": self.worst[0],
            "worst_mean": self.worst[1], "worst_case": self.worst_case, "accuracy": self.accuracy,
            "worst_case_accuracy": self.worst_case_accuracy, "consistency": self.consistency,
        }  # fmt: skip
        if self.identity >= 0:
            told["identity"] = float(self.flat[:, self.identity].mean())
        if self.cyclic and self.flat.shape[1] > 2 and self.spectrum()[1:].max() > 1e-9 * max(1.0, abs(self.mean)):
            told["peak_frequency"] = int(self.spectrum()[1:].argmax()) + 1
        return {name: value for name, value in told.items() if value is not None}

    def embedding(self, how: str = "pca", *, seed: int = 0) -> np.ndarray:
        """Samples as points of the plane by their orbits, ``(samples, 2)``: pca, ica, isomap, tsne or umap."""
        return embed(self.flat, how, seed=seed)

    # ------------------------------------------------------------------ pictures

    def plot(self, sample: int | None = None, *, others: Mapping[str, OrbitResult] | None = None, name: str = "") -> Any:
        """The aggregate, or one sample's orbit, as its group is drawn: polar, map, disc, tiles or line.

        ``others`` are further models on the same grid, drawn side by side with one range.
        """
        from coset.audits.orbit_figures import draw

        return draw({name or "model": self, **(others or {})} if others or name else {"": self}, sample)

    def plot_embedding(self, how: str = "pca", *, seed: int = 0) -> Any:
        """The overview: samples as points, colored by their orbit's mean."""
        from coset.figures.scatter import embedding

        labels = None if self.labels is None else self.labels.tolist()
        title = f"{len(self.values)} samples by their orbits ({how}), reference: {self.reference}"
        return embedding(
            self.embedding(how, seed=seed), self.flat.mean(1), labels=labels, label=f"orbit mean of {self.metric}", title=title
        )
