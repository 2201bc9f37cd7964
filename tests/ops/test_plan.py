"""Plans: what they refuse, what they count, and that exchanging an operand twice gives the plan back."""

import numpy as np
import pytest

from coset.errors import InputError
from coset.ops.plan import Operand, Plan, make_plan
from coset.ops.tensor_product import channelwise
from coset.reps.irreps import Irreps


def product_of(l_in: int, l_filter: int, l_out: int, channels: int = 128) -> Plan:
    first = [(channels, ir) for _, ir in Irreps.spherical_harmonics(l_in)]
    return channelwise(first, Irreps.spherical_harmonics(l_filter), Irreps.spherical_harmonics(l_out)).plan


@pytest.mark.parametrize(
    ("degrees", "nonzero", "rows", "entries"), [((1, 3, 3), 86, 40, 76), ((2, 3, 3), 215, 71, 187), ((3, 3, 3), 353, 99, 311)]
)
def test_counts_are_those_of_the_algebra(degrees, nonzero, rows, entries):
    """Coefficients, output rows and distinct matrix entries; two FLOPs for each, and two for a weight on the fewer rows."""
    plan = product_of(*degrees)
    assert (len(plan.terms), plan.output.rows) == (nonzero, rows)
    matrix = 2 * 2 * nonzero  # from the two operands without channels, of which there is one: s
    per_channel = (plan.flops(1, 128) - plan.flops(1, 0)) / 128
    assert plan.flops(1, 0) == matrix / 2
    assert 2 * entries <= per_channel <= 2 * entries + 2 * rows
    assert plan.flops(7, 128) == 7 * plan.flops(1, 128)


def test_traffic_is_every_operand_once():
    plan = product_of(1, 1, 1, 16)
    paths = plan.inputs[2].rows
    expected = 4 * (5 * 4 * 16 + 30 * 4 + 30 * paths * 16 + 5 * plan.output.rows * 16)
    assert plan.traffic(30, 16, {"source": 5, "target": 5}) == expected


def test_gradient_of_gradient_is_the_plan():
    plan = product_of(1, 2, 2, 4)
    for which in range(3):
        back = plan.gradient(which).gradient(which)
        assert (back.inputs, back.output, back.terms, back.coefficients) == (
            plan.inputs,
            plan.output,
            plan.terms,
            plan.coefficients,
        )
    assert plan.gradient(0) is plan.gradient(0)


def test_equal_terms_are_merged_and_zeros_dropped():
    table = np.array([[0, 1], [0, 1], [1, 0], [1, 1], [1, 1]])
    plan = make_plan([Operand("x", 2)], Operand("out", 2), table, np.array([1.0, 2.0, 0.5, 1.0, -1.0]))
    assert plan.terms == ((1, 0), (0, 1))
    assert plan.coefficients == (0.5, 3.0)


def test_the_key_is_the_content():
    plan = product_of(1, 1, 1, 4)
    other = Plan(plan.inputs, plan.output, plan.terms, tuple(2 * c for c in plan.coefficients))
    assert plan.key != other.key
    assert plan.key == Plan(plan.inputs, plan.output, plan.terms, plan.coefficients, "another label").key


def test_errors():
    x, out = Operand("x", 2), Operand("out", 1)
    with pytest.raises(InputError, match="1 terms but 2 coefficients"):
        Plan((x,), out, ((0, 0),), (1.0, 2.0))
    with pytest.raises(InputError, match="a term uses row 2 of x"):
        Plan((x,), out, ((2, 0),), (1.0,))
    with pytest.raises(InputError, match="different names"):
        Plan((x, x), out, ((0, 0, 0),), (1.0,))
    with pytest.raises(InputError, match="has no input 'w'"):
        Plan((x,), out, ((0, 0),), (1.0,)).position("w")
