"""References, scales and warnings say where they come from; each warning has its own cause and only that."""

import math

import pytest
import torch

from coset.data.atomic_statistics import (
    References,
    Statistics,
    describe,
    elements_of,
    names,
    reference_energies,
    statistics,
    warnings_of,
)
from coset.data.stillinger import clusters, crystals
from coset.data.structures import Structures
from coset.errors import InputError

F64 = torch.float64


def frame(z, energy=None, **more):
    z = torch.tensor(z)
    pos = 3.0 * torch.arange(len(z) * 3, dtype=F64).view(-1, 3).roll(len(z)) * torch.tensor([1.0, 0.1, 0.01])
    labels = {} if energy is None else {"energy": torch.tensor(energy, dtype=F64)}
    return {"pos": pos, "z": z} | labels | more


ALONE = [frame([1], -13.0), frame([6], -1025.0)]
BOX = {"cell": 20 * torch.eye(3), "periodic": (True, True, True)}


# ---------------------------------------------------------------------- references


def test_isolated_atoms_are_the_references():
    frames = [frame([6, 1, 1], -1060.0)]
    found = reference_energies(frames, ALONE)
    assert found == References(((1, -13.0), (6, -1025.0)), "isolated atoms")
    assert found.of(torch.tensor([6, 1, 1])) == -1051
    assert reference_energies(frames + ALONE) == found, "or among the structures themselves"
    assert str(found) == "H -13.0000, C -1025.0000 eV (isolated atoms)"


def test_a_declared_atom_may_stand_in_a_cell_one_among_structures_may_not():
    frames = [frame([6, 1], -1040.0)]
    boxed = [alone | BOX for alone in ALONE]
    assert reference_energies(frames, boxed).reason == "isolated atoms"
    assert "least squares" in reference_energies(frames + boxed).reason
    walls = {"cell": 20 * torch.eye(3), "periodic": (False, False, False)}
    assert reference_energies(frames + [alone | walls for alone in ALONE]).reason == "isolated atoms"


def test_declared_atoms_go_before_those_among_the_structures():
    frames = [frame([6, 1], -1040.0), frame([1], -99.0)]
    assert dict(reference_energies(frames, ALONE).energies)[1] == -13.0


def test_without_them_least_squares_find_what_adds_up():
    exact = {1: -13.5, 6: -1026.25, 8: -2037.75}
    frames = [frame(z, sum(exact[n] for n in z)) for z in ([6, 1, 1, 1, 1], [8, 1, 1], [6, 8], [6, 8, 8])]
    found = reference_energies(frames)
    assert found.reason == "least squares over 4 configurations"
    assert all(math.isclose(dict(found.energies)[z], energy, abs_tol=1e-9) for z, energy in exact.items())


def test_of_all_solutions_the_smallest_is_taken():
    found = reference_energies([frame([1, 6], -20.0), frame([1, 6, 1, 6], -40.0)])
    assert [round(energy, 9) for _, energy in found.energies] == [-10.0, -10.0]


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="the isolated atoms lack O; they hold H, C"):
        reference_energies([frame([6, 8], -1.0)], ALONE)
    with pytest.raises(InputError, match="configuration 1 has no energy"):
        reference_energies([frame([6, 1], -1.0), frame([6, 1])])
    with pytest.raises(InputError, match="no reference energy for O; known are H, C"):
        reference_energies([frame([6, 1])], ALONE).of(torch.tensor([8, 1]))


# ---------------------------------------------------------------------- statistics


def test_statistics_of_a_set_by_hand():
    frames = clusters(4, 5, seed=0)
    data = Structures(frames, 4.0)
    found = statistics(data, [frame([14], -1.0), frame([32], -2.0)])
    forces = torch.cat([f["forces"] for f in frames])
    counts = [int((f["z"] == 14).sum()) for f in frames]
    above = sum(float(f["energy"]) + n + 2 * (5 - n) for f, n in zip(frames, counts, strict=True)) / 20
    assert found.elements == (14, 32)
    assert math.isclose(found.scale, float(forces.square().mean().sqrt()), rel_tol=1e-12)
    assert math.isclose(found.shift, above, rel_tol=1e-12)
    pairs = sum(int(((f["pos"][:, None] - f["pos"]).norm(dim=-1) < 4.0).sum()) - 5 for f in frames)
    assert found.neighbors == pairs / 20
    assert "Si, Ge" in str(found)
    assert "isolated atoms" in str(found)


def test_without_forces_the_scale_is_the_spread_of_energies():
    frames = [{name: value for name, value in f.items() if name not in ("forces", "stress")} for f in crystals(8, seed=0)]
    found = statistics(Structures(frames, 4.0))
    rest = torch.stack([(f["energy"] - found.references.of(f["z"])) / len(f["z"]) for f in frames])
    assert math.isclose(found.scale, float(rest.std(correction=0)), rel_tol=1e-9)


def test_statistics_of_one_lonely_atom_are_still_positive():
    found = statistics(Structures([frame([1], -13.0)], 4.0))
    assert isinstance(found, Statistics)
    assert found.scale > 0
    assert found.neighbors == 1.0
    assert found.shift == 0.0


# ---------------------------------------------------------------------- warnings


def forced(scale=1.0, net=0.0):
    forces = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=F64) * scale + net
    return frame([1, 1], -1.0, forces=forces)


def test_good_data_give_no_warning():
    assert warnings_of(clusters(3, 4, seed=0) + crystals(3, seed=0), known=(14, 32)) == []
    assert warnings_of([frame([1, 6], -1.0)]) == []


@pytest.mark.parametrize(
    ("frames", "known", "says"),
    [
        ([forced()], (6, 8), "H never occur in the training data"),
        ([forced(net=0.1)], (), "forces do not add up to zero"),
        ([forced(scale=300.0)], (), "large for eV/A; kcal/mol/A"),
        ([forced(scale=1e-6)], (), "nearly zero"),
        ([forced(), forced(scale=2.0)], (), "1 of 2 configurations are doubles"),
    ],
    ids=["element", "net force", "unit", "nearly zero", "doubles"],
)
def test_every_warning_has_its_cause(frames, known, says):
    (warning,) = warnings_of(frames, known)
    assert says in warning


def test_small_net_forces_are_rounding():
    assert warnings_of([forced(net=1e-5)]) == []


def test_the_same_atom_in_another_cell_is_no_double():
    cells = [frame([14], -1.0, cell=a * torch.eye(3, dtype=F64), periodic=(True,) * 3) for a in (3.0, 3.1)]
    assert warnings_of(cells) == []
    assert "1 of 3" in warnings_of([*cells, cells[0]])[0]


def test_a_set_is_described_in_a_line():
    assert describe(crystals(4, seed=0)) == "4 configurations of 2 to 6 atoms (Si, Ge), 4 periodic, with energy, forces, stress"
    assert describe([frame([1])]) == "1 configurations of 1 atoms (H), 0 periodic, with no labels"
    assert elements_of([frame([8, 1]), frame([6])]) == [1, 6, 8]
    assert names([1, 14]) == "H, Si"
