"""``coset audit FILE --atoms DATA``: the page of a potential, on structures of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FRAMES = 8  #: structures at most, evenly spaced through the file


def audit_atoms(
    target: str, data: Path, *, dtype: str, tolerance: float | None, samples: int, seed: int, out: Path | None, json: bool
) -> int:
    """Audit, print, and write ``audit.json``, ``audit.npz`` and ``audit.png`` to ``out``; the exit code."""
    import json as text

    from coset.cli.show import emit, note, table
    from coset.data.structures import read_structures
    from coset.interop.ase import calculator_of
    from coset.interop.potential_audit import audit_potential
    from coset.records import write_atomically

    calculator = calculator_of(target, dtype=dtype)
    frames = read_structures(data)
    chosen = (
        [frames[round(i * (len(frames) - 1) / max(FRAMES - 1, 1))] for i in range(FRAMES)] if len(frames) > FRAMES else frames
    )
    note(f"auditing {target} on {len(chosen)} of the {len(frames)} structures of {data}, in eV and angstrom")
    more: dict[str, Any] = {} if tolerance is None else {"tolerance": tolerance}
    found = audit_potential(
        calculator, chosen, rotations=max(samples // len(chosen), 1), seed=seed, name=target, progress=note, **more
    )
    if out is not None:
        write_atomically(out / "audit.json", text.dumps(found.to_json(), indent=2) + "\n")
        found.save(out / "audit.npz")
        found.draw(out / "audit.png")
    if json:
        emit(found.to_json())
        return 0 if found.verdict == "PASS" else 1
    rows = [[check["verdict"], check["name"], *_figures(check), check["unit"], check["detail"]] for check in found.checks]
    table(["verdict", "law", "error", "limit", "unit", ""], rows)
    if found.layers:
        print()
        table(["layer", "error", "as"], [[layer["name"], f"{layer['error']:.2g}", layer["field"]] for layer in found.layers])
    print(f"\nverdict  {found.verdict}  {found.frames} structures, {found.atoms} atoms, floor of rounding {found.floor:.1g}")
    for line in found.notes:
        print(f"note     {line}")
    if out is not None:
        print(f"files    {out}/audit.json, {out}/audit.npz")
    return 0 if found.verdict == "PASS" else 1


def _figures(check: dict[str, Any]) -> list[str]:
    return ["", ""] if check["skipped"] else [f"{check['error']:.2g}", f"{check['limit']:.2g}"]
