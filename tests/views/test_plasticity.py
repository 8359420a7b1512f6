"""The explorer of a search shows what the search found, and says why it decided as it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import ip2lab
from ip2lab import records
from ip2lab.analysis import curves
from ip2lab.views import PlasticityExplorer, plots
from ip2lab.views.explorers.plasticity import named


@pytest.fixture(scope="module")
def searches() -> dict[str, xr.Dataset]:
    return {name: ip2lab.example(f"search_{name}") for name in ("association", "dms")}


@pytest.fixture
def explorer(searches: dict[str, xr.Dataset]) -> PlasticityExplorer:
    return PlasticityExplorer(searches)


def numbers(element: Any) -> str:
    """Everything that an element draws."""
    return str([[leaf.dimension_values(d).tolist() for d in leaf.dimensions()] for leaf in element if len(leaf)])


def test_every_panel_has_something_and_the_reason_is_told(explorer: PlasticityExplorer) -> None:
    assert {name: note for name, note in explorer.figure.notes.items() if note} == {}
    assert explorer.search.attrs["reason"] in explorer._words.value
    assert explorer.state["configuration"] == explorer.search.attrs["chosen"]


def test_another_search_brings_its_own_choice(explorer: PlasticityExplorer, searches: dict[str, xr.Dataset]) -> None:
    explorer.state = {"search": "dms"}
    assert explorer.state["configuration"] == searches["dms"].attrs["chosen"]
    assert searches["dms"].attrs["reason"] in explorer._words.value


def test_state_is_plain_and_comes_back(explorer: PlasticityExplorer) -> None:
    explorer.state = {"search": "dms", "configuration": "bias"}
    state, word = explorer.state, explorer.state_text
    assert json.loads(json.dumps(state)) == state
    explorer.state = {"search": "association", "configuration": "bias + threshold", "compare": False}
    explorer.state = word
    assert explorer.state == state


def test_a_click_on_a_row_picks_the_configuration_everywhere(explorer: PlasticityExplorer) -> None:
    explorer._pick("table", 0.0, 0.2)  # the lowest row is the worst
    picked = explorer.state["configuration"]
    assert picked == str(explorer.search.configuration.values[int(explorer.search.log_ratio.values.argmax())])
    assert f"{picked}: given up after round 0" in explorer.figure.captions["table"]
    explorer._press("ArrowUp")
    assert explorer.state["configuration"] != picked


def test_the_configuration_table_shows_the_means(searches: dict[str, xr.Dataset]) -> None:
    search = searches["association"]
    table = curves.configurations(search)
    cells = list(plots.configuration_table(search, table))[1]
    means = table.late_trials.sel(statistic="mean").values
    words = [str(w) for w in cells.dimension_values("text")]
    assert {f"{mean:.1f}" for mean in means[np.isfinite(means)]} <= {word.split("  ")[0] for word in words}
    assert "not reached" in words
    assert len(words) == 4 * search.sizes["configuration"]


def test_bars_of_the_rounds_are_all_trials(searches: dict[str, xr.Dataset]) -> None:
    search = searches["dms"]
    bars = next(iter(plots.search_rounds(search))).array([0, 1, 2, 3]).astype(float)
    np.testing.assert_allclose((bars[:, 2] - bars[:, 0]).sum(), search.trials.sum())
    words = list(list(plots.search_rounds(search))[1].dimension_values("text"))
    assert words.count("★") == 1
    assert words.count("✕") == int((search.given_up >= 0).sum())


def test_stopped_runs_are_told_apart_from_finished_ones(searches: dict[str, xr.Dataset]) -> None:
    search = searches["association"]
    picture = list(plots.seed_ratios(search, curves.configurations(search)))
    assert len(picture[4]) == int(search.stopped.sum())
    assert len(picture[3]) == int((search.stopped == 0).sum())


def test_the_printed_code_draws_the_same_pictures(explorer: PlasticityExplorer) -> None:
    explorer.state = {"search": "dms", "configuration": "bias"}
    space: dict[str, Any] = {}
    exec(explorer.code(), space)
    for name in [panel.name for panel in explorer.PANELS]:
        assert numbers(space[name]) == numbers(explorer.figure.elements[name]), name


@pytest.mark.parametrize("kind", ["png", "svg", "html", "nc", "csv"])
def test_an_exported_search_opens_with_its_content(explorer: PlasticityExplorer, tmp_path: Path, kind: str) -> None:
    path = explorer.export(tmp_path / f"search.{kind}")
    assert path.stat().st_size > 1000
    if kind == "nc":
        with xr.open_dataset(path, engine="scipy") as again:
            np.testing.assert_allclose(again.trials, explorer.search.trials)


def test_candidates_that_differ_in_more_than_one_property_are_told(searches: dict[str, xr.Dataset]) -> None:
    two = searches["association"].sel(configuration=["bias + threshold", "bias + tau_dendrite"])
    assert "differ in one property alone" in PlasticityExplorer(two).figure.notes["worth"]


def test_a_stored_search_is_opened(searches: dict[str, xr.Dataset], tmp_path: Path) -> None:
    records.write_search(searches["dms"], tmp_path / "mine.json")
    explorer = PlasticityExplorer(tmp_path / "mine.json")
    assert "open_search" in explorer.code()
    xr.testing.assert_identical(explorer.search, searches["dms"])


def test_anything_but_a_search_is_refused(run: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"searches: DataTree is no search; give what ip2lab.search_plasticity returned"
    ):
        PlasticityExplorer([run])
    with pytest.raises(ValueError, match="no searches were given"):
        PlasticityExplorer([])
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"other.json holds no search"):
        PlasticityExplorer(tmp_path / "other.json")


def test_searches_of_one_family_are_told_apart(searches: dict[str, xr.Dataset]) -> None:
    again = ip2lab.example("search_association_exhaustive")
    assert list(named([searches["association"], again])) == ["association, halving", "association, exhaustive"]
    assert list(named([again, again])) == ["association, exhaustive (1)", "association, exhaustive (2)"]
