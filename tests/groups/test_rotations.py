"""Closed forms for rotations and logarithms against matrix exponentials, near 0 and pi too."""

import math

import pytest
import scipy.linalg
import torch

from coset.errors import InputError
from coset.groups.haar import haar_matrices
from coset.groups.rotations import (
    hat,
    matrix_log,
    multiply_quaternions,
    planar_angle,
    planar_rotation,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_vector,
    skew_log,
    unitary_log,
    vector_from_rotation,
)

ANGLES = [0.0, 1e-300, 1e-12, 1e-8, 1e-4, 0.0316, 0.0999999, 0.1, 1.0, 3.0, math.pi - 1e-4, math.pi - 1e-8, math.pi - 1e-12]


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_vectors(angle, generator):
    v = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=-1) * angle
    g = rotation_from_vector(v)
    torch.testing.assert_close(g, torch.linalg.matrix_exp(hat(v)), atol=5e-15, rtol=0)
    torch.testing.assert_close(vector_from_rotation(g), v, atol=3e-15, rtol=1e-12)
    torch.testing.assert_close(planar_angle(planar_rotation(v)), v, atol=1e-15, rtol=1e-12)


def test_half_turns(generator):
    """At pi itself the axis has two signs; either gives the rotation back."""
    axis = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=-1)
    g = 2 * axis[:, :, None] * axis[:, None] - torch.eye(3)
    torch.testing.assert_close(rotation_from_vector(vector_from_rotation(g)), g, atol=5e-15, rtol=0)


def test_gradients_at_the_identity_and_elsewhere(generator):
    def there_and_back(v):
        return vector_from_rotation(rotation_from_vector(v))

    for scale in (0.0, 1e-3, 0.5, 3.0):
        v = scale * torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=-1)
        jacobian = torch.autograd.functional.jacobian(there_and_back, v)
        torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64), atol=1e-11, rtol=0)


def test_quaternions(generator):
    g, h = haar_matrices(100, 3, special=True, generator=generator), haar_matrices(100, 3, special=True, generator=generator)
    p, q = quaternion_from_rotation(g), quaternion_from_rotation(h)
    assert bool((p[:, 0] >= 0).all())
    torch.testing.assert_close(rotation_from_quaternion(3 * p), g, atol=5e-15, rtol=0)
    torch.testing.assert_close(rotation_from_quaternion(multiply_quaternions(p, q)), g @ h, atol=5e-15, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_skew_log(n, generator):
    g = haar_matrices(30, n, special=True, generator=generator)
    a = skew_log(g)
    torch.testing.assert_close(torch.linalg.matrix_exp(a), g, atol=1e-13, rtol=0)
    torch.testing.assert_close(a, -a.mT, atol=1e-13, rtol=0)
    assert float(torch.linalg.eigvals(a).imag.abs().max()) <= math.pi + 1e-12
    if n > 1:
        half = torch.diag(torch.tensor([-1.0] * (n // 2 * 2) + [1.0] * (n % 2), dtype=torch.float64))
        torch.testing.assert_close(torch.linalg.matrix_exp(skew_log(half)), half, atol=1e-13, rtol=0)
    with pytest.raises(InputError, match="reflection"):
        skew_log(-g[0] if n % 2 else g[0].flip(0) if n // 2 % 2 else g[0][[1, 0, *range(2, n)]])


@pytest.mark.parametrize("special", [False, True])
def test_unitary_log(special, generator):
    g = haar_matrices(50, 4, special=special, unitary=True, generator=generator)
    a = unitary_log(g, special=special)
    torch.testing.assert_close(torch.linalg.matrix_exp(a), g, atol=1e-13, rtol=0)
    torch.testing.assert_close(a, -a.mH, atol=1e-13, rtol=0)
    if special:
        assert float(a.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max()) < 1e-12


@pytest.mark.parametrize("n", [1, 2, 4])
def test_matrix_log_is_the_principal_one(n, generator):
    g = torch.linalg.matrix_exp(torch.randn(20, n, n, generator=generator, dtype=torch.float64))
    want = torch.stack([torch.from_numpy(scipy.linalg.logm(m.numpy())) for m in g])
    torch.testing.assert_close(matrix_log(g), want, atol=1e-11, rtol=0)
    assert torch.autograd.gradcheck(matrix_log, (g[0].clone().requires_grad_(),))


def test_matrix_log_of_a_shear():
    shear = torch.tensor([[1.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(matrix_log(shear), shear - torch.eye(2), atol=1e-14, rtol=0)
    assert matrix_log(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert matrix_log(shear.float()).dtype == torch.float32


@pytest.mark.parametrize(
    "bad", [[[-1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]], [[-2.0, 1.0], [0.0, -2.0]]]
)
def test_no_principal_logarithm(bad):
    with pytest.raises(InputError, match="eigenvalue"):
        matrix_log(torch.tensor(bad, dtype=torch.float64))
    with pytest.raises(InputError, match="NaN"):
        matrix_log(torch.full((2, 2), torch.nan))
