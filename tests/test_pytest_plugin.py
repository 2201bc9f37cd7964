"""The plugin as users of pytest meet it: a fixture, options, a marker, and failures that say where and why."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

import coset.testing
from coset.audits.causes import find_causes
from coset.contract import Contract
from coset.groups.matrix import SO

pytest_plugins = "pytester"

INSTALLED = any(found.name == "coset" for found in entry_points(group="pytest11"))
HEAD = """
import pytest, torch
from coset.contract import Contract, attach
from coset.groups.matrix import SO

CONTRACT = Contract(SO(3), {"v": "N x vector"}, {"size": "N x scalar", "same": "N x vector"})

def right(v):
    return {"size": v.norm(dim=-1), "same": 2 * v}

def wrong(v):
    return {"size": v.norm(dim=-1), "same": v + torch.tensor([0.0, 0.0, 1e-3])}
"""


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    """What a search imports on its way is loaded here, since pytester unloads again what is new in a run."""
    contract = Contract(SO(3), "N x vector", "N x vector")
    assert find_causes(lambda v: v.float().double() + 1, torch.eye(3).double(), contract) is not None
    assert coset.testing.assert_equivariant(lambda v: v, contract)


@pytest.fixture
def outcome(pytester):
    """Run tests as in a project of their own."""
    plugins = () if INSTALLED else ("-p", "coset.pytest_plugin")

    def run(body, *options):
        pytester.makepyfile(HEAD + body)
        return pytester.runpytest_inprocess("--strict-markers", "-p", "no:cacheprovider", *plugins, *options)

    return run


def test_a_right_function_passes_and_says_what_was_found(outcome):
    body = """
def test_it(assert_equivariant):
    assert assert_equivariant(right, CONTRACT).error < 1e-14
    assert assert_equivariant(attach(right, CONTRACT)).limit == 1e-10
    assert assert_equivariant(right, CONTRACT, {"v": torch.randn(7, 3)}, samples=3).error < 1e-14
"""
    outcome(body).assert_outcomes(passed=1)


def test_a_failure_names_element_outputs_and_cause(outcome):
    found = outcome("def test_it(assert_equivariant):\n    assert_equivariant(wrong, CONTRACT)\n")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*does not keep its contract SO(3)*relative error is*e-* at *° about (*"])
    found.stdout.re_match_lines([r".*output size: \d\.\d+e-1[5-9]", r".*output same: \d\.\d+e-0[34]"])
    assert "pytest_plugin.py" not in found.stdout.str()  # the traceback ends in the user's own test


def test_a_cause_is_told(outcome):
    body = """
class Cast(torch.nn.Module):
    def forward(self, v):
        return {"size": v.float().norm(dim=-1).to(v.dtype), "same": 2 * v}

def test_it(assert_equivariant):
    assert_equivariant(Cast(), CONTRACT)
"""
    found = outcome(body)
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*likely cause: *cast to a lower precision*"])


def test_options_and_the_marker_say_how_hard_to_look(outcome):
    body = """
import coset.testing

@pytest.fixture(autouse=True)
def seen(monkeypatch):
    asked = []
    own = coset.testing.assert_equivariant
    monkeypatch.setattr(coset.testing, "assert_equivariant", lambda *a, **how: asked.append(how) or own(*a, **how))
    return asked

def test_options(assert_equivariant, seen):
    assert assert_equivariant(right, CONTRACT).limit == 1e-4
    assert seen == [{"samples": 5, "seed": 7, "dtype": "float32"}]

@pytest.mark.equivariance(samples=2, dtype="float64")
class TestMarker:
    def test_of_the_class(self, assert_equivariant, seen):
        assert_equivariant(right, CONTRACT)
        assert seen == [{"samples": 2, "seed": 7, "dtype": "float64"}]

    @pytest.mark.equivariance(samples=3)
    def test_the_nearest_counts(self, assert_equivariant, seen):
        assert_equivariant(right, CONTRACT, seed=1)
        assert seen == [{"samples": 3, "seed": 1, "dtype": "float64"}]
"""
    outcome(body, "--coset-samples=5", "--coset-seed=7", "--coset-dtype=float32").assert_outcomes(passed=3)


def test_seeds_draw_other_elements(outcome):
    body = """
def test_it(assert_equivariant):
    errors = set()
    for seed in (0, 0, 1):
        with pytest.raises(AssertionError) as found:
            assert_equivariant(wrong, CONTRACT, seed=seed)
        errors.add(found.value.error)
    assert len(errors) == 2
"""
    outcome(body).assert_outcomes(passed=1)


def test_misuse_is_an_error_that_says_so(outcome):
    body = """
@pytest.mark.equivariance(number=3)
def test_marker(assert_equivariant):
    pass

def test_no_contract(assert_equivariant):
    assert_equivariant(right)
"""
    found = outcome(body)
    found.assert_outcomes(errors=1, failed=1)
    found.stdout.fnmatch_lines(["*marker equivariance takes samples, seed, dtype by name*", "*states no contract*"])


def test_pytest_starts_without_torch():
    code = "import sys, coset.pytest_plugin; print(sorted({'torch', 'numpy', 'coset.contract'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
