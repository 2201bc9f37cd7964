"""The sample that a model of atoms draws for checks is periodic in earnest."""

import pytest
import torch

from coset.models.atoms.mace import MACE
from coset.nn.potential import Potential, edge_forces, virial
from coset.ops.periodic import edge_vectors, neighbor_list
from coset.ops.scatter import scatter_sum
from coset.testing import Broken, check, sample_for

R_MAX = 4.0


class Springs(Potential):
    """``eps_i = sum_e (r_max - |v_e|)^4`` over edges into i."""

    def __init__(self):
        super().__init__((14, 32), R_MAX)
        self.config = {}

    def energies(self, graph):
        return scatter_sum((self.r_max - graph.lengths).clamp(min=0) ** 4, graph.edges["target"].values, len(graph.species))


class Unshifted(Springs):
    """Takes every neighbor for the one in the same cell and writes the stress along the axes that the box happens to have."""

    def forward(self, pos, z, edge_index, shift=None, cell=None, batch=None):
        out = super().forward(pos, z, edge_index, shift, cell, batch)
        return out | {"stress": out["stress"] + 0.1 * out["energy"].view(-1, 1, 1) * torch.diag(pos.new_tensor([0, 0, 1]))}


class Columns(Springs):
    """Reads the cell's columns for lattice vectors."""

    def forward(self, pos, z, edge_index, shift=None, cell=None, batch=None):
        return super().forward(pos, z, edge_index, shift, cell.mT, batch)


def test_all_neighbors_are_there_images_of_themselves_among_them():
    x = Springs().example(torch.Generator().manual_seed(0))
    source, target = x["edge_index"]
    own = (source == target) & (x["batch"][source] == 0)
    assert own.any()
    assert (x["shift"][own] != 0).any(1).all()
    for graph in (0, 1):
        mine = x["batch"] == graph
        edges, shift = neighbor_list(x["pos"][mine], R_MAX, cell=x["cell"][graph], periodic=True)
        start = int(torch.nonzero(mine)[0])
        want = {(*e, *s) for e, s in zip((edges + start).T.tolist(), shift.tolist(), strict=True)}
        kept = x["batch"][source] == graph
        got = {(*e, *s) for e, s in zip(x["edge_index"].T[kept].tolist(), x["shift"][kept].tolist(), strict=True)}
        assert got == want
    assert edge_vectors(x["pos"], x["edge_index"], shift=x["shift"], cell=x["cell"], batch=x["batch"]).norm(dim=1).max() < R_MAX
    width = torch.linalg.det(x["cell"]) ** (1 / 3)
    assert width[0] < R_MAX < width[1]


def test_a_check_without_data_uses_it():
    model = Springs()
    drawn = sample_for(model.contracts[0], None, model)
    assert torch.equal(drawn["pos"], model.example(torch.Generator().manual_seed(0))["pos"])
    assert (sample_for(model.contracts[0])["shift"] != 0).any()  # and fields alone draw images too
    assert max(check(model).errors.values()) < 1e-13


@pytest.mark.parametrize("twin", [Unshifted, Columns], ids=lambda kind: kind.__name__)
def test_what_is_wrong_only_in_a_crystal_is_caught(twin):
    with pytest.raises(Broken, match="does not keep its contract"):
        check(twin())


def test_a_trained_network_passes_without_data():
    torch.manual_seed(0)
    assert max(check(MACE((14, 32), R_MAX, hidden="2x0e+2x1o", lmax=1, correlation=2)).errors.values()) < 1e-10


def test_forces_and_virial_come_from_one_slope():
    """Newton's third law holds of self-images as well: they pull on nothing."""
    model, x = Springs(), Springs().example(torch.Generator().manual_seed(1))
    graph = model.graph(*(x[name] for name in ("pos", "z", "edge_index", "shift", "cell", "batch")), live=True)
    (slope,) = torch.autograd.grad(model.energies(graph).sum(), graph.vectors)
    assert scatter_sum(edge_forces(slope, graph), x["batch"], 2).abs().max() < 1e-10
    assert torch.allclose(virial(slope, graph), virial(slope, graph).mT)
