"""``coset export``: trained models as files that need nothing of their training, and how programs use them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from coset.cli.options import AsJson

Runs = Annotated[
    list[Path],
    Parameter(help="A run folder, the FOLDER of a row (runs/NAME/rows/METHOD/SEED), or a potential's file; several."),
]
Out = Annotated[
    Path,
    Parameter(
        help="The file: NAME.safetensors of a potential (of a committee NAME-0.safetensors, ...), else NAME.pt2, NAME.onnx."
    ),
]
MethodName = Annotated[str | None, Parameter(help="The row to take of a run folder with several.")]
Committee = Annotated[bool, Parameter(help="Write every model meant (all seeds of a run) as one member.")]
Data = Annotated[str | None, Parameter(help="What it was trained on, in words; what the run says when left out.")]
Program = Annotated[
    Literal["ase", "lammps", "torchsim", "pt2", "aoti", "onnx"],
    Parameter(
        name="--to",
        help="For whom a script is printed (potentials), or what any other model is written as (aoti: compiled).",
    ),
]


def export(
    runs: Runs,
    /,
    *,
    out: Out,
    method: MethodName = None,
    committee: Committee = False,
    data: Data = None,
    program: Program = "ase",
    json: AsJson = False,
) -> int:
    """Write trained models to files, and print how potentials are used."""
    from coset.cli.options import check_writable
    from coset.cli.show import emit
    from coset.interop.potential_export import export as write
    from coset.interop.potential_export import usage
    from coset.interop.potential_file import read_description

    check_writable(out.parent)
    if program in ("pt2", "aoti", "onnx"):
        return _program(runs, out, program, json)
    files = write(runs, out, method=method, committee=committee, **({} if data is None else {"data": data}))
    script = usage(files, program)
    about = [read_description(file) for file in files]
    if json:
        emit({"files": [str(file) for file in files], "descriptions": about, "program": program, "script": script})
        return 0
    for file, told in zip(files, about, strict=True):
        kind = "" if told["conservative"] else ", forces are no gradient"
        print(f"file     {file}  {told['model']['class'].rpartition('.')[2]}, {told['parameters']} weights, "
              f"elements {told['elements']}, cutoff {told['cutoff']:g} A{kind}")  # fmt: skip
    print(f"trained  {about[0]['data'] or 'not said'}\n")
    print(script, end="")
    return 0


def _program(runs: list[Path], out: Path, to: Literal["pt2", "aoti", "onnx"], json: bool) -> int:
    """A model that is no potential, as a program with its contract inside."""
    from coset.cli.show import emit
    from coset.errors import InputError
    from coset.interop.export import export_model
    from coset.train.checkpoint import load_model

    if len(runs) != 1:
        raise InputError(f"export --to {to} writes one model, {len(runs)} are named")
    about = export_model(load_model(runs[0]), out, to=to)
    if json:
        emit({"files": [str(out)], "descriptions": [about]})
        return 0
    print(f"file      {out}  {about['model']}, {to}, differs from the model by {about['difference']:.1e}")
    print(f"contract  {about['contract']['name']}: {about['contract']['claim']}")
    for name, told in about["inputs"].items():
        free = ", ".join(map(str, told["free"])) or "none"
        print(f"input     {name or 'tensor'}  {told['dtype']} {tuple(told['shape'])}, free axes: {free}")
    return 0
