"""Neighbors equal brute force inside groups and masks; farthest points cover, and no index decides."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.euclidean import E
from coset.ops.neighbors import farthest_points, knn


def brute(x, k, group, mask, *, itself):
    """Every point's neighbors by sorting all distances, one point at a time."""
    out = torch.empty(*x.shape[:-1], k, dtype=torch.long)
    for b in range(len(x)):
        for i in range(x.shape[1]):
            allowed = [
                j for j in range(x.shape[1]) if mask[b, i] and mask[b, j] and group[b, i] == group[b, j] and (itself or j != i)
            ]
            allowed.sort(key=lambda j: (j != i, float((x[b, i] - x[b, j]).norm())))
            out[b, i] = torch.tensor((allowed + [i] * k)[:k])
    return out


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("entries", [2**22, 40])
def test_knn_is_brute_force_inside_groups_and_masks(generator, itself, entries):
    x = torch.randn(3, 37, 3, generator=generator, dtype=torch.float64)
    group = torch.randint(-1, 5, (3, 37), generator=generator)
    group[0] = 7  # one group of all points beside small ones
    mask = torch.rand(3, 37, generator=generator) < 0.8
    found = knn(x, 6, group=group, mask=mask, itself=itself, entries=entries)
    assert torch.equal(found, brute(x, 6, group, mask, itself=itself))


def test_knn_without_groups_and_in_other_shapes(generator):
    x = torch.randn(2, 20, 5, generator=generator)
    everywhere = torch.ones(2, 20, dtype=torch.bool)
    want = brute(x, 4, torch.zeros(2, 20), everywhere, itself=True)
    assert torch.equal(knn(x, 4), want)
    assert torch.equal(knn(x[0], 4), want[0])
    assert torch.equal(knn(x.view(1, 2, 20, 5), 4)[0], want)
    assert knn(x[:, :0], 4).shape == (2, 0, 4)
    assert torch.equal(knn(x[:, :2], 4)[0], torch.tensor([[0, 1, 0, 0], [1, 0, 1, 1]]))


def test_padding_may_hold_anything(generator):
    x = torch.randn(1, 9, 3, generator=generator)
    mask = torch.ones(1, 9, dtype=torch.bool)
    mask[0, 6:] = False
    spoilt = x.clone()
    spoilt[0, 6:] = torch.nan
    assert torch.equal(knn(spoilt, 3, mask=mask), knn(x, 3, mask=mask))
    assert torch.equal(knn(spoilt, 3, mask=mask)[:, :6], knn(x[:, :6], 3))
    assert torch.equal(farthest_points(spoilt, 6, mask=mask), farthest_points(x[:, :6], 6))


def test_doubles_of_a_point_come_after_it():
    x = torch.zeros(1, 5, 3)
    assert torch.equal(knn(x, 1)[0, :, 0], torch.arange(5))
    assert sorted(farthest_points(x, 5)[0].tolist()) == [0, 1, 2, 3, 4]


def test_both_commute_with_permutations_and_motions(generator):
    x = torch.randn(1, 64, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(64, generator=generator)
    place = order.argsort()
    g = E(3).sample(1, generator=generator)
    moved = E(3).linear(g) @ x.mT + E(3).shift(g).unsqueeze(-1)
    assert torch.equal(place[farthest_points(x, 9)], farthest_points(x[:, order], 9))
    assert torch.equal(place[knn(x, 5)][:, order], knn(x[:, order], 5))
    assert torch.equal(farthest_points(moved.mT, 9), farthest_points(x, 9))
    assert torch.equal(knn(moved.mT, 5), knn(x, 5))


def test_farthest_points_are_greedy_from_the_farthest_of_the_mean(generator):
    x = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    chosen = [int((x - x.mean(0)).norm(dim=-1).argmax())]
    while len(chosen) < 8:
        chosen.append(int(torch.cdist(x, x[chosen]).amin(-1).argmax()))
    assert farthest_points(x, 8).tolist() == chosen


def test_bad_clouds_are_refused():
    x = torch.zeros(2, 4, 3)
    with pytest.raises(InputError, match="k and entries"):
        knn(x, 0)
    with pytest.raises(InputError, match="floating points"):
        knn(x.long(), 2)
    with pytest.raises(InputError, match="group: expected shape"):
        knn(x, 2, group=torch.zeros(2, 3))
    with pytest.raises(InputError, match="bool tensor"):
        knn(x, 2, mask=torch.ones(2, 4))
    with pytest.raises(InputError, match="NaN"):
        farthest_points(x * torch.nan, 2)
    with pytest.raises(InputError, match="asked for 5 of clouds that have 4"):
        farthest_points(x, 5)
