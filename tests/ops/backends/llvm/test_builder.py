"""Loops, tails and functions: what runs is what the Python loops say."""

import doctest

import numpy as np
import pytest

from coset.ops.backends.llvm import builder
from coset.ops.backends.llvm.builder import INT, READ, WRITE, Builder, fma
from coset.ops.backends.llvm.compiler import assemble, load
from coset.ops.backends.llvm.targets import choose

RUNS = [name for name in ("host", "avx512", "avx2", "baseline") if choose(name).runs_here]


def test_the_tutorial():
    assert doctest.testmod(builder).failed == 0


def scale_add(dtype, lanes, channels):
    k = Builder(dtype, lanes)
    parameters = {"count": INT} if channels is None else {}
    for rows, *count, a, x, y in k.function("scale_add", rows=INT, **parameters, a=READ, x=READ, y=WRITE):
        width = count[0] if count else channels
        for n in k.range(0, rows):
            factor = a.broadcast(n)
            for c in k.vectors(width):
                here = n * width + c
                y[here] = fma(factor, x[here], y[here])
    return k.text


@pytest.mark.parametrize("target", RUNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("known", [True, False], ids=["count known", "count given"])
def test_a_tail_touches_what_exists_and_nothing_else(dtype, target, known):
    for channels in (1, 3, 8, 17, 31, 64):
        library = load(
            ("tail", dtype, channels if known else None),
            lambda chosen, c=channels: scale_add(dtype, chosen.lanes(dtype), c if known else None),
            target=target,
            sources=(__file__,),
        )
        rng = np.random.default_rng(channels)
        a, x = rng.normal(size=3).astype(dtype), rng.normal(size=(3, channels)).astype(dtype)
        y = np.full(3 * channels + 64, 5.0, dtype)
        count = () if known else (channels,)
        call = library.function("scale_add", 4 + len(count))
        call(3, *count, a.ctypes.data, x.ctypes.data, y.ctypes.data)
        np.testing.assert_allclose(y[: 3 * channels].reshape(3, -1), 5 + a[:, None] * x, rtol=1e-6)
        assert (y[3 * channels :] == 5).all()


@pytest.mark.parametrize("lanes", [1, 2, 16, 32])
def test_lanes_need_not_be_those_of_the_machine(lanes):
    library = load(("lanes", lanes), lambda chosen: scale_add("float32", lanes, 45), sources=(__file__,))
    a, x, y = np.ones(1, "f"), np.arange(45, dtype="f"), np.ones(45, "f")
    library.function("scale_add", 4)(1, a.ctypes.data, x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, x + 1)


def test_loops_of_no_turns():
    def write(chosen):
        k = Builder("float32", 4)
        for n, y in k.function("f", n=INT, y=WRITE):
            for i in k.range(n, 3, 2):
                y[i] = k.scalar(i)
            for i in k.vectors(n - 9):
                y[i] = k.constant(7.0)
        return k.text

    y = np.full(8, -1, "f")
    call = load(("empty",), write, sources=(__file__,)).function("f", 2)
    call(9, y.ctypes.data)
    assert (y == -1).all()
    call(0, y.ctypes.data)
    np.testing.assert_array_equal(y, [0, -1, 2, -1, -1, -1, -1, -1])


def test_variables_live_across_turns():
    def write(chosen):
        k = Builder("float64", 4)
        for n, x, y in k.function("f", n=INT, x=READ, y=WRITE):
            sum_, count = k.variable(0.0), k.variable(1.0, scalar=True)
            for i in k.range(0, n):
                sum_.value = sum_.value + x[i * 4]
                count.value = count.value * 2.0
            y[0] = sum_.value
            y[4] = count.value
        return k.text

    x, y = np.random.default_rng(0).normal(size=(5, 4)), np.zeros(5)
    load(("variables",), write, sources=(__file__,)).function("f", 3)(5, x.ctypes.data, y.ctypes.data)
    np.testing.assert_allclose(y, [*x.sum(0), 32], rtol=1e-14)


def test_several_functions_in_one_module():
    k = Builder("float32", 4)
    for name in ("one", "two"):
        for (y,) in k.function(name, y=WRITE):
            y[0] = k.constant(1.0)
    assert k.text.count("define void") == 2
    assert assemble(k.text, choose("host"))


def test_misuse_is_named():
    with pytest.raises(ValueError, match="power of two"):
        Builder("float32", 12)
    k = Builder("float32", 8)
    for (x,) in k.function("f", x=WRITE):
        for c in k.vectors(5):
            x[c] = k.constant(0.0)
            with pytest.raises(ValueError, match="tail"):
                next(k.vectors(3))
