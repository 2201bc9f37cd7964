"""The whole pose model turns with the image exactly at quarters, its head with all of SO(3); handedness by a known pose."""

import math

import pytest
import torch
from torch.nn import functional as F

from coset.contract import Contract
from coset.data.rendered_points import render, solid
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.groups.rotations import rotation_from_vector
from coset.models.images.induced_pose import InducedPose, PoseHead
from coset.nn.induce import sphere_irreps
from coset.ops.healpix import RotationGrid, angle_between
from coset.ops.so3_fourier import evaluate, shift
from coset.reps.image import resample
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

F64 = torch.float64
SMALL = {"widths": (4, 6), "channels": 5, "hidden": 3, "size": 16}


def small(**options):
    torch.manual_seed(0)
    return InducedPose(2, 1, **{**SMALL, **options}).double()


@pytest.mark.parametrize("activation", ["relu", "product"])
@pytest.mark.parametrize("target", ["sphere", "rotations"])
def test_quarter_turns_of_the_image_turn_the_distribution_exactly(target, activation):
    assert max(check(small(target=target, activation=activation)).errors.values()) < 1e-12


def test_a_projection_with_fixed_weights_is_exact_too():
    assert max(check(small(lift="orthographic", learned=False)).errors.values()) < 1e-12
    assert small(lift="orthographic").contracts[0].claim == "learned"


@pytest.mark.parametrize("lift", ["induced", "orthographic"])
def test_a_plain_encoder_breaks_it_and_says_so(lift):
    model = small(lift=lift, encoder="cnn")
    assert model.contracts[0].claim == "broken"
    check(model)


def test_the_lift_and_the_head_keep_their_promises(generator):
    model = small(activation="product")
    check(model.lift, torch.randn(2, 6, 5, 4, 4, generator=generator, dtype=F64))
    assert max(check(model.head).errors.values()) < 1e-12  # the sheet asks 1e-5
    check(small().head)


def test_a_rotated_signal_gives_a_shifted_density(generator):
    """f(R0 x) is the shifted f(x), read at rotations: the camera's frame turns, not the object's."""
    torch.manual_seed(0)
    head = PoseHead(sphere_irreps(3, 4), 3, 3, "product").double()
    x = torch.randn(2, 64, generator=generator, dtype=F64)
    g, at = SO(3).sample(2, generator=generator, dtype=F64), SO(3).sample(9, generator=generator, dtype=F64)
    moved = head(sphere_irreps(3, 4).transform(g[0], x)).unsqueeze(-1)
    assert (moved - shift(head(x).unsqueeze(-1), g[0])).abs().max() < 1e-12
    assert (evaluate(moved, g[0] @ at) - evaluate(head(x).unsqueeze(-1), at)).abs().max() < 1e-11
    assert (moved - shift(head(x).unsqueeze(-1), g[0], "right")).abs().max() > 1e-2


class Mirrored(InducedPose):
    """A twin whose lift turns the other way: components m and -m exchanged."""

    def signal(self, img, label=None):
        lifted = self.lift(self.read(self.encoder(img)))
        parts = lifted.split([block.dim for block in self.lift.irreps_out], -1)
        blocks = [p.unflatten(-1, (ir.dim, mul)) for p, (mul, ir) in zip(parts, self.lift.irreps_out, strict=True)]
        return self.head(torch.cat([block.flip(-2).flatten(1) for block in blocks], -1)) * self.scale


def test_a_wrong_sense_of_rotation_is_caught():
    torch.manual_seed(0)
    with pytest.raises(Broken, match=r"C\(4\)"):
        check(Mirrored(2, 1, **SMALL).double())


def test_it_is_exact_after_training_too(generator):
    model = small()
    points, colors = solid()
    rotation = SO(3).sample(8, generator=generator, dtype=F64)
    img, y = render(points @ rotation.mT, colors, 16), model.grid.nearest(rotation)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    first = F.cross_entropy(model(img), y)
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(img), y)
        loss.backward()
        optimizer.step()
    assert loss < first - 0.3
    assert max(check(model, {"img": img}).errors.values()) < 1e-12


def test_a_known_pose_has_the_right_hand(generator):
    """Fitted to one view, the model knows the other three quarter turns of it, by the rotations they are labelled with."""
    model = small().train()
    points, colors = solid()
    pose = model.grid.rotations[100:101]
    img = render(points @ pose.mT, colors, 16)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    batch = torch.cat([img, torch.randn(3, 3, 16, 16, generator=generator, dtype=F64)])  # batch norm needs company
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(batch)[:1], torch.tensor([100])).backward()
        optimizer.step()
    model.eval()
    assert angle_between(model.predict(img), pose).max() < 1e-6
    for times in (1, 2, 3):
        about = rotation_from_vector(torch.tensor([0.0, times * math.pi / 2, 0.0], dtype=F64))
        seen = render(points @ (about @ pose).mT, colors, 16)
        assert (seen - resample(img, C(4).linear(torch.tensor(times)))).abs().max() < 1e-12
        assert angle_between(model.predict(seen), about @ pose).max() < 1e-6


def test_densities_on_finer_grids(generator):
    model = small()
    img, rotation = torch.randn(2, 3, 16, 16, generator=generator, dtype=F64), SO(3).sample(2, generator=generator, dtype=F64)
    model.train()
    mode, nats = model.density(img, rotation)
    assert model.training
    logits = model.eval()(img)
    assert torch.equal(mode, model.grid.mode(logits))
    assert (nats - model.grid.log_likelihood(logits, rotation)).abs().max() < 1e-10
    fine = model.density(img, rotation, level=2)
    assert (fine[1] - nats).abs().max() < 1  # the same density, in smaller cells
    assert angle_between(fine[0], mode).max().rad2deg() < 60
    assert torch.equal(model.predict(img, level=2), fine[0])


@pytest.mark.parametrize("encoder", ["cnn", "c4"])
def test_a_label_is_needed_where_it_was_built_in(encoder, generator):
    model = small(classes=3, encoder=encoder)
    img = torch.randn(2, 3, 16, 16, generator=generator, dtype=F64)
    check(model)
    label = torch.tensor([0, 2])
    assert torch.equal(model.eval()(img, label), model(img, F.one_hot(label, 3).double()))
    assert (model(img, label) - model(img, torch.tensor([1, 2]))).abs()[0].max() > 1e-3
    with pytest.raises(InputError, match="no label"):
        model(img)
    with pytest.raises(InputError, match="labels are"):
        model(img, torch.zeros(2, 4, dtype=F64))
    with pytest.raises(InputError, match="built for 0 classes"):
        small()(img, label)


def test_saved_and_loaded_it_is_the_same(tmp_path, generator):
    model = small(lift="orthographic").eval()
    save_model(tmp_path, model)
    img = torch.randn(1, 3, 16, 16, generator=generator, dtype=F64)
    assert torch.equal(load_model(tmp_path)(img), model(img))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="lift"):
        small(lift="inducted")
    with pytest.raises(InputError, match="encoder"):
        small(encoder="resnet")
    with pytest.raises(InputError, match="divisible by 4"):
        small(size=18)
    with pytest.raises(InputError, match="expected images"):
        small()(torch.zeros(1, 3, 16, 12, dtype=F64))
    with pytest.raises(InputError, match="576 rotations"):
        small().grid.log_likelihood(torch.zeros(1, 72), torch.eye(3)[None])
    with pytest.raises(InputError, match="orthonormal"):
        small().density(torch.zeros(1, 3, 16, 16, dtype=F64), torch.ones(1, 3, 3, dtype=F64))
    with pytest.warns(UserWarning, match="outrun the pixels"):
        InducedPose(4, 0, **SMALL)


def test_the_contract_speaks_of_the_grid():
    model = small()
    assert len(model.grid) == len(RotationGrid(1))
    exact = Contract(C(4), model.contracts[0].inputs, model.contracts[0].outputs)
    assert model.contracts == (exact,)
