"""The table of public sets is sound: names, places, checksums; the files that lie beside the repository are those it names."""

import gzip
import hashlib
import re

import numpy as np
import pytest

from coset.data.public_sets import SETS, set_of
from coset.errors import InputError


def test_every_set_names_its_place_its_source_and_its_licence():
    for name, each in SETS.items():
        assert name == each.name
        assert each.source
        assert each.licence
        assert each.energy in ("eV", "kcal/mol")
        assert len(set(each.names)) == len(each.names) >= 1
        for remote in each.files:
            assert remote.url.startswith(("https://", "http://quantum-machine.org/"))
            assert not re.search(r"(^/|\.\.|\\)", "|".join([remote.name, *(to for _, to in remote.members)]))
            if "raw.githubusercontent.com" in remote.url:
                assert re.search(r"/[0-9a-f]{40}/", remote.url), "at a commit: the content cannot change"
                assert re.fullmatch(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}", remote.digest)
                assert (remote.size is not None) == remote.digest.startswith("sha256")


def test_sets_are_found_by_name_and_a_near_one_is_offered():
    assert set_of("3BPA") is SETS["three_bpa"]
    assert set_of("rmd17:ethanol").energy == "kcal/mol"
    with pytest.raises(InputError, match="did you mean 'mlearn:Si'"):
        set_of("mlearn:si")


def test_checksums_are_those_of_the_files_beside_the_repository(shared_data):
    """Text was only gzipped there, so its checksum and size are the origin's."""
    seen = 0
    for folder, name in (("botnet_acac", "acac"), ("botnet_3bpa", "three_bpa"), ("botnet_ethanol", "ethanol")):
        for remote in SETS[name].files:
            path = shared_data / "atoms" / folder / remote.name.replace(".xyz", ".extxyz.gz")
            if path.is_file():
                content = gzip.decompress(path.read_bytes())
                assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (remote.size, remote.digest), path
                seen += 1
    assert seen == 13


def test_the_water_of_the_table_is_that_beside_the_repository(shared_data):
    """The arrays there came from single precision: the bytes of each file can be made again."""
    with np.load(shared_data / "atoms" / "deepmd_water" / "water_energy_force.npz") as stored:
        coordinates = stored["coord"].astype(np.float32).reshape(-1, 576)
    digests = {remote.name: remote.digest for remote in SETS["water"].files}
    names = [name for name in digests if name.endswith("coord.npy")]
    assert len(names) * 80 == len(coordinates)
    found = 0
    for place, name in enumerate(names):
        data = np.ascontiguousarray(coordinates[80 * place : 80 * place + 80]).tobytes()
        for head in range(80, 160, 16):
            plain = b"\x93NUMPY\x01\x00" + (head - 10).to_bytes(2, "little")
            text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (80, 576), }"
            whole = plain + text.ljust(head - 11) + b"\n" + data
            found += digests[name] == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    assert found == len(names)
