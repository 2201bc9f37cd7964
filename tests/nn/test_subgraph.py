"""A subgraph layer is what a loop over ego networks computes; it permutes with the nodes, and a flattening bug is caught."""

import pytest
import torch
from torch.nn import functional as F

from coset.errors import InputError
from coset.nn.subgraph import SubgraphBlock, SubgraphClassifier, SubgraphLayer, check_buckets
from coset.testing import Broken, check
from coset.topology.ego import k_hop_ego, whole_graphs

BATCH = torch.tensor([0] * 7 + [1] * 5 + [2])
EDGES = torch.tensor([[0, 0, 1, 2, 3, 3, 4, 7, 8, 9, 9], [1, 2, 2, 3, 4, 5, 5, 8, 9, 10, 7]])  # 6, 11 and 12 stand alone


def sample(c2=3, c1=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = len(BATCH)
    t2 = torch.randn(n, n, c2, generator=generator, dtype=torch.float64)
    t1 = torch.randn(n, c1, generator=generator, dtype=torch.float64)
    return {"t2": t2, "t1": t1, "edge_index": EDGES, "batch": BATCH}


def layer(c1=2, **options):
    torch.manual_seed(0)
    return SubgraphLayer(3, c1, 4, **options).double()


def by_hand(made, t2, t1, edge_index, batch, k):
    """One ego network at a time, one map at a time."""
    n = len(batch)
    sums2, sums1 = torch.zeros(n, n, 8, dtype=torch.float64), torch.zeros(n, 8, dtype=torch.float64)
    times2, times1 = torch.zeros(n, n, 1), torch.zeros(n, 1)
    for group in k_hop_ego(edge_index, n, k).batches:
        update = made.block.updates[made.block.bucket(group)]
        for nodes in group.nodes:
            d2, d1 = t2[nodes][:, nodes].unsqueeze(0), t1[nodes].unsqueeze(0)
            new2 = torch.cat([update.from_pairs[0].reference(d2), update.from_nodes[0].reference(d1)], -1)[0]
            new1 = torch.cat([update.from_pairs[1].reference(d2), update.from_nodes[1].reference(d1)], -1)[0]
            grid = (nodes.unsqueeze(1), nodes.unsqueeze(0))
            sums2[grid] += new2
            times2[grid] += 1
            sums1[nodes] += new1
            times1[nodes] += 1
    inside = times2[..., 0] > 0
    pooled2 = F.elu(sums2[inside] / times2[inside])
    dense = torch.zeros_like(sums2)
    dense[inside] = made.norms[0](pooled2, batch[inside.nonzero()[:, 0]])
    return {"t2": dense, "t1": made.norms[1](F.elu(sums1 / times1), batch)}


@pytest.mark.parametrize("k", [1, 2])
def test_the_layer_is_what_a_loop_over_networks_computes(k):
    made, x = layer(k=k, buckets=(1, 2, 3, 8)), sample()
    with torch.no_grad():
        y, expected = made(**x), by_hand(made, **x, k=k)
    for name in ("t2", "t1"):
        assert torch.allclose(y[name], expected[name], rtol=0, atol=1e-11)


@pytest.mark.parametrize("c1", [0, 2])
@pytest.mark.parametrize("k", [1, 2])
def test_pairs_and_nodes_move_with_the_nodes(k, c1):
    made, x = layer(c1, k=k, buckets=(1, 2, 4), cap=True), sample()
    if not c1:
        del x["t1"]
    assert max(check(made, x).errors.values()) < 1e-11


class Flattened(SubgraphLayer):
    """The bug seen in public code: channels first, flattened to rows without moving the channel axis last."""

    def pool(self, subgraphs, t2, t1):
        first = [value.movedim(-1, 1).reshape(value.shape) for value in t1]  # (B, c, m) read as (B, m, c)
        return super().pool(subgraphs, t2, first)


class FlattenedPairs(SubgraphLayer):
    """The same for pairs."""

    def pool(self, subgraphs, t2, t1):
        return super().pool(subgraphs, [value.movedim(-1, 1).reshape(value.shape) for value in t2], t1)


class Ordered(SubgraphLayer):
    """Members told apart by their place in the batch."""

    def pool(self, subgraphs, t2, t1):
        return super().pool(subgraphs, t2, [value + 0.1 * torch.arange(value.shape[1]).view(1, -1, 1) for value in t1])


@pytest.mark.parametrize("broken", [Flattened, FlattenedPairs, Ordered])
def test_broken_twins_are_caught_on_the_assembled_layer(broken):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r'S\("N"\)'):
        check(broken(3, 2, 4), sample())


def test_isomorphic_networks_share_weights(generator):
    """Two ego networks related by a relabelling give relabelled features."""
    torch.manual_seed(0)
    made = layer(buckets=(2, 3))
    triangle = torch.tensor([[0, 1, 2], [1, 2, 0]])
    order = torch.tensor([5, 3, 4])  # the second triangle has its nodes numbered otherwise
    edges = torch.cat([triangle, order[triangle]], 1)
    t2, t1 = torch.zeros(6, 6, 3, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64)
    t2[:3, :3] = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64)
    t1[:3] = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    t2[order.unsqueeze(1), order] = t2[:3, :3].clone()
    t1[order] = t1[:3].clone()
    y = made(t2, edges, torch.tensor([0, 0, 0, 1, 1, 1]), t1)
    assert torch.allclose(y["t1"][order], y["t1"][:3], rtol=0, atol=1e-12)
    assert torch.allclose(y["t2"][order.unsqueeze(1), order], y["t2"][:3, :3], rtol=0, atol=1e-12)


def test_sizes_choose_weights():
    block = SubgraphBlock(1, 0, 1, buckets=(1, 2, 4))
    groups = k_hop_ego(EDGES, 13).batches
    assert [(group.size, block.bucket(group)) for group in groups] == [(1, 0), (2, 1), (3, 2), (4, 2)]
    small = SubgraphBlock(1, 0, 1, buckets=(1, 2), cap=True)
    assert [small.bucket(group) for group in groups] == [0, 1, 1, 1]
    assert {SubgraphBlock(1, 0, 1).bucket(group) for group in groups} == {0}
    assert len(block.updates) == 3


def test_too_large_a_network_names_its_node():
    made, x = layer(buckets=(2, 3)), sample()
    with pytest.raises(InputError, match=r"node 2 has 4 nodes, the largest bucket holds 3; .*cap=True"):
        made(**x)


def test_other_weights_in_another_bucket_matter():
    x = sample()
    made = layer(buckets=(1, 2, 3, 4))
    before = made(**x)["t1"].detach()
    with torch.no_grad():
        for p in made.block.updates[0].parameters():
            p.add_(1.0)
    changed = (made(**x)["t1"] - before).abs().sum(-1) > 1e-9
    assert changed[12] == False  # noqa: E712  alone in its graph: GraphNorm returns its shift
    assert changed[6], "node 6 stands alone: the weights for networks of one node are its own"


def test_channels_and_shapes_that_do_not_fit_are_refused():
    made, x = layer(), sample()
    with pytest.raises(InputError, match="expected 3 channels at pairs and 2 at nodes, got 3 and 1"):
        made(**{**x, "t1": x["t1"][:, :1]})
    with pytest.raises(InputError, match="got 2 and 2"):
        made(**{**x, "t2": x["t2"][..., :2]})
    with pytest.raises(InputError, match="at nodes, got 3 and 0"):
        made(**{**x, "t1": None})
    with pytest.raises(InputError, match=r"\(N, N, c\)"):
        made(**{**x, "t2": x["t2"][:4]})
    for bad in ((2, 2), (3, 1), (0, 1)):
        with pytest.raises(InputError, match="positive and increasing"):
            check_buckets(bad)


def test_means_do_not_depend_on_how_sizes_are_bucketed():
    """With equal weights in all buckets their borders do not matter."""
    x, one = sample(), layer(buckets=(13,))
    many = layer(buckets=(1, 2, 3, 13))
    for update in many.block.updates:
        update.load_state_dict(one.block.updates[0].state_dict())
    many.norms.load_state_dict(one.norms.state_dict())
    for name, value in one(**x).items():
        assert torch.allclose(value, many(**x)[name], rtol=0, atol=1e-12)


def test_a_classifier_takes_any_subgraphs():
    torch.manual_seed(0)
    made = SubgraphClassifier(1, 2, (3, 4), head=(5,), dropout=0.0).double()
    x = {"x": torch.ones(13, 1).double(), "edge_index": EDGES, "batch": BATCH, "edge_attr": None}
    whole, parts = (made.classify(**x, subgraphs=s) for s in (whole_graphs(BATCH), k_hop_ego(EDGES, 13)))
    assert whole.shape == parts.shape == (3, 2)
    assert torch.allclose(whole[2], parts[2], rtol=0, atol=1e-12), "a lone node is its own ego network"
    assert (whole - parts)[:2].abs().min() > 1e-6
