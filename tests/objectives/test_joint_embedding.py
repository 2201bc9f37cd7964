"""Losses of two views: equal to a float64 reference, their invariances, their gradient over processes, what they refuse."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.objectives.joint_embedding import (
    BarlowTwins,
    SplitEmbedding,
    VICReg,
    covariance,
    cross_correlation,
    invariance,
    variance,
)
from coset.testing import Broken, check
from coset.train.ranks import environments


@pytest.fixture
def views(generator):
    a = torch.randn(24, 6, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 2, 6).double() + 1
    return a, a + 0.3 * torch.randn(24, 6, generator=generator, dtype=torch.float64)


def correlation(a, b):
    a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))  # numpy's std is the biased one
    return a.T @ b / len(a)


def off_diagonal(c):
    return (c**2).sum() - (np.diag(c) ** 2).sum()


def test_barlow_twins_equals_a_reference(views):
    c = correlation(*(x.numpy() for x in views))
    terms = BarlowTwins(0.3)(*views)
    on, off = ((1 - np.diag(c)) ** 2).sum(), off_diagonal(c)
    assert abs(float(terms["loss"]) - (on + 0.3 * off)) < 1e-10
    assert abs(float(terms["on"]) - on) < 1e-10
    assert abs(float(terms["off"]) - off) < 1e-10
    assert np.allclose(cross_correlation(*views).numpy(), c, atol=1e-12)


def test_the_three_terms_equal_a_reference(views):
    a, b = (x.numpy() for x in views)
    hinge = 0.5 * np.maximum(0, 1 - np.sqrt(a.var(0, ddof=1) + 1e-4)).mean()
    centered = a - a.mean(0)
    c = centered.T @ centered / (len(a) - 1)
    assert abs(float(invariance(*views)) - ((a - b) ** 2).mean()) < 1e-12
    assert abs(float(variance(views[0])) - hinge) < 1e-12
    assert hinge > 1e-2
    assert abs(float(covariance(views[0])) - off_diagonal(c) / 6) < 1e-12


def test_vicreg_and_sie_are_weighted_sums_of_them(views, generator):
    a, b = views
    want = 2 * invariance(a, b) + 3 * (variance(a) + variance(b)) + 5 * (covariance(a) + covariance(b))
    assert torch.allclose(VICReg(2, 3, 5)(a, b)["loss"], want, rtol=1e-12)
    predicted = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    i, e, i2, e2 = a[:, :2], a[:, 2:], b[:, :2], b[:, 2:]
    want = (
        2 * invariance(i, i2)
        + 7 * invariance(predicted, e2)
        + 3 * (variance(a) + variance(b) + variance(predicted))
        + 5 * (covariance(a) + covariance(b))
    )
    terms = SplitEmbedding(2, 7, 3, 5)(i, e, i2, e2, predicted)
    assert torch.allclose(terms["loss"], want, rtol=1e-12)
    assert torch.allclose(terms["predicted_variance"], variance(predicted), rtol=1e-12)
    assert (SplitEmbedding().weights["invariance"], SplitEmbedding().weights["equivariance"]) == (10.0, 4.5)


def test_decorrelated_views_that_agree_cost_nothing():
    """Columns of a Hadamard matrix: mean 0, variance 1, uncorrelated, so C = I exactly."""
    h = torch.tensor([[1.0]], dtype=torch.float64)
    for _ in range(3):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    a = h[:, 1:]
    assert float(BarlowTwins()(a, a)["loss"]) < 1e-28
    # the unbiased norm would leave ((M - 1) / M - 1)^2 D
    assert ((7 / 8 - 1) ** 2 * 7) > 0.1


def test_barlow_twins_does_not_see_affine_changes_of_a_feature_but_sees_rotations(views):
    a, b = views
    loss = BarlowTwins(0.1)
    scale, shift = torch.linspace(0.1, 10, 6).double(), torch.linspace(-3, 3, 6).double()
    assert torch.allclose(loss(a * scale + shift, b)["loss"], loss(a, b)["loss"], rtol=1e-10)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double())[0]
    assert not torch.allclose(loss(a @ turn, b @ turn)["loss"], loss(a, b)["loss"], rtol=1e-2)


@pytest.mark.parametrize("criterion", [BarlowTwins, VICReg, SplitEmbedding], ids=["barlow", "vicreg", "sie"])
def test_losses_keep_their_promises(criterion):
    assert max(check(criterion()).errors.values()) < 1e-12


class SecondPermutation(BarlowTwins):
    """A twin that pairs every member with its neighbor."""

    def forward(self, a, b):
        return super().forward(a, b.roll(1, 0))


class FirstFeature(VICReg):
    """A twin that prefers one feature."""

    def forward(self, a, b):
        return super().forward(a * torch.linspace(1, 2, a.shape[1]).to(a), b)


def test_broken_twins_are_caught():
    with pytest.raises(Broken, match=r'S\("M"\)'):
        check(SecondPermutation())
    with pytest.raises(Broken, match=r'S\("D"\)'):
        check(FirstFeature())


def test_small_dimensions_get_a_larger_weight(views):
    terms = BarlowTwins()(*views)
    assert torch.allclose(terms["loss"], terms["on"] + terms["off"] / 6)
    wide = torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    terms = BarlowTwins()(wide, wide)
    assert torch.allclose(terms["loss"], terms["on"] + 0.0051 * terms["off"])


def test_half_precision_is_widened(views):
    a, b = (x.bfloat16() for x in views)
    assert cross_correlation(a, b).dtype == torch.float32


def test_what_says_nothing_is_refused(views):
    a, b = views
    with pytest.raises(InputError, match="one member have no variance"):
        BarlowTwins()(a[:1], b[:1])
    with pytest.raises(InputError, match="one batch size"):
        VICReg()(a, b[:-1])
    with pytest.raises(InputError, match="at least two dimensions"):
        BarlowTwins()(a[:, :1], b[:, :1])
    with pytest.raises(InputError, match="same number of features"):
        BarlowTwins()(a, b[:, :-1])
    with pytest.raises(InputError, match="'b': 1 of 144 entries are NaN"):
        BarlowTwins()(a, torch.where(b == b.max(), torch.nan, b))
    with pytest.raises(InputError, match="weight of the off-diagonal"):
        BarlowTwins(-1.0)


def test_a_constant_feature_is_named(views):
    a, b = views[0].clone(), views[1]
    a[:, 4] = 0.3
    with pytest.warns(UserWarning, match=r"'a': features \[4\] do not vary"):
        loss = BarlowTwins()(a.requires_grad_(), b)["loss"]
    loss.backward()
    assert bool(torch.isfinite(a.grad).all())


SHARE = """
import json, sys, torch, torch.distributed as dist
from coset.objectives import joint_embedding as losses
from coset.train.ranks import GlobalBatchNorm
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
g = torch.Generator().manual_seed(0)
x, y = (torch.randn(13, 5, generator=g, dtype=torch.float64) for _ in range(2))
found = {}
for name in ("BarlowTwins", "VICReg"):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 4)).double()
    with GlobalBatchNorm():
        loss = getattr(losses, name)()(net(x[rank::world]), net(y[rank::world]))["loss"]
        loss.backward()
    grads = []
    for p in net.parameters():
        dist.all_reduce(p.grad)
        grads += (p.grad / world).flatten().tolist()
    found[name] = [loss.item(), *grads]
if rank == 0:
    print(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over tcp")
def test_two_processes_have_the_gradient_of_one():
    """Unequal shares of 13 members, batch norm in between; what DDP does with gradients is their mean."""
    command = [sys.executable, "-c", SHARE]
    started = [
        subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, stdout=subprocess.PIPE)
        for world in (1, 2)
        for variables in environments(world)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    found = [json.loads(output) for output in outputs[:2]]
    for name, one in found[0].items():
        one, two = torch.tensor(one), torch.tensor(found[1][name])
        assert one.norm() > 0.1
        assert (one - two).norm() < 1e-5 * one.norm(), name
