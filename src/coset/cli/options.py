"""Options that several verbs share: what they are called and mean, and their strings parsed (never evaluated)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from coset.errors import InputError, unknown

if TYPE_CHECKING:
    from coset.contract import Contract


def _flag(name: str, says: str, **more: Any) -> Parameter:
    return Parameter(name=name, help=says, **more)


Target = Annotated[
    str,
    Parameter(
        help="package.module:attribute, FILE.py:attribute, the FOLDER of a saved row, or FOLDER:TARGET where that row wraps a "
        "model of yours: a torch module, a function of tensors, a scikit-learn estimator or one of its methods."
    ),
]
GroupName = Annotated[str, _flag("--group", """Which group acts, as in "C(8)", "SO(3)", 'S("N")'.""")]
Spelled = Annotated[
    list[str],
    _flag("--in", 'What goes in: a field such as image, or repeated pairs such as "pos=N x position".', metavar="FIELD"),
]
Promised = Annotated[
    list[str], _flag("--out-rep", "What comes out: a field such as invariant, or repeated pairs.", metavar="FIELD")
]
Sample = Annotated[str, _flag("--data", "FILE.npy, FILE.npz, FILE.npz:array, or digits.")]
MaybeGroup = Annotated[
    str | None,
    _flag(
        "--group",
        """Which group acts, as in "C(8)", 'E(3) ** "K"', "Flow(T(2), 1)"; without it, what TARGET promises.""",
    ),
]
MaybeSpelled = Annotated[
    list[str] | None,
    _flag("--in", 'What goes in: a field such as image, or repeated pairs such as "pos=N x position".', metavar="FIELD",
          show_default=False),
]  # fmt: skip
MaybePromised = Annotated[
    list[str] | None, _flag("--out-rep", "What comes out: a field such as invariant, or repeated pairs.", metavar="FIELD",
                            show_default=False)
]  # fmt: skip
MaybeSample = Annotated[
    str | None,
    _flag(
        "--data", "FILE.npy, FILE.npz, FILE.npz:array, digits, or task:NAME for the sample of a task; left out, random numbers."
    ),
]
Seed = Annotated[int, _flag("--seed", "Of data, weights and everything drawn.")]
AsJson = Annotated[bool, _flag("--json", "Print JSON instead of text.")]
Trust = Annotated[bool, _flag("--trust-pickle", "Allow TARGET to be a pickle; it is opened in a process of its own.")]

TaskName = Annotated[str, Parameter(help="A task of coset list tasks, or FILE.py:attribute.")]
SizeName = Annotated[
    Literal["smoke", "cpu", "full"], _flag("--size", "smoke (seconds), cpu (minutes on two cores) or full (as published).")
]
Budget = Annotated[
    str | None, _flag("--budget", "Time for all of it, such as 90s, 5m, 1h30m; learning rates come down with it.")
]
Settings = Annotated[
    list[str] | None,
    _flag("--set", "A field of the recipe, such as lr=1e-3; may be repeated.", metavar="NAME=VALUE", show_default=False),
]
Files = Annotated[
    list[str] | None,
    _flag(
        "--data",
        "Data of yours in place of the task's, such as mnist=FILE; may be repeated.",
        metavar="NAME=FILE",
        show_default=False,
    ),
]
Options = Annotated[
    list[str] | None,
    _flag(
        "--option",
        "What else the task can be told about its data, such as cutoff=5; may be repeated.",
        metavar="NAME=VALUE",
        show_default=False,
    ),
]
TrainFile = Annotated[Path | None, _flag("--train", "The file to train on; short for --data train=FILE.", metavar="FILE")]
ValidFile = Annotated[Path | None, _flag("--valid", "The file to validate on; short for --data valid=FILE.", metavar="FILE")]
TestFile = Annotated[Path | None, _flag("--test", "The file to be judged by; short for --data test=FILE.", metavar="FILE")]
Cutoff = Annotated[
    float | None, _flag("--cutoff", "How far atoms see, in angstrom; short for --option cutoff=NUMBER.", metavar="NUMBER")
]
Init = Annotated[
    Path | None,
    _flag("--init", "Start from a trained model: the FOLDER of a row, or a potential's file, taken as it is.", metavar="PATH"),
]
Device = Annotated[str, _flag("--device", "cpu, cuda or cuda:1.")]

EXAMPLES = {"--set": "lr=1e-3", "--data": "mnist=FILE", "--option": "cutoff=5"}
_NAMED = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.+)$")


def contract_of(group: str, inputs: Sequence[str], outputs: Sequence[str]) -> Contract:
    """The contract that ``--group``, ``--in`` and ``--out-rep`` state."""
    from coset.contract import Contract
    from coset.groups.parse import parse_group
    from coset.reps.fields import Fields

    declared = Fields(fields_of(inputs, "--in")), Fields(fields_of(outputs, "--out-rep"))
    return Contract(parse_group(group), *declared)


def promised(f: Any, group: str | None, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> tuple[Contract, ...]:
    """The contract that the options state or, without them, those that the target carries; InputError for half of them."""
    from coset.contract import contracts_of

    if group is None and not inputs and not outputs:
        return contracts_of(f)
    if group is None or not inputs or not outputs:
        raise InputError("--group, --in and --out-rep belong together; leave all out to audit what the target itself promises")
    return (contract_of(group, inputs, outputs),)


def sample_of(data: str | None, contract: Contract) -> Any:
    """What ``--data`` names, in the form that the contract's inputs have; random numbers where it is left out."""
    from coset.interop.arrays import load_data
    from coset.interop.listing import task_names
    from coset.testing import sample_for

    if data is None:
        return contract.inputs.unpack(sample_for(contract))
    kind, colon, name = data.partition(":")
    if kind != "task" or not colon:
        return load_data(data, contract.inputs)
    if name not in task_names():
        raise unknown("task", name, task_names())
    from importlib import import_module

    from coset.recipe import Request

    sample = import_module(f"coset.tasks.{name}").task.data(Request("smoke")).audit
    if sample is None:
        raise InputError(f"the task {name} keeps no sample for audits; give --data FILE.npz")
    return contract.inputs.unpack(contract.inputs.pack(sample))


def fields_of(given: Sequence[str], option: str) -> str | dict[str, str]:
    """One field string, or ``name=field`` pairs as a mapping; InputError for a mixture and for a name given twice."""
    if not given:
        raise InputError(f'{option} is missing; write a field such as image, or pairs: {option} "pos=N x position"')
    matches = [_NAMED.match(text) for text in given]
    if len(given) == 1 and matches[0] is None:
        return given[0]
    named: dict[str, str] = {}
    for text, match in zip(given, matches, strict=True):
        if match is None:
            raise InputError(f"{option} {text!r}: with several fields each is written name=field")
        name, spec = match.groups()
        if name in named:
            raise InputError(f"{option}: {name!r} is given twice")
        named[name] = spec
    return named


def pairs_of(given: Sequence[str], option: str) -> tuple[tuple[str, str], ...]:
    """``name=value`` pairs; InputError for anything else."""
    out = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InputError(f"{option} {text!r}: write name=value, as in {option} {EXAMPLES.get(option, 'name=value')}")
        out.append((name, value))
    return tuple(out)


def data_of(files: Sequence[str] | None, **short: Path | None) -> tuple[tuple[str, str], ...]:
    """``--data`` and its short forms as pairs; InputError for one name given in both ways."""
    long = pairs_of(files or (), "--data")
    for name, path in short.items():
        if path is not None and name in dict(long):
            raise InputError(f"--{name} and --data {name}=... say the same; give one of them")
    return (*long, *((name, str(path)) for name, path in short.items() if path is not None))


def told_of(options: Sequence[str] | None, cutoff: float | None) -> tuple[tuple[str, str], ...]:
    """``--option`` and its short form as pairs; InputError for one name given in both ways."""
    long = pairs_of(options or (), "--option")
    if cutoff is not None and "cutoff" in dict(long):
        raise InputError("--cutoff and --option cutoff=... say the same; give one of them")
    return long if cutoff is None else (*long, ("cutoff", str(cutoff)))


def names_of(text: str | None, known: Sequence[str], what: str = "method") -> tuple[str, ...] | None:
    """Names joined by commas, which they may hold themselves; None stays None (all of them).

    Each is one of ``known``, up to case; InputError with the nearest one otherwise.
    """
    if text is None:
        return None
    chosen, rest = [], text.strip()
    while rest:
        for name in sorted(known, key=len, reverse=True):
            after = rest[len(name) :].lstrip()
            if rest.lower().startswith(name.lower()) and (not after or after.startswith(",")):
                chosen.append(name)
                rest = after[1:].lstrip()
                break
        else:
            raise unknown(what, rest.partition(",")[0].strip(), known)
    if not chosen:
        raise InputError(f"--{what}s is empty; write names joined by commas, or leave it out for all")
    return tuple(chosen)


def check_writable(folder: Path | None) -> None:
    """InputError where files could not be written under ``folder``; creates nothing that stays."""
    if folder is None:
        return
    from coset.errors import reason

    try:
        ground = folder.absolute()
        while not ground.exists():
            ground = ground.parent
        with tempfile.TemporaryFile(dir=ground):
            pass
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write into {folder}: {reason(error)}; name another folder") from error
