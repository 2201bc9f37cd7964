"""NERO's own tests: flat where it must be, cosine where it must be, exact at the identity; its bad-input list."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import nn

from coset.audits.consensus import majority, projected_mean
from coset.audits.grids import grid_of, product_grid, rotations_of_space, scales, translations
from coset.audits.kinds import Box, Crop, Frames, Reversal
from coset.audits.metrics import iou
from coset.audits.orbit_result import OrbitResult
from coset.audits.orbits import orbits
from coset.contract import Contract
from coset.errors import ContractError, InputError, MissingExtra
from coset.groups.euclidean import Scale, T
from coset.groups.finite import C, D
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.reps.fields import Field

CLASSES = Contract(SO(2), "B x 1 x image", "B x 3 x scalar")


@pytest.fixture
def pictures(generator):
    return torch.rand(6, 1, 12, 12, generator=generator, dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)).double()


def constant(x):
    return torch.tensor([0.2, 0.5, 0.3], dtype=x.dtype).expand(len(x), 3)


# ---------------------------------------------------------------------- acceptance (a)


def test_the_orbit_of_a_constant_classifier_is_flat(pictures, labels):
    found = orbits(constant, pictures, CLASSES, truth=labels, metric="correct")
    assert found.values.shape == (6, 72)
    assert found.std == 0
    assert found.consistency == 1


def test_a_cosine_is_reproduced(generator):
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    contract = Contract(SO(2), "B x vector", "B x scalar")
    found = orbits(lambda v: v[:, 0], x, contract, metric=lambda y, _: y, truth=torch.zeros(1).double())
    assert np.abs(found.values[0] - np.cos(np.deg2rad(found.angles))).max() < 1e-6
    assert found.spectrum()[1] == pytest.approx(1)
    assert found.numbers()["peak_frequency"] == 1


def test_the_value_at_the_identity_is_the_plain_evaluation(pictures, labels, net):
    found = orbits(net, pictures, CLASSES, truth=labels)
    plain = net(pictures).detach().softmax(-1)[torch.arange(6), labels]
    assert found.axes[0]["labels"][found.identity] == "identity"
    assert np.array_equal(found.values[:, found.identity], plain.numpy())


def test_an_averaged_model_is_flat(generator):
    x = torch.randn(4, 5, 2, generator=generator, dtype=torch.float64)
    group = C(12)

    def averaged(v):
        turned = group.move(group.elements(), Field.of("B x N x vector"), v.unsqueeze(0), {})
        return (turned[..., 0].sin() + turned[..., 1] ** 3).mean((0, 2))

    contract = Contract(group, "B x N x vector", "B x scalar")
    found = orbits(averaged, x, contract, truth=averaged(x))
    assert found.flat.max() <= 1e-5
    assert found.std <= 1e-5


def test_consensus_of_an_equivariant_model_is_its_prediction(generator):
    x = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    f = lambda v: (v * v.square().sum(-1, keepdim=True)).mean(1)  # noqa: E731
    found = orbits(f, x, Contract(SO(3), "B x N x vector", "B x vector"), samples=24)
    assert found.reference == "consensus"
    assert np.abs(found.consensus - f(x).numpy()).max() < 1e-5
    assert found.predictions.shape == (4, 576, 3)
    assert np.abs(found.predictions - f(x).numpy()[:, None]).max() < 1e-5


@pytest.mark.parametrize("group", [C(6), D(4), SO(2)])
def test_cyclic_grids_are_closed_under_the_group(group):
    grid = grid_of(group, samples=12)
    table = group.compose(grid.elements[:, None], grid.elements[None])
    for row in table:
        for product in row:
            assert any(bool(group.equal(product, known, tolerance=1e-9)) for known in grid.elements)


# ---------------------------------------------------------------------- references and metrics


def test_truth_moves_with_the_output(generator):
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    contract = Contract(SO(3), "B x vector", "B x vector")
    found = orbits(lambda v: 2 * v, x, contract, truth=2 * x, elements=SO(3).grid(10))
    assert found.flat.max() < 1e-10
    broken = orbits(lambda v: v * torch.tensor([1.0, 2.0, 3.0]).double(), x, contract, truth=2 * x, elements=SO(3).grid(10))
    assert broken.flat.max() > 0.1


def test_consensus_of_classes_is_the_majority_not_the_mean():
    assert majority(torch.tensor([[2], [2], [2], [0], [0]])).tolist() == [2]


def test_consensus_of_rotations_is_a_rotation(generator):
    near = SO(3).exp(0.1 * torch.randn(20, 3, generator=generator, dtype=torch.float64))
    merged = projected_mean(near)
    assert bool(SO(3).contains(merged))
    turn = SO(3).sample(1, generator=generator)[0]
    assert torch.allclose(projected_mean(turn @ near), turn @ merged, atol=1e-12)


def test_a_consistently_wrong_model_has_a_flat_consensus(pictures, labels):
    found = orbits(constant, pictures, CLASSES, truth=labels, metric="correct", consensus=True)
    assert found.reference == "consensus"
    assert found.mean == 1
    assert orbits(constant, pictures, CLASSES, truth=labels, metric="correct").mean == pytest.approx(1 / 3)


def test_iou():
    a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    assert iou(a, b).item() == pytest.approx(1 / 7)
    assert iou(a, a).item() == 1
    assert iou(a, b + 5).item() == 0


def test_numbers_by_hand():
    values = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    axes = [{"kind": "angle", "name": "angle", "coordinates": [0, 90, 180, 270], "labels": ["0", "90", "180", "270"]}]
    found = OrbitResult(
        values=values, axes=axes, metric="correct", better="higher", reference="truth", cyclic=True,
        angles=np.array([0.0, 90, 180, 270]), classes=np.array([[3, 1, 3, 1], [2, 2, 2, 0]]), labels=np.array([3, 2]),
    )  # fmt: skip
    assert found.mean == pytest.approx(5 / 8)
    assert found.std == pytest.approx((0.5 + math.sqrt(3) / 4) / 2)
    assert found.worst == ("270", 0.0)
    assert found.worst_case_accuracy == 0
    assert found.consistency == pytest.approx((0.5 + 0.75) / 2)
    assert found.spectrum() == pytest.approx([5 / 8, 0.25, 0.375], abs=1e-12) or found.spectrum().shape == (3,)
    assert list(found.most_varied(1)) == [0]
    assert set(found.aggregate(by_class=True)) == {2, 3}


# ---------------------------------------------------------------------- grids and kinds of the sheet


def test_objects_are_moved_by_recropping(generator):
    scene = torch.zeros(3, 20, 20, dtype=torch.float64)
    scene[:, 10, 9] = 1.0
    grid = translations(T(2), range(-3, 4), 12)
    contract = Contract(T(2), Field(("B",), Crop(12)), {"box": Field(("B",), Box())})

    def detector(x):
        place = x.flatten(1).argmax(1)
        row, column = place // 12, place % 12
        at = torch.stack([(2 * column + 1 - 12) / 12, -(2 * row + 1 - 12) / 12], 1).double()
        return {"box": torch.cat([at - 1 / 12, at + 1 / 12], 1)}

    truth = detector(contract.origin(scene))
    found = orbits(detector, scene, contract, elements=grid, metric="iou", truth=truth)
    assert found.values.shape == (3, 7, 7)
    assert found.values.min() == pytest.approx(1)
    rim = orbits(
        lambda x: {"box": detector(x)["box"] * (x[:, :2].sum((1, 2)) == 0).double()[:, None]}, scene, contract, elements=grid,
        metric="iou",
    )  # fmt: skip
    assert rim.reference == "consensus"
    with pytest.raises(InputError, match="leaves the scene"):
        orbits(detector, scene, contract, elements=translations(T(2), [-5, 0, 5], 12), metric="iou", truth=truth)
    with pytest.raises(InputError, match="whole pixels"):
        orbits(detector, scene, contract, elements=translations(T(2), [0.5], 12), metric="iou", truth=truth)


def test_boxes_turn_to_their_bounding_box_and_say_that_this_loses():
    box = torch.tensor([[-0.5, -0.1, 0.5, 0.1]], dtype=torch.float64)
    quarter = Box().move(C(4), C(4).elements()[1:2], box, {})
    assert torch.allclose(quarter, torch.tensor([[-0.1, -0.5, 0.1, 0.5]]).double())
    assert Box().floor(C(4), C(4).elements(), box).max() == 0
    assert Box().floor(C(8), C(8).elements()[1:2], box).item() > 0.1


def test_a_flow_pair_has_sixteen_transformations(generator):
    frames = torch.rand(4, 2, 10, 10, generator=generator, dtype=torch.float64)
    contract = Contract(D(4) * Reversal(), Field(("B",), Frames()), "B x vector_image")

    def flow(x):
        total = x.sum(1)
        dx = total.roll(-1, -1) - total.roll(1, -1)
        dy = total.roll(1, -2) - total.roll(-1, -2)
        return torch.stack([dx, dy], 1) * (x[:, 1] - x[:, 0]).unsqueeze(1)

    found = orbits(flow, frames, contract, metric="end_point_error")
    assert found.values.shape == (4, 8, 2)
    assert found.flat.max() < 1e-12
    still = orbits(lambda x: flow(x).abs(), frames, contract, metric="end_point_error")
    assert still.flat.max() > 0.01
    assert still.plot().axes


def test_rotations_of_space_by_axis_and_angle():
    grid = rotations_of_space()
    assert len(grid) == 576
    assert grid.shape == (3, 12, 16)
    assert grid.identity == 0
    assert torch.allclose(grid.vectors.norm(dim=1).max(), torch.tensor(math.pi).double())


def test_scales_and_products():
    assert scales(Scale(2)).axes[0].coordinates[0] == pytest.approx(0.3)
    assert scales(Scale(2)).axes[0].coordinates[-1] == 1
    grid = product_grid([grid_of(C(4)), grid_of(D(2))])
    assert grid.shape == (4, 4)
    assert grid.identity == 0
    assert len(grid) == 16


# ---------------------------------------------------------------------- memory, cache, disk, pictures


def test_streaming_gives_the_same_values(pictures, labels, net):
    whole = orbits(net, pictures, CLASSES, truth=labels)
    streamed = orbits(net, pictures, CLASSES, truth=labels, memory=20_000, batch=2)
    assert whole.predictions is not None
    assert streamed.predictions is None
    assert np.allclose(streamed.values, whole.values, atol=1e-12)
    with pytest.raises(InputError, match="MiB, the budget is"):
        orbits(net, pictures, CLASSES, truth=labels, memory=2_000)
    with pytest.raises(InputError, match="leave keep out"):
        orbits(net, pictures, CLASSES, truth=labels, memory=20_000, keep=True)


def test_a_second_run_is_read_from_the_cache(pictures, labels, net, tmp_path):
    first = orbits(net, pictures, CLASSES, truth=labels, cache=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = orbits(net, pictures, CLASSES, truth=labels, cache=tmp_path)
    assert np.array_equal(first.values, second.values)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with torch.no_grad():
        net[0].weight += 0.1
    third = orbits(net, pictures, CLASSES, truth=labels, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(stamps)
    assert not np.array_equal(first.values, third.values)
    with pytest.raises(InputError, match="no weights"):
        orbits(constant, pictures, CLASSES, truth=labels, cache=tmp_path)


def test_a_finding_comes_back_from_disk(pictures, labels, net, tmp_path):
    found = orbits(net, pictures, CLASSES, truth=labels)
    again = OrbitResult.load(found.save(tmp_path / "orbit.npz"))
    assert np.array_equal(again.values, found.values)
    assert again.numbers() == found.numbers()
    with np.load(tmp_path / "orbit.npz", allow_pickle=False) as stored:  # what the report reads
        assert {"values", "angles", "classes", "labels"} <= set(stored.files)


@pytest.mark.parametrize("how", ["pca", "ica", "isomap", "tsne"])
def test_overviews(how, pictures, labels, net):
    pytest.importorskip("sklearn")
    found = orbits(net, pictures, CLASSES, truth=labels, samples=8)
    assert found.embedding(how).shape == (6, 2)


def test_umap_is_optional(pictures, labels, net):
    if importlib.util.find_spec("umap"):
        pytest.skip("umap-learn is installed")
    with pytest.raises(MissingExtra, match="pip install umap-learn"):
        orbits(net, pictures, CLASSES, truth=labels, samples=8).embedding("umap")


def test_every_grid_has_its_picture(pictures, labels, net, generator):
    found = orbits(net, pictures, CLASSES, truth=labels)
    assert found.plot().axes[0].name == "polar"
    assert found.plot(1).axes
    assert found.plot(name="a", others={"b": found}).axes
    assert found.plot_embedding().axes
    cloud = torch.randn(3, 5, 3, generator=generator, dtype=torch.float64)
    f = lambda x: x[..., 0].mean(-1)  # noqa: E731
    assert len(orbits(f, cloud, Contract(SO(3), "B x N x vector", "B x scalar")).plot().axes) == 4
    assert orbits(f, cloud, Contract(Scale(3), "B x N x vector", "B x scalar")).plot().axes
    assert orbits(f, cloud, Contract(S("N"), "B x N x vector", "B x scalar"), samples=10).plot().axes
    with pytest.raises(InputError, match="another grid"):
        found.plot(others={"b": orbits(net, pictures, CLASSES, truth=labels, samples=8)})


# ---------------------------------------------------------------------- bad input


def test_bad_input_is_named(pictures, labels, net, generator):
    with pytest.raises(ContractError, match="declared"):
        orbits(net, pictures, Contract(SO(2), "B x 1 x image", "B x scalar"), truth=labels)
    with pytest.raises(InputError, match="orbit is empty"):
        orbits(net, pictures, CLASSES, truth=labels, elements=SO(2).grid(4)[:0])
    with pytest.raises(ContractError, match="plane"):
        orbits(net, pictures, Contract(SO(3), "B x 1 x image", "B x 3 x scalar"), truth=labels)
    with pytest.raises(InputError, match="one number per sample"):
        orbits(net, pictures, CLASSES, truth=labels, metric=lambda y, t: y)
    with pytest.raises(InputError, match="NaN"):
        orbits(net, pictures, CLASSES, truth=labels, metric=lambda y, t: y[:, 0] * torch.nan)
    with pytest.raises(InputError, match="no truth"):
        orbits(net, pictures, CLASSES, consensus=False)
    with pytest.raises(InputError, match="classes 0 to 2"):
        orbits(net, pictures, CLASSES, truth=labels + 5)
    with pytest.raises(InputError, match="one label for each"):
        orbits(net, pictures, CLASSES, truth=labels[:3])
    with pytest.raises(InputError, match="did you mean 'probability'"):
        orbits(net, pictures, CLASSES, truth=labels, metric="probabilty")
    found = orbits(net, pictures, CLASSES, samples=8)
    with pytest.raises(InputError, match="need labels"):
        found.aggregate(by_class=True)
    with pytest.raises(InputError, match="samples, got number"):
        found.individual(6)
    with pytest.raises(InputError, match="unknown embedding"):
        found.embedding("pda")
