"""A batch that is divided, among processes or in time, teaches what it teaches whole, whatever its parts count."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coset.interop.target import load_object
from coset.recipe import Data, Recipe
from coset.train.batches import loader
from coset.train.fit import fit
from coset.train.ranks import environments
from coset.train.run import Run
from coset.train.shares import SAMPLES, Parts, length

FOLDER = Path(__file__).parent
data, objective, pairs, recipe, structures, weights = (
    load_object(f"{FOLDER / 'pair_potential.py'}:{name}")
    for name in ("data", "objective", "pairs", "recipe", "structures", "weights")
)
TERMS = ("loss", "energy", "forces", "valid_loss", "valid_energy", "valid_forces")


def trained(changes=(), **given):
    run = Run(record=True)
    model = fit(pairs(), given.pop("objective", objective), given.pop("data", data()), recipe.override(changes), run)
    return model, run.trace


def parts(accumulate, world, rank=0):
    batches = loader(structures(), 5, seed=1, rank=rank, world=world, accumulate=accumulate)
    return batches, Parts(batches, objective, accumulate=accumulate, world=1, device="cpu")


def test_shares_are_by_the_count_of_each_term(monkeypatch):
    """Of the parts of one batch they average to 1, and weigh means of parts to the mean of the whole."""
    whole = list(loader(structures(), 5, seed=1))
    found = list(parts(3, 1)[1])
    assert len(found) == 3 * len(whole)
    for place, full in enumerate(whole):
        pieces = found[3 * place : 3 * place + 3]
        assert {piece.samples for piece in pieces} == {len(full["energy"])}
        for term, label in (("forces", "forces"), ("energy", "energy"), (SAMPLES, "energy")):
            shares = [piece.shares[term] for piece in pieces]
            assert sum(shares) == pytest.approx(3, rel=1e-12)
            mean = sum(s * piece.batch[label].mean() for s, piece in zip(shares, pieces, strict=True)) / 3
            assert mean == pytest.approx(float(full[label].mean()), rel=1e-9, abs=1e-12)
    assert any(abs(p.shares["forces"] - p.shares["energy"]) > 0.05 for p in found)


def test_a_part_without_samples_counts_nothing():
    batches = loader(structures(2), 5, seed=1, accumulate=3)
    found = list(Parts(batches, objective, accumulate=3, world=1, device="cpu"))
    assert sorted(set(found[2].shares.values())) == [0.0]
    assert sum(piece.shares["forces"] for piece in found) == pytest.approx(3)


def test_batches_of_unknown_order_are_counted_by_their_first_tensor():
    assert length({"a": torch.tensor(1.0), "b": torch.zeros(4, 2)}) == length([torch.zeros(4)]) == 4
    batches = torch.utils.data.DataLoader(torch.arange(10.0), batch_size=3)
    found = list(Parts(batches, None, accumulate=2, world=1, device="cpu"))
    assert [piece.shares[SAMPLES] for piece in found] == [1.0, 1.0, 1.5, 0.5]


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"accumulate": 4}, {"accumulate": 3, "edges": 90}, {"accumulate": 7}])
def test_micro_batches_are_the_whole_batch_to_rounding(changes):
    model, trace = trained(changes)
    expected, whole = trained({name: value for name, value in changes.items() if name != "accumulate"})
    assert trace.steps == whole.steps
    assert torch.allclose(weights(model), weights(expected), rtol=1e-12, atol=1e-13)
    assert trace.losses == pytest.approx(whole.losses, rel=1e-12)
    for one, two in zip(trace.curve, whole.curve, strict=True):
        for name in (*TERMS, "step"):
            assert one[name] == pytest.approx(two[name], rel=1e-11), name


def test_weighing_by_samples_alone_would_be_wrong():
    """What the counts are for: the same objective without them learns something else."""
    plain, _ = trained({"accumulate": 2}, objective=lambda model, batch: objective(model, batch))
    expected, _ = trained()
    assert (weights(plain) - weights(expected)).norm() > 1e-4 * weights(expected).norm()


def test_a_plain_objective_is_weighed_by_samples():
    x = torch.randn(23, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    table = Data({"x": x, "y": x @ torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)}, None)

    def square(model, batch):
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}

    found = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        plain = Recipe(epochs=3, batch=6, precision="64", accumulate=accumulate)
        run = Run(record=True)
        found.append((weights(fit(model, square, table, plain, run)), run.trace.losses, run.trace.curve[-1]["loss"]))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-6, atol=1e-7)  # given back in float32
    assert found[0][1:] == (pytest.approx(found[1][1], rel=1e-12), pytest.approx(found[1][2], rel=1e-12))


def test_the_mean_of_the_curve_is_over_structures_and_atoms_as_one_batch_has_it():
    """A validation set in one batch, or in several micro-batches, has one loss."""
    _, whole = trained({"batch": 23, "epochs": 1})
    _, parted = trained({"batch": 23, "epochs": 1, "accumulate": 5})
    assert parted.curve[0]["valid_loss"] == pytest.approx(whole.curve[0]["valid_loss"], rel=1e-11)


PROCESS = """
import json, os, sys
sys.path.insert(0, {folder!r})
from pair_potential import data, objective, pairs, recipe, weights
from coset.train.fit import fit
from coset.train.run import Run
run = Run(devices=int(os.environ["WORLD_SIZE"]), record=True)
model = fit(pairs(), objective, data(), recipe.override({changes}), run)
found = [run.trace.losses, weights(model).tolist(), [[line[name] for name in {terms}] for line in run.trace.curve]]
if os.environ["RANK"] == "0":
    print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over tcp")
@pytest.mark.parametrize("changes", [{}, pytest.param({"edges": 90, "accumulate": 2}, marks=pytest.mark.slow)])
def test_two_processes_are_one(changes):
    """Batches of 5 structures with 2 to 9 atoms, clipped, averaged: losses, weights and curve; then in parts of parts."""
    command = [sys.executable, "-c", PROCESS.format(folder=str(FOLDER), terms=TERMS, changes=changes)]
    started = [
        subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, stdout=subprocess.PIPE)
        for variables in environments(2)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    losses, after, curve = json.loads(outputs[0])
    model, trace = trained(changes)
    assert len(losses) >= 10
    assert losses == pytest.approx(trace.losses, rel=1e-10)
    assert after == pytest.approx(weights(model).tolist(), rel=1e-9, abs=1e-12)
    for line, expected in zip(curve, trace.curve, strict=True):
        assert line == pytest.approx([expected[name] for name in TERMS], rel=1e-10)
