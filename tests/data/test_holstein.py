"""Exact forces are half filled, odd, the gradient of the free energy; configurations of other splits are of other runs."""

import math

import pytest
import torch

from coset.contract import Contract
from coset.data import holstein as room
from coset.data.holstein import MODEL, SIZES, Holstein, frames_and_made, holstein, made, quench, quenches
from coset.errors import InputError
from coset.groups.finite import D
from coset.nn.lattice_conv import lattice_field
from coset.ops.langevin import charge_order, checkerboard, order_parameter
from coset.recipe import Request
from coset.reps.action import Scalar
from coset.reps.lattice import Shifts, SignChange
from coset.testing import Broken, check


@pytest.fixture
def q(generator):
    return made(3, 8, generator=generator)


def test_half_of_the_sites_are_filled(q):
    assert (MODEL.density(q).flatten(1).sum(1) - 32).abs().max() < 1e-10
    uniform = Holstein(temperature=0.02).density(0 * q)
    assert (uniform - 0.5).abs().max() < 1e-12


def test_particles_and_holes_change_places_with_the_sign(q):
    assert (MODEL.density(-q) - (1 - MODEL.density(q))).abs().max() < 1e-12


def test_forces_are_the_gradient_of_the_free_energy(q, generator):
    way, step = torch.randn(q.shape, generator=generator, dtype=torch.float64), 2e-4
    slope = (MODEL.free_energy(q + step * way) - MODEL.free_energy(q - step * way)) / (2 * step)
    want = -(MODEL.force(q) * way).flatten(1).sum(1)
    assert ((slope - want) / want).abs().max() < 1e-6


def test_the_law_has_all_symmetries_of_the_contract(q):
    field = lattice_field(Scalar())
    for group in (D(4), Shifts(), SignChange()):
        assert max(check(MODEL.force, q, contracts=Contract(group, field, field)).errors.values()) < 1e-12


def test_at_a_fixed_potential_it_is_not_odd(q):
    class Fixed(Holstein):
        def chemical_potential(self, levels):
            return levels.new_full(levels.shape[:1], 0.3)

    field = lattice_field(Scalar())
    with pytest.raises(Broken, match="SignChange"):
        check(Fixed().force, q, contracts=Contract(SignChange(), field, field))


def test_levels_of_free_electrons_are_the_cosine_band():
    levels = torch.linalg.eigvalsh(Holstein(hopping=0.7).hamiltonian(torch.zeros(1, 1, 4, 6)))[0]
    ky, kx = (2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in (4, 6))
    band = (-1.4 * (ky.cos()[:, None] + kx.cos())).flatten().sort().values
    assert (levels - band).abs().max() < 1e-12


def test_a_checkerboard_is_a_two_level_problem_for_every_wave():
    """With ``q = a (-1)^(x + y)`` energies are ``±sqrt(e^2 + a^2)``; at low temperature n - 1/2 = mean of a / 2E."""
    a, band = 1.7, torch.linalg.eigvalsh(MODEL.hamiltonian(torch.zeros(1, 1, 8, 8)))[0]
    board = checkerboard(torch.zeros(8, 8, dtype=torch.float64))
    force = Holstein(temperature=0.01).force(a * board[None, None])[0, 0]
    assert (force - board * (a / (2 * (band.square() + a * a).sqrt())).mean()).abs().max() < 1e-10


def test_dtype_is_kept_and_the_answer_is_that_of_float64(q):
    single = MODEL.density(q.float())
    assert single.dtype == torch.float32
    assert (single - MODEL.density(q.float().double())).abs().max() < 1e-6


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -0.1}, {"k": 0.0}])
def test_a_temperature_of_zero_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Holstein(**wrong)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (4, 4), (1, 1, 2, 4)])
def test_other_shapes_and_values_are_refused(shape):
    with pytest.raises(InputError, match="distortions"):
        MODEL.density(torch.zeros(shape))
    with pytest.raises(InputError, match="NaN"):
        MODEL.density(torch.full((1, 1, 4, 4), math.nan))


# ---------------------------------------------------------------------------------------------------- configurations


def test_runs_are_ones_own_and_frames_are_in_order(generator):
    x = quenches(2, 3, 6, generator=generator, steps=9)
    again = quenches(2, 3, 6, generator=torch.Generator().manual_seed(0), steps=9)
    assert x.shape == (2, 3, 1, 6, 6)
    assert torch.equal(x, again)
    near, far = (x[:, 1:] - x[:, :-1]).square().mean(), (x[0] - x[1]).square().mean()
    assert near < far


def test_configurations_take_turns_and_come_with_their_forces(generator):
    data = frames_and_made(8, 2, 6, generator=generator)
    assert data["x"].shape == data["y"].shape == (8, 1, 6, 6)
    assert data["x"].dtype == torch.float32
    assert (MODEL.force(data["x"]) - data["y"]).abs().max() < 1e-5
    fresh = torch.Generator().manual_seed(0)
    dynamic = quenches(2, 2, 6, generator=fresh)
    assert torch.equal(data["x"][0::2], torch.stack([dynamic[0, 0], dynamic[1, 0], dynamic[0, 1], dynamic[1, 1]]).float())
    assert torch.equal(data["x"][1::2], made(4, 6, generator=fresh).float())


def test_splits_are_of_other_runs_and_seeds_differ():
    first, other = (holstein(Request("smoke", seed)) for seed in (0, 1))
    sizes = SIZES["smoke"]
    assert [len(part["x"]) for part in (first.train, first.valid, first.test)] == list(sizes.counts)
    rows = torch.cat([part["x"].flatten(1) for part in (first.train, first.valid, first.test, other.train)])
    gaps = torch.cdist(rows[0::2], rows[0::2]) + 1e9 * torch.eye(len(rows[0::2]))
    owner = torch.tensor([0, 1, 0, 1, 2, 2, 3, 3, 4, 5, 4, 5])  # of dynamic frames: train 2 runs, valid 1, test 1, train 2
    assert bool((owner[gaps.argmin(1)] == owner).float().mean() > 0.8), "nearest frames are of one run"
    assert torch.equal(first.test["order"], other.test["order"]), "one judge for all seeds"
    assert not torch.equal(first.train["x"], other.train["x"])


def test_the_quench_begins_at_its_start_and_orders():
    start = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    track = quench(MODEL.force, start, 30)
    assert track["order"].shape == track["domain"].shape == (31,)
    assert track["order"][0] == pytest.approx(float(order_parameter(charge_order(MODEL.density(start)[0, 0]))), rel=1e-12)
    assert track["order"][-1] > 1.5 * track["order"][0]
    assert order_parameter(track["phi"]) == pytest.approx(float(track["order"][-1]), rel=1e-12)
    assert torch.equal(room.judge(8, 6)["order"], track["order"][:7])


def test_a_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data file"):
        holstein(Request("smoke", 0, (("mine", tmp_path),)))
