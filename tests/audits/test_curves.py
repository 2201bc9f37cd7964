"""Curves are kept, read back and drawn."""

import numpy as np
import pytest

from coset.audits.curves import Curves
from coset.errors import InputError


def test_they_save_load_and_draw_themselves(tmp_path):
    made = Curves(np.arange(3), np.array([[1.0, 2, 3], [3, 2, 1]]), ["up", "down"], ["step", "error"], "both")
    again = Curves.load(made.save(tmp_path / "curves.npz"))
    assert np.array_equal(again.values, made.values)
    assert (again.names, again.labels, again.title) == (made.names, made.labels, made.title)
    panel = again.plot().axes[0]
    assert [line.get_label() for line in panel.lines] == ["up", "down"]
    assert panel.get_xlabel() == "step"
    assert again.draw(tmp_path / "curves.png").stat().st_size > 1000


def test_names_and_values_must_fit():
    with pytest.raises(InputError, match="1 names"):
        Curves(np.arange(3), np.zeros((2, 3)), ["one"])
