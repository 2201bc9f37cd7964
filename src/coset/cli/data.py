"""``coset data``: large sets converted to one file and checked, public sets listed and fetched."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from coset.data.public_sets import Remote

Sources = Annotated[
    Path,
    Parameter(help="Extended XYZ (also .gz), npz, DeePMD folders, ASE databases and trajectories, LMDB of ASE rows."),
]
Out = Annotated[Path, Parameter(help="The file to write, FILE.safetensors.")]
Precision = Annotated[
    Literal["float64", "float32"], Parameter(help="Of positions and forces; float32 halves the file. All else is float64.")
]
EnergyUnit = Annotated[str, Parameter(help="Of the sources: eV, kcal/mol, kJ/mol or hartree.")]
LengthUnit = Annotated[str, Parameter(help="Of the sources: angstrom or bohr.")]
Skip = Annotated[bool, Parameter(help="Leave out configurations that cannot be stored (NaN), in place of stopping.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON instead of text.")]
Names = Annotated[str, Parameter(help="Names of coset data list.")]
Into = Annotated[Path | None, Parameter(name="--to", help="A folder in place of the cache (COSET_DATA).")]
EVERY = 10.0  #: seconds between lines of progress away from a terminal


class Meter:
    """How far something is: a bar on a terminal, else a line on stderr every ten seconds."""

    def __init__(self, what: str, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.what, self.unit, self.said = what, unit, time.monotonic()
        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.live, self.row = console.is_terminal, self.bars.add_task(what, total=None, state="")

    def __enter__(self) -> Meter:
        self.bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bars.stop()

    def named(self, remote: Remote) -> Meter:
        """The same one for the next file."""
        self.what = remote.name
        self.bars.update(self.row, description=self.what, completed=0)
        return self

    def __call__(self, done: int, whole: int | None = None) -> None:
        state = f"{done:,} {self.unit}" + (f" of {whole:,}" if whole else "")
        if self.live:
            self.bars.update(self.row, completed=done, total=whole, state=state)
        elif time.monotonic() - self.said > EVERY:
            self.said = time.monotonic()
            print(f"{self.what}: {state}", file=sys.stderr, flush=True)


def convert(
    *sources: Sources,
    out: Out,
    precision: Precision = "float64",
    energy_unit: EnergyUnit = "eV",
    length_unit: LengthUnit = "angstrom",
    skip: Skip = False,
    json: AsJson = False,
) -> int:
    """Write configurations of any source into one file that training reads piece by piece."""
    from coset.data.store import SUFFIX, is_store
    from coset.data.store_write import write_store
    from coset.data.structure_streams import stream_structures
    from coset.errors import InputError

    if not sources:
        raise InputError("coset data convert: name at least one file or folder to read")
    if not is_store(out):
        raise InputError(f"coset data convert: --out ends with {SUFFIX}, got {out}")
    if out.exists():
        raise InputError(f"{out} is there already; remove it, or name another file with --out")
    skipped = 0
    with Meter(f"converting to {out.name}", "configurations") as meter:

        def progress(count: int) -> None:
            nonlocal skipped
            if count < 0:
                skipped += 1
            else:
                meter(count)

        frames = stream_structures(*sources, energy=energy_unit, length=length_unit)
        said = f"{', '.join(path.name for path in sources)} (given in {energy_unit}, {length_unit})"
        store = write_store(frames, out, precision=precision, skip=skip, source=said, progress=progress)
    if skipped:
        print(f"warning: {skipped} configurations were left out: numbers that are not finite", file=sys.stderr)
    return report(store, out, json, skipped=skipped)


def check(path: Annotated[Path, Parameter(help="A converted file, or any source.")], /, *, json: AsJson = False) -> int:
    """Compare the checksums of a converted file, and print what a set is and what looks wrong with it."""
    from coset.data.store import Store, is_store
    from coset.data.structure_streams import stream_structures

    if not is_store(path):
        return report(list(stream_structures(path)), path, json)
    store, done = Store(path), 0
    with Meter(f"reading {path.name}", "bytes") as meter:

        def progress(size: int) -> None:
            nonlocal done
            done += size
            meter(done, path.stat().st_size)

        store.verify(progress)
    return report(store, path, json)


def report(frames: Any, path: Path, as_json: bool, **more: int) -> int:
    """Statistics and warnings of a set, to stdout."""
    from coset.cli.show import emit, table
    from coset.data.atomic_statistics import describe, names, summary, warnings_of
    from coset.data.store import Store

    found: dict[str, Any] = {"schema": 1, "path": str(path), **summary(frames), **more, "warnings": warnings_of(frames)}
    if isinstance(frames, Store):
        found["sha256"] = frames.about["sha256"]
    if as_json:
        emit(found)
        return 0
    print(describe(frames))
    alone = [z for z in found["elements"] if z not in found["isolated"]]
    rows = [
        ["atoms", f"{found['atoms']:,}"],
        ["energy", f"{found['energy_per_atom']:.4f} eV per atom in the mean" if "energy_per_atom" in found else "none"],
        ["forces", f"{found['forces']:.4g} eV/A, root mean square" if "forces" in found else "none"],
        [
            "references",
            f"no isolated atom of {names(alone)}: least squares, or --data isolated=FILE" if alone else "isolated atoms",
        ],
        *([["checksums", "as written"], ["made of", frames.about["source"]]] if isinstance(frames, Store) else []),
        *(["warning", text] for text in found["warnings"]),
    ]
    table(["", ""], rows)
    return 0


def public(*, json: AsJson = False) -> int:
    """List the public sets that can be fetched by name."""
    from coset.cli.show import emit, table
    from coset.data.public_cache import cache_folder, cached
    from coset.data.public_sets import SETS

    here = {name: cached(name) for name in SETS}
    if json:
        entries = [
            {"name": each.name, "what": each.says, "bytes": each.size, "energy": each.energy, "licence": each.licence,
             "source": each.source, "files": [remote.url for remote in each.files],
             "folder": str(here[each.name]) if here[each.name] else None}
            for each in SETS.values()
        ]  # fmt: skip
        emit({"schema": 1, "cache": str(cache_folder()), "sets": entries})
        return 0
    rows = [
        [each.name, each.says, "" if each.size is None else f"{each.size / 1e6:.1f} MB", each.energy,
         "here" if here[each.name] else "", each.source]
        for each in SETS.values()
    ]  # fmt: skip
    table(["name", "what it is", "size", "energy", "", "source"], rows)
    print(f"\ncache  {cache_folder()} (COSET_DATA)")
    return 0


def fetch(*names: Names, to: Into = None) -> int:
    """Download public sets into the cache, checked; what is there is checked again."""
    from coset.cli.show import note
    from coset.data.public_cache import fetch_set
    from coset.data.public_sets import set_of
    from coset.errors import InputError

    if not names:
        raise InputError("coset data fetch: name a set of coset data list, as in coset data fetch acac")
    for chosen in [set_of(name) for name in names]:
        note(f"{chosen.name}: {chosen.source}; licence: {chosen.licence}")
        with Meter(chosen.name, "bytes") as meter:
            folder = fetch_set(chosen, to, progress=meter.named, say=note)
        for name in chosen.names:
            print(folder / name)
        if chosen.energy != "eV":
            note(
                f"energies are in {chosen.energy}: coset data convert FILE --energy-unit {chosen.energy} --out FILE.safetensors"
            )
        elif chosen.use and to is None:
            note(f"use it: {chosen.use}")
    return 0
