"""The segmenters keep their promises; clouds of several sizes are segmented one by one."""

import pytest
import torch

from coset.data.articulated import audited, figures
from coset.errors import InputError
from coset.models.points.segment import FramedSegmenter, PointSegmenter
from coset.testing import Broken, assert_equivariant, check

MODELS = [
    pytest.param(PointSegmenter, {}, id="plain"),
    pytest.param(FramedSegmenter, {}, id="E(3)"),
    pytest.param(FramedSegmenter, {"rotation_only": True}, id="SE(3)"),
    pytest.param(FramedSegmenter, {"normals": True}, id="E(3), normals"),
]


@pytest.mark.parametrize(("kind", "options"), MODELS)
def test_promises_are_kept(kind, options, generator):
    torch.manual_seed(0)
    model = kind(4, 3, neighbors=3, **options)
    assert max(check(model).errors.values()) < 1e-12
    sample = {
        name: torch.randn(2, 20, 3, generator=generator) for name in ("pos", "normal")[: 1 + options.get("normals", False)]
    }
    assert max(check(model, sample).errors.values()) < 1e-10


def test_the_plain_one_has_a_preferred_direction(generator):
    torch.manual_seed(0)
    framed = FramedSegmenter(4, 3)
    with pytest.raises(Broken, match="relative error"):
        assert_equivariant(PointSegmenter(4, 3), framed.contracts[0], {"pos": torch.randn(2, 20, 3, generator=generator)}, 4)


def test_clouds_side_by_side_are_clouds_one_by_one(generator):
    sample = figures(3, 40, 60.0, generator=generator)
    torch.manual_seed(0)
    model = FramedSegmenter(4, 3, normals=True)
    apart = model(**audited(sample, 3))["seg"]
    assert torch.allclose(apart.view(3, 40, 4), model(sample["pos"], normal=sample["normal"])["seg"], atol=1e-5)
    assert torch.allclose(model(sample["pos"][1], normal=sample["normal"][1])["seg"], apart[40:80], atol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="classes"):
        PointSegmenter(0)
    with pytest.raises(InputError, match="normals=True"):
        PointSegmenter(normals=True)(torch.zeros(2, 5, 3))
    with pytest.raises(InputError, match="clouds are"):
        PointSegmenter()(torch.zeros(2, 0, 3))
