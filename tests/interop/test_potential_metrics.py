"""Metrics of potentials are their formulas: the truth scores zero, errors put in by hand come out as they were."""

import math

import pytest
import torch

from coset.data.stillinger import CUTOFF, clusters, crystals, stillinger_energy
from coset.data.structures import Structures, join
from coset.interop.potential_metrics import (
    cutoff_jump,
    drift,
    energy_error,
    force_error,
    force_gap,
    inputs_of,
    metrics,
    peak_megabytes,
    predictions,
    stress_error,
)
from coset.nn.potential import Potential
from coset.recipe import Data


def data_of(frames):
    """A test set as tasks of atoms give it."""
    sets = Structures(frames, CUTOFF)
    sample = inputs_of(join([{"cell": 100 * torch.eye(3), **sets[0]}]))
    audit = {name: value.double() if value.is_floating_point() else value for name, value in sample.items()}
    return Data(None, {"test": sets}, audit=audit, info={"scale": "smoke"})


class Formula(Potential):
    """The truth, with an error that is known: ``off`` per atom."""

    def __init__(self, off=0.0):
        super().__init__((14, 32), CUTOFF)
        self.off, self.config = off, {"off": off}

    def energies(self, graph):
        edge_index = torch.stack([graph.edges["source"].values, graph.edges["target"].values])
        total = stillinger_energy(graph.vectors, edge_index, graph.species)
        return (total / len(graph.species)).expand(len(graph.species)) + self.off


@pytest.fixture(scope="module")
def data():
    return data_of(clusters(5, 4, seed=0)[4:])


def test_the_truth_scores_zero_and_an_offset_counts_per_atom(data):
    truth, off = Formula().eval(), Formula(off=1e-3).eval()
    one = {name: metric(truth, data) for name, metric in metrics(["test"], per_atom=True).items()}
    assert list(one) == ["force_mae_mev_a", "force_rmse_mev_a", "energy_mae_mev_atom", "force_gap", "microseconds_per_atom"]
    assert one["force_mae_mev_a"] < 0.05
    assert one["energy_mae_mev_atom"] < 0.01
    assert one["force_gap"] < 1e-6
    assert one["microseconds_per_atom"] > 0
    assert math.isclose(energy_error(off, data, on="test", per_atom=True), 1.0, rel_tol=0.01)
    assert math.isclose(energy_error(off, data, on="test"), 4.0, rel_tol=0.01)


def test_errors_of_forces_by_hand(data):
    class Off(Formula):
        def forward(self, *given, **named):
            out = super().forward(*given, **named)
            gap = torch.zeros_like(out["forces"])
            gap[:, 0] = 0.3
            return out | {"forces": out["forces"] + gap}

    model = Off().eval()
    assert math.isclose(force_error(model, data, on="test"), 100.0, rel_tol=1e-3)
    assert math.isclose(force_error(model, data, on="test", root=True), 300 / 3**0.5, rel_tol=1e-3)
    assert force_gap(model, data) > 1e-2, "such forces are no gradient"


def test_predictions_cover_a_set_once_in_order():
    frames = clusters(7, 4, seed=0)
    sets = Structures(frames, CUTOFF)
    seen = [batch["energy"] for _, batch in predictions(Formula().eval(), sets, atoms=9)]
    assert [len(energy) for energy in seen] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(seen), torch.stack([f["energy"] for f in frames]))


def test_errors_of_stress_by_hand():
    frames = crystals(2, seed=1)
    found = stress_error(Formula().eval(), data_of(frames[1:]), on="test")
    assert found < 0.01
    moved = [frames[1] | {"stress": frames[1]["stress"] + 0.02}]
    assert math.isclose(stress_error(Formula().eval(), data_of(moved), on="test"), 20.0, rel_tol=1e-3)


# ---------------------------------------------------------------------- what dynamics depend on


class Cut(Formula):
    """A parabola in every distance that ends at the cutoff: its curvature jumps by ``jump`` eV/A^2 there."""

    def __init__(self, jump=0.0):
        super().__init__()
        self.jump = jump

    def energies(self, graph):
        near = graph.vectors.norm(dim=-1)
        pull = torch.zeros_like(near[:1]).repeat(len(graph.species))
        return super().energies(graph) + pull.index_add(
            0, graph.edges["source"].values, 0.25 * self.jump * (CUTOFF - near) ** 2
        )


def test_a_quadratic_cutoff_shows_its_curvature(data):
    assert cutoff_jump(Formula().eval(), data) < 1e-4
    assert math.isclose(cutoff_jump(Cut(0.5).eval(), data), 0.5, rel_tol=1e-3), "half from either end"


class Windy(Formula):
    """Forces that work on atoms along their way in a circle: no energy has them."""

    def forward(self, pos, *given, **named):
        out = super().forward(pos, *given, **named)
        away = pos - pos.mean(0)
        return out | {
            "forces": out["forces"] + 0.05 * torch.linalg.cross(away.new_tensor([[0.0, 0.0, 1.0]]).expand_as(away), away)
        }


def test_drift_tells_a_gradient_from_a_wind(data):
    calm, windy = (drift(kind().eval(), data, steps=200) for kind in (Formula, Windy))
    assert calm < 1.0
    assert windy > 20 * calm


def test_memory_counts_what_a_call_holds(data):
    class Hungry(Formula):
        def forward(self, *given, **named):
            held = torch.ones(20_000_000)  # 80 MB
            out = super().forward(*given, **named)
            return out | {"held": held[:1]}

    assert 60 < peak_megabytes(Hungry().eval(), data) < 160
    assert peak_megabytes(Formula().eval(), data) < 60


def test_trust_adds_columns():
    names = list(metrics(["a", "b"], trust=True))
    assert names[0] == "force_mae_a_mev_a", "the headline"
    assert {"cutoff_jump_ev_a2", "drift_mev_atom_ps", "peak_mb", "energy_rmse_b_mev"} <= set(names)
