"""Fans have a panel per scene and plane, leave absent nodes out, and refuse what is no trajectory."""

import numpy as np
import pytest

from coset.errors import InputError
from coset.figures.trajectories import fans


def draw(scenes=2, nodes=3, space=2, past=4, samples=5):
    rng = np.random.default_rng(0)
    shape = (scenes, nodes)
    return (
        rng.normal(size=(*shape, past, space)),
        rng.normal(size=(*shape, 6, space)),
        rng.normal(size=(scenes, samples, nodes, 6, space)),
    )


@pytest.mark.parametrize(("space", "planes", "panels"), [(2, None, 2), (3, None, 6), (3, 1, 2)])
def test_a_panel_for_each_scene_and_plane(space, planes, panels):
    made = fans(*draw(space=space), title="t", planes=planes)
    assert len(made.axes) == panels
    # per node: samples (line and dot each), what happened (line and ring), what was given
    assert len(made.axes[0].lines) == 3 * (5 * 2 + 2 + 1)
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["samples", "what happened", "given"]


def test_lines_are_the_numbers():
    cond, truth, samples = draw()
    panel = fans(cond, truth, samples).axes[0]
    dashed = next(line for line in panel.lines if line.get_label() == "what happened")
    assert np.allclose(dashed.get_xydata(), np.concatenate([cond[0, 0, -1:], truth[0, 0]]))
    first = panel.lines[0]
    assert np.allclose(first.get_xydata(), np.concatenate([cond[0, 0, -1:], samples[0, 0, 0]]))


def test_absent_nodes_and_absent_conditions():
    cond, truth, samples = draw(past=0)
    truth[0, 2] = np.nan
    made = fans(cond, truth, samples)
    assert len(made.axes[0].lines) == 2 * (5 * 2 + 2 + 1)
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["samples", "what happened"]


def test_bad_shapes_are_refused():
    cond, truth, samples = draw()
    with pytest.raises(InputError, match="fans: truth"):
        fans(cond, truth[..., :1], samples[..., :1])
    with pytest.raises(InputError, match="fans: truth"):
        fans(cond, truth, samples[:, :, :2])
    with pytest.raises(InputError, match="cond has shape"):
        fans(cond[:1], truth, samples)
