"""Haar measure: uniform samples, quadratures with their exact degree, equidistributed grids.

A rule of *degree d* gives the Haar mean of every matrix entry of every representation inside the d-fold tensor power of
the defining one (and its conjugate). On the circle that takes ``d + 1`` equal angles: all frequencies ``0 < |k| <= d``
average to zero and ``k = d + 1`` does not. On ``SO(n)``, ``SU(n)`` and ``U(n)`` the rule is a product: a point ``x`` of
the sphere ``G / H`` times an element of the stabilizer ``H`` of its last axis,

    mean_G f = sum_i w_i sum_j v_j f(s(x_i) h_j),        s(x) e_n = x,

with Gauss-Gegenbauer nodes in the last coordinate of the sphere and so on downwards; any section ``s`` will do. For SO(3)
it is the Euler product of equal angles and Gauss-Legendre nodes. Smaller where enough: the 12, 24 and 60 rotations of the
Platonic solids are exact to degree 2, 3 and 5. Samples: QR of a Gaussian matrix with the signs of R's diagonal taken out
(Mezzadri, Notices AMS 54, 2007). Grid on SO(3): super-Fibonacci spirals (Alexa, CVPR 2022).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.finite import Icosahedral, Octahedral, Polyhedral, Tetrahedral
from coset.groups.group import Rule
from coset.groups.rotations import multiply_quaternions, planar_rotation, rotation_from_quaternion, rotation_from_vector

LIMIT = 1_000_000  #: most elements of a rule


def haar_matrices(count: int, n: int, *, special: bool = False, unitary: bool = False, generator: Any = None) -> Tensor:
    """``(count, n, n)`` uniform orthogonal (or unitary) matrices, of determinant 1 with ``special``; float64."""
    gauss = torch.randn(count, n, n, 2 if unitary else 1, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(torch.view_as_complex(gauss) if unitary else gauss[..., 0])
    q = q * r.diagonal(dim1=-2, dim2=-1).sgn()[:, None, :]
    return _unit_determinant(q) if special else q


def _unit_determinant(q: Tensor) -> Tensor:
    """Orthogonal or unitary matrices with the phase of the determinant taken out of the first column."""
    phase = torch.linalg.det(q).conj()
    return torch.cat([q[..., :1] * phase.sgn()[..., None, None], q[..., 1:]], -1)


# ---------------------------------------------------------------------- quadratures


def sphere_rule(n: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points ``(k, n)`` and weights ``(k,)`` on the unit sphere of R^n, exact for polynomials to ``degree``."""
    _check_degree(degree)
    if n == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64), _equal(2)
    if n == 2:
        angles = circle_angles(degree + 1)
        return torch.stack([angles.cos(), angles.sin()], -1), _equal(degree + 1)
    from scipy.special import roots_gegenbauer  # a third of a second, which `import coset` need not pay

    nodes, weights = (torch.from_numpy(a) for a in roots_gegenbauer(degree // 2 + 1, n / 2 - 1))
    inner, shares = sphere_rule(n - 1, degree)
    radius = (1 - nodes**2).sqrt()
    points = torch.cat([radius[:, None, None] * inner, nodes[:, None, None].expand(-1, len(inner), 1)], -1)
    return points.flatten(0, 1), torch.outer(weights / weights.sum(), shares).flatten()


def rotation_rule(n: int, degree: int) -> Rule:
    """A rule on SO(n) of at least this degree; for n = 3 and degree up to 5 the rotations of a solid."""
    _check_degree(degree)
    if n == 1:
        return Rule(torch.ones(1, 1, 1, dtype=torch.float64), _equal(1), math.inf)
    if n == 2:
        return Rule(planar_rotation(circle_angles(degree + 1)), _equal(degree + 1), degree)
    if degree == 0:
        return Rule(torch.eye(n, dtype=torch.float64)[None], _equal(1), 0)
    if n == 3 and degree <= 5:
        solids: tuple[tuple[Polyhedral, int], ...] = ((Tetrahedral(), 2), (Octahedral(), 3), (Icosahedral(), 5))
        solid, reach = next(pair for pair in solids if pair[1] >= degree)
        return Rule(solid.matrices, _equal(len(solid.matrices)), reach)
    points, weights = sphere_rule(n, degree)
    return _over_sphere(points, weights, rotation_rule(n - 1, degree), degree, special=True)


def orthogonal_rule(n: int, degree: int) -> Rule:
    """A rule on O(n): the rotations of a rule on SO(n), then the same times a reflection."""
    rule = rotation_rule(n, degree)
    return Rule(torch.cat([rule.elements, rule.elements @ reflection(n)]), rule.weights.repeat(2) / 2, rule.degree)


def unitary_rule(n: int, degree: int, *, special: bool = False) -> Rule:
    """A rule on U(n) or SU(n)."""
    _check_degree(degree)
    if n == 1 and special:
        return Rule(torch.ones(1, 1, 1, dtype=torch.complex128), _equal(1), math.inf)
    if n == 1:
        angles = circle_angles(degree + 1)
        return Rule(torch.polar(torch.ones_like(angles), angles)[:, None, None], _equal(degree + 1), degree)
    points, weights = sphere_rule(2 * n, degree)
    points = torch.view_as_complex(points.unflatten(-1, (n, 2)))
    return _over_sphere(points, weights, unitary_rule(n - 1, degree, special=special), degree, special=special)


def _over_sphere(points: Tensor, weights: Tensor, inner: Rule, degree: int, *, special: bool) -> Rule:
    """The product of a rule on the sphere and a rule on the stabilizer of its last axis."""
    n = points.shape[-1]
    if len(points) * len(inner) > LIMIT:
        raise InputError(
            f"a rule of degree {degree} for n = {n} has {len(points) * len(inner)} elements, more than {LIMIT}; lower it"
        )
    basis = torch.linalg.qr(points[..., None], mode="complete")[0]
    section = torch.cat([basis[..., 1:], points[..., None]], -1)
    section = _unit_determinant(section) if special else section
    block = torch.eye(n, dtype=inner.elements.dtype).repeat(len(inner), 1, 1)
    block[:, :-1, :-1] = inner.elements
    return Rule((section[:, None] @ block).flatten(0, 1), torch.outer(weights, inner.weights).flatten(), degree)


def reflection(n: int) -> Tensor:
    """The reflection that stands for O(n) beside SO(n): ``-1`` for odd n, the last axis turned round for even n."""
    eye = torch.eye(n, dtype=torch.float64)
    if n % 2:
        return 0 - eye
    eye[-1, -1] = -1
    return eye


def _equal(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


def _check_degree(degree: int) -> None:
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise InputError(f"the degree of a quadrature is a whole number >= 0, got {degree!r}")


# ---------------------------------------------------------------------- grids


def circle_angles(n: int) -> Tensor:
    """``n`` equal angles from 0, without the end point."""
    return torch.arange(_count(n), dtype=torch.float64) * (2 * math.pi / n)


def fibonacci_sphere(n: int) -> Tensor:
    """``n`` points ``(n, 3)`` spread evenly over the sphere in space, from near +z to near -z."""
    k = torch.arange(_count(n), dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / n, k * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def super_fibonacci(n: int) -> Tensor:
    """``n`` quaternions ``(n, 4)`` spread evenly over the rotations, turned so that the first is the identity."""
    k = torch.arange(_count(n), dtype=torch.float64) + 0.5
    low, high = (k / n).sqrt(), (1 - k / n).sqrt()
    a, b = k * (2 * math.pi / math.sqrt(2)), k * (2 * math.pi / 1.533751168755204288118041)
    q = torch.stack([low * a.sin(), low * a.cos(), high * b.sin(), high * b.cos()], -1)
    back = q[0] * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    q = multiply_quaternions(back.expand_as(q), q)
    q[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return q


def rotation_grid(n: int) -> Tensor:
    """``n`` rotations of space ``(n, 3, 3)`` spread evenly, the identity first."""
    return rotation_from_quaternion(super_fibonacci(n))


class AxisAngleGrid(NamedTuple):
    """Rotations about axes in one plane, for a heat map on a disc: direction of the axis, radius the angle."""

    elements: Tensor  #: (directions, angles, 3, 3); elements[0, 0] is the identity
    axes: Tensor  #: (directions, 3)
    angles: Tensor  #: (angles,) from 0 to pi


def axis_angle_grid(plane: str = "xy", directions: int = 12, angles: int = 16) -> AxisAngleGrid:
    """All rotations by ``angles`` angles in [0, pi] about ``directions`` axes in the plane ``xy``, ``xz`` or ``yz``."""
    if plane not in ("xy", "xz", "yz"):
        raise InputError(f"axis_angle_grid: plane is 'xy', 'xz' or 'yz', got {plane!r}")
    around = circle_angles(directions)
    axes = torch.zeros(directions, 3, dtype=torch.float64)
    axes[:, "xyz".index(plane[0])], axes[:, "xyz".index(plane[1])] = around.cos(), around.sin()
    sizes = torch.linspace(0, math.pi, _count(angles), dtype=torch.float64)
    return AxisAngleGrid(rotation_from_vector(axes[:, None] * sizes[:, None]), axes, sizes)


def _count(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"a grid has a whole number of elements n >= 1, got {n!r}")
    return n
