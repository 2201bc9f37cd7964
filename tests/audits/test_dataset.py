"""The scan names the planted symmetry and no other; the tests behind it keep their level and have power."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from coset.audits.discover import Scan, contained, scan
from coset.audits.twosample import energy_test, holm, kernel_test, mean_test
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E, Scale, T
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import SO, O
from coset.groups.permutation import S


@pytest.fixture(scope="module")
def bench():
    """benchmarks/accept/scan.py, whose small sample runs here."""
    path = Path(__file__).parents[2] / "benchmarks" / "accept" / "scan.py"
    spec = importlib.util.spec_from_file_location("accept_scan", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["accept_scan"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("planted", ["rotations", "exchange", "squeeze"])
def test_a_model_with_one_planted_symmetry(bench, planted):
    assert bench.models(0, planted) == [planted]


@pytest.mark.parametrize("planted", ["shifts", "mirror"])
def test_labels_with_one_planted_symmetry(bench, planted):
    assert bench.labelled(0, planted) == [planted]


def test_inputs_with_one_planted_symmetry(bench):
    assert bench.unlabelled(0, "about z") == ["about z"]


def test_nothing_planted_nothing_found(bench):
    x = bench.points(400, 0)
    y = (x.flatten(1) @ torch.tensor([1.0, -0.4, 0.6, 0.3]).double()).sin() + 0.3 * x[:, 0, 0]
    assert scan((x, y), bench.plane_candidates()).found == []


def test_labels_without_a_law_are_undecided(generator):
    x = torch.randn(200, 3, generator=generator)
    y = torch.randn(200, generator=generator)
    found = scan((x, y), [SO(3)])
    assert found.found == []
    assert found.undecided == ["SO(3)"]


def test_the_largest_that_holds_is_named(generator):
    x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    candidates = {
        "O(3)": O(3),
        "SO(3)": SO(3),
        "octahedral": Octahedral(),
        "scale": Scale(3),
        "about z": SO(3).stabilizer((0, 0, 1)),
    }
    found = scan(lambda v: v.norm(dim=-1), candidates, x=x)
    assert found.found == ["O(3)"]
    assert {c["name"]: c["status"] for c in found.candidates}["scale"] == "broken"
    inside = {c["name"]: c["within"] for c in found.candidates}
    assert "O(3)" in inside["octahedral"]
    assert "SO(3)" in inside["about z"]


def test_vector_labels_move_with_the_inputs(generator):
    x = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    y = x * (1 + x.square().sum(1, keepdim=True)).rsqrt()
    names = {"O(3)": Contract(O(3), "B x vector", "B x vector"), "as scalars": Contract(O(3), "B x vector", "B x 3 x scalar")}
    found = scan((x, y), names)
    assert found.found == ["O(3)"]


def test_classes_are_labels_too(generator):
    x = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    y = (x.square().sum(1) > 1.4).long()
    candidates = {"turns": C(8), "scale": Scale(2, spread=0.7), "shifts": T(2)}
    assert scan((x, y), candidates, inputs="B x position").found == ["turns"]


def test_an_almost_symmetric_model_is_called_approximate(generator):
    x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    found = scan(lambda v: v.norm(dim=-1) + 0.01 * v[:, 0], {"SO(3)": SO(3)}, x=x)
    assert found.candidates[0]["status"] == "approximate"
    found = scan(lambda v: v.norm(dim=-1) + v[:, 0], {"SO(3)": SO(3)}, x=x)
    assert found.candidates[0]["status"] == "broken"


def test_containment():
    assert contained(SO(2), O(2))
    assert not contained(O(2), SO(2))
    assert contained(C(4), C(8))
    assert contained(C(4), D(4))
    assert not contained(C(8), D(4))
    assert contained(C(6), SO(2))
    assert contained(SO(3), E(3))
    assert contained(T(3), E(3))
    assert not contained(E(3), SO(3))
    assert not contained(S("N"), SO(3))


def test_permutation_tests_keep_their_level_and_have_power(generator):
    same, moved = [], []
    for _ in range(40):
        a, b = (torch.randn(40, 2, generator=generator) for _ in range(2))
        same.append(energy_test(a, b, permutations=199, generator=generator)[1])
        moved.append(energy_test(a, b + 1, permutations=199, generator=generator)[1])
    assert sum(p <= 0.05 for p in same) <= 6
    assert max(moved) <= 0.05
    x = torch.randn(60, 2, generator=generator)
    assert kernel_test(x, -x, permutations=499, generator=generator, paired=True)[1] > 0.01
    assert kernel_test(x + 1, -x - 1, permutations=499, generator=generator, paired=True)[1] == pytest.approx(1 / 500)
    assert mean_test(torch.randn(60, 3, generator=generator), generator=generator)[1] > 0.01
    assert mean_test(torch.randn(60, 3, generator=generator) + 1, generator=generator)[1] < 0.01


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_scan_comes_back_from_disk(generator, tmp_path):
    x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    found = scan(lambda v: v[:, 0], {"SO(3)": SO(3), "about x": SO(3).stabilizer((1, 0, 0))}, x=x)
    assert Scan.load(found.save(tmp_path / "scan.npz")) == found
    assert found.plot().axes
    assert "found: about x" in str(found)


def test_bad_input_is_named(generator):
    x = torch.randn(100, 3, generator=generator)
    with pytest.raises(InputError, match="no candidates"):
        scan(x, [])
    with pytest.raises(InputError, match="contracts or groups"):
        scan(x, ["SO(3)"])
    with pytest.raises(InputError, match="labels of shape"):
        scan((x, torch.zeros(7)), [SO(3)])
    with pytest.raises(InputError, match="at least 40"):
        scan(x[:10], [SO(3)])
    with pytest.raises(InputError, match="NaN"):
        scan(x * torch.nan, [SO(3)])
    with pytest.raises(InputError, match="all labels are equal"):
        scan((x, torch.ones(100)), [SO(3)])
    assert "not compact" in str(scan(x, [Scale(3)]))
