"""Runs mace-torch's symmetric contraction in its own environment, told what to do by lines of JSON on standard input.

``{"do": "build", "irreps_in", "irreps_out", "correlation", "species", "nodes", "dtype", "save"}`` makes a module and seeded
data; with a path in ``save`` everything that decides the numbers, and the numbers, go to an npz file. ``{"do": "time", "what",
"repeat"}`` answers with process CPU seconds per call of "forward" or "both". This file imports nothing of coset.
"""

import json
import sys
import time
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
torch.serialization.add_safe_globals([slice])
torch.set_num_threads(1)


def build(order: dict) -> dict:
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, order["dtype"]))
    irreps = o3.Irreps(order["irreps_in"])
    module = SymmetricContraction(irreps, o3.Irreps(order["irreps_out"]), order["correlation"], num_elements=order["species"])
    channels = irreps[0].mul
    x = torch.randn(order["nodes"], channels, irreps.dim // channels)
    species = torch.randint(0, order["species"], (order["nodes"],))
    made = {"module": module, "x": x, "species": species, "hot": torch.eye(order["species"])[species]}
    if order.get("save"):
        save(order, made)
    return made


def save(order: dict, made: dict) -> None:
    module, x = made["module"], made["x"].clone().requires_grad_()
    weights = [p for p in module.parameters() if p.requires_grad]
    out = module(x, made["hot"])
    torch.manual_seed(1)
    cotangent = torch.randn_like(out)
    gx, *_ = torch.autograd.grad((out * cotangent).sum(), [x, *weights], allow_unused=True)
    kept = {"x": x, "species": made["species"], "out": out, "cotangent": cotangent, "gx": gx}
    kept |= {f"buffer.{name}": value for name, value in module.named_buffers()}
    for k, part in enumerate(module.contractions):
        kept[f"part.{k}.max"] = part.weights_max
        kept |= {f"part.{k}.{i}": w for i, w in enumerate(part.weights)}
    np.savez(order["save"], **{name: value.detach().numpy() for name, value in kept.items()})


def measure(order: dict, made: dict) -> float:
    module, hot = made["module"], made["hot"]
    both = order["what"] == "both"
    x = made["x"].clone().requires_grad_(both)
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]
    began = time.process_time()
    for _ in range(order["repeat"]):
        if both:
            out = module(x, hot)
            torch.autograd.grad(out, wanted, torch.ones_like(out), allow_unused=True)
        else:
            with torch.no_grad():
                module(x, hot)
    return (time.process_time() - began) / order["repeat"]


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    made: dict = {}
    for line in sys.stdin:
        order = json.loads(line)
        answer = {}
        if order["do"] == "build":
            made = build(order)
        else:
            answer["seconds"] = measure(order, made)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
