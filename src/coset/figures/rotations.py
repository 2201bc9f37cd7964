"""Distributions over the rotations on one picture: where an axis of the object points, and its turn about that axis as hue.

A rotation R is the direction ``R z`` of an axis of the object, a place on Mollweide's equal-area map of the sphere (the middle
looks at the camera), and the turn about that direction as hue. Dots have areas in proportion to the probability, so that a
sharp belief is one large dot and an ambiguous object shows all its poses. After Murphy et al., Implicit-PDF, ICML 2021, arXiv
2106.05965; the cyclic colors are matplotlib's ``twilight``, whose lightness varies too, and dark rims keep light dots visible.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, figure

HUES = "twilight_shifted"
FAINTEST = 0.02  #: share of the highest probability below which a dot would be a speck
AREA = 900.0  #: of a dot with all the probability, points squared
OBJECT = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  #: takes the polar axis y to the object's z, cyclically


def rotation_density(
    rotations: np.ndarray,
    probability: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    images: np.ndarray | None = None,
    names: tuple[str, ...] = (),
    title: str = "",
) -> Any:
    """One panel for each row of ``probability`` ``(k, N)`` over ``rotations`` ``(N, 3, 3)``, with true poses as rings.

    ``truth`` is ``(k, 3, 3)`` or ``(k, symmetries, 3, 3)``, ``images`` ``(k, H, W, 3)`` in [0, 1] stand beside the panels.
    Raises InputError for shapes that do not fit.
    """
    rotations, probability = np.asarray(rotations, dtype=float), np.asarray(probability, dtype=float)
    if rotations.shape[1:] != (3, 3) or probability.ndim != 2 or probability.shape[1] != len(rotations):
        raise InputError(f"rotation_density: rotations {rotations.shape} and probability {probability.shape} do not fit")
    count = len(probability)
    if any(given is not None and len(given) != count for given in (truth, images)):
        raise InputError(f"rotation_density: {count} distributions need as many truths and images")
    made, axes = figure(count, 1 + (images is not None), size=(3.6, 2.5))
    if images is not None:
        axes[0, 0].get_gridspec().set_width_ratios([1, 2.4])
    longitude, latitude, turn = places(rotations)
    for row, belief in enumerate(probability):
        panel = axes[row, -1]
        belief = belief / max(belief.sum(), 1e-300)
        best = np.argsort(belief)  # the most probable on top
        best = best[belief[best] > FAINTEST * belief.max()]
        x, y = mollweide(longitude[best], latitude[best])
        area = AREA * belief[best]
        drawn = panel.scatter(x, y, s=area, c=turn[best], cmap=HUES, vmin=-np.pi, vmax=np.pi, edgecolors=INK, lw=0.3)
        if truth is not None:
            _rings(panel, np.asarray(truth, dtype=float)[row].reshape(-1, 3, 3))
        _globe(panel)
        if names:
            panel.set_title(names[row], fontsize=10, color=INK)
        if images is not None:
            axes[row, 0].imshow(np.clip(images[row], 0, 1), interpolation="nearest")
            axes[row, 0].set_axis_off()
    bar = made.colorbar(drawn, ax=axes.ravel().tolist(), ticks=[-np.pi, 0, np.pi], shrink=0.8)
    bar.set_ticklabels(["-180°", "0°", "180°"])
    bar.set_label("turn about the axis", color=INK)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def places(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Longitude and latitude of ``R z`` seen from the camera, and the turn about it; radians, each ``(N,)``.

    The camera stands on the y axis with z to the right and x up: longitude grows to the right, latitude upwards. The turn is
    gamma of ``Ry(alpha) Rx(beta) Ry(gamma)``, with the object's axes renamed so that z is the polar one.
    """
    rotations = rotations @ OBJECT
    x, y, z = rotations[:, :, 1].T
    gamma = np.arctan2(rotations[:, 1, 0], -rotations[:, 1, 2])  # the row of y is sin b sin g, cos b, -sin b cos g
    upright = np.hypot(rotations[:, 1, 0], rotations[:, 1, 2]) < 1e-9
    gamma = np.where(upright, np.arctan2(rotations[:, 0, 2], rotations[:, 0, 0]), gamma)
    return np.arctan2(z, y), np.arcsin(np.clip(x, -1, 1)), gamma


def mollweide(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal-area places in the ellipse |x| <= 2, |y| <= 1: ``(2 / pi lon cos t, sin t)``, ``2t + sin 2t = pi sin lat``."""
    t = np.array(latitude, dtype=float)
    pole = np.pi / 2 - np.abs(t) < 1e-6
    for _ in range(60):
        slope = 2 + 2 * np.cos(2 * t)
        t = np.where(pole, t, t - (2 * t + np.sin(2 * t) - np.pi * np.sin(latitude)) / np.maximum(slope, 1e-9))
        t = np.clip(t, -np.pi / 2, np.pi / 2)
    return 2 / np.pi * longitude * np.cos(t), np.sin(t)


def _rings(panel: Any, truth: np.ndarray) -> None:
    """True poses: a dark ring around one whose color is the turn, so that hue is compared with hue."""
    longitude, latitude, turn = places(truth)
    x, y = mollweide(longitude, latitude)
    panel.scatter(x, y, s=210, facecolors="none", edgecolors=INK, lw=3.2, zorder=4)
    panel.scatter(x, y, s=210, facecolors="none", c=None, edgecolors=_hue(turn), lw=1.8, zorder=5)


def _hue(turn: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps[HUES]((turn + np.pi) / (2 * np.pi))


def _globe(panel: Any) -> None:
    """The rim, and lines of 60 and 30 degrees."""
    line = np.linspace(-np.pi, np.pi, 181)
    for longitude in np.radians([-180, -120, -60, 0, 60, 120, 180]):
        panel.plot(
            *mollweide(np.full_like(line, longitude), line / 2), color=FAINT, lw=1.2 if abs(longitude) > 3 else 0.4, zorder=0
        )
    for latitude in np.radians([-60, -30, 0, 30, 60]):
        panel.plot(*mollweide(line, np.full_like(line, latitude)), color=FAINT, lw=0.4, zorder=0)
    panel.set_aspect("equal")
    panel.set_xlim(-2.08, 2.08)
    panel.set_ylim(-1.16, 1.16)
    panel.set_axis_off()
