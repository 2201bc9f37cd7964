"""Products that share one weight for all paths: exact by plan, as exact as their factors by decomposition; smooth attention."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.decomposed_product import DecomposedProduct
from coset.nn.tdn_attention import (
    CoupledProduct,
    DegreeGate,
    ProductAttention,
    SharedLinear,
    factors_of,
    features,
    shared_product,
    unit_tensor,
)
from coset.ops.index import Edges
from coset.ops.rotation import rotate
from coset.testing import Broken, check

F64 = torch.float64


class Uneven(CoupledProduct):
    """A twin whose rows of degree 1 are not alike."""

    def forward(self, x, y):
        out = super().forward(x, y)
        return out * torch.linspace(1, 1.2, out.shape[-1]).to(out)


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_all_paths_are_exact(lmax):
    torch.manual_seed(0)
    assert max(check(CoupledProduct(3, lmax)).errors.values()) < 1e-12
    with pytest.raises(Broken, match="SO"):
        check(Uneven(3, lmax))


def test_the_unit_gauge_is_numbers_vectors_and_their_products(generator):
    """``(a, u) (b, v) -> (a b + u . v, a v + b u + u x v)``, the cross product by its own formula."""
    product = CoupledProduct(1, 1).double()
    product.weight.data.fill_(1.0)
    x, y = torch.randn(2, 5, 4, generator=generator, dtype=F64)
    a, u, b, v = x[:, :1], x[:, 1:], y[:, :1], y[:, 1:]
    z = product(x, y)
    assert torch.allclose(z[:, :1], a * b + (u * v).sum(-1, keepdim=True))
    cross = z[:, 1:] - a * v - b * u
    assert torch.allclose(cross.abs(), torch.linalg.cross(u, v).abs(), atol=1e-12)


def test_factors_at_full_rank_multiply_as_all_paths_do(generator):
    torch.manual_seed(0)
    exact, size = shared_product(3, 1, None)
    decomposed, other = shared_product(3, 1, factors_of(1, 7, None))
    decomposed.weight.data = exact.weight.data[:, None].clone()
    x, y = torch.randn(4, 12, generator=generator, dtype=F64), torch.randn(4, 4, generator=generator, dtype=F64)
    assert size == pytest.approx(other)
    assert torch.allclose(exact.double()(x, y), decomposed.double()(x, y), atol=1e-12)
    assert torch.allclose(DecomposedProduct.forward(decomposed, x, y), decomposed(x, y), atol=1e-12)


@pytest.mark.parametrize("rank", [None, 20])
def test_the_output_has_unit_variance(rank, generator):
    product, size = shared_product(64, 2, factors_of(2, rank, None))
    product.weight.data.fill_(1.0)
    x, y = torch.randn(400, 9 * 64, generator=generator), torch.randn(400, 9, generator=generator)
    assert float((size * product(x, y).detach()).square().mean()) == pytest.approx(1.0, abs=0.1)


def test_factors_by_default():
    assert factors_of(1, None, None) is None
    assert factors_of(1, 7, None).request.gauge == "unit"
    assert factors_of(2, 28, None).request.gauge == "fitted"
    assert unit_tensor(2).abs().max() == 1.0
    for rank in (0, 82):
        with pytest.raises(InputError, match=r"1\.\.81"):
            factors_of(2, rank, "unit")


def attention(**options):
    torch.manual_seed(0)
    return ProductAttention(4, 1, 3, factors_of(1, 7, None), **{"heads": 2, "alpha": 4, "hidden": 8} | options).double()


def test_channels_mix_alike_in_every_degree(generator):
    x = torch.randn(6, 9, 4, generator=generator, dtype=F64)
    (g,) = SO(3).sample(1, generator=generator, dtype=F64)
    for layer in (SharedLinear(4, 5).double(), DegreeGate(4).double()):
        assert torch.allclose(layer(rotate(x, g)), rotate(layer(x), g), atol=1e-12)


def test_attention_turns_with_its_input_and_leaves_lone_nodes_alone(generator):
    layer = attention()
    x, sh = torch.randn(5, 4, 4, generator=generator, dtype=F64), torch.randn(6, 4, generator=generator, dtype=F64)
    attr, envelope = torch.randn(6, 3, generator=generator, dtype=F64), torch.rand(6, generator=generator, dtype=F64)
    edges = Edges(torch.tensor([[1, 2, 0, 2, 3, 0], [0, 0, 1, 1, 2, 2]]), 5)
    (g,) = SO(3).sample(1, generator=generator, dtype=F64)
    y = layer(x, sh, attr, envelope, edges)
    turned = layer(rotate(x, g), rotate(sh[..., None], g)[..., 0], attr, envelope, edges)
    assert torch.allclose(turned, rotate(y, g), atol=1e-12)
    assert not y[3:, 1:].any(), "atoms without edges receive nothing"
    assert y[:3].abs().min() > 0
    cut = envelope.clone()
    cut[2:] = 0.0
    assert not layer(x, sh, attr, cut, edges)[1:3, 1:].any(), "the last edge of an atom leaves smoothly"


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="shared out"):
        attention(heads=3)
    assert features(2, 2).dim == 18
