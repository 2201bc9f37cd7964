"""A task's picture follows from its declared fields: pictures, points, paths, graphs, else numbers."""

import matplotlib.figure
import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E, T
from coset.groups.finite import C
from coset.groups.flows import Flow
from coset.groups.permutation import S
from coset.report.portrait import moved, plain_portrait, portrait

SAMPLES = {
    "images": (Contract(C(4), "image", "B x scalar"), {"": (5, 1, 8, 8)}),
    "frames": (Contract(Flow(T(2), 1), {"frames": "B x frames"}, "B x scalar"), {"frames": (2, 4, 1, 8, 8)}),
    "points": (Contract(E(3), {"pos": "N x position"}, "N x scalar"), {"pos": (9, 3)}),
    "paths": (Contract(E(2), {"cond": "N x T x position"}, "N x scalar"), {"cond": (3, 5, 2)}),
    "numbers": (Contract(S("K"), {"x": "B x K x 4 x scalar"}, "B x scalar"), {"x": (2, 6, 4)}),
}


def sample(shapes):
    found = {name: torch.rand(shape, generator=torch.Generator().manual_seed(0)) for name, shape in shapes.items()}
    return found.get("", found)


def drawn(figure):
    """What stands in the panels: images, points, lines."""
    assert isinstance(figure, matplotlib.figure.Figure)
    return [(len(axes.images), len(axes.collections), len(axes.lines)) for axes in figure.axes]


@pytest.mark.parametrize(("kind", "panels"), [("images", 15), ("frames", 12), ("points", 3), ("paths", 3), ("numbers", 3)])
def test_every_kind_of_input_has_a_picture(kind, panels):
    contract, shapes = SAMPLES[kind]
    made = portrait((contract,), sample(shapes), title=kind)
    found = drawn(made)
    assert len(found) == panels
    assert all(any(panel) for panel in found)
    assert str(contract.group) in made._suptitle.get_text()


def test_graphs_are_drawn_one_by_one_with_their_edges():
    contract = Contract(S("N"), {"x": "N x 2 x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"}, "B x scalar")
    x = {
        "x": torch.rand(7, 2),
        "edge_index": torch.tensor([[0, 1, 2, 3, 4], [1, 2, 0, 4, 5]]),
        "batch": torch.tensor([0, 0, 0, 1, 1, 1, 1]),
    }
    assert drawn(portrait((contract,), x)) == [(0, 1, 3)] * 3


def test_copies_are_moved_by_elements_that_differ():
    contract, shapes = SAMPLES["frames"]
    versions = moved(contract, sample(shapes))
    assert [name for name, _ in versions] == ["as it is", "moved", "moved"]
    frames = [x["frames"] for _, x in versions]
    assert not any(torch.equal(a, b) for i, a in enumerate(frames) for b in frames[:i])


def test_recorded_inputs_are_shown_as_they_are():
    contract = Contract(C(4), {"x": "B x recorded(3)"}, "B x scalar", "learned")
    assert [name for name, _ in moved(contract, {"x": torch.rand(3, 1, 8, 8)})] == ["as recorded"]
    assert len(drawn(portrait((contract,), {"x": torch.rand(3, 1, 8, 8)}))) == 3


def test_groups_that_move_space_are_preferred():
    still, shapes = Contract(S("N"), {"pos": "N x position"}, "N x scalar"), SAMPLES["points"][1]
    made = portrait((still, SAMPLES["points"][0]), sample(shapes), title="t")
    assert made._suptitle.get_text() == "t: E(3)"


def test_tables_without_a_contract_and_nothing_at_all():
    assert len(drawn(plain_portrait({"y": torch.arange(3), "x": torch.rand(10, 1, 6, 6)}))) == 8
    with pytest.raises(InputError, match="no sample"):
        portrait((), None)
    with pytest.raises(InputError, match="floating"):
        plain_portrait({"y": torch.arange(3)})
