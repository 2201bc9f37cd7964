"""A large set is its file read piece by piece: frames, parts, blocks and batches equal those in memory; damage is told."""

import pickle

import pytest
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

from coset.data.stillinger import clusters, crystals
from coset.data.store import Store, Streamed, dataset_of, open_structures
from coset.data.store_write import write_store
from coset.data.structures import Structures
from coset.errors import InputError
from coset.train.batches import loader

LABELS = ["energy", "forces"]


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name], name


@pytest.fixture(scope="module")
def frames():
    return [*crystals(7, seed=1), *clusters(9, 5, seed=2), *crystals(3, seed=3)]


@pytest.fixture(scope="module")
def path(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "a.safetensors"
    write_store(frames, path)
    return path


@pytest.fixture
def store(path):
    return Store(path)


def test_a_store_is_the_sequence_of_its_frames(store, frames):
    assert len(store) == len(frames)
    assert store.counts.tolist() == [len(frame["z"]) for frame in frames]
    for mine, theirs in zip(store, frames, strict=True):
        same(mine, theirs)
    same(store[-1], frames[-1])
    with pytest.raises(IndexError):
        store[len(frames)]


def test_parts_are_chosen_and_chosen_from_again(store, frames):
    part = store.take([5, 17, 0, 8])
    assert part.counts.tolist() == [len(frames[i]["z"]) for i in (5, 17, 0, 8)]
    same(part[1], frames[17])
    same(part.take([3, 1])[0], frames[8])
    same(part[1:][0], frames[17])
    same(store[::-2][2], frames[-5])
    assert len(store[:4]) == 4
    assert len(store) == len(frames)


@pytest.mark.parametrize("atoms", [1, 20, 10**6])
@pytest.mark.parametrize("members", [None, [18, 3, 4, 5, 0, 12, 11]], ids=["all", "part"])
def test_blocks_hold_every_configuration_once(atoms, members, store, frames):
    chosen = store if members is None else store.take(members)
    given = frames if members is None else [frames[i] for i in members]
    seen = []
    for block in chosen.blocks("z", "pos", "energy", "no such array", atoms=atoms):
        assert set(block.arrays) == {"z", "pos", "energy"}
        assert len(block.owner) == int(block.counts.sum())
        assert len(block.places) == 1 or int(block.counts.sum()) <= atoms
        for i, place in enumerate(block.places.tolist()):
            assert torch.equal(block.arrays["pos"][block.owner == i], given[place]["pos"])
            assert torch.equal(block.arrays["z"][block.owner == i].long(), given[place]["z"])
            assert block.arrays["energy"][i] == given[place]["energy"]
            seen.append(place)
    assert sorted(seen) == list(range(len(given)))
    if atoms == 10**6:
        assert len(list(chosen.blocks("z", atoms=atoms))) == 1


def test_samples_and_batches_are_those_of_frames_in_memory(store, frames):
    mine, theirs = Streamed(store, 4.0, labels=LABELS), Structures(frames, 4.0, labels=LABELS)
    assert mine.labels == theirs.labels
    for i in range(len(frames)):
        same(mine[i], theirs[i])
    assert torch.equal(mine.sizes(), theirs.sizes())
    assert torch.equal(mine.counts(), theirs.counts())
    same(mine.collate([mine[3], mine[9]]), theirs.collate([theirs[3], theirs[9]]))
    assert not mine.kept, "nothing stays in memory"


def test_sizes_of_a_very_large_set_are_estimated_from_a_sample(store, monkeypatch):
    data = Streamed(store, 4.0, labels=LABELS)
    exact = data.sizes()
    monkeypatch.setattr("coset.data.store.SEARCHED", 5)
    found = data.sizes()
    assert abs(int(found.sum()) - int(exact.sum())) <= len(store)
    assert torch.equal(found, data.sizes())
    monkeypatch.setattr("coset.data.store.SAMPLE", 4)
    assert data.neighbors()[1] == 4
    assert data.neighbors() == data.neighbors()


def test_batches_of_training_are_the_same_in_every_epoch(store, frames):
    kinds = [Streamed(store, 4.0, labels=LABELS), Structures(frames, 4.0, labels=LABELS)]
    mine, theirs = (loader(data, 4, seed=5) for data in kinds)
    assert len(mine) > 1
    for epoch in range(2):
        for each in (mine, theirs):
            each.batch_sampler.set_epoch(epoch)
        for a, b in zip(mine, theirs, strict=True):
            same(a, b)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same(method, store):
    data = Streamed(store, 4.0, labels=LABELS)
    data[0]  # the file is open in this process: reads say where they read, so workers may share it
    batches = DataLoader(data, batch_size=5, num_workers=2, collate_fn=data.collate, multiprocessing_context=method)
    for batch, alone in zip(batches, DataLoader(data, batch_size=5, collate_fn=data.collate), strict=True):
        same(batch, alone)


def test_a_store_travels_as_its_path(store, frames):
    part = pickle.loads(pickle.dumps(store.take([4, 2])))
    same(part[1], frames[2])
    assert len(pickle.dumps(Streamed(store, 4.0, labels=LABELS))) < 8000


def test_labels_that_some_lack_are_told(tmp_path, frames, store):
    with pytest.raises(InputError, match=r"configuration 7 has no stress"):
        Streamed(store, 4.0)
    assert Streamed(store.take([0, 17]), 4.0).labels == ("energy", "forces", "stress")
    assert Streamed(store.take([8, 0]), 4.0).labels == ("energy", "forces")
    with pytest.raises(InputError, match="configuration 0 has no dipole"):
        Streamed(store, 4.0, labels=["dipole"])
    bare = [frames[0], {name: value for name, value in frames[1].items() if name != "forces"}, frames[2]]
    with pytest.raises(InputError, match="configuration 1 has no forces"):
        Streamed(write_store(bare, tmp_path / "b.safetensors"), 4.0)
    with pytest.raises(InputError, match="holds no configuration"):
        Streamed(store.take([]), 4.0)


def test_any_file_opens_as_what_it_is(store, path, frames, tmp_path):
    ase_io = pytest.importorskip("ase.io")
    from coset.interop.ase import atoms_of

    ase_io.write(tmp_path / "a.extxyz", [atoms_of(frame) for frame in frames[:3]])
    assert isinstance(open_structures(path), Store)
    assert isinstance(open_structures(tmp_path / "a.extxyz"), list)
    assert type(dataset_of(store, 4.0, labels=LABELS)) is Streamed
    assert type(dataset_of(frames, 4.0, labels=LABELS)) is Structures


# ---------------------------------------------------------------------- damage


def test_a_file_that_is_missing_foreign_or_empty_is_told(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(InputError, match=r"nowhere\.safetensors does not exist"):
        Store(tmp_path / "nowhere.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not a header " * 30)
    save_file({"pos": torch.zeros(3)}, tmp_path / "other.safetensors")
    save_file({"pos": torch.zeros(3)}, tmp_path / "model.safetensors", {"coset": '{"kind": "potential", "schema": 1}'})
    for name, says in (
        ("empty", "no whole file"),
        ("text", "no whole file"),
        ("other", "no whole file"),
        ("model", "holds potential"),
    ):
        with pytest.raises(InputError, match=says):
            Store(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("keep", [4, 200, -1, -5000], ids=str)
def test_a_file_that_was_cut_is_told_before_anything_is_read(keep, path, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cut.safetensors is no whole file .* convert it again"):
        Store(tmp_path / "cut.safetensors")


def test_a_file_that_shrinks_while_it_is_used_is_an_error_not_a_fault(path, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    store = Store(copy)
    with copy.open("rb+") as stream:
        stream.truncate(len(path.read_bytes()) // 2)
    with pytest.raises(InputError, match=r"copy.safetensors ends before its configurations do"):
        list(store)


def test_no_flipped_bit_goes_unnoticed(path, tmp_path):
    whole = path.read_bytes()
    copy = tmp_path / "flipped.safetensors"
    for place in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        flipped = bytearray(whole)
        flipped[place] ^= 2
        copy.write_bytes(flipped)
        with pytest.raises(InputError, match=r"flipped\.safetensors"):
            open_structures(copy)


def test_the_array_that_is_damaged_is_named(path, tmp_path):
    whole = bytearray(path.read_bytes())
    copy, store = tmp_path / "copy.safetensors", Store(path)
    whole[store.arrays["forces"][2] + 40] ^= 1
    copy.write_bytes(whole)
    with pytest.raises(InputError, match=r"forces is not as it was written \(checksum\); copy or convert it again"):
        Store(copy).verify()
    told = []
    assert store.verify(told.append) is store
    assert sum(told) == path.stat().st_size - min(offset for _, _, offset in store.arrays.values())


def test_every_reader_of_the_format_opens_it(path, frames):
    with safe_open(path, framework="pt") as opened:
        assert torch.equal(opened.get_tensor("pos"), torch.cat([frame["pos"] for frame in frames]))
        assert opened.get_tensor("starts")[-1] == sum(len(frame["z"]) for frame in frames)
