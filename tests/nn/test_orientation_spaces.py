"""Where features live: pairs by brute force, invariants that motions leave alone and mirrors tell apart, smooth ends."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.nn.orientation_spaces import EPS, RANK, Edges, Fibre, Nodes, pairs_within, ragged, with_loops

KERNEL = (8, 4, 3)  # width, size and degree of a kernel basis


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(drawn(*shape, seed=seed), dim=-1)


def edges(space=3, radius=None, **kind):
    torch.manual_seed(0)
    return Edges(space, *KERNEL, radius, **kind).double()


def test_ragged_rows_are_numbered():
    row, place = ragged(torch.tensor([2, 0, 3]))
    assert row.tolist() == [0, 0, 2, 2, 2]
    assert place.tolist() == [0, 1, 0, 1, 2]


def test_pairs_are_all_within_a_graph_in_any_order():
    batch = torch.tensor([1, 0, 1, 3, 1, 0])
    want = {(i, j) for i in range(6) for j in range(6) if i != j and batch[i] == batch[j]}
    found = pairs_within(batch).T.tolist()
    assert len(found) == len(want)
    assert set(map(tuple, found)) == want
    assert pairs_within(torch.zeros(1, dtype=torch.int64)).shape == (2, 0)
    assert pairs_within(torch.zeros(0, dtype=torch.int64)).shape == (2, 0)


def test_loops_have_zero_vectors_and_scalars():
    edge_index, r, scalars = with_loops(torch.tensor([[0], [1]]), drawn(1, 3), drawn(1, 2), 2)
    assert edge_index.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert r.shape == (3, 3)
    assert not r[1:].any()
    assert not scalars[1:].any()


def test_places_meet_where_their_nodes_are_joined_or_one():
    edge_index = torch.tensor([[0, 1, 2, 1], [1, 0, 1, 3]])
    joined, *_ = with_loops(edge_index, drawn(4, 3), drawn(4, 0), 4)
    pairs, base = Edges._pairs(joined, edge_index[1], 4)
    want = set()
    for number, (source, target) in enumerate(joined.T.tolist()):
        for first in range(4):
            for second in range(4):
                if edge_index[1, first] == source and edge_index[1, second] == target:
                    want.add((first, second, number))
    found = torch.cat([pairs, base[None]]).T.tolist()
    assert len(found) == len(want)
    assert set(map(tuple, found)) == want


@pytest.mark.parametrize("space", [2, 3])
@pytest.mark.parametrize("extra", [False, True])
def test_invariants_do_not_see_rotations(space, extra):
    layer = edges(space, extra=extra, chiral=space == 3)
    given = drawn(5, space), unit(5, space, seed=1), unit(5, space, seed=2)
    (turn,) = SO(space).sample(1, generator=torch.Generator().manual_seed(0))
    want = torch.stack(layer._invariants(*given))
    assert (torch.stack(layer._invariants(*(x @ turn.T for x in given))) - want).abs().max() < 1e-12


def test_mirrors_are_seen_in_the_plane_and_by_the_determinant_only():
    mirror = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    along, across, _ = edges(2)._invariants(drawn(5, 2), unit(5, 2, seed=1), unit(5, 2, seed=2))
    mirrored = edges(2)._invariants(drawn(5, 2) @ mirror, unit(5, 2, seed=1) @ mirror, unit(5, 2, seed=2) @ mirror)
    assert (mirrored[0] - along).abs().max() < 1e-12
    assert (mirrored[1] + across).abs().max() < 1e-12
    given = drawn(5, 3), unit(5, 3, seed=1), unit(5, 3, seed=2)
    *same, det = edges(extra=True, chiral=True)._invariants(*given)
    *also, opposite = edges(extra=True, chiral=True)._invariants(*(-x for x in given))
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(same, also, strict=True))
    assert (det + opposite).abs().max() < 1e-12
    assert det.abs().min() > 1e-3


def test_without_the_extra_invariant_pairs_are_mistaken_for_one_another():
    """Turning o' about o leaves r.o, |r - (r.o) o| and o.o' alone and changes r.o'."""
    r, o = drawn(1, 3), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    first, second = unit(1, 3, seed=1), unit(1, 3, seed=1) * torch.tensor([[-1.0, -1.0, 1.0]])
    plain = [torch.stack(edges()._invariants(r, o, other)) for other in (first, second)]
    extra = [torch.stack(edges(extra=True)._invariants(r, o, other)) for other in (first, second)]
    assert (plain[0] - plain[1]).abs().max() < 1e-12
    assert (extra[0] - extra[1]).abs().max() > 0.1
    signed = edges(2, extra=True)._invariants(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
    assert signed[-1].tolist() == [pytest.approx(-0.8)]


def test_norms_are_smooth_where_r_is_parallel_to_o_and_right_elsewhere():
    layer = Fibre(3, *KERNEL, None, count=12)
    o = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    r = (2 * o).requires_grad_()
    along, across = layer.along_across(r, o)
    (slope,) = torch.autograd.grad(across, r, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), r)
    assert bool(torch.isfinite(slope).all() and torch.isfinite(bend).all())
    assert along.item() == 2
    assert across.item() == pytest.approx(EPS)
    assert float(layer.along_across(torch.tensor([3.0, 4.0, 1.0]).double(), o)[1]) == pytest.approx(5)


def test_a_cutoff_fades_kernels_and_places():
    layer = edges(radius=2.0)
    edge_index = torch.tensor([[0, 1, 2], [1, 0, 0]])
    near, far, beyond = (torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [x, 0, 0]]).double() for x in (0.5, 1.999, 2.5))
    weights = [layer(r, edge_index, 3, r.new_zeros(3, 0)).weight[2] for r in (near, far, beyond)]
    assert weights[0] > 0.9
    assert 0 < weights[1] < 1e-6
    assert weights[2] == 0
    assert (layer.fade(near) <= 1).all()
    assert (edges().fade(near) == 1).all()


def test_lifting_projects_vectors_on_orientations_and_back():
    """Over a balanced grid the mean of (v.o) o is v / n."""
    for space, count in ((3, 12), (2, 5)):
        layer = Fibre(space, *KERNEL, None, count=count).double()
        r = drawn(4, space)
        at = layer(r, torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]]), 3, r.new_zeros(4, 0))
        scalars, vectors = drawn(3, 2), drawn(3, 1, space, seed=1)
        own, turned = layer.project(layer.lift(scalars, vectors, at), at, 3, 2)
        assert (own - scalars).abs().max() < 1e-12
        assert (turned - vectors / space).abs().max() < 1e-12


def test_nodes_weigh_edges_by_both_ends():
    torch.manual_seed(0)
    layer = Nodes(3, *KERNEL, None, out_vectors=1).double()
    assert layer.readout(2, 1) == 2 + 2 * RANK
    edge_index, r = torch.tensor([[0], [1]]), drawn(1, 3)
    at = layer(r, edge_index, 2, r.new_zeros(1, 0))
    y = drawn(2, 2 + 2 * RANK)
    own, turned = layer.project(y, at, 2, 2)
    weight = (layer.pull(at.bases[0][0]) * y[0, 2 : 2 + RANK] * y[1, 2 + RANK :]).sum()
    assert torch.equal(own, y[:, :2])
    assert (turned[1, 0] - weight * r[0]).abs().max() < 1e-12
    assert not turned[0].any()


def test_bad_spaces_radii_and_edges_are_refused():
    with pytest.raises(InputError, match="2 or 3 coordinates, got 4"):
        Edges(4, *KERNEL, None)
    with pytest.raises(InputError, match="positive length"):
        Nodes(3, *KERNEL, 0.0, out_vectors=1)
    with pytest.raises(InputError, match="in the plane"):
        edges(2, chiral=True)
    r = torch.cat([drawn(1, 3), torch.zeros(1, 3).double()])
    with pytest.raises(InputError, match="edge 1 from node 1 to node 2 has length zero"):
        edges()(r, torch.tensor([[0, 1], [1, 2]]), 3, r.new_zeros(2, 0))


def test_a_place_is_at_the_target_of_its_edge():
    """On one-way edges r leads from the node of the place that hears to that of the place that speaks."""
    pos = drawn(4, 3)
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 0, 1, 2]])
    r = pos[edge_index[0]] - pos[edge_index[1]]
    at = edges()(r, edge_index, 4, r.new_zeros(5, 0))
    assert torch.equal(at.home, edge_index[1])
    source, target = at.home[at.edge_index]
    assert (at.r - (pos[source] - pos[target])).abs().max() < 1e-12
    assert (at.orientation - torch.nn.functional.normalize(r, dim=-1)).abs().max() < 1e-12
