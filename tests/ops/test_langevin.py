"""BAOAB has the law of a harmonic bath, conserves energy without friction, goes on bit for bit; order is read right."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.ops.langevin import (
    Bath,
    State,
    advance,
    charge_order,
    checkerboard,
    domain_size,
    growth_exponent,
    order_parameter,
    simulate,
    start,
    structure_factor,
)


def spring(q):
    return -2.0 * q


def field(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def test_a_harmonic_bath_has_its_variances_at_a_long_step():
    """Configurations: kT / k exactly at any step; 200 steps are a fraction of what 6400 sites average over."""
    bath = Bath(temperature=0.5, friction=1.0, mass=1.5, dt=0.6)
    ended = simulate(spring, start(spring, torch.zeros(4, 1, 40, 40, dtype=torch.float64)), 200, bath,
                     observe=lambda q, f: {"q2": q.square().mean()})  # fmt: skip
    assert dict(ended.record)["q2"][60:].mean() == pytest.approx(0.5 / 2.0, rel=0.02)
    # the velocities' is kT / m times 1 - omega^2 dt^2 / 4
    assert ended.v.square().mean() == pytest.approx(0.5 / 1.5 * (1 - 2.0 / 1.5 * 0.6**2 / 4), rel=0.06)


def test_without_friction_energy_is_kept_to_second_order():
    def drift(dt):
        q = field(1, 1, 6, 6)
        ended = simulate(spring, start(spring, q), round(4 / dt), Bath(friction=0.0, dt=dt),
                         observe=lambda q, f: {"potential": -0.5 * (q * f).sum()})  # fmt: skip
        energy = 0.5 * ended.v.square().sum() + ended.q.square().sum()
        return float((energy - q.square().sum()).abs() / q.square().sum())

    coarse, fine = drift(0.1), drift(0.05)
    assert coarse < 1e-2
    assert coarse / fine == pytest.approx(4, rel=0.2)


def test_the_first_step_by_hand():
    q, bath = field(1, 1, 3, 3), Bath(temperature=0.3, friction=0.7, mass=2.0, dt=0.1)
    generator = torch.Generator().manual_seed(11)
    begun = start(spring, q, seed=11)
    got = advance(spring, begun, bath, torch.Generator().manual_seed(11))
    noise = torch.randn(q.shape, generator=generator, dtype=torch.float64)
    keep = math.exp(-0.07)
    v = 0.05 / 2 * spring(q)
    middle = q + 0.05 * v
    v = keep * v + math.sqrt(0.15 * (1 - keep**2)) * noise
    new = middle + 0.05 * v
    assert (got.q - new).abs().max() < 1e-15
    assert (got.v - (v + 0.025 * spring(new))).abs().max() < 1e-15
    assert got.step == 1


def test_a_run_that_goes_on_is_the_unbroken_run(tmp_path):
    begun, bath, file = start(spring, field(1, 2, 4, 4), seed=5), Bath(), tmp_path / "run.safetensors"
    calls = []

    def go(steps, path=None):
        return simulate(spring, begun, steps, bath, observe=lambda q, f: {"m": q.mean()}, checkpoint=path, every=4,
                        progress=lambda step, of: calls.append((step, of)))  # fmt: skip

    whole = go(20)
    assert calls == [(step, 20) for step in (4, 8, 12, 16, 20)]
    go(9, file)
    assert State.load(file).step == 9
    rest = go(20, file)
    assert torch.equal(rest.q, whole.q)
    assert torch.equal(rest.v, whole.v)
    assert torch.equal(rest.rng, whole.rng)
    assert torch.equal(dict(rest.record)["m"], dict(whole.record)["m"])
    assert len(dict(rest.record)["m"]) == 21
    assert torch.equal(go(20, file).q, whole.q), "a finished run stays as it is"


def test_dtype_is_kept_and_seeds_matter():
    q = field(1, 1, 4, 4, dtype=torch.float32)
    first, second = (simulate(spring, start(spring, q, seed=s), 3, Bath()) for s in (0, 1))
    assert first.q.dtype == torch.float32
    assert not torch.equal(first.q, second.q)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -1.0}, {"mass": 0.0}, {"dt": 0.0}, {"friction": -0.1}])
def test_a_bath_without_a_meaning_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Bath(**wrong)


def test_bad_fields_forces_files_and_explosions_are_refused(tmp_path):
    q = field(1, 1, 4, 4)
    with pytest.raises(InputError, match="finite"):
        start(spring, q * math.nan)
    with pytest.raises(InputError, match="shape"):
        start(lambda q: q.sum(1), q)
    with pytest.raises(InputError, match="shorter dt"):
        simulate(lambda q: 1e3 * q, start(lambda q: 1e3 * q, q), 2000, Bath(dt=0.9))
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no state"):
        State.load(file)
    simulate(spring, start(spring, q), 2, Bath(), checkpoint=file.with_name("y"))
    with pytest.raises(InputError, match="the run has"):
        simulate(spring, start(spring, field(1, 1, 6, 6)), 2, Bath(), checkpoint=file.with_name("y"))


# ---------------------------------------------------------------------------------------------------- order


def test_order_of_the_two_ground_states_and_of_none():
    board = checkerboard(torch.zeros(6, 6, dtype=torch.float64))
    assert board[0, 0] == 1 == -board[0, 1] == -board[1, 0]
    for sign in (1, -1):
        assert torch.equal(charge_order(0.5 + sign * board / 2), torch.full((6, 6), sign / 2, dtype=torch.float64))
    assert charge_order(torch.full((6, 6), 0.8)).abs().max() < 1e-7, "a uniform density is not ordered"
    assert order_parameter(charge_order(0.5 + board / 2)) == 0.5


def test_a_wave_of_order_has_one_peak_and_its_length():
    x = torch.arange(24, dtype=torch.float64)
    phi = torch.cos(2 * math.pi * x / 12).expand(24, 24)
    power, k = structure_factor(phi)
    assert power.sum() == pytest.approx(float(phi.square().sum()), rel=1e-12)  # Parseval
    assert (power > 1e-9).nonzero().tolist() == [[0, 2], [0, 22]]
    assert k[0, 2] == pytest.approx(2 * math.pi / 12)
    assert domain_size(phi) == pytest.approx(12 / (2 * math.pi), rel=1e-12)
    assert domain_size(torch.stack([phi, phi.T])).shape == (2,)


def test_a_power_law_has_its_exponent():
    size = 3 * torch.arange(101, dtype=torch.float64) ** 0.4
    assert growth_exponent(size) == pytest.approx(0.4, rel=1e-10)
    with pytest.raises(InputError, match="5 steps"):
        growth_exponent(size[:3])
