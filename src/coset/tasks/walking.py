"""A walking body: 8 frames of its joints given, 12 forecast; generated walks, CMU motion capture, or joints in a file.

``coset compare walking --size full --data mocap=FOLDER`` takes one ``.asf`` and its ``.amc`` files as CMU gives them (subject
35 walks); ``--data mocap=FILE.npz`` takes joint positions. Thirty frames per second, the last recording is tested. Contracts:
E(3), S("N") on the sampler. Distances in meters (in the file's unit for ``.npz``), averaged over joints and 5 samples. Data:
:mod:`coset.data.mocap`.
"""

from __future__ import annotations

import torch

from coset.data.mocap import pieces, read_motions, walks
from coset.errors import unknown
from coset.task import Data, Recipe, Request, Task
from coset.tasks.forecasting import ade, base, bundle, exchanges, fans, fde, min_ade, motions, rows, turned_ade

COUNTS = {"smoke": 4, "cpu": 12, "full": 60}  #: generated walks; the last is the test, the one before it for validation
STRIDE = {"smoke": 80, "cpu": 8, "full": 2}
NETWORKS: dict[str, dict[str, int]] = {
    "smoke": {"hidden": 8, "layers": 1, "prior_layers": 1, "steps": 10},
    "cpu": {"hidden": 32, "layers": 2, "prior_layers": 2, "steps": 50},
    "full": {"hidden": 128, "layers": 6, "prior_layers": 2, "steps": 1000},
}


def data(request: Request) -> Data:
    """Generated walks, or those in the user's ``mocap``."""
    files = dict(request.files)
    if odd := set(files) - {"mocap"}:
        raise unknown("data", sorted(odd)[0], ("mocap",))
    generator = torch.Generator().manual_seed(4000 + request.seed)
    found = read_motions(files["mocap"]) if files else walks(COUNTS[request.size], generator=generator)
    train, valid, test = pieces(found, stride=STRIDE[request.size])
    return bundle(train, test, valid, request, net=NETWORKS[request.size], title="walking, joints", unit="(m)")


task = Task(
    contracts=(motions, exchanges),
    data=data,
    objective=base,
    metrics={"ade": ade, "fde": fde, "turned_ade": turned_ade, "min_ade": min_ade},
    methods=rows(),
    recipe={
        "smoke": Recipe(epochs=1, batch=4, lr=1e-3),
        "cpu": Recipe(epochs=100, batch=25, lr=2e-3, weight_decay=0.0, clip=1.0),
        "full": Recipe(epochs=1000, batch=100, lr=5e-4, optimizer="adam", schedule="cosine", weight_decay=0.0),
    },
    findings={"fans": fans},
    lower_is_better=True,
)
