import copy

import torch

from coset.nn.constant import Constant


def test_a_table_follows_dtype_and_stays_exact(generator):
    value = torch.randn(3, generator=generator, dtype=torch.float64)
    table = Constant(value)
    single = table.like(torch.zeros(1))
    assert single.dtype == torch.float32
    assert table.like(torch.zeros(2)) is single
    assert torch.equal(table.like(torch.zeros(1, dtype=torch.float64)), value)
    assert torch.equal(copy.deepcopy(table).value, value)
