import pytest
import torch

from coset import testing
from coset.errors import InputError
from coset.groups.matrix import O
from coset.models.points.tensor_mlp import GROUPS, SoftLinear, TensorMLP
from coset.reps.intertwiners import reynolds


@pytest.mark.parametrize("name", GROUPS)
def test_strict_networks_keep_their_promise(name):
    torch.manual_seed(0)
    testing.check(TensorMLP(hidden=(4, 3, 2), symmetry=name).double())


def test_halfsoft_mixes_the_equivariant_part():
    torch.manual_seed(0)
    plain = SoftLinear((3, 2, 1), (2, 2, 1))
    torch.manual_seed(0)
    half = SoftLinear((3, 2, 1), (2, 2, 1), start="halfsoft")
    projected = reynolds(plain.weight, *plain.reps(O(3)))
    assert torch.allclose(half.weight, 0.5 * plain.weight + 0.5 * projected)
    torch.manual_seed(0)
    prior = SoftLinear((3, 2, 1), (2, 2, 1), start="rpp")
    assert torch.allclose(prior.weight, 0.1 * plain.weight + projected)


def test_one_network_gives_inertia_tensors_after_training():
    """Enough layers and products to express I(m, r): the loss falls far below the variance."""
    from coset.data.inertia import bodies

    torch.manual_seed(0)
    data = bodies(200, noise={}, generator=torch.Generator().manual_seed(0))
    y = data["y"] / data["y"].std()
    model = TensorMLP(hidden=(8, 6, 4), layers=2, symmetry="O(3)")
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        loss = (model(data["mass"], data["pos"]) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.15


def test_bad_input_is_named():
    with pytest.raises(InputError, match="did you mean"):
        TensorMLP(symmetry="O(2)w")
    with pytest.raises(InputError, match="no more tensors than vectors"):
        TensorMLP(hidden=(4, 2, 3))
    with pytest.raises(InputError, match="unknown start"):
        SoftLinear((1, 0, 0), (1, 0, 0), start="soft")
