import pytest
import torch

from coset.ops.backends.llvm import harmonics
from coset.ops.backends.llvm.compiler import assemble
from coset.ops.backends.llvm.targets import ENVIRONMENT, choose
from coset.ops.harmonic_derivatives import polynomial
from coset.ops.solid_harmonics import width

F64 = torch.float64
KINDS = [
    ((0, 1, 2, 3), True, "component"),
    ((4, 1), False, "norm"),
    ((5,), True, "integral"),
    ((0, 1, 2, 3, 4, 5, 6), False, "norm"),
]


def both(kind, n, dtype, generator):
    """The three results of the kernels and of torch."""
    v, g, h = (torch.randn(n, k, generator=generator, dtype=F64).to(dtype) for k in (3, width(kind), 3))
    got = [harmonics.value(kind, v), harmonics.gradient(kind, v, g), *harmonics.second(kind, v, g, h)]
    v, g, h = (x.double().requires_grad_() for x in (v, g, h))
    value = polynomial(kind, v)
    (first,) = torch.autograd.grad(value, v, g, create_graph=True)
    return got, [value, first, *torch.autograd.grad(first, (v, g), h)]


@pytest.mark.parametrize("target", ["host", "avx2", "baseline"])
@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-13), (torch.float32, 2e-5)])
def test_code_for_every_processor_of_the_family(target, dtype, bound, generator, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, target)
    if not choose(target).runs_here:
        pytest.skip(f"this machine cannot run {target} code")
    for kind in KINDS:
        for a, b in zip(*both(kind, 45, dtype, generator), strict=True):
            assert a.dtype == dtype
            assert (a - b).abs().max() <= bound * b.abs().max()


@pytest.mark.parametrize("name", ["value", "gradient", "second"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arm_code_is_generated(name, dtype):
    """Assembled only: no such machine is asked to run it."""
    target = choose("arm")
    assembly = assemble(harmonics.write(name, KINDS[0], dtype, target), target, readable=True)
    assert "fmla" in assembly or "fmadd" in assembly


@pytest.mark.parametrize("columns", range(1, 40))
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_rows_are_cut_into_powers_of_two(columns, lanes):
    blocks = harmonics._blocks(columns, lanes)
    assert [start for start, _ in blocks] == [sum(w for _, w in blocks[:n]) for n in range(len(blocks))]
    assert sum(w for _, w in blocks) == columns
    assert {w for _, w in blocks} <= {1, 2, 4, 8, 16}
    assert max(w for _, w in blocks) <= lanes
