import pytest
import torch

from coset.errors import InputError
from coset.models.images.cnn import CNN
from coset.testing import check


def test_it_has_the_size_of_the_calibrated_baseline_and_promises_nothing(generator):
    torch.manual_seed(0)
    model = CNN()
    assert sum(p.numel() for p in model.parameters()) == 33914
    x = torch.rand(4, 1, 16, 16, generator=generator)
    assert model(x).shape == (4, 10)
    assert check(model, x).checked[0].claim == "broken"


def test_it_is_rebuilt_from_its_config():
    model = CNN((4, 8, 8), size=8, classes=3)
    again = CNN(**model.config)
    again.load_state_dict(model.state_dict())
    x = torch.ones(1, 1, 8, 8)
    assert torch.equal(model.eval()(x), again.eval()(x))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="divisible by 4"):
        CNN(size=18)
