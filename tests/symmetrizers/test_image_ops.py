import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.objectives.constrained import Constrained
from coset.objectives.supervised import Supervised
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.symmetrizers.augment import AugmentationSpace
from coset.symmetrizers.image_ops import OPERATIONS, STRENGTHS, ImageOps

FIELD = Field(("B", "C"), Image())
MEMBER = Field(("C",), Image())


def picture(generator, channels=3):
    return torch.rand(4, channels, 12, 12, generator=generator)


def apply(name, strength, x, **options):
    ops = ImageOps((name,), **options)
    return ops.move(torch.tensor([[0, strength]] * len(x)), MEMBER, x, {})


def test_there_are_fourteen_operations_of_31_strengths(generator):
    g = ImageOps().sample(20000, generator=generator)
    assert len(OPERATIONS) == 14
    assert STRENGTHS == 31
    assert torch.bincount(g[:, 0]).min() > 20000 / 14 * 0.9
    assert torch.bincount(g[:, 1], minlength=31).min() > 20000 / 31 * 0.85


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_shape_dtype_and_range_are_kept(name, wide, channels, generator):
    x = picture(generator, channels)
    before = x.clone()
    for strength in (0, 13, 30):
        y = apply(name, strength, x, wide=wide)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.min() >= -1e-6
        assert y.max() <= 1 + 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y", "color", "contrast", "brightness", "sharpness"]
)
def test_the_middle_strength_is_the_identity(name, generator):
    x = picture(generator)
    assert torch.allclose(apply(name, 15, x), x, atol=1e-5)


def test_directions_are_those_of_the_plane():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    right = apply("translate_x", 30, x, pixels=2.0)
    up = apply("translate_y", 30, x, pixels=2.0)
    assert right[0, 0, 4, 6] > 0.99
    assert up[0, 0, 2, 4] > 0.99
    corner = torch.zeros(1, 1, 9, 9)
    corner[0, 0, 4, 8] = 1  # on the right; counter-clockwise it moves up, to smaller rows
    assert apply("rotate", 30, corner)[0, 0, :4].sum() > apply("rotate", 30, corner)[0, 0, 5:].sum()


def test_pixel_operations_by_hand():
    x = torch.tensor([[0.2, 0.4], [0.6, 0.6]]).view(1, 1, 2, 2)
    assert torch.allclose(apply("autocontrast", 0, x), torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2), atol=1e-6)
    assert torch.allclose(apply("equalize", 0, x), torch.tensor([0.0, 1 / 3, 1.0, 1.0]).view(1, 1, 2, 2), atol=1e-6)
    assert torch.allclose(apply("solarize", 15, x), torch.tensor([0.2, 0.4, 0.4, 0.4]).view(1, 1, 2, 2), atol=1e-6)
    assert torch.equal(apply("brightness", 0, x, wide=True), 0.01 * x)
    assert len(apply("posterize", 30, torch.rand(1, 1, 30, 30), wide=True).unique()) <= 4
    flat = torch.full((1, 1, 3, 3), 0.3)
    assert torch.equal(apply("equalize", 0, flat), flat)
    assert torch.equal(apply("autocontrast", 0, flat), flat)


def test_a_batch_equals_its_members(generator):
    ops, x = ImageOps(), torch.rand(40, 3, 10, 10, generator=generator)
    g = ops.sample(40, generator=generator)
    whole = ops.move(g, MEMBER, x, {})
    alone = torch.stack([ops.move(g[i], MEMBER, x[i], {}) for i in range(40)])
    assert torch.allclose(whole, alone, atol=1e-5)


def test_constrained_learning_counts_acceptance_by_operation(generator):
    space = AugmentationSpace(Contract(ImageOps(), FIELD, "B x 10 x scalar"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 10))
    objective = Constrained(Supervised(), space, 0.5, M=4, seed=0)
    batch = {"x": torch.rand(64, 3, 12, 12, generator=generator), "y": torch.randint(10, (64,), generator=generator)}
    assert torch.isfinite(objective(model, batch)["loss"])
    assert set(objective.found()) == set(OPERATIONS)
    assert objective.counts()[0].sum() == 3 * 64


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match="unknown operation 'blur'"):
        ImageOps(("blur",))
    with pytest.raises(InputError, match="unknown operation"):
        ImageOps(())
    with pytest.raises(ContractError, match="acts on images"):
        ImageOps().move(torch.tensor([[0, 0]]), Field.of("vector"), torch.zeros(1, 3), {})
