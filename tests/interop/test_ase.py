"""Potentials in ASE: the model's numbers in ASE's conventions, scripts that know nothing of us, committees, bad input."""

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from coset.data.structures import frame_of, sample_of
from coset.errors import InputError
from coset.interop.ase import Calculator, atoms_of, calculator_of, surface
from coset.interop.potential_file import save_potential
from coset.models.atoms.mace import MACE


def make(seed=0, r_max=4.0, **more):
    torch.manual_seed(seed)
    return MACE((14, 32), r_max, hidden="4x0e+4x1o", lmax=1, correlation=2, references=(-100.25, -200.5), **more).double()


def crystal(seed=0, repeat=1):
    atoms = bulk("Si", "diamond", a=5.5).repeat(repeat)
    atoms.symbols[0] = "Ge"
    atoms.rattle(0.1, seed=seed)
    return atoms


def cluster(count=4):
    return Atoms(
        "SiGe" * (count // 2), positions=np.random.default_rng(0).uniform(0, 1, (count, 3)) + np.arange(count)[:, None]
    )


@pytest.mark.parametrize("atoms", [crystal(), crystal(1, 2), cluster()], ids=["cell", "supercell", "cluster"])
def test_the_numbers_are_the_models(atoms):
    model = make()
    frame = frame_of(atoms)
    want = model.eval()(
        **sample_of(frame, 4.0, dtype=torch.float64) | ({"cell": frame["cell"][None]} if "cell" in frame else {})
    )
    atoms.calc = Calculator(model)
    assert atoms.get_potential_energy() == pytest.approx(float(want["energy"].detach()), abs=1e-11)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert isinstance(atoms.get_potential_energy(), float)
    np.testing.assert_allclose(atoms.get_forces(), want["forces"].detach().numpy(), atol=1e-13)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-11)
    if "cell" in frame:
        np.testing.assert_allclose(atoms.get_stress(voigt=False), want["stress"][0].detach().numpy(), atol=1e-15)
    else:
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_stress()


def test_stress_has_the_order_and_sign_of_ase():
    """Against differences of the energy, component by component in ASE's own order."""
    atoms = crystal()
    atoms.calc = Calculator(make())
    stress, volume, cell, h = atoms.get_stress(), atoms.get_volume(), atoms.cell.array, 1e-4
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * h
            strain[j, i] += 0.5 * sign * h
            moved = atoms.copy()
            moved.set_cell(cell @ strain, scale_atoms=True)
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        assert stress[k] == pytest.approx((energies[0] - energies[1]) / (2 * h * volume), rel=1e-5, abs=1e-9)


def test_a_small_cell_is_a_part_of_a_large_one():
    """A cell far smaller than the cutoff has its own images for neighbors."""
    small = crystal()
    large = small.repeat((2, 3, 2))
    for atoms in (small, large):
        atoms.calc = Calculator(make(r_max=6.0))
    assert large.get_potential_energy() == pytest.approx(12 * small.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(large.get_forces(), np.tile(small.get_forces(), (12, 1)), atol=1e-12)
    np.testing.assert_allclose(large.get_stress(), small.get_stress(), atol=1e-14)


def test_a_slab_needs_no_third_vector():
    slab = fcc111("Si", (1, 1, 2), a=5.4)
    assert slab.cell.rank == 2
    slab.rattle(0.05)
    thick = slab.copy()
    thick.center(vacuum=20.0, axis=2)
    for atoms in (slab, thick):
        atoms.calc = Calculator(make())
    assert slab.get_potential_energy() == pytest.approx(thick.get_potential_energy(), abs=1e-11)
    np.testing.assert_allclose(slab.get_forces(), thick.get_forces(), atol=1e-13)
    with pytest.raises(PropertyNotImplementedError):
        slab.get_stress()


def test_the_skin_changes_no_bit():
    random, kept, fresh = np.random.default_rng(0), crystal(0, 2), crystal(0, 2)
    kept.calc, fresh.calc = Calculator(make(), skin=0.8), Calculator(make(), skin=0.0)
    for _ in range(6):
        step = random.normal(size=(len(kept), 3)) * 0.05
        for atoms in (kept, fresh):
            atoms.positions += step
        assert np.array_equal(kept.get_forces(), fresh.get_forces())
        assert np.array_equal(kept.get_stress(), fresh.get_stress())
    assert kept.calc.lists[4.0].searches < fresh.calc.lists[4.0].searches == 6


def test_a_script_that_knows_nothing_of_us(tmp_path):
    atoms = crystal()
    atoms.calc = calculator_of(str(save_potential(make(), tmp_path / "si.safetensors")))
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=60)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    assert atoms.get_potential_energy() < before
    assert atoms.calc.todict() == {"potential": ["MACE"], "dtype": "float64"}


def test_the_users_model_is_not_touched():
    model = make().float().train()
    asking = [p.requires_grad for p in model.parameters()]
    atoms = crystal()
    atoms.calc = Calculator(model, dtype="float64")
    atoms.get_forces()
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert [p.requires_grad for p in model.parameters()] == asking
    assert any(asking)


def test_a_committee_gives_mean_and_spread():
    models, atoms = [make(0), make(1), make(2, r_max=3.0)], crystal(0, 2)
    alone = []
    for model in models:
        atoms.calc = Calculator(model)
        alone.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    atoms.calc = Calculator(models)
    energy, forces, stress = (np.array([one[n] for one in alone]) for n in range(3))
    assert atoms.get_potential_energy() == pytest.approx(energy.mean(), abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(0), atol=1e-13)
    np.testing.assert_allclose(atoms.get_stress(), stress.mean(0), atol=1e-14)
    np.testing.assert_allclose(atoms.calc.results["forces_std"], forces.std(0, ddof=1), atol=1e-12)
    assert atoms.calc.get_property("energy_std", atoms) == pytest.approx(energy.std(ddof=1), abs=1e-10)


def test_single_precision_keeps_energies_and_far_places():
    """Energies are summed in double precision; a thousand angstrom from the origin nothing is lost."""
    atoms, far = crystal(), crystal()
    far.positions += 1000.0
    atoms.calc, far.calc = Calculator(make(), dtype="float32"), Calculator(make(), dtype="float32")
    exact = crystal()
    exact.calc = Calculator(make())
    assert abs(atoms.get_potential_energy() - exact.get_potential_energy()) < 1e-6  # of -300 eV
    np.testing.assert_allclose(far.get_forces(), atoms.get_forces(), atol=2e-6)


def test_bad_input():
    calculator = Calculator(make())

    def ask(change):
        atoms = crystal(0, 2)
        change(atoms)
        atoms.calc = calculator
        return atoms.get_potential_energy()

    def put(value):
        def change(atoms):
            atoms.positions[3] = value(atoms)

        return change

    with pytest.raises(InputError, match=r"elements \[79\] are unknown"):
        ask(lambda atoms: atoms.symbols.__setitem__(0, "Au"))
    with pytest.raises(InputError, match="atom 3 is NaN"):
        ask(put(lambda _: np.nan))
    with pytest.raises(InputError, match="apart"):
        ask(put(lambda atoms: atoms.positions[4] + 1e-5))
    with pytest.raises(InputError, match="periodic along axis 1"):
        ask(lambda atoms: atoms.set_cell([5.0, 0.0, 5.0]))
    with pytest.raises(InputError, match="volume"):
        ask(lambda atoms: atoms.set_cell(np.ones((3, 3))))
    assert np.isfinite(ask(lambda atoms: None))  # after all that it still answers


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no potential"),
        (3, "got int"),
        ([make(), MACE((14,), 4.0, hidden="4x0e", lmax=1, correlation=1)], "different elements"),
    ],
    ids=["none", "number", "elements"],
)
def test_no_committee(given, words):
    with pytest.raises(InputError, match=words):
        Calculator(given)


def test_no_device_and_no_dtype():
    with pytest.raises(InputError, match="no device"):
        Calculator(make(), device="abacus")
    with pytest.raises(InputError, match="float46"):
        Calculator(make(), dtype="float46")


def test_whatever_names_a_calculator(tmp_path, monkeypatch):
    assert isinstance(calculator_of("ase.calculators.emt:EMT"), EMT)
    (tmp_path / "mine.py").write_text(
        "from ase.calculators.emt import EMT\ncalc = EMT()\ndef build():\n    return EMT()\nnumber = 3\n"
    )
    assert isinstance(calculator_of(f"{tmp_path}/mine.py:calc"), EMT)
    assert isinstance(calculator_of(f"{tmp_path}/mine.py:build"), EMT)
    assert calculator_of(make()).committee.r_max == 4.0
    for target, words in (
        (f"{tmp_path}/mine.py:number", "got int"), ("nowhere", "no file nowhere"), ("ase:Atom", "expected an ASE calculator"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            calculator_of(target)


def test_a_calculator_as_a_function():
    frame = frame_of(crystal())
    out = surface(Calculator(make()))(frame)
    assert {name: tuple(value.shape) for name, value in out.items()} == {"energy": (), "forces": (2, 3), "stress": (3, 3)}
    assert atoms_of(frame) == crystal()
    assert set(surface(EMT())(frame_of(Atoms("Cu2", positions=[[0, 0, 0], [2.5, 0, 0]])))) == {"energy", "forces"}


def test_a_cell_without_a_volume_gives_no_stress():
    """Where nothing repeats, the cell is only written down: energy and forces are those of the cluster."""
    atoms = cluster()
    atoms.calc = Calculator(make())
    want = atoms.get_forces()
    atoms.set_cell([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(atoms.get_forces(), want)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    atoms.set_pbc(True)
    with pytest.raises(InputError, match="volume"):
        atoms.get_forces()
    atoms.set_pbc(False)
    atoms.set_cell(np.eye(3) * np.nan)
    with pytest.raises(InputError, match="cell holds NaN"):
        atoms.get_forces()


def test_a_cell_in_wrong_units_is_no_endless_search():
    atoms = Atoms("Si", cell=[5e-4] * 3, pbc=True)
    atoms.calc = Calculator(make())
    with pytest.raises(InputError, match="check cell and units"):
        atoms.get_potential_energy()
    atoms.set_pbc(False)
    atoms.get_potential_energy()
