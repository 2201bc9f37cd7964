"""GIN is exactly invariant, sums over neighbours, and does not see more than colour refinement."""

import pytest
import torch

from coset.data.graphs import Graphs
from coset.data.small_graphs import PAIRS, cycle
from coset.errors import InputError
from coset.groups.permutation import S
from coset.models.graphs.gin import GIN
from coset.testing import Broken, assert_equivariant, check


@pytest.fixture
def sample(generator):
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 5, 5], [1, 2, 0, 4, 3, 6, 6]])
    x = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    return {"x": x, "edge_index": edge_index, "batch": torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])}


def net(**options):
    torch.manual_seed(0)
    return GIN(2, 3, hidden=6, layers=2, **options).double().eval()


def test_it_is_exactly_invariant(sample, generator):
    assert {contract.group for contract in net().contracts} == {S("N")}
    assert max(check(net(), sample).errors.values()) < 1e-12
    edge_attr = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    assert max(check(net(edge_features=4), {**sample, "edge_attr": edge_attr}).errors.values()) < 1e-12


def test_one_layer_by_hand(sample):
    torch.manual_seed(0)
    model = GIN(2, 3, hidden=6, layers=1).double().eval()
    with torch.no_grad():
        model.eps.fill_(0.3)
        gathered = torch.zeros(8, 2, dtype=torch.float64)
        for i, j in sample["edge_index"].T.tolist():
            gathered[j] += sample["x"][i]
        h = model.layers[0](1.3 * sample["x"] + gathered)
        sums = [torch.stack([part[sample["batch"] == g].sum(0) for g in range(3)]) for part in (sample["x"], h)]
        expected = model.reads[0](sums[0]) + model.reads[1](sums[1])
        assert torch.allclose(model(**sample), expected, rtol=0, atol=1e-12)


def test_edge_features_are_added_before_the_sum(sample):
    model = net(edge_features=1)
    one, two = (model(**sample, edge_attr=torch.full((7, 1), v, dtype=torch.float64)) for v in (1.0, 2.0))
    assert (one - two)[:2].abs().min() > 1e-6
    assert torch.equal(one[2], two[2]), "the last graph has no edges"


def test_a_network_that_counts_messages_twice_for_the_first_node_is_caught(sample):
    class First(GIN):
        def forward(self, x, edge_index, batch=None, edge_attr=None):
            return super().forward(torch.cat([2 * x[:1], x[1:]]), edge_index, batch, edge_attr)

    model = First(2, 3)
    with pytest.raises(Broken, match=r'S\("N"\)'):
        assert_equivariant(model, model.contracts[0], sample, samples=2)


def test_graphs_of_one_degree_look_alike():
    torch.manual_seed(0)
    model = GIN(1, 3, hidden=6, layers=3)
    for a, b in PAIRS.values():
        y = Graphs([a.sample(), b.sample()]).predict(model)
        assert (y[0] - y[1]).norm() < 1e-5 * y.norm()
    y = Graphs([cycle(6).sample(), cycle(7).sample()]).predict(model)
    assert (y[0] - y[1]).norm() > 1e-2 * y.norm()


def test_bad_input_is_refused(sample):
    with pytest.raises(InputError, match="GIN: sizes are positive, got features=0"):
        GIN(0)
    bad = {
        "need batch": {"batch": None},
        "an integer for each of 8 nodes": {"batch": sample["batch"][:3]},
        r"edge_index is \(2, E\)": {"edge_index": sample["edge_index"].T},
        "points outside": {"edge_index": sample["edge_index"] + 7},
        "joins two graphs": {"edge_index": sample["edge_index"].roll(1, 1).flip(0)[:, :] * 0 + torch.tensor([[0], [7]])},
        r"expected edge_attr \(7, 0\), got \(7, 1\)": {"edge_attr": torch.ones(7, 1)},
    }
    for message, change in bad.items():
        with pytest.raises(InputError, match=message):
            net()(**{**sample, **change})
    with pytest.raises(InputError, match=r"expected edge_attr \(7, 2\), got none"):
        net(edge_features=2)(**sample)
