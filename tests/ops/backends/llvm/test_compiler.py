"""What is compiled once is neither written nor compiled again, in this process or the next."""

import ctypes
import gc
import subprocess
import sys
import threading

import pytest

from coset.errors import InputError
from coset.ops.backends.llvm import cache, compiler
from coset.ops.backends.llvm.builder import WRITE, Builder
from coset.ops.backends.llvm.compiler import load

SCRIPT = """
import ctypes, sys
from coset.ops.backends.llvm.builder import WRITE, Builder
from coset.ops.backends.llvm.compiler import load
def write(target):
    print("written")
    k = Builder("float64", 2)
    for (y,) in k.function("one", y=WRITE):
        y[0] = k.scalar(1.0)
    return k.text
y = ctypes.c_double()
load(("script",), write).function("one", 1)(ctypes.addressof(y))
assert y.value == 1.0
"""


class Writer:
    """A kernel that stores a number, and how often it was written."""

    def __init__(self, number=1.0):
        self.number, self.times = number, 0

    def __call__(self, target):
        self.times += 1
        k = Builder("float64", 2)
        for (y,) in k.function("store", y=WRITE):
            y[0] = k.scalar(self.number)
        return k.text

    def stored(self, key=("store",), **given):
        y = ctypes.c_double()
        load(key, self, **given).function("store", 1)(ctypes.addressof(y))
        return y.value


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path))
    compiler.forget()
    yield
    compiler.forget()


def test_memory_then_disk_then_compile():
    writer = Writer()
    assert writer.stored() == writer.stored() == 1.0
    assert writer.times == 1
    compiler.forget()
    assert writer.stored() == 1.0
    assert writer.times == 1
    assert cache.clear() == 1
    compiler.forget()
    writer.stored()
    assert writer.times == 2


def test_the_key_and_the_sources_decide(tmp_path):
    source = tmp_path / "generator.py"
    source.write_text("version = 1")
    first, second = Writer(1.0), Writer(2.0)
    assert first.stored(("a",), sources=(str(source),)) == 1.0
    assert second.stored(("b",), sources=(str(source),)) == 2.0
    compiler._fingerprint.cache_clear()
    compiler._digest.cache_clear()
    source.write_text("version = 2")
    assert Writer(3.0).stored(("a",), sources=(str(source),)) == 3.0


def test_targets_do_not_share_code():
    writer = Writer()
    if compiler.choose("baseline").runs_here:
        writer.stored(target="host")
        writer.stored(target="baseline")
        assert writer.times == 2


def test_a_damaged_file_is_made_anew():
    writer = Writer()
    writer.stored()
    (kept,) = cache.folder().glob("*.o")
    for damage in (b"", kept.read_bytes()[:-3], kept.read_bytes() + b"x", b"\0" * 4000):
        kept.write_bytes(damage)
        compiler.forget()
        before = writer.times
        assert writer.stored() == 1.0
        assert writer.times == before + 1


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="not kept"):
        assert Writer().stored() == 1.0


def test_processes_at_once_agree():
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert all(process.wait(timeout=120) == 0 for process in processes)
    for process in processes:
        process.stdout.close()
    later = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert later.stdout == ""


def test_threads_at_once_write_once():
    writer, found = Writer(), []
    threads = [threading.Thread(target=lambda: found.append(writer.stored())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 8
    assert writer.times == 1


def test_a_function_keeps_its_library():
    function = load(("store",), Writer()).function("store", 1)
    compiler.forget()
    gc.collect()
    y = ctypes.c_double()
    function(ctypes.addressof(y))
    assert y.value == 1.0


def test_an_absent_function_is_named():
    with pytest.raises(InputError, match="'other'"):
        load(("store",), Writer()).function("other", 1)


def test_importing_the_backend_does_not_import_llvmlite():
    script = "import sys, coset.ops.backends.llvm.convolution; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
