"""Statistics of a large set, from one pass over its file, are those of the same configurations in memory."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from coset.data import store_statistics
from coset.data.atomic_statistics import describe, elements_of, reference_energies, statistics, summary, warnings_of
from coset.data.stillinger import clusters, crystals
from coset.data.store import Streamed
from coset.data.store_statistics import census, fingerprints
from coset.data.store_write import write_store
from coset.data.structures import Structures
from coset.errors import InputError

F64 = torch.float64
LABELS = ["energy", "forces"]


@pytest.fixture(scope="module")
def frames():
    made = [*crystals(9, seed=1), *clusters(12, 5, seed=2), *clusters(5, 3, seed=3)]
    return [*made, made[3], made[12], made[12]]


@pytest.fixture(scope="module")
def store(frames, tmp_path_factory):
    return write_store(frames, tmp_path_factory.mktemp("store") / "a.safetensors")


def close(a, b):
    assert a.elements == b.elements
    assert a.references.reason == b.references.reason
    for (z, mine), (other, theirs) in zip(a.references.energies, b.references.energies, strict=True):
        assert z == other
        assert abs(mine - theirs) < 1e-9
    for name in ("scale", "shift", "neighbors"):
        assert abs(getattr(a, name) - getattr(b, name)) < 1e-9, name


@pytest.mark.parametrize("members", [None, [25, 3, 4, 12, 17, 0, 27], [9]], ids=["all", "part", "one"])
@pytest.mark.parametrize("atoms", [8, 10**6])
def test_statistics_are_those_of_frames_in_memory(members, atoms, frames, store, monkeypatch):
    plain = type(store).blocks
    monkeypatch.setattr(type(store), "blocks", lambda self, *names: plain(self, *names, atoms=atoms))
    mine = store.take(range(len(store)) if members is None else members)
    theirs = frames if members is None else [frames[i] for i in members]
    close(statistics(Streamed(mine, 4.0, labels=LABELS)), statistics(Structures(theirs, 4.0, labels=LABELS)))
    assert elements_of(mine) == elements_of(theirs)
    assert warnings_of(mine) == warnings_of(theirs)
    found, known = summary(mine), summary(theirs)
    assert found.keys() == known.keys()
    assert all(abs(found[name] - known[name]) < 1e-9 for name in ("energy_per_atom", "forces"))
    for name in ("configurations", "atoms", "smallest", "largest", "elements", "isolated", "periodic", "doubles"):
        assert found[name] == known[name], name


def test_words_say_who_lacks_a_label(store, frames):
    assert describe(store) == describe(frames) + f" ({9 + 1} of {len(frames)})"
    assert describe(store.take([0, 1])) == describe(frames[:2])
    assert "3 of 29 configurations are doubles" in warnings_of(store)[-1]


def test_a_part_does_not_answer_for_the_whole(store):
    census(store)
    assert census(store.take([9])).elements != []
    assert census(store.take([9])).periodic == 0
    assert census(store) is census(store)


def test_energies_without_forces_give_the_scale(tmp_path, frames):
    bare = [{name: value for name, value in frame.items() if name not in ("forces", "stress")} for frame in frames]
    store = write_store(bare, tmp_path / "a.safetensors")
    close(statistics(Streamed(store, 4.0)), statistics(Structures(bare, 4.0)))


def test_isolated_atoms_come_before_a_fit(tmp_path, frames):
    alone = [
        {"pos": torch.zeros(1, 3, dtype=F64), "z": torch.tensor([z]), "energy": torch.tensor(-float(z), dtype=F64)}
        for z in (14, 32)
    ]
    store = write_store([*frames, *alone], tmp_path / "a.safetensors")
    assert reference_energies(store).energies == ((14, -14.0), (32, -32.0))
    assert reference_energies(store.take(range(len(frames))), alone).reason == "isolated atoms"
    with pytest.raises(InputError, match="the isolated atoms lack Ge"):
        reference_energies(store.take(range(len(frames))), alone[:1])
    boxed = [atom | {"cell": torch.eye(3, dtype=F64), "periodic": (True, True, True)} for atom in alone]
    assert "least squares" in reference_energies(write_store([*frames, *boxed], tmp_path / "b.safetensors")).reason


def test_a_fit_that_composition_does_not_decide_has_minimum_norm(tmp_path):
    """Every configuration is H2O: only 2 h + o is known."""
    generator = torch.Generator().manual_seed(0)
    frames = [
        {"pos": torch.randn(3, 3, dtype=F64, generator=generator), "z": torch.tensor([1, 8, 1]),
         "energy": -76.0 + torch.randn((), dtype=F64, generator=generator)}
        for _ in range(50)
    ]  # fmt: skip
    store = write_store(frames, tmp_path / "a.safetensors")
    mine, theirs = (dict(reference_energies(x).energies) for x in (store, frames))
    assert all(abs(mine[z] - theirs[z]) < 1e-9 for z in (1, 8))
    mean = float(torch.stack([frame["energy"] for frame in frames]).mean())
    assert abs(2 * mine[1] + mine[8] - mean) < 1e-9
    assert abs(mine[1] - 2 * mine[8]) < 1e-9


def test_suspicious_units_and_net_forces_are_said(tmp_path, frames):
    some = frames[:5]
    for change in (lambda f: f * 1000, lambda f: f * 1e-9, lambda f: f + 0.1):
        moved = [frame | {"forces": change(frame["forces"])} for frame in some]
        mine, theirs = warnings_of(write_store(moved, tmp_path / "a.safetensors")), warnings_of(moved)
        assert mine == theirs
        assert mine


def test_fingerprints_tell_configurations_apart(store, frames):
    (block,) = store.blocks("z", "pos", "cell", atoms=10**9)
    found = fingerprints(block)
    groups = {}
    for place, frame in zip(block.places.tolist(), found, strict=True):
        groups.setdefault(int(frame), []).append(place)
    assert sorted(group for group in groups.values() if len(group) > 1) == [[3, 26], [12, 27, 28]]
    (block,) = store.take([9]).blocks("z", "pos", "cell")
    for change in ({"pos": block.arrays["pos"].flip(0)}, {"z": block.arrays["z"].flip(0)}, {"pos": block.arrays["pos"] + 2e-6}):
        assert fingerprints(type(block)(block.places, block.counts, block.arrays | change)) != fingerprints(block)
    near = block.arrays | {"pos": block.arrays["pos"].mul(1e6).round().div(1e6)}
    assert fingerprints(type(block)(block.places, block.counts, near)) == fingerprints(block)


def test_fingerprints_of_random_numbers_do_not_collide():
    rows = np.random.default_rng(0).integers(-(10**7), 10**7, size=(200_000, 3)).astype(float)
    mixed = store_statistics._mixed(rows, np.zeros(len(rows), dtype=np.int64))
    assert len(np.unique(mixed)) == len(np.unique(rows, axis=0))
    assert abs(np.mean([bin(int(x)).count("1") for x in mixed[:2000]]) - 32) < 0.5


MEASURE = """
import resource, sys, torch
from coset.data.stillinger import clusters
from coset.data.store import Store, Streamed
from coset.data.store_write import write_store
from coset.data.atomic_statistics import statistics
path, count = sys.argv[1], int(sys.argv[2])
some = clusters(5, 6, seed=0)
def frames():
    for i in range(count):
        f = some[i % 5]
        yield f | {"pos": f["pos"] + 1e-3 * (i // 5)}
write_store(frames(), path)
data = Streamed(Store(path).verify(), 4.0)
statistics(data)
for i in torch.randperm(count)[:500].tolist():
    data[i]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path):
    """From writing to samples: 40 times as many configurations cost no more than their 8 bytes each, several times over."""

    def peak(count):
        done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / f"{count}.safetensors"), str(count)],
                              capture_output=True, text=True, check=True)  # fmt: skip
        return int(done.stdout)

    small, large = peak(5000), peak(200_000)
    size = (tmp_path / "200000.safetensors").stat().st_size // 2**20
    assert size > 60
    assert large - small < 25, f"{small} MB, then {large} MB for a file of {size} MB"
    assert resource.RUSAGE_SELF == 0
