"""3DIEBench's folder form, written view by view, is read with and without its lists; what is wrong with it is said."""

import numpy as np
import pytest
import torch
from PIL import Image

from coset.comparison import compare
from coset.data.mini3die import mini3die
from coset.data.threediebench import Objects
from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import solids


@pytest.fixture
def folder(tmp_path):
    """Two classes of five objects with four views in the published form; object k of class c is number 2 k + c."""
    found = mini3die(5, 4, 16, classes=2, seed=0)
    for number, label in enumerate(found.labels.tolist()):
        home = tmp_path / f"0{label}691156" / f"{number:02d}a04e"
        home.mkdir(parents=True)
        for k in range(4):
            Image.fromarray(found.images[number, k].permute(1, 2, 0).numpy()).save(home / f"image_{k}.jpg", quality=95)
            np.save(home / f"latent_{k}.npy", found.latents[number, k, :7].numpy())
    return tmp_path, found


def write_lists(root, found):
    homes = sorted(path for path in root.glob("*/*"))
    for split, part in (("train", homes[:8]), ("val", homes[8:])):
        np.save(root / f"{split}_images.npy", np.array([f"/{path.relative_to(root)}" for path in part]))
        np.save(root / f"{split}_labels.npy", np.array([int(path.parent.name[1]) for path in part]))


def test_lists_say_which_objects_and_views_carry_their_latents(folder):
    root, found = folder
    write_lists(root, found)
    train, val = Objects(root, "train", views=4, fixed=True), Objects(root, "val")
    assert (len(train), len(val)) == (8, 2)
    item = train[1]  # the second object of class 0
    assert int(item["y"]) == 0
    assert torch.allclose(item["latents"], found.latents[2, :, :7].float())
    assert torch.allclose(item["pose"], found.quaternions[2].float())
    gap = (item["x"].float() - found.images[2].float()).abs().mean()
    assert gap < 12  # of 255; JPEG of noisy little pictures
    batch = Objects.collate([train[0], train[7]])
    assert batch["x"].shape == (2, 4, 3, 16, 16)
    assert batch["x"].dtype == torch.uint8
    assert batch["y"].tolist() == [0, 1]


def test_views_are_drawn_anew_and_never_twice(folder):
    root, _ = folder
    data = Objects(root, "train", views=2, size=8)
    torch.manual_seed(0)
    drawn = [data[0] for _ in range(20)]
    assert drawn[0]["x"].shape == (2, 3, 8, 8)
    assert all(not torch.equal(*item["latents"]) for item in drawn)
    assert len({float(item["latents"][0, 0]) for item in drawn}) == 4


def test_without_lists_every_fifth_object_of_a_class_is_held_out(folder):
    root, _ = folder
    train, val = Objects(root, "train"), Objects(root, "val")
    assert (len(train), len(val)) == (8, 2)
    assert val.labels == [0, 1]
    assert not set(train.paths) & set(val.paths)
    assert len(Objects(root, "train", most=3)) == 3


def test_ten_latents_are_read_and_nine_refused(folder):
    root, _ = folder
    home = root / Objects(root, "val").paths[0]
    for k in range(4):
        np.save(home / f"latent_{k}.npy", np.zeros(10))
    assert Objects(root, "val", views=3)[0]["latents"].shape == (3, 10)
    np.save(home / "latent_2.npy", np.zeros(9))
    with pytest.raises(InputError, match="expected 7 numbers"):
        Objects(root, "val", views=4)[0]


def test_bad_folders_are_refused(folder, tmp_path_factory):
    root, found = folder
    with pytest.raises(InputError, match="is no folder"):
        Objects(root / "nowhere", "train")
    with pytest.raises(InputError, match="no folders <class>/<object>"):
        Objects(tmp_path_factory.mktemp("empty"), "train")
    with pytest.raises(InputError, match="split is one of"):
        Objects(root, "test")
    with pytest.raises(InputError, match="but 9 views are asked for"):
        Objects(root, "train", views=9)[0]
    home = root / Objects(root, "train").paths[0]
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(home / "image_1.jpg")
    with pytest.raises(InputError, match="one size"):
        Objects.collate(
            [Objects(root, "train", views=1, fixed=True)[1], {**Objects(root, "train")[0], "x": torch.zeros(1, 3, 20, 20)}]
        )
    (home / "image_0.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot read"):
        Objects(root, "train", views=1, fixed=True)[0]
    (home / "latent_0.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot read"):
        Objects(root, "train", views=1, fixed=True)[0]
    write_lists(root, found)
    np.save(root / "val_labels.npy", np.zeros(7))
    with pytest.raises(InputError, match="as many classes"):
        Objects(root, "val")


def test_the_task_takes_the_folder(folder):
    """The command of the sheet, ``--data 3diebench=FOLDER``, at its smallest size: one epoch, all metrics."""
    pytest.importorskip("lightning")
    root, found = folder
    write_lists(root, found)
    data = solids.task.data(Request("smoke", 0, (("3diebench", root),)))
    assert data.info["classes"] == 2
    rows = compare(solids.task, ["SIE"], size="smoke", files={"3diebench": root}, out=root / "run", progress=False)
    assert set(rows[0].metrics) == set(solids.task.metrics)
