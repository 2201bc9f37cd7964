"""An acceptance run writes what it measured beside what was asked, and fails when one bound does."""

import json

import pytest

from coset.errors import InputError
from coset.report.acceptance import Bound, figure_of, judge, main


def measure(*, seeds: int = 2, name: str = "a", quick: bool = False):
    return {"rows": {"x.y": {"error": 0.5}}, "seeds": seeds, "name": name, "quick": quick}


def test_a_figure_is_found_by_its_path_even_where_keys_hold_dots():
    assert figure_of(measure(), "rows.x.y.error") == 0.5
    with pytest.raises(InputError, match="no figure 'z'"):
        figure_of(measure(), "rows.z")


@pytest.mark.parametrize(
    ("relation", "value", "holds"), [("<=", 0.5, True), ("<", 0.5, False), (">=", 0.6, False), ("==", 0.5, True)]
)
def test_a_bound_compares(relation, value, holds):
    assert Bound("rows.x.y.error", relation, value).holds(measure()) is holds


def test_nothing_holds_for_a_figure_that_is_no_number():
    assert not Bound("a", "<=", 1.0).holds({"a": float("nan")})
    assert not Bound("a", ">=", 1.0).holds({"a": float("nan")})


def test_one_bound_that_fails_fails_the_run():
    result = judge("w", measure(), (Bound("seeds", "==", 2), Bound("rows.x.y.error", "<", 0.1, "sheet")))
    assert [row["holds"] for row in result["bounds"]] == [True, False]
    assert not result["passed"]


@pytest.mark.parametrize(("limit", "code"), [(1.0, 0), (0.1, 1)])
def test_the_file_holds_figures_options_and_verdict(tmp_path, capsys, limit, code):
    with pytest.raises(SystemExit) as ended:
        main("w", "about", measure, [Bound("rows.x.y.error", "<=", limit)], ["--out", str(tmp_path), "--seeds", "3", "--quick"])
    assert ended.value.code == code
    written = json.loads((tmp_path / "w.json").read_text())
    assert written == json.loads(capsys.readouterr().out)
    assert written["options"] == {"seeds": 3, "name": "a", "quick": True}
    assert written["passed"] is (code == 0)


def test_bounds_may_depend_on_the_options(tmp_path):
    with pytest.raises(SystemExit) as ended:
        main("w", "", measure, lambda *, seeds, name, quick: [Bound("seeds", ">", seeds)], ["--out", str(tmp_path)])
    assert ended.value.code == 1


def test_an_unknown_relation_is_refused():
    with pytest.raises(InputError, match="relation"):
        Bound("a", "~", 1)
