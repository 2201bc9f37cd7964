"""From the text of an LLVM module to functions that Python calls, compiled once per machine and kept on disk.

    library = load(("scale", plan.key, 128), generate, target=None, sources=(__file__,))
    library.function("forward", 7)(rows, x.data_ptr(), ...)       # seven 64-bit arguments: integers and addresses

``generate(target)`` is asked for the text only when nothing is kept under the key, so a kept kernel costs neither generation
nor compilation. The key on disk also holds the target, the versions of llvmlite and LLVM, and the source files of the
generator: a changed generator never meets its old code.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from coset.errors import InputError
from coset.ops.backends.llvm import cache
from coset.ops.backends.llvm.targets import Target, choose

_VOCABULARY = tuple(str(Path(__file__).with_name(name)) for name in ("builder.py", "values.py", "compiler.py"))
_lock = threading.RLock()
_loaded: dict[str, Library] = {}


class Library:
    """Loaded object code. Calls release the interpreter's lock."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._functions: dict[tuple[str, int], Callable[..., None]] = {}

    def function(self, name: str, arguments: int) -> Callable[..., None]:
        """The function ``name``, which takes ``arguments`` integers or addresses. InputError if the module has none."""
        if (name, arguments) not in self._functions:
            address = self._engine.get_function_address(name)
            if not address:
                raise InputError(f"the kernel library has no function {name!r}")
            made: Any = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(address)
            made.library = self  # a function outlives nothing that it needs
            self._functions[name, arguments] = made
        return self._functions[name, arguments]


def load(
    key: Sequence[object], generate: Callable[[Target], str], *, target: str | None = None, sources: Sequence[str] = ()
) -> Library:
    """The library of the module that ``generate`` writes, from memory, from disk or compiled now.

    ``key`` (values whose ``repr`` says all) and the files ``sources`` identify the module; ``target`` as in
    :func:`coset.ops.backends.llvm.targets.choose`. InputError if this machine cannot run the target's code.
    """
    chosen = choose(target)
    if not chosen.runs_here:
        raise InputError(f"code for {chosen.name} does not run on this machine; use assemble to generate it")
    digest = _digest(tuple(map(repr, key)), chosen, tuple(sources))
    with _lock:
        if digest not in _loaded:
            code = cache.read(digest)
            if code is None:
                code = assemble(generate(chosen), chosen)
                cache.write(digest, code)
            _loaded[digest] = Library(_link(code))
        return _loaded[digest]


def assemble(text: str, target: Target, *, readable: bool = False) -> Any:
    """Object code (bytes) of a module for ``target``; with ``readable`` the assembly as text."""
    machine = target.machine()
    import llvmlite.binding as binding

    with _lock:
        module = binding.parse_assembly(text)
        module.triple, module.data_layout = target.triple, str(machine.target_data)
        module.verify()
        # the loops are already vectors; unrolling them again only costs time
        options = binding.create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        return machine.emit_assembly(module) if readable else machine.emit_object(module)


def forget() -> None:
    """Drop the libraries of this process from its table (kept files stay): the next call reads or compiles anew."""
    with _lock:
        _loaded.clear()


def _link(code: bytes) -> Any:
    import llvmlite.binding as binding

    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), choose("host").machine())
    engine.add_object_file(binding.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


@lru_cache(maxsize=256)
def _digest(key: tuple[str, ...], target: Target, sources: tuple[str, ...]) -> str:
    import llvmlite
    import llvmlite.binding as binding

    made_by = (llvmlite.__version__, binding.llvm_version_info)
    text = repr((key, target, made_by, _fingerprint(_VOCABULARY + sources)))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@lru_cache(maxsize=64)
def _fingerprint(files: tuple[str, ...]) -> str:
    """One digest of the content of source files."""
    return hashlib.sha256(b"\0".join(Path(name).read_bytes() for name in files)).hexdigest()
