"""The fused kernels against the oracle: values and gradients, every arrangement, dtype, processor and odd shape."""

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.ops.backends import reference
from coset.ops.backends.llvm import convolution, threads
from coset.ops.backends.llvm.compiler import assemble
from coset.ops.backends.llvm.targets import ENVIRONMENT, choose
from coset.ops.index import Edges, Index
from coset.ops.plan import Operand, make_plan
from coset.ops.tabulated import tabulated
from coset.ops.tensor_product import channelwise

RUNS = [name for name in ("host", "avx512", "avx2", "baseline") if choose(name).runs_here]
BOUND = {torch.float64: 1e-13, torch.float32: 1e-5}
NEEDS = {3: [(1, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (1, 1, 0)], 2: [(1, 1), (0, 1), (1, 0)], 1: [(1,)]}


def problem(plan, channels, dtype, items, sizes, seed=0):
    """Random operands, indices and a cotangent."""
    generator = torch.Generator().manual_seed(seed)
    indices = {}
    for name in plan.index_names:
        indices[name] = Index(torch.randint(0, max(sizes[name], 1), (items,), generator=generator), sizes[name])
    inputs = []
    for o in plan.inputs:
        lead = () if o.index == "shared" else (items if o.index == "item" else sizes[o.index],)
        shape = (*lead, o.rows, channels) if o.channels else (*lead, o.rows)
        inputs.append(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
    return inputs, indices, items


def close(found, expected, bound):
    """Relative to the largest entry."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    scale = max(float(expected.abs().max()), 1e-30) if expected.numel() else 1.0
    assert not expected.numel() or float((found - expected).abs().max()) <= bound * scale


def agree(plan, inputs, indices, items, needs=None):
    """Values, and the gradients of every subset asked for, are the oracle's."""
    bound = BOUND[inputs[0].dtype]
    with_grad = [x.detach().double().requires_grad_() for x in inputs]
    expected = reference.evaluate(plan, with_grad, indices, items)
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = torch.autograd.grad(expected, with_grad, grad)
    dtype = inputs[0].dtype
    close(convolution.forward(plan, inputs, indices, items), expected.detach().to(dtype), bound)
    for asked in needs or NEEDS.get(len(inputs), [(1,) * len(inputs)]):
        found = convolution.gradients(plan, inputs, grad.to(dtype), indices, items, [bool(n) for n in asked])
        for x, t, wanted in zip(found, truth, asked, strict=True):
            assert (x is not None) == bool(wanted)
            if x is not None:
                close(x, t.to(dtype), bound)


@pytest.mark.parametrize("target", RUNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("channels", [1, 3, 17, 31])
def test_channelwise_products_on_every_processor(channels, dtype, target, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, target)
    plan = channelwise("2x0e+2x1o", "0e+1o", keep="0e+1o+2e").plan
    agree(plan, *problem(plan, channels, dtype, 90, {"source": 7, "target": 6}), [(1, 1, 1), (0, 1, 0)])


@pytest.mark.parametrize(("channels", "dtype", "source"), [(16, torch.float32, "source"), (20, torch.float64, "item")])
def test_a_product_of_many_paths(channels, dtype, source):
    """Blocks, split paths and tiles of more items than one."""
    plan = channelwise("2x0e+2x1o+2x2e", "0e+1o+2e+3o", keep="0e+1o+2e+3o", source=source).plan
    agree(plan, *problem(plan, channels, dtype, 150, {"source": 5, "target": 3}), [(1, 1, 1), (1, 0, 1), (0, 1, 0)])


@pytest.mark.parametrize("weights", ["item", "shared", "absent"])
@pytest.mark.parametrize(("source", "target"), [("item", "target"), ("source", "item"), ("target", "source"), ("item", "item")])
def test_every_way_to_read_and_write(weights, source, target):
    plan = channelwise("2x0e+2x1o", "0e+1o", weights=weights, source=source, target=target).plan
    some = [(1,) * len(plan.inputs), (1, *(0,) * (len(plan.inputs) - 1))]
    agree(plan, *problem(plan, 6, torch.float64, 75, {"source": 9, "target": 4}), some)


def test_exchanged_plans_run_too():
    """The gradient of x as a plan of its own, which reads receivers and sums into senders."""
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    for which in (0, 2):
        exchanged = plan.gradient(which)
        agree(exchanged, *problem(exchanged, 5, torch.float64, 40, {"source": 5, "target": 6}), [(1, 1, 1), (0, 1, 1)])


@pytest.mark.parametrize("seed", range(6))
def test_random_plans(seed):
    """Operands of every sort, rows that no term uses, terms that do not factorize."""
    rng = np.random.default_rng(seed)
    index = lambda: ["item", "shared", "source", "target"][rng.integers(4)]  # noqa: E731
    wide = [Operand(f"x{n}", int(rng.integers(1, 5)), index=index()) for n in range(1 + seed % 2)]
    narrow = [Operand(f"s{n}", int(rng.integers(1, 5)), channels=False, index=index()) for n in range(seed % 3)]
    inputs = list(rng.permutation(np.array([*wide, *narrow], dtype=object)))
    output = Operand("out", int(rng.integers(2, 6)), index=["item", "target"][seed % 2])
    table = rng.integers(0, [o.rows for o in (*inputs, output)], (9, len(inputs) + 1))
    plan = make_plan(inputs, output, table, rng.normal(size=9))
    everything = [tuple(int(n == m) for n in range(len(inputs))) for m in range(len(inputs))] + [(1,) * len(inputs)]
    agree(plan, *problem(plan, 5, torch.float64, 60, {"source": 4, "target": 6}), everything)


@pytest.mark.parametrize(("items", "nodes"), [(0, 0), (0, 4), (1, 1), (1, 50), (3, 2)])
def test_empty_graphs_and_isolated_nodes(items, nodes):
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    inputs, indices, items = problem(plan, 9, torch.float64, items, {"source": nodes, "target": nodes})
    agree(plan, inputs, indices, items)
    alone = torch.ones(nodes, dtype=torch.bool).scatter(0, indices["target"].values, False)
    assert not convolution.forward(plan, inputs, indices, items)[alone].any()


def test_sorted_edges_and_unsorted_ones():
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    (x, s, w), indices, items = problem(plan, 8, torch.float64, 200, {"source": 9, "target": 9})
    order = indices["target"].order
    ends = torch.stack([indices["source"].values, indices["target"].values])
    one = convolution.forward(plan, (x, s, w), Edges(ends, 9), items)
    two = convolution.forward(plan, (x, s[order], w[order]), Edges(ends[:, order], 9), items)
    assert torch.equal(one, two)


def test_strides():
    """Sliced, transposed and expanded operands; rows that overlap are read where they lie."""
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    inputs, indices, items = problem(plan, 6, torch.float64, 30, {"source": 5, "target": 5})
    expected = convolution.forward(plan, inputs, indices, items)
    spread = [x.repeat_interleave(2, 0)[::2] for x in inputs]
    turned = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in inputs]
    wide = [torch.cat([x, x], -1)[..., : x.shape[-1]] for x in inputs]
    for other in (spread, turned, wide):
        assert not any(x.is_contiguous() for x in other)
        for _ in range(2):
            assert torch.equal(convolution.forward(plan, other, indices, items), expected)
    alike = inputs[2][:1].expand_as(inputs[2])
    one = convolution.forward(plan, [*inputs[:2], alike], indices, items)
    assert torch.equal(one, convolution.forward(plan, [*inputs[:2], alike.contiguous()], indices, items))
    grad = torch.ones(()).double().expand_as(expected)
    agree_on = convolution.gradients(plan, inputs, grad, indices, items, (True, True, True))
    for a, b in zip(
        agree_on, convolution.gradients(plan, inputs, grad.contiguous(), indices, items, (True, True, True)), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads_is_right_and_repeats_itself(count, monkeypatch):
    monkeypatch.setattr(threads, "parts", lambda work: count)
    for plan in (
        channelwise("2x0e+2x1o", "0e+1o").plan,
        channelwise("2x0e+2x1o", "0e+1o", weights="shared", target="item").plan,
    ):
        inputs, indices, items = problem(plan, 8, torch.float32, 300, {"source": 11, "target": 12})
        agree(plan, inputs, indices, items)
        grad = torch.randn_like(convolution.forward(plan, inputs, indices, items))
        runs = [
            [
                convolution.forward(plan, inputs, indices, items),
                *convolution.gradients(plan, inputs, grad, indices, items, [True] * 3),
            ]
            for _ in range(5)
        ]
        assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("needs", ["forward", "xsw", "s", "xstw"])
@pytest.mark.parametrize("name", ["arm", "avx512", "avx2", "baseline"])
def test_code_for_every_processor_assembles(name, needs):
    """ARM code is generated and assembled, not run."""
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    plan = tabulated(plan) if "t" in needs else plan
    for dtype in ("float32", "float64"):
        assert assemble(convolution.write(plan, 12, dtype, needs, choose(name)), choose(name))[:4] == b"\x7fELF"


def test_a_forced_processor_that_is_not_here_is_refused(monkeypatch):
    if choose("arm").runs_here:
        pytest.skip("this is an ARM machine")
    monkeypatch.setenv(ENVIRONMENT, "arm")
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    with pytest.raises(InputError, match="arm"):
        convolution.forward(plan, *problem(plan, 2, torch.float32, 4, {"source": 2, "target": 2}))


def test_results_are_not_overwritten_while_held():
    """Large results come from recycled memory."""
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    inputs, indices, items = problem(plan, 64, torch.float32, 400, {"source": 200, "target": 300})
    first = convolution.forward(plan, inputs, indices, items)
    kept = first.clone()
    for _ in range(4):
        convolution.forward(plan, [2 * inputs[0], *inputs[1:]], indices, items)
    assert torch.equal(first, kept)
