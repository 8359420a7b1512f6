"""LearningExplorer: runs side by side, fits that say how sure they are, bars with intervals, what was given up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import ip2lab
from ip2lab.analysis import curves
from ip2lab.views import LearningExplorer, plots
from ip2lab.views.explorers.learning import efficiency_bars, grouped


@pytest.fixture(scope="module")
def runs() -> dict[str, xr.DataTree]:
    names = ("association", "association_rate", "gng_dr_2", "gng_dr_2_rate")
    return {name: ip2lab.example(name) for name in names}


@pytest.fixture
def explorer(runs: dict[str, xr.DataTree]) -> LearningExplorer:
    return LearningExplorer(runs)


def paths(leaf: Any) -> list[np.ndarray]:
    return [part.array(leaf.kdims).astype(float) for part in leaf.split()]


def test_side_by_side_each_picture_has_its_runs_on_the_same_axes(explorer: LearningExplorer) -> None:
    explorer.state = {"beside": "family"}
    assert explorer.visible() == ["curve", "curve1", "loss", "final"]
    assert "<b>gng_dr_2</b>" in explorer.figure.captions["curve1"]
    first, second = (explorer.figure.elements[name] for name in ("curve", "curve1"))
    assert [len(paths(list(picture)[3])) for picture in (first, second)] == [2, 2]
    ends = [pictures_options(picture)["ylim"] for picture in (first, second)]
    assert ends[0] == ends[1]
    explorer.state = {"beside": "model", "by": "family"}
    assert len(paths(list(explorer.figure.elements["curve1"])[3])) == 2
    explorer.state = {"beside": ""}
    assert explorer.visible() == ["curve", "loss", "final"]


def pictures_options(picture: Any) -> dict[str, Any]:
    import holoviews as hv

    return dict(hv.Store.lookup_options("bokeh", picture, "plot").kwargs)


def test_a_click_on_a_name_switches_it_and_never_everything_off(explorer: LearningExplorer) -> None:
    explorer._toggle("curve", "association")
    assert explorer.state["shown"] == ["association_rate", "gng_dr_2", "gng_dr_2_rate"]
    assert ("association", "#2484c666") in explorer.figure._legends["curve"]
    explorer._toggle("curve", "association")
    assert explorer.state["shown"] == list(explorer.runs)
    explorer.state = {"by": "model"}
    explorer._toggle("curve", "rate")
    assert explorer.state["shown"] == ["association", "gng_dr_2"]
    explorer._toggle("curve", "spiking")  # the last one: all are on again
    assert explorer.state["shown"] == list(explorer.runs)


def test_a_fit_has_its_band_and_its_interval_in_words(explorer: LearningExplorer) -> None:
    explorer.state = {"fit": True, "shown": ["gng_dr_2"]}
    series = explorer.series["gng_dr_2"]
    fit = curves.exponential_fit(series, failures="cap", resamples=100)
    picture = list(explorer.figure.elements["curve"])
    np.testing.assert_allclose(paths(picture[2])[0][:, 1], fit.fitted)
    assert len(paths(picture[0])[0]) >= 2 * fit.fitted.size
    words = explorer.figure.captions["curve"]
    assert bool(fit.identified) and "cannot be told" not in words
    low, high = fit.interval.sel(parameter="tau").values
    assert f"{float(fit.tau):.1f} ({low:.1f} to {high:.1f}) problems" in words


def test_fit_of_two_runs_says_that_it_has_no_interval(explorer: LearningExplorer) -> None:
    explorer.state = {"fit": True, "by": "model"}
    fit = curves.exponential_fit(grouped(explorer.runs, "model")["spiking"], failures="cap").mean("run")
    words = explorer.figure.captions["curve"]
    assert f"spiking: {float(fit.scale):.0f} trials, {float(fit.tau):.1f} problems" in words
    assert words.count("no interval, for which there must be three runs") == 2


def test_fit_of_three_runs_has_the_interval_of_their_mean() -> None:
    names = ("association", "gng_dr_2", "dms")
    explorer = LearningExplorer({name: ip2lab.example(name) for name in names})
    explorer.state = {"fit": True, "by": "model"}
    each = curves.exponential_fit(grouped(explorer.runs, "model")["spiking"], failures="cap")
    ends = curves.bootstrap(each["tau"], over="run")
    words = f"{float(each.tau.mean()):.1f} ({float(ends.lower):.1f} to {float(ends.upper):.1f}) problems"
    assert words in explorer.figure.captions["curve"]
    band = curves.bootstrap(each["fitted"], over="run")
    corners = paths(next(iter(explorer.figure.elements["curve"])))[-1][:, 1]
    drawn = np.maximum(band.lower, corners[: band.lower.size].min())  # an axis of logarithms ends above 0
    np.testing.assert_allclose(corners[: band.lower.size], drawn)
    assert 0 < corners.min() < 0.01
    space: dict[str, Any] = {}
    exec(explorer.code(), space)
    np.testing.assert_array_equal(paths(next(iter(space["curve"])))[-1][:, 1], corners)


def test_a_problem_that_was_given_up_counts_with_its_cap() -> None:
    series = xr.Dataset(
        {
            "trials_to_criterion": ("problem", [40.0, np.nan, 5.0]),
            "censored_trials": ("problem", [np.nan, 900.0, np.nan]),
        },
        {"problem": [0, 1, 2]},
    )
    picture = list(plots.learning_curves({"a": series}, smooth=3))
    np.testing.assert_allclose(paths(picture[3])[0][1, 1], (40 + 900 + 5) / 3)
    assert picture[4].dimension_values("value").tolist() == [900.0]
    assert pictures_options(plots.learning_curves({"a": series}))["xlim"][0] < 0  # a triangle at problem 0 is whole


def series(*trials: float, **columns: Any) -> xr.Dataset:
    table = {"trials_to_criterion": ("problem", list(trials)), **{n: ("problem", v) for n, v in columns.items()}}
    return xr.Dataset(table, {"problem": np.arange(len(trials))})


def test_a_problem_that_was_not_attempted_is_no_failure_in_pictures() -> None:
    one = series(40, np.nan, np.nan, 5, censored_trials=[np.nan, 900.0, np.nan, np.nan])
    picture = list(plots.learning_curves({"a": one}))
    assert picture[4].dimension_values("value").tolist() == [900.0]
    assert paths(picture[3])[0].tolist() == [[0, 40], [1, 900], [3, 5]]
    table = xr.DataArray([[40, 20, 9, 5], [60, 30, np.nan, np.nan]], dims=("animal", "problem"))
    for alone in (table, {"a": table}, table.to_dataset(name="trials_to_criterion")):  # trials alone
        picture = list(plots.learning_curves(alone))
        assert paths(picture[3])[0][:, 1].tolist() == [50, 25, 9, 5]
        assert np.isnan(picture[4].dimension_values("value")).all()
    with pytest.raises(ValueError, match=r"runs\['a'\] is a list; give a run's series, or its trials"):
        plots.learning_curves({"a": [1.0, 2.0]})


@pytest.mark.parametrize("labels", [["x", "y", "z"], np.array(["2024-01-01", "2024-01-02", "2024-01-05"], "M8[ns]")])
def test_problems_with_names_or_dates_are_drawn_in_their_places(labels: Any) -> None:
    picture = list(plots.learning_curves(series(9, 5, 4).assign_coords(problem=labels)))
    assert paths(picture[3])[0][:, 0].tolist() == [0, 1, 2]


def test_runs_of_different_lengths_are_not_cut() -> None:
    long, short = series(90, 40, 20, 10, 9, failed=[False] * 5), series(80, 30, np.nan)
    short = short.assign(censored_trials=("problem", [np.nan, np.nan, 500.0]))
    runs = {n: xr.DataTree.from_dict({"/series": one}) for n, one in (("long", long), ("short", short))}
    for run in runs.values():
        run.attrs["model"] = "rate"
    both = grouped(runs, "model")["rate"]
    assert dict(both.sizes) == {"run": 2, "problem": 5}
    assert both.attempted.values.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert curves.failures(both)["count"].values.tolist() == [0, 1]
    bars = list(efficiency_bars({"rate": both}, 30))
    ends = bars[0].dimension_values(bars[0].kdims[0])
    assert np.nanmax(ends) == pytest.approx(((20 + 10 + 9) / 3 + (80 + 30 + 500) / 3) / 2)  # the last three of each


def test_points_name_their_run_and_problem() -> None:
    series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, 9.0])}, {"problem": [0, 1]})
    dots = list(plots.learning_curves({"one": series, "two": series}, log_problems=True))[1]
    assert dots.dimension_values("run").tolist() == ["one", "one", "two", "two"]
    assert dots.dimension_values("number").tolist() == [0, 1, 0, 1]


def test_bars_have_an_interval_over_runs_or_problems(runs: dict[str, xr.DataTree]) -> None:
    one = grouped({"association": runs["association"]})
    interval = curves.bootstrap(one["association"].trials_to_criterion[-30:], over="problem")
    whisker = paths(list(efficiency_bars(one, 30))[3])[0]
    np.testing.assert_allclose(whisker[:, 0], [interval.lower, interval.upper])
    two = list(efficiency_bars(grouped(runs, "model"), 30))
    assert np.isnan(paths(two[3])[0]).all()  # two runs: their dots, no interval
    assert len(two[1]) == 4


def test_code_draws_the_same_side_by_side(explorer: LearningExplorer) -> None:
    explorer.state = {"beside": "family", "fit": True, "problem": 5, "smooth": 5, "shown": list(explorer.runs)[:3]}
    space: dict[str, Any] = {}
    exec(explorer.code(), space)
    for name, drawn in explorer.figure.elements.items():
        for found, expected in zip(space[name], drawn, strict=True):
            np.testing.assert_allclose(found.dimension_values(1), expected.dimension_values(1), err_msg=name)


def test_the_pointer_is_followed_where_asked(explorer: LearningExplorer) -> None:
    explorer._hover(7.0, 10.0)
    assert explorer.state["problem"] == 0
    explorer.state = {"follow": True}
    explorer._at = 7.2
    explorer._arrive()
    assert explorer.state["problem"] == 7
    assert ("curve", "mousemove") in explorer.figure._handlers


def test_problems_labelled_otherwise_in_trials_than_in_the_series_are_told() -> None:
    words = series(9, 5).assign_coords(problem=["day 1", "day 2"])
    trials = xr.Dataset({"loss": ("trial", [0.5, 0.1]), "problem": ("trial", [0, 1])})
    explorer = LearningExplorer({"a": xr.DataTree.from_dict({"/series": words, "/trials": trials})})
    assert explorer.figure.notes["loss"] == (
        "problem 0 is none of the series, which have day 1, day 2; label both alike"
    )
