"""The page of a potential says the verdict first, holds every law and picture, and needs no network."""

import re

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from coset.audits.potential import Check
from coset.interop.potential_audit import PotentialAudit
from coset.interop.potential_page import LAWS, write_page

ANGLES = np.arange(0, 360, 30.0)
WAVES = np.abs(np.random.default_rng(0).normal(size=(3, 12)))


def found(**change):
    checks = [Check(name, 1e-12, 1e-8).to_json() for name in LAWS]
    empty = np.full((3, 12), np.nan)
    return PotentialAudit(**{
        "potential": "<mine>", "frames": 3, "atoms": 12, "floor": 1e-14, "seed": 0, "checks": checks, "angles": ANGLES,
        "orbit_energy": 1e-10 * WAVES, "orbit_forces": 1e-10 * WAVES,
        "orbit_energy_labels": empty, "orbit_forces_labels": empty,
    } | change)  # fmt: skip


def words(path):
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "picture", path.read_text())
    assert "http" not in text
    return text


def test_a_calculator_of_others(tmp_path):
    text = words(write_page(found(), tmp_path / "a.html", command="coset audit x"))
    assert "&lt;mine&gt;" in text
    assert text.index("All 12 laws hold") < text.index("Every law")
    assert all(name.replace(">", "&gt;") in text for name in LAWS)
    assert "float32" not in text
    assert "the data have no labels" in text
    assert "coset audit x" in text
    assert text.count("picture") == 4


def test_both_precisions_labels_and_layers(tmp_path):
    checks = found().checks
    checks[0] = Check("rotation", 0.5, 1e-8, parts={"energy": 0.5}).to_json()
    single = [Check(name, 1e-6, 1e-5).to_json() for name in LAWS][:-1]
    line = np.linspace(0, 1, 9)
    page = found(
        checks=checks, single=single, single_orbit_energy=WAVES, single_orbit_forces=WAVES, dtype="float64",
        orbit_forces_labels=30 * WAVES, layers=[{"name": "up", "error": 0.1, "field": "4x0e", "single": 0.1}], cutoff=5.0,
        cutoff_r=5 + 0.01 * (line - 0.5), cutoff_energy=line, cutoff_slope=line, run_atoms=4, time=line, total=line,
        single_time=line, single_total=line, notes=["against the labels: forces 3 meV per angstrom"],
    )  # fmt: skip
    text = words(write_page(page, tmp_path / "a.html"))
    assert "FAIL" in text
    assert "The first layer that does not move as it states is up" in text
    assert "error, float32" in text
    assert "In single precision: All 11 laws hold." in text
    assert "Against the labels: forces 3 meV" in text
    assert text.count("picture") == 6
    again = PotentialAudit.load(page.save(tmp_path / "a.npz"))
    assert again.words == page.words
    assert again.draw(tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("what", ["a law that is NaN", "nothing judged"])
def test_odd_findings_are_drawn(tmp_path, what):
    checks = [Check("rotation", float("nan"), 1e-8, skipped=what == "nothing judged").to_json()]
    assert write_page(found(checks=checks), tmp_path / "a.html").stat().st_size > 10_000
