"""APEN is exact for parts that it is told, finer ones too; not told, for the whole; its partition and bound are honest."""

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.data.articulated import audited, figures
from coset.errors import InputError
from coset.groups.euclidean import SE, E
from coset.groups.permutation import S
from coset.models.points.apen import APEN, VoteLoss, part_centers, purity, with_random_points
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model


@pytest.fixture(scope="module")
def bodies():
    sample = figures(3, 96, 60.0, generator=torch.Generator().manual_seed(0))
    return {name: sample[name].double() if name == "pos" else sample[name] for name in ("pos", "body", "y")}


def build(**options):
    """A small network whose outputs are not drowned in its biases, as they are before training."""
    torch.manual_seed(0)
    model = APEN(6, 4, **{"carried": (3, 4), "variances": (0.002, 0.01, 0.01), "neighbors": 5, **options}).double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(0.1 if name.endswith("bias") else 2.0)
    return model


def named(model, name):
    return next(contract for contract in model.contracts if str(contract) == name)


def one(bodies):
    """A single figure, told."""
    return {"pos": bodies["pos"][0], "part": torch.unique(bodies["body"][0], return_inverse=True)[1]}


@pytest.mark.parametrize("rotation_only", [False, True])
def test_it_keeps_its_promises_on_anything(rotation_only):
    model = build(rotation_only=rotation_only, carried=(3,), variances=(0.002, 0.01))
    group = SE(3) if rotation_only else E(3)
    assert {contract.group for contract in model.contracts} == {group ** "K", group, S("N")}
    assert max(error for name, error in check(model).errors.items() if "not told" not in name) < 1e-10


def test_told_the_parts_it_is_exact_and_told_finer_ones_too(bodies):
    model = build()
    contract = named(model, 'E(3) ** "K"')
    assert assert_equivariant(model, contract, one(bodies), samples=4).error < 1e-9

    class Finer(nn.Module):
        def forward(self, pos, part):
            return model(pos, part=2 * part + torch.arange(len(part)) % 2)

    assert assert_equivariant(Finer(), contract, one(bodies), samples=4).error < 1e-9


def test_told_coarser_parts_it_is_broken(bodies):
    model = build()
    contract = named(model, 'E(3) ** "K"')

    class Coarser(nn.Module):
        def forward(self, pos, part):
            return model(pos, part=part.clamp(min=1) - 1)

    assert_equivariant(Coarser(), Contract(contract.group, contract.inputs, contract.outputs, "broken", 1e-2), one(bodies), 4)


@pytest.mark.parametrize("name", ["E(3)", 'S("N")'])
def test_not_told_it_is_exact_for_the_whole(name, bodies):
    model = build()
    assert assert_equivariant(model, named(model, name), {"pos": bodies["pos"]}, samples=4).error < 1e-9


class Tilted(APEN):
    """A twin whose first groups know a direction."""

    def _first(self, x):
        return super()._first(x * torch.tensor([1.0, 1.0, 0.2]).to(x))


def test_a_twin_is_caught(bodies):
    torch.manual_seed(0)
    model = Tilted(6, 4, carried=(3,), variances=(0.002, 0.01)).double()
    with pytest.raises(Broken, match=r"E\(3\)"):
        assert_equivariant(model, named(model, "E(3)"), {"pos": bodies["pos"]}, samples=4)


def test_not_told_it_says_how_wrong_it_may_be(bodies):
    model, sample = build(), audited({**bodies, "normal": bodies["pos"]}, 2)
    del sample["normal"]
    contract = model.contracts[-1]
    assert contract.claim == "approximate"
    error = assert_equivariant(model, contract, sample, samples=3).error
    assert error > 1e-3
    found = model.bound(bodies["pos"][:2], bodies["body"][:2])
    assert found.uncertainty.shape == found.straddling.shape == (2, 3)
    assert bool((found.total > 0).all())
    generous = model.promise(2 * error / float(found.total.max()), found)
    assert_equivariant(model, generous, sample, samples=3)
    with pytest.raises(Broken, match="relative error"):
        assert_equivariant(model, model.promise(0.5 * error / float(found.total.max()), found), sample, samples=3)


def test_outputs_and_their_certificate(bodies):
    model = build()
    y = model(bodies["pos"], body=bodies["body"])
    assert y["seg"].shape == (3, 96, 6)
    assert y["votes"].shape == (2, 3, 96, 3)
    assert torch.equal(y["votes"][-1], y["vote"])
    assert y["group"].shape == (3, 3, 96)
    for name in ("uncertainty", "entropy", "straddling", "impurity"):
        assert y[name].shape == (3, 3)
        assert bool((y[name] >= 0).all())
    assert bool((y["impurity"] <= y["straddling"]).all())
    told = model(bodies["pos"], part=bodies["body"], body=bodies["body"])
    for name in ("uncertainty", "entropy", "straddling", "impurity"):
        assert told[name].abs().max() == 0
    lone = model(bodies["pos"][1], body=bodies["body"][1])
    for name, value in lone.items():
        assert torch.allclose(value, y[name][:, 1] if name in ("votes", "group") else y[name][1]), name


def test_the_first_groups_are_cells_about_farthest_points(bodies):
    group = build(groups=10)(bodies["pos"])["group"][0]
    assert all(len(part.unique()) == 10 for part in group)
    center = torch.stack([bodies["pos"][0][group[0] == k].mean(0) for k in range(10)])
    nearest = torch.cdist(bodies["pos"][0], center).argmin(1)
    assert (nearest == group[0]).double().mean() > 0.8


def test_normals_and_neighbors_and_earlier_layers_matter(bodies):
    model = build(normals=True)
    normal = nn.functional.normalize(bodies["pos"] + 1, dim=-1)
    y = model(bodies["pos"], normal=normal)["seg"]
    assert (model(bodies["pos"], normal=normal.flip(1))["seg"] - y).abs().max() > 1e-6
    assert torch.allclose(model(bodies["pos"], normal=3 * normal)["seg"], y)
    with pytest.warns(UserWarning, match="unit length"):
        model.train()(bodies["pos"], normal=3 * normal)
    model.eval()
    contract = named(model, 'E(3) ** "K"')
    sample = {**one(bodies), "normal": normal[0]}
    assert assert_equivariant(model, contract, sample, samples=4).error < 1e-9


def test_training_draws_memberships_and_reaches_every_weight(bodies):
    model = build(draw=1).train()
    torch.manual_seed(0)
    loss = VoteLoss()(model, bodies)["loss"]
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert sum(float(p.grad.abs().sum() > 0) for p in model.parameters()) == len(list(model.parameters()))
    other = VoteLoss()(model, bodies)["loss"]
    assert loss != other


def test_votes_feel_the_partition_that_they_make(bodies):
    """The mixture hands a gradient from a later layer to the votes of an earlier one."""
    model = build().train()
    torch.manual_seed(0)
    y = model(bodies["pos"])
    head = model.blocks[0].model.head[-1]
    (slope,) = torch.autograd.grad(y["seg"].square().sum(), head.weight)
    scalars, vote = slope[:3], slope[3:6]
    assert scalars.abs().max() > 0
    assert vote.abs().max() > 0
    model.eval()
    (still,) = torch.autograd.grad(model(bodies["pos"])["seg"].square().sum(), head.weight)
    assert still[3:6].abs().max() == 0


def test_memberships_do_not_change_when_all_votes_move_together(bodies):
    """The mixture moves along: the implicit gradient of its means cancels that of the votes."""
    model = build(steps=400, groups=6).train()
    votes = bodies["pos"].clone().requires_grad_(True)
    torch.manual_seed(0)
    weight = model._regroup(votes, 0.1, 1).weight
    weigh = torch.linspace(-1, 1, weight.numel(), dtype=torch.float64).view_as(weight)
    (slope,) = torch.autograd.grad((weigh * weight).sum(), votes)
    assert slope.abs().max() > 1e-3
    assert slope.sum(1).abs().max() < 1e-6


def test_the_loss_is_votes_and_labels(bodies):
    centers = part_centers(bodies["pos"], bodies["body"])
    for b in range(3):
        for k in bodies["body"][b].unique():
            mine = bodies["body"][b] == k
            assert torch.allclose(centers[b][mine], bodies["pos"][b][mine].mean(0).expand(int(mine.sum()), 3))

    def perfect(pos, part=None):
        logits = 50 * nn.functional.one_hot(bodies["y"], 6).double()
        return {"seg": logits, "votes": centers.unsqueeze(0) + (0.1 if part is None else 0.0)}

    assert abs(float(VoteLoss()(perfect, bodies)["loss"]) - 0.03) < 1e-9
    assert float(VoteLoss(told="part")(perfect, bodies)["loss"]) < 1e-9


def test_points_are_noisy_in_training_only(bodies):
    seen = []

    def model(pos):
        seen.append(pos - bodies["pos"])
        return {"seg": torch.zeros(3, 96, 6, dtype=torch.float64)}

    for training in (False, True):
        model.training = training
        VoteLoss(noise=0.02)(model, bodies)
    assert seen[0].abs().max() == 0
    assert 0.018 < seen[1].std() < 0.022


def test_purity_by_hand():
    group = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 3, 3, 3, 3]])
    body = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]])
    share, mixed = purity(group, body)
    assert share.tolist() == [7 / 8, 1.0]
    assert mixed.tolist() == [3 / 8, 0.0]


def test_random_centers_keep_their_distance(generator):
    x = torch.rand(2, 300, 3, generator=generator)
    torch.manual_seed(0)
    index = with_random_points(x, torch.zeros(2, 1, dtype=torch.long), 12, 0.2)
    assert index.shape == (2, 13)
    for b in range(2):
        apart = torch.cdist(x[b][index[b]], x[b][index[b]]) + 9 * torch.eye(13)
        assert apart.min() > 0.2
    assert len(with_random_points(x[:1], index[:1, :1], 20, 9.0)[0].unique()) == 21


def test_saved_and_loaded(bodies, tmp_path):
    model = build(groups=12, draw=2)
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    assert torch.equal(again(bodies["pos"])["seg"], model(bodies["pos"])["seg"])


def test_bad_input_is_refused(bodies):
    pos, body = bodies["pos"], bodies["body"]
    with pytest.raises(InputError, match="120 groups need"):
        build(groups=120)(pos)
    with pytest.raises(InputError, match="NaN"):
        build()(pos * torch.nan)
    with pytest.raises(InputError, match="negative labels"):
        build()(pos, part=body - 1)
    with pytest.raises(InputError, match="integers"):
        build()(pos, body=body[:, :5])
    with pytest.raises(InputError, match="normals are missing"):
        build(normals=True)(pos)
    with pytest.raises(InputError, match="normals are given"):
        build()(pos, normal=pos)
    with pytest.raises(InputError, match="normals have the shape"):
        build(normals=True)(pos, normal=pos[:, :5])
    with pytest.raises(InputError, match="clouds are"):
        build()(pos[..., :2])
    with pytest.raises(InputError, match="variances one more"):
        APEN(variances=(0.1,))
    with pytest.raises(InputError, match="seg_weight"):
        VoteLoss(0.0)
