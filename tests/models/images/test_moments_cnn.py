import pytest
import torch

from coset.errors import InputError
from coset.models.images.moments_cnn import MomentsNet
from coset.ops.moments import MOMENTS
from coset.testing import check


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("phases", [False, True])
def test_promises_are_kept(kind, phases, generator):
    torch.manual_seed(0)
    model = MomentsNet(kind, 4, phases=phases, hidden=8, dropout=0.0).double()
    x = torch.rand(3, 1, 16, 16, generator=generator, dtype=torch.float64)
    exact = check(model, x).checked[0]
    assert exact.claim == "exact"
    assert exact.error < 1e-10
    assert str(model.contracts[0].group) == ("C(4)" if phases else "D(4)")


def test_phases_see_mirrored_digits_and_magnitudes_do_not(generator):
    x = torch.rand(2, 1, 16, 16, generator=generator, dtype=torch.float64)
    for phases in (False, True):
        features = MomentsNet(phases=phases).features(x)
        same = torch.allclose(features, MomentsNet(phases=phases).features(x.flip(-1)), atol=1e-12)
        assert same is not phases


def test_it_is_rebuilt_from_its_config(generator):
    model = MomentsNet("pseudo-zernike", 3, phases=True, hidden=4, size=8).eval()
    again = MomentsNet(**model.config).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 8, 8, generator=generator)
    assert torch.equal(model(x), again(x))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="unknown moment"):
        MomentsNet("hu")
    with pytest.raises(InputError, match="16 x 16"):
        MomentsNet()(torch.zeros(1, 1, 28, 28))
