"""What the task judges by: an exact law scores without error, a force that does not turn along is seen for what it is."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from coset.data.toy_molecules import SPECIES, labelled
from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import learned_equivariance as task_of
from coset.testing import Broken, assert_equivariant

task = task_of.task


@pytest.fixture(scope="module")
def data():
    return task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return task.method(name).build(data).eval()


class Law(nn.Module):
    """The formula itself, one molecule after the other; ``tilt`` adds a force along z, whatever the pose."""

    def __init__(self, tilt=0.0):
        super().__init__()
        self.tilt = tilt

    def reference_energy(self, z, batch):
        return torch.zeros(int(batch.max()) + 1, dtype=torch.float64)

    def forward(self, pos, z, batch, **rest):
        species, energies, forces = torch.tensor([SPECIES.index(int(k)) for k in z]), [], []
        for b in range(int(batch.max()) + 1):
            energy, force = labelled(pos[batch == b].double()[None], species[batch == b][None])
            energies.append(energy[0] + self.tilt * pos[batch == b, 2].square().sum())
            forces.append(force[0] + self.tilt * torch.tensor([0.0, 0.0, 1.0]))
        energy = torch.stack(energies).to(pos)
        return {"energy": energy, "interaction": energy, "forces": torch.cat(forces).to(pos)}


def test_the_law_scores_without_error_and_keeps_the_contracts(data):
    found = {name: metric(Law(), data) for name, metric in task.metrics.items()}
    assert all(math.isnan(found.pop(name)) for name in ("identity_defect", "product_defect"))
    assert max(found.values()) < 1e-2
    for contract in task.contracts:
        assert assert_equivariant(Law(), contract, data.audit, samples=4).error < 1e-9
    with pytest.raises(Broken):
        assert_equivariant(Law(0.1), task.contracts[0], data.audit, samples=4)


def test_a_force_along_z_is_seen_for_what_it_is(data):
    tilted = {name: metric(Law(0.3), data) for name, metric in task.metrics.items()}
    part = data.test["test"]
    batch = part.collate([part[i] for i in range(len(part))])
    size = batch["forces"].square().mean().sqrt().item()
    assert tilted["force_mae_percent"] == pytest.approx(100 * 0.1 / size, rel=1e-4)
    # |z - R z|^2 has mean 2 over rotations, a third of it per component
    assert tilted["force_equivariance_percent"] == pytest.approx(100 * 0.3 * (2 / 3) ** 0.5 / size, rel=0.2)
    assert tilted["energy_equivariance_mev_atom"] > 10


def test_tilting_starts_from_the_upright_answer_and_shows_what_does_not_turn_along(data):
    exact, tilted = (task.findings["tilts"](Law(tilt), data) for tilt in (0.0, 0.3))
    assert exact.values.max() < 1e-2
    part = data.test["upright"]
    forces = torch.cat([part[i]["forces"] for i in range(len(part))])
    assert tilted.values[0] == pytest.approx(100 * 0.1 / forces.square().mean().sqrt().item(), rel=1e-4)
    assert tilted.values[1, 0] < 1e-4
    assert (np.diff(tilted.values[1][:9]) > 0).all()  # |z - R z| grows with the angle, here up to 120 degrees


def test_training_molecules_stand_upright_and_test_molecules_do_not(data):
    spread = lambda part: torch.stack(  # noqa: E731
        [(x := part[i]["pos"].double()).mT @ x - torch.diag((x.mT @ x).diagonal()) for i in range(len(part))]
    ).abs()
    assert spread(data.train).max() < 1e-4
    assert spread(data.test["upright"]).max() < 1e-4
    assert spread(data.test["test"]).amax((1, 2)).min() > 1e-2
    assert spread(data.valid).amax((1, 2)).min() > 1e-2
    upright, tumbled = data.test["upright"], data.test["test"]
    assert all(torch.equal(upright[i]["energy"], tumbled[i]["energy"]) for i in range(len(upright)))
    seen = {float(frame["energy"]) for frame in data.train.frames}
    assert not seen & {float(frame["energy"]) for part in (data.valid, upright) for frame in part.frames}


def test_rows_start_from_one_network_and_differ_in_the_loss(data):
    first = built("plain", data)
    for method in task.methods:
        model = built(method.name, data)
        assert all(torch.equal(p, dict(model.named_parameters())[n]) for n, p in first.named_parameters())
        extra = {n.partition(".")[0] for n, _ in model.named_parameters()} - {
            n.partition(".")[0] for n, _ in first.named_parameters()
        }
        assert extra <= {"transform"}
    weights = [m.stages[0].objective.weight for m in task.methods if "two" in m.name or "TransIP" in m.name]
    assert weights == [0.0, 0.1, 0.3, 1.0, 0.3]


def test_the_action_is_judged_where_there_is_one(data):
    of = {name: [task.metrics[f"{kind}_defect"](built(name, data), data) for kind in ("identity", "product")] for name in (
        "TransAug, two copies", "TransIP, weight 1", "TransIP, Wigner, weight 0.3")}  # fmt: skip
    assert all(map(math.isnan, of["TransAug, two copies"]))
    assert min(of["TransIP, weight 1"]) > 1e-4
    assert max(of["TransIP, Wigner, weight 0.3"]) < 1e-5


def test_files_take_the_place_of_generated_molecules(tmp_path):
    write = pytest.importorskip("ase.io").write
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from coset.data.toy_molecules import toy_molecules

    for name, count, seed in (("train", 20, 0), ("test", 4, 1)):
        frames = []
        for frame in toy_molecules(count, seed=seed):
            atoms = Atoms(frame["z"].numpy(), frame["pos"].numpy())
            atoms.calc = SinglePointCalculator(atoms, energy=float(frame["energy"]), forces=frame["forces"].numpy())
            frames.append(atoms)
        write(tmp_path / f"{name}.extxyz", frames, format="extxyz")
    files = {name: tmp_path / f"{name}.extxyz" for name in ("train", "test")}
    data = task.data(Request("full", 0, files=tuple(files.items())))
    assert (len(data.train), len(data.valid), len(data.test["test"])) == (18, 2, 4)
    assert (data.test["test"].frames[0]["pos"] - data.test["upright"].frames[0]["pos"]).norm() > 0.1
    with pytest.raises(InputError, match="no test data"):
        task.data(Request("cpu", 0, files=(("train", files["train"]),)))
    with pytest.raises(InputError, match="no test data"):
        task.data(Request("full", 0))
    with pytest.raises(InputError, match="did you mean 'test'"):
        task.data(Request("cpu", 0, files=(("tests", files["test"]),)))
