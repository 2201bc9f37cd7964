"""Figures hang together, their parts are rigid and on their surfaces, their joints turn as far as they should."""

import numpy as np
import pytest
import torch

from coset.data.articulated import NARROW, PARTS, WIDE, area, articulated, audited, figure, figures, surface, turn, turned
from coset.errors import InputError
from coset.recipe import Request


def test_rotations_turn_about_their_axis(generator):
    axis = torch.randn(3, generator=generator, dtype=torch.float64)
    R = turn(axis, torch.tensor(0.7, dtype=torch.float64))
    assert torch.allclose(R @ R.mT, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(R @ axis, axis)
    assert torch.allclose(R.trace(), 1 + 2 * torch.tensor(0.7, dtype=torch.float64).cos())
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    assert torch.allclose(turn(z, torch.tensor(np.pi / 2, dtype=torch.float64)) @ x, y, atol=1e-12)


@pytest.mark.parametrize("kind", ["box", "ellipsoid"])
def test_surfaces_are_even_and_normals_stand_on_them(kind, generator):
    sides = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x, normal = surface(kind, sides, 20000, generator)
    scaled = x / sides
    level = scaled.abs().amax(-1) if kind == "box" else scaled.norm(dim=-1)
    assert torch.allclose(level, torch.ones_like(level))
    assert torch.allclose(normal.norm(dim=-1), torch.ones_like(level))
    assert bool(((normal * x).sum(-1) > 0).all())
    # the divergence theorem: the mean of x . n over the surface is three times volume over area
    volume = float(sides.prod()) * (8 if kind == "box" else 4 * np.pi / 3)
    flux = float((x * normal).sum(-1).mean()) * area(kind, sides)
    assert abs(flux - 3 * volume) < 0.03 * 3 * volume
    assert (normal.mean(0)).abs().max() < 0.02


def test_a_figure_holds_together_in_any_pose(generator):
    for _ in range(20):
        one = figure(600, WIDE, generator=generator)
        present = one["body"].unique().tolist()
        assert {0, 1, 2, 4} <= set(present)
        for k in present:
            if PARTS[k].parent >= 0:
                mine, above = one["pos"][one["body"] == k], one["pos"][one["body"] == PARTS[k].parent]
                assert torch.cdist(mine, above).min() < 0.15
        assert torch.allclose(one["normal"].norm(dim=-1), torch.ones(600, dtype=torch.float64))


def test_narrow_poses_are_near_the_rest_pose_and_wide_ones_are_not(generator):
    def heads(degrees):
        sample = figures(60, 200, degrees, generator=generator)
        ups = []
        for pos, body in zip(sample["pos"], sample["body"], strict=True):
            ups.append(pos[body == 1].mean(0) - pos[body == 0].mean(0))
        return torch.nn.functional.normalize(torch.stack(ups), dim=-1)[:, 2]

    assert heads(NARROW).min() > 0.9
    assert heads(WIDE).min() < 0.9


def test_samples_are_centered_seeded_and_labeled():
    one, two = (figures(3, 64, 90.0, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one["pos"], two["pos"])
    assert one["pos"].mean(1).abs().max() < 1e-6
    assert one["pos"].dtype == torch.float32
    assert torch.equal(one["y"], one["body"])
    assert int(one["body"].max()) < len(PARTS)


def test_turned_figures_are_rigidly_turned(generator):
    one = figures(3, 64, 90.0, generator=generator)
    other = turned(one, generator=generator)
    assert torch.allclose(*(torch.cdist(x["pos"].double(), x["pos"].double()) for x in (one, other)), atol=1e-4)
    assert (one["pos"] - other["pos"]).abs().max() > 0.5
    tips = [torch.cdist((x["pos"] + x["normal"]).double(), x["pos"].double()) for x in (one, other)]
    assert torch.allclose(*tips, atol=1e-4)


def test_the_audit_points_from_points_to_parts_to_figures(generator):
    one = figures(5, 64, 90.0, generator=generator)
    found = audited(one, 3)
    assert torch.equal(found["cloud"][found["body"]], torch.arange(3).repeat_interleave(64))
    assert len(found["cloud"]) == sum(len(body.unique()) for body in one["body"][:3])
    assert found["body"].unique().tolist() == list(range(len(found["cloud"])))


def test_the_task_data_and_bad_requests(tmp_path):
    data = articulated(Request("smoke", 0))
    assert set(data.test) == {"narrow", "wide", "turned"}
    assert data.info["classes"] == 6
    assert data.train["pos"].shape == (24, 96, 3)
    with pytest.raises(InputError, match="bodies=FOLDER"):
        articulated(Request("smoke", 0, (("scans", tmp_path),)))
    with pytest.raises(InputError, match="degrees"):
        figures(3, 64, 200.0, generator=torch.Generator())
