"""An overview of a data set: each sample's orbit is a vector, shown as a point of the plane.

PCA by default (numpy); ICA, Isomap and t-SNE by scikit-learn (extra ``train``); UMAP where ``umap-learn`` is installed.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from coset.errors import InputError, MissingExtra, require, unknown

WAYS = ("pca", "ica", "isomap", "tsne", "umap")


def embed(vectors: np.ndarray, how: str = "pca", *, seed: int = 0) -> np.ndarray:
    """Points ``(samples, 2)`` for vectors ``(samples, d)``; the sign of PCA axes is fixed, the rest follows ``seed``.

    Raises InputError for fewer than three samples or an unknown way, MissingExtra for a package that is absent.
    """
    vectors = np.asarray(vectors, dtype=float).reshape(len(vectors), -1)
    if how not in WAYS:
        raise unknown("embedding", how, WAYS)
    if len(vectors) < 3:
        raise InputError(f"an embedding needs at least 3 samples, got {len(vectors)}")
    if how == "pca":
        return _pca(vectors)
    if how == "umap":
        return np.asarray(_umap().UMAP(n_components=2, random_state=seed).fit_transform(vectors))
    if how == "ica":
        made = require("sklearn.decomposition", extra="train").FastICA(
            2, random_state=seed, whiten="unit-variance", max_iter=1000, tol=1e-3
        )
    elif how == "isomap":
        # all samples are neighbors where there are few, so that the graph is connected
        made = require("sklearn.manifold", extra="train").Isomap(
            n_components=2, n_neighbors=min(len(vectors) - 1, max(10, len(vectors) // 4))
        )
    else:
        made = require("sklearn.manifold", extra="train").TSNE(
            2, random_state=seed, perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca"
        )
    return np.asarray(made.fit_transform(vectors))


def _umap() -> Any:
    """No extra of ours names it: it brings numba."""
    try:
        return importlib.import_module("umap")
    except ImportError as error:
        raise MissingExtra("needs umap: pip install umap-learn; or take pca, ica, isomap or tsne") from error


def _pca(vectors: np.ndarray) -> np.ndarray:
    centered = vectors - vectors.mean(0)
    u, s, vh = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    for i in range(min(2, len(s))):
        sign = np.sign(vh[i][np.abs(vh[i]).argmax()]) or 1.0
        points[:, i] = sign * u[:, i] * s[i]
    return points
