"""SPD(n): coordinates are a bijection, GL(n) acts, and the weight is the measure that this action preserves."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import GL
from coset.groups.spd import SPD, log_sinhc

SPACES = [SPD(1), SPD(2), SPD(3), SPD(2, unit=True), SPD(3, unit=True)]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_coordinates_are_a_bijection(space, generator):
    c = torch.randn(20, space.dim, generator=generator, dtype=torch.float64)
    s = space.element(c)
    torch.testing.assert_close(space.coordinates(s), c, atol=1e-11, rtol=0)
    torch.testing.assert_close(s, s.mT, atol=1e-12, rtol=1e-12)
    assert float(space.coordinates(torch.eye(space.n).double()).abs().max()) == 0
    if space.unit:
        torch.testing.assert_close(torch.linalg.det(s), torch.ones(20).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(space.coordinates(s.float()).double(), c, atol=1e-3, rtol=0)
    assert space.coordinates(s.float()).dtype == torch.float32
    gram = torch.einsum("aij,bij->ab", space.basis(), space.basis())
    torch.testing.assert_close(gram, torch.eye(space.dim).double(), atol=1e-14, rtol=0)


def test_the_action(generator):
    space = SPD(3)
    s = space.sample(6, 0.5, generator=generator)
    g, h = GL(3).sample(6, generator=generator), GL(3).sample(6, generator=generator)
    torch.testing.assert_close(space.act(g, space.act(h, s)), space.act(g @ h, s), atol=1e-12, rtol=1e-12)
    assert space.coordinates(space.act(g, s)).shape == (6, 6)


def test_samples_have_the_variance_asked_for(generator):
    c = SPD(2).coordinates(SPD(2).sample(4000, 0.1, generator=generator))
    torch.testing.assert_close(c.var(0), torch.full((3,), 0.1).double(), atol=0.02, rtol=0)
    assert SPD(2).sample(3, 0.0).equal(torch.eye(2).double().expand(3, 2, 2))


def _invariance(points, reach):
    """The integral of f(a s a^T) over that of f(s) less one, with and without the weight; f(s) = exp(-tr s - tr s^-1)."""
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    x = torch.cartesian_prod(line, line, line)  # log s = [[p, q], [q, r]] with q over root 2, in closed form: cosh and sinh
    mean, half, off = (x[:, 0] + x[:, 1]) / 2, (x[:, 0] - x[:, 1]) / 2, x[:, 2] * 0.5**0.5
    root = (half**2 + off**2).sqrt().clamp(min=1e-30)
    even, odd = root.cosh(), root.sinh() / root
    weight = log_sinhc(root).exp()  # eigenvalues of log s differ by twice the root

    def traces(sign):
        scale = (sign * mean).exp()
        return scale * (even + sign * odd * half), scale * sign * odd * off, scale * (even - sign * odd * half)

    a = torch.tensor([[1.1, 0.3], [-0.2, 0.8]]).double()
    first, second = a.mT @ a, torch.linalg.inv(a) @ torch.linalg.inv(a).mT

    def f(left, right):
        out = 0
        for m, (s11, s12, s22) in ((left, traces(1)), (right, traces(-1))):
            out = out + m[0, 0] * s11 + 2 * m[0, 1] * s12 + m[1, 1] * s22
        return (-out).exp()

    eye = torch.eye(2).double()
    plain, moved = f(eye, eye), f(first, second)
    return tuple(float((moved * w).sum() / (plain * w).sum()) - 1 for w in (weight, torch.ones_like(weight)))


def test_the_weight_is_the_invariant_measure():
    with_weight, without = _invariance(61, 6.0)
    assert abs(with_weight) < 1e-11
    assert abs(without) > 1e-2


@pytest.mark.slow
def test_the_weight_is_the_invariant_measure_on_the_grid_of_the_sheet():
    assert abs(_invariance(121, 6.0)[0]) < 1e-12


def test_the_weight_belongs_to_the_coordinates(generator):
    c = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    values = torch.linalg.eigvalsh(torch.einsum("nk,kij->nij", c, SPD(2).basis()))
    half = (values[:, 1] - values[:, 0]) / 2
    torch.testing.assert_close(SPD(2).log_weight(c), (half.sinh() / half).log(), atol=1e-13, rtol=0)


def test_bad_input():
    with pytest.raises(InputError, match="not symmetric"):
        SPD(2).coordinates(torch.tensor([[1.0, 0.2], [0.0, 1.0]]))
    with pytest.raises(InputError, match="not positive definite"):
        SPD(2).coordinates(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(InputError, match="not positive definite"):
        SPD(2).coordinates(torch.zeros(2, 2))
    with pytest.raises(InputError, match="NaN"):
        SPD(2).coordinates(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match="1 to 1e-4"):
        SPD(2, unit=True).coordinates(1.1 * torch.eye(2))
    with pytest.raises(InputError, match=r"expected \(\.\.\., 2, 2\)"):
        SPD(2).coordinates(torch.ones(2, 3))
    with pytest.raises(InputError, match="3 coordinates"):
        SPD(2).element(torch.zeros(2))
    with pytest.raises(InputError, match="whole number"):
        SPD(0)
    for count, variance in ((0, 0.1), (2, -1.0)):
        with pytest.raises(InputError, match="count"):
            SPD(2).sample(count, variance)
