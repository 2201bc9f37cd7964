"""``coset convert``: a potential of another package as one file of ours, verified against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from coset.cli.options import AsJson, Seed

Package = Annotated[Literal["mace"], Parameter(help="Whose model it is: mace (mace-torch).")]
File = Annotated[Path, Parameter(help="The model as that package saved it.")]
TrustPickle = Annotated[
    bool, Parameter(name="--trust-pickle", help="The file may run code when it is opened, in a process of its own: allow it.")
]
Out = Annotated[Path | None, Parameter(help="A .safetensors file or a folder; beside FILE when left out.")]
Python = Annotated[Path | None, Parameter(help="The Python that has mace-torch; this one when left out.")]
Head = Annotated[str | None, Parameter(help="Which head of a model with several.")]
Radial = Annotated[
    Literal["network", "knots", "spline"],
    Parameter(help="network: exact. knots: splines read from it, faster. spline: these alone, to be trained as such."),
]
Intervals = Annotated[int, Parameter(help="Pieces of the splines.")]
Check = Annotated[Path | None, Parameter(help="Structures to verify on, beside random ones.")]


def convert(
    package: Package,
    file: File,
    /,
    *,
    trust_pickle: TrustPickle = False,
    out: Out = None,
    python: Python = None,
    head: Head = None,
    radial: Radial = "network",
    intervals: Intervals = 256,
    check: Check = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> int:
    """Convert a model of another package, verify it there, write one file."""
    from dataclasses import asdict

    from coset.cli.options import check_writable
    from coset.cli.show import emit
    from coset.data.structures import read_structures
    from coset.interop.mace_convert import convert_mace

    check_writable(out)
    structures = read_structures(check) if check is not None else ()
    found = convert_mace(
        file, out, trust_pickle=trust_pickle, python=python, head=head, radial=radial, intervals=intervals,
        structures=structures, seed=seed,
    )  # fmt: skip
    model = found.model
    measured = {"random structures": found.exact}
    if found.given is not None:
        measured[str(check)] = found.given
    if radial != "network":
        measured[f"{radial} on all"] = found.kept
    if json:
        gaps = {name: asdict(gap) for name, gap in measured.items()}
        emit({"file": str(found.path), "elements": list(model.elements), "cutoff": model.r_max, "differences": gaps})
        return 0
    count = sum(p.numel() for p in model.parameters())
    print(f"{file}: {model.config['hidden']}, {count} weights, cutoff {model.r_max:g} A, {len(model.elements)} elements")
    for name, gap in measured.items():
        print(f"differs  {gap}: {name}")
    print(f"file     {found.path}")
    return 0
