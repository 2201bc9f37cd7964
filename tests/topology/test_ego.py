"""Ego networks are what breadth-first search finds; pairs are those inside a network; the order of nodes does not matter."""

import networkx
import pytest
import torch

from coset.errors import InputError
from coset.topology.ego import buckets_of, is_symmetric, k_hop_ego, k_hop_pairs, neighbor_pairs, whole_graphs


def random_graph(n, p, seed):
    graph = networkx.gnp_random_graph(n, p, seed=seed)
    edges = torch.tensor(list(graph.edges), dtype=torch.int64).view(-1, 2).T
    return graph, edges[:, torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(seed))]


def networks(found):
    """Owner to members."""
    return {int(o): nodes.tolist() for batch in found.batches for o, nodes in zip(batch.owner, batch.nodes, strict=True)}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("n", "p"), [(1, 0.0), (9, 0.0), (12, 0.2), (20, 0.1), (8, 0.9)])
def test_members_are_those_of_breadth_first_search(n, p, k):
    graph, edges = random_graph(n, p, 3)
    expected = {i: sorted(networkx.single_source_shortest_path_length(graph, i, cutoff=k)) for i in graph}
    found = k_hop_ego(edges, n, k)
    assert networks(found) == expected
    assert [batch.size for batch in found.batches] == sorted({len(members) for members in expected.values()})


@pytest.mark.parametrize("k", [1, 2])
def test_pairs_are_those_inside_some_network(k):
    graph, edges = random_graph(15, 0.2, 1)
    found = k_hop_ego(edges, 15, k)
    expected = {(a, b) for members in networks(found).values() for a in members for b in members}
    assert list(map(tuple, found.pairs.T.tolist())) == sorted(expected)
    for batch in found.batches:
        rows, columns = found.pairs[:, batch.pairs]
        assert torch.equal(rows, batch.nodes.unsqueeze(2).expand_as(rows))
        assert torch.equal(columns, batch.nodes.unsqueeze(1).expand_as(columns))
    assert torch.equal(found.pairs[:, found.diagonal], torch.arange(15).expand(2, 15))
    assert max(networkx.shortest_path_length(graph, a, b) for a, b in expected) <= 2 * k


def test_either_direction_repeated_arcs_and_loops_make_the_same_neighbourhoods():
    _, edges = random_graph(12, 0.3, 5)
    loops = torch.arange(12).expand(2, 12)
    once = k_hop_ego(edges, 12)
    for other in (edges.flip(0), torch.cat([edges, edges.flip(0)], 1), torch.cat([edges, edges, loops], 1)):
        assert networks(k_hop_ego(other, 12)) == networks(once)
        assert torch.equal(neighbor_pairs(other, 12), neighbor_pairs(edges, 12))
    assert is_symmetric(torch.cat([edges, edges.flip(0)], 1), 12)
    assert not is_symmetric(edges, 12)
    assert is_symmetric(loops, 12)


def test_pooling_is_the_mean_over_networks(generator):
    _, edges = random_graph(11, 0.3, 2)
    found = k_hop_ego(edges, 11)
    pairs = [torch.randn(*batch.pairs.shape, 2, generator=generator, dtype=torch.float64) for batch in found.batches]
    nodes = [torch.randn(*batch.nodes.shape, 2, generator=generator, dtype=torch.float64) for batch in found.batches]
    at_pairs, at_nodes = found.pool_pairs(pairs), found.pool_nodes(nodes)
    for p in range(found.pairs.shape[1]):
        own = torch.cat([value[batch.pairs == p] for batch, value in zip(found.batches, pairs, strict=True)])
        assert torch.allclose(at_pairs[p], own.mean(0), rtol=0, atol=1e-14)
    for i in range(11):
        own = torch.cat([value[batch.nodes == i] for batch, value in zip(found.batches, nodes, strict=True)])
        assert torch.allclose(at_nodes[i], own.mean(0), rtol=0, atol=1e-14)


def test_whole_graphs_hold_all_pairs_of_a_graph_in_any_order_of_nodes():
    batch = torch.tensor([0, 2, 0, 2, 3])  # graph 1 has no nodes
    found = whole_graphs(batch)
    assert networks(found) == {0: [0, 2], 1: [1, 3], 4: [4]}
    expected = [(a, b) for a in range(5) for b in range(5) if batch[a] == batch[b]]
    assert list(map(tuple, found.pairs.T.tolist())) == expected


def test_pairs_grow_with_the_nodes_not_with_their_square():
    sizes = []
    for n in (500, 1000):
        nodes = torch.arange(n)
        sizes.append(k_hop_ego(torch.stack([nodes, (nodes + 1) % n]), n, 2).pairs.shape[1])
    assert sizes == [500 * 9, 1000 * 9]


def test_places_find_pairs_and_refuse_strangers():
    found = k_hop_ego(torch.tensor([[0, 1, 2], [1, 2, 3]]), 5)
    wanted = torch.tensor([[3, 0, 4], [1, 2, 4]])
    assert torch.equal(found.pairs[:, found.places(wanted)], wanted)
    with pytest.raises(InputError, match="lies in no subgraph"):
        found.places(torch.tensor([[0], [3]]))
    assert found.places(torch.zeros(2, 0, dtype=torch.int64)).shape == (0,)


def test_rare_sizes_share_a_bucket():
    sizes = torch.tensor([1] * 3 + [2] * 50 + [3] * 40 + [4] * 5 + [9])
    assert buckets_of(sizes, 20) == (2, 9)
    assert buckets_of(sizes, 6) == (2, 3, 9)
    assert buckets_of(sizes, 1000) == (9,)
    assert buckets_of(torch.tensor([2, 2, 3, 3]), 2) == (2, 3)
    with pytest.raises(InputError, match="no sizes"):
        buckets_of(torch.tensor([]))


def test_bad_reach_and_edges_are_refused():
    edges = torch.tensor([[0], [1]])
    with pytest.raises(InputError, match="got k = 0"):
        k_hop_pairs(edges, 2, 0)
    with pytest.raises(InputError, match=r"outside 0\.\.0"):
        k_hop_ego(edges, 1)
