"""Pictures hold the data they were given, in the place and the unit that their axes say."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ip2lab.analysis import curves, neurons, population
from ip2lab.tasks import family
from ip2lab.views import plots
from ip2lab.views.plots.neurons import MOST_POINTS
from ip2lab.views.style import axis, span


def options(element: Any) -> dict[str, Any]:
    return dict(hv.Store.lookup_options("bokeh", element, "plot").kwargs)


def paths(leaf: Any) -> list[np.ndarray]:
    return [part.array(leaf.kdims) for part in leaf.split()]


def test_learning_curve_is_the_series(run: xr.DataTree) -> None:
    series = run["series"].to_dataset()
    picture = plots.learning_curves({"a run": series})
    (line,) = paths(list(picture)[3])
    np.testing.assert_array_equal(line[:, 0], series.problem)
    np.testing.assert_allclose(line[:, 1], series.trials_to_criterion)
    assert options(picture)["logy"]
    assert options(picture)["ylabel"] == "trials to criterion"


def test_learning_curve_marks_failures_at_the_cap() -> None:
    series = xr.Dataset(
        {
            "trials_to_criterion": ("problem", [40.0, np.nan, 5.0]),
            "censored_trials": ("problem", [np.nan, 900.0, np.nan]),
        },
        {"problem": [0, 1, 2]},
    )
    failed = list(plots.learning_curves(series))[4]
    assert failed.array([0, 1]).tolist() == [[1.0, 900.0]]


def test_learning_curve_of_seeds_is_their_mean_with_a_band() -> None:
    trials = xr.DataArray([[10.0, 4.0], [30.0, 8.0]], dims=("seed", "problem"), coords={"problem": [0, 1]})
    picture = plots.learning_curves({"model": xr.Dataset({"trials_to_criterion": trials})})
    bands, line = next(iter(picture)), list(picture)[3]
    assert paths(line)[0][:, 1].tolist() == [20.0, 6.0]
    assert bands.dimension_values(1).max() == pytest.approx(28.0)  # 90 percent of the way from 10 to 30


def test_loss_within_a_problem_is_that_problems_trials(run: xr.DataTree) -> None:
    trials = run["trials"].to_dataset()
    picture = plots.within_problem_loss(trials, 3, criterion=0.005, window=5)
    expected = trials.loss.values[trials.problem.values == 3]
    np.testing.assert_allclose(paths(next(iter(picture)))[0][:, 1], expected)
    assert paths(list(picture)[1])[0][-1, 1] == pytest.approx(expected[-5:].mean())


def test_raster_shows_each_spike_in_its_neurons_row() -> None:
    spikes = np.zeros((5, 3), bool)
    spikes[4, 0] = True
    data = xr.DataArray(
        spikes, dims=("time", "neuron"), coords={"time": 20.0 * np.arange(5)}, attrs={"long_name": "spikes"}
    )
    image = next(iter(plots.raster(data, order=np.array([2, 1, 0]))))
    rows = image.dimension_values(2, flat=False)  # from the bottom up
    assert (rows[2, 4], rows.sum()) == (1, 1)  # neuron 0 is uppermost in this order
    assert image[80.0, 2.0] == 1


def test_raster_of_a_signal_has_its_own_limits() -> None:
    data = xr.DataArray(
        [[0.0, 1.0], [2.0, 3.0]], dims=("time", "neuron"), coords={"time": [0.0, 20.0]}, name="membrane"
    )
    assert options(next(iter(plots.raster(data))))["clim"] == (0.0, 3.0)


@given(st.integers(2, 5), st.integers(2, 30))
def test_trajectories_have_a_line_a_trial(trials: int, steps: int) -> None:
    values = np.random.default_rng(0).normal(size=(trials, steps, 3))
    scores = xr.DataArray(
        values, dims=("probe", "time", "component"), coords={"condition": ("probe", np.arange(trials))}
    )
    lines = paths(next(iter(plots.trajectories(scores, x=2, y=0))))
    assert len(lines) == trials
    np.testing.assert_allclose(lines[-1], values[-1][:, [2, 0]])


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_rotate_projects_onto_two_orthogonal_unit_directions(azimuth: float, elevation: float) -> None:
    scores = xr.DataArray(np.eye(3), dims=("time", "component"))
    seen = plots.rotate(scores, azimuth, elevation).values
    np.testing.assert_allclose(seen.T @ seen, np.eye(2), atol=1e-12)  # two orthogonal directions of length 1


def test_rotate_with_two_components_is_refused() -> None:
    with pytest.raises(ValueError, match="scores have 2 components; three are needed"):
        plots.rotate(xr.DataArray(np.eye(2), dims=("time", "component")), 0, 0)


def test_property_density_draws_the_density_of_the_analysis(run: xr.DataTree) -> None:
    found = neurons.density(run["properties"].to_dataset())
    picture = plots.property_density(found, "tau_soma", at=5)
    line = paths(list(picture)[1])[1]
    np.testing.assert_allclose(line[:, 0], found.density.sel(property="tau_soma", problem=5), rtol=1e-6)


def test_property_lines_are_one_a_neuron_and_thin_out_long_series() -> None:
    values = xr.DataArray(
        np.full((2000, 4), 3.0),
        dims=("problem", "neuron"),
        name="threshold",
        attrs={"long_name": "firing threshold", "units": "1"},
    )
    lines = paths(next(iter(plots.property_trajectories(values, picked=1))))
    assert len(lines) == 4
    assert len(lines[0]) == MOST_POINTS


def test_trace_has_a_tick_a_spike(run: xr.DataTree) -> None:
    probe = run["activity"].to_dataset().isel(problem=0, probe=0, neuron=1)
    ticks = [p for p in paths(list(plots.neuron_trace(probe, threshold=1.0))[3]) if np.isfinite(p).all()]
    assert len(ticks) == int(probe.spikes.sum())


@pytest.mark.parametrize("name", ["association", "dms"])
def test_trial_picture_names_the_epochs_and_the_outputs(name: str) -> None:
    trials = family(name).problem(seed=0).trials()
    words = set(list(plots.trial_picture(trials))[3].dimension_values("text"))
    assert {"delay", "fixation", "response"} <= words
    assert set(trials.output.values) <= words


def test_moving_the_marker_redraws_the_marker_only(run: xr.DataTree) -> None:
    picture = plots.property_trajectories(run["properties"].to_dataset().threshold, at=1)
    again = plots.move_marker(picture, 4)
    assert paths(list(again)[1])[0][0, 0] == 4
    assert [new is old for new, old in zip(again, picture, strict=True)].count(False) == 1


def test_axes_have_units() -> None:
    data = xr.DataArray([1.0], attrs={"long_name": "firing rate", "units": "Hz"})
    assert axis(data) == "firing rate (Hz)"


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9), st.booleans())
def test_limits_contain_everything(values: list[float], logarithmic: bool) -> None:
    low, high = span(values, 0.05, logarithmic)
    assert low < min(values) <= max(values) < high


def test_limits_of_missing_values_are_zero_to_one() -> None:
    assert span([float("nan")]) == (0.0, 1.0)


def test_components_on_the_axes_say_their_share(run: xr.DataTree) -> None:
    found = population.pca(run["activity"].to_dataset().membrane.isel(problem=0), n_components=2)
    label = options(plots.trajectories(found.scores, share=found.explained_variance_ratio))["xlabel"]
    assert label == f"component 1 ({100 * float(found.explained_variance_ratio[0]):.0f} % of variance)"


def test_no_trials_at_all_are_drawn_on_a_logarithmic_axis():
    series = xr.Dataset({"trials_to_criterion": ("problem", [70.0, 0.0, 3.0])}, {"problem": [0, 1, 2]})
    for log, lowest in ((True, 0.5), (False, 0.0)):
        drawn = plots.learning_curves({"a run": series}, log=log)
        line = drawn.traverse(lambda element: element, ["Contours", "Path"])
        heights = np.concatenate([part.array()[:, 1] for whole in line for part in whole.split() if len(part)])
        assert np.nanmin(heights.astype(float)) == lowest
        assert plots.curves.curve_limits({"a run": series}, log=log)[1][0] <= lowest


def test_a_survival_curve_keeps_each_value_until_the_next() -> None:
    found = curves.survival(xr.DataArray([500.0, 4.0, 6.0, np.nan, 8.0], dims="problem"), cap=10)
    _, line = plots.survival_curves(found)
    (steps,) = paths(line)
    for trials, share in ((1, 1.0), (3.9, 1.0), (4.1, 0.75), (5.9, 0.75), (6.1, 0.5), (9, 0.25)):
        before = steps[steps[:, 0] <= trials]
        assert before[-1, 1] == share
    assert steps[-1].tolist() == [10.0, 0.25]  # one was never learnt
    with pytest.raises(ValueError, match=r"found\['a'\] has dims \['seed', 'trials'\]; give one series"):
        plots.survival_curves({"a": found.expand_dims(seed=2)})


def test_between_two_problems_a_still_picture_has_no_mark():
    from matplotlib.figure import Figure as Page

    from ip2lab.views.widget import export

    series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, 20.0, 5.0])}, {"problem": range(3)})
    page = Page()
    axes = page.subplots()
    export.draw(page, axes, plots.learning_curves(series))
    assert axes.get_xlabel() == "problem"
    marks = axes.get_xticks()
    assert len(marks) >= 3
    assert (marks == marks.round()).all()


def test_a_signed_property_lies_on_a_linear_axis_and_others_on_a_logarithmic_one():
    values = xr.DataArray([[0.5, -1.0], [0.75, -2.0]], dims=("problem", "neuron"), coords={"problem": [-1, 0]})
    bias, tau = values.rename("bias"), np.exp(values).rename("tau_soma")
    for one, wanted in ((bias, "linear"), (tau, "log")):
        figure = hv.render(plots.property_trajectories(one))
        assert type(figure.y_scale).__name__ == f"{wanted.title()}Scale"
        drawn = plots.property_density(neurons.density(one), str(one.name), at=0)
        assert type(hv.render(drawn).y_scale).__name__ == f"{wanted.title()}Scale"
    figure = hv.render(plots.scatter(bias.isel(problem=0), tau.isel(problem=0)))
    assert [type(s).__name__ for s in (figure.x_scale, figure.y_scale)] == ["LinearScale", "LogScale"]
