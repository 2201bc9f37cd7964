import gzip
import struct

import numpy as np
import pytest
import torch

from coset.data.digits import add_noise, center_logits, digits, digits_contract, read_mnist, shifted
from coset.data.rotated_digits import rotated_digits
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.recipe import Request

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data():
    return digits(Request("smoke"))


def test_shapes_ranges_and_counts(data):
    assert data.train["x"].shape == (200, 1, 28, 28)
    assert data.train["upright"].shape == (200, 1, 16, 16)
    assert data.train["x"].min() >= 0
    assert data.train["x"].max() <= 1
    assert data.info["classes"] == 10
    assert data.info["size"] == 16
    assert data.info["orbit"] <= data.info["test"] == 60
    assert set(data.test["y"].tolist()) == set(range(10))


def test_the_split_is_fixed_and_disjoint(data):
    full = digits(Request("cpu", seed=7))
    assert len(full.train["y"]) == 1200
    assert len(full.test["y"]) == 597
    assert torch.equal(full.train["x"][:200], data.train["x"])
    seen = {tuple(x.flatten().tolist()) for x in full.train["x"][:, 0, 8:20, 8:20]}
    both = sum(tuple(x.flatten().tolist()) in seen for x in full.test["x"][:, 0, 8:20, 8:20])
    assert both <= 2  # the scans hold a few duplicates


def test_upright_is_the_identity_of_the_contract(data):
    contract = digits_contract(SO(2))
    assert torch.allclose(contract.origin(data.test["x"]), data.test["upright"], atol=1e-7)
    turned = digits_contract(C(4)).act(torch.tensor(1), data.test["x"])
    assert torch.allclose(turned, torch.rot90(data.test["upright"], 1, (-2, -1)), atol=1e-7)


def test_the_contract_of_the_task(data):
    contract = digits_contract()
    assert contract.group == SO(2)
    assert contract.inputs.unnamed
    assert str(contract.outputs) == "B x 10 x scalar"
    y = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(center_logits(y + 5), center_logits(y), atol=1e-6)


def test_noise_and_shift_are_what_they_say(data, generator):
    x = data.test["upright"]
    noise = add_noise(x, 0.2, generator=generator) - x
    assert abs(noise[:, 0, 4:12, 4:12].std() - 0.2) < 0.01
    assert noise[:, 0, 0, 0].abs().max() == 0
    moved = shifted(x, generator=generator)
    sides = [torch.equal(moved[i, 0, 1:-1, 1:-1], x[i, 0, 1 + a : 15 + a, 1 + b : 15 + b])
             for i in range(8) for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))]  # fmt: skip
    assert sum(sides) == 8
    assert {"noise_10", "noise_20", "noise_30", "shift_1"} <= set(data.test)
    assert torch.equal(digits(Request("smoke", seed=3)).test["noise_30"], data.test["noise_30"])


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def fake(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)


def test_mnist_from_npz_idx_and_folder(tmp_path):
    (a, b), (c, d) = fake(70), fake(20, 1)
    np.savez(tmp_path / "one.npz", images=a, labels=b)
    np.savez(tmp_path / "four.npz", x_train=a, y_train=b, x_test=c, y_test=d)
    folder = tmp_path / "idx"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(a)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(b)))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(c))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(d))
    train, test = read_mnist(tmp_path / "one.npz")
    assert len(train[1]) == 60
    assert len(test[1]) == 10
    assert all(torch.equal(p, q) for p, q in zip(train, read_mnist(folder / "train-images-idx3-ubyte.gz")[0], strict=True))
    for path in (tmp_path / "four.npz", folder):
        (x, y), (u, v) = read_mnist(path)
        assert torch.equal(x[:, 0], torch.tensor(a).float() / 255)
        assert torch.equal(v, torch.tensor(d).long())
        assert len(y) == 70
        assert len(u) == 20
    data = digits(Request("smoke", files=(("mnist", folder),)))
    assert data.info["source"] == "mnist"
    assert data.info["train"] == 70


def test_the_stored_mnist_is_read(shared_data):
    data = digits(Request("smoke", files=(("mnist", shared_data / "images" / "mnist_test10k.npz"),)))
    assert data.train["x"].shape == (200, 1, 28, 28)
    assert 0.1 < data.train["x"].mean() < 0.17


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: np.savez(p, images=np.zeros((3, 20, 20), np.uint8), labels=np.zeros(3, np.uint8)), "28, 28"),
        (lambda p: np.savez(p, images=np.full((3, 28, 28), np.nan), labels=np.zeros(3, np.uint8)), "NaN"),
        (lambda p: np.savez(p, images=np.zeros((3, 28, 28)), labels=np.full(3, 11)), "labels are 0..9"),
        (lambda p: np.savez(p, pictures=np.zeros((3, 28, 28))), "expected images and labels"),
        (lambda p: p.write_bytes(b"not a zip"), "cannot read"),
        (lambda p: None, "does not exist"),
    ],
)
def test_bad_files_are_named(make, words, tmp_path):
    path = tmp_path / "file.npz"
    make(path)
    with pytest.raises(InputError, match=words):
        digits(Request("smoke", files=(("mnist", path),)))


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        digits(Request("smoke", files=(("mnits", tmp_path),)))
    with pytest.raises(InputError, match="unknown size"):
        digits(Request("huge"))
    (tmp_path / "lonely-images-idx3-ubyte").write_bytes(idx(fake(2)[0]))
    with pytest.raises(InputError, match="labels beside it"):
        digits(Request("smoke", files=(("mnist", tmp_path / "lonely-images-idx3-ubyte"),)))
    with pytest.raises(InputError, match="no train-images"):
        digits(Request("smoke", files=(("mnist", tmp_path),)))


def test_rotated_digits_are_turned_once_each():
    data = rotated_digits(Request("smoke"))
    assert data.train["x"].shape == (64, 1, 24, 24)
    assert data.info["size"] == 24
    gap = (data.test["x"] - data.test["source"]).flatten(1).norm(dim=1) / data.test["source"].flatten(1).norm(dim=1)
    assert gap.median() > 0.5
    assert torch.equal(data.audit, data.test["source"][:64])
    assert torch.equal(rotated_digits(Request("smoke", seed=5)).train["x"], data.train["x"])
    with pytest.raises(InputError, match="unknown size"):
        rotated_digits(Request("huge"))
