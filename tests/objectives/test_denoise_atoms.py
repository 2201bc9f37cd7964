"""DeNS: the noise is drawn at some atoms of some structures, told by forces, and only there a label."""

import pytest
import torch

from coset.data.stillinger import clusters
from coset.data.structures import join, sample_of
from coset.errors import InputError
from coset.models.atoms.equiformer_v3 import EquiformerV3
from coset.objectives.denoise_atoms import DenoiseAtoms
from coset.objectives.energy_forces import EnergyForces


@pytest.fixture(scope="module")
def batch():
    return join([sample_of(frame, 4.5, ("energy", "forces")) for frame in clusters(3, 4, seed=0)])


class Oracle(torch.nn.Module):
    """Knows where the atoms were: its noise is exact, its energy and forces are labels, or wrong at moved atoms only."""

    def __init__(self, batch, std, wrong=0.0):
        super().__init__()
        self.batch, self.std, self.wrong, self.config = batch, std, wrong, {"denoise": True}

    def reference_energy(self, z, graph):
        return torch.zeros(3, dtype=torch.float64)

    def forward(self, pos, z, edge_index, shift, batch, known=None):
        moved = known is not None and (known != 0).any(1, keepdim=True)
        forces = self.batch["forces"] + self.wrong * torch.as_tensor(moved)
        return {
            "energy": self.batch["energy"].float(),
            "interaction": self.batch["energy"].float(),
            "forces": forces,
            "noise": (pos - self.batch["pos"]) / self.std,
        }


def test_the_truth_has_no_loss_and_forces_of_moved_atoms_do_not_count(batch):
    for wrong in (0.0, 5.0):
        objective = DenoiseAtoms(std=0.5)
        torch.manual_seed(0)
        terms = objective(Oracle(batch, 0.5, wrong), batch)
        assert terms["loss"] < 1e-5


def test_the_noise_has_the_stated_size_and_share(batch):
    many = {"pos": torch.zeros(40000, 3), "batch": torch.arange(40000) // 4}
    torch.manual_seed(0)
    moved, noise = DenoiseAtoms(probability=0.5, share=0.3).draw(many)
    assert abs(moved.float().mean() - 0.15) < 0.01
    chosen = moved.view(-1, 4).any(1)
    assert abs(chosen.float().mean() - 0.5 * (1 - 0.7**4)) < 0.02  # whole structures are left alone
    assert abs(noise[moved.squeeze(1)].std() - 1) < 0.02
    assert noise[~moved.squeeze(1)].abs().max() == 0
    assert not DenoiseAtoms(probability=0.0).draw(batch)[0].any()
    assert DenoiseAtoms(probability=1.0, share=1.0).draw(batch)[0].all()


def test_outside_training_it_is_the_base_loss(batch):
    torch.manual_seed(0)
    model = EquiformerV3((14, 32), 4.5, layers=1, channels=4, forces="direct", denoise=True)
    base = EnergyForces()
    assert torch.equal(DenoiseAtoms(base)(model.eval(), batch)["loss"], base(model, batch)["loss"])
    terms = DenoiseAtoms(base, probability=1.0)(model.train(), batch)
    assert terms["noise"] > 0.1
    want = terms["energy"] + 100 * terms["forces"] + 10 * terms["noise"]
    assert torch.allclose(terms["loss"], want)


def test_the_base_is_told_of_plan_and_steps(batch):
    """A weight that changes over the training changes here as well, and is kept with the objective's state."""
    objective = DenoiseAtoms(EnergyForces(1.0, 0.0, later=100.0), probability=0.0, std=0.5)
    objective.plan(5, 2)
    model = Oracle(batch, 0.5)
    model.batch = {**batch, "energy": batch["energy"] + 1}
    losses = []
    for step in (0, 5, 10):
        objective.after_step(model, step)
        losses.append(float(objective(model, batch)["loss"]))
    assert losses[1] / losses[0] == pytest.approx(10)
    assert losses[2] / losses[0] == pytest.approx(100)
    assert int(objective.state_dict()["base.done"]) == 10


def test_parts_of_a_batch_weigh_what_they_are_told(batch):
    objective = DenoiseAtoms(EnergyForces(1.0, 10.0), probability=1.0, share=1.0, std=0.5)
    assert objective.denominators(batch) == {"energy": 3, "forces": 12, "stress": 3, "noise": 12}
    model = Oracle(batch, 1.0)
    torch.manual_seed(0)
    whole = objective(model, batch)
    torch.manual_seed(0)
    part = objective(model, batch, {"noise": 0.5})
    assert whole["noise"] > 0.1
    assert float(whole["loss"] - part["loss"]) == pytest.approx(5 * float(whole["noise"]), rel=1e-4)
    evaluated = objective(model.eval(), batch, {"energy": 0.5, "forces": 0.0})
    assert evaluated["loss"] < 1e-6


def test_bad_input_is_refused(batch):
    with pytest.raises(InputError, match=r"0\.\.1"):
        DenoiseAtoms(probability=2.0)
    with pytest.raises(InputError, match="std > 0"):
        DenoiseAtoms(std=0.0)
    plain = EquiformerV3((14, 32), 4.5, layers=1, channels=4, forces="direct").train()
    with pytest.raises(InputError, match="denoise=True"):
        DenoiseAtoms()(plain, batch)
    with pytest.raises(InputError, match="no forces"):
        DenoiseAtoms()(plain, {name: value for name, value in batch.items() if name != "forces"})
