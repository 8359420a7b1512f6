"""The one place where labels are matched, ordered and told from what was not recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ip2lab.analysis._checks import check_recorded
from ip2lab.analysis._labels import labels_along, levels, match, match_axes, recorded

LABELS = st.lists(st.one_of(st.integers(-50, 50), st.text("abcXY ", max_size=3), st.booleans()), min_size=1)


def row(values, labels=None, dim="neuron", name="row"):
    coords = {} if labels is None else {dim: labels}
    return xr.DataArray(values, dims=dim, coords=coords, name=name)


@given(LABELS, st.randoms())
def test_order_of_levels_does_not_depend_on_the_order_of_the_labels(labels, random):
    found, codes = levels(labels)
    assert [found[i] for i in codes] == labels
    again = list(labels)
    random.shuffle(again)
    assert levels(again)[0].tolist() == found.tolist()


def test_levels_of_numbers_are_by_size_and_of_text_by_the_alphabet():
    assert levels(np.array([10, 9, 100]))[0].tolist() == [9, 10, 100]
    assert levels(np.array(["go", "Go", "a"]))[0].tolist() == ["Go", "a", "go"]
    assert levels(["b", 2.5, ("x", 1), "a"])[0].tolist() == [2.5, "a", "b", ("x", 1)]


@given(st.lists(st.integers(), min_size=1, max_size=20, unique=True), st.randoms())
def test_shuffled_labels_are_put_back(labels, random):
    order = list(range(len(labels)))
    random.shuffle(order)
    first = row(np.arange(len(labels)), labels)
    assert match(first, first[order]).equals(first)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (row([1, 2], ["a", "b"]), row([1, 2], ["a", "c"], name="other"), "'other' lacks b; 'row' lacks c"),
        (row([1, 2], ["a", "b"]), row([1, 2, 3], ["a", "b", "c"], name="other"), "'row' lacks c"),
        (row([1, 2], ["a", "b"]), row([1], ["a"], name="other"), "'other' lacks b"),
        (row([1, 2], ["a", "a"]), row([1, 2], ["a", "b"]), r"'neuron' more than once \(a\)"),
        (row([1, 2], ["a", "b"]), row([1, 2], ["b", "b"], name="other"), r"'other' .* more than once \(b\)"),
        (row([1, 2]), row([1, 2, 3], ["a", "b", "c"]), "2 along 'neuron', 'row' 3 along 'neuron'"),
    ],
)
def test_labels_that_differ_or_repeat_are_refused_by_name(first, second, words):
    with pytest.raises(ValueError, match=words):
        match(first, second)


def test_without_labels_on_one_side_equal_lengths_are_matched_by_position():
    assert match(row([1, 2], ["a", "b"]), row([3, 4])).values.tolist() == [3, 4]


def test_times_that_differ_by_rounding_are_the_same():
    first = row(range(4), 0.1 * np.arange(4), "time")
    second = row(range(4), [0.0, 0.1, 0.2, 0.3], "time")
    assert match(first, second[::-1]).values.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="labels of 'time' differ"):
        match(first, second.assign_coords(time=second.time + 0.001))


def test_columns_of_a_matrix_follow_its_rows():
    weights = xr.DataArray(
        np.arange(9).reshape(3, 3),
        dims=("neuron", "presynaptic"),
        coords={"neuron": list("abc"), "presynaptic": list("abc")},
    )
    assert match_axes(weights[:, [2, 0, 1]], "neuron", "presynaptic").equals(weights)
    with pytest.raises(ValueError, match="'neuron' and 'presynaptic' differ"):
        match_axes(weights.assign_coords(presynaptic=list("abd")), "neuron", "presynaptic")


def test_a_label_array_is_matched_by_its_own_labels():
    data = xr.DataArray(np.zeros((3, 2)), dims=("trial", "neuron"), coords={"trial": [7, 8, 9]}, name="rates")
    cue = xr.DataArray(["a", "b", "c"], dims="trial", coords={"trial": [9, 7, 8]}, name="cue")
    assert labels_along(data, cue, ["trial"]).values.tolist() == ["b", "c", "a"]
    with pytest.raises(ValueError, match="'rates' lacks 9"):
        labels_along(data[:2], cue, ["trial"])
    with pytest.raises(ValueError, match="'cue' lacks 9"):
        labels_along(data, cue[1:], ["trial"])


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT])
def test_missing_labels_are_refused_by_number(missing):
    data = xr.DataArray(np.zeros(3), dims="trial", coords={"cue": ("trial", np.array(["a", missing, "b"], object))})
    with pytest.raises(ValueError, match="1 of the labels 'cue' are missing"):
        labels_along(data, "cue", ["trial"])


@pytest.mark.parametrize("kind", ["datetime64[ns]", "timedelta64[ns]"])
def test_levels_of_a_list_of_times_are_times(kind):
    later, earlier = np.array([10_000_000_000, 2_000_000_000]).astype(kind)
    found, codes = levels([later, earlier])
    assert found.dtype == kind
    assert found.tolist() == [earlier.item(), later.item()]
    assert codes.tolist() == [1, 0]


def test_categories_that_do_not_occur_are_no_levels():
    cue = pd.Categorical(["b", "a", "b"], categories=["z", "b", "a"])
    data = xr.DataArray(np.zeros(3), dims="trial", coords={"cue": ("trial", cue)})
    assert levels(labels_along(data, "cue", ["trial"]).values)[0].tolist() == ["a", "b"]


def test_what_was_not_recorded_is_named_where_all_is_needed():
    data = xr.DataArray(np.zeros((2, 2)), dims=("trial", "time"), coords={"time": [0.0, 10.0]}, name="spikes")
    assert recorded(data) is None
    check_recorded(data.assign_coords(recorded=(("trial", "time"), np.ones((2, 2), bool))))
    gap = data.assign_coords(recorded=(("trial", "time"), np.array([[True, True], [True, False]])))
    with pytest.raises(ValueError, match=r"'spikes' was not recorded everywhere \(1 of 4 .* trial=1, time=10"):
        check_recorded(gap)
    rows = row([1, 2]).assign_coords(recorded=("neuron", [True, False]))
    with pytest.raises(ValueError, match=r"throughout, data.sel\(neuron=data.recorded\)"):
        check_recorded(rows)
    with pytest.raises(ValueError, match=r"'row' was recorded nowhere: its coord 'recorded' is False"):
        check_recorded(row([1, 2]).assign_coords(recorded=False))
    with pytest.raises(ValueError, match="'recorded' of 'spikes' holds int64; expected True"):
        recorded(gap.assign_coords(recorded=gap.recorded.astype(int)))
