"""Replacing the forward of a module that somebody else built, and nothing else of it.

A :class:`Swap` stands in the module's own dictionary under the name ``forward``, where Python looks before it looks at the
class. The module keeps its class, children, parameters, buffers and hooks: ``state_dict`` and optimizers notice nothing, and
the class's own forward comes back when the entry is removed. A pickle of the module holds the class's forward instead, so that
a model that is saved whole opens without this package; a deep copy keeps the swap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from coset.nn.foreign_reading import Unsupported


class Swap:
    """A forward for ``module``. Subclasses read the module when made, raise Unsupported, and compute in ``__call__``.

    What they keep is derived from the module's structure, never from its weights, which they read at every call.
    """

    inside: tuple[str, ...] = ()  #: children whose work it does as well, so that they need no swap of their own
    own = True  #: whether it computes anything itself; if not, it stands there to see what passes
    graph: Any = None  #: what it shares with other swaps of the model
    report: Any = None  #: of the call that installed it

    def __init__(self, module: Any) -> None:
        if "forward" in vars(module):
            raise Unsupported("its forward has been replaced already")
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's class would return."""
        raise Unsupported(f"{type(self).__name__} computes nothing")

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        """Positional arguments to compare it with the module, in float64."""
        raise Unsupported(f"{type(self).__name__} has no random input")

    def note(self, path: str) -> str:
        """What a report should say about it, if anything."""
        return ""

    def install(self) -> None:
        """Let calls of the module come here."""
        vars(self.module)["forward"] = self

    def remove(self) -> None:
        """Let calls of the module go to its class again."""
        vars(self.module).pop("forward", None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        copied.module = memo.get(id(self.module), self.module)
        copied.graph = deepcopy(self.graph, memo)
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple:
        return getattr, (self.module, "forward")  # read from the class: the instance is still empty when this is called


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Independent normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def swaps(model: nn.Module) -> list[Swap]:
    """All swaps that are installed in a model."""
    found = (vars(module).get("forward") for module in model.modules())
    return [swap for swap in found if isinstance(swap, Swap)]


@contextmanager
def suspended(model: nn.Module) -> Iterator[None]:
    """The model as it was, for the time of the block."""
    installed = swaps(model)
    for swap in installed:
        swap.remove()
    try:
        yield
    finally:
        for swap in installed:
            swap.install()
