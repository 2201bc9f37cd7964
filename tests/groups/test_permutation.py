"""The symmetric group on letters and on open index sets."""

import math

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.permutation import S
from coset.reps.fields import Fields


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_sum_over_all_elements(n):
    """The mean permutation matrix is 1/n everywhere, and generators reach all n! elements."""
    rule = S(n).quadrature(7)
    assert len(rule) == math.factorial(n) == S(n).order
    assert rule.degree == math.inf
    matrices = torch.nn.functional.one_hot(rule.elements, n).double()
    torch.testing.assert_close(
        torch.einsum("g,gij->ij", rule.weights, matrices), torch.full((n, n), 1 / n).double(), atol=1e-7, rtol=0
    )
    reached = {tuple(range(n))}
    front = set(reached)
    while front:
        images = S(n).compose(S(n).generators()[:, None], torch.tensor(sorted(front))) if n > 1 else torch.zeros(0, 1, 1)
        front = set(map(tuple, images.flatten(0, 1).tolist())) - reached
        reached |= front
    assert len(reached) == math.factorial(n)


def test_fibres(generator):
    """Members stay in their fibre, and every arrangement inside is equally likely."""
    fields = Fields({"x": "N x scalar", "batch": "N -> B"})
    x = {"x": torch.zeros(5), "batch": torch.tensor([1, 0, 1, 0, 1])}
    group = S("N", within="B").bind(fields, x)
    assert group.order == 12
    g = group.sample(6000, generator=generator)
    assert group.contains(g).all()
    _, counts = g.unique(dim=0, return_counts=True)
    assert len(counts) == 12
    assert float((counts - 500).abs().max()) < 5 * math.sqrt(500)
    assert group.contains(group.generators()).all()
    assert not S(5).bind(fields, x).contains(torch.tensor([0, 0, 1, 2, 3]))


def test_bad_input():
    with pytest.raises(ContractError, match="open"):
        S("N").sample(2)
    for bad in (0, 2.5, True, None):
        with pytest.raises(InputError, match="whole number"):
            S(bad)
    with pytest.raises(InputError, match="index is a name"):
        S("N -> B")
    with pytest.raises(InputError, match="open groups"):
        S(4, within="B")
    with pytest.raises(InputError, match="at most 8"):
        S(9).elements()
