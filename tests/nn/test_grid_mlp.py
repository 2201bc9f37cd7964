"""The MLP on the sphere keeps what its grid keeps exactly and the rest within a bound that falls; gates keep everything."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import Octahedral
from coset.groups.matrix import SO
from coset.nn.grid_mlp import GateUpdate, GridMLP, aliasing, refit, signal_grid, symmetries
from coset.nn.irreps_blocks import split_blocks
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
NATURAL = "6x0e+4x1o+2x2e"


class Spotted(GridMLP):
    """A twin that knows where the pole is."""

    def forward(self, x):
        y = super().forward(x)
        return y + 0.3 * y.abs().mean(-1, keepdim=True) * torch.linspace(0, 1, y.shape[-1]).to(y)


def layer(kind=GridMLP, irreps=NATURAL, **options):
    torch.manual_seed(0)
    return kind(irreps, irreps, **options).double()


def test_it_keeps_its_bound_and_a_twin_does_not(generator):
    assert check(layer(), Irreps(NATURAL).randn(20, generator=generator)).errors
    with pytest.raises(Broken, match=r"O\(3\)"):
        check(layer(Spotted), Irreps(NATURAL).randn(20, generator=generator))


def test_the_bound_falls_with_the_grid():
    bounds = [layer(grid=grid).contracts[0].bound for grid in ((8, 8), (10, 10), (10, 18), (18, 36))]
    assert bounds[0] > 2 * bounds[1] > 10 * bounds[2] > 100 * bounds[3]
    assert aliasing(2, (10, 18)) < 1.5 * aliasing(2, (18, 18)), "half the polar angles are enough at Gauss-Legendre nodes"


@pytest.mark.parametrize(("grid", "order"), [((10, 18), 8), ((18, 17), 4), ((8, 8), 16)])
def test_what_the_grid_keeps_is_exact(grid, order, generator):
    model = layer(grid=grid)
    kept = symmetries(model.grid)
    assert kept.order == order
    assert (order == 4) != any(bool((m == -torch.eye(3)).all()) for m in kept.linear(torch.arange(order)))
    exact = Contract(kept, model.irreps_in, model.irreps_out)
    assert check(model, model.irreps_in.randn(5, generator=generator), exact).errors[str(kept)] < 1e-12
    whole = Contract(Octahedral(inversion=True), model.irreps_in, model.irreps_out)
    with pytest.raises(Broken):
        check(model, 3 * model.irreps_in.randn(5, generator=generator), whole)


def test_without_directions_it_is_an_mlp(generator):
    model = layer(irreps="6x0e")
    assert model.error == 0.0
    x = torch.randn(5, 6, generator=generator, dtype=F64)
    assert torch.allclose(model(x), model.mlp(x))
    assert check(model).errors
    with pytest.raises(InputError, match="no direction"):
        GridMLP("4x0e", "4x0e+4x1o")


def test_every_point_sees_its_own_channels_only(generator):
    """A signal of degree 0 is constant on the sphere: what comes out of it has degree 0."""
    model = layer()
    x = torch.zeros(3, model.irreps_in.dim, dtype=F64)
    x[:, :6] = torch.randn(3, 6, generator=generator, dtype=F64)
    scalars, *rest = split_blocks(model(x), model.irreps_out)
    assert scalars.abs().max() > 1e-2
    assert max(part.abs().max() for part in rest) < 1e-14


def test_second_derivatives_are_finite_at_zero():
    model = layer()
    x = torch.zeros(2, model.irreps_in.dim, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).square().sum() + model(x).sum(), x, create_graph=True)
    for second in torch.autograd.grad(slope.square().sum(), [x, *model.parameters()], allow_unused=True):
        assert second is None or bool(second.isfinite().all())


def test_gates_are_exact(generator):
    assert max(check(layer(GateUpdate)).errors.values()) < 1e-12


def test_refit_cuts_off_and_fills_up(generator):
    small, large = Irreps("2x0e+1x1o"), Irreps("3x0e+2x1o+1x2e")
    x = small.randn(4, generator=generator)
    y = refit(x, small, large)
    parts = split_blocks(y, large)
    assert torch.equal(refit(y, large, small), x)
    assert not parts[0][..., 2:].any()
    assert not parts[1][..., 1:].any()
    assert not parts[2].any()


@pytest.mark.parametrize(
    ("irreps", "options", "words"),
    [
        ("4x0e+4x1e", {}, "parity"),
        ("4x0e+4x1o+4x1e", {}, "parity"),
        ("4x0e+2x1o+2x1o", {}, "each once"),
        (Irreps("4x0+4x1", SO(3)), {}, "parity"),
        ("4x0e+4x1o+4x2e", {"grid": (5, 18)}, "6 x 6"),
        ("4x0e+4x1o+4x2e", {"grid": (18, 5)}, "6 x 6"),
        ("4x0e+3x1o", {"heads": 2}, "shared out"),
        ("4x0e+4x1o", {"hidden": 0}, "hidden"),
    ],
    ids=["even vector", "both parities", "twice", "no parity", "few polar angles", "few angles", "heads", "hidden"],
)
def test_bad_input_is_refused(irreps, options, words):
    with pytest.raises(InputError, match=words):
        GridMLP(irreps, irreps, **options)


def test_the_least_grid_is_taken():
    assert len(signal_grid(2, (6, 6))) == 36
