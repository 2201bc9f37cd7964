"""Indices: the transpose lists every row's items in order, groups hold each item once."""

import pytest
import torch

from coset.errors import InputError
from coset.ops.index import Edges, Index


@pytest.mark.parametrize(("items", "size"), [(0, 0), (0, 4), (1, 1), (50, 7), (9, 30)])
def test_order_and_pointer_are_the_transpose(items, size, generator):
    index = Index(torch.randint(0, max(size, 1), (items,), generator=generator), size)
    rows = [index.order[a:b].tolist() for a, b in zip(index.pointer[:-1], index.pointer[1:], strict=True)]
    assert rows == [[i for i, value in enumerate(index.values.tolist()) if value == row] for row in range(size)]


@pytest.mark.parametrize("length", [1, 2, 8])
@pytest.mark.parametrize(("items", "size"), [(0, 3), (1, 1), (50, 7), (9, 30)])
def test_groups_hold_every_item_once(items, size, length, generator):
    index = Index(torch.randint(0, size, (items,), generator=generator), size)
    rows, members, filled = index.groups(length)
    assert members.shape == filled.shape == (len(rows), length)
    assert sorted(members[filled].tolist()) == list(range(items))
    assert torch.equal(index.values[members[filled]], rows.unsqueeze(1).expand_as(members)[filled])
    assert len(rows) == sum(-(-int(count) // length) for count in index.pointer.diff())


def test_a_known_transpose_is_used(generator):
    made = Index(torch.randint(0, 4, (9,), generator=generator), 4)
    given = Index(made.values, 4, made.order, made.pointer)
    assert given.order is made.order


def test_errors():
    with pytest.raises(InputError, match="list of integers"):
        Index(torch.ones(3), 2)
    with pytest.raises(InputError, match=r"outside 0\.\.1: 0\.\.2"):
        Index(torch.tensor([0, 2]), 2).check()
    with pytest.raises(InputError, match="edge_index is"):
        Edges(torch.zeros(3, 4, dtype=torch.long), 2)
