"""A right answer or a named error, whatever the shape, order, dtype, labels and holes of the input."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import connectivity, curves, neurons, population

DIMS = ("trial", "time", "neuron")
ACTIVITY = {
    "pca": population.pca,
    "participation_ratio": population.participation_ratio,
    "speed": population.speed,
    "decode": lambda d: population.decode(d, "cue", permutations=3, folds=2),
    "manifold": lambda d: population.manifold(d, n_neighbors=4),
    "demix": lambda d: population.demix(d, ["cue"], n_components=1, splits=1),
    "firing_rate": neurons.firing_rate,
    "psth": neurons.psth,
    "interspike_intervals": neurons.interspike_intervals,
    "adaptation_index": neurons.adaptation_index,
    "selectivity": lambda d: neurons.selectivity(d, "cue"),
    "mutual_information": lambda d: neurons.selectivity(d, "cue", measure="mutual_information", shuffles=3),
    "mixed_selectivity": lambda d: neurons.mixed_selectivity(d, ["cue", "rule"]),
}
UNDEFINED = {"speed", "interspike_intervals", "adaptation_index"}  # NaN, documented, where nothing moves or spikes


@st.composite
def activities(draw):
    """Data of any small shape, order and dtype, now and then with holes, constant neurons or coords left out."""
    shape = [draw(st.integers(0, 6)), draw(st.integers(0, 6)), draw(st.integers(0, 4))]
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    kind = draw(st.sampled_from(["float64", "float32", "int16", "bool", "object", "complex64"]))
    values = rng.normal(size=shape) * 2
    values[..., : draw(st.integers(0, 1))] = 0.1  # a constant neuron
    if draw(st.booleans()) and values.size and kind.startswith("float"):
        values[tuple(rng.integers(n) for n in shape)] = draw(st.sampled_from([np.nan, np.inf]))
    data = xr.DataArray(values.astype(kind), dims=DIMS, name="rates", attrs={"rig": "left", "units": "Hz"})
    coords = {
        "time": ("time", 10.0 * np.arange(shape[1])),
        "cue": ("trial", np.arange(shape[0]) % 2),
        "rule": ("trial", np.arange(shape[0]) // 2 % 2),
    }
    left_out = draw(st.sampled_from([None, *coords]))
    data = data.assign_coords({k: v for k, v in coords.items() if k != left_out})
    if draw(st.integers(0, 4)) == 0:
        data = data.rename({draw(st.sampled_from(DIMS)): "other"})
    return data.transpose(*draw(st.permutations(data.dims)))


def arrays(result):
    return [result] if isinstance(result, xr.DataArray) else list(result.data_vars.values())


@pytest.mark.parametrize("name", sorted(ACTIVITY))
@settings(max_examples=60, deadline=None)
@given(data=activities())
def test_a_right_answer_or_a_named_error(name, data):
    before = data.copy(deep=True)
    try:
        result = ACTIVITY[name](data)
    except (ValueError, TypeError) as error:
        words = str(error)
        assert any(
            w in words for w in ("'rates'", "the labels", "factors", "folds", "constant", "graph", "variance")
        ), words
        assert ";" in words or ":" in words or "needs" in words, words  # says what to do
    else:
        for array in arrays(result):
            assert {"units", "long_name"} <= set(array.attrs), array.name
            if name not in UNDEFINED and array.dtype.kind == "f":
                assert np.isfinite(array.values).all(), array.name
        assert result.attrs.get("rig") == "left"
    xr.testing.assert_identical(data, before)
    assert data.attrs == before.attrs


@pytest.mark.parametrize("name", sorted(ACTIVITY))
def test_a_bare_array_is_refused_with_how_to_label_it(name):
    with pytest.raises(TypeError, match=r"expected an xarray.DataArray with dims .*, got ndarray; wrap it as"):
        ACTIVITY[name](np.zeros((3, 4, 5)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: population.pca(d.astype(str)), TypeError, r"'rates' holds <U\d+; expected real numbers or bool"),
        (
            lambda d: population.pca(d, feature="unit"),
            ValueError,
            r"has no dim 'unit'; it has trial, time, neuron. Name the right one",
        ),
        (lambda d: population.pca(d.isel(trial=0, time=0)), ValueError, r"has no dim but 'neuron'; give samples"),
        (
            lambda d: population.pca(d.isel(trial=[0], time=[0])),
            ValueError,
            r"has 1 sample along trial, time; variance needs two",
        ),
        (
            lambda d: population.pca(d * 0 + 3),
            ValueError,
            r"every neuron of 'rates' is constant over trial, time: there is no variance",
        ),
        (
            lambda d: population.pca(d, n_components=5),
            ValueError,
            r"n_components=5; 'rates' has 4 directions along 'neuron': ask for 1 to 4",
        ),
        (
            lambda d: population.pca(d.where(d.time < 30)),
            ValueError,
            r"NaN or infinite values \(the first at trial=0, time=30.0, neuron=0\)",
        ),
        (
            lambda d: population.pca(d.where(d.time < 30).chunk(trial=2)),
            ValueError,
            r"NaN or infinite values \(the first at trial=0",
        ),
        (
            lambda d: population.participation_ratio(d, split="neuron"),
            ValueError,
            r"split='neuron' and feature='neuron'; expected two different dims",
        ),
        (
            lambda d: population.speed(d.isel(time=[0, 1])),
            ValueError,
            r"has 2 along 'time'; curvature needs three",
        ),
        (
            lambda d: population.pad_trials([d], at="middle"),
            ValueError,
            r"at: 'middle' is not valid; give 'start' or 'end'",
        ),
        (lambda d: population.pad_trials([]), ValueError, r"no trials were given"),
        (
            lambda d: population.pad_trials([d[0], d[0].assign_coords(time=d.time * 2)]),
            ValueError,
            r"steps along 'time' differ: 10 to 20 ms",
        ),
        (
            lambda d: neurons.psth(abs(d), level=95),
            ValueError,
            r"level: 95 is not valid; give a coverage between 0 and 1",
        ),
        (lambda d: neurons.psth(abs(d), width=0), ValueError, r"width: 0 is not valid; give a positive number of ms"),
        (
            lambda d: population.decode(d, "cue", time=None, across_time=True),
            ValueError,
            r"across_time=True, time=None: name the dim of time",
        ),
        (
            lambda d: population.demix(d, ["cue"], trial="time"),
            ValueError,
            r"trial='time' and time='time'; expected two different dims",
        ),
        (
            lambda d: population.dimensionality(d.where(d.time < 30), along="trial"),
            ValueError,
            r"NaN or infinite values \(the first at trial=0, time=30.0, neuron=0\)",
        ),
        (
            lambda d: population.project(d, population.pca(d)[["components"]]),
            ValueError,
            r"the basis has components; expected components and mean, as pca returns them",
        ),
        (
            lambda d: population.project(d.where(d.time < 30), population.pca(d)),
            ValueError,
            r"NaN or infinite values \(the first at trial=0, time=30.0, neuron=0\)",
        ),
        (lambda d: population.pad_trials("ab"), TypeError, r"trials is a str; expected a sequence of arrays, one per"),
        (
            lambda d: neurons.relative_threshold(d[:, 0], d[:3]),
            ValueError,
            r"'rates' has 3 along 'trial', 'rates' 6 along 'trial'; expected equally many, or labels",
        ),
        (
            lambda d: neurons.relative_threshold(d[0].assign_coords(time=[0.0] * 8), d[0]),
            ValueError,
            r"'rates' has labels along 'time' more than once \(0.0\), so they cannot tell which is which: give each",
        ),
        (
            lambda d: neurons.fi_curve(xr.Dataset({"tau_soma": d[0, 0]}), ["a", "b"]),
            TypeError,
            r"currents: \['a', 'b'\] is not valid; give numbers in a row",
        ),
        (
            lambda d: curves.survival(abs(d).rename(trial="problem")[:, 0, 0], limit=0),
            ValueError,
            r"limit: 0 is not valid; give a positive number of trials",
        ),
        (
            lambda d: connectivity.change_size(d[[0]].rename(trial="problem")),
            ValueError,
            r"has 1 along 'problem'; a comparison needs two or more",
        ),
        (
            lambda d: neurons.firing_rate(abs(d).round(), width=-1),
            ValueError,
            r"width: -1 is not valid; give a positive number of ms",
        ),
        (
            lambda d: curves.bootstrap(d, over="seed"),
            ValueError,
            r"no dim 'seed'; it has trial, time, neuron. Name the right one with over=",
        ),
        (connectivity.spectral_radius, ValueError, r"no dim 'presynaptic'"),
        (
            lambda d: connectivity.change_size(d.values),
            TypeError,
            r"expected an xarray.Dataset, a group of a run, or one variable of it, got ndarray",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(call, error, message):
    data = xr.DataArray(
        np.random.default_rng(0).normal(size=(6, 8, 4)), dims=DIMS, name="rates", coords={"time": 10.0 * np.arange(8)}
    )
    with pytest.raises(error, match=message):
        call(data)
