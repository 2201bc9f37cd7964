"""The ladder names the layer at which the symmetry breaks, and never one that keeps it."""

import pytest
import torch
from torch import nn

from coset.audits.equivariance import audit
from coset.audits.layers import layer_errors
from coset.audits.passes import Plan
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.nn.group_conv import GroupConv2d, GroupPool, LiftingConv2d
from coset.nn.perm_linear import PermLinear


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((-1, -2))


@pytest.fixture
def pictures(generator):
    return torch.rand(6, 1, 12, 12, generator=generator, dtype=torch.float64)


def network(*middle):
    torch.manual_seed(0)
    group = C(4)
    return nn.Sequential(
        LiftingConv2d(1, 3, group=group), nn.ReLU(), GroupConv2d(3, 2, group=group), *middle, GroupPool(2, group), Mean()
    )


def test_an_exact_network_has_no_offender(pictures):
    found = audit(network(), pictures, Contract(C(4), "B x 1 x image", "B x 2 x scalar"))
    assert found.verdict == "PASS"
    assert found.offender == ""
    assert [layer["name"] for layer in found.layers] == ["0", "1", "2", "3", "4"]
    assert max(layer["error"] for layer in found.layers) < 1e-10
    assert not found.layers[0]["guessed"]
    assert found.layers[1]["guessed"]


class Weigh(nn.Module):
    """A broken twin: every fibre entry has a weight of its own."""

    def forward(self, x):
        return x * torch.arange(1.0, 5.0, dtype=x.dtype).view(4, 1, 1)


def test_the_first_offender_is_named(pictures):
    found = audit(network(Weigh()), pictures, Contract(C(4), "B x 1 x image", "B x 2 x scalar"))
    assert found.verdict == "FAIL"
    assert found.offender == "3"


def test_a_plain_convolution_is_the_offender_with_its_cause(pictures):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.Flatten(), nn.Linear(100, 3))
    found = audit(net, pictures, Contract(C(4), "B x 1 x image", "B x 3 x scalar"))
    assert found.offender == "2"
    assert "stride" in next(layer for layer in found.layers if layer["name"] == "2")["cause"]


def test_vectors_and_permutations_are_read_off_the_shape(generator):
    torch.manual_seed(0)
    x = torch.randn(4, 7, 3, generator=generator, dtype=torch.float64)

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.keep = nn.Identity()
            self.bias = nn.Linear(3, 3)

        def forward(self, x):
            return self.bias(self.keep(x - x.mean(1, keepdim=True)))

    found = audit(Turned(), x, Contract(SO(3), "B x N x vector", "B x N x vector"))
    assert found.offender == "bias"
    deep = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    found = audit(deep, x, Contract(S("N"), "B x N x 3 x scalar", "B x N x 2 x scalar"))
    assert found.verdict == "PASS"
    assert found.offender == ""


def test_layers_on_another_index_set_are_not_judged(generator):
    """Rows of neighbours stand in an order that a permutation of the nodes changes: not an error of the layer."""
    torch.manual_seed(0)

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = PermLinear(3, 4, 1, 0), nn.Linear(4, 2)

        def forward(self, x):
            order = x.sum((1, 2)).argsort()
            return self.outer(self.inner(x[order]).mean(0, keepdim=True))

    x = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64)
    found = audit(Rows(), x, Contract(S("N"), "N x 5 x 3 x scalar", "1 x 2 x scalar"))
    assert found.verdict == "PASS"
    assert [layer["name"] for layer in found.layers] == ["outer"]


def test_layers_need_a_module(pictures):
    contract = Contract(C(4), "B x 1 x image", "B x 1 x scalar")
    plan = Plan.make(lambda x: x.sum((-1, -2)), contract, pictures, C(4).elements())
    with pytest.raises(InputError, match=r"nn\.Module"):
        layer_errors(lambda x: x, plan, C(4).elements())
    assert audit(lambda x: x.sum((-1, -2)), pictures, contract).layers == []


def test_a_layer_that_runs_twice_is_listed_twice(pictures):
    shared = nn.Conv2d(1, 1, 3, padding=1).double()
    found = audit(nn.Sequential(shared, nn.ReLU(), shared, Mean()), pictures, Contract(C(4), "B x 1 x image", "B x 1 x scalar"))
    assert [layer["name"] for layer in found.layers] == ["0", "1", "0#2", "3"]


def test_the_ladder_is_drawn(pictures):
    found = audit(network(Weigh()), pictures, Contract(C(4), "B x 1 x image", "B x 2 x scalar"), dtype=("float32", "float64"))
    assert set(found.layers[0]["errors"]) == {"float32", "float64"}
    assert found.plot_layers().axes


class Columns(nn.Module):
    """Vectors before channels, (N, 3, C), as in PaiNN and ViSNet."""

    def __init__(self, bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.spread, self.mix = nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=bias)

    def forward(self, v):
        return self.mix(self.spread(v[..., None])).squeeze(-1)


def test_vectors_before_channels_are_read(generator):
    v = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    contract = Contract(SO(3), "N x vector", "N x vector")
    found = audit(Columns(), v, contract)
    assert (found.verdict, found.offender) == ("PASS", "")
    assert [layer["field"] for layer in found.layers] == ["N x 4 x vector", "N x 1 x vector"]
    assert audit(Columns(bias=True), v, contract).offender == "mix"


class Edges(nn.Module):
    """Sums over the edges that it finds; ``most`` for each point in the order of the file, if given."""

    def __init__(self, most=99):
        super().__init__()
        torch.manual_seed(0)
        self.most, self.weigh = most, nn.Linear(1, 2)

    def forward(self, pos):
        near = torch.cdist(pos, pos).fill_diagonal_(9) < 2
        i, j = (near & (near.cumsum(1) <= self.most)).nonzero().T
        return self.weigh((pos[i] - pos[j]).norm(dim=-1, keepdim=True)).tanh().sum(0, keepdim=True)


def test_edges_that_a_model_finds_are_a_set(generator):
    pos = torch.randn(11, 3, generator=generator, dtype=torch.float64)
    contract = Contract(S("N"), "N x 3 x scalar", "1 x 2 x scalar")
    found = audit(Edges(), pos, contract)
    assert (found.verdict, found.offender) == ("PASS", "")
    assert found.layers[0]["field"].startswith("set of ")
    assert audit(Edges(most=3), pos, contract).offender == "weigh"


def test_modules_of_e3nn_are_held_to_the_irreps_that_they_state(generator):
    o3 = pytest.importorskip("e3nn.o3")
    product = o3.FullyConnectedTensorProduct("1x1o", "1x1o", "2x0e+3x1e+2x2e").double()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.product, self.linear = product, o3.Linear("2x0e+3x1e+2x2e", "1x1e").double()

        def forward(self, u, v):
            return self.linear(self.product(u, v))

    u, v = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    contract = Contract(SO(3), {"u": "B x vector", "v": "B x vector"}, "B x axial")
    found = audit(Net(), {"u": u, "v": v}, contract, tolerance=1e-6)
    assert (found.verdict, found.offender) == ("PASS", "")
    assert [layer["field"] for layer in found.layers] == [
        "irreps(2x0e+3x1e+2x2e, layout=mul_ir)",
        "irreps(1x1e, layout=mul_ir)",
    ]
    assert not any(layer["guessed"] for layer in found.layers)
    product.register_forward_hook(lambda _module, _inputs, y: y + 1)
    assert audit(Net(), {"u": u, "v": v}, contract, tolerance=1e-6).offender == "product"
