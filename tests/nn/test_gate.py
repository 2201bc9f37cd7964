import pytest
import torch
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO, Lorentz
from coset.nn.feature_map import regular_field
from coset.nn.gate import Gate, Pointwise
from coset.nn.linear import EquivariantLinear
from coset.nn.sequential import Sequential
from coset.reps.defining import Trivial, Vector
from coset.testing import Broken, check


@pytest.mark.parametrize("gated", [2 * Vector(SO(3)), Vector(SO(3)) * Vector(SO(3)), Vector(Lorentz(1, 3))], ids=str)
def test_gates_are_equivariant(gated, generator):
    gate = Gate(gated, 3)
    assert gate.rep_in.dim == 3 + len(gated.summands()) + gated.dim
    assert gate.rep_out.dim == 3 + gated.dim
    x = torch.randn(4, gate.rep_in.dim, generator=generator, dtype=torch.float64)
    assert max(check(gate, x).errors.values()) < 1e-10


def test_a_network_of_linear_layers_and_gates_keeps_its_contract(generator):
    torch.manual_seed(0)
    gate = Gate(4 * Vector(SO(3)), 4)
    net = Sequential(
        EquivariantLinear(2 * Vector(SO(3)) + Trivial(SO(3)), gate.rep_in), gate, EquivariantLinear(gate.rep_out, Vector(SO(3)))
    )
    x = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    assert max(check(net.double(), x).errors.values()) < 1e-10


def test_pointwise_is_right_on_numbers_that_move_and_wrong_on_vectors():
    check(Pointwise(F.relu, regular_field(2, C(4)), group=C(4)))
    with pytest.raises(Broken):
        check(Pointwise(F.relu, "N x vector", group=SO(3)))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least one scalar"):
        Gate(Vector(SO(3)), 0)
    assert Contract(SO(3), Gate(Vector(SO(3)), 1).rep_in, "... x scalar").group == SO(3)
