"""Tracks know how far they came, save, load and draw."""

import math

import numpy as np
import pytest

from coset.audits.tracks import Tracks

HEADINGS = np.array([0.0, math.pi / 2])
PATHS = np.array([[[1.0, 0], [2, 1], [np.nan, np.nan]], [[0, 0], [5, 1], [7, 3]]])


def found():
    return Tracks(PATHS, HEADINGS, np.array([-1.0, 1.0]))


def test_progress_is_the_way_towards_the_heading_at_the_last_place():
    assert found().progress() == pytest.approx([1.0, 3.0])


def test_it_saves_and_loads(tmp_path):
    again = Tracks.load(found().save(tmp_path / "tracks.npz"))
    assert np.array_equal(again.paths, PATHS, equal_nan=True)
    assert again.progress() == pytest.approx([1.0, 3.0])


def test_it_draws_a_line_for_each_heading():
    made = found().plot()
    assert sum(line.get_linestyle() == "-" for line in made.axes[0].lines) == 4  # two tracks, two rays
