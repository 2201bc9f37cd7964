"""The process that runs models for ``coset serve``: one line of JSON in, one line of JSON out.

It loads a model only from a folder under the served one (:func:`coset.train.checkpoint.load_model`: safetensors and classes
inside coset) or from a TARGET that the user named on the command line; never from a pickle, and never from a path that a page
or a client names. The server kills it when a job takes too long, and starts another.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from coset.audits import precision
from coset.audits.embed import embed
from coset.audits.live import Live, Moment
from coset.contract import Contract
from coset.errors import CosetError, InputError
from coset.groups.parse import parse_group
from coset.interop.serve_folder import Folder
from coset.interop.target import load_target
from coset.records import SCHEMA, to_json
from coset.report.audit_page import read_payload
from coset.report.audit_payload import pack
from coset.reps.fields import Fields

OPEN = 12  #: models on pages that stay loaded, each dtype by itself
LADDER = ("float64", "float32")  #: in which layers are compared
WORDS = 2000  #: characters of an error's message


class Studio:
    """Pages under a folder, their samples and their models, loaded when first asked for."""

    def __init__(self, root: Path, targets: Mapping[str, str]) -> None:
        self.folder = Folder(root)
        self.targets = dict(targets)
        self.lives: OrderedDict[tuple[str, int, int, int, str], Live] = OrderedDict()
        self.models: dict[str, Any] = {}

    def load(self) -> dict[str, Any]:
        """All targets of the command line; InputError for one that is none."""
        for name, target in self.targets.items():
            self._named(name, target)
        return {}

    def open(self, page: str, part: int) -> dict[str, Any]:
        """What can be asked on a page: which models, along which axes of the grid, and whether elements can be drawn."""
        told, models, axes = self._part(page, part), [], None
        for m, model in enumerate(told["models"]):
            try:
                live = self._live(page, part, m)
            except Exception as error:  # a page shows what it can
                models.append({"name": model["name"], "live": False, "why": _words(error)})
                continue
            axes = axes or live.paths()
            models.append({"name": model["name"], "live": True, "why": ""})
        return {"axes": axes or [False] * len(told["grid"]["axes"]), "draw": axes is not None, "models": models}

    def at(
        self, page: str, part: int, model: int, sample: int, dtype: str, at: list[float] | None, draw: int | None, whole: bool
    ) -> dict[str, Any]:
        """One model at one element; see :mod:`coset.interop.serve` for the values."""
        live = self._live(page, part, model, dtype)
        moment = live.ask(live.element(at=at, draw=draw), None if sample < 0 else sample)
        return _told(moment, whole)

    def orbit(self, page: str, part: int, model: int, sample: int, dtype: str) -> dict[str, Any]:
        """One model along the orbit of one sample, or of all."""
        live = self._live(page, part, model, dtype)
        if sample >= 0:
            curve = live.orbit(sample)
            return {"dtype": live.dtype, "places": curve.places, "errors": pack(curve.errors), "floors": pack(curve.floors)}
        seen = live.whole()
        overview = pack(embed(np.nan_to_num(seen.errors, posinf=0.0, neginf=0.0))) if live.count >= 3 else None
        return {"dtype": live.dtype, "errors": pack(seen.errors), "embedding": overview, "by_output": seen.by_output}

    def ladder(
        self, page: str, part: int, model: int, sample: int, dtype: str, at: list[float] | None, draw: int | None
    ) -> dict[str, Any]:
        """The layers of one model at one element, in the asked dtype and in those of :data:`LADDER`."""
        asked = self._live(page, part, model, dtype)
        names = sorted({asked.dtype, *LADDER}, key=precision.tolerance)
        mine = None if sample < 0 else sample
        found = {}
        for name in names:
            live = self._live(page, part, model, name)
            found[name] = live.ladder(live.element(at=at, draw=draw), mine)
        rungs = [layer.to_dict() for layer in found[asked.dtype]]
        for rung in rungs:
            rung["errors"] = {n: layer.error for n in names for layer in found[n] if layer.name == rung["name"]}
        limit = precision.tolerance(asked.dtype)
        first = next((rung["name"] for rung in rungs if rung["error"] > max(limit, rung["floor"])), "")
        alone = mine is not None and asked.plan.independent
        return {"dtype": asked.dtype, "layers": rungs, "offender": first, "tolerance": limit, "alone": alone}

    # ------------------------------------------------------------------ loading

    def _part(self, page: str, part: int) -> dict[str, Any]:
        told = read_payload(self.folder.file(f"{page}/audit.html" if page else "audit.html"))
        parts = told.get("parts") or [told]
        if not 0 <= part < len(parts):
            raise InputError(f"part: the page has {len(parts)}, got {part}")
        return parts[part]

    def _live(self, page: str, part: int, m: int, dtype: str = "") -> Live:
        stamp = self.folder.file(f"{page}/audit.html" if page else "audit.html").stat().st_mtime_ns
        key = (page, stamp, part, m, dtype)
        if key not in self.lives:
            told = self._part(page, part)
            if not 0 <= m < len(told["models"]):
                raise InputError(f"model: the page has {len(told['models'])}, got {m}")
            self.lives[key] = self._make(page, told, told["models"][m], dtype)
            while len(self.lives) > OPEN:
                self.lives.popitem(last=False)
        self.lives.move_to_end(key)
        return self.lives[key]

    def _make(self, page: str, told: Mapping[str, Any], model: Mapping[str, Any], dtype: str) -> Live:
        f = self._model(model["name"], told["command"])
        contract = _contract(f, told)
        x = self._samples(page, contract)
        live = Live(f, x, contract, dtype=dtype or model["audit"]["dtype"], seed=int(model["audit"]["seed"]))
        if live.grid.axes != _axes(live, told) or live.count != told["count"]:
            raise InputError("the page was made of other samples or elements than its command makes; run that again")
        return live

    def _samples(self, page: str, contract: Contract) -> Any:
        try:
            file = self.folder.file(f"{page}/samples.npz" if page else "samples.npz")
        except InputError as error:
            raise InputError("its samples are not kept (samples.npz); run the page's command again") from error
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        return contract.inputs.unpack(contract.inputs.pack(arrays["input"] if contract.inputs.unnamed else arrays))

    def _model(self, name: str, command: str) -> Any:
        if name in self.targets:
            return self._named(name, self.targets[name])
        folders = self.folder.models(name)
        if len(folders) > 1:  # those of the same name are told apart by what the page's command says
            words = [Path(word).parts for word in shlex.split(command)]
            asked = [f for f in folders if any(word[-len(f.parts) :] == f.parts for word in words)]
            folders = asked if len(asked) == 1 else folders
        if len(folders) != 1:
            why = f"{len(folders)} models are called so" if folders else "its model is not in this folder"
            raise InputError(f"{why}; start coset serve with --model {shlex.quote(name)}=TARGET")
        key = str(folders[0])
        if key not in self.models:
            from coset.train.checkpoint import load_model

            self.models[key] = load_model(self.folder.root / folders[0])
        return self.models[key]

    def _named(self, name: str, target: str) -> Any:
        if name not in self.models:
            self.models[name] = load_target(target)
        return self.models[name]


def _contract(f: Any, told: Mapping[str, Any]) -> Contract:
    """The page's contract: the model's own where it reads the same, since only that one knows where and how it looks."""
    said = told["contract"]
    sides = [Fields({one["name"]: one["spec"] for one in told[side]}) for side in ("inputs", "outputs")]
    for promised in getattr(f, "contracts", ()):
        for one in promised.factors():
            if (str(one.group), one.inputs, one.outputs) == (said["group"], *sides):
                return one
    return Contract(parse_group(said["group"]), sides[0], sides[1])


def _axes(live: Live, told: Mapping[str, Any]) -> Any:
    """The axes of the live grid where the page's have the same labels, else None."""
    same = [list(axis.labels) for axis in live.grid.axes] == [axis["labels"] for axis in told["grid"]["axes"]]
    return live.grid.axes if same else None


def _told(moment: Moment, whole: bool) -> dict[str, Any]:
    sides = {"gx": moment.gx, "got": moment.got, "want": moment.want, "x": moment.x if whole else {}}
    return {
        "name": moment.name, "error": moment.error, "floor": moment.floor, "count": moment.count,
        **{side: {name: _packed(value) for name, value in values.items()} for side, values in sides.items()},
    }  # fmt: skip


def _packed(value: torch.Tensor) -> dict[str, Any]:
    value = (value.abs() if value.is_complex() else value).detach().cpu()
    return pack(value.double().numpy(), "f8") if value.is_floating_point() else pack(value.numpy(), "i4")


def _words(error: BaseException) -> str:
    text = str(error) if isinstance(error, CosetError) else f"{type(error).__name__}: {error}"
    return text if len(text) <= WORDS else f"{text[:WORDS]} ..."


def answer(studio: Studio, job: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one job: a document, or ``failed`` with its kind (input: asked wrongly; model: the model raised)."""
    what: dict[str, Callable[..., dict[str, Any]]] = {
        "load": studio.load, "open": studio.open, "at": studio.at, "orbit": studio.orbit, "ladder": studio.ladder
    }  # fmt: skip
    try:
        found = what[job["do"]](**job["with"])
        return to_json({"schema": SCHEMA, **found})
    except CosetError as error:
        return {"schema": SCHEMA, "failed": {"kind": "input", "message": _words(error)}}
    except Exception as error:
        return {"schema": SCHEMA, "failed": {"kind": "model", "message": f"the model raised {_words(error)}"}}


def main(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer jobs until the pipe closes; the first line says where and with which targets."""
    start = json.loads(requests.readline())
    studio = Studio(Path(start["root"]), start["targets"])
    for line in requests:
        answers.write(json.dumps(answer(studio, json.loads(line)), allow_nan=False).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    # what a model prints must not mix with the answers
    with os.fdopen(os.dup(1), "wb") as _answers:
        os.dup2(2, 1)
        main(sys.stdin.buffer, _answers)
