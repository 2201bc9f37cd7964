"""Noise: schedules fall, posteriors are those of a simulated chain, samplers end in the data, projections keep the motion."""

from itertools import pairwise

import pytest
import torch

from coset.errors import InputError
from coset.ops.diffusion import Schedule, center, clean, diffuse, graph_mean, posterior, reverse

SCHEDULES = [Schedule(1000), Schedule(50), Schedule(20), Schedule(1), Schedule(1000, "cosine"), Schedule(50, "cosine")]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_signal_falls_from_one_and_never_vanishes(schedule):
    signal = schedule.signal
    assert signal.dtype == torch.float64
    assert len(signal) == schedule.steps + 1
    assert signal[0] == 1
    assert bool((signal[1:] < signal[:-1]).all())
    assert signal[-1] > 0


def test_linear_schedule_is_that_of_the_paper():
    # Ho et al.: beta from 1e-4 to 0.02 in 1000 steps; what is left of the signal is a product of 1000 numbers
    beta = 1 - Schedule(1000).signal[1:] / Schedule(1000).signal[:-1]
    assert torch.allclose(beta[[0, -1]], torch.tensor([1e-4, 0.02], dtype=torch.float64), rtol=1e-10)
    assert torch.allclose(beta.diff(), beta.diff()[:1].expand(999), rtol=1e-6)
    assert abs(float(Schedule(1000).signal[-1]) / 4.0358e-5 - 1) < 1e-4
    tenfold = 1 - Schedule(100).signal[1:] / Schedule(100).signal[:-1]
    assert torch.allclose(tenfold[[0, -1]], torch.tensor([1e-3, 0.2], dtype=torch.float64), rtol=1e-10)


def test_cosine_schedule_follows_its_cosine():
    n = torch.arange(900, dtype=torch.float64)
    f = torch.cos((n / 1000 + 0.008) / 1.008 * torch.pi / 2).square()
    assert torch.allclose(Schedule(1000, "cosine").signal[:900], f / f[0], rtol=1e-10)


@pytest.mark.parametrize(("then", "now"), [(0.99, 0.9), (0.6, 0.5), (0.9, 1e-3)])
def test_posterior_is_that_of_a_simulated_two_step_chain(then, now, generator):
    y0, count = 1.7, 400_000
    noise = torch.randn(2, count, generator=generator, dtype=torch.float64)
    between = then**0.5 * y0 + (1 - then) ** 0.5 * noise[0]
    after = (now / then) ** 0.5 * between + (1 - now / then) ** 0.5 * noise[1]
    on_data, on_noisy, spread = posterior(now, then)
    left = between - (on_data * y0 + on_noisy * after)
    assert abs(float(left.mean())) < 4 * (spread / count) ** 0.5
    tied = (left * (after - after.mean())).mean() / after.std()
    assert abs(float(tied)) < 4 * (spread / count) ** 0.5  # nothing is left to regress on
    assert abs(float(left.var()) / spread - 1) < 4 * (2 / count) ** 0.5
    assert abs(float(after.var()) / (1 - now) - 1) < 4 * (2 / count) ** 0.5


def test_posterior_is_the_conditional_of_the_joint_normal():
    then, now = 0.7, 0.2
    cov = torch.tensor([[1 - then, (now / then) ** 0.5 * (1 - then)], [(now / then) ** 0.5 * (1 - then), 1 - now]])
    on_noisy = float(cov[0, 1] / cov[1, 1])
    found = posterior(now, then)
    assert abs(found[1] - on_noisy) < 1e-6
    assert abs(found[2] - float(cov[0, 0] - cov[0, 1] ** 2 / cov[1, 1])) < 1e-6
    assert abs(found[0] - (then**0.5 - on_noisy * now**0.5)) < 1e-6


def test_clean_undoes_diffuse(generator):
    y, z = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    for signal in (0.99, 0.3, 1e-3):
        assert torch.allclose(clean(diffuse(y, z, torch.tensor(signal, dtype=torch.float64)), z, signal), y, atol=1e-12)


@pytest.mark.parametrize("variance", ["posterior", "large", "ddim"])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_a_sampler_that_knows_the_data_ends_there(variance, count, generator):
    schedule = Schedule(50)
    data = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    y, path = torch.randn(4, 3, generator=generator, dtype=torch.float64), schedule.levels(count)
    for now, then in pairwise(path):
        a, b = float(schedule.signal[now]), float(schedule.signal[then])
        eps = (y - a**0.5 * data) / (1 - a) ** 0.5
        y = reverse(y, eps, a, b, torch.randn(4, 3, generator=generator, dtype=torch.float64), variance=variance)
    assert (y - data).abs().max() < 1e-10


def test_variances_differ_by_the_noise_they_add(generator):
    y, eps, z = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    now, then = 0.4, 0.6
    still = {v: reverse(y, eps, now, then, 0 * z, variance=v) for v in ("posterior", "large")}
    assert torch.equal(still["posterior"], still["large"])
    ratio = [(reverse(y, eps, now, then, z, variance=v) - still[v])[0] / z[0] for v in ("posterior", "large")]
    assert abs(float(ratio[0]) ** 2 - posterior(now, then)[2]) < 1e-12
    assert abs(float(ratio[1]) ** 2 - (1 - now / then)) < 1e-12
    assert torch.equal(reverse(y, eps, now, 1.0, z), reverse(y, eps, now, 1.0))  # the last step adds none


def test_levels_are_a_path_to_the_data():
    assert Schedule(10).levels(10) == [*range(10, 0, -1), 0]
    assert Schedule(10).levels(1) == [10, 0]
    for count in (2, 7, 49, 50):
        path = Schedule(50).levels(count)
        assert len(path) == count + 1
        assert all(a > b for a, b in pairwise(path))


def test_centering_is_over_nodes_and_times_jointly(generator):
    batch = torch.tensor([0, 0, 1, 1, 1])
    x = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    y = center(x, batch)
    for graph in (0, 1):
        assert y[batch == graph].mean((0, 1)).abs().max() < 1e-14
        assert y[batch == graph].mean(0).abs().max() > 1e-2  # the center of mass still moves from frame to frame
        constant = (x - y)[batch == graph].flatten(0, 1)
        assert (constant - constant[:1]).abs().max() < 1e-14
    assert torch.allclose(center(y, batch), y, atol=1e-14)
    # an orthogonal projection of rank n (N_b T - 1) per graph
    matrix = torch.stack([center(e.view(5, 4, 3), batch).flatten() for e in torch.eye(60, dtype=torch.float64)])
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert round(float(torch.trace(matrix))) == 3 * (2 * 4 - 1) + 3 * (3 * 4 - 1)


def test_graph_mean_of_each_graph(generator):
    x = torch.randn(5, 2, generator=generator)
    found = graph_mean(x, torch.tensor([1, 0, 1, 1, 0]))
    assert torch.allclose(found[0], x[[1, 4]].mean(0))
    assert torch.allclose(found[1], x[[0, 2, 3]].mean(0))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="steps is at least 1"):
        Schedule(0)
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        Schedule(10, "cosin")
    x = torch.zeros(1)
    for level in (torch.tensor([11]), torch.tensor([-1]), torch.tensor([0.5])):
        with pytest.raises(InputError, match=r"whole number in 0\.\.10"):
            Schedule(10).at(level, x)
    for count in (0, 11):
        with pytest.raises(InputError, match="1 to 10 steps"):
            Schedule(10).levels(count)
    with pytest.raises(InputError, match="less noise"):
        posterior(0.5, 0.4)
    with pytest.raises(InputError, match="variance"):
        reverse(x, x, 0.4, 0.5, x, variance="larg")
    with pytest.raises(InputError, match="fresh noise"):
        reverse(x, x, 0.4, 0.5)
