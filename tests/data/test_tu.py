"""TU sets in the public text form are read as they stand, from folders and zip files, and cut into ten even folds."""

import zipfile

import numpy as np
import pytest
import torch

from coset.data.tu import folds, molecules, read_tu, tu_set, write_tu
from coset.errors import InputError
from coset.recipe import Request

FILES = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "3\n0\n3\n7\n0\n",
    "node_attributes": "0.5, 1\n1.5, 2\n-1, 3\n0, 4\n2.5e-1, 5\n",
    "edge_labels": "0\n0\n2\n2\n0\n0\n",
    "edge_attributes": "1.5\n1.5\n2\n2\n0\n0\n",
}


def written(folder, **changes):
    folder.mkdir(exist_ok=True)
    for part, text in {**FILES, **changes}.items():
        if text is not None:
            (folder / f"DS_{part}.txt").write_text(text)
    return folder


def test_a_set_is_read_as_it_stands(tmp_path):
    graphs = read_tu(written(tmp_path / "DS"))
    first, second = graphs.samples
    assert graphs.labels.tolist() == [1, 0], "labels count from 0 in the order of their values"
    assert first["edge_index"].tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert second["edge_index"].tolist() == [[0, 1], [1, 0]]
    assert first["x"].tolist() == [[0, 1, 0, 0.5, 1], [1, 0, 0, 1.5, 2], [0, 1, 0, -1, 3]]
    assert second["x"].tolist() == [[0, 0, 1, 0, 4], [1, 0, 0, 0.25, 5]]
    assert first["edge_attr"].tolist() == [[1, 0, 1.5], [1, 0, 1.5], [0, 1, 2], [0, 1, 2]]
    assert first["x"].dtype == first["edge_attr"].dtype == torch.float32


def test_arcs_may_stand_in_any_order(tmp_path):
    shuffled = {"A": "4, 5\n1, 2\n3, 2\n5, 4\n2, 1\n2, 3\n", "edge_labels": "0\n0\n2\n0\n0\n2\n"}
    first, second = read_tu(written(tmp_path, **shuffled, edge_attributes="7\n1\n2\n8\n3\n4\n")).samples
    assert first["edge_index"].tolist() == [[0, 2, 1, 1], [1, 1, 0, 2]]
    assert first["edge_attr"].tolist() == [[1, 0, 1], [0, 1, 2], [1, 0, 3], [0, 1, 4]]
    assert second["edge_attr"][:, 2].tolist() == [7, 8]


def test_without_labels_and_attributes_features_are_one(tmp_path):
    bare = dict.fromkeys(("node_labels", "node_attributes", "edge_labels", "edge_attributes"))
    batch = read_tu(written(tmp_path, **bare)).joined()
    assert torch.equal(batch["x"], torch.ones(5, 1))
    assert torch.equal(batch["edge_attr"], torch.ones(6, 1))


def test_a_zip_is_read_like_its_folder(tmp_path):
    folder = written(tmp_path / "DS")
    with zipfile.ZipFile(tmp_path / "DS.zip", "w") as packed:
        for file in folder.iterdir():
            packed.write(file, f"DS/{file.name}")
        packed.writestr("DS/README.txt", "about")
    a, b = read_tu(folder).joined(), read_tu(tmp_path / "DS.zip").joined()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_written_is_read(tmp_path, generator):
    made = molecules(12, generator=generator)
    graphs = read_tu(write_tu(tmp_path, "made", made))
    batch = graphs.joined()
    assert batch["batch"].tolist() == made["graph"].tolist()
    assert batch["y"].tolist() == made["labels"].tolist()
    assert batch["x"].argmax(1).tolist() == made["node_labels"].tolist()
    assert {*map(tuple, batch["edge_index"].T.tolist())} == {*map(tuple, made["arcs"].tolist())}


def test_attributes_survive_the_text(tmp_path):
    made = {"arcs": np.array([[0, 1], [1, 0]]), "graph": np.array([0, 0]), "labels": np.array([4])}
    made |= {"node_attributes": np.array([[0.5], [-2.0]]), "edge_labels": np.array([1, 1])}
    sample = read_tu(write_tu(tmp_path, "made", made)).samples[0]
    assert sample["x"].tolist() == [[0.5], [-2.0]]
    assert sample["edge_attr"].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": None}, "found none"),
        ({"graph_labels": None}, "needs DS_A.txt"),
        ({"A": "1, 2\n2, x\n"}, "every line holds"),
        ({"A": "1, 2\n2\n"}, "every line holds"),
        ({"A": "1, 6\n6, 1\n"}, "counts nodes from 1 to 5"),
        ({"A": "3, 4\n4, 3\n"}, "two graphs"),
        ({"A": "1, 2\n2, 1\n2, 3\n"}, "lacks its reverse"),
        ({"graph_indicator": "0\n1\n1\n2\n2\n"}, "counts graphs from 1 to 2"),
        ({"graph_indicator": "2\n1\n1\n2\n2\n"}, "in order"),
        ({"node_labels": "1\n2\n"}, "have 2 lines, expected 5"),
    ],
    ids=["no arcs", "no labels", "no number", "short line", "outside", "across", "one way", "from 0", "unsorted", "short file"],
)
def test_bad_files_say_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_tu(written(tmp_path, **changes))


def test_one_way_arcs_are_read_when_asked_for(tmp_path):
    bare = dict.fromkeys(("edge_labels", "edge_attributes"))
    graphs = read_tu(written(tmp_path, A="1, 2\n5, 4\n", **bare), undirected=False)
    assert [sample["edge_index"].tolist() for sample in graphs.samples] == [[[0], [1]], [[1], [0]]]


def test_no_set_and_two_sets_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected a folder or a zip"):
        read_tu(tmp_path / "nothing")
    written(tmp_path)
    (tmp_path / "OTHER_A.txt").write_text("1, 2\n")
    with pytest.raises(InputError, match="the files of one set"):
        read_tu(tmp_path)


def test_folds_share_out_every_class_and_do_not_overlap():
    labels = torch.tensor([0] * 63 + [1] * 125)
    fold = folds(labels)
    assert sorted(torch.bincount(fold).tolist()) == [18, 18] + [19] * 8
    for label in (0, 1):
        share = torch.bincount(fold[labels == label], minlength=10)
        assert share.max() - share.min() <= 1
    assert torch.equal(fold, folds(labels))
    assert not torch.equal(fold, folds(labels, seed=1))


def test_seeds_are_folds():
    sets = [tu_set(Request("smoke", seed)) for seed in range(10)]
    everyone = tu_set(Request("smoke", 10))
    tests = [[str(one["edge_index"].tolist()) for one in data.test.samples] for data in sets]
    assert sum(len(test) for test in tests) == 60
    assert tests[0] == [str(one["edge_index"].tolist()) for one in everyone.test.samples], "seed 10 is fold 0 again"
    for k, data in enumerate(sets):
        assert len(data.train) + len(data.valid) + len(data.test) == 60
        assert [str(one["edge_index"].tolist()) for one in data.valid.samples] == tests[(k + 1) % 10]


def test_both_classes_of_generated_molecules_hold_the_same_atoms(generator):
    made = molecules(40, generator=generator)
    for g in range(40):
        own = made["node_labels"][made["graph"] == g]
        assert sorted(own)[-3:] == [1, 2, 2]
        n = int(np.flatnonzero((made["graph"] == g) & (made["node_labels"] == 1))[0])
        around = made["node_labels"][made["arcs"][made["arcs"][:, 0] == n, 1]]
        assert sorted(around) == ([0, 2, 2] if made["labels"][g] else [0])


def test_full_needs_a_file_and_takes_one(tmp_path):
    with pytest.raises(InputError, match="--data mutag="):
        tu_set(Request("full", 0))
    with pytest.raises(InputError, match="one set at a time"):
        tu_set(Request("cpu", 0, (("a", tmp_path), ("b", tmp_path))))


@pytest.mark.parametrize("text", ["1e300, 2\n", "nan, 2\n", "9" * 400 + ", 1\n"], ids=["large", "nan", "long"])
def test_numbers_that_no_graph_has_are_refused(text, tmp_path):
    with pytest.raises(InputError, match="NaN, infinite or too large"):
        read_tu(written(tmp_path, A=text))


def test_bytes_that_are_no_set_are_refused(tmp_path):
    written(tmp_path / "DS")
    (tmp_path / "DS" / "DS_A.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="same count of numbers"):
        read_tu(tmp_path / "DS")
    (tmp_path / "DS" / "DS_A.txt").unlink()
    (tmp_path / "DS" / "DS_A.txt").mkdir()
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_tu(tmp_path / "DS")
    with zipfile.ZipFile(tmp_path / "DS.zip", "w") as packed:
        packed.writestr("DS_A.txt", "1, 2\n" * 50)
    raw = bytearray((tmp_path / "DS.zip").read_bytes())
    raw[60] ^= 1
    (tmp_path / "DS.zip").write_bytes(raw)
    with pytest.raises(InputError, match="Bad CRC-32"):
        read_tu(tmp_path / "DS.zip")
