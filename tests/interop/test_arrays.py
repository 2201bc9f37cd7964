"""Data come as numbers: the declared tensors, or an error that names the file, the array and the fix."""

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.interop.arrays import load_data, read_arrays
from coset.reps.fields import Fields

ONE = Fields("... x 2 x scalar")
TWO = Fields({"pos": "N x position", "edge_index": "2 x E -> N"})


def test_npy_and_npz_hold_what_was_saved(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", a=x, b=2 * x)
    np.testing.assert_array_equal(load_data(str(tmp_path / "x.npy"), ONE).numpy(), x)
    np.testing.assert_array_equal(load_data(f"{tmp_path}/x.npz:b", ONE).numpy(), 2 * x)


def test_named_fields_take_the_arrays_of_their_names(tmp_path):
    np.savez(tmp_path / "g.npz", pos=np.zeros((3, 3)), edge_index=np.array([[0, 1], [1, 2]]), spare=np.zeros(1))
    x = load_data(str(tmp_path / "g.npz"), TWO)
    assert set(x) == {"pos", "edge_index"}
    assert x["edge_index"].dtype == torch.int64


def test_integers_are_values_unless_they_point(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
    assert load_data(str(tmp_path / "x.npy"), ONE).dtype == torch.float64


def test_digits_are_scikit_learns():
    pytest.importorskip("sklearn")
    x = load_data("digits", Fields("... x 1 x 8 x 8 x scalar"))
    assert x.shape == (1797, 1, 8, 8)
    assert x.max() == 16


@pytest.mark.parametrize(
    ("make", "name", "fields", "says"),
    [
        (lambda f: None, "none.npy", ONE, "no file"),
        (lambda f: None, "digit", ONE, "did you mean 'digits'"),
        (lambda f: np.save(f / "x.npy", np.array([1.0, np.nan])), "x.npy", ONE, "1 of 2 values are NaN"),
        (lambda f: np.save(f / "x.npy", np.array([{}], dtype=object), allow_pickle=True), "x.npy", ONE, "never unpickled"),
        (lambda f: np.save(f / "x.npy", np.array(["a"])), "x.npy", ONE, "expected numbers"),
        (lambda f: np.savez(f / "x.npz", a=np.zeros(1), b=np.zeros(1)), "x.npz", ONE, "name one, as in .*x.npz:a"),
        (lambda f: np.savez(f / "x.npz", aa=np.zeros(1)), "x.npz:ab", ONE, "did you mean 'aa'"),
        (lambda f: np.savez(f / "x.npz", pos=np.zeros((3, 3))), "x.npz", TWO, "no array 'edge_index'"),
        (lambda f: np.save(f / "x.npy", np.zeros((3, 3))), "x.npy", TWO, "declares 2 inputs"),
        (lambda f: (f / "x.npz").write_text("no zip"), "x.npz", ONE, "cannot read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, make, name, fields, says):
    make(tmp_path)
    given = name if name == "digit" else f"{tmp_path}/{name}"
    with pytest.raises(InputError, match=says):
        load_data(given, fields)


def test_arrays_of_other_machines_and_under_other_names(tmp_path):
    np.save(tmp_path / "big.npy", np.arange(3.0).astype(">f8"))
    assert read_arrays(tmp_path / "big.npy")[""].tolist() == [0, 1, 2]
    with (tmp_path / "a.npy").open("wb") as stream:
        np.savez(stream, pos=np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"holds arrays by name \(pos\)"):
        load_data(str(tmp_path / "a.npy"), Fields("N x position"))
