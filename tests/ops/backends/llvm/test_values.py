"""Every operation of the vocabulary is numpy's, in both dtypes, on every processor that this machine can play."""

import numpy as np
import pytest

from coset.ops.backends.llvm.builder import (
    INT,
    INTS,
    READ,
    WRITE,
    Builder,
    fma,
    maximum,
    minimum,
    select,
    sqrt,
    total,
    transpose,
)
from coset.ops.backends.llvm.compiler import load
from coset.ops.backends.llvm.targets import choose

RUNS = [name for name in ("host", "avx512", "avx2", "baseline") if choose(name).runs_here]
DTYPES = ("float32", "float64")
VECTORS = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "numbers on both sides": (lambda a, b: 2.0 - a + 1.0 * b - 0.5, lambda a, b: 2 - a + b - 0.5),
    "multiply": (lambda a, b: a * b, lambda a, b: a * b),
    "divide": (lambda a, b: 1.0 / (a / b), lambda a, b: b / a),
    "negate": (lambda a, b: -a + b, lambda a, b: b - a),
    "fma": (lambda a, b: fma(a, b, 3.0), lambda a, b: a * b + 3),
    "square root": (lambda a, b: sqrt(a * a), lambda a, b: np.abs(a)),
    "maximum": (lambda a, b: maximum(a, b), np.maximum),
    "minimum": (lambda a, b: minimum(a, 0.25), lambda a, b: np.minimum(a, 0.25)),
    "select": (lambda a, b: select((a < b) & (b > 0.0), a, 7.0), lambda a, b: np.where((a < b) & (b > 0), a, 7)),
    "not": (lambda a, b: select(~(a < b), a, b), lambda a, b: np.where(a < b, b, a)),
}


def address(*arrays):
    return [x.ctypes.data for x in arrays]


@pytest.mark.parametrize("target", RUNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_numpys(dtype, target):
    def write(chosen):
        k = Builder(dtype, chosen.lanes(dtype))
        for count, a, b, out in k.function("all", count=INT, a=READ, b=READ, out=WRITE):
            for i in k.vectors(count):
                for place, (operation, _) in enumerate(VECTORS.values()):
                    out[count * place + i] = operation(a[i], b[i])
        return k.text

    count = 37
    a, b = np.random.default_rng(0).normal(size=(2, count)).astype(dtype)
    out = np.empty((len(VECTORS), count), dtype)
    load(("values", dtype), write, target=target, sources=(__file__,)).function("all", 4)(count, *address(a, b, out))
    for (name, (_, truth)), found in zip(VECTORS.items(), out, strict=True):
        np.testing.assert_allclose(found, truth(a, b), rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps, err_msg=name)


@pytest.mark.parametrize("target", RUNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_lanes_and_scalars(dtype, target):
    lanes = choose(target).lanes(dtype)

    def write(chosen):
        k = Builder(dtype, lanes)
        for x, flat, strided, turned, sums in k.function("f", x=READ, flat=WRITE, strided=WRITE, turned=WRITE, sums=WRITE):
            for row, line in enumerate(transpose([x[row * lanes] for row in range(lanes)])):
                turned[row * lanes] = line
            flat[0] = x.broadcast(3)
            flat[lanes] = x.scalar(1) * 2.0 + x.scalar(2)
            strided.store_strided(1, 3, x.strided(2, 2))
            sums[0] = total(x[0])
            sums[1] = total(x[0] * x[lanes])
        return k.text

    x = np.random.default_rng(1).normal(size=(max(lanes, 3), lanes)).astype(dtype)
    flat, strided, turned, sums = np.zeros(lanes + 1, dtype), np.zeros((lanes, 3), dtype), np.zeros_like(x), np.zeros(2, dtype)
    library = load(("memory", dtype), write, target=target, sources=(__file__,))
    library.function("f", 5)(*address(x, flat, strided, turned, sums))
    np.testing.assert_array_equal(turned[:lanes], x[:lanes].T)
    np.testing.assert_array_equal(flat[:lanes], x.ravel()[3])
    np.testing.assert_allclose(flat[lanes], x.ravel()[1] * 2 + x.ravel()[2], rtol=1e-6)
    np.testing.assert_array_equal(strided[:, 1], x.ravel()[2 : 2 + 2 * lanes : 2])
    assert not strided[:, [0, 2]].any()
    np.testing.assert_allclose(sums, [x[0].sum(), (x[0] * x[1]).sum()], rtol=20 * np.finfo(dtype).eps)


def test_integers():
    def write(chosen):
        k = Builder("float64", 1)
        for n, numbers, out in k.function("f", n=INT, numbers=INTS, out=WRITE):
            place = k.integers(1)
            place[0] = (numbers[1] * 3 + n - 1) // 2 % 5
            for i, made in enumerate((7 - n, n.at_most(4), n.at_least(4), place[0], n + numbers[0])):
                for j in k.range(0, made):
                    out[i] = out.scalar(i) + 1.0
                    out[10 + i] = out.scalar(10 + i) + k.scalar(j)
            for _ in k.when(n.equals(3)):
                out[5] = k.scalar(1.0)
            for _ in k.when(n > 3):
                out[6] = k.scalar(1.0)
        return k.text

    numbers, out = np.array([2, 5]), np.zeros(20)
    load(("integers",), write, sources=(__file__,)).function("f", 3)(3, *address(numbers, out))
    expected = [4, 3, 4, (5 * 3 + 3 - 1) // 2 % 5, 5, 1, 0]
    np.testing.assert_array_equal(out[:7], expected)
    np.testing.assert_array_equal(out[10:15], [n * (n - 1) / 2 for n in expected[:5]])


def test_scalars_and_vectors_do_not_mix():
    k = Builder()
    for x, y in k.function("f", x=READ, y=WRITE):
        with pytest.raises(TypeError, match="broadcast"):
            y[0] = x[0] * x.scalar(0)
        with pytest.raises(TypeError, match="value of the kernel"):
            fma(1.0, 2.0, 3.0)
        with pytest.raises(ValueError, match="8 vectors"):
            transpose([x[0]])
