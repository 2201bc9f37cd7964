"""The dense order-2 network is exactly invariant, and as blind as colour refinement."""

import pytest
import torch

from coset.data.graphs import Graphs
from coset.data.small_graphs import PAIRS
from coset.errors import InputError
from coset.groups.permutation import S
from coset.models.graphs.ign import IGN
from coset.testing import Broken, assert_equivariant, check


def net(**options):
    torch.manual_seed(0)
    return IGN(1, 3, widths=(6, 5, 7), head=(9,), **options).double().eval()


@pytest.fixture
def ragged():
    graphs = Graphs([PAIRS[name][0].sample() for name in ("2 C3 | C6", "decalin | bicyclopentyl", "prism | K33")])
    batch = graphs.joined()
    del batch["y"]
    return {**batch, "x": torch.linspace(-1, 1, len(batch["x"])).unsqueeze(-1).double()}


def test_it_is_exactly_invariant(ragged):
    model = net()
    assert {contract.group for contract in model.contracts} == {S("N")}
    assert max(check(model, ragged).errors.values()) < 1e-10
    check(net(edge_features=2))


def test_a_network_that_counts_nodes_from_one_end_is_caught(ragged):
    class Ordered(IGN):
        def embed(self, x, edge_index, edge_attr, subgraphs):
            return super().embed(x * torch.linspace(1, 2, len(x)).unsqueeze(-1), edge_index, edge_attr, subgraphs)

    model = Ordered(1, 3, widths=(4, 4))
    with pytest.raises(Broken, match=r'S\("N"\)'):
        assert_equivariant(model, model.contracts[0], ragged, samples=2)


@pytest.mark.parametrize("pair", PAIRS)
def test_regular_graphs_of_one_degree_look_alike(pair):
    graphs = Graphs([graph.sample() for graph in PAIRS[pair]])
    model = net()
    y = graphs.predict(lambda x, edge_index, batch: model(x.double(), edge_index, batch))
    assert (y[0] - y[1]).norm() < 1e-10 * y.norm()


def test_it_does_tell_degrees_apart(ragged):
    x = {**ragged, "x": torch.ones_like(ragged["x"])}
    y = net()(**x)
    assert (y[0] - y[2]).norm() > 1e-3 * y.norm(), "C6 + .. has degree 2, the prism degree 3"


def test_all_pairs_of_a_graph_carry_features(ragged):
    model, kept = net(), []
    model.layers[0].norms[0].register_forward_hook(lambda module, given, out: kept.append(len(out)))
    model(**ragged)
    assert kept == [6**2 + 10**2 + 6**2]


def test_bad_input_is_refused(ragged):
    with pytest.raises(InputError, match="IGN: several graphs in one batch need batch"):
        net()(ragged["x"], ragged["edge_index"])
    with pytest.raises(InputError, match="IGN: expected positive sizes"):
        IGN(1, 2, widths=(4, 0))
