"""Estimators in the manner of scikit-learn as callables between tensors; scikit-learn itself is never imported here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError

METHODS = ("predict_proba", "decision_function", "transform", "predict")


def is_estimator(thing: Any) -> bool:
    """Whether ``thing`` has the interface of a scikit-learn estimator or pipeline."""
    return all(hasattr(thing, name) for name in ("fit", "get_params", "set_params")) and not isinstance(thing, type)


def wrap(found: Any) -> Estimator:
    """An estimator (its first method of ``predict_proba``, ``decision_function``, ``transform``, ``predict``) or one bound
    method of it, as a callable between tensors."""
    if not is_estimator(found):
        return Estimator(found.__self__, found)
    for name in METHODS:
        if hasattr(found, name):
            return Estimator(found, getattr(found, name))
    raise InputError(
        f"{type(found).__name__} has none of the methods {', '.join(METHODS)}; name one, as in FILE.py:model.score"
    )


class Estimator:
    """``method`` of ``estimator`` on tensors ``(..., *shape)`` whose trailing axes hold ``n_features_in_`` numbers.

    Returns ``(..., *out)`` with the dtype (class labels: float64 or integers) and device of the input.
    """

    def __init__(self, estimator: Any, method: Callable[..., Any]) -> None:
        self.estimator = estimator
        self.method = method

    def __repr__(self) -> str:
        return f"{type(self.estimator).__name__}.{getattr(self.method, '__name__', 'method')}"

    def __call__(self, x: Tensor) -> Tensor:
        """``method`` of all samples at once; InputError when the sizes do not fit or the estimator is not fitted."""
        lead = self._lead(x)
        flat = x.detach().cpu().double().reshape(math.prod(lead), -1).numpy()
        try:
            y = np.asarray(self.method(flat))
        except Exception as error:
            fit = "; fit it where it is defined" if type(error).__name__ == "NotFittedError" else ""
            raise InputError(
                f"{self!r} failed on an array of shape {flat.shape}: {type(error).__name__}: {error}{fit}"
            ) from error
        if y.dtype.kind not in "biuf":
            raise InputError(f"{self!r} returned {y.dtype}, not numbers; name predict_proba or decision_function instead")
        out = torch.from_numpy(np.ascontiguousarray(y)).reshape(*lead, *y.shape[1:]).to(x.device)
        return out.to(x.dtype) if out.is_floating_point() else out

    def _lead(self, x: Tensor) -> tuple[int, ...]:
        """The leading (sample) axes: the fewest for which the rest hold the features that the estimator was fitted on."""
        features = getattr(self.estimator, "n_features_in_", None)
        if features is None:
            return tuple(x.shape[:1])
        for axes in range(x.ndim + 1):
            if math.prod(x.shape[axes:]) == features:
                return tuple(x.shape[:axes])
        raise InputError(
            f"{self!r} was fitted on {features} features; a sample of shape {tuple(x.shape[1:])} holds {math.prod(x.shape[1:])}"
        )
