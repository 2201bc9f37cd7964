"""Gradients for backends without kernels of their own for them: the exchanged plan, run once per input that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from coset.ops.plan import Plan


def gradients_by_exchange(
    run: Callable[[Plan, list[Tensor]], Tensor], plan: Plan, inputs: Sequence[Tensor], grad: Tensor, needs: Sequence[bool]
) -> list[Tensor | None]:
    """The cotangents asked for: the same sum with the output's cotangent in the place of each input in turn.

    ``run(plan, inputs)`` executes a plan; shapes are those of the inputs, None where ``needs`` is False.
    """
    results: list[Tensor | None] = [None] * len(inputs)
    for which, needed in enumerate(needs):
        if needed:
            substituted = [grad if place == which else x for place, x in enumerate(inputs)]
            # the cotangent of a sum over channels is the same for all of them
            results[which] = run(plan.gradient(which), substituted).expand_as(inputs[which]).contiguous()
    return results
