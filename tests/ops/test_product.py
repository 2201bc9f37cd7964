"""product: any plan on any backend equals the reference, to second derivatives; the edge names what does not fit."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.ops.backends import reference, select
from coset.ops.index import Edges
from coset.ops.plan import Operand, Plan, known_plan, make_plan
from coset.ops.product import product
from coset.ops.tensor_product import channelwise

BACKENDS = ("cpu", "torch", "reference")


def random_plan(seed: int) -> Plan:
    """Up to four operands with and without channels, read and written in all four ways."""
    rng = np.random.default_rng(seed)
    where = ("item", "shared", "source", "target")
    operands = [
        Operand(name, int(rng.integers(1, 6)), bool(rng.random() < 0.55), where[rng.integers(4)])
        for name in "abcd"[: rng.integers(1, 5)]
    ]
    output = Operand("out", int(rng.integers(1, 6)), bool(rng.random() < 0.6), where[rng.integers(4)])
    count = int(rng.integers(0, 15))
    table = np.stack([rng.integers(0, o.rows, count) for o in (*operands, output)], 1)
    return make_plan(operands, output, table, rng.standard_normal(count), f"random {seed}")


def operands_of(plan: Plan, items: int, nodes: int, channels: int, generator: torch.Generator, dtype=torch.float64):
    def shape(o: Operand) -> tuple[int, ...]:
        lead = () if o.index == "shared" else (items if o.index == "item" else nodes,)
        return (*lead, o.rows, *((channels,) if o.channels else ()))

    return [torch.randn(shape(o), generator=generator, dtype=dtype) for o in plan.inputs]


def graph(edges: int, nodes: int, generator: torch.Generator) -> Edges:
    return Edges(torch.randint(0, max(nodes, 1), (2, edges), generator=generator), nodes)


def check_against_reference(seed: int, backend: str, generator: torch.Generator) -> bool:
    """Value and gradients, all of them and one alone; False if the plan is not one for this backend."""
    plan, items, nodes = random_plan(seed), (0, 1, 7, 30)[seed % 4], (1, 4, 2)[seed % 3]
    edges = graph(items, nodes, generator)
    inputs = operands_of(plan, items, nodes, 3, generator)
    if select.explain(plan, inputs, edges)[backend] != "runs":
        return False
    expected = reference.forward(plan, inputs, edges, items)
    torch.testing.assert_close(product(plan, inputs, edges, items=items, backend=backend), expected, rtol=0, atol=1e-12)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for needs in ((True,) * len(inputs), tuple(place == seed % len(inputs) for place in range(len(inputs)))):
        wanted = reference.gradients(plan, inputs, grad, edges, items, needs)
        found = select.executor(plan, inputs, edges, backend).gradients(plan, inputs, grad, edges, items, needs)
        for a, b in zip(found, wanted, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    return True


@pytest.mark.parametrize("seed", range(60))
def test_any_plan_equals_the_reference(seed, generator):
    assert check_against_reference(seed, "torch", generator)


def test_plans_that_the_kernels_support_equal_the_reference(generator):
    assert sum(check_against_reference(seed, "cpu", generator) for seed in range(60)) >= 8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", ["item", "shared", "absent"])
def test_derivatives_of_a_message_pass_check(backend, weights, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o", keep="0e+1o", weights=weights)
    edges = graph(5, 3, generator)
    inputs = [x.requires_grad_() for x in operands_of(tp.plan, 5, 3, 2, generator)]
    assert torch.autograd.gradcheck(lambda *x: product(tp.plan, x, edges, backend=backend), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: product(tp.plan, x, edges, backend=backend), inputs, fast_mode=True)


@pytest.mark.parametrize("seed", [1, 5, 9, 12])
def test_derivatives_of_random_plans_check(seed, generator):
    plan = random_plan(seed)
    edges = graph(4, 3, generator)
    inputs = [x.requires_grad_() for x in operands_of(plan, 4, 3, 2, generator)]
    assert torch.autograd.gradcheck(lambda *x: product(plan, x, edges, items=4, backend="torch"), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: product(plan, x, edges, items=4, backend="torch"), inputs, fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_third_derivative(backend, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o", keep="0e+1o")
    edges = graph(4, 2, generator)
    x, s, w = (t.requires_grad_() for t in operands_of(tp.plan, 4, 2, 2, generator))

    def forces(x, s, w):
        energy = product(tp.plan, (x, s, w), edges, backend=backend).pow(3).sum()
        return torch.autograd.grad(energy, s, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(forces, (x, s, w), fast_mode=True)


def test_only_what_is_asked_for_is_computed(monkeypatch, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    edges = graph(4, 2, generator)
    x, s, w = (t.requires_grad_() for t in operands_of(tp.plan, 4, 2, 2, generator))
    asked = []
    original = reference.gradients
    monkeypatch.setattr(reference, "gradients", lambda *a: asked.append(a[-1]) or original(*a))
    energy = product(tp.plan, (x, s, w), edges, backend="reference").square().sum()
    torch.autograd.grad(energy, s, retain_graph=True)
    assert asked.pop() == (False, True, False)
    (forces,) = torch.autograd.grad(energy, s, create_graph=True)
    asked.clear()
    torch.autograd.grad(forces.square().sum(), (w,), retain_graph=True)
    assert (False, False, True) in asked  # of the forces directly
    assert all(not needs[0] for needs in asked)  # x was not wanted
    asked.clear()
    energy.backward()
    assert asked == [(True, True, True)]


def test_only_inputs_are_saved(generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    edges = graph(40, 4, generator)
    inputs = [t.requires_grad_() for t in operands_of(tp.plan, 40, 4, 2, generator)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        product(tp.plan, inputs, edges)
    assert {t.data_ptr() for t in saved} == {t.data_ptr() for t in inputs}


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.slow
def test_the_op_itself_passes_torchs_checks(backend, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    edges = graph(5, 3, generator)
    inputs = [t.requires_grad_() for t in operands_of(tp.plan, 5, 3, 2, generator)]
    flat = [part for name in tp.plan.index_names for part in (edges[name].values, edges[name].order, edges[name].pointer)]
    arguments = (inputs, flat, 5, tp.plan.key, backend)
    torch.library.opcheck(torch.ops.coset.product.default, arguments)
    grad = torch.randn(3, tp.plan.output.rows, 2, generator=generator, dtype=torch.float64)
    arguments = (inputs, grad, flat, 5, tp.plan.key, backend, [True, False, True])
    torch.library.opcheck(torch.ops.coset.product_gradients.default, arguments)


def message_pass(tp, backend, x, s, w, edge_index):
    return product(tp.plan, (x, s, w), Edges(edge_index, x.shape[0]), backend=backend)


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_compiles_once_for_all_sizes(backend, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    torch._dynamo.reset()
    graphs = []

    def count(module, inputs):
        graphs.append(module)
        return module.forward

    compiled = torch.compile(lambda *a: message_pass(tp, backend, *a), fullgraph=True, backend=count)
    for edges, nodes in ((6, 4), (9, 5), (13, 7), (20, 3)):
        index = torch.randint(0, nodes, (2, edges), generator=generator)
        inputs = operands_of(tp.plan, edges, nodes, 2, generator)
        for x in inputs:
            torch._dynamo.mark_dynamic(x, 0)
        torch._dynamo.mark_dynamic(index, 1)
        with torch.no_grad():
            torch.testing.assert_close(compiled(*inputs, index), message_pass(tp, "reference", *inputs, index))
    assert len(graphs) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_forces_train(backend, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    index = torch.randint(0, 3, (2, 6), generator=generator)
    inputs = [t.requires_grad_() for t in operands_of(tp.plan, 6, 3, 2, generator)]

    def loss(x, s, w):
        energy = message_pass(tp, backend, x, s, w, index).square().sum()
        (forces,) = torch.autograd.grad(energy, s, create_graph=True)
        return energy + forces.square().sum()

    expected = torch.autograd.grad(loss(*inputs), inputs)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        found = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(*inputs), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_autocast_computes_in_single_precision(generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    edges = graph(6, 3, generator)
    x, s, w = operands_of(tp.plan, 6, 3, 2, generator, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = product(tp.plan, (x.bfloat16(), s, w), edges)
        wide = product(tp.plan, (x, s.double(), w), edges)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, product(tp.plan, (x.bfloat16().float(), s, w), edges))
    assert wide.dtype == torch.float64


def test_the_edge_names_the_operand(generator):
    tp = channelwise("2x0e+2x1o+2x2e", "0e+1o")
    edges = graph(6, 3, generator)
    x, s, w = operands_of(tp.plan, 6, 3, 2, generator)
    paths = len(tp.paths)
    for given, message in (
        ((x[:, :8], s, w), r"operand x of channelwise\(.*\) has 9 rows, got 8"),
        ((x, s[:5], w), "operand s .* has 6 items, got 5"),
        ((x[:2], s, w), "operand x .* has 3 entries, the size of index 'source', got 2"),
        ((x, s, w[..., :1]), "operand w .* has 2 channels like the operands before it, got 1"),
        ((x, s.float(), w), "operand s .* is torch.float64 on cpu like x, got torch.float32"),
        ((x, s[..., None], w), r"operand s .* has 2 axes \(items, rows\), got shape"),
        ((x, s), r"takes 3 operands \(x, s, w\), got 2"),
        ((x, s, w[:, 1:]), f"operand w .* has {paths} rows, got {paths - 1}"),
    ):
        with pytest.raises(InputError, match=message):
            product(tp.plan, given, edges)
    with pytest.raises(InputError, match="needs the index 'source'"):
        product(tp.plan, (x, s, w))
    with pytest.raises(InputError, match="floating-point"):
        product(tp.plan, (x.long(), s.long(), w.long()), edges)
    with pytest.raises(InputError, match="unknown backend 'cup'"):
        product(tp.plan, (x, s, w), edges, backend="cup")
    with pytest.raises(InputError, match=r"no rule for torch\.func"):
        torch.func.vmap(lambda x: product(tp.plan, (x, s, w), edges))(x[None])
    everything = make_plan([Operand("a", 2, False, "shared")], Operand("out", 1, False), np.array([[0, 0]]), np.ones(1))
    with pytest.raises(InputError, match="say how many items"):
        product(everything, [torch.ones(2)])


def test_a_block_can_force_a_backend_and_nothing_falls_back_silently(generator):
    rows = np.array([[0, 0, 1, 0], [1, 1, 0, 1]])
    wide = make_plan([Operand(name, 2) for name in "abc"], Operand("out", 2, index="target"), rows, np.ones(2), "cubic")
    inputs, edges = operands_of(wide, 4, 1, 2, generator), graph(4, 2, generator)
    with pytest.warns(select.BackendWarning, match="cubic runs on plain torch"):
        out = product(wide, inputs, edges)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        product(wide, inputs, edges)  # once
        product(wide, inputs, edges, backend="torch")  # asked for
        with select.use("reference"):
            torch.testing.assert_close(product(wide, inputs, edges), out)
        per_item = make_plan(wide.inputs, Operand("out", 2), rows, np.ones(2))
        product(per_item, inputs)  # nothing is gathered or summed: no kernel is missed
    with pytest.raises(InputError, match="backend 'cpu' does not run cubic"):
        product(wide, inputs, edges, backend="cpu")
    table = select.explain(wide, inputs, edges)
    assert table["reference"] == table["torch"] == "runs"
    assert table["auto"].startswith("torch: cpu kernels do not run it")


def test_backward_uses_the_backend_of_the_forward(monkeypatch, generator):
    tp = channelwise("2x0e+2x1o", "0e+1o")
    inputs = [t.requires_grad_() for t in operands_of(tp.plan, 4, 2, 2, generator)]
    calls = []
    original = reference.gradients
    monkeypatch.setattr(reference, "gradients", lambda *a: calls.append(1) or original(*a))
    with select.use("reference"):
        out = product(tp.plan, inputs, graph(4, 2, generator))
    out.sum().backward()
    assert calls


def test_plans_are_known_by_content():
    plan = channelwise("2x0e+2x1o", "0e+1o").plan
    copy = pickle.loads(pickle.dumps(plan))
    assert copy == plan
    assert copy.key == plan.key
    assert hash(copy) == hash(plan)
    assert known_plan(plan.key).key == plan.key
    twice = plan.gradient(1).gradient(1)
    assert twice.key == plan.key  # exchanging twice changes nothing
    with pytest.raises(InputError, match="no plan with key"):
        known_plan("nothing")
