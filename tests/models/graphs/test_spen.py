"""SPEN is exactly invariant on ragged graphs, refuses what it cannot take, and separates what refinement says, no more."""

import pytest
import torch

from coset.data.cycles import random_regular
from coset.data.graphs import Graphs
from coset.data.small_graphs import PAIRS, cycle
from coset.errors import InputError
from coset.groups.permutation import S
from coset.models.graphs.spen import SPEN
from coset.nn.subgraph import SubgraphLayer
from coset.testing import Broken, assert_equivariant, check
from coset.topology.refinement import ego_refinement
from coset.train.checkpoint import load_model, save_model

WIDTHS = (6, 5, 7)


def net(features=2, **options):
    torch.manual_seed(0)
    return SPEN(features, 3, **{"widths": WIDTHS, "head": (9,), "buckets": (2, 3, 4, 6, 16), **options}).double().eval()


@pytest.fixture
def ragged(generator):
    """Random graphs of mixed ego sizes, lone nodes among them, one directed."""
    n = torch.tensor([9, 5, 1, 12])
    start = n.cumsum(0) - n
    batch = torch.arange(4).repeat_interleave(n)
    a = (torch.rand(27, 27, generator=generator) < 0.25) & (batch.unsqueeze(0) == batch.unsqueeze(1))
    a[:12] |= a[:, :12].T[:, :27]
    a.fill_diagonal_(False)
    a[start[1]], a[:, start[1]] = False, False
    a &= batch.unsqueeze(0) == batch.unsqueeze(1)
    edge_index = a.nonzero().T.contiguous()
    x = torch.randn(27, 2, generator=generator, dtype=torch.float64)
    return {"x": x, "edge_index": edge_index, "batch": batch}


def outputs(model, *graphs):
    """Logits of graphs without features, one by one."""
    return Graphs([graph.sample() for graph in graphs]).predict(
        lambda x, edge_index, batch: model(x.double(), edge_index, batch), batch=1
    )


@pytest.mark.parametrize("k", [1, 2])
def test_it_is_exactly_invariant(k, ragged):
    model = net(k=k)
    assert {contract.group for contract in model.contracts} == {S("N")}
    assert max(check(model, ragged).errors.values()) < 1e-10


def test_edge_features_are_part_of_the_promise(ragged, generator):
    edge_attr = torch.randn(ragged["edge_index"].shape[1], 4, generator=generator, dtype=torch.float64)
    model = net(edge_features=4)
    assert max(check(model, {**ragged, "edge_attr": edge_attr}).errors.values()) < 1e-10
    y, other = model(**ragged, edge_attr=edge_attr), model(**ragged, edge_attr=edge_attr.flip(0))
    assert (y - other)[[0, 3]].abs().min() > 1e-6
    assert torch.equal(y[2], other[2]), "a graph without edges has no edge features"


def test_in_single_precision_a_new_numbering_changes_little(ragged, generator):
    model = net().float()
    x = {**ragged, "x": ragged["x"].float()}
    contract = model.contracts[0].bind(x)
    g = contract.group.sample(8, generator=generator)
    assert max(contract.error(model, x, g[i]) for i in range(8)) < 1e-5


def test_layers_keep_their_own_promises():
    layers = list(net(buckets=(2, 8)).layers)
    assert all(isinstance(layer, SubgraphLayer) for layer in layers)
    check(layers[1])


class Numbered(SPEN):
    """Reads the number of a node."""

    def embed(self, x, edge_index, edge_attr, subgraphs):
        return super().embed(x + 0.01 * torch.arange(len(x)).unsqueeze(-1), edge_index, edge_attr, subgraphs)


class Flattened(SPEN):
    """The bug seen in public code, inside a whole network: (B, c, m) read as (B, m, c)."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for layer in self.layers:
            pool = layer.pool
            layer.pool = lambda s, t2, t1, pool=pool: pool(s, t2, [v.movedim(-1, 1).reshape(v.shape) for v in t1])


@pytest.mark.parametrize("broken", [Numbered, Flattened])
def test_broken_twins_are_caught(broken, ragged):
    torch.manual_seed(0)
    model = broken(2, 3, widths=WIDTHS, buckets=(2, 4, 16))
    with pytest.raises(Broken, match=r'S\("N"\)'):
        assert_equivariant(model, model.contracts[0], ragged, samples=2)


#: separated by one step, by two: the table of the sheet (the first three and the last) and its companions
TABLE = {
    "2 C3 | C6": (True, True),
    "2 C4 | C8": (True, True),
    "2 C5 | C10": (False, True),
    "prism | K33": (True, False),
    "decalin | bicyclopentyl": (False, True),
    "C11(1,2) | C11(1,3)": (True, True),
    "rook | Shrikhande": (False, False),
}


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("pair", TABLE)
def test_it_separates_what_exact_refinement_separates_and_no_more(pair, k):
    a, b = PAIRS[pair]
    y = outputs(net(1, k=k), a, b)
    gap = float((y[0] - y[1]).norm() / y.norm())
    bound = len(set(ego_refinement([(g.edge_index, g.nodes) for g in (a, b)], k))) > 1
    assert (gap > 1e-4) == TABLE[pair][k - 1] == bound
    assert gap > 1e-4 or gap < 1e-10


def test_random_regular_graphs_stay_within_the_bound(generator):
    graphs = [random_regular(10, 3, triangles=i % 2 == 0, generator=generator) for i in range(8)]
    y = outputs(net(1), *graphs)
    labels = ego_refinement([(g.edge_index, g.nodes) for g in graphs])
    for i in range(8):
        for j in range(i):
            assert (float((y[i] - y[j]).norm() / y[i].norm()) > 1e-8) <= (labels[i] != labels[j])


def test_on_graphs_whose_nodes_look_alike_rounding_is_not_blown_up(generator):
    """GraphNorm divides by a deviation that is zero up to rounding there."""
    graph = PAIRS["rook | Shrikhande"][1]
    model = net(1, widths=(6, 6, 6, 6, 6))
    y = outputs(model, graph, *(graph.relabel(torch.randperm(16, generator=generator)) for _ in range(5)))
    assert (y - y[0]).norm(dim=1).max() < 1e-12 * y[0].norm()


def test_a_graph_beside_its_copy_reads_like_the_graph():
    """Everything is a mean: over members, over overlapping networks, over a graph."""
    graph = PAIRS["decalin | bicyclopentyl"][1]
    y = outputs(net(1), graph, graph + graph)
    assert (y[0] - y[1]).norm() < 1e-12 * y[0].norm()


def test_pairs_two_steps_apart_carry_features():
    """The list of pairs has grown to 2k steps, and the statistics over it tell 2 C4 from C8."""
    model = net(1)
    kept = []
    model.layers[0].norms[0].register_forward_hook(lambda module, given, out: kept.append(len(out)))
    outputs(model, cycle(8), cycle(4) + cycle(4))
    assert kept == [8 * 5, 2 * 16]


def test_widths_double_after_the_first_layer_and_maps_are_counted():
    model = SPEN(3, 2, widths=(4, 6, 5), buckets=(1, 4, 9), head=(8,))
    assert [layer.width for layer in model.layers] == [4, 12]
    first = (15 * 4 * 4 + 2 * 4) + (5 * 4 * 4 + 4)
    hidden = (15 * 4 * 6 + 2 * 6) + (5 * 4 * 6 + 6) + (5 * 4 * 6 + 2 * 6) + (2 * 4 * 6 + 6)
    last = 2 * 12 * 5 + 12 * 5
    norms, head = 2 * 3 * (4 + 12), 10 * 8 + 8 + 8 * 2 + 2
    assert sum(p.numel() for p in model.parameters()) == 3 * (first + hidden + last) + norms + head


def test_saved_and_loaded_it_is_the_same(tmp_path, ragged):
    model = net(k=2, buckets=(2, 9), cap=True, dropout=0.1)
    save_model(tmp_path, model)
    again = load_model(tmp_path).double().eval()
    assert again.config == model.config
    assert torch.equal(again(**ragged), model(**ragged))


def test_lone_nodes_and_graphs_without_edges_give_finite_logits():
    y = net()(torch.ones(3, 2).double(), torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 0, 1]))
    assert y.shape == (2, 3)
    assert torch.isfinite(y).all()


def test_bad_input_is_refused(ragged):
    x, edge_index, batch = ragged["x"], ragged["edge_index"], ragged["batch"]
    with pytest.raises(InputError, match="need batch"):
        net()(x, edge_index)
    with pytest.raises(InputError, match="joins two graphs"):
        net()(x, edge_index, torch.arange(27) % 2)
    with pytest.raises(InputError, match=r"features \(N, 2\)"):
        net()(x[:, :1], edge_index, batch)
    with pytest.raises(InputError, match="lacks its reverse"):
        net(undirected=True)(x, edge_index, batch)
    both = torch.cat([edge_index, edge_index.flip(0)], 1)
    net(undirected=True)(x, both, batch)
    with pytest.raises(InputError, match=r"node \d+ has \d+ nodes, the largest bucket holds 3; .*cap=True"):
        net(buckets=(2, 3))(x, edge_index, batch)
    with pytest.raises(InputError, match="got k = 0"):
        SPEN(k=0)
    with pytest.raises(InputError, match="at least 2 widths"):
        SPEN(widths=(4,))
    with pytest.raises(InputError, match="positive sizes"):
        SPEN(0)


def test_two_steps_see_more_nodes(ragged):
    one, two, three = (net(k=k)(**ragged) for k in (1, 2, 3))
    assert not torch.allclose(one, two)
    assert not torch.allclose(two, three)
