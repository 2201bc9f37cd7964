"""Channelwise products: the formula, rows of the output, equivariance to rounding, e3nn's numbers, errors."""

import warnings

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO, O
from coset.ops.index import Edges
from coset.ops.tensor_product import channelwise, elementwise
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps


def test_one_path_is_the_formula(generator):
    tp = channelwise("4x1o", "2e", keep="3o", source="item", target="item")
    x, s, w = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 3, 4), (5, 5), (5, 1, 4)))
    expected = 7**0.5 * torch.einsum("ijk,nic,nj,nc->nkc", wigner_3j(1, 2, 3), x, s, w[:, 0])
    torch.testing.assert_close(tp(x, s, w), expected, rtol=0, atol=1e-13)


def test_gather_and_scatter_surround_the_product(generator):
    filters, keep = "0e+1o", "0e+1o"
    edge_index = torch.randint(0, 4, (2, 12), generator=generator)
    inside = channelwise("4x0e+4x1o", filters, keep=keep)
    alone = channelwise("4x0e+4x1o", filters, keep=keep, source="item", target="item")
    x, s, w = (
        torch.randn(n, generator=generator, dtype=torch.float64) for n in ((4, 4, 4), (12, 4), (12, len(inside.paths), 4))
    )
    messages = alone(x[edge_index[0]], s, w)
    expected = messages.new_zeros(4, *messages.shape[1:]).index_add(0, edge_index[1], messages)
    torch.testing.assert_close(inside(x, s, w, Edges(edge_index, 4)), expected, rtol=0, atol=1e-13)
    batched = alone(x[edge_index[0]].view(3, 4, 4, 4), s.view(3, 4, 4), w.view(3, 4, -1, 4))
    torch.testing.assert_close(batched.flatten(0, 1), messages, rtol=0, atol=1e-13)


def test_the_output_is_the_feature_of_its_irreps(generator):
    """Row = offset + m P + p: flattened, the output is a feature of irreps_out, moved as irreps move."""
    tp = channelwise("6x0e+3x1o+6x1e", "0e+1o+2e", weights="absent", source="item", target="item")
    rotations = O(3).sample(5, generator=generator).double()
    x = tp.irreps_in.randn(5, generator=generator)
    s = tp.irreps_filter.randn(5, generator=generator)
    moved = tp(tp.irreps_in.transform(rotations, x).unflatten(-1, (-1, 3)), tp.irreps_filter.transform(rotations, s))
    expected = tp.irreps_out.transform(rotations, tp(x.unflatten(-1, (-1, 3)), s).flatten(-2))
    assert (moved.flatten(-2) - expected).abs().max() <= 1e-12
    assert tp.irreps_out == tp.irreps_out.regroup()


@pytest.mark.parametrize("group", ["improper", "proper"])
def test_elementwise_is_equivariant(group, generator):
    tp = elementwise("4x0e+4x1o+4x2e", "4x0o+4x1o", weights="shared")
    rotations = O(3).sample(6, generator=generator).double()
    rotations = rotations * (torch.linalg.det(rotations).sign() * (1 if group == "proper" else -1))[:, None, None]
    x, y = tp.irreps_in.randn(6, generator=generator), tp.irreps_filter.randn(6, generator=generator)
    w = torch.randn(len(tp.paths), 4, generator=generator, dtype=torch.float64)

    def call(x, y):
        return tp(x.unflatten(-1, (-1, 4)), y.unflatten(-1, (-1, 4)), w).flatten(-2)

    moved = call(tp.irreps_in.transform(rotations, x), tp.irreps_filter.transform(rotations, y))
    assert (moved - tp.irreps_out.transform(rotations, call(x, y))).abs().max() <= 1e-12


@pytest.mark.parametrize(("normalization", "power"), [("component", 1.0), ("norm", None), ("none", None)])
def test_normalization(normalization, power, generator):
    tp = channelwise("1x1o", "2e", keep="3o", weights="absent", source="item", target="item", normalization=normalization)
    x, s = (torch.randn(200_000, n, *end, generator=generator) for n, end in ((3, (1,)), (5, ())))
    if normalization == "norm":
        out = tp(x / x.norm(dim=1, keepdim=True), s / s.norm(dim=1, keepdim=True))
        assert abs(out.square().sum(1).mean() - 1) < 0.02
    elif normalization == "component":
        assert abs(tp(x, s).square().mean() - power) < 0.02
    else:
        assert abs(tp(x, s).square().sum(1).mean() - 1) < 0.02


@pytest.mark.parametrize("degrees", [(1, 2, 2), (2, 3, 3)])
def test_equals_e3nn_with_derivatives(degrees, generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("e3nn", reason="compares with e3nn 0.6 (extra 'peers')")
        from coset.ops.backends.adapters.e3nn import Convolution
    l_in, l_sh, l_out = degrees
    tp = channelwise(Irreps.spherical_harmonics(l_in) * 1, Irreps.spherical_harmonics(l_sh), Irreps.spherical_harmonics(l_out))
    tp = channelwise([(3, ir) for _, ir in tp.irreps_in], tp.irreps_filter, Irreps.spherical_harmonics(l_out))
    edges = Edges(torch.randint(0, 4, (2, 15), generator=generator), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Convolution(tp, dtype=torch.float64)
        shapes = (4, tp.rows_in.count, 3), (15, tp.irreps_filter.dim), (15, len(tp.paths), 3)
        inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]

        def derivatives(function):
            out = function(*inputs)
            first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
            return out, *first, *torch.autograd.grad(sum(f.square().sum() for f in first), inputs)

        expected = derivatives(lambda x, s, w: peer.output(peer(*peer.inputs(x, s, w), edges)))
    for a, b in zip(derivatives(lambda *x: tp(*x, edges)), expected, strict=True):
        assert (a - b).abs().max() <= 1e-13 * max(1.0, b.abs().max())


def test_multiplicities_need_not_be_equal(generator):
    """Channels are the greatest common divisor; a block of twice as many is two copies, each with its own paths."""
    tp = channelwise("4x0e+2x1o", "1o", source="item", target="item", weights="absent", keep="1o")
    assert (tp.channels, len(tp.paths), str(tp.irreps_out)) == (2, 2, "4x1o")
    x = torch.randn(3, 10, generator=generator, dtype=torch.float64)
    s = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    out = tp(x.view(3, 5, 2), s)  # both copies of the scalar times the vector
    torch.testing.assert_close(out.reshape(3, 3, 4), s[:, :, None] * x[:, None, :4])


def test_errors():
    with pytest.raises(InputError, match="no path: 2x0e x 1x1o contains none of 1x2e"):
        channelwise("2x0e", "1o", keep="2e")
    with pytest.raises(InputError, match="unknown normalization"):
        channelwise("2x0e", "1o", normalization="components")
    with pytest.raises(InputError, match="unknown weights 'edge'"):
        channelwise("2x0e", "1o", weights="edge")
    with pytest.raises(ContractError, match="different groups"):
        channelwise(Irreps("2x0+2x1", SO(3)), Irreps("1x1o"))
    tp = channelwise("2x0e+2x1o", "1o", source="item", target="item", weights="absent")
    with pytest.raises(InputError, match=r"leading axes \[\(4,\), \(3,\)\], not equal"):
        tp(torch.ones(4, 4, 2), torch.ones(3, 3))
    with pytest.raises(InputError, match="takes 2 operands"):
        tp(torch.ones(4, 4, 2), torch.ones(4, 3), torch.ones(4, 1, 2))
