from coset.train.progress import Display

SEEN = {"stage": 2, "epoch": 3, "epochs": 20, "step": 54, "loss": "0.25", "note": "goes on after epoch 3"}


def test_lines_go_to_stderr_and_never_to_stdout(capsys):
    with Display(2) as display:
        display.update(("plain [x]", 0), SEEN)
        display.finish(("plain [x]", 0), "accuracy 90")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["plain [x], seed 0: goes on after epoch 3", "[1/2] plain [x], seed 0: accuracy 90"]


def test_silence_when_asked(capsys):
    with Display(2, enabled=False) as display:
        display.update(("plain", 0), SEEN)
        display.finish(("plain", 0), "accuracy 90")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_for_every_running_row(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display(2) as display:
        assert display.live
        display.update(("plain", 0), SEEN | {"loss": "nan"})
        display.update(("plain", 0), SEEN)
        (bar,) = display.bars.tasks
        assert (bar.completed, bar.total, bar.fields["state"]) == (3, 20, "stage 2 epoch 3/20 loss 0.25")
        display.finish(("plain", 0), "done")
        assert not display.bars.tasks
    assert capsys.readouterr().out == ""
