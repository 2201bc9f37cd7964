"""Where will people walk? 8 positions given, 12 to come, 20 guesses each; generated walkers, or ETH-UCY, one scene left out.

``coset compare pedestrians --size full --data scenes=FOLDER --data test=FOLDER/biwi_eth.txt`` takes the public text files: the
scene that the ``test`` recording belongs to is tested, all other recordings in the folder train. Contracts: E(2) and S("N") on
the sampler. Distances in meters, per pedestrian, of the best of 20 guesses; at ``full`` 60 samples are clustered to 20 (Han et
al., 2024). Data: :mod:`coset.data.pedestrians`.
"""

from __future__ import annotations

from functools import partial

import torch

from coset.contract import Contract
from coset.data.pedestrians import leave_out, scene_of, walkers
from coset.errors import InputError, unknown
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.task import Data, Recipe, Request, Task
from coset.tasks.forecasting import INPUTS, OUTPUT, base, bundle, error, fans, rows

COUNTS = {"smoke": (16, 4, 4), "cpu": (400, 60, 100), "full": (3000, 300, 500)}  #: generated scenes: train, valid, test
SAMPLES = {"smoke": 4, "cpu": 20, "full": 60}
NETWORKS: dict[str, dict[str, int]] = {
    "smoke": {"hidden": 8, "layers": 1, "prior_layers": 1, "steps": 10},
    "cpu": {"hidden": 32, "layers": 2, "prior_layers": 2, "steps": 50},
    "full": {"hidden": 64, "layers": 4, "prior_layers": 2, "steps": 100},
}
GUESSES = 20
THINNED = {"smoke": 40, "cpu": 4, "full": 1}  #: every so many windows train, below the full size

inputs = {name: spec for name, spec in INPUTS.items() if name != "edge_attr"}
motions, exchanges = Contract(E(2), inputs, OUTPUT), Contract(S("N"), inputs, OUTPUT)


def data(request: Request) -> Data:
    """Generated walkers, or recordings: ``scenes`` is a folder, ``test`` a recording of the scene to leave out (ETH)."""
    files = dict(request.files)
    if odd := set(files) - {"scenes", "test"}:
        raise unknown("data", sorted(odd)[0], ("scenes", "test"))
    if files and "scenes" not in files:
        raise InputError("pedestrians: --data test=FILE needs --data scenes=FOLDER, the recordings to train on")
    if files:
        left = scene_of(files["test"]) if "test" in files else "eth"
        train, valid, test = leave_out(files["scenes"], left, stride=THINNED[request.size])
    else:
        left, generator = "generated", torch.Generator().manual_seed(3000 + request.seed)
        train, valid, test = (walkers(count, generator=generator) for count in COUNTS[request.size])
    drawn = {"samples": SAMPLES[request.size], "title": f"pedestrians, {left}", "unit": "(m)"}
    return bundle(train, test, valid, request, net=NETWORKS[request.size], **drawn)


guess = partial(error, guesses=GUESSES, of="best")  #: meters, averaged over pedestrians

task = Task(
    contracts=(motions, exchanges),
    data=data,
    objective=base,
    metrics={
        "min_ade_m": guess,
        "min_fde_m": partial(guess, final=True),
        "turned_min_ade_m": partial(guess, turn=True),
    },
    methods=rows(space=2),
    recipe={
        "smoke": Recipe(epochs=2, batch=8, lr=1e-3),
        "cpu": Recipe(epochs=100, batch=50, lr=2e-3, weight_decay=0.0, clip=1.0),
        "full": Recipe(epochs=100, batch=100, lr=5e-4, optimizer="adam", schedule="cosine", weight_decay=0.0, clip=1.0),
    },
    findings={"fans": fans},
    lower_is_better=True,
)
