"""Canonical poses: invariant coordinates, signs that are decided or averaged, outputs that move back."""

import itertools
import math

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, T
from coset.groups.finite import C
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.symmetrizers.canonical import MDS, Canonicalize, Canonicalizer, PrincipalAxis, SignedFrame
from coset.symmetrizers.learned import Learned
from coset.symmetrizers.local_frames import LocalFrameAverage, local_frames, neighborhoods
from coset.symmetrizers.mds import mds, mds_of_distances, sign_rule
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model

CUBE = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
BOX = CUBE * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def drawn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pairs(x):
    return (x.unsqueeze(-2) - x.unsqueeze(-3)).norm(dim=-1)


def model(x):
    return torch.tanh(x + 0.1 * torch.arange(x.shape[-1]).to(x)).cumsum(-2)[:, -1]


# ---------------------------------------------------------------------- coordinates


@pytest.mark.parametrize("rule", ["moment", "maxabs"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_coordinates_are_invariant_and_keep_distances(rule, dtype, bound):
    x = drawn(64, 64, 3, dtype=dtype)
    z = mds(x, rule=rule)
    scale = x.square().sum(-1).mean().sqrt()
    group = E(3)
    for g in group.sample(4, generator=torch.Generator().manual_seed(0)):
        moved = x @ group.linear(g).mT.to(x) + group.shift(g).to(x)
        assert (mds(moved, rule=rule).Z - z.Z).abs().max() / scale <= bound
    assert (pairs(z.Z) - pairs(x)).abs().max() <= (1e-7 if dtype == torch.float64 else 1e-5 * float(pairs(x).max()))
    assert z.stress.max() == 0
    assert not z.tied.any()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mds(x[:, order], rule=rule).Z, z.Z[:, order], atol=bound, rtol=0)


def test_points_and_their_distances_give_the_same_coordinates():
    x = drawn(5, 12, 3)
    of_points, of_distances = mds(x), mds_of_distances(pairs(x), 3, exact=True)
    torch.testing.assert_close(of_points.Z, of_distances.Z, atol=1e-7, rtol=0)
    assert of_distances.stress.max() < 1e-7
    mask = torch.arange(12) < torch.tensor([[12], [9], [7], [12], [5]])
    torch.testing.assert_close(mds(x, mask=mask).Z, mds_of_distances(pairs(x), 3, mask=mask).Z, atol=1e-7, rtol=0)


def test_fewer_coordinates_and_distances_of_no_euclidean_space_cost_stress():
    x = drawn(2, 12, 3)
    assert mds(x, 2).Z.shape == (2, 12, 2)
    torch.testing.assert_close(mds(x, 2).stress, mds_of_distances(pairs(x), 2).stress, atol=1e-7, rtol=0)
    star = torch.tensor([[0.0, 1, 1, 1], [1, 0, 2, 2], [1, 2, 0, 2], [1, 2, 2, 0]], dtype=torch.float64)  # a tree is not flat
    assert mds_of_distances(star, 3).stress > 0.05
    with pytest.raises(InputError, match="do not fit into 3 dimensions"):
        mds_of_distances(star, 3, exact=True)


def test_scale_is_taken_out_on_request():
    x = drawn(4, 20, 3)
    torch.testing.assert_close(mds(7 * x, scale=True).Z, mds(x, scale=True).Z)
    torch.testing.assert_close(mds(x, scale=True).Z.square().sum(-1).mean(-1), torch.ones(4, dtype=torch.float64))


def test_sign_rules_turn_with_their_axis_and_see_ties():
    z = drawn(6, 30, 2)
    w = torch.ones(6, 30)
    for rule in ("moment", "maxabs"):
        sign, tied = sign_rule(z, w, rule=rule)
        assert torch.equal(sign_rule(-z, w, rule=rule)[0], -sign)
        assert not tied.any()
        assert sign_rule(torch.cat([z, -z], 1), torch.ones(6, 60), rule=rule, tol=1e-9)[1].all()
    odd = torch.tensor([[-1.0, -1, -1, 0, 3], [-2.0, 0, 0, 0, 2]], dtype=torch.float64).unsqueeze(-1)
    assert sign_rule(odd, torch.ones(2, 5))[0].flatten().tolist() == [1.0, 1.0]
    # third moment zero, fifth not: -a^3 - b^3 + c^3 = 0 for 3, 4, 5 -> 6^3
    fermat = torch.tensor([[-3.0], [-4.0], [-5.0], [6.0]], dtype=torch.float64)
    sign, tied = sign_rule(fermat, torch.ones(4))
    assert (sign.item(), tied.item()) == (1.0, False)


# ---------------------------------------------------------------------- wrappers


@pytest.mark.parametrize("sign", ["moment", "maxabs", "average", "augment"])
@pytest.mark.parametrize("kind", [O, SO, E, SE, T])
def test_canonicalized_models_are_equivariant(kind, sign):
    def phi(x, v):
        h = torch.tanh(x + 0.3) * v.mean(-2, keepdim=True) + v
        return {"e": h.sum((-2, -1)), "f": h, "p": x + h}

    contract = Contract(
        kind(3),
        {"x": "B x N x position", "v": "B x N x vector"},
        {"e": "B x scalar", "f": "B x N x vector", "p": "B x N x position"},
    )
    f = Canonicalize(phi, contract, canonicalizer=MDS(sign=sign)).eval()
    x = {"x": drawn(16, 9, 3), "v": drawn(16, 9, 3, seed=2)}
    found = assert_equivariant(f, f.contracts[0], x, samples=4)
    assert found.error <= 1e-11


def test_a_box_of_tied_signs_falls_back_to_the_average_and_is_counted():
    contract = Contract(E(3), "B x N x position", "B x 3 x scalar")
    x = torch.stack([BOX, drawn(8, 3)])
    f = Canonicalize(model, contract)
    assert assert_equivariant(f, f.contracts[0], x, samples=8).error <= 1e-10
    f.seen.samples = f.seen.tied = 0
    f(x)
    assert (f.seen.samples, f.seen.degenerate, f.seen.tied) == (2, 0, 1)
    whole = Canonicalize(model, contract, canonicalizer=MDS(sign="average"))
    torch.testing.assert_close(f(x)[0], whole(x)[0])
    bare = Canonicalize(model, contract, canonicalizer=MDS(fallback=False))
    assert bare.contracts[0].where(x).tolist() == [False, True]


def test_tied_members_of_a_ragged_batch_get_their_own_weights():
    x = torch.stack([BOX, drawn(8, 3)])
    dense = Canonicalize(lambda x: torch.tanh(x + 0.3), Contract(O(3), "B x N x vector", "B x N x vector"))
    fields = {"x": "N x vector", "batch": "N -> B"}
    ragged = Canonicalize(lambda x, batch: torch.tanh(x + 0.3), Contract(O(3), fields, "N x vector"))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    got = ragged(x=x.flatten(0, 1)[order], batch=torch.arange(2).repeat_interleave(8)[order])
    torch.testing.assert_close(got, dense(x).flatten(0, 1)[order])


def test_a_cube_is_reported():
    contract = Contract(E(3), "B x N x position", "B x 3 x scalar")
    f = Canonicalize(model, contract, canonicalizer=MDS(sign="average"))
    with pytest.warns(UserWarning, match="equal principal moments"):
        f(CUBE.unsqueeze(0))
    assert f.seen.degenerate == 1
    assert f.contracts[0].where(CUBE.unsqueeze(0)).tolist() == [False]
    with pytest.raises(InputError, match="equal principal moments"):
        Canonicalize(model, contract, canonicalizer=MDS(policy="raise"))(CUBE.unsqueeze(0))


def test_chirality_is_kept_by_rotations_and_lost_by_reflections():
    x = drawn(3, 7, 3)
    mirrored = x * torch.tensor([1.0, 1.0, -1.0])
    fields = "B x N x position", "B x 3 x scalar"
    same = Canonicalize(model, Contract(E(3), *fields))
    torch.testing.assert_close(same(x), same(mirrored))
    told = Canonicalize(model, Contract(SE(3), *fields))
    assert (told(x) - told(mirrored)).abs().max() > 1e-2


def test_the_canonicalizer_returns_the_pose_and_the_way_back():
    contract = Contract(SE(3), "B x N x position", "B x N x position")
    x = drawn(4, 6, 3)
    still, g = MDS()(x, contract)
    assert g.shape == (4, 4, 4)
    torch.testing.assert_close(still @ g[:, :3, :3].mT + g[:, None, :3, 3], x)
    torch.testing.assert_close(still[:, :, :2], mds(x).Z[:, :, :2])
    lone, h = MDS()(x[0], Contract(SE(3), "N x position", "scalar"))
    assert h.shape == (4, 4)
    torch.testing.assert_close(lone, still[0])
    torch.testing.assert_close(Canonicalize(lambda x: x, contract).canonical(x)[0], still)


def test_random_signs_in_training_only():
    contract = Contract(O(3), "B x N x vector", "B x 3 x scalar")
    f, x = Canonicalize(model, contract, canonicalizer=MDS(sign="augment")), drawn(40, 5, 3)
    f.train()
    assert not torch.equal(f(x), f(x))
    f.eval()
    assert torch.equal(f(x), f(x))
    average = Canonicalize(model, contract, canonicalizer=MDS(sign="average"))
    torch.testing.assert_close(f(x), average(x))


def test_scale_beside_motions():
    f = Canonicalize(model, Contract(E(3), "B x N x position", "B x 3 x scalar"), canonicalizer=MDS(scale=True))
    x = drawn(4, 6, 3)
    torch.testing.assert_close(f(x), f(5 * x))
    assert str(f.contracts[0].group) == "E(3) * Scale(3)"


# ---------------------------------------------------------------------- images


def comma(size=28, dtype=torch.float64):
    """A smooth stroke, thicker at one end, off the center."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size, dtype=dtype)] * 2, indexing="ij")
    body = torch.exp(-((x - 0.05) ** 2) / 0.08 - (y - 0.1 - 0.3 * x**2) ** 2 / 0.01)
    return (body + 0.8 * torch.exp(-((x - 0.35) ** 2 + (y - 0.1) ** 2) / 0.02))[None, None]


def test_images_turn_upright_by_one_resampling():
    contract = Contract(SO(2), "image", "scalar")
    image, canonical = comma(), PrincipalAxis()
    first, g = canonical(image, contract)
    assert g.shape == (1, 2, 2)
    for angle in (math.pi / 2, math.pi, -math.pi / 2):
        turn = SO(2).from_angle(torch.tensor(angle, dtype=torch.float64))
        again, h = canonical(contract.act(turn, image), contract)
        torch.testing.assert_close(again, first, atol=1e-9, rtol=0)
        torch.testing.assert_close(h[0], turn @ g[0], atol=1e-9, rtol=0)
    turn = SO(2).from_angle(torch.tensor(0.6, dtype=torch.float64))
    again, h = canonical(contract.act(turn, image), contract)
    assert (again - first).norm() / first.norm() < 0.15
    assert (h[0] - turn @ g[0]).abs().max() < 0.02


def test_image_networks_behind_the_principal_axis():
    conv = nn.Conv2d(1, 2, 3, padding=1).double()
    image = torch.cat([comma(), comma().flip(-1) + 0.3 * comma().mT])
    f = Canonicalize(conv, Contract(SO(2), "image", "image"))
    quarter = Contract(C(4), "image", "image")
    assert [(str(c.group), c.claim) for c in f.contracts] == [("C(4)", "exact"), ("SO(2)", "approximate")]
    assert f.contracts[0].where(image).all()
    check(f, image)
    with pytest.raises(Broken):
        assert_equivariant(conv, quarter, image, samples=4)
    moved = torch.roll(comma(), (3, -4), (-2, -1))
    g = Canonicalize(lambda x: x.flatten(1), Contract(SE(2), "image", "scalar"))
    assert (g(moved) - g(comma())).norm() / g(comma()).norm() < 0.02


def test_a_blank_image_is_counted_not_a_crash():
    f = Canonicalize(lambda x: x.flatten(1), Contract(SO(2), "image", "scalar"))
    with pytest.warns(UserWarning, match="equal principal moments"):
        f(torch.cat([comma(), 0 * comma()]))
    assert f.seen.degenerate == 1
    assert torch.isfinite(f(comma())).all()


def test_broken_twin_that_forgets_to_move_the_output_back_is_caught(monkeypatch):
    contract, x = Contract(SE(3), "B x N x position", "B x N x position"), drawn(3, 6, 3)
    f = Canonicalize(lambda x: x + torch.tanh(x + 0.2), contract)
    check(f, x)
    monkeypatch.setattr(Canonicalize, "move_back", lambda self, members, group, g, y, x: y)
    with pytest.raises(Broken):
        check(f, x)


# ---------------------------------------------------------------------- learned, local


def test_a_learned_canonicalizer_is_exact_for_its_group_and_learns_what_is_upright():
    image = torch.cat([comma(12), comma(12).flip(-2) + 0.2 * comma(12).mT])
    contract = Contract(C(4), "image", "scalar")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scorer = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    learned = Learned(scorer, through=True)
    f = Canonicalize(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).double(), contract, canonicalizer=learned)
    check(f, image)
    optimizer = torch.optim.Adam(f.parameters(), lr=0.02)
    before = learned.prior_loss(image, contract).item()
    for _ in range(40):
        optimizer.zero_grad()
        learned.prior_loss(image, contract).backward()
        optimizer.step()
    assert learned.prior_loss(image, contract).item() < 0.1 * before
    assert learned(image, contract)[1].tolist() == [0, 0]  # upright as they are
    turned = contract.act(torch.tensor(1), image)
    assert learned(turned, contract)[1].tolist() == [1, 1]
    optimizer.zero_grad()
    f.train()(image).sum().backward()
    assert scorer[1].weight.grad.abs().max() > 0  # straight through
    assert len([name for name in f.state_dict() if "scorer" in name]) == 4


def test_local_frames_make_a_patch_network_equivariant():
    contract = Contract(SO(3), "B x N x position", "B x N x vector")

    def normal(x):
        return torch.tanh(x + 0.2).mean(1) * torch.tensor([1.0, 2.0, 3.0])

    f = LocalFrameAverage(normal, contract, k=6)
    x = drawn(2, 15, 3)
    assert f(x).shape == (2, 15, 3)
    assert assert_equivariant(f, f.contracts[0], x, samples=6).error <= 1e-11
    moved = x.clone()
    far = neighborhoods(x, 6)[0, 0]
    other = next(i for i in range(15) if i not in far.tolist())
    moved[0, other] += 30
    torch.testing.assert_close(f(moved)[0, 0], f(x)[0, 0])
    V, center, gaps = local_frames(x, 6)
    assert (V.shape, center.shape, gaps.shape) == ((2, 15, 3, 3), (2, 15, 3), (2, 15, 2))
    assert f.contracts[0].where(x).tolist() == [True, True]
    with pytest.raises(InputError, match="1 <= k <= 15"):
        neighborhoods(x, 16)
    with pytest.raises(ContractError, match="fields over"):
        LocalFrameAverage(normal, Contract(SO(3), {"x": "B x N x position", "q": "B x scalar"}, "B x N x vector"))
    with pytest.raises(ContractError, match="B x N x position"):
        LocalFrameAverage(normal, Contract(SO(3), "N x position", "N x vector"))


# ---------------------------------------------------------------------- bad input, files


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mds(drawn(2, 3, 3)), "at least 4 points"),
        (lambda: mds(drawn(2, 9, 3), 4), "1 <= k <= 3"),
        (lambda: mds(drawn(2, 9, 3), mask=torch.arange(9).expand(2, 9) < 3), "fewer than 4 points"),
        (lambda: mds(torch.full((2, 9, 3), torch.nan)), "NaN"),
        (lambda: mds_of_distances(pairs(drawn(5, 3)) - 1, 2), "negative"),
        (lambda: mds_of_distances(pairs(drawn(5, 3)).triu(), 2), "not symmetric"),
        (lambda: mds_of_distances(pairs(drawn(5, 3)) + torch.eye(5), 2), "diagonal"),
        (lambda: mds_of_distances(pairs(drawn(5, 3)) * torch.nan, 2), "NaN"),
        (lambda: mds_of_distances(pairs(drawn(5, 3)), 5), "at least 6 points"),
        (lambda: mds_of_distances(drawn(5, 3), 2), "distance matrices"),
        (lambda: MDS(sign="coin"), "sign is one of"),
        (lambda: sign_rule(drawn(3, 2), torch.ones(3), rule="coin"), "sign rule is one of"),
        (lambda: Canonicalize(model, Contract(E(3), "B x N x position", "B x scalar"), canonicalizer=SignedFrame()), "MDS"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_groups_without_a_standard_pose():
    for contract in (Contract(S("N"), "N x scalar", "scalar"), Contract(C(4), "image", "scalar")):
        with pytest.raises(ContractError):
            Canonicalize(model, contract)


def test_wrappers_are_saved_and_loaded(tmp_path):
    x = drawn(3, 5, 2)
    for canonicalizer in (None, MDS(sign="maxabs", scale=True)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(10, 4)).double()
        f = Canonicalize(net, Contract(E(2), "B x N x position", "B x 4 x scalar"), canonicalizer=canonicalizer)
        save_model(tmp_path, f.eval())
        other = nn.Sequential(nn.Flatten(), nn.Linear(10, 4)).double()
        torch.testing.assert_close(load_model(tmp_path, target=other)(x), f(x))
    assert isinstance(f.canonicalizer, Canonicalizer)
