"""Wigner matrices against 50-digit arithmetic, the harmonics they move, e3nn, and the laws of derivatives."""

import warnings
from math import comb, factorial, pi

import mpmath
import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_quaternion, rotation_from_vector
from coset.reps.irreps import Irreps
from coset.reps.wigner import (
    euler_from_rotation,
    rotation_from_euler,
    wigner_blocks,
    wigner_matrix,
    wigner_matrix_from_axis_angle,
    wigner_matrix_from_euler,
    wigner_matrix_from_quaternion,
)
from coset.reps.wigner_tables import algebra, quarter_turn

AXES = torch.eye(3, dtype=torch.float64)


def quaternions():
    """Identity, half turns about all axes and between, poles (turns about y and their flips), tiny and nearly half turns."""
    draw = torch.Generator().manual_seed(3)
    special = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, -1], [0, 0.3, -0.5, 0.2]]
    special += [[0.8, 0, 0.6, 0], [0.1, 0, -0.7, 0], [0, 0.6, 0, 0.8], [1, 1e-9, 2e-9, -1e-9], [1, 1e-160, 0, 0]]
    special += [[1e-9, 0, 1, 0], [1e-9, 1, 0, 0.4], [1, 0, 1, 1e-9], [1e-8, 1, 1e-10, 0]]
    return torch.cat([torch.tensor(special, dtype=torch.float64), torch.randn(6, 4, generator=draw, dtype=torch.float64)])


def truth(l, q):
    """``D^l`` at 50 digits from the polynomial of SU(2) and the definition of the real harmonics; rotation from the same q."""
    with mpmath.workdps(50):
        w, x, y, z = (mpmath.mpf(v) for v in q.tolist())
        n = mpmath.sqrt(w * w + x * x + y * y + z * z)
        w, x, y, z = w / n, x / n, y / n, z / n
        u = [[mpmath.mpc(w, -y), mpmath.mpc(-x, -z)], [mpmath.mpc(x, -z), mpmath.mpc(w, y)]]
        power = [[[entry**k for k in range(2 * l + 1)] for entry in row] for row in u]
        size = 2 * l + 1
        d = np.zeros((size, size), dtype=object)
        for to in range(size):
            for up in range(size):
                row, col = 2 * l - to, 2 * l - up
                scale = mpmath.sqrt(mpmath.mpf(factorial(to) * factorial(row)) / (factorial(up) * factorial(col)))
                total = mpmath.mpf(0)
                for k in range(max(0, to - col), min(up, to) + 1):
                    part = power[0][0][k] * power[1][0][up - k] * power[0][1][to - k] * power[1][1][col - to + k]
                    total += comb(up, k) * comb(col, to - k) * part
                d[to, up] = scale * total  # rows and columns m = -l, ..., l
        half, q_real = mpmath.sqrt(mpmath.mpf(1) / 2), np.zeros((size, size), dtype=object)
        q_real[l, l] = mpmath.mpf(1)
        for m in range(1, l + 1):
            q_real[l + m, l + m], q_real[l + m, l - m] = (-1) ** m * half, half
            q_real[l - m, l + m], q_real[l - m, l - m] = mpmath.mpc(0, (-1) ** m) * half, mpmath.mpc(0, -1) * half
        real = q_real.dot(d).dot(np.conjugate(q_real).T)
        return np.array([[float(mpmath.re(v)) for v in row] for row in real])


def exact_rotation(q):
    with mpmath.workdps(50):
        w, x, y, z = (mpmath.mpf(v) for v in q.tolist())
        s = 2 / (w * w + x * x + y * y + z * z)
        rows = [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
        return torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("l", [1, 2, 4, 7, pytest.param(12, marks=pytest.mark.slow)])
def test_largest_error_against_fifty_digits(l):
    q = quaternions()
    want = torch.from_numpy(np.stack([truth(l, one) for one in q]))
    rotations = torch.stack([exact_rotation(one) for one in q])
    assert (wigner_matrix(l, rotations) - want).abs().max() <= 1e-13
    assert (wigner_matrix_from_quaternion(l, q) - want).abs().max() <= 1e-13


def test_largest_error_at_degree_twelve():
    q = quaternions()[[2, 7, 10, 14, 18]]
    want = torch.from_numpy(np.stack([truth(12, one) for one in q]))
    assert (wigner_matrix(12, torch.stack([exact_rotation(one) for one in q])) - want).abs().max() <= 1e-13
    off = rotation_from_vector(torch.tensor([1e-7, 0, 0], dtype=torch.float64)) @ rotation_from_quaternion(q)
    assert (wigner_matrix(12, off) - want).abs().max() > 1e-8  # the comparison can fail: a turn by 1e-7 more is seen


def test_degrees_zero_and_one(generator):
    g = SO(3).sample(20, generator=generator)
    assert torch.equal(wigner_matrix(0, g), torch.ones(20, 1, 1, dtype=torch.float64))
    assert (wigner_matrix(1, g) - g).abs().max() <= 2e-15


@pytest.mark.parametrize("l", [2, 5, 12])
def test_homomorphism_and_orthogonality(l, generator):
    g, h = SO(3).sample(10, generator=generator), SO(3).sample(10, generator=generator)
    d = wigner_matrix(l, g)
    assert (d @ wigner_matrix(l, h) - wigner_matrix(l, g @ h)).abs().max() <= 1e-13
    assert (d @ d.mT - torch.eye(2 * l + 1)).abs().max() <= 1e-14
    assert (wigner_matrix(l, g.mT) - d.mT).abs().max() <= 1e-13


def test_every_parametrization_gives_the_same_matrix(generator):
    axis, angle = torch.randn(7, 3, generator=generator, dtype=torch.float64), torch.rand(7, generator=generator).double() * 7
    g = SO(3).from_axis_angle(axis, angle)
    want = wigner_matrix(4, g)
    q = torch.cat([(angle / 2).cos()[:, None], (angle / 2).sin()[:, None] * axis / axis.norm(dim=-1, keepdim=True)], -1)
    assert (wigner_matrix_from_axis_angle(4, axis, angle) - want).abs().max() <= 1e-14
    assert (wigner_matrix_from_quaternion(4, -3 * q) - want).abs().max() <= 1e-14
    angles = euler_from_rotation(g)
    assert (rotation_from_euler(*angles) - g).abs().max() <= 1e-15 * 3
    assert (wigner_matrix_from_euler(4, *angles) - want).abs().max() <= 1e-14
    assert (angles[1] >= 0).all()
    assert (angles[1] <= pi).all()


def test_euler_angles_turn_about_y_then_x_then_y():
    a, b, c = (torch.tensor(v, dtype=torch.float64) for v in (0.3, -1.1, 2.0))
    one = SO(3).from_axis_angle(AXES[1], a) @ SO(3).from_axis_angle(AXES[0], b) @ SO(3).from_axis_angle(AXES[1], c)
    assert (rotation_from_euler(a, b, c) - one).abs().max() <= 1e-15
    for pole in (0.0, pi):
        g = rotation_from_euler(a, torch.tensor(pole, dtype=torch.float64), c)
        assert (rotation_from_euler(*euler_from_rotation(g)) - g).abs().max() <= 1e-15


def test_a_turn_about_the_polar_axis_mixes_m_and_minus_m():
    a = torch.tensor(0.7, dtype=torch.float64)
    d = wigner_matrix(3, SO(3).from_axis_angle(AXES[1], a))
    for m in range(1, 4):
        pair = d[[3 + m, 3 - m]][:, [3 + m, 3 - m]]
        assert torch.allclose(pair, SO(2).from_angle(m * a), atol=1e-15)
    assert (d.abs() > 1e-15).sum() == 13


@pytest.mark.parametrize("where", ["identity", "half turn", "flipped pole", "pole", "generic"])
def test_first_and_second_derivatives_everywhere(where, generator):
    vector = {
        "identity": [0.0, 0, 0], "half turn": [pi, 0, 0], "flipped pole": [0, 0, pi], "pole": [0, 1.3, 0],
        "generic": [0.4, -1.0, 0.8],
    }[where]  # fmt: skip
    base = rotation_from_vector(torch.tensor([vector], dtype=torch.float64))
    t = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)

    def blocks(t):
        return wigner_blocks([1, 3], rotation_from_vector(t) @ base)

    assert torch.autograd.gradcheck(blocks, (t,), atol=1e-7)
    assert torch.autograd.gradgradcheck(blocks, (t,), atol=1e-6)
    slope = torch.autograd.functional.jacobian(lambda t: wigner_matrix(2, rotation_from_vector(t) @ base), t)[0, :, :, 0]
    want = algebra(2) @ wigner_matrix(2, base)[0]
    assert (slope.movedim(-1, 0) - want).abs().max() <= 1e-14


def test_the_algebra_is_that_of_rotations():
    for l in range(7):
        x, y, z = algebra(l)
        assert (x @ y - y @ x - z).abs().max() <= 1e-13
        assert (y @ z - z @ y - x).abs().max() <= 1e-13
        assert (x @ x + y @ y + z @ z + l * (l + 1) * torch.eye(2 * l + 1)).abs().max() <= 1e-12
    basis = SO(3).algebra()
    assert (algebra(1) - basis).abs().max() <= 1e-15


def test_quarter_turns_are_orthogonal_for_half_spins_too():
    for twice in range(13):
        d = quarter_turn(twice)
        assert (d @ d.T - torch.eye(twice + 1)).abs().max() <= 1e-15 * 3


def test_dtypes_batches_and_empty_input(generator):
    g = SO(3).sample(6, generator=generator)
    d = wigner_blocks([4, 2], g.view(2, 3, 3, 3))
    assert [tuple(x.shape) for x in d] == [(2, 3, 9, 9), (2, 3, 5, 5)]
    assert torch.allclose(d[1].view(6, 5, 5)[4], wigner_matrix(2, g[4]), atol=1e-15)
    single = wigner_blocks(8, g.float())
    assert all(x.dtype == torch.float32 for x in single)
    assert max((x - y).abs().max().item() for x, y in zip(single, wigner_blocks(8, g.float().double()), strict=True)) <= 2e-6
    assert wigner_matrix(3, g[:0]).shape == (0, 7, 7)
    assert wigner_blocks(Irreps("2x3o+1x0e+3e"), g)[1].shape == (6, 7, 7)
    with pytest.raises(InputError, match="degree"):
        wigner_matrix(-1, g)
    with pytest.raises(InputError, match="rotations"):
        wigner_matrix(1, g[..., :2])


def test_compiles_without_graph_breaks(generator):
    g = SO(3).sample(5, generator=generator)
    compiled = torch.compile(lambda r: wigner_blocks(2, r), fullgraph=True, backend="eager")
    assert all(torch.allclose(a, b, atol=1e-15) for a, b in zip(compiled(g), wigner_blocks(2, g), strict=True))


def test_agrees_with_e3nn_to_its_accuracy_and_moves_its_harmonics(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="a peer to compare with")
        g, v = SO(3).sample(30, generator=generator), torch.randn(30, 3, generator=generator, dtype=torch.float64)
        for l in range(9):
            d = wigner_matrix(l, g)
            assert (d - o3.Irrep(l, 1).D_from_matrix(g)).abs().max() <= 5e-6  # its matrices are good to 1e-6
            y, moved = (o3.spherical_harmonics(l, x, True) for x in (v, (g @ v[..., None])[..., 0]))
            assert ((d @ y[..., None])[..., 0] - moved).abs().max() <= 1e-13
            a = torch.rand(3, 4, generator=generator, dtype=torch.float64)
            assert (wigner_matrix_from_euler(l, *a) - o3.wigner_D(l, *a)).abs().max() <= 5e-6
