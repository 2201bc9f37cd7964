"""A body comes back from its file as it was; what is no body is refused."""

import json

import pytest

from coset.data.limb_families import body
from coset.data.limb_files import read_body, write_body
from coset.errors import InputError


@pytest.mark.parametrize("name", ["hopper_3", "cheetah_14"])
def test_written_and_read_it_is_the_same(name, tmp_path):
    write_body(tmp_path / "body.json", body(name))
    assert read_body(tmp_path / "body.json") == body(name)


def spoiled(change, tmp_path):
    write_body(tmp_path / "body.json", body("walker_3"))
    given = json.loads((tmp_path / "body.json").read_text())
    change(given)
    (tmp_path / "body.json").write_text(json.dumps(given))
    return tmp_path / "body.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g["limbs"][1].update(parent=1), "cycle"),
        (lambda g: g["limbs"][1].update(kind="wing"), "kind of limb"),
        (lambda g: g["limbs"][1].update(radius=-1), "positive radius"),
        (lambda g: g["limbs"][1].update(joint=[0, 0]), "three numbers"),
        (lambda g: g["limbs"][1].update(name="torso"), "different names"),
        (lambda g: g["limbs"][1].update(name='a" b'), "different names"),
        (lambda g: g.update(name='"/><'), "plain name"),
        (lambda g: g.update(height=0), "height in meters"),
        (lambda g: g.pop("limbs"), "is no body"),
    ],
    ids=["cycle", "kind", "radius", "joint", "twice", "quotes", "name", "height", "no limbs"],
)
def test_what_is_no_body_is_refused(change, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read_body(spoiled(change, tmp_path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no body"):
        read_body(tmp_path / "none.json")
