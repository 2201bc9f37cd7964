"""Affine digits: maps as stated, one resampling for every image, the public formats, and what is refused."""

import gzip
import math
import struct

import numpy as np
import pytest
import torch
from scipy.io import savemat

from coset.contract import Contract
from coset.data.affine_digits import AffineMaps, affine_contract, affine_digits, read_affnist, seen
from coset.data.digits import framed, scikit_scans, split_order
from coset.errors import InputError
from coset.groups.decompose import cartan
from coset.recipe import Request

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data():
    return affine_digits(Request("smoke"))


def test_maps_lie_within_their_limits(generator):
    family = AffineMaps()
    g = family.sample(2000, generator=generator)
    angle = torch.rad2deg(torch.atan2(g[:, 1, 0], g[:, 0, 0]))  # of the first axis, which no shear turns
    first = g[:, :, 0].norm(dim=1)
    second = torch.linalg.det(g) / first
    shear = (g[:, :, 0] * g[:, :, 1]).sum(1) / first / second
    for value, low, high in ((angle, -20, 20), (first, 0.8, 1.2), (second, 0.8, 1.2), (shear, -0.2, 0.2)):
        assert low <= float(value.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(value.max()) <= high
        assert float(value.mean()) == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    assert AffineMaps(0, 0, 0).sample(2).equal(torch.eye(2).double().expand(2, 2, 2))
    assert float(cartan(AffineMaps(30, 0, 0).sample(5, generator=generator))[1].abs().max()) < 1e-12
    for bad in ({"degrees": 200}, {"shear": -1}, {"zoom": 1}):
        with pytest.raises(InputError, match="AffineMaps"):
            AffineMaps(**bad)


def test_one_map_written_out():
    """Turn after shear after zoom; the content moves, x to the right and y up."""
    a, s, z, w = math.radians(20), 0.2, 1.2, 0.8

    turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    want = turn @ torch.tensor([[1.0, s], [0, 1.0]]) @ torch.diag(torch.tensor([z, w]))
    far = AffineMaps().sample(20000, generator=torch.Generator().manual_seed(0))
    assert float((far - want).flatten(1).norm(dim=1).min()) < 0.05, "the corner of the box is reached, in this order of factors"


def test_shapes_and_split(data):
    assert data.train["x"].shape == (80, 1, 20, 20)
    assert data.valid["x"].shape == (40, 1, 20, 20)
    assert data.test["moved"].shape == (120, 1, 20, 20)
    assert torch.equal(data.test["moved_y"], data.test["y"].repeat(3))
    assert data.train["x"].min() >= 0
    assert data.train["x"].max() <= 1
    full = affine_digits(Request("cpu", seed=5))
    assert [len(part["y"]) for part in (full.train, full.valid, full.test)] == [1000, 197, 600]
    assert torch.equal(full.train["x"][:80], data.train["x"])
    assert affine_digits(Request("full")).test["x"].shape == (600, 1, 40, 40)


def test_parts_share_no_scan():
    _, y = scikit_scans()
    order = split_order(len(y))
    assert len(set(order.tolist())) == len(y) == 1797


def test_moved_images_are_one_resampling_of_their_sources(data):
    x, y = scikit_scans()
    source = framed(x, 24, 40)[split_order(len(y))[1197:1237]]
    g = AffineMaps().sample(120, generator=torch.Generator().manual_seed(2024))
    assert torch.equal(data.test["moved"], seen(source.repeat(3, 1, 1, 1), 20, g))
    assert torch.equal(data.test["x"], torch.nn.functional.avg_pool2d(source, 2))
    twice = affine_contract().act(g[:40], data.test["x"])
    assert 0.01 < (twice - data.test["moved"][:40]).norm() / twice.norm() < 0.2


def test_the_contract():
    contract = affine_contract()
    assert isinstance(contract, Contract)
    y = torch.randn(3, 10)
    assert torch.allclose(contract.look(y + 4)[""], contract.look(y)[""], atol=1e-5)
    assert str(contract.group) == "affine maps within 20 degrees, shear 0.2, zoom 0.2"


def affnist(path, n, seed=0, **changes):
    """A batch in the form of the public set: a struct with images in columns, rows of pixels one after the other."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 10, n, dtype=np.uint8)
    record = {
        "affine_params": np.zeros((6, n)),
        "image": rng.integers(0, 256, (1600, n), dtype=np.uint8),
        "label_one_of_n": np.eye(10, dtype=np.uint8)[label].T,
        "label_int": label[None],
    } | changes
    savemat(path, {"affNISTdata": record})
    return record


def test_affnist_batches(tmp_path):
    records = [affnist(tmp_path / f"{k}.mat", n, seed=k) for k, n in ((2, 5), (10, 3), (1, 4))]
    x, y = read_affnist(tmp_path)
    assert x.shape == (12, 1, 40, 40)
    want = np.concatenate([records[2]["label_int"], records[0]["label_int"], records[1]["label_int"]], 1)[0]
    assert y.tolist() == want.tolist()
    assert float(x[4, 0, 3, 7]) == pytest.approx(records[0]["image"][3 * 40 + 7, 0] / 255)
    single = affnist(tmp_path / "1.mat", 1)
    x, y = read_affnist(tmp_path / "1.mat")
    assert x.shape == (1, 1, 40, 40)
    assert y.tolist() == single["label_int"][0].tolist()


def idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def test_mnist_and_affnist_together(tmp_path):
    """The command of the paper's setting: MNIST's four idx files, affNIST's test batches."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, n in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(rng.integers(0, 10, n, dtype=np.uint8)))
    affnist(tmp_path / "1.mat", 30)
    files = (("mnist", folder), ("affnist", tmp_path / "1.mat"))
    data = affine_digits(Request("full", files=files))
    assert data.train["x"].shape == (50, 1, 40, 40)
    assert data.valid["x"].shape == (10, 1, 40, 40)
    assert data.train["x"][:, :, :6].abs().max() == 0
    assert data.test["x"].shape == (20, 1, 40, 40)
    assert torch.equal(data.test["moved"], read_affnist(tmp_path / "1.mat")[0])
    assert data.info["test"] == "affnist"
    small = affine_digits(Request("cpu", files=files[:1]))
    assert small.test["moved"].shape == (60, 1, 20, 20)


def test_mnist_that_lies_beside(shared_data):
    data = affine_digits(Request("smoke", files=(("mnist", shared_data / "images" / "mnist_test10k.npz"),)))
    assert data.info["source"] == "mnist"
    assert data.train["x"].shape == (80, 1, 20, 20)
    assert 0.02 < float(data.train["x"].mean()) < 0.12


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="affnist"):
        affine_digits(Request("smoke", files=(("affnit", tmp_path),)))
    with pytest.raises(InputError, match="size"):
        affine_digits(Request("huge"))
    with pytest.raises(InputError, match="does not exist"):
        read_affnist(tmp_path / "none.mat")
    with pytest.raises(InputError, match=r"no \.mat file"):
        read_affnist(tmp_path)
    (tmp_path / "bad.mat").write_bytes(b"no matlab")
    with pytest.raises(InputError, match="affNISTdata"):
        read_affnist(tmp_path / "bad.mat")
    savemat(tmp_path / "other.mat", {"data": np.zeros(3)})
    with pytest.raises(InputError, match="affNISTdata"):
        read_affnist(tmp_path / "other.mat")
    affnist(tmp_path / "narrow.mat", 4, image=np.zeros((784, 4), dtype=np.uint8))
    with pytest.raises(InputError, match=r"expected image \(1600, n\)"):
        read_affnist(tmp_path / "narrow.mat")
    affnist(tmp_path / "float.mat", 4, image=np.zeros((1600, 4)))
    with pytest.raises(InputError, match="bytes"):
        read_affnist(tmp_path / "float.mat")
    affnist(tmp_path / "label.mat", 4, label_int=np.full((1, 4), 11, dtype=np.uint8))
    with pytest.raises(InputError, match="labels"):
        read_affnist(tmp_path / "label.mat")
