"""The plain graph network keeps permutations, promises nothing about motions, and refuses what does not fit."""

import pytest
import torch

from coset.contract import Contract
from coset.data.nbody import sample
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.models.points.gnn import ParticleGNN, pair_features
from coset.nn.particles import INPUTS, OUTPUTS
from coset.testing import Broken, assert_equivariant, check


@pytest.fixture
def systems():
    drawn = sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {name: drawn[name] for name in INPUTS}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ParticleGNN(8, 2).double()


class Numbered(ParticleGNN):
    """A twin that knows the particles by their number."""

    def forward(self, pos, vel, charge):
        return super().forward(pos, vel, charge + 0.1 * torch.arange(charge.shape[-1]).to(charge))


def test_it_keeps_its_promise(model, systems):
    assert max(check(model, systems).errors.values()) < 1e-12


def test_numbering_the_particles_is_caught(systems):
    torch.manual_seed(0)
    with pytest.raises(Broken, match="does not keep"):
        check(Numbered(8, 2), systems)


@pytest.mark.parametrize("group", [SO(3), T(3)], ids=str)
def test_it_is_blind_to_motions(model, systems, group):
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(model, Contract(group, INPUTS, OUTPUTS), systems, samples=4)


def test_parameters_are_those_of_its_layers():
    h, layers = 8, 3
    message, update, head = (2 * h + 2) * h + h + h * h + h, 2 * h * h + h + h * h + h, h * h + h + 3 * h + 3
    expected = 7 * h + h + layers * (message + update) + head
    assert sum(p.numel() for p in ParticleGNN(h, layers).parameters()) == expected


def test_pairs_carry_product_of_charges_and_squared_distance():
    pos = torch.tensor([[0.0, 0, 0], [3.0, 4, 0]])
    edge = pair_features(pos, torch.tensor([1.0, -1.0]))
    assert torch.equal(edge, torch.tensor([[[1.0, 0], [-1, 25]], [[-1, 25], [1, 0]]]))


def test_far_particles_count_and_a_particle_sends_itself_nothing(model, systems):
    first = {name: value[:, :1] for name, value in systems.items()}
    alone, among = model(**first), model(**systems)[:, :1]
    assert (alone - among).abs().max() > 1e-6  # others are heard
    with torch.no_grad():
        for message in model.messages:
            message[-2].bias += 1.0  # changes every message, of which a lone particle gets none
    assert torch.equal(model(**first), alone)


@pytest.mark.parametrize("sizes", [{"hidden": 0}, {"layers": 0}])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="at least 1"):
        ParticleGNN(**sizes)


@pytest.mark.parametrize("name", ["pos", "vel", "charge"])
def test_particles_that_do_not_fit_are_refused(model, systems, name):
    with pytest.raises(InputError, match="particles are"):
        model(**{**systems, name: systems[name][..., :2]})


def test_contract_names_the_permutations(model):
    assert [contract.group for contract in model.contracts] == [S("N")]
