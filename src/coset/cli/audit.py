"""``coset audit``: how far is a callable from a contract, at which elements, from which layer on?"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from coset.cli.options import AsJson, MaybeGroup, MaybePromised, MaybeSample, MaybeSpelled, Seed, Target, Trust

if TYPE_CHECKING:
    from coset.audits.verdict import Audit
    from coset.contract import Contract

SHOWN = 16  #: elements in the table; of more, the worst
SECONDS = 5.0  #: for which the cause of a failure is looked for
SMALL = 1e-6  #: an error below this is no symmetry that is missing, and nothing to impose one for
LETTERS = 8  #: members of a set, all of whose orders can be averaged over, at most


Tolerance = Annotated[
    float | None,
    Parameter(
        help="Largest relative error that passes; by default what the dtype can hold. A larger error ends with exit code 1."
    ),
]
Precision = Annotated[
    list[Literal["float64", "float32", "bfloat16"]] | None,
    Parameter(help="How model and data are judged (float64); repeated, the finest decides.", show_default=False),
]
Samples = Annotated[
    int,
    Parameter(
        help="How many samples, and how many elements, are drawn at most.", validator=validators.Number(gte=1, lte=10**6)
    ),
]
Atoms = Annotated[
    Path | None,
    Parameter(
        help="Structures (extended XYZ, npz): TARGET is an interatomic potential, its FILE, the FOLDER of a row, or an ASE "
        "calculator as package.module:attribute, and is held to all that a potential must obey.",
    ),
]
Out = Annotated[
    Path | None,
    Parameter(help='Folder for audit.json, audit.npz, the page audit.html and, with the extra "report", audit.png.'),
]
Beside = Annotated[
    list[str] | None,
    Parameter(
        help="Another target on the same page, at most five; the exit code stays that of TARGET.", negative=(), metavar="TARGET"
    ),
]
Labels = Annotated[
    str | None,
    Parameter(help="Classes of the samples, for the page: FILE.npy or FILE.npz:array. The digits bring their own."),
]


def audit(
    target: Target,
    /,
    *,
    group: MaybeGroup = None,
    inputs: MaybeSpelled = None,
    outputs: MaybePromised = None,
    data: MaybeSample = None,
    atoms: Atoms = None,
    tolerance: Tolerance = None,
    dtype: Precision = None,
    samples: Samples = 64,
    seed: Seed = 0,
    out: Out = None,
    beside: Beside = None,
    labels: Labels = None,
    json: AsJson = False,
    trust_pickle: Trust = False,
) -> int:
    """Measure how far a callable is from a contract, or from all that it promises; exit code 1 where one is not met."""
    from coset.cli.options import check_writable, promised
    from coset.cli.show import emit
    from coset.errors import InputError
    from coset.interop.target import load_target

    check_writable(out)
    if out is None and (beside or labels):
        raise InputError("--beside and --labels are for the page, which --out FOLDER asks for")
    if atoms is not None:
        from coset.cli.audit_atoms import audit_atoms

        return audit_atoms(target, atoms, dtype=dtype, tolerance=tolerance, samples=samples, seed=seed, out=out, json=json)
    stated = promised(None, group, inputs, outputs) if group is not None or inputs or outputs else ()
    f = load_target(target, trust_pickle=trust_pickle)
    contracts = stated or promised(f, None, None, None)
    others = [(name, load_target(name, trust_pickle=trust_pickle)) for name in beside or []]
    judged, documents = [], []
    for i, contract in enumerate(contracts):
        place = out if out is None or len(contracts) == 1 else out / str(i)
        found, told = _measure(f, contract, target, data, (dtype, tolerance, samples, seed), place)
        judged.append(found is None or contract.claim == "broken" or found.verdict == "PASS")
        documents.append(told)
        fails = found is not None and found.verdict != "PASS" and found.error > SMALL and group is not None
        following = _next(f, target, contract, group or "", inputs or [], outputs or [], data) if fails else ""
        if found is not None and place is not None:
            _page(place, [(target, f), *others], found, following, contract, data, labels, (dtype, tolerance, samples, seed))
        if not json and found is not None:
            if i:
                print()
            _show(found, place)
            if following:
                print(f"next     {following}")
    if json:
        emit(documents[0] if len(documents) == 1 else {"schema": documents[0]["schema"], "audits": documents})
    return 0 if all(judged) else 1


def _measure(
    f: Any, contract: Contract, target: str, data: str | None, how: tuple[Any, ...], out: Path | None
) -> tuple[Audit | None, dict[str, Any]]:
    """One contract measured, and the document about it; nothing is measured where inputs were recorded in pairs."""
    from coset.audits.equivariance import audit as measure
    from coset.cli.options import sample_of
    from coset.cli.show import note
    from coset.records import SCHEMA
    from coset.reps.action import Recorded

    dtype, tolerance, samples, seed = how
    dtypes = dtype or ["float64"]
    spelled = f"{contract.group}: {contract.inputs} -> {contract.outputs}"
    if any(isinstance(declared.kind, Recorded) for _, declared in contract.inputs):
        note(f"{spelled}: nobody can move a recorded input, compare pairs with Contract.gap")
        return None, {"schema": SCHEMA, "contract": spelled, "claim": contract.claim, "verdict": "NOT JUDGED"}
    x = sample_of(data, contract)
    for name in dtypes:
        answer_once(f, x, contract, target, name)
    note(f"auditing {target} against {spelled}" + ("" if contract.claim == "exact" else f", claimed {contract.claim}"))
    search = 0.0 if contract.claim == "broken" else SECONDS
    found = measure(f, x, contract, dtype=dtypes, tolerance=tolerance, samples=samples, seed=seed, causes=search)
    told = {**found.to_json(), "contract": spelled, "claim": contract.claim}
    if out is not None:
        _save(found, told, out)
    return found, told


def answer_once(f: Callable[..., Any], x: Any, contract: Contract, target: str, dtype: str = "float64") -> None:
    """Ask the model once, so that a target that cannot take the data is told from a fault of ours (InputError)."""
    from coset.errors import CosetError, InputError

    try:
        _ask(f, x, contract, dtype)
    except CosetError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(v.shape)}".strip() for name, v in contract.inputs.pack(x).items())
        hint = ""
        if dtype == "float64":
            with suppress(Exception):
                _ask(f, x, contract, "float32")
                hint = "; in float32 it answers: --dtype float32"
        raise InputError(f"{target} cannot take this data ({shapes}): {type(error).__name__}: {error}{hint}") from error


def _ask(f: Callable[..., Any], x: Any, contract: Contract, dtype: str) -> None:
    from coset.audits import precision

    bound = contract.bind(x)
    kind = precision.dtype_of(dtype)
    packed = precision.cast(contract.inputs, contract.inputs.pack(x), kind)
    bound.call(precision.at_dtype(f, kind), bound.origin(contract.inputs.unpack(packed)))


def _save(found: Audit, told: dict[str, Any], out: Path) -> None:
    import importlib.util
    import io
    import json

    from coset.records import write_atomically

    write_atomically(out / "audit.json", json.dumps(told, indent=2) + "\n")
    found.save(out / "audit.npz")
    if importlib.util.find_spec("matplotlib"):
        picture = io.BytesIO()
        found.plot().savefig(picture, format="png", dpi=120, bbox_inches="tight")
        write_atomically(out / "audit.png", picture.getvalue())


def _page(
    out: Path, targets: Sequence[tuple[str, Any]], found: Audit, following: str, contract: Contract, data: str | None,
    labels: str | None, how: tuple[Any, ...],
) -> None:  # fmt: skip
    """The page beside the numbers; a model whose orbits cannot be recorded keeps its numbers and gets none."""
    from coset.cli.audit_page import Shown, write_page
    from coset.cli.options import sample_of
    from coset.cli.show import note
    from coset.errors import CosetError

    shown = [Shown(target, f, found if i == 0 else None, following if i == 0 else "") for i, (target, f) in enumerate(targets)]
    try:
        write_page(out / "audit.html", shown, sample_of(data, contract), contract, data=data, labels=labels, how=how)
    except CosetError as error:
        if len(targets) > 1 or labels is not None:
            raise
        note(f"no page: {error}")


def _show(found: Audit, out: Path | None) -> None:
    from coset.cli.show import table

    order = list(range(len(found.elements)))
    if len(order) > SHOWN:
        order = sorted(sorted(order, key=lambda i: -found.element_errors[i])[:SHOWN])
    title = "element" if len(order) == len(found.elements) else f"element ({SHOWN} worst of {len(found.elements)})"
    table(
        [title, "error", "floor"],
        [[found.elements[i], f"{found.element_errors[i]:.2g}", f"{found.element_floors[i]:.2g}"] for i in order],
    )
    if found.layers:
        print()
        _show_layers(found)
    print()
    low, high = found.interval
    print(f"verdict  {found.verdict}  relative error {found.error:.2g} [{low:.2g}, {high:.2g}]  (worst: {found.worst})")
    how = f"{found.dtype}, {found.samples} samples, seed {found.seed}"
    print(f"judged   tolerance {found.tolerance:.2g}, floor {found.floor:.2g}, {how}")
    for head, words in found.why():
        print(f"{head:<9}{words}")
    for line in found.notes:
        print(f"note     {line}")
    if out is not None:
        page = f", {out}/audit.html" if (out / "audit.html").is_file() else ""
        print(f"files    {out}/audit.json, {out}/audit.npz{page}")


def _show_layers(found: Audit) -> None:
    """All layers, or of many those around the first offender, of none the last: the page and the JSON have every one."""
    from coset.cli.show import table

    first = next((i for i, layer in enumerate(found.layers) if layer["name"] == found.offender), len(found.layers))
    start = max(min(first - 2, len(found.layers) - SHOWN), 0)
    shown = found.layers[start : start + SHOWN]
    hinted = not found.causes  # a guess by the layer's class gives way to what was measured
    rows = []
    for layer in shown:
        told = ""
        if layer["name"] == found.offender:
            held = found.verdict == "PASS" and layer["guessed"]
            told = (hinted and layer["cause"]) or ("as guessed; the output holds" if held else "first above the floor")
        field = shorten(layer["field"].replace("+", " +"), 48, placeholder=" …").replace(" +", "+")
        rows.append([layer["name"], f"{layer['error']:.2g}", field + (" (guessed)" if layer["guessed"] else ""), told])
    title = "layer" if len(shown) == len(found.layers) else f"layer ({len(shown)} of {len(found.layers)})"
    table([title, "error", "as", "cause"], rows)


def _next(
    f: Any, target: str, contract: Contract, group: str, inputs: Sequence[str], outputs: Sequence[str], data: str | None
) -> str:
    """The command that would impose what was found missing; empty where there is no way, as over the orders of many atoms."""
    import torch

    from coset.cli.options import sample_of
    from coset.groups.permutation import S
    from coset.symmetrizers.symmetrize import hows

    parts = contract.bind(sample_of(data, contract)).group.factors()
    many = any(isinstance(part, S) and (part.size or 0) > LETTERS for part in parts)
    ways = [way for way in hows(contract) if way in ("average", "frames", "canonicalize") and not (many and way == "average")]
    if not ways:
        return ""
    words = ["coset", "symmetrize", target, "--group", group]
    words += [word for spec in inputs for word in ("--in", spec)] + [word for spec in outputs for word in ("--out-rep", spec)]
    words += ["--how", ways[0], *(["--data", data] if data else [])]
    return shlex.join(words + ["--save", f"runs/{ways[0]}"] * isinstance(f, torch.nn.Module))
