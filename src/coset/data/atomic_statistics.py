"""What a set of structures is, and what is wrong with it: printed before a potential is trained on it.

    >>> import torch
    >>> frame = {"pos": torch.tensor([[0.0, 0, 0], [0, 0, 0.74]]), "z": torch.tensor([1, 1]), "energy": torch.tensor(-31.7)}
    >>> reference_energies([frame]).reason
    'least squares over 1 configuration'

Energies of isolated atoms (references) come from one-atom frames where every element has one, else from least squares over
compositions. Warnings name the evidence: net forces, energies or forces of a size that another unit would explain, doubles,
elements that training data lack. A :class:`coset.data.store.Store` is read once for all of it, and neighbors are counted on a
seeded sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.data.store import Store, Streamed
from coset.data.store_statistics import Census, census, energy_spread
from coset.data.structures import Frame, Structures
from coset.errors import InputError, require

NET_FORCE = 1e-3  #: relative to the root mean square force; more is reported
UNUSUAL = 50.0  #: eV/angstrom; a root mean square force above it is more likely kcal/mol, hartree/bohr or an error


@dataclass(frozen=True)
class References:
    """Energies of isolated atoms, eV, by atomic number, and where they come from."""

    energies: tuple[tuple[int, float], ...]
    reason: str

    def of(self, z: Tensor) -> float:
        """Their sum over atomic numbers ``(N,)``; InputError for an element without one."""
        table = dict(self.energies)
        if missing := sorted(set(z.tolist()) - table.keys()):
            raise InputError(f"no reference energy for {names(missing)}; known are {names(table)}")
        return sum(table[int(number)] for number in z)

    def __str__(self) -> str:
        return ", ".join(f"{names([z])} {energy:.4f}" for z, energy in self.energies) + f" eV ({self.reason})"


def names(numbers: Any) -> str:
    """Chemical symbols of atomic numbers, by comma."""
    symbols = require("ase.data", extra="atoms").chemical_symbols
    return ", ".join(symbols[int(z)] for z in numbers)


def elements_of(frames: Sequence[Frame]) -> list[int]:
    """Atomic numbers that occur, in order."""
    if isinstance(frames, Store):
        return census(frames).elements
    return sorted({int(z) for frame in frames for z in frame["z"]})


def reference_energies(frames: Sequence[Frame], isolated: Sequence[Frame] = ()) -> References:
    """References for ``frames``: from one-atom frames in ``isolated`` or among them, else by least squares (minimum norm).

    An atom in ``isolated`` may stand in a cell; among ``frames`` it counts only where nothing repeats. InputError where
    ``isolated`` lacks an element, or frames have no energy.
    """
    elements = elements_of(frames)
    large = census(frames) if isinstance(frames, Store) else None
    among = [f for f in frames if not any(f.get("periodic", ()))] if large is None else []
    alone = {int(f["z"][0]): float(f["energy"]) for f in (*among, *isolated) if len(f["z"]) == 1 and "energy" in f}
    if large is not None:
        alone = large.alone | alone
    if set(elements) <= alone.keys():
        return References(tuple((z, alone[z]) for z in elements), "isolated atoms")
    if missing := [z for z in elements if z not in alone] if isolated else []:
        raise InputError(f"the isolated atoms lack {names(missing)}; they hold {names(sorted(alone))}")
    plural = "s" if len(frames) > 1 else ""
    reason = f"least squares over {len(frames)} configuration{plural}"
    if large is not None:
        return References(tuple(zip(elements, large.fitted(), strict=True)), reason)
    if bare := [place for place, f in enumerate(frames) if "energy" not in f]:
        raise InputError(f"reference energies: configuration {bare[0]} has no energy; it holds {sorted(frames[bare[0]])}")
    counts = torch.stack([torch.stack([(f["z"] == z).sum() for z in elements]) for f in frames]).double()
    totals = torch.tensor([float(f["energy"]) for f in frames], dtype=torch.float64)
    found = torch.linalg.lstsq(counts, totals.unsqueeze(1), driver="gelsd").solution.flatten().tolist()
    return References(tuple(zip(elements, found, strict=True)), reason)


@dataclass(frozen=True)
class Statistics:
    """Numbers of a training set that a potential is built with."""

    elements: tuple[int, ...]
    references: References
    scale: float  #: root mean square of force components, eV/angstrom (of energies per atom, where there are no forces)
    shift: float  #: mean energy per atom above the references, eV
    neighbors: float  #: mean number of edges into an atom
    counted: int = 0  #: configurations whose neighbors were counted; 0 for all of them

    def __str__(self) -> str:
        counted = f" (of {self.counted} configurations, seed 0)" if self.counted else ""
        return (
            f"elements {names(self.elements)}; {self.neighbors:.1f} neighbors{counted}; forces of {self.scale:.3f} eV/A; "
            f"{self.shift:.4f} eV per atom above references: {self.references}"
        )


def statistics(data: Structures, isolated: Sequence[Frame] = ()) -> Statistics:
    """The statistics of a training set. InputError where a label is missing."""
    frames = data.frames
    references = reference_energies(frames, isolated)
    if isinstance(data, Streamed):
        return _large(data, census(data.frames), references)
    rest = torch.tensor([float(f["energy"]) - references.of(f["z"]) for f in frames], dtype=torch.float64)
    sizes = torch.tensor([len(f["z"]) for f in frames], dtype=torch.float64)
    forces = [f["forces"] for f in frames if "forces" in f]
    scale = torch.cat(forces).square().mean().sqrt() if forces else (rest / sizes).std(correction=0)
    edges = sum(data[i]["edge_index"].shape[1] for i in range(len(data)))
    shift = float(rest.sum() / sizes.sum())
    return Statistics(
        tuple(elements_of(frames)), references, max(float(scale), 1e-6), shift, max(edges / float(sizes.sum()), 1.0)
    )


def _large(data: Streamed, seen: Census, references: References) -> Statistics:
    """The same numbers of a large set; neighbors are those of a sample."""
    table = torch.zeros(len(seen.composition), dtype=torch.float64)
    for z, energy in references.energies:
        table[z] = energy
    shift = (seen.energy - float(seen.composition.double() @ table)) / seen.atoms
    scale = seen.force or energy_spread(data.frames, table)
    neighbors, counted = data.neighbors()
    counted = counted if counted < len(data) else 0
    return Statistics(tuple(seen.elements), references, max(scale, 1e-6), shift, max(neighbors, 1.0), counted)


def warnings_of(frames: Sequence[Frame], known: Sequence[int] = ()) -> list[str]:
    """What looks wrong, one sentence each; ``known`` are the elements of the training set, where these are others."""
    found = []
    if strange := sorted(set(elements_of(frames)) - set(known)) if known else []:
        found.append(f"{names(strange)} never occur in the training data: these configurations cannot be predicted")
    size, net, twice = _evidence(frames)
    if size > 0 and net > NET_FORCE * size:
        found.append(
            f"forces do not add up to zero: {net:.2g} per root of atoms at worst, against {size:.2g} eV/A: "
            "noise, or an external field"
        )
    if size > UNUSUAL:
        found.append(
            f"forces of {size:.0f} (root mean square) are large for eV/A; kcal/mol/A are 23 times, and need a factor 0.0434"
        )
    if 0 < size < 1e-4:
        found.append(f"forces of {size:.1e} (root mean square) are nearly zero: wrong unit, or relaxed structures only")
    if twice:
        found.append(f"{twice} of {len(frames)} configurations are doubles of others")
    return found


def _evidence(frames: Sequence[Frame]) -> tuple[float, float, int]:
    """Root mean square force, the largest net force per root of atoms, and how many configurations are doubles."""
    if isinstance(frames, Store):
        seen = census(frames)
        return seen.force, seen.net, seen.doubles
    forces = [f["forces"] for f in frames if "forces" in f]
    size = float(torch.cat(forces).square().mean().sqrt()) if forces else 0.0
    net = max((float(f.sum(0).norm()) / len(f) ** 0.5 for f in forces), default=0.0)
    keys = Counter(tuple(_rounded(f[name]) for name in ("z", "pos", "cell") if name in f) for f in frames)
    return size, net, sum(count - 1 for count in keys.values())


def _rounded(x: Tensor) -> tuple[float, ...]:
    return tuple(x.double().flatten().round(decimals=6).tolist())


def describe(frames: Sequence[Frame]) -> str:
    """One line: how many structures, atoms, elements, labels, periodic ones."""
    sizes = frames.counts.tolist() if isinstance(frames, Store) else [len(f["z"]) for f in frames]
    periodic, labels = _labels(frames)
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return (
        f"{len(frames)} configurations of {span} atoms ({names(elements_of(frames))}), {periodic} periodic, "
        f"with {', '.join(labels) or 'no labels'}"
    )


def _labels(frames: Sequence[Frame]) -> tuple[int, list[str]]:
    """How many configurations are periodic, and labels by name, with a number where some lack it."""
    if isinstance(frames, Store):
        seen = census(frames)
        counts = {name: count for name, count in seen.labels.items() if count}
        return seen.periodic, [
            name if count == len(frames) else f"{name} ({count} of {len(frames)})" for name, count in counts.items()
        ]
    labels = [name for name in ("energy", "forces", "stress", "dipole", "polarizability") if name in frames[0]]
    return sum(any(f.get("periodic", ())) for f in frames), labels


def summary(frames: Sequence[Frame]) -> dict[str, Any]:
    """The same and more as plain values: counts, labels, mean energy per atom (eV), root mean square force (eV/angstrom)."""
    sizes = frames.counts if isinstance(frames, Store) else torch.tensor([len(f["z"]) for f in frames])
    size, net, twice = _evidence(frames)
    periodic, labels = _labels(frames)
    if isinstance(frames, Store):
        seen = census(frames)
        alone, total, atoms = seen.alone, seen.energy, seen.energy_atoms
    else:
        known = [f for f in frames if "energy" in f]
        alone = {int(f["z"][0]): float(f["energy"]) for f in known if len(f["z"]) == 1 and not any(f.get("periodic", ()))}
        total, atoms = sum(float(f["energy"]) for f in known), sum(len(f["z"]) for f in known)
    found: dict[str, Any] = {
        "configurations": len(frames), "atoms": int(sizes.sum()), "smallest": int(sizes.min()), "largest": int(sizes.max()),
        "elements": elements_of(frames), "isolated": sorted(alone), "periodic": periodic, "labels": labels, "doubles": twice,
    }  # fmt: skip
    return found | ({"energy_per_atom": total / atoms} if atoms else {}) | ({"forces": size, "net_force": net} if size else {})
