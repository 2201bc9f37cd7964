"""A download is whole and checked or not there; breaks go on, refusals say what to do. Against a server on this machine."""

import hashlib
import io
import socket
import subprocess
import tarfile
import zipfile

import pytest

from coset.data import fetch as room
from coset.data.fetch import digest_of, fetch, matches, unpack
from coset.errors import InputError

BODY = bytes(range(256)) * 4000
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
NAME = "/a/train.xyz"


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    monkeypatch.setattr(room, "PAUSE", 0.0)
    monkeypatch.setattr(room, "TIMEOUT", 5.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "deep" / "train.xyz"


@pytest.fixture
def origin(web):
    web.files[NAME] = BODY
    return web


def left(place):
    return sorted(path.name for path in place.parent.iterdir()) if place.parent.is_dir() else []


def test_a_file_arrives_whole_and_is_told_of_on_its_way(origin, place):
    told = []
    assert fetch(origin.url + NAME, place, digest=SHA, size=len(BODY), progress=lambda *seen: told.append(seen)) == SHA
    assert place.read_bytes() == BODY
    assert left(place) == ["train.xyz"]
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_connection_that_breaks_goes_on_where_it_stopped(origin, place):
    origin.breaks = [300_000, 1000, 1]
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert [asked for _, asked, _ in origin.asked] == [None, "bytes=300000-", "bytes=301000-", "bytes=301001-"]
    assert place.read_bytes() == BODY
    assert left(place) == ["train.xyz"]


def test_the_next_call_goes_on_too(origin, place):
    origin.breaks = [300_000]
    origin.codes = [200, *[503] * 5]
    with pytest.raises(InputError, match=r"503.*5 times in a row; 300000 bytes are kept, run it again"):
        fetch(origin.url + NAME, place, digest=SHA)
    assert not place.exists()
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert origin.asked[-1][1] == "bytes=300000-"
    assert place.read_bytes() == BODY


def test_without_a_checksum_only_the_same_file_goes_on(origin, place):
    origin.breaks = [300_000]
    origin.codes = [200, *[503] * 5]
    with pytest.raises(InputError):
        fetch(origin.url + NAME, place)
    other = BODY[::-1]
    origin.files[NAME] = other
    fetch(origin.url + NAME, place)
    assert origin.asked[-1][1:] == ("bytes=300000-", origin.asked[-1][2])
    assert place.read_bytes() == other, "no mixture of two versions"
    place.unlink()
    origin.tags, origin.breaks = False, [300_000]
    fetch(origin.url + NAME, place)
    assert origin.asked[-1][1:] == (None, None), "a server that cannot say so: from the beginning"
    assert place.read_bytes() == other


def test_a_server_without_ranges_starts_again(origin, place):
    origin.breaks, origin.ranges = [300_000], False
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert place.read_bytes() == BODY


def test_what_was_complete_but_not_renamed_is_not_fetched_again(origin, place):
    place.parent.mkdir()
    (place.parent / "train.xyz.part").write_bytes(BODY)
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert len(origin.asked) == 1
    (place.parent / "train.xyz.part").write_bytes(BODY + b"too much")
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert place.read_bytes() == BODY


def test_passing_refusals_are_tried_again(origin, place):
    origin.codes = [503, 429, 500]
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA
    assert len(origin.asked) == 4


def test_attempts_that_bring_nothing_end(origin, place):
    origin.breaks = [0] * 9
    with pytest.raises(InputError, match=r"the connection broke, 5 times in a row; is there a network\? Or put the file at"):
        fetch(origin.url + NAME, place, digest=SHA)
    assert len(origin.asked) == 5


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_file_that_is_gone_is_said_at_once(code, origin, place):
    origin.codes = [code]
    with pytest.raises(InputError, match=rf"the server answers {code}.*put it at .*train\.xyz"):
        fetch(origin.url + NAME, place)
    assert len(origin.asked) == 1
    assert left(place) == []


def test_another_content_is_removed_and_said(origin, place):
    with pytest.raises(InputError, match=r"its checksum is sha256:.*, expected sha256:00.*is removed"):
        fetch(origin.url + NAME, place, digest=f"sha256:{'0' * 64}")
    with pytest.raises(InputError, match=f"{len(BODY)} bytes came, expected 7"):
        fetch(origin.url + NAME, place, digest=SHA, size=7)
    assert left(place) == []


def test_a_damaged_beginning_is_not_built_upon_twice(origin, place):
    place.parent.mkdir()
    (place.parent / "train.xyz.part").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="try again"):
        fetch(origin.url + NAME, place, digest=SHA)
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA


def test_a_file_of_unknown_length_arrives(origin, place):
    origin.lengths = False
    assert fetch(origin.url + NAME, place, digest=SHA) == SHA


def test_no_network_is_said_with_the_way_out(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/train.xyz"
    with pytest.raises(InputError, match=r"cannot download http.*is there a network\? Or put the file at .*train\.xyz"):
        fetch(url, place)
    with pytest.raises(InputError, match="only http and https"):
        fetch("file:///etc/passwd", place)


def test_a_folder_that_cannot_be_written_is_said(origin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*set COSET_DATA"):
        fetch(origin.url + NAME, tmp_path / "file" / "train.xyz")


def test_digests_are_those_of_the_tools(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert digest_of(tmp_path / "a") == SHA
    known = subprocess.run(
        ["git", "hash-object", str(tmp_path / "a")], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert digest_of(tmp_path / "a", "git") == f"git:{known}"
    assert matches(tmp_path / "a", f"git:{known}")
    assert not matches(tmp_path / "a", f"git:{'0' * 40}")
    with pytest.raises(InputError, match="known kinds are sha256 and git"):
        matches(tmp_path / "a", "md5:00")


# ---------------------------------------------------------------------- archives


def archive(path, members):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in members.items():
                made.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:]}") as made:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                made.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2"])
def test_named_members_are_written_where_the_caller_says(name, tmp_path):
    made = archive(tmp_path / name, {"in/x.npz": BODY, "../escape": b"bad", "/abs": b"bad", "y": b"y"})
    unpack(made, {"in/x.npz": tmp_path / "out" / "x.npz", "y": tmp_path / "out" / "deep" / "y"})
    assert (tmp_path / "out" / "x.npz").read_bytes() == BODY
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [name, "x.npz", "y"]
    with pytest.raises(InputError, match="does not hold z as files; it is another version"):
        unpack(made, {"z": tmp_path / "z"})
    for outside in ("../escape", "/abs"):
        with pytest.raises(InputError, match="leads out of the archive"):
            unpack(made, {outside: tmp_path / "out" / "bad"})


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_damaged_archive_is_said_and_leaves_nothing(name, tmp_path):
    made = archive(tmp_path / name, {"x": bytes(range(256)) * 3000})
    whole = made.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"no archive"):
        made.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot unpack .* fetch it again"):
            unpack(made, {"x": tmp_path / "out" / "x"})
        assert not list((tmp_path / "out").glob("*"))


def test_a_link_in_an_archive_is_no_file(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        entry = tarfile.TarInfo("x")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(entry)
    with pytest.raises(InputError, match="does not hold x as files"):
        unpack(tmp_path / "a.tar", {"x": tmp_path / "out"})
