"""EGNN is equivariant under E(3) and S("N"), exactly; its edges are all pairs within a system and none across."""

import pytest
import torch

from coset.data.nbody import sample
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.models.points.egnn import EGNN
from coset.nn.particles import INPUTS, all_pairs
from coset.testing import Broken, check


@pytest.fixture
def systems():
    drawn = sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {name: drawn[name] for name in INPUTS}


class Gravity(EGNN):
    """A twin with a preferred direction."""

    def forward(self, pos, vel, charge):
        return super().forward(pos, vel + torch.tensor([0.0, 0.0, 0.1]).to(vel), charge)


def test_it_keeps_both_promises_exactly(systems):
    torch.manual_seed(0)
    model = EGNN(8, 2).double()
    assert {contract.group for contract in model.contracts} == {E(3), S("N")}
    assert max(check(model, systems).errors.values()) < 1e-12


def test_a_preferred_direction_is_caught(systems):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"E\(3\)"):
        check(Gravity(8, 2), systems)


def test_charges_and_others_matter(systems):
    torch.manual_seed(0)
    model = EGNN(8, 2).double()
    y = model(**systems)
    flipped = model(**{**systems, "charge": -systems["charge"]})
    assert (y - flipped).abs().max() > 1e-6
    moved = systems["pos"].clone()
    moved[:, 1:] *= 1.5
    assert (model(**{**systems, "pos": moved})[:, 0] - y[:, 0]).abs().max() > 1e-6


def test_edges_are_all_pairs_within_a_system():
    assert all_pairs(2, 3).T.tolist() == [
        [0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1],
        [3, 4], [3, 5], [4, 3], [4, 5], [5, 3], [5, 4],
    ]  # fmt: skip
    assert all_pairs(3, 1).shape == (2, 0)
    source, target = all_pairs(4, 5)
    assert bool((source != target).all())
    assert bool((source // 5 == target // 5).all())


def test_a_lone_particle_moves_along_its_velocity():
    torch.manual_seed(0)
    pos, vel = torch.randn(2, 1, 3, dtype=torch.float64), torch.randn(2, 1, 3, dtype=torch.float64)
    step = EGNN(8, 2).double()(pos, vel, torch.ones(2, 1, dtype=torch.float64)) - pos
    assert torch.linalg.cross(step, vel).abs().max() < 1e-12


def test_parameters_are_those_of_its_layers():
    h, layers = 8, 2
    message, update, gain = (2 * h + 2) * h + h + h * h + h, 2 * h * h + h + h * h + h, h * h + h + h + 1
    expected = 2 * h + h + layers * (message + update + 2 * gain)
    assert sum(p.numel() for p in EGNN(h, layers).parameters()) == expected


def test_bad_sizes_and_particles_are_refused(systems):
    with pytest.raises(InputError, match="layers 0"):
        EGNN(8, 0)
    with pytest.raises(InputError, match="particles are"):
        EGNN(8, 1).double()(systems["pos"], systems["vel"][:, :2], systems["charge"])
