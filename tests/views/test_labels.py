"""Explorers of problems that are called by words or dates: they work, and no label is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from make_run import make_run

import ip2lab
from ip2lab.views import LearningExplorer, LiveTraining, NeuronExplorer, PlasticityExplorer, PopulationExplorer
from ip2lab.views.explorers.base import Explorer
from ip2lab.views.labels import Labels
from ip2lab.views.widget import export

WORDS = ["day1", "x'); import os #", "__import__('os').system('touch pwned')", 'two\n"lines" \\ Ω', "run", "3"]
LABELS = {
    "words": np.array(WORDS),
    "dates": np.datetime64("2026-03-01", "ns") + np.arange(6) * np.timedelta64(3, "D"),
    "numbers": np.array([0.5, 3, 5, 6, 17, 20]),
}


@pytest.fixture(scope="module")
def plain() -> xr.DataTree:
    return make_run(problems=5, neurons=6, steps=20, repeats=5)


def relabelled(run: xr.DataTree, labels: np.ndarray) -> xr.DataTree:
    """The run with other labels of its problems, of which the first is before learning."""
    tree = {"/": run.to_dataset(inherit=False)}
    for name, one in run.children.items():
        found = one.to_dataset(inherit=False).load()
        if "problem" in found.variables:
            own = labels[found["problem"].values.astype(int) + 1]
            dims = found["problem"].dims
            coord = "problem" in found.coords
            found = found.assign_coords(problem=(dims, own)) if coord else found.assign(problem=(dims, own))
        tree[name] = found
    return xr.DataTree.from_dict(tree)


def columns(element: Any) -> list[np.ndarray]:
    """Every number that an element draws."""
    return [np.asarray(leaf.dimension_values(i), float) for leaf in element for i in range(2) if len(leaf)]


def redrawn(explorer: Explorer, **given: Any) -> set[str]:
    """The panels that the printed program draws as the explorer does."""
    space = dict(given)
    exec(explorer.code(), space)
    there = {name for name in explorer.visible() if not explorer.figure.notes.get(name)}
    for name in there:
        for found, expected in zip(columns(space[name]), columns(explorer.figure.elements[name]), strict=True):
            np.testing.assert_allclose(found, expected, err_msg=name)
    return there


@pytest.fixture(params=LABELS)
def run(
    plain: xr.DataTree, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> xr.DataTree:
    monkeypatch.chdir(tmp_path)
    return relabelled(plain, LABELS[request.param])


def keys(run: xr.DataTree, name: str) -> list[Any]:
    return Labels(run[name]["problem"].values).keys


def test_population_explorer_and_its_code_work_on_labelled_problems(run: xr.DataTree, tmp_path: Path) -> None:
    explorer = PopulationExplorer(run)
    panels, problems = [panel.title for panel in explorer.PANELS], keys(run, "activity")
    assert explorer.problems == problems
    states: list[dict[str, Any]] = [
        {"problem": problems[-1], "basis": "range", "range": [problems[1], problems[2]], "order": "community"},
        {"problem": problems[1], "aligned": True, "order": "loading", "by": "stimulus"},
        {"problem": problems[2], "method": "isomap", "basis": "all", "aligned": True, "order": "tau_soma"},
        {"problem": problems[0], "method": "demixed", "signal": "membrane", "hidden": [0]},
    ]
    for state in states:
        explorer.state = {"method": "pca", "aligned": False, "basis": "this", **state, "panels": panels}
        assert json.loads(json.dumps(explorer.state))["problem"] == state["problem"]
        lacking = {"loadings"} if state.get("method") == "isomap" else set()
        assert redrawn(explorer, run=run) == {panel.name for panel in explorer.PANELS} - lacking
    explorer._at_problem("angles", 1.2, 0.0)
    assert explorer.state["problem"] == problems[1]
    explorer._press("ArrowRight")
    assert explorer.state["problem"] == problems[2]
    assert explorer.data()
    assert not list(tmp_path.iterdir())


def test_numbers_of_a_population_do_not_depend_on_what_its_problems_are_called(
    run: xr.DataTree, plain: xr.DataTree
) -> None:
    explorers = [PopulationExplorer(plain), PopulationExplorer(run)]
    for explorer in explorers:
        explorer.state = {
            "problem": explorer.problems[2],
            "panels": [panel.title for panel in explorer.PANELS],
            "basis": "all",
        }
    for name in ("trajectories", "raster", "loadings", "scatter", "average", "decoding", "angles"):
        for one, other in zip(*(columns(e.figure.elements[name]) for e in explorers), strict=True):
            np.testing.assert_allclose(one, other, err_msg=name)


def test_neuron_explorer_and_its_code_work_on_labelled_problems(run: xr.DataTree, tmp_path: Path) -> None:
    explorer = NeuronExplorer(run)
    panels, problems = [panel.title for panel in explorer.PANELS][:-1], keys(run, "properties")
    for problem in (problems[0], problems[3], problems[-1]):
        explorer.state = {"problem": problem, "neuron": 2, "colour": "end tau_soma", "selected": [1], "panels": panels}
        assert redrawn(explorer, run=run) == {panel.name for panel in explorer.PANELS if panel.title in panels}
    explorer._pick_row("history", 0.0, 1.2)
    assert explorer.state["problem"] == keys(run, "activity")[1]
    explorer._pick_line("over", 1.0, 20.0)
    assert explorer.data()
    assert not list(tmp_path.iterdir())


def test_learning_explorer_and_its_code_work_on_labelled_problems(run: xr.DataTree, tmp_path: Path) -> None:
    explorer = LearningExplorer({"a'": run, "__import__('os')": run})
    problems = keys(run, "series")
    for state in ({"problem": problems[3]}, {"problem": problems[1], "beside": "family", "log": False}):
        explorer.state = state
        assert redrawn(explorer, run_1=run, run_2=run) >= {"curve", "loss", "final"}
    explorer._pick("curve", explorer.labels.place(problems[2]), 1.0)
    assert explorer.state["problem"] == problems[2]
    assert explorer.data()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", [*WORDS, "", "{0}%s"])
def test_names_of_searches_are_never_run_as_code(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search = ip2lab.example("search_association")
    explorer = PlasticityExplorer({word: search, "other": search})
    assert redrawn(explorer) == {panel.name for panel in explorer.PANELS}
    assert not list(tmp_path.iterdir())


def test_a_live_training_prints_its_options_as_values() -> None:
    start = {"tau_soma": np.array([10.0, 20.0]), "x": np.float32(0.1)}
    live = LiveTraining("association", problems=1, note="x'); import os #", other=start)
    assert 'note="x\'); import os #"' in live.code()
    assert "{'tau_soma': np.array([10.0, 20.0], dtype='<f8'), 'x': np.float32(0.10000000149011612)}" in live.code()
    compile(live.code(), "<program>", "exec")


def test_the_nearest_label_is_by_value_or_by_place() -> None:
    days = np.datetime64("2026-03-01") + np.array([0, 1, 9, 20])
    every, kept = Labels(days), Labels(days[[0, 3]])
    assert kept.nearest("2026-03-10", every) == "2026-03-01"
    assert Labels(np.array([0, 1, 5, 19])).nearest(12) == 5
    words = Labels(np.array(list("dabc")))
    assert Labels(np.array(["d", "c"])).nearest("a", words) == "d"
    assert Labels(np.array(["d", "c"])).nearest("b", words) == "c"
    assert Labels(np.array(["d", "c"])).nearest("nowhere", words) == "c"


def test_problems_in_a_row_are_found_by_number_or_in_the_order_that_there_is() -> None:
    assert Labels(np.array([1, 3, 4, 5, 9])).in_a_row(3) == [3, 4, 5]
    assert Labels(np.array([1, 3, 4])).in_a_row(3) == []
    words = Labels(np.array(list("dabc")))
    assert Labels(np.array(list("dbc"))).in_a_row(2, words) == ["b", "c"]
    assert words.in_a_row(4) == list("dabc")
    assert Labels(np.array(["a", 1, 2.5, None], dtype=object)).keys == ["a", 1, 2.5, "None"]
    assert Labels(np.arange(3) + 0.5).in_a_row(2) == []
    assert Labels(np.empty(0, int)).in_a_row(1) == []


def test_a_label_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="problem: 'a' occurs more than once; give each problem a label of its own"):
        Labels(np.array(["a", "b", "a"]))


@pytest.mark.parametrize("explorer", [PopulationExplorer, NeuronExplorer])
@pytest.mark.parametrize(
    ("name", "dim"),
    [("properties", "neuron"), ("activity", "neuron"), ("weights", "neuron"), ("weights", "presynaptic")],
)
def test_neurons_in_another_order_or_others_are_refused(explorer: Any, name: str, dim: str, plain: xr.DataTree) -> None:
    """A neuron is chosen by its place: groups in different orders would show several neurons as one."""
    for chosen, words in ((slice(None, None, -1), "in another order than"), (slice(1, None), "with other labels than")):
        tree = plain.copy()
        tree[name] = xr.DataTree(plain[name].to_dataset(inherit=False).isel({dim: chosen}))
        with pytest.raises(ValueError, match=rf"run: '\w+' of '\w+' comes {words} '\w+' of '\w+'; select the same"):
            explorer(tree)


def test_data_with_labels_that_are_objects_are_exported(tmp_path):
    data = xr.Dataset({"trials": ("problem", [9.0, 4.0])}, {"problem": np.array(["day 1", 2], object)})
    export._save(data, tmp_path / "a.nc")
    assert xr.load_dataset(tmp_path / "a.nc", engine="scipy")["problem"].values.astype(str).tolist() == ["day 1", "2"]
    export._save(data, tmp_path / "a.csv")
    assert "day 1" in (tmp_path / "a.csv").read_text()
