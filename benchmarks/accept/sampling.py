"""100 trajectories of 5 bodies (10 frames given, 20 drawn) in 100 steps, side by side, in seconds of one core.

Three sizes: of the task ``forecasting`` at ``cpu``, of the paper, and of the paper with a quarter of the steps; what skipping
steps costs in accuracy is measured by the acceptance run ``forecasting``. The issue asks for two cores; one is measured.
"""

import time
from typing import Any

import torch

from coset.data.trajectories import System
from coset.models.generate.geotdm import GeoTDM
from coset.report.acceptance import Bound, main
from coset.tasks.forecasting import NETWORKS

COUNT, STEPS = 100, 100
SIZES = {"cpu": (NETWORKS["cpu"], STEPS), "paper": (NETWORKS["full"], STEPS), "paper_quarter": (NETWORKS["full"], STEPS // 4)}

BOUNDS = (
    Bound("cpu.seconds", "<=", 60, "issue 4, speed: 100 trajectories of 5 bodies under 60 s at S = 100"),
    Bound("paper_quarter.seconds", "<=", 60, "issue 4, speed: or a faster sampler, its accuracy beside it"),
)


def seconds(network: dict[str, int], steps: int, *, run: int) -> float:
    """Processor seconds of all trajectories; ``run`` steps are timed and multiplied, since all cost the same."""
    torch.manual_seed(0)
    scenes = System("charged", 5, 10, 20, 0.01).sample(COUNT, generator=torch.Generator().manual_seed(0))
    given = {name: value for name, value in scenes.collate(scenes.scenes).items() if name != "x"}
    model = GeoTDM(20, edge_features=1, **{**network, "steps": STEPS}, unit=0.5)  # type: ignore[arg-type]
    model.sample(given, steps=1)
    began = time.process_time()
    model.sample(given, steps=run)
    return (time.process_time() - began) * steps / run


def measure(*, run: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (network, steps) in SIZES.items():
        timed = min(run, steps)
        found[name] = {**network, "seconds": seconds(network, steps, run=timed), "steps": steps, "timed": timed}
    return found


if __name__ == "__main__":
    main("sampling", __doc__, measure, BOUNDS)
