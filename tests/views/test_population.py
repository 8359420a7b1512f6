"""The explorer of populations: what is picked in one picture is picked in all, and its code draws what it shows."""

from __future__ import annotations

import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_run import make_run

from ip2lab.analysis import connectivity, neurons, population
from ip2lab.views import PopulationExplorer
from ip2lab.views.widget.figure import inside

ALL = [panel.title for panel in PopulationExplorer.PANELS]


@pytest.fixture(scope="module")
def noisy() -> xr.DataTree:
    return make_run(problems=14, neurons=12, steps=25, repeats=6)


@pytest.fixture(scope="module")
def block() -> xr.DataTree:
    return make_run(problems=52, neurons=12, steps=25, kept=range(52))


@pytest.fixture
def explorer(noisy: xr.DataTree) -> PopulationExplorer:
    return PopulationExplorer(noisy)


def columns(element: Any) -> list[np.ndarray]:
    """Every number that an element draws."""
    return [np.asarray(leaf.dimension_values(i), float) for leaf in element for i in range(2) if len(leaf)]


def shown(explorer: PopulationExplorer, panel: str, part: int = 0) -> Any:
    return list(explorer.figure.elements[panel])[part]


STATES = [
    {"problem": 3, "signal": "membrane", "view": "1 3"},
    {"problem": 5, "basis": "all", "aligned": True, "view": "turned", "azimuth": -60, "by": "stimulus"},
    {"problem": 2, "basis": "range", "range": [0, 5], "order": "tau_soma", "selected": [1, 4], "span": [200.0, 900.0]},
    {"problem": 1, "method": "demixed", "hidden": [1], "order": "loading", "repeats": "every"},
    {"problem": 2, "method": "isomap", "signal": "dendrite", "order": "community"},
    {"problem": 8, "method": "isomap", "basis": "first", "aligned": True, "x": "peak", "y": "mean"},
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: "-".join(map(str, state)))
def test_the_code_draws_what_is_shown(explorer: PopulationExplorer, noisy: xr.DataTree, state: dict[str, Any]) -> None:
    explorer.state = {**state, "panels": ALL}
    there = [p.name for p in PopulationExplorer.PANELS if not explorer.figure.notes[p.name]]
    assert len(there) >= (8 if state.get("method") == "isomap" else 9)
    space: dict[str, Any] = {"run": noisy}
    exec(explorer.code(), space)
    for name in there:
        for found, expected in zip(columns(space[name]), columns(explorer.figure.elements[name]), strict=True):
            np.testing.assert_allclose(found, expected, err_msg=name)


def test_a_state_restores_everything_that_was_selected(explorer: PopulationExplorer) -> None:
    explorer.state = {**STATES[2], "panels": ["angles", "raster"], "hidden": [1]}
    word = explorer.state_text
    other = PopulationExplorer(explorer.run)
    other.state = word
    assert other.state == explorer.state
    assert other.visible() == ["raster", "angles"]
    assert other.figure.grid.startswith('"raster angles" /')
    with pytest.raises(ValueError, match=r"selected: .* is not valid; give numbers from 0 to below 12"):
        other.state = {"selected": [12]}


def test_methods_are_those_of_the_analysis(explorer: PopulationExplorer, noisy: xr.DataTree) -> None:
    activity = noisy["activity"].to_dataset()
    explorer.state = {"problem": 2, "signal": "membrane", "panels": ALL, "by": "stimulus"}
    signal = population.condition_means(activity.membrane.sel(problem=2), trial="probe").astype(float)
    scores = population.pca(signal, n_components=2).scores
    np.testing.assert_allclose(shown(explorer, "trajectories").split()[1].array([0, 1]), scores[1], atol=1e-5)
    bins = activity.membrane.sel(problem=2).drop_vars("epoch").astype(float)
    bins = bins.coarsen(time=1).mean()  # a bin of 100 ms is one step of 80 ms
    accuracy = population.decode(bins, "stimulus", trial="probe").accuracy
    np.testing.assert_allclose(shown(explorer, "decoding").split()[0].array([1])[:, 0], accuracy)
    dims = population.dimensionality(population.condition_means(activity.membrane, trial="probe").astype(float))
    angles = population.principal_angles(dims.components[0], dims.components[2]).mean()
    drawn = shown(explorer, "angles").dimension_values(2, flat=False)
    assert drawn[0, 2] == pytest.approx(float(np.degrees(angles)), rel=1e-5)
    explorer.state = {"method": "demixed"}
    found = population.demix(activity.membrane.sel(problem=2).astype(float), ["stimulus"], trial="probe")
    np.testing.assert_allclose(
        shown(explorer, "loadings").dimension_values(0), found.decoders.sel(marginalisation="stimulus")[0]
    )


def test_aligned_paths_lie_on_those_of_the_last_problem(explorer: PopulationExplorer) -> None:
    def away() -> float:
        explorer.state = {"problem": 1}
        one = shown(explorer, "trajectories").split()[0].array([0, 1])
        explorer.state = {"problem": explorer.problems[-1]}
        return float(np.square(one - shown(explorer, "trajectories").split()[0].array([0, 1])).sum())

    explorer.state = {"signal": "membrane"}
    before = away()
    explorer.state = {"aligned": True}
    assert away() < before


def test_rows_are_sorted_by_community(explorer: PopulationExplorer, noisy: xr.DataTree) -> None:
    explorer.state = {"problem": 3, "order": "community"}
    weights = noisy["weights"].to_dataset().recurrent_weights.sel(problem=3)
    groups = connectivity.communities(weights, runs=10).community.values
    spikes = noisy["activity"].to_dataset().spikes.sel(problem=3, neuron=np.argsort(groups, kind="stable"))
    drawn = shown(explorer, "raster").dimension_values(2, flat=False)
    np.testing.assert_array_equal(drawn, spikes.isel(probe=0).transpose("neuron", "time"))


def test_decision_and_stimulus_subspaces_need_a_block(explorer: PopulationExplorer, block: xr.DataTree) -> None:
    explorer.state = {"method": "decision"}
    assert "average over 50 problems in a row" in explorer.figure.notes["trajectories"]
    whole = PopulationExplorer(block)
    whole.state = {"method": "decision", "problem": 51}
    rates = neurons.firing_rate(block["activity"].to_dataset().spikes, width=50)
    found = population.subspaces(rates.sel(problem=slice(0, 49)))
    np.testing.assert_allclose(shown(whole, "loadings").dimension_values(0), found.decision[0], atol=1e-9)
    whole.state = {"method": "stimulus", "problem": 7}
    np.testing.assert_allclose(
        shown(whole, "loadings").dimension_values(0), found.stimulus.sel(problem=7)[0], atol=1e-6
    )


def test_a_lasso_in_the_loadings_selects_everywhere(explorer: PopulationExplorer) -> None:
    explorer.state = {"panels": ALL}
    points = shown(explorer, "loadings").array([0, 1])
    chosen = np.flatnonzero(points[:, 0] > np.median(points[:, 0]))
    x, low, high = float(np.median(points[:, 0])) + 1e-9, float(points[:, 1].min()) - 1, float(points[:, 1].max()) + 1
    model = explorer.figure._panels["loadings"].plot.state.id
    lasso = {"type": "poly", "x": [x, 9.0, 9.0, x], "y": [low, low, high, high]}
    explorer.figure._hear(None, {"event": "selectiongeometry", "model": model, "geometry": lasso}, None)
    assert explorer.state["selected"] == chosen.tolist()
    for panel in ("loadings", "scatter"):
        assert len(shown(explorer, panel, 1)) == len(chosen)
    assert f"{len(chosen)} selected" in explorer.figure.captions["average"]
    assert f"{len(chosen)} neurons selected" in explorer.figure.captions["raster"]
    explorer._press("Escape")
    assert explorer.state["selected"] == []


def test_a_box_in_the_raster_selects_its_rows_and_its_time(explorer: PopulationExplorer) -> None:
    explorer.state = {"problem": 3, "order": "threshold"}
    values = explorer.properties.threshold.sel(problem=3).values
    box = {"type": "rect", "x0": 480.0, "x1": 960.0, "y0": 9.6, "y1": 20.0}
    explorer._select_rows("raster", box)
    assert explorer.state["selected"] == sorted(np.argsort(values)[10:].tolist())
    assert explorer.state["span"] == [480.0, 960.0]
    assert len(shown(explorer, "trajectories", 4)) == 7 * len(explorer._facts.kinds("condition"))


def test_clicks_choose_neurons_trials_times_and_problems(explorer: PopulationExplorer) -> None:
    explorer.state = {"panels": ["trajectories", "loadings", "variance"]}
    points = shown(explorer, "loadings").array([0, 1])
    explorer._toggle("loadings", *points[7])
    explorer._toggle("loadings", *points[2])
    assert explorer.state["selected"] == [2, 7]
    explorer._toggle("loadings", *points[7])
    assert explorer.state["selected"] == [2]
    line = shown(explorer, "trajectories").split()[1].array([0, 1])
    explorer._at_point("trajectories", *line[20])
    assert explorer.state["time"] == explorer.times[20]
    assert explorer.activity.condition.values[explorer.state["trial"]] == explorer._facts.kinds("condition")[1]
    hear, model = explorer.figure._hear, explorer.figure._panels["variance"].plot.state.id
    hear(None, {"event": "tap", "model": model, "x": 4.6, "y": 0.1}, None)
    assert explorer.state["problem"] == 5


def test_names_of_the_legend_hide_conditions(explorer: PopulationExplorer) -> None:
    name = explorer.figure._legends["trajectories"][0][0]
    explorer.figure._hear(None, {"event": "legend", "panel": "trajectories", "name": name}, None)
    assert len(shown(explorer, "trajectories").split()) == 1
    assert explorer.figure._legends["average"][0][1].endswith("55")
    explorer._hide("trajectories", name)
    assert len(shown(explorer, "trajectories").split()) == 2


def test_arrows_move_through_problems_and_time(explorer: PopulationExplorer) -> None:
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        explorer._press(key)
    assert explorer.state["problem"] == 1
    assert explorer.state["time"] == explorer.times[1]
    explorer._press("ArrowLeft")
    explorer._press("ArrowLeft")
    assert explorer.state["problem"] == 0


def test_only_visible_panels_are_computed(explorer: PopulationExplorer) -> None:
    explorer.state = {"method": "isomap"}
    steps = explorer._steps()
    assert not explorer._recipe.missing(steps, "manifold")
    assert explorer._recipe.missing(steps, "decoded")
    assert explorer.figure._panels["decoding"].plot is None
    explorer.state = {"panels": ["decoding"]}
    assert not explorer._recipe.missing(explorer._steps(), "decoded")
    assert explorer.figure.notes["decoding"] == ""


def test_trials_without_noise_are_told(run: xr.DataTree) -> None:
    bare = make_run(problems=3, neurons=12, steps=25)
    explorer = PopulationExplorer(bare)
    explorer.state = {"panels": ["decoding"]}
    assert explorer.figure.notes["decoding"]


@pytest.mark.parametrize("kind", ["png", "svg", "html", "nc", "csv"])
def test_all_panels_are_exported(explorer: PopulationExplorer, tmp_path: Path, kind: str) -> None:
    explorer.state = {"panels": ALL, "signal": "membrane", "selected": [1, 2]}
    path = explorer.export(tmp_path / f"all.{kind}")
    names = set(explorer.data().data_vars)
    assert names >= {"scores", "components", "order", "angle", "accuracy", "participation_ratio", "neuron_x"}
    if kind == "png":
        assert min(matplotlib.image.imread(path).shape[:2]) > 2000
    elif kind == "svg":
        words = "".join(xml.etree.ElementTree.parse(path).getroot().itertext())
        assert all(word in words for word in ("Trajectories", "Principal angles", "Decoding", "stimulus 1"))
    elif kind == "html":
        assert all(word in path.read_text() for word in ("Trajectories", "Principal angles", "Decoding"))
    elif kind == "nc":
        with xr.open_dataset(path, engine="scipy") as again:
            assert set(again.data_vars) == names
            np.testing.assert_allclose(again.scores, explorer.data().scores)
    else:
        table = pd.read_csv(path)
        assert set(table.variable) == names
        accuracy = table.loc[table.variable == "accuracy", "value"].to_numpy()
        np.testing.assert_allclose(accuracy, explorer.data().accuracy.values.ravel())


def test_points_inside_a_lasso_or_box_are_found() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-2, 2, (2, 500))
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = {"type": "poly", "x": np.cos(angle).tolist(), "y": np.sin(angle).tolist()}
    far = np.abs(np.hypot(x, y) - 1) > 0.01
    np.testing.assert_array_equal(inside(circle, x, y)[far], (np.hypot(x, y) < 1)[far])
    box = {"type": "rect", "x0": 1.0, "x1": -1.0, "y0": 0.0, "y1": 2.0}
    np.testing.assert_array_equal(inside(box, x, y), (np.abs(x) <= 1) & (y >= 0))
    assert not inside(circle, [np.nan], [0.0]).any()


def test_what_needs_loadings_says_that_a_curved_picture_has_none(run: xr.DataTree) -> None:
    explorer = PopulationExplorer(run)
    explorer.state = {"method": "isomap", "order": "loading"}
    assert "no directions" in explorer.figure.notes["raster"]
    explorer.state = {"order": "neuron"}
    assert not explorer.figure.notes["raster"]
