"""Graphs join into batches that split the same way, and are judged one by one."""

import pytest
import torch

from coset.data.graphs import Graphs, graph_loss
from coset.data.small_graphs import cycle, prism
from coset.errors import InputError


@pytest.fixture
def graphs():
    return Graphs([cycle(3).sample(0), prism().sample(1), cycle(5).sample(1)])


def count_nodes(x, edge_index, batch):
    return torch.bincount(batch).unsqueeze(-1) * torch.tensor([1.0, 0.0]) + torch.tensor([0.0, 5.5])


def test_a_batch_is_its_graphs_side_by_side(graphs):
    batch = graphs.joined()
    assert batch["y"].tolist() == [0, 1, 1] == graphs.labels.tolist()
    assert batch["batch"].tolist() == [0] * 3 + [1] * 6 + [2] * 5
    assert torch.equal(batch["batch"][batch["edge_index"][0]], batch["batch"][batch["edge_index"][1]])
    assert torch.equal(batch["edge_index"][:, 6:24] - 3, prism().edge_index)
    assert next(iter(batch)) == "y", "what weighs a batch of validation is its number of graphs"


def test_predictions_do_not_depend_on_the_batch(graphs):
    assert torch.equal(graphs.predict(count_nodes, batch=2), graphs.predict(count_nodes))
    assert graphs.predict(count_nodes)[:, 0].tolist() == [3.0, 6.0, 5.0]


def test_percent_correct_and_ties(graphs):
    # logits (3, 5.5), (6, 5.5), (5, 5.5): classes 1, 0, 1
    assert graphs.percent_correct(count_nodes) == pytest.approx(100 / 3)
    assert graphs.percent_correct(lambda x, edge_index, batch: torch.zeros(int(batch.max()) + 1, 2)) == pytest.approx(50)


def test_the_loss_is_the_mean_over_graphs(graphs):
    logits = graphs.predict(count_nodes)
    expected = -torch.log_softmax(logits, 1)[torch.arange(3), graphs.labels].mean()
    assert torch.allclose(graph_loss(count_nodes, graphs.joined())["loss"], expected)


def test_subsets_and_odd_ones_out(graphs):
    assert graphs.subset([2, 0]).labels.tolist() == [1, 0]
    with pytest.raises(InputError, match="at least one"):
        Graphs([])
    with pytest.raises(InputError, match="edge_attr in all or in none"):
        Graphs([cycle(3).sample(), {**cycle(3).sample(), "edge_attr": torch.ones(6, 1)}])
