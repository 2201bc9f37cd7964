import copy
import math

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.group import Family
from coset.objectives.constrained import Constrained, chain, eps_by_rule
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import AugmentationSpace


class Sign(Family):
    """x -> -x or x."""

    labels = ("keep", "flip")

    def __str__(self):
        return "sign"

    def label(self, g):
        return (g < 0).long()

    def sample(self, n, *, generator=None, dtype=None, device=None):
        return torch.randint(2, (n,), generator=generator) * 2 - 1

    def move(self, g, field, x, given):
        return x if field.still else x * g.view(-1, *[1] * (x.ndim - 1)).to(x)


class Wrong(Sign):
    def move(self, g, field, x, given):
        return super().move(g, field, x, given)[:, :1]


def sign_space(family=None):
    return AugmentationSpace(Contract(family or Sign(), "B x vector", "B x scalar"))


def line(n, generator):
    x = torch.randn(n, 1, generator=generator) * 2
    return {"x": x, "y": (x[:, 0] > 0).long()}


def run(model, objective, data, steps, lr=0.05):
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for step in range(1, steps + 1):
        loss = objective(model.train(), data)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            objective.after_step(model, step)
    return objective


# ---------------------------------------------------------------------- the chain


def law_of(losses, steps, generator, **options):
    """Histogram of a long chain with fixed losses: proposals are indices into ``losses``."""
    proposals = torch.randint(len(losses), (steps, 16), generator=generator)
    counts, carry = torch.zeros(len(losses)), proposals[0]
    for block in proposals.split(50):
        # state after each step of the block: rerun the prefix with the same uniforms would be quadratic, so step by step
        for row in block:
            pair = torch.stack([carry, row])
            state, _ = chain(losses[pair], generator=generator, **options)
            carry = pair[state, torch.arange(16)]
            counts += torch.bincount(carry, minlength=len(losses))
    return counts / counts.sum()


def test_stationary_law_is_proportional_to_the_loss(generator):
    losses = torch.tensor([0.1, 0.5, 1.0, 2.0, 0.0, 3.0])
    law = law_of(losses, 1250, generator)  # 1250 steps of 16 chains: 20000 steps
    assert (law - losses / losses.sum()).abs().sum() / 2 < 0.03


def test_the_law_can_fail_the_test_of_a_chain_that_forgets_the_ratio(generator):
    losses = torch.tensor([0.1, 0.5, 1.0, 2.0, 0.0, 3.0])
    uniform = torch.full((6,), 1 / 6)
    assert (uniform - losses / losses.sum()).abs().sum() / 2 > 0.3


def test_tempering_and_clipping_change_the_law_as_stated(generator):
    losses = torch.tensor([0.25, 1.0, 4.0, 100.0])
    root, clipped = losses.sqrt(), losses.clamp(max=4)
    law = law_of(losses, 1250, generator, temper=0.5)
    assert (law - root / root.sum()).abs().sum() / 2 < 0.03
    law = law_of(losses, 1250, generator, cap=4.0)
    assert (law - clipped / clipped.sum()).abs().sum() / 2 < 0.03


def test_whole_chain_in_one_call_has_the_same_law(generator):
    losses = torch.tensor([1.0, 3.0])
    proposals = torch.randint(2, (40, 20000), generator=generator)
    state, accepted = chain(losses[proposals], generator=generator)
    ends = proposals[state, torch.arange(20000)]
    assert abs(ends.float().mean() - 0.75) < 0.015
    assert accepted.shape == (39, 20000)


def test_nan_is_never_accepted_zero_over_zero_always(generator):
    nan, inf = math.nan, math.inf
    state, accepted = chain(torch.tensor([[1.0, 0.0, nan, 0.0], [nan, 0.0, 0.0, inf]]), generator=generator)
    assert state.tolist() == [0, 1, 1, 0]
    assert accepted.tolist() == [[False, True, True, False]]


def test_one_proposal_is_kept_as_it_is(generator):
    state, accepted = chain(torch.ones(1, 5), generator=generator)
    assert state.tolist() == [0] * 5
    assert accepted.shape == (0, 5)


# ---------------------------------------------------------------------- the multiplier


class Even(nn.Module):
    """A logistic model of |x| or of x."""

    def __init__(self, even):
        super().__init__()
        self.even, self.linear = even, nn.Linear(1, 2)

    def forward(self, x):
        return self.linear(x.abs() if self.even else x)


def test_gamma_falls_to_zero_for_an_invariant_model(generator):
    torch.manual_seed(0)
    data = line(200, generator)
    data["y"] = (data["x"][:, 0].abs() > 1).long()
    objective = run(Even(True), Constrained(Supervised(), sign_space(), 0.5, eta=0.05, seed=0), data, 300)
    assert float(objective.gamma) < 1e-3


def test_gamma_rises_while_the_model_violates(generator):
    torch.manual_seed(0)
    objective = run(Even(False), Constrained(Supervised(), sign_space(), 0.1, eta=0.05, seed=0), line(200, generator), 300)
    steps, curve = objective.history.curve()
    assert float(objective.gamma) > 5
    assert (curve[1:, 0] >= curve[:-1, 0] - 0.01).float().mean() > 0.95
    assert (steps[1:] > steps[:-1]).all()


def test_a_cap_stops_with_the_transformation_that_fails(generator):
    torch.manual_seed(0)
    objective = Constrained(Supervised(), sign_space(), 0.01, eta=5.0, cap=20.0, seed=0)
    with pytest.raises(InputError, match=r"infeasible.*flip"):
        run(Even(False), objective, line(200, generator), 100)


def test_acceptance_is_logged_by_label(generator):
    torch.manual_seed(0)
    objective = run(
        Even(False), Constrained(Supervised(), sign_space(), 0.5, gamma=0.0, eta=1e-6, seed=0), line(200, generator), 100
    )
    rates = objective.found()
    assert rates["flip"] > 0.9 > rates["keep"]


def test_saved_state_restores_gamma_history_and_draws(generator):
    torch.manual_seed(0)
    data, model = line(50, generator), Even(False)
    objective = run(model, Constrained(Supervised(), sign_space(), 0.2, eta=0.05), data, 20)
    again = Constrained(Supervised(), sign_space(), 0.2, eta=0.05)
    again.load_state_dict(objective.state_dict())
    twin = copy.deepcopy(model)
    run(model, objective, data, 20)
    torch.manual_seed(99)
    run(twin, again, data, 20)
    assert torch.equal(objective.gamma, again.gamma)
    assert torch.equal(model.linear.weight, twin.linear.weight)
    assert all(torch.equal(a, b) for a, b in zip(objective.counts(), again.counts(), strict=True))


def test_proposals_leave_batch_norm_alone(generator):
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2))
    data = line(32, generator)
    objective = Constrained(Supervised(), sign_space(), 0.5, M=3, seed=0)
    objective(model.train(), data)
    assert int(model[0].num_batches_tracked) == 1
    assert model.training


def test_the_control_is_a_fixed_weight_and_uniform_draws(generator):
    data, model = line(64, generator), Even(False)
    objective = run(model, Constrained(Supervised(), sign_space(), 0.5, M=1, eta=0.0, gamma=0.7, seed=0), data, 5)
    assert float(objective.gamma) == 0.7
    terms = objective(model, data)
    moved = (terms["loss"] - terms["clean"]) / 0.7
    assert torch.allclose(moved, terms["moved sign"].to(moved))


def test_one_pass_sampling_is_clean_without_a_multiplier(generator):
    data, model = line(64, generator), Even(False)
    objective = Constrained(Supervised(), sign_space(), 0.5, gamma=0.0, sample=True, seed=0)
    assert torch.allclose(objective(model, data)["loss"], Supervised()(model, data)["loss"])
    objective = run(model, Constrained(Supervised(), sign_space(), 0.01, sample=True, eta=0.05, seed=0), data, 50)
    assert float(objective.gamma) > 1


def test_two_groups_have_two_multipliers_and_the_false_one_rises(generator):
    torch.manual_seed(0)
    x = torch.randn(300, 2, generator=generator)
    data = {"x": x, "y": (x[:, 0] > 0).long()}

    class Axis(Sign):
        labels = ("keep", "flip")

        def __init__(self, axis):
            self.axis = axis

        def __str__(self):
            return f"flip {self.axis}"

        def move(self, g, field, x, given):
            sign = torch.ones_like(x)
            sign[:, self.axis] = g.to(x)
            return x if field.still else x * sign

    objective = Constrained(Supervised(), (sign_space(Axis(0)), sign_space(Axis(1))), (0.3, 0.3), eta=0.05, seed=0)
    run(nn.Linear(2, 2), objective, data, 100)
    # the false constraint is infeasible and drags the model along, so the true one is violated for a while as well
    assert objective.gamma[0] > 2.5
    assert objective.gamma[1] < 0.6 * objective.gamma[0]


def test_eps_by_rule_is_the_loss_under_the_sampled_law(generator):
    class Known(Supervised):
        def losses(self, y, batch):  # 1 as it is, 3 flipped
            return torch.where(batch["x"][:, 0] > 0, 1.0, 3.0)

    data, model = {"x": torch.ones(4000, 1), "y": torch.zeros(4000)}, nn.Linear(1, 2)
    uniform = eps_by_rule(Known(), sign_space(), model, data, M=1, factor=1.0)
    two = eps_by_rule(Known(), sign_space(), model, data, M=2, factor=1.0)
    many = eps_by_rule(Known(), sign_space(), model, data, M=30, factor=1.0)
    assert abs(uniform - 2) < 0.03
    assert abs(two - (1 / 4 * 1 + 1 / 4 * 3 + 1 / 4 * 3 + 1 / 4 * (3 * 2 / 3 + 1 / 3))) < 0.03
    assert abs(many - 2.5) < 0.03
    assert eps_by_rule(Known(), sign_space(), model, data, M=1) == pytest.approx(1.1 * uniform)
    with pytest.raises(InputError, match="train it with augmentation"):
        eps_by_rule(Supervised(lambda y, t: y[:, 0] * math.inf), sign_space(), model, data)


def test_bad_input_is_named(generator):
    base, space = Supervised(), sign_space()
    for eps in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="eps is a loss > 0"):
            Constrained(base, space, eps)
    with pytest.raises(InputError, match="M is a number of proposals"):
        Constrained(base, space, 0.5, M=0)
    with pytest.raises(InputError, match="one eps for each"):
        Constrained(base, (space, space), (0.5,))
    with pytest.raises(InputError, match="per-sample losses"):
        Constrained(lambda model, batch: {"loss": model(batch["x"]).mean()}, space, 0.5)
    with pytest.raises(InputError, match=r"came back as torch.float32 \(8, 1\), expected"):
        Constrained(base, sign_space(Wrong()), 0.5)(nn.Linear(2, 2), {"x": torch.ones(8, 2), "y": torch.zeros(8).long()})


def test_a_finite_group_counts_its_elements():
    space = AugmentationSpace(Contract(C(4), "B x vector", "B x scalar"))
    assert len(space.labels) == 4
