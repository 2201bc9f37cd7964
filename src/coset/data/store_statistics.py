"""What a large set of structures is, found in one pass over its file in constant memory.

    seen = census(Store("train.safetensors"))           # numbers that describe() and warnings_of() put into words

Least squares for energies of isolated atoms keep a triangle instead of all rows: with R the triangular factor of the rows
``[composition | energy]`` so far, that of ``[R; new rows]`` is the factor of all of them, and its columns give the solution.
Doubles are found by 64-bit fingerprints of rounded coordinates (8 bytes per configuration).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from coset.data.store import LABELS, PER_ATOM, Block, Store

ELEMENTS = 119
BITS = tuple(np.uint64(x) for x in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


@dataclass
class Census:
    """Counts and sums over the configurations of a set."""

    atoms: int = 0
    elements: list[int] = field(default_factory=list)
    periodic: int = 0
    labels: dict[str, int] = field(default_factory=dict)  #: configurations that have it
    energy: float = 0.0  #: sum, eV
    energy_atoms: int = 0  #: in configurations that have one
    doubles: int = 0
    squares: float = 0.0  #: sum over force components
    components: int = 0
    net: float = 0.0  #: the largest total force over the root of the number of atoms
    alone: dict[int, float] = field(default_factory=dict)  #: energies of single atoms that nothing repeats
    composition: Tensor = field(default_factory=lambda: torch.zeros(0))  #: atoms of each element over all configurations
    triangle: Tensor = field(default_factory=lambda: torch.zeros(0))  #: of the rows [composition of elements | energy]

    @property
    def force(self) -> float:
        """Root mean square of force components; 0 without forces."""
        return (self.squares / self.components) ** 0.5 if self.components else 0.0

    def fitted(self) -> list[float]:
        """Energies of the elements by least squares, of minimum norm."""
        rows, right = self.triangle[:, :-1], self.triangle[:, -1:]
        return torch.linalg.lstsq(rows, right, driver="gelsd").solution.flatten().tolist()


def census(frames: Store) -> Census:
    """One pass over the file; the answer is kept with ``frames``."""
    if (known := frames.__dict__.get("census")) is not None:
        return known
    seen = Census(atoms=int(frames.counts.sum()), composition=torch.zeros(ELEMENTS, dtype=torch.int64))
    seen.elements = _elements(frames)
    seen.triangle = torch.zeros(0, len(seen.elements) + 1, dtype=torch.float64)
    prints = np.empty(len(frames), dtype=np.uint64)
    for block in frames.blocks("z", "pos", "cell", "periodic", *LABELS):
        prints[block.places.numpy()] = fingerprints(block)
        _count(seen, block)
        if "energy" in block.arrays:
            _energies(seen, block)
        if "forces" in block.arrays:
            _forces(seen, block)
    seen.doubles = len(prints) - len(np.unique(prints))
    frames.__dict__["census"] = seen
    return seen


def _elements(frames: Store) -> list[int]:
    if frames._members is None:
        return list(frames.about["elements"])
    found = torch.zeros(ELEMENTS, dtype=torch.int64)
    for block in frames.blocks("z"):
        found += block.arrays["z"].long().bincount(minlength=ELEMENTS)
    return found.nonzero().flatten().tolist()


def _count(seen: Census, block: Block) -> None:
    seen.composition += block.arrays["z"].long().bincount(minlength=ELEMENTS)
    if "periodic" in block.arrays:
        seen.periodic += int((block.arrays["periodic"] & 7 > 0).sum())
    for name, has in _having(block):
        seen.labels[name] = seen.labels.get(name, 0) + int(has.sum())


def _having(block: Block) -> Iterator[tuple[str, Tensor]]:
    """Which configurations have a label: its first number is no NaN."""
    starts = block.counts.cumsum(0) - block.counts
    for name in LABELS:
        if name in block.arrays:
            rows = block.arrays[name]
            yield (
                name,
                ~(rows[starts] if name in PER_ATOM else rows)
                .flatten(1 if rows.ndim > 1 else 0)
                .isnan()
                .view(len(starts), -1)[:, 0],
            )


def _energies(seen: Census, block: Block) -> None:
    z, energy = block.arrays["z"].long(), block.arrays["energy"]
    repeated = block.arrays["periodic"] & 7 > 0 if "periodic" in block.arrays else torch.zeros(len(energy), dtype=torch.bool)
    has = ~energy.isnan()
    starts = block.counts.cumsum(0) - block.counts
    for i in ((block.counts == 1) & has & ~repeated).nonzero().flatten().tolist():
        seen.alone[int(z[starts[i]])] = float(energy[i])
    place = torch.full((ELEMENTS,), -1)
    place[seen.elements] = torch.arange(len(seen.elements))
    rows = torch.zeros(len(energy), len(seen.elements), dtype=torch.float64)
    rows.index_put_((block.owner, place[z]), torch.ones(len(z), dtype=torch.float64), accumulate=True)
    new = torch.cat([rows, energy.unsqueeze(1)], 1)[has]
    seen.triangle = torch.linalg.qr(torch.cat([seen.triangle, new]), mode="r").R
    seen.energy += float(energy[has].sum())
    seen.energy_atoms += int(block.counts[has].sum())


def _forces(seen: Census, block: Block) -> None:
    forces = block.arrays["forces"].double()
    forces = forces.nan_to_num(0.0)
    total = torch.zeros(len(block.counts), 3, dtype=torch.float64).index_add_(0, block.owner, forces)
    seen.net = max(seen.net, float((total.norm(dim=1) / block.counts.sqrt()).max()))
    seen.squares += float(forces.square().sum())
    seen.components += 3 * int((~block.arrays["forces"][:, 0].isnan()).sum())


def energy_spread(frames: Store, table: Tensor) -> float:
    """Standard deviation of energies per atom above references, ``table`` by atomic number."""
    rest = []
    for block in frames.blocks("z", "energy"):
        base = torch.zeros(len(block.counts), dtype=torch.float64).index_add_(0, block.owner, table[block.arrays["z"].long()])
        rest.append((block.arrays["energy"] - base) / block.counts)
    return float(torch.cat(rest).std(correction=0))


def fingerprints(block: Block) -> np.ndarray:
    """One number per configuration of its elements, positions and cell, rounded to 1e-6 angstrom; in the order of atoms."""
    starts = (block.counts.cumsum(0) - block.counts).numpy()
    inside = np.arange(len(block.arrays["z"])) - np.repeat(starts, block.counts.numpy())
    rows = torch.cat([block.arrays["z"].double().unsqueeze(1), (block.arrays["pos"].double() * 1e6).round()], 1)
    found = np.add.reduceat(_mixed(rows.numpy(), inside), starts)
    if "cell" in block.arrays:
        cells = (block.arrays["cell"].flatten(1) * 1e6).round().numpy()
        found += _mixed(cells, np.full(len(cells), -1))
    return found


def _mixed(rows: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """Rows of whole numbers to 64 well mixed bits (the finalizer of splitmix64), salted by their place."""
    state = salt.astype(np.int64).astype(np.uint64) * BITS[2]
    for column in rows.T:
        state = state + (column + 0.0).astype(np.int64).astype(np.uint64) + BITS[2]
        state = (state ^ (state >> np.uint64(30))) * BITS[0]
        state = (state ^ (state >> np.uint64(27))) * BITS[1]
        state ^= state >> np.uint64(31)
    return state
