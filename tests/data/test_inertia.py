import math

import pytest
import torch

from coset.contract import Contract
from coset.data.inertia import bodies, disturb, inertia
from coset.errors import InputError
from coset.groups.matrix import O
from coset.testing import tolerance

FIELDS = {"mass": "B x N x scalar", "pos": "B x N x vector"}
AXIS = {axis: O(3).stabilizer(torch.eye(3, dtype=torch.float64)[i]) for i, axis in enumerate("xyz")}


def error(noise, group, generator):
    contract = Contract(group, FIELDS, "B x tensor(2)")
    x = bodies(20, noise=noise, generator=generator, dtype=torch.float64)
    x = {name: x[name] for name in FIELDS}
    g = group.sample(8, generator=generator)
    return max(contract.error(lambda mass, pos: disturb(inertia(mass, pos), noise), x, g[i]) for i in range(8))


def test_one_point_mass_on_an_axis():
    found = inertia(torch.tensor([2.0]), torch.tensor([[0.0, 0.0, 3.0]]))
    assert torch.equal(found, torch.diag(torch.tensor([18.0, 18.0, 0.0])))


def test_targets_are_the_tensor_and_its_broken_column(generator):
    x = bodies(4, noise={"y": -0.3}, generator=generator, dtype=torch.float64)
    clean = inertia(x["mass"], x["pos"])
    axis = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    want = clean - 0.3 * (clean @ axis)[:, :, None] * axis
    assert torch.allclose(x["y"], want, atol=tolerance(torch.float64))


@pytest.mark.parametrize("axis", "xyz")
def test_noise_keeps_the_stabilizer_of_its_axis_and_nothing_else(axis, generator):
    for other, group in AXIS.items():
        found = error({axis: 0.3}, group, generator)
        assert (found < 1e-10) == (other == axis)
    assert error({axis: 0.3}, O(3), generator) > 0.01
    assert error({}, O(3), generator) < 1e-10


def test_two_axes_mix(generator):
    assert all(error({"x": -0.3, "y": 0.3}, group, generator) > 0.01 for group in AXIS.values())


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match="x, y or z"):
        bodies(3, noise={"w": 0.3}, generator=generator)
    with pytest.raises(InputError, match="n >= 1"):
        bodies(0, generator=generator)
    with pytest.raises(InputError, match="finite"):
        bodies(3, noise={"z": math.nan}, generator=generator)
