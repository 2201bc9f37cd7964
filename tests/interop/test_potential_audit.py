"""Any calculator gets the same page; a broken twin of EMT is caught, and where."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase.build import bulk
from ase.calculators.emt import EMT

from coset.cli.app import run
from coset.data.stillinger import clusters, crystals
from coset.data.structures import frame_of
from coset.errors import InputError
from coset.interop.potential_audit import PotentialAudit, audit_potential
from coset.interop.potential_file import save_potential
from coset.models.atoms.mace import MACE

SMALL = {"rotations": 3, "directions": 2, "steps": 12}


def make():
    torch.manual_seed(0)
    return MACE((14, 32), 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2, references=(-100.25, -200.5)).double()


def metal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.symbols[0] = "Au"
    return atoms


def failed(found):
    return {check["name"] for check in found.checks if check["verdict"] == "FAIL"}


def test_an_untrained_network_obeys(tmp_path):
    frames = [*crystals(1), *clusters(1, 4)]
    found = audit_potential(save_potential(make(), tmp_path / "a"), frames, **SMALL)
    assert found.verdict == "PASS", str(found)
    assert found.potential == "MACE"
    errors = {check["name"]: check["error"] for check in found.checks}
    assert errors.pop("drift") < 0.1
    assert errors.pop("cutoff: energy") < 1e-10
    assert errors.pop("cutoff: curvature") < 1e-8
    assert max(errors.values()) < 1e-7
    layers = {layer["name"]: layer["error"] for layer in found.layers}
    assert len(layers) > 6
    assert max(layers.values()) < 1e-12
    assert len(found.notes) == 2  # against the labels


@pytest.fixture(scope="module")
def page():
    return audit_potential("ase.calculators.emt:EMT", [frame_of(metal())], **SMALL)


def test_the_finding_is_kept_printed_and_drawn(page, tmp_path):
    found = page
    again = PotentialAudit.load(found.save(tmp_path / "audit.npz"))
    assert str(again) == str(found)
    assert json.loads(json.dumps(found.to_json()))["verdict"] == found.verdict
    pytest.importorskip("matplotlib")
    assert again.draw(tmp_path / "audit.png").stat().st_size > 10_000


def test_emt_ends_with_a_small_step(page):
    """ASE's EMT cuts its Fermi function at a finite value: every other law holds."""
    found = page
    assert failed(found) <= {"cutoff: energy", "cutoff: force", "cutoff: curvature"}
    assert "cutoff: energy" in failed(found)
    steps = {check["name"]: check["error"] for check in found.checks}
    assert 1e-6 < steps["cutoff: energy"] < 1e-3


class Turned(EMT):
    """Forces turned by a constant angle."""

    def calculate(self, *args, **more):
        super().calculate(*args, **more)
        c, s = np.cos(0.1), np.sin(0.1)
        self.results["forces"] = self.results["forces"] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


class Leaky(EMT):
    """Forces that turn as they must and are no gradient."""

    def calculate(self, *args, **more):
        super().calculate(*args, **more)
        forces = self.results["forces"]
        self.results["forces"] = forces * (1 + 0.2 * np.linalg.norm(forces, axis=1, keepdims=True))


class Twisted(EMT):
    """Stress in another order than ASE's."""

    def calculate(self, *args, **more):
        super().calculate(*args, **more)
        if "stress" in self.results:
            self.results["stress"] = self.results["stress"][[0, 1, 2, 5, 4, 3]]


@pytest.mark.parametrize(
    ("broken", "laws"),
    [
        (Turned, {"rotation", "forces = -dE/dx"}),
        (Leaky, {"forces = -dE/dx"}),
        (Twisted, {"rotation", "stress = dE/d(strain)/V"}),
    ],
)
def test_broken_twins_are_caught(broken, laws):
    found = audit_potential(broken(), [frame_of(metal())], **{**SMALL, "steps": 0, "cutoff": 9.0})
    assert {name for name in failed(found) if not name.startswith("cutoff")} == laws
    assert found.verdict == "FAIL"


def test_bad_input():
    with pytest.raises(InputError, match="at least one structure"):
        audit_potential(EMT(), [])
    with pytest.raises(InputError, match="got int"):
        audit_potential(3, [frame_of(metal())])
    with pytest.raises(InputError, match=r"elements \[29, 79\] are unknown"):
        audit_potential(make(), [frame_of(metal())])


@pytest.fixture
def data(tmp_path):
    from ase.io import write

    atoms = metal()
    atoms.calc = EMT()
    atoms.get_forces()
    write(tmp_path / "data.extxyz", [atoms])
    return tmp_path / "data.extxyz"


def test_the_command(data, tmp_path, capsys, monkeypatch):
    line = ["audit", "ase.calculators.emt:EMT", "--atoms", str(data), "--samples", "2", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("coset.interop.potential_audit.STEPS", 10)
    assert run([*line, "--json"]) == 1  # EMT's step at the cutoff
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "FAIL"
    assert {check["name"]: check["verdict"] for check in told["checks"]}["rotation"] == "PASS"
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == told
    assert PotentialAudit.load(tmp_path / "out" / "audit.npz").verdict == "FAIL"


def test_the_command_prints(page, data, capsys, monkeypatch):
    monkeypatch.setattr("coset.interop.potential_audit.audit_potential", lambda *_, **__: page)
    assert run(["audit", "ase.calculators.emt:EMT", "--atoms", str(data)]) == 1
    out = capsys.readouterr().out
    assert "forces = -dE/dx" in out
    assert "verdict  FAIL" in out


def test_the_command_refuses(data, capsys):
    assert run(["audit", "nowhere", "--atoms", str(data)]) == 2
    assert "no file nowhere" in capsys.readouterr().err
    assert run(["audit", "ase.calculators.emt:EMT", "--atoms", "nowhere.xyz"]) == 2
    assert "does not exist" in capsys.readouterr().err
