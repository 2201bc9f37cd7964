from pathlib import Path

import pytest
import torch
from torch import nn

from coset.data.stillinger import SPECIES, clusters
from coset.data.structures import Structures
from coset.errors import InputError
from coset.interop.target import load_object
from coset.models.atoms.mace import MACE
from coset.nn.edge_radial import ScaledMLP
from coset.recipe import Data, Recipe
from coset.train.fit import fit

data, objective, pairs = (
    load_object(f"{Path(__file__).parent / 'pair_potential.py'}:{name}") for name in ("data", "objective", "pairs")
)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "16-true", "bf16"])
def test_a_potential_is_not_rounded(precision):
    with pytest.raises(InputError, match=rf"precision '{precision}' would round positions.*trains in 32 or 64"):
        fit(pairs(), objective, data(4), Recipe(epochs=1, precision=precision))


def test_other_models_may_be():
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    seen = []

    def square(model, batch):
        seen.append(model(batch["x"]).dtype)
        return {"loss": (model(batch["x"]) - batch["x"][:, :1]).square().mean()}

    fit(nn.Linear(3, 1), square, Data({"x": x}, None), Recipe(epochs=1, batch=16, precision="bf16-mixed"))
    assert set(seen) == {torch.bfloat16}


def test_why_radial_networks_alone_cost_a_percent_of_the_forces(monkeypatch):
    structures = Structures(clusters(4, 6, seed=0), 4.0)
    batch = structures.collate([structures[i] for i in range(4)])
    inputs = {name: value for name, value in batch.items() if name not in ("energy", "forces")}
    torch.manual_seed(0)
    model = MACE(SPECIES, 4.0, hidden="4x0e+4x1o", lmax=2, correlation=2, network=(8,), readout=4).eval()
    exact = model(**inputs)["forces"]
    plain = ScaledMLP.forward

    def rounded(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return plain(self, x).to(x.dtype)

    monkeypatch.setattr(ScaledMLP, "forward", rounded)
    change = (model(**inputs)["forces"] - exact).norm() / exact.norm()
    assert 3e-3 < change < 0.1
