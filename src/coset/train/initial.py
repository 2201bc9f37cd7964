"""A training that starts from a trained model: its weights, and of a potential the whole architecture.

    coset train potential MACE --train a.extxyz --test b.extxyz --init old.safetensors

What a method builds is sized by the task; weights of the same class and shapes are put into it. A potential is taken as it is,
architecture and cutoff included: energies of isolated atoms are fitted again on the new data (or taken from isolated atoms),
what it knows about elements that the new data lack is kept, and a new element starts with the weights of the most similar known
one, which is the nearest in the periodic table, groups before periods. All of it is said on stderr.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coset.data.atomic_statistics import names
from coset.data.structures import Structures
from coset.errors import InputError
from coset.nn.potential import TENSORS, Potential
from coset.recipe import Data
from coset.train.checkpoint import load_model, read_description
from coset.train.state import read_tensors

MANY = 12  #: elements that are counted, not listed
FITTED = 500  #: configurations that energies of isolated atoms are fitted on, at most
NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  #: where periods end


@dataclass(frozen=True, eq=False)
class Initial:
    """A trained model to start from: where it was read, the SHA-256 of that file, its weights, and itself if it is of ours."""

    path: Path
    sha256: str
    kind: str
    weights: Mapping[str, Tensor] = field(repr=False)
    model: nn.Module | None = field(default=None, repr=False)

    @staticmethod
    def of_model(path: Path, model: nn.Module) -> Initial:
        """Of a model that was read from the file ``path``."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Initial(path.resolve(), digest, type(model).__name__, model.state_dict(), model)

    @staticmethod
    def of_folder(path: Path) -> Initial:
        """Of a row's folder (or its ``model.json``); InputError as :func:`coset.train.checkpoint.load_model`."""
        folder = path.parent if path.name in ("model.json", "model.safetensors") else path
        about = read_description(folder)["model"]
        file = folder / "model.safetensors"
        if '"foreign"' not in json.dumps(about):
            return Initial.of_model(file, load_model(folder))
        tensors, _ = read_tensors(file)
        weights = {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
        kind = about.get("foreign") or about.get("class", "")
        return Initial(file.resolve(), hashlib.sha256(file.read_bytes()).hexdigest(), kind.rpartition(".")[2], weights)

    @property
    def cutoff(self) -> float | None:
        """Of a potential, angstrom."""
        return self.model.r_max if isinstance(self.model, Potential) else None

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that a potential knows; they may be judged on although the new data lack them."""
        return tuple(self.model.elements) if isinstance(self.model, Potential) else ()

    def request(self) -> list[str]:
        """What a run folder remembers: it is continued from the same file only."""
        return [str(self.path), self.sha256]

    def begin(self, built: Any, data: Data, *, tell: bool = True) -> nn.Module:
        """What is trained in place of ``built``, which the method made for ``data``. InputError where they do not fit."""
        if not isinstance(built, nn.Module) or type(built).__name__ != self.kind:
            raise InputError(f"--init {self.path} holds a {self.kind}, this method builds a {type(built).__name__}")
        if isinstance(self.model, Potential) and isinstance(built, Potential):
            return continued(self.model, built, data, say if tell else lambda text: None)
        mine = built.state_dict()
        wrong = [n for n in {**mine, **self.weights} if n not in mine or n not in self.weights
                 or mine[n].shape != self.weights[n].shape]  # fmt: skip
        if wrong:
            there, here = (tuple(w[wrong[0]].shape) if wrong[0] in w else "absent" for w in (self.weights, mine))
            raise InputError(
                f"--init {self.path} does not fit the {self.kind} that this method builds: {len(wrong)} weights differ, "
                f"{wrong[0]} is {there} there and {here} here; ask for the same size and data"
            )
        built.load_state_dict(dict(self.weights))
        return built


def say(text: str) -> None:
    """On stderr: results go to stdout."""
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- potentials


def continued(old: Potential, built: Potential, data: Data, tell: Any = say) -> Potential:
    """``old`` for the elements of both, in the dtype of ``built``, with energies of isolated atoms that fit ``data``."""
    if (seen := data.info.get("r_max", old.r_max)) != old.r_max:
        raise InputError(
            f"--init: the model sees {old.r_max:g} angstrom, the data were prepared for {seen:g}; set the cutoff alike"
        )
    elements = sorted({*old.elements, *built.elements})
    sources = {z: z if z in old.elements else nearest(z, old.elements) for z in elements}
    isolated = dict(zip(built.elements, built.references, strict=True))
    known = dict(zip(old.elements, old.references, strict=True))
    references = [known.get(z, isolated.get(z, 0.0)) for z in elements]
    dtype = next(built.parameters()).dtype
    tell(f"init: {type(old).__name__} as it was trained, cutoff {old.r_max:g} A, for {_listed(old.elements)}")
    for z, source in sources.items():
        if z != source:
            tell(f"init: {names([z])} is new and starts as {names([source])}")
    if idle := [z for z in old.elements if z not in built.elements]:
        tell(f"init: {_listed(idle)} do not occur in the training data; their weights are kept as they are")
    model = extended(old, sources, references).to(dtype).eval()
    found = data.info.get("statistics")
    if found is not None and found.references.reason == "isolated atoms":
        fitted, reason = [isolated.get(z, e) for z, e in zip(elements, references, strict=True)], "isolated atoms"
    else:
        fitted, reason = refitted(model, data.train)
    table = zip(elements, references, fitted, strict=True)
    moved = ", ".join(f"{names([z])} {a:.4f} -> {b:.4f}" for z, a, b in table if z in built.elements)
    tell(f"init: references {moved} eV ({reason})")
    return extended(model, {z: z for z in elements}, fitted).to(dtype).train(built.training)


def extended(old: Potential, sources: Mapping[int, int], references: Sequence[float]) -> Potential:
    """``old`` for the elements ``sources``, each with the species-dependent weights of its source, and other ``references``.

    A weight that depends on species is one whose shape follows their number. InputError for a model where it does not.
    """
    elements, places = sorted(sources), [old.elements.index(sources[z]) for z in sorted(sources)]
    each = {name: [getattr(old, name)[place] for place in places] for name in ("scale", "shift")}
    given = {**old.config, "elements": elements, "references": list(references), **each}  # type: ignore[dict-item]
    dtype = next(old.parameters()).dtype
    model: Potential = type(old)(**given).to(dtype)  # type: ignore[arg-type]
    shapes, index = {name: value.shape for name, value in model.state_dict().items()}, torch.tensor(places)
    weights = {}
    for name, value in old.state_dict().items():
        if name not in shapes or value.ndim != len(shapes[name]):
            raise InputError(
                f"{type(old).__name__}: the weight {name} changes its form with the elements; it cannot be extended"
            )
        for axis, (before, after) in enumerate(zip(value.shape, shapes[name], strict=True)):
            if (before, after) == (len(old.elements), len(elements)) and before != after:
                value = value.index_select(axis, index.to(value.device))
        if value.shape != shapes[name]:
            raise InputError(f"{type(old).__name__}: the weight {name} does not follow the number of elements")
        weights[name] = value
    model.load_state_dict(weights)
    return model


def refitted(model: Potential, data: Any) -> tuple[list[float], str]:
    """References for which the model's energies fit the data best: the smallest correction, by least squares, and the reason.

    Elements that do not occur keep theirs, as all do where the data have no energies.
    """
    if not isinstance(data, Structures) or "energy" not in data.labels:
        return list(model.references), "kept: the data have no energies"
    chosen = range(0, len(data), -(-len(data) // FITTED))
    counts, gaps, dtype = [], [], next(model.parameters()).dtype
    for place in chosen:
        sample = data.collate([data[place]])
        given = {name: value for name, value in sample.items() if name in TENSORS}
        with torch.no_grad():
            out = model(**{name: x.to(dtype) if x.is_floating_point() else x for name, x in given.items()})
        counts.append(torch.stack([(sample["z"] == z).sum() for z in model.elements]))
        own = model.reference_energy(sample["z"])
        gaps.append(sample["energy"].double() - out["interaction"].double() - own)
    change = torch.linalg.lstsq(torch.stack(counts).double(), torch.stack(gaps), driver="gelsd").solution.flatten()
    return [
        a + b for a, b in zip(model.references, change.tolist(), strict=True)
    ], f"least squares over {len(gaps)} configurations"


def _listed(numbers: Sequence[int]) -> str:
    """Names of a few elements, of many the number."""
    return names(numbers) if len(numbers) <= MANY else f"{len(numbers)} elements"


def nearest(z: int, known: Sequence[int]) -> int:
    """The element of ``known`` that is most like ``z``: nearest group, then nearest period."""
    group, period = _place(z)
    return min(known, key=lambda other: (abs(_place(other)[0] - group), abs(_place(other)[1] - period), abs(other - z)))


def _place(z: int) -> tuple[int, int]:
    """Group (1 to 18; the f block counts as group 3) and period of an element."""
    period = next(n for n, last in enumerate(NOBLE) if z <= last)
    from_start, from_end = z - NOBLE[period - 1], NOBLE[period] - z
    if from_start <= 2 and from_end:
        return from_start, period
    return max(18 - from_end, 3), period
