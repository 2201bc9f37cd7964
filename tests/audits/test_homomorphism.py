"""The defect of a learned action: zero of representations from the left and from the right, the known one of others."""

import math

import pytest
import torch

from coset.audits.homomorphism import homomorphism_defect, recorded_error
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.reps.action import apply_matrix


def left(g, x):
    return apply_matrix(g, x, x.ndim - 1)


def right(g, x):
    return left(g.mT, x)


def test_a_representation_has_none():
    found = homomorphism_defect(left, SO(3), torch.eye(3, dtype=torch.float64))
    assert max(found.product, found.identity, found.inverse) < 1e-12


def test_an_action_from_the_right_keeps_products_in_the_other_order():
    x = torch.eye(3, dtype=torch.float64)
    assert homomorphism_defect(right, SO(3), x, right=True).product < 1e-12
    assert homomorphism_defect(right, SO(3), x).product > 0.5


def test_known_defects():
    """P(g) = 2 R(g): |2 R - 4 R| / |2 R| = 1, |2 - 1| = 1, |4 - 1| = 3."""
    found = homomorphism_defect(lambda g, x: 2 * left(g, x), SO(3), torch.eye(3, dtype=torch.float64), samples=4)
    assert (found.product, found.identity, found.inverse) == pytest.approx((1, 1, 3))


def test_finite_groups_and_vectors_of_a_subspace():
    """A turn by 90 degrees at every step is no action of C(3), but vectors along its axis do not notice."""

    def turn(g, x):
        angle = g.to(x.dtype) * math.pi / 2
        c, s, o = angle.cos(), angle.sin(), torch.zeros_like(angle)
        matrix = torch.stack([c, -s, o, s, c, o, o, o, o + 1], -1).unflatten(-1, (3, 3))
        return apply_matrix(matrix, x, x.ndim - 1)

    assert homomorphism_defect(turn, C(4), torch.eye(3, dtype=torch.float64)).product < 1e-12
    assert homomorphism_defect(turn, C(3), torch.eye(3, dtype=torch.float64)).product > 0.1
    assert homomorphism_defect(turn, C(3), torch.tensor([[0.0, 0, 1]]).double()).product < 1e-12


def test_recorded_error_is_one_for_the_best_constant(generator):
    want = torch.randn(30, 4, generator=generator) + 5
    assert recorded_error(want - want.mean(0), want) == pytest.approx(1)
    assert recorded_error(torch.zeros(30, 4), want) == 0


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="do not vanish"):
        homomorphism_defect(left, SO(3), torch.zeros(2, 3))
    with pytest.raises(InputError, match="takes vectors"):
        homomorphism_defect(lambda g, x: left(g, x)[..., :2], SO(3), torch.eye(3))
    with pytest.raises(InputError, match="one constant"):
        recorded_error(torch.zeros(3, 2), torch.ones(3, 2))
