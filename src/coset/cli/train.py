"""``coset train``: one method of a task, trained, measured and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from coset.cli.options import (
    AsJson,
    Budget,
    Cutoff,
    Device,
    Files,
    Init,
    Options,
    Seed,
    Settings,
    SizeName,
    TaskName,
    TestFile,
    TrainFile,
    ValidFile,
)

MethodName = Annotated[str, Parameter(help="One of the task's rows.")]
Resume = Annotated[bool, Parameter(help="Go on after the last checkpoint of the training that was broken off in this folder.")]
CheckpointEvery = Annotated[str, Parameter(help="Time between checkpoints within an epoch; each epoch ends with one anyway.")]
Devices = Annotated[int, Parameter(help="Processes that share every batch.")]
Logger = Annotated[Literal["csv", "tensorboard"], Parameter(help="csv, or tensorboard beside it.")]
Out = Annotated[Path | None, Parameter(help="The run folder; the next free runs/TASK-METHOD-NUMBER when left out.")]


def train(
    task: TaskName,
    method: MethodName,
    /,
    *,
    out: Out = None,
    size: SizeName = "cpu",
    budget: Budget = None,
    seed: Seed = 0,
    settings: Settings = None,
    files: Files = None,
    train_file: TrainFile = None,
    valid_file: ValidFile = None,
    test_file: TestFile = None,
    cutoff: Cutoff = None,
    told: Options = None,
    init: Init = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = "10m",
    device: Device = "cpu",
    devices: Devices = 1,
    logger: Logger = "csv",
    json: AsJson = False,
) -> int:
    """Train one method of a task, measure it and keep it."""
    from coset.cli.options import check_writable, data_of, names_of, pairs_of, told_of
    from coset.cli.show import results_of

    check_writable(out)
    changes = pairs_of(settings or (), "--set")
    data = data_of(files, train=train_file, valid=valid_file, test=test_file)
    options_told = told_of(told, cutoff)

    from coset.comparison import find_task
    from coset.comparison import train as run

    (name,) = names_of(method, [row.name for row in find_task(task).methods]) or ("",)
    options: dict[str, Any] = {
        "budget": budget,
        "set": changes,
        "files": data,
        "options": options_told,
        "device": device,
        "devices": devices,
        "checkpoint_every": checkpoint_every,
        "init": init,
    }
    results_of([run(task, name, size=size, seed=seed, out=out, logger=logger, resume=resume, **options)], json)
    return 0
