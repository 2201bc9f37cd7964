"""The switch between processors, and code for those that are not here."""

import pytest

from coset.errors import InputError
from coset.ops.backends.llvm.builder import INT, READ, WRITE, Builder, fma
from coset.ops.backends.llvm.compiler import assemble, load
from coset.ops.backends.llvm.targets import ENVIRONMENT, choose


def axpy(target, dtype="float32"):
    k = Builder(dtype, target.lanes(dtype))
    for count, x, y in k.function("axpy", count=INT, x=READ, y=WRITE):
        for i in k.vectors(count):
            y[i] = fma(x[i], 3.0, y[i])
    return k.text


def test_the_environment_chooses(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert choose().name == "host"
    monkeypatch.setenv(ENVIRONMENT, "baseline")
    assert choose().name == "baseline"
    assert choose("avx2").name == "avx2"
    monkeypatch.setenv(ENVIRONMENT, "avx3")
    with pytest.raises(InputError, match="avx2"):
        choose()


@pytest.mark.parametrize(
    ("name", "register", "lanes"), [("avx512", "zmm", 16), ("avx2", "ymm", 8), ("baseline", "xmm", 4), ("arm", "fmla", 4)]
)
def test_each_target_uses_its_own_registers(name, register, lanes):
    target = choose(name)
    assert (target.lanes("float32"), target.lanes("float64")) == (lanes, lanes // 2)
    for dtype in ("float32", "float64"):
        assert register in assemble(axpy(target, dtype), target, readable=True)
        assert assemble(axpy(target, dtype), target)[:4] == b"\x7fELF"


def test_baseline_code_calls_no_library():
    """Without fused instructions a fused multiply-add would be a function call per lane."""
    assembly = assemble(axpy(choose("baseline")), choose("baseline"), readable=True)
    assert "call" not in assembly
    assert "mulps" in assembly


def test_the_host_runs_and_the_foreign_does_not():
    assert choose("host").runs_here
    foreign = choose("arm") if not choose("arm").runs_here else choose("baseline")
    with pytest.raises(InputError, match="does not run"):
        load(("foreign",), axpy, target=foreign.name)
