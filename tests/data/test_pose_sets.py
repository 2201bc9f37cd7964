"""Public pose sets, read from files written here in their exact form."""

import numpy as np
import pytest
import torch
from PIL import Image

from coset.data.pose_sets import AXES, PoseImages, read_modelnet, read_symsol
from coset.data.rendered_points import rendered_points
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.ops.healpix import RotationGrid
from coset.recipe import Request
from coset.train.batches import loader

GRID = RotationGrid(0)


def rotations(*shape):
    return SO(3).sample(int(np.prod(shape)), generator=torch.Generator().manual_seed(0)).view(*shape, 3, 3).numpy()


@pytest.fixture
def modelnet(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 41), ("test", 5)):
        np.savez_compressed(
            tmp_path / f"modelnet10_{part}.npz",
            imgs=rng.integers(0, 255, (count, 28, 28, 1), dtype=np.uint8),
            rots=rotations(count).astype(np.float32),
            cat_ids=np.arange(count) % 10,
        )
    return tmp_path


@pytest.fixture
def symsol(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 21), ("test", 3)):
        folder = tmp_path / part
        (folder / "images").mkdir(parents=True)
        np.savez(folder / "rotations.npz", tet=rotations(count, 12), cone=rotations(count, 4))
        for solid in ("tet", "cone"):
            for i in range(count):
                pixels = rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / f"{solid}_{i:05d}.png")
    return tmp_path


def test_modelnet_is_read(modelnet):
    data = rendered_points(Request("smoke", 0, (("modelnet10-so3", modelnet),)))
    assert (len(data.train), len(data.valid), len(data.test)) == (38, 3, 5)
    batch = next(iter(loader(data.train, 4, seed=0)))
    assert batch["img"].shape == (4, 3, 28, 28)
    assert torch.equal(batch["img"][:, 0], batch["img"][:, 2])
    assert 0.9 < batch["img"].max() <= 1
    assert data.info["size"] == 28
    assert data.audit["img"].shape == (5, 3, 28, 28)


def test_rotations_go_to_the_axes_of_the_camera(modelnet):
    found = read_modelnet(modelnet, "test", GRID)
    stored = torch.from_numpy(rotations(5)).double()
    assert (found.poses[:, 0] - (AXES @ stored).float()).abs().max() < 1e-6
    # theirs: x right, y up, z towards the camera; ours: z right, x up, y towards the camera
    right, up, towards = torch.eye(3, dtype=torch.float64)
    assert torch.equal(AXES @ right, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.equal(AXES @ up, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assert torch.equal(AXES @ towards, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    assert torch.equal(found.y, GRID.nearest(found.poses[:, 0]))


def test_parts_keep_images_and_poses_together(modelnet):
    whole = read_modelnet(modelnet, "train", GRID)
    part = whole.part([7, 3])
    assert torch.equal(part[1]["img"], whole[3]["img"])
    assert torch.equal(part[0]["rotation"], whole[7]["rotation"])
    assert int(part[0]["label"]) == 7


def test_symsol_is_read_with_all_equivalent_poses(symsol):
    data = rendered_points(Request("smoke", 0, (("symsol", symsol),)))
    assert len(data.test) == 6
    item = data.test[0]
    assert item["equivalent"].shape == (12, 3, 3)
    assert torch.equal(item["equivalent"][:4], item["equivalent"][4:8])  # the cone has four here, repeated
    assert int(data.test[5]["label"]) == 1
    stored = np.array(Image.open(symsol / "test" / "images" / "tet_00001.png"))
    assert torch.equal(data.test[4]["img"], torch.from_numpy(stored).permute(2, 0, 1) / 255)


def test_broken_files_are_refused(modelnet, symsol, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_modelnet(tmp_path / "nowhere", "train", GRID)
    np.savez(modelnet / "modelnet10_test.npz", imgs=np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match="lacks"):
        read_modelnet(modelnet, "test", GRID)
    (symsol / "test" / "images" / "tet_00002.png").unlink()
    with pytest.raises(InputError, match="tet_00002"):
        read_symsol(symsol, "test", GRID)
    with pytest.raises(InputError, match="mirror"):
        PoseImages(lambda i: np.zeros((8, 8, 3), np.uint8), -torch.eye(3).expand(2, 1, 3, 3), torch.zeros(2), GRID, "set")
    with pytest.raises(InputError, match="square"):
        PoseImages(lambda i: np.zeros((8, 6, 3), np.uint8), torch.eye(3).expand(2, 1, 3, 3), torch.zeros(2), GRID, "set")


def test_a_picture_that_was_cut_is_refused(symsol):
    data = read_symsol(symsol, "test", GRID)
    path = symsol / "test" / "images" / "tet_00001.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"tet_00001\.png is no picture"):
        [data[i] for i in range(len(data))]
