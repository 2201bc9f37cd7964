"""coset cite and coset card, from a run's own files."""

import json

import pytest

from coset.cli.app import run
from coset.records import Result, slug, write_results
from coset.report.cite import references
from coset.train.checkpoint import save_model

ROWS = {"plain": "", "augmented": "hounie2023", "canonical": "kaba2023, hounie2023"}


@pytest.fixture
def folder(tmp_path):
    write_results(tmp_path, [Result("digits", name, 0, "smoke", {}, {}, 1, 0.0, 0.0, 1) for name in ROWS])
    told = {"methods": {name: {"source": source} for name, source in {**ROWS, "never run": "cohen2016"}.items()}}
    (tmp_path / "task.json").write_text(json.dumps(told))
    return tmp_path


def test_what_a_run_used_is_cited_once(folder, capsys):
    assert run(["cite", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("%")] == [
        "% all of it",
        "% augmented, canonical",
        "% canonical",
    ]
    assert shown.startswith("% all of it\n@software{coset,")
    for key in ("hounie2023", "kaba2023"):
        assert shown.count(references()[key]) == 1
    assert "cohen2016" not in shown


def test_one_row_and_keys_alone(folder, capsys):
    row = folder / "rows" / slug("canonical") / "0"
    row.mkdir(parents=True)
    assert run(["cite", str(row), "--keys"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["coset", "kaba2023", "hounie2023"]
    assert run(["cite", str(folder), "--json"]) == 0
    assert [entry["key"] for entry in json.loads(capsys.readouterr().out)] == ["coset", "hounie2023", "kaba2023"]


def test_a_folder_without_results_is_refused(folder, capsys):
    assert run(["cite", str(folder / "rows")]) == 2
    (folder / "task.json").write_text("{")
    assert run(["cite", str(folder)]) == 2
    assert "task.json" in capsys.readouterr().err


def test_card_writes_a_folder_for_a_hub(folder, capsys):
    from coset.models.points.egnn import EGNN

    row = folder / "rows" / "plain" / "0"
    save_model(row, EGNN())
    assert run(["card", str(row), "--out", str(folder / "hub"), "--license", "mit", "--name", "Mine"]) == 0
    card = folder / "hub" / "README.md"
    assert capsys.readouterr().out.strip() == str(card)
    assert "# Mine" in card.read_text()
    assert run(["card", str(folder)]) == 2
