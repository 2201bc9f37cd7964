"""The table of the sheet: which rows separate which pairs, never beyond the exact bound."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import expressiveness as table

SEPARATED = {
    "GIN": set(),
    "global order 2": set(),
    "SPEN, 1 step": {"2C3/C6", "2C4/C8", "prism/K33", "C11(1,2)/C11(1,3)"},
    "SPEN, 2 steps": {"2C3/C6", "2C4/C8", "2C5/C10", "decalin/bicyclopentyl", "C11(1,2)/C11(1,3)"},
}


@pytest.fixture(scope="module")
def data():
    return table.task.data(Request("smoke", 0))


@pytest.mark.parametrize("name", SEPARATED)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_table_as_published(name, seed, data):
    torch.manual_seed(seed)
    model = table.task.method(name).build(data)
    figures = {metric: f(model, data) for metric, f in table.task.metrics.items()}
    assert {metric for metric, value in figures.items() if "/" in metric and value} == SEPARATED[name]
    assert figures["pairs_separated"] == len(SEPARATED[name])
    assert figures["beyond_bound"] == 0
    assert figures["relabeled"] < 1e-10


def test_every_row_is_compared_with_its_own_bound():
    assert table.allowed("2 C5 | C10", 2)
    assert not table.allowed("2 C5 | C10", 1)
    assert not table.allowed("2 C3 | C6", 0)


def test_a_model_beyond_its_basis_is_reported(data):
    """Counting cycles outright separates what colour refinement cannot."""

    def oracle(x, edge_index, batch):
        n = len(x)
        a = torch.zeros(n, n, dtype=torch.float64).index_put_(tuple(edge_index), torch.ones(edge_index.shape[1]).double())
        return torch.stack([torch.linalg.matrix_power(a, p).trace() for p in (3, 4, 5)]).unsqueeze(0)

    assert table.beyond_bound(oracle, data) >= 3


def test_the_picture_marks_what_cannot_be_separated(data):
    torch.manual_seed(0)
    found = table.picture(table.task.method("SPEN, 1 step").build(data), data)
    assert dict(zip(found.names, found.allowed, strict=True))["rook | Shrikhande"] is False
    assert found.separated == found.allowed
    assert all(math.isfinite(d) for d in found.distances)


def test_a_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data file"):
        table.task.data(Request("smoke", 0, (("mine", tmp_path),)))
