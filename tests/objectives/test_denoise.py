"""The engine on a Gaussian, whose best denoiser is a formula: the likelihood bound is tight, the sampler draws its law."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.objectives.denoise import Denoise, Denoiser, bound, generate
from coset.ops.diffusion import Schedule, center

SPREAD, MEAN, FRAMES = 0.7, 2.0, 4


class Normal(Denoiser):
    """The best denoiser of data about ``MEAN`` with deviation ``SPREAD`` in every direction of its subspace."""

    def __init__(self, steps=1000, *, free=False, unit=1.0):
        super().__init__()
        self.schedule, self.free, self.unit = Schedule(steps), free, unit
        self.mean = torch.nn.Parameter(torch.tensor(MEAN, dtype=torch.float64))
        self.seen = []

    def reference(self, x, given):
        return torch.zeros_like(x) if self.free else self.mean.expand_as(x)

    def project(self, x, given):
        return center(x, given["batch"]) if self.free else x

    def dimension(self, x, given):
        return super().dimension(x, given) - (x.shape[-1] if self.free else 0)

    def predict(self, x, level, given):
        self.seen.append(level)
        a = self.schedule.at(level, x).view(-1, 1, 1)
        y = (x - self.reference(x, given)) / self.unit
        return (1 - a).sqrt() * y / (a * (SPREAD / self.unit) ** 2 + 1 - a)


def sample_of(model, count, generator, nodes=3):
    batch = torch.arange(count).repeat_interleave(nodes)
    x = SPREAD * torch.randn(len(batch), FRAMES, 3, generator=generator, dtype=torch.float64)
    given = {"batch": batch}
    return model.project(x + (0 if model.free else MEAN), given), given


@pytest.mark.parametrize(("free", "unit"), [(False, 1.0), (True, 0.6)], ids=["whole space", "mean-free"])
def test_the_bound_is_within_one_percent_of_the_likelihood(free, unit, generator):
    model, count = Normal(200, free=free, unit=unit), 2000  # so many that the draws move it by 0.4 percent
    x, given = sample_of(model, count, generator)
    with torch.no_grad():
        found = bound(model, x, given, generator=generator)
    d = 3 * (3 * FRAMES - free)
    square = ((x - (0 if free else MEAN)) / SPREAD).square().view(count, -1).sum(1)
    truth = 0.5 * d * math.log(2 * math.pi * SPREAD**2) + 0.5 * square
    assert found.shape == (count,)
    assert abs(float(found.mean() / truth.mean()) - 1) < 0.01


def test_a_wrong_dimension_is_seen_by_the_bound(generator):
    class Whole(Normal):
        """Counts the directions that the projection removes."""

        def dimension(self, x, given):
            return Denoiser.dimension(self, x, given)

    right, wrong = Normal(200, free=True), Whole(200, free=True)
    x, given = sample_of(right, 20, generator)
    with torch.no_grad():
        pair = [bound(m, x, given, generator=torch.Generator().manual_seed(1)).mean() for m in (right, wrong)]
    assert abs(pair[1] / pair[0] - 1) > 0.03


def test_a_wrong_denoiser_has_a_larger_bound(generator):
    class Worse(Normal):
        def predict(self, x, level, given):
            return 0.9 * super().predict(x, level, given)

    x, given = sample_of(Normal(), 20, generator)
    with torch.no_grad():
        pair = [bound(m, x, given, generator=torch.Generator().manual_seed(1)).mean() for m in (Normal(100), Worse(100))]
    assert pair[1] > 1.05 * pair[0]


def test_the_tight_variance_for_narrow_data_is_the_posterior(generator):
    # nearly a point: the posterior's variance is that of the reverse step, 1 - alpha is too wide
    model = Normal(50, unit=20.0)
    x, given = sample_of(model, 20, generator)
    with torch.no_grad():
        wide, narrow = (
            bound(model, x, given, generator=torch.Generator().manual_seed(1), variance=v).mean()
            for v in ("large", "posterior")
        )
    assert narrow < wide


#: by how much the deviation of samples is off, relative; what a sampler of fewer steps costs
ACCURACY = [("large", 200, 0.02), ("large", 50, 0.03), ("large", 20, 0.06), ("posterior", 200, 0.05), ("posterior", 50, 0.1)]


@pytest.mark.parametrize(("variance", "steps", "slack"), ACCURACY)
def test_samples_have_the_law_of_the_data_with_few_steps_too(variance, steps, slack, generator):
    model = Normal(200)
    noise = torch.randn(steps, 2000, FRAMES, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        drawn = generate(model, noise, {"batch": torch.arange(2000)}, variance=variance)
    assert abs(float(drawn.mean()) - MEAN) < 0.02
    assert abs(float(drawn.std()) / SPREAD - 1) < slack


def test_ddim_maps_noise_to_data_without_further_noise(generator):
    model = Normal(200)
    noise = torch.randn(40, 500, FRAMES, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        first = generate(model, noise, {"batch": torch.arange(500)}, variance="ddim")
        noise[1:] = 0
        again = generate(model, noise, {"batch": torch.arange(500)}, variance="ddim")
    assert torch.equal(first, again)
    # the probability flow of a Gaussian is linear: each number keeps its rank, and its size up to the step's error
    assert torch.corrcoef(torch.stack([first.flatten(), noise[0].flatten()]))[0, 1] > 1 - 1e-9
    assert abs(float(first.std() / noise[0].std()) / SPREAD - 1) < 0.07


def test_mean_free_noise_stays_mean_free_over_the_whole_path(generator):
    model = Normal(100, free=True)
    batch = torch.tensor([0, 0, 1])
    drawn = generate(model, torch.randn(100, 3, FRAMES, 3, generator=generator, dtype=torch.float64), {"batch": batch})
    for graph in (0, 1):
        assert drawn[batch == graph].mean((0, 1)).abs().max() < 1e-12


def test_the_loss_of_the_best_denoiser_is_what_theory_says(generator):
    model = Normal(50)
    x, given = sample_of(model, 4000, generator)
    torch.manual_seed(0)
    with torch.no_grad():
        found = Denoise()(model, {"x": x, **given})
    a = model.schedule.signal[1:]
    left = (a * SPREAD**2 / (a * SPREAD**2 + 1 - a)).mean()  # variance of the noise once the sample is seen
    assert abs(float(found["loss"] / left) - 1) < 0.02
    assert abs(float(found["spread"]) / SPREAD - 1) < 0.02
    levels = model.seen[0].view(-1, 3)
    assert bool((levels == levels[:, :1]).all())  # one level per graph
    assert set(levels[:, 0].tolist()) == set(range(1, 51))


def test_gradients_reach_the_prior_and_pull_it_to_the_data(generator):
    model = Normal(50)
    x, given = sample_of(model, 200, generator)
    slope = [torch.autograd.grad(Denoise()(model, {"x": x + far, **given})["loss"], model.mean)[0] for far in (1, -1)]
    assert slope[0] < 0 < slope[1]


def test_graphs_weigh_the_same_whatever_their_size(generator):
    class Ones(Normal):
        def predict(self, x, level, given):
            return torch.where(given["batch"].view(-1, 1, 1) == 0, 0.0, 1e3).to(x).expand_as(x)

    batch = torch.tensor([0] * 9 + [1])
    with torch.no_grad():
        loss = Denoise()(Ones(10), {"x": torch.zeros(10, FRAMES, 3, dtype=torch.float64), "batch": batch})["loss"]
    assert abs(float(loss) / 5e5 - 1) < 0.01


def test_bad_input_is_refused(generator):
    model, batch = Normal(10), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match="no 'x'"):
        Denoise()(model, {"batch": batch})
    with pytest.raises(InputError, match="1 to 10 steps"):
        generate(model, torch.zeros(11, 3, 4, 3), {"batch": batch})
    with pytest.raises(InputError, match="noise is"):
        generate(model, torch.zeros(3, 4), {"batch": batch})
    with pytest.raises(InputError, match="no density"):
        bound(model, torch.zeros(3, 4, 3), {"batch": batch}, variance="ddim")
    with pytest.raises(InputError, match="no density"):
        bound(Normal(1), torch.zeros(3, 4, 3), {"batch": batch}, variance="posterior")
