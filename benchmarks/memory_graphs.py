"""Memory of one training step against the number of nodes: ego networks (SPEN) beside all pairs (the dense order-2 network).

Measured are the bytes of all tensors alive at once, weights included, at their peak over forward and backward pass, on random
graphs with four neighbours on average; all networks have the same layers and widths. Two steps reach twenty nodes and their
pairs four steps: small graphs are filled by them, and the exponent is above 1 until they are not. Writes JSON and a picture.
"""

import weakref
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coset.figures.bars import lines
from coset.models.graphs.ign import IGN
from coset.models.graphs.spen import SPEN
from coset.report.acceptance import Bound, main
from coset.topology.ego import k_hop_ego

SIZES = (50, 100, 200, 500, 1000, 2000)
WIDTHS, HEAD, DEGREE = (4, 4, 8), (16,), 4


class Live(TorchDispatchMode):
    """Counts the bytes of every storage that an operation makes, until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor):
                self.count(value.untyped_storage())
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, key, size)

    def free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def sparse_graph(n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A graph with ``n DEGREE / 2`` random edges, each in both directions."""
    ends = torch.randint(n, (2, n * DEGREE // 2), generator=generator)
    ends = ends[:, ends[0] != ends[1]]
    edge_index = torch.cat([ends, ends.flip(0)], 1).unique(dim=1)
    return {"x": torch.ones(n, 1), "edge_index": edge_index, "batch": torch.zeros(n, dtype=torch.int64)}


def peak_bytes(model: torch.nn.Module, graph: dict[str, torch.Tensor]) -> int:
    """The peak of one forward and backward pass."""
    with Live() as live:
        for p in model.parameters():
            live.count(p.untyped_storage())
        model(**graph).square().sum().backward()
    return live.peak


def measure(*, largest: int = 2000, plot: str = "accept/memory_graphs.png") -> dict:
    """Peak MB by network and size, and the exponents of their growth from 200 nodes on."""
    sizes = [n for n in SIZES if n <= largest]
    found: dict[str, list[float]] = {"SPEN, 1 step": [], "SPEN, 2 steps": [], "global order 2": []}
    pairs = []
    for n in sizes:
        graph = sparse_graph(n, torch.Generator().manual_seed(n))
        pairs.append([k_hop_ego(graph["edge_index"], n, k).pairs.shape[1] for k in (1, 2)] + [n * n])
        for name in found:
            torch.manual_seed(0)
            k = {"SPEN, 1 step": 1, "SPEN, 2 steps": 2}.get(name)
            model = SPEN(k=k, widths=WIDTHS, head=HEAD, buckets=(64,), cap=True) if k else IGN(widths=WIDTHS, head=HEAD)
            found[name].append(peak_bytes(model, graph) / 2**20)
    own = np.array(sizes) >= min(200, sizes[-2])
    exponents = {
        name: float(np.polyfit(np.log(np.array(sizes)[own]), np.log(np.array(values)[own]), 1)[0])
        for name, values in found.items()
    }
    made = lines(
        sizes, found, labels=("nodes", "peak memory of a training step, MB"), title="four neighbours on average", log=True
    )
    made.axes[0].set_yscale("log")
    made.axes[0].set_xticks(sizes, [str(n) for n in sizes], minor=False)
    made.axes[0].minorticks_off()
    Path(plot).parent.mkdir(parents=True, exist_ok=True)
    made.savefig(plot, dpi=150)
    table = {name: [round(value, 2) for value in values] for name, values in found.items()}
    return {"nodes": sizes, "megabytes": table, "pairs": pairs, "exponent": exponents, "plot": plot}


BOUNDS = (
    Bound("exponent.SPEN, 1 step", "<=", 1.1, "spen sheet (c): grows linearly"),
    Bound("exponent.global order 2", ">=", 1.8, "spen sheet (c): the dense control grows with n^2"),
)

if __name__ == "__main__":
    main("memory_graphs", __doc__, measure, BOUNDS)
