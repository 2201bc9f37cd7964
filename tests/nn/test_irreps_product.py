import pytest
import torch

from coset.errors import CosetError, InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.irreps_product import FullyConnectedProduct, ManyBody
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64


def sample(layer, generator, nodes=6):
    x = layer.contracts[0].inputs.example({"N": nodes}, generator=generator)
    if "z" in x:
        x["z"] = torch.arange(nodes) % 2
    return x


@pytest.mark.parametrize(
    "irreps",
    [
        ("3x0e+2x1o", "2x0e+1x1o", "4x0e+2x1o+1x1e"),
        ("2x1o+1x2e", "1x1o", "2x1o+2x0e+1x1e"),
        (Irreps("2x0+2x1", SO(3)), Irreps("1x0+1x1", SO(3)), Irreps("2x0+2x1+1x2", SO(3))),
    ],
    ids=str,
)
def test_fully_connected_products_keep_their_contracts(irreps, generator):
    torch.manual_seed(0)
    layer = FullyConnectedProduct(*irreps)
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10


def test_a_species_is_a_scalar_operand(generator):
    torch.manual_seed(0)
    layer, linear = (
        FullyConnectedProduct("3x0e+2x1o", "1x0e", "2x0e+2x1o").double(),
        IrrepsLinear("3x0e+2x1o", "2x0e+2x1o").double(),
    )
    with torch.no_grad():
        linear.weight.copy_(layer.weight)
    x = torch.randn(5, 9, generator=generator, dtype=F64)
    assert torch.allclose(layer(x, torch.ones(5, 1, dtype=F64)), linear(x), atol=1e-12)
    assert torch.allclose(layer(x, torch.ones(1, dtype=F64)), linear(x), atol=1e-12)


@pytest.mark.parametrize(
    ("irreps_in", "irreps_out"), [("4x0e+4x1o+4x2e", "3x0e+2x1o"), ("4x0e+4x1o", "4x0e"), ("4x1o+4x1e", "4x0o+4x0e")]
)
@pytest.mark.parametrize("correlation", [2, 3])
def test_many_body_layers_keep_their_contracts(irreps_in, irreps_out, correlation, generator):
    torch.manual_seed(0)
    layer = ManyBody(irreps_in, irreps_out, 2, correlation=correlation)
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10


def test_powers_and_species(generator):
    torch.manual_seed(0)
    layer = ManyBody("2x1o", "2x0e", 3, correlation=2).double()
    x = torch.randn(4, 6, generator=generator, dtype=F64)
    assert torch.allclose(layer(2 * x, torch.zeros(4).long()), 4 * layer(x, torch.zeros(4).long()), atol=1e-12)
    mixed = layer(x, torch.tensor([0, 1, 2, 1]))
    assert torch.allclose(mixed[2], layer(x[2:3], torch.tensor([2]))[0], atol=1e-13)
    assert not torch.allclose(mixed[2], layer(x[2:3], torch.tensor([0]))[0])


def test_derivatives_twice_and_state(generator):
    torch.manual_seed(0)
    layer, twin = (ManyBody("1x0e+1x1o", "1x0e+1x1o", 2).double() for _ in range(2))
    x, z = torch.randn(3, 4, generator=generator, dtype=F64, requires_grad=True), torch.tensor([0, 1, 0])
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x, z), twin(x, z))
    assert torch.autograd.gradcheck(lambda x: layer(x, z), (x,))
    assert torch.autograd.gradgradcheck(lambda x: layer(x, z), (x,))
    pair = FullyConnectedProduct("1x0e+1x1o", "1x0e+1x1o", "1x0e+1x1o").double()
    other = torch.randn(3, 4, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(pair, (x, other))
    assert torch.autograd.gradgradcheck(pair, (x, other))


class Flipped(FullyConnectedProduct):
    """A broken twin: components in the wrong order."""

    def forward(self, x, y):
        return super().forward(x, y.flip(-1))


def test_broken_twin_and_bad_input(generator):
    layer = Flipped("2x0e+2x1o", "1x0e+1x1o", "2x0e+2x1o")
    with pytest.raises(Broken):
        check(layer, sample(layer, generator))
    with pytest.raises(CosetError, match="2e"):
        FullyConnectedProduct("2x0e+2x1o", "1x0e", "2x0e+1x2e")
    with pytest.raises(InputError, match="1 to 4"):
        ManyBody("2x0e", "2x0e", 1, correlation=5)
    with pytest.raises(InputError, match="at least one species"):
        ManyBody("2x0e", "2x0e", 0)
    with pytest.raises(InputError, match="parity"):
        ManyBody("2x0e+2x1o", "2x1e", 1, correlation=2)
