"""A model folder that a hub can hold: weights, description, and a card that says what the model promises and what was measured.

    write_card("runs/digits-1/rows/plain/0", out="hub/plain", license="mit")    # README.md, model.json, model.safetensors
    save_folder(model, "hub/mine", sample=x, data="my scans", license="cc-by-4.0")
    model = load_folder("hub/mine")                                             # or "owner/name" of a hub

The card is Markdown with a head of YAML as hubs read it. Every figure in it is copied from ``model.json`` and from the results
of the run, none is typed; what nobody said (a license) is told to be missing. No pickle is written or read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from coset.audits.equivariance import equivariance_error
from coset.contract import contracts_of
from coset.errors import InputError, require
from coset.records import Result, read_results, read_task, slug, write_atomically
from coset.report.cite import citations, software
from coset.train.checkpoint import load_model, read_description, save_model

FILES = ("model.json", "model.safetensors")
CARD = "README.md"


@dataclass(frozen=True)
class Story:
    """What a card tells beside ``model.json``."""

    name: str
    license: str = ""
    data: str = ""
    intended: str = ""  #: what it is for, in words
    result: Result | None = None  #: of the run that it comes from
    task: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, *, name: str, license: str, data: str, intended: str) -> Story:
        """What was said, and what the run around a row's folder knows."""
        run, result, task = folder.absolute().parents[2:3], None, {}
        if run and folder.absolute().parent.parent.name == "rows" and (run[0] / "results.jsonl").is_file():
            mine = [r for r in read_results(run[0]) if folder.absolute().match(f"rows/{slug(r.method)}/{r.seed}")]
            result = mine[0] if mine else None
            task = read_task(run[0])
        if result is not None:
            name = name or f"{result.method} ({result.task})"
            said = " ".join(task.get("description", [])[:1])
            data = data or f"{result.task}, size {result.size}, seed {result.seed}. {said}".strip()
        return Story(name or folder.absolute().name, license, data, intended, result, task)


def write_card(
    folder: str | Path, *, out: str | Path | None = None, license: str = "", data: str = "", name: str = "", intended: str = ""
) -> Path:
    """Write the card of a saved model: into its own folder or, with copies of its two files, into ``out``; the card's path.

    ``license`` is an SPDX name; ``data`` says in words what the model was trained on (of a row: what its run says). Raises
    InputError for a folder without a model, files that do not belong together, and a folder that cannot be written.
    """
    folder = Path(folder)
    about = read_description(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file() or hashlib.sha256(weights.read_bytes()).hexdigest() != about.get("sha256"):
        raise InputError(f"{weights} is missing, or is not the file that model.json describes: damaged, or changed since")
    if license and not re.fullmatch(r"[A-Za-z0-9.+-]+", license):
        raise InputError(f"license is an SPDX name such as mit or cc-by-4.0, got {license!r}")
    text = _card(about, Story.of(folder, name=name, license=license, data=data, intended=intended))
    target = folder if out is None else Path(out)
    if target.absolute() != folder.absolute():
        for file in FILES:
            write_atomically(target / file, (folder / file).read_bytes())
    write_atomically(target / CARD, text)
    return target / CARD


def save_folder(
    model: nn.Module, path: str | Path, *, sample: Any = None, metrics: Mapping[str, float] | None = None, **said: str
) -> Path:
    """Save a model with a card; the folder. The error of every contract is measured on ``sample``, where one is given.

    ``said`` are the words of :func:`write_card`. InputError for a model that cannot be described or states no contract.
    """
    errors = {}
    if sample is not None:
        errors = {str(one): equivariance_error(model, one, sample) for one in contracts_of(model)}
    save_model(path, model, metrics=metrics, errors=errors)
    write_card(path, **said)
    return Path(path)


def load_folder(source: str | Path, *, target: Any = None, revision: str | None = None) -> nn.Module:
    """The model of a folder or, where ``huggingface_hub`` is installed, of ``owner/name`` on its hub, in eval mode.

    ``target`` stands for a module that is not part of this package (:func:`coset.train.checkpoint.load_model`). Of a hub only
    the card and the two files of a model are fetched. InputError for what is neither.
    """
    if Path(source).is_dir():
        return load_model(source, target=target)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) or str(source).startswith("."):
        raise InputError(f"no folder {source}; name a folder with model.json, or a model of a hub as owner/name")
    hub = require("huggingface_hub", extra="hub")
    return load_model(hub.snapshot_download(str(source), revision=revision, allow_patterns=[*FILES, CARD]), target=target)


# ---------------------------------------------------------------------------------------------------- the text


def _card(about: Mapping[str, Any], story: Story) -> str:
    kind = _class(about)
    intended = story.intended or next((str(m.get("note", "")) for m in [_method(story)] if m.get("note")), "")
    parts = [
        _head(about, story),
        f"# {story.name}",
        f"`{kind}`, {about['parameters']} weights{f'. {intended}' if intended else ''}",
        "## What it promises\n\n" + _contracts(about),
        "## What was measured\n\n" + _measured(about, story),
        "## Data\n\n" + (story.data or "Not said."),
        "## License\n\n" + (f"`{story.license}`" if story.license else "Not stated: ask the authors before you use it."),
        "## How to load it\n\n" + _loading(kind),
        "## How to cite it\n\n```bibtex\n" + "\n\n".join(_sources(story)) + "\n```",
        f"Written by coset {about['versions'].get('coset', '')}; trained with torch {about['versions'].get('torch', '')}.",
    ]
    return "\n\n".join(parts) + "\n"


def _class(about: Mapping[str, Any]) -> str:
    described = about["model"]
    return str(described.get("class") or described.get("foreign") or "a model")


def _method(story: Story) -> Mapping[str, Any]:
    return story.task.get("methods", {}).get(story.result.method, {}) if story.result else {}


def _head(about: Mapping[str, Any], story: Story) -> str:
    """YAML, each value of it written as JSON, which YAML contains."""
    groups = list(dict.fromkeys(contract["group"] for contract in about["contracts"]))
    lines: dict[str, Any] = {"library_name": "coset", "tags": ["equivariance", "coset", *groups]}
    if story.license:
        lines["license"] = story.license.lower()
    if about["metrics"]:
        task = story.result.task if story.result else "own data"
        metrics = [{"type": name, "name": name, "value": value} for name, value in about["metrics"].items()]
        results = [{"task": {"type": "other", "name": task}, "dataset": {"name": task, "type": task}, "metrics": metrics}]
        lines["model-index"] = [{"name": story.name, "results": results}]
    return "---\n" + "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in lines.items()) + "---"


def _contracts(about: Mapping[str, Any]) -> str:
    def spelled(fields: Mapping[str, str]) -> str:
        return ", ".join(f"{name}: {spec}" if name else spec for name, spec in fields.items())

    rows = []
    for one in about["contracts"]:
        claim = one["claim"] if one["bound"] is None else f"{one['claim']}, bound {one['bound']:g}"
        rows.append([one["group"], spelled(one["inputs"]), spelled(one["outputs"]), claim])
    return _table(["group", "inputs", "outputs", "claim"], rows) if rows else "Nothing: it states no contract."


def _measured(about: Mapping[str, Any], story: Story) -> str:
    reference = story.result.reference if story.result else {}
    parts = []
    if about["errors"]:
        errors = [[name, f"{float(error):.2e}"] for name, error in about["errors"].items()]
        parts.append(_table(["symmetry", "relative equivariance error (float64)"], errors))
    if about["metrics"]:
        rows = [
            [name, f"{float(v):.6g}", f"{reference[name]:.6g}" if name in reference else ""]
            for name, v in about["metrics"].items()
        ]
        parts.append(_table(["metric", "value", "published"], rows))
    if story.result is not None:
        parts.append(
            f"Made by `{story.result.command}`" + (f" at commit `{story.result.commit}`." if story.result.commit else ".")
        )
    return "\n\n".join(parts) or "Nothing yet."


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _loading(kind: str) -> str:
    own = "" if kind.startswith("coset.") else ", target=net)  # net: a module of the class above, which is not part of coset"
    return f'```python\nfrom coset.interop.card import load_folder\n\nmodel = load_folder("FOLDER"{own or ")"}\n```'


def _sources(story: Story) -> list[str]:
    used = citations(story.task.get("methods", {}), [story.result.method]) if story.result else []
    return [entry["bibtex"] for entry in [software(), *used]]
