"""Public sets lie in a folder under their public names; what is missing is told with what is there."""

import gzip
from pathlib import Path

import pytest

from coset.data.atomic_sets import ENDINGS, folder_of, frames_in
from coset.errors import InputError
from coset.recipe import Request

ATOM = "1\nProperties=species:S:1:pos:R:3 energy=-13.5\nH 0 0 0\n"


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_are_found_plain_or_gzipped(ending, tmp_path):
    content = gzip.compress(ATOM.encode()) if ending.endswith(".gz") else ATOM.encode()
    (tmp_path / f"train{ending}").write_bytes(content)
    (frame,) = frames_in(tmp_path, "train")
    assert frame["energy"] == -13.5


def test_a_missing_file_is_told_with_those_that_are_there(tmp_path):
    (tmp_path / "test.xyz").write_text(ATOM)
    with pytest.raises(InputError, match=r"has no file train \(.xyz, .*\); it holds test.xyz"):
        frames_in(tmp_path, "train")


def asked(*files):
    return folder_of(Request("cpu", 0, tuple((name, Path(path)) for name, path in files)), "acac", "example.org")


def test_the_folder_is_given_by_name(tmp_path):
    assert asked(("acac", tmp_path)) == tmp_path
    with pytest.raises(InputError, match=r"--data acac=FOLDER; they are published at example\.org"):
        asked()
    with pytest.raises(InputError, match=r"called acac.*got \['train'\]"):
        asked(("train", tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        asked(("acac", tmp_path / "file"))
