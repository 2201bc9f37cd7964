"""Products by instructions: every mode and normalization gives the numbers of e3nn; equivariance; misfits are named."""

import warnings

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.orthogonal import O
from coset.ops.instructed import full, fully_connected, tensor_product
from coset.reps.conventions import to_ir_mul
from coset.reps.irreps import Irreps

MIXTURE = ("4x0e+4x1o", "4x0e+4x1o", "4x0e+4x1o+16x1e+3x0e+4x1o+1x0e")


def paths(weighted: bool) -> list[tuple]:
    return [
        (0, 0, 0, "uuu", weighted),
        (0, 1, 1, "uvv", weighted, 0.3),
        (1, 1, 0, "uuu", weighted),
        (1, 1, 2, "uvuv", weighted),
        (1, 1, 3, "uvw", True),
        (1, 1, 3, "uuw", True),
        (1, 0, 4, "uvu", weighted),
        (0, 0, 5, "uuw", weighted),
    ]


def in_float64(make):
    """e3nn's modules take the default dtype when they are made and when they run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="compares with e3nn 0.6 (extra 'peers')")
        torch.set_default_dtype(torch.float64)
        try:
            return make(o3)
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("norms", [("component", "element"), ("norm", "path"), ("none", "none")])
def test_every_mode_equals_e3nn(norms, weighted, shared, generator):
    options = {"irrep_normalization": norms[0], "path_normalization": norms[1]}
    one, two, out = (Irreps(text) for text in MIXTURE)
    ours = tensor_product(*MIXTURE, paths(weighted), **options)
    x, y = (side.randn(5, generator=generator) for side in (one, two))

    def theirs(o3):
        peer = o3.TensorProduct(*MIXTURE, paths(weighted), shared_weights=shared, internal_weights=False, **options)
        assert peer.weight_numel == ours.weight_numel
        w = torch.randn(*(() if shared else (5,)), ours.weight_numel, generator=generator)
        return w, to_ir_mul(out, peer(x, y, w))

    w, expected = in_float64(theirs)
    found = ours(to_ir_mul(one, x), to_ir_mul(two, y), w)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_fully_connected_equals_e3nn_with_derivatives(generator):
    texts = ("8x0e+4x1o", "5x0e+2x1o", "6x1o+2x0e+3x1e")
    one, two, out = map(Irreps, texts)
    ours = fully_connected(*texts)
    inputs = [one.randn(5, generator=generator), two.randn(5, generator=generator)]
    inputs += [torch.randn(ours.weight_numel, generator=generator, dtype=torch.float64)]
    inputs = [x.requires_grad_() for x in inputs]

    def derivatives(function):
        value = function(*inputs)
        first = torch.autograd.grad(value.pow(3).sum(), inputs, create_graph=True)
        return value, *first, *torch.autograd.grad(sum(f.square().sum() for f in first), inputs)

    def theirs(o3):
        peer = o3.FullyConnectedTensorProduct(*texts, internal_weights=False, shared_weights=True)
        return derivatives(lambda x, y, w: to_ir_mul(out, peer(x, y, w)))

    found = derivatives(lambda x, y, w: ours(to_ir_mul(one, x), to_ir_mul(two, y), w))
    for a, b in zip(found, in_float64(theirs), strict=True):
        assert (a - b).abs().max() <= 1e-12 * max(1.0, b.abs().max())


@pytest.mark.parametrize(
    "make", [lambda: fully_connected("3x0e+4x1o", "2x1o+1x2e", "3x1e+2x3o+1x0e"), lambda: full("3x0e+2x1o", "1x1o+2x2e")]
)
def test_equivariance(make, generator):
    tp = make()
    rotations = O(3).sample(8, generator=generator).double()
    x, y = tp.irreps_1.randn(8, generator=generator), tp.irreps_2.randn(8, generator=generator)
    w = torch.randn(tp.weight_numel, generator=generator, dtype=torch.float64)
    moved = tp(tp.irreps_1.transform(rotations, x), tp.irreps_2.transform(rotations, y), w)
    assert (moved - tp.irreps_out.transform(rotations, tp(x, y, w))).abs().max() <= 1e-12


def test_full_product_has_every_pair():
    tp = full("3x0e+2x1o", "1x1o+2x2e", keep="1o+2e")
    assert str(tp.irreps_out) == "3x1o+4x1o+6x2e+2x2e"
    assert tp.weight_numel == 0


def test_batches_broadcast(generator):
    tp = fully_connected("3x0e+4x1o", "2x1o", "3x1e")
    x = tp.irreps_1.randn(4, 1, generator=generator)
    y = tp.irreps_2.randn(5, generator=generator)
    w = torch.randn(tp.weight_numel, generator=generator, dtype=torch.float64)
    out = tp(x, y, w)
    assert out.shape == (4, 5, tp.irreps_out.dim)
    torch.testing.assert_close(out[2, 3], tp(x[2, 0], y[3], w), rtol=0, atol=1e-14)
    torch.testing.assert_close(tp(x, y, w.expand(4, 5, -1)), out, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("instruction", "error", "message"),
    [
        ((0, 0, 1, "uvw"), ContractError, "path uvw 8x0e x 1x0e -> 1x1o: 0e x 0e contains 0e, not 1o"),
        ((0, 0, 0, "uvu"), InputError, "path uvu 8x0e x 1x0e -> 4x0e: the output has multiplicity 8 in this mode, got 4"),
        ((0, 3, 0, "uvu"), InputError, r"i2 = 3, but 1x0e\+1x1o has 2 blocks"),
        ((0, 0, 0, "uwu"), InputError, "unknown mode of path uwu 8x0e x 1x0e -> 4x0e"),
        ((0, 0, 0, "uuu"), InputError, "equal multiplicities, got 8 and 1"),
        ((0, 0, 0, "uvw", False), InputError, "this mode needs weights"),
    ],
)
def test_a_path_that_does_not_fit_is_named(instruction, error, message):
    with pytest.raises(error, match=message):
        tensor_product("8x0e", "1x0e+1x1o", "4x0e+1x1o", [instruction])


def test_shapes_are_checked(generator):
    tp = fully_connected("3x0e+4x1o", "2x1o", "3x1e")
    with pytest.raises(InputError, match=r"x is \(..., 15\), flat features of 3x0e\+4x1o"):
        tp(torch.ones(2, 14), torch.ones(2, 6), torch.ones(tp.weight_numel))
    with pytest.raises(InputError, match=r"weights are \(..., 24\) for paths \[\(4, 2, 3\)\]"):
        tp(torch.ones(2, 15), torch.ones(2, 6))
