"""CIFAR-10 is read from its public forms, written here byte by byte, and from the real piece beside the repository."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from coset.data.cifar10 import MEAN, STD, cifar10, gratings, read_cifar10
from coset.errors import InputError
from coset.recipe import Request
from coset.reps.torus import roll_image

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def records(count, seed):
    """The bytes of a batch, and what they hold."""
    draw = np.random.default_rng(seed)
    labels, pixels = draw.integers(0, 10, count), draw.integers(0, 256, (count, 3, 32, 32))
    raw = b"".join(bytes([label]) + image.astype(np.uint8).tobytes() for label, image in zip(labels, pixels, strict=True))
    return raw, torch.tensor(pixels, dtype=torch.uint8), torch.tensor(labels)


@pytest.fixture
def batches(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(records(4, i)[0])
    (folder / "test_batch.bin").write_bytes(records(3, 9)[0])
    (folder / "batches.meta.txt").write_text("\n".join(NAMES))
    return folder


def check_batches(path):
    train, test = read_cifar10(path)
    want = [records(4, i) for i in range(1, 6)]
    assert torch.equal(train[0], torch.cat([x for _, x, _ in want]))
    assert torch.equal(train[1], torch.cat([y for _, _, y in want]))
    assert torch.equal(test[0], records(3, 9)[1])


def test_a_folder_of_batches(batches):
    check_batches(batches)


def test_the_archive_as_it_is_downloaded(batches, tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(batches, "cifar-10-batches-bin")
    check_batches(path)


def picture(seed, size=32):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue(), torch.from_numpy(pixels).movedim(-1, 0)


def test_folders_of_classes(tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        for i, name in enumerate(NAMES):
            folder = tmp_path / part / f"{i}_{name}"
            folder.mkdir(parents=True)
            for k in range(count):
                (folder / f"{k:04d}.png").write_bytes(picture(100 * i + k)[0])
    (x, y), (x_test, y_test) = read_cifar10(tmp_path)
    assert y.tolist() == [i for i in range(10) for _ in range(3)]
    assert torch.equal(x[7], picture(201)[1])
    assert y_test.tolist() == list(range(10))
    assert torch.equal(x_test[2], picture(200)[1])
    # one part alone is divided
    (x, _), (x_test, _) = read_cifar10(tmp_path / "train")
    assert (len(x), len(x_test)) == (24, 6)


def test_two_zips(tmp_path):
    for part, count in (("a", 2), ("b", 1)):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for i, name in enumerate(NAMES):
                for k in range(count):
                    archive.writestr(f"{i}_{name}/{k:04d}.png", picture(10 * i + k)[0])
    (x, y), (_, y_test) = read_cifar10(tmp_path / "a.zip", tmp_path / "b.zip")
    assert len(x) == 20
    assert y[4] == 2
    assert y_test.tolist() == list(range(10))


def test_the_real_piece(shared_data):
    images = shared_data / "images"
    files = (("cifar10", images / "cifar10_train500perclass_jpg.zip"), ("test", images / "cifar10_test100perclass_jpg.zip"))
    data = cifar10(Request("full", 0, files))
    assert (len(data.train["y"]), len(data.valid["y"]), len(data.test["y"])) == (4500, 500, 1000)
    assert data.test["y"].bincount().tolist() == [100] * 10
    assert data.train["x"].mean((0, 2, 3)).abs().max() < 0.1
    assert (data.train["x"].std((0, 2, 3)) - 1).abs().max() < 0.1
    assert data.info["full"]


def test_splits_do_not_overlap_and_are_standardized(batches):
    data = cifar10(Request("cpu", 0, (("cifar10", batches),)))
    assert (len(data.train["y"]), len(data.valid["y"]), len(data.test["y"])) == (18, 2, 3)
    everything = torch.cat([data.train["x"], data.valid["x"]]).flatten(1)
    assert len(everything.unique(dim=0)) == 20
    raw = torch.cat([records(4, i)[1] for i in range(1, 6)]).float() / 255
    want = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.equal(everything.sum(1).sort().values, want.flatten(1).sum(1).sort().values)


def test_gratings_stand_in():
    x, y = gratings(60, seed=0)
    assert x.dtype == torch.uint8
    assert x.shape == (60, 3, 32, 32)
    # the class is where the spectrum peaks, whatever the shift
    peaks = [
        torch.fft.rfft2(image.double() - image.double().mean((2, 3), keepdim=True)).abs().sum(1).flatten(1).argmax(1)
        for image in (x, roll_image(x, torch.tensor([[5, 9]])))
    ]
    assert torch.equal(*peaks)
    assert all(len(peaks[0][y == c].unique()) == 1 for c in range(10))
    data = cifar10(Request("smoke", 0))
    assert (len(data.train["y"]), len(data.test["y"])) == (64, 48)
    assert data.info["source"] == "gratings"


def test_what_is_no_cifar10_is_refused(tmp_path, batches):
    with pytest.raises(InputError, match="does not exist"):
        read_cifar10(tmp_path / "nothing")
    (tmp_path / "short.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(InputError, match="3072 bytes; expected records of 3073"):
        read_cifar10(tmp_path / "short.bin")
    (tmp_path / "hundred.bin").write_bytes(b"\x0b" + b"\0" * 3072)
    with pytest.raises(InputError, match=r"labels are 0..9, got 11"):
        read_cifar10(tmp_path / "hundred.bin")
    (tmp_path / "text.txt").write_text("no archive")
    with pytest.raises(InputError, match="cannot read"):
        read_cifar10(tmp_path / "text.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither data_batch"):
        read_cifar10(empty)
    (empty / "cat").mkdir()
    (empty / "cat" / "0.png").write_bytes(picture(0, size=16)[0])
    with pytest.raises(InputError, match=r"\(16, 16\) pixels, expected 32 x 32"):
        read_cifar10(empty)
    (empty / "cat" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="is no picture"):
        read_cifar10(empty)
    with pytest.raises(InputError, match="unknown data file"):
        cifar10(Request("smoke", 0, (("imagenet", batches),)))
    with pytest.raises(InputError, match="needs one to train on"):
        cifar10(Request("smoke", 0, (("test", batches),)))
    with pytest.raises(InputError, match="unknown size"):
        cifar10(Request("tiny", 0))


def test_an_archive_that_was_cut_is_refused(batches, tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        packed.add(batches, "cifar")
    raw = (tmp_path / "a.tar.gz").read_bytes()
    for size in (10, len(raw) // 2):
        (tmp_path / "a.tar.gz").write_bytes(raw[:size])
        with pytest.raises(InputError, match="cannot read"):
            read_cifar10(tmp_path / "a.tar.gz")
