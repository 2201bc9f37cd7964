"""`tu_graphs` takes a public set by path, at any size, and its seeds are the ten folds."""

import importlib.util
import math

import pytest

from coset.comparison import compare
from coset.data.tu import molecules, read_tu, write_tu
from coset.recipe import Request
from coset.tasks import tu_graphs


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_graphs", root / "benchmarks" / "accept" / "graphs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_set_by_path_gives_finite_results(tmp_path, generator):
    pytest.importorskip("lightning")
    folder = write_tu(tmp_path, "made", molecules(40, generator=generator))
    rows = compare(
        "tu_graphs",
        ["GIN", "SPEN, 1 step"],
        size="smoke",
        files={"made": folder},
        out=tmp_path / "run",
        progress=False,
    )
    assert [row.method for row in rows] == ["GIN", "SPEN, 1 step"]
    for row in rows:
        assert 0 <= row.metrics["accuracy_percent"] <= 100
        assert math.isfinite(row.metrics["valid_percent"])
        assert row.errors['S("N")']["after"] < 1e-10


def test_buckets_come_from_the_training_set(tmp_path, generator):
    folder = write_tu(tmp_path, "made", molecules(60, generator=generator))
    data = tu_graphs.task.data(Request("full", 3, (("made", folder),)))
    buckets = tu_graphs.spen(1, data).config["buckets"]
    assert buckets[-1] == 5 or buckets[-1] == 4, "a ring atom has two or three neighbours, perhaps a substituent"
    assert tu_graphs.spen(2, data).config["buckets"][-1] > buckets[-1]


def test_the_shared_mutag_in_text_form(shared_data, tmp_path, accept):
    graphs = read_tu(accept.converted(shared_data / "graphs" / "tu" / "MUTAG.npz", tmp_path))
    assert len(graphs) == 188
    assert graphs.labels.bincount().tolist() == [63, 125]
    assert sum(len(one["x"]) for one in graphs.samples) == 3371
    assert sum(one["edge_index"].shape[1] for one in graphs.samples) == 7442
    assert graphs.samples[0]["x"].shape[1] == 7
    data = tu_graphs.task.data(Request("full", 0, (("mutag", tmp_path / "MUTAG"),)))
    assert len(data.train) + len(data.valid) + len(data.test) == 188


@pytest.mark.slow
def test_acceptance_measures_both_rows(accept, tmp_path, generator):
    pytest.importorskip("lightning")
    folder = write_tu(tmp_path, "made", molecules(30, generator=generator))
    assert accept.converted(folder, tmp_path) == folder
    figures = accept.measure(data=str(folder), folds=2, size="smoke")
    own = figures["mutag"]
    assert own["spen_minus_gin"] == pytest.approx(own["SPEN, 1 step"]["accuracy_percent"] - own["GIN"]["accuracy_percent"])
    assert all(isinstance(bound.holds(figures), bool) for bound in accept.BOUNDS)
