"""Every row of every task: it builds, its stages can learn, it keeps its promises, it saves and loads, its source exists."""

import copy
import functools
import importlib
import pkgutil

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map

import coset.tasks
from coset import testing
from coset.contract import frozen
from coset.recipe import Request
from coset.report.cite import references
from coset.task import fit
from coset.train.batches import loader
from coset.train.checkpoint import load_model, save_model

NAMES = sorted(module.name for module in pkgutil.iter_modules(coset.tasks.__path__))
TASKS = {name: importlib.import_module(f"coset.tasks.{name}").task for name in NAMES}
#: a method that several tasks share is tried in the first of them
OWN = {id(method): (name, method.name) for name, task in reversed(TASKS.items()) for method in task.methods}
ROWS = [pytest.param(*row, id=": ".join(row)) for row in sorted(OWN.values(), key=lambda row: list(TASKS).index(row[0]))]


@functools.cache
def data_of(name):
    return TASKS[name].data(Request("smoke", 0))


def build(name, method):
    torch.manual_seed(0)
    return TASKS[name].method(method).build(data_of(name))


def loss_of(objective, model, batch):
    """The loss of a fixed batch under fixed draws: a function of the weights alone."""
    objective = copy.deepcopy(objective)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return objective(model, batch)["loss"]


@pytest.mark.parametrize(("name", "method"), ROWS)
def test_a_small_step_down_the_gradient_lowers_the_loss_of_every_stage(name, method):
    task, data, model = TASKS[name], data_of(name), build(name, method)
    for stage in task.method(method).stages:
        if stage.prepare is not None:
            model, data = stage.prepare(model, data)
        if stage.loop is None:
            continue
        if stage.loop is not fit:
            continue  # a loop of its own has tests of its own
        objective = stage.objective or task.objective
        batch = next(iter(loader(data.train, 16, seed=0, shuffle=False)))
        model.train()
        weights = [p for p in model.parameters() if p.requires_grad]
        before = loss_of(objective, model, batch)
        slopes = torch.autograd.grad(before, weights, allow_unused=True)
        size = sum(s.square().sum() for s in slopes if s is not None).sqrt()
        assert 0 < size < float("inf")
        with torch.no_grad():
            for p, s in zip(weights, slopes, strict=True):
                if s is not None:
                    p -= 1e-2 * s / size
        assert loss_of(objective, model, batch) < before


@pytest.mark.parametrize(("name", "method"), ROWS)
def test_promises_are_kept(name, method):
    model = build(name, method)
    for stage in TASKS[name].method(method).stages:
        if stage.prepare is not None and stage.loop is None:
            model, _ = stage.prepare(model, data_of(name))
    if not getattr(model, "contracts", ()):
        pytest.skip("this row promises nothing")
    testing.check(model.double())


@pytest.mark.parametrize(("name", "method"), ROWS)
def test_saved_and_loaded_it_is_the_same_function(name, method, tmp_path):
    model, task, data = build(name, method), TASKS[name], data_of(name)
    if not isinstance(model, nn.Module) or not task.contracts or data.audit is None:
        pytest.skip("nothing to save, or no sample to compare on")
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    contract = task.contracts[0]
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    x = tree_map(lambda value: value.to(dtype) if value.is_floating_point() else value, contract.origin(data.audit))
    with frozen(model), frozen(again):
        first, second = contract.call(model, x), contract.call(again, x)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_in_the_references(name):
    for method in TASKS[name].methods:
        assert set(method.source.replace(",", " ").split()) <= set(references()), method.name


@pytest.mark.parametrize("name", NAMES)
def test_every_task_says_what_it_is(name):
    module = importlib.import_module(f"coset.tasks.{name}")
    first = module.__doc__.strip().splitlines()[0]
    assert first.endswith(".")
    assert len(first) < 160
    assert {"smoke", "cpu", "full"} <= set(TASKS[name].recipe)
