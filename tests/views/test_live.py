"""Live training leaves an ordinary run, can be paused and stopped, and says what went wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ip2lab
from ip2lab.views import LiveTraining, plots
from ip2lab.views.explorers.live import EVERY, SHARE

SMALL = {"neurons": 20, "max_trials": 80}


def test_the_run_is_that_of_train() -> None:
    live = LiveTraining("association", problems=2, **SMALL)
    live.start()
    run = live.wait(300)
    same = ip2lab.train("association", problems=2, progress=False, **SMALL)
    np.testing.assert_array_equal(run["trials"].loss, same["trials"].loss)
    assert run.attrs["complete"]
    assert list(live.runs) == ["association, the bias and the paper's three learnable, seed 0"]
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
    run = live.wait(300)
    assert not run.attrs["complete"]
    assert run["series"].sizes["problem"] < 400
    assert not live._buttons["start"].disabled


def test_an_error_is_told_in_the_widget_and_raised() -> None:
    live = LiveTraining("association", problems=1, neurons=20, learning_rate=-1.0)
    live.start()
    with pytest.raises(ValueError, match="learning_rate"):
        live.wait(300)
    assert "learning_rate" in live._status.value


def test_waiting_before_the_start_raises() -> None:
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
        live.wait(300)
    assert len(live.runs) == 2
    assert len(list(live.figure.elements["curve"])[3].split()) == 2
    assert "could not be drawn" not in live._status.value


def test_trouble_with_a_picture_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveTraining("association", problems=1, **SMALL)
    monkeypatch.setattr(plots, "within_problem_loss", lambda *_, **__: 1 / 0)
    live.start()
    assert live.wait(300).attrs["complete"]
    assert "could not be drawn: ZeroDivisionError" in live._status.value


def test_a_stopped_stored_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = ip2lab.train("association", problems=6, progress=False, neurons=20, max_trials=400)
    live = LiveTraining("association", problems=6, path=tmp_path / "run.zarr", neurons=20, max_trials=400)
    live.start()
    while live._series is None or not (live._series.problem or live._series.trial):
        time.sleep(0.01)
    live.stop()
    assert not live.wait(300).attrs["complete"]
    assert live._buttons["start"].description == "Go on"
    live.start()
    run = live.wait(300)
    assert run.attrs["complete"]
    np.testing.assert_array_equal(run["trials"].loss, whole["trials"].loss)
    assert len(live.runs) == 1
    assert live._buttons["start"].description == "Start"


def test_a_new_widget_takes_up_a_stored_run_and_more_problems(tmp_path: Path) -> None:
    path, options = tmp_path / "run.zarr", {"neurons": 20, "max_trials": 100}
    ip2lab.train("gng_dr_2", problems=1, seed=4, learnable="tau_soma", path=path, progress=False, **options)
    live = LiveTraining("association", path=path)
    assert live.state["family"] == "gng_dr_2"
    assert (live.state["seed"], live.state["learnable"], live.state["neurons"]) == (4, "tau_soma", 20)
    live.state = {"problems": 3}
    assert live._buttons["start"].description == "Go on"
    live.start()
    run = live.wait(300)
    assert run["series"].sizes["problem"] == 3
    whole = ip2lab.train("gng_dr_2", problems=3, seed=4, learnable="tau_soma", progress=False, **options)
    np.testing.assert_array_equal(run["trials"].loss, whole["trials"].loss)


def test_a_stored_run_that_the_widget_does_not_offer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    ip2lab.train("association", learnable=["tau_soma", "threshold"], problems=1, path=path, progress=False, **SMALL)
    with pytest.raises(ValueError, match=r"holds a run with learnable 'tau_soma\+threshold', which this widget"):
        LiveTraining("association", path=path)


def test_the_printed_code_draws_the_same_pictures() -> None:
    live = LiveTraining("association", problems=2, **SMALL)
    live.start()
    live.wait(300)
    space: dict[str, Any] = {}
    exec(live.code(), space)
    for name in [panel.name for panel in live.PANELS]:
        for found, expected in zip(space[name], live.figure.elements[name], strict=True):
            for i in range(2):
                ours, theirs = (leaf.dimension_values(i).astype(float) for leaf in (found, expected))
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, err_msg=name)


def test_what_drawing_costs_decides_how_often_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveTraining("association", problems=1, **SMALL)
    live.start()
    live.wait(300)
    live._costs.extend([SHARE * EVERY] * 2)  # as at its start, however often the training above was drawn
    clock = {"time": 100.0, "cost": 0.0}
    monkeypatch.setattr("ip2lab.views.explorers.live.time.thread_time", lambda: clock["time"])
    monkeypatch.setattr(live, "_look", lambda panels: clock.update(time=clock["time"] + clock["cost"]))
    shares = []
    for clock["cost"] in (0.5, 0.1, 0.1, 0.1):
        began = clock["time"]
        live._draw_now()
        clock["time"] = live._rested
        shares.append(clock["cost"] / (clock["time"] - began))
    assert shares[-1] == pytest.approx(SHARE)
    assert shares[0] > SHARE  # the first drawing, which makes the pictures, is not made up for
