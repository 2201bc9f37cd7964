"""The meter returns the published figures, sees what is missing, and refuses what is no product."""

import warnings

import pytest
import torch
from torch import nn

from coset.audits.bilinear import Bilinear, Feature
from coset.audits.expressivity import Expressivity, expressivity
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import O
from coset.ops.gaunt import GauntProduct
from coset.ops.matrix_product import MatrixProduct
from coset.ops.vector_product import VectorProduct
from coset.reps.clebsch_gordan import wigner_3j

CG, EVEN = (5, 15, 34, 65, 111, 175), (4, 11, 23, 42, 69, 106)  # paths for L = 1..6, those of even sums


def irreps(lmax):
    return "+".join(f"{degree}{'eo'[degree % 2]}" for degree in range(lmax + 1))


def paths_of(lmax):
    top = range(lmax + 1)
    return [(a, b, c) for a in top for b in top for c in top if abs(a - b) <= c <= a + b]


def clebsch_gordan(lmax):
    """Path by path, a weight each."""

    def op(x, y, w):
        out = [0] * (lmax + 1)
        for i, (a, b, c) in enumerate(paths_of(lmax)):
            one, two = x[..., a * a : (a + 1) ** 2, :], y[..., b * b : (b + 1) ** 2, :]
            out[c] = out[c] + w[i] * torch.einsum("ijk,...ic,...jc->...kc", wigner_3j(a, b, c), one, two)
        return torch.cat(out, -2)

    return op


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_clebsch_gordan_reaches_everything(lmax):
    found = expressivity(clebsch_gordan(lmax), irreps(lmax), irreps(lmax), irreps(lmax), weights=[(CG[lmax - 1],)])
    assert found.expressivity == found.bound == CG[lmax - 1]
    assert (found.interacts == found.allowed).all()
    assert found.paths == CG[lmax - 1]
    assert found.equivariance_error < 1e-12


@pytest.mark.parametrize("engine", ["grid", "fourier", "dense"])
@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_gaunt_products_reach_three_numbers_per_degree(lmax, engine):
    found = expressivity(GauntProduct(lmax, lmax, lmax, engine), irreps(lmax), irreps(lmax), irreps(lmax))
    assert found.expressivity == 3 * (lmax + 1) - 2
    assert found.paths == EVEN[lmax - 1]
    for i, j, k in zip(*found.interacts.nonzero(), strict=True):
        assert (i + j + k) % 2 == 0
    assert found.bound == CG[lmax - 1]
    assert expressivity(GauntProduct(lmax, lmax, lmax), *[irreps(lmax)] * 3, group=O(3)).bound == EVEN[lmax - 1]


@pytest.mark.slow
@pytest.mark.parametrize("lmax", [4, 5, 6])
def test_higher_degrees(lmax):
    found = expressivity(clebsch_gordan(lmax), irreps(lmax), irreps(lmax), irreps(lmax), weights=[(CG[lmax - 1],)])
    assert found.expressivity == found.paths == CG[lmax - 1]
    gaunt = expressivity(GauntProduct(lmax, lmax, lmax), irreps(lmax), irreps(lmax), irreps(lmax))
    assert (gaunt.expressivity, gaunt.paths) == (3 * (lmax + 1) - 2, EVEN[lmax - 1])


def test_vector_products_bring_the_odd_path():
    found = expressivity(VectorProduct(1, 1, 1), irreps(1), irreps(1), irreps(1))
    assert found.interacts[1, 1, 1]
    assert found.paths == 1


def test_weights_of_the_fields_raise_the_expressivity():
    shapes = [(4, 2)] * 3
    plain = expressivity(VectorProduct(3, 3, 3), *[irreps(3)] * 3)
    free = expressivity(VectorProduct(3, 3, 3), *[irreps(3)] * 3, weights=shapes)
    assert plain.expressivity < free.expressivity <= plain.paths == free.paths


def test_matrix_products_have_all_paths_and_few_numbers():
    found = expressivity(MatrixProduct(2, 2, 2), *[irreps(2)] * 3)
    assert (found.paths, found.expressivity) == (15, 7)


class Separate(nn.Module):
    """A product with a weight of its own that only scales the whole."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.product = GauntProduct(1, 1, 1)

    def forward(self, x, y):
        return self.product(x, y) * self.scale.prod()


def test_weights_of_a_module_count_once():
    found = expressivity(Separate(), *[irreps(1)] * 3)
    assert (found.weights, found.expressivity) == (2 + 6, 4)


@pytest.mark.parametrize("layout", ["rows", "ir_mul"])
def test_channels_are_counted(layout):
    """Two channels, each multiplied with its own partner and mixed before and after: 2 x 2 x 2 maps per path of scalars."""
    found = expressivity(lambda x, y: x * y, "2x0e", "2x0e", "2x0e", layout=layout)
    assert found.bound == 8
    assert found.expressivity == 8


def test_foreign_products_are_rated():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="rates e3nn's product")
        ins, out = "2x0e+1x1o", "1x0e+2x1o+1x1e"
        full = o3.FullyConnectedTensorProduct(ins, ins, out)
        found = expressivity(full, ins, ins, out, layout="mul_ir", group=O(3))
        assert found.expressivity == found.bound == full.weight_numel
        assert found.equivariance_error < 1e-5  # its coefficients are float32
        assert not expressivity(full, ins, ins, out, layout="mul_ir", group=O(3)).flags
        assert expressivity(full, ins, ins, out, layout="ir_mul", group=O(3)).flags  # the wrong layout shows


def test_what_is_not_equivariant_is_flagged():
    def skewed(x, y):
        return GauntProduct(1, 1, 1)(x, y) * torch.tensor([1.0, 1.0, 1.1, 1.0]).double()[:, None]

    found = expressivity(skewed, *[irreps(1)] * 3)
    assert found.equivariance_error > 1e-3
    assert "not equivariant" in str(found)


def test_bad_input_is_refused():
    ir = irreps(1)
    with pytest.raises(InputError, match="is not bilinear"):
        expressivity(lambda x, y: GauntProduct(1, 1, 1)(x, y) ** 2, ir, ir, ir)
    with pytest.raises(InputError, match="not bilinear"):
        expressivity(lambda x, y: GauntProduct(1, 1, 1)(x, y) + x, ir, ir, ir)
    with pytest.raises(InputError, match="makes 3e"):
        expressivity(GauntProduct(1, 1, 1), ir, ir, "0e+3e")
    with pytest.raises(InputError, match="makes 1e"):
        expressivity(GauntProduct(1, 1, 1), "0e", ir, "0e+1e", group=O(3))
    with pytest.raises(InputError, match="SO"):
        expressivity(GauntProduct(1, 1, 1), ir, ir, ir, group=C(4))
    with pytest.raises(InputError, match="layout"):
        expressivity(GauntProduct(1, 1, 1), ir, ir, ir, layout="row")
    with pytest.raises(InputError, match="expected outputs of 4"):
        expressivity(GauntProduct(1, 1, 2), ir, ir, ir)
    with pytest.raises(InputError, match="one channel"):
        expressivity(lambda x, y: x * y, "64x0e", "64x0e", "64x0e")


def test_it_saves_and_draws_itself(tmp_path):
    found = expressivity(GauntProduct(1, 1, 1), *[irreps(1)] * 3)
    again = Expressivity.load(found.save(tmp_path / "found.npz"))
    assert str(again) == str(found)
    assert (again.interacts == found.interacts).all()
    pytest.importorskip("matplotlib", reason="draws")
    assert found.plot() is not None


def test_features_move_block_by_block():
    side = Feature.of("2x0e+1x1o+1x1o", parity=True)
    x = torch.arange(8, dtype=torch.float64)[None]
    assert side.kinds == [(0, 1), (1, -1)]
    assert side.multiplicity((1, -1)) == 2
    assert torch.equal(side.join(side.split(x)), x)
    flipped = side.turn(x, torch.eye(3, dtype=torch.float64), -1)
    assert torch.allclose(flipped, torch.cat([x[:, :2], -x[:, 2:]], 1))
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    mixed = side.mix(x, [torch.eye(2).double(), swap])
    assert torch.allclose(mixed, x[:, [0, 1, 5, 6, 7, 2, 3, 4]])
    assert Bilinear(lambda a, b: a, (side, side, side), "ir_mul", (), ()).channels == 1
