"""Options of a request come in the type of their default; numbers of a recipe lie where a training has them."""

import pytest

from coset.errors import InputError
from coset.recipe import Recipe, Request


def test_options_take_the_type_of_their_default():
    request = Request("cpu", 0, options=(("cutoff", "4.5"), ("count", "7"), ("name", "3")))
    assert request.option("cutoff", 5.0) == 4.5
    assert request.option("count", 1) == 7
    assert request.option("name", "x") == "3"
    assert request.option("other", 2.5) == 2.5
    with pytest.raises(InputError, match=r"option 'cutoff' is int, got '4\.5'"):
        request.option("cutoff", 1)


@pytest.mark.parametrize("given", ["batch=0", "batch=1e30", "lr=nan", "lr=-1", "clip=inf", "epochs=-3", "accumulate=0"])
def test_numbers_that_no_training_has_are_refused(given):
    with pytest.raises(InputError, match=f"recipe field '{given.partition('=')[0]}' is a number from"):
        Recipe().override((tuple(given.split("=")),))
