"""Option strings are parsed, never evaluated; what does not parse says how it is written."""

from pathlib import Path

import pytest

from coset.cli.options import check_writable, contract_of, data_of, fields_of, names_of, pairs_of, told_of
from coset.errors import InputError


def test_fields_alone_and_by_name():
    assert fields_of(["image"], "--in") == "image"
    assert fields_of(["pos=N x position", "edge_index=2 x E -> N"], "--in") == {
        "pos": "N x position",
        "edge_index": "2 x E -> N",
    }


def test_contract_of_strings_equals_the_one_in_python():
    import coset

    spelled = contract_of("SO(3)", ["pos=N x vector"], ["B x scalar"])
    assert spelled == coset.Contract(coset.SO(3), {"pos": "N x vector"}, "B x scalar")


@pytest.mark.parametrize(
    ("given", "says"),
    [([], "--in is missing"), (["image", "pos=N x vector"], "written name=field"), (["a=image", "a=image"], "given twice")],
)
def test_fields_that_do_not_parse(given, says):
    with pytest.raises(InputError, match=says):
        fields_of(given, "--in")


def test_pairs():
    assert pairs_of(["lr=1e-3", "schedule=one=two"], "--set") == (("lr", "1e-3"), ("schedule", "one=two"))
    for bad in ("lr", "=1", "lr="):
        with pytest.raises(InputError, match="name=value"):
            pairs_of([bad], "--set")


def test_names_may_hold_commas_themselves():
    known = ["plain", "augmented, 20 epochs", "augmented"]
    assert names_of("augmented, 20 epochs,plain", known) == ("augmented, 20 epochs", "plain")
    assert names_of("Plain , augmented", known) == ("plain", "augmented")
    assert names_of(None, known) is None
    with pytest.raises(InputError, match="did you mean 'plain'"):
        names_of("plian", known)
    with pytest.raises(InputError, match="empty"):
        names_of(" ", known)


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file" / "under", Path("/proc/coset")):
        with pytest.raises(InputError, match="name another folder"):
            check_writable(bad)


def test_short_forms_of_data_and_options():
    assert data_of(["a=x"], train=Path("t"), valid=None) == (("a", "x"), ("train", "t"))
    assert data_of(None) == ()
    with pytest.raises(InputError, match="--train and --data train"):
        data_of(["train=x"], train=Path("t"))
    assert told_of(["kind=fcc"], 4.5) == (("kind", "fcc"), ("cutoff", "4.5"))
    assert told_of(["cutoff=3"], None) == (("cutoff", "3"),)
    assert told_of(None, None) == ()
    with pytest.raises(InputError, match="--cutoff and --option cutoff"):
        told_of(["cutoff=3"], 4.5)
    with pytest.raises(InputError, match="as in --option cutoff=5"):
        told_of(["cutoff"], None)
