import pytest
import torch

from coset import testing
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.models.images.patch_net import ARCHITECTURES, PatchNet, descent_step, step_contract

K, D = 4, 5


def step_input(sharing, generator, n=12):
    torch.manual_seed(0)
    net = PatchNet(K, D, sharing=sharing).double()
    x = torch.randn(n, K, D, generator=generator, dtype=torch.float64)
    y = torch.sign(torch.randn(n, generator=generator, dtype=torch.float64))
    return net, {"w": net.linear.weight.detach().clone(), "x": x.flatten(1) if sharing == "dense" else x, "y": y}


def step_error(sharing, optimizer, generator):
    net, sample = step_input(sharing, generator)
    contract = step_contract(sharing, K, D).bind(sample)
    g = contract.group.sample(4, generator=generator)
    step = descent_step(net, optimizer, lr=0.5)
    moved = (step(**sample) - sample["w"]).abs().max()
    assert moved > 1e-3
    return max(contract.error(step, sample, g[i]) for i in range(4))


def test_the_cnn_does_not_see_the_order_of_patches(generator):
    torch.manual_seed(0)
    testing.check(PatchNet(K, D).double())
    net, x = PatchNet(10, 20), torch.randn(50, 10, 20, generator=generator)
    p = torch.randperm(10, generator=generator)
    with torch.no_grad():
        assert (net(x) - net(x[:, p])).abs().max() < 1e-6


@pytest.mark.parametrize("sharing", ["local", "dense"])
def test_the_others_do_and_promise_nothing(sharing, generator):
    torch.manual_seed(0)
    net = PatchNet(K, D, sharing=sharing).double()
    assert net.contracts == ()
    x = torch.randn(6, K, D, generator=generator, dtype=torch.float64)
    broken = Contract(S("K"), f"B x K x {D} x scalar", "B x scalar", "broken", 0.1)
    assert testing.check(net, x, broken).errors[broken.name or str(broken)] > 0.1


@pytest.mark.parametrize("sharing", ["shared", "local", "dense"])
def test_a_step_of_descent_commutes_with_the_orthogonal_group(sharing, generator):
    assert step_error(sharing, torch.optim.SGD, generator) < 1e-12


@pytest.mark.parametrize("sharing", ["shared", "local", "dense"])
def test_a_step_of_adam_does_not(sharing, generator):
    contract = step_contract(sharing, K, D, claim="broken", bound=0.05)
    assert step_error(sharing, torch.optim.Adam, generator) > contract.bound


def test_a_larger_group_than_declared_is_broken(generator):
    """The broken twin: turning patches by different maps is no symmetry of a shared filter's training."""
    net, sample = step_input("shared", generator)
    contract = step_contract("local", K, D).bind({**sample, "w": sample["w"].expand(K, D)})
    g = contract.group.sample(1, generator=generator)[0]
    step = descent_step(net, torch.optim.SGD, lr=0.5)
    turned = step(w=sample["w"] @ g[0].T, x=torch.einsum("kij,bkj->bki", g, sample["x"]), y=sample["y"])
    assert (turned - step(**sample) @ g[0].T).abs().max() > 1e-3


def test_names_of_architectures():
    assert PatchNet.named("lcn", 3, 4).config["sharing"] == ARCHITECTURES["lcn"] == "local"
    with pytest.raises(InputError, match="did you mean 'cnn'"):
        PatchNet.named("cnnn", 3, 4)
