"""What no single file can promise: floors, sizes, documentation, what may be installed and what may be absent."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "coset"
FILES = sorted(SRC.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
#: extras that `all` leaves out: what is measured against, not used
NOT_FOR_USERS = {"all", "dev", "peers", "graphs", "test", "hub", "export", "browser"}
OPTIONAL = (
    "lightning",
    "pytorch_lightning",
    "sklearn",
    "plotly",
    "jinja2",
    "matplotlib",
    "ase",
    "vesin",
    "lmdb",
    "tensorboard",
    "ray",
    "triton",
    "e3nn",
    "sphericart",
    "gymnasium",
    "mujoco",
    "torch_geometric",
)

#: run as processes of their own, for files that the user trusts
CHILDREN = ("interop/mace_convert_extract.py", "interop/pickled.py", "train/foreign.py")
#: longer than the limit, each with its reason
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}


def where(path: Path, node: ast.AST | None = None) -> str:
    return str(path.relative_to(SRC)) + (f":{node.lineno}" if node is not None else "")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the package under ``folder/src`` with the contracts of ``folder/pyproject.toml``."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_nobody_imports_upward():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_import_upward_is_caught(tmp_path):
    shutil.copytree(SRC, tmp_path / "src" / "coset")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src" / "coset" / "errors.py").open("a") as stream:
        stream.write("\nimport coset.contract\n")
    assert lint(tmp_path).returncode != 0


def test_files_and_functions_are_short():
    long = [
        f"{where(p)}: {n} lines" for p in FILES if (n := len(p.read_text().splitlines())) > 400 and where(p) not in LONG_FILES
    ]
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > 60 and f"{where(path)}:{node.name}" not in LONG_FUNCTIONS:
                    long.append(f"{where(path, node)} {node.name}: {size} lines")
    assert not long, "\n".join(long)


def test_packages_hold_a_docstring_only():
    for path in FILES:
        if path.name == "__init__.py" and path.parent != SRC:
            body = TREES[path].body
            assert len(body) == 1, where(path)
            assert ast.get_docstring(TREES[path]), where(path)


def test_everything_public_is_documented_and_typed():
    mute = [where(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    mute.append(f"{where(path, node)} {node.name}")
                if isinstance(node, ast.FunctionDef) and node.returns is None:
                    mute.append(f"{where(path, node)} {node.name}: what does it return?")
    assert not mute, "\n".join(mute)


def test_no_room_without_a_concept():
    assert not {"utils", "common", "misc", "helpers", "core"} & {
        part for p in FILES for part in p.relative_to(SRC).with_suffix("").parts
    }


def test_errors_are_raised_and_work_is_done():
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                found.append(f"{where(path, node)} assert vanishes under -O")
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.dump(node.exc):
                found.append(f"{where(path, node)} is a stub")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{where(path, node)} bare except")
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text()):
            found.append(f"{where(path)} leaves work for later")
    assert not found, "\n".join(found)


def test_pickles_are_opened_in_processes_of_their_own_only():
    """Outside the child processes that open a trusted file, nothing reads or writes pickles, nor evaluates text."""
    found = []
    for path, tree in TREES.items():
        if where(path) in CHILDREN:
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                if {"pickle", "cloudpickle", "joblib", "dill"} & set(names):
                    found.append(where(path, node))
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("torch.load", "torch.save", "eval", "exec", "np.save") or (
                    called == "np.load" and "allow_pickle=False" not in ast.unparse(node)
                ):
                    found.append(where(path, node))
    assert not found, found


def test_nothing_that_replaces_torch_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    names = {re.match(r"[A-Za-z0-9._-]+", line).group().lower() for line in asked}
    assert not names & {"torchvision", "torchaudio", "timm", "lightly", "escnn"}
    core = {re.match(r"[A-Za-z0-9._-]+", line).group() for line in project["dependencies"]}
    assert not core & {"lightning", "jsonargparse", "plotly", "matplotlib", "scikit-learn"}


def test_extra_all_names_every_extra_of_users():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (line,) = extras["all"]
    assert set(line.partition("[")[2].rstrip("]").split(",")) == set(extras) - NOT_FOR_USERS


def test_constraints_pin_what_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    names = {re.match(r"[A-Za-z0-9._-]+", line).group() for line in asked} - {"coset"}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


BLOCK = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def bare(tmp_path):
    """Run Python where no optional package can be imported, in child processes neither."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)

    def python(*words):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "site")}
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)

    return python


def test_every_module_imports_without_extras(bare):
    names = [".".join(("coset", *p.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__") for p in FILES]
    names.remove("coset.__main__")
    done = bare("-c", "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)", *names)
    assert done.returncode == 0, done.stderr[-2000:]


def test_audit_needs_no_extra(bare, tmp_path):
    (tmp_path / "nets.py").write_text("def f(x):\n    return x.sum((-1, -2))\n")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 1, 6, 6)))
    line = ["audit", f"{tmp_path}/nets.py:f", "--group", "C(4)", "--in", "image", "--out-rep", "invariant"]
    done = bare("-m", "coset", *line, "--data", f"{tmp_path}/x.npy", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"verdict": "PASS"' in done.stdout


@pytest.mark.parametrize(
    ("line", "module", "extra"),
    [
        (
            ["audit", "torch:relu", "--group", "C(4)", "--in", "image", "--out-rep", "image", "--data", "digits"],
            "sklearn",
            "train",
        ),
        (["compare", "digits", "--size", "smoke", "--out", "{tmp}/run"], "sklearn", "train"),
        (["train", "nbody", "plain", "--size", "smoke", "--out", "{tmp}/run"], "lightning", "train"),
    ],
)
def test_an_absent_package_is_named_with_its_install_line(bare, tmp_path, line, module, extra):
    done = bare("-m", "coset", *(word.format(tmp=tmp_path) for word in line))
    assert done.returncode == 3, done.stderr[-2000:]
    said = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(rf'coset: needs {module}[.\w]*: pip install "coset\[{extra}\]"', said), said


def test_import_coset_costs_nothing_and_its_names_little():
    def python(code):
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert python("import coset, sys; sys.exit('torch' in sys.modules)").returncode == 0
    measured = (
        "import time\nbegin = time.process_time()\nimport torch\nstart = time.process_time()\nimport coset\n"
        "for name in coset.__all__:\n    getattr(coset, name)\nprint((time.process_time() - start) / (start - begin))"
    )
    done = python(measured)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 0.8  # of what torch itself costs, so that a slow machine does not fail


def test_no_model_imports_another():
    """What two systems need goes down to a lower floor."""
    models = [path for path in FILES if "models" in path.relative_to(SRC).parts]
    found = [
        where(path, node)
        for path in models
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coset.models")
    ]
    assert len(models) > 20
    assert not found


def test_systems_do_not_repeat_each_other():
    """Six-line windows that stand elsewhere: below three percent in the rooms of systems."""
    spec = importlib.util.spec_from_file_location("repetition", ROOT / "benchmarks" / "repetition.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = module.python_files([SRC / room for room in ("models", "tasks", "data", "objectives", "symmetrizers")])
    found = module.repeated(files)
    assert sum(count for _, count in found.values()) > 5000
    assert module.share(found) < 3


def test_a_copied_block_is_seen(tmp_path):
    spec = importlib.util.spec_from_file_location("repetition", ROOT / "benchmarks" / "repetition.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "src").mkdir()
    block = "\n".join(f"    value_{i} = {i}" for i in range(7))
    (tmp_path / "src" / "a.py").write_text(f"import os\n\ndef f():\n{block}\n    return value_0\n")
    (tmp_path / "src" / "b.py").write_text(f"def g():\n{block}\n    return 1\n")
    found = module.repeated([tmp_path / "src" / "a.py"], tmp_path)
    assert found == {tmp_path / "src" / "a.py": (2, 4)}
