"""Error by layer on a log axis: where in the network does the symmetry break?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import COLORS, FAINT, INK, color, figure, marker, series

ZERO = 1e-17  #: where a log axis puts an error of zero


def ladder(
    names: Sequence[str], errors: Any, *, floor: float = 0.0, tolerance: float = 0.0, offender: int | None = None,
    guessed: Sequence[bool] = (), title: str = "error by layer",
) -> Any:  # fmt: skip
    """Layers from top to bottom; ``errors`` is ``(layers,)`` or a mapping of them (one series per dtype).

    ``floor`` is shaded as a band, ``offender`` (an index) is named in the picture, guessed fields are set in italics.
    """
    named = series(errors, "ladder")
    made, axes = figure(size=(6.4, max(2.2, 0.3 * len(names) + 1.3)))
    panel = axes[0, 0]
    rungs = np.arange(len(names))
    for i, (name, array) in enumerate(named.items()):
        if array.shape != rungs.shape:
            raise InputError(f"ladder: {name or 'errors'} has shape {array.shape}, there are {len(names)} layers")
        panel.plot(np.maximum(array, ZERO), rungs, marker(i) + "-", color=color(i), lw=1.2, ms=5, label=name or None)
    least = min(float(np.maximum(array, ZERO).min()) for array in named.values())
    if floor > 0:
        panel.axvspan(min(least, floor) / 3, floor, color=FAINT, alpha=0.35, lw=0, label="floor of the action")
    if tolerance > 0:
        panel.axvline(tolerance, color=INK, lw=1, ls=":", label="tolerance")
    if offender is not None:
        panel.axhspan(offender - 0.5, offender + 0.5, color=COLORS[5], alpha=0.3, lw=0, label="first above the floor")
    panel.set_xscale("log")
    panel.set_yticks(rungs, names)
    for text, guess in zip(panel.get_yticklabels(), guessed, strict=False):
        text.set_style("italic" if guess else "normal")
    panel.invert_yaxis()
    panel.set_xlabel("relative equivariance error" + (" (italics: field guessed)" if any(guessed) else ""))
    panel.set_title(title, fontsize=11, color=INK)
    panel.grid(axis="x", color=FAINT, lw=0.6)
    if panel.get_legend_handles_labels()[1]:
        made.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return made
