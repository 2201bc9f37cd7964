import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.groups.finite import C, D
from coset.nn.feature_map import harmonic_field, regular_field
from coset.nn.pool import BlurPool, DiscMask, MomentPool, group_spectrum
from coset.ops.moments import MOMENTS
from coset.testing import Broken, check

F64 = torch.float64


@pytest.mark.parametrize(
    "layer",
    [
        BlurPool(),
        BlurPool(regular_field(2, D(4)), D(4), width=1.2),
        BlurPool(harmonic_field(2, 1), C(4), kernel=4),
        DiscMask(16, regular_field(2, C(4)), C(4)),
    ],
)
def test_pooling_is_exact_at_grid_symmetries(layer):
    assert max(check(layer).errors.values()) < 1e-12


def test_blur_keeps_a_constant_inside():
    out = BlurPool()(torch.ones(1, 1, 16, 16, dtype=F64))
    assert out.shape == (1, 1, 8, 8)
    assert torch.allclose(out[..., 1:-1, 1:-1], torch.ones(1, 1, 6, 6, dtype=F64), atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (2, 3, 8, 8), (2, 3, 4, 8, 8)])
def test_blur_treats_every_map_alike(shape, generator):
    x = torch.randn(*shape, generator=generator, dtype=F64)
    pool = BlurPool()
    want = torch.stack([pool(one) for one in x.reshape(-1, 8, 8)]).view(*shape[:-2], 4, 4)
    assert torch.allclose(pool(x), want, atol=1e-14)


class Strided(nn.Module):
    """A broken twin: pooling that picks a corner."""

    contracts = BlurPool().contracts

    def forward(self, x):
        return nn.functional.max_pool2d(x, 3, 2, 1)


def test_the_broken_twin_is_caught():
    with pytest.raises(Broken):
        check(Strided())


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("group", [None, C(4), D(4), C(8)])
def test_moments_are_invariant(kind, group):
    pool = MomentPool(kind, 4, channels=2, size=16, group=group)
    x = pool.contracts[0].inputs.example(space=2, generator=torch.Generator().manual_seed(0))[""]
    assert pool(x).shape == (3, pool.features)
    assert max(check(pool, x).errors.values()) < 1e-12


@pytest.mark.parametrize("kwargs", [{"group": C(8), "joint": True}, {"centered": True}])
def test_joint_and_centered_moments_are_invariant(kwargs):
    pool = MomentPool("zernike", 4, channels=2, size=16, **kwargs)
    x = pool.contracts[0].inputs.example(space=2, generator=torch.Generator().manual_seed(0))[""]
    assert pool(x).shape == (3, pool.features)
    assert max(check(pool, x).errors.values()) < 1e-11


def test_joint_moments_keep_the_order_of_the_group_axis_that_mean_and_max_forget(generator):
    x = torch.randn(1, 1, 4, 8, 8, generator=generator, dtype=F64)
    shuffled = x[:, :, [0, 2, 1, 3]]
    plain = MomentPool("zernike", 3, channels=1, size=8, group=C(4))
    joint = MomentPool("zernike", 3, channels=1, size=8, group=C(4), joint=True)
    assert torch.allclose(plain(x), plain(shuffled))
    assert not torch.allclose(joint(x), joint(shuffled), rtol=1e-2)


def test_centered_moments_ignore_shifts(generator):
    x = torch.zeros(1, 1, 16, 16, dtype=F64)
    x[..., 5:9, 6:9] = torch.rand(4, 3, generator=generator, dtype=F64)
    pool = MomentPool("zernike", 4, channels=1, size=16, centered=True)
    still = MomentPool("zernike", 4, channels=1, size=16, subpixels=1)
    moved = x.roll((2, 1), (-2, -1))
    assert (pool(x) - pool(moved)).norm() < 1e-10 * pool(x).norm() < (still(x) - still(moved)).norm()


def test_the_spectrum_ignores_shifts_and_reversal_is_the_only_ambiguity(generator):
    x = torch.randn(2, 3, 8, generator=generator, dtype=F64)
    assert torch.allclose(group_spectrum(x), group_spectrum(x.roll(3, -1)))
    assert not torch.allclose(group_spectrum(x), group_spectrum(x[..., [1, 0, 2, 3, 4, 5, 6, 7]]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: BlurPool(kernel=3), "even kernel"),
        (lambda: BlurPool(width=0.0), "positive width"),
        (lambda: BlurPool()(torch.zeros(1, 7, 8)), "even height"),
        (lambda: MomentPool("zernike", 4, channels=1, size=8)(torch.zeros(1, 1, 8, 6)), "square"),
        (lambda: MomentPool("zernike", 4, channels=1, size=8)(torch.zeros(1, 1, 6, 6)), "8 x 8"),
        (lambda: MomentPool("zernike", 4, channels=1, size=8, group=D(4), joint=True), "C\\(n\\)"),
        (lambda: MomentPool("zernike", 4, channels=1, size=8, joint=True), "C\\(n\\)"),
        (lambda: MomentPool("zernike", 4, channels=1, size=8, group=C(4), joint=True, centered=True), "leave out"),
        (lambda: MomentPool("hu", 4, channels=1, size=8), "unknown moment"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
