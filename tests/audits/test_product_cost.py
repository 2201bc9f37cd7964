"""Costs of products: floors follow from the mathematics, measured figures are there and leave the inputs alone."""

import pytest
import torch

from coset.audits.product_cost import ProductCost, product_cost
from coset.errors import InputError
from coset.ops.gaunt import GauntProduct


def test_floors_by_hand():
    product = GauntProduct(1, 1, 1)
    x, y = torch.randn(5, 4, 2), torch.randn(5, 4, 2)
    found = product_cost(product, x, y, plan=product.plan, repeats=3)
    assert found.byte_floor == 3 * 5 * 4 * 2 * 4
    assert found.flop_floor == product.plan.flops(5, 2)
    assert found.flops > found.flop_floor  # the grid does more than the sparse sum at this size
    assert 0 < found.forward_seconds < 1
    assert 0 < found.backward_seconds < 1
    assert found.matmul_seconds > 0
    assert found.per(4) == found.forward_seconds / 4
    assert x.grad is None
    assert not x.requires_grad


def test_a_foreign_function_needs_no_plan(tmp_path):
    found = product_cost(lambda a, b: a * b, torch.randn(7), torch.randn(7), repeats=1)
    assert (found.flop_floor, found.matmul_seconds, found.byte_floor) == (None, None, 84)
    assert ProductCost.load(found.save(tmp_path / "cost.npz")) == found


def test_no_gradient_no_backward():
    assert product_cost(lambda a: a * 2, torch.arange(4), repeats=1).backward_seconds is None


def test_it_draws_itself():
    pytest.importorskip("matplotlib", reason="draws")
    assert product_cost(lambda a, b: a * b, torch.randn(7), torch.randn(7), repeats=1).plot() is not None


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least one"):
        product_cost(lambda: None)
    with pytest.raises(InputError, match="at least one"):
        product_cost(lambda a: a, torch.ones(2), repeats=0)
