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
from coset.interop.ase import Calculator
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
    found = audit_potential(save_potential(make(), tmp_path / "a"), frames, **SMALL, single=False)
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
    assert found.words[0] == "All 12 laws hold."


def test_single_precision_stands_beside_double():
    """Errors of rounding, which pass since the floor is measured; the verdict is that of double precision."""
    found = audit_potential(make(), crystals(1), **SMALL)
    assert found.dtype == "float64"
    assert [check["name"] for check in found.single] == [check["name"] for check in found.checks]
    assert not [check for check in found.single if check["verdict"] == "FAIL"], found.single
    fine, coarse = ({check["name"]: check["error"] for check in checks} for checks in (found.checks, found.single))
    assert coarse["rotation"] > 1e3 * fine["rotation"]
    assert found.single_orbit_forces.max() > 1e3 * found.orbit_forces.max()
    assert len(found.single_total) == len(found.total)
    assert all(layer["single"] >= layer["error"] for layer in found.layers)
    assert found.words[-1].startswith("In single precision: All")
    alone = audit_potential(Calculator(make(), dtype="float32"), crystals(1), **{**SMALL, "steps": 0})
    assert alone.dtype == "float32"
    assert not alone.single
    assert "single" not in alone.layers[0]
    assert not audit_potential(make(), crystals(1), **{**SMALL, "steps": 0}, single=False).single


def test_labels_make_errors_over_a_turn():
    frames = [{**clusters(1, 4)[0]}]
    found = audit_potential(make(), frames, **{**SMALL, "steps": 0}, single=False)
    assert found.orbit_forces_labels.shape == (1, len(found.angles))
    assert np.ptp(found.orbit_forces_labels) < 1e-9 < 1 < found.orbit_forces_labels.min()
    assert found.orbit_energy.max() < 1e-8


@pytest.fixture(scope="module")
def page():
    return audit_potential("ase.calculators.emt:EMT", [frame_of(metal())], **SMALL)


def test_stress_is_judged_where_a_structure_repeats_along_all_axes():
    """A box around a molecule has no volume that means anything: peers make one of their own."""

    class Boxed(EMT):
        def calculate(self, *args, **more):
            super().calculate(*args, **more)
            self.results["stress"] = np.full(6, self.atoms.positions[0, 0])

    atoms = metal()
    atoms.set_pbc(False)
    found = audit_potential(Boxed(), [frame_of(atoms)], **{**SMALL, "steps": 0, "cutoff": 9.0})
    assert not {name for name in failed(found) if not name.startswith("cutoff")}


def test_a_run_that_is_lost_is_a_law_that_is_not_met():
    class Blind(EMT):
        """Answers nothing once atoms have moved on."""

        def calculate(self, *args, **more):
            super().calculate(*args, **more)
            if np.abs(self.atoms.get_momenta()).max() > 0:
                self.results["energy"] = self.results["free_energy"] = float("nan")

    found = audit_potential(Blind(), [frame_of(metal())], **{**SMALL, "cutoff": 9.0})
    assert {check["name"]: check["verdict"] for check in found.checks}["drift"] == "FAIL"
    assert not len(found.time)


@pytest.mark.parametrize("said", [4.0, "4", None, -1.0])
def test_a_calculator_may_say_its_cutoff(said):
    class Telling(EMT):
        r_max = said

    found = audit_potential(Telling(), [frame_of(metal())], **{**SMALL, "steps": 0})
    assert (found.cutoff == 4.0) == (said == 4.0)
    assert found.cutoff > 3
    detail = next(check["detail"] for check in found.checks if check["name"] == "cutoff: energy")
    assert set(detail.rpartition(" ")[2].split("-")) <= {"Cu", "Au"}


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


class Lost(EMT):
    """An answer that is no number."""

    def calculate(self, *args, **more):
        super().calculate(*args, **more)
        self.results["forces"][0, 0] = float("nan")


def test_a_cell_smaller_than_the_cutoff_is_right():
    frame = {"pos": torch.zeros(1, 3), "z": torch.tensor([14]), "cell": 2.2 * torch.eye(3) + 0.1, "periodic": (True,) * 3}
    found = audit_potential(make(), [frame], **{**SMALL, "steps": 0}, single=False)
    assert found.verdict == "PASS", str(found)


def test_bad_input():
    with pytest.raises(InputError, match="at least one structure"):
        audit_potential(EMT(), [])
    with pytest.raises(InputError, match="got int"):
        audit_potential(3, [frame_of(metal())])
    with pytest.raises(InputError, match=r"elements \[29, 79\] are unknown"):
        audit_potential(make(), [frame_of(metal())])
    frame = crystals(1)[0]
    with pytest.raises(InputError, match="NaN"):
        audit_potential(make(), [{**frame, "pos": frame["pos"] * float("nan")}])
    with pytest.raises(InputError, match="apart"):
        audit_potential(make(), [{**frame, "pos": frame["pos"] * 0}])
    with pytest.raises(InputError, match="not finite"):
        audit_potential(Lost(), [frame_of(metal())])


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
    assert "The energy has a step where an atom enters" in (tmp_path / "out" / "audit.html").read_text()


def test_the_command_prints(page, data, capsys, monkeypatch):
    monkeypatch.setattr("coset.interop.potential_audit.audit_potential", lambda *_, **__: page)
    assert run(["audit", "ase.calculators.emt:EMT", "--atoms", str(data)]) == 1
    out = capsys.readouterr().out
    assert "forces = -dE/dx" in out
    assert out.startswith("verdict  FAIL")


def test_the_command_and_its_precision(tmp_path, data, capsys, monkeypatch):
    """Both precisions unless one is asked for; the exit code is that of the law, damaged files are usage."""
    monkeypatch.setattr("coset.interop.potential_audit.STEPS", 10)
    torch.manual_seed(0)
    model = MACE((29, 79), 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2)
    file = save_potential(model, tmp_path / "a.safetensors")
    line = ["audit", str(file), "--atoms", str(data), "--samples", "1"]
    assert run(line) == 0
    out = capsys.readouterr().out
    assert "float32" in out
    assert "In single precision: All" in out
    assert run([*line, "--dtype", "float32", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dtype"], told["single"]) == ("float32", [])
    file.write_bytes(file.read_bytes()[:-9])
    assert run(line) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_refuses(data, capsys):
    assert run(["audit", "nowhere", "--atoms", str(data)]) == 2
    assert "no file nowhere" in capsys.readouterr().err
    assert run(["audit", "ase.calculators.emt:EMT", "--atoms", "nowhere.xyz"]) == 2
    assert "does not exist" in capsys.readouterr().err
