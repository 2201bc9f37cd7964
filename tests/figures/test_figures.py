"""Every picture is drawn from arrays alone, holds the numbers it was given, and refuses what it cannot draw."""

import io
import subprocess
import sys

import numpy as np
import pytest

from coset.errors import InputError
from coset.figures.bars import bars, lines
from coset.figures.heatmap import heatmap
from coset.figures.ladder import ladder
from coset.figures.polar import polar, spectrum
from coset.figures.scatter import embedding, tradeoff
from coset.figures.sphere import axis_angle_disc, equal_area, plane_discs, sphere
from coset.figures.tiles import cayley, dihedral

RNG = np.random.default_rng(0)
ANGLES = np.arange(0, 360, 5.0)
UNIT = RNG.normal(size=(50, 3))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)
D3 = np.array([[(a + (b if a < 3 else -b)) % 3 + 3 * ((a // 3 + b // 3) % 2) for b in range(6)] for a in range(6)])

PICTURES = {
    "polar": lambda: polar(ANGLES, {"a": RNG.random(72), "b": RNG.random(72)}, band=(0.1, RNG.random(72)), marked=[0, 18]),
    "dots": lambda: polar([0, 90, 180, 270], RNG.random(4), discrete=True, limit=(0, 1)),
    "spectrum": lambda: spectrum({"a": RNG.random(37), "b": RNG.random(37)}),
    "heatmap": lambda: heatmap({"a": RNG.random((3, 4)), "b": RNG.random((3, 4))}, [0, 1, 2], [0, 1, 2, 3], origin=(1, 1)),
    "sphere": lambda: sphere(UNIT, RNG.random(50)),
    "disc": lambda: axis_angle_disc(UNIT * 2, {"a": RNG.random(50), "b": RNG.random(50)}),
    "planes": lambda: plane_discs(RNG.random((3, 12, 16))),
    "cayley": lambda: cayley(RNG.random(6), [f"g{i}" for i in range(6)], D3, generators=[1, 3]),
    "rows": lambda: cayley({"a": RNG.random(5)}, list("abcde")),
    "dihedral": lambda: dihedral(RNG.random((2, 3)), [["a", "b", "c"]] * 2, rows=["x", "y"]),
    "ladder": lambda: ladder(["a", "b"], {"float32": [1e-7, 0.1], "float64": [0, 0.1]}, floor=1e-2, tolerance=1e-10, offender=1,
                             guessed=[True, False]),
    "embedding": lambda: embedding(RNG.normal(size=(9, 2)), RNG.random(9), labels=range(9), named=[0]),
    "tradeoff": lambda: tradeoff(["a", "b"], [0, 0.1], [90, 95], labels=("error", "accuracy"), size=[1, 2]),
    "bars": lambda: bars(["a", "b"], [0.1, 0.2], low=[0, 0.1], high=[0.2, 0.3], floor=0.05, marked=[1]),
    "lines": lambda: lines([0.3, 0.5, 1.0], {"a": RNG.random(3)}, labels=("scale", "value"), log=True, band=([0] * 3, [1] * 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn(name):
    stream = io.BytesIO()
    PICTURES[name]().savefig(stream, format="png", dpi=40)
    assert len(stream.getvalue()) > 2000


def test_a_closed_orbit_ends_where_it_began():
    values = RNG.random(72)
    line = polar(ANGLES, values).axes[0].lines[0]
    assert np.allclose(line.get_ydata(), np.append(values, values[0]))
    assert np.allclose(np.rad2deg(line.get_xdata())[-1], 360)


def test_panels_share_one_range():
    made = heatmap({"a": np.zeros((2, 2)), "b": np.full((2, 2), 3.0)}, [0, 1], [0, 1])
    assert {panel.collections[0].get_clim() for panel in made.axes[:2]} == {(0.0, 3.0)}


def test_projection_keeps_areas():
    up = np.array([[0, 0, 1.0], [1, 0, 0], [0.6, 0, 0.8]])
    assert np.allclose(np.linalg.norm(equal_area(up), axis=1) ** 2, 1 - up[:, 2])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: polar(ANGLES, RNG.random(71)),
        lambda: polar(ANGLES, {}),
        lambda: heatmap(RNG.random((2, 3)), [0, 1, 2], [0, 1]),
        lambda: cayley(RNG.random(5), list("abcdef")),
        lambda: ladder(["a"], [0.1, 0.2]),
        lambda: embedding(RNG.random((4, 3)), RNG.random(4)),
        lambda: sphere(UNIT, RNG.random(49)),
        lambda: bars([], []),
        lambda: tradeoff(["a"], [1, 2], [1], labels=("x", "y")),
        lambda: plane_discs(RNG.random((2, 3, 4))),
    ],
)
def test_what_does_not_fit_is_refused(draw):
    with pytest.raises(InputError):
        draw()


def test_figures_know_no_torch_and_no_pyplot():
    code = (
        "import sys, numpy as np; from coset.figures.polar import polar; polar([0, 90], np.ones(2)); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
