"""Layers on the lattice keep their contracts for every kind of values, and a layer without the table's shift does not."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.finite import C, D
from coset.nn.lattice_conv import LatticeGroupConv, LatticeLift, LatticeReadout
from coset.reps.words import parse_kind
from coset.testing import Broken, check

GROUPS = [C(1), C(4), D(2), D(4)]


class Unshifted(LatticeGroupConv):
    """A twin that turns the taps and forgets to permute the group axis."""

    def __init__(self) -> None:
        super().__init__(2, 2, group=D(4))
        self.shift = torch.arange(8).expand(8, 8)


class Unturned(LatticeLift):
    """A twin that takes the components of a vector for scalars."""

    def __init__(self) -> None:
        super().__init__(parse_kind("vector"), 2, group=D(4))
        self.back.value = torch.eye(2, dtype=torch.float64).expand(8, 2, 2)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("site", ["scalar", "vector", "pseudoscalar"])
def test_lift_and_readout_are_exact(site, group):
    torch.manual_seed(0)
    for layer in (
        LatticeLift(parse_kind(site), 2, group=group, kernel=3),
        LatticeReadout(2, parse_kind(site), group=group),
    ):
        assert max(check(layer).errors.values()) < 1e-12


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_convolutions_are_exact(group):
    torch.manual_seed(0)
    layer = LatticeGroupConv(2, 3, group=group)
    assert layer.weight.shape == (3, 2, int(group.order), 9)
    assert max(check(layer).errors.values()) < 1e-12


@pytest.mark.parametrize("twin", [Unshifted, Unturned])
def test_broken_twins_are_caught(twin):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"D\(4\)"):
        check(twin())


def test_outputs_start_at_a_sixteenth_of_the_variance_of_a_rectified_layer(generator):
    torch.manual_seed(0)
    x = torch.randn(4, 16, 8, 12, 12, generator=generator)
    out = LatticeGroupConv(16, 16, group=D(4))(x)
    assert 0.1 < out.var() < 0.15


@pytest.mark.parametrize(("site", "biased"), [("scalar", True), ("pseudoscalar", False), ("vector", False)])
def test_only_what_the_group_leaves_alone_has_a_bias(site, biased):
    assert (LatticeReadout(2, parse_kind(site), group=D(4)).bias is not None) == biased
    assert LatticeReadout(2, parse_kind(site), group=C(1)).bias is not None


def test_no_channels_are_refused():
    with pytest.raises(InputError, match="channels"):
        LatticeGroupConv(2, 0, group=D(4))
