import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.finite import C
from coset.objectives.supervised import Supervised
from coset.reps.fields import Field
from coset.reps.image import Image


def batch(generator):
    return {"x": torch.randn(6, 4, generator=generator), "y": torch.randint(3, (6,), generator=generator)}


def test_loss_is_the_mean_of_the_per_sample_losses(generator):
    model, data, base = nn.Linear(4, 3), batch(generator), Supervised()
    losses = base.losses(base.predict(model, data), data)
    assert losses.shape == (6,)
    assert torch.allclose(base(model, data)["loss"], losses.mean())
    assert torch.allclose(losses.mean(), nn.functional.cross_entropy(model(data["x"]), data["y"]))


def test_one_pass_over_several_batches_is_each_batch_alone(generator):
    model, base = nn.Linear(4, 3), Supervised()
    first, second = batch(generator), batch(generator)
    together = base.predictions(model, first, second)
    for y, data in zip(together, (first, second), strict=True):
        assert torch.allclose(y, model(data["x"]))


def test_several_inputs_are_given_by_name(generator):
    base = Supervised("mse", ("a", "b"))
    data = {"a": torch.ones(2, 3), "b": torch.full((2, 3), 2.0), "y": torch.zeros(2, 3)}
    assert base(lambda *, a, b: a - b, data)["loss"] == 1


def test_a_contract_presents_the_sample_at_the_identity(generator):
    contract = Contract(C(4), Field(("B", "1"), Image(size=4, disc=True)), "B x scalar")
    base = Supervised("mse", contract=contract)
    data = {"x": torch.rand(2, 1, 8, 8, generator=generator), "y": torch.zeros(2)}
    assert base.present(data)["x"].shape == (2, 1, 4, 4)
    want = contract.origin(data["x"]).sum((1, 2, 3)).square().mean()
    assert torch.allclose(base(lambda x: x.sum((1, 2, 3)), data)["loss"], want)


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match="did you mean 'cross_entropy'"):
        Supervised("cross_entrop")
    with pytest.raises(InputError, match="tuple of names"):
        Supervised("mse", "x")
    with pytest.raises(InputError, match="no 'y'"):
        Supervised()(nn.Linear(4, 3), {"x": torch.zeros(2, 4)})
    with pytest.raises(InputError, match='reduction="none"'):
        Supervised(nn.functional.cross_entropy)(nn.Linear(4, 3), batch(generator))
    with pytest.raises(ContractError, match="target is"):
        Supervised("mse")(nn.Linear(4, 3), {"x": torch.zeros(2, 4), "y": torch.zeros(2)})
