"""``coset audit FILE --atoms DATA``: the page of a potential, on structures of a file."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coset.interop.potential_audit import PotentialAudit

FRAMES = 8  #: structures at most, evenly spaced through the file


def audit_atoms(
    target: str, data: Path, *, dtype: Sequence[str] | None, tolerance: float | None, samples: int, seed: int,
    out: Path | None, json: bool,
) -> int:  # fmt: skip
    """Audit, print, and write ``audit.json``, ``audit.npz``, ``audit.png`` and ``audit.html`` to ``out``; the exit code.

    A potential of this package is measured in both precisions and judged in double, unless ``dtype`` names one.
    """
    from coset.cli.show import emit, note
    from coset.data.structures import read_structures
    from coset.interop.ase import calculator_of
    from coset.interop.potential_audit import audit_potential

    calculator = calculator_of(target, dtype=dtype[0] if dtype else "float64")
    frames = read_structures(data)
    chosen = (
        [frames[round(i * (len(frames) - 1) / max(FRAMES - 1, 1))] for i in range(FRAMES)] if len(frames) > FRAMES else frames
    )
    note(f"auditing {target} on {len(chosen)} of the {len(frames)} structures of {data}, in eV and angstrom")
    more: dict[str, Any] = {} if tolerance is None else {"tolerance": tolerance}
    found = audit_potential(
        calculator, chosen, rotations=max(samples // len(chosen), 1), seed=seed, name=target, progress=note,
        single=dtype is None or len(dtype) > 1, **more,
    )  # fmt: skip
    written = [] if out is None else _write(found, out)
    if json:
        emit(found.to_json())
    else:
        _show(found)
        if written:
            print(f"files    {', '.join(map(str, written))}")
    return 0 if found.verdict == "PASS" else 1


def _write(found: PotentialAudit, out: Path) -> list[Path]:
    """The files; those with pictures where the extra ``report`` is there."""
    import json as text

    from coset.records import write_atomically

    write_atomically(out / "audit.json", text.dumps(found.to_json(), indent=2) + "\n")
    written = [out / "audit.json", found.save(out / "audit.npz")]
    if drawn := found.draw(out / "audit.png"):
        written.append(drawn)
        if importlib.util.find_spec("jinja2") is not None:
            from coset.interop.potential_page import write_page

            written.append(write_page(found, out / "audit.html", command=shlex.join(["coset", *sys.argv[1:]])))
    return written


def _show(found: PotentialAudit) -> None:
    """Verdict in words, then the figures."""
    from coset.cli.show import table

    print(f"verdict  {found.verdict}  {found.words[0]}")
    for line in found.words[1:]:
        print(f"         {line}")
    for line in found.notes:
        print(f"note     {line}")
    print(f"judged   {found.frames} structures, {found.atoms} atoms, {found.dtype or 'as it computes'}, "
          f"floor of rounding {found.floor:.1g}, seed {found.seed}\n")  # fmt: skip
    single = {check["name"]: check for check in found.single}
    head = ["", "law", "error", "limit", *(["float32", "limit"] if single else []), "unit", ""]
    rows = []
    for check in found.checks:
        beside = [*_figures(single.get(check["name"]))] if single else []
        rows.append([check["verdict"], check["name"], *_figures(check), *beside, check["unit"], check["detail"]])
    table(head, rows)
    if found.layers:
        print()
        both = all("single" in layer for layer in found.layers)
        table(
            ["layer", "error", *(["float32"] if both else []), "as"],
            [[layer["name"], f"{layer['error']:.2g}", *([f"{layer['single']:.2g}"] if both else []), layer["field"]]
             for layer in found.layers],
        )  # fmt: skip
        print()


def _figures(check: dict[str, Any] | None) -> list[str]:
    return ["", ""] if check is None or check["skipped"] else [f"{check['error']:.2g}", f"{check['limit']:.2g}"]
