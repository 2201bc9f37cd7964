"""Attention along time is equivariant, keeps nodes apart, sees the order of frames and nothing but differences."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.temporal_attention import TemporalAttention, sinusoids
from coset.testing import Broken, check


def loud(layer):
    nn.init.normal_(layer.gain[-1].weight)
    return layer.double()


@pytest.fixture
def sample(generator):
    return {"h": torch.randn(4, 5, 8, generator=generator).double(), "x": torch.randn(4, 5, 3, generator=generator).double()}


@pytest.mark.parametrize("space", [2, 3])
def test_it_keeps_both_promises(space, generator):
    torch.manual_seed(0)
    layer = loud(TemporalAttention(8, space=space))
    x = layer.contracts[0].inputs.example({"N": 4, "T": 5}, space=space, generator=generator)
    assert max(check(layer, x).errors.values()) < 1e-12


class Absolute(TemporalAttention):
    """A broken twin: attention mixes positions instead of differences."""

    def forward(self, h, x):
        return {**super().forward(h, x), "x": x + 0.1 * x.mean(1, keepdim=True)}


def test_absolute_positions_are_caught(sample):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"E\(3\)"):
        check(Absolute(8), sample)


def test_it_is_the_formula(sample):
    torch.manual_seed(0)
    layer = loud(TemporalAttention(8))
    h, x = sample["h"], sample["x"]
    out = layer(h, x)
    q, k, v, g = layer.query(h), layer.key(h), layer.value(h), layer.gain(layer.value(h))[..., 0]
    for node in range(4):
        for t in range(5):
            apart = layer.clock(sinusoids(torch.tensor([float(t - s) for s in range(5)]).double(), 32))
            a = torch.softmax(torch.stack([q[node, t] @ (k[node, s] + apart[s]) for s in range(5)]), 0)
            wanted = h[node, t] + sum(a[s] * (v[node, s] + apart[s]) for s in range(5))
            moved = x[node, t] + sum(a[s] * g[node, s] * (x[node, t] - x[node, s]) for s in range(5))
            assert torch.allclose(out["h"][node, t], wanted, atol=1e-12)
            assert torch.allclose(out["x"][node, t], moved, atol=1e-12)


def test_nodes_do_not_see_one_another_and_frames_do(sample):
    torch.manual_seed(0)
    layer = loud(TemporalAttention(8))
    before = layer(**sample)["x"]
    h = sample["h"].clone()
    h[0, 0] += 1
    change = (layer(h, sample["x"])["x"] - before).abs().amax(-1)
    assert bool((change[0] > 1e-6).all())
    assert change[1:].max() == 0


def test_the_order_of_frames_matters(sample):
    torch.manual_seed(0)
    layer = loud(TemporalAttention(8))
    back = layer(sample["h"].flip(1), sample["x"].flip(1))
    assert (back["x"].flip(1) - layer(**sample)["x"]).abs().max() > 1e-6


def test_far_from_the_origin_rounding_stays_small(sample):
    torch.manual_seed(0)
    layer = loud(TemporalAttention(8)).float()
    h, x = sample["h"].float(), sample["x"].float()
    near, far = layer(h, x)["x"] - x, layer(h, x + 1000)["x"] - (x + 1000)
    assert (near - far).abs().max() < 2e-3  # one rounding of 1000 is 6e-5; a sum over absolute positions would lose more


def test_without_moving_positions_stay(sample):
    layer = TemporalAttention(8, move=False).double()
    assert torch.equal(layer(**sample)["x"], sample["x"])
    assert layer.gain is None


def test_sinusoids():
    found = sinusoids(torch.tensor([0.0, 2.0, -2.0]), 4)
    assert torch.allclose(found[0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert torch.allclose(
        found[1], torch.tensor([2.0, 2e-4, 0, 0]).sin() + torch.tensor([0, 0, 2.0, 2e-4]).cos() * torch.tensor([0, 0, 1.0, 1.0])
    )
    assert torch.allclose(found[2, :2], -found[1, :2])


def test_bad_input_is_refused(sample):
    with pytest.raises(InputError, match="even size"):
        sinusoids(torch.zeros(1), 5)
    with pytest.raises(InputError, match="TemporalAttention: h"):
        TemporalAttention(8)(sample["h"].float(), sample["x"][:, :2].float())
