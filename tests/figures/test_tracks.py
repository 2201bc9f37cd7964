"""Tracks from above: every track starts at the origin, panels share their scale."""

import numpy as np
import pytest

from coset.errors import InputError
from coset.figures.tracks import tracks


def test_panels_share_scale_and_tracks_start_at_the_origin():
    paths = np.stack([np.linspace([3, 3], [4, 5], 5), np.full((5, 2), 2.0)])
    made = tracks({"a": paths, "b": 10 * paths}, [0.0, 1.0], sector=(-0.5, 0.5), title="both")
    first, second = made.axes
    assert first.get_xlim() == second.get_xlim()
    starts = [line.get_xydata()[0] for line in first.lines if len(line.get_xydata()) == 5]
    assert np.allclose(starts, 0)
    assert first.get_aspect() == 1.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="expected tracks"):
        tracks({"a": np.zeros((3, 5, 2))}, [0.0])
    with pytest.raises(InputError, match="expected tracks"):
        tracks({}, [0.0])


def test_one_runaway_does_not_shrink_the_others():
    paths = np.stack([np.linspace([0, 0], [scale, 0], 5) for scale in (1.0, 1.0, 1.0, 100.0)])
    made = tracks({"a": paths}, [0.0, 1.0, 2.0, 3.0])
    assert made.axes[0].get_xlim()[1] < 3
