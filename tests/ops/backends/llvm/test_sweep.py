import math

import pytest
import torch

from coset.ops.backends.llvm.sweep import Tape, evaluate

F64 = torch.float64


def polynomial(x, y):
    return 3.0 * x * x * y + 2.0 - 0.5 * (y - x) * (1.0 - y) * x


def test_gradients_of_gradients_equal_those_of_torch(generator):
    tape = Tape()
    x, y = tape.symbol("x"), tape.symbol("y")
    f = polynomial(x, y)
    first = tape.gradient([(f, 1.0)], [x, y])
    second = [step for row in first for step in tape.gradient([(row, 1.0)], [x, y])]
    p, q = torch.randn(2, 9, generator=generator, dtype=F64).requires_grad_()
    want = torch.autograd.grad(polynomial(p, q).sum(), (p, q), create_graph=True)
    want = [*want, *(g for w in want for g in torch.autograd.grad(w.sum(), (p, q), retain_graph=True))]
    got = evaluate([*first, *second], {x: p, y: q})
    for a, b in zip(got, want, strict=True):
        assert (a - b).abs().max() < 1e-13


def test_the_length_has_its_derivative():
    tape = Tape()
    v = [tape.symbol(name) for name in "xyz"]
    unit = v[0] * tape.inverse_length(*v)
    got = evaluate([unit, *tape.gradient([(unit, 1.0)], v)], dict(zip(v, (1.0, 2.0, 2.0), strict=True)))
    assert got == pytest.approx([1 / 3, 8 / 27, -2 / 27, -2 / 27], abs=1e-15)


def test_equal_steps_are_one_and_constants_vanish():
    tape = Tape()
    x, y = tape.symbol("x"), tape.symbol("y")
    assert x * y is y * x
    assert 2.0 * (3.0 * x) is 6.0 * x
    assert (x * 1.0) is x
    assert (x + 0.0) is x
    assert (x * 0.0).is_number(0.0)
    assert evaluate([x - y, 1.0 - x, math.pi], {x: 2.0, y: 5.0}) == [-3.0, -1.0, math.pi]


def test_what_does_not_matter_has_gradient_zero():
    tape = Tape()
    x, y = tape.symbol("x"), tape.symbol("y")
    (gx, gy) = tape.gradient([(x * x, y), (4.0, 1.0)], [x, y])
    assert evaluate([gx], {x: 3.0, y: 2.0}) == [12.0]
    assert gy.is_number(0.0)
