"""Powers of a signal as a many-body layer: exact, of one size, and couplings whose weights are tied."""

from itertools import product

import pytest
import torch
from torch.autograd import gradgradcheck

from coset.errors import InputError
from coset.nn.gaunt_many_body import GauntManyBody, power_scales
from coset.ops.gaunt_powers import GauntPowers
from coset.ops.symmetric_contraction import symmetric_contraction
from coset.testing import Broken, check

F64 = torch.float64


def layer(irreps_in="2x0e+2x1o+2x2e", irreps_out="3x0e+2x1o", kind=GauntManyBody, **given):
    torch.manual_seed(0)
    return kind(irreps_in, irreps_out, 3, **given).double()


@pytest.mark.parametrize(("out", "correlation"), [("3x0e", 1), ("3x0e+2x1o", 4), ("2x2e", 2), ("2x1o+1x3o", 3)])
def test_its_promises_hold(out, correlation):
    assert max(check(layer(irreps_out=out, correlation=correlation)).errors.values()) < 1e-12


class Leaning(GauntManyBody):
    """Weighs the rows of a degree apart."""

    def forward(self, x, z):
        return super().forward(x * torch.linspace(1, 1.001, x.shape[-1]).to(x), z)


def test_a_twin_that_weighs_rows_apart_is_caught():
    with pytest.raises(Broken, match=r"O\(3\)"):
        check(layer(kind=Leaning))


def test_it_is_the_dense_product_of_its_weights():
    model = layer("2x0e+2x1o+2x2e+2x3o", "2x0e+2x1o", correlation=3)
    generator = torch.Generator().manual_seed(1)
    x, z = torch.randn(5, 32, generator=generator, dtype=F64), torch.tensor([0, 2, 1, 1, 0])
    rows = GauntPowers(3, 1, 3, "dense")(x.view(5, 16, 2), model.weight * model.scale, z)
    want = model.linear(rows.flatten(-2))
    assert (model(x, z) - want).abs().max() < 1e-12 * want.abs().max()


@pytest.mark.parametrize("out", ["1x0e", "1x1o", "1x2e"])
def test_every_power_lies_in_the_span_of_couplings(out):
    """Per order and degree one polynomial: a fixed mixture of the paths that a coupled product weighs apart."""
    generator = torch.Generator().manual_seed(2)
    contraction = symmetric_contraction("1x0e+1x1o+1x2e", out, 3)
    x = torch.randn(40, 9, 1, generator=generator, dtype=F64)
    degree, count = ["0e", "1o", "2e"].index(out[2:]), sum(group.count for group in contraction.paths)
    ones = torch.eye(count, dtype=F64)[:, None, :, None]
    paths = torch.stack([contraction(x, one, torch.zeros(40, dtype=torch.int64)).flatten() for one in ones], -1)
    assert torch.linalg.matrix_rank(paths) == count > 3
    powers = GauntPowers(2, 2, 3).project(x)
    for power in powers:
        target = power[:, degree**2 : (degree + 1) ** 2].flatten().unsqueeze(-1)
        fit = torch.linalg.lstsq(paths, target, driver="gelsd").solution
        assert (paths @ fit - target).norm() < 1e-10 * target.norm()


@pytest.mark.parametrize(("lmax", "lout", "order"), [(2, 2, 4), (1, 3, 3)])
def test_powers_of_independent_coefficients_have_mean_square_one(lmax, lout, order):
    x = torch.randn(60000, (lmax + 1) ** 2, 1, generator=torch.Generator().manual_seed(3), dtype=F64)
    powers, scales = GauntPowers(lmax, lout, order).project(x), power_scales(lmax, lout, order)
    for k, l in product(range(order), range(lout + 1)):
        size = (scales[k, l] * powers[k][:, l * l : (l + 1) ** 2]).square().mean()
        assert abs(size - float(l <= (k + 1) * lmax)) < 0.05
    assert bool(torch.isfinite(scales).all())


def test_species_have_weights_of_their_own():
    model = layer()
    x = torch.randn(1, 18, generator=torch.Generator().manual_seed(4), dtype=F64).expand(3, -1)
    y = model(x, torch.tensor([0, 1, 0]))
    assert torch.allclose(y[0], y[2], rtol=1e-12)
    assert (y[0] - y[1]).abs().max() > 1e-3


def test_forces_can_be_trained_through_it():
    model = layer("1x0e+1x1o", "1x0e+1x1o")
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(5), dtype=F64, requires_grad=True)
    assert gradgradcheck(lambda x: model(x, torch.tensor([0, 1])), x)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="mixed parity: beside 0e there are 1e"):
        layer("2x0e+2x1e")
    with pytest.raises(InputError, match="beside 0e there are 1e in 1x0e"):
        layer(irreps_out="2x0e+2x1e")
    for given in (("2x0o+2x1e", "2x0o"), ("2x0e+2x1o", "2x0o+2x1e")):
        with pytest.raises(InputError, match="Pseudo-tensors need coupled products"):
            layer(*given)
    with pytest.raises(InputError, match="lacks the degrees"):
        layer("2x0e+2x2e")
    with pytest.raises(InputError, match="lout <= order lmax"):
        layer("2x0e+2x1o", "2x5o")
    with pytest.raises(InputError, match="order >= 1"):
        layer(correlation=0)
    with pytest.raises(InputError, match="one multiplicity"):
        layer("2x0e+3x1o")
    with pytest.raises(InputError, match="at least one species"):
        GauntManyBody("2x0e+2x1o", "2x0e", 0)
