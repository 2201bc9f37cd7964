"""SIE: its halves, its linear predictor, the action that it learns, and what it can learn in the simplest case."""

import math

import pytest
import torch

from coset.audits.homomorphism import homomorphism_defect
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.groups.poses import angle_quaternion, relative_quaternion
from coset.groups.rotations import quaternion_from_rotation, rotation_from_quaternion
from coset.models.ssl.sie import SIE, Predicted
from coset.nn.hypernetwork import HyperPredictor
from coset.nn.resnet import ResNet
from coset.objectives.joint_embedding import SplitEmbedding
from coset.objectives.two_views import RecordedPairs, TwoViews
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model


def small(**options):
    torch.manual_seed(0)
    return SIE(ResNet(8, (1, 1)), (16, 16, 16), **options)


class Shifted(SIE):
    """A twin with a bias in the generated layer."""

    def predict(self, e, z):
        return super().predict(e, z) + 0.1


class BiasedHyper(HyperPredictor):
    """A twin whose hypernetwork has a bias: a constant matrix would do."""

    def forward(self, e, z):
        return super().forward(e, z) + e


def test_promises_are_kept_and_twins_caught():
    report = check(small())
    assert report.errors["GL(1) on the motion"] < 1e-12
    assert any("recorded" in reason for reason in report.skipped)
    torch.manual_seed(0)
    with pytest.raises(Broken, match="on the motion"):
        check(Shifted(ResNet(8, (1, 1)), (16, 16, 16)))
    assert max(check(HyperPredictor(4, 8)).errors.values()) < 1e-12
    with pytest.raises(Broken, match="on z"):
        check(BiasedHyper(4, 8))


@pytest.mark.parametrize("motion", ["quaternion", "matrix"])
def test_the_predictor_is_linear_in_the_motion(motion, generator):
    """P(a z + b w) = a P(z) + b P(w), to 1e-6 in float32."""
    model = small(motion=motion)
    z, w = (torch.randn(5, model.predictor.motion, generator=generator) for _ in range(2))
    e = torch.randn(5, 16, generator=generator)
    got = model.predict(e, 2 * z - 3 * w)
    want = 2 * model.predict(e, z) - 3 * model.predict(e, w)
    assert (got - want).abs().max() < 1e-6 * want.abs().max()
    deep = small(motion=motion, hidden=(4, 4))
    assert (deep.predict(e, -z) + deep.predict(e, z)).abs().max() > 1e-2


def test_no_matrix_of_a_sample_is_needed(generator):
    predictor = HyperPredictor(4, 6).double()
    e, z = torch.randn(3, 6, generator=generator).double(), torch.randn(3, 4, generator=generator).double()
    w = torch.einsum("bk,kij->bij", z, predictor.matrices)
    assert torch.allclose(predictor(e, z), (w @ e.unsqueeze(-1)).squeeze(-1), rtol=1e-10)
    assert sum(p.numel() for p in predictor.parameters()) == 4 * 36
    unit = torch.nn.functional.normalize(torch.randn(2000, 4, generator=generator), dim=-1)
    big = HyperPredictor(4, 64)
    e = torch.randn(2000, 64, generator=generator)
    assert float(big(e, unit).detach().norm() / e.norm()) == pytest.approx(1, abs=0.1)


def test_halves_and_expanders_do_not_mix(generator):
    model = small(equivariant=5).eval()
    x = torch.rand(4, 3, 16, 16, generator=generator)
    h = model.represent(x)
    inv, equi = model.halves(h)
    assert (inv.shape[1], equi.shape[1]) == (11, 5)
    assert torch.equal(torch.cat([inv, equi], 1), h)
    y = model(x)
    assert torch.equal(y["invariant"], model.invariant(inv))
    assert torch.equal(y["equivariant"], model.equivariant(equi))
    assert y["invariant"].shape == y["equivariant"].shape == (4, 16)


@pytest.mark.parametrize("frame", ["body", "world"])
@pytest.mark.parametrize("motion", ["quaternion", "matrix"])
def test_the_learned_action_is_the_prediction_for_a_turned_solid(frame, motion, generator):
    """Left: R -> g R. In the body's frame its relative pose is R1^-1 g R1, so there g acts by R -> R g^-1."""
    model = small(frame=frame, motion=motion).double()
    pose = angle_quaternion(torch.randn(1, 3, generator=generator, dtype=torch.float64))
    g = SO(3).sample(1, generator=generator, dtype=torch.float64)
    start = rotation_from_quaternion(pose)
    moved = g @ start if frame == "world" else start @ g.mT
    z = relative_quaternion(pose, quaternion_from_rotation(moved), frame)
    e = torch.randn(1, 16, generator=generator, dtype=torch.float64)
    want, got = model.predict(e, model.motion(z)), Predicted(model)(g, e)
    assert min((got - want).norm(), (got + want).norm()) < 1e-12 * want.norm()  # quaternions know their sign, rotations do not
    many = Predicted(model)(SO(3).sample(3, generator=generator), torch.randn(3, 7, 16, generator=generator).double())
    assert many.shape == (3, 7, 16)


def test_recorded_pairs_are_compared_by_the_contract(generator):
    model = small().double().eval()
    contract = model.contracts[0]
    x, gx = (torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    g = SO(3).sample(1, generator=generator, dtype=torch.float64)[0]
    y, gy = model(x), model(gx)
    gap = contract.gap(y, gy, g)
    assert torch.equal(gap["invariant"], gy["invariant"] - y["invariant"])
    assert torch.allclose(gap["equivariant"], gy["equivariant"] - Predicted(model)(g, y["equivariant"]))


def test_matrices_of_rotations_are_a_representation_that_the_predictor_can_hold():
    """With nine numbers W(R) = R is linear in z: defect 0. Any quaternion predictor is odd, so W(1) W(1) = W(1) excludes it."""
    model = small(motion="matrix", frame="world").double()
    with torch.no_grad():
        model.predictor.matrices.zero_()
        for i in range(3):
            for j in range(3):
                model.predictor.matrices[3 * i + j, i, j] = 1.0
    unit = torch.eye(16, dtype=torch.float64)[:3]
    assert homomorphism_defect(Predicted(model), SO(3), unit).product < 1e-12
    assert homomorphism_defect(Predicted(small().double()), SO(3), unit).product > 0.5


def test_predictor_alone_learns_the_action_of_a_frozen_toy_encoder():
    """e = R x0 for a known x0: a linear map of the rotation matrix carries view to view; training finds it (sheet, a)."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.tensor([0.3, -1.0, 0.7])
    torch.manual_seed(0)
    predictor = HyperPredictor(9, 3)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        angles = math.pi * (torch.rand(128, 2, 3, generator=generator) - 0.5)
        q = angle_quaternion(angles)
        z = rotation_from_quaternion(relative_quaternion(q[:, 0], q[:, 1], "world")).flatten(-2)
        e, e2 = (rotation_from_quaternion(q[:, k]) @ x0 for k in (0, 1))
        loss = (predictor(e, z) - e2).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert float(loss.detach()) < 1e-4


def test_a_step_lowers_the_loss_and_what_is_saved_is_loaded(tmp_path, generator):
    model = small(motion="matrix", changes=1, frame="world")
    pose = torch.nn.functional.normalize(torch.randn(8, 3, 4, generator=generator), dim=-1)
    batch = {
        "x": torch.rand(8, 3, 3, 16, 16, generator=generator),
        "pose": pose,
        "hue": torch.rand(8, 3, 1, generator=generator),
    }
    objective = TwoViews(SplitEmbedding(), RecordedPairs(extra="hue"), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        terms = objective(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["loss"].detach()))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    model.eval()
    save_model(tmp_path, model)
    x = batch["x"][:, 0]
    assert torch.equal(load_model(tmp_path)(x)["equivariant"], model(x)["equivariant"])


def test_bad_input_is_refused(generator):
    with pytest.raises(InputError, match="but not all, got 16"):
        small(equivariant=16)
    with pytest.raises(InputError, match="'euler'"):
        small(motion="euler")
    with pytest.raises(InputError, match="'left'"):
        small(frame="left")
    model = small()
    with pytest.raises(InputError, match="differs from 1"):
        model.motion(torch.tensor([[1.0, 0.1, 0.0, 0.0]]))
    with pytest.raises(InputError, match="0 further changes"):
        model.motion(torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1, 2))
    with pytest.raises(InputError, match=r"images are \(B, 3"):
        model(torch.rand(2, 1, 16, 16, generator=generator))
    with pytest.raises(InputError, match="pass features"):
        SIE(torch.nn.Flatten())
    with pytest.raises(InputError, match=r"z \(B, 4\)"):
        model.predict(torch.zeros(2, 16), torch.zeros(2, 3))
    pose = torch.tensor([1.0, 0, 0, 0]).expand(1, 2, 4)
    with pytest.raises(InputError, match=r"one member|more than 1 value"):
        TwoViews(SplitEmbedding(), RecordedPairs())(model.eval(), {"x": torch.rand(1, 2, 3, 16, 16), "pose": pose})


def test_a_prediction_for_one_sample_keeps_its_shape(generator):
    model = small()
    assert model.predict(torch.randn(1, 16, generator=generator), torch.randn(1, 4, generator=generator)).shape == (1, 16)
