"""GeoTDM keeps its promises path by path, its prior passes translations through, its samples stay on their subspace."""

import math

import pytest
import torch

from coset.contract import Contract
from coset.data.trajectories import System
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.models.generate.geotdm import PRIORS, CoordinateTDM, GeoTDM, LearnedPrior
from coset.nn.egtn import EGTN
from coset.objectives.denoise import Denoise, Denoiser, bound
from coset.testing import Broken, assert_equivariant, check
from coset.train.checkpoint import load_model, save_model

FUTURE = 4


def scenes(prior="learned", count=6, bodies=3):
    past = 0 if prior == "none" else 3
    drawn = System("springs", bodies, past, FUTURE, 0.02).sample(
        count, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return drawn.collate(drawn.scenes)


def trained(kind=GeoTDM, prior="learned", steps=5, **how):
    """A small model after a few steps: positions move, and its sampler no longer explodes."""
    torch.manual_seed(0)
    model = kind(FUTURE, edge_features=1, hidden=8, layers=1, prior=prior, steps=steps, unit=0.3, **how).double()
    optimizer, objective, batch = torch.optim.Adam(model.parameters(), 3e-3), Denoise(), scenes(prior, 16)
    for _ in range(25):
        optimizer.zero_grad()
        objective(model, batch)["loss"].backward()
        optimizer.step()
    return model


MODELS = {}


def model_of(prior):
    if prior not in MODELS:
        MODELS[prior] = trained(prior=prior)
    return MODELS[prior]


def path(prior="learned", steps=5, count=2):
    """A sample for the contracts: the whole path's noise, two graphs."""
    batch = scenes(prior, count)
    x = batch.pop("x")
    noise = torch.randn(steps, *x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return {"noise": noise, **batch}


# ---------------------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("prior", PRIORS)
def test_whole_paths_are_equivariant(prior):
    model = model_of(prior)
    wanted = O(3) if prior == "none" else E(3)
    assert {contract.group for contract in model.contracts} == {wanted, S("N")}
    assert max(check(model, path(prior)).errors.values()) < 1e-10


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", [GeoTDM, CoordinateTDM])
@pytest.mark.parametrize("space", [2, 3])
def test_fresh_models_pass_on_random_input(prior, kind, space):
    torch.manual_seed(0)
    check(kind(FUTURE, 2, edge_features=1, hidden=8, layers=1, prior=prior, steps=10, space=space))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-8), (torch.float32, 1e-3)], ids=["float64", "float32"])
def test_the_whole_path_of_a_hundred_steps(dtype, limit):
    model, x = trained(steps=100), path(steps=100)
    contract, g = model.contracts[0], E(3).sample(1, generator=torch.Generator().manual_seed(0))[0].double()
    pair = [{k: v.to(dtype) if v.is_floating_point() else v for k, v in part.items()} for part in (x, contract.act(g, x))]
    with torch.no_grad():
        y, gy = (model.to(dtype)(**part).double() for part in pair)
    assert (gy - contract.act(g, y, on="outputs")).abs().max() < limit


class OwnNoise(GeoTDM):
    """A broken twin: its noise does not turn along."""

    def forward(self, noise, **given):
        still = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0), dtype=noise.dtype)
        return super().forward(still, **given)


class Unsubtracted(GeoTDM):
    """A broken twin: the reference is added behind the network though it was not put in before it."""

    def noise(self, y, center, level, given):
        return self.project(self.predict(self.unit * y, level, given), given)


class FrameByFrame(GeoTDM):
    """A broken twin: every frame for itself has zero mean."""

    def project(self, x, given):
        return super().project(x - x.mean(0, keepdim=True), given)


@pytest.mark.parametrize("twin", [OwnNoise, Unsubtracted])
def test_broken_twins_are_caught(twin):
    model = trained(twin)
    with pytest.raises(Broken, match=r"does not keep its contract E\(3\)"):
        assert_equivariant(model, model.contracts[0], path(), samples=2)
    with pytest.raises(Broken):
        check(model, path())


def test_projection_frame_by_frame_is_seen_by_the_motion_of_the_center():
    # it is as equivariant as the right one, so that only the law can tell: the center of mass no longer moves
    batch, x = path("none", count=1), torch.randn(3, FUTURE, 3, generator=torch.Generator().manual_seed(0)).double()
    moves = {}
    for kind in (GeoTDM, FrameByFrame):
        torch.manual_seed(0)
        model = kind(FUTURE, edge_features=1, hidden=8, layers=1, prior="none", steps=40).double()
        moves[kind] = float(model.project(x, batch).mean(0).abs().max())
        rank = sum(float((model.project(e.view_as(x), batch).flatten() * e).sum()) for e in torch.eye(x.numel()).double())
        agrees = round(rank) == int(model.dimension(x, batch))
        assert agrees is (kind is GeoTDM)
    assert moves[GeoTDM] > 0.1
    assert moves[FrameByFrame] < 1e-12


def test_the_unconstrained_copy_is_not_equivariant():
    model = trained(CoordinateTDM)
    assert [contract.group for contract in model.contracts] == [S("N")]
    exact = GeoTDM(FUTURE, edge_features=1, hidden=8, layers=1).contracts[0]
    with pytest.raises(Broken):
        assert_equivariant(model, Contract(E(3), exact.inputs, exact.outputs), path(), samples=4)


# ---------------------------------------------------------------------------------------------------- prior


def test_weights_of_the_prior_sum_to_one(generator):
    prior = LearnedPrior(5, EGTN(1, 8, 1)).double()
    torch.nn.init.normal_(prior.scale)
    weights = prior.weights(torch.randn(7, 6, 8, generator=generator, dtype=torch.float64))
    assert weights.shape == (7, 6, 5)
    assert (weights.sum(1) - 1).abs().max() < 1e-12
    h = torch.randn(2, 6, 8, generator=generator, dtype=torch.float64)
    free = h.mean(-1)[:, :5, None] * prior.scale
    assert torch.allclose(prior.weights(h)[:, :5], free)


def test_the_reference_is_the_weighted_mean_of_moved_frames(generator):
    torch.manual_seed(0)
    prior = LearnedPrior(5, EGTN(1, 8, 1)).double()
    h, cond = (torch.randn(4, 6, n, generator=generator, dtype=torch.float64) for n in (1, 3))
    edges = torch.tensor([[0, 1], [1, 0]])
    out = prior.network(h, cond, edges)
    wanted = torch.einsum("ntf,ntd->nfd", prior.weights(out["h"]), out["x"])
    assert torch.allclose(prior(h, cond, edges, None), wanted, atol=1e-12)


@pytest.mark.parametrize("prior", ["learned", "last", "center"])
def test_references_move_along_with_what_is_given(prior):
    model, given = model_of(prior), path(prior)
    x = given.pop("noise")[0]
    shift = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    with torch.no_grad():
        first, second = (
            model.reference(x, model.prepare(x, {**given, "cond": given["cond"] + move})) for move in (0 * shift, shift)
        )
    assert torch.allclose(second, first + shift, atol=1e-11)
    if prior == "last":
        assert torch.equal(first, given["cond"][:, -1:].expand_as(x))
    if prior == "center":
        assert torch.allclose(first[:3], given["cond"][:3].mean((0, 1)).expand(3, FUTURE, 3))


def test_conditioning_matters_and_frames_behind_are_seen_clean():
    model, x = model_of("learned"), path()
    with torch.no_grad():
        y = model(**x)
        bent = x["cond"].clone()
        bent[0, 0] += 0.5
        assert (model(**{**x, "cond": bent}) - y)[:3].abs().max() > 1e-4
        assert (model(**{**x, "cond": bent}) - y)[3:].abs().max() == 0  # the other graph
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    with torch.no_grad():
        model(**x)
    assert all(torch.equal(whole[:, :3], x["cond"] / model.unit) for whole in seen)
    assert len(seen) == len(x["noise"])
    model.network._forward_pre_hooks.clear()


def test_features_tell_given_frames_from_others_and_how_fast_nodes_are():
    model, x = model_of("learned"), path()
    h = model.prepare(x["noise"][0], x)["h"]
    assert h[..., 1].tolist() == [[1.0] * 3 + [0.0] * FUTURE] * 6
    pace = x["cond"].diff(dim=1).norm(dim=-1) / model.unit
    assert torch.allclose(h[:, 1:3, 2], pace)
    assert torch.equal(h[:, 0, 2], h[:, 1, 2])  # nothing is known of the time before
    assert torch.equal(h[:, 3:, 2], h[:, 2:3, 2].expand(-1, FUTURE))


def test_one_given_frame_is_enough():
    model, x = model_of("learned"), path()
    assert_equivariant(model, model.contracts[0], {**x, "cond": x["cond"][:, :1]}, samples=2)


# ---------------------------------------------------------------------------------------------------- law


def test_unconditional_samples_are_mean_free():
    x = path("none")
    with torch.no_grad():
        drawn = model_of("none")(**x)
    for graph in (0, 1):
        assert drawn[x["batch"] == graph].mean((0, 1)).abs().max() < 1e-12
        assert drawn[x["batch"] == graph].mean(0).abs().max() > 1e-3


def test_dimensions_of_the_subspaces():
    x = torch.zeros(6, FUTURE, 3, dtype=torch.float64)
    for prior, wanted in (("none", 3 * (3 * FUTURE - 1)), ("learned", 9 * FUTURE)):
        assert model_of(prior).dimension(x, {"batch": torch.tensor([0, 0, 0, 1, 1, 1])}).tolist() == [wanted] * 2


@pytest.mark.parametrize("prior", ["none", "learned"])
def test_training_lowers_the_bound(prior):
    batch = scenes(prior)
    x = batch.pop("x")
    torch.manual_seed(0)
    fresh = GeoTDM(FUTURE, edge_features=1, hidden=8, layers=1, prior=prior, steps=5, unit=0.3).double()
    with torch.no_grad():
        before, after = (
            bound(model, x, batch, generator=torch.Generator().manual_seed(0)).mean() for model in (fresh, model_of(prior))
        )
    assert math.isfinite(after)
    assert after < before


def test_sampling_side_by_side_is_sampling_one_by_one():
    model, given = model_of("learned"), path()
    given.pop("noise")
    drawn = model.sample(given, 3, steps=4, generator=torch.Generator().manual_seed(5))
    again = model.sample(given, 3, steps=4, generator=torch.Generator().manual_seed(5))
    assert drawn.shape == (3, 6, FUTURE, 3)
    assert torch.equal(drawn, again)
    noise = torch.randn(3, 4, 6, FUTURE, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        one_by_one = torch.stack([model(slices, **given) for slices in noise])
    assert torch.allclose(drawn, one_by_one, atol=1e-10)
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3


@pytest.mark.parametrize("prior", PRIORS)
def test_lengths_are_measured_in_the_unit(prior):
    model, x = model_of(prior), path(prior)
    other = GeoTDM(**{**model.config, "unit": 7 * model.unit}).double()
    other.load_state_dict(model.state_dict())
    larger = {**x, "cond": 7 * x["cond"]} if "cond" in x else x
    with torch.no_grad():
        assert torch.allclose(other(**larger), 7 * model(**x), atol=1e-10)


def test_loops_are_left_out():
    model, x = model_of("learned"), path()
    loops = torch.arange(6).expand(2, 6)
    more = {
        **x,
        "edge_index": torch.cat([x["edge_index"], loops], 1),
        "edge_attr": torch.cat([x["edge_attr"], torch.ones(6, 1)]),
    }
    with torch.no_grad():
        assert torch.equal(model(**x), model(**more))


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model, x = trained(variance="ddim"), path()
    save_model(tmp_path, model)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(**x), model(**x))


# ---------------------------------------------------------------------------------------------------- bad input


def test_bad_sizes_are_refused():
    for kwargs, match in (
        ({"future": 0}, "future frame"),
        ({"features": 0}, "1 feature"),
        ({"prior": "lerned"}, "did you mean 'learned'"),
        ({"variance": "big"}, "variance"),
        ({"unit": 0.0}, "length above 0"),
        ({"schedule": "quadratic"}, "schedule"),
    ):
        with pytest.raises(InputError, match=match):
            GeoTDM(**{"hidden": 4, "layers": 1, **kwargs})


def test_bad_trajectories_are_refused():
    model, x = model_of("learned"), path()
    wrong = {
        r"made for 4 frames.*future=5": {"noise": torch.zeros(2, 6, 5, 3).double()},
        "at least one frame": {"cond": x["cond"][:, :0]},
        "N is 6": {"cond": x["cond"][:5]},
        "NaN or infinite": {"cond": x["cond"] * math.nan},
        "1 to 5 steps": {"noise": torch.zeros(6, 6, 4, 3).double()},
    }
    for match, change in wrong.items():
        with pytest.raises(InputError, match=match):
            model(**{**x, **change})
    with pytest.raises(InputError, match="cond is missing"):
        model(**{name: value for name, value in x.items() if name != "cond"})
    with pytest.raises(InputError, match="cond is given"):
        model_of("none")(**x)
    with pytest.raises(InputError, match="NaN or infinite"):
        Denoise()(model, {**{k: v for k, v in x.items() if k != "noise"}, "x": x["noise"][0] / 0})


def test_a_lone_point_has_no_mean_free_law():
    model = GeoTDM(1, hidden=4, layers=1, prior="none")
    one = {"h": torch.ones(3, 1), "edge_index": torch.zeros(2, 0, dtype=torch.int64), "batch": torch.tensor([0, 0, 1])}
    with pytest.raises(InputError, match="one node in one frame"):
        model(torch.zeros(2, 3, 1, 3), **one)


def test_the_engine_wants_a_prediction():
    with pytest.raises(TypeError, match="predict"):
        Denoiser()
