"""Soft symmetry: penalties that pull a network towards each of several candidate groups, and what they found.

In weight space (PER), for layers whose features are declared representations of every candidate G_j,

    d_j = sum over layers of 1/2 |W - P_j W|^2 + 1/2 |b - P_j b|^2,    P_j W = mean over g of rho_out(g)^-1 W rho_in(g),

and in output space, for any model, ``mean |f(g x) - g f(x)|^2 / mean |f|^2``. Strengths are tuned by
:class:`coset.objectives.penalized.Penalized`. Kim, Lee, Yang & Lee, Regularizing Towards Soft Equivariance Under Mixed
Symmetries, ICML 2023, arXiv 2306.00356. The projector factorises into one small matrix per pair of types, applied to W
reshaped to (channels out, channels in, d_out d_in): full weights are never averaged. The output penalty is ours.

The regulariser is per layer, so the basis of the hidden features fixes which symmetry is soft. Comparing d_j across groups
compares distances to subspaces of different codimension: reports divide by it, the paper's tuning does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from coset.contract import Contract, evaluating, frozen
from coset.errors import ContractError, InputError
from coset.groups.group import Family, Group, Rule
from coset.reps.defining import Trivial
from coset.reps.intertwiners import places, projector
from coset.reps.representation import Representation
from coset.symmetrizers.augment import AugmentationSpace


class Projection(nn.Module):
    """``W -> P W`` for weights ``(n_out, n_in)``: one small projector for each pair of types; a parametrization too.

    The group's Haar mean by ``rule`` (or one of sufficient degree), or the null-space projection for non-compact groups;
    errors as in :func:`coset.reps.intertwiners.projector`, which checks ``P P = P``.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, *, rule: Rule | None = None) -> None:
        super().__init__()
        self.shape = (rep_out.dim, rep_in.dim)
        order, self.sizes = [], []
        numbers = torch.arange(rep_out.dim * rep_in.dim).view(self.shape)
        for i, (type_out, rows) in enumerate(places(rep_out).items()):
            for j, (type_in, columns) in enumerate(places(rep_in).items()):
                block = numbers[rows[:, None, :, None], columns[None, :, None, :]]
                order.append(block.flatten())
                self.sizes.append((block.numel(), type_out.dim * type_in.dim))
                self.register_buffer(f"p{i}_{j}", projector(type_in, type_out, rule), persistent=False)
        self.names = [name for name, _ in self.named_buffers()]
        self.register_buffer("order", torch.cat(order), persistent=False)
        self.register_buffer("back", torch.argsort(torch.cat(order)), persistent=False)

    order: Tensor
    back: Tensor

    def _blocks(self, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each block ``(copies, d_out d_in)`` with its projector."""
        parts = weight.flatten().index_select(0, self.order).split([count for count, _ in self.sizes])
        for part, (_, width), name in zip(parts, self.sizes, self.names, strict=True):
            yield part.view(-1, width), getattr(self, name).to(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """``P W``; a vector is taken as a single column."""
        flat = torch.cat([(block @ p.mT).flatten() for block, p in self._blocks(weight)])
        return flat.index_select(0, self.back).view_as(weight)

    def distance(self, weight: Tensor) -> Tensor:
        """``1/2 |W - P W|^2``."""
        return 0.5 * sum(
            ((block - block @ p.mT).square().sum() for block, p in self._blocks(weight)), start=weight.new_zeros(())
        )

    @property
    def codimension(self) -> int:
        """How many directions the penalty pulls in."""
        kept = [
            count // width * getattr(self, n).trace().item() for (count, width), n in zip(self.sizes, self.names, strict=True)
        ]
        return round(len(self.order) - sum(kept))


def soft_layers(model: nn.Module) -> list[Any]:
    """The layers that declare their representations: ``reps(group) -> (rep_in, rep_out)``, ``weight`` and ``bias``.

    Raises InputError for a model without any: use :class:`OutputRegularizer` for it.
    """
    found = [module for module in model.modules() if callable(getattr(module, "reps", None)) and hasattr(module, "weight")]
    if not found:
        raise InputError(
            f"{type(model).__name__} has no layer with declared representations; regularise its output instead "
            f"(OutputRegularizer)"
        )
    return found


def projections(layer: Any, group: Group, *, rule: Rule | None = None) -> tuple[Projection, Projection | None]:
    """The projections of a soft layer's weight and bias; ContractError when the group's representations do not fit it."""
    rep_in, rep_out = layer.reps(group)
    shape = tuple(layer.weight.shape)
    if (rep_out.dim, rep_in.dim) != shape:
        raise ContractError(
            f"{group}: the layer's weight is {shape}, its representations have sizes {(rep_out.dim, rep_in.dim)}; all "
            f"candidate groups must act on the same features"
        )
    bias = None if layer.bias is None else Projection(Trivial(rep_out.group), rep_out, rule=rule)
    return Projection(rep_in, rep_out, rule=rule), bias


class WeightRegularizer:
    """PER: the distance of a model's soft layers from the weights that are equivariant under ``group``.

    ``rule`` replaces the quadrature chosen by degree. Raises InputError for a negative strength or a rule that is not exact.
    """

    def __init__(self, group: Group, strength: float = 0.1, *, name: str = "", rule: Rule | None = None) -> None:
        self.group, self.strength, self.name, self.rule = group, _strength(strength), name or str(group), rule
        self._known: WeakKeyDictionary[nn.Module, tuple[Projection, Projection | None]] = WeakKeyDictionary()

    def __call__(self, model: nn.Module, batch: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """``d``, summed over layers; a scalar that is differentiable in the weights."""
        return sum(value for value, _ in self.per_layer(model))  # type: ignore[return-value]

    def per_layer(self, model: nn.Module) -> list[tuple[Tensor, int]]:
        """For every soft layer its distance and its codimension."""
        out = []
        for layer in soft_layers(model):
            if layer not in self._known:
                self._known[layer] = projections(layer, self.group, rule=self.rule)
            weight, bias = self._known[layer]
            parts = [(weight, layer.weight)] + ([] if bias is None else [(bias, layer.bias)])
            total = sum((p.to(w.device).distance(w) for p, w in parts), start=layer.weight.new_zeros(()))
            out.append((total, sum(p.codimension for p, _ in parts)))
        return out


class OutputRegularizer:
    """``mean |f(g x) - g f(e x)|^2 / mean |f|^2`` over a batch, one random g for every member; for any model.

    ``contract`` says how the group acts on inputs and outputs and, by its ``view``, what of the output is meant (centred
    logits); ``family`` restricts the elements drawn. The denominator is not differentiated.
    """

    def __init__(
        self, contract: Contract, strength: float = 1.0, *, family: Family | None = None, inputs: Sequence[str] = ("x",),
        name: str = "",
    ) -> None:  # fmt: skip
        self.space = AugmentationSpace(contract, family=family, inputs=inputs)
        self.strength, self.name = _strength(strength), name or self.space.name

    def views(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[dict[str, Tensor], Any]:
        """The batch with inputs moved, and the elements that moved them."""
        g = self.space.draw(batch, generator)
        return self.space.apply_inputs(batch, g), g

    def origin(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch at the identity."""
        return self.space.origin(batch)

    def distance(self, y: Any, gy: Any, g: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The penalty from outputs at ``e . x`` and at ``g . x``."""
        contract = self.space.contract
        here, there = contract.look(y), contract.look(gy)
        want = self.space.apply_outputs(here, g, batch)
        gap = sum((there[n] - want[n]).square().flatten(1).sum(1).mean() for n in want)
        size = sum(value.square().flatten(1).sum(1).mean() for value in here.values())
        return gap / size.detach().clamp(min=1e-3)  # type: ignore[union-attr]

    def __call__(self, model: Any, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The penalty with forward passes of its own."""
        moved, g = self.views(batch, generator)
        return self.distance(self._call(model, self.origin(batch)), self._call(model, moved), g, batch)

    def _call(self, model: Any, batch: Mapping[str, Tensor]) -> Any:
        names = self.space.inputs[:1] if self.space.contract.inputs.unnamed else self.space.contract.inputs.names()
        return model(batch[names[0]]) if len(names) == 1 else model(**{name: batch[name] for name in names})


def functional_error(f: Callable[..., Any], contract: Contract, x: Any, *, samples: int = 16, seed: int = 0) -> float:
    """``e``: mean over g and x of ``|f(g x) - g f(x)| / (|f(g x)| + |g f(x)|)``, in [0, 1]; members on the first axis."""
    contract = contract.bind(x)
    drawn = contract.group.sample(samples, generator=torch.Generator().manual_seed(seed))
    total = 0.0
    with frozen(f), torch.no_grad(), evaluating(f):
        for i in range(samples):
            gap, want = contract.compare(f, x, drawn[i])
            top = sum(gap[n].double().flatten(1).square().sum(1) for n in gap)
            sizes = [
                sum(v.double().flatten(1).square().sum(1) for v in ys)
                for ys in ([gap[n] + want[n] for n in gap], want.values())
            ]
            bottom = sizes[0].sqrt() + sizes[1].sqrt()  # type: ignore[union-attr]
            total += (torch.where(bottom > 0, top.sqrt() / bottom, bottom)).mean().item()  # type: ignore[union-attr]
    return total / samples


def distances(model: nn.Module, groups: Mapping[str, Group]) -> dict[str, tuple[float, float]]:
    """For every candidate its weight-space distance d and d per codimension, which may be compared between groups."""
    out = {}
    with torch.no_grad():
        for name, group in groups.items():
            layers = WeightRegularizer(group).per_layer(model)
            d, size = sum(float(value) for value, _ in layers), sum(count for _, count in layers)
            out[name] = (d, d / max(size, 1))
    return out


def impose(model: nn.Module, group: Group) -> nn.Module:
    """Make every soft layer exactly equivariant under ``group``: weights become ``P W``, now and in all further training."""
    for layer in soft_layers(model):
        for name in ("weight", "bias"):
            if parametrize.is_parametrized(layer, name):
                parametrize.remove_parametrizations(layer, name)
        for name, projection in zip(("weight", "bias"), projections(layer, group), strict=True):
            if projection is not None:
                parametrize.register_parametrization(layer, name, projection)
    return model


def found(model: nn.Module, groups: Mapping[str, Group]) -> str:
    """The candidate that training kept: the largest tuned strength, or, for a model that was told none, the least distance."""
    if not groups:
        raise InputError("expected at least one candidate group")
    strengths = getattr(model, "strengths", None)
    if isinstance(strengths, Tensor) and len(strengths) == len(groups) and bool((strengths > 0).any()):
        return list(groups)[int(strengths.argmax())]
    apart = distances(model, groups)
    return min(apart, key=lambda name: apart[name][1])


def impose_found(groups: Mapping[str, Group]) -> Callable[[nn.Module, Any], tuple[nn.Module, Any]]:
    """A stage's ``prepare``: impose the candidate that the stage before discovered, then train without penalties."""
    if not groups:
        raise InputError("impose_found: expected at least one candidate group")

    def prepare(model: nn.Module, data: Any) -> tuple[nn.Module, Any]:
        name = found(model, groups)
        impose(model, groups[name])
        if "symmetry" in (config := getattr(model, "config", {})):
            config["symmetry"] = name
        return model, data

    return prepare


def _strength(value: float) -> float:
    if not 0 <= value < math.inf:
        raise InputError(f"a penalty's strength is >= 0 and finite, got {value}")
    return float(value)
