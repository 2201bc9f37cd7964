"""Labels of the formula are its exact derivatives; silicon's numbers give silicon."""

import math

import pytest
import torch

from coset.data.stillinger import CUTOFF, SPECIES, clusters, crystals, labelled
from coset.errors import InputError

F64 = torch.float64


def diamond(a, z=(14, 14)):
    pos = torch.tensor([[0.0, 0, 0], [0.25, 0.25, 0.25]], dtype=F64) * a
    cell = torch.tensor([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=F64) * a
    return labelled(pos, torch.tensor(z), cell=cell)


def test_silicon_binds_as_published():
    """-2 epsilon per atom at 5.431 angstrom, without force or stress (Stillinger and Weber 1985); minimum there."""
    frame = diamond(5.431)
    assert math.isclose(float(frame["energy"]) / 2, -2 * 2.1683, rel_tol=1e-5)
    assert frame["forces"].abs().max() < 1e-12
    assert frame["stress"].abs().max() < 2e-4
    assert min(range(5300, 5600, 5), key=lambda a: float(diamond(a / 1000)["energy"])) in (5430, 5435)


def test_a_bent_chain_by_hand():
    """Bonds of 2.4 angstrom at 150 degrees; the ends do not see each other: two pairs and one angle, as published."""
    angle, r = math.radians(150), 2.4
    pos = torch.tensor([[0.0, 0, 0], [r, 0, 0], [r * math.cos(angle), r * math.sin(angle), 0]], dtype=F64)
    gap = r / 2.0951 - 1.8
    pair = 7.049556277 * (0.6022245584 * (r / 2.0951) ** -4 - 1) * math.exp(1 / gap)
    bend = 21.0 * (math.cos(angle) + 1 / 3) ** 2 * math.exp(1.2 / gap) ** 2
    found = float(labelled(pos, torch.tensor([14, 14, 14]))["energy"])
    assert math.isclose(found, 2.1683 * (2 * pair + bend), rel_tol=1e-12)


def test_stress_is_positive_under_tension():
    assert all(bool((diamond(a)["stress"].diagonal().sign() == side).all()) for a, side in ((5.3, -1), (5.6, 1)))
    assert diamond(5.6, (14, 32))["stress"].diagonal().mean() < diamond(5.6)["stress"].diagonal().mean()


@pytest.mark.parametrize(
    "made", [lambda: crystals(3, seed=5)[1], lambda: clusters(1, 6, seed=2)[0]], ids=["crystal", "cluster"]
)
def test_labels_are_derivatives(made):
    frame = made()
    pos, z, cell = frame["pos"], frame["z"], frame.get("cell")

    def energy(pos, cell):
        return float(labelled(pos, z, cell=cell)["energy"])

    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = torch.randn(pos.shape, generator=g, dtype=F64)
        slope = (energy(pos + 1e-5 * way, cell) - energy(pos - 1e-5 * way, cell)) / 2e-5
        assert math.isclose(slope, -float((frame["forces"] * way).sum()), rel_tol=1e-6, abs_tol=1e-6)
    assert frame["forces"].sum(0).abs().max() < 1e-12
    assert ("stress" in frame) == (cell is not None)
    if cell is not None:
        volume = torch.linalg.det(cell).abs()
        assert torch.equal(frame["stress"], frame["stress"].T)
        for i, j in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]:
            way = torch.zeros(3, 3, dtype=F64)
            way[i, j] = 1e-5
            ahead, behind = (energy(pos @ (torch.eye(3) + s * way), cell @ (torch.eye(3) + s * way)) for s in (1, -1))
            assert math.isclose((ahead - behind) / 2e-5, float(frame["stress"][i, j] * volume), rel_tol=1e-6, abs_tol=1e-6)


def test_energies_know_neither_place_nor_order_nor_cell():
    frame = crystals(2, seed=1)[1]
    g = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=F64))[0]
    moved = labelled(frame["pos"] @ g.T + 3.0, frame["z"], cell=frame["cell"] @ g.T)
    assert torch.allclose(moved["energy"], frame["energy"], atol=1e-11, rtol=0)
    assert torch.allclose(moved["forces"], frame["forces"] @ g.T, atol=1e-11, rtol=0)
    assert torch.allclose(moved["stress"], g @ frame["stress"] @ g.T, atol=1e-12, rtol=0)
    twice = labelled(
        torch.cat([frame["pos"], frame["pos"] + frame["cell"][1]]), frame["z"].repeat(2),
        cell=frame["cell"] * torch.tensor([[1.0], [2], [1]], dtype=F64),
    )  # fmt: skip
    assert torch.allclose(twice["energy"], 2 * frame["energy"], atol=1e-11, rtol=0)
    assert torch.allclose(twice["stress"], frame["stress"], atol=1e-12, rtol=0)


def test_a_pair_feels_nothing_from_its_cutoff_on():
    def pair(r):
        return labelled(torch.tensor([[0.0, 0, 0], [r, 0, 0]], dtype=F64), torch.tensor([32, 32]))

    for r in (CUTOFF - 1e-3, CUTOFF + 1e-3):
        assert pair(r)["energy"] == 0
        assert not pair(r)["forces"].any()
    assert pair(0.9 * CUTOFF)["energy"] < 0


def test_sets_repeat_by_their_seed_and_hold_both_kinds():
    for make in (lambda seed: crystals(6, seed=seed), lambda seed: clusters(2, 5, seed=seed)):
        one, same, other = make(0), make(0), make(1)
        assert all(
            torch.equal(a["pos"], b["pos"]) and torch.equal(a["energy"], b["energy"]) for a, b in zip(one, same, strict=True)
        )
        assert not torch.equal(one[0]["pos"], other[0]["pos"])
        assert {int(z) for frame in one for z in frame["z"]} == set(SPECIES)
        assert all(bool(frame["forces"].isfinite().all()) and frame["energy"] < 0 for frame in one)
    assert {len(frame["z"]) for frame in crystals(30, seed=0)} == {2, 4, 6, 8}


def test_other_elements_are_refused():
    with pytest.raises(InputError, match=r"species are \(14, 32\), got \[6, 14\]"):
        labelled(torch.eye(3, dtype=F64)[:2] * 2.4, torch.tensor([14, 6]))
