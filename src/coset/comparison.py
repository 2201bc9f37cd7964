"""The comparison: every method of a task built, audited, trained, audited again and judged; one result per method and seed.

:func:`compare` is the pipeline and reads top-down; what a row does is :func:`coset.train.rows.run_row`. A row is known by
names (task, method, seed), so that it can run in this process, in another, or on a Ray cluster, with the same figures.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from coset.errors import InputError, MissingExtra, unknown
from coset.interop.potential_file import load_potential
from coset.interop.target import as_callable, load_object, load_target
from coset.records import Result, write_atomically
from coset.report.html import write_report
from coset.task import Method, Task
from coset.train.agenda import Agenda
from coset.train.dispatch import dispatch, keep, perform, worker_count
from coset.train.folder import choose_folder, open_folder
from coset.train.initial import Initial
from coset.train.plan import Key, Plan, named
from coset.train.progress import Display
from coset.train.ranks import external
from coset.train.rows import Guest, run_row
from coset.train.run import EVERY, seconds

JOB = "coset.comparison:run_job"  #: what a process or a Ray task is asked to import and call
Given = Mapping[str, Any] | Sequence[Any]


def compare(
    task: str | Task,
    methods: Mapping[str, Any] | Sequence[str] | None = None,
    *,
    size: Any = "cpu",
    seeds: int = 1,
    out: str | Path | None = None,
    budget: str | float | None = None,
    set: Given = (),
    files: Given = (),
    options: Given = (),
    ray: str | None = None,
    with_: Sequence[str] = (),
    device: str = "cpu",
    progress: bool = True,
    workers: int | None = None,
    threads: int = 1,
) -> list[Result]:
    """Train and measure the rows of ``task``; results in the task's order, also in the folder ``out``.

    ``task`` is a module of :mod:`coset.tasks`, a target such as ``mine.py:task``, or a Task. ``methods`` are names, or a
    mapping from names to a module (judged as it is), a function of the data (its model is trained) or a Method; ``with_``
    are targets that become further rows. ``set`` changes recipes, ``files`` replaces the task's data, ``options`` say
    what else it can be told (a cutoff); all are mappings, pairs, or strings ``name=value``.

    Finished rows found in ``out`` are kept, a half-trained one goes on after its last epoch. Without ``out`` the newest
    ``runs/<task>-<n>`` goes on if the same comparison was broken off there; otherwise the next number is used. Rows run in
    ``workers`` processes (one per core), with ``threads`` threads each; models and tasks that have no name run in this
    process. ``ray`` is ``"local"`` or a cluster's address.

    ``budget`` (``"5m"``) is the time for all rows: each gets its share and trains no longer than three quarters of it, over
    which its learning rate comes down; epochs are then an upper bound, and a row that was cut short says so. Rows not reached
    are left for the next call. Without a budget figures are reproducible bit by bit on one kind of processor.

    Raises InputError for names, sizes, recipes, files or folders that do not fit; MissingExtra; a failed row's error, last.
    """
    told = {"set": set, "files": files, "options": options}
    plan, names = _plan(task, methods, size=size, seeds=range(seeds), with_=with_, device=device, threads=threads, **told)
    limit = None if budget is None else seconds(budget)
    path = Path(out) if out is not None else choose_folder(plan.name, plan.request())
    with open_folder(path, plan.request(), _command("compare", plan, names, seeds=seeds, out=path)) as folder:
        write_atomically(path / "task.json", json.dumps(plan.about(_description(task)), indent=1) + "\n")
        pending = [key for key in plan.by_seed() if key not in folder.finished or _in_memory(plan.method(key[0]), names)]
        agenda = Agenda(pending, plan.after(pending), workers=worker_count(plan, workers, len(pending)), budget=limit)
        failed: dict[Key, Exception] = {}
        with Display(len(pending), enabled=progress) as display:
            display.say(f"{plan.name}: {len(pending)} of {len(plan.keys)} rows to run, in {path}")
            for key, outcome in dispatch(agenda, plan, folder, display, target=JOB, names=names, ray=ray):
                if isinstance(outcome, Exception):
                    failed[key] = outcome
                    display.finish(key, f"failed: {str(outcome).partition(chr(10))[0]}")
                else:
                    display.finish(key, keep(folder, plan, key, outcome))
            if left := [key for key in pending if key not in folder.finished and key not in failed]:
                display.say(f"time is up: {len(left)} rows not run; the same command goes on with them")
        folder.write_environment(finished=all(key in folder.finished for key in plan.keys))
    write_page(path, tell=progress)
    for error in failed.values():
        raise error
    return [folder.finished[key] for key in plan.keys if key in folder.finished]


def train(
    task: str | Task,
    method: str,
    *,
    size: Any = "cpu",
    seed: int = 0,
    out: str | Path | None = None,
    budget: str | float | None = None,
    set: Given = (),
    files: Given = (),
    options: Given = (),
    device: str = "cpu",
    devices: int = 1,
    logger: str = "csv",
    resume: bool = False,
    checkpoint_every: str | float = EVERY,
    init: str | Path | None = None,
    progress: bool = True,
    threads: int = 1,
) -> Result:
    """Train and measure one row; its result, also in the folder ``out`` (``runs/<task>-<method>-<n>`` by default).

    With ``resume`` a training that was broken off in that folder goes on after its last checkpoint: there is one after every
    epoch and, within long ones, every ``checkpoint_every`` (``"10m"``); without it a folder that holds one is refused. Under a
    ``budget`` the learning rate comes down with the time, of which a training that goes on has used what it had. ``init`` is a
    trained model to start from (:mod:`coset.train.initial`): a row's folder, or the file of a potential, whose cutoff becomes
    that of the data. ``devices`` processes share every batch, started here or by torchrun;
    ``logger`` is ``csv`` or ``tensorboard``. Raises as :func:`compare`.
    """
    told = {"set": set, "files": files, "options": options}
    where = {"device": device, "threads": threads, "devices": devices, "logger": logger, "init": init}
    where["every"] = seconds(checkpoint_every, "--checkpoint-every")
    plan, names = _plan(task, [method], size=size, seeds=[seed], **told, **where)
    key: Key = (method, seed)
    limit = None if budget is None else seconds(budget)
    if devices > 1 and (external() or 0) > 0:
        return run_row(plan.task, plan.data(seed), plan.row(key, Path(out or "runs")))[0]
    path = Path(out) if out is not None else choose_folder(f"{plan.name}-{method}", plan.request())
    command = _command("train", plan, names, seed=seed, out=path)
    with open_folder(path, plan.request(), command) as folder, Display(1, enabled=progress) as display:
        write_atomically(path / "task.json", json.dumps(plan.about(_description(task)), indent=1) + "\n")
        row = plan.row(key, path)
        if not resume and out is not None and (key in folder.finished or list(row.folder.glob("stage-*.safetensors"))):
            raise InputError(f"{path} holds a training of {method}, seed {seed}; go on with --resume, or use another --out")
        if key not in folder.finished:
            agenda = Agenda([key], {}, budget=limit)
            for _, outcome in dispatch(agenda, plan, folder, display, target=JOB, names=names):
                if isinstance(outcome, Exception):
                    raise outcome
                display.finish(key, keep(folder, plan, key, outcome))
        folder.write_environment(finished=True)
    write_page(path, tell=progress)
    return folder.finished[key]


def write_page(folder: Path, *, tell: bool = True) -> Path | None:
    """``report.html`` of a run folder, if the extra ``report`` is there and a row has finished; says where, on stderr."""
    if not (folder / "results.jsonl").is_file():
        return None
    try:
        page: Path | None = write_report(folder)
        text = f"report: {page}"
    except MissingExtra as error:
        page, text = None, f"results: {folder}/results.jsonl; for a page: {error}, then coset report {folder}"
    if tell:
        print(text, file=sys.stderr, flush=True)
    return page


def run_job(job: Mapping[str, Any], report: Callable[[Any], None]) -> dict[str, Any]:
    """One row from its names, in whatever process this is (:func:`coset.train.dispatch.perform`)."""
    return perform(_named_plan(json.dumps(job["plan"], sort_keys=True)), job, report)


# ---------------------------------------------------------------------- from names to rows


def find_task(name: str) -> Task:
    """The ``task`` of a module in :mod:`coset.tasks`, or a target; InputError with the nearest name otherwise."""
    if ":" in name:
        found = load_object(name)
    else:
        rooms = importlib.import_module("coset.tasks")
        known = sorted(module.name for module in pkgutil.iter_modules(rooms.__path__) if not module.name.startswith("_"))
        module = name.replace("-", "_")
        if module not in known:
            raise unknown("task", name, known)
        found = importlib.import_module(f"coset.tasks.{module}").task
    if not isinstance(found, Task):
        raise InputError(f"{name} is a {type(found).__name__}, not a Task")
    return found


def method_of(name: str, given: Any) -> Method:
    """A row from what the user gave: a Method, a module (judged as it is), or a function of the data (trained)."""
    if isinstance(given, Method):
        return dataclasses.replace(given, name=name)
    if inspect.isfunction(given) and inspect.signature(given).parameters:
        return Method(name, build=given)
    model = given if isinstance(given, nn.Module) else as_callable(given, name)
    return Method(name, build=Guest(model), stages=(), note="given by the user, judged as it is")


def method_from_target(target: str) -> Method:
    """A row from a string: a Method, a function of ``data`` (its model is trained), or a model, judged as it is."""
    place, colon, attribute = target.rpartition(":")
    name = f"{Path(place).name}:{attribute}" if colon else Path(target).name
    if colon:
        found = load_object(target)
        wanted = list(inspect.signature(found).parameters) if inspect.isfunction(found) else []
        if isinstance(found, Method) or wanted == ["data"]:
            return method_of(name, found)
    model = load_target(target)
    return Method(name, build=Guest(model), stages=(), note=f"{target}, judged as it is")


def _plan(task: str | Task, methods: Any, **how: Any) -> tuple[Plan, dict[str, Any] | None]:
    """The plan, and the names from which another process makes the same one (None where there are none)."""
    found = task if isinstance(task, Task) else find_task(task)
    given = dict(methods) if isinstance(methods, Mapping) else None
    chosen = [method_of(name, value) for name, value in given.items()] if given is not None else []
    if given is None:
        wanted = [methods] if isinstance(methods, str) else methods
        chosen = list(found.methods) if wanted is None else [found.method(name) for name in dict.fromkeys(wanted)]
    targets = list(how.pop("with_", ()))
    chosen += [method_from_target(target) for target in targets]
    changes, files = named(how.pop("set"), "--set"), named(how.pop("files"), "--data")
    files = tuple((name, Path(path)) for name, path in files)
    told = named(how.pop("options"), "--option")
    start = None if (given_init := how.pop("init", None)) is None else _initial(Path(given_init))
    told = _cutoff(told, start, found)
    title = task.rpartition("/")[2].replace(".py:", "-") if isinstance(task, str) else "task"
    how["seeds"] = list(how["seeds"])
    known = found.methods if given is None else ()
    plan = Plan(found, title, chosen, known, changes=changes, files=files, options=told, initial=start, **how)
    if given is not None or not isinstance(task, str):
        return plan, None
    wanted = [method.name for method in chosen[: len(chosen) - len(targets)]]
    paths = [[name, str(path.resolve())] for name, path in files]
    names = {"task": task, "methods": wanted, "with_": targets, "set": list(map(list, changes)), "files": paths}
    first = {"init": str(start.path)} if start is not None else {}
    return plan, names | {"options": list(map(list, told))} | first | how


def _initial(path: Path) -> Initial:
    """What ``--init`` names: the folder of a row, or a potential in one file."""
    if (
        path.is_dir()
        or path.name == "model.json"
        or (path.name == "model.safetensors" and path.with_name("model.json").exists())
    ):
        return Initial.of_folder(path)
    return Initial.of_model(path, load_potential(path))


def _cutoff(told: tuple[tuple[str, Any], ...], start: Initial | None, task: Task) -> tuple[tuple[str, Any], ...]:
    """The data are prepared for the cutoff of the potential that training starts from; InputError for another one."""
    if start is None or start.cutoff is None or "cutoff" not in task.options:
        return told
    if (asked := dict(told).get("cutoff")) is not None and float(asked) != start.cutoff:
        raise InputError(f"--cutoff {asked}: the model of --init sees {start.cutoff:g} angstrom; leave --cutoff out")
    return (*(pair for pair in told if pair[0] != "cutoff"), ("cutoff", str(start.cutoff)))


@lru_cache(maxsize=1)
def _named_plan(text: str) -> Plan:
    names = json.loads(text)
    return _plan(names.pop("task"), names.pop("methods"), **names)[0]


def _in_memory(method: Method, names: Any) -> bool:
    """A model that lives only in this process may have changed since its result was written."""
    return names is None and not method.stages


def _description(task: str | Task) -> str:
    if isinstance(task, Task) or ":" in task:
        return ""
    return sys.modules[f"coset.tasks.{task.replace('-', '_')}"].__doc__ or ""


def _command(verb: str, plan: Plan, names: Mapping[str, Any] | None, **options: Any) -> str:
    """The command that repeats this; empty words for what only exists in memory."""
    if names is None:
        return f"coset.{verb}(...) in Python"
    words = ["coset", verb, names["task"]]
    if verb == "train":
        words += names["methods"]
    elif names["methods"] != [method.name for method in plan.task.methods]:
        words += ["--methods", ",".join(names["methods"])]
    words += ["--size", plan.size]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    words += [word for target in names["with_"] for word in ("--with", target)]
    words += [word for name, value in plan.changes for word in ("--set", f"{name}={value}")]
    words += [word for name, value in plan.files for word in ("--data", f"{name}={value}")]
    words += [word for name, value in plan.options for word in ("--option", f"{name}={value}")]
    words += ["--init", names["init"]] if "init" in names else []
    words += ["--device", plan.device] if plan.device != "cpu" else []
    words += ["--devices", str(plan.devices)] if plan.devices > 1 else []
    return shlex.join(words)


__all__ = ["compare", "find_task", "method_from_target", "method_of", "run_job", "train"]
