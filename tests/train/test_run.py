import csv

import pytest

from coset.errors import InputError
from coset.train.run import Run, Trace, mix, seconds, write_curve


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), (90, 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("1h2m3s", 3723)]
)
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5x", "m5", "-3", "0", "0m", "soon", "inf", "nan", "5m5m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="budget"):
        seconds(text)
    with pytest.raises(InputError, match="--checkpoint-every is a time"):
        seconds(text, "--checkpoint-every")


def test_mixed_seeds_differ_and_are_fixed():
    found = {mix(a, b) for a in range(30) for b in range(30)}
    assert len(found) == 900
    assert all(0 <= seed < 2**63 for seed in found)
    assert mix(0, 0) == 6017775124710473527
    assert mix(1, 2) != mix(2, 1)


def test_stages_add_up_and_lines_keep_all_columns(tmp_path):
    whole = Trace()
    whole.add(Trace(2, 1.0, 3.0, "", [{"stage": 1, "loss": 0.5, "fit": 0.25}]))
    whole.add(Trace(2, 3.0, 3.0, "late", [{"stage": 2, "loss": 0.125}]))
    assert (whole.steps, whole.seconds_per_step, whole.total, whole.stopped) == (4, 1.0, 6.0, "late")
    assert Trace().seconds_per_step == 0
    write_curve(tmp_path / "curve.csv", whole.curve)
    lines = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    assert lines == [{"stage": "1", "loss": "0.5", "fit": "0.25"}, {"stage": "2", "loss": "0.125", "fit": ""}]


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="csv"):
        Run(logger="csb")
    with pytest.raises(InputError, match="devices"):
        Run(devices=0)
