import pytest
import torch
from torch import nn

from coset.errors import ContractError
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import GL, SO, Lorentz, O
from coset.groups.permutation import S
from coset.nn.linear import EquivariantLinear
from coset.reps.defining import Permutation, Trivial, Vector
from coset.reps.induced import Regular
from coset.reps.intertwiners import intertwiners
from coset.testing import Broken, check

F64 = torch.float64
PAIRS = [
    (3 * Vector(SO(3)), 2 * Vector(SO(3)) + Trivial(SO(3))),
    (Vector(O(3)) * Vector(O(3)), Trivial(O(3)) + Vector(O(3)) * Vector(O(3))),
    (Regular(C(5)), 2 * Regular(C(5))),
    (Regular(D(3)), Trivial(D(3)) + Regular(D(3))),
    (Vector(SO(2)), 2 * Vector(SO(2))),
    (Permutation(S(4)), Permutation(S(4)) + Trivial(S(4))),
    (Vector(Octahedral()) * Vector(Octahedral()), Vector(Octahedral())),
    (Vector(Lorentz(1, 3)), 2 * Vector(Lorentz(1, 3))),
    (Vector(GL(2)) * Vector(GL(2)).dual(), Trivial(GL(2))),
]


@pytest.mark.parametrize(("rep_in", "rep_out"), PAIRS, ids=lambda r: f"{r} of {r.group}")
def test_layers_of_any_group_are_equivariant(rep_in, rep_out, generator):
    torch.manual_seed(0)
    layer = EquivariantLinear(rep_in, rep_out).double()
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = torch.randn(4, rep_in.dim, generator=generator, dtype=F64)
    assert max(check(layer, x).errors.values()) < 1e-10


def test_known_numbers_of_weights():
    counts = {
        "vectors": (3 * Vector(SO(3)), 2 * Vector(SO(3)), 6),
        "turns of the plane": (Vector(SO(2)), Vector(SO(2)), 2),
        "circulant": (Regular(C(5)), Regular(C(5)), 5),
        "sets": (Permutation(S(4)), Permutation(S(4)), 2),
    }
    for name, (a, b, k) in counts.items():
        assert sum(w.numel() for w in EquivariantLinear(a, b, bias=False).parameters()) == k, name


def test_the_bias_is_an_invariant_vector():
    layer = EquivariantLinear(Vector(SO(3)), Vector(SO(3)) + Trivial(SO(3)))
    assert layer.bias.numel() == 1
    assert EquivariantLinear(Vector(SO(3)), Vector(SO(3))).bias is None
    assert EquivariantLinear(Regular(C(3)), Regular(C(3)), bias=False).bias is None


def test_outputs_start_with_the_variance_of_the_inputs(generator):
    rep_in, rep_out = 16 * Regular(C(8)), 16 * Regular(C(8))
    torch.manual_seed(0)
    x = torch.randn(200, rep_in.dim, generator=generator)
    assert 0.7 < EquivariantLinear(rep_in, rep_out)(x).var() < 1.4


@pytest.mark.parametrize(("rep_in", "rep_out"), PAIRS[:6], ids=lambda r: f"{r} of {r.group}")
def test_blocks_are_the_whole_space_of_intertwiners(rep_in, rep_out):
    basis, layer = intertwiners(rep_in, rep_out).flatten(1), EquivariantLinear(rep_in, rep_out, bias=False).double()
    assert sum(w.numel() for w in layer.parameters()) == len(basis)
    w = layer.matrix(torch.zeros(1, dtype=F64)).flatten()
    assert torch.allclose(basis.T @ (basis @ w), w, atol=1e-10)


def test_open_leading_axes(generator):
    layer = EquivariantLinear(Vector(SO(3)), 2 * Vector(SO(3)))
    x = torch.randn(2, 5, 3, generator=generator)
    assert torch.allclose(layer(x)[1, 2], layer(x[1, 2]), atol=1e-6)


def test_the_only_map_is_zero():
    with pytest.raises(ContractError, match="is zero"):
        EquivariantLinear(Vector(SO(3)), Trivial(SO(3)))
    silent = EquivariantLinear(Vector(SO(3)), Trivial(SO(3)), zero=True, bias=False)
    assert torch.equal(silent(torch.ones(3)), torch.zeros(1))


def test_two_groups_do_not_meet():
    with pytest.raises(ContractError):
        EquivariantLinear(Vector(SO(3)), Vector(O(3)))


class Free(nn.Linear):
    """A broken twin: any matrix."""

    def __init__(self):
        super().__init__(3, 3)
        self.contracts = EquivariantLinear(Vector(SO(3)), Vector(SO(3))).contracts


def test_the_broken_twin_is_caught():
    with pytest.raises(Broken):
        check(Free().double())
