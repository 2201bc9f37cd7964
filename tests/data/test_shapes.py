"""Points lie on the solids they claim to come from, evenly; clouds are centered and of unit size."""

import math

import torch

from coset.data.shapes import CLASSES, box, clouds, pyramid, shapes, torus, turned
from coset.recipe import Request


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_torus_points_satisfy_its_equation_and_cover_it_evenly():
    x = torus(20000, 0.4, generator())
    rho = x[:, :2].norm(dim=-1)
    assert torch.allclose((rho - 1) ** 2 + x[:, 2] ** 2, torch.full_like(rho, 0.16), atol=1e-12)
    # the outer half has the area share 1/2 + a/pi
    assert abs((rho > 1).double().mean() - (0.5 + 0.4 / math.pi)) < 0.015


def test_box_points_lie_on_faces_in_proportion_to_area():
    sides = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    x = box(20000, sides, generator())
    on = (x.abs() - sides).abs() < 1e-12
    assert on.any(-1).all()
    share = on.double().mean(0)
    assert torch.allclose(share, torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64) / 3.5, atol=0.015)


def test_sphere_as_a_surface_of_revolution_is_even():
    x = turned(20000, lambda u: (1 - (2 * u - 1) ** 2).clamp(min=0).sqrt(), 2.0, generator())
    assert (x.norm(dim=-1) - 1).abs().max() < 0.02
    # Archimedes: heights on a sphere are uniform
    assert abs(x[:, 2].var() - 1 / 3) < 0.01


def test_pyramid_lies_under_its_slopes():
    x = pyramid(5000, 0.7, 1.3, generator())
    width = 0.7 * (0.5 - x[:, 2] / 1.3)
    assert (x[:, :2].abs().amax(-1) <= width + 1e-9).all()
    on_slope = (x[:, :2].abs().amax(-1) - width).abs() < 1e-9
    assert (on_slope | ((x[:, 2] + 0.65).abs() < 1e-9)).all()


def test_clouds_are_normal_and_balanced():
    x, y = clouds(32, 64, generator=generator())
    assert torch.allclose(x.mean(1), torch.zeros(32, 3), atol=1e-6)
    assert torch.allclose(x.square().sum(-1).mean(1), torch.ones(32), atol=1e-5)
    assert torch.equal(torch.bincount(y), torch.full((len(CLASSES),), 4))


def test_turned_test_clouds_are_rotations_of_the_upright_ones():
    data = shapes(Request("smoke", 0))
    gram = lambda x: x @ x.mT  # noqa: E731
    assert torch.allclose(gram(data.test["x"]), gram(data.test["turned"]), atol=1e-4)
    assert not torch.allclose(data.test["x"], data.test["turned"], atol=0.1)
