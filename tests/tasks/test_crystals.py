"""The rows of `crystals` differ in what they say and nothing else; symmetry errors are seen where there are some."""

import pytest
import torch

from coset.data.structures import Structures
from coset.recipe import Request
from coset.tasks import crystals, potential

NETWORK, SPLINE, GRID, KNOTS = (method.name for method in crystals.task.methods)


@pytest.fixture(scope="module")
def data():
    return crystals.task.data(Request("smoke", 0))


def built(name, data, gain=1.0):
    torch.manual_seed(0)
    model = crystals.task.method(name).build(data)
    for block in model.blocks:
        block.norm.gain.data.fill_(gain)
    return model


def test_the_node_updates_are_compared_at_equal_parameters(data, monkeypatch):
    monkeypatch.setitem(data.info, "scale", "cpu")
    gate, grid = (sum(p.numel() for p in built(name, data).parameters()) for name in (SPLINE, GRID))
    assert abs(grid / gate - 1) < 0.05
    assert built(NETWORK, data).config | {"radial": "spline"} == built(SPLINE, data).config


def test_the_changed_energies_are_those_of_the_grid(data):
    gate, grid = (crystals.invariance_error(built(name, data), data) for name in (SPLINE, GRID))
    assert gate < 1e-9
    assert 1e-6 < grid < 1e3
    assert crystals.equivariance_error(built(SPLINE, data), data) < 1e-12
    assert crystals.equivariance_error(built(GRID, data), data) > 1e-7


def test_symmetry_errors_have_their_units(data):
    """A model whose energy is the height of its atoms: turned by g, it changes by what g does to heights."""

    class Height(torch.nn.Module):
        def forward(self, pos, batch, cell, **_):
            total = torch.zeros(len(cell), dtype=pos.dtype).index_add(0, batch, pos[:, 2])
            return {
                "energy": total,
                "interaction": total,
                "energies": pos[:, 2],
                "forces": -torch.eye(3, dtype=pos.dtype)[2].expand_as(pos),
            }

    plain, pairs = crystals.turned(Height(), data)
    gaps = torch.stack([answer["interaction"] - plain["interaction"] for _, answer in pairs])
    per_atom = 1000 * len(plain["energy"]) / len(plain["energies"])
    assert crystals.invariance_error(Height(), data) == pytest.approx(per_atom * float(gaps.square().mean().sqrt()))
    tilts = torch.stack([(plain["forces"] - plain["forces"] @ g.T).norm() for g, _ in pairs])
    want = float(tilts.square().mean().sqrt() / plain["forces"].norm())
    assert crystals.equivariance_error(Height(), data) == pytest.approx(want)
    assert {bool(torch.linalg.det(g) > 0) for g, _ in pairs} == {True, False}


def test_stress_is_learned_where_it_is_known(data):
    model, batch = built(SPLINE, data).train(), data.train.collate([data.train[0], data.train[1]])
    assert "stress" in crystals.task.objective(model, batch)
    batch.pop("stress")
    assert "stress" not in crystals.task.objective(model, batch)
    assert crystals.stress_mae(model.eval(), data) > 0
    blind = Structures(data.test["test"].frames, crystals.CUTOFF, labels=("energy", "forces"))
    other = type(data)(data.train, {"test": blind})
    assert crystals.stress_mae(model, other) != crystals.stress_mae(model, other), "NaN"


def test_files_of_ones_own_take_the_place_of_generated_ones(tmp_path):
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    for name, seed in (("train", 0), ("test", 1)):
        frames = crystals.crystals(6, seed=seed)
        atoms = [ase.Atoms(f["z"].numpy(), f["pos"].numpy(), cell=f["cell"].numpy(), pbc=True) for f in frames]
        for one, f in zip(atoms, frames, strict=True):
            one.calc = SinglePointCalculator(one, energy=float(f["energy"]), forces=f["forces"].numpy())
        ase.io.write(tmp_path / f"{name}.extxyz", atoms)
    files = tuple((name, tmp_path / f"{name}.extxyz") for name in ("train", "test"))
    found = crystals.task.data(Request("full", 0, files))
    assert found.info["r_max"] == potential.CUTOFF
    assert len(found.train) == 5
    assert "stress" not in found.train.labels
