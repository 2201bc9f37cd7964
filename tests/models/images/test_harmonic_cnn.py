import pytest
import torch

from coset.errors import InputError
from coset.models.images.harmonic_cnn import HarmonicCNN
from coset.testing import check


def test_promises_are_kept(generator):
    torch.manual_seed(0)
    model = HarmonicCNN((2, 3, 3), hidden=8).double()
    x = torch.rand(3, 1, 16, 16, generator=generator, dtype=torch.float64)
    report = check(model, x)
    exact, approximate = report.checked
    assert exact.claim == "exact"
    assert exact.error < 1e-10
    assert approximate.claim == "approximate"
    assert 1e-6 < approximate.error < 1


def test_it_is_rebuilt_from_its_config(generator):
    model = HarmonicCNN((2, 2, 2), 1, size=8, hidden=4).eval()
    again = HarmonicCNN(**model.config).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 8, 8, generator=generator)
    assert torch.equal(model(x), again(x))
    assert model(x).shape == (2, 10)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="even sizes"):
        HarmonicCNN(size=15)
