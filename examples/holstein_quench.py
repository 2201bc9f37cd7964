"""A quench of the Holstein model by a learned force on a lattice far too large for diagonalization; restarts where it stopped.

    coset train holstein "D4 x Z2" --size full --out runs/holstein
    python examples/holstein_quench.py runs/holstein/rows/d4-x-z2/0 --size 200 --steps 2000 --out quench-200

Without a trained row a network is trained on 16 configurations first, about half a minute. Charge order grows in domains of
both signs; the exponent of a power law of their size over the second half of the run is printed.
"""

import argparse
from pathlib import Path

import torch

from coset.contract import frozen
from coset.data.holstein import MODEL, frames_and_made, quench
from coset.models.atoms.lattice import LatticeForceField
from coset.ops.langevin import growth_exponent
from coset.recipe import Data
from coset.tasks.holstein import base, task, train
from coset.train.checkpoint import load_model


def learned(folder: Path | None) -> torch.nn.Module:
    """The row saved in ``folder``, or a network trained here."""
    if folder is not None:
        return load_model(folder).eval()
    torch.manual_seed(0)
    configurations = frames_and_made(16, 4, 12, generator=torch.Generator().manual_seed(0))
    recipe = task.recipe["cpu"].override({"epochs": 200})
    return train(LatticeForceField(scale=MODEL.amplitude), base, Data(configurations, {}), recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="?", type=Path, help="folder of a trained row of the task holstein")
    parser.add_argument("--size", type=int, default=48, help="sites per side, even")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint; the run goes on from one that is there")
    given = parser.parse_args()
    model = learned(given.row).to(given.device)
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(1, 1, given.size, given.size, generator=generator).to(given.device)
    checkpoint = None if given.out is None else given.out / "quench.safetensors"

    def told(step: int, steps: int) -> None:
        print(f"step {step} of {steps}", flush=True)

    with frozen(model):
        track = quench(model, q, given.steps, checkpoint=checkpoint, every=max(1, given.steps // 10), progress=told)
    for step in range(0, given.steps + 1, max(1, given.steps // 10)):
        print(f"{step:6d}  order {track['order'][step]:.3f}  domains {track['domain'][step]:.3f} sites")
    print(f"domain size ~ time^{growth_exponent(track['domain']):.3f}")


if __name__ == "__main__":
    main()
