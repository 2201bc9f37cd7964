"""Growth is compared step by step and the finding keeps, saves and draws both curves."""

import numpy as np
import pytest
import torch

from coset.audits.coarsening import Coarsening, coarsening, growth_deviation
from coset.errors import InputError


def runs():
    order = torch.linspace(0.1, 0.4, 7, dtype=torch.float64)
    phi = torch.zeros(4, 4, dtype=torch.float64)
    exact = {"order": order, "domain": order + 1, "phi": phi}
    bump = torch.tensor([0.0, 0, 0, -0.12, 0, 0, 0.05], dtype=torch.float64)
    return {"order": order * (1 + bump), "domain": order + 2, "phi": phi + 0.3}, exact


def test_the_deviation_is_the_largest_relative_one():
    learned, exact = runs()
    assert growth_deviation(learned["order"], exact["order"]) == pytest.approx(0.12, rel=1e-12)
    assert growth_deviation(exact["order"], exact["order"]) == 0
    lost = learned["order"].clone()
    lost[3] = float("nan")
    assert growth_deviation(lost, exact["order"]) == float("inf")
    with pytest.raises(InputError, match="two curves"):
        growth_deviation(learned["order"][:3], exact["order"])


def test_the_finding_saves_and_loads(tmp_path):
    made = coarsening(*runs(), 0.5, title="Quench")
    assert made.time.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert made.phi.shape == (2, 4, 4)
    assert made.order[1, 3] < made.order[0, 3], "exact first"
    again = Coarsening.load(made.save(tmp_path / "growth.npz"))
    assert again.deviation == made.deviation == pytest.approx(0.12, rel=1e-12)
    assert np.array_equal(again.domain, made.domain)


def test_it_is_drawn_with_and_without_the_exact_map():
    learned, exact = runs()
    assert len(coarsening(learned, exact, 0.5, title="Quench").plot().axes) == 4
    exact.pop("phi")
    figure = coarsening(learned, exact, 0.5).plot()
    assert [panel.get_title() for panel in figure.axes] == ["", "", "local order, learned"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["exact", "learned"]


def test_curves_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="exact and learned"):
        Coarsening(np.arange(3.0), np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((4, 4)))
