"""Observations of limbs are refused where they do not fit, lack gravity or a direction."""

import pytest
import torch

from coset.errors import InputError
from coset.nn.limbs import INPUTS, check_limbs, check_vertical
from coset.reps.fields import Fields


@pytest.fixture
def states():
    return Fields(INPUTS).example({"B": 2, "N": 3}, generator=torch.Generator().manual_seed(0))


def test_sizes_are_told(states):
    assert check_limbs(**states) == (2, 3)


@pytest.mark.parametrize("name", list(INPUTS))
def test_another_width_is_refused(name, states):
    states[name] = states[name][..., :-1]
    with pytest.raises(InputError, match=f"expected {name} as"):
        check_limbs(**states)


def test_no_limbs_are_refused(states):
    empty = {name: value if value.ndim == 2 else value[:, :0] for name, value in states.items()}
    empty["relations"] = empty["relations"][:, :, :0]
    with pytest.raises(InputError, match="expected gravity as"):
        check_limbs(**empty)


def test_no_gravity_and_no_direction_are_refused(states):
    with pytest.raises(InputError, match="gravity is zero"):
        check_limbs(**{**states, "gravity": states["gravity"] * torch.tensor([[1.0], [0.0]])})
    with pytest.raises(InputError, match="target is where the torso is"):
        check_limbs(**{**states, "target": 0 * states["target"]})


def test_gravity_stands_in_its_slot():
    check_vertical(torch.tensor([0.0, 0.0, -1.0]).expand(4, 3))
    with pytest.raises(InputError, match="another vector stands in its slot"):
        check_vertical(torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]))
