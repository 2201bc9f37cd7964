"""The loss is its formula: errors per atom, per component, per volume; its energy weight moves along the training."""

import copy
import math

import pytest
import torch

from coset.errors import InputError
from coset.objectives.energy_forces import SHAPES, EnergyForces

F64 = torch.float64
REFERENCE = -9000.0


class Answer:
    """A model that says what it is told to, of two structures with 2 and 1 atoms; each atom has a reference of -9000."""

    training = True

    def __init__(self, dtype=F64, **gaps):
        self.gaps = {name: torch.as_tensor(gap, dtype=dtype) for name, gap in gaps.items()}
        self.dtype, self.asked = dtype, []

    def __call__(self, pos, z, batch, cell=None):
        self.asked.append({"pos": pos, "z": z, "batch": batch, "cell": cell})
        zero = {"interaction": torch.zeros(2), "forces": torch.zeros(3, 3), "stress": torch.zeros(2, 3, 3)}
        out = {name: value.to(self.dtype) + self.gaps.get(name, 0) for name, value in zero.items()}
        return out | {"energy": out["interaction"]}

    def reference_energy(self, z, batch):
        return REFERENCE * torch.bincount(batch).double()


def batch(**labels):
    counts = torch.tensor([2, 1])
    labels = {"energy": REFERENCE * counts.double(), "forces": torch.zeros(3, 3, dtype=F64)} | labels
    return {
        "pos": torch.zeros(3, 3, dtype=F64), "z": torch.ones(3, dtype=torch.int64), "batch": torch.tensor([0, 0, 1]),
        "cell": torch.diag_embed(torch.tensor([[2.0, 3, 4], [1, 1, -5]], dtype=F64)), **labels,
    }  # fmt: skip


GAPS = {"interaction": [0.4, -0.3], "forces": [[3.0, 4, 0], [0, 0, 0], [0, 0, 0.001]]}
PER_ATOM = (0.2, 0.3)


def huber(x, delta):
    return 0.5 * x * x if abs(x) <= delta else delta * (abs(x) - 0.5 * delta)


@pytest.mark.parametrize(
    ("shape", "energy", "forces"),
    [
        ("square", sum(x * x for x in PER_ATOM) / 2, (9 + 16 + 1e-6) / 9),
        ("absolute", sum(PER_ATOM) / 2, 7.001 / 9),
        ("l2", sum(PER_ATOM) / 2, 5.001 / 3),
        ("huber", sum(huber(x, 0.25) for x in PER_ATOM) / 2, (huber(3, 0.25) + huber(4, 0.25) + huber(0.001, 0.25)) / 9),
    ],
)
def test_terms_by_hand(shape, energy, forces):
    found = EnergyForces(2.0, 10.0, shape=shape, delta=0.25)(Answer(**GAPS), batch())
    assert math.isclose(float(found["energy"]), energy, rel_tol=1e-12)
    assert math.isclose(float(found["forces"]), forces, rel_tol=1e-8)
    assert math.isclose(float(found["loss"]), 2 * energy + 10 * forces, rel_tol=1e-8)
    assert found.keys() == {"loss", "energy", "forces"}


def test_stress_counts_as_energy_per_atom():
    gap = torch.zeros(2, 3, 3, dtype=F64)
    gap[0, 0, 1], gap[1] = 0.1, 0.2
    found = EnergyForces(0, 0, 3.0)(Answer(stress=gap), batch(stress=torch.zeros(2, 3, 3, dtype=F64)))
    by_hand = ((0.1 * 24 / 2) ** 2 + 9 * (0.2 * 5 / 1) ** 2) / 18
    assert math.isclose(float(found["stress"]), by_hand, rel_tol=1e-12)
    assert math.isclose(float(found["loss"]), 3 * by_hand, rel_tol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_perfect_answer_costs_nothing_and_has_finite_slopes(shape):
    forces = torch.zeros(3, 3, dtype=F64, requires_grad=True)
    found = EnergyForces(1.0, 1.0, 1.0, shape=shape)(Answer(forces=forces), batch(stress=torch.zeros(2, 3, 3, dtype=F64)))
    assert float(found["loss"].detach()) < 1e-8
    assert not found["energy"].requires_grad
    (slope,) = torch.autograd.grad(found["loss"], Answer(forces=forces).gaps["forces"])
    assert bool(slope.isfinite().all())


def test_large_totals_cost_no_digits_in_single_precision():
    answer = Answer(torch.float32, interaction=[0.4, -0.3])
    found = EnergyForces(1.0, 0.0, shape="absolute")(answer, batch())
    assert found["loss"].dtype == torch.float32
    assert math.isclose(float(found["loss"]), 0.25, rel_tol=1e-6)


def test_the_model_is_not_told_the_labels():
    answer = Answer()
    EnergyForces()(answer, batch(dipole=torch.zeros(2, 3), polarizability=torch.zeros(2, 3, 3)))
    (asked,) = answer.asked
    assert asked["cell"] is not None


def test_a_weight_without_label_is_told_and_a_label_without_weight_is_left():
    with pytest.raises(InputError, match="stress has a weight but no label; the batch holds"):
        EnergyForces(1.0, 1.0, 1.0)(Answer(), batch())
    without = batch()
    del without["forces"]
    with pytest.raises(InputError, match="forces has a weight but no label"):
        EnergyForces()(Answer(), without)
    assert EnergyForces(1.0, 0.0)(Answer(), without).keys() == {"loss", "energy"}


def test_the_energy_weight_goes_geometrically_over_the_training():
    objective = EnergyForces(1.0, 0.0, later=100.0, shape="absolute")
    objective.plan(5, 4)
    seen = []
    for step in range(25):
        seen.append(float(objective(Answer(interaction=[2.0, 1.0]), batch())["loss"]))
        objective.after_step(None, step + 1)
    expected = [100.0 ** min(step / 20, 1) for step in range(25)]
    assert all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(seen, expected, strict=True))


def test_without_a_plan_or_another_weight_it_stays():
    for objective in (EnergyForces(2.0, 1.0), EnergyForces(2.0, 1.0, later=50.0)):
        objective.after_step(None, 7)
        assert objective.weight("energy") == 2.0
    assert objective.weight("forces") == 1.0


def test_a_training_that_goes_on_goes_on_with_its_weight():
    first = EnergyForces(1.0, 1.0, later=16.0)
    first.plan(2, 2)
    again = copy.deepcopy(first)
    first.after_step(None, 2)
    again.load_state_dict(first.state_dict())
    assert first.weight("energy") == again.weight("energy") == 4.0


def test_terms_are_means_over_structures_and_atoms_and_weigh_what_they_are_told():
    objective = EnergyForces(2.0, 10.0)
    assert objective.denominators(batch()) == {"energy": 2, "forces": 3, "stress": 2}
    whole = objective(Answer(**GAPS), batch())
    found = objective(Answer(**GAPS), batch(), shares={"energy": 0.5, "forces": 1.5, "stress": 7.0})
    assert math.isclose(float(found["loss"]), 1.0 * float(whole["energy"]) + 15.0 * float(whole["forces"]), rel_tol=1e-12)
    assert (found["energy"], found["forces"]) == (whole["energy"], whole["forces"])
    without = batch()
    del without["energy"]
    assert objective.denominators(without)["energy"] == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"shape": "squares"}, "did you mean 'square'"),
        ({"energy": -1.0}, "not negative"),
        ({"energy": 0, "forces": 0}, "not all zero"),
        ({"energy": 0.0, "later": 1.0}, "is positive, got 0.0 to 1.0"),
        ({"later": 0.0}, "is positive"),
    ],
)
def test_settings_are_checked(given, says):
    with pytest.raises(InputError, match=says):
        EnergyForces(**given)
