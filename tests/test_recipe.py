"""Options of a request come in the type of their default."""

import pytest

from coset.errors import InputError
from coset.recipe import Request


def test_options_take_the_type_of_their_default():
    request = Request("cpu", 0, options=(("cutoff", "4.5"), ("count", "7"), ("name", "3")))
    assert request.option("cutoff", 5.0) == 4.5
    assert request.option("count", 1) == 7
    assert request.option("name", "x") == "3"
    assert request.option("other", 2.5) == 2.5
    with pytest.raises(InputError, match=r"option 'cutoff' is int, got '4\.5'"):
        request.option("cutoff", 1)
