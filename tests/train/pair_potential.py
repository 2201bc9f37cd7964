"""A potential of a few dozen weights, and clusters of 2 to 9 atoms for it: batches whose counts of atoms differ."""

import torch
from torch import nn

from coset.data.stillinger import SPECIES, clusters
from coset.data.structures import Structures
from coset.nn.potential import Potential
from coset.objectives.energy_forces import EnergyForces
from coset.ops.scatter import scatter_sum
from coset.recipe import Data, Recipe

objective = EnergyForces(1.0, 10.0, shape="huber", delta=0.3)
recipe = Recipe(epochs=2, batch=5, lr=1e-2, clip=1.0, ema=0.9, precision="64")


class Pairs(Potential):
    """A sum over pairs of a small network of their distance."""

    def __init__(self, width=6):
        super().__init__(SPECIES, 4.0)
        self.network = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self.config = {"width": width}

    def energies(self, graph):
        each = self.network(graph.lengths.unsqueeze(-1)).squeeze(-1) * (1 - graph.lengths / self.r_max).relu() ** 3
        return scatter_sum(each, graph.edges["target"].values, len(graph.species))


def pairs():
    torch.manual_seed(0)
    return Pairs().double()


def structures(count=23, seed=0):
    frames = [clusters(1, 2 + (5 * i) % 8, seed=100 * seed + i)[0] for i in range(count)]
    return Structures(frames, 4.0, dtype=torch.float64)


def data(count=23):
    return Data(structures(count), None, valid=structures(7, seed=1))


def weights(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])
