"""NeuronExplorer and its pictures: exact data in the right place, and one neuron picked in all pictures."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

import ip2lab
from ip2lab.analysis import connectivity, neurons
from ip2lab.views import NeuronExplorer, plots
from ip2lab.views.explorers import neuron_steps
from ip2lab.views.plots.neurons import ALL_POINTS
from ip2lab.views.widget.panel import options

EVERY = [panel.title for panel in NeuronExplorer.PANELS]


@pytest.fixture(scope="module")
def trained() -> xr.DataTree:
    """A run whose network can run again."""
    return ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)


@pytest.fixture
def explorer(run: xr.DataTree) -> NeuronExplorer:
    return NeuronExplorer(run)


def paths(leaf: Any) -> list[np.ndarray]:
    """The lines of an element, without the detour through HoloViews, which takes a second for a hundred."""
    names = [d.name for d in leaf.kdims]
    return [p if isinstance(p, np.ndarray) else np.column_stack([p[n] for n in names]) for p in leaf.data]


def columns(element: Any) -> list[np.ndarray]:
    """Every number that an element draws."""
    found = [paths(leaf) if isinstance(leaf.data, list) else [leaf.array([0, 1])] for leaf in element if leaf.kdims]
    return [np.asarray(one, float) for part in found for one in part]


# ---------------------------------------------------------------------- pictures


def test_psth_has_a_line_and_a_band_a_condition() -> None:
    time, rate = [0.0, 20.0, 40.0], np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    dims, attrs = ("condition", "time"), {"units": "Hz", "long_name": "rate"}
    found = xr.Dataset(
        {"rate": (dims, rate, attrs), "lower": (dims, rate - 0.5), "upper": (dims, rate + 1)},
        {"condition": ["go", "stop"], "time": time},
    )
    picture = plots.psth(found)
    np.testing.assert_array_equal(paths(list(picture)[2])[1], np.column_stack([time, rate[1]]))
    band = paths(next(iter(picture)))[0]
    assert (band[:, 1].min(), band[:, 1].max()) == (0.5, 4.0)
    assert [leaf.label for leaf in picture if leaf.label] == ["go", "stop"]


def test_trials_are_sorted_by_condition_and_coloured_by_it() -> None:
    spikes = np.zeros((4, 5), bool)
    spikes[0, 1] = spikes[3, 4] = True
    coords = {"condition": ("probe", ["b", "a", "a", "b"]), "time": 20.0 * np.arange(5)}
    picture = plots.trial_raster(xr.DataArray(spikes, dims=("probe", "time"), coords=coords))
    rows = next(iter(picture)).dimension_values(2, flat=False)  # from the bottom up: b, b, a, a
    assert rows.tolist() == [[0, 2, 0, 0, 0], [0, 0, 0, 0, 2], [0] * 5, [0] * 5]
    assert paths(list(picture)[2])[0][:, 1].tolist() == [1.5, 1.5]


def test_fi_curves_are_before_and_now() -> None:
    rate = xr.DataArray([[0.0, 10.0], [5.0, 20.0]], dims=("problem", "current"), coords={"current": [0.0, 2.0]})
    found = xr.Dataset({"firing_rate": rate, "rheobase": ("problem", [1.0, 0.5])}, {"problem": [-1, 9]})
    picture = list(plots.fi_curves(found))
    assert [p[:, 1].tolist() for p in paths(picture[0])] == [[0.0, 10.0], [5.0, 20.0]]
    assert picture[1].array([0, 1]).tolist() == [[1.0, 0.0], [0.5, 0.0]]


def test_channels_are_named_from_the_top_down() -> None:
    into = xr.DataArray([2.0, -1.0], dims="input", coords={"input": ["a", "b"]})
    out = xr.DataArray([3.0], dims="output", coords={"output": ["go"]})
    stems = list(plots.channels(into, out))[2].array([0, 1])
    assert stems[:, 0].tolist() == [2.0, -1.0, 3.0]
    assert (np.diff(stems[:, 1]) < 0).all()


def test_partners_are_the_row_and_the_column_of_the_neuron() -> None:
    values = np.random.default_rng(0).normal(size=(6, 6))
    picture = plots.partners(xr.DataArray(values, dims=("neuron", "presynaptic")), 2, chosen=[4])
    np.testing.assert_array_equal(list(picture)[-1].array([0, 1]), np.column_stack([values[:, 2], values[2]]))
    assert list(picture)[2].array([0, 1]).tolist() == [[values[4, 2], values[2, 4]]]


def test_lesions_lie_over_the_rate_of_the_neuron_that_is_gone() -> None:
    found = xr.Dataset({"loss": ("neuron", [0.3, 0.1]), "intact_loss": 0.1}, {"neuron": [2, 0]})
    rate = xr.DataArray([9.0, 5.0, 1.0], dims="neuron", attrs={"units": "Hz", "long_name": "firing rate"})
    picture = list(plots.lesion_costs(found, rate, picked=2))
    assert picture[-1].array([0, 1]).tolist() == [[1.0, 0.3], [9.0, 0.1]]
    assert picture[1].array([0, 1]).tolist() == [[1.0, 0.3]]


def test_highlighted_lines_are_whole_and_the_others_fade() -> None:
    values = xr.DataArray(np.exp(np.random.default_rng(0).normal(size=(300, 800))), dims=("problem", "neuron"))
    thin, _, chosen, picked = list(plots.property_trajectories(values, picked=5, chosen=[3, 9]))
    assert sum(len(p) for p in paths(thin)) <= ALL_POINTS
    np.testing.assert_array_equal(paths(chosen)[1][:, 1], values[:, 9])
    np.testing.assert_array_equal(paths(picked)[0][:, 1], values[:, 5])
    assert [len(thin.data[i]["colour"]) for i in (3, 4, 9)] == [7, 9, 7]


def test_color_scale_colours_groups_by_label_and_numbers_by_a_scale() -> None:
    colors, key = plots.color_scale(xr.DataArray([1, 0, 1], dims="neuron", name="community"))
    assert colors == [key["community 1"], key["community 0"], key["community 1"]]
    colors, key = plots.color_scale(xr.DataArray([-1.0, 0.0, 1.0], dims="neuron"))
    assert list(key) == ["-1", "-0.5", "0", "0.5", "1"]
    assert colors == [key["-1"], key["0"], key["1"]]
    colors, key = plots.color_scale(xr.DataArray([5.0, 5.0], dims="neuron", attrs={"units": "ms"}))
    assert list(key) == ["5 ms"]
    assert colors[0] == colors[1]


# ---------------------------------------------------------------------- explorer


def test_one_neuron_is_picked_in_every_picture(explorer: NeuronExplorer, run: xr.DataTree) -> None:
    explorer.state = {"problem": 5, "neuron": 3, "property": "tau_soma", "against": "threshold"}
    shown = explorer.figure.elements
    now = run["properties"].to_dataset().sel(problem=5).isel(neuron=3)
    assert next(iter(shown["scatter"])).array([0, 1])[0] == pytest.approx([now.tau_soma.item(), now.threshold.item()])
    weights = run["weights"].recurrent_weights.sel(problem=5).values
    np.testing.assert_allclose(list(shown["partners"])[-1].dimension_values(0), weights[:, 3])
    inputs = run["weights"].input_weights.sel(problem=5, neuron=3).values
    np.testing.assert_allclose(list(shown["channels"])[2].dimension_values(0)[: inputs.size], inputs)
    spikes = run["activity"].spikes.sel(problem=5, neuron=3)
    assert (next(iter(shown["raster"])).dimension_values(2) > 0).sum() == int(spikes.sum())
    rates = neurons.firing_rate(spikes.load(), width=50).groupby("condition").mean("probe")
    np.testing.assert_allclose(paths(list(shown["psth"])[2])[1][:, 1], rates.isel(condition=1))
    tuned = neurons.fi_curve(run["properties"].to_dataset().isel(neuron=[3]), [0.0], dt=1.0).rheobase
    dots = list(shown["excitability"])[1].dimension_values(0)
    np.testing.assert_allclose(dots, [tuned.sel(problem=-1).item(), tuned.sel(problem=5).item()])


@pytest.mark.parametrize("panel", ["over", "within", "scatter", "partners"])
def test_a_click_picks_the_neuron_there(explorer: NeuronExplorer, panel: str) -> None:
    explorer.state = {"neuron": 1, "problem": 3}
    (x, y), members, (logx, logy) = explorer._cloud(panel)
    x, y = (np.broadcast_to(v, np.broadcast_shapes(x.shape, y.shape)).reshape(-1, len(members))[-1] for v in (x, y))
    x, y = np.exp(x) if logx else x, np.exp(y) if logy else y
    for neuron in (7, 4):
        pick = explorer._pick_line if panel in ("over", "within") else explorer._pick_point
        place = explorer._cloud(panel)[0]
        if panel == "partners":  # where the others lie depends on whom they are partners of
            pick(panel, place[0][neuron], place[1][neuron])
        else:
            pick(panel, x[neuron], y[neuron])
        assert explorer.state["neuron"] == neuron


def test_a_lasso_highlights_in_every_picture_and_escape_lets_go(explorer: NeuronExplorer) -> None:
    explorer.state = {"problem": 5, "property": "tau_dendrite", "against": "threshold"}
    tau = explorer.properties.tau_dendrite.sel(problem=5).values
    low, high = np.sort(tau)[[-3, -1]]
    explorer._select("scatter", {"type": "rect", "x0": low * 0.99, "x1": high * 1.01, "y0": 1e-6, "y1": 1e6})
    expected = set(np.argsort(tau)[-3:].tolist())
    assert set(explorer.state["selected"]) == expected
    assert "3 highlighted" in explorer.figure.captions["over"]
    for panel, place in {"over": 2, "within": 2}.items():
        assert len(paths(list(explorer.figure.elements[panel])[place])) == 3
    assert {
        len(list(explorer.figure.elements[panel])[place]) for panel, place in {"scatter": 1, "partners": 2}.items()
    } == {3}
    explorer._press("Escape")
    assert explorer.state["selected"] == []


def test_a_lasso_around_lines_takes_those_that_pass(explorer: NeuronExplorer) -> None:
    table = explorer.properties.tau_dendrite
    high = float(table.sel(problem=10).max())
    region = {"type": "poly", "x": [9.5, 10.5, 10.5, 9.5], "y": [high * 0.999, high * 0.999, high * 1.1, high * 1.1]}
    explorer._select("over", region)
    assert explorer.state["selected"] == [int(table.sel(problem=10).values.argmax())]


def test_colours_are_those_of_the_analysis(explorer: NeuronExplorer, run: xr.DataTree) -> None:
    explorer.state = {"colour": "community"}
    last = run["weights"].recurrent_weights.isel(problem=-1).load()
    expected, key = plots.color_scale(connectivity.communities(last, runs=20).community)
    for panel, place in {"over": 0, "within": 0, "scatter": -1, "partners": -1}.items():
        leaf = list(explorer.figure.elements[panel])[place]
        found = [one["colour"] for one in leaf.data] if isinstance(leaf.data, list) else list(leaf["colour"])
        assert found == expected
    assert explorer.figure._legends["over"] == list(key.items())


def test_where_nothing_was_kept_the_nearest_is_shown_and_said(explorer: NeuronExplorer) -> None:
    explorer.state = {"problem": 11}
    for panel in ("psth", "trace", "partners", "channels"):
        assert "after problem 13, the nearest to 11 that was kept" in explorer.figure.captions[panel]


def test_lesions_and_noisy_trials_run_the_network_again(trained: xr.DataTree) -> None:
    explorer = NeuronExplorer(trained)
    explorer.state = {"panels": EVERY, "noisy": True, "neuron": 2, "selected": [2, 5], "colour": "selectivity stimulus"}
    assert {name: note for name, note in explorer.figure.notes.items() if note} == {}
    from ip2lab.probes import single_lesions

    found = single_lesions(trained, 1)
    points = list(explorer.figure.elements["lesion"])[-1]
    np.testing.assert_allclose(points.dimension_values(1), found.loss)
    assert float(found.loss[5]) == float(ip2lab.probe(trained, 1, silence=[5]).loss.mean())
    with pytest.raises(ValueError, match=r"\[20\] are not all among 0 to 19"):
        single_lesions(trained, 1, [20])
    both = float(ip2lab.probe(trained, 1, silence=[2, 5]).loss.mean())
    assert f"without the 2: loss {float(found.intact_loss):.2g} → {both:.2g}" in explorer.figure.captions["lesion"]
    assert next(iter(explorer.figure.elements["raster"])).dimension_values(2, flat=False).shape[0] == 40
    assert explorer.data()["loss"].dims == ("silenced",)


def test_a_sample_of_lesions_says_so_in_the_picture(trained: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_steps, "MOST", 7)
    explorer = NeuronExplorer(trained)
    explorer.state = {"panels": ["lesions"], "neuron": 4}  # one that is not in the sample
    assert "<b>Lesions</b> of 8 of 20 neurons" in explorer.figure.captions["lesion"]
    picture = explorer.figure.elements["lesion"]
    assert options(picture)["xlabel"].endswith(", 8 of 20 neurons")
    assert explorer._cloud("lesion")[1].tolist() == [*range(0, 20, 3), 4]
    space: dict[str, Any] = {"run": trained}
    exec(explorer.code(), space)
    for found, expected in zip(columns(space["lesion"]), columns(picture), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("colour", ["community", "selectivity stimulus"])
def test_code_draws_every_panel_from_nothing(trained: xr.DataTree, tmp_path: Any, colour: str) -> None:
    explorer = NeuronExplorer(trained)
    explorer.state = {"panels": EVERY, "noisy": True, "selected": [3], "colour": colour, "property": "tau_soma"}
    space: dict[str, Any] = {"run": trained}
    exec(explorer.code(), space)
    for name in [panel.name for panel in NeuronExplorer.PANELS]:
        for found, expected in zip(columns(space[name]), columns(explorer.figure.elements[name]), strict=True):
            np.testing.assert_allclose(found, expected, err_msg=name)


def test_without_pytorch_there_is_a_message(run: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ip2lab.probes", None)
    monkeypatch.delattr(ip2lab, "probes", raising=False)
    explorer = NeuronExplorer(run)
    explorer.state = {"panels": EVERY, "noisy": True, "colour": "selectivity stimulus"}
    for panel in ("lesion", "psth", "raster"):
        assert explorer.figure.notes[panel].endswith("needs PyTorch; it is not installed here (pip install torch).")
    assert "no selectivity for the stimulus: " in explorer.figure.captions["over"]
    assert explorer.figure.notes["trace"] == ""


def test_a_run_that_cannot_run_again_says_so(explorer: NeuronExplorer) -> None:
    explorer.state = {"panels": EVERY}
    assert explorer.figure.notes["lesion"].startswith("run: its configuration (config) holds ['problems', ")


def test_other_models_show_what_they_have() -> None:
    from make_run import make_run

    explorer = NeuronExplorer(make_run(problems=3, neurons=6, model="rate"))
    explorer.settle()
    assert "spiking neuron" in explorer.figure.notes["excitability"]
    assert [name for name, note in explorer.figure.notes.items() if note] == ["excitability"]


def test_a_misspelt_choice_says_which_one_is_meant(explorer: NeuronExplorer) -> None:
    with pytest.raises(ValueError, match=r"property: 'tau_some' is not valid; .*did you mean 'tau_soma'"):
        explorer.state = {"property": "tau_some"}
    with pytest.raises(KeyError, match="did you mean 'colour'"):
        explorer.state = {"color": "none"}
    with pytest.raises(ValueError, match="did you mean 'lesions'"):
        explorer.state = {"panels": ["lesion"]}
    with pytest.raises(ValueError, match="give numbers from 0 to below 12, not 12"):
        explorer.state = {"selected": [12]}


def test_exported_spikes_are_those_of_all_trials_where_one_trial_is_shown_too(explorer: NeuronExplorer) -> None:
    explorer.state = {"panels": ["all trials", "one trial"]}
    assert explorer.data()["spikes"].dims == ("probe", "time")
    explorer.state = {"panels": ["one trial"]}
    assert explorer.data()["spikes"].dims == ("time",)
