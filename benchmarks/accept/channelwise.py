"""Channelwise products against e3nn, cuEquivariance and an equal-FLOPs matmul; memory; first call (issue 3's table)."""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from tables import channelwise

from coset.records import write_atomically

E3NN = {"B": 25.0, "C": 25.0, "D": 25.0, "F": 15.0}  # times faster than e3nn in every pass
CUEQ = {"B": 20.0, "C": 20.0, "D": 20.0}
MATMUL, TORCH, COLD, CACHED = 4.0, 1.5, 4.0, 0.2


def run(out: Path) -> dict:
    """All ratios of B, C, D and F at 1000 and 5000 edges; passed if none is below its threshold."""
    began = time.perf_counter()
    speed = channelwise.speed(names=tuple(E3NN)).rows
    memory, calls = channelwise.memory().rows, channelwise.first_call().rows
    misses = [f"{row['case']} E={row['edges']} {row['pass']}: {text}" for row in speed for text in _misses(row)]
    misses += [f"{row['case']} {row['party']} saves {row['tensors']} tensors" for row in memory if _saves(row)]
    misses += [f"first call of {row['case']}: {row}" for row in calls if row["cold s"] > COLD or row["cached s"] > CACHED]
    result = {"what": "channelwise", "figures": {"speed": speed, "memory": memory, "first_call": calls, "misses": misses}}
    result |= {"thresholds": {"e3nn": E3NN, "cueq": CUEQ, "matmul": MATMUL, "torch": TORCH, "cold_s": COLD, "cached_s": CACHED}}
    result |= {"passed": not misses, "seconds": round(time.perf_counter() - began, 1)}
    write_atomically(out / "channelwise.json", json.dumps(result, indent=2) + "\n")
    return result


def _misses(row: dict) -> list[str]:
    """What one row lacks."""
    name = row["case"][0]
    wanted = {"×cpu e3nn": E3NN[name], "×cpu cueq": CUEQ.get(name, 0.0), "×torch e3nn": TORCH}
    found = [f"{key} {row[key]:.1f} < {least}" for key, least in wanted.items() if row[key] is not None and row[key] < least]
    if row["cpu/matmul"] is not None and row["cpu/matmul"] > MATMUL:
        found.append(f"{row['cpu/matmul']:.2f} times an equal-FLOPs matmul")
    return found


def _saves(row: dict) -> bool:
    """Whether one of ours keeps more than its operands."""
    return row["party"] in ("cpu", "torch") and row["bytes/edge beyond inputs"] > 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = run(given.out)
    print(json.dumps({key: done[key] for key in ("what", "thresholds", "passed", "seconds")}, indent=2))
    print("\n".join(done["figures"]["misses"]))
    sys.exit(0 if done["passed"] else 1)
