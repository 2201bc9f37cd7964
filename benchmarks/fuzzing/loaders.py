"""Every function that reads a file or parses a text, with a good example; a case spoils the example and calls the function.

The answer is either right or an error of :mod:`coset.errors`. Where a file carries a checksum, a damaged one must not be
taken for another: what is read then is what stands in the good file (``same``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from .files import NUMBERS, WORDS, copy, damage


@dataclass(frozen=True)
class Loader:
    """A reader: what it reads of the stock, how it is called, and a summary that a checksum protects."""

    items: tuple[str, ...]
    call: Callable[..., Any]
    same: Callable[[Any], Any] | None = None


def _task(name: str, **given: str) -> Loader:
    """The data of a task with files of the user's; no training."""

    def load(*paths: Path) -> Any:
        from importlib import import_module

        from coset.recipe import Request

        task = import_module(f"coset.tasks.{name}").task
        told = (("cutoff", "3.0"),) if "cutoff" in task.options else ()
        data = task.data(Request("smoke", 0, tuple(zip(given, paths, strict=True)), told))
        if not isinstance(data.train, dict) and hasattr(data.train, "__getitem__"):
            return data.train.collate([data.train[0]]) if hasattr(data.train, "collate") else data.train[0]
        return data

    return Loader(tuple(given.values()), load)


def table() -> dict[str, Loader]:
    """All loaders by name; imports everything they need."""
    return _structures() | _models() | _arrays() | _pictures() | _others() | _tasks()


def _structures() -> dict[str, Loader]:
    from coset.data.mlearn import mlearn_frames
    from coset.data.store import Store, open_structures
    from coset.data.structure_streams import stream_structures
    from coset.data.structures import read_structures

    frames = ("train.extxyz", "train.extxyz.gz", "plain.xyz", "frames.traj", "frames.db", "frames.json", "frames.aselmdb",
              "md17.npz", "deepmd", "store.safetensors")  # fmt: skip
    found = {f"read_structures {name}": Loader((name,), read_structures) for name in frames[:4] + frames[7:9]}
    found |= {f"stream_structures {name}": Loader((name,), lambda p: list(stream_structures(p))) for name in frames}
    found |= {f"open_structures {name}": Loader((name,), lambda p: list(open_structures(p))) for name in ("md17.npz", "deepmd")}

    def store(path: Path) -> Any:
        return [float(frame["pos"].sum()) for frame in Store(path).verify()]  # type: ignore[attr-defined]

    return found | {
        "Store": Loader(("store.safetensors",), store, lambda x: x),
        "mlearn_frames": Loader(("mlearn",), lambda p: mlearn_frames(p, "Si", "training")),
    }


def _models() -> dict[str, Loader]:
    from coset.interop import card, potential_export
    from coset.interop.export import load_exported, read_contract
    from coset.interop.potential_file import load_potential, read_description
    from coset.train import checkpoint, initial, state

    def weights(model: Any) -> Any:
        return [float(p.double().sum()) for p in model.parameters()]

    return {
        "load_potential": Loader(("potential.safetensors",), load_potential, weights),
        "load_potential of a row": Loader(("mace",), load_potential, weights),
        "read_description": Loader(("potential.safetensors",), read_description, lambda x: x),
        "sources": Loader(("run",), lambda p: [s.load() for s in potential_export.sources([p])]),
        "load_model": Loader(("egnn",), checkpoint.load_model, weights),
        "load_model of a wrapper": Loader(("averaged",), lambda p: checkpoint.load_model(p, target=_cnn())),
        "checkpoint.read_description": Loader(("egnn",), checkpoint.read_description),
        "Initial.of_folder": Loader(("mace",), initial.Initial.of_folder),
        "read_state": Loader(("state.safetensors",), lambda p: state.read_state(p, kind="test")),
        "load_exported": Loader(("egnn.pt2",), load_exported),
        "read_contract": Loader(("egnn.pt2",), read_contract),
        "write_card": Loader(("egnn",), lambda p: card.write_card(p, out=p.parent / "card")),
        "write_card of a run": Loader(("run",), lambda p: card.write_card(p / "rows" / "closed-form" / "0")),
        "load_folder": Loader(("mace",), card.load_folder),
    }


def _arrays() -> dict[str, Loader]:
    from coset.contract import Contract
    from coset.groups.finite import C
    from coset.interop import arrays
    from coset.interop.target import load_target
    from coset.ops.decomposed import Decomposition, Request
    from coset.reps.fields import Fields

    one, two = Fields("N x position"), Fields({"pos": "N x position", "z": "N x scalar"})
    radius = Contract(C(4), "B x vector", "B x 1 x scalar")
    return {
        "Decomposition.load": Loader(("factors.npz",), lambda p: Decomposition.load(p, Request(1, 1))),
        "load_data points.npy": Loader(("points.npy",), lambda p: arrays.load_data(str(p), one)),
        "load_data points.npz": Loader(("points.npz",), lambda p: arrays.load_data(str(p), two)),
        "load_data plane.npy": Loader(("plane.npy",), lambda p: radius.inputs.pack(arrays.load_data(str(p), radius.inputs))),
        "load_data bomb.npy": Loader(("bomb.npy",), lambda p: arrays.load_data(str(p), one)),
        "load_data bomb.npz": Loader(("bomb.npz",), lambda p: arrays.load_data(str(p), two)),
        "load_target bomb.pkl": Loader(("bomb.pkl",), lambda p: load_target(str(p))),
        "load_target bomb.pth": Loader(("bomb.pth",), lambda p: load_target(str(p))),
        "load_target nets.py": Loader(("nets.py",), lambda p: load_target(f"{p}:cnn")),
    }


def _pictures() -> dict[str, Loader]:
    from coset.data import cifar10, digits, pose_sets, threediebench
    from coset.data.affine_digits import read_affnist
    from coset.ops.healpix import RotationGrid

    grid = RotationGrid(0)
    return {
        "read_mnist npz": Loader(("mnist.npz",), digits.read_mnist),
        "read_mnist folder": Loader(("mnist",), digits.read_mnist),
        "read_cifar10 bin": Loader(("cifar.bin",), cifar10.read_cifar10),
        "read_cifar10 tar": Loader(("cifar.tar.gz",), cifar10.read_cifar10),
        "read_cifar10 pictures": Loader(("pictures",), cifar10.read_cifar10),
        "read_cifar10 zip": Loader(("pictures.zip",), cifar10.read_cifar10),
        "read_modelnet": Loader(("modelnet",), lambda p: pose_sets.read_modelnet(p, "test", grid)[0]),
        "read_symsol": Loader(("symsol",), lambda p: pose_sets.read_symsol(p, "test", grid)[0]),
        "read_affnist": Loader(("affnist.mat",), read_affnist),
        "3diebench": Loader(("solids",), lambda p: threediebench.Objects(p, "train", views=2)[0]),
    }


def _others() -> dict[str, Loader]:
    from coset.audits.verdict import Audit
    from coset.data import mocap, pedestrians, tu
    from coset.data.body_scans import load_bodies
    from coset.data.limb_files import read_body
    from coset.records import read_results
    from coset.report.audit_page import read_payload
    from coset.report.cite import cited
    from coset.report.html import write_report

    return {
        "read_results": Loader(("run",), read_results),
        "write_report": Loader(("run",), write_report),
        "cited": Loader(("run",), cited),
        "Audit.load": Loader(("audit",), lambda p: Audit.load(p / "audit.npz")),
        "read_payload": Loader(("audit",), lambda p: read_payload(p / "audit.html")),
        "load_bodies": Loader(("bodies",), lambda p: load_bodies(p, 10)),
        "read_tu folder": Loader(("tu",), tu.read_tu),
        "read_tu zip": Loader(("tu.zip",), tu.read_tu),
        "read_body": Loader(("body.json",), read_body),
        "read_motions folder": Loader(("motion",), mocap.read_motions),
        "read_motions npz": Loader(("motion.npz",), mocap.read_motions),
        "read_recording": Loader(("scenes",), lambda p: pedestrians.read_recording(p / "biwi_eth.txt")),
        "leave_out": Loader(("scenes",), lambda p: pedestrians.leave_out(p, "eth", stride=20)),
    }


def _tasks() -> dict[str, Loader]:
    return {
        "task digits": _task("digits", mnist="mnist.npz"),
        "task shifted_digits": _task("shifted_digits", mnist="mnist.npz"),
        "task cifar10_shift": _task("cifar10_shift", cifar10="cifar.bin"),
        "task tu_graphs": _task("tu_graphs", tu="tu"),
        "task potential": _task("potential", train="train.extxyz", test="test.extxyz"),
        "task potential, stored": _task("potential", train="store.safetensors", test="test.extxyz"),
        "task walking": _task("walking", mocap="motion.npz"),
        "task locomotion": _task("locomotion", body="body.json"),
        "task bodies": _task("bodies", bodies="bodies"),
        "task learned_equivariance": _task("learned_equivariance", train="train.extxyz", test="test.extxyz"),
    }


def _cnn() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))


#: texts that are parsed: seeds of which cases are made
TEXTS = {
    "parse_group": ("C(8)", "SO(3)", 'S("N")', 'E(3) ** "K"', "Flow(T(2), 1)", "C(4) * SO(3)", "Torus(4, 4)",
                    "D(3)", "O(2)", "Lorentz()"),
    "Fields": ("B x 1 x image", "N x position", "2 x E -> N", "E x 4 x scalar", "invariant", "image", "N x 2x0e+1x1o",
               "3 x vector"),
    "seconds": ("90s", "1h30m", "5m", "0.5"),
    "Irreps": ("2x0e+1x1o", "8x0+4x1", "1x2e"),
}  # fmt: skip


def parse(what: str, text: str) -> Any:
    """Parse a text, and use a little of what came out."""
    from coset.groups.matrix import O
    from coset.groups.parse import parse_group
    from coset.reps.fields import Fields
    from coset.reps.irreps import Irreps
    from coset.train.run import seconds

    if what == "parse_group":
        group = parse_group(text)
        return str(group)
    if what == "Fields":
        return str(Fields(text))
    return seconds(text) if what == "seconds" else str(Irreps(text, O(3)))


def spoiled_text(seeds: Sequence[str], chance: Random) -> str:
    """Tokens of good texts mixed with hostile ones."""
    text = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 2, 4))):
        i = chance.randrange(len(text) + 1)
        j = min(len(text), i + chance.choice((0, 1, 1, 3)))
        new = chance.choice((*WORDS, *NUMBERS, *seeds, "(", ")", ",", "**", "x", "->", "+", "*", '"', " ", "(" * 3000))
        text = (text[:i] + new + text[j:])[:20000]
    return text


def make(chance: Random, stock: Path, room: Path, loaders: dict[str, Loader]) -> tuple[str, Callable[[], Any], Any]:
    """A case in the folder ``room``: what it is in words, the call, and the loader for what a checksum protects."""
    if chance.random() < 0.12:
        what = chance.choice(sorted(TEXTS))
        text = spoiled_text(TEXTS[what], chance)
        return f"{what}({text[:80]!r})", lambda: parse(what, text), None
    name = chance.choice(sorted(loaders))
    loader = loaders[name]
    paths = [copy(item, stock, room) for item in loader.items]
    done = [damage(chance.choice(paths), chance, stock) for _ in range(chance.choice((1, 1, 1, 2)))]
    return f"{name}: {'; '.join(done)}", lambda: loader.call(*paths), loader
