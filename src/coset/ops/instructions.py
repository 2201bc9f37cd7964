"""Tensor products with any list of paths, in the vocabulary and with the numbers of e3nn.

An instruction ``(i1, i2, iout, mode, has_weight, path_weight)`` adds to block ``iout`` of the output, with multiplicities u, v
of the operands' blocks and w of the output's, and the 3j symbol ``C`` of unit norm,

    ======  ====================================================  ==============
    uvw     out[w, k] += a sum_uvij W[u, v, w] C x1[u, i] x2[v, j]  W: (u, v, w)
    uvu     out[u, k] += a sum_vij  W[u, v]    C x1[u, i] x2[v, j]  W: (u, v)
    uvv     out[v, k] += a sum_uij  W[u, v]    C x1[u, i] x2[v, j]  W: (u, v)
    uuw     out[w, k] += a sum_uij  W[u, w]    C x1[u, i] x2[u, j]  W: (u, w)
    uuu     out[u, k] += a sum_ij   W[u]       C x1[u, i] x2[u, j]  W: (u,)
    uvuv    out[uv, k] += a sum_ij  W[u, v]    C x1[u, i] x2[v, j]  W: (u, v)
    ======  ====================================================  ==============

``a^2 = path_weight * out variance * n / x``: ``n`` is ``2 l_out + 1`` ("component"), ``(2 l_1 + 1)(2 l_2 + 1)`` ("norm") or 1;
``x`` is the number of products summed into one output, over all paths ("element"), or over this path times the number of
paths ("path"), or 1, each weighted by the variances of the operands: outputs have unit variance when inputs and weights do.
Features are flat, channels last (:mod:`coset.reps.irreps`); weights are flat in the order of the instructions, as in e3nn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coset.errors import ContractError, InputError, unknown
from coset.reps.irreps import Irreps

MODES = ("uvw", "uvu", "uvv", "uuw", "uuu", "uvuv")
SUMMED = {"uvw": "uv", "uvu": "v", "uvv": "u", "uuw": "u", "uuu": "", "uvuv": ""}  #: copies summed into one output
WEIGHTS = {"uvw": "uvw", "uvu": "uv", "uvv": "uv", "uuw": "uw", "uuu": "u", "uvuv": "uv"}  #: axes of the weights
PATH_NORMALIZATIONS = ("element", "path", "none")


@dataclass(frozen=True)
class Instruction:
    """One path: blocks of the operands and of the output, how their copies combine, and its variance."""

    i1: int
    i2: int
    iout: int
    mode: str
    has_weight: bool = True
    path_weight: float = 1.0

    def copies(self, irreps: Sequence[Irreps]) -> dict[str, int]:
        """The multiplicities by their letters."""
        one, two, out = (side[i].mul for side, i in zip(irreps, (self.i1, self.i2, self.iout), strict=True))
        return {"u": one, "v": two, "w": out}

    def weights(self, irreps: Sequence[Irreps]) -> tuple[int, ...]:
        """The shape of its weights, ``()`` without."""
        copies = self.copies(irreps)
        return tuple(copies[letter] for letter in WEIGHTS[self.mode]) if self.has_weight else ()

    def elements(self, irreps: Sequence[Irreps]) -> int:
        """How many products are summed into one output."""
        copies, total = self.copies(irreps), 1
        for letter in SUMMED[self.mode]:
            total *= copies[letter]
        return total

    def check(self, irreps: Sequence[Irreps]) -> None:
        """InputError or ContractError, naming the path, if the blocks do not fit together."""
        blocks = []
        for name, side, i in zip(("i1", "i2", "iout"), irreps, (self.i1, self.i2, self.iout), strict=True):
            if not 0 <= i < len(side):
                raise InputError(f"path {self}: {name} = {i}, but {side} has {len(side)} blocks")
            blocks.append(side[i])
        one, two, out = blocks
        name = f"path {self.mode} {one} x {two} -> {out}"
        if self.mode not in MODES:
            raise unknown(f"mode of {name}:", self.mode, MODES)
        if out.ir not in list(one.ir * two.ir):
            raise ContractError(f"{name}: {one.ir} x {two.ir} contains {', '.join(map(str, one.ir * two.ir))}, not {out.ir}")
        if self.mode in ("uuw", "uuu") and one.mul != two.mul:
            raise InputError(f"{name}: the operands need equal multiplicities, got {one.mul} and {two.mul}")
        expected = {"uvu": one.mul, "uvv": two.mul, "uuu": one.mul, "uvuv": one.mul * two.mul}.get(self.mode, out.mul)
        if self.mode == "uuw" and not self.has_weight:
            expected = 1
        if out.mul != expected:
            raise InputError(f"{name}: the output has multiplicity {expected} in this mode, got {out.mul}")
        if self.mode == "uvw" and not self.has_weight:
            raise InputError(f"{name}: this mode needs weights")

    def __str__(self) -> str:
        return f"({self.i1}, {self.i2}, {self.iout}, {self.mode!r})"


def read_instructions(given: Sequence[Any], irreps: Sequence[Irreps]) -> tuple[Instruction, ...]:
    """Instructions from e3nn's tuples, checked against ``irreps`` (first, second, out)."""
    instructions = tuple(item if isinstance(item, Instruction) else Instruction(*item) for item in given)
    for instruction in instructions:
        instruction.check(irreps)
    return instructions


def all_paths(irreps_1: Irreps, irreps_2: Irreps, irreps_out: Irreps) -> list[Instruction]:
    """Every path into ``irreps_out``, mode uvw: the fully connected product."""
    return [
        Instruction(i, j, k, "uvw")
        for i, (_, one) in enumerate(irreps_1)
        for j, (_, two) in enumerate(irreps_2)
        for k, (_, out) in enumerate(irreps_out)
        if out in list(one * two)
    ]


def amplitudes(
    instructions: Sequence[Instruction],
    irreps: Sequence[Irreps],
    irrep_normalization: str = "component",
    path_normalization: str = "element",
    variances: Sequence[Sequence[float] | None] = (None, None, None),
) -> list[float]:
    """The factor ``a`` of every path, see the module; ``variances`` of the blocks of both operands and of the output."""
    if path_normalization not in PATH_NORMALIZATIONS:
        raise unknown("path_normalization", path_normalization, PATH_NORMALIZATIONS)
    of = [given or [1.0] * len(side) for given, side in zip(variances, irreps, strict=True)]
    spread = [of[0][p.i1] * of[1][p.i2] * p.elements(irreps) for p in instructions]
    factors = []
    for path, own in zip(instructions, spread, strict=True):
        one, two, out = irreps[0][path.i1].ir.dim, irreps[1][path.i2].ir.dim, irreps[2][path.iout].ir.dim
        scales = {"component": out, "norm": one * two, "none": 1}
        if irrep_normalization not in scales:
            raise unknown("irrep_normalization", irrep_normalization, scales)
        siblings = [s for p, s in zip(instructions, spread, strict=True) if p.iout == path.iout]
        total = {"element": sum(siblings), "path": own * len(siblings), "none": 1.0}[path_normalization]
        square = path.path_weight * of[2][path.iout] * scales[irrep_normalization] / (total if total > 0 else 1.0)
        factors.append(square**0.5)
    return factors
