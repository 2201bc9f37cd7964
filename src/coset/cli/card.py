"""``coset card``: the card of a trained model, and a folder that a hub can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Row = Annotated[Path, Parameter(help="The FOLDER of a row, runs/NAME/rows/METHOD/SEED, or any folder with model.json.")]
Out = Annotated[Path | None, Parameter(help="A new folder for the card with copies of the model's files; else the row's own.")]
License = Annotated[str, Parameter(help="SPDX name of the license of the weights, such as mit or cc-by-4.0.")]
Data = Annotated[str, Parameter(help="What it was trained on, in words; what the run says when left out.")]
Name = Annotated[str, Parameter(help="What the model is called; method and task when left out.")]


def card(row: Row, /, *, out: Out = None, license: License = "", data: Data = "", name: Name = "") -> int:
    """Write the card of a trained model: contract, measured error, data, license, how to load and cite."""
    from coset.cli.options import check_writable
    from coset.interop.card import write_card

    check_writable(out)
    print(write_card(row, out=out, license=license, data=data, name=name))
    return 0
