"""Both classes hold as many graphs of every size and degree, so that degrees say nothing; triangles say the class."""

from collections import Counter

import pytest
import torch

from coset.data.cycles import NODES, cycles, random_regular, sample
from coset.data.small_graphs import SmallGraph
from coset.errors import InputError
from coset.recipe import Request


@pytest.fixture(scope="module")
def parts():
    return sample(3, 5, generator=torch.Generator().manual_seed(0))


def graph_of(one):
    return SmallGraph("", len(one["x"]), one["edge_index"])


def test_sizes_and_degrees_do_not_tell_the_classes_apart(parts):
    for part in parts.values():
        seen = {y: Counter() for y in (0, 1)}
        for one in part.samples:
            degree = torch.bincount(one["edge_index"][0], minlength=len(one["x"]))
            assert len(degree.unique()) == 1
            seen[int(one["y"])][len(one["x"]), int(degree[0])] += 1
        assert seen[0] == seen[1]
    assert len(parts["all"]) == len(parts["cycles"]) + len(parts["regular"]) == 12 + 20


def test_the_label_says_triangles_or_short_cycles(parts):
    for one in parts["regular"].samples:
        assert (graph_of(one).triangles() > 0) == bool(one["y"])
    for one in parts["cycles"].samples:
        reach = torch.linalg.matrix_power(graph_of(one).adjacency().double() + torch.eye(len(one["x"])).double(), 8) > 0
        assert bool(reach.all()) != bool(one["y"]), "two cycles are not connected"


@pytest.mark.parametrize("triangles", [False, True])
@pytest.mark.parametrize("degree", NODES)
def test_regular_graphs_are_simple_and_regular(degree, triangles, generator):
    for n in NODES[degree]:
        graph = random_regular(n, degree, triangles=triangles, generator=generator)
        a = graph.adjacency()
        assert torch.equal(a, a.T)
        assert not a.diagonal().any()
        assert (a.sum(0) == degree).all()
        assert (graph.triangles() > 0) == triangles
        assert graph.edge_index.shape == (2, n * degree)


def test_numbers_of_nodes_are_shuffled_and_seeds_differ(parts):
    first = [one["edge_index"].tolist() for one in parts["cycles"].samples if one["y"] == 0 and len(one["x"]) == 6]
    assert len({str(sorted(map(tuple, zip(*edges, strict=True)))) for edges in first}) > 1
    a, b, again = (cycles(Request("smoke", seed)).train.joined()["edge_index"] for seed in (0, 1, 0))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)


def test_impossible_graphs_are_refused(generator, tmp_path):
    for n, degree, triangles in ((5, 3, True), (4, 4, True), (6, 4, False), (4, 1, True), (4, 0, False)):
        with pytest.raises(InputError, match="no such graph"):
            random_regular(n, degree, triangles=triangles, generator=generator)
    with pytest.raises(InputError, match="no data file"):
        cycles(Request("smoke", 0, (("mine", tmp_path),)))
