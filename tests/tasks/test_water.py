import numpy as np
import pytest
import torch

from coset.data.structures import read_structures
from coset.errors import InputError
from coset.recipe import Request
from coset.tasks.water import dipole, moment_error, polarizability, task


def system(folder, frames=5):
    rng = np.random.default_rng(0)
    place = np.array([[0.0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]])
    arrays = {
        "coord": (place[None] + 0.01 * rng.normal(size=(frames, 3, 3))).reshape(frames, -1).astype(np.float32),
        "box": np.tile(9 * np.eye(3).reshape(-1), (frames, 1)),
        "energy": rng.normal(size=frames),
        "force": rng.normal(size=(frames, 9)),
    }
    (folder / "set.000").mkdir(parents=True)
    for name, value in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", value)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    return arrays


def test_a_deepmd_folder_is_read(tmp_path):
    arrays = system(tmp_path / "data_0")
    frames = read_structures(tmp_path / "data_0")
    assert [frame["z"].tolist() for frame in frames] == [[8, 1, 1]] * 5
    assert float(frames[3]["energy"]) == arrays["energy"][3]
    assert torch.equal(frames[2]["forces"], torch.from_numpy(arrays["force"][2]).view(3, 3))
    assert frames[0]["periodic"] == (True, True, True)
    with pytest.raises(InputError, match=r"no DeePMD system"):
        read_structures(tmp_path)


def test_the_last_fifth_validates_and_tests_by_turns(tmp_path):
    system(tmp_path / "data_0", frames=20)
    data = task.data(Request("cpu", 0, (("water", tmp_path / "data_0"),)))
    assert (len(data.train), len(data.valid), len(data.test["test"])) == (16, 2, 2)
    with pytest.raises(InputError, match="--data water=FILE"):
        task.data(Request("cpu"))


@pytest.mark.parametrize(("row", "which"), [(dipole, "dipole"), (polarizability, "polarizability")], ids=["dipole", "polar"])
def test_a_step_down_the_gradient_lowers_the_loss_of_moments(row, which):
    data = row.data(Request("smoke"))
    torch.manual_seed(0)
    model = row.methods[0].build(data)
    batch = data.train.collate([data.train[i] for i in range(4)])
    before = row.objective(model, batch)["loss"]
    weights = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(before, weights, allow_unused=True)
    size = sum(s.square().sum() for s in slopes if s is not None).sqrt()
    with torch.no_grad():
        for p, s in zip(weights, slopes, strict=True):
            if s is not None:
                p -= 1e-3 * s / size
    assert row.objective(model, batch)["loss"] < before
    assert moment_error(model, data, which=which, relative=True) > 0


def test_real_dipoles_and_polarizabilities_are_found(shared_data):
    path = shared_data / "atoms" / "deepmd_water" / "water_dipole_polar.npz"
    for row, which in ((dipole, "dipole"), (polarizability, "polarizability")):
        data = row.data(Request("smoke", 0, (("moments", path),)))
        assert len(data.train.frames[0]["z"]) == 192
        assert which in data.train.frames[0]
