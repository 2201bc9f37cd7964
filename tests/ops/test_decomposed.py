import json

import numpy as np
import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.ops.decomposed import Decomposition, Request, coupling, cp_product, decompose, rank_schedule
from coset.ops.rotation import rotate
from coset.testing import Broken, assert_equivariant, check

F64 = torch.float64


def equivariance(found, generator, items=400, turns=4):
    """Root mean square relative error over rotations, for normal inputs."""
    d = len(found.factors[0])
    x, y = (torch.randn(items, d, 1, generator=generator, dtype=F64) for _ in range(2))
    z = cp_product(x, y, found.factors)
    gaps = [
        (cp_product(rotate(x, g), rotate(y, g), found.factors) - rotate(z, g)).norm() / z.norm()
        for g in SO(3).sample(turns, generator=generator, dtype=F64)
    ]
    return float(torch.stack(gaps).square().mean().sqrt())


def product_of(found):
    """The op on flat features, as the contract speaks of them."""
    d = len(found.factors[0])

    def f(x, y):
        return cp_product(x.unflatten(-1, (d, -1)), y.unsqueeze(-1), found.factors).flatten(-2)

    return f


#: L, R, gauge: relative CP error and equivariance error
TABLE = [(1, 7, "norm", 1.8e-2, 1.7e-2), (2, 28, "norm", 2.4e-2, 3.4e-2)]


@pytest.mark.parametrize(("lmax", "rank", "gauge", "error", "gap"), TABLE)
def test_errors_known_from_trials(lmax, rank, gauge, error, gap, generator):
    found = decompose(Request(lmax, rank, gauge, sweeps=400 if lmax == 1 else 800))
    assert found.error <= 1.2 * error
    measured = equivariance(found, generator)
    assert measured <= min(1.2 * gap, 2 * found.error)
    assert found.error > 0.5 * error


@pytest.mark.parametrize(("rank", "gauge"), [(7, "unit"), (8, "norm"), (16, "norm")])
def test_exact_ranks_of_degree_one(rank, gauge, generator):
    found = decompose(Request(1, rank, gauge, sweeps=300))
    assert found.exact
    assert equivariance(found, generator) < 1e-12
    assert found.contract("exact").claim == "exact"
    assert_equivariant(product_of(found), found.contract(channels=4))


def test_the_unit_gauge_is_the_product_of_scalars_and_vectors(generator):
    found = decompose(Request(1, 7, "unit", sweeps=300))
    (a, u), (b, v) = (
        (torch.randn(5, generator=generator, dtype=F64), torch.randn(5, 3, generator=generator, dtype=F64)) for _ in "xy"
    )
    x, y = (torch.cat([s[:, None], t], 1)[..., None] for s, t in ((a, u), (b, v)))
    z = cp_product(x, y, found.factors)[..., 0]
    assert torch.allclose(z[:, 0], a * b + (u * v).sum(-1), atol=1e-12)
    assert torch.allclose(z[:, 1:], a[:, None] * v + b[:, None] * u + torch.linalg.cross(u, v), atol=1e-12)


def test_fitted_scales_lower_the_error_and_are_kept():
    plain, fitted = decompose(Request(2, 24, "norm", sweeps=250)), decompose(Request(2, 24, "fitted", sweeps=250))
    assert fitted.error < 0.8 * plain.error
    assert len(fitted.scales) == len(coupling(2)[2])
    again = decompose(Request(2, 24, scales=fitted.scales, sweeps=250))
    assert again.error < 1.5 * fitted.error


def test_the_error_falls_with_the_rank():
    errors = [decompose(Request(1, rank, "norm", starts=3, sweeps=100)).error for rank in range(2, 9)]
    assert errors == sorted(errors, reverse=True)


def test_the_contract_holds_and_its_exact_twin_is_refused(generator):
    found = decompose(Request(1, 6, "norm", sweeps=200))
    contract = found.contract(channels=32)
    assert contract.bound == 2 * found.error
    x = contract.inputs.example({"N": 50}, generator=generator)
    check(product_of(found), x, contract)
    with pytest.raises(ContractError, match="claim is 'approximate'"):
        found.contract("exact")
    better = decompose(Request(1, 7, "norm", sweeps=400))
    with pytest.raises(Broken):
        check(product_of(found), x, better.contract(channels=32))


@pytest.mark.parametrize("mode", ["uvu", "uvv", "uvw", "uuw", "uuu"])
@pytest.mark.parametrize("shared", [True, False])
def test_modes_are_the_dense_product(mode, shared, generator):
    found = decompose(Request(1, 7, "norm", sweeps=20))
    same = mode in ("uuw", "uuu")
    x, y = (torch.randn(2, 5, 4, n, generator=generator, dtype=F64) for n in (3, 3 if same else 2))
    shape, out = {
        "uvu": ((3, 2), "u"),
        "uvv": ((3, 2), "v"),
        "uvw": ((3, 2, 4), "w"),
        "uuw": ((3, 4), "w"),
        "uuu": ((3,), "u"),
    }[mode]
    lead = () if shared else (2, 5)
    weight = torch.randn(*lead, *shape, generator=generator, dtype=F64)
    tensor = torch.einsum("ir,jr,kr->ijk", *found.factors)
    index = {"uvu": "uv", "uvv": "uv", "uvw": "uvw", "uuw": "uw", "uuu": "u"}[mode]
    want = torch.einsum(f"ijk,...iu,...j{'u' if same else 'v'},...{index}->...k{out}", tensor, x, y, weight)
    assert torch.allclose(cp_product(x, y, found.factors, mode, weight), want, atol=1e-12)


def test_derivatives_twice(generator):
    factors = decompose(Request(1, 7, "unit", sweeps=300)).factors
    x, y = (torch.randn(2, 4, n, generator=generator, dtype=F64, requires_grad=True) for n in (2, 1))
    weight = torch.randn(2, 1, generator=generator, dtype=F64, requires_grad=True)
    f = lambda x, y, w: cp_product(x, y, factors, "uvu", w)  # noqa: E731
    assert torch.autograd.gradcheck(f, (x, y, weight))
    assert torch.autograd.gradgradcheck(f, (x, y, weight))


def test_the_cache_keeps_what_it_was_asked(tmp_path):
    request = Request(1, 7, "fitted", sweeps=50)
    found = decompose(request, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    again = Decomposition.load(file, request)
    assert again.error == found.error
    assert again.scales == found.scales
    assert all(torch.equal(a, b) for a, b in zip(again.factors, found.factors, strict=True))
    for other in (
        Request(1, 7, "norm", sweeps=50),
        Request(1, 7, scales=(-1.0,) * 5, sweeps=50),
        Request(1, 8, "fitted", sweeps=50),
    ):
        with pytest.raises(InputError, match="asked for"):
            Decomposition.load(file, other)
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["A"] = arrays["A"] + 0.1
    np.savez(file, **arrays)
    with pytest.raises(InputError, match="damaged"):
        decompose(request, cache=tmp_path)
    assert json.loads(request.text())["lmax"] == 1


def test_published_ranks():
    assert [rank_schedule(2, s) for s in ("linear", "quadratic", "log", "full")] == [14, 28, 32, 81]
    with pytest.raises(InputError, match="linear"):
        rank_schedule(2, "cubic")


def test_bad_input_is_named():
    for rank in (0, 17):
        with pytest.raises(InputError, match=r"1\.\.16"):
            Request(1, rank)
    with pytest.raises(InputError, match="gauge"):
        Request(1, 7, "other")
    with pytest.raises(InputError, match="5 paths"):
        Request(1, 7, scales=(1.0,))
    factors = decompose(Request(1, 16)).factors
    x, y = torch.zeros(2, 4, 3), torch.zeros(2, 4, 2)
    with pytest.raises(InputError, match="needs a weight"):
        cp_product(x, y, factors)
    with pytest.raises(InputError, match="weight of mode 'uvu'"):
        cp_product(x, y, factors, "uvu", torch.zeros(3, 1))
    with pytest.raises(InputError, match="pairs equal channels"):
        cp_product(x, y, factors, "uuu")
    with pytest.raises(InputError, match="mode is one of"):
        cp_product(x, y, factors, "vvv")
    with pytest.raises(InputError, match="y is"):
        cp_product(x, torch.zeros(2, 9, 2), factors, "uvu", torch.zeros(3, 2))
    with pytest.raises(InputError, match="mixes channels"):
        cp_product(x, x, factors, "uuw")
