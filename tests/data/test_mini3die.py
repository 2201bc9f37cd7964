"""The renderer: poses turn what is seen, light and floor color it, no holes, the same bytes for the same seed."""

import math
import time

import pytest
import torch
from torch.nn import functional as F

from coset.data import mini3die as m
from coset.data.mini3die import draw_latents, mask, mini3die, render, render_pose
from coset.data.solids import CLASSES, Solid, make_solid
from coset.errors import InputError
from coset.groups.finite import Octahedral
from coset.groups.matrix import SO
from coset.groups.poses import angle_quaternion
from coset.groups.rotations import rotation_from_vector


@pytest.fixture
def solid(generator):
    return make_solid("drill", generator)


def test_a_seed_gives_the_same_bytes_and_a_larger_set_begins_with_a_smaller():
    a, b = mini3die(2, 3, 16, seed=5), mini3die(1, 3, 16, seed=5)
    assert torch.equal(a.images[:10], b.images)
    assert torch.equal(a.latents[:10], b.latents)
    assert not torch.equal(a.images[:10], a.images[10:])
    assert a.images.dtype == torch.uint8
    assert a.images.shape == (20, 3, 3, 16, 16)
    assert a.labels.tolist() == [*range(10), *range(10)]
    assert torch.equal(a[12:14].images, a.images[12:14])
    assert a[12:14].solids == a.solids[12:14]
    assert torch.equal(a.quaternions, angle_quaternion(a.latents[..., :3]))


def test_latents_lie_where_3diebench_draws_them(generator):
    x = draw_latents(4000, generator, shift=0.5)
    low = torch.tensor([-math.pi / 2] * 3 + [0.0] * 4 + [-0.5] * 3).double()
    high = torch.tensor([math.pi / 2] * 3 + [1, math.pi / 4, 2 * math.pi, 1] + [0.5] * 3).double()
    assert bool((x >= low).all() and (x <= high).all())
    assert torch.allclose(x.mean(0), (low + high) / 2, atol=0.15)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_no_holes(size, shift):
    """What a hundred times as many samples see, and is not at an edge of it, the usual number sees too, at that depth."""
    generator = torch.Generator().manual_seed(size)
    for kind in range(10):
        thing = make_solid(kind, generator)
        latents = draw_latents(2, generator, shift=shift)
        dense = mask(thing, latents, 4 * size).float()
        inside = -F.max_pool2d(-F.pad(dense, (4, 4, 4, 4)), 9, 1)  # all of it within one pixel of the coarse image
        assert bool(mask(thing, latents, size)[inside[:, 2::4, 2::4] > 0].all()), CLASSES[kind]


def test_no_far_side_is_seen_through_a_near_one(solid, generator):
    """The nearest sample of every inner pixel is as near as that of a much denser surface."""
    latents = draw_latents(4, generator)
    pose = m.rotation_from_quaternion(angle_quaternion(latents[:, :3])).float()
    shift = torch.zeros(4, 3)
    depths = []
    for spacing in (m._spacing(32, shift), 0.004):
        points = solid.surface(spacing).points
        sample, hit, _ = m._nearest(points, pose, shift, 32)
        eye = (m.RADIUS * points[sample]) @ (m.CAMERA @ pose).mT
        depths.append((eye[..., 2], hit[..., 0]))
    (coarse, hit), (fine, _) = depths
    assert float((fine - coarse)[hit].quantile(0.99)) < 0.06  # of a solid of diameter 1.5; a far side lies 0.2 and more behind


def test_a_turn_about_the_line_of_sight_turns_the_picture(solid):
    """A quarter turn about the camera's axis is a quarter turn of the silhouette."""
    axis = m.CAMERA[2].double()
    turns = rotation_from_vector(torch.stack([0 * axis, axis * math.pi / 2]))
    points = solid.surface(m._spacing(32, torch.zeros(1, 3))).points
    hit = m._nearest(points, turns.float(), torch.zeros(2, 3), 32)[1].view(2, 32, 32)
    assert (hit[0].rot90() != hit[1]).float().mean() < 0.01
    assert (hit[0] != hit[1]).float().mean() > 0.05


def test_a_shift_along_x_moves_the_picture_to_the_right(solid):
    still = torch.zeros(1, 10).double()
    moved = still.clone()
    moved[0, 7] = 4 * 2 * m.HALF_WIDTH / 32  # four pixels at the distance of the origin
    a, b = mask(solid, still)[0], mask(solid, moved)[0]
    columns = torch.arange(32.0)
    middle = [(x.float().sum(0) * columns).sum() / x.sum() for x in (a, b)]
    assert abs(float(middle[1] - middle[0]) - 4) < 0.7


def test_floor_and_light_have_their_hues(solid):
    latents = torch.zeros(2, 7).double()
    latents[:, 3] = torch.tensor([0.0, 1 / 3])  # red and green floors under a red light
    red, green = render(solid, latents)[:, :, 0, 0]
    assert red[0] > 2 * red[1]
    assert green[1] > green[0]
    lit = torch.zeros(2, 7).double()
    lit[:, 6] = torch.tensor([0.0, 2 / 3])
    seen = mask(solid, lit)
    color = [render(solid, lit)[k][:, seen[k]].mean(1) for k in (0, 1)]
    assert color[0].argmax() == 0
    assert color[1].argmax() == 2


def test_seven_latents_are_ten_without_translation_and_a_pose_may_be_a_matrix(solid, generator):
    latents = draw_latents(3, generator)
    latents[:, 7:] = 0
    first = render(solid, latents, 16)
    assert torch.equal(first, render(solid, latents[:, :7], 16))
    pose = m.rotation_from_quaternion(angle_quaternion(latents[:, :3]))
    assert torch.equal(first, render_pose(solid, pose, latents[:, 3:7], latents[:, 7:], 16))
    assert first.dtype == torch.float32
    assert 0 <= float(first.min()) < float(first.max()) <= 1


def test_solids_fill_the_unit_ball_and_no_rotation_maps_them_to_themselves(generator):
    """Third moments of the surface change under each of the 23 rotations of the cube and some others."""
    turns = torch.cat([Octahedral().matrices[1:], SO(3).sample(10, generator=generator).double()])
    for kind in range(10):
        thing = make_solid(kind, generator)
        surface = thing.surface(0.08)
        points = surface.points.double()
        assert abs(float(points.norm(dim=-1).max()) - 1) < 0.05
        assert torch.allclose(surface.normals.norm(dim=-1), torch.ones(len(points)), atol=1e-5)
        moved = torch.einsum("gij,nj->gni", turns, points)
        gap = torch.cdist(moved[:, ::9].float(), points.float()).amin(-1).amax(-1)  # how far a turned sample is from the solid
        assert float(gap.min()) > 0.15, CLASSES[kind]


def test_samples_are_no_further_apart_than_asked(solid):
    for spacing in (0.05, 0.1):
        points, fine = solid.surface(spacing).points, solid.surface(spacing / 5).points
        assert float(torch.cdist(fine, points).amin(1).max()) <= spacing / math.sqrt(2) * 1.01


def test_bad_input_is_refused(solid, generator):
    with pytest.raises(InputError, match=r"latents are \(K, 7\)"):
        render(solid, torch.zeros(2, 9))
    with pytest.raises(InputError, match="NaN"):
        render(solid, torch.full((1, 7), torch.nan))
    with pytest.raises(InputError, match="reach the camera"):
        render(solid, torch.full((1, 10), 1.4))
    with pytest.raises(InputError, match="between 8 and 512"):
        render(solid, torch.zeros(1, 7), 4)
    with pytest.raises(InputError, match="did you mean 'snail'"):
        make_solid("snale", generator)
    with pytest.raises(InputError, match=r"classes are 0\.\.9"):
        make_solid(10, generator)
    with pytest.raises(InputError, match="at least one object"):
        mini3die(0)
    with pytest.raises(InputError, match="spacing"):
        Solid(0, ()).surface(5.0)


@pytest.mark.slow
def test_five_hundred_images_a_second():
    began = time.process_time()
    mini3die(8, 20, 32)
    assert 1600 / (time.process_time() - began) > 500


def test_what_stands_still_does_not_depend_on_what_moves_beside_it(solid):
    """A view is the same in a batch and alone, as long as the batch reaches no nearer to the camera."""
    latents = draw_latents(3, torch.Generator().manual_seed(1), shift=0.1)
    assert torch.equal(render(solid, latents, 24)[1:2], render(solid, latents[1:2], 24))
