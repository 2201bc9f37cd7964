"""The network on positions x orientations: what it promises by its places, and that edges may come from anywhere."""

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, E, T
from coset.groups.finite import Icosahedral
from coset.groups.permutation import S
from coset.nn.position_orientation import PositionOrientation, promises, sampling_error

F64 = torch.float64


def network(**given):
    torch.manual_seed(0)
    return PositionOrientation(2, 0, **{"out_scalars": 1, "out_vectors": 0, "hidden": 6, "layers": 2} | given).double()


def test_promises_follow_from_the_places():
    sides = {"pos": "N x position"}, "N x scalar"
    groups = lambda *given, **more: [one.group for one in promises(*given, *sides, **more)]  # noqa: E731
    assert groups(12, 3) == [T(3), S("N"), Icosahedral(inversion=True), E(3)]
    assert groups(12, 3, exact=True) == [T(3), S("N"), Icosahedral(inversion=True)]
    assert groups("edges", 3) == groups(0, 3) == [E(3), S("N")]
    assert groups("edges", 3, chiral=True) == [SE(3), S("N")]
    assert promises(64, 3, *sides)[-1].bound == sampling_error(64) < sampling_error(16)
    with pytest.raises(ContractError, match="no rotation maps a grid of 64"):
        promises(64, 3, *sides, exact=True)


@pytest.mark.parametrize("orientations", [12, "edges", 0])
def test_the_order_of_edges_does_not_matter_and_far_ones_are_dropped(orientations):
    g = torch.Generator().manual_seed(1)
    model = network(orientations=orientations, radius=2.0)
    r, kind = torch.randn(8, 3, generator=g, dtype=F64), torch.randn(5, 2, generator=g, dtype=F64)
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 0, 0, 2], [1, 0, 3, 2, 0, 4, 1, 3]])  # two images of an edge among them
    one = model.nodes(r, edge_index, kind)["scalars"]
    order = torch.randperm(8, generator=g)
    far = torch.cat([r[order], torch.tensor([[0, 0, 2.0]], dtype=F64)])
    two = model.nodes(far, torch.cat([edge_index[:, order], torch.tensor([[1], [2]])], 1), kind)["scalars"]
    assert one.shape == (5, 1)
    assert (one - two).abs().max() < 1e-12


def test_outputs_are_named_where_there_are_any():
    g = torch.Generator().manual_seed(1)
    r, kind = torch.randn(2, 3, generator=g, dtype=F64), torch.randn(2, 2, generator=g, dtype=F64)
    out = network(out_scalars=0, out_vectors=2).nodes(r, torch.tensor([[0, 1], [1, 0]]), kind)
    assert {name: value.shape for name, value in out.items()} == {"vectors": (2, 2, 3)}


def test_bad_input_is_named():
    with pytest.raises(InputError, match="no orientation to project vectors on"):
        PositionOrientation(1, 1, out_scalars=1, out_vectors=0, orientations=0)
    with pytest.raises(InputError, match="pass orientations='edges'"):
        network(chirality=True)
