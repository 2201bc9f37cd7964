"""The catalogue holds what its names say: regular, not isomorphic, with the right numbers of edges and triangles."""

import networkx
import pytest
import torch

from coset.data.small_graphs import PAIRS, SmallGraph, circulant, cycle, rook, shrikhande, skip_link
from coset.errors import InputError


def nx(graph):
    made = networkx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edge_index.T.tolist())
    return made


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_agree_in_size_and_degrees_and_are_not_isomorphic(pair):
    a, b = PAIRS[pair]
    assert a.nodes == b.nodes
    assert a.edge_index.shape == b.edge_index.shape
    degrees = [sorted(torch.bincount(g.edge_index[0]).tolist()) for g in (a, b)]
    assert degrees[0] == degrees[1]
    assert not networkx.is_isomorphic(nx(a), nx(b))


@pytest.mark.parametrize("graph", [rook(), shrikhande()], ids=["rook", "shrikhande"])
def test_both_are_strongly_regular(graph):
    a = graph.adjacency()
    eye, ones = torch.eye(16, dtype=torch.int64), torch.ones(16, 16, dtype=torch.int64)
    assert torch.equal(a @ a, 6 * eye + 2 * a + 2 * (ones - eye - a))
    assert graph.triangles() == 32


def test_neighbourhoods_of_the_two_are_two_triangles_and_a_hexagon():
    for graph, kind in ((rook(), cycle(3) + cycle(3)), (shrikhande(), cycle(6))):
        around = networkx.ego_graph(nx(graph), 0)
        around.remove_node(0)
        assert networkx.is_isomorphic(around, nx(kind))


def test_triangles_edges_and_unions():
    assert [g.triangles() for pair in ("prism | K33", "C11(1,2) | C11(1,3)") for g in PAIRS[pair]] == [2, 0, 11, 0]
    assert skip_link(11, 2).edge_index.shape == (2, 44)
    assert networkx.number_connected_components(nx(cycle(3) + cycle(4))) == 2
    assert (cycle(3) + cycle(4)).name == "C3+C4"
    assert circulant(6, 3).edge_index.shape == (2, 6)


def test_relabelled_is_isomorphic(generator):
    graph = PAIRS["decalin | bicyclopentyl"][0]
    other = graph.relabel(torch.randperm(10, generator=generator))
    assert networkx.is_isomorphic(nx(graph), nx(other))
    assert not torch.equal(other.adjacency(), graph.adjacency())


def test_bad_graphs_are_refused():
    with pytest.raises(InputError, match="two different nodes"):
        SmallGraph.of("loop", 2, [(1, 1)])
    with pytest.raises(InputError, match=r"0\.\.1"):
        SmallGraph.of("outside", 2, [(0, 2)])
    with pytest.raises(InputError, match="steps"):
        circulant(5, 3)
