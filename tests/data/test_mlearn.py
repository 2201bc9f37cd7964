import json
from itertools import pairwise

import pytest
import torch

from coset.data.mlearn import KILOBAR, mlearn_frames, stress
from coset.errors import InputError


def entry(group="AIMD-NVT"):
    sites = [{"species": [{"element": "Si"}], "xyz": xyz} for xyz in ([0.0, 0.0, 0.0], [1.36, 1.36, 1.36])]
    outputs = {"energy": -10.5, "forces": [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]], "virial_stress": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    lattice = {"matrix": [[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]]}
    return {"structure": {"lattice": lattice, "sites": sites}, "outputs": outputs, "group": group}


def test_the_order_of_six_numbers_depends_on_the_group():
    elastic, other = (stress([1, 2, 3, 4, 5, 6], group) / -KILOBAR for group in ("Elastic", "Vacancy"))
    assert torch.equal(elastic.diagonal(), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert (elastic[0, 1], elastic[1, 2], elastic[0, 2]) == (4, 5, 6)
    assert (other[0, 1], other[0, 2], other[1, 2]) == (4, 5, 6)
    assert torch.equal(elastic, elastic.T)


def test_the_published_form_is_read(tmp_path):
    (tmp_path / "Si").mkdir()
    (tmp_path / "Si" / "test.json").write_text(json.dumps([entry(), entry("Elastic")]))
    first, second = mlearn_frames(tmp_path, "Si", "test")
    assert first["z"].tolist() == [14, 14]
    assert first["group"] == "AIMD-NVT"
    assert float(first["energy"]) == -10.5
    assert first["stress"][0, 2] == -5 * KILOBAR
    assert second["stress"][1, 2] == -5 * KILOBAR


@pytest.mark.parametrize("change", [{"outputs": {}}, {"structure": {"sites": []}}, {"outputs": {"energy": "a"}}])
def test_entries_that_are_not_as_published_are_refused(tmp_path, change):
    (tmp_path / "Si").mkdir()
    (tmp_path / "Si" / "test.json").write_text(json.dumps([entry() | change]))
    with pytest.raises(InputError, match="entry 0 is not as published"):
        mlearn_frames(tmp_path, "Si", "test")


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither Si/test\.json"):
        mlearn_frames(tmp_path, "Si", "test")
    (tmp_path / "Si").mkdir()
    (tmp_path / "Si" / "test.json").write_text("[{")
    with pytest.raises(InputError, match="is it whole"):
        mlearn_frames(tmp_path, "Si", "test")


def test_the_stress_of_real_silicon_is_what_its_energy_says(shared_data):
    """Along all six paths of strain: dE = V stress : (C^-1 dC), by the trapezoidal rule."""
    frames = [f for f in mlearn_frames(shared_data / "atoms" / "mlearn", "Si", "training") if f["group"] == "Elastic"]
    moved = set()
    for one, two in pairwise(frames):
        step = two["cell"] - one["cell"]
        if not 0 < step.norm() < 0.6:
            continue  # the next path begins
        work = sum(
            0.5 * torch.linalg.det(f["cell"]).abs() * (f["stress"] * torch.linalg.solve(f["cell"], step)).sum()
            for f in (one, two)
        )
        change = float(two["energy"] - one["energy"])
        assert float(work) == pytest.approx(change, abs=0.03 + 0.03 * abs(change))
        moved.add(int(step.abs().argmax()))
    assert len(moved) >= 6  # three stretches, three shears
