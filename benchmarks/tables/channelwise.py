"""Tables of the channelwise product inside message passing: speed, memory, threads, first call."""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coset.ops.backends.adapters import cuequivariance, e3nn
from tables.configs import DEGREES, Case
from tables.page import Table
from tables.timing import copy_rate, interleaved, matmul, matmul_flops

MODES = ("forward", "forward + backward", "force training")
Member = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], tuple[Tensor, Tensor, Tensor]]


def members(case: Case, backends: Sequence[str]) -> dict[str, Member]:
    """Ours by backend, and the peers that are installed, each with operands in its own layout."""
    found: dict[str, Member] = {}
    for backend in backends:
        found[backend] = (lambda x, s, w, b=backend: case.tp(x, s, w, case.graph, backend=b)), case.operands()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers = {}
        if e3nn.available() is None:
            peers["e3nn"] = e3nn.Convolution(case.tp)
        if cuequivariance.available() is None:
            peers |= {f"cueq {layout}": cuequivariance.Convolution(case.tp, layout=layout) for layout in cuequivariance.LAYOUTS}
    for name, peer in peers.items():
        found[name] = (lambda *a, p=peer: p(*a, case.graph)), tuple(t.contiguous() for t in peer.inputs(*case.operands()))
    return found


def task(mode: str, member: Member) -> Callable[[], object]:
    """What is timed: the value; gradients of all operands too; or energy, forces through s, and gradients of a loss on both."""
    function, plain = member
    operands = tuple(x.detach().clone().requires_grad_() for x in plain)
    cotangent = torch.randn_like(function(*plain))

    def forward() -> object:
        with torch.no_grad():
            return function(*operands)

    def backward() -> object:
        return torch.autograd.grad(function(*operands), operands, cotangent)

    def force_training() -> object:
        x, s, w = operands
        energy = function(x, s, w).square().sum()
        (forces,) = torch.autograd.grad(energy, s, create_graph=True)
        return torch.autograd.grad(energy + forces.square().sum(), (x, w))

    return {"forward": forward, "forward + backward": backward, "force training": force_training}[mode]


def speed(*, quick: bool = False, names: Sequence[str] = tuple(DEGREES), backends: Sequence[str] = ("cpu", "torch")) -> Table:
    """us per edge of everybody, with the equal-FLOPs matmul and the byte floor of the forward."""
    rows = []
    copying = copy_rate()
    for edges in (1000,) if quick else (1000, 5000):
        for name in names:
            case = Case(name, edges)
            parties = members(case, backends)
            plan, channels = case.tp.plan, case.tp.channels
            flops = plan.flops(edges, channels)
            bytes_moved = plan.traffic(edges, channels, {"source": case.nodes, "target": case.nodes})
            for mode in MODES:
                calls = {party: task(mode, member) for party, member in parties.items()} | {"matmul": matmul(flops)}
                times = interleaved(calls, 3 if quick else 7)
                per_edge = {party: seconds.median / edges * 1e6 for party, seconds in times.items()}
                row = {"case": str(case), "edges": edges, "pass": mode}
                row |= {party: value for party, value in per_edge.items() if party in (*backends, "e3nn")} | _cueq(per_edge)
                row |= _ratios(per_edge, backends) | _floors(mode, per_edge, flops, bytes_moved / copying / edges * 1e6)
                rows.append(row | {f"_{party}": [s.median / edges * 1e6, s.least / edges * 1e6] for party, s in times.items()})
    note = "us per edge, medians of rounds in which all take turns, process CPU time; ×ours peer = times faster than that peer;"
    note += " matmul = equal FLOPs, bytes = operands and output moved once at the rate of a copy (minima are in the JSON)"
    return Table("channelwise", "Channelwise product inside message passing, float32", note, rows)


def _cueq(per_edge: dict[str, float]) -> dict[str, float]:
    """cuEquivariance in the better of its layouts."""
    found = [value for name, value in per_edge.items() if name.startswith("cueq")]
    return {"cueq": min(found)} if found else {}


def _ratios(per_edge: dict[str, float], backends: Sequence[str]) -> dict[str, float | None]:
    peers = {"e3nn": per_edge.get("e3nn"), "cueq": _cueq(per_edge).get("cueq")}
    return {
        f"×{backend} {peer}": None if value is None else value / per_edge[backend]
        for backend in backends
        for peer, value in peers.items()
    }


def _floors(mode: str, per_edge: dict[str, float], flops: float, bytes_us: float) -> dict[str, float | None]:
    """Of the forward only: the others' least count of FLOPs is not known."""
    if mode != MODES[0]:
        return {"matmul": None, "cpu/matmul": None, "bytes": None}
    floor = per_edge["matmul"] * flops / matmul_flops(flops)
    ratio = per_edge["cpu"] / floor if "cpu" in per_edge else None
    return {"matmul": floor, "cpu/matmul": ratio, "bytes": bytes_us}


def memory(*, quick: bool = False) -> Table:
    """Bytes that the graph of a forward keeps for its backward, beyond the operands themselves."""
    rows = []
    for name in ("B",) if quick else ("B", "C", "D", "F"):
        case = Case(name, 1000)
        for party, (function, operands) in members(case, ("cpu", "torch")).items():
            given = [x.detach().clone().requires_grad_() for x in operands]
            own = {x.untyped_storage().data_ptr() for x in given} | {
                i.values.untyped_storage().data_ptr() for i in case.graph.values()
            }
            saved: dict[int, int] = {}
            with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: _note(t, s), lambda t: t):
                out = function(*given)
            beyond = sum(size for address, size in saved.items() if address not in own)
            rows.append(
                {"case": str(case), "party": party, "tensors": len(saved), "bytes/edge beyond inputs": beyond / case.edges}
            )
            del out
    return Table(
        "memory",
        "Saved for backward",
        "saved tensors of one forward, 1000 edges, by storage; operands and indices not counted",
        rows,
    )


def _note(tensor: Tensor, saved: dict[int, int]) -> Tensor:
    storage = tensor.untyped_storage()
    saved[storage.data_ptr()] = storage.nbytes()
    return tensor


def threads(*, quick: bool = False) -> Table:
    """Wall time with two threads against one; meaningful on an idle machine only, so the load is part of the row."""
    rows = []
    for name in ("C",) if quick else ("B", "C", "D", "F"):
        case = Case(name, 5000)
        parties = {key: member for key, member in members(case, ("cpu", "torch")).items() if not key.startswith("cueq")}
        for mode in MODES:
            least: dict[tuple[str, int], float] = {}
            calls = {party: task(mode, member) for party, member in parties.items()}
            for count in (1, 2):
                torch.set_num_threads(count)
                for party, seconds in interleaved(calls, 3 if quick else 9, clock=time.perf_counter).items():
                    least[party, count] = seconds.least
            torch.set_num_threads(1)
            row = {"case": str(case), "pass": mode, "load": os.getloadavg()[0]}
            rows.append(row | {f"×{party}": least[party, 1] / least[party, 2] for party in parties})
    return Table("threads", "Two threads against one", "wall time, minima, 5000 edges; × = speed-up of the second thread", rows)


def first_call(*, quick: bool = False) -> Table:
    """Seconds of the first forward, backward and double backward in a new process, without and with the kernels on disk."""
    rows = []
    for name in ("B",) if quick else tuple(DEGREES):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {
                "COSET_CACHE": folder,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, "-c", f"from tables.channelwise import first; first({name!r})"]
            seconds = [
                json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
                for _ in "ab"
            ]
        rows.append({"case": str(Case(name, 1000)), "cold s": seconds[0], "cached s": seconds[1]})
    return Table(
        "first_call",
        "First call",
        "process CPU time of the plan and its first three passes, imports apart; a new process each",
        rows,
    )


def first(name: str) -> None:
    """Print the seconds of everything that happens once."""
    torch.set_num_threads(1)
    case = Case(name, 40)
    began = time.process_time()
    case.tp  # noqa: B018 -- the plan is made here
    made = time.process_time()
    x, s, w = (t.requires_grad_() for t in case.operands())
    graph = case.graph
    torch.autograd.grad(x.sum(), x)
    ready = time.process_time()
    energy = case.tp(x, s, w, graph).square().sum()
    (forces,) = torch.autograd.grad(energy, s, create_graph=True)
    torch.autograd.grad(energy + forces.square().sum(), (x, w))
    print(json.dumps(made - began + time.process_time() - ready))
