"""Wigner matrices are an action on the latent, learned transforms are not; improper matrices are refused."""

import pytest
import torch

from coset.audits.homomorphism import homomorphism_defect
from coset.errors import InputError
from coset.groups.matrix import SO, O
from coset.nn.latent_transform import Acting, LatentTransform, shared_irreps


def made(kind, width=18, **options):
    torch.manual_seed(0)
    return LatentTransform(width, kind, **options).double()


def drawn(count=5, width=18):
    g = torch.Generator().manual_seed(1)
    return torch.randn(count, width, generator=g, dtype=torch.float64), SO(3).sample(count, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("options", [{}, {"irreps": "3x0+5x1"}, {"reflections": True}], ids=["shared", "own", "O(3)"])
def test_wigner_matrices_are_an_action(options):
    transform = made("wigner", **options)
    found = homomorphism_defect(Acting(transform), transform.group, drawn()[0], samples=8)
    assert max(found.product, found.identity, found.inverse) < 1e-12


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_learned_transforms_start_near_the_identity_and_are_no_action(kind):
    found = homomorphism_defect(Acting(made(kind)), SO(3), drawn()[0], samples=8)
    assert 1e-4 < found.identity < 0.3
    assert found.product > 1e-4


@pytest.mark.parametrize("kind", ["mlp", "linear", "wigner"])
def test_leading_axes_of_rotations_are_those_of_features(kind):
    transform, (h, rotations) = made(kind), drawn()
    many = transform(h.expand(5, 5, 18), rotations)
    for i, g in enumerate(rotations):
        assert torch.allclose(many[i], transform(h, g), atol=1e-13)
        assert torch.allclose(transform(h, rotations)[i], transform(h[i], g), atol=1e-13)


def test_a_linear_transform_is_linear_and_an_mlp_is_not():
    (a, g), b = drawn(), drawn()[0].flip(0)
    for kind, linear in (("linear", True), ("mlp", False)):
        f = made(kind)
        assert torch.allclose(f(a + 2 * b, g), f(a, g) + 2 * f(b, g), atol=1e-12) == linear


def test_all_three_see_the_rotation_and_keep_the_dtype():
    h, (first, second, *_) = drawn()[0], drawn()[1]
    for kind in ("mlp", "linear", "wigner"):
        assert (made(kind)(h, first) - made(kind)(h, second)).norm() > 1e-3
        assert LatentTransform(18, kind)(h, first).dtype == torch.float64
        assert LatentTransform(18, kind)(h.float(), first).dtype == torch.float32


def test_degrees_share_a_width():
    assert shared_irreps(64) == "8x0+7x1+7x2"
    assert shared_irreps(8, reflections=True) == "8x0e"
    assert made("wigner", 64).irreps.dim == 64


def test_bad_input():
    with pytest.raises(InputError, match=r"have 9 components, the latent 10; 2x0\+1x1\+1x2 would fit"):
        LatentTransform(10, "wigner", irreps="1x0+1x1+1x2")
    with pytest.raises(InputError, match="did you mean 'wigner'"):
        LatentTransform(9, "wiger")
    with pytest.raises(InputError, match="irreps for kind='wigner' only"):
        LatentTransform(9, "mlp", irreps="9x0")
    h, rotations = drawn()
    for kind in ("mlp", "linear", "wigner"):
        with pytest.raises(InputError, match="improper R"):
            made(kind)(h, -rotations)
        assert made(kind, reflections=True)(h, -rotations).shape == h.shape
    with pytest.raises(InputError, match="not orthogonal"):
        made("mlp")(h, 1.1 * rotations)
    with pytest.raises(InputError, match="not orthogonal"):
        made("mlp")(h, rotations * torch.nan)
    with pytest.raises(InputError, match=r"R \(\*batch, 3, 3\)"):
        made("mlp")(h[:, :3], rotations)
    assert made("mlp", reflections=True).group == O(3)
