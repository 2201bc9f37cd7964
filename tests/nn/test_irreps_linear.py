import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_linear import IrrepsLinear, SpeciesLinear
from coset.nn.sequential import Sequential
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
CASES = [
    ("8x0e+4x1o", "3x0e+2x1o"),
    ("3x0e+2x0o+4x1o+2x1e+1x2e", "2x1e+3x0o+5x0e+1x2e"),
    ("2x1o+3x0e+4x1o", "2x1o+1x0e+1x1o"),
    (Irreps("4x0+2x1+3x2", SO(3)), Irreps("2x2+2x0", SO(3))),
]


@pytest.mark.parametrize(("irreps_in", "irreps_out"), CASES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_layers_are_equivariant(irreps_in, irreps_out, bias, generator):
    torch.manual_seed(0)
    layer = IrrepsLinear(irreps_in, irreps_out, bias=bias)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    assert (layer.bias is not None) == bias
    check(layer, layer.irreps_in.randn(5, generator=generator))


def test_it_is_the_linear_layer_of_e3nn(generator):
    torch.manual_seed(0)
    layer = IrrepsLinear("4x0e+2x1o", "3x0e+5x1o").double()
    x = torch.randn(6, 10, generator=generator, dtype=F64)
    w0, w1 = layer.weight[:12].view(4, 3), layer.weight[12:].view(2, 5)
    want = torch.cat([x[:, :4] @ w0 / 2, torch.einsum("nmu,uw->nmw", x[:, 4:].view(6, 3, 2), w1).flatten(1) / 2**0.5], 1)
    assert torch.allclose(layer(x), want, atol=1e-12)


def test_blocks_of_one_irrep_share_the_variance(generator):
    torch.manual_seed(0)
    layer = IrrepsLinear("40x1o+24x1o", "32x1o+32x1o")
    assert 0.8 < layer(torch.randn(500, 192, generator=generator)).var() < 1.25


def test_derivatives_and_state(generator):
    torch.manual_seed(0)
    layer = IrrepsLinear("2x0e+1x1o", "1x0e+1x1o", bias=True).double()
    x = torch.randn(2, 5, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), (x,))
    twin = IrrepsLinear("2x0e+1x1o", "1x0e+1x1o", bias=True).double()
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(x), layer(x))


def test_what_no_input_reaches():
    with pytest.raises(ContractError, match="1e is zero"):
        IrrepsLinear("2x1o", "2x1o+1x1e")
    silent = IrrepsLinear("2x1o", "2x1o+1x1e", zero=True)
    assert torch.equal(silent(torch.ones(2, 6))[:, 6:], torch.zeros(2, 3))
    with pytest.raises(ContractError, match="of two groups"):
        IrrepsLinear("2x1o", Irreps("2x1", SO(3)))
    with pytest.raises(InputError, match="expected features"):
        IrrepsLinear("2x1o", "2x1o")(torch.ones(2, 5))
    with pytest.raises(ContractError, match="channels last"):
        IrrepsLinear(Irreps("2x1o", layout="mul_ir"), "2x1o")


def test_layers_chain_by_their_irreps():
    net = Sequential(IrrepsLinear("4x0e+2x1o", "2x1o"), IrrepsLinear("2x1o", "3x1o"))
    check(net)
    with pytest.raises(ContractError, match="does not follow"):
        Sequential(IrrepsLinear("4x0e+2x1o", "2x1o"), IrrepsLinear("3x1o", "2x1o"))


def test_every_species_has_its_own_map(generator):
    torch.manual_seed(0)
    layer = SpeciesLinear("3x0e+2x1o", "2x0e+4x1o", 3)
    x, z = layer.irreps_in.randn(7, generator=generator), torch.tensor([0, 2, 1, 0, 0, 2, 2])
    check(layer, {"x": x, "z": z})
    layer = layer.double()
    one = IrrepsLinear("3x0e+2x1o", "2x0e+4x1o").double()
    with torch.no_grad():
        one.weight.copy_(layer.weight[2])
    assert torch.allclose(layer(x, z)[z == 2], one(x[z == 2]), atol=1e-13)
    assert layer(x[:0], z[:0]).shape == (0, 14)
    with pytest.raises(InputError, match="one species per feature"):
        layer(x, z[:3])
    with pytest.raises(InputError, match="at least one species"):
        SpeciesLinear("1x0e", "1x0e", 0)


class Free(IrrepsLinear):
    """A broken twin: components mix."""

    def forward(self, x):
        return super().forward(x.flip(-1))


def test_the_broken_twin_is_caught():
    with pytest.raises(Broken):
        check(Free("2x1o+2x0e", "2x1o"))
