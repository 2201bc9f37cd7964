import math

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.objectives.supervised import Supervised
from coset.reps.exchange import Exchange
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.symmetrizers.augment import AugmentationSpace, Augmented, Jitter
from coset.testing import tolerance

TIGHT = tolerance(torch.float64)


def clouds(generator, n=5):
    x = torch.randn(n, 4, 3, generator=generator, dtype=torch.float64)
    return {"x": x, "y": x.sum(1)}


def test_every_member_is_moved_by_its_own_element(generator):
    contract = Contract(SO(3), "B x N x vector", "B x vector")
    space, batch = AugmentationSpace(contract), clouds(generator)
    g = space.draw(batch, generator)
    moved = space.apply(batch, g)
    for i in range(5):
        assert torch.allclose(moved["x"][i], contract.act(g[i], batch["x"][i : i + 1])[0], atol=TIGHT)
    assert not torch.allclose(g[0], g[1])


def test_targets_of_an_equivariant_task_move_along(generator):
    space, batch = AugmentationSpace(Contract(SO(3), "B x N x vector", "B x vector")), clouds(generator)
    moved = space.apply(batch, space.draw(batch, generator))
    assert torch.allclose(moved["x"].sum(1), moved["y"], atol=TIGHT)
    assert not torch.allclose(moved["y"], batch["y"])


def test_targets_of_an_invariant_task_stay(generator):
    space = AugmentationSpace(Contract(SO(3), "B x N x vector", "B x scalar"))
    batch = {**clouds(generator), "y": torch.arange(5)}
    assert torch.equal(space.apply(batch, space.draw(batch, generator))["y"], batch["y"])


def test_an_equivariant_loss_is_the_same_on_moved_batches(generator):
    base = Supervised("mse")
    contract, batch = Contract(SO(3), "B x N x vector", "B x vector"), clouds(generator)
    equivariant = Augmented(base, contract, seed=0)(lambda x: 2 * x.sum(1), batch)["loss"]
    assert torch.allclose(equivariant, base(lambda x: 2 * x.sum(1), batch)["loss"], atol=TIGHT)
    broken = Augmented(base, contract, seed=0)(lambda x: x[:, 0].abs(), batch)["loss"]
    assert not torch.allclose(broken, base(lambda x: x[:, 0].abs(), batch)["loss"], atol=1e-3)


def test_a_target_left_behind_would_be_noticed(generator):
    """The broken twin: moving inputs only makes a perfect equivariant model look wrong."""
    space, batch = AugmentationSpace(Contract(SO(3), "B x N x vector", "B x vector")), clouds(generator)
    half = space.apply_inputs(batch, space.draw(batch, generator))
    assert Supervised("mse")(lambda x: x.sum(1), half)["loss"] > 0.1


def test_permutations_move_inside_each_member(generator):
    space = AugmentationSpace(Contract(S("N"), "B x N x 3 x scalar", "B x N x scalar"))
    x = torch.randn(4, 6, 3, generator=generator)
    moved = space.apply({"x": x, "y": x.sum(2)}, space.draw({"x": x}, generator))
    assert torch.allclose(moved["x"].sum(1), x.sum(1), atol=1e-5)
    assert torch.allclose(moved["x"].sum(2), moved["y"])
    assert not torch.equal(moved["x"], x)
    assert torch.equal(space.origin({"x": x})["x"], x)


@pytest.mark.parametrize("group", [SO(3), SO(3) ** "B"])
def test_every_graph_moves_by_its_own_element(group, generator):
    fields = {"pos": "N x vector", "batch": "N -> B"}
    batch = {"pos": torch.randn(5, 3, generator=generator, dtype=torch.float64), "batch": torch.tensor([0, 0, 1, 1, 1])}
    batch["y"] = torch.zeros(2, 3, dtype=torch.float64).index_add(0, batch["batch"], batch["pos"])
    space = AugmentationSpace(Contract(group, fields, "B x vector"))
    g = space.draw(batch, generator)
    moved = space.apply(batch, g)
    again = torch.zeros(2, 3, dtype=torch.float64).index_add(0, moved["batch"], moved["pos"])
    assert torch.allclose(again, moved["y"], atol=TIGHT)
    assert torch.allclose(moved["pos"][3], g[1] @ batch["pos"][3], atol=TIGHT)
    assert not torch.allclose(g[0], g[1])


def test_an_exchange_swaps_inputs_and_targets_of_the_members_drawn(generator):
    fields = {"a": "B x scalar", "b": "B x scalar"}
    space = AugmentationSpace(Contract(Exchange("a", "b"), fields, fields))
    batch = {"a": torch.arange(8.0), "b": -torch.arange(8.0)}
    g = space.draw(batch, generator)
    assert 0 < g.sum() < 8
    assert torch.equal(space.apply_inputs(batch, g)["a"], torch.where(g == 1, batch["b"], batch["a"]))


def test_jitter_stays_within_its_radius(generator):
    g = Jitter(SO(2), math.radians(20)).sample(400, generator=generator)
    angle = torch.atan2(g[:, 1, 0], g[:, 0, 0]).abs()
    assert angle.max() <= math.radians(20) + 1e-9
    assert angle.max() > math.radians(19)
    turned = Jitter(SO(3), 0.5).sample(400, generator=generator)
    cosine = (turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert cosine.min() >= math.cos(0.5) - 1e-9
    assert abs((cosine.clamp(max=1).arccos() < 0.5 / 2 ** (1 / 3)).double().mean() - 0.5) < 0.08


def test_clean_and_weight_are_the_stated_sum(generator):
    base, contract = Supervised("mse"), Contract(SO(3), "B x N x vector", "B x vector")
    batch, model = clouds(generator), nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    terms = Augmented(base, contract, weight=0.5, seed=0)(model, batch)
    assert torch.allclose(terms["loss"], terms["clean"] + 0.5 * terms["moved"])
    assert torch.allclose(terms["clean"], base(model, batch)["loss"])


def test_images_are_resampled_once_whether_turned_or_not(generator):
    contract = Contract(SO(2), Field(("B", "1"), Image(size=8, disc=True)), "B x scalar")
    base = Supervised("mse", contract=contract)
    batch = {"x": torch.rand(3, 1, 16, 16, generator=generator), "y": torch.zeros(3)}
    seen = []

    class Model(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.sum((1, 2, 3))

    Augmented(base, contract, weight=1.0)(Model(), batch)
    Augmented(base, contract)(Model().eval(), batch)
    assert seen[0].shape == (6, 1, 8, 8)
    assert torch.allclose(seen[0][:3], contract.origin(batch["x"]))
    assert torch.allclose(seen[1], contract.origin(batch["x"]))


def test_draws_follow_the_seed_and_the_count(generator):
    contract, batch = Contract(C(4), Field(("B",), Image()), "B x scalar"), {"x": torch.rand(6, 8, 8), "y": torch.zeros(6)}

    class Mean(nn.Module):
        def forward(self, x):
            return x[:, 0, 0]

    def losses(objective):
        return [float(objective(Mean(), batch)["loss"]) for _ in range(3)]

    first = Augmented(Supervised("mse"), contract, seed=3)
    second = Augmented(Supervised("mse"), contract, seed=3)
    values = losses(first)
    assert values == losses(second)
    assert len(set(values)) == 3
    again = Augmented(Supervised("mse"), contract)
    again.load_state_dict(first.state_dict())
    assert losses(again) == losses(first)


def test_bad_input_is_named(generator):
    contract = Contract(SO(3), "B x N x vector", "B x vector")
    x = torch.zeros(2, 4, 3)
    with pytest.raises(ContractError, match="no target 'y'"):
        Augmented(Supervised("mse"), contract)(nn.Identity(), {"x": x})
    with pytest.raises(ContractError, match="no target 'y' of that shape"):
        Augmented(Supervised("mse"), contract)(nn.Identity(), {"x": x, "y": torch.zeros(2).long()})
    with pytest.raises(InputError, match="no 'x'"):
        Augmented(Supervised("mse"), contract)(nn.Identity(), {"z": x})
    with pytest.raises(InputError, match="weight >= 0"):
        Augmented(Supervised("mse"), contract, weight=-1.0)
    with pytest.raises(InputError, match="radius > 0"):
        Jitter(SO(2), 0.0)
    with pytest.raises(InputError, match="Lie group"):
        Jitter(C(4), 0.1)
    with pytest.raises(InputError, match="family is a group"):
        AugmentationSpace(contract, family="SO(2)")
