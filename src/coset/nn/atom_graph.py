"""Atoms and their neighbors as a network sees them, and what every model of atoms checks first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.ops.index import Edges
from coset.ops.periodic import edge_vectors
from coset.reps.action import Labels
from coset.reps.fields import Field


@dataclass(frozen=True, eq=False)
class AtomGraph:
    """What a network sees: ``species`` ``(N,)`` from 0 on, ``vectors`` ``(E, 3)`` from source to target, the graph.

    ``batch`` ``(N,)`` is the structure of every atom, ``structures`` their number.
    """

    species: Tensor
    vectors: Tensor
    edges: Edges
    batch: Tensor
    structures: int

    @cached_property
    def lengths(self) -> Tensor:
        """``|v_e|`` ``(E,)``; of a zero vector 0, with zero derivatives."""
        square = self.vectors.square().sum(-1)
        zero = square == 0
        return torch.where(zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt())


class AtomModel(nn.Module):
    """A model for ``elements`` (atomic numbers) with cutoff ``r_max``: it knows its elements and makes graphs.

    Raises InputError for elements that are no atomic numbers in order, and for a cutoff that is not positive and finite.
    """

    place: Tensor

    def __init__(self, elements: Sequence[int], r_max: float) -> None:
        super().__init__()
        name = type(self).__name__
        if not elements or list(elements) != sorted(set(elements)) or not all(0 < int(z) < 119 for z in elements):
            raise InputError(f"{name}: elements are atomic numbers, each once and in order, got {list(elements)}")
        if not 0 < r_max < math.inf:
            raise InputError(f"{name}: the cutoff r_max is positive and finite, got {r_max}")
        self.elements, self.r_max = tuple(map(int, elements)), float(r_max)
        table = torch.full((119,), -1)
        table[list(self.elements)] = torch.arange(len(self.elements))
        self.register_buffer("place", table, persistent=False)

    def graph(
        self, pos: Tensor, z: Tensor, edge_index: Tensor, shift: Tensor | None, cell: Tensor | None, batch: Tensor | None,
        *, live: bool = False,
    ) -> AtomGraph:  # fmt: skip
        """The graph; with ``live`` its vectors can be differentiated, whatever ``pos`` asks for."""
        species, batch, count = self.read(pos, z, cell, batch)
        vectors = edge_vectors(pos, edge_index, shift=shift, cell=cell, batch=batch if cell is not None else None)
        if live and not vectors.requires_grad:
            vectors = vectors.detach().requires_grad_()
        return AtomGraph(species, vectors, Edges(edge_index, len(pos)), batch, count)

    def example(self, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Two small crystals for a check without data, float64: one whose cell is narrower than the cutoff, so that its atoms
        are neighbors of their own images, and a wider one. What :meth:`forward` takes, in one batch."""
        parts = [self._crystal(count, width, generator) for count, width in ((2, 0.75), (3, 1.3))]
        start = len(parts[0]["pos"])
        parts[1]["edge_index"] = parts[1]["edge_index"] + start
        joined = {name: torch.cat([part[name] for part in parts], int(name == "edge_index")) for name in parts[0]}
        return joined | {"batch": torch.tensor([0] * start + [1] * len(parts[1]["pos"]))}

    def _crystal(self, count: int, width: float, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Atoms about the diagonal of a skewed cell ``width`` cutoffs wide, with all neighbors within the cutoff."""
        noise = torch.randn(3 + count, 3, generator=generator, dtype=torch.float64)
        cell = width * self.r_max * (torch.eye(3, dtype=torch.float64) + 0.1 * noise[:3])
        pos = (torch.arange(count, dtype=torch.float64).view(-1, 1) / count + 0.1 * noise[3 : 3 + count]) @ cell
        steps = torch.cartesian_prod(*[torch.arange(-3, 4)] * 3)
        vectors = pos[None, :] - pos[:, None] + (steps.double() @ cell).view(-1, 1, 1, 3)
        length = vectors.norm(dim=-1)
        image, source, target = torch.nonzero((length < self.r_max) & (length > 0), as_tuple=True)
        z = torch.tensor(self.elements)[torch.randint(len(self.elements), (count,), generator=generator)]
        edges = torch.stack([source, target])
        return {"pos": pos, "z": z, "edge_index": edges, "shift": steps[image], "cell": cell.unsqueeze(0)}

    def read(self, pos: Tensor, z: Tensor, cell: Tensor | None, batch: Tensor | None) -> tuple[Tensor, Tensor, int]:
        """Species ``(N,)`` from 0 on, ``batch`` and the number of structures; InputError for what does not fit."""
        name = type(self).__name__
        if pos.ndim != 2 or pos.shape[-1] != 3 or z.shape != pos.shape[:1]:
            raise InputError(f"{name}: expected pos (N, 3) and z (N,), got {tuple(pos.shape)} and {tuple(z.shape)}")
        if z.is_floating_point() or not pos.is_floating_point():
            raise InputError(f"{name}: positions are floating, z are atomic numbers, integers; got {pos.dtype} and {z.dtype}")
        if cell is not None and (cell.shape[1:] != (3, 3) or (batch is None and len(cell) != 1)):
            raise InputError(f"{name}: expected cell (B, 3, 3), B = 1 where batch is left out; got {tuple(cell.shape)}")
        species = self.place[z.long().clamp(0, 118)]
        if bool((species < 0).any()):
            missing = sorted(set(z[species < 0].tolist()))
            raise InputError(
                f"{name}: elements {missing} are unknown, it was made for {list(self.elements)}; fine-tune it on data with them"
            )
        if batch is None:
            batch = z.new_zeros(len(z))
        count = len(cell) if cell is not None else int(batch.max()) + 1 if len(batch) else 1
        return species, batch, count


def graph_inputs(elements: Sequence[int]) -> Mapping[str, Any]:
    """The fields of a potential's input."""
    return {
        "pos": "N x position",
        "z": Field(("N",), Labels(tuple(elements))),
        "edge_index": "2 x E -> N",
        "shift": Field(("E", "3"), Labels((-1, 0, 1))),
        "cell": "B x 3 x vector",
        "batch": "N -> B",
    }
