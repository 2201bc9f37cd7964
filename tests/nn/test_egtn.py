"""EGTN is equivariant with any number of layers; its unconstrained copy is not, and both see space and time."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.nn.egtn import EGTN
from coset.testing import Broken, assert_equivariant, check


def loud(model):
    """Positions that move as much as features do."""
    for layer in [*model.spatial, *model.temporal]:
        last = layer.shift if hasattr(layer, "shift") else layer.gain
        torch.nn.init.normal_(last[-1].weight, std=0.3)
    return model.double()


def example(model, generator, space=3):
    return model.contracts[0].inputs.example({"N": 4, "T": 3, "E": 8}, space=space, generator=generator)


@pytest.mark.parametrize(("space", "edges"), [(3, 0), (2, 2)])
def test_it_keeps_both_promises(space, edges, generator):
    torch.manual_seed(0)
    model = loud(EGTN(2, 8, 2, edge_features=edges, space=space))
    assert max(check(model, example(model, generator, space)).errors.values()) < 1e-10


def test_the_copy_promises_permutations_alone(generator):
    torch.manual_seed(0)
    model = EGTN(2, 8, 2, move=False).double()
    torch.nn.init.normal_(model.read.weight)
    x = example(model, generator)
    assert [str(contract) for contract in model.contracts] == ['S("N")']
    check(model, x)
    exact = EGTN(2, 8, 2).contracts[0]
    with pytest.raises(Broken):
        assert_equivariant(model, Contract(E(3), exact.inputs, exact.outputs), x, samples=4)


def test_frames_and_nodes_are_both_seen(generator):
    torch.manual_seed(0)
    model = loud(EGTN(1, 8, 2))
    x = {
        "h": torch.randn(3, 4, 1, generator=generator).double(),
        "x": torch.randn(3, 4, 3, generator=generator).double(),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
    }
    before = model(**x)["x"]
    moved = x["x"].clone()
    moved[0, 0] += 1
    change = (model(**{**x, "x": moved})["x"] - before).abs().amax(-1)
    assert change[1, 3] > 1e-8  # the neighbor, in another frame
    assert change[2].max() == 0  # no edge leads there


def test_sizes_are_the_papers(generator):
    model = EGTN(33, 128, 6, edge_features=1)
    assert len(model.spatial) == len(model.temporal) == 6
    assert model.spatial[0].message[0].in_features == 2 * 128 + 1 + 1
    assert not model.spatial[0].residual


def test_bad_input_is_refused(generator):
    with pytest.raises(InputError, match="at least 1"):
        EGTN(0)
    with pytest.raises(InputError, match="EGTN: h"):
        EGTN(1, 4, 1)(torch.zeros(2, 3, 1), torch.zeros(2, 4, 3), torch.zeros(2, 0, dtype=torch.int64))
