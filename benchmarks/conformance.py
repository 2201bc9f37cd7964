"""Models that we did not write, against the contracts they should keep: torch_geometric and e3nn, layer by layer.

    python benchmarks/conformance.py --out FOLDER

Each line is what a package could assert in its own tests: ``coset.testing.assert_equivariant(model, contract, sample)``. The
contract is what the symmetry of the computation suggests, not what the package promises; a line that is broken says what the
layer is not, which its documentation may well say too. Needs the extras ``graphs`` and ``peers``. Writes ``conformance.json``.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import coset
from coset import SO, Contract, E, S
from coset.groups.matrix import O
from coset.records import write_atomically
from coset.testing import Broken, assert_equivariant

Case = tuple[str, str, Callable[..., Any], Contract, Any]  #: package, what, callable, contract, sample
NODES, FEATURES = 12, 4


def graph(generator: torch.Generator) -> dict[str, Tensor]:
    """A directed graph with 12 nodes, 40 edges, 4 features, positions and unit normals, in two samples."""
    normal = torch.randn(NODES, 3, generator=generator, dtype=torch.float64)
    return {
        "x": torch.randn(NODES, FEATURES, generator=generator, dtype=torch.float64),
        "pos": torch.randn(NODES, 3, generator=generator, dtype=torch.float64),
        "normal": normal / normal.norm(dim=1, keepdim=True),
        "edge_index": torch.randint(NODES, (2, 40), generator=generator),
        "batch": torch.tensor([0] * 5 + [1] * 7),
    }


FIELDS = {
    "x": f"N x {FEATURES} x scalar", "pos": "N x position", "normal": "N x vector", "z": "N x scalar",
    "edge_index": "2 x E -> N", "batch": "N -> B",
}  # fmt: skip


def graph_layers(sample: dict[str, Tensor]) -> Iterator[Case]:
    """Convolutions, norms and aggregations of torch_geometric on features and edges."""
    from torch_geometric import nn as pyg

    def case(name: str, layer: nn.Module, names: str, out: str, *groups: Any) -> Iterator[Case]:
        order, layer = names.split(), layer.double()
        for group in groups:
            contract = Contract(group, {n: FIELDS[n] for n in order}, out)
            yield (
                "torch_geometric",
                name,
                lambda **given: layer(*(given[n] for n in order)),
                contract,
                {n: sample[n] for n in order},
            )

    convs = {
        "GCNConv": pyg.GCNConv(FEATURES, 5),
        "GATConv": pyg.GATConv(FEATURES, 5),
        "GINConv": pyg.GINConv(nn.Linear(FEATURES, 5)),
        "SAGEConv": pyg.SAGEConv(FEATURES, 5),
        "TransformerConv": pyg.TransformerConv(FEATURES, 5),
        "PNAConv": pyg.PNAConv(FEATURES, 5, ["mean", "max"], ["identity"], torch.tensor([0, 1, 2, 3])),
        "ChebConv": pyg.ChebConv(FEATURES, 5, 3),
    }
    for name, conv in convs.items():
        yield from case(name, conv, "x edge_index", "N x 5 x scalar", S("N"), S("E"))
    yield from case("SAGEConv(aggr='lstm')", Sorted(pyg.SAGEConv(FEATURES, 5, aggr="lstm")), "x edge_index", "N x 5 x scalar",
                    S("N"), S("E"))  # fmt: skip
    yield from case("GraphNorm", pyg.GraphNorm(FEATURES), "x batch", f"N x {FEATURES} x scalar", S("N"))
    yield from case("PointNetConv", pyg.PointNetConv(nn.Linear(FEATURES + 3, 5)), "x pos edge_index", "N x 5 x scalar",
                    coset.T(3), E(3), S("N"))  # fmt: skip
    yield from case(
        "PPFConv", pyg.PPFConv(nn.Linear(FEATURES + 4, 5)), "x pos normal edge_index", "N x 5 x scalar", E(3), S("N")
    )


class Sorted(nn.Module):
    """A layer that wants its edges sorted by target."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """The layer on sorted edges."""
        return self.layer(x, edge_index[:, torch.argsort(edge_index[1], stable=True)])


def molecules(sample: dict[str, Tensor]) -> Iterator[Case]:
    """SchNet of torch_geometric on two molecules in one batch, its neighbors given."""
    from torch_geometric.nn.models import SchNet

    def neighbors(pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        near = (torch.cdist(pos, pos) < 10) & (batch[:, None] == batch) & ~torch.eye(len(pos), dtype=torch.bool)
        source, target = near.nonzero().T
        return torch.stack([source, target]), (pos[source] - pos[target]).norm(dim=-1)

    net = SchNet(hidden_channels=16, num_filters=16, num_interactions=2, num_gaussians=10, interaction_graph=neighbors).double()
    given = {"z": torch.arange(NODES) % 8 + 1, "pos": sample["pos"], "batch": sample["batch"]}
    for group in (E(3), S("N"), E(3) ** "B"):
        contract = Contract(group, {n: FIELDS[n] for n in given}, "B x 1 x scalar")
        yield "torch_geometric", "SchNet", lambda z, pos, batch: net(z.long(), pos, batch), contract, given


def irreps_layers(generator: torch.Generator) -> Iterator[Case]:
    """Layers of e3nn on features of irreps."""
    from e3nn import nn as layers
    from e3nn import o3

    def spelled(irreps: str) -> str:
        return f"N x irreps({irreps}, layout=mul_ir)"

    mixed, signal = "2x0e+2x1o", "1x0e+1x1o+1x2e"
    product = o3.FullyConnectedTensorProduct(mixed, mixed, mixed).double()
    a, b = (o3.Irreps(mixed).randn(7, -1, dtype=torch.float64) for _ in range(2))
    yield "e3nn", "FullyConnectedTensorProduct", lambda a, b: product(a, b), Contract(
        O(3), {"a": spelled(mixed), "b": spelled(mixed)}, spelled(mixed)
    ), {"a": a, "b": b}  # fmt: skip
    norm = layers.NormActivation(o3.Irreps(mixed), torch.sigmoid, bias=True).double()
    yield "e3nn", "NormActivation", norm, Contract(O(3), spelled(mixed), spelled(mixed)), a
    for resolution in (20, 100):
        grid = layers.S2Activation(o3.Irreps(signal), torch.relu, res=resolution).double()
        x = torch.randn(7, 9, generator=generator, dtype=torch.float64)
        yield "e3nn", f"S2Activation(relu, res={resolution})", grid, Contract(SO(3), spelled(signal), spelled(signal)), x
        smooth = layers.S2Activation(o3.Irreps(signal), torch.tanh, res=resolution).double()
        yield "e3nn", f"S2Activation(tanh, res={resolution})", smooth, Contract(SO(3), spelled(signal), spelled(signal)), x


def judge(case: Case) -> dict[str, Any]:
    """One line: what was checked, whether it holds, the largest relative error and where."""
    package, what, f, contract, x = case
    line = {"package": package, "version": version(package), "what": what, "group": str(contract.group)}
    try:
        found = assert_equivariant(f, contract, x)
        return line | {"holds": True, "error": found.error}
    except Broken as broken:
        return line | {"holds": False, "error": broken.error, "why": str(broken)}


def run(out: Path) -> list[dict[str, Any]]:
    """All lines, written to ``out/conformance.json``."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    sample = graph(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = [judge(case) for cases in (graph_layers(sample), molecules(sample), irreps_layers(generator)) for case in cases]
    write_atomically(out / "conformance.json", json.dumps({"torch": torch.__version__, "lines": lines}, indent=2) + "\n")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/conformance"))
    torch.set_num_threads(1)
    for row in run(parser.parse_args().out):
        verdict = "holds" if row["holds"] else "BROKEN"
        print(f"{row['package']:16s} {row['what']:28s} {row['group']:12s} {verdict:7s} {row['error']:.1e}")
