import pytest
import torch

from coset.contract import Contract
from coset.data.signal import Signal
from coset.errors import InputError
from coset.groups.permutation import S


def test_the_label_is_the_sign_of_the_pattern(generator):
    problem = Signal(6, 8, sigma=0.0, noiseless=True)
    data = problem.draw(50, generator=generator)
    projected = data["x"] @ problem.pattern
    assert torch.allclose(projected.sum(1), data["y"], atol=1e-6)
    assert ((projected.abs() > 0.5).sum(1) == 1).all()
    assert torch.isclose(problem.pattern.norm(), torch.tensor(1.0))


def test_patches_and_labels_are_uniform_and_noise_has_its_size(generator):
    problem = Signal(5, 8, sigma=0.25)
    data = problem.draw(20000, generator=generator)
    assert abs(data["y"].mean()) < 0.03
    noise = data["x"] - (data["x"] @ problem.pattern)[..., None] * problem.pattern
    assert abs(noise.square().sum((1, 2)).mean() / (5 * 7) - 0.0625) < 1e-3


def test_the_detector_is_invariant_and_no_template_beats_it(generator):
    problem = Signal(10, 20)
    data = problem.draw(20000, generator=generator)
    contract = Contract(S("K"), "B x K x 20 x scalar", "B x scalar").bind(data["x"])
    g = contract.group.sample(1, generator=generator)[0]
    assert contract.error(problem.detector, data["x"], g) < 1e-5
    best = (problem.detector(data["x"]).sign() != data["y"]).float().mean()
    linear = ((data["x"] @ problem.pattern).sum(1).sign() != data["y"]).float().mean()
    assert best < 0.02 < 0.09 < linear
    assert abs(problem.floor() - best) < 0.005


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match="at least 2 patches"):
        Signal(1)
    with pytest.raises(InputError, match="noiseless=True"):
        Signal(sigma=0.0)
    with pytest.raises(InputError, match="sigma > 0"):
        Signal(sigma=-1.0, noiseless=True)
    with pytest.raises(InputError, match="n >= 1"):
        Signal().draw(0, generator=generator)
