"""Cost counts what a model has and leaves it as it was."""

import pytest
import torch
from torch import nn

from coset.audits.cost import Cost, cost
from coset.errors import InputError


def test_parameters_and_operations_by_hand():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model[2].weight.requires_grad_(False)
    found = cost(model, torch.randn(5, 6), repeats=2)
    assert found.parameters == 6 * 4 + 4 + 8
    assert found.trainable == 28
    assert found.flops == 2 * 5 * (6 * 4 + 4 * 2)
    assert found.samples == 5
    assert found.forward_seconds > 0
    assert found.step_seconds > 0
    assert found.process_peak_bytes > 2**20


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost(model, torch.randn(2, 1, 6, 6), repeats=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_memory_grows_with_the_batch():
    small = cost(lambda x: (x @ x.T).exp(), torch.randn(10, 4), repeats=1)
    large = cost(lambda x: (x @ x.T).exp(), torch.randn(4000, 4), repeats=1)
    assert small.step_seconds is None
    assert large.memory_bytes > 4000 * 4000 * 4
    assert small.memory_bytes < large.memory_bytes


def test_named_tensors_and_bad_input(tmp_path):
    found = cost(lambda a, b: {"y": a + b}, {"a": torch.ones(3), "b": torch.ones(3)}, repeats=1)
    assert found.samples == 3
    assert Cost.load(found.save(tmp_path / "cost.npz")) == found
    assert found.plot().axes
    with pytest.raises(InputError, match="repeats"):
        cost(lambda x: x, torch.ones(3), repeats=0)
