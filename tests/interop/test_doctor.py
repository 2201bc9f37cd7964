"""The doctor tells the truth: the laws hold here, a broken group is noticed, a missing extra is named."""

import importlib.metadata

import pytest
import torch

from coset.groups.matrix import SO
from coset.interop import doctor


def test_the_laws_hold():
    check = doctor.self_check()
    assert check.passed, check
    assert check.groups >= 15
    assert check.actions > 3 * check.groups


class Backwards(SO):
    """The broken twin: composes in the wrong order."""

    def compose(self, g, h):
        return h @ g


def test_a_group_that_composes_backwards_is_noticed(monkeypatch):
    monkeypatch.setattr(doctor, "_groups", lambda: iter([Backwards(3)]))
    check = doctor.self_check()
    assert not check.passed
    assert "vector" in check.worst


def test_nan_is_no_pass(monkeypatch):
    monkeypatch.setattr(doctor, "_groups", lambda: iter([SO(3)]))
    monkeypatch.setattr(doctor, "_errors", lambda *_: iter([("vector", float("nan")), ("axial", 0.0)]))
    assert not doctor.self_check().passed


def test_extras_are_those_of_the_package(monkeypatch):
    names = {extra.name for extra in doctor.extras()}
    for_users = {"train", "report", "track", "ray", "triton", "control", "atoms", "test", "export", "hub"}
    assert names == for_users | {"graphs", "peers"}

    real = importlib.metadata.version

    def version(name):
        if name == "plotly":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    report = next(extra for extra in doctor.extras() if extra.name == "report")
    assert report.missing == ("plotly",)
    assert report.install == 'pip install "coset[report]"'


@pytest.mark.parametrize("name", ["python", "coset", "torch", "numpy"])
def test_versions_are_told(name):
    assert doctor.versions()[name]
    assert doctor.versions()["torch"] == torch.__version__
