"""The promise: residuals, orbits, composition, attaching, and what is refused."""

import math

import pytest
import torch
from torch import nn

from coset.contract import Attached, Contract, attach, contracts_of, evaluating, frozen, relative, seeded
from coset.errors import ContractError, InputError
from coset.groups.euclidean import E
from coset.groups.finite import C, D
from coset.groups.group import Family
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.reps.action import Recorded
from coset.reps.defining import Trivial, Vector
from coset.reps.fields import Fields
from coset.reps.image import Image
from coset.reps.intertwiners import reynolds
from coset.testing import tolerance

EXACT = tolerance(torch.float64)
IN = {"pos": "N x position", "z": "N x 4 x scalar", "edge_index": "2 x E -> N", "batch": "N -> B", "v": "N x 2 x vector"}
OUT = {"energy": "B x scalar", "forces": "N x vector"}


class Graphs(nn.Module):
    """Invariant energy, forces by differentiation, plus a sum of the input vectors; ``leak`` reads one coordinate."""

    def __init__(self, leak=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.message = nn.Sequential(nn.Linear(9, 16), nn.SiLU(), nn.Linear(16, 8)).double()
        self.out = nn.Linear(8, 1).double()
        self.leak = leak

    def forward(self, pos, z, edge_index, batch, v):
        pos = pos.detach().requires_grad_()
        i, j = edge_index
        d = (pos[i] - pos[j]).pow(2).sum(-1, keepdim=True) + self.leak * (pos[i] - pos[j])[:, :1]
        h = torch.zeros(len(pos), 8, dtype=pos.dtype).index_add(0, j, self.message(torch.cat([z[i], z[j], d], -1)))
        atoms = self.out(h.tanh())[:, 0]
        energy = torch.zeros(int(batch.max()) + 1, dtype=pos.dtype).index_add(0, batch, atoms)
        return {"energy": energy, "forces": -torch.autograd.grad(energy.sum(), pos)[0] + v.sum(1)}


@pytest.fixture
def x(generator):
    return Fields(IN).example({"N": 9, "E": 20, "B": 3}, generator=generator)


GROUPS = [E(3), SO(3), S("N"), S("N", within="B"), S("E"), S("B"), E(3) ** "B", E(3) * S("N"), E(3) ** "B" * S("E")]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_the_residual_of_an_equivariant_function_vanishes(group, x, generator):
    contract, net = Contract(group, IN, OUT).bind(x), Graphs()
    for g in contract.group.sample(3, generator=generator):
        assert contract.error(net, x, g) < EXACT
        residual = contract.residual(net, x, g)
        assert set(residual) == {"energy", "forces"}
        assert residual["forces"].shape == (9, 3)
    assert contract.error(net, x, contract.group.identity(dtype=torch.float64)) < EXACT


def test_the_residual_of_a_broken_one_does_not(x, generator):
    contract, net = Contract(E(3), IN, OUT).bind(x), Graphs(leak=0.5)
    g = contract.group.sample(1, generator=generator)[0]
    assert contract.error(net, x, g) > 1e-2
    assert Contract(S("N"), IN, OUT).bind(x).error(net, x, torch.randperm(9, generator=generator)) < EXACT


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_an_orbit_is_the_join_of_its_copies(group, x, generator):
    contract, net = Contract(group, IN, OUT).bind(x), Graphs()
    elements = contract.group.sample(4, generator=generator)
    folded = contract.orbit(elements, x)
    looped = contract.inputs.join([contract.act(g, x) for g in elements])
    for name in looped:
        assert torch.allclose(folded[name], looped[name], atol=1e-12), name
    together = contract.outputs.unfold(net(**folded), 4)
    for k, g in enumerate(elements):
        alone = net(**contract.act(g, x))
        for name in alone:
            assert torch.allclose(together[name][k], alone[name], atol=EXACT), name


def test_an_orbit_of_images_equals_the_loop(generator):
    x = torch.randn(3, 2, 12, 12, generator=generator)
    contract = Contract(SO(2), Image(size=8, disc=True), "B x scalar")
    angles = SO(2).grid(6)
    folded = contract.orbit(angles, x)[""]
    assert folded.shape == (18, 2, 8, 8)
    assert torch.allclose(folded, torch.cat([contract.act(g, x) for g in angles]), atol=1e-6)
    assert torch.equal(contract.origin(x), contract.act(angles[0], x))
    assert contract.origin(x).shape == (3, 2, 8, 8)


def test_images_that_are_resampled_are_compared_with_the_resampled_identity(generator):
    x = torch.randn(2, 1, 11, 11, generator=generator, dtype=torch.float64)
    contract = Contract(C(4), Image(size=8, disc=True), "B x scalar")
    for g in C(4).elements():
        assert contract.error(lambda y: y.square().sum((-1, -2, -3)), x, g) < EXACT
    to_image = Contract(D(4), Image(size=8), "B x C x image")
    assert to_image.error(lambda y: y.relu(), x, torch.tensor(5)) < EXACT
    assert to_image.error(lambda y: y.cumsum(-1), x, torch.tensor(5)) > 0.1


def test_fields_of_representations_and_intertwiners(generator):
    group = D(4)
    rep = 2 * Trivial(group) + Vector(group)
    weight = reynolds(torch.randn(4, 4, generator=generator, dtype=torch.float64), rep, rep)
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    contract = Contract(group, rep, rep)
    g = group.sample(1, generator=generator)[0]
    assert contract.error(lambda x: x @ weight.T, x, g) < EXACT
    assert contract.error(lambda x: x @ (weight + 0.1).T, x, torch.tensor(3)) > 1e-2


def test_a_product_is_audited_factor_by_factor(x):
    contract = Contract(E(3) * S("N"), IN, OUT, name="both")
    first, second = contract.factors()
    assert (first.group, second.group) == (E(3), S("N"))
    assert str(first) == "both: E(3)"
    assert [str(c) for c in Contract(E(3) * S("N"), IN, OUT).factors()] == ["E(3)", 'S("N")']
    assert Contract(E(3), IN, OUT).factors() == (Contract(E(3), IN, OUT),)


def test_the_view_is_what_is_compared(generator):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    g = O(3).sample(1, generator=generator)[0]
    plain = Contract(O(3), "N x vector", "N x N x scalar")
    assert plain.error(lambda x: x @ x.T, x, g) < EXACT
    gram = Contract(O(3), "N x vector", "N x N x scalar", view=lambda y: y @ y.T)
    assert gram.error(lambda x: x, x, g) < EXACT
    centered = Contract(O(3), "N x vector", "N x scalar", view=lambda y: y - y.mean(-1, keepdim=True))

    def drifting(x):
        return x.norm(dim=-1) + (x[:1, :1] if bool(x[0, 0] > 0) else x[:1, :1] * 3).sum()

    assert centered.error(drifting, x, g) < EXACT
    assert Contract(O(3), "N x vector", "N x scalar").error(drifting, x, g) > 1e-2
    assert gram.look(x)[""].shape == (4, 4)


def test_where_is_kept_beside_the_claim():
    where = lambda x: x.norm(dim=-1) > 1  # noqa: E731
    contract = Contract(O(3), "N x vector", "N x scalar", where=where)
    assert contract.where(torch.tensor([[2.0, 0, 0], [0.5, 0, 0]])).tolist() == [True, False]
    assert contract.then(Contract(O(3), "N x scalar", "N x scalar")).where is where
    assert contract.bind(torch.ones(2, 3)).where is where


def test_then_keeps_the_weaker_claim_and_adds_bounds():
    def link(middle_in, middle_out, claim="exact", bound=None):
        return Contract(SO(3), middle_in, middle_out, claim, bound)

    exact = link("N x position", "N x vector").then(link("N x vector", "N x scalar"))
    assert exact == link("N x position", "N x scalar")
    soft = link("N x vector", "N x vector", "approximate", 0.1)
    both = soft.then(soft)
    assert (both.claim, both.bound) == ("approximate", 0.2)
    assert link("N x position", "N x vector").then(soft).claim == "approximate"
    assert soft.then(link("N x vector", "N x scalar", "law")).claim == "law"
    with pytest.raises(ContractError, match=r"N x scalar.*N x vector"):
        link("N x vector", "N x scalar").then(soft)
    with pytest.raises(ContractError, match="common group"):
        soft.then(Contract(O(3), "N x vector", "N x scalar"))


def test_a_promise_is_given_to_a_model_that_we_did_not_write(generator):
    contract = Contract(O(3), "N x vector", "N x scalar")
    net = nn.Linear(3, 3)
    owned = contract.attach(net)
    assert isinstance(owned, Attached)
    assert contracts_of(owned) == (contract,)
    assert attach(net, contract, contract).contracts == (contract, contract)
    x = torch.randn(2, 3, generator=generator)
    assert torch.equal(owned(x), net(x))
    assert len(list(owned.parameters())) == 2
    with pytest.raises(InputError, match="attach"):
        contracts_of(net)
    assert contract.attach(lambda x: x.norm(dim=-1))(x).shape == (2,)


def test_contracts_are_values():
    assert Contract(E(3), IN, OUT) == Contract(E(3), dict(IN), dict(OUT))
    assert hash(Contract(E(3), IN, OUT)) == hash(Contract(E(3), dict(IN), dict(OUT)))
    assert Contract(E(3), IN, OUT) != Contract(SO(3), IN, OUT)
    assert str(Contract(E(3), IN, OUT)) == "E(3)"
    assert str(Contract(E(3), IN, OUT, name="motions")) == "motions"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"velocity": torch.zeros(9, 3)}, "'velocity' has no declared field"),
        ({"pos": torch.full((9, 3), torch.nan)}, "'pos'.*NaN"),
        ({"z": torch.zeros(9, 5)}, "'z'|expected 4"),
        ({"z": torch.zeros(8, 4)}, "index N"),
        ({"edge_index": torch.full((2, 20), 9)}, "outside"),
        ({"pos": None}, "'pos'.*missing"),
    ],
)
def test_bind_names_the_input_that_does_not_fit(change, says, x):
    sample = {name: value for name, value in (x | change).items() if value is not None}
    with pytest.raises(InputError, match=says):
        Contract(E(3), IN, OUT).bind(sample)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda **x: {"energy": torch.zeros(3)}, "'forces'.*declared"),
        (lambda **x: {"energy": torch.zeros(3, 1), "forces": torch.zeros(9, 3)}, "'energy'.*\\(3, 1\\)"),
        (lambda **x: (torch.zeros(3), torch.zeros(9, 3)), "tuple"),
    ],
)
def test_outputs_that_were_not_declared_are_refused(model, says, x):
    with pytest.raises(ContractError, match=says):
        Contract(E(3), IN, OUT).call(model, x)


def test_what_is_no_contract_is_refused():
    with pytest.raises(InputError, match="group"):
        Contract("SO(3)", "N x vector", "N x scalar")
    with pytest.raises(InputError, match="claim"):
        Contract(SO(3), "N x vector", "N x scalar", "sure")
    with pytest.raises(InputError, match="bound"):
        Contract(SO(3), "N x vector", "N x scalar", "approximate", -1.0)
    with pytest.raises(InputError, match="bound"):
        Contract(SO(3), "N x vector", "N x scalar", "approximate", math.inf)
    with pytest.raises(InputError, match="tolerance"):
        Contract(SO(3), "N x vector", "N x scalar", "exact", 0.1)
    with pytest.raises(InputError, match="vektor"):
        Contract(SO(3), "N x vektor", "N x scalar")


def test_a_group_without_an_action_on_the_data_is_refused(generator):
    with pytest.raises(ContractError, match="plane"):
        Contract(SO(3), "image", "scalar").act(SO(3).identity(), torch.zeros(1, 4, 4))
    with pytest.raises(ContractError, match="does not move vectors"):
        Contract(S("N"), "N x vector", "N x scalar").group.linear(None)
    with pytest.raises(ContractError, match="open"):
        Contract(S("N"), "N x vector", "N x scalar").group.sample(1)
    with pytest.raises(ContractError, match="no declared field has the index"):
        Contract(S("M"), "N x vector", "N x scalar").bind(torch.zeros(2, 3))


def test_a_batch_of_elements_is_no_element():
    contract = Contract(SO(3), "N x vector", "N x scalar")
    with pytest.raises(InputError, match="one element"):
        contract.residual(lambda x: x.norm(dim=-1), torch.zeros(2, 3), SO(3).sample(2, generator=torch.Generator()))


def test_gap_compares_recorded_pairs(generator):
    contract = Contract(SO(3), {"photo": Recorded(2)}, {"axis": "N x vector"})
    y = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    g = SO(3).sample(1, generator=generator)[0]
    assert contract.gap({"axis": y}, {"axis": y @ g.T}, g)["axis"].abs().max() < EXACT
    assert contract.gap({"axis": y}, {"axis": y}, g)["axis"].norm() > 0.1


def test_both_sides_see_the_same_noise_and_eval_mode(x, generator):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.inner = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.drop(x.norm(dim=-1)) + torch.rand(len(x), dtype=x.dtype)

    net = Noisy()
    net.inner.eval()
    points = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    g = O(3).sample(1, generator=generator)[0]
    before = torch.random.get_rng_state()
    assert Contract(O(3), "N x vector", "N x scalar").error(net, points, g) < EXACT
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (net.training, net.drop.training, net.inner.training) == (True, True, False)


def test_noise_that_is_an_input_is_moved_with_the_rest(generator):
    fields = {"x": "N x position", "noise": "S x N x vector"}
    contract = Contract(E(3), fields, "N x position")

    def sampler(x, noise):
        for step in noise:
            x = x - 0.1 * (x - x.mean(0)) + 0.3 * step
        return x

    sample = Fields(fields).example({"S": 4, "N": 5}, generator=generator)
    g = E(3).sample(1, generator=generator)[0]
    assert contract.bind(sample).error(sampler, sample, g) < EXACT
    left_behind = Contract(E(3), {**fields, "noise": "S x N x fixed"}, "N x position")
    fixed = sample | {"noise": sample["noise"][..., 0]}
    assert left_behind.error(lambda x, noise: sampler(x, noise[..., None].expand(4, 5, 3)), fixed, g) > 1e-2


def test_residuals_carry_gradients_and_error_asks_for_none(generator):
    net = nn.Linear(3, 3).double()
    contract = Contract(SO(3), "N x vector", "N x vector")
    points = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    g = SO(3).sample(1, generator=generator)[0]
    contract.residual(net, points, g)[""].square().sum().backward()
    assert net.weight.grad.abs().max() > 0
    assert contract.error(net, points, g) > 0
    assert all(p.requires_grad for p in net.parameters())


def test_a_family_without_identity_is_compared_with_the_sample_itself(generator):
    class Brightness(Family):
        def sample(self, n, *, generator=None, dtype=None, device=None):
            return torch.rand(n, generator=generator, dtype=torch.float64) + 0.5

        def move(self, g, field, x, given):
            return x if field.still else g * x

    contract = Contract(Brightness(), "image", "B x scalar")
    x = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64)
    assert contract.origin(x) is x
    assert contract.error(lambda x: x.flatten(1).argmax(1).double(), x, contract.group.sample(1)[0]) < EXACT
    assert contract.error(lambda x: x.flatten(1).sum(1), x, torch.tensor(1.3)) > 0.1


def test_relative_counts_zero_over_zero_as_zero():
    zero, one = torch.zeros(3), torch.ones(3)
    assert relative(zero, zero) == 0
    assert relative(one, zero) == math.inf
    assert abs(relative(one, 2 * one) - 0.5) < 1e-12


def test_seeded_frozen_and_evaluating_leave_no_trace():
    state = torch.random.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(first, torch.rand(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    net[0].weight.requires_grad_(False)

    def interrupted():
        with frozen(net), evaluating(net):
            assert not net[0].bias.requires_grad
            assert not net[1].training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert (net[0].weight.requires_grad, net[0].bias.requires_grad, net[1].training) == (False, True, True)
