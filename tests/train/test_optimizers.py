"""Which parameters learn how: the model's, those it spares, those of the parts of an objective."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.recipe import Recipe
from coset.train.optimizers import make_optimizer, parameter_groups


class Part(nn.Module):
    def __init__(self, lr=None):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.lr = lr


class Objective(nn.Module):
    def __init__(self, model=None):
        super().__init__()
        self.own = nn.Parameter(torch.ones(2))
        self.fast, self.plain = Part(0.5), Part()
        self.seen = model  # its weights are the model's


class Spared(nn.Linear):
    def undecayed(self):
        return ["bias"]


def groups(model, objective):
    return [
        (g["lr"], g.get("weight_decay"), [tuple(p.shape) for p in g["params"]]) for g in parameter_groups(model, objective, 0.1)
    ]


def test_every_parameter_is_in_one_group_with_its_rate():
    model = Spared(3, 2)
    expected = [
        (0.1, None, [(2, 3)]),
        (0.1, 0.0, [(2,)]),
        (0.1, 0.0, [(2,)]),
        (0.5, 0.0, [()]),
        (0.1, 0.0, [()]),
    ]
    assert groups(model, Objective(model)) == expected
    assert groups(model, lambda model, batch: None) == expected[:2]
    model.weight.requires_grad_(False)
    assert groups(model, None) == expected[1:2]


def test_nothing_to_train_is_told():
    with pytest.raises(InputError, match="nothing to train"):
        parameter_groups(nn.Identity(), None, 0.1)
    # parameters of the objective alone are something
    assert len(groups(nn.Identity(), Part())) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", "AdamW"), ("adam", "Adam"), ("amsgrad", "Adam"), ("sgd", "SGD"), ("lars", "LARS")],
)
def test_optimizers_by_name(name, kind):
    made = make_optimizer(Recipe(optimizer=name, lr=0.3, weight_decay=0.01), parameter_groups(Spared(3, 2), None, 0.3))
    assert type(made).__name__ == kind
    assert [g["weight_decay"] for g in made.param_groups] == [0.01, 0.0]
    assert made.defaults.get("amsgrad", False) is (name == "amsgrad")
