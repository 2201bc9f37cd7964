import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.groups.finite import C, D
from coset.models.images.group_cnn import GroupCNN
from coset.testing import Broken, check

CASES = [("C(8)", "spectrum"), ("C(4)", "pool"), ("C(4)", "zernike"), ("D(4)", "pool"), ("D(4)", "fourier-mellin")]


def small(group="C(4)", head="pool", **kwargs):
    torch.manual_seed(0)
    return GroupCNN(group, (2, 3), kernel=3, head=head, order=3, hidden=8, **kwargs)


@pytest.mark.parametrize(("group", "head"), CASES)
def test_promises_are_kept(group, head, generator):
    x = torch.rand(3, 1, 16, 16, generator=generator, dtype=torch.float64)
    report = check(small(group, head).double(), x)
    exact = [one for one in report.checked if one.claim == "exact"]
    assert len(exact) == 1
    assert exact[0].error < 1e-10


def test_layer_norm_and_config(generator):
    model = small(D(4), "zernike", norm="layer", classes=4).eval()
    again = GroupCNN(**model.config).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 16, 16, generator=generator)
    assert torch.equal(model(x), again(x))
    assert model(x).shape == (2, 4)
    assert isinstance(model.norm, nn.LayerNorm)


def test_features_are_invariant_but_not_constant(generator):
    model = small("C(8)", "spectrum").double().eval()
    x = torch.rand(4, 1, 16, 16, generator=generator, dtype=torch.float64)
    features = model.features(x)
    assert torch.allclose(features, model.features(torch.rot90(x, 1, (-2, -1))), atol=1e-12)
    assert (features - features[:1]).abs().max() > 1e-2


def test_a_broken_twin_with_strided_pooling_is_caught(generator):
    model = small().double()
    model.body[3] = _Corner()
    with pytest.raises(Broken):
        check(model, torch.rand(2, 1, 16, 16, generator=generator, dtype=torch.float64))


class _Corner(nn.Module):
    def forward(self, x):
        return x[..., ::2, ::2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GroupCNN("C(4)", head="sum"), "unknown head"),
        (lambda: GroupCNN("D(4)", head="spectrum"), "not cyclic"),
        (lambda: GroupCNN("C(4)", size=15), "even size"),
        (lambda: GroupCNN("C(4)", norm="group"), "unknown norm"),
        (lambda: GroupCNN("C(4)", kernel=4), "odd"),
        (lambda: GroupCNN(C(4), ()), "at least one width"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
