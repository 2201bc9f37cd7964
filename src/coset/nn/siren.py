"""SIREN: a small network with sine activations, a smooth function of continuous coordinates.

``x -> sin(W x + b)`` layer by layer, then a linear map. With weights uniform in ``+-frequency / inputs`` in the first layer
and ``+-sqrt(6 / hidden)`` in the others every activation is distributed like the sine of a uniform angle, whatever the depth.
Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions, NeurIPS 2020, arXiv 2006.09661.
As a kernel of a convolution (Mironenco and Forré, arXiv 2310.11366): values are divided by the root of the number of terms
that the convolution sums, so that its output has nearly the variance of its input. No contract: a function of coordinates.

Differs from both papers, where phases are ``w0 (W x + b)`` and the last weights are small: the factors are part of the
weights, respectively of the output. Functions and initial laws are the same; a step of Adam, which is as large for every
weight, no longer turns hidden phases ``w0`` times too far, and learning rates are those of other networks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from coset.errors import InputError


class Siren(nn.Module):
    """Points (..., inputs) to values (..., outputs).

    ``layers`` sine layers of ``hidden`` units, by default the first one and two more; ``terms`` is the number of values that
    will be summed. InputError for sizes below one and frequencies that are not positive.
    """

    def __init__(
        self, inputs: int, outputs: int, *, hidden: int = 60, layers: int = 3, frequency: float = 10.0, terms: int = 1
    ) -> None:
        super().__init__()
        if min(inputs, outputs, hidden, layers, terms) < 1 or not frequency > 0:
            raise InputError(
                f"Siren: sizes are >= 1 and the frequency is positive, got inputs {inputs}, outputs {outputs}, "
                f"hidden {hidden}, layers {layers}, terms {terms}, frequency {frequency}"
            )
        self.scale = 1 / math.sqrt(terms)
        sines = [nn.Linear(hidden if place else inputs, hidden) for place in range(layers)]
        self.sines, self.last = nn.ModuleList(sines), nn.Linear(hidden, outputs)
        with torch.no_grad():
            for place, layer in enumerate(sines):
                bound = math.sqrt(6 / hidden) if place else frequency / inputs
                layer.weight.uniform_(-bound, bound)
                layer.bias.mul_(frequency)  # a random phase
            bound = math.sqrt(6 / hidden)
            self.last.weight.uniform_(-bound, bound)
            self.last.bias.zero_()

    def forward(self, points: Tensor) -> Tensor:
        """Values at the points."""
        for layer in self.sines:
            points = torch.sin(layer(points))
        return self.scale * self.last(points)
