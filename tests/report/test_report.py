"""The page says what the files say: every row, every note, one file, no network, below its size limit."""

import json
import re

import numpy as np
import pytest

from coset.errors import InputError
from coset.records import Result, slug, write_results
from coset.report.html import write_report
from coset.report.table import Spread, label, number, rows, text_table

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


def result(method: str, seed: int, accuracy: float, error: float = 0.5) -> Result:
    return Result(
        task="digits",
        method=method,
        seed=seed,
        size="smoke",
        metrics={"orbit_percent": accuracy, "upright_percent": 90.0},
        errors={"SO(2)": {"before": 1.0, "after": error, "dtype": "float32"}},
        parameters=33_900,
        seconds_per_step=0.01,
        train_seconds=2.0,
        peak_memory_bytes=100 << 20,
        reference={"orbit_percent": 94.5} if method == "augmented" else {},
        command="coset compare digits --size smoke",
    )


@pytest.fixture
def folder(tmp_path):
    write_results(tmp_path, [result("plain <b>", 0, 30.0), result("plain <b>", 1, 40.0), result("augmented", 0, 95.0, 0.2)])
    (tmp_path / "task.json").write_text(
        json.dumps(
            {
                "title": "Digits",
                "headline": "orbit_percent",
                "lower_is_better": False,
                "methods": {"augmented": {"note": "Learns it.", "source": "hounie2023"}},
            }
        )
    )
    row = tmp_path / "rows" / slug("plain <b>") / "0"
    row.mkdir(parents=True)
    np.savez(row / "orbit.npz", values=np.linspace(0, 1, 12).reshape(3, 4), angles=np.arange(0, 360, 90.0), labels=np.arange(3))
    (row / "curve.csv").write_text("epoch,loss\n0,2.0\n1,1.0\n")
    return tmp_path


def test_page_is_one_file_with_every_row(folder):
    page = write_report(folder).read_text()
    body = page.partition("<main>")[2].partition("<script>")[0]
    assert "plain &lt;b&gt;" in body
    assert "<b>" not in body, "names are escaped"
    assert "augmented" in body
    assert "Learns it." in body
    assert "@inproceedings{hounie2023," in body
    assert "coset compare digits --size smoke" in body
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?http", page), "nothing is loaded from a network"
    assert len(page) < 8 * 2**20


def test_payload_holds_the_orbits_and_curves_that_were_saved(folder):
    page = write_report(folder).read_text()
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', page, re.S).group(1))
    assert payload["orbits"]["total"] == 3
    assert payload["orbits"]["methods"][0]["values"][2] == pytest.approx([0.727, 0.818, 0.909, 1.0])
    assert payload["curves"][0]["y"] == [2.0, 1.0]
    assert [p["y"] for p in payload["tradeoff"]["points"]] == [35.0, 95.0]


def test_rows_group_seeds_and_keep_the_order(folder):
    first, second = rows([result("b", 0, 1.0), result("b", 1, 3.0), result("a", 0, 5.0)])
    assert (first.method, second.method) == ("b", "a")
    assert first.metrics["orbit_percent"] == Spread(2.0, 2.0**0.5, 2)
    low, high = first.metrics["orbit_percent"].interval()
    assert (high - low) / 2 == pytest.approx(12.706, rel=1e-4), "Student's t with one degree of freedom times 1"


def test_numbers_read_well():
    shown = [number(v) for v in (98.34, 0.2149, 6e-7, 0.0, 1234.5, float("nan"), 0.01)]
    assert shown == ["98.3", "0.21", "6e-07", "0", "1,234", "–", "0.01"]
    assert label("orbit_accuracy_percent") == "orbit accuracy, %"
    assert label("force_mae_meV_per_A") == "force mae, meV/Å"
    assert str(Spread(98.24, 0.0388, 3)) == "98.2 ± 0.0"


def test_text_table_has_one_line_per_method():
    header, lines = text_table([result("a", 0, 1.0), result("a", 1, 3.0)])
    assert header[0] == "method"
    assert len(lines) == 1
    assert len(lines[0]) == len(header)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no results\.jsonl"):
        write_report(tmp_path)
    (tmp_path / "results.jsonl").write_text('{"schema": 99}\n')
    with pytest.raises(InputError, match="schema 99"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("environment.json", b"{"), ("environment.json", b'{"versions": 3}'), ("task.json", b"\xff"),
     ("task.json", b'{"methods": []}'), ("rows/augmented/0/curve.csv", b"epoch,loss\n0,many\n"),
     ("rows/augmented/0/curve.csv", b"\xff\xfe"), ("rows/augmented/0/orbit.npz", b"PK\x03\x04"), ("results.jsonl", b"\xff")],
    ids=["environment", "versions", "bytes", "methods", "curve", "no text", "orbit", "results"],
)  # fmt: skip
def test_a_damaged_file_is_named(name, content, folder):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(path.name)):
        write_report(folder)
