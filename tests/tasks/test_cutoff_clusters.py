"""The figures of `cutoff_clusters`: gradients keep the energy, an envelope removes the jump, the truth has no error."""

import dataclasses
import importlib.util
import math

import pytest
import torch

from coset.contract import Contract
from coset.data.stillinger import stillinger_energy
from coset.data.structures import join
from coset.errors import InputError
from coset.groups.euclidean import SE
from coset.nn.potential import Potential
from coset.ops.scatter import scatter_sum
from coset.recipe import Request
from coset.tasks import cutoff_clusters as task
from coset.testing import assert_equivariant

F64 = torch.float64


@pytest.fixture(scope="module")
def data():
    return task.data(Request("smoke", 0))


class Truth(Potential):
    """The formula that labelled the clusters, energies of whole structures given to their first atoms."""

    def __init__(self):
        super().__init__((14, 32), task.CUTOFF)
        self.dial = torch.nn.Parameter(torch.ones(()))

    def energies(self, graph):
        source = graph.edges["source"].values
        near = graph.lengths < 4.06
        total = graph.vectors.new_zeros(graph.structures)
        for structure in range(graph.structures):
            mine = near & (graph.batch[source] == structure)
            index = torch.stack([graph.edges[end].values[mine] for end in ("source", "target")])
            total = total.index_add(
                0,
                torch.tensor([structure]),
                stillinger_energy(graph.vectors[mine].double(), index, graph.species)[None].to(total),
            )
        first = torch.cat([torch.ones(1, dtype=torch.bool), graph.batch.diff() > 0])
        return torch.zeros_like(graph.batch, dtype=total.dtype).masked_scatter(first, self.dial * total)


class Leaky(Truth):
    """The same forces turned a little: no gradient of anything."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        turn = torch.eye(3).to(out["forces"]) + 0.1 * torch.tensor([[0, 1, 0], [-1, 0, 0], [0, 0, 0]]).to(out["forces"])
        return out | {"forces": out["forces"] @ turn}


def test_the_truth_has_no_error(data):
    assert task.force_mae(Truth().double(), double(data)) < 1e-3
    assert task.energy_mae(Truth().double(), double(data)) < 1e-3


def double(data):
    """The test clusters in float64."""
    return dataclasses.replace(data, test=task.Structures(data.test.frames, task.CUTOFF, dtype=F64))


def test_errors_are_means_of_what_they_say(data):
    class Off(Truth):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            return out | {"forces": out["forces"] + 0.002, "energy": out["energy"] + 0.008 * torch.bincount(args[-1])}

        def __call__(self, pos, z, edge_index, shift=None, batch=None):
            return self.forward(pos, z, edge_index, shift, None, batch)

    assert math.isclose(task.force_mae(Off().double(), double(data)), 2.0, rel_tol=1e-2)
    assert math.isclose(task.energy_mae(Off().double(), double(data)), 8.0, rel_tol=1e-2)


def test_verlet_turns_a_spring_with_its_period():
    x, v = torch.tensor([[1.0, 0, 0]], dtype=F64), torch.zeros(1, 3, dtype=F64)
    mass, steps = torch.tensor([[4.0]], dtype=F64), 1000
    *_, (end, speed) = task.verlet(lambda x: -x, x, v, mass, 2 * math.pi * 2 / steps, steps)
    assert torch.allclose(end, x, atol=1e-4)
    assert speed.abs().max() < 1e-4


def test_units_are_femtoseconds():
    """A silicon atom at 300 K moves about 0.003 angstrom per fs (root mean square of a component)."""
    assert math.isclose(math.sqrt(task.KELVIN * 300 / 28.085) * task.FS, 0.00298, rel_tol=0.01)


def test_gradients_keep_the_energy_and_other_forces_do_not(data):
    true, leaky = (task.nve(kind(), data, steps=60, systems=2) for kind in (Truth, Leaky))
    assert true.shape == (60, 2)
    assert task.drift(true) < 0.1 * task.drift(leaky)
    assert task.drift(true) < 0.5
    assert math.isclose(task.drift(torch.linspace(0, 1, 1000)[:, None].double()), 900.0, rel_tol=0.01)


def test_the_scan_moves_one_bond_across_the_cutoff(data):
    class Count(Potential):
        def __init__(self):
            super().__init__((14, 32), task.CUTOFF)
            self.dial = torch.nn.Parameter(torch.ones(()))

        def energies(self, graph):
            return self.dial * scatter_sum(1 + 0 * graph.lengths, graph.edges["target"].values, len(graph.species))

    chain = {"pos": 2.4 * torch.eye(3, dtype=F64)[0] * torch.arange(4)[:, None], "z": torch.tensor([14] * 4)}
    chained = dataclasses.replace(data, test=task.Structures([chain], task.CUTOFF))
    for one in (data, chained):
        counts = task.scan(Count(), one, task.CUTOFF + torch.tensor([-1e-3, 1e-3]))
        assert counts[0] - counts[1] == 2  # one bond, both directions
        assert counts[1] == one.test[0]["edge_index"].shape[1]  # and no other atom is near
        assert math.isclose(task.jump(Count(), one), 2000.0)


def test_the_envelope_removes_the_jump(data):
    torch.manual_seed(0)
    smooth, rough = task.network(data), task.network(data, envelope=None)
    assert task.jump(smooth, data) < 1e-5
    assert task.jump(rough, data) > 1e3 * task.jump(smooth, data)


def test_statistics_come_from_the_training_data(data):
    forces = torch.cat([data.train[i]["forces"] for i in range(len(data.train))])
    assert math.isclose(data.info["scale"], float(forces.square().mean().sqrt()), rel_tol=1e-6)
    joined = join([data.train[i] for i in range(len(data.train))])
    assert math.isclose(data.info["neighbors"], joined["edge_index"].shape[1] / len(joined["z"]))
    assert data.info["elements"] == [14, 32]


def test_the_second_stage_is_conservative_and_equivariant(data):
    torch.manual_seed(0)
    model, same = task.to_gradient(task.task.method("direct with DeNS, then gradient").build(data), data)
    assert same is data
    assert model.conservative
    assert assert_equivariant(model, Contract(SE(3), task.INPUTS, task.OUTPUTS), data.audit, samples=2).error < 1e-10


def test_files_of_ones_own(data, tmp_path):
    ase_io = pytest.importorskip("ase.io")
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for frame in data.test.frames:
        atoms = Atoms(frame["z"].numpy(), frame["pos"].numpy())
        atoms.calc = SinglePointCalculator(atoms, energy=float(frame["energy"]), forces=frame["forces"].numpy())
        frames.append(atoms)
    ase_io.write(tmp_path / "a.extxyz", frames)
    files = tuple((name, tmp_path / "a.extxyz") for name in ("train", "test"))
    mine = task.data(Request("smoke", 0, files))
    assert (len(mine.train), len(mine.valid), len(mine.test)) == (3, 1, 4)
    assert torch.allclose(mine.test[0]["forces"], data.test[0]["forces"], atol=1e-5)
    with pytest.raises(InputError, match="'train' and 'test'"):
        task.data(Request("smoke", 0, files[:1]))
    frames[0].cell, frames[0].pbc = [9.0, 9.0, 9.0], True
    ase_io.write(tmp_path / "a.extxyz", frames)
    with pytest.raises(InputError, match="no cell"):
        task.data(Request("smoke", 0, files))


# ----------------------------------------------------------------------------------------------------------- acceptance


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_equiformer_v3", root / "benchmarks" / "accept" / "equiformer_v3.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_tells_smooth_from_blunt(accept, data):
    torch.manual_seed(0)
    model = task.network(data)
    smooth, blunt = accept.across(model, data), accept.across(accept.without_envelope(model), data)
    assert smooth["second_0.001"] <= smooth["second_0.01"]
    assert blunt["second_0.001"] > 10 * blunt["second_0.01"]
    assert blunt["jump_0.001"] > 100 * smooth["jump_0.001"]


def test_acceptance_measures_grids(accept):
    found = accept.grids()
    assert found["product_worst"] < 1e-12
    assert found["two_below_least"] > 1e-2
    assert 1e-3 < found["silu_least"] <= found["silu_worst"] < found["silu_v_worst"] < 0.15
