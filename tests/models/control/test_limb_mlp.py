"""The monolithic MLP has no symmetry, and says so; it serves one body only."""

import pytest
import torch

from coset.errors import InputError
from coset.models.control.limb_mlp import LimbMLP, LimbMLPCritic
from coset.nn.limbs import INPUTS
from coset.reps.fields import Fields
from coset.testing import Broken, check


@pytest.mark.parametrize("kind", [LimbMLP, LimbMLPCritic])
def test_it_is_broken_as_it_says(kind):
    torch.manual_seed(0)
    assert next(iter(check(kind(3, 16, 2)).errors.values())) > 1e-2


class Blind(LimbMLP):
    """A twin that sees nothing that turns: its broken claim is false."""

    def forward(self, gravity, target, vectors, scalars, codes, relations):
        ones = torch.ones_like(target)
        return super().forward(ones, ones, torch.ones_like(vectors), scalars, codes, relations)


def test_a_symmetric_twin_is_caught():
    with pytest.raises(Broken, match="must fail"):
        check(Blind(3, 16, 2))


def test_shapes_and_other_bodies():
    torch.manual_seed(0)
    x = Fields(INPUTS).example({"B": 4, "N": 3}, dtype=torch.float32)
    model = LimbMLP(3, 16, 1)
    action = model(**x)
    assert action.shape == (4, 3, 3)
    assert action.abs().max() < 1
    assert model.critic()(**x, action=action).shape == (4, 1)
    with pytest.raises(InputError, match="a body of 4 limbs"):
        LimbMLP(4, 16, 1)(**x)
    with pytest.raises(InputError, match="sizes are at least 1"):
        LimbMLP(3, 0)
