"""Configurations are written whole or not at all, in constant memory; what cannot be stored is named."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from coset.data.stillinger import clusters, crystals
from coset.data.store import Store
from coset.data.store_write import GROUPS, write_store
from coset.errors import InputError

F64 = torch.float64


def bare(frame, *gone, **more):
    return {name: value for name, value in frame.items() if name not in gone} | more


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_labels_cells_and_groups_may_come_late_and_go(tmp_path):
    a, b = crystals(2, seed=0)
    c = clusters(1, 4, seed=0)[0]
    moments = {"dipole": torch.arange(3.0, dtype=F64), "polarizability": torch.arange(9.0, dtype=F64).view(3, 3)}
    frames = [
        bare(c, "forces"),
        bare(a, "energy", group="cut"),
        bare(b, periodic=(True, False, False), **moments),
        bare(c, group="x"),
    ]
    store = write_store(frames, tmp_path / "a.safetensors")
    for mine, given in zip(store, frames, strict=True):
        assert mine.keys() == given.keys()
        for name, value in given.items():
            assert torch.equal(mine[name], value) if isinstance(value, torch.Tensor) else mine[name] == value, name
    assert store.about["labels"] == {"energy": 3, "forces": 3, "stress": 2, "dipole": 1, "polarizability": 1}
    assert store.labels == ()
    assert left(tmp_path) == ["a.safetensors"]


def test_single_precision_is_that_of_positions_and_forces(tmp_path):
    (frame,) = crystals(1, seed=0)
    frame = frame | {"energy": frame["energy"] - 12345.0}
    (found,) = write_store([frame], tmp_path / "a.safetensors", precision="float32")
    assert found["energy"] == frame["energy"]
    assert torch.equal(found["cell"], frame["cell"])
    assert torch.equal(found["pos"], frame["pos"].float().double())
    assert torch.equal(found["forces"], frame["forces"].float().double())
    assert Store(tmp_path / "a.safetensors").verify().arrays["pos"][0] == "<f4"
    with pytest.raises(InputError, match="float64 or float32"):
        write_store([frame], tmp_path / "b.safetensors", precision="float16")


def test_too_many_words_are_no_groups(tmp_path):
    (frame,) = clusters(1, 2, seed=0)
    store = write_store((bare(frame, group=str(i)) for i in range(GROUPS + 5)), tmp_path / "a.safetensors")
    assert "group" not in store[0]
    assert len(store.verify()) == GROUPS + 5


def wrong():
    (frame,) = crystals(1, seed=0)
    n, nan = len(frame["z"]), torch.tensor(float("nan"), dtype=F64)
    return [
        ({"pos": frame["pos"] * nan}, "pos is NaN or infinite"),
        ({"energy": nan}, "energy is NaN"),
        ({"forces": frame["forces"][:-1]}, rf"forces has shape \({n - 1}, 3\), expected \({n}, 3\)"),
        ({"z": torch.zeros(n, dtype=torch.int64)}, "atomic numbers are 1 to 118, got 0"),
        ({"z": torch.full((n,), 300)}, "atomic numbers are 1 to 118"),
        ({"pos": torch.zeros(0, 3), "z": torch.zeros(0, dtype=torch.int64)}, "has no atoms"),
        ({"stress": torch.zeros(6)}, "stress has shape"),
    ]


@pytest.mark.parametrize("which", range(7))
def test_what_cannot_be_stored_is_named_or_left_out(which, tmp_path):
    good, change, says = crystals(1, seed=0)[0], *wrong()[which]
    frames = [good, bare(good, **change), good]
    with pytest.raises(InputError, match=f"configuration 1: .*{says}"):
        write_store(frames, tmp_path / "a.safetensors")
    assert left(tmp_path) == []
    told = []
    store = write_store(frames, tmp_path / "a.safetensors", skip=True, progress=told.append)
    assert (len(store), told) == (2, [1, -1, 1, 2])
    assert torch.equal(store.verify()[1]["pos"], good["pos"])


def test_a_source_that_breaks_leaves_nothing_and_what_was_there_stays(tmp_path):
    frames = crystals(2, seed=0)
    path = tmp_path / "a.safetensors"
    write_store(frames, path)
    before = path.read_bytes()

    def breaks():
        yield frames[0]
        raise InputError("the source is cut")

    with pytest.raises(InputError, match="the source is cut"):
        write_store(breaks(), path)
    with pytest.raises(InputError, match="no configuration to write"):
        write_store([], path)
    assert left(tmp_path) == ["a.safetensors"]
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="cannot write"):
        write_store(frames, path / "below" / "b.safetensors")


def test_the_same_configurations_make_the_same_file(tmp_path):
    for name in "ab":
        write_store(crystals(3, seed=0), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_writer_that_is_killed_leaves_no_file(tmp_path):
    code = (
        "import itertools\nfrom coset.data.stillinger import clusters\nfrom coset.data.store_write import write_store\n"
        "frame = clusters(1, 4, seed=0)[0]\n"
        "write_store(itertools.repeat(frame), 'a.safetensors', progress=lambda n: n == 100 and print('far', flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "far\n"
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGKILL)
    assert not (tmp_path / "a.safetensors").exists()
    assert len(write_store(crystals(2, seed=0), tmp_path / "a.safetensors").verify()) == 2
