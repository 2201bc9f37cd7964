"""`coset.accelerate` on a mace-torch model: speed, error, training, memory, saved weights; in an environment of its own.

Two layers, 128x0e+128x1o, l_max 3, correlation 3, on a periodic NaCl cell of 64 atoms. Original and accelerated calls alternate
in one process, one thread; memory is the peak of a process that makes one kind of call. The environment (torch, mace-torch,
this package) is made once in ``~/.cache/coset``, or is the one of ``--python``.
"""

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch==2.13.0", "mace-torch==0.3.16", "vesin>=0.6")
SPEED, REACH, OWN_ERROR, DOUBLE = 5.0, 15.0, 2.0, 1e-10
PEAKS = ("original", "accelerated", "nothing")


def run(out: Path, *, python: str | None = None, rounds: int = 12) -> dict:
    """All figures; passed if 5 times as fast, in float32 at most twice as wrong as the original, in float64 within 1e-10."""
    from coset.records import write_atomically

    began = time.perf_counter()
    python = environment() if python is None else python
    figures = _worker(python, "figures", rounds)
    figures["compile"] = _worker(python, "compile", 1)
    figures["peak_memory_mb"] = {kind: _worker(python, kind, 3) for kind in PEAKS}
    checks = {
        "speed-up": figures["float32"]["speedup"] >= SPEED,
        "error of energy": figures["float32"]["energy_error_ratio"] <= OWN_ERROR,
        "error of forces": figures["float32"]["forces_error_ratio"] <= OWN_ERROR,
        "float64": max(figures["float64"]["deviation"].values()) <= DOUBLE,
        "saved weights": figures["float32"]["saved_and_opened"] <= 1e-5,
    }
    result = {"what": "accelerate", "figures": figures, "checks": checks, "passed": all(checks.values())}
    result["thresholds"] = {"speedup": SPEED, "reach": REACH, "error_ratio": OWN_ERROR, "float64": DOUBLE}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "accelerate.json", json.dumps(result, indent=2) + "\n")
    return result


def environment() -> str:
    """The interpreter of a virtual environment with the packages that the comparison needs."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "coset" / "mace-torch-0.3.16"
    python = folder / "bin" / "python"
    done, wanted = folder / ".done", " ".join(PACKAGES)
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, PACKAGES[0]], check=True)
        subprocess.run([*install, *PACKAGES, "-e", str(ROOT)], check=True)
        done.write_text(wanted)
    return str(python)


def _worker(python: str, what: str, rounds: int) -> dict:
    """This file once more, in the other environment."""
    setting = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [python, __file__, "--worker", what, "--rounds", str(rounds), "--out", str(file)]
        subprocess.run(command, check=True, env=setting, stdout=sys.stderr)
        return json.loads(file.read_text())


def build(dtype, seed: int = 0, hidden: str = "128x0e+128x1o"):
    """The model with random weights."""
    import numpy as np
    import torch

    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 reads a file of constants that torch >= 2.6 refuses otherwise
    from e3nn import o3
    from mace import modules

    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    block = modules.RealAgnosticResidualInteractionBlock
    model = modules.ScaleShiftMACE(
        atomic_inter_scale=1.3,
        atomic_inter_shift=0.1,
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([-1.0, -2.0]),
        avg_num_neighbors=25.0,
        atomic_numbers=[11, 17],
        correlation=3,
    )
    torch.set_default_dtype(torch.float32)
    return model


def crystal(dtype, seed: int = 0, cells: int = 2) -> dict:
    """NaCl, 8 atoms per cell, displaced by 0.1 angstrom, as mace-torch's own reader makes its input."""
    import ase.build
    import torch
    from mace import data, tools
    from mace.tools.torch_geometric.dataloader import DataLoader

    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (cells, cells, cells)
    atoms.rattle(0.1, seed=seed)
    torch.set_default_dtype(dtype)
    table = tools.AtomicNumberTable([11, 17])
    sample = data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=5.0)
    batch = next(iter(DataLoader([sample], batch_size=1))).to_dict()
    torch.set_default_dtype(torch.float32)
    return batch


def figures(rounds: int) -> dict:
    """Everything but memory, measured in this process."""
    import torch

    from coset.nn.accelerate import accelerate

    found = {"atoms": 64, "edges": crystal(torch.float32)["edge_index"].shape[1], "torch": torch.__version__}
    model, example = build(torch.float32), crystal(torch.float32)
    original = copy.deepcopy(model)
    began = time.process_time()
    accelerate(model, example, rounds=1)
    single = {
        "accelerate_seconds": time.process_time() - began,
        **_speed(original, model, example, rounds),
        **_errors(original, model),
    }
    single["saved_and_opened"] = _trained(original, model, example)
    for name, options in (("frozen", {}), ("table", {"table": True}), ("without_pairs", {"pairs": False})):
        frozen = copy.deepcopy(original).requires_grad_(False)
        reference = copy.deepcopy(frozen)
        accelerate(frozen, example, rounds=1, report=None, **options)
        single[name] = _speed(reference, frozen, example, rounds, training=False)
        single[name] |= _errors(reference, frozen)
    found["float32"] = single
    model, example = build(torch.float64), crystal(torch.float64)
    original = copy.deepcopy(model)
    accelerate(model, example, rounds=1)
    theirs, ours = _call(original, example), _call(model, example)
    gaps = {name: float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in QUANTITIES}
    found["float64"] = {"deviation": gaps, **_speed(original, model, example, max(3, rounds // 3))}
    return found


QUANTITIES = ("interaction_energy", "forces")


def _call(model, example: dict, **options):
    return model({name: x.clone() if hasattr(x, "clone") else x for name, x in example.items()}, **options)


def _speed(original, model, example: dict, rounds: int, training: bool = True) -> dict:
    """Milliseconds of processor time, alternating; medians and the ratio of medians."""

    def step(which) -> None:
        result = _call(which, example, training=True)
        (result["forces"].square().mean() + result["energy"].square().mean()).backward()
        which.zero_grad(set_to_none=True)

    kinds = {"": lambda which: _call(which, example)} | ({"training_": step} if training else {})
    found = {}
    for kind, act in kinds.items():
        times = {"original": [], "accelerated": []}
        for turn in range(rounds + 2):
            for name, which in (("original", original), ("accelerated", model)):
                began = time.process_time()
                act(which)
                if turn >= 2:
                    times[name].append(1e3 * (time.process_time() - began))
        median = {name: statistics.median(values) for name, values in times.items()}
        found[f"{kind}ms"] = {name: {"median": round(median[name], 2), "least": round(min(times[name]), 2)} for name in times}
        found[f"{kind}speedup"] = round(median["original"] / median["accelerated"], 2)
    return found


def _errors(original, model, crystals: int = 12) -> dict:
    """Root mean square errors of both against the original in float64, over several crystals."""
    import torch

    double = copy.deepcopy(original).double()
    squares = {name: [0.0, 0.0] for name in QUANTITIES}
    for seed in range(crystals):
        example = crystal(torch.float32, seed)
        exact = {
            name: x.double() if hasattr(x, "is_floating_point") and x.is_floating_point() else x for name, x in example.items()
        }
        truth = _call(double, exact)
        for place, which in enumerate((original, model)):
            result = _call(which, example)
            for name in QUANTITIES:
                squares[name][place] += float((result[name].double() - truth[name]).square().mean())
    rms = {name: [(value / crystals) ** 0.5 for value in pair] for name, pair in squares.items()}
    ratio = {name: rms[name][1] / rms[name][0] for name in rms}
    return {
        "rms_error": {name: {"original": pair[0], "accelerated": pair[1]} for name, pair in rms.items()},
        "energy_error_ratio": round(ratio["interaction_energy"], 3),
        "forces_error_ratio": round(ratio["forces"], 3),
    }


def _trained(original, model, example: dict) -> float:
    """A training step on the accelerated model, its state in the original: how far their forces are apart, relative."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    _call(model, example, training=True)["forces"].square().mean().backward()
    optimizer.step()
    opened = copy.deepcopy(original)
    opened.load_state_dict(model.state_dict())
    mine, theirs = _call(model, example)["forces"], _call(opened, example)["forces"]
    model.load_state_dict(original.state_dict())
    return float((mine - theirs).abs().max() / theirs.abs().max())


def compiled() -> dict:
    """Whether a force-training call is one graph for torch.compile, after mace-torch's preparation; 16 channels, aot_eager."""
    import torch
    from mace.tools.compile import prepare

    from coset.nn.accelerate import accelerate

    example, found = crystal(torch.float32, cells=1), {}
    for name, change in (
        ("original", lambda model: model),
        ("accelerated", lambda model: accelerate(model, report=None, rounds=1)),
    ):
        torch._dynamo.reset()
        given = {**example, "positions": example["positions"].clone().requires_grad_(True)}
        try:
            model = prepare(lambda change=change: change(build(torch.float32, hidden="16x0e+16x1o")))()
            forces = torch.compile(model, backend="aot_eager", fullgraph=True)(given, training=True)["forces"]
            eager = build(torch.float32, hidden="16x0e+16x1o")(dict(example))["forces"]
            found[name] = f"one graph, forces within {float((forces - eager).abs().max() / eager.abs().max()):.0e}"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return found


def peak(kind: str, calls: int) -> float:
    """Peak resident megabytes of this process with calls of one kind, or with none."""
    import torch

    from coset.nn.accelerate import accelerate

    model, example = build(torch.float32).requires_grad_(False), crystal(torch.float32)
    if kind == "accelerated":
        accelerate(
            model, crystal(torch.float32, cells=1), rounds=1, report=None
        )  # verified on 8 atoms: no peak of the original
    for _ in range(calls if kind != "nothing" else 0):
        _call(model, example)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--python", help="an interpreter that has mace-torch; made if not given")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        import torch

        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        kinds = {"figures": lambda: figures(given.rounds), "compile": compiled}
        measured = kinds.get(given.worker, lambda: peak(given.worker, given.rounds))()
        given.out.write_text(json.dumps(measured))
        sys.exit(0)
    done = run(given.out, python=given.python, rounds=given.rounds)
    print(json.dumps(done, indent=2))
    sys.exit(0 if done["passed"] else 1)
