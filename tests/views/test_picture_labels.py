"""Labels decide what a picture shows, whatever order the data are in; gaps are gaps; no name or label breaks it."""

from __future__ import annotations

import io
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure as Page

import ip2lab
from ip2lab.analysis import curves, from_events, neurons, population
from ip2lab.views import plots
from ip2lab.views.style import KEY, QUIET, entries
from ip2lab.views.widget import export

sys.path.insert(0, str(Path(__file__).parents[1] / "robust"))

from calls_views import PICTURES

PACKAGE = str(Path(ip2lab.__file__).parent)
DRAWN = [
    name
    for name in PICTURES
    if name not in ("label_conditions", "curve_limits", "move_marker", "highlight", "rotate", "color_scale")
]
PLACES = ("picked", "selected", "chosen", "neuron", "order", "colors")  # arguments that count neurons
COUNTED = {
    "lesion_costs": "rate",
    "highlight": "values",
}  # the argument whose neurons they count, where that is not the first
AS_GIVEN = ("channels", "raster", "trial_raster", "trial_picture")  # rows stand in the order of the data


# ---------------------------------------------------------------------- what a picture holds, and what a refusal says


def refused(error: Exception, given: dict[str, Any]) -> str:
    """Return the words of a refusal by name; anything else is raised."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    ours = traceback.extract_tb(root.__traceback__)[-1].filename.startswith(PACKAGE)
    if not isinstance(root, (ValueError, TypeError)) or not ours:
        raise AssertionError(f"raw {type(root).__name__}: {root}") from error
    return str(error)


def outcome(name: str, given: dict[str, Any], rendered: bool = True) -> Any:
    """Return a picture, which can be shown in both ways, or the words of its refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RuntimeWarning)  # of numbers that are not finite: they are shown as gaps
        warnings.filterwarnings("ignore", message="Data has no positive values|Attempting to set identical")
        try:
            picture = PICTURES[name][0](**given)
        except Exception as error:
            return refused(error, given)
        if rendered and isinstance(picture, (hv.Element, hv.Overlay)):
            hv.render(picture, backend="bokeh")
            page = Page()
            export.draw(page, page.subplots(), picture)
            page.savefig(io.BytesIO(), format="png", dpi=20)
    return picture


def rows(leaf: Any) -> list[Any]:
    """The items of an element, as what can be sorted."""
    if isinstance(leaf, hv.Image):
        return [tuple(row) for row in leaf.dimension_values(2, flat=False).round(6).tolist()]
    if isinstance(leaf.data, list):
        paths = [p if isinstance(p, dict) else {"x": p[:, 0], "y": p[:, 1]} for p in leaf.data]
        return [(str(p.get("colour")), *(tuple(np.round(v, 6)) for v in p.values() if np.ndim(v))) for p in paths]
    return list(zip(*([str(v) for v in leaf.dimension_values(d)] for d in leaf.dimensions()), strict=True))


def held(picture: Any, name: str) -> Any:
    """What a picture shows, in no order; where rows stand as the data do, not on which row."""
    parts = list(picture) if isinstance(picture, hv.Overlay) else [picture]
    found = []
    for leaf in parts:
        items = [tuple(map(str, row)) for row in rows(leaf)]
        if name in AS_GIVEN:
            items = [tuple(sorted(column)) for column in zip(*items, strict=True)][:1] if items else []
            items = [] if isinstance(leaf, hv.Image) else items
        found.append((type(leaf).__name__, leaf.label, sorted(items)))
    return found


# ---------------------------------------------------------------------- other orders of what is given


def arrays(given: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], xr.DataArray | xr.Dataset]]:
    """Every labelled array of a call, with where it is."""
    if isinstance(given, (xr.DataArray, xr.Dataset)):
        yield path, given
    elif isinstance(given, dict):
        for key, value in given.items():
            yield from arrays(value, (*path, key))


def changed(given: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(given)
    return {key: changed(v, path[1:], change) if key == path[0] else v for key, v in given.items()}


def labelled(name: str) -> dict[str, Any]:
    """A right call in which every dim has labels."""
    given = PICTURES[name][1]()
    for path, data in list(arrays(given)):
        bare = {str(dim): np.arange(data.sizes[dim]) for dim in data.dims if dim not in data.coords}
        given = changed(given, path, lambda one, bare=bare: one.assign_coords(bare))
    return given


def moved_places(given: dict[str, Any], order: np.ndarray) -> dict[str, Any]:
    """The same call where the neurons stand in another order."""
    back, new = np.argsort(order), dict(given)
    for key in PLACES:
        value = given.get(key)
        if key == "colors" and isinstance(value, list):
            new[key] = [value[i] for i in order]
        elif isinstance(value, int):
            new[key] = int(back[value])
        elif isinstance(value, (list, np.ndarray)):
            new[key] = back[np.asarray(value)] if key == "order" else back[np.asarray(value)].tolist()
    return new


SHUFFLES = [
    (name, path, dim)
    for name in PICTURES
    if name != "series_picture"
    for path, data in arrays(PICTURES[name][1]())
    for dim in map(str, data.dims)
    if data.sizes[dim] > 1
]


@pytest.mark.parametrize(
    ("name", "path", "dim"), SHUFFLES, ids=lambda v: v if isinstance(v, str) else "/".join(map(str, v))
)
def test_a_shuffled_dim_gives_the_same_picture(name: str, path: tuple[str, ...], dim: str) -> None:
    given = labelled(name)
    (data,) = (data for place, data in arrays(given) if place == path)
    order = np.random.default_rng(len(dim)).permutation(data.sizes[dim])
    if (order == np.arange(len(order))).all():
        order = order[::-1]
    again = changed(given, path, lambda one: one.isel({dim: order}))
    if dim == "neuron" and path[0] == COUNTED.get(name, next(iter(given))):
        again = moved_places(again, order)
    before, after = outcome(name, given, False), outcome(name, again, False)
    if isinstance(after, str):
        return
    if isinstance(before, (hv.Element, hv.Overlay)):
        assert held(after, name) == held(before, name)
    elif isinstance(before, xr.DataArray):
        xr.testing.assert_allclose(after.sortby(dim) if dim in after.indexes else after, before)
    elif isinstance(before, xr.Dataset):
        xr.testing.assert_identical(after.sortby(dim), before.sortby(dim))
    elif name == "color_scale":
        assert (after[0], after[1]) == ([before[0][i] for i in order], before[1])
    else:
        assert after == before


@pytest.mark.parametrize(
    ("name", "path", "dim"), SHUFFLES, ids=lambda v: v if isinstance(v, str) else "/".join(map(str, v))
)
def test_repeated_labels_are_shown_or_refused_by_name(name: str, path: tuple[str, ...], dim: str) -> None:
    again = changed(
        labelled(name), path, lambda one: one.assign_coords({dim: [*one[dim].values[:-1], one[dim].values[0]]})
    )
    outcome(name, again, False)


@pytest.mark.parametrize(
    ("name", "path", "dim"), SHUFFLES, ids=lambda v: v if isinstance(v, str) else "/".join(map(str, v))
)
def test_one_along_a_dim_is_shown_or_refused_by_name(name: str, path: tuple[str, ...], dim: str) -> None:
    outcome(name, changed(labelled(name), path, lambda one: one.isel({dim: slice(1)})))


def with_more(data: xr.DataArray | xr.Dataset, value: float) -> Any:
    return data.map(lambda one: filled(one, value)) if isinstance(data, xr.Dataset) else filled(data, value)


def filled(one: xr.DataArray, value: float) -> xr.DataArray:
    return xr.full_like(one, value) if one.dtype.kind == "f" or (one.dtype.kind == "b" and value == 0) else one


PATHS = sorted({(name, path) for name, path, _ in SHUFFLES}, key=str)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
@pytest.mark.parametrize(("name", "path"), PATHS, ids=lambda v: v if isinstance(v, str) else "/".join(map(str, v)))
def test_all_silent_missing_or_infinite_is_shown_or_refused(name: str, path: tuple[str, ...], value: float) -> None:
    outcome(name, changed(labelled(name), path, lambda one: with_more(one, value)))


# ---------------------------------------------------------------------- two arrays, of which one has other labels

ROW = xr.DataArray([1.0, 2.0, 4.0], {"neuron": ["a", "b", "c"]}, "neuron", "rate")
OTHER = ROW.assign_coords(neuron=["a", "b", "d"]).rename("tau")
TRACE = xr.Dataset({"membrane": ("time", [0.0, 1.0, 0.5])}, {"time": [0.0, 20.0, 40.0]})
SCORES = xr.DataArray(np.ones((2, 3, 2)), {"component": [0, 1]}, ("trial", "time", "component"))
SERIES = xr.Dataset({"trials_to_criterion": ("problem", [9.0, 4.0, 3.0])}, {"problem": [0, 1, 2]})
SQUARE = xr.DataArray(np.eye(3), {"neuron": list("abc"), "presynaptic": list("abd")}, ("neuron", "presynaptic"))
LOST = xr.Dataset({"loss": ("neuron", [0.2, 0.4]), "intact_loss": 0.1}, {"neuron": ["a", "x"]})
PEAK = xr.DataArray([2, 0, 1], {"neuron": ["c", "a", "b"]}, "neuron")
SIGNAL = xr.DataArray(np.eye(3), {"neuron": list("abc"), "time": [0.0, 1.0, 2.0]}, ("neuron", "time"), "signal")
TWO = [
    (lambda: plots.neuron_map(ROW, OTHER), "labels of 'neuron' differ: 'tau' lacks c"),
    (lambda: plots.neuron_map(ROW, OTHER[:2]), "'tau' lacks c"),
    (lambda: plots.neuron_map(ROW, OTHER.assign_coords(neuron=["a", "b", "b"])), r"'tau' .* more than once \(b\)"),
    (lambda: plots.neuron_map(ROW, ROW, selected=[3]), "selected: 3 is none of 3 neurons"),
    (lambda: plots.scatter(ROW, OTHER), "labels of 'neuron' differ"),
    (lambda: plots.scatter(ROW, ROW, colors=["#112233"]), "colors: 1 colours for 3 neurons"),
    (lambda: plots.neuron_trace(TRACE, threshold=TRACE.membrane.assign_coords(time=[0, 20, 50])), "'time' differ"),
    (lambda: plots.trajectories(SCORES, share=xr.DataArray([0.5], {"component": [1]}, "component")), "'component'"),
    (lambda: plots.trajectories(SCORES, by="cue"), "no coord 'cue'"),
    (lambda: plots.learning_curves({"a": SERIES}, fits={"b": SERIES}), "fits: there is no 'b'; the names are a"),
    (lambda: plots.learning_curves({"a": SERIES}, colors={"b": "#112233"}), "colors: there is no colour for 'a'"),
    (lambda: plots.bars({"a": 1.0}, "x", intervals={"b": (0, 1)}), "intervals: there is no 'b'"),
    (lambda: plots.bars({"a": 1.0}, "x", single={"b": [1.0]}), "single: there is no 'b'"),
    (lambda: plots.bars({"a": 1.0}, "x", words={"b": "w"}), "words: there is no 'b'"),
    (lambda: plots.partners(SQUARE, 0), "'neuron' and 'presynaptic' differ"),
    (lambda: plots.lesion_costs(LOST, ROW), "rate lacks the neurons x of found"),
    (lambda: plots.raster(SIGNAL, order=PEAK), "order: its indices count the labels of 'neuron' in another order"),
    (lambda: plots.raster(SIGNAL, order=np.array([0, 7])), "order: 7 is none of 3 neurons"),
    (lambda: plots.channels(ROW[:1].assign_coords(neuron=["a"]).rename(neuron="input").assign_coords(neuron="a"),
                               ROW.rename(neuron="output").assign_coords(neuron="b")), "different neurons"),
    (lambda: plots.trial_picture(pictures_trials().isel(output=[2, 1, 0])), "target counts the outputs in another"),
]  # fmt: skip


def pictures_trials() -> xr.Dataset:
    return PICTURES["trial_picture"][1]()["trials"]


@pytest.mark.parametrize(("call", "words"), TWO, ids=[words[:40] for _, words in TWO])
def test_other_labels_are_refused_by_name(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_two_arrays_are_matched_by_their_labels() -> None:
    for draw in (plots.neuron_map, plots.scatter):
        assert held(draw(ROW, 10 * ROW[::-1]), "") == held(draw(ROW, 10 * ROW), "")
    weights = SQUARE.assign_coords(presynaptic=list("abc")) * np.arange(1.0, 10.0).reshape(3, 3)
    assert held(plots.partners(weights[:, [2, 0, 1]], 1), "") == held(plots.partners(weights, 1), "")
    lost = xr.Dataset({"loss": ("neuron", [0.2, 0.4]), "intact_loss": 0.1}, {"neuron": ["c", "a"]})
    cloud = list(plots.lesion_costs(lost, ROW))[-1].array([0, 1]).tolist()
    assert cloud == [[4.0, 0.2], [1.0, 0.4]]


def test_components_go_by_their_numbers() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    scores = xr.DataArray(values, {"component": [0, 1, 2]}, ("trial", "time", "component"))
    share = xr.DataArray([0.5, 0.3, 0.1], {"component": [0, 1, 2]}, "component")
    first, again = (plots.trajectories(s, share=share[::-1]) for s in (scores, scores[..., [2, 0, 1]]))
    assert held(first, "") == held(again, "")
    words = hv.Store.lookup_options("bokeh", again, "plot").kwargs["xlabel"]
    assert words == "component 1 (50 % of variance)"
    later = plots.trajectories(scores[..., 1:])
    assert hv.Store.lookup_options("bokeh", later, "plot").kwargs["xlabel"] == "component 2"


# ---------------------------------------------------------------------- one order and one colour of a label


def trials_of(labels: Any, n_time: int = 4) -> xr.DataArray:
    """Trials (trial, time) with a label each."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(len(labels), n_time))
    coords = {"time": 20.0 * np.arange(n_time), "condition": ("trial", labels)}
    return xr.DataArray(values, coords, ("trial", "time"), "activity")


def drawn_inks(labels: list[Any], hidden: tuple[Any, ...] = ()) -> list[dict[str, str]]:
    """The colours of the labels in every picture that has some."""
    data = trials_of(labels)
    scores = data.expand_dims(component=2, axis=-1)
    rate = data.groupby("condition").mean("trial")
    keyed = (
        plots.trajectories(scores, hidden=hidden),
        plots.over_time(data, by="condition", hidden=hidden),
        plots.psth(rate.to_dataset(name="rate")),
        plots.over_problems(rate.rename(time="problem")),
    )
    found = [dict(entries(picture)) for picture in keyed]
    picture = plots.trial_raster(xr.ones_like(data, bool), height=900)
    looks = hv.Store.lookup_options("bokeh", next(iter(picture)), "style").kwargs["cmap"][1:]
    ticks = hv.Store.lookup_options("bokeh", picture, "plot").kwargs["yticks"]
    return [*found, {word: ink for (_, word), ink in zip(ticks, looks, strict=True)}]


@pytest.mark.parametrize("labels", [["b", "a", "c", "a"], ["c", "b", "a"], [3, 1, 2], [10, 9, 2], [2.5, -1.0, 0.5]])
def test_a_label_has_one_colour_and_one_place_in_all_pictures(labels: list[Any]) -> None:
    found = drawn_inks(labels)
    assert all(list(colors.items()) == list(found[0].items()) for colors in found)
    assert list(found[0]) == list(drawn_inks(sorted(labels))[0])


def test_what_is_hidden_does_not_shift_the_colours() -> None:
    before, after = drawn_inks(["b", "a", "c"])[:2], drawn_inks(["b", "a", "c"], hidden=("a",))[:2]
    for one, other in zip(before, after, strict=True):
        assert {name: ink[:7] for name, ink in other.items()} == one
        assert other["a"] != one["a"]


def test_many_labels_have_colours_of_their_own_or_are_counted_in_words() -> None:
    for found in drawn_inks([f"cue {i:02}" for i in range(20)])[:4]:
        assert len(found) == len(set(found.values())) == 20
    for found in drawn_inks([f"cue {i:02}" for i in range(31)])[:4]:
        names, colors = list(found), list(found.values())
        assert names[-1] == f"and {31 - len(names) + 1} more"
        assert len(set(colors)) == len(colors)
        assert colors[-1] == QUIET


def test_groups_of_neurons_have_the_colours_of_their_labels() -> None:
    groups = xr.DataArray(["late", "early", "late"], dims="neuron", name="kind")
    colors, key = plots.color_scale(groups)
    assert list(key) == ["early", "late"]
    assert colors == [key["late"], key["early"], key["late"]]
    tint, key = plots.color_scale(xr.DataArray([1.0, np.nan, 3.0], dims="neuron"))
    assert tint[1] == key["no value"] == QUIET


# ---------------------------------------------------------------------- gaps


def with_gap(data: xr.DataArray, fill: float = 7.0) -> xr.DataArray:
    """Data of which a stretch of the second half of the trials was not recorded, whatever stands there."""
    mask = xr.ones_like(data.isel({d: 0 for d in data.dims if d not in ("trial", "time")}, drop=True), bool)
    mask[len(mask) // 2 :, 2:5] = False
    return data.where(mask, data.dtype.type(fill)).astype(data.dtype).assign_coords(recorded=mask)


GAPPY = trials_of(["b", "a", "b", "a"], 8)


def lines_of(leaf: Any) -> list[np.ndarray]:
    return [np.column_stack([p["x"], p["y"]]) if isinstance(p, dict) else p for p in leaf.data]


def test_lines_end_where_nothing_was_recorded() -> None:
    data = with_gap(GAPPY)
    scores = data.expand_dims(component=2, axis=-1)
    for leaf in (next(iter(plots.over_time(data))), next(iter(plots.trajectories(scores)))):
        found = lines_of(leaf)
        assert sorted(map(len, found)) == [2, 2, 3, 3, 8, 8]
        assert all(np.abs(line[:, 1]).max() < 7 for line in found)
    trace = xr.Dataset({"membrane": data[3], "spikes": data[3] > 5})
    parts = list(plots.neuron_trace(trace))
    assert sorted(map(len, lines_of(parts[2]))) == [2, 3]
    assert not any(np.isfinite(tick).all() for tick in lines_of(parts[3]))
    late = scores.assign_coords(recorded=scores.recorded & (scores.time > 20))
    rings = list(plots.trajectories(late))[1]
    assert len(rings) == 4
    assert np.isfinite(rings.array([0, 1]).astype(float)).all()


@pytest.mark.parametrize("kind", [bool, int, float])
def test_images_show_a_gap_as_one(kind: type) -> None:
    data = with_gap((np.abs(GAPPY) * 3).astype(kind), 1)
    for picture in (
        plots.trial_raster(data),
        plots.raster(data.rename(trial="neuron")),
        plots.history(data.rename(trial="problem").drop_vars("condition")),
    ):
        image = next(iter(picture))
        values = image.dimension_values(2, flat=False)
        assert np.isnan(values).sum() == 6
        assert "not recorded" in [name for name, _ in entries(picture)]
        shade = hv.Store.lookup_options("bokeh", image, "plot").kwargs["clipping_colors"]["NaN"]
        assert shade != "#00000000"
        outcome_of(picture)
    whole = plots.trial_raster(GAPPY > 0)
    assert not entries(whole)


def outcome_of(picture: Any) -> None:
    hv.render(picture, backend="bokeh")
    page = Page()
    export.draw(page, page.subplots(), picture)
    page.savefig(io.BytesIO(), format="png", dpi=20)


def test_a_psth_says_how_many_trials_are_behind_each_bin() -> None:
    rate = np.array([[5.0, 6.0, 7.0, np.nan, 4.0, 4.0], [2.0] * 6])
    counts = np.array([[9, 9, 3, 0, 3, 3], [9] * 6])
    dims = ("cue", "time")
    found = xr.Dataset(
        {
            "rate": (dims, rate, {"units": "Hz"}),
            "lower": (dims, rate - 1),
            "upper": (dims, rate + 1),
            "trials": (dims, counts),
        },
        {"cue": ["a", "b"], "time": 20.0 * np.arange(6)},
    )
    picture = plots.psth(found)
    assert [name for name, _ in entries(picture)] == ["a (0 to 9 trials)", "b"]
    strong = [p["colour"] for p in list(picture)[2].data]
    assert len(set(strong)) == 3  # a in full and pale, b in full
    assert not any(np.isnan(line).any() for line in lines_of(list(picture)[2]))
    assert len(next(iter(picture)).data) == 3  # two stretches of a, one of b
    outcome_of(picture)


def test_trials_of_different_lengths_go_through() -> None:
    long, short = (
        xr.DataArray(np.random.default_rng(n).random((n, 4)), {"time": 20.0 * np.arange(n)}, ("time", "neuron"))
        for n in (6, 4)
    )
    both = population.pad_trials([long, short, long], at="end")
    fit = population.pca(both, n_components=2)
    for picture in (
        plots.trajectories(fit.scores),
        plots.over_time(both.mean("neuron")),
        plots.trial_raster(both.isel(neuron=0)),
        plots.raster(both.isel(trial=1)),
    ):
        outcome_of(picture)
    assert len(lines_of(next(iter(plots.trajectories(fit.scores))))[1]) == 4


# ---------------------------------------------------------------------- names and labels that are hard to draw

HOSTILE = [
    "x",
    "y",
    "colour",
    "value",
    "text",
    "run",
    "number",
    "$\\frac{",
    "@x{y}",
    "{}",
    "",
    " ",
    "<b>",
    "é" * 300,
    "a\nb\0",
    "%s",
]
COORDS = [
    "x",
    "y",
    "colour",
    "component",
    "line",
    "row",
    "trial_",
    "member",
    "direction",
    "label",
    "value",
    "point",
    "recording",
]


@pytest.mark.parametrize("name", DRAWN)
def test_names_from_the_data_collide_with_nothing(name: str) -> None:
    if name == "series_picture":
        return
    for words in HOSTILE:
        given = labelled(name)
        for path, _ in list(arrays(given)):
            given = changed(given, path, lambda one, words=words: hostile(one, words))
        assert not isinstance(outcome(name, given, words in ("colour", "a\nb\0")), str), words
    given = labelled(name)
    for path, _ in list(arrays(given)):
        given = changed(given, path, with_coords)
    assert not isinstance(outcome(name, given), str)


def hostile(data: xr.DataArray | xr.Dataset, words: str) -> Any:
    """The same data where every name that is only there for people is this one."""
    attrs = {"long_name": words, "units": words}
    made = data.copy()
    for one in [*made.coords.values(), *(made.data_vars.values() if isinstance(made, xr.Dataset) else [])]:
        one.attrs.update(attrs)
    if isinstance(made, xr.DataArray):
        return made.assign_attrs(attrs).rename(words) if words not in made.coords else made.assign_attrs(attrs)
    return made


def with_coords(data: xr.DataArray | xr.Dataset) -> Any:
    known = {*data.dims, *data.coords, *(data.data_vars if isinstance(data, xr.Dataset) else ())}
    dim = next(iter(data.dims), None)
    new = {
        name: (dim, np.arange(data.sizes[dim])) if i % 2 and dim else 1.0
        for i, name in enumerate(COORDS)
        if name not in known
    }
    return data.assign_coords(new)


MISSING = ("None", "NaN", "NaT")
KINDS: dict[str, Any] = {
    "numbers": np.array([2, 1, 2, 1]), "negative": np.array([-1, 1, -1, 1]), "floats": np.array([0.5, 1.5, 0.5, 1.5]),
    "bool": np.array([True, False, True, False]), "text": np.array(["b", "a", "b", "a"]),
    "objects": np.array(["b", "a", "b", "a"], object), "bytes": np.array([b"b", b"a", b"b", b"a"]),
    "mixed": np.array(["b", 1, "b", 1], object), "dates": np.array(["2020-01-02", "2020-01-01"] * 2, "M8[ns]"),
    "durations": np.array([2, 1, 2, 1], "m8[s]").astype("m8[ns]"),
    "categories": pd.Categorical(list("baba"), list("zab")),
    "empty": np.array(["", "a", "", "a"]), "hostile": np.array(["<b>$x$", "@{y}", "<b>$x$", "@{y}"]),
    "control": np.array(["\x01", "a\n", "\x01", "a\n"]), "long": np.array(["x" * 500, "y" * 500] * 2),
    "alike": np.array(["1", 1, "1", 1], object), "None": np.array(["b", None, "b", "a"], object),
    "NaN": np.array([1.0, np.nan, 1.0, 2.0]), "NaT": np.array(["2020-01-01", "NaT"] * 2, "M8[ns]"),
}  # fmt: skip


def tuples() -> np.ndarray:
    found = np.empty(4, object)
    found[:] = [("b", 1), ("a", 2), ("b", 1), ("a", 2)]
    return found


KINDS["tuples"] = tuples()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_any_kind_are_shown_or_refused_by_name(kind: str) -> None:
    data = trials_of(KINDS[kind])
    calls = {
        "trajectories": {"scores": data.expand_dims(component=2, axis=-1)},
        "over_time": {"values": data, "by": "condition"},
        "trial_raster": {"signal": data > 0},
    }
    for name, given in calls.items():
        found = outcome(name, given)
        if kind in MISSING:
            assert isinstance(found, str)
            assert "of the labels 'condition' are missing" in found
        else:
            assert not isinstance(found, str), found
    row = data[:2].drop_vars("condition").rename(trial="cue").assign_coords(cue=KINDS[kind][:2])
    outcome("picture of a psth", {"found": row.to_dataset(name="rate")})
    outcome("over_problems", {"values": row.rename(time="problem")})


INDEX = pd.MultiIndex.from_product([["s1", "s2"], [0, 1]], names=["session", "number"])


def test_trials_of_sessions_are_trials() -> None:
    coords = xr.Coordinates.from_pandas_multiindex(INDEX, "trial")
    data = trials_of(list("abab")).assign_coords(coords)
    for by in ("session", "condition"):
        assert not isinstance(
            outcome("trajectories", {"scores": data.expand_dims(component=2, axis=-1), "by": by}), str
        )
        assert not isinstance(outcome("trial_raster", {"signal": data > 0, "by": by}), str)
        assert not isinstance(outcome("over_time", {"values": data, "by": by}), str)


PROBLEMS: dict[str, Any] = {
    "text": ["day one", "day two", "day ten", "day last"],
    "dates": np.array(["2020-01-01", "2020-02-01", "2020-03-01", "2021-01-01"], "M8[ns]"),
    "from 1": [1, 2, 3, 4], "mixed": np.array(["a", 1, "b", 2], object), "sessions": INDEX,
    "not finite": [0.0, np.nan, 2.0, 3.0],
    "bool": [True, False, True, False],
}  # fmt: skip
LAST = {"text": "day last", "dates": np.datetime64("2021-01-01"), "from 1": 4, "mixed": 2}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_problems_may_have_any_labels(kind: str) -> None:
    labels, last = PROBLEMS[kind], LAST.get(kind)
    coords = xr.Coordinates.from_pandas_multiindex(labels, "problem") if kind == "sessions" else {"problem": labels}
    values = xr.DataArray(np.random.default_rng(0).random((4, 4)) + 1, dims=("problem", "neuron"), name="tau_soma")
    values = values.assign_coords(coords)
    flat = values[:, 0]
    density = neurons.density(values.drop_vars([*values.coords])).assign_coords(coords)
    trials = xr.Dataset({"loss": ("trial", [1.0, 0.5, 0.2]), "correct": ("trial", [False, True, True])})
    table = np.asarray(flat["problem"].values)[[0, 0, 3]]
    calls = {
        "learning_curves": {"runs": flat, "at": last},
        "curve_limits": {"runs": {"a": flat.to_dataset(name="trials_to_criterion")}},
        "over_problems": {"values": flat, "at": last},
        "property_trajectories": {"values": values, "at": last},
        "matrix": {
            "values": xr.DataArray(np.eye(4), coords={"problem": flat["problem"]}, dims=("problem", "other")),
            "at": last,
        },
        "history": {"signal": values.rename(neuron="time"), "at": last},
        "within_problem_loss": {"trials": trials.assign_coords(problem=("trial", table)), "problem": table[2]},
        "shifts": {"found": density, "at": last},
        "property_density": {"found": density, "name": "tau_soma", "at": last},
    }
    for name, given in calls.items():
        found = outcome(name, given)
        if kind in LAST:
            assert not isinstance(found, str), found


def test_problems_with_names_stand_in_a_row_and_are_named() -> None:
    series = SERIES.assign_coords(problem=["day 1", "day 2", "day 10"])
    picture = plots.learning_curves(series, at="day 10")
    assert lines_of(list(picture)[3])[0][:, 0].tolist() == [0.0, 1.0, 2.0]
    assert hv.Store.lookup_options("bokeh", picture, "plot").kwargs["xticks"] == [
        (0, "day 1"),
        (1, "day 2"),
        (2, "day 10"),
    ]
    other = series.isel(problem=[2, 0])
    lines = lines_of(list(plots.learning_curves({"a": series, "b": other}))[3])
    assert lines[1].tolist() == [[2.0, 3.0], [0.0, 9.0]]
    with pytest.raises(ValueError, match="at: 'day 7' is not among day 1, day 2, day 10"):
        plots.learning_curves(series, at="day 7")


# ---------------------------------------------------------------------- recordings, and errors that were raw


def recording() -> xr.DataArray:
    """Counts of two units in three trials, as a table of spikes gives them."""
    table = {"time": [3.0, 12.0, 14.0, 7.0, 2.0], "unit": list("aabba"), "trial": [0, 0, 0, 1, 2]}
    return from_events(table, bin=10, trial="trial", window=(0, 60))


def test_pictures_take_the_dims_of_recordings() -> None:
    counts = recording()
    one = counts.sel(neuron="a")
    assert not isinstance(outcome("trial_raster", {"signal": one}), str)
    assert not isinstance(outcome("trial_raster", {"signal": (one > 0).rename(trial="sweep")}), str)
    assert not isinstance(outcome("raster", {"signal": counts[0].rename(neuron="unit")}), str)
    assert not isinstance(outcome("over_time", {"values": one}), str)
    assert not isinstance(outcome("trajectories", {"scores": population.pca(counts, n_components=2).scores}), str)
    assert not isinstance(outcome("picture of a psth", {"found": neurons.psth(counts).sel(neuron="a")}), str)
    assert not entries(plots.psth(neurons.psth(counts).sel(neuron="a")))


BARE = xr.DataArray(np.ones((2, 3)))
REFUSED = [
    (lambda: plots.trial_raster(recording()), "'spikes' has the dims trial, time, neuron; expected time and 1 more"),
    (lambda: plots.raster(recording()), "'spikes' has the dims .*; expected time and 1 more"),
    (lambda: plots.raster(BARE), r"the data has the dims dim_0, dim_1; expected time and 1 more"),
    (lambda: plots.psth(xr.Dataset({"trials": 3})), "found lacks rate; it has trials"),
    (lambda: plots.psth(neurons.psth(recording(), by=recording().trial * 0)), "expected time and up to 1 more"),
    (lambda: plots.trajectories(BARE), "expected time and component"),
    (lambda: plots.over_time(BARE), "expected time"),
    (lambda: plots.neuron_trace(xr.Dataset({"v": 1})), "probe has none of membrane, dendrite and activity"),
    (lambda: plots.learning_curves({"a": 3}), r"runs\['a'\] is a int"),
    (lambda: plots.learning_curves(BARE), r"runs\['run'\] has the dims dim_0, dim_1; expected problem"),
    (lambda: plots.raster(SIGNAL.assign_coords(time=["a", "b", "c"])), "along 'time' of 'signal' are <U1.*numbers"),
    (lambda: plots.raster(SIGNAL.assign_coords(time=pd.date_range("2020", periods=3))), "'time' .* are datetime64"),
    (lambda: plots.raster(SIGNAL.assign_coords(time=[0.0, 1.0, 5.0])), "steps along 'time' of .* differ, 1 to 4"),
    (lambda: plots.raster(SIGNAL.isel(time=[])), "'signal' has nothing along 'time'"),
    (lambda: plots.raster(SIGNAL.isel(neuron=[])), "signal has nothing along 'neuron'"),
    (lambda: plots.property_density(neurons.density(tau()), "tau_som", at=0), "no property 'tau_som'"),
    (lambda: plots.shifts(neurons.density(tau()), at=7), "at=7 is no problem"),
    (lambda: plots.property_trajectories(tau().tau_soma, along="trial"), "along='trial' is no coord along 'prob"),
]  # fmt: skip


def tau() -> xr.Dataset:
    values = xr.DataArray(np.exp(np.eye(3)), {"problem": [-1, 0, 1]}, ("problem", "neuron"))
    return xr.Dataset({"tau_soma": values})


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_cannot_be_drawn_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_series_alone_is_a_learning_curve() -> None:
    alone = SERIES.trials_to_criterion
    assert held(plots.learning_curves(alone), "") == held(plots.learning_curves(SERIES), "")
    assert held(plots.learning_curves({"run": alone}), "") == held(plots.learning_curves({"run": SERIES}), "")
    assert plots.curve_limits(alone) == plots.curve_limits({"run": SERIES})
    fit = curves.exponential_fit(
        xr.DataArray(80 * np.exp(-np.arange(40) / 8) + 15, {"problem": np.arange(40)}, "problem")
    )
    shuffled = fit.isel(problem=np.random.default_rng(0).permutation(fit.sizes["problem"]))
    first, again = (plots.learning_curves(SERIES, fits={"run": one}) for one in (fit, shuffled))
    assert held(first, "") == held(again, "")


def test_a_legend_entry_is_one_line_of_printable_words() -> None:
    picture = plots.trajectories(trials_of(["a\nb\0", "c" * 500]).expand_dims(component=2, axis=-1))
    names = [leaf.label for leaf in picture if leaf.group == KEY]
    assert all(name.isprintable() and len(name) <= 80 for name in names)


@pytest.mark.parametrize("labels", [pd.to_timedelta(range(4), unit="D"), pd.period_range("2020", periods=4, freq="M")])
def test_learning_curves_are_in_order_of_times_of_any_kind(labels):
    trials = xr.DataArray([90.0, 30.0, 12.0, 8.0], {"problem": labels}, "problem")
    mixed, expected = (plots.learning_curves(data) for data in (trials[[2, 0, 3, 1]], trials))
    dots = [picture.Points.I for picture in (mixed, expected)]
    assert dots[0].dimension_values("y").tolist() == dots[1].dimension_values("y").tolist()
