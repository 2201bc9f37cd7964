"""A target string names exactly one callable; whatever does not is an error that says what to write instead."""

import pytest
import torch

from coset.errors import InputError
from coset.interop.target import load_object, load_target

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.width = width
    def forward(self, x):
        return x.sum(-1) * self.width

class Wide(nn.Module):
    def __init__(self, width):
        super().__init__()

net = Net(5)
number = 3

def build():
    return Net(7)

def double(x):
    return 2 * x

def broken():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def nets(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(("name", "factor"), [("net", 5), ("Net", 3), ("build", 7)])
def test_instance_class_and_factory_become_models(nets, name, factor):
    x = torch.ones(2, 4)
    assert torch.equal(load_target(f"{nets}:{name}")(x), factor * x.sum(-1))


def test_a_function_with_parameters_is_the_model_itself(nets):
    assert torch.equal(load_target(f"{nets}:double")(torch.ones(3)), 2 * torch.ones(3))


def test_dotted_attributes_and_packages():
    assert load_target("torch.nn.functional:relu")(torch.tensor(-1.0)) == 0
    assert load_target("torch:nn.functional.relu")(torch.tensor(-1.0)) == 0


def test_a_file_is_imported_once_and_executed_no_further(tmp_path):
    path = tmp_path / "counted.py"
    path.write_text(
        "from pathlib import Path\np = Path(__file__).with_suffix('.log')\n"
        "p.write_text((p.read_text() if p.exists() else '') + 'x')\ndef f(x):\n    raise AssertionError\n"
    )
    load_target(f"{path}:f")
    load_object(f"{path}:f")
    assert path.with_suffix(".log").read_text() == "x"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("{file}:nte", "did you mean 'net'"),
        ("{file}", "names no attribute"),
        ("{folder}/net.py:net", "did you mean .*nets.py"),
        ("{file}:number", "cannot be called"),
        ("{file}:Wide", "needs arguments .width"),
        ("{file}:broken", "no weights here"),
        ("no_such_package.here:x", "no module 'no_such_package'"),
        ("not a module:x", "is no module name"),
        ("{folder}", "holds no model.json"),
    ],
)
def test_what_is_wrong_is_said(nets, target, says):
    with pytest.raises(InputError, match=says):
        load_target(target.format(file=nets, folder=nets.parent))


def test_an_import_that_fails_names_its_reason(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("import no_such_thing_at_all\n")
    with pytest.raises(InputError, match="no_such_thing_at_all"):
        load_target(f"{path}:x")
    path.write_text("def (:\n")
    with pytest.raises(InputError, match="SyntaxError"):
        load_target(f"{path}:x")


def test_a_pickle_is_refused_without_being_opened(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "opened").encode() + b"'\ntR.")
    with pytest.raises(InputError, match="--trust-pickle"):
        load_target(str(path))
    assert not (tmp_path / "opened").exists()
