"""Trained potentials asked about structures: one or a committee, one structure or very many, in bounded memory.

    answers = evaluate("water.safetensors", read_structures("boxes.xyz"))       # [{energy, forces, stress, energies}, ...]

Energies are summed in float64 from those of the atoms, whatever the weights' dtype is, and positions are centered in float64
before they are rounded to it, so that a structure far from the origin loses nothing. A committee answers with the mean of its
members and, as ``energy_std`` and ``forces_std``, their standard deviation (n - 1): large where the data did not say enough.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coset.audits.precision import dtype_of
from coset.data.structures import Frame, frame_of, join, sample_of
from coset.errors import InputError
from coset.interop.potential_file import load_potential
from coset.nn.potential import Potential
from coset.ops.scatter import scatter_mean, scatter_sum

EDGES = 60_000  #: of a batch, over all of its structures: some hundred MB for a network of 128 channels
Given = Potential | str | Path


class Committee:
    """Potentials, or their files, ready to answer: copies in eval mode, in ``dtype`` on ``device``, that train no longer.

    InputError for an empty committee, members of different elements, an unknown device, a file that is none, and units
    other than eV and angstrom.
    """

    def __init__(self, given: Given | Sequence[Given], *, device: str = "cpu", dtype: str | torch.dtype = "float64") -> None:
        several: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
        if not several:
            raise InputError("committee: no potential given")
        self.dtype = dtype_of(dtype)
        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"committee: no device {device!r}: {str(error).splitlines()[0]}") from error
        self.members = [self._ready(one) for one in several]
        if len({member.elements for member in self.members}) > 1:
            raise InputError(f"committee: members know different elements: {[list(m.elements) for m in self.members]}")
        self.elements = self.members[0].elements
        self.r_max = max(member.r_max for member in self.members)

    def _ready(self, given: Given) -> Potential:
        if not isinstance(given, (Potential, str, Path)):
            raise InputError(f"committee: a potential or the path of one, got {type(given).__name__}")
        model = copy.deepcopy(given) if isinstance(given, Potential) else load_potential(given)
        units = getattr(model, "description", {}).get("units", {})
        if (found := (units.get("energy", "eV"), units.get("length", "angstrom"))) != ("eV", "angstrom"):
            raise InputError(f"committee: expected a potential in eV and angstrom, this one is in {found[0]} and {found[1]}")
        return model.to(self.device, self.dtype).eval().requires_grad_(False)

    @property
    def digest(self) -> str:
        """SHA-256 of all weights, dtype and settings: what the answers follow from."""
        said = hashlib.sha256()
        for member in self.members:
            settings: Any = member.config
            said.update(repr((type(member).__name__, sorted(settings.items(), key=str))).encode())
            for name, value in sorted(member.state_dict().items()):
                said.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                said.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return said.hexdigest()

    def __call__(self, graphs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Answers to one batch, a graph for each member: :func:`coset.data.structures.join` of float64 samples.

        ``energy`` (B,), ``energies`` (N,), ``forces`` (N, 3), with a cell ``stress`` (B, 3, 3), of several members
        ``energy_std`` and ``forces_std``; float64 on the CPU.
        """
        answers = [self._of(member, graph) for member, graph in zip(self.members, graphs, strict=True)]
        out = {name: torch.stack([answer[name] for answer in answers]).mean(0) for name in answers[0]}
        if len(answers) > 1:
            out |= {f"{name}_std": torch.stack([a[name] for a in answers]).std(0) for name in ("energy", "forces")}
        return out

    def _of(self, member: Potential, graph: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = graph["batch"]
        count = int(batch[-1]) + 1 if len(batch) else 1
        moved = dict(graph) | {"pos": graph["pos"] - scatter_mean(graph["pos"], batch, count)[batch]}
        out = member(**{
            name: value.to(self.device, self.dtype if value.is_floating_point() else None) for name, value in moved.items()
        })  # fmt: skip
        isolated = torch.tensor(member.references, dtype=torch.float64)[member.place.cpu()[graph["z"]]]
        energies = out["energies"].detach().cpu().double() + isolated
        found = {"energy": scatter_sum(energies, batch, count), "energies": energies}
        return found | {name: out[name].detach().cpu().double() for name in ("forces", "stress") if name in out}


def evaluate(
    potential: Given | Sequence[Given], frames: Iterable[Any], *, edges: int = EDGES, device: str = "cpu",
    dtype: str | torch.dtype = "float64",
) -> list[dict[str, Tensor]]:  # fmt: skip
    """What a potential or a committee says of every frame, in their order; many frames in one batch of at most ``edges``.

    ``frames`` are those of :mod:`coset.data.structures` or ASE atoms. Each answer holds ``energy`` (), ``forces`` (N, 3),
    ``energies`` (N,) and, in a cell, ``stress`` (3, 3), float64; of a committee also ``energy_std``, ``forces_std``. One
    structure with more edges than the bound is a batch by itself. InputError names the frame that cannot be answered.
    """
    committee = Committee(potential, device=device, dtype=dtype)
    return [answer for batch in _batches(frames, committee, edges) for answer in _split(committee, batch)]


Samples = list[tuple[dict[str, Tensor], ...]]  #: of each frame, one graph for each member


def _batches(frames: Iterable[Any], committee: Committee, most: int) -> Iterator[Samples]:
    """Runs of frames with at most ``most`` edges together, all with a cell or all without."""
    batch: Samples = []
    held = 0
    for place, frame in enumerate(frames):
        try:
            sample = _sample(frame if isinstance(frame, Mapping) else frame_of(frame), committee)
        except InputError as error:
            raise InputError(f"configuration {place}: {error}") from None
        size = max(graph["edge_index"].shape[1] for graph in sample)
        if batch and (held + size > most or ("cell" in sample[0]) != ("cell" in batch[0][0])):
            yield batch
            batch, held = [], 0
        batch.append(sample)
        held += size
    if batch:
        yield batch


def _sample(frame: Frame, committee: Committee) -> tuple[dict[str, Tensor], ...]:
    if unknown := sorted(set(frame["z"].tolist()) - set(committee.elements)):
        raise InputError(f"elements {unknown} are unknown to the potential, it was trained for {list(committee.elements)}")
    graphs = {r_max: sample_of(frame, r_max, dtype=torch.float64) for r_max in {m.r_max for m in committee.members}}
    return tuple(graphs[member.r_max] for member in committee.members)


def _split(committee: Committee, batch: Samples) -> Iterator[dict[str, Tensor]]:
    """The answers of a batch taken apart again."""
    out = committee([join(graphs) for graphs in zip(*batch, strict=True)])
    counts = [len(graphs[0]["z"]) for graphs in batch]
    atoms = {name: value.split(counts) for name, value in out.items() if name in ("energies", "forces", "forces_std")}
    for place in range(len(batch)):
        yield {name: atoms[name][place] if name in atoms else value[place] for name, value in out.items()}
