"""``coset compare``: the methods of a task, trained and measured, as one table and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from coset.cli.options import (
    AsJson,
    Budget,
    Cutoff,
    Device,
    Files,
    Options,
    Settings,
    SizeName,
    TaskName,
    TestFile,
    TrainFile,
    ValidFile,
)

Methods = Annotated[str | None, Parameter(help="Rows to run, joined by commas; all when left out.")]
Seeds = Annotated[int, Parameter(help="How many seeds: 0, 1, ...")]
Guests = Annotated[
    list[str] | None,
    Parameter(name="--with", metavar="TARGET", show_default=False, help="A model of yours as one more row; may be repeated."),
]
Ray = Annotated[str | None, Parameter(metavar="ADDRESS", help="Run every row as a Ray task: local, or a cluster's address.")]
Out = Annotated[Path | None, Parameter(help="The run folder; the next free runs/TASK-NUMBER when left out.")]


def compare(
    task: TaskName,
    /,
    *,
    methods: Methods = None,
    size: SizeName = "cpu",
    budget: Budget = None,
    seeds: Seeds = 1,
    settings: Settings = None,
    files: Files = None,
    train_file: TrainFile = None,
    valid_file: ValidFile = None,
    test_file: TestFile = None,
    cutoff: Cutoff = None,
    told: Options = None,
    guests: Guests = None,
    ray: Ray = None,
    device: Device = "cpu",
    out: Out = None,
    json: AsJson = False,
) -> int:
    """Train and measure the methods of a task; write one table and one page.

    Started again with the same folder, it keeps the rows that are finished and goes on with the others.
    """
    from coset.cli.options import check_writable, data_of, names_of, pairs_of, told_of
    from coset.cli.show import results_of

    check_writable(out)
    changes = pairs_of(settings or (), "--set")
    data = data_of(files, train=train_file, valid=valid_file, test=test_file)
    options_told = told_of(told, cutoff)

    from coset.comparison import compare as run
    from coset.comparison import find_task

    chosen = names_of(methods, [method.name for method in find_task(task).methods])
    options: dict[str, Any] = {
        "budget": budget,
        "set": changes,
        "files": data,
        "options": options_told,
        "ray": ray,
        "with_": guests or (),
        "device": device,
    }
    results_of(run(task, chosen, size=size, seeds=seeds, out=out, **options), json)
    return 0
