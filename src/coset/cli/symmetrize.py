"""``coset symmetrize``: impose a symmetry on a model, save it, and show what that bought and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from coset.cli.options import AsJson, GroupName, Promised, Seed, SizeName, Spelled, Target, Trust

if TYPE_CHECKING:
    from coset.contract import Contract

How = Annotated[
    Literal["average", "frames", "canonicalize", "augment", "regularize"],
    Parameter(
        help="average, frames and canonicalize wrap the model as it is; augment and regularize train it on the data given, "
        "where it is held to its own outputs on unmoved inputs."
    ),
]
Data = Annotated[
    str | None, Parameter(help="FILE.npy, FILE.npz, FILE.npz:array or digits: what the error is measured on, and trained on.")
]
Save = Annotated[Path | None, Parameter(help="Folder for model.safetensors, model.json and symmetrize.json.")]


def symmetrize(
    target: Target,
    /,
    *,
    group: GroupName,
    inputs: Spelled,
    outputs: Promised,
    how: How = "average",
    data: Data = None,
    size: SizeName = "cpu",
    seed: Seed = 0,
    save: Save = None,
    json: AsJson = False,
    trust_pickle: Trust = False,
) -> int:
    """Impose a symmetry on a model, save it, and show what that bought."""
    from coset.cli.options import check_writable, contract_of
    from coset.cli.show import emit, note

    check_writable(save)
    contract = contract_of(group, inputs, outputs)

    from coset.cli.audit import answer_once
    from coset.interop.arrays import load_data
    from coset.interop.target import load_target
    from coset.symmetrizers.symmetrize import symmetrize as impose
    from coset.train.fit import fit

    x = None if data is None else load_data(data, contract.inputs)
    model = load_target(target, trust_pickle=trust_pickle)
    if x is not None:
        x = _cast_like(model, x, contract)
        answer_once(model, x, contract, target, str(_dtype_of(x)).removeprefix("torch."))
    _check_saved(model, target, save)
    note(f"{how}: imposing {contract.group} on {target}")
    train = fit if how in ("augment", "regularize") else None
    out = impose(model, contract, how, data=x, size=size, train=train, seed=seed)
    told = _told(target, model, out, contract, x)
    if save is not None:
        _save(out, told, save)
    if json:
        emit(told)
    else:
        _show(told, save, target)
    return 0


def _dtype_of(x: Any) -> Any:
    import torch

    values = x.values() if isinstance(x, dict) else [x]
    return next((v.dtype for v in values if v.is_floating_point()), torch.float32)


def _cast_like(model: Any, x: Any, contract: Contract) -> Any:
    """Floating data in the dtype of the model's weights: the model is taken as it is."""
    import torch

    from coset.audits import precision

    weights = [p.dtype for p in model.parameters() if p.is_floating_point()] if isinstance(model, torch.nn.Module) else []
    packed = contract.inputs.pack(x)
    cast = precision.cast(contract.inputs, packed, weights[0]) if weights else packed
    return contract.inputs.unpack(cast)


def _check_saved(model: Any, target: str, save: Path | None) -> None:
    """Only torch modules can be saved: say so before the work."""
    import torch

    from coset.errors import InputError

    if save is not None and not isinstance(model, torch.nn.Module):
        raise InputError(
            f"--save keeps torch modules, {target} is a {type(model).__name__}; leave --save out to see what it buys, and wrap "
            f"it where it is used: coset.symmetrize(model, contract, how=...)"
        )


def _told(target: str, before: Any, after: Any, contract: Contract, x: Any) -> dict[str, Any]:
    from coset.records import SCHEMA, to_json

    bought = after.bought
    told = {
        "schema": SCHEMA,
        "target": target,
        "how": bought.how,
        "group": bought.group,
        "claim": bought.claim,
        "contract": f"{contract.inputs} -> {contract.outputs}",
        "error": {"before": bought.before, "after": bought.after},
        "passes": bought.passes,
        "note": bought.note,
    }
    if x is not None:
        told["seconds_per_call"] = {"before": _seconds(before, x, contract), "after": _seconds(after, x, contract)}
    plain: dict[str, Any] = to_json(told)
    return plain


def _seconds(f: Any, x: Any, contract: Contract, repeats: int = 5) -> float:
    """Shortest wall time of one call on at most 64 samples, after one to warm up."""
    import time

    from coset.contract import frozen

    bound = contract.bind(x[:64] if hasattr(x, "shape") else x)
    seen = bound.origin(x[:64] if hasattr(x, "shape") else x)
    times = []
    with frozen(f):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            bound.call(f, seen)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def _save(out: Any, told: dict[str, Any], folder: Path) -> None:
    import json

    from coset.records import write_atomically
    from coset.train.checkpoint import save_model

    save_model(folder, out)
    write_atomically(folder / "symmetrize.json", json.dumps(told, indent=2) + "\n")


def _show(told: dict[str, Any], save: Path | None, target: str) -> None:
    error, seconds = told["error"], told.get("seconds_per_call")
    print(f"{told['how']:<10} {told['group']} on {told['contract']}: {told['claim']}")
    if error["before"] is not None:
        print(f"error      {error['before']:.2g} -> {error['after']:.2g}")
    if seconds:
        ratio = seconds["after"] / seconds["before"]
        print(f"cost       x{ratio:.1f} time ({1e3 * seconds['before']:.2g} -> {1e3 * seconds['after']:.2g} ms per call)")
    print(f"note       {told['note']}")
    if save is not None:
        print(f"saved      {save}  (as a TARGET: {save}:{target})")
