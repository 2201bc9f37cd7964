"""Weights of a product read from a table of splines inside the kernel: no tensor of edges x paths x channels exists.

With a table of coefficients ``c`` ``(intervals + 3, P, C)``, per item an interval i and basis values ``B_0..B_3``
(:class:`coset.ops.bspline.UniformBSpline`), the weights of a product are

    w[e, p, c] = sum_(b<4) B_b(e) c[i(e) + b, p, c],

linear in the basis values and in the coefficients. So the product with its weights replaced is multilinear again, and a plan:
``windows`` shows the table as overlapping row sets, four rows of coefficients each, without copying, and ``tabulated`` puts the
two operands ``basis`` and ``table`` in the place of the weights. All derivatives follow from the rule of plans: with respect to
x, s, the coefficients, and the basis values, through which the distance is differentiated.

In use::

    index, basis = spline.locate(r)
    plan = tabulated(tp.plan, "w")
    product(plan, [x, s, basis, windows(coefficients)], {**edges, "interval": Index(index, spline.intervals)})
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from coset.errors import InputError
from coset.ops.plan import ITEM, Operand, Plan, make_plan

ORDER = 4  #: coefficients that a cubic spline uses at one place
INTERVAL = "interval"  #: the index that says which


def tabulated(plan: Plan, which: str = "w") -> Plan:
    """``plan`` with ``which`` (P rows per item, with channels) replaced by ``basis`` (4 rows) and ``table`` (4 P rows).

    The row of ``table`` for b and p is ``b P + p``, as :func:`windows` has them. InputError if the input is of another sort.
    """
    place = plan.position(which)
    operand = plan.inputs[place]
    if operand.index != ITEM or not operand.channels:
        raise InputError(f"tabulated replaces weights per item with channels; this plan has {operand}")
    basis = Operand("basis", ORDER, channels=False)
    table = Operand("table", ORDER * operand.rows, index=INTERVAL)
    inputs = (*plan.inputs[:place], basis, table, *plan.inputs[place + 1 :])
    rows = []
    for b in range(ORDER):
        before, p, after = np.split(plan.table, [place, place + 1], axis=1)
        rows.append(np.hstack([before, np.full_like(p, b), b * operand.rows + p, after]))
    coefficients = np.tile(np.asarray(plan.coefficients), ORDER)
    return make_plan(inputs, plan.output, np.concatenate(rows), coefficients, f"{plan.label} tabulated".strip())


def windows(coefficients: Tensor) -> Tensor:
    """A table ``(intervals + 3, P, C)`` as ``(intervals, 4 P, C)``: what each interval uses. A view; differentiable."""
    if coefficients.ndim != 3 or len(coefficients) < ORDER:
        raise InputError(f"a table is (intervals + {ORDER - 1}, P, C), got {tuple(coefficients.shape)}")
    return coefficients.unfold(0, ORDER, 1).permute(0, 3, 1, 2).flatten(1, 2)
