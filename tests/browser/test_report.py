"""The pages of ``coset compare`` and of a potential in a browser: figures are drawn, headings sort, all can read them."""

import json

import numpy as np
import pytest

from coset.audits.potential import Check
from coset.interop.potential_audit import PotentialAudit
from coset.interop.potential_page import LAWS, write_page
from coset.records import Result, slug, write_results
from coset.report.html import write_report

ANGLES = np.arange(0, 360, 30.0)


def row(method, seed, accuracy, error):
    return Result(
        task="digits", method=method, seed=seed, size="cpu", metrics={"orbit_percent": accuracy, "upright_percent": 90.0},
        errors={"SO(2)": {"before": 1.0, "after": error}}, parameters=33_900, seconds_per_step=0.01, train_seconds=2.0,
        peak_memory_bytes=100 << 20, reference={"orbit_percent": 94.5}, command="coset compare digits",
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of two methods with orbits, curves and citations."""
    folder = tmp_path_factory.mktemp("run")
    write_results(
        folder, [row("plain", 0, 30.0, 0.7), row("plain", 1, 40.0, 0.6), *(row("pooled", s, 95.0, 1e-7) for s in (0, 1))]
    )
    about = {
        "title": "Digits",
        "description": ["Digits.", "What turns."],
        "headline": "orbit_percent",
        "lower_is_better": False,
    }
    notes = {name: {"note": f"What {name} teaches.", "source": "hounie2023"} for name in ("plain", "pooled")}
    (folder / "task.json").write_text(json.dumps({**about, "contracts": ["SO(2)"], "methods": notes}))
    for i, method in enumerate(notes):
        place = folder / "rows" / slug(method) / "0"
        place.mkdir(parents=True)
        values = 0.5 + 0.4 * np.cos(np.radians(ANGLES)) ** (1 + np.arange(3)[:, None]) * (1 - i)
        classes = np.where(values > 0.4, np.arange(3)[:, None], 7)
        np.savez(place / "orbit.npz", values=values, angles=ANGLES, labels=np.arange(3), classes=classes)
        (place / "curve.csv").write_text("epoch,loss\n0,2.0\n1,1.0\n2,0.7\n")
    return write_report(folder)


DRAWN = "document.querySelectorAll('#orbits .dial svg.main-svg').length >= 2"


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_in_every_light_and_width(open_page, report, look, axe, shot):
    page = open_page(report, look=look, ready=DRAWN)
    page.locator("#angle").evaluate("node => { node.value = 5; node.dispatchEvent(new Event('input')); }")
    page.locator(".orbit p", has_text="says 7").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    shot(page, f"report-{look}")
    assert axe(page) == []


def test_headings_sort_by_keys(open_page, report):
    page = open_page(report, ready=DRAWN)
    page.locator("#table thead button", has_text="orbit").first.focus()
    page.keyboard.press("Enter")
    first = page.locator("#table tbody tr").first
    assert "plain" in first.inner_text()
    page.keyboard.press("Enter")
    assert "pooled" in first.inner_text()


def test_the_page_of_a_potential_can_be_read_by_all(open_page, tmp_path, axe, shot):
    waves = 1e-3 * np.abs(np.sin(np.radians(ANGLES) * np.arange(1, 4)[:, None]))
    nothing = np.full_like(waves, np.nan)
    laws = [Check(name, 1e-3 if name == "rotation" else 1e-12, 1e-8).to_json() for name in LAWS]
    told = PotentialAudit("mine.py:calculator", 3, 12, 1e-14, 0, laws, ANGLES, waves, waves, nothing, nothing)
    path = write_page(told, tmp_path / "potential.html", command="coset audit mine.py:calculator --atoms water.xyz")
    for look in ("light", "dark", "phone"):
        page = open_page(path, look=look, ready="document.readyState === 'complete'")
        assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
        shot(page, f"potential-{look}")
        assert axe(page) == []
