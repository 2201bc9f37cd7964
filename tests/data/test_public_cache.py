"""Sets are fetched once into the cache, checked each time, and found there by the tasks. Against a server on this machine."""

import io
import json
import tarfile
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

from coset.cli.app import run
from coset.data import fetch as room
from coset.data import public_sets
from coset.data.fetch import digest_of
from coset.data.public_cache import cache_folder, cached, fetch_set
from coset.data.public_sets import SETS, PublicSet, Remote
from coset.errors import InputError


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "PAUSE", 0.0)
    monkeypatch.setenv("COSET_DATA", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def of(web, name, files, **more):
    """A set whose files lie on the server, without checksums."""
    web.files |= {f"/{path}": content for path, content in files.items()}
    remotes = tuple(Remote(f"{web.url}/{path}", path) for path in files)
    return PublicSet(name, name.partition(":")[0], "made up", "nobody", "none", remotes, **more)


def test_what_is_there_is_not_fetched_again(web, tmp_path):
    made = of(web, "two", {"a.xyz": b"one", "deep/b.xyz": b"two"})
    folder = fetch_set(made)
    assert folder == tmp_path / "cache" / "two"
    assert (folder / "deep" / "b.xyz").read_bytes() == b"two"
    fetch_set(made)
    assert len(web.asked) == 2
    assert fetch_set(made, tmp_path / "elsewhere") == tmp_path / "elsewhere" / "two"


def test_the_first_download_is_trusted_and_recorded(web):
    made, said = of(web, "one", {"a.xyz": b"first"}), []
    folder = fetch_set(made, say=said.append)
    assert said == [f"a.xyz: no checksum is published; trusted now and recorded: {digest_of(folder / 'a.xyz')}"]
    (folder / "a.xyz").write_bytes(b"altered")
    with pytest.raises(
        InputError, match=r"a\.xyz is not as it was published or first downloaded .* run coset data fetch one again"
    ):
        fetch_set(made)
    (folder / "a.xyz").unlink()
    web.files["/a.xyz"] = b"second"
    with pytest.raises(InputError, match="changed at its origin"):
        fetch_set(made)


def test_published_checksums_are_compared(web):
    made = of(web, "one", {"a.xyz": b"first"})
    (remote,) = made.files
    with pytest.raises(InputError, match="its checksum is git:"):
        fetch_set(replace(made, files=(replace(remote, digest=f"git:{'0' * 40}"),)))
    blob = "git:fe4f02ad058a25eb3f9c5fc1bc5c9d5f4d50d2cb"
    with pytest.raises(InputError, match="5 bytes came, expected 4"):
        fetch_set(replace(made, files=(replace(remote, digest=blob, size=4),)))


def test_archives_are_shared_and_their_members_found(web, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:bz2") as tar:
        for name in ("x", "y"):
            entry = tarfile.TarInfo(f"./all/{name}.npz")
            entry.size = 1
            tar.addfile(entry, io.BytesIO(name.encode()))
    web.files["/all.tar.bz2"] = packed.getvalue()
    for name in ("x", "y"):
        remote = Remote(f"{web.url}/all.tar.bz2", "all.tar.bz2", members=((f"all/{name}.npz", f"{name}.npz"),))
        made = PublicSet(f"all:{name}", "all", "made up", "nobody", "none", (remote,))
        monkeypatch.setitem(SETS, made.name, made)
        assert cached(made.name) is None
        assert (fetch_set(made) / f"{name}.npz").read_bytes() == name.encode()
        assert cached(made.name) == cached("all") == cache_folder() / "all"
    assert len(web.asked) == 1


def test_the_cache_is_where_the_platform_keeps_such_things(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("COSET_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "coset"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "coset")


# ---------------------------------------------------------------------- the command and the tasks


@pytest.fixture
def acac(web, monkeypatch):
    """A small set under the name of a task."""
    from coset.data.stillinger import clusters

    ase = pytest.importorskip("ase")
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    def labelled(z, pos, energy, forces):
        atoms = ase.Atoms(numbers=np.asarray(z), positions=np.asarray(pos))
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=np.asarray(forces))
        return atoms

    files, some = {}, clusters(4, 4, seed=0)
    for name, count in (("train_300K", 60), ("test_MD_300K", 8), ("test_MD_600K", 8), ("isolated_atoms", 0)):
        made = [labelled(f["z"], f["pos"] + i, f["energy"], f["forces"]) for i, f in zip(range(count), cycle(some))]
        made = made or [labelled([z], np.zeros((1, 3)), -z, np.zeros((1, 3))) for z in (14, 32)]
        text = io.StringIO()
        write(text, made, format="extxyz")
        files[f"{name}.xyz"] = text.getvalue().encode()
    made = of(web, "acac", files, use="coset compare acac")
    monkeypatch.setitem(public_sets.SETS, "acac", made)
    return made


def test_a_fetched_set_serves_its_task(acac, capsys):
    from coset.recipe import Request
    from coset.tasks.acac import task

    with pytest.raises(InputError, match=r"coset data fetch acac, or name their folder with --data acac=FOLDER"):
        task.data(Request("cpu"))
    assert run(["data", "fetch", "acac"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(cache_folder() / "acac" / remote.name) for remote in acac.files]
    assert "use it: coset compare acac" in shown.err
    data = task.data(Request("cpu"))
    assert (len(data.train), len(data.valid), {name: len(test) for name, test in data.test.items()}) == (
        10,
        50,
        {"300K": 8, "600K": 8},
    )
    assert f"acac: files of {cache_folder() / 'acac'} (coset data fetch)" in capsys.readouterr().err


def test_the_list_says_what_is_here(acac, capsys):
    fetch_set(acac)
    assert run(["data", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    entries = {entry["name"]: entry for entry in told["sets"]}
    assert entries["acac"]["folder"] == str(cache_folder() / "acac")
    assert entries["water"]["folder"] is None
    assert entries["ethanol"]["bytes"] == 2_373_572
    assert run(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert f"cache  {cache_folder()}" in shown
    assert "rmd17:toluene" in shown


def test_a_fetch_that_fails_is_one_line(web, monkeypatch, capsys):
    made = of(web, "one", {"a.xyz": b"first"}, energy="kcal/mol")
    monkeypatch.setitem(public_sets.SETS, "one", made)
    web.codes = [404]
    assert run(["data", "fetch", "one"]) == 2
    assert "the server answers 404" in capsys.readouterr().err
    assert run(["data", "fetch", "one"]) == 0
    assert "coset data convert FILE --energy-unit kcal/mol" in capsys.readouterr().err
    assert run(["data", "fetch"]) == 2
    assert run(["data", "fetch", "two"]) == 2
    assert "unknown public set 'two'" in capsys.readouterr().err


def test_water_is_read_from_the_cache(monkeypatch, capsys):
    from coset.recipe import Request
    from coset.tasks.water import task

    generator = np.random.default_rng(0)
    for remote in SETS["water"].files:
        path = cache_folder() / "water" / remote.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            width = {"coord": 9, "force": 9, "box": 9, "energy": 1}[path.stem]
            np.save(path, generator.normal(size=(2, width)) + 20 * np.eye(3).ravel()[:width] * (path.stem == "box"))
        else:
            path.write_text("0\n1\n1\n" if path.name == "type.raw" else "O H\n")
    data = task.data(Request("cpu"))
    assert (len(data.train), len(data.valid), len(data.test["test"])) == (8, 1, 1)
    assert "coset data fetch" in capsys.readouterr().err
