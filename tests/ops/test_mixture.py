"""EM finds what it should, in whatever place; its implicit gradient is that of finite differences."""

import pytest
import torch

from coset.errors import InputError
from coset.ops.mixture import Mixture, em_step, fit_mixture, with_gradient
from coset.ops.neighbors import farthest_points

CENTERS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.2, 0.0], [-0.3, 1.1, 0.4]], dtype=torch.float64)


def blobs(generator, *, spread=0.02, sizes=(40, 60, 100)):
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    return CENTERS[owner] + spread * torch.randn(len(owner), 3, generator=generator, dtype=torch.float64), owner


def starts(x, k):
    return x.gather(-2, farthest_points(x, k).unsqueeze(-1).expand(*x.shape[:-2], k, x.shape[-1]))


def test_three_blobs_give_their_means_and_weights(generator):
    x, owner = blobs(generator)
    mixture = fit_mixture(x, starts(x, 12), 0.05, steps=60, merge=1e-2)
    assert mixture.means.shape == (3, 3)
    near = torch.cdist(CENTERS, mixture.means)
    assert near.amin(1).max() < 1e-2
    shares = torch.bincount(owner).double() / len(owner)
    assert torch.allclose(mixture.log_weights.exp()[near.argmin(1)], shares, atol=1e-4)  # the blobs overlap a little
    assert torch.equal(mixture.log_responsibilities(x).argmax(-1), near.argmin(1)[owner])


def test_a_step_is_em(generator):
    x = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    mixture = Mixture(x[:4], torch.tensor([0.1, 0.2, 0.3, 0.4]).double().log(), 0.3)
    density = mixture.log_weights.exp() * torch.exp(-torch.cdist(x, x[:4]).square() / 0.6)
    r = density / density.sum(1, keepdim=True)
    assert torch.allclose(mixture.log_responsibilities(x).exp(), r, atol=1e-12)
    after = em_step(x, mixture)
    assert torch.allclose(after.means, r.T @ x / r.sum(0)[:, None], atol=1e-12)
    assert torch.allclose(after.log_weights.exp(), r.mean(0), atol=1e-12)


def test_a_batch_is_its_members_and_motions_move_the_means(generator):
    x = torch.stack([blobs(generator)[0], blobs(generator, spread=0.3)[0]])
    both = fit_mixture(x, starts(x, 8), 0.02)
    for i in range(2):
        one = fit_mixture(x[i], starts(x[i], 8), 0.02)
        kept = both.alive[i]
        assert torch.allclose(both.means[i][kept], one.means[one.alive], atol=1e-12)
    far = fit_mixture(x + 100, starts(x, 8) + 100, 0.02)
    assert torch.allclose(far.means, both.means + 100, atol=1e-9)


def test_doubles_merge_and_keep_their_weight():
    means = torch.tensor([[0.0], [5e-4], [1.2e-3], [1.0], [1.0]], dtype=torch.float64)
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mixture = fit_mixture(x, means, 0.1, steps=0)
    assert mixture.means.flatten().tolist() == [0.0, 1.0]
    assert torch.allclose(mixture.log_weights.exp(), torch.tensor([0.6, 0.4], dtype=torch.float64))


def test_light_components_go_and_one_remains_at_least(generator):
    x, _ = blobs(generator, sizes=(98, 100, 2))
    assert fit_mixture(x, CENTERS, 0.01, prune=0.05).means.shape == (2, 3)
    with pytest.warns(UserWarning, match="all their points form one"):
        mixture = fit_mixture(x, CENTERS, 0.01, prune=0.9)
    assert torch.allclose(mixture.means, x.mean(0, keepdim=True))
    assert mixture.log_weights.tolist() == [0.0]


@pytest.mark.parametrize("spread", [0.05, 0.35])
def test_the_implicit_gradient_is_that_of_finite_differences(generator, spread):
    x, _ = blobs(generator, spread=spread, sizes=(8, 12, 10))
    weigh = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def answer(points, *, through=False):
        mixture = fit_mixture(points, CENTERS, 0.15, steps=800, merge=0, prune=0)
        mixture = with_gradient(points, mixture) if through else mixture
        return (weigh * torch.cat([mixture.means, mixture.log_weights.exp().unsqueeze(-1)], -1)).sum()

    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(answer(x, through=True), x)
    direction = torch.randn(2, *x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        step = 1e-5
        found = torch.stack([(answer(x + step * d) - answer(x - step * d)) / (2 * step) for d in direction])
    want = (slope * direction).sum((-2, -1))
    assert (found - want).abs().max() < 1e-3 * want.abs().max()


def test_the_value_is_unchanged_and_dead_components_stay_out(generator):
    x, _ = blobs(generator, spread=0.1)
    x = torch.stack([x, x]).requires_grad_(True)
    start = torch.stack([CENTERS, CENTERS[[0, 0, 1]]])
    mixture = fit_mixture(x, start, 0.05, steps=200)
    again = with_gradient(x, mixture)
    assert torch.equal(again.alive, mixture.alive)
    assert int(mixture.alive.sum()) == 5
    assert torch.allclose(again.means, mixture.means, atol=1e-12)
    loss = again.log_responsibilities(x).exp().square().sum()
    assert torch.isfinite(torch.autograd.grad(loss, x)[0]).all()


def test_bad_input_is_refused():
    x, means = torch.zeros(5, 3), torch.zeros(2, 3)
    with pytest.raises(InputError, match="points"):
        fit_mixture(x, means[:, :2], 0.1)
    with pytest.raises(InputError, match="variance"):
        fit_mixture(x, means, 0.0)
    with pytest.raises(InputError, match="NaN"):
        fit_mixture(x * torch.nan, means, 0.1)
