"""A product along an edge, computed in its frame, is the product with the harmonics of the edge."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.gaunt import GauntProduct
from coset.ops.gaunt_edge import EdgeGaunt
from coset.ops.rotation import Frames
from coset.ops.s2grid import degree_of_rows
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.wigner import wigner_blocks

DEGREES = [(2, 3, 3), (3, 2, 5), (0, 2, 2), (2, 0, 2), (1, 2, 0), (0, 0, 0), (1, 4, 4), (6, 6, 6)]


def sample(l1, l2, *, edges=5, channels=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(edges, (l1 + 1) ** 2, channels, generator=generator, dtype=torch.float64)
    radial = torch.randn(edges, l2 + 1, channels, generator=generator, dtype=torch.float64)
    return x, radial, torch.randn(edges, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("l1", "l2", "l3"), DEGREES)
def test_it_is_the_product_with_the_harmonics_of_the_edge(l1, l2, l3):
    x, radial, vectors = sample(l1, l2)
    harmonics = spherical_harmonics(l2, vectors).unsqueeze(-1)
    want = GauntProduct(l1, l2, l3, "dense")(x, harmonics * radial[:, torch.tensor(degree_of_rows(range(l2 + 1)))])
    got = EdgeGaunt(l1, l2, l3).along(x, radial, Frames.of(vectors, max(l1, l3)))
    assert (got - want).norm() < 1e-12 * want.norm()


def test_it_turns_with_its_inputs():
    x, radial, vectors = sample(3, 3)
    turn = SO(3).sample(1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)[0]
    matrix = torch.block_diag(*wigner_blocks(3, turn))
    op = EdgeGaunt(3, 3, 3)
    moved = op.along(matrix @ x, radial, Frames.of(vectors @ turn.T, 3))
    assert torch.allclose(moved, matrix @ op.along(x, radial, Frames.of(vectors, 3)), atol=1e-12)


def test_derivatives():
    x, radial, vectors = sample(1, 2, edges=2, channels=1)
    inputs = tuple(t.requires_grad_() for t in (x, radial, vectors))

    def f(x, radial, vectors):
        return EdgeGaunt(1, 2, 2).along(x, radial, Frames.of(vectors, 2))

    assert gradcheck(f, inputs)
    assert gradgradcheck(f, inputs)


def test_bad_input_is_refused():
    x, radial, vectors = sample(2, 1)
    with pytest.raises(InputError, match="reach 3, asked for 4"):
        EdgeGaunt(1, 2, 4)
    with pytest.raises(InputError, match="9 rows and 4 filter"):
        EdgeGaunt(2, 3, 3)(x, radial)
    with pytest.raises(InputError, match="frames reach degree 2"):
        EdgeGaunt(2, 1, 3).along(x, radial, Frames.of(vectors, 2))
