"""Reading modules of e3nn, of any version, by their structure: class name and attributes, without importing e3nn.

Coefficients are read off the module itself. A product of e3nn is linear in each of its arguments, so that one call on unit
vectors gives, for every path ``(l1, l2) -> l3``,

    out[k](e_i, e_j, w = 1) = a w3j[i, j, k]

with the module's own 3j symbol: whatever signs its version of e3nn has. It must be a multiple of ours
(:mod:`coset.reps.clebsch_gordan`); the factor carries sign and normalization. A module that was built in float32 keeps the
rounding of its constants, so that the replacement is the same function also where the model is converted to float64 later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps

AGREEMENT = 1e-5
"""How far (relative) a 3j symbol stored in float32 may be from ours; a wrong one is off by its own size."""
EXACT = 1e-12
"""Within this the constants were stored in float64, and ours, equal where they should be equal, take their place."""


class Unsupported(InputError):
    """A foreign module is not one that can be replaced; the message says what is in the way."""


@dataclass(frozen=True, eq=False)
class Coupling:
    """One instruction of a product: its blocks, its mode, its weights ``weight[start:start + size]`` if any, its 3j symbol.

    ``entries`` ``(n, 3)`` are the places (i, j, k) where the symbol is not zero and ``values`` ``(n,)`` what it is there, times
    the instruction's factor.
    """

    first: int
    second: int
    out: int
    mode: str
    weighted: bool
    shape: tuple[int, ...]
    start: int
    entries: np.ndarray
    values: np.ndarray

    @property
    def size(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape) if self.weighted else 0


def wants(module: Any, *attributes: str) -> None:
    """Unsupported, with the missing names, unless the module has all attributes."""
    missing = [name for name in attributes if not hasattr(module, name)]
    if missing:
        raise Unsupported(f"it has no {', '.join(missing)}")


def read_irreps(foreign: Any) -> Irreps:
    """The irreps of a foreign object that prints as they do; Unsupported if it does not."""
    try:
        return Irreps(str(foreign))
    except InputError as error:
        raise Unsupported(f"its irreps cannot be read: {error}") from error


def float_dtype(module: nn.Module) -> torch.dtype:
    """The dtype that the module computes in: that of its parameters and buffers."""
    found = {x.dtype for x in (*module.parameters(), *module.buffers()) if x.is_floating_point() and x.numel()}
    if len(found) > 1:
        raise Unsupported(f"its parameters mix {', '.join(sorted(map(str, found)))}")
    return found.pop() if found else torch.get_default_dtype()


def in_double(module: nn.Module) -> nn.Module:
    """A frozen copy in float64 on the processor, in which arithmetic adds no error to what the module stores."""
    return deepcopy(module).cpu().double().requires_grad_(False).eval()


def read_couplings(module: Any) -> tuple[Coupling, ...]:
    """The instructions of a tensor product with their 3j symbols, read off calls on unit vectors."""
    wants(module, "irreps_in1", "irreps_in2", "irreps_out", "instructions", "weight_numel", "shared_weights")
    instructions = list(module.instructions)
    bare = [(ins.i_in1, ins.i_in2, ins.i_out) for ins in instructions if not ins.has_weight]
    if len(set(bare)) < len(bare):
        raise Unsupported("two instructions without weights join the same blocks")
    double = in_double(module)
    found, start = [], 0
    for ins in instructions:
        shape, weighted = tuple(int(n) for n in ins.path_shape), bool(ins.has_weight)
        symbol = _symbol(double, (ins.i_in1, ins.i_in2, ins.i_out), start if weighted else None)
        entries = np.argwhere(symbol)
        place = (ins.i_in1, ins.i_in2, ins.i_out, str(ins.connection_mode), weighted, shape, start)
        found.append(Coupling(*place, entries, symbol[tuple(entries.T)]))
        start += found[-1].size
    if start != module.weight_numel:
        raise Unsupported(f"its instructions use {start} weights, but it says it has {module.weight_numel}")
    return tuple(found)


def _symbol(double: Any, places: tuple[int, int, int], weight: int | None) -> np.ndarray:
    """The module's 3j symbol between three blocks, with its factor; Unsupported if it is not a multiple of ours."""
    irreps = [read_irreps(getattr(double, name)) for name in ("irreps_in1", "irreps_in2", "irreps_out")]
    labels = [irreps[n][place].ir for n, place in enumerate(places)]
    first, second, out = (irreps[n].slices()[place].start for n, place in enumerate(places))
    ours = wigner_3j(*(ir.l for ir in labels)).numpy()
    i, j = (torch.tensor(x).flatten() for x in np.indices(ours.shape[:2]))
    x, y = (torch.zeros(len(i), irreps[n].dim, dtype=torch.float64) for n in (0, 1))
    x[torch.arange(len(i)), first + i] = 1.0  # channel 0, component i of (mul, 2l + 1)
    y[torch.arange(len(i)), second + j] = 1.0
    weights = torch.zeros(double.weight_numel, dtype=torch.float64)
    if weight is not None:
        weights[weight] = 1.0
    weights = weights if double.shared_weights else weights.expand(len(i), -1)
    theirs = double(x, y, weights) if double.weight_numel else double(x, y)
    theirs = theirs[:, out : out + ours.shape[2]].reshape(ours.shape).numpy()
    factor = (theirs * ours).sum() / (ours * ours).sum()
    gap = np.abs(theirs - factor * ours).max()
    if factor == 0.0 or gap > AGREEMENT * abs(factor):
        raise Unsupported("{} x {} -> {}: its coupling is not a multiple of the 3j symbol".format(*labels))
    return factor * ours if gap < EXACT * abs(factor) else np.where(ours == 0.0, 0.0, theirs)


def blocks_of(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """A feature ``(N, dim)`` in e3nn's order as blocks ``(N, 2l + 1, mul)``: views."""
    parts = x.split([block.dim for block in irreps], dim=-1)
    return [part.unflatten(-1, (mul, ir.dim)).transpose(-1, -2) for part, (mul, ir) in zip(parts, irreps, strict=True)]


def joined(blocks: Sequence[Tensor]) -> Tensor:
    """The inverse of :func:`blocks_of`: one copy."""
    flat = [block.transpose(-1, -2).flatten(-2) for block in blocks]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=-1)


class Layout(NamedTuple):
    """Rows of a feature whose blocks have ``C`` or a multiple of ``C`` channels; ``start[b] + m * copies[b] + j``."""

    irreps: Irreps
    channels: int
    starts: tuple[int, ...]
    copies: tuple[int, ...]

    @classmethod
    def of(cls, irreps: Irreps, channels: int) -> Layout:
        """One row per component and group of channels, blocks one after the other."""
        copies = tuple(mul // channels for mul, _ in irreps)
        sizes = [ir.dim * n for (_, ir), n in zip(irreps, copies, strict=True)]
        return cls(irreps, channels, tuple(int(n) for n in np.cumsum([0, *sizes])), copies)

    @property
    def total(self) -> int:
        """How many rows there are."""
        return self.starts[-1]

    def rows(self, block: int, copy: int) -> np.ndarray:
        """Where the components of one group of channels stand."""
        return self.starts[block] + np.arange(self.irreps[block].ir.dim) * self.copies[block] + copy

    def gather(self, x: Tensor) -> Tensor:
        """e3nn's ``(N, dim)`` to ``(N, rows, C)``."""
        return self.stack(blocks_of(x, self.irreps))

    def stack(self, blocks: Sequence[Tensor]) -> Tensor:
        """Blocks ``(N, 2l + 1, mul)`` as ``(N, rows, C)``."""
        parts = [block.reshape(len(block), -1, self.channels) for block in blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """``(N, rows, C)`` as blocks ``(N, 2l + 1, mul)``: views."""
        sizes = [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]
        parts = x.split(sizes, dim=1)
        return [part.reshape(len(x), ir.dim, mul) for part, (mul, ir) in zip(parts, self.irreps, strict=True)]


def mixed(block: Tensor, matrix: Tensor) -> Tensor:
    """``block @ matrix`` on the last axis as one matrix product; torch makes a batch of small ones where weights are frozen."""
    return (block.reshape(-1, block.shape[-1]) @ matrix).view(*block.shape[:-1], matrix.shape[1])
