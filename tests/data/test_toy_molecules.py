"""Labels of generated molecules are exact, poses upright, test sets tumbled with their forces."""

import itertools
import math

import pytest
import torch

from coset.data.toy_molecules import (
    COSINE,
    DEPTH,
    RADIUS,
    SPECIES,
    SPRING,
    STEEPNESS,
    labelled,
    toy_energy,
    toy_molecules,
    tumbled,
    upright,
)  # fmt: skip
from coset.errors import InputError
from coset.groups.matrix import SO, O


def species_of(frame):
    return torch.tensor([SPECIES.index(int(z)) for z in frame["z"]])


@pytest.fixture(scope="module")
def frames():
    return toy_molecules(30, seed=1)


def test_the_energy_is_the_formula(frames):
    pos, kind = frames[0]["pos"], species_of(frames[0])
    n = len(pos)
    bond = lambda i, j: RADIUS[kind[i]] + RADIUS[kind[j]]  # noqa: E731
    near = lambda i, j: math.exp(-((math.dist(pos[i], pos[j]) / (1.5 * bond(i, j))) ** 4))  # noqa: E731
    total = 0.0
    for i, j in itertools.combinations(range(n), 2):
        well = (1 - math.exp(-STEEPNESS * (math.dist(pos[i], pos[j]) - bond(i, j)))) ** 2 - 1
        total += math.sqrt(DEPTH[kind[i]] * DEPTH[kind[j]]) * well
    for i in range(n):
        for j, k in itertools.combinations([j for j in range(n) if j != i], 2):
            a, b = pos[j] - pos[i], pos[k] - pos[i]
            total += SPRING * (float(a @ b / a.norm() / b.norm()) - COSINE[kind[i]]) ** 2 * near(i, j) * near(i, k)
    assert float(frames[0]["energy"]) == pytest.approx(total, abs=1e-12)


def test_forces_are_its_gradient_and_add_up_to_zero(frames):
    for frame in frames[:4]:
        kind = species_of(frame)[None]
        way = torch.randn(frame["pos"].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        ahead, behind = (toy_energy((frame["pos"] + s * 1e-5 * way)[None], kind)[0] for s in (1, -1))
        assert float((ahead - behind) / 2e-5 + (frame["forces"] * way).sum()) == pytest.approx(0, abs=1e-7)
        assert frame["forces"].sum(0).abs().max() < 1e-12


def test_a_rotation_or_reflection_changes_no_energy(frames):
    pos, kind = frames[0]["pos"], species_of(frames[0])
    g = O(3).sample(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    energy, forces = labelled(pos @ g.mT, kind.expand(5, -1))
    assert (energy - frames[0]["energy"]).abs().max() < 1e-12
    assert (forces - frames[0]["forces"] @ g.mT).abs().max() < 1e-11


def test_upright_is_one_pose_for_all_rotated_copies(frames):
    pos = frames[0]["pos"]
    g = SO(3).sample(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (upright(pos @ g.mT + 3.0) - pos).abs().max() < 1e-12
    assert (upright(-pos) - pos).abs().max() > 1e-2  # the mirror image is another molecule


def test_molecules_stand_along_their_axes(frames):
    for frame in frames:
        spread = frame["pos"].mT @ frame["pos"]
        assert spread.diagonal().diff().max() < 0
        assert (spread - torch.diag(spread.diagonal())).abs().max() < 1e-11
        assert frame["pos"].pow(3).sum(0)[:2].min() > 0
        assert frame["pos"].mean(0).abs().max() < 1e-12


def test_sizes_species_and_seeds(frames):
    assert {len(frame["z"]) for frame in frames} == {5, 6, 7, 8, 9}
    assert set(torch.cat([frame["z"] for frame in frames]).tolist()) == set(SPECIES)
    assert len({tuple(frame["z"].tolist()) for frame in toy_molecules(50, kinds=4)}) == 4
    again, other = toy_molecules(30, seed=1), toy_molecules(30, seed=2)
    assert all(torch.equal(a["pos"], b["pos"]) for a, b in zip(frames, again, strict=True))
    assert float(frames[0]["energy"]) != float(other[0]["energy"])


def test_molecules_hold_together_and_do_not_overlap(frames):
    for frame in frames:
        apart = torch.cdist(frame["pos"], frame["pos"]).fill_diagonal_(9)
        assert apart.min() > 0.5
        assert apart.amin(1).max() < 2.6
    assert 0.3 < torch.cat([frame["forces"] for frame in frames]).square().mean().sqrt() < 3


def test_tumbled_molecules_carry_their_forces(frames):
    turned = tumbled(frames, seed=0)
    energy, forces = labelled(turned[0]["pos"][None], species_of(frames[0])[None])
    assert float(energy) == pytest.approx(float(frames[0]["energy"]), abs=1e-12)
    assert (forces[0] - turned[0]["forces"]).abs().max() < 1e-11
    assert all((a["pos"] - b["pos"]).norm() > 0.1 for a, b in zip(frames, turned, strict=True))
    assert torch.equal(turned[3]["pos"], tumbled(frames, seed=0)[3]["pos"])


def test_bad_input(frames):
    for wrong in (
        {"count": 0},
        {"count": 3, "sizes": (2, 5)},
        {"count": 3, "sizes": (6, 5)},
        {"count": 3, "noise": -1.0},
        {"count": 3, "kinds": 0},
    ):
        with pytest.raises(InputError, match="toy_molecules: count and kinds >= 1"):
            toy_molecules(**wrong)
    with pytest.raises(InputError, match="are not molecules"):
        tumbled([{**frames[0], "cell": torch.eye(3)}])
