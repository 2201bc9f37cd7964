"""Distances on paper-sized cases, scores that know equal laws from unequal ones, findings that save, load and draw."""

import math

import numpy as np
import pytest
import torch

from coset.audits.trajectories import (
    Fan,
    classification_score,
    displacement,
    fan,
    marginal_score,
    predictive_score,
    representatives,
)
from coset.errors import InputError


def test_displacement_by_hand():
    truth = torch.zeros(2, 3, 2)
    samples = torch.zeros(2, 2, 3, 2)
    samples[0, 0, :, 0] = torch.tensor([0.0, 3.0, 6.0])  # node 0 of sample 0: errors 0, 3, 6
    samples[1, 1, :] = torch.tensor([3.0, 4.0])  # node 1 of sample 1: 5 at every frame
    assert displacement(samples, truth).tolist() == [1.5, 2.5]
    assert displacement(samples, truth, final=True).tolist() == [3.0, 2.5]
    assert displacement(samples, truth, of="best").tolist() == [0.0, 0.0]
    one = torch.zeros(2, dtype=torch.int64)
    # by graph a sample counts as a whole: 1.5 and 2.5, the better one is 1.5
    assert displacement(samples, truth, of="best", batch=one).tolist() == [1.5]
    assert displacement(samples, truth, batch=one).tolist() == [2.0]
    assert displacement(samples, truth, of="best", final=True, batch=one).tolist() == [2.5]


def test_representatives_cover_the_clusters(generator):
    corners = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    ends = (corners.repeat(5, 1) + 0.1 * torch.randn(15, 2, generator=generator)).unsqueeze(1)  # one node
    samples = torch.linspace(0, 1, 4).view(1, 1, 4, 1) * ends.unsqueeze(2)
    found = representatives(samples, 3)
    assert found.shape == (3, 1, 4, 2)
    nearest = torch.cdist(found[:, 0, -1], corners)
    assert sorted(nearest.argmin(1).tolist()) == [0, 1, 2]
    assert nearest.amin(1).max() < 0.5
    for one in found:  # each is one of the samples, as it was
        assert any(torch.equal(one, sample) for sample in samples)
    assert representatives(samples, 15).shape == samples.shape
    both = torch.cat([samples, samples.flip(0) + 100], 1)  # nodes are clustered each by itself
    assert torch.equal(representatives(both, 3)[:, :1], found)


def walks(count, generator, *, turn=1.0, offset=0.0):
    steps = torch.randn(count, 3, 6, 2, generator=generator)
    return (steps * torch.tensor([1.0, turn])).cumsum(2) + offset


def test_equal_laws_score_as_such_and_unequal_ones_do_not(generator):
    truth, same, other = walks(400, generator), walks(400, generator), walks(400, generator, turn=0.3)
    assert marginal_score(same, truth) < 0.6 * marginal_score(other, truth)
    assert abs(classification_score(same, truth) - math.log(2)) < 0.05
    assert classification_score(other, truth) < 0.3
    assert predictive_score(truth, truth) < predictive_score(walks(400, generator, offset=5.0), truth)


def test_the_marginal_score_is_a_difference_of_densities():
    truth = torch.linspace(0, 1, 100).view(100, 1, 1, 1)
    assert marginal_score(truth, truth) == 0
    # all mass in the last of 10 bins of width 0.1: densities 10 against 1 there, 0 against 1 elsewhere
    piled = torch.full_like(truth, 0.999)
    assert abs(marginal_score(piled, truth, bins=10) - (9 + 9) / 10) < 1e-6
    # outside of the data's range: all of the density is missing
    assert abs(marginal_score(truth + 5, truth, bins=10) - 1) < 1e-6


def test_scores_leave_the_random_state_alone(generator):
    truth = walks(20, generator)
    torch.manual_seed(3)
    first = torch.rand(1)
    torch.manual_seed(3)
    a = classification_score(truth, truth + 1)
    assert torch.equal(torch.rand(1), first)
    assert a == classification_score(truth, truth + 1)


def test_a_fan_saves_loads_and_draws(tmp_path, generator):
    batch = torch.tensor([0, 0, 1])
    cond, truth = torch.randn(3, 2, 3, generator=generator), torch.randn(3, 4, 3, generator=generator)
    samples = torch.randn(5, 3, 4, 3, generator=generator)
    found = fan(cond, truth, samples, batch, title="bodies", unit="(m)")
    assert found.truth.shape == (2, 2, 4, 3)
    assert found.samples.shape == (2, 5, 2, 4, 3)
    assert np.isnan(found.truth[1, 1]).all()
    assert np.allclose(found.samples[1, :, 0], samples[:, 2])
    again = Fan.load(found.save(tmp_path / "fan.npz"))
    assert np.array_equal(again.samples, found.samples, equal_nan=True)
    assert (again.title, again.unit) == ("bodies", "(m)")
    assert len(again.plot().axes) == 6


def test_bad_input_is_refused(generator):
    samples, truth = torch.zeros(2, 3, 4, 2), torch.zeros(3, 4, 2)
    many = torch.zeros(5, 3, 1, 2)
    with pytest.raises(InputError, match="samples are"):
        displacement(samples, truth[:2])
    for count in (0, 3):
        with pytest.raises(InputError, match="between 1 and the 2"):
            representatives(samples, count)
    for score in (marginal_score, classification_score, predictive_score):
        with pytest.raises(InputError, match="laws are compared"):
            score(samples, samples)
        with pytest.raises(InputError, match="laws are compared"):
            score(many, many[:, :2])
    with pytest.raises(InputError, match="two frames"):
        predictive_score(many, many)
