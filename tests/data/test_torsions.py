"""A molecule of torsions: the energy is its formula, labels are exact, basins are visited, sets follow from the seed."""

import math

import pytest
import torch

from coset.data.torsions import (
    BEND,
    BONDS,
    ELEMENTS,
    FLAT,
    REACH,
    STRETCH,
    TURNS,
    WALL,
    labelled,
    terms,
    torsion_energy,
    torsions,
)
from coset.errors import InputError
from coset.groups.matrix import O


@pytest.fixture(scope="module")
def frames():
    return torsions(30, seed=3, steps=100)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def cross(a, b):
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def test_the_energy_is_the_formula(frames):
    x = frames[0]["pos"].tolist()
    way = lambda i, j: [b - a for a, b in zip(x[i], x[j], strict=True)]  # noqa: E731
    near = {i: {j for bond in BONDS for j in bond if i in bond and j != i} for i in range(len(x))}
    total = sum(STRETCH / 2 * (math.dist(x[i], x[j]) - r) ** 2 for (i, j), r in BONDS.items())
    for j, around in near.items():
        total += sum(BEND / 2 * (cosine(way(j, i), way(j, k)) + 0.5) ** 2 for i in around for k in around if i < k)
    for j, k in BONDS:
        quads = [(i, l) for i in near[j] - {k} for l in near[k] - {j}]
        one, two = TURNS.get((j, k), FLAT)
        for i, l in quads:
            f = math.acos(cosine(cross(way(j, i), way(j, k)), cross(way(k, l), way(j, k))))
            total += (one * (1 + math.cos(f)) + two * (1 - math.cos(2 * f))) / 2 / len(quads)
    steps = {i: {i} for i in near}
    for _ in range(3):
        steps = {i: seen.union(*(near[j] for j in seen)) for i, seen in steps.items()}
    total += sum(WALL * math.exp(-math.dist(x[i], x[j]) / REACH) for i in near for j in near if i < j and j not in steps[i])
    assert abs(float(frames[0]["energy"]) - total) < 1e-12


def test_forces_are_slopes_and_nothing_is_told_by_the_pose(frames):
    pos = torch.stack([frame["pos"] for frame in frames[:4]])
    energy, forces = labelled(pos)
    way = torch.randn(pos.shape, generator=torch.Generator().manual_seed(0), dtype=pos.dtype)
    slope = (torsion_energy(pos + 1e-5 * way) - torsion_energy(pos - 1e-5 * way)) / 2e-5
    assert torch.allclose(slope, -(forces * way).sum((1, 2)), rtol=1e-6, atol=1e-8)
    for g in O(3).sample(3, generator=torch.Generator().manual_seed(1)).double():
        turned, pushed = labelled(pos @ g.T + 1)
        assert (turned - energy).abs().max() < 1e-11
        assert (pushed - forces @ g.T).abs().max() < 1e-10


def test_frames_are_centered_labelled_and_turned_about_their_bonds(frames):
    pos = torch.stack([frame["pos"] for frame in frames])
    assert pos.mean(1).abs().max() < 1e-12
    energy, forces = labelled(pos)
    assert torch.equal(energy, torch.stack([frame["energy"] for frame in frames]))
    assert torch.equal(forces, torch.stack([frame["forces"] for frame in frames]))
    assert frames[0]["z"].tolist() == list(ELEMENTS)
    ester, acid = (pos[:, 1] - pos[:, 9]), (pos[:, 0] - pos[:, 6])
    apart = (pos[:, 12] - pos[:, 6]).norm(dim=-1)  # what torsions change most
    assert apart.max() - apart.min() > 0.8
    assert 1.2 < ester.norm(dim=-1).min() < ester.norm(dim=-1).max() < 1.7
    assert 1.2 < acid.norm(dim=-1).min() < acid.norm(dim=-1).max() < 1.8


def test_sets_follow_from_the_seed(frames):
    again, other = torsions(30, seed=3, steps=100), torsions(30, seed=4, steps=100)
    assert all(torch.equal(a["pos"], b["pos"]) for a, b in zip(frames, again, strict=True))
    assert not torch.equal(frames[0]["pos"], other[0]["pos"])
    assert {name: index.shape for name, index in terms().items() if name != "weights"} == {
        "bonds": (2, 13), "angles": (3, 17), "torsions": (4, 19), "far": (2, 32)
    }  # fmt: skip


def test_bad_input():
    for given in ({"count": 0}, {"count": 1, "steps": 99}):
        with pytest.raises(InputError, match="count >= 1 and steps >= 100"):
            torsions(**given)
