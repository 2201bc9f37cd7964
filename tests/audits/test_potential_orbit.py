"""Errors over a turn are flat for what knows no direction, and show the direction of what does."""

import numpy as np
import pytest
import torch

from coset.audits.potential import Scene
from coset.audits.potential_orbit import AXIS, orbit
from coset.data.stillinger import clusters, crystals, labelled

FRAMES = [*crystals(1, seed=3), *clusters(1, 5)]


def exact(frame):
    return labelled(frame["pos"], frame["z"], cell=frame.get("cell") if any(frame.get("periodic", ())) else None)


def test_an_exact_potential_has_no_error_and_no_change():
    found = orbit(Scene(exact, FRAMES), 8)
    assert found.angles.tolist() == [45.0 * k for k in range(8)]
    for values in (found.energy, found.forces, found.energy_labels, found.forces_labels):
        assert values.shape == (2, 8)
        assert values.max() < 1e-9


def test_a_constant_fault_is_seen_by_labels_and_not_by_the_consensus():
    def off(frame):
        out = exact(frame)
        return out | {"energy": out["energy"] + 0.01 * len(frame["z"]), "forces": 1.1 * out["forces"]}

    found = orbit(Scene(off, FRAMES), 6)
    assert found.energy_labels == pytest.approx(10.0)
    size = [1e3 * 0.1 * float(frame["forces"].abs().mean()) for frame in FRAMES]
    assert found.forces_labels == pytest.approx(np.array(size)[:, None] * np.ones(6), rel=1e-9)
    assert max(found.energy.max(), found.forces.max()) < 1e-8


def test_a_field_along_z_makes_a_wave():
    """A constant force along z, turned back, runs once around a cone about the axis: its mean is the axis' share."""
    pull = 0.1

    def field(frame):
        out = exact(frame)
        return out | {"forces": out["forces"] + torch.tensor([0.0, 0.0, pull])}

    found = orbit(Scene(field, FRAMES), 12)
    axis = np.array(AXIS) / np.linalg.norm(AXIS)
    across = pull * np.sqrt(1 - axis[2] ** 2)  # radius of the cone
    assert 1e3 * across / 3 <= found.forces.min() < found.forces.max() <= 1e3 * across / np.sqrt(3)
    assert found.forces_labels[:, 0] == pytest.approx(1e3 * pull / 3)


def test_structures_without_labels_have_only_a_consensus():
    bare = [{name: value for name, value in frame.items() if name not in ("energy", "forces")} for frame in FRAMES[:1]]
    found = orbit(Scene(exact, [bare[0], {**FRAMES[1]}]), 4)
    assert np.isnan(found.energy_labels[0]).all()
    assert np.isnan(found.forces_labels[0]).all()
    assert np.isfinite(found.energy_labels[1]).all()
    assert found.forces.max() < 1e-9
