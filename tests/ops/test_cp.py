from itertools import pairwise

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.ops.backends import reference
from coset.ops.cp import cp_als, decompose_plan, dense_tensor, evaluate, full_rank
from coset.ops.index import Edges
from coset.ops.plan import Operand, make_plan

F64 = torch.float64


def of_rank(rank, sizes, generator):
    factors = [torch.randn(n, rank, generator=generator, dtype=F64) for n in sizes]
    letters = "ijkl"[: len(sizes)]
    return torch.einsum(",".join(f"{a}r" for a in letters) + "->" + letters, *factors)


@pytest.mark.parametrize("sizes", [(5, 6), (5, 6, 7), (4, 4, 4, 4)])
def test_a_tensor_of_rank_three_is_found_exactly(sizes, generator):
    tensor = of_rank(3, sizes, generator)
    found = cp_als(tensor, 3, starts=3, sweeps=300)
    assert found.error < 1e-12
    assert torch.allclose(found.dense(), tensor, atol=1e-11)
    assert found.rank == 3
    assert [len(factor) for factor in found.factors] == list(sizes)


def test_the_error_is_the_one_of_the_factors(generator):
    tensor = torch.randn(4, 5, 6, generator=generator, dtype=F64)
    found = cp_als(tensor, 6, sweeps=100)
    assert found.error == pytest.approx(float((found.dense() - tensor).norm() / tensor.norm()), rel=1e-12)
    assert 0.01 < found.error < 1


def test_the_error_falls_with_the_rank(generator):
    tensor = torch.randn(4, 4, 4, generator=generator, dtype=F64)
    errors = [cp_als(tensor, rank, starts=4, sweeps=150).error for rank in range(1, 8)]
    assert all(b < a for a, b in pairwise(errors))


def test_as_many_products_as_fibers_are_exact_without_a_search(generator):
    tensor = torch.zeros(3, 4, 5, dtype=F64)
    tensor[0, 1], tensor[2, 2] = torch.randn(2, 5, generator=generator, dtype=F64)
    found = cp_als(tensor, 4)
    assert found.error == 0.0
    assert torch.equal(found.dense(), tensor)
    assert full_rank((3, 4, 5)) == 12


def test_seeds_decide(generator):
    tensor = torch.randn(3, 3, 3, generator=generator, dtype=F64)
    a, b, c = (cp_als(tensor, 2, sweeps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.factors[0], b.factors[0])
    assert not torch.equal(a.factors[0], c.factors[0])


def test_fitted_scales_are_bounded_and_lower_the_error(generator):
    factors = torch.rand(3, 4, generator=generator, dtype=F64) + 0.5
    one = torch.einsum("i,j,k->ijk", *factors)
    blocks = torch.randint(8, (4, 1, 1), generator=generator) + torch.randint(8, (4, 1), generator=generator) * 2
    blocks = blocks.expand(4, 4, 4)
    sizes = torch.rand(int(blocks.max()) + 1, generator=generator, dtype=F64) + 0.7
    tensor = one / sizes[blocks]  # rank one in disguise
    assert cp_als(tensor, 1, sweeps=300).error > 0.02
    found = cp_als(tensor, 1, blocks=blocks, sweeps=300)
    assert found.error < 1e-6
    assert bool(((found.scales.abs() >= 0.4) & (found.scales.abs() <= 2.5)).all())


def plan_of(kind):
    generator = np.random.default_rng(0)
    table = generator.integers(0, 3, (12, 3))
    table[:, 2] = generator.integers(0, 4, 12)
    x = Operand("x", 3, index={"conv": "source", "shared": "item", "sum": "item"}[kind])
    s = Operand("s", 3, channels=False, index="shared" if kind == "shared" else "item")
    out = Operand("out", 4, channels=kind != "sum", index="target" if kind == "conv" else "item")
    return make_plan([x, s], out, table, generator.normal(size=12))


@pytest.mark.parametrize("kind", ["conv", "shared", "sum"])
def test_a_decomposed_plan_is_the_plan(kind, generator):
    plan, edges = plan_of(kind), Edges(torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]]), 3)
    x = torch.randn(3 if kind == "conv" else 4, 3, 5, generator=generator, dtype=F64)
    s = torch.randn(*(() if kind == "shared" else (4,)), 3, generator=generator, dtype=F64)
    want = reference.evaluate(plan, [x, s], edges, 4)
    full = decompose_plan(plan, full_rank(tuple(dense_tensor(plan).shape)))
    assert torch.allclose(evaluate(plan, full, [x, s], edges, 4), want, atol=1e-12)
    coarse = decompose_plan(plan, 1, sweeps=50)
    assert not torch.allclose(evaluate(plan, coarse, [x, s], edges, 4), want, atol=1e-2)


def test_bad_input_is_named(generator):
    tensor = torch.randn(3, 3, 3, generator=generator)
    for rank in (0, 10):
        with pytest.raises(InputError, match=r"1\.\.9"):
            cp_als(tensor, rank)
    with pytest.raises(InputError, match="vanishes"):
        cp_als(torch.zeros(2, 2, 2), 1)
    with pytest.raises(InputError, match="at least one"):
        cp_als(tensor, 2, starts=0)
