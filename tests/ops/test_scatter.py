"""Sums and means over rows that point at the same place, against a loop."""

import pytest
import torch

from coset.errors import InputError
from coset.ops.scatter import scatter_mean, scatter_sum

INDEX = torch.tensor([3, 0, 3, 1, 3])


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_against_a_loop(shape, generator):
    x = torch.randn(5, *shape, generator=generator, dtype=torch.float64)
    sums, means = scatter_sum(x, INDEX, 5), scatter_mean(x, INDEX, 5)
    for i in range(5):
        own = x[i == INDEX]
        assert torch.allclose(sums[i], own.sum(0), rtol=0, atol=1e-14)
        assert torch.allclose(means[i], own.mean(0) if len(own) else torch.zeros(shape).double(), rtol=0, atol=1e-14)


def test_dtype_gradients_and_empty_rows(generator):
    x = torch.randn(5, 2, generator=generator, requires_grad=True)
    y = scatter_mean(x, INDEX, 4)
    assert y.dtype == torch.float32
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope[:, 0], torch.tensor([1 / 3, 1, 1 / 3, 1, 1 / 3]))
    assert scatter_mean(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2).tolist() == [[0] * 3] * 2


def test_an_index_of_another_length_is_refused():
    with pytest.raises(InputError, match="one index per row"):
        scatter_sum(torch.zeros(4, 2), INDEX, 4)
