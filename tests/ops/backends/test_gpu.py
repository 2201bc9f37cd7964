"""The ``triton`` backend: interpreted on the CPU for its values, compiled without a GPU for its code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coset.ops.backends import gpu
from coset.ops.backends.triton_source import kernels
from coset.ops.plan import Operand, Plan

HERE = Path(__file__).parent
pytest.importorskip("triton", reason="the extra 'triton' is not installed")


def run(*command: str, **env: str) -> str:
    given = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=given, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_interpreted_kernels_agree_with_the_reference(tmp_path):
    out = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", str(HERE / "interpreted_gpu.py"),
        TRITON_INTERPRET="1", COSET_CACHE=str(tmp_path),
    )  # fmt: skip
    assert "18 passed" in out


def test_kernels_compile_for_a_gpu_and_keep_float64(tmp_path):
    out = run(str(HERE / "compiled_gpu.py"), str(tmp_path), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path / "cache"))
    assert int(out.split()[0]) >= 4


def test_the_reason_is_given_where_it_cannot_run():
    plan = Plan((Operand("a", 1),), Operand("y", 1), ((0, 0),), (1.0,))
    if os.environ.get("TRITON_INTERPRET") != "1":
        assert "GPU" in gpu.supports(plan, [torch.zeros(1, 1, 1)], {})


def test_the_source_is_factored():
    """Two terms with one ``w`` and one output row: one multiplication by ``w``."""
    inputs = (Operand("x", 2), Operand("w", 3))
    plan = Plan(inputs, Operand("y", 1), ((0, 2, 0), (1, 2, 0)), (0.5, 0.25))
    assert "y0 += v1_2 * ((0.5) * v0_0 + (0.25) * v0_1)" in kernels(plan)
