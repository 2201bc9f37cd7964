"""Which modules of a foreign model are replaced, by what, and why others are not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from coset.nn.foreign_check import compare_module
from coset.nn.foreign_contraction import ContractionSwap
from coset.nn.foreign_example import is_potential
from coset.nn.foreign_graph import Graph
from coset.nn.foreign_layers import AttributeSwap, HarmonicsSwap, LinearSwap, ProductSwap
from coset.nn.foreign_messages import KNOWN, MessageSwap
from coset.nn.foreign_radial import PotentialSwap, RadialSwap
from coset.nn.foreign_reading import Unsupported
from coset.nn.foreign_swap import Swap

Maker = Callable[[nn.Module], Swap]
BLOCKS = ("InteractionBlock", "ProductBasisBlock")  #: ends of names of classes that are worth naming when they are not known


class Choice:
    """Filled by :meth:`visit`: swaps by path, outermost first, and what is kept by path with the reason."""

    def __init__(self, graph: Graph, *, table: bool) -> None:
        self.swaps: list[tuple[str, Swap]] = []
        self.kept: list[tuple[str, str]] = []
        self.graph, self.table = graph, table
        self._embedding: nn.Module | None = None
        self._visited: dict[int, bool] = {}
        self._generator = torch.Generator().manual_seed(0)

    @property
    def swapped(self) -> tuple[tuple[str, str], ...]:
        """Paths and classes of the modules that are replaced."""
        return tuple((path, type(swap.module).__name__) for path, swap in self.swaps if swap.own)

    def visit(self, path: str, module: nn.Module) -> bool:
        """Take this module or look into it; whether anything in it was recognized."""
        if id(module) in self._visited:
            return self._visited[id(module)]
        self._onlookers(path, module)
        maker, marks = self._maker(module), len(self.kept)
        inside = () if maker is None else self._take(path, module, maker)
        found = [
            self.visit(f"{path}.{name}" if path else name, child)
            for name, child in module.named_children()
            if name not in inside and not isinstance(child, (torch.jit.ScriptModule, torch.fx.GraphModule))
        ]
        known = self._visited[id(module)] = maker is not None or any(found)
        what = f"there is no replacement for {type(module).__name__}"
        if not known:
            del self.kept[marks:]  # nothing in it is known: it is named as a whole
            self.kept += [(path, what)] if _foreign(module) else []
        elif maker is None and type(module).__name__.endswith(BLOCKS):
            self.kept.insert(marks, (path, f"{what}; its parts are replaced"))
        return known

    def _take(self, path: str, module: nn.Module, maker: Maker) -> tuple[str, ...]:
        """Replace a module if its replacement is the same function; the children whose work that does as well."""
        try:
            swap = maker(module)
            obstacle = compare_module(maker, module, self._generator)
        except Unsupported as error:
            obstacle = str(error)
        if obstacle is not None:
            self.kept.append((path, obstacle))
            return ()
        if self.table and isinstance(swap, MessageSwap):
            swap.tabulate(self._embedding)
        self.swaps.append((path, swap))
        return swap.inside

    def _onlookers(self, path: str, module: nn.Module) -> None:
        """What has to see the calls of a module without replacing anything in it."""
        if is_potential(module):
            self._embedding = getattr(module, "radial_embedding", None)
            self.swaps.append((path, PotentialSwap(module, self.graph)))
        elif module is self._embedding and self.table:
            self.swaps.append((path, RadialSwap(module, self.graph)))

    def _maker(self, module: nn.Module) -> Maker | None:
        """How to replace a module, by the name of its class; the replacement itself looks at the rest of it."""
        name = type(module).__name__
        if not _foreign(module):
            return None
        if name in KNOWN:
            return partial(MessageSwap, graph=self.graph)
        makers: dict[str, Maker] = {
            "SphericalHarmonics": HarmonicsSwap,
            "Linear": LinearSwap,
            "TensorProduct": ProductSwap,
            "FullyConnectedTensorProduct": partial(_fully_connected, graph=self.graph),
            "EquivariantProductBasisBlock": partial(ContractionSwap, graph=self.graph),
        }
        return makers.get(name)


def choose(model: nn.Module, *, paired: bool, table: bool) -> Choice:
    """The swaps for a model, none of them installed. ``paired`` and ``table`` as in :func:`coset.nn.accelerate.accelerate`."""
    choice = Choice(Graph(paired=paired), table=table)
    choice.visit("", model)
    return choice


def _fully_connected(module: nn.Module, graph: Graph) -> Swap:
    """With scalar attributes, or with one channel in the second operand."""
    try:
        return AttributeSwap(module, graph)
    except Unsupported:
        return ProductSwap(module)


def _foreign(module: nn.Module) -> bool:
    """Whether a module is neither torch's nor ours."""
    return type(module).__module__.split(".")[0] not in ("torch", "coset")
