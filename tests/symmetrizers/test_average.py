"""Averaging over groups: exact for finite ones, an honest claim for the rest; members of every kind of batch."""

import itertools

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import E, T
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.reps.exchange import Exchange
from coset.reps.fields import Field, Fields
from coset.reps.induced import Regular
from coset.symmetrizers.average import GroupAverage, OrbitAverage, Subset, WholeGroup
from coset.symmetrizers.frames import FrameAverage
from coset.symmetrizers.members import Members, dense
from coset.symmetrizers.sort_frames import SortFrame
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model


def network(*sizes, seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b, dtype=dtype), nn.Tanh())]
    return nn.Sequential(nn.Flatten(), *layers)


def drawn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class With(nn.Module):
    """``rule(net, ...)``: a network that is cast along with its wrapper."""

    def __init__(self, net, rule):
        super().__init__()
        self.net, self.rule = net, rule

    def forward(self, *x, **named):
        return self.rule(self.net, *x, **named)


# ---------------------------------------------------------------------- whole groups


@pytest.mark.parametrize("group", [C(4), D(4), C(4) * S(2)])
def test_a_mean_over_a_finite_group_is_exact(group):
    net = network(36, 8, 5)
    f = GroupAverage(net, Contract(group, "B x image", "B x 5 x scalar"))
    assert f.contracts[0].claim == "exact"
    check(f, drawn(3, 6, 6))
    with pytest.raises(Broken):
        assert_equivariant(net, Contract(C(4), "B x image", "B x 5 x scalar"), drawn(3, 6, 6))


def test_equivariant_outputs_move_back_and_batch_statistics_see_all_elements_alike():
    conv = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)).double()
    f = GroupAverage(conv, Contract(D(4), "image", "image"))
    check(f, drawn(2, 1, 8, 8))
    f.train()(drawn(2, 1, 8, 8))
    assert int(conv[1].num_batches_tracked) == 1


def test_broken_twin_that_forgets_to_move_the_output_back_is_caught(monkeypatch):
    f = GroupAverage(nn.Conv2d(1, 1, 3, padding=1).double(), Contract(C(4), "image", "image"))
    check(f, drawn(2, 1, 6, 6))
    monkeypatch.setattr(GroupAverage, "move_back", lambda self, members, group, g, y, x: y)
    with pytest.raises(Broken):
        check(f, drawn(2, 1, 6, 6))


def test_a_lone_cloud_gets_a_pass_for_every_rotation():
    f = GroupAverage(
        lambda x: torch.tanh(x).sum(0) * torch.tensor([1.0, 2.0, 3.0]), Contract(Octahedral(), "N x position", "vector")
    )
    check(f, drawn(5, 3))


def test_permutations_and_the_members_they_stay_within():
    f = GroupAverage(network(12, 7, 4), Contract(S("N"), "B x N x 3 x scalar", "B x N x scalar"))
    check(f, drawn(2, 4, 3))


def test_quadrature_is_exact_for_polynomials_of_its_degree_and_approximate_otherwise():
    contract = Contract(SO(3), "B x N x vector", "B x scalar")
    square = GroupAverage(lambda x: (x[:, 0] * x[:, 1] * torch.tensor([1.0, 2.0, 3.0])).sum(-1), contract, degree=2)
    assert square.promised.claim == "approximate"
    x = drawn(4, 2, 3)
    torch.testing.assert_close(square(x), 2 * (x[:, 0] * x[:, 1]).sum(-1))  # the mean of diag(1, 2, 3) over rotations


def test_representations_of_a_finite_group():
    group = C(3)
    fields = Field(("B",), Regular(group))
    f = GroupAverage(network(3, 5, 3), Contract(group, Fields({"": fields}), Fields({"": fields})))
    check(f, drawn(4, 3))


@pytest.mark.parametrize(
    ("group", "kept"),
    [(C(8), "C(4)"), (C(6), "C(2)"), (D(8), "D(4)"), (C(8) * S("B"), 'C(4) * S("B")'), (C(8) ** "B", 'C(4) ** "B"')],
)
def test_pixels_keep_the_quarter_turns_of_a_group(group, kept):
    f = GroupAverage(network(36, 3), Contract(group, "B x image", "B x 3 x scalar"))
    assert [(str(c.group), c.claim) for c in f.contracts] == [(kept, "exact"), (str(group), "approximate")]
    assert GroupAverage(network(12, 3), Contract(C(8), "B x N x vector", "B x 3 x scalar")).contracts[0].claim == "exact"


def test_an_average_over_turns_that_interpolate_is_exact_for_quarter_turns():
    check(GroupAverage(network(64, 3), Contract(C(8), "B x image", "B x 3 x scalar")), drawn(2, 8, 8))


# ---------------------------------------------------------------------- orbits at test time


def test_orbit_average_is_exact_for_its_grid_and_acts_at_test_time_only():
    net = network(64, 8, 3)
    f = OrbitAverage(net, Contract(SO(2), "B x image", "B x 3 x scalar"), n=4)
    assert f.promised.claim == "approximate"
    assert [(str(c.group), c.claim) for c in f.contracts] == [("C(4)", "exact"), ("SO(2)", "approximate")]
    x = drawn(5, 8, 8)
    check(f, x)
    assert torch.equal(f.train()(x), net(x))
    assert not torch.allclose(OrbitAverage(net, f.contract, n=4, through=True).train()(x), net(x))


def test_probabilities_are_pooled_as_the_log_of_their_mean():
    net = network(16, 3)
    contract = Contract(C(4), "B x image", "B x 3 x scalar")
    x = drawn(2, 4, 4)
    got = GroupAverage(net, contract, pool="probabilities")(x)
    want = torch.stack([net(torch.rot90(x, k, (1, 2))).softmax(-1) for k in range(4)]).mean(0)
    torch.testing.assert_close(got.exp(), want)
    with pytest.raises(ContractError, match="logits"):
        GroupAverage(net, Contract(C(4), "image", "image"), pool="probabilities")


def test_subset_draws_elements_of_their_own_for_each_member():
    contract, x = Contract(C(8), "B x N x vector", "B x N x vector"), drawn(50, 3, 2)
    frame = Subset(WholeGroup(), 1).train()
    elements, weights = frame({"": x}, contract)
    assert elements.shape == (1,)
    assert weights.tolist() == [1.0]
    assert len(frame.eval()({"": x}, contract)[1]) == 8


# ---------------------------------------------------------------------- sorting graphs


def graphs(n=6, count=3, seed=2):
    a = (torch.rand(count, n, n, generator=torch.Generator().manual_seed(seed)) < 0.5).double().triu(1)
    return a + a.mT


def test_a_sort_frame_makes_a_network_of_the_adjacency_invariant():
    net = With(network(36, 8, 4), lambda net, a: {"y": net(a)})
    fields = {"a": "B x N x N x scalar"}, {"y": "B x 4 x scalar"}
    f = FrameAverage(net, Contract(S("N"), *fields), frame=SortFrame(samples=720))
    x = {"a": graphs()}
    check(f, x)
    assert f.seen.tied == 0
    assert not torch.allclose(f(**x)["y"][0], f(**x)["y"][1])


def test_ties_beyond_the_samples_are_drawn_and_counted():
    empty = torch.zeros(1, 6, 6, dtype=torch.float64)
    f = FrameAverage(lambda a: {"y": a.flatten(1)}, Contract(S("N"), {"a": "B x N x N x scalar"}, {"y": "B x 36 x scalar"}))
    f(a=torch.cat([empty, graphs(count=1)]))
    assert f.seen.tied >= 1
    assert f.contracts[0].where({"a": empty}).tolist() == [False]


def test_node_outputs_return_to_their_nodes_dense_and_ragged():
    net = network(5 * 5 + 5, 5)
    inputs = {"a": "B x N x N x scalar", "h": "B x N x scalar"}
    both = With(net, lambda net, a, h: {"y": net(torch.cat([a.flatten(1), h], 1))})
    f = FrameAverage(both, Contract(S("N"), inputs, {"y": "B x N x scalar"}))
    a, h = graphs(n=5), drawn(3, 5)
    check(f, {"a": a, "h": h})

    def ragged(h, edge_index, batch):
        out = torch.zeros(int(batch.max()) + 1, 5, 5, dtype=h.dtype)
        i, j = edge_index
        out[batch[i], i - 5 * batch[i], j - 5 * batch[j]] = 1
        return {"y": net(torch.cat([out.flatten(1), h.view(-1, 5)], 1)).flatten()}

    pointers = {"h": "N x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"}
    g = FrameAverage(ragged, Contract(S("N"), pointers, {"y": "N x scalar"}))
    b, i, j = torch.nonzero(a, as_tuple=True)
    sample = {"h": h.flatten(), "edge_index": torch.stack([i, j]) + 5 * b, "batch": torch.arange(3).repeat_interleave(5)}
    assert_equivariant(g, g.contracts[0], sample, samples=8)
    torch.testing.assert_close(g(**sample)["y"], f(a=a, h=h)["y"].flatten())  # equal node features would sort alike


def test_bad_graphs():
    one_way = graphs().triu(1)
    with pytest.raises(InputError, match="symmetric"):
        FrameAverage(lambda a: a, Contract(S("N"), {"a": "B x N x N x scalar"}, "B x N x N x scalar"))(a=one_way)
    with pytest.raises(ContractError, match="needs an adjacency"):
        FrameAverage(lambda a: a, Contract(S("N"), "B x N x scalar", "B x N x scalar"))
    with pytest.raises(ContractError, match="permutations of an index"):
        FrameAverage(lambda a: a, Contract(C(4), "B x N x N x scalar", "scalar"), frame=SortFrame())


# ---------------------------------------------------------------------- members


@pytest.mark.parametrize(
    ("inputs", "shape", "index", "size"),
    [
        ("B x N x position", (4, 5, 3), "B", 4),
        ("N x position", (5, 3), None, 1),
        ("N x 20 x vector", (5, 20, 3), None, 1),
        ("position", (4, 5, 3), "...", 4),
        ("position", (5, 3), None, 1),
        ("image", (4, 1, 8, 8), "...", 4),
        ("B x 2 x image", (4, 2, 8, 8), "B", 4),
        ("M x N x position", (4, 5, 3), "M", 4),
    ],
)
def test_members_of_a_sample(inputs, shape, index, size):
    members = Members.of(Contract(E(3), inputs, "scalar"), {"": torch.zeros(shape)})
    assert (members.index, members.size) == (index, size)


def test_members_through_chained_pointers_and_edges():
    fields = {"x": "A x position", "mol": "A -> M", "pair": "M -> B", "edge_index": "2 x E -> A", "w": "E x vector"}
    x = {
        "x": drawn(4, 3), "mol": torch.tensor([0, 0, 1, 2]), "pair": torch.tensor([0, 0, 1]),
        "edge_index": torch.tensor([[0, 3], [1, 3]]), "w": drawn(2, 3),
    }  # fmt: skip
    members = Members.of(Contract(E(3), fields, {"x": "A x position"}), x)
    assert (members.index, members.size) == ("B", 2)
    assert {name: owner.tolist() for name, owner in members.maps.items()} == {"A": [0, 0, 0, 1], "M": [0, 0, 1], "E": [0, 1]}
    g = O(3).sample(2, generator=torch.Generator().manual_seed(0))
    moved = members.move(O(3), g.unsqueeze(0), Contract(O(3), fields, "scalar").inputs.of("w"), x["w"].unsqueeze(0), x)[0]
    torch.testing.assert_close(moved, torch.einsum("eij,ej->ei", g, x["w"]))


def test_padding_keeps_every_entry_in_place():
    owner = torch.tensor([1, 0, 1, 1, 2])
    x = torch.arange(5.0)
    padded, mask = dense(x, owner, 4)
    assert [padded[b][mask[b]].tolist() for b in range(4)] == [[1.0], [0.0, 2.0, 3.0], [4.0], []]


# ---------------------------------------------------------------------- bad input, files


def test_what_cannot_be_averaged_is_said():
    net = network(36, 4)
    with pytest.raises(ContractError, match="needs a rule"):
        GroupAverage(net, Contract(SO(2), "B x image", "B x 4 x scalar"))
    with pytest.raises(ContractError, match="needs a rule"):
        GroupAverage(net, Contract(T(2), "B x N x position", "B x 4 x scalar"))
    with pytest.raises(InputError, match="n is a number"):
        OrbitAverage(net, Contract(SO(2), "B x image", "B x 4 x scalar"), n=0)
    with pytest.raises(InputError, match="pool is"):
        GroupAverage(net, Contract(C(4), "B x image", "B x 4 x scalar"), pool="median")
    with pytest.raises(ContractError, match="expected outputs"):
        GroupAverage(lambda x: None, Contract(C(4), "B x image", "B x 4 x scalar"))(drawn(2, 6, 6))
    with pytest.raises(InputError, match="no input has the index"):
        GroupAverage(net, Contract(C(4), "B x image", "B x 4 x scalar"), batch="Q")(drawn(2, 6, 6))


def test_wrappers_are_saved_and_loaded(tmp_path):
    net, x = network(10, 4), drawn(3, 5, 2)
    fields = "B x N x position", "B x 4 x scalar"
    for f in (
        FrameAverage(net, Contract(SO(2), *fields), draw=1),
        GroupAverage(net, Contract(C(4), *fields)),
        OrbitAverage(net, Contract(SO(2), *fields), n=3),
    ):
        save_model(tmp_path, f.eval())
        torch.testing.assert_close(load_model(tmp_path, target=network(10, 4, seed=7))(x), f(x))


def test_averaging_over_an_exchange_swaps_inputs_and_outputs(generator):
    contract = Contract(
        Exchange("a", "b"), {"a": "B x 3 x scalar", "b": "B x 3 x scalar"}, {"a": "B x scalar", "b": "B x scalar"}
    )
    a, b = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    uneven = lambda a, b: {"a": a.sum(-1), "b": (2 * a - b).sum(-1)}  # noqa: E731
    swap = torch.tensor(1)
    assert contract.error(uneven, {"a": a, "b": b}, swap) > 1e-2
    assert contract.error(GroupAverage(uneven, contract), {"a": a, "b": b}, swap) < 1e-12
