"""A training broken off within an epoch ends as an unbroken one: weights and curve bit for bit, and its time counts on."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from coset.interop.target import load_object
from coset.recipe import Data, Recipe
from coset.train.fit import fit
from coset.train.run import Run

FOLDER = Path(__file__).parent
data, objective, pairs, recipe, weights = (
    load_object(f"{FOLDER / 'pair_potential.py'}:{name}") for name in ("data", "objective", "pairs", "recipe", "weights")
)


class Killed(Exception):
    """Stands for SIGKILL within an epoch."""


class Chancy(nn.Module):
    """Noise from a generator of its own and from the global state; a parameter; ends the world in step ``last``."""

    def __init__(self, last=10**9):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.last = last

    def forward(self, model, batch):
        noise = torch.randn(batch["x"].shape, generator=self.generator) + torch.randn_like(batch["x"])
        loss = (model(batch["x"] + 0.1 * noise) - batch["y"]).square().mean()
        return {"loss": loss + (self.scale - 2) ** 2, "scale": self.scale}

    def after_step(self, model, step):
        if step > self.last:
            raise Killed


def table():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    return Data({"x": x, "y": x[:, :1] - x[:, 1:2]}, None, valid={"x": x[:9], "y": x[:9, :1]})


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.2), nn.Linear(5, 1))


def timeless(run):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in run.trace.curve]


@pytest.mark.parametrize("last", [1, 6, 9, 10, 13])
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "schedule": "cosine", "warmup": 0.2}])
def test_a_training_broken_off_within_an_epoch_goes_on_bit_for_bit(tmp_path, last, changes):
    chosen = Recipe(epochs=3, batch=10, ema=0.9, patience=5, **changes)
    whole = Run(folder=tmp_path / "whole", seed=3, record=True)
    expected = fit(network(), Chancy(), table(), chosen, whole)
    with pytest.raises(Killed):
        fit(network(), Chancy(last), table(), chosen, Run(folder=tmp_path / "broken", seed=3, every=0, record=True))
    heard = []
    run = Run(folder=tmp_path / "broken", seed=3, every=0, record=True, report=heard.append)
    found = fit(network(), Chancy(), table(), chosen, run)
    epoch, inside = divmod(last, 5)
    where = f"step {inside} of epoch {epoch + 1}" if inside else f"epoch {epoch}"
    assert heard[0].note == f"goes on after {where}"
    assert torch.equal(weights(found), weights(expected))
    assert timeless(run) == timeless(whole)
    assert run.trace.losses == whole.trace.losses
    assert run.trace.steps == whole.trace.steps == 15


def test_batches_of_unequal_number_go_on_too(tmp_path):
    """Epochs that edges cut into different numbers of batches; within the second and at its beginning."""
    changes = replace(recipe, epochs=4, edges=80, schedule="cosine")
    whole = Run(folder=tmp_path / "whole", record=True)
    expected = fit(pairs(), objective, data(), changes, whole)
    ends = [line["step"] for line in whole.trace.curve]
    assert len({b - a for a, b in pairwise([0, *ends])}) > 1
    assert whole.trace.steps == ends[-1]
    rates = [line["lr"] for line in whole.trace.curve]  # a quarter of the schedule each
    assert rates == pytest.approx([1e-2 * (1 + math.cos(math.pi * share)) / 2 for share in (0.25, 0.5, 0.75, 1.0)])
    for last in (ends[0], ends[0] + 2):

        class Mortal(type(objective)):
            def after_step(self, model, step, last=last):
                super().after_step(model, step)
                if step > last:
                    raise Killed

        mortal = Mortal(1.0, 10.0, shape="huber", delta=0.3)
        folder = tmp_path / str(last)
        with pytest.raises(Killed):
            fit(pairs(), mortal, data(), changes, Run(folder=folder, every=0, record=True))
        run = Run(folder=folder, every=0, record=True)
        assert torch.equal(weights(fit(pairs(), objective, data(), changes, run)), weights(expected))
        assert timeless(run) == timeless(whole)


def test_checkpoints_within_an_epoch_come_at_their_intervals(tmp_path):
    """None before the first is due: a training broken off then begins again, with the same end."""
    folder = tmp_path / "broken"
    with pytest.raises(Killed):
        fit(network(), Chancy(3), table(), Recipe(epochs=2, batch=10), Run(folder=folder))
    assert not list(folder.glob("*.resume.safetensors"))


PROCESS = """
import sys, time, torch
sys.path.insert(0, {folder!r})
from pathlib import Path
from pair_potential import data, objective, pairs, recipe, weights
from coset.train.fit import fit
from coset.train.run import Run
class Slow(type(objective)):
    def after_step(self, model, step):
        super().after_step(model, step)
        time.sleep(0.05)
run = Run(folder=Path(sys.argv[1]), every=0.01)
torch.save(weights(fit(pairs(), Slow(1.0, 10.0, shape="huber", delta=0.3), data(), recipe, run)), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_after_sigkill_within_an_epoch_the_end_is_the_same(tmp_path):
    """The process is killed as soon as a checkpoint within the first epoch is there; the next one goes on from it."""
    command = [sys.executable, "-c", PROCESS.format(folder=str(FOLDER)), str(tmp_path / "run"), str(tmp_path / "end.pt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process, until = subprocess.Popen(command, env=environment), time.time() + 120
    while not list((tmp_path / "run").glob("*.resume.safetensors")) and time.time() < until:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run/curve.csv").exists()  # no epoch was over
    assert subprocess.run(command, env=environment, timeout=200, check=False).returncode == 0
    expected = fit(pairs(), objective, data(), recipe)
    assert torch.equal(torch.load(tmp_path / "end.pt"), weights(expected))


def test_a_budget_brings_the_rate_down_in_time_and_counts_on(tmp_path):
    """Of 10^4 epochs only a second is allowed: the rate ends at zero; broken off half-way, it goes on from there."""
    endless = Recipe(epochs=10_000, batch=25, schedule="cosine", lr=0.05)
    run = Run(deadline=time.time() + 1.0)
    fit(network(), Chancy(), table(), endless, run)
    rates = [line["lr"] for line in run.trace.curve]
    assert 3 < len(rates) < 9_999
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.03
    assert rates[-1] < 1e-9
    assert "time was up in epoch" in run.trace.stopped

    class Mortal(Chancy):
        def after_step(self, model, step, end=time.time() + 1.0):  # noqa: B008
            if time.time() > end:
                raise Killed

    with pytest.raises(Killed):
        fit(network(), Mortal(), table(), endless, Run(folder=tmp_path, every=0, deadline=time.time() + 2.0))
    again = Run(folder=tmp_path, every=0, deadline=time.time() + 2.0)
    began = time.time()
    fit(network(), Chancy(), table(), endless, again)
    after = [line["lr"] for line in again.trace.curve]
    assert after == sorted(after, reverse=True)
    assert after[-1] < 1e-9
    assert time.time() - began < 1.9


def test_a_budget_that_is_not_used_up_changes_nothing():
    chosen = Recipe(epochs=3, batch=10, schedule="one-cycle")
    free, rich = Run(), Run(deadline=time.time() + 1e6)
    one, two = (fit(network(), Chancy(), table(), chosen, run) for run in (free, rich))
    assert torch.equal(weights(one), weights(two))
    assert rich.trace.stopped == ""
