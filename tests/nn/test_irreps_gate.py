import pytest
import torch
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_gate import IrrepsGate, second_moment
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.sequential import Sequential
from coset.reps.irreps import Irreps
from coset.testing import Broken, check


@pytest.mark.parametrize(
    ("scalars", "gated"),
    [("4x0e", "2x1o+1x2e"), ("3x0e+2x0o", "2x1e+1x1o"), ("2x0e", ""), (Irreps("4x0", SO(3)), Irreps("2x1+3x2", SO(3)))],
    ids=str,
)
def test_gates_are_equivariant(scalars, gated, generator):
    gate = IrrepsGate(scalars, gated)
    assert gate.irreps_in.dim == gate.irreps_out.dim + gate.gated.num_irreps
    check(gate, gate.irreps_in.randn(6, generator=generator))


def test_activations_keep_the_second_moment(generator):
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
    assert second_moment(F.silu) == pytest.approx(float(torch.trapezoid(F.silu(z).square() * weight, z)), rel=1e-8)
    gate = IrrepsGate("50x0e+50x0o", "20x1o")
    out = gate(gate.irreps_in.randn(2000, generator=generator))
    assert out[:, :100].square().mean() == pytest.approx(1, rel=0.03)
    assert out[:, 100:].square().mean() == pytest.approx(1, rel=0.03)
    plain = IrrepsGate("1x0e", "", normalized=False)
    assert torch.equal(plain(torch.ones(1, 1)), F.silu(torch.ones(1, 1)))


def test_a_network_keeps_its_contract():
    torch.manual_seed(0)
    gate = IrrepsGate("4x0e", "4x1o+2x2e")
    check(Sequential(IrrepsLinear("2x0e+2x1o+2x2e", gate.irreps_in), gate, IrrepsLinear(gate.irreps_out, "1x1o")))


def test_pseudoscalars_need_an_odd_function():
    with pytest.raises(InputError, match="odd function"):
        IrrepsGate("2x0o", "1x1o", odd=F.silu)
    with pytest.raises(InputError, match="one component"):
        IrrepsGate("2x1o", "1x1o")
    with pytest.raises(InputError, match="expected"):
        IrrepsGate("2x0e", "1x1o")(torch.ones(2, 3))

    class Even(IrrepsGate):
        """A broken twin: an even function on pseudoscalars."""

        def __init__(self):
            super().__init__("2x0e+2x0o", "1x1o")
            self.functions = [F.silu, torch.cos]

    with pytest.raises(Broken):
        check(Even())


def test_derivatives_twice(generator):
    gate = IrrepsGate("1x0e+1x0o", "1x1o")
    x = gate.irreps_in.randn(2, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(gate, (x,))
    assert torch.autograd.gradgradcheck(gate, (x,))
