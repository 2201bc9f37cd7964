"""Simulated laws conserve what they should, scenes join and come apart, masks of frames are neither empty nor full."""

import pytest
import torch

from coset.data.nbody import simulate
from coset.data.trajectories import FRAME, LAWS, Scenes, System, follow, scene, split_frames
from coset.errors import InputError


def paths(law, generator, bodies=3, frames=12, count=8, step=0.002):
    drawn = System(law, bodies, 4, frames - 4, step).sample(count, generator=generator, dtype=torch.float64)
    batch = drawn.collate(drawn.scenes)
    return torch.cat([batch["cond"], batch["x"]], 1).view(count, bodies, frames, 3), drawn


@pytest.mark.parametrize("law", LAWS)
def test_scenes_have_the_shapes_they_promise(law, generator):
    drawn = System(law, 5, 3, 2, 0.05).sample(4, generator=generator)
    assert len(drawn) == 4
    shapes = {name: tuple(value.shape) for name, value in drawn[0].items()}
    assert shapes == {
        "x": (5, 2, 3), "cond": (5, 3, 3), "h": (5, 1), "edge_index": (2, 20), "edge_attr": (20, 1), "batch": (5,),
    }  # fmt: skip
    assert drawn[0]["x"].dtype == torch.float32


@pytest.mark.parametrize("law", LAWS)
def test_the_center_of_mass_moves_straight_on(law, generator):
    center = paths(law, generator)[0].mean(1)
    assert center.diff(n=2, dim=1).abs().max() < 1e-9
    if law == "gravity":
        assert center.diff(dim=1).abs().max() < 1e-9


def test_springs_follow_hooke_in_closed_form():
    x = torch.tensor([[[0.5, 0, 0], [-0.5, 0, 0]]], dtype=torch.float64)
    law = System("springs", 2)._law(torch.ones(1, 2), torch.tensor([[[0.0, 1], [1, 0]]], dtype=torch.float64))
    path = follow(x, torch.zeros_like(x), law, frames=30, step=0.001)
    t = FRAME * torch.arange(30, dtype=torch.float64)
    assert (path[0, 0, :, 0] - 0.5 * torch.cos((2 * 0.1) ** 0.5 * t)).abs().max() < 1e-6


def test_unjoined_bodies_fly_straight_on(generator):
    path, drawn = paths("springs", generator, count=20)
    loose = [i for i, one in enumerate(drawn.scenes) if not one["edge_attr"].any()]
    joined = [i for i in range(20) if i not in loose]
    assert loose
    assert path[loose].diff(n=2, dim=2).abs().max() < 1e-9
    assert path[joined].diff(n=2, dim=2).abs().max() > 1e-4


def test_charges_attract_and_repel():
    x = torch.tensor([[[0.5, 0, 0], [-0.5, 0, 0]]], dtype=torch.float64)
    for pair, apart in ((torch.tensor([[1.0, 1.0]]), True), (torch.tensor([[1.0, -1.0]]), False)):
        path = follow(x, torch.zeros_like(x), System("charged", 2)._law(pair.double(), None), frames=4, step=0.002)
        gap = (path[0, 0] - path[0, 1]).norm(dim=-1)
        assert bool((gap.diff() > 0).all()) is apart


def test_charged_systems_are_those_of_the_one_step_task_but_for_the_softening(generator):
    x, v = torch.randn(2, 4, 5, 3, generator=generator, dtype=torch.float64)
    charge = torch.randint(2, (4, 5), generator=generator).double() * 2 - 1
    from coset.data.nbody import forces

    path = follow(x, v, lambda x: forces(x, charge), frames=3, step=0.005)
    assert (path[:, :, 2] - simulate(x, v, charge, time=0.2, step=0.005)[0]).abs().max() < 1e-12


def test_features_say_what_the_forces_know(generator):
    charged, springs = (System(law, 3, 2, 2, 0.05).sample(20, generator=generator) for law in ("charged", "springs"))
    for one in charged.scenes:
        source, target = one["edge_index"]
        assert torch.equal(one["edge_attr"][:, 0], one["h"][source, 0] * one["h"][target, 0])
        assert set(one["h"].flatten().tolist()) <= {-1.0, 1.0}
    assert {float(v) for one in springs.scenes for v in one["edge_attr"]} == {0.0, 1.0}
    for one in springs.scenes:  # both ways alike
        pair = torch.zeros(3, 3)
        pair[one["edge_index"][0], one["edge_index"][1]] = one["edge_attr"][:, 0]
        assert torch.equal(pair, pair.T)


def test_speeds_and_spreads_are_the_papers(generator):
    path, _ = paths("charged", generator, bodies=5, count=200, frames=5, step=0.05)
    assert abs(float(path[:, :, 0].std()) - 1) < 0.05
    path, _ = paths("springs", generator, count=200, frames=5, step=0.05)
    assert abs(float(path[:, :, 0].std()) - 0.5) < 0.05
    assert abs(float(path[:, :, :2].diff(dim=2).norm(dim=-1).mean()) - 0.5 * FRAME) < 0.002


def test_seeds_decide(generator):
    a, b, c = (System(past=2, future=2, step=0.05).sample(2, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(a[1]["x"], b[1]["x"])
    assert not torch.equal(a[1]["x"], c[1]["x"])


def test_scenes_of_unlike_sizes_join_and_come_apart(generator):
    parts = [scene(torch.randn(n, 5, 3, generator=generator), 2, torch.ones(n)) for n in (2, 4, 1)]
    scenes = Scenes(parts)
    both = scenes.collate(scenes.scenes)
    assert both["batch"].tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert both["x"].shape == (7, 3, 3)
    source, target = both["edge_index"]
    assert bool((both["batch"][source] == both["batch"][target]).all())
    assert both["edge_index"].shape[1] == 2 + 12
    assert [len(part["x"]) for part in scenes.parts(2)] == [6, 1]
    assert torch.equal(both["x"][2:6], parts[1]["x"])


def test_without_given_frames_there_is_no_condition(generator):
    drawn = System(past=0, future=3, bodies=2, step=0.05).sample(2, generator=generator)
    assert "cond" not in drawn[0]
    assert drawn[0]["x"].shape == (2, 3, 3)


def test_frames_are_split_by_a_mask(generator):
    x = torch.randn(2, 5, 3, generator=generator)
    cond, future = split_frames(x, torch.tensor([1, 0, 1, 0, 0]))
    assert torch.equal(cond, x[:, [0, 2]])
    assert torch.equal(future, x[:, [1, 3, 4]])
    for mask, match in (([0] * 5, "no frame is given"), ([1] * 5, "nothing is left"), ([1, 0], "names 5 frames")):
        with pytest.raises(InputError, match=match):
            split_frames(x, torch.tensor(mask))
    with pytest.raises(InputError, match="NaN or infinite"):
        split_frames(x / 0, torch.tensor([1, 0, 1, 0, 0]))


def test_bad_systems_are_refused(generator):
    with pytest.raises(InputError, match="did you mean 'springs'"):
        System("spring")
    for kwargs in ({"bodies": 1}, {"future": 0}, {"step": 0.0}, {"past": -1}):
        with pytest.raises(InputError, match="at least 2 bodies"):
            System(**kwargs)
    with pytest.raises(InputError, match="at least one scene"):
        Scenes([])
    one = scene(torch.zeros(2, 4, 3), 2, torch.ones(2))
    with pytest.raises(InputError, match="every scene holds"):
        Scenes([one, {**one, "edge_attr": torch.zeros(2, 1)}])
