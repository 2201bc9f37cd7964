import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.groups.finite import C, D
from coset.nn.feature_map import image_field, regular_field
from coset.nn.group_conv import GroupConv2d, GroupPool, LiftingConv2d, RegularBatchNorm2d
from coset.testing import Broken, assert_equivariant, check

GROUPS = [C(4), C(8), D(4), C(6), D(3)]


def layers(group):
    torch.manual_seed(0)
    return [
        LiftingConv2d(2, 3, group=group),
        GroupConv2d(2, 3, group=group, kernel=3),
        RegularBatchNorm2d(3, group),
        GroupPool(3, group),
        GroupPool(3, group, how="mean"),
    ]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_layers_keep_their_contracts(group):
    for layer in layers(group):
        fields = layer.contracts[0].inputs
        shape = (2, *map(int, fields[0][1].index[1:]), *fields[0][1].kind.shape(2)[:-2], 6, 6)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        report = check(layer.double(), x)
        assert max(report.errors.values()) < 1e-12, type(layer).__name__


def test_batch_statistics_are_shared_by_the_group_axis(generator):
    norm = RegularBatchNorm2d(3, C(4)).double()
    x = torch.randn(2, 3, 4, 6, 6, generator=generator, dtype=torch.float64)
    norm.train()
    shuffled = x[:, :, [2, 0, 3, 1]]
    assert torch.allclose(norm(shuffled), norm(x)[:, :, [2, 0, 3, 1]], atol=1e-12)


def test_kernels_follow_the_weights_in_eval_mode(generator):
    layer = LiftingConv2d(1, 2, group=C(4)).eval()
    x = torch.randn(1, 1, 6, 6, generator=generator)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.allclose(layer(x), 2 * before, atol=1e-6)
    other = LiftingConv2d(1, 2, group=C(4))
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), other(x))


def test_single_precision_casts_do_not_stay(generator):
    layer = GroupConv2d(1, 1, group=C(8)).double()
    x = torch.randn(1, 1, 8, 6, 6, generator=generator, dtype=torch.float64)
    layer.weight.data.copy_(layer.weight.float())
    before = layer(x)
    assert torch.equal(layer.float().double()(x), before)
    assert list(layer.state_dict()) == ["weight"]


def test_gradients_reach_every_coefficient(generator):
    layer = GroupConv2d(2, 2, group=D(4), kernel=3)
    layer(torch.randn(2, 2, 8, 6, 6, generator=generator)).square().sum().backward()
    assert (layer.weight.grad.abs() > 0).all()


def test_output_variance_is_that_of_a_he_start(generator):
    for layer, x in (
        (LiftingConv2d(8, 16, group=C(8)), torch.randn(4, 8, 16, 16, generator=generator)),
        (GroupConv2d(8, 16, group=C(8)), torch.randn(4, 8, 8, 16, 16, generator=generator)),
    ):
        assert 1 < layer(x)[..., 3:-3, 3:-3].var() < 3.5


class Unshifted(GroupConv2d):
    """A broken twin: the filter is steered but its group axis stays."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shift = self.shift[:1].expand_as(self.shift)


class OwnScale(nn.Module):
    """A broken twin: a scale for every component."""

    def __init__(self, group):
        super().__init__()
        self.contracts = RegularBatchNorm2d(2, group).contracts
        self.scale = nn.Parameter(torch.linspace(1, 2, int(group.order))[:, None, None])

    def forward(self, x):
        return x * self.scale


def test_broken_twins_are_caught():
    for twin in (Unshifted(2, 2, group=C(4)), OwnScale(C(4))):
        with pytest.raises(Broken):
            check(twin.double())


def test_fields_of_the_contracts():
    layer = LiftingConv2d(1, 6, group=C(8))
    (contract,) = layer.contracts
    assert contract.group == C(4)
    assert contract.inputs[0][1] == image_field(1)
    assert contract.outputs[0][1] == regular_field(6, C(8))
    assert str(contract.outputs) == "B x 6 x regular(C(8))_image"
    assert assert_equivariant(layer.double(), contract).error < 1e-12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LiftingConv2d(1, 2, group=C(4), kernel=4), "odd"),
        (lambda: LiftingConv2d(0, 2, group=C(4)), "channels"),
        (lambda: GroupConv2d(1, 0, group=C(4)), "channels"),
        (lambda: GroupPool(1, C(4), how="median"), "'max' or 'mean'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
