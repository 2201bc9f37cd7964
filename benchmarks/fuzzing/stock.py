"""Good files of every kind that a command or a loader reads, small and made by the library itself or in the public form.

They lie in one folder, made once per campaign; a case copies what it names, damaged or not, into a folder of its own.
"""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TASK = "task.py:task"

NETS = '''
"""Models of a user: some good, some not."""
import torch
from torch import nn

class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                    nn.Linear(2, 3))
    def forward(self, x):
        return self.layers(x)

def cnn(): return Cnn()
def radius(x): return x.norm(dim=-1, keepdim=True)
def force(pos, z): return {"forces": pos * z[:, None]}
def raises(x): raise KeyError("inside the model")
def shapes(x): return x[..., :1, None]
def nothing(x): return None
def text(x): return "text"
def numbers(x): return [1.0, 2.0]
def infinite(x): return x.sum(-1, keepdim=True) / 0
def nan(x): return x * float("nan")
def integers(x): return (x > 0).long()
def numpy(x): return x.numpy().sum()
def exits(x): raise SystemExit(5)
def needs(a, b, c): return a
class Needs:
    def __init__(self, a): self.a = a
class Failing(nn.Module):
    def __init__(self): raise RuntimeError("no weights here")
number = 3
broken = Cnn().double().layers[0]
'''


def build(folder: Path) -> None:
    """Make everything; in a process that may be thrown away."""
    folder.mkdir(parents=True)
    (folder / "nets.py").write_text(NETS)
    (folder / "bad.py").write_text("import torch\nthis is no Python\n")
    (folder / "raising.py").write_text("raise ZeroDivisionError('at import')\n")
    shutil.copy(ROOT / "tests" / "train" / "tiny_task.py", folder / "task.py")
    for make in (_arrays, _structures, _potentials, _runs, _images, _clouds, _graphs, _motions, _pickles, _pages):
        make(folder)


def _arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(folder / "images.npz", images=rng.random((6, 1, 8, 8)))
    np.savez(folder / "points.npz", pos=rng.normal(size=(7, 3)), z=np.arange(1.0, 8.0))
    np.save(folder / "points.npy", rng.normal(size=(7, 3)))
    np.save(folder / "plane.npy", rng.normal(size=(9, 2)))
    np.save(folder / "labels.npy", np.arange(6) % 3)


def _structures(folder: Path) -> None:
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT
    from ase.db import connect
    from ase.io import write

    from coset.data.store_write import write_store
    from coset.data.structures import read_structures

    rng = np.random.default_rng(0)
    frames = []
    for i in range(8):
        atoms = bulk("Cu", cubic=True) if i % 2 else molecule("H2O")
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces()
        frames.append(atoms)
    write(folder / "train.extxyz", frames, format="extxyz")
    write(folder / "test.extxyz", frames[:3], format="extxyz")
    write(folder / "water.extxyz", frames[0], format="extxyz")
    write(folder / "frames.traj", frames)
    write(folder / "plain.xyz", frames, format="xyz")
    (folder / "train.extxyz.gz").write_bytes(gzip.compress((folder / "train.extxyz").read_bytes()))
    for name in ("frames.db", "frames.json"):
        with connect(folder / name) as rows:
            for atoms in frames:
                rows.write(atoms)
    _lmdb(folder / "frames.aselmdb", frames)
    pos = rng.normal(size=(5, 4, 3))
    np.savez(folder / "md17.npz", R=pos, E=rng.normal(size=5), F=rng.normal(size=(5, 4, 3)), z=np.array([6, 1, 1, 8]))
    deepmd = folder / "deepmd"
    (deepmd / "set.000").mkdir(parents=True)
    (deepmd / "type.raw").write_text("0\n1\n1\n")
    (deepmd / "type_map.raw").write_text("O H\n")
    for name, width in (("coord", 9), ("force", 9), ("box", 9)):
        box = 20 * np.eye(3).ravel() if name == "box" else 0
        np.save(deepmd / "set.000" / f"{name}.npy", rng.normal(size=(4, width)) + box)
    np.save(deepmd / "set.000" / "energy.npy", rng.normal(size=4))
    write_store(read_structures(folder / "train.extxyz"), folder / "store.safetensors", source="the fuzz campaign")
    sites = [{"species": [{"element": "Si"}], "xyz": xyz} for xyz in ([0.0, 0.0, 0.0], [1.36, 1.36, 1.36])]
    outputs = {"energy": -10.5, "forces": [[0.1, 0, 0], [-0.1, 0, 0]], "virial_stress": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    lattice = {"matrix": [[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]]}
    entry = {"structure": {"lattice": lattice, "sites": sites}, "outputs": outputs, "group": "Elastic"}
    (folder / "mlearn" / "Si").mkdir(parents=True)
    for part in ("training", "test"):
        (folder / "mlearn" / "Si" / f"{part}.json").write_text(json.dumps([entry] * 3))


def _lmdb(path: Path, frames: list[Any]) -> None:
    import lmdb
    from ase.db.row import AtomsRow
    from ase.io.jsonio import encode

    with lmdb.open(str(path), subdir=False, map_size=2**20) as made, made.begin(write=True) as writing:
        for number, atoms in enumerate(frames, 1):
            row = AtomsRow(atoms)
            kept = {name: row[name] for name in vars(row) if name[0] != "_" and name not in row._keys and name != "id"}
            told = kept | {"cell": np.asarray(kept["cell"]), "data": {}, "key_value_pairs": {}}
            writing.put(str(number).encode(), zlib.compress(encode(told).encode()))
        writing.put(b"nextid", zlib.compress(str(len(frames) + 1).encode()))
    path.with_name(f"{path.name}-lock").unlink(missing_ok=True)


def _potentials(folder: Path) -> None:
    import torch

    from coset.interop.export import export_model
    from coset.interop.potential_file import save_potential
    from coset.models.atoms.mace import MACE
    from coset.models.points.egnn import EGNN
    from coset.train.checkpoint import save_model

    torch.manual_seed(0)
    small = MACE((1, 8, 29), r_max=3.0, hidden="2x0e+2x1o", lmax=1, correlation=2, network=(4,))
    save_potential(small, folder / "potential.safetensors", data="nothing")
    save_model(folder / "mace", small)
    save_model(folder / "egnn", egnn := EGNN(4, 1))
    export_model(egnn, folder / "egnn.pt2")


def _runs(folder: Path) -> None:
    from coset.comparison import compare
    from coset.ops.decomposed import Request as Asked
    from coset.ops.decomposed import decompose
    from coset.train.state import write_state

    compare(f"{folder}/{TASK}", ["plain", "closed form"], size="smoke", out=folder / "run", progress=False, workers=1)
    write_state(folder / "state.safetensors", {"a": [1.0, (2, "b")], "c": np.arange(3)}, kind="test")
    asked = Asked(1, 1)
    decompose(asked).save(folder / "factors.npz")


def _images(folder: Path) -> None:
    from PIL import Image
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (70, 28, 28), dtype=np.uint8), (np.arange(70) % 10).astype(np.uint8)
    np.savez(folder / "mnist.npz", images=images, labels=labels)
    (folder / "mnist").mkdir()
    for part, n in (("train", 60), ("t10k", 10)):
        for name, array in (("images-idx3", images[:n]), ("labels-idx1", labels[:n])):
            head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / "mnist" / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    pixels = rng.integers(0, 256, (4, 3073), dtype=np.uint8) % 10
    (folder / "cifar.bin").write_bytes(pixels.tobytes())
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as packed:
        packed.add(folder / "cifar.bin", "cifar-10-batches-bin/data_batch_1.bin")
    picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for kind in ("cat", "dog"):
        (folder / "pictures" / kind).mkdir(parents=True)
        for k in range(3):
            picture.save(folder / "pictures" / kind / f"{k}.png")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as packed:
        for file in sorted((folder / "pictures").rglob("*.png")):
            packed.write(file, file.relative_to(folder))
    rots = np.stack([np.eye(3)] * 12).astype(np.float32)
    (folder / "modelnet").mkdir()
    for part in ("train", "test"):
        shots = rng.integers(0, 255, (12, 28, 28, 1), dtype=np.uint8)
        np.savez_compressed(folder / "modelnet" / f"modelnet10_{part}.npz", imgs=shots, rots=rots, cat_ids=np.arange(12) % 10)
        (folder / "symsol" / part / "images").mkdir(parents=True)
        np.savez(folder / "symsol" / part / "rotations.npz", tet=np.stack([np.stack([np.eye(3)] * 12)] * 4))
        for k in range(4):
            Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(
                folder / "symsol" / part / "images" / f"tet_{k:05d}.png"
            )
    data = {"image": rng.integers(0, 255, (1600, 12), dtype=np.uint8), "label_int": np.arange(12) % 10}
    savemat(folder / "affnist.mat", {"affNISTdata": data})
    for number in range(6):
        home = folder / "solids" / f"0{number % 2}691156" / f"{number:02d}a04e"
        home.mkdir(parents=True)
        for k in range(2):
            picture.save(home / f"image_{k}.jpg")
            np.save(home / f"latent_{k}.npy", rng.normal(size=7))


def _clouds(folder: Path) -> None:
    rng = np.random.default_rng(0)
    v, k = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 6, 20)
    for part in ("train", "test"):
        (folder / "bodies" / part).mkdir(parents=True)
        np.savez(folder / "bodies" / part / "0.npz", vertices=v, normals=np.roll(v, -1, 1), labels=k)
        names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz")) + "property int label\n"
        rows = "\n".join(" ".join(f"{a:.6g}" for a in (*p, *p)) + f" {int(c)}" for p, c in zip(v, k, strict=True))
        text = f"ply\nformat ascii 1.0\nelement vertex {len(v)}\n{names}end_header\n{rows}\n"
        (folder / "bodies" / part / "1.ply").write_text(text)
        kind = np.dtype([(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [("label", "<i4")])
        table = np.zeros(len(v), kind)
        table["x"], table["nx"], table["label"] = v[:, 0], 1, k
        head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(v)}\n{names}end_header\n"
        (folder / "bodies" / part / "2.ply").write_bytes(head.encode() + table.tobytes())


def _graphs(folder: Path) -> None:
    from coset.data.limb_families import body
    from coset.data.limb_files import write_body

    files = {
        "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n", "graph_indicator": "1\n1\n1\n2\n2\n", "graph_labels": "1\n-1\n",
        "node_labels": "3\n0\n3\n7\n0\n", "node_attributes": "0.5, 1\n1.5, 2\n-1, 3\n0, 4\n2.5e-1, 5\n",
        "edge_labels": "0\n0\n2\n2\n0\n0\n",
    }  # fmt: skip
    (folder / "tu").mkdir()
    with zipfile.ZipFile(folder / "tu.zip", "w") as packed:
        for part, text in files.items():
            (folder / "tu" / f"DS_{part}.txt").write_text(text)
            packed.writestr(f"DS/DS_{part}.txt", text)
    write_body(folder / "body.json", body("walker_3"))


def _motions(folder: Path) -> None:
    bone = "  begin\n     id {}\n     name {}\n     direction 0 -1 0\n     length 2.0\n     axis 0 0 30  XYZ\n{}  end\n"
    bones = bone.format(1, "hip", "") + bone.format(
        2, "femur", "    dof rx rz\n    limits (-160.0 20.0)\n           (-60 70)\n"
    )
    (folder / "motion").mkdir()
    (folder / "motion" / "35.asf").write_text(
        ":version 1.10\n:name VICON\n:units\n  mass 1.0\n  length 0.5\n  angle deg\n:root\n   order TX TY TZ RX RY RZ\n"
        "   axis XYZ\n   position 0 0 0\n   orientation 0 0 0\n:bonedata\n" + bones
        + ":hierarchy\n  begin\n    root hip\n    hip femur\n  end\n"
    )  # fmt: skip
    steps = "\n".join(f"{i}\nroot 1 2 3 0 {i} 0\nfemur {3 * i} 5" for i in range(1, 5))
    (folder / "motion" / "35_01.amc").write_text(f"#!OML:ASF\n:FULLY-SPECIFIED\n:DEGREES\n{steps}\n")
    pos = np.random.default_rng(0).normal(size=(9, 4, 3))
    np.savez(folder / "motion.npz", pos=pos, seq_ptr=np.array([0, 5, 9]), edges=np.array([[1, 0], [2, 1], [3, 1]]))
    rows = [(10 * t, who, 0.5 * t, who) for t in range(130) for who in (1, 2)]
    (folder / "scenes").mkdir()
    for name in ("biwi_eth.txt", "biwi_hotel.txt"):
        text = "".join(f"{f:.0f}\t{w:.1f}\t{x:.2f}\t{y:.2f}\n" for f, w, x, y in rows)
        (folder / "scenes" / name).write_text(text)


class Bomb:
    """What a pickle must not do."""

    def __reduce__(self):
        return (open, ("EXPLODED", "w"))


def _pickles(folder: Path) -> None:
    import torch

    raw = pickle.dumps(Bomb())
    for name in ("bomb.pkl", "bomb.pt", "bomb.ckpt", "bomb.joblib"):
        (folder / name).write_bytes(raw)
    torch.save(Bomb(), folder / "bomb.pth")
    objects = np.empty(1, dtype=object)
    objects[0] = Bomb()
    np.save(folder / "bomb.npy", objects, allow_pickle=True)
    np.savez(folder / "bomb.npz", pos=objects, images=objects)


def _pages(folder: Path) -> None:
    from coset.cli.app import run

    asked = ["--group", "C(4)", "--in", "B x vector", "--out-rep", "B x 1 x scalar", "--samples", "4"]
    if run(["audit", f"{folder}/nets.py:radius", *asked, "--data", str(folder / "plane.npy"), "--out", str(folder / "audit")]):
        raise SystemExit("the stock's audit failed")
    asked = ["--how", "average", "--group", "C(4)", "--in", "B x 1 x image", "--out-rep", "B x 3 x scalar"]
    given = ["--data", str(folder / "images.npz"), "--save", str(folder / "averaged")]
    if run(["symmetrize", f"{folder}/nets.py:cnn", *asked, *given]):
        raise SystemExit("the stock's model was not saved")
