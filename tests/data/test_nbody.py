"""The simulator is equivariant under E(3) and S("N"), conserves what it must, and repeats itself by seed."""

import pytest
import torch

from coset.contract import Contract
from coset.data.nbody import energy, forces, nbody, sample, simulate
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.recipe import Request

FIELDS = {"pos": "B x N x position", "vel": "B x N x vector", "charge": "B x N x scalar"}


@pytest.fixture
def systems():
    drawn = sample(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {name: drawn[name] for name in FIELDS}


@pytest.mark.parametrize("group", [E(3), S("N")], ids=str)
def test_simulator_keeps_its_contract(systems, group):
    contract = Contract(group, FIELDS, "B x N x position").bind(systems)
    for g in contract.group.sample(4, generator=torch.Generator().manual_seed(1)):
        assert contract.error(lambda pos, vel, charge: simulate(pos, vel, charge, time=0.2)[0], systems, g) < 1e-10


def test_forgetting_to_turn_velocities_is_caught(systems):
    contract = Contract(E(3), {**FIELDS, "vel": "B x N x 3 x fixed"}, "B x N x position").bind(systems)
    g = contract.group.sample(1, generator=torch.Generator().manual_seed(1))[0]
    assert contract.error(lambda pos, vel, charge: simulate(pos, vel, charge, time=0.2)[0], systems, g) > 1e-2


def test_energy_and_momentum_are_conserved(systems):
    x, v, q = systems["pos"], systems["vel"], systems["charge"]
    y, w = simulate(x, v, q)
    scale = energy(x, v, q).abs().mean()
    assert (energy(y, w, q) - energy(x, v, q)).abs().max() / scale < 1e-3
    assert torch.allclose(w.sum(1), v.sum(1), atol=1e-12)


def test_force_is_minus_the_gradient_of_the_energy(systems):
    x = systems["pos"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(x, systems["vel"], systems["charge"]).sum(), x)
    assert torch.allclose(forces(systems["pos"], systems["charge"]), -slope, atol=1e-12)


def test_data_repeat_by_seed_and_differ_between_seeds():
    first, again, other = (nbody(Request("smoke", seed)) for seed in (0, 0, 1))
    assert torch.equal(first.train["y"], again.train["y"])
    assert not torch.equal(first.train["y"], other.train["y"])


def test_bad_step_is_refused(systems):
    with pytest.raises(InputError, match="step"):
        simulate(systems["pos"], systems["vel"], systems["charge"], time=0.1, step=1.0)
