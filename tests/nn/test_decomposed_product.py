import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.nn.decomposed_product import DecomposedProduct
from coset.ops.decomposed import Request
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
QUICK = Request(1, 7, "unit", sweeps=300)
COARSE = Request(1, 5, "norm", sweeps=200)


def irreps(channels, lmax=1):
    return Irreps([(channels, degree) for degree in range(lmax + 1)], SO(3))


def sample(layer, generator, items=60):
    return layer.contracts[0].inputs.example({"N": items}, generator=generator)


@pytest.mark.parametrize(
    ("mode", "u", "v", "outputs", "out"),
    [
        ("uvu", 4, 1, None, 4),
        ("uvu", 4, 3, None, 4),
        ("uvv", 2, 4, None, 4),
        ("uvw", 3, 2, 5, 5),
        ("uuw", 4, 4, 3, 3),
        ("uuu", 4, 4, None, 4),
    ],
)
def test_every_mode_is_exact_at_the_exact_rank(mode, u, v, outputs, out, generator):
    torch.manual_seed(0)
    layer = DecomposedProduct(irreps(u), irreps(v), QUICK, mode=mode, outputs=outputs, claim="exact")
    assert layer.irreps_out == irreps(out)
    assert layer.contracts[0].claim == "exact"
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10


def test_below_it_the_bound_holds_and_exactness_is_refused(generator):
    torch.manual_seed(0)
    layer = DecomposedProduct(irreps(16), irreps(1), COARSE)
    (contract,) = layer.contracts
    assert contract.claim == "approximate"
    assert contract.bound == 2 * layer.found.error
    found = check(layer, sample(layer, generator))
    assert max(found.errors.values()) > 0.1 * contract.bound
    with pytest.raises(ContractError, match="claim is 'approximate'"):
        DecomposedProduct(irreps(4), irreps(1), COARSE, claim="exact")
    with pytest.raises(Broken):
        check(layer, sample(layer, generator), Contract(SO(3), contract.inputs, contract.outputs))


def test_the_state_holds_the_factors(generator):
    torch.manual_seed(0)
    layer = DecomposedProduct(irreps(4), irreps(1), QUICK).double()
    twin = DecomposedProduct(irreps(4), irreps(1), Request(1, 7, "norm", sweeps=20)).double()
    x = sample(layer, generator)
    assert not torch.allclose(layer(**x), twin(**x))
    state = {name: value.clone() for name, value in layer.float().state_dict().items()}
    twin.load_state_dict(state)
    assert twin.found.error == layer.found.error
    assert twin.contracts == layer.contracts
    assert torch.allclose(twin(**x), layer.double()(**x), atol=1e-12)
    with pytest.raises(InputError, match="rank that was saved"):
        DecomposedProduct(irreps(4), irreps(1), COARSE).load_state_dict(state)


def test_derivatives_twice(generator):
    layer = DecomposedProduct(irreps(2), irreps(1), QUICK).double()
    x = sample(layer, generator, 2)
    inputs = tuple(value.requires_grad_() for value in (x["x"], x["y"]))
    assert torch.autograd.gradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(layer, inputs)


def test_bad_input_is_named():
    with pytest.raises(ContractError, match=r"irreps of SO\(3\)"):
        DecomposedProduct(Irreps("4x0e+4x1o"), Irreps("1x0e+1x1o"), QUICK)
    with pytest.raises(InputError, match="factors for lmax 1"):
        DecomposedProduct(irreps(4, 2), irreps(1, 2), QUICK)
    with pytest.raises(InputError, match="outputs in the modes"):
        DecomposedProduct(irreps(4), irreps(1), QUICK, mode="uvw")
    with pytest.raises(InputError, match="pairs equal channels"):
        DecomposedProduct(irreps(4), irreps(1), QUICK, mode="uuu")
