"""Body scans in all layouts that are promised give the same points; what is no scan is refused by name."""

import numpy as np
import pytest
import torch

from coset.data.articulated import articulated
from coset.data.body_scans import load_bodies
from coset.errors import InputError
from coset.recipe import Request


@pytest.fixture
def scans():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 50, 3)).astype(np.float32), rng.integers(0, 6, size=(4, 50))


def ascii_ply(vertices, labels):
    rows = "\n".join(
        f"{x:.9g} {y:.9g} {z:.9g} 0 {y:.9g} {z:.9g} {x:.9g} {k}" for (x, y, z), k in zip(vertices, labels, strict=True)
    )
    head = (
        f"ply\nformat ascii 1.0\ncomment a scan\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        "property float z\nproperty uchar red\nproperty float nx\nproperty float ny\nproperty float nz\nproperty int label\n"
        "element face 1\nproperty list uchar int vertex_indices\n"
    )
    return (head + f"end_header\n{rows}\n3 0 1 2\n").encode()


def binary_ply(vertices, labels):
    kind = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("nx", "<f8"), ("ny", "<f8"), ("nz", "<f8"), ("part", "u1")])
    table = np.empty(len(vertices), kind)
    table["x"], table["y"], table["z"], table["part"] = *vertices.T, labels
    table["nx"], table["ny"], table["nz"] = np.roll(vertices, -1, 1).T
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
    fields = "".join(f"property float {axis}\n" for axis in "xyz") + "".join(f"property double n{axis}\n" for axis in "xyz")
    fields += "property uchar part\nend_header\n"
    return (head + fields).encode() + table.tobytes()


def write(folder, layout, vertices, labels):
    if layout == "table":
        np.savez(
            folder.with_suffix(".npz"), np.concatenate([vertices, np.roll(vertices, -1, -1), labels[..., None], vertices], -1)
        )
        return
    folder.mkdir()
    for i, (v, k) in enumerate(zip(vertices, labels, strict=True)):
        if layout == "npz":
            np.savez(folder / f"{i}.npz", vertices=v, normals=np.roll(v, -1, 1), labels=k)
        else:
            (folder / f"{i}.ply").write_bytes((ascii_ply if layout == "ascii" else binary_ply)(v, k))


@pytest.mark.parametrize("layout", ["npz", "ascii", "binary", "table"])
def test_every_layout_gives_the_scans(layout, scans, tmp_path, generator):
    vertices, labels = scans
    write(tmp_path / "train", layout, vertices, labels)
    write(tmp_path / "test", layout, vertices[:2], labels[:2])
    train, test, unseen = load_bodies(tmp_path, 50, generator=generator)
    assert train["pos"].shape == (4, 50, 3)
    assert len(test["pos"]) == len(unseen["pos"]) == 2
    for i in range(4):  # the same points in another order, about their mean
        centered = vertices[i] - vertices[i].mean(0)
        place = torch.cdist(train["pos"][i], torch.from_numpy(centered)).argmin(1)
        assert len(place.unique()) == 50
        assert torch.allclose(train["pos"][i], torch.from_numpy(centered)[place], atol=1e-6)
        assert torch.equal(train["y"][i], torch.from_numpy(labels[i])[place])
        normal = torch.nn.functional.normalize(torch.from_numpy(np.roll(vertices[i], -1, 1)), dim=-1)
        assert torch.allclose(train["normal"][i], normal[place], atol=1e-6)


def test_points_are_drawn_and_small_scans_repeat(scans, tmp_path, generator):
    vertices, labels = scans
    for name in ("train", "test", "unseen"):
        write(tmp_path / name, "npz", vertices[:2], labels[:2])
    train, _, unseen = load_bodies(tmp_path, 20, generator=generator)
    assert train["pos"].shape == unseen["pos"].shape == (2, 20, 3)
    assert len(train["pos"][0].unique(dim=0)) == 20
    assert load_bodies(tmp_path, 120, generator=generator)[0]["pos"].shape == (2, 120, 3)


def test_the_task_runs_on_them(scans, tmp_path):
    vertices, labels = scans
    write(tmp_path / "train", "ascii", vertices, labels)
    write(tmp_path / "test", "ascii", vertices[:3], labels[:3])
    data = articulated(Request("smoke", 0, (("bodies", tmp_path),)))
    assert data.train["pos"].shape == (3, 96, 3)
    assert data.valid["pos"].shape == (1, 96, 3)
    assert data.info["classes"] == int(labels.max()) + 1
    assert len(data.audit["body"]) == 2 * 64


def test_what_is_no_scan_is_refused(scans, tmp_path):
    vertices, labels = scans
    with pytest.raises(InputError, match="is no folder"):
        load_bodies(tmp_path / "nowhere", 10)
    with pytest.raises(InputError, match="no folder train"):
        load_bodies(tmp_path, 10)
    folder = tmp_path / "train"
    folder.mkdir()
    with pytest.raises(InputError, match=r"no \.npz and no \.ply"):
        load_bodies(tmp_path, 10)
    bad = {
        "arrays vertices, normals and labels": lambda path: np.savez(path, points=vertices[0]),
        "integers from 0": lambda path: np.savez(path, vertices=vertices[0], normals=vertices[0], labels=labels[0] - 1),
        "labels \\(V,\\)": lambda path: np.savez(path, vertices=vertices[0], normals=vertices[0], labels=labels[0][:4]),
    }
    for message, make in bad.items():
        make(folder / "a.npz")
        with pytest.raises(InputError, match=message):
            load_bodies(tmp_path, 10)
    (folder / "a.npz").unlink()
    whole = binary_ply(vertices[0], labels[0])
    texts = {
        "cut off": whole[:-9],
        "not a PLY": b"obj" + whole,
        "vertices need": whole.replace(b"uchar part", b"uchar hair"),
        "binary_little_endian here": whole.replace(b"little", b"big"),
        "announced": ascii_ply(vertices[0], labels[0]).replace(b"vertex 50", b"vertex 90"),
    }
    for message, text in texts.items():
        (folder / "a.ply").write_bytes(text)
        with pytest.raises(InputError, match=message):
            load_bodies(tmp_path, 10)
    (folder / "a.ply").unlink()
    folder.rmdir()
    np.savez(tmp_path / "train.npz", vertices)
    with pytest.raises(InputError, match="at least 7 columns"):
        load_bodies(tmp_path, 10)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vertex 50", "vertex 5000000000000"),
        ("vertex 50", "vertex many"),
        ("vertex 50", "vertex"),
        ("format ascii 1.0", "format"),
    ],
    ids=["huge", "word", "none", "format"],
)
def test_a_header_that_says_nothing_is_refused(old, new, scans, tmp_path):
    write(tmp_path / "train", "ascii", *scans)
    write(tmp_path / "test", "ascii", *scans)
    path = tmp_path / "train" / "0.ply"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"0\.ply"):
        load_bodies(tmp_path, 10)
