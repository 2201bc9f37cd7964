"""Principal frames: equivariance where the spectrum is simple, the gap policy elsewhere, and every kind of batch."""

import itertools
import math

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, Scale, T
from coset.groups.finite import Octahedral
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.symmetrizers.frames import FrameAverage, PCAFrame, Source, pca_frame
from coset.testing import Broken, assert_equivariant, check

BOUND = {torch.float64: 1e-12, torch.float32: 1e-5}
INPUTS = {"x": "B x N x position", "v": "B x N x vector"}
OUTPUTS = {"e": "B x 2 x scalar", "f": "B x N x vector", "p": "B x N x position", "t": "B x tensor(2)"}


class Net(nn.Module):
    """Nothing symmetric: numbers in, one output of every kind out; masked points count for nothing."""

    def __init__(self, d=3, dtype=torch.float64, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b = nn.Linear(2 * d, 16, dtype=dtype), nn.Linear(16, 2 + 2 * d, dtype=dtype)
        self.d = d

    def forward(self, x, v, mask=None):
        w = torch.ones_like(x[..., :1]) if mask is None else mask.to(x).unsqueeze(-1)
        h = torch.tanh(self.a(torch.cat([x, v], -1))) * w
        h = self.b(h + h.sum(-2, keepdim=True) / w.sum(-2, keepdim=True)) * w
        e, f, u = h[..., :2].mean(-2), h[..., 2 : 2 + self.d], h[..., 2 + self.d :]
        return {"e": e, "f": f, "p": (x + u) * w, "t": f.mean(-2).unsqueeze(-1) * u.mean(-2).unsqueeze(-2)}


def clouds(d=3, dtype=torch.float64, n=10, count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, n, d, generator=generator, dtype=dtype) for name in ("x", "v")}


def worst(f, contract, x, samples=6, seed=1):
    g = contract.group.sample(samples, generator=torch.Generator().manual_seed(seed))
    return max(contract.error(f, x, g[i]) for i in range(samples))


CUBE = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("kind", [O, SO, E, SE, T])
def test_averages_are_equivariant_on_random_clouds(kind, d, dtype):
    contract = Contract(kind(d), INPUTS, OUTPUTS)
    f, x = FrameAverage(Net(d, dtype), contract), clouds(d, dtype)
    assert worst(f, f.contracts[0], x) <= BOUND[dtype]
    assert worst(Net(d, dtype), contract, x, samples=1) > 0.05  # and the network alone is not
    assert f(**x)["p"].dtype == dtype


@pytest.mark.parametrize("kind", [O, E, SE])
def test_masked_points_enter_neither_center_nor_covariance(kind):
    inputs, x = {**INPUTS, "mask": "B x N x scalar"}, clouds()
    x["mask"] = torch.arange(10) < torch.randint(5, 11, (64, 1), generator=torch.Generator().manual_seed(2))
    f = FrameAverage(Net(), Contract(kind(3), inputs, {"e": "B x 2 x scalar", "f": "B x N x vector"}))
    assert worst(f, f.contracts[0], x) <= 1e-12
    far = {**x, "x": torch.where(x["mask"].unsqueeze(-1), x["x"], 1e3)}
    for part in ("e", "f"):
        torch.testing.assert_close(f(**far)[part], f(**x)[part], rtol=1e-12, atol=1e-12)


def test_ragged_batch_equals_dense_batch_and_moves_graph_by_graph():
    def pooled(x, batch):
        h = torch.tanh(net(x))
        return {"e": torch.zeros(int(batch.max()) + 1, 4, dtype=x.dtype).index_add(0, batch, h), "f": h[:, :3]}

    net = nn.Linear(3, 4, dtype=torch.float64)
    fields = {"x": "N x position", "batch": "N -> B"}, {"e": "B x 4 x scalar", "f": "N x vector"}
    x = clouds(n=6, count=5)["x"]
    sample = {"x": x.flatten(0, 1), "batch": torch.arange(5).repeat_interleave(6)}
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    sample = {"x": sample["x"][order], "batch": sample["batch"][order]}
    f = FrameAverage(pooled, Contract(E(3), *fields))
    dense = FrameAverage(lambda x: torch.tanh(net(x)).sum(1), Contract(E(3), "B x N x position", "B x 4 x scalar"))
    torch.testing.assert_close(f(**sample)["e"], dense(x), rtol=1e-12, atol=1e-12)
    each = Contract(E(3) ** "B", *fields)
    assert worst(f, each.bind(sample), sample) <= 1e-12
    assert worst(FrameAverage(pooled, each), each.bind(sample), sample) <= 1e-12


def test_a_lone_cloud_is_averaged_in_passes_of_its_own():
    f = FrameAverage(Net(), Contract(SE(3), {"x": "N x position", "v": "N x vector"}, {"e": "2 x scalar", "p": "N x position"}))
    x = {name: value[0] for name, value in clouds().items()}
    assert worst(f, f.contracts[0], x) <= 1e-12


def test_batch_norm_sees_all_frames_of_all_samples_in_one_pass():
    norm = nn.BatchNorm1d(3, momentum=None, dtype=torch.float64)
    f = FrameAverage(norm, Contract(O(3), "B x N x vector", "B x N x vector"), frame=PCAFrame())
    f.model.forward = lambda x: nn.BatchNorm1d.forward(norm, x.flatten(0, 1)).view_as(x)
    f.train()(clouds()["v"])
    assert int(norm.num_batches_tracked) == 1
    torch.testing.assert_close(norm.running_mean, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)  # signs cancel
    lone = FrameAverage(nn.Sequential(nn.BatchNorm1d(3, dtype=torch.float64)), Contract(O(3), "N x vector", "N x vector"))
    with pytest.raises(InputError, match="add a batch index"):
        lone.train()(clouds()["v"][0])


def test_scale_beside_motions():
    contract = Contract(SE(3) * Scale(3), INPUTS, {"e": "B x 2 x scalar", "p": "B x N x position"})
    f = FrameAverage(Net(), contract)
    for part in f.contracts[0].factors():
        assert worst(f, part, clouds()) <= 1e-12
    with pytest.raises(InputError, match=r"one place|positive radius"):
        f(x=torch.ones(2, 5, 3), v=torch.zeros(2, 5, 3))


def test_permutations_that_the_model_keeps_are_kept():
    model = Net()
    model.contracts = (Contract(S("N"), INPUTS, {"e": "B x 2 x scalar"}),)
    f = FrameAverage(model, Contract(E(3), INPUTS, {"e": "B x 2 x scalar"}))
    assert [str(c.group) for c in f.contracts] == ["E(3)", 'S("N")']
    check(f, clouds(count=4))
    both = FrameAverage(model, Contract(E(3) * S("N"), INPUTS, {"e": "B x 2 x scalar"}))
    assert [str(c.group) for c in both.contracts] == ["E(3)", 'S("N")']
    bare = FrameAverage(Net(), Contract(E(3) * S("N"), INPUTS, {"e": "B x 2 x scalar"}))
    assert [str(c.group) for c in bare.contracts] == ["E(3)"]  # the frame promises nothing about the other factor


def test_two_layers_of_latent_vectors_reframed_between_them():
    g = torch.Generator().manual_seed(5)
    mix = torch.randn(2, 60, 60, generator=g, dtype=torch.float64) / 8

    def layer(i):
        return lambda v: (torch.tanh(v.flatten(-2) @ mix[i]) + v.mean(1, keepdim=True).flatten(-2)).view_as(v)

    fields = "B x N x 20 x vector"
    block = [FrameAverage(layer(i), Contract(O(3), fields, fields)) for i in range(2)]
    x = torch.randn(4, 5, 20, 3, generator=g, dtype=torch.float64)
    assert worst(nn.Sequential(*block), Contract(O(3), fields, fields), x) <= 1e-12


def test_frames_of_images_are_exact_for_quarter_turns_and_close_between():
    axes = torch.linspace(-1, 1, 32, dtype=torch.float64)
    blob = torch.exp(-((axes[:, None] * 4 - 0.4) ** 2) - (axes * 2 + 0.2) ** 2 * 3 + axes * axes[:, None])[None, None]
    image = blob * (1 + 0.3 * axes)
    for group, elements in ((SO(2), 2), (O(2), 4)):
        f = FrameAverage(lambda x: torch.tanh(x.flatten(1)[:, ::7]), Contract(group, "image", "scalar"))
        assert len(f.frame({"": image}, f.contract)[1]) == elements
        assert f.contract.error(f, image, SO(2).from_angle(torch.tensor(math.pi / 2, dtype=torch.float64))) <= 1e-10
        assert f.contract.error(f, image, SO(2).from_angle(torch.tensor(0.5, dtype=torch.float64))) <= 0.05
    assert bool(f.frame.regular({"": image}, f.contract).all())
    assert not bool(f.frame.regular({"": torch.zeros(1, 1, 8, 8)}, f.contract).any())  # blank


# ---------------------------------------------------------------------- degenerate inputs


def test_a_cube_triggers_the_gap_policy():
    contract = Contract(E(3), "B x N x position", "B x 2 x scalar")
    x = torch.stack([CUBE, clouds(n=8)["x"][0]])

    def model(x):
        return torch.tanh(x[:, :2, 0] + x[:, :2, 1] ** 2)

    with pytest.raises(InputError, match="1 of 2 samples have equal principal moments"):
        FrameAverage(model, contract, policy="raise")(x)
    f = FrameAverage(model, contract)
    with pytest.warns(UserWarning, match="1 of 2 samples"):
        f(x)
    assert (f.seen.samples, f.seen.degenerate) == (2, 1)
    assert f.contracts[0].where(x).tolist() == [False, True]
    assert pca_frame(x).gaps.amin(-1)[0] < 1e-10 < pca_frame(x).gaps.amin(-1)[1]


def test_weighted_frames_average_inside_the_eigenspace():
    contract = Contract(E(3), "B x N x position", "B x 2 x scalar")
    x = torch.stack([CUBE, clouds(n=8)["x"][0]])

    def model(x):
        return torch.stack([x[:, 0, 0] ** 2, x[:, 1, 2] ** 2], -1)  # mean over rotations: |x|^2 / 3 = 1

    few, many = (FrameAverage(model, contract, frame=PCAFrame(policy="weighted", rotations=m)) for m in (4, 4096))
    torch.testing.assert_close(many(x)[0], torch.ones(2, dtype=torch.float64), atol=0.05, rtol=0)
    assert torch.equal(few(x), few(x))
    torch.testing.assert_close(few(x)[1], FrameAverage(model, contract)(x[1:])[0])  # the regular one keeps its frame


def test_box_is_regular_and_coplanar_with_distinct_others_is_fine():
    box = CUBE * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    flat = clouds()["x"][:1] * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    f = FrameAverage(
        lambda x: torch.tanh(x + 0.3).flatten(1), Contract(O(3), "B x N x vector", "B x K x scalar"), policy="raise"
    )
    for x in (box[None], flat):
        assert worst(f, f.contracts[0], x) <= 1e-12
    with pytest.raises(InputError, match="equal principal moments"):  # collinear: two zero eigenvalues
        f(flat * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


# ---------------------------------------------------------------------- options


def test_stochastic_frames_are_unbiased_draws_in_training_and_whole_at_test():
    contract, x = Contract(O(3), INPUTS, {"f": "B x N x vector"}), clouds(count=3)
    net = Net()

    def linear(x, v):
        return {"f": net(x, v)["f"]}

    whole, drawn = FrameAverage(linear, contract), FrameAverage(linear, contract, draw=1)
    torch.testing.assert_close(drawn.eval()(**x)["f"], whole(**x)["f"])
    drawn.train()
    many = torch.stack([drawn(**x)["f"] for _ in range(200)])
    assert many.std(0).max() > 0.1
    torch.testing.assert_close(many.mean(0), whole(**x)["f"], atol=0.3, rtol=0)
    state = drawn.state_dict()
    first = drawn(**x)["f"]
    again = FrameAverage(linear, contract, draw=1).train()
    again.load_state_dict(state)
    assert int(state["frame.draws.count"]) == 201
    assert not torch.equal(again(**x)["f"], first)
    replay = FrameAverage(linear, contract, draw=1).train()
    torch.testing.assert_close(replay(**x)["f"], many[0])


def test_axes_are_detached_unless_asked_for():
    contract = Contract(SO(3), "B x N x position", "B x 3 x scalar")

    def model(x):
        return torch.tanh(x + torch.arange(3).to(x) / 3).sum(1)

    x = clouds(count=2)["x"].requires_grad_()
    with pytest.warns(UserWarning, match="1 / gap"):
        through = FrameAverage(model, contract, frame=PCAFrame(differentiable=True))
    gradient = {
        name: torch.autograd.grad(f(x).sum(), x)[0]
        for name, f in {"detached": FrameAverage(model, contract), "through": through}.items()
    }
    turn = torch.linalg.cross(x, gradient["through"]).sum(1)  # invariant: no torque
    torch.testing.assert_close(turn, torch.zeros_like(turn), atol=1e-10, rtol=0)
    assert torch.linalg.cross(x, gradient["detached"]).sum(1).norm() > 1e-3


def test_weights_and_source_choose_the_cloud():
    x = clouds()
    x["m"] = torch.rand(64, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.1
    contract = Contract(E(3), {**INPUTS, "m": "B x N x scalar"}, {"e": "B x 2 x scalar"})
    frame = PCAFrame(source=Source(weights="m"))
    f = FrameAverage(lambda x, v, m: Net()(x, v), contract, frame=frame)
    assert worst(f, f.contracts[0], x) <= 1e-12
    center = frame(x, contract)[0][0, :, :3, 3]
    torch.testing.assert_close(center, (x["x"] * x["m"][..., None]).sum(1) / x["m"].sum(1, keepdim=True))
    of_v = PCAFrame(O(3), source=Source(of="v"))
    V = pca_frame(x["v"]).V
    torch.testing.assert_close(of_v(x, contract)[0][0].abs(), V.abs())


def test_broken_twin_that_forgets_to_move_the_output_back_is_caught(monkeypatch):
    contract = Contract(O(3), INPUTS, {"f": "B x N x vector"})
    f = FrameAverage(Net(), contract)
    assert_equivariant(f, f.contracts[0], clouds(count=3), samples=4)
    monkeypatch.setattr(FrameAverage, "move_back", lambda self, members, group, g, y, x: y)
    with pytest.raises(Broken):
        assert_equivariant(f, f.contracts[0], clouds(count=3), samples=4)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0)), "at least 3 points"),
        (torch.ones(4, 5, 3), "one place"),
        (torch.full((4, 5, 3), float("nan")), "NaN"),
        (torch.ones(4, 5, 3, dtype=torch.int64), "floating"),
        (torch.randn(4, 0, 3), "no points"),
    ],
)
def test_clouds_without_axes(x, said):
    with pytest.raises(InputError, match=said):
        pca_frame(x)


def test_masks_that_do_not_fit():
    x = clouds(count=2)["x"]
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(InputError, match="empty mask"):
        pca_frame(x, mask=mask)
    with pytest.raises(InputError, match=r"expected shape \(2, 10\)"):
        pca_frame(x, mask=mask[:, :4])
    with pytest.raises(InputError, match="negative"):
        pca_frame(x, weights=-torch.ones(2, 10))
    padded = torch.where(torch.arange(10)[:, None] < 7, x, torch.nan)  # padding may hold anything
    assert torch.isfinite(pca_frame(padded, mask=torch.arange(10).expand(2, -1) < 7).V).all()


def test_what_does_not_fit_is_said():
    x = clouds(count=2)
    good = Contract(E(3), INPUTS, {"e": "B x 2 x scalar"})
    with pytest.raises(InputError, match="'v' is declared"):
        FrameAverage(Net(), good)(x=x["x"])
    with pytest.raises(ContractError, match="cannot move"):
        FrameAverage(Net(), Contract(O(3), INPUTS, {"e": "image"}))
    with pytest.raises(ContractError, match="frame for T"):
        FrameAverage(Net(), Contract(Octahedral(), INPUTS, {"e": "B x scalar"}))
    with pytest.raises(ContractError, match="no frame is known"):
        FrameAverage(Net(), Contract(O(3), "B x scalar", "B x scalar"))
    fewer = FrameAverage(lambda x, v: {"p": x[:, :4]}, Contract(E(3), INPUTS, {"p": "B x N x position"}))
    with pytest.raises(ContractError, match="expected 10 along N"):
        fewer(**x)
    with pytest.raises(ContractError, match="declared but the model returned"):
        FrameAverage(lambda x, v: {"q": x}, good)(**x)
    with pytest.raises(InputError, match="policy is one of"):
        PCAFrame(policy="ignore")
    with pytest.raises(ContractError, match="moves R\\^3"):
        FrameAverage(Net(), good)(**clouds(d=2, count=2))
    with pytest.raises(InputError, match="expected inputs"):
        FrameAverage(Net(), good)()
