"""Nothing that does not fit reaches a kernel."""

import gc

import pytest
import torch

from coset.errors import InputError
from coset.ops.backends.llvm import convolution
from coset.ops.backends.llvm.calls import _ready, layout, prepare
from coset.ops.index import Edges, Index
from coset.ops.tensor_product import channelwise

PLAN = channelwise("2x0e+2x1o", "0e+1o").plan


def call(edges=12, nodes=5, channels=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, nodes, (2, edges), generator=generator)
    x = torch.randn(nodes, 4, channels, generator=generator, dtype=dtype)
    s = torch.randn(edges, 4, generator=generator, dtype=dtype)
    w = torch.randn(edges, PLAN.inputs[2].rows, channels, generator=generator, dtype=dtype)
    return [x, s, w], Edges(ends, nodes), edges


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, lambda x: x[:-1]),
        (0, lambda x: x[:, :3]),
        (0, lambda x: x.flatten(1)),
        (1, lambda s: s[:-1]),
        (2, lambda w: w[..., :1]),
        (2, lambda w: w.float()),
        (1, lambda s: s.unsqueeze(-1)),
    ],
)
def test_operands_that_do_not_fit(place, change):
    inputs, edges, items = call()
    for _ in range(2):  # also when a call like it came before
        changed = [change(x) if n == place else x for n, x in enumerate(inputs)]
        with pytest.raises(InputError, match=PLAN.inputs[place].name):
            convolution.forward(PLAN, changed, edges, items)
        convolution.forward(PLAN, inputs, edges, items)


def test_indices_that_do_not_fit():
    inputs, edges, items = call()
    outside = {"source": Index(torch.full((items,), 5), 5), "target": edges["target"]}
    with pytest.raises(InputError, match="outside"):
        convolution.forward(PLAN, inputs, outside, items)
    with pytest.raises(InputError, match="'target'"):
        convolution.forward(PLAN, inputs, {"source": edges["source"]}, items)
    short = {"source": edges["source"], "target": Index(edges["target"].values[:-1], 5)}
    with pytest.raises(InputError, match="'target' has 11"):
        convolution.forward(PLAN, inputs, short, items)


def test_a_cotangent_that_does_not_fit():
    inputs, edges, items = call()
    out = convolution.forward(PLAN, inputs, edges, items)
    for grad in (out[:-1], out[:, 1:], out.float()):
        with pytest.raises(InputError, match="cotangent"):
            convolution.gradients(PLAN, inputs, grad, edges, items, (True, True, True))


def test_plans_and_inputs_that_are_not_supported():
    inputs, edges, items = call()
    assert convolution.supports(PLAN, inputs, edges) is None
    assert "float16" in convolution.supports(PLAN, [x.half() for x in inputs], edges)
    assert "meta" in convolution.supports(PLAN, [x.to("meta") for x in inputs], edges)
    assert "no channels" in convolution.supports(PLAN.gradient(1), inputs, edges)
    with pytest.raises(InputError, match="no channels"):
        prepare(PLAN.gradient(1), inputs, edges, items)


def test_a_second_call_is_the_first_with_other_numbers():
    inputs, edges, items = call()
    first, _ = prepare(PLAN, inputs, edges, items)
    again, taken = prepare(PLAN, [x.clone() for x in inputs], edges, items)
    assert again is first
    assert taken is not inputs
    for other in (call(edges=13), call(nodes=6), call(channels=3), call(dtype=torch.float32), call()):
        assert prepare(PLAN, *other)[0] is not first
        assert prepare(PLAN, inputs, edges, items)[0] is not first or layout(PLAN).last is first


def test_narrow_integers_and_strided_indices():
    inputs, edges, items = call()
    expected = convolution.forward(PLAN, inputs, edges, items)
    narrow = {name: Index(index.values.to(torch.int32), index.size) for name, index in edges.items()}
    strided = Edges(torch.stack([edges["source"].values, edges["target"].values], 1).T, 5)
    for other in (narrow, strided):
        assert torch.equal(convolution.forward(PLAN, inputs, other, items), expected)


def test_nothing_keeps_a_graph_alive():
    inputs, edges, items = call()
    convolution.forward(PLAN, inputs, edges, items)
    gc.collect()  # what other tests left behind
    before = len(_ready)
    del edges
    gc.collect()
    assert len(_ready) == before - 2
