"""A task of a few seconds that worker processes import by name: points in the plane, labelled by their distance from 0."""

import dataclasses

import torch
from torch import nn

from coset.contract import Contract
from coset.groups.finite import C
from coset.recipe import Data, Recipe, Request
from coset.records import Finding
from coset.task import Method, Stage, Task

contract = Contract(C(4), "B x vector", "B x 2 x scalar")


def points(request: Request) -> Data:
    generator = torch.Generator().manual_seed(request.seed)
    x = torch.randn(120, 2, generator=generator)
    y = (x.norm(dim=-1) > 1.2).long()
    train, valid, test = ({"x": a, "y": b} for a, b in zip(x.split(40), y.split(40), strict=True))
    return Data(train, test, audit=test["x"][:8], valid=valid, info={"width": 8})


class Logits(nn.Sequential):
    """Two numbers for every point."""


def network(data: Data) -> nn.Module:
    width = data.info["width"]
    return Logits(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))


def closed_form(data: Data) -> nn.Module:
    return Radius()


class Radius(nn.Module):
    """The right answer, without training."""

    def forward(self, x):
        r = x.norm(dim=-1, keepdim=True)
        return torch.cat([1.2 - r, r - 1.2], -1)


class Averaged(nn.Module):
    """The mean over quarter turns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        turned = [x, torch.stack([-x[..., 1], x[..., 0]], -1)]
        return sum(self.inner(sign * t) for t in turned for sign in (1, -1)) / 4


def loss(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch["x"]), batch["y"])}


class Noisy(nn.Module):
    """A loss with randomness from three places and state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.lr = 1e-2
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, model, batch):
        x = batch["x"] + 0.05 * torch.randn(batch["x"].shape, generator=self.generator) + 0.01 * torch.randn_like(batch["x"])
        fit = nn.functional.cross_entropy(model(x), batch["y"])
        return {"loss": fit + (self.strength - 0.2) ** 2, "fit": fit, "strength": self.strength}

    def after_step(self, model, step) -> None:
        self.steps += 1


def accuracy(model, data):
    return 100 * float((model(data.test["x"]).argmax(-1) == data.test["y"]).double().mean())


def margin(model, data):
    return float(model(data.test["x"]).detach().double().diff(dim=-1).abs().mean())


@dataclasses.dataclass
class Answers(Finding):
    logits: object


def answers(model, data):
    return Answers(model(data.test["x"]).detach().numpy())


def averaged(model, data):
    return Averaged(model), data


noisy = Noisy()
task = Task(
    contracts=(contract,),
    data=points,
    objective=loss,
    metrics={"accuracy_percent": accuracy, "margin": margin},
    methods=(
        Method("plain", network, note="Nothing known."),
        Method("noisy", network, (Stage(noisy, {"epochs": 6}),), reference={"accuracy_percent": 90.0}),
        Method("noisy + average", network, (Stage(noisy, {"epochs": 6}), Stage(prepare=averaged, loop=None))),
        Method("noisy, then tuned", network, (Stage(noisy, {"epochs": 6}), Stage(recipe={"lr": 1e-3}))),
        Method("closed form", closed_form, ()),
    ),
    recipe={"smoke": Recipe(epochs=2, batch=16), "cpu": Recipe(epochs=4, batch=16)},
    findings={"answers": answers},
)
