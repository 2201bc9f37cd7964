import pytest
import torch
from torch import nn

from coset.contract import Contract, attach
from coset.errors import ContractError, InputError
from coset.groups.finite import C, D
from coset.nn.feature_map import regular_field
from coset.nn.gate import Pointwise
from coset.nn.group_conv import GroupConv2d, GroupPool, LiftingConv2d, RegularBatchNorm2d
from coset.nn.pool import BlurPool, MomentPool
from coset.nn.sequential import Sequential
from coset.testing import Broken, check


def network(group, grid):
    field = regular_field(3, group)
    return Sequential(
        LiftingConv2d(1, 3, group=group),
        RegularBatchNorm2d(3, group),
        Pointwise(torch.relu, field, group=grid),
        BlurPool(field, grid),
        GroupConv2d(3, 2, group=group, kernel=3),
        MomentPool("zernike", 3, channels=2, size=8, group=group),
    )


@pytest.mark.parametrize(("group", "grid"), [(C(8), C(4)), (D(4), D(4))])
def test_a_chain_promises_and_keeps_what_its_layers_do(group, grid):
    torch.manual_seed(0)
    net = network(group, grid)
    (contract,) = net.contracts
    assert contract.group == grid
    assert str(contract.inputs) == "B x 1 x image"
    assert contract.claim == "exact"
    assert max(check(net.double()).errors.values()) < 1e-10


def test_a_seam_that_does_not_fit_is_named():
    with pytest.raises(ContractError, match=r"layer 1 \(GroupConv2d\) does not follow.*3 x regular.*expects B x 2"):
        Sequential(LiftingConv2d(1, 3, group=C(4)), GroupConv2d(2, 3, group=C(4)))
    with pytest.raises(ContractError, match=r"C\(4\) followed by D\(4\)"):
        Sequential(LiftingConv2d(1, 3, group=C(4)), GroupPool(3, D(4)))


def test_layers_need_contracts():
    with pytest.raises(InputError, match="states no contract"):
        Sequential(LiftingConv2d(1, 3, group=C(4)), nn.ReLU())
    with pytest.raises(InputError, match="at least one"):
        Sequential()


def test_the_weaker_claim_survives():
    first = attach(nn.Identity(), Contract(C(4), "image", "image", "approximate", 0.1))
    second = attach(nn.Identity(), Contract(C(4), "image", "image"))
    (contract,) = Sequential(first, second).contracts
    assert contract.claim == "approximate"
    assert contract.bound == 0.1


def test_a_foreign_layer_that_breaks_the_promise_is_caught():
    torch.manual_seed(0)
    free = attach(nn.Conv2d(1, 1, 3, padding=1), Contract(D(4), "B x 1 x image", "B x 1 x image"))
    with pytest.raises(Broken):
        check(Sequential(free, attach(nn.Identity(), Contract(D(4), "B x 1 x image", "B x 1 x image"))).double())
