"""Projectors of joint-embedding methods: linear, batch norm, ReLU, and at the end a linear map without bias.

Also called expanders: the losses act on their output, the features before them are what is used afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from coset.errors import InputError


def projector(features: int, widths: Sequence[int], *, bias: bool = False) -> nn.Sequential:
    """``features -> widths[0] -> ... -> widths[-1]``; ``bias`` is that of the layers before a norm (Barlow Twins: none).

    Raises InputError for no widths or a width below 1.
    """
    if not widths or min(features, *widths) < 1:
        raise InputError(f"projector: at least one width, all at least 1; got {features} features and widths {tuple(widths)}")
    inner = [
        layer
        for inputs, outputs in pairwise((features, *widths[:-1]))
        for layer in (nn.Linear(inputs, outputs, bias=bias), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    return nn.Sequential(*inner, nn.Linear((features, *widths)[-2], widths[-1], bias=False))


def features_of(backbone: nn.Module, given: int | None = None) -> int:
    """How many features a backbone gives: ``given``, or its own attribute ``features``; InputError where neither says."""
    found = getattr(backbone, "features", None) if given is None else given
    if not isinstance(found, int) or found < 1:
        raise InputError(f"{type(backbone).__name__} does not say how many features it gives; pass features=...")
    return found
