"""The control predicts on the same grid and promises no symmetry."""

import pytest
import torch

from coset.errors import InputError
from coset.models.images.pose_mlp import PoseMLP
from coset.testing import check


def test_it_is_not_equivariant_and_says_so():
    torch.manual_seed(0)
    model = PoseMLP(1, (4, 6), size=16)
    assert model.contracts[0].claim == "broken"
    check(model)


@pytest.mark.parametrize("cells", [1, 4])
def test_it_predicts_rotations_of_the_grid(cells):
    torch.manual_seed(0)
    model = PoseMLP(0, (4, 6), size=16, cells=cells).eval()
    img = torch.randn(2, 3, 16, 16)
    assert model(img).shape == (2, 72)
    assert torch.equal(model.predict(img), model.grid.rotations.float()[model(img).argmax(-1)])


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="cells"):
        PoseMLP(1, (4, 6), size=16, cells=5)
    with pytest.raises(InputError, match="expected images"):
        PoseMLP(1, (4, 6), size=16)(torch.zeros(1, 3, 8, 8))
