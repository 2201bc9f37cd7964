"""Command lines: for every verb lines that work, of which a case changes words, files, flags and the place it runs in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .files import NUMBERS, WORDS, copy, damage
from .loaders import TEXTS, spoiled_text

GROUP = ("--group", "C(4)", "--in", "B x vector", "--out-rep", "B x 1 x scalar")
IMAGE = ("--group", "C(4)", "--in", "B x 1 x image", "--out-rep", "B x 3 x scalar")
RUN = ("run",)

#: verb: lines that work; a word @NAME is a thing of the stock, copied into the case's folder
LINES: dict[str, tuple[tuple[str, ...], ...]] = {
    "audit": (
        ("@nets.py:radius", *GROUP, "--data", "@plane.npy", "--samples", "4"),
        ("@nets.py:radius", *GROUP, "--samples", "3", "--tolerance", "1e-3", "--json"),
        ("@nets.py:cnn", *IMAGE, "--data", "@images.npz", "--samples", "2", "--dtype", "float32"),
        ("@nets.py:force", "--group", "O(3)", "--in", "pos=N x position", "--in", "z=N x scalar", "--out-rep",
         "forces=N x vector", "--data", "@points.npz", "--samples", "3"),
        ("@run/rows/closed-form/0:@task.py:Radius", *GROUP[:4], "--out-rep", "B x 2 x scalar", "--samples", "2"),
        ("@averaged:@nets.py:cnn", "--samples", "2"),
        ("@egnn", "--samples", "2", "--json"),
        ("@nets.py:radius", *GROUP, "--data", "@plane.npy", "--samples", "2", "--out", "seen", "--labels", "@labels.npy"),
        ("@nets.py:radius", *GROUP, "--samples", "2", "--out", "@audit"),
        ("@potential.safetensors", "--atoms", "@water.extxyz", "--samples", "1", "--dtype", "float64"),
        ("@bomb.pkl", *GROUP), ("@bomb.pth", *GROUP, "--data", "@plane.npy"),
    ),
    "symmetrize": (
        ("@nets.py:cnn", *IMAGE, "--how", "average", "--data", "@images.npz", "--save", "kept"),
        ("@nets.py:cnn", *IMAGE, "--how", "canonicalize", "--save", "kept", "--json"),
        ("@nets.py:radius", *GROUP, "--how", "frames", "--data", "@plane.npy"),
        ("@nets.py:cnn", *IMAGE, "--how", "augment", "--data", "@images.npz", "--size", "smoke", "--save", "@averaged"),
    ),
    "compare": (
        ("@task.py:task", "--methods", "closed form", "--size", "smoke", "--out", "seen"),
        ("@task.py:task", "--methods", "plain", "--size", "smoke", "--set", "epochs=1", "--out", "seen", "--json"),
        ("@task.py:task", "--methods", "closed form,plain", "--size", "smoke", "--budget", "3s"),
        ("@task.py:task", "--methods", "closed form", "--size", "smoke", "--with", "@nets.py:radius", "--out", "@run"),
        ("digits", "--size", "smoke", "--methods", "nobody", "--data", "mnist=@mnist.npz"),
        ("potential", "--size", "smoke", "--methods", "MACE", "--train", "@train.extxyz", "--test", "@test.extxyz", "--cutoff",
         "2.5", "--budget", "1s", "--set", "epochs=1"),
        ("bodies", "--methods", "PointNet", "--size", "smoke", "--budget", "1s", "--data", "bodies=@bodies"),
        ("tu-graphs", "--methods", "GIN", "--size", "smoke", "--budget", "1s", "--data", "tu=@tu.zip"),
    ),
    "train": (
        ("@task.py:task", "noisy", "--size", "smoke", "--set", "epochs=1", "--out", "seen"),
        ("@task.py:task", "plain", "--size", "smoke", "--budget", "2s", "--seed", "3", "--checkpoint-every", "1s", "--json"),
        ("@task.py:task", "closed form", "--out", "@run", "--resume", "--size", "smoke"),
        ("potential", "MACE", "--size", "smoke", "--train", "@store.safetensors", "--test", "@test.extxyz", "--cutoff", "2.5",
         "--budget", "1s", "--set", "epochs=1", "--out", "seen"),
        ("potential", "MACE", "--size", "smoke", "--train", "@train.extxyz", "--test", "@test.extxyz", "--init",
         "@potential.safetensors", "--budget", "1s", "--set", "epochs=1"),
        ("walking", "EGNN", "--size", "smoke", "--data", "mocap=@motion.npz", "--budget", "1s"),
        ("locomotion", "MLP", "--size", "smoke", "--data", "body=@body.json", "--budget", "1s"),
    ),
    "report": (("@run",), ("@audit",)),
    "cite": (("@run",), ("@run", "--keys"), ("@run/rows/plain/0", "--json")),
    "card": (("@run/rows/plain/0", "--license", "mit"), ("@egnn", "--out", "hub", "--name", "net", "--data", "made up"),
        ("@mace",)),
    "export": (
        ("@potential.safetensors", "--out", "copy.safetensors"),
        ("@mace", "--out", "copy.safetensors", "--to", "lammps", "--json"),
        ("@mace", "@potential.safetensors", "--committee", "--out", "both.safetensors"),
        ("@egnn", "--out", "net.pt2", "--to", "pt2"),
        ("@run", "--out", "x.safetensors", "--method", "plain"),
    ),
    "convert": (("mace", "@bomb.pt"), ("mace", "@bomb.pt", "--out", "x.safetensors", "--check", "@water.extxyz"),
                ("mace", "@potential.safetensors", "--python", "/nowhere/python", "--radial", "spline")),
    "data": (
        ("convert", "@train.extxyz", "@md17.npz", "--out", "all.safetensors"),
        ("convert", "@deepmd", "--out", "all.safetensors", "--precision", "float32", "--energy-unit", "hartree", "--json"),
        ("convert", "@frames.aselmdb", "@frames.db", "--out", "all.safetensors", "--skip"),
        ("check", "@store.safetensors"), ("check", "@train.extxyz.gz", "--json"), ("check", "@frames.traj"),
        ("list",), ("list", "--json"), ("fetch", "nothing"),
    ),
    "md": (
        ("@potential.safetensors", "--atoms", "@water.extxyz", "--steps", "3", "--out", "seen", "--every", "1", "--keep", "1"),
        ("@mace", "--atoms", "@train.extxyz", "--frame", "1", "--steps", "2", "--out", "seen", "--ensemble", "langevin",
            "--json"),
        ("@potential.safetensors", "@mace", "--atoms", "@water.extxyz", "--steps", "2", "--out", "seen", "--dt", "0.1",
         "--ensemble", "bussi", "--temperature", "100", "--seed", "1"),
    ),
    "relax": (
        ("@potential.safetensors", "--atoms", "@water.extxyz", "--out", "relaxed.extxyz", "--steps", "2"),
        ("@mace", "--atoms", "@train.extxyz", "--out", "relaxed.extxyz", "--steps", "1", "--fmax", "100", "--optimizer", "FIRE",
         "--json"),
        ("@mace", "--atoms", "@train.extxyz", "--out", "relaxed.extxyz", "--steps", "1", "--cell"),
    ),
    "serve": (("@audit", "--port", "0"), ("@run", "--port", "0", "--token"), ("@audit", "--port", "0", "--model",
        "@nets.py:radius"),
              ("@audit", "--port", "0", "--host", "nowhere.invalid", "--workers", "1")),
    "docs": (("--out", "site", "--tasks", "nobody"), ("--out", "site", "--tasks", "digits", "--pages", "@motion")),
    "list": (("tasks",), ("groups", "--json"), (), ("reps",)),
    "doctor": ((), ("--json",)),
    "": (("--help",), ("--version",), (), ("nothing",)),
}  # fmt: skip
#: how often a verb is drawn: those that read and write more, more often
WEIGHT = {"audit": 16, "symmetrize": 9, "compare": 12, "train": 11, "report": 6, "cite": 5, "card": 7, "export": 8,
    "convert": 3,
          "data": 10, "md": 8, "relax": 6, "serve": 3, "docs": 2, "list": 1, "doctor": 0.2, "": 1}  # fmt: skip
ODD = ("0", "1", "2", "3", "7", "-1", "0.5", "nan", "inf", "-inf", "1e-300", "1e300", "2147483648", "999999999999999999999")
SETTINGS = ("lr", "epochs", "batch", "optimizer", "weight_decay", "clip", "precision", "schedule", "patience", "samples", "ema",
            "accumulate", "edges", "warmup")  # fmt: skip
#: values that a flag understands
CHOICES = {
    "--group": TEXTS["parse_group"], "--in": TEXTS["Fields"], "--out-rep": TEXTS["Fields"], "--dtype": ("float32",
        "bfloat16", "float64"),
    "--how": ("average", "frames", "canonicalize", "augment", "regularize"), "--size": ("smoke",), "--ensemble": ("nve",
        "langevin", "bussi"),
    "--budget": ("0.001s", "1s", "0.5", "1e-9"), "--to": ("ase", "lammps", "torchsim", "pt2", "onnx"),
        "--methods": ("plain", "noisy", "PLAIN,noisy"),
    "--set": tuple(f"{name}={value}" for name in SETTINGS for value in ("0", "1", "-1", "nan", "1e30", "3", "0.5", "sgd",
        "64")),
    "--optimizer": ("LBFGS", "MDMin", "Optimizer", "BFGSLineSearch"), "--energy-unit": ("kcal/mol", "J"),
        "--radial": ("knots",),
    "--with": ("@nets.py:radius", "nets.py:cnn", "task.py:task", "run/rows/closed-form/0"), "--precision": ("float32",
        "float64"),
}  # fmt: skip
STRAY = ("--help", "--version", "--", "-x", "--unknown", "--out", "--json", "--seed", "--group", "--data", "extra", "--no-json")
TARGETS = ("raises", "shapes", "nothing", "text", "numbers", "infinite", "nan", "integers", "numpy", "exits", "needs", "Needs",
           "Failing", "number", "broken", "radius", "cnn", "missing", "", "__class__", "torch.nn",
               "radius.__call__")  # fmt: skip
#: where results are to go; nothing outside the case's folder that could be written to, for a user may be root
PLACES = (
    "/proc/nowhere/x",
    "/proc/x",
    "/dev/null",
    "/dev/full",
    "task.py",
    ".",
    "",
    "a" * 300,
    "x\0y",
    "new/deep/er",
    "~nobody/x",
    "/proc",
)
#: what the surroundings do: where nothing can be written, or not enough, or the reader of the output is gone
TROUBLES = ("limit", "limit", "limit", "readonly", "closed", "full", "stdout", "pipe", "vanished")
FILE_FLAGS = (
    "--out",
    "--save",
    "--data",
    "--atoms",
    "--labels",
    "--check",
    "--pages",
    "--init",
    "--train",
    "--test",
    "--valid",
)


@dataclass
class Line:
    """A command line ready to run: its words, what was done, and the trouble around it."""

    tokens: list[str]
    done: list[str] = field(default_factory=list)
    trouble: str = ""
    amount: int = 0  #: bytes, of a limit


def make(chance: Random, stock: Path, room: Path) -> Line:
    """A case in the folder ``room``."""
    verb = chance.choices(list(WEIGHT), list(WEIGHT.values()))[0]
    words, done = list(chance.choice(LINES[verb])), []
    items = sorted(set(re.findall(r"@([\w.-]+)", " ".join(words))))
    line = Line([], done)
    what = chance.choices(("files", "values", "words", "all", "trouble"), (30, 25, 10, 20, 15))[0]
    hit = chance.choice(items) if items and what in ("files", "all") else None
    for item in items:
        copied = copy(item, stock, room)
        if item == hit or (what == "all" and chance.random() < 0.2):
            done.append(f"{item}: {damage(copied, chance, stock)}")
    if what == "values":
        words = _revalued(words, chance, done)
    for _ in range({"words": chance.choice((1, 1, 2, 3)), "all": chance.choice((1, 2, 4))}.get(what, 0)):
        words = _changed(words, chance, done)
    line.tokens = [word.replace("@", "") for word in ([verb] if verb else []) + words]
    if what == "trouble":
        line.trouble = chance.choice(TROUBLES)
        line.amount = chance.choice((0, 1, 100, 1000, 4000, 20_000, 100_000))
    return line


def _revalued(words: list[str], chance: Random, done: list[str]) -> list[str]:
    """Other values for some of a line's flags, of a kind that is understood; or another target."""
    out = list(words)
    places = [i for i, word in enumerate(words) if i and words[i - 1].startswith("--") and not word.startswith("--")]
    places += [i for i, word in enumerate(words) if word.startswith("@nets.py")] * 3
    for i in chance.sample(places, min(len(places), chance.choice((1, 1, 2, 3)))):
        flag, word = words[i - 1] if i else "", words[i]
        choices = CHOICES.get(flag, ())
        if flag == "--steps":  # a run of years is no fault
            out[i] = chance.choice(("0", "1", "5", "-1", "0.5", "nan"))
        elif re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", word):
            out[i] = chance.choice(ODD)
        elif word.startswith("@nets.py"):
            out[i] = f"@nets.py:{chance.choice(TARGETS)}"
        elif choices:
            out[i] = chance.choice(choices)
        else:
            out[i] = _word(words, i, chance)
        done.append(f"{flag} {word[:30]} -> {out[i][:30]!r}")
    return out


def _changed(words: list[str], chance: Random, done: list[str]) -> list[str]:
    """One change to the words of a line."""
    what = chance.random()
    if not words or what < 0.12:
        word = chance.choice(STRAY)
        place = chance.randrange(len(words) + 1)
        done.append(f"+{word}")
        return [*words[:place], word, *words[place:]]
    i = chance.randrange(len(words))
    if what < 0.22:
        done.append(f"-{words[i]}")
        return words[:i] + words[i + 1 :]
    if what < 0.27:
        done.append(f"twice {words[i]}")
        return [*words[:i], words[i], *words[i:]]
    if what < 0.32:
        j = chance.randrange(len(words))
        words = list(words)
        words[i], words[j] = words[j], words[i]
        done.append("swapped words")
        return words
    new = _word(words, i, chance)
    done.append(f"{words[i][:40]!r} -> {new[:40]!r}")
    return [*words[:i], new, *words[i + 1 :]]


def _word(words: list[str], i: int, chance: Random) -> str:
    """What stands in the place of a word, by what the word is."""
    word, before = words[i], words[i - 1] if i else ""
    if word.startswith("@nets.py") and chance.random() < 0.8:
        return chance.choice([*(f"@nets.py:{name}" for name in TARGETS), "bad.py:x", "raising.py:x", "os:getcwd", "json:dumps"])
    if before in FILE_FLAGS and chance.random() < 0.5:
        return chance.choice(PLACES)
    if before == "--group" and chance.random() < 0.8:
        return spoiled_text(TEXTS["parse_group"], chance) if chance.random() < 0.6 else chance.choice(TEXTS["parse_group"])
    if before in ("--in", "--out-rep") and chance.random() < 0.8:
        return spoiled_text(TEXTS["Fields"], chance) if chance.random() < 0.6 else chance.choice(TEXTS["Fields"])
    if before == "--set" and chance.random() < 0.8:
        name = chance.choice(("lr", "epochs", "batch", "optimizer", "weight_decay", "clip", "precision", "schedule", "nothing"))
        return f"{name}={chance.choice((*NUMBERS, 'adam', 'bf16', '-3', '1e-3'))}"
    if "=" in word and chance.random() < 0.5:
        name, _, value = word.partition("=")
        return chance.choice((f"{name}={chance.choice(PLACES)}", f"{name}=", f"={value}", f"{chance.choice(WORDS)}={value}"))
    if before == "--steps":
        return chance.choice(("0", "1", "-1", "nan", "x", "", "1.5"))
    if before.startswith("--") and re.fullmatch(r"[-+]?[\d.e-]+s?", word):
        return chance.choice((*NUMBERS, *NUMBERS, "1e30", "-7", "2147483648", "1s1", "0.0"))
    return chance.choice((*WORDS, *NUMBERS, *PLACES))
