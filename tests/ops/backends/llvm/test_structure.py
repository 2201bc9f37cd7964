"""The arrangement of a plan computes the plan, and is the cheap one."""

import numpy as np
import pytest
import torch

from coset.ops.backends import reference
from coset.ops.backends.llvm.structure import MOST, Structure, structure
from coset.ops.plan import Operand, make_plan
from coset.ops.tabulated import tabulated
from coset.ops.tensor_product import channelwise

F64 = torch.float64


def carried_out(found, inputs):
    """The sum in the order of the kernels, for one item."""
    x, s, t, w = (None if place is None else inputs[place] for place in found.places.values())
    matrix = [sum(c * (1.0 if j is None else s[j]) for j, c in column) for column in found.columns]
    out = {}
    for path in found.paths:
        weight = sum((1.0 if b is None else t[b]) * (1.0 if q is None else w[q]) for b, q in path.weights)
        for k, terms in path.rows:
            out[k] = out.get(k, 0.0) + weight * sum(matrix[m] * x[i] for i, m in terms)
    return out


@pytest.mark.parametrize("which", ["item", "shared", "absent", "table", "exchanged"])
def test_the_arrangement_computes_the_plan(which, generator):
    plan = channelwise("3x0e+3x1o", "0e+1o+2e", weights="absent" if which == "absent" else "item").plan
    plan = tabulated(plan) if which == "table" else plan.gradient(0) if which == "exchanged" else plan
    found = structure(plan)
    assert isinstance(found, Structure)
    one = [torch.randn((o.rows, *((3,) if o.channels else ())), generator=generator, dtype=F64) for o in plan.inputs]
    expected = np.zeros((plan.output.rows, 3))
    for (*rows, k), c in zip(plan.terms, plan.coefficients, strict=True):
        term = torch.full((3,), c, dtype=F64)
        for x, row in zip(one, rows, strict=True):
            term = term * x[row]
        expected[k] += term.numpy()
    for k, value in carried_out(found, one).items():
        np.testing.assert_allclose(value, expected[k], rtol=1e-13, atol=1e-13)
        expected[k] = 0.0
    assert not expected.any()


def test_weights_are_told_from_features():
    tp = channelwise("8x0e+8x1o+8x2e", "0e+1o+2e+3o", keep="0e+1o+2e+3o")
    found = structure(tp.plan)
    assert found.places == {"x": 0, "s": 1, "t": None, "w": 2}
    assert (len(found.paths), found.entries) == (17, 187)
    assert structure(tabulated(tp.plan)).places == {"x": 0, "s": 1, "t": 2, "w": 3}
    assert structure(tabulated(tp.plan)).entries == 187


def test_the_reasons_against():
    x, y, z, s = Operand("x", 2), Operand("y", 2), Operand("z", 2), Operand("s", 2, channels=False)
    out, number = Operand("out", 2, index="target"), Operand("number", 2, channels=False)
    one = lambda n: (np.zeros((1, n + 1), int), np.ones(1))  # noqa: E731
    assert "no channels" in structure(make_plan([x], number, *one(1)))
    assert "3 operands with" in structure(make_plan([x, y, z], out, *one(3)))
    more = [Operand(name, 2, channels=False) for name in "abc"]
    assert "3 operands without" in structure(make_plan([x, *more], out, *one(4)))
    assert "0 operands with" in structure(make_plan([s], out, *one(1)))
    assert "no terms" in structure(make_plan([x], out, np.zeros((0, 2), int), np.zeros(0)))
    assert "all items" in structure(make_plan([x], Operand("out", 2, index="shared"), *one(1)))
    wide = 70
    table = np.stack(np.meshgrid(np.arange(wide), np.arange(wide)), -1).reshape(-1, 2)
    plan = make_plan([Operand("x", wide)], Operand("out", wide), table, np.ones(len(table)))
    assert str(MOST) in structure(plan)


def test_the_reference_agrees_with_the_arrangement_of_two_weights_for_a_row(generator):
    """Two operands with channels in every combination: nothing factorizes, everything is still right."""
    rng = np.random.default_rng(0)
    plan = make_plan(
        [Operand("x", 3), Operand("y", 3)], Operand("out", 2), rng.integers(0, [3, 3, 2], (12, 3)), rng.normal(size=12)
    )
    inputs = [torch.randn(1, 3, 2, generator=generator, dtype=F64) for _ in range(2)]
    expected = reference.evaluate(plan, inputs, {}, 1)[0]
    for k, value in carried_out(structure(plan), [x[0] for x in inputs]).items():
        np.testing.assert_allclose(value, expected[k], rtol=1e-13)
