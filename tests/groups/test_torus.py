import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.torus import Torus


def test_elements_and_steps_are_one_to_one():
    group = Torus(3, 5)
    g = group.elements()
    assert len(g) == 15
    assert torch.equal(group.shifts(group.steps(g)), g)
    assert group.steps(torch.tensor(7)).tolist() == [1, 2]
    assert group.shifts(torch.tensor([[-1, -2], [4.0, 5.0]])).tolist() == [13, 5]


def test_composition_adds_steps_around_the_border(generator):
    group = Torus(4, 6)
    g, h = group.sample(20, generator=generator), group.sample(20, generator=generator)
    together = (group.steps(g) + group.steps(h)) % torch.tensor([4, 6])
    assert torch.equal(group.steps(group.compose(g, h)), together)
    assert torch.equal(group.table[g, h], group.compose(g, h))
    assert torch.equal(group.compose(g, group.inverse(g)), torch.zeros_like(g))


@pytest.mark.parametrize(("size", "n", "count"), [((8, 8), 16, 16), ((4, 16), 16, 16), ((6, 6), 0, 36), ((6, 6), 99, 36)])
def test_a_grid_spreads_evenly(size, n, count):
    grid = Torus(*size).grid(n)
    assert len(grid) == count
    down = Torus(*size).steps(grid)[:, 0].unique()
    assert len(set(down.diff().tolist())) == 1


def test_names_say_where_to():
    assert Torus(2, 3).names[4] == "1 down, 1 right"
    assert Torus(2, 3).element("1 down, 2 right") == 5


def test_what_has_no_meaning_is_refused():
    with pytest.raises(InputError, match="whole number"):
        Torus(0, 4)
    with pytest.raises(InputError, match="whole pixels"):
        Torus(4, 4).shifts(torch.tensor([0.5, 1.0]))
    with pytest.raises(InputError, match="whole pixels"):
        Torus(4, 4).shifts(torch.tensor([1, 1, 1]))
    with pytest.raises(ContractError, match="periodic_image"):
        Torus(4, 4).shift(torch.tensor(1))
