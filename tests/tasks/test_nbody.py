"""The rows of `nbody` keep what they promise, turned targets fit turned systems, and the acceptance run can fail."""

import dataclasses
import importlib.util
import json
import math

import pytest
import torch

from coset.comparison import compare
from coset.data.nbody import simulate
from coset.errors import InputError
from coset.groups.finite import Icosahedral
from coset.recipe import Request
from coset.symmetrizers.augment import Augmented
from coset.tasks import nbody
from coset.testing import Broken, assert_equivariant

EXACT = ["frame averaging, 80 epochs", "canonicalized (TinvNN)", "EGNN", "PNITA"]


@pytest.fixture(scope="module")
def data():
    return nbody.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return nbody.task.method(name).build(data)


@pytest.mark.parametrize("contract", nbody.task.contracts, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_exact_rows_are_exact(name, contract, data):
    found = assert_equivariant(built(name, data), contract, {k: v[:6] for k, v in data.audit.items()}, samples=4)
    assert found.error < 1e-10


def test_a_grid_of_orientations_is_exact_for_its_own_motions_only(data):
    model, sample = built("PONITA", data), {k: v[:6] for k, v in data.audit.items()}
    own = dataclasses.replace(nbody.motions, group=Icosahedral(inversion=True))
    assert assert_equivariant(model, own, sample, samples=8).error < 1e-10
    with pytest.raises(Broken) as found:
        assert_equivariant(model, nbody.motions, sample, samples=4)
    assert found.value.error < 0.05


def test_plain_row_is_not(data):
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(built("plain", data), nbody.motions, data.audit, samples=4)


def test_turned_systems_end_where_turned_targets_say(data):
    x = nbody.turned({name: value.double() for name, value in data.test.items()})
    y, _ = simulate(x["pos"], x["vel"], x["charge"])
    assert (x["pos"] - data.test["pos"]).abs().max() > 1
    # the simulator in float64; data.test is rounded to float32
    assert (y - x["y"]).abs().max() < 1e-4


def test_augmentation_moves_the_targets_along(data):
    batch = {name: value[:10].double() for name, value in data.train.items()}
    batch["y"] = simulate(batch["pos"], batch["vel"], batch["charge"])[0]

    def law(pos, vel, charge):
        return simulate(pos, vel, charge)[0]

    law.training = True
    objective = Augmented(nbody.base, nbody.turns, seed=0)
    assert objective(law, batch)["loss"] < 1e-16
    assert objective(lambda pos, vel, charge: pos + vel, batch)["loss"] > 1e-2


def test_exact_rows_score_the_same_turned(data):
    exact, plain = built("EGNN", data), built("plain", data)
    assert math.isclose(nbody.mse(exact, data), nbody.turned_mse(exact, data), rel_tol=1e-5)
    assert not math.isclose(nbody.mse(plain, data), nbody.turned_mse(plain, data), rel_tol=1e-5)


def test_metric_of_the_truth_is_zero(data):
    rounded = dataclasses.replace(data, test={name: value.double() for name, value in data.test.items()})
    assert nbody.mse(lambda pos, vel, charge: simulate(pos, vel, charge)[0], rounded) < 1e-9


def test_two_epochs_give_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare(nbody.task, ["plain", "EGNN"], size="smoke", out=tmp_path / "run", progress=False)
    assert [row.method for row in rows] == ["plain", "EGNN"]
    for row in rows:
        assert set(row.metrics) == {"mse", "turned_mse"}
        assert all(math.isfinite(value) and value > 0 for value in row.metrics.values())
    assert rows[1].errors["E(3)"]["after"] < 1e-10 < 1e-3 < rows[0].errors["E(3)"]["after"]


def test_a_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data file"):
        nbody.task.data(Request("smoke", 0, (("mine", tmp_path),)))


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_nbody", root / "benchmarks" / "accept" / "nbody.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_judges_by_every_threshold(accept):
    good = {"frames_over_plain": 0.5, "frames_over_augmented": 1.0, "frames_change": 1e-6}
    assert accept.judge(good)
    for name in good:
        assert not accept.judge({**good, name: 2.0})


def test_acceptance_measures_what_a_turn_changes(accept, data):
    assert accept.change(built("frame averaging, 80 epochs", data), size="smoke") < 1e-4
    assert accept.change(built("plain", data), size="smoke") > 1e-2


@pytest.mark.slow
def test_acceptance_writes_its_file(accept, tmp_path):
    found = accept.run(tmp_path, size="smoke")
    stored = json.loads((tmp_path / "nbody.json").read_text())
    assert {"what", "figures", "thresholds", "passed", "seconds"} <= set(stored)
    assert stored["passed"] == found["passed"]
    assert not found["passed"], "two epochs are not enough: the thresholds can fail"
    assert found["figures"]["step_ratio"] > 1
