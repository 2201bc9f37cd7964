"""Energy curves measure the largest distance from the start and the largest step, and draw both."""

import numpy as np
import pytest

from coset.audits.energy_curves import EnergyCurves
from coset.errors import InputError


def test_figures_are_the_largest_distance_and_the_largest_step():
    total = np.array([[1.0, 2.0], [1.001, 2.0], [1.0, 1.997]])
    found = EnergyCurves(np.arange(3.0), total, np.arange(4.0), np.array([0.0, 0.01, 0.04, 0.05]), 2.5)
    assert np.isclose(found.change, 3.0)
    assert np.isclose(found.jump, 30.0)
    left, right = found.plot().axes
    assert len(left.lines) == 2
    assert np.allclose(left.lines[1].get_ydata(), [0, 0, -3])
    assert np.allclose(right.lines[1].get_ydata(), [-50, -40, -10, 0])
    assert np.allclose(right.lines[0].get_xdata(), 2.5)


def test_unlike_lengths_are_refused():
    with pytest.raises(InputError, match="steps, systems"):
        EnergyCurves(np.arange(3.0), np.zeros((2, 1)), np.arange(4.0), np.zeros(4), 2.5)
