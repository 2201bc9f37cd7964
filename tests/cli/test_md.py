"""coset md and coset relax: a run that goes on, a file of relaxed structures, clear errors."""

import json
import resource
import signal

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase.build import bulk
from ase.io import read, write

from coset.cli.app import run
from coset.interop.potential_file import save_potential
from coset.models.atoms.mace import MACE

EMT = "ase.calculators.emt:EMT"


@pytest.fixture
def start(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    write(tmp_path / "start.extxyz", [atoms, atoms * (2, 1, 1)])
    return tmp_path / "start.extxyz"


@pytest.fixture
def members(tmp_path):
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = MACE((29,), 4.0, hidden="2x0e", lmax=1, correlation=2)
        files.append(str(save_potential(model, tmp_path / f"{seed}.safetensors")))
    return files


def test_a_run_goes_on_where_it_stopped(start, tmp_path, capsys):
    line = ["md", EMT, "--atoms", str(start), "--every", "2", "--keep", "5", "--json"]
    assert run([*line, "--steps", "10", "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert run([*line, "--steps", "20", "--out", str(tmp_path / "a")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["time_ps"] == pytest.approx(0.01)
    assert told["atoms"] == 4
    assert abs(told["drift_mev_per_atom_and_ps"]) < 50
    assert run([*line, "--steps", "20", "--out", str(tmp_path / "b")]) == 0
    one, other = (read(tmp_path / name / "trajectory.extxyz", ":") for name in "ab")
    assert len(one) == len(other) == 11
    assert np.array_equal(one[-1].positions, other[-1].positions)
    assert (tmp_path / "a" / "motion.npz").is_file()


def test_a_thermostat_another_frame_and_text(start, tmp_path, capsys):
    line = ["md", EMT, "--atoms", str(start), "--frame", "1", "--ensemble", "bussi", "--steps", "4", "--every", "2"]
    assert run([*line, "--temperature", "50", "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert "mean temperature k" in shown.out
    assert "step 4/4" in shown.err
    assert len(read(tmp_path / "a" / "trajectory.extxyz")) == 8


def test_a_committee_says_how_far_apart_it_is(start, members, tmp_path, capsys):
    line = ["--atoms", str(start), "--steps", "2", "--every", "1", "--json"]
    assert run(["md", *members, *line, "--out", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["committee_forces_std_mev_a"] > 0
    assert run(["md", members[0], *line, "--out", str(tmp_path / "b")]) == 0
    assert "committee_forces_std_mev_a" not in json.loads(capsys.readouterr().out)


def test_another_potential_does_not_go_on_with_a_run(start, members, tmp_path, capsys):
    line = ["--atoms", str(start), "--every", "1", "--out", str(tmp_path / "a")]
    assert run(["md", members[0], *line, "--steps", "2"]) == 0
    assert run(["md", members[1], *line, "--steps", "4"]) == 2
    assert "another run (other potential)" in capsys.readouterr().err
    assert run(["md", members[0], *line, "--steps", "4"]) == 0


def test_relaxation(start, tmp_path, capsys):
    out = tmp_path / "deep" / "relaxed.extxyz"
    line = ["relax", EMT, "--atoms", str(start), "--out", str(out)]
    assert run([*line, "--fmax", "0.02", "--cell", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["converged"]
    assert all(one["gained_ev"] > 0 and one["largest_force_ev_a"] < 0.02 for one in told["structures"])
    relaxed = read(out, ":")
    assert [len(atoms) for atoms in relaxed] == [4, 8]
    assert np.abs(relaxed[0].get_stress()).max() < 2e-3
    assert relaxed[0].get_potential_energy() == pytest.approx(told["structures"][0]["energy_ev"], abs=1e-6)
    assert run([*line, "--steps", "1", "--fmax", "1e-6"]) == 1
    assert "no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["md", "nowhere.safetensors", "--steps", "2", "--out", "x"], "no file nowhere"),
        (["md", EMT, EMT, "--steps", "2", "--out", "x"], "committee is made of files"),
        (["md", EMT, "--frame", "7", "--steps", "2", "--out", "x"], "has 2 structures"),
        (["md", EMT, "--steps", "0", "--out", "x"], "steps and keep are positive"),
        (["md", EMT, "--steps", "3", "--dt", "-1", "--out", "x"], "timestep"),
        (["relax", EMT, "--optimizer", "BFG", "--out", "x.extxyz"], "BFGS"),
    ],
    ids=["no file", "two calculators", "frame", "steps", "timestep", "optimizer"],
)
def test_misuse(start, tmp_path, monkeypatch, capsys, line, says):
    monkeypatch.chdir(tmp_path)
    assert run([*line, "--atoms", str(start)]) == 2
    assert says in capsys.readouterr().err


def test_structures_that_cannot_be_read(tmp_path, capsys):
    bad = tmp_path / "bad.extxyz"
    for line in (["md", EMT, "--steps", "2", "--out", str(tmp_path / "x")], ["relax", EMT, "--out", str(tmp_path / "x.xyz")]):
        bad.unlink(missing_ok=True)
        assert run([*line, "--atoms", str(bad)]) == 2
        assert "does not exist" in capsys.readouterr().err
        bad.write_text("3\nProperties=species:S:1:pos:R:3\nCu 0 0 0\n")
        assert run([*line, "--atoms", str(bad)]) == 2
        assert "is it whole?" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_structures_whole(start, tmp_path, capsys):
    out = tmp_path / "relaxed.extxyz"
    out.write_text("old")
    limits, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert run(["relax", EMT, "--atoms", str(start), "--out", str(out), "--steps", "1"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert "cannot write" in capsys.readouterr().err
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".relaxed*"))
