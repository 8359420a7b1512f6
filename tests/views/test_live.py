"""Live training leaves an ordinary run, can be paused and stopped, and says what went wrong."""

from __future__ import annotations

import time

import numpy as np
import pytest

import ip2lab
from ip2lab.views import LiveTraining

SMALL = {"neurons": 20, "max_trials": 80}


def test_the_run_is_that_of_train() -> None:
    live = LiveTraining("association", problems=2, **SMALL)
    live.start()
    run = live.wait(120)
    same = ip2lab.train("association", problems=2, progress=False, **SMALL)
    np.testing.assert_array_equal(run["trials"].loss, same["trials"].loss)
    assert run.attrs["complete"]
    assert list(live.runs) == ["association, the paper's three learnable, seed 0"]
    assert live.figure.notes["raster"] == ""


def test_pause_holds_and_stop_keeps_what_was_learnt() -> None:
    live = LiveTraining("association", problems=400, neurons=20)
    live.start()
    while live._series is None:
        time.sleep(0.05)
    live.pause()
    time.sleep(0.5)
    before = (live._series.problem, live._series.trial)
    time.sleep(0.5)
    assert (live._series.problem, live._series.trial) == before
    live.stop()
    run = live.wait(120)
    assert not run.attrs["complete"]
    assert run["series"].sizes["problem"] < 400
    assert not live._buttons["start"].disabled


def test_an_error_is_told_in_the_widget_and_raised() -> None:
    live = LiveTraining("association", problems=1, neurons=20, learning_rate=-1.0)
    live.start()
    with pytest.raises(ValueError, match="learning_rate"):
        live.wait(120)
    assert "learning_rate" in live._status.value


def test_nothing_learnable_and_nothing_started() -> None:
    live = LiveTraining("association", problems=1, learnable=None, **SMALL)
    assert live.state["learnable"] == "nothing"
    assert live.figure.notes["curve"] == "Choose above, then press Start."
    with pytest.raises(RuntimeError, match="nothing was started"):
        live.wait()
    assert "learnable=None" in live.code()


def test_a_second_run_stands_beside_the_first() -> None:
    live = LiveTraining("association", problems=1, **SMALL)
    for learnable in ("default", "nothing"):
        live.state = {"learnable": learnable}
        live.start()
        live.wait(120)
    assert len(live.runs) == 2
    assert len(list(live.figure.elements["curve"])[3].split()) == 2
    assert "could not be drawn" not in live._status.value


def test_trouble_with_a_picture_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveTraining("association", problems=1, **SMALL)
    monkeypatch.setattr(live, "_loss", lambda: 1 / 0)
    live.start()
    assert live.wait(120).attrs["complete"]
    assert "could not be drawn: ZeroDivisionError" in live._status.value
