"""Run by ``test_gpu.py``: compiles the kernels of a message-passing product for a GPU that need not be there."""

import importlib.util
import sys
import warnings
from pathlib import Path

from coset.ops.backends.triton_source import kernels
from coset.ops.tensor_product import channelwise


def kind(argument: str) -> str:
    """Triton's type of a kernel's argument."""
    if argument == "BLOCK":
        return "constexpr"
    if argument in ("items", "C"):
        return "i64"
    return "*fp64" if argument[0] == "a" or argument == "out" else "*i64"


def compile_all(plan, folder: Path, name: str) -> int:
    """Compile every kernel of a plan to machine code; the number of kernels."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    path = folder / f"{name}.py"
    path.write_text(kernels(plan))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = [value for key, value in vars(module).items() if key.startswith("kernel_")]
    for kernel in found:
        kinds = {name: kind(name) for name in kernel.arg_names}
        compiled = triton.compile(
            ASTSource(kernel, kinds, constexprs={"BLOCK": 32}), target=GPUTarget("cuda", 80, 32), options={"num_warps": 1}
        )
        assert "fma.rn.f64" in compiled.asm["ptx"] or "mul.f64" in compiled.asm["ptx"]
        assert "f32" not in compiled.asm["ptx"]  # a coefficient rounded to float32 would show here
    return len(found)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # triton announces defaults of its next release
    plan = channelwise("0e+1o", "0e+1o", None).plan
    plans = [plan, *(plan.gradient(which) for which in range(len(plan.inputs)))]
    print(sum(compile_all(p, Path(sys.argv[1]), f"plan_{n}") for n, p in enumerate(plans)), "kernels")
