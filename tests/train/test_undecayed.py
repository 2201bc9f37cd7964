"""Parameters that a model names are spared by weight decay, and only these."""

import pytest
import torch
from torch import nn

from coset.recipe import Data, Recipe

pytest.importorskip("lightning")

from coset.train.fit import fit


class Named(nn.Linear):
    """A layer whose bias is not to decay."""

    def undecayed(self):
        return ["bias"]


@pytest.mark.parametrize(("kind", "kept"), [(Named, 1.0), (nn.Linear, 0.81)], ids=["named", "plain"])
def test_weight_decay_spares_what_the_model_names(kind, kept):
    model = kind(2, 2)
    for p in model.parameters():
        nn.init.ones_(p)
    x = {"x": torch.ones(2, 2)}
    recipe = Recipe(epochs=2, batch=2, lr=0.1, schedule="constant", weight_decay=1.0)
    fit(model, lambda model, batch: {"loss": 0 * model(batch["x"]).sum()}, Data(x, x), recipe)
    assert torch.allclose(model.weight.detach(), torch.full((2, 2), 0.81))
    assert torch.allclose(model.bias.detach(), torch.full((2,), kept))
