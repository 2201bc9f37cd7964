import pytest
import torch
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.s2_activation import FrameSwiGLU, GridActivation, SwiGLUS2
from coset.nn.so2 import FrameGate
from coset.ops.orders import Orders
from coset.ops.rotation import Frames
from coset.ops.s2grid import S2Grid
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
NATURAL = "8x0e+8x1o+8x2e"


@pytest.mark.parametrize("irreps", [NATURAL, Irreps("4x0+4x1+4x2+4x3", SO(3)), "4x0e"], ids=str)
def test_products_on_the_grid_are_exact(irreps, generator):
    layer = SwiGLUS2(irreps)
    assert max(check(layer, layer.irreps_in.randn(5, generator=generator)).errors.values()) < 1e-12


@pytest.mark.parametrize("irreps", [NATURAL, Irreps("8x0+8x1+8x2+8x3+8x4", SO(3))], ids=str)
def test_other_functions_are_approximate_with_a_bound(irreps, generator):
    layer = GridActivation(irreps)
    (contract,) = layer.contracts
    assert 1e-3 < contract.bound < 0.01
    check(layer, layer.irreps.randn(20, generator=generator))


def test_finer_grids_lower_the_bound(generator):
    bounds = [GridActivation(NATURAL, grid=S2Grid(2, degree=degree)).contracts[0].bound for degree in (6, 10, 20)]
    assert bounds[0] > 5 * bounds[1] > 25 * bounds[2]


def test_the_linear_function_is_exact(generator):
    layer = GridActivation(NATURAL, lambda v: 2 * v)
    assert layer.contracts[0].bound < 1e-12
    x = layer.irreps.randn(3, generator=generator)
    assert torch.allclose(layer(x), 2 * x, atol=1e-12)


def test_scalars_act_by_themselves(generator):
    layer = SwiGLUS2("2x0e+2x1o")
    x = torch.zeros(1, layer.irreps_in.dim, dtype=F64)
    x[0, :4] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    want = F.silu(torch.tensor([1.0, 2.0])).double() * torch.tensor([3.0, 4.0])
    assert torch.allclose(layer(x)[0, :2], want, atol=1e-6)
    assert torch.equal(layer(x)[0, 2:], torch.zeros(6, dtype=F64))


@pytest.mark.parametrize("mmax", [0, 1, 3])
@pytest.mark.parametrize("kind", [FrameSwiGLU, FrameGate])
def test_activations_in_frames_keep_the_symmetry_about_the_edge(kind, mmax, generator):
    layer = kind(Orders(3, mmax), 2)
    assert max(check(layer, layer.contracts[0].inputs.example({"E": 5}, generator=generator)).errors.values()) < 1e-12


def test_the_frame_with_all_orders_is_the_whole_layer(generator):
    orders, layer = Orders(2, 2), SwiGLUS2(Irreps("3x0+3x1+3x2", SO(3)))
    x, frames = layer.irreps_in.randn(5, generator=generator), Frames.of(torch.randn(5, 3, generator=generator, dtype=F64), 2)
    s, signal = x[:, :9], x[:, 9:].unflatten(-1, (9, 6))
    inside = FrameSwiGLU(orders, 3)(frames.enter(signal, orders).flatten(1), s).unflatten(1, (9, 3))
    assert torch.allclose(frames.leave(inside, orders).flatten(1), layer(x), atol=1e-12)


def test_derivatives_twice(generator):
    layer = SwiGLUS2("1x0e+1x1o")
    x = layer.irreps_in.randn(2, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="degrees 0, 1"):
        GridActivation("4x0e+4x2e")
    with pytest.raises(InputError, match="one multiplicity"):
        SwiGLUS2("4x0e+2x1o")
    with pytest.raises(InputError, match="parity"):
        SwiGLUS2("4x0e+4x1e")
    with pytest.warns(UserWarning, match="integrands"):
        coarse = S2Grid(2, beta=2, alpha=3, exact=False)
    with pytest.raises(InputError, match="promises exactness"):
        SwiGLUS2(NATURAL, grid=coarse)
    with pytest.raises(InputError, match="expected"):
        SwiGLUS2(NATURAL)(torch.zeros(1, 4))


def test_the_claim_of_exactness_is_refused_for_silu():
    class Claims(GridActivation):
        """A broken twin: a pointwise function that claims to be exact."""

        def __init__(self):
            super().__init__(NATURAL)
            self.contracts = SwiGLUS2(NATURAL).contracts[:0] + (
                type(self.contracts[0])(self.irreps.group, self.irreps, self.irreps),
            )

    with pytest.raises(Broken):
        check(Claims())
