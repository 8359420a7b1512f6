"""Explorers: what is chosen is what is drawn, goes out as code and data, and comes back as state."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ip2lab.analysis import neurons, population
from ip2lab.views import LearningExplorer, NeuronExplorer, PopulationExplorer, plots
from ip2lab.views.explorers.base import Explorer, Panel, Switches
from ip2lab.views.explorers.learning import named
from ip2lab.views.explorers.recipe import call, ref


@pytest.fixture(params=[LearningExplorer, PopulationExplorer, NeuronExplorer])
def explorer(request: pytest.FixtureRequest, run: xr.DataTree) -> Explorer:
    made: Explorer = request.param(run)
    return made


def columns(element: Any) -> list[np.ndarray]:
    """Every number that an element draws."""
    return [np.asarray(leaf.dimension_values(i), float) for leaf in element for i in range(2) if len(leaf)]


def test_state_is_plain_and_comes_back(explorer: Explorer) -> None:
    state = explorer.state
    assert json.loads(json.dumps(state)) == state
    word = explorer.state_text
    explorer.state = {"problem": 3}
    assert explorer.state["problem"] == 3
    explorer.state = word
    assert explorer.state == state


def test_a_wrong_state_is_told_by_name(explorer: Explorer) -> None:
    with pytest.raises(KeyError, match="no choice 'colour of the sky'; it has problem"):
        explorer.state = {"colour of the sky": 1}
    with pytest.raises(ValueError, match="problem: 10000 is not valid; choose from"):
        explorer.state = {"problem": 10_000}
    with pytest.raises(ValueError, match="'gibberish' is no state of an explorer"):
        explorer.state = "gibberish"


def test_every_panel_has_a_caption_and_no_note(explorer: Explorer) -> None:
    explorer.state = {"problem": 0}
    assert {name: note for name, note in explorer.figure.notes.items() if note} == {}
    assert all(explorer.figure.captions.values())


def test_the_printed_code_draws_the_same_pictures(explorer: Explorer, run: xr.DataTree) -> None:
    explorer.state = {"problem": 3}
    space: dict[str, Any] = {"run": run, "run_1": run}
    exec(explorer.code(), space)
    drawn = {panel.name for panel in explorer.PANELS} & space.keys()
    for name in drawn:
        for found, expected in zip(columns(space[name]), columns(explorer.figure.elements[name]), strict=True):
            np.testing.assert_allclose(found, expected, err_msg=name)
    assert len(drawn) >= 2


@pytest.mark.parametrize("kind", ["png", "svg", "html", "nc", "csv"])
def test_an_exported_file_opens_with_its_content(explorer: Explorer, tmp_path: Path, kind: str) -> None:
    path = explorer.export(tmp_path / f"picture.{kind}")
    content = path.read_bytes()
    if kind == "nc":
        with xr.open_dataset(path, engine="scipy") as again:
            assert set(again.data_vars) == set(explorer.data().data_vars)
    else:
        start = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!DOCTYPE html>", "csv": b""}[kind]
        assert content.lstrip().startswith(start)
    if kind == "html":
        bare = re.sub(rb"<script.*?</script>", lambda m: m.group().split(b">")[0], content, flags=re.DOTALL)
        assert re.findall(rb"(?:src|href)=.https?:[^>]*", bare) == []


def test_an_unknown_ending_is_refused(explorer: Explorer, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'picture.bmp' does not end in a known format; give a name that ends in one of .png"
    ):
        explorer.export(tmp_path / "picture.bmp")


def test_a_picture_comes_with_the_widget_only_where_asked(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "image/png" not in explorer._repr_mimebundle_()
    monkeypatch.setenv("IP2LAB_STATIC", "1")
    bundle = explorer._repr_mimebundle_()
    assert "image/png" in bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_runs_switch_off_and_on(run: xr.DataTree, other_run: xr.DataTree) -> None:
    explorer = LearningExplorer({"one": run, "two": other_run})
    explorer.state = {"shown": ["two"]}
    lines = list(list(explorer.figure.elements["curve"])[3].split())
    assert len(lines) == 1
    explorer.state = {"shown": []}
    assert explorer.figure.notes["curve"] == "Every run is switched off."
    explorer.state = {"shown": ["one", "two"], "by": "model"}
    assert explorer.figure.notes["curve"] == ""
    assert len(list(explorer.figure.elements["curve"])[3].split()) == 1


def test_runs_are_named_by_what_they_differ_in(run: xr.DataTree, other_run: xr.DataTree) -> None:
    assert list(named([run, other_run])) == ["seed 0", "seed 5"]
    assert list(named([run, run]))[1].endswith("(2)")
    with pytest.raises(ValueError, match="no runs were given"):
        named([])


def test_a_click_into_the_curve_chooses_the_problem(run: xr.DataTree) -> None:
    explorer = LearningExplorer(run)
    explorer._pick("curve", 5.2, 10.0)
    assert explorer.state["problem"] == 5
    assert "problem 5" in explorer.figure.captions["loss"]


def test_population_shows_the_analysis(run: xr.DataTree) -> None:
    explorer = PopulationExplorer(run)
    explorer.state = {"problem": 5, "signal": "membrane", "basis": "all"}
    # noisy repeats of a condition are averaged before anything else
    signal = population.condition_means(run["activity"].to_dataset().membrane, trial="probe").astype(float)
    scores = population.project(signal.sel(problem=5), population.pca(signal, n_components=6))
    line = next(iter(explorer.figure.elements["trajectories"])).split()[0].array([0, 1])
    first = scores.isel(probe=0, component=[0, 1]).transpose("time", "component")
    np.testing.assert_allclose(line, first, rtol=1e-4, atol=1e-4)


def test_population_of_a_silent_network_says_so(run: xr.DataTree) -> None:
    silent = run.copy()
    silent["activity"] = xr.DataTree(run["activity"].to_dataset().map(xr.zeros_like))
    explorer = PopulationExplorer(silent)
    assert "No neuron changes its activity" in explorer.figure.notes["trajectories"]


def test_density_is_that_of_the_analysis(run: xr.DataTree) -> None:
    explorer = NeuronExplorer(run)
    explorer.state = {"problem": 3, "property": "threshold"}
    found = neurons.density(run["properties"].to_dataset()).density.sel(property="threshold", problem=3)
    np.testing.assert_allclose(
        list(explorer.figure.elements["density"])[1].split()[1].array([0])[:, 0], found, rtol=1e-6
    )


def test_one_row_is_a_panel(run: xr.DataTree) -> None:
    class More(NeuronExplorer):
        PANELS = (
            *NeuronExplorer.PANELS,
            Panel(
                "pair",
                "pairs",
                ("problem",),
                lambda _: call(plots.scatter, ref("now")["threshold"], ref("now")["tau_soma"]),
                lambda e: f"problem {e.state['problem']}",
                events={"tap": lambda e, panel, x, y: e.controls["problem"].set_trait("value", round(x))},
            ),
        )

    explorer = More(run)
    assert "pair" not in explorer.visible()
    explorer.state = {"panels": ["pairs"], "problem": 3}
    assert explorer.visible() == ["pair"]
    assert explorer.figure.captions["pair"] == "problem 3"
    explorer.figure._handlers["pair", "tap"](2.2, 1.0)
    assert explorer.figure.captions["pair"] == "problem 2"
    assert explorer.figure.grid.startswith('"pair pair pair pair" /')
    assert "Pairs" in explorer.code()


def test_a_switch_refuses_an_unknown_name() -> None:
    with pytest.raises(Exception, match="unknown name 'c'; there are a, b"):
        Switches({"a": "#111111", "b": "#222222"}).value = ("c",)
