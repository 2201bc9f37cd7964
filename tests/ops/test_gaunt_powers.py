"""Powers of a signal: engines agree, band limits are met, weights are chosen by species."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.gaunt import ENGINES, GauntProduct
from coset.ops.gaunt_powers import GauntPowers
from coset.reps.wigner import wigner_blocks


def sample(lmax, lout, order, *, nodes=4, channels=2):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, order, lout + 1, channels, generator=generator, dtype=torch.float64)
    return x, weights, torch.randint(3, (nodes,), generator=generator)


@pytest.mark.parametrize(("lmax", "lout", "order"), [(2, 2, 3), (3, 1, 4), (1, 3, 3), (2, 0, 1), (8, 2, 2)])
def test_engines_agree(lmax, lout, order):
    x, weights, species = sample(lmax, lout, order)
    want = GauntPowers(lmax, lout, order, "dense")(x, weights, species)
    for engine in ENGINES:
        got = GauntPowers(lmax, lout, order, engine)(x, weights, species)
        assert (got - want).norm() < 1e-12 * want.norm()


def test_each_node_has_the_weights_of_its_species():
    x, weights, species = sample(2, 1, 3)
    powers = GauntPowers(2, 1, 3)
    whole = powers(x, weights, species)
    for i, kind in enumerate(species.tolist()):
        assert torch.allclose(whole[i : i + 1], powers(x[i : i + 1], weights[kind]), atol=1e-13)


def test_the_first_order_is_a_truncation_and_the_second_a_product():
    x, *_ = sample(2, 2, 2)
    first, second = GauntPowers(2, 2, 2).project(x)
    assert torch.equal(first, x)
    assert torch.allclose(second, GauntProduct(2, 2, 2)(x, x), atol=1e-13)


def test_it_is_equivariant():
    x, weights, species = sample(3, 3, 4)
    turn = SO(3).sample(1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)[0]
    matrix = torch.block_diag(*wigner_blocks(3, turn))
    powers = GauntPowers(3, 3, 4)
    want = matrix @ powers(x, weights, species)
    assert (powers(matrix @ x, weights, species) - want).norm() < 1e-12 * want.norm()


def test_derivatives():
    x, weights, _ = sample(1, 1, 3, nodes=2, channels=1)
    inputs = (x.requires_grad_(), weights[0].requires_grad_())
    assert gradcheck(GauntPowers(1, 1, 3), inputs)
    assert gradgradcheck(GauntPowers(1, 1, 3), inputs)


def test_bad_input_is_refused():
    x, weights, species = sample(2, 1, 3)
    with pytest.raises(InputError, match="order >= 1"):
        GauntPowers(2, 1, 0)
    with pytest.raises(InputError, match="lout <= order lmax"):
        GauntPowers(1, 4, 3)
    with pytest.raises(InputError, match="species missing"):
        GauntPowers(2, 1, 3)(x, weights)
    with pytest.raises(InputError, match="degrees 2"):
        GauntPowers(2, 1, 3)(x, weights[..., :1, :], species)
    with pytest.raises(InputError, match="unknown engine"):
        GauntPowers(2, 1, 3, "torus")
