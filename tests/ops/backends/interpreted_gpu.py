"""Run by ``test_gpu.py`` in a process of its own: Triton must learn before its first import that it is to interpret."""

import numpy as np
import pytest
import torch

from coset.ops.backends import gpu, reference
from coset.ops.index import Edges
from coset.ops.plan import Operand, make_plan

SHAPES = {
    "message": ([Operand("x", 4, True, "source"), Operand("s", 5, False), Operand("w", 3)], Operand("y", 37, True, "target")),
    "no weights": ([Operand("x", 4, True, "source"), Operand("s", 5, False)], Operand("y", 6, True, "target")),
    "one set of weights": ([Operand("x", 4), Operand("s", 5, False), Operand("w", 3, True, "shared")], Operand("y", 6)),
    "elementwise": ([Operand("a", 4), Operand("b", 4)], Operand("y", 5)),
    "summed channels": ([Operand("x", 4, True, "source"), Operand("s", 5, False)], Operand("y", 3, False, "target")),
    "numbers only": ([Operand("a", 4, False), Operand("b", 3, False, "source")], Operand("y", 5, False, "target")),
    "four operands": (
        [Operand("x", 3, True, "source"), Operand("s", 2, False), Operand("b", 4, False), Operand("w", 3, True, "shared")],
        Operand("y", 4, True, "target"),
    ),
}


def make(name, nodes=5, edges=13, channels=6, dtype=torch.float64, seed=0):
    inputs, output = SHAPES[name]
    rng = np.random.default_rng(seed)
    table = np.stack([rng.integers(0, o.rows, 40) for o in (*inputs, output)], 1)
    plan = make_plan(inputs, output, table, rng.normal(size=40), name)
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(0, max(nodes - 1, 1), (2, edges), generator=generator)  # the last node has no edge
    lead = {"item": (edges,), "source": (nodes,), "target": (nodes,), "shared": ()}
    tensors = [
        torch.randn(*lead[o.index], o.rows, *[channels] * o.channels, dtype=dtype, generator=generator) for o in plan.inputs
    ]
    return plan, tensors, Edges(edge_index, nodes)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("edges", [0, 13])
def test_values_and_gradients_are_those_of_the_reference(name, edges):
    plan, tensors, indices = make(name, edges=edges)
    for x in tensors:
        x.requires_grad_()
    want = reference.evaluate(plan, tensors, indices, edges)
    given = [x.detach() for x in tensors]
    torch.testing.assert_close(gpu.forward(plan, given, indices, edges), want.detach(), rtol=1e-12, atol=1e-12)
    grad = torch.randn(want.shape, dtype=want.dtype, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(want, tensors, grad)
    got = gpu.gradients(plan, given, grad, indices, edges, [True] * len(given))
    for operand, a, b in zip(plan.inputs, got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=lambda m, o=operand: f"{o.name}: {m}")


@pytest.mark.parametrize("channels", [1, 31, 130])
def test_any_number_of_channels(channels):
    plan, tensors, indices = make("message", channels=channels, dtype=torch.float32)
    want = reference.evaluate(plan, tensors, indices, 13)
    torch.testing.assert_close(gpu.forward(plan, tensors, indices, 13), want, rtol=2e-5, atol=2e-5)


def test_only_what_is_asked_is_computed():
    plan, tensors, indices = make("message")
    grad = torch.randn(5, 37, 6, dtype=torch.float64)
    got = gpu.gradients(plan, tensors, grad, indices, 13, [False, True, False])
    assert [g is None for g in got] == [True, False, True]
