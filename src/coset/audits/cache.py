"""Predictions on disk, by the hash of model, sample, grid and contract: a second plot of the same orbit costs nothing."""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits.grids import Grid
from coset.audits.passes import Plan
from coset.errors import InputError
from coset.groups.group import Elements
from coset.records import load_arrays, write_atomically


def collect(plan: Plan, grid: Grid) -> dict[str, Tensor]:
    """``f(g . x)`` for the whole grid, ``(k, ...)`` by name, the identity evaluated plainly."""
    parts: list[dict[str, Tensor]] = [y for _, _, y in plan.orbit(grid.elements)]
    out = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if grid.identity >= 0:
        for name, value in plan.plain().items():
            out[name][grid.identity] = value
    return out


class Cache:
    """One ``.npz`` per part of a data set in ``folder``; only modules have weights to tell them apart (else InputError)."""

    def __init__(self, folder: str | Path, f: Callable[..., Any], plan: Plan, grid: Grid, dtype: torch.dtype | None) -> None:
        if not isinstance(f, nn.Module):
            raise InputError(
                f"cache: a {type(f).__name__} has no weights to recognise it by; pass an nn.Module or leave cache out"
            )
        self.folder, self.grid = Path(folder), grid
        seen = hashlib.sha256(f"{plan.contract} {plan.contract.inputs} {plan.contract.outputs} {plan.seed} {dtype}".encode())
        seen.update(_description(f).encode())
        for name, value in sorted(f.state_dict().items()):
            _feed(seen, name, value)
        _feed(seen, "grid", grid.elements)
        self.start = seen

    def orbit(self, plan: Plan) -> dict[str, Tensor]:
        """Predictions of this part of the samples, read or computed and written."""
        seen = self.start.copy()
        for name, value in sorted(plan.x.items()):
            _feed(seen, name, value)
        path = self.folder / f"{seen.hexdigest()[:32]}.npz"
        if path.is_file():
            return {name.removeprefix("y:"): torch.from_numpy(value) for name, value in load_arrays(path).items()}
        found = collect(plan, self.grid)
        _write(path, {f"y:{name}": value.cpu().numpy() for name, value in found.items()})
        return found


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_atomically(path, stream.getvalue())


def _description(f: nn.Module) -> str:
    """The architecture and, where it can be had, the code: equal weights in other code are another model."""
    parts = [str(f)]
    for kind in sorted({type(module) for module in f.modules()}, key=lambda k: k.__qualname__):
        try:
            parts.append(inspect.getsource(kind))
        except (OSError, TypeError):
            parts.append(kind.__qualname__)
    return "\n".join(parts)


def _feed(seen: Any, name: str, value: Any) -> None:
    if isinstance(value, Elements):
        for i, part in enumerate(value.parts):
            _feed(seen, f"{name}.{i}", part)
        return
    seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
    seen.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
