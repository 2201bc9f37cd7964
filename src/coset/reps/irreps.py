"""Irreps: features that are direct sums of irreducible representations, ``Irreps("128x0e + 64x1o")``, and their algebra.

>>> irreps = Irreps("8x0e + 4x1o")
>>> irreps.dim, irreps.num_irreps, irreps.lmax, irreps.slices()
(20, 12, 1, [slice(0, 8, None), slice(8, 20, None)])
>>> (irreps + "2x1o").simplify(), irreps.filter(keep="1o"), Irreps("2x0 + 1x2", SO(3)), Irreps("1x1/2", SU(2))
(8x0e+6x1o, 4x1o, Irreps('2x0+1x2', SO(3)), Irreps('1x1/2', SU(2)))

The algebra is that of e3nn. A feature is flat, ``(..., dim)``, block after block; a block of multiplicity ``mul`` is stored
``(2l + 1, mul)``, channels last (``layout="ir_mul"``). Features of e3nn's models are ``(mul, 2l + 1)``, ``layout="mul_ir"``;
:mod:`coset.reps.conventions` converts. Irreps are a kind of field: ``"N x 8x0e+4x1o"`` is moved by every group whose
elements are orthogonal matrices of the space, by Wigner matrices of ``det(g) g`` and the sign of the determinant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from coset.errors import ContractError, InputError, unknown
from coset.groups.group import Group
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.reps.action import Kind, apply_matrix
from coset.reps.irrep_labels import Irrep, Label, matrices
from coset.reps.irrep_words import parse_label

LAYOUTS = ("ir_mul", "mul_ir")
SPACE = O(3)


class Block(NamedTuple):
    """``mul`` copies of ``ir``, side by side."""

    mul: int
    ir: Any  #: the label; ``Any`` because its attributes (l, p, m, j) depend on the group

    @property
    def dim(self) -> int:
        """Entries of a feature."""
        return self.mul * self.ir.dim

    def __str__(self) -> str:
        return f"{self.mul}x{self.ir}"

    def __repr__(self) -> str:
        return str(self)


class Sorted(NamedTuple):
    """What :meth:`Irreps.sort` gives: block ``i`` went to place ``p[i]``, the block at ``j`` came from ``inv[j]``."""

    irreps: Irreps
    p: tuple[int, ...]
    inv: tuple[int, ...]


@dataclass(frozen=True, repr=False, init=False)
class Irreps(Kind):
    """A tuple of ``(mul, ir)``; made from a string, an irrep, Irreps, or a list of these and of pairs ``(mul, ir)``.

    ``group`` says whose irreps the names are. Raises InputError for what cannot be read, with the likely correction.
    """

    blocks: tuple[Block, ...]
    group: Group
    layout: str

    axes = 1

    def __init__(self, blocks: Any = (), group: Group = SPACE, *, layout: str = "ir_mul") -> None:
        if layout not in LAYOUTS:
            raise unknown("layout", str(layout), LAYOUTS)
        object.__setattr__(self, "blocks", tuple(_read(blocks, group)))
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "layout", layout)

    @staticmethod
    def spherical_harmonics(lmax: int, p: int = -1) -> Irreps:
        """``1x0e+1x1o+1x2e+...``: degree ``l`` with parity ``p ** l``."""
        return Irreps([(1, Irrep(l, p**l)) for l in range(lmax + 1)])

    # ------------------------------------------------------------------ sizes

    @property
    def dim(self) -> int:
        """Entries of one feature."""
        return sum(block.dim for block in self.blocks)

    @property
    def num_irreps(self) -> int:
        """The sum of the multiplicities."""
        return sum(block.mul for block in self.blocks)

    @property
    def ls(self) -> list[int]:
        """The degree of every copy, in order (groups of space only)."""
        return [block.ir.l for block in self.blocks for _ in range(block.mul)]

    @property
    def lmax(self) -> int:
        """The highest degree; InputError where there is no block."""
        if not self.blocks:
            raise InputError("lmax of empty irreps does not exist")
        return max(block.ir.l for block in self.blocks)

    @property
    def rows(self) -> int:
        """Components of one copy of every block, ``sum(2l + 1)``: a feature of equal multiplicities C is ``(..., rows, C)``."""
        return sum(block.ir.dim for block in self.blocks)

    def channels(self) -> int:
        """The greatest common divisor of the multiplicities (0 without blocks): how many channels all blocks have at least."""
        return math.gcd(*(block.mul for block in self.blocks)) if self.blocks else 0

    def over(self, channels: int) -> Irreps:
        """The irreps of one of ``channels`` channels: multiplicities divided. ``x.view(..., irreps.over(C).dim, C)``."""
        if channels < 1 or any(block.mul % channels for block in self.blocks):
            raise InputError(f"{self} cannot be shared by {channels} channels; the multiplicities allow {self.channels()}")
        return self._with([Block(mul // channels, ir) for mul, ir in self.blocks])

    def slices(self) -> list[slice]:
        """Where the entries of every block stand."""
        stops = torch.tensor([0, *(block.dim for block in self.blocks)]).cumsum(0).tolist()
        return [slice(a, b) for a, b in pairwise(stops)]

    def is_scalar(self) -> bool:
        """Whether nothing in it is moved."""
        return all(block.ir.is_scalar() for block in self.blocks)

    def count(self, ir: Any) -> int:
        """How many copies of ``ir`` there are."""
        wanted = parse_label(ir, self.group)
        return sum(mul for mul, known in self.blocks if known == wanted)

    # ------------------------------------------------------------------ algebra

    def simplify(self) -> Irreps:
        """Equal neighbours merged, empty blocks dropped; the order is kept. The layout of the data changes with ``ir_mul``."""
        merged: list[Block] = []
        for mul, ir in self.blocks:
            if merged and merged[-1].ir == ir:
                merged[-1] = Block(merged[-1].mul + mul, ir)
            elif mul:
                merged.append(Block(mul, ir))
        return self._with(merged)

    def remove_zero_multiplicities(self) -> Irreps:
        """Without the blocks that hold nothing."""
        return self._with([block for block in self.blocks if block.mul])

    def sort(self) -> Sorted:
        """Blocks in ascending order of their irreps, by degree, then odd before even; equal ones keep their order."""
        order = sorted(range(len(self.blocks)), key=lambda i: (self.blocks[i].ir, i))
        places = sorted(range(len(order)), key=order.__getitem__)
        return Sorted(self._with([self.blocks[i] for i in order]), tuple(places), tuple(order))

    def regroup(self) -> Irreps:
        """Sorted, then simplified: one block for every irrep."""
        return self.sort().irreps.simplify()

    def filter(self, keep: Any = None, *, drop: Any = None, lmax: int | None = None) -> Irreps:
        """The blocks whose irrep is in ``keep`` (Irreps, or a function of a block), not in ``drop``, of degree up to lmax."""
        kept = self.blocks
        for choice, wanted in ((keep, True), (drop, False)):
            if callable(choice):
                kept = tuple(block for block in kept if bool(choice(block)) == wanted)
            elif choice is not None:
                chosen = Irreps(choice, self.group)
                kept = tuple(block for block in kept if (block.ir in chosen) == wanted)
        return self._with([block for block in kept if lmax is None or block.ir.l <= lmax])

    def __add__(self, other: Any) -> Irreps:
        return self._with([*self.blocks, *Irreps(other, self.group).blocks])

    def __radd__(self, other: Any) -> Irreps:
        return Irreps(other, self.group, layout=self.layout) + self

    def __mul__(self, times: int) -> Irreps:
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise InputError(f"{self} * {times!r}: irreps are repeated a whole number of times; products are of single irreps")
        return self._with(self.blocks * times)

    __rmul__ = __mul__

    def __floordiv__(self, channels: int) -> Irreps:
        return self.over(channels)

    def _with(self, blocks: Iterable[Block]) -> Irreps:
        return Irreps(tuple(blocks), self.group, layout=self.layout)

    # ------------------------------------------------------------------ a sequence of blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> Irreps: ...
    def __getitem__(self, index: Any) -> Any:
        return self._with(self.blocks[index]) if isinstance(index, slice) else self.blocks[index]

    def __contains__(self, ir: Any) -> bool:
        wanted = parse_label(ir, self.group)
        return any(block.ir == wanted for block in self.blocks)

    def __str__(self) -> str:
        text = "+".join(map(str, self.blocks))
        if self.layout == "ir_mul" and self.group == O(3) and text:
            return text
        return f"irreps({text}{'' if self.group == O(3) else f', group={self.group}'}{self._layout()})"

    def __repr__(self) -> str:
        if self.group == O(3) and self.layout == "ir_mul":
            return str(self) if self.blocks else "Irreps('')"
        group = "" if self.group == O(3) else f", {self.group}"
        layout = "" if self.layout == "ir_mul" else f", layout={self.layout!r}"
        return f"Irreps('{'+'.join(map(str, self.blocks))}'{group}{layout})"

    def _layout(self) -> str:
        return "" if self.layout == "ir_mul" else f", layout={self.layout}"

    # ------------------------------------------------------------------ action

    def randn(
        self,
        *shape: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        normalization: str = "component",
    ) -> Tensor:
        """A random feature ``(*shape, dim)``: normal components, or every copy of mean square norm 1 (``"norm"``)."""
        if normalization not in ("component", "norm"):
            raise unknown("normalization", normalization, ("component", "norm"))
        dtype = dtype.to_complex() if self.group == SU(2) else dtype
        x = torch.randn(*shape, self.dim, generator=generator, dtype=dtype)
        if normalization == "norm":
            sizes = [block.ir.dim for block in self.blocks for _ in range(block.dim)]
            x = x / torch.tensor(sizes, dtype=dtype.to_real()).sqrt()
        return x

    def shape(self, space: int) -> tuple[int, ...]:
        return (self.dim,)

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        return self.transform(_element(self, group, g), x)

    def transform(self, g: Tensor, x: Tensor) -> Tensor:
        """Features ``(*batch, ..., dim)`` moved by elements ``(*batch, ...)`` of :attr:`group` itself."""
        if x.shape[-1:] != (self.dim,):
            raise ContractError(f"{self} has {self.dim} components, the last axis of x {tuple(x.shape)} differs")
        table = matrices([block.ir for block in self.blocks], g)
        lead = torch.broadcast_shapes(x.shape[: self._batch(g)], g.shape[: self._batch(g)])
        out = [x.new_zeros(*lead, *x.shape[self._batch(g) :])[..., :0]]
        for (mul, ir), piece in zip(self.blocks, x.split([block.dim for block in self.blocks], -1), strict=True):
            last = self.layout == "ir_mul"
            block = piece.unflatten(-1, (ir.dim, mul) if last else (mul, ir.dim))
            out.append(apply_matrix(table[ir], block, block.ndim - (2 if last else 1)).flatten(-2))
        return torch.cat(out, -1)

    def _batch(self, g: Tensor) -> int:
        return g.ndim - len(self.group.element_shape)

    def representation(self) -> Any:
        """The same action as a :class:`~coset.reps.representation.Representation` of :attr:`group`, in this layout.

        Copies of ``mul_ir`` are parts of a direct sum; a block of ``ir_mul`` is the product of its irrep and ``mul`` trivials.
        """
        from coset.reps.characters import irreps_representation

        return irreps_representation(self)


def _element(irreps: Irreps, group: Any, g: Any) -> Tensor:
    """The element of ``irreps.group`` by which ``g`` moves; ContractError where there is none."""
    if group == irreps.group:
        return g
    if irreps.group not in _SPACES:
        raise ContractError(f"{irreps!r} are irreps of {irreps.group}; {group} cannot move them")
    matrix = group.linear(g)
    space, proper = _SPACES[irreps.group]
    if matrix.shape[-1] != space or matrix.is_complex():
        raise ContractError(f"{irreps} needs a group of R^{space}, {group} moves {tuple(matrix.shape[-2:])} {matrix.dtype}")
    gap = (matrix @ matrix.mT - torch.eye(space).to(matrix)).abs().max() if matrix.numel() else torch.zeros(())
    if not bool(gap <= 1e-4):
        raise ContractError(f"{group} stretches space; irreps are moved by rotations and reflections only")
    if proper and matrix.numel() and bool((torch.linalg.det(matrix) < 0).any()):
        raise ContractError(f"{group} has reflections, for which {irreps!r} lack a parity; declare irreps of O({space})")
    return matrix


_SPACES: dict[Group, tuple[int, bool]] = {O(3): (3, False), SO(3): (3, True), O(2): (2, False), SO(2): (2, True)}


# ---------------------------------------------------------------------- reading

_BLOCK = re.compile(r"^(?:([0-9]+)\s*x\s*)?(.+)$")


def _read(given: Any, group: Group) -> Iterator[Block]:
    """Blocks from a string, a label, Irreps, or a sequence of these and of ``(mul, ir)``."""
    if isinstance(given, Irreps):
        if given.group != group and given.blocks:
            raise ContractError(f"{given!r} are irreps of {given.group}, expected {group}")
        yield from given.blocks
    elif isinstance(given, Label):
        yield Block(1, parse_label(given, group))
    elif isinstance(given, str):
        for part in given.split("+") if given.strip() else ():
            match = _BLOCK.match(part.strip())
            if not match:
                raise InputError(f"irreps {given!r}: empty between two '+'; write blocks such as 8x0e+4x1o")
            try:
                yield Block(int(match[1] or 1), parse_label(match[2], group))
            except InputError as error:
                raise InputError(f"irreps {given!r}: {error}") from error
    elif isinstance(given, Sequence):
        for item in given:
            yield from _read_item(item, group)
    else:
        raise InputError(f"irreps are written '8x0e+4x1o' or [(8, '0e'), (4, '1o')], got {given!r}")


def _read_item(item: Any, group: Group) -> Iterator[Block]:
    """``(mul, ir)``, or anything that is irreps by itself."""
    if isinstance(item, (str, Label, Irreps)):
        yield from _read(item, group)
    elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], int) and not isinstance(item[0], bool):
        mul, ir = item
        if mul < 0:
            raise InputError(f"irreps: a multiplicity is at least 0, got {mul}")
        yield Block(mul, parse_label(ir, group))
    else:
        raise InputError(f"irreps: expected pairs (mul, ir) such as (4, '1o'), got {item!r}")


__all__ = ["Block", "Irrep", "Irreps", "Sorted"]
