"""Every conversion: there and back again, and one fact about the other side."""

import math
import warnings

import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import quaternion_from_rotation
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.conventions import (
    e3nn_sign,
    e3nn_wigner_3j,
    from_escnn,
    from_literature,
    matrix_to_ir_mul,
    matrix_to_mul_ir,
    motion_from_pixels,
    motion_to_pixels,
    mul_ir_order,
    quaternion_from_xyzw,
    quaternion_to_xyzw,
    rotation_from_literature,
    rotation_to_literature,
    to_escnn,
    to_ir_mul,
    to_literature,
    to_mul_ir,
)
from coset.reps.image import resample
from coset.reps.irreps import Irreps
from coset.reps.wigner import rotation_from_euler, wigner_matrix

MIXED = Irreps("3x0e+2x1o+0x1e+4x2e")


def test_layouts_there_and_back(generator):
    x = MIXED.randn(4, generator=generator)
    assert torch.equal(to_ir_mul(MIXED, to_mul_ir(MIXED, x)), x)
    assert torch.equal(to_mul_ir(MIXED, x), x[..., mul_ir_order(MIXED)])
    two = torch.tensor([1.0, 2, 10, 20, 100, 200])  # 2x1o channels last: x of both copies, y of both, z of both
    assert to_mul_ir(Irreps("2x1o"), two).tolist() == [1, 10, 100, 2, 20, 200]
    with pytest.raises(InputError, match="components"):
        to_mul_ir(MIXED, x[..., 1:])


def test_a_linear_map_of_e3nn_between_features(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="a peer to compare with")
        layer = o3.Linear("3x0e+2x1o", "2x1o+4x0e").double()
        matrix = layer(torch.eye(9, dtype=torch.float64)).T.detach()
    into, out = Irreps("3x0e+2x1o"), Irreps("2x1o+4x0e")
    ours = matrix_to_ir_mul(out, into, matrix)
    assert torch.equal(matrix_to_mul_ir(out, into, ours), matrix)
    x = into.randn(5, generator=generator)
    assert torch.allclose(to_mul_ir(out, x @ ours.T), to_mul_ir(into, x) @ matrix.T, atol=1e-14)
    # channels last, the map of vectors is the weight (mul_out, mul_in) beside the identity of the components
    block = ours[:6, 3:].view(3, 2, 3, 2)
    assert torch.allclose(block, torch.einsum("ij,uv->iujv", torch.eye(3), block[0, :, 0].float()).double(), atol=1e-7)


def harmonics(l, v):
    """Real harmonics of textbooks (z polar, no Condon-Shortley sign), orders -l..l, from scipy's complex ones."""
    x, y, z = v.T.tolist()
    theta = torch.tensor([math.acos(c) for c in z]).numpy()
    phi = torch.tensor([math.atan2(b, a) for a, b in zip(x, y, strict=True)]).numpy()
    rows = []
    for m in range(-l, l + 1):
        value = torch.from_numpy(sph_harm_y(l, abs(m), theta, phi)) * (-1) ** m
        rows.append(value.real if m == 0 else math.sqrt(2) * (value.real if m > 0 else value.imag))
    return torch.stack(rows, -1)


@pytest.mark.parametrize("l", [1, 2, 3, 4])
def test_the_order_of_the_literature(l, generator):
    v = torch.nn.functional.normalize(torch.randn(9, 3, generator=generator).double(), dim=-1)
    # harmonics of this package: those of textbooks with (x, y, z) renamed (z, x, y), so that y is polar
    own = harmonics(l, v.roll(1, -1))
    irreps = Irreps([(1, (l, (-1) ** l))])
    assert (to_literature(irreps, own) - harmonics(l, v)).abs().max() <= 1e-6 * 3  # acos in single precision
    assert torch.allclose(from_literature(irreps, to_literature(irreps, own)), own, atol=1e-14)
    if l == 1:
        assert torch.allclose(to_literature(irreps, v), v[:, [1, 2, 0]], atol=1e-15)


def test_the_order_of_the_literature_in_both_layouts(generator):
    x = MIXED.randn(3, generator=generator)
    last = to_literature(MIXED, x)
    first = to_literature(Irreps(MIXED, layout="mul_ir"), to_mul_ir(MIXED, x))
    assert torch.allclose(to_mul_ir(MIXED, last), first, atol=1e-14)


@pytest.mark.parametrize("l", [1, 2, 3])
def test_features_of_escnn(l, generator):
    v = torch.nn.functional.normalize(torch.randn(9, 3, generator=generator).double(), dim=-1)
    # what escnn 1.0 states of its real basis: complex harmonics (Condon-Shortley, orders -l..l) are C times the real ones
    change = torch.zeros(2 * l + 1, 2 * l + 1, dtype=torch.complex128)
    change[l, l] = 1
    for m in range(1, l + 1):
        change[l - m, [l - m, l + m]] = torch.tensor([-1j, 1]).to(change) / math.sqrt(2)
        change[l + m, [l - m, l + m]] = (-1) ** m * torch.tensor([1j, 1]).to(change) / math.sqrt(2)
    theta, phi = v[:, 2].acos().numpy(), torch.atan2(v[:, 1], v[:, 0]).numpy()
    whole = torch.stack([torch.from_numpy(sph_harm_y(l, m, theta, phi)) for m in range(-l, l + 1)], -1)
    assert torch.allclose(harmonics(l, v).to(change) @ change.T, whole, atol=1e-6)
    # two copies of a vector: (y, z, x) of the first, then of the second
    two = torch.tensor([1.0, 2, 10, 20, 100, 200], dtype=torch.float64)
    assert torch.allclose(to_escnn(Irreps("2x1o"), two), torch.tensor([10.0, 100, 1, 20, 200, 2]).double(), atol=1e-13)
    x = MIXED.randn(3, generator=generator)
    assert torch.allclose(from_escnn(MIXED, to_escnn(MIXED, x)), x, atol=1e-13)


def warped(image, pixels):
    """What kornia.warp_affine and cv2.warpAffine document: destination (column, row) = source at the inverse of the matrix."""
    height, width = image.shape[-2:]
    whole = torch.cat([pixels, pixels.new_tensor([[0.0, 0.0, 1.0]])])
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([columns, rows, torch.ones_like(rows)], -1).double() @ torch.linalg.inv(whole).T
    corners = 2 * places[..., :2] / torch.tensor([width - 1, height - 1]) - 1
    return torch.nn.functional.grid_sample(image[None], corners[None], align_corners=True)[0]


def test_motions_of_images_in_pixels(generator):
    image = torch.rand(2, 9, 9, generator=generator).double()
    angle = math.radians(30)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    shift = torch.tensor([2 / 9, -4 / 9], dtype=torch.float64)  # a pixel to the right, two down
    pixels = motion_to_pixels(turn, shift, (9, 9))
    assert torch.allclose(warped(image, pixels), resample(image, turn, shift), atol=1e-12)
    for found, want in zip(motion_from_pixels(pixels, (9, 9)), (turn, shift), strict=True):
        assert torch.allclose(found, want, atol=1e-14)
    # OpenCV's and kornia's formula for a turn by 30 degrees (counter-clockwise as seen) about the center (4, 4)
    a, b = math.cos(angle), math.sin(angle)
    known = torch.tensor([[a, b, (1 - a) * 4 - b * 4], [-b, a, b * 4 + (1 - a) * 4]], dtype=torch.float64)
    assert torch.allclose(motion_to_pixels(turn, None, (9, 9)), known, atol=1e-14)
    moved = motion_to_pixels(torch.eye(2).double(), shift, (9, 9))
    assert torch.allclose(moved, torch.tensor([[1.0, 0, 1], [0, 1, 2]]).double(), atol=1e-14)
    wide = motion_from_pixels(motion_to_pixels(turn.expand(3, 2, 2), None, (5, 8)), (5, 8))[0]
    assert torch.allclose(wide, turn.expand(3, 2, 2), atol=1e-14)


def test_euler_angles_of_the_literature():
    angles = torch.tensor([0.4, 1.1, -0.7], dtype=torch.float64)
    own = rotation_from_euler(*angles)
    other = torch.from_numpy(Rotation.from_euler("ZYZ", angles.numpy()).as_matrix())
    assert torch.allclose(rotation_to_literature(own), other, atol=1e-14)
    assert torch.allclose(rotation_from_literature(other), own, atol=1e-14)
    # d^2_{00} is Legendre's polynomial of cos(beta)
    assert abs(wigner_matrix(2, own)[2, 2] - (3 * math.cos(1.1) ** 2 - 1) / 2) < 1e-15 * 4


def test_quaternions_of_scipy(generator):
    g = SO(3).sample(5, generator=generator)
    q = quaternion_from_rotation(g)
    assert torch.equal(quaternion_from_xyzw(quaternion_to_xyzw(q)), q)
    other = torch.from_numpy(Rotation.from_quat(quaternion_to_xyzw(q).numpy()).as_matrix())
    assert torch.allclose(other, g, atol=1e-14)


def test_signs_of_e3nn():
    """Facts read off e3nn 0.4.4 once, for all 870 triples up to l = 11; a few of them stand here."""
    minus = {(1, 2, 2), (2, 1, 2), (2, 2, 1), (1, 3, 3), (1, 4, 4), (3, 4, 6), (4, 4, 5), (5, 5, 5), (5, 6, 6)}
    plus = {(1, 1, 1), (2, 2, 3), (3, 2, 2), (2, 3, 4), (3, 3, 3), (3, 4, 4), (4, 4, 3), (3, 5, 5), (2, 2, 2), (1, 1, 2)}
    assert all(e3nn_sign(*triple, "0.4") == -1 for triple in minus)
    assert all(e3nn_sign(*triple, "0.4") == 1 for triple in plus)
    assert torch.equal(e3nn_wigner_3j(1, 2, 2, "0.4"), -wigner_3j(1, 2, 2))
    assert e3nn_sign(1, 2, 2) == 1
    with pytest.raises(InputError, match="version"):
        e3nn_sign(1, 1, 1, "0.5")
