"""Pairs are of different views of one thing, drawn anew in training and the same in validation; poses reach the predictor."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.groups.poses import relative_quaternion
from coset.objectives.supervised import Supervised
from coset.objectives.two_views import MovedTwice, OneView, RecordedPairs, TwoViews


@pytest.fixture
def batch(generator):
    """Five things, four views: pixel value = 10 thing + view, poses told apart."""
    x = (10 * torch.arange(5)[:, None] + torch.arange(4)).to(torch.uint8)[..., None, None, None].expand(5, 4, 1, 2, 2)
    pose = torch.nn.functional.normalize(torch.randn(5, 4, 4, generator=generator), dim=-1)
    return {"x": x, "pose": pose, "y": torch.arange(5), "hue": torch.rand(5, 4, 2, generator=generator)}


def of(view):
    """Thing and view that an image shows."""
    value = (255 * view[:, 0, 0, 0]).round().long()
    return value // 10, value % 10


def test_two_different_views_of_every_thing_with_their_poses(batch, generator):
    seen = set()
    for _ in range(40):
        pair = RecordedPairs(extra="hue")(batch, generator)
        (thing, first), (same, second) = of(pair.first), of(pair.second)
        assert torch.equal(thing, torch.arange(5))
        assert torch.equal(same, thing)
        assert bool((first != second).all())
        assert torch.equal(pair.poses[0], batch["pose"][thing, first])
        assert torch.equal(pair.poses[1], batch["pose"][thing, second])
        assert torch.equal(pair.change, batch["hue"][thing, second] - batch["hue"][thing, first])
        seen |= {(int(a), int(b)) for a, b in zip(first, second, strict=True)}
    assert len(seen) == 12


class Two(nn.Module):
    """Stands for SIE: remembers the motion it was asked for."""

    frame = "world"

    def forward(self, x):
        h = x.flatten(1)
        return {"invariant": h, "equivariant": 2 * h}

    def motion(self, q, change=None):
        self.asked = (q, change)
        return q

    def predict(self, e, z):
        return 3 * e


def test_the_motion_leads_from_the_first_view_to_the_second(batch):
    got = {}

    class Keep(nn.Module):
        def forward(self, i, e, i2, e2, predicted):
            got.update(i=i, e=e, i2=i2, e2=e2, predicted=predicted)
            return {"loss": i.sum()}

    model = Two()
    TwoViews(Keep(), RecordedPairs(), seed=0)(model, batch)
    (thing, first), (_, second) = of(got["i"].view(5, 1, 2, 2)), of(got["i2"].view(5, 1, 2, 2))
    want = relative_quaternion(batch["pose"][thing, first], batch["pose"][thing, second], "world")
    assert torch.equal(model.asked[0], want)
    assert torch.equal(got["predicted"], 3 * got["e"])
    assert torch.equal(got["e2"], 2 * got["i2"])


def test_training_draws_anew_and_validation_does_not(batch):
    class Gap(nn.Module):
        def forward(self, a, b):
            return {"loss": (a - b).sum(), "first": a.sum()}

    objective, model = TwoViews(Gap(), RecordedPairs(), seed=0), nn.Flatten()
    model.eval()
    assert len({float(objective(model, batch)["loss"]) for _ in range(5)}) == 1
    model.train()
    assert len({float(objective(model, batch)["loss"]) for _ in range(5)}) > 2


def test_moved_twice_draws_twice_and_may_differ(generator):
    def add(x, generator):
        return x + torch.rand(len(x), 1, generator=generator)

    x = torch.zeros(6, 3)
    pair = MovedTwice(add)({"x": x}, generator)
    assert not torch.equal(pair.first, pair.second)
    assert pair.poses is None
    pair = MovedTwice(add, lambda x, generator: x - 1)({"x": x}, generator)
    assert bool((pair.second == -1).all())


def test_one_view_gives_a_supervised_objective_the_same_views(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    base, views = Supervised(), RecordedPairs()
    first = OneView(base, views, seed=0)(model.eval(), batch)["loss"]
    generator = TwoViews(nn.Identity(), views, seed=0).draws.next()
    assert torch.equal(first, base(model, {"x": views(batch, generator).first, "y": batch["y"]})["loss"])


def test_bad_batches_are_refused(batch, generator):
    with pytest.raises(InputError, match="no 'pose'"):
        RecordedPairs()({"x": batch["x"]}, generator)
    with pytest.raises(InputError, match="two views at least"):
        RecordedPairs()({**batch, "x": batch["x"][:, :1]}, generator)
    with pytest.raises(InputError, match="views of different things"):
        RecordedPairs()({**batch, "thing": torch.arange(20).view(5, 4)}, generator)
    with pytest.raises(InputError, match="its views need poses"):
        TwoViews(nn.Identity(), MovedTwice(lambda x, generator: x))(Two(), {"x": torch.rand(3, 1, 2, 2)})
    with pytest.raises(InputError, match="no 'x'"):
        MovedTwice(lambda x, generator: x)({}, generator)
    with pytest.raises(InputError, match=r"differs from 1"):
        TwoViews(nn.Identity(), RecordedPairs())(Two(), {**batch, "pose": 2 * batch["pose"]})
