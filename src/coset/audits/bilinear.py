"""Bilinear maps between features of irreps, whatever layout and weights they have: what audits of products call.

Features are flat ``(n, dim)``, block after block in the order ``(2l + 1, mul)``; :class:`Bilinear` hands them to a product in
the layout that it wants and takes its weights as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from coset.errors import InputError
from coset.reps.irreps import Irreps
from coset.reps.wigner import wigner_blocks

Layout = Literal["rows", "ir_mul", "mul_ir"]


@dataclass(frozen=True)
class Feature:
    """The blocks of a feature: multiplicity, degree and parity of each; flat tensors in the order ``(2l + 1, mul)``."""

    blocks: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, irreps: Any, *, parity: bool) -> Feature:
        """From irreps; parities are all 1 where the group does not see them."""
        found: Iterable[Any] = list(Irreps(irreps))
        return cls(tuple((int(mul), int(ir.l), int(ir.p) if parity else 1) for mul, ir in found if mul))

    @property
    def kinds(self) -> list[tuple[int, int]]:
        """Different (degree, parity), in order of appearance."""
        return list(dict.fromkeys((l, p) for _, l, p in self.blocks))

    @property
    def sizes(self) -> list[int]:
        """Length of each block."""
        return [mul * (2 * l + 1) for mul, l, _ in self.blocks]

    def multiplicity(self, kind: tuple[int, int]) -> int:
        """Of an irrep, over all blocks."""
        return sum(mul for mul, l, p in self.blocks if (l, p) == kind)

    def mask(self, kind: tuple[int, int]) -> Tensor:
        """1 on the entries of one irrep, ``(dim,)``."""
        chosen = [float((l, p) == kind) for _, l, p in self.blocks]
        return torch.tensor([c for c, size in zip(chosen, self.sizes, strict=True) for _ in range(size)], dtype=torch.float64)

    def split(self, x: Tensor) -> list[Tensor]:
        """Blocks ``(n, 2l + 1, mul)``."""
        parts = x.split(self.sizes, -1)
        return [part.unflatten(-1, (2 * l + 1, mul)) for part, (mul, l, _) in zip(parts, self.blocks, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of :meth:`split`."""
        return torch.cat([part.flatten(-2) for part in parts], -1)

    def turn(self, x: Tensor, rotation: Tensor, sign: int) -> Tensor:
        """``x (n, dim)`` moved by ``sign * rotation``; ``sign = -1`` applies every block's parity."""
        matrices = wigner_blocks(max(l for _, l, _ in self.blocks), rotation)
        return self.join([
            (p if sign < 0 else 1) * (matrices[l] @ part) for part, (_, l, p) in zip(self.split(x), self.blocks, strict=True)
        ])  # fmt: skip

    def mix(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """An equivariant linear layer: blocks of one irrep stand side by side and are mixed by ``(mul, mul)``."""
        parts, out = self.split(x), dict.fromkeys(range(len(self.blocks)), x)
        for kind, weight in zip(self.kinds, weights, strict=True):
            places = [i for i, (_, l, p) in enumerate(self.blocks) if (l, p) == kind]
            mixed = torch.cat([parts[i] for i in places], -1) @ weight.to(x.dtype)
            for i, part in zip(places, mixed.split([self.blocks[i][0] for i in places], -1), strict=True):
                out[i] = part
        return self.join(list(out.values()))

    def linear_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the weights of :meth:`mix`."""
        return [(self.multiplicity(kind),) * 2 for kind in self.kinds]


@dataclass(frozen=True)
class Bilinear:
    """A product between flat features ``(n, dim)`` with its weights as an argument, in the layout that it wants."""

    op: Callable[..., Any]
    sides: tuple[Feature, Feature, Feature]
    layout: Layout
    shapes: tuple[tuple[int, ...], ...]  #: of the weights that are passed by position
    names: tuple[str, ...]  #: of the parameters of a module

    def __call__(self, x1: Tensor, x2: Tensor, weights: Sequence[Tensor]) -> Tensor:
        first, second, out = self.sides
        given = (self._enter(first, x1), self._enter(second, x2), *weights[: len(self.shapes)])
        if self.names:
            named = dict(zip(self.names, weights[len(self.shapes) :], strict=False))
            y = torch.func.functional_call(self.op, named, given)  # type: ignore[arg-type]
        else:
            y = self.op(*given)
        return self._leave(out, y)

    def between_linears(self, x1: Tensor, x2: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """``C B(A x, A' y)``; the last weights are those of the three layers."""
        first, second, out = self.sides
        counts = [len(side.kinds) for side in self.sides]
        own, linear = weights[: len(weights) - sum(counts)], list(weights[len(weights) - sum(counts) :])
        a, b, c = (linear[: counts[0]], linear[counts[0] : counts[0] + counts[1]], linear[counts[0] + counts[1] :])
        return out.mix(self(first.mix(x1, a), second.mix(x2, b), own), c)

    def draw(self, generator: torch.Generator, *, linears: bool) -> list[Tensor]:
        """Normal weights, float64, of the product and, if asked, of the layers around it."""
        shapes: list[Sequence[int]] = list(self.shapes)
        if self.names:
            own = dict(self.op.named_parameters())  # type: ignore[attr-defined]
            shapes += [own[name].shape for name in self.names]
        if linears:
            shapes += [shape for side in self.sides for shape in side.linear_shapes()]
        return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]

    @property
    def channels(self) -> int:
        """What the multiplicities of all three features have in common."""
        return math.gcd(*(mul for side in self.sides for mul, _, _ in side.blocks))

    def _enter(self, side: Feature, x: Tensor) -> Tensor:
        if self.layout == "rows":
            return x.unflatten(-1, (-1, self.channels))
        return side.join([part.mT for part in side.split(x)]) if self.layout == "mul_ir" else x

    def _leave(self, side: Feature, y: Tensor) -> Tensor:
        y = y.flatten(-2) if self.layout == "rows" else y
        if y.shape[-1:] != (sum(side.sizes),):
            raise InputError(
                f"expressivity: expected outputs of {sum(side.sizes)} numbers ({side.blocks}), got {tuple(y.shape)}"
            )
        y = y.double()
        if self.layout != "mul_ir":
            return y
        parts = zip(y.split(side.sizes, -1), side.blocks, strict=True)
        return side.join([part.reshape(len(y), mul, 2 * l + 1).mT for part, (mul, l, _) in parts])
