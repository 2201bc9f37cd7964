"""Potentials behind TorchSim's interface: its own validation where it is installed, and the numbers of ASE without it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
from ase import Atoms
from ase.build import bulk

from coset.errors import InputError, MissingExtra
from coset.interop.ase import Calculator
from coset.interop.evaluation import Committee
from coset.interop.torchsim import answer, torchsim_model
from coset.models.atoms.mace import MACE


def make(elements=(14, 26)):
    torch.manual_seed(0)
    return MACE(elements, 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2).double()


def state_of(systems, pbc):
    """What TorchSim holds, without TorchSim."""
    cells = torch.stack([torch.tensor(a.cell.array) for a in systems])
    return SimpleNamespace(
        positions=torch.tensor(np.concatenate([a.positions for a in systems])), row_vector_cell=cells, pbc=pbc,
        atomic_numbers=torch.tensor(np.concatenate([a.numbers for a in systems])),
        system_idx=torch.repeat_interleave(torch.arange(len(systems)), torch.tensor([len(a) for a in systems])),
    )  # fmt: skip


@pytest.fixture
def systems():
    both = [bulk("Si", a=5.43, cubic=True), bulk("Fe", "fcc", a=4.2).repeat((3, 1, 1))]
    for atoms in both:
        atoms.rattle(0.05, seed=1)
    return both


@pytest.mark.parametrize("pbc", [True, torch.tensor([True, True, True])], ids=["one", "three"])
def test_a_state_is_its_systems(systems, pbc):
    state = state_of(systems, pbc)
    kept = state.positions.clone()
    out = answer(Committee(make()), state)
    assert torch.equal(state.positions, kept)
    for place, atoms in enumerate(systems):
        atoms.calc = Calculator(make())
        assert float(out["energy"][place]) == pytest.approx(atoms.get_potential_energy(), abs=1e-11)
        np.testing.assert_allclose(out["forces"][state.system_idx == place].numpy(), atoms.get_forces(), atol=1e-12)
        np.testing.assert_allclose(out["stress"][place].numpy(), atoms.get_stress(voigt=False), atol=1e-13)
    mapping = vars(state) | {"cell": state.row_vector_cell.mT}
    assert torch.equal(answer(Committee(make()), mapping)["stress"], out["stress"])


def test_molecules_in_no_cell():
    molecule = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.2]])
    out = answer(Committee(make()), state_of([molecule], False))
    molecule.calc = Calculator(make())
    assert float(out["energy"]) == pytest.approx(molecule.get_potential_energy(), abs=1e-12)
    assert torch.equal(out["stress"], torch.zeros(1, 3, 3, dtype=torch.float64))


def test_bad_input(systems):
    with pytest.raises(InputError, match=r"elements \[26\]"):
        answer(Committee(make((14,))), state_of(systems, True))


def test_torchsim_validates_it(systems):
    torch_sim = pytest.importorskip("torch_sim", reason="TorchSim is not installed (its newest release wants Python 3.12)")
    from torch_sim.models.interface import validate_model_outputs

    model = torchsim_model(make())
    validate_model_outputs(model, torch.device("cpu"), torch.float64)
    state = torch_sim.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)
    want = answer(Committee(make()), state_of(systems, True))
    assert all(torch.allclose(model(state)[name], want[name], atol=1e-12) for name in want)


def test_without_torchsim_it_says_so():
    try:
        import torch_sim  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match="torch_sim"):
            torchsim_model(make())
