"""The page of ``coset audit --out``: every model on the same samples and elements, one part per factor of the group."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

KEPT = 256 * 2**20  #: bytes of samples that are kept beside a page

if TYPE_CHECKING:
    from torch import Tensor

    from coset.audits.verdict import Audit
    from coset.contract import Contract


@dataclass
class Shown:
    """One model of a page."""

    target: str
    f: Any
    audit: Audit | None = None  #: of the whole contract, where it was measured already
    following: str = ""  #: the command to run next


def write_page(
    path: Path, shown: Sequence[Shown], x: Any, contract: Contract, *, data: str | None, labels: str | None,
    how: tuple[Any, ...],
) -> Path:  # fmt: skip
    """Record the models over the orbits of ``x``, and write the page; ``how`` is dtypes, tolerance, samples and seed.

    Beside it stand the samples, ``samples.npz``, with which :mod:`coset.interop.serve` asks the models again.

    Raises InputError or ContractError where a model cannot be recorded.
    """
    from coset.report.audit_page import write_audit_page

    recorded = [_part(shown, x, part, data, labels, how) for part in contract.factors()]
    parts = [part for part, _ in recorded]
    _keep(path.with_name("samples.npz"), recorded[0][1])
    return write_audit_page(path, parts[0] if len(parts) == 1 else {**parts[0], "parts": parts})


def _part(
    shown: Sequence[Shown], x: Any, contract: Contract, data: str | None, labels: str | None, how: tuple[Any, ...]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The payload for one factor of the group, and the samples it is about."""
    import coset
    from coset.audits.equivariance import audit
    from coset.audits.recording import data_symmetry, record
    from coset.report.audit_payload import Exhibit, payload

    dtype, tolerance, samples, seed = how
    dtypes = dtype or ["float64"]
    truth, asked = _labels(labels, data)
    exhibits: list[Exhibit] = []
    for one, name in zip(shown, names(one.target for one in shown), strict=True):
        whole = one.audit is not None and not one.audit.parts
        found = one.audit if whole and one.audit else audit(
            one.f, x, contract, dtype=dtypes, tolerance=tolerance, samples=samples, seed=seed
        )  # fmt: skip
        seen = _record(record, one.f, x, contract, truth, asked, name=name, samples=samples, dtype=found.dtype, seed=seed,
                       elements=exhibits[0].recording.grid if exhibits else None)  # fmt: skip
        exhibits.append(Exhibit(_in_float32(found, one.f, x, contract, how), seen, following=one.following))
    law = data_symmetry(contract, contract.inputs.pack(x), truth, seed=seed)
    told = payload(
        exhibits, title=data or "", command=shlex.join(["coset", *sys.argv[1:]]), data=law,
        versions={"coset": coset.__version__, "torch": _torch_version()},
    )  # fmt: skip
    return told, exhibits[0].recording.x


def _in_float32(found: Audit, f: Any, x: Any, contract: Contract, how: tuple[Any, ...]) -> Audit:
    """The finding with every layer's error in float32 beside it, where the model can be asked in that and was not yet."""
    import copy

    from coset.audits.equivariance import audit
    from coset.audits.verdict import across_dtypes

    _, tolerance, samples, seed = how
    if not found.layers or found.dtype != "float64" or len(found.by_dtype) > 1:
        return found
    try:
        single = audit(f, x, contract, dtype="float32", tolerance=tolerance, samples=samples, seed=seed)
    except Exception:  # it was written for one precision; the page then shows that one
        return found
    return across_dtypes([copy.deepcopy(found), single])


def _keep(path: Path, x: dict[str, Tensor]) -> None:
    """The samples as arrays; none of those too large for a file beside a page, nor an older audit's."""
    import io

    import numpy as np

    from coset.records import write_atomically

    path.unlink(missing_ok=True)
    if sum(value.element_size() * value.numel() for value in x.values()) > KEPT:
        return
    content = io.BytesIO()
    arrays = {name or "input": value.detach().cpu().numpy() for name, value in x.items()}
    np.savez(content, **arrays)  # type: ignore[arg-type]  # names are not known to the stub
    write_atomically(path, content.getvalue())


def _record(record: Any, f: Any, x: Any, contract: Contract, truth: Any, asked: bool, **more: Any) -> Any:
    from coset.errors import InputError

    try:
        return record(f, x, contract, labels=truth, **more)
    except InputError:
        if truth is None or asked:
            raise
        return record(f, x, contract, **more)  # a model of digits need not tell their classes


def _labels(labels: str | None, data: str | None) -> tuple[Any, bool]:
    """Classes by ``--labels``, or those that come with the data; and whether they were asked for."""
    from coset.errors import InputError
    from coset.interop.arrays import load_data
    from coset.reps.fields import Fields

    if labels is None and data == "digits":
        from sklearn.datasets import load_digits

        return load_digits().target, False
    if labels is None:
        return None, False
    found = load_data(labels, Fields("N -> C"))
    if found.is_floating_point() or found.ndim != 1:
        raise InputError(f"--labels {labels}: expected one integer per sample, got {found.dtype} of shape {tuple(found.shape)}")
    return found.numpy(), True


def names(targets: Any) -> list[str]:
    """Short names of targets, told apart: the attribute, or the last two folders."""
    listed = list(targets)
    short = [t.rpartition(":")[2] if ":" in t else "/".join(Path(t).parts[-2:]) for t in listed]
    return [name if short.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(short)]


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
