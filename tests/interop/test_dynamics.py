"""Runs conserve what they must, go on after a kill as if nothing had happened, and refuse a folder of another run."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator as Base
from ase.calculators.emt import EMT
from ase.io import read

from coset.errors import InputError
from coset.interop.ase import Calculator
from coset.interop.dynamics import Motion, relax, run
from coset.interop.potential_file import save_potential
from coset.models.atoms.mace import MACE


def make():
    torch.manual_seed(0)
    return MACE((14, 32), 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2).double()


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=1)
    atoms.calc = EMT()
    return atoms


def silicon():
    atoms = bulk("Si", a=5.5).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    atoms.calc = Calculator(make(), skin=0.3)
    return atoms


class Springs(Base):
    """Every atom on a spring of its own: energies in closed form, and fast."""

    implemented_properties = ("energy", "forces")
    stiffness, leak = 2.0, 1.0

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms)
        away = atoms.positions - atoms.positions.round()
        self.results = {"energy": 0.5 * self.stiffness * (away**2).sum(), "forces": -self.leak * self.stiffness * away}


def springs(leak=1.0):
    atoms = Atoms("Ar64", positions=np.random.default_rng(0).normal(size=(64, 3)) * 0.05 + 5 * np.arange(64)[:, None])
    atoms.calc = Springs()
    atoms.calc.leak = leak
    return atoms


class Kill(BaseException):
    """What a signal does to a run."""


def break_after(atoms, calls):
    """The calculator dies at a later call."""
    ask, count = atoms.calc.calculate, [0]

    def calculate(*args, **more):
        count[0] += 1
        if count[0] > calls:
            raise Kill
        return ask(*args, **more)

    atoms.calc.calculate = calculate


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, ensemble):
    how = {"steps": 12, "ensemble": ensemble, "every": 2, "keep": 4, "seed": 3}
    whole = silicon()
    told = run(whole, folder=tmp_path / "whole", **how)
    for calls in (2, 7, 4):  # before the first state, between two, and again
        atoms = silicon()
        break_after(atoms, calls)
        with pytest.raises(Kill):
            run(atoms, folder=tmp_path / "broken", **how)
    atoms = silicon()
    again = run(atoms, folder=tmp_path / "broken", **how)
    assert np.array_equal(whole.positions, atoms.positions)
    assert np.array_equal(whole.get_momenta(), atoms.get_momenta())
    for name in ("time", "potential", "kinetic", "conserved"):
        assert np.array_equal(getattr(told, name), getattr(again, name), equal_nan=True)
    for name in ("trajectory.extxyz", "motion.npz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert len(read(tmp_path / "whole" / "trajectory.extxyz", ":")) == 7
    assert np.ptp(told.temperature) > 0


@pytest.mark.slow
def test_a_real_kill(tmp_path):
    save_potential(make(), tmp_path / "si.safetensors")
    script = (
        "import os, signal, sys, coset\nfrom ase.build import bulk\nfrom coset.interop import dynamics\n"
        "from coset.interop.ase import Calculator\ndynamics.SPOKEN = 0\natoms = bulk('Si', a=5.5)\natoms.rattle(0.05)\n"
        f"atoms.calc = Calculator({str(tmp_path / 'si.safetensors')!r})\n"
        "die = lambda line: os.kill(os.getpid(), signal.SIGKILL) if line.startswith(sys.argv[2]) else None\n"
        "dynamics.run(atoms, 20, folder=sys.argv[1], every=1, keep=4, ensemble='langevin', progress=die)\n"
    )

    def python(folder, when):
        return subprocess.run([sys.executable, "-c", script, str(tmp_path / folder), when], env=os.environ, check=False)

    assert python("whole", "never").returncode == 0
    assert python("broken", "step 14/").returncode == -signal.SIGKILL
    assert python("broken", "never").returncode == 0
    for name in ("trajectory.extxyz", "motion.npz", "state.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_a_finished_run_can_be_made_longer(tmp_path):
    short = run(copper(), 10, folder=tmp_path / "a", every=5, keep=5)
    again = run(copper(), 10, folder=tmp_path / "a", every=5, keep=5)
    longer = run(copper(), 20, folder=tmp_path / "a", every=5, keep=5)
    assert np.array_equal(short.potential, again.potential)
    assert len(short.time) == 3
    assert len(longer.time) == 5
    assert np.array_equal(longer.potential[:3], short.potential)


def test_energy_is_conserved_and_the_error_falls_with_the_step():
    """Velocity Verlet: the energy oscillates by an amount of second order in the step, and does not drift."""
    wide, narrow = (run(springs(), int(2000 / dt), timestep=dt, temperature=300, every=1) for dt in (20.0, 10.0))
    assert wide.change / narrow.change == pytest.approx(4.0, rel=0.1)
    assert abs(narrow.drift) < 0.1
    assert narrow.time[-1] == pytest.approx(2.0)
    assert narrow.atoms == 64


def test_a_force_that_is_no_gradient_is_seen_in_the_drift():
    exact, leaky = (run(springs(leak), 100, timestep=4.0, every=1) for leak in (1.0, 1.5))
    assert leaky.change > 100 * exact.change


def test_the_drift_is_the_slope_in_mev_per_atom_and_ps():
    time = np.linspace(0, 2, 9)
    motion = Motion("nve", 4, 12, time, 7 - time, 3 + 1.2 * time, 10 + 0.2 * time)
    assert motion.drift == pytest.approx(50.0)
    assert motion.change == pytest.approx(100.0)


def test_thermostats_reach_their_temperature():
    for ensemble, step, more in (("langevin", 8.0, {"friction": 0.02}), ("bussi", 2.0, {"coupling": 50.0})):
        motion = run(springs(), 800, ensemble=ensemble, timestep=step, temperature=500, every=1, seed=1, **more)
        assert motion.temperature[0] == pytest.approx(500, rel=0.2)
        assert motion.temperature[300:].mean() == pytest.approx(500, rel=0.12)
    assert np.ptp(motion.potential + motion.kinetic) > 10 * np.ptp(motion.conserved)  # less the heat of the thermostat


def test_velocities_are_drawn_only_for_atoms_at_rest():
    atoms = copper()
    motion = run(atoms, 1, temperature=300, every=1, seed=0)
    assert motion.temperature[0] == pytest.approx(300, rel=0.7)
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-12
    moving, given = copper(), np.random.default_rng(0).normal(size=(4, 3))
    moving.set_momenta(given)
    first = run(moving, 1, temperature=300, every=1).kinetic[0]
    assert first == pytest.approx((given**2 / moving.get_masses()[:, None]).sum() / 2)
    assert run(copper(), 1, temperature=0, every=1).kinetic[0] == 0


def test_another_run_is_not_overwritten(tmp_path):
    run(copper(), 4, folder=tmp_path, every=2, keep=2)
    for change in ({"timestep": 1.0}, {"seed": 1}, {"ensemble": "langevin"}):
        with pytest.raises(InputError, match=f"another run.*{next(iter(change))}"):
            run(copper(), 4, folder=tmp_path, **{"every": 2, "keep": 2, **change})
    with pytest.raises(InputError, match=r"another run.*numbers"):
        run(springs(), 4, folder=tmp_path, every=2, keep=2)
    (tmp_path / "trajectory.extxyz").write_text("")
    with pytest.raises(InputError, match="shorter"):
        run(copper(), 4, folder=tmp_path, every=2, keep=2)


def test_bad_input(tmp_path):
    bare = copper()
    bare.calc = None
    for call in (lambda: run(bare, 3), lambda: relax(bare)):
        with pytest.raises(InputError, match="no calculator"):
            call()
    for more, words in (({"ensemble": "npt"}, "ensemble"), ({"timestep": 0.0}, "timestep"), ({"every": 0}, "every"),
                        ({"keep": 0}, "keep"), ({"temperature": -1.0}, "temperature")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            run(copper(), 3, **more)
    with pytest.raises(InputError, match="did you mean 'BFGS'"):
        relax(copper(), optimizer="BFG")
    (tmp_path / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        run(copper(), 3, folder=tmp_path)


def test_relaxation_of_atoms_and_cell(tmp_path):
    atoms, said = copper(), []
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    assert relax(atoms, fmax=1e-3, cell=True, trajectory=tmp_path / "relax.traj", progress=said.append)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    assert np.abs(atoms.get_stress()).max() < 1e-4
    assert said[0].startswith("step 0")
    assert len(read(tmp_path / "relax.traj", ":")) > 1
    assert not relax(copper(), fmax=1e-9, steps=1)


def test_the_finding_is_kept_and_drawn(tmp_path):
    said = []
    motion = run(copper(), 6, every=1, folder=tmp_path, progress=said.append)
    loaded = Motion.load(tmp_path / "motion.npz")
    assert loaded.drift == motion.drift
    assert said[-1].startswith("step 6/6")
    assert "ETA 0 s" in said[-1]
    pytest.importorskip("matplotlib")
    assert motion.draw(tmp_path / "motion.png").stat().st_size > 5000
    assert run(copper(), 4, ensemble="langevin", every=1).draw(tmp_path / "b.png") is not None


def test_a_disk_that_is_full_is_told_and_the_run_goes_on_later(tmp_path):
    limits, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*File too large"):
            run(copper(), 20, folder=tmp_path / "a", every=1, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    run(copper(), 20, folder=tmp_path / "a", every=1, keep=2)
    run(copper(), 20, folder=tmp_path / "b", every=1, keep=2)
    one, other = ((tmp_path / name / "trajectory.extxyz").read_bytes() for name in "ab")
    assert one == other


def test_a_cell_without_volume_is_not_relaxed():
    with pytest.raises(InputError, match="has no volume to relax"):
        relax(springs(), cell=True)


def test_two_runs_do_not_write_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.train.folder.PATIENCE", 0.0)

    def again(_):
        with pytest.raises(InputError, match="in use by another"):
            run(copper(), 4, folder=tmp_path, every=1)

    run(copper(), 4, folder=tmp_path, every=1, progress=again)
