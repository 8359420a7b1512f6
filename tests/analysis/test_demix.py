"""Demixed components: marginalisations that sum to the whole, planted factors, noise that is subtracted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import _demixing, population


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_marginalisations_sum_to_the_whole_and_are_orthogonal(seed, levels):
    means = np.random.default_rng(seed).normal(size=(*levels, 5, 3))
    parts = _demixing.marginalise(means)
    assert len(parts) == 2 ** len(levels)
    center = means.mean(axis=tuple(range(means.ndim - 1)))
    np.testing.assert_allclose(sum(parts.values()), means - center, atol=1e-12)
    for one, other in itertools.combinations(parts.values(), 2):
        assert abs((one * other).sum()) < 1e-9


def recording(seed=0, repeats=20, noise=1.0, neurons=15, unequal=False):
    rng = np.random.default_rng(seed)
    cells = list(itertools.product(range(3), range(2)))
    counts = [repeats + (10 * i if unequal else 0) for i in range(len(cells))]
    stimulus, context = (np.repeat([c[k] for c in cells], counts) for k in (0, 1))
    directions = np.linalg.qr(rng.normal(size=(neurons, 3)))[0].T
    t = np.linspace(0, 1, 20)
    signal = (
        3 * np.einsum("i,t,n->itn", stimulus - 1.0, t, directions[0])
        + 2 * np.einsum("i,t,n->itn", context - 0.5, np.ones(20), directions[1])
        + 4 * np.einsum("i,t,n->itn", np.ones(len(stimulus)), np.sin(6 * t), directions[2])
    )
    values = signal + noise * rng.normal(size=signal.shape)
    coords = {"stimulus": ("trial", stimulus), "context": ("trial", context), "response": ("trial", 2 - stimulus)}
    data = xr.DataArray(values, dims=("trial", "time", "neuron"), coords=coords, name="rates", attrs={"units": "Hz"})
    return data, directions


@pytest.mark.parametrize("unequal", [False, True])
def test_planted_factors_are_found(unequal):
    data, directions = recording(unequal=unequal)
    found = population.demix(data, ["stimulus", "context"], n_components=2)
    assert found.marginalisation.values.tolist() == ["time", "stimulus", "context", "stimulus:context"]
    for name, direction in zip(("stimulus", "context", "time"), directions, strict=True):
        first = found.components.sel(marginalisation=name).isel(component=0).values
        assert abs(first @ direction) > 0.95
    assert found.scores.dims == ("marginalisation", "component", "stimulus", "context", "time")
    assert found.scores.units == "Hz"
    own = found.scores.sel(marginalisation="stimulus").isel(component=0)
    assert float(own.mean(["context", "time"]).std()) > 5 * float(own.mean(["stimulus", "time"]).std())
    assert float(found.variance.sum()) == pytest.approx(1) and float(found.signal.sum()) == pytest.approx(1)


def test_demix_subtracts_the_variance_of_noise():
    signal = [population.demix(recording(seed, repeats=4, noise=2.0)[0], ["stimulus", "context"]) for seed in range(8)]
    truth = population.demix(recording(noise=1e-3)[0], ["stimulus", "context"]).variance
    found = xr.concat([s.signal for s in signal], "seed")
    raw = xr.concat([s.variance for s in signal], "seed")
    error = 6 * found.std("seed", ddof=1) / np.sqrt(8)
    assert (abs(found.mean("seed") - truth) < error).all()
    assert (abs(raw.mean("seed") - truth) > abs(found.mean("seed") - truth)).all()


def test_one_factor_and_explained_variance_against_the_definition():
    data, _ = recording()
    found = population.demix(data, ["context"], n_components=1)
    means = data.groupby("context").mean("trial")
    x = (means - found["mean"]).transpose("neuron", "context", "time").values.reshape(15, -1)
    f, d = (found[n].sel(marginalisation="context").values[0] for n in ("components", "decoders"))
    expected = 1 - ((x - np.outer(f, d @ x)) ** 2).sum() / (x**2).sum()
    assert float(found.explained_variance_ratio.sel(marginalisation="context")[0]) == pytest.approx(expected)
    assert np.linalg.norm(f) == pytest.approx(1)


def test_what_cannot_be_told_apart_is_refused():
    data, _ = recording()
    with pytest.raises(ValueError, match=r"'stimulus' and 'response' cannot be told apart in 'rates'.*Name only one"):
        population.demix(data, ["stimulus", "response"])
    missing = data.isel(trial=(data.stimulus.values != 2) | (data.context.values != 1))
    with pytest.raises(ValueError, match=r"has 0 trials with stimulus=2, context=1; every combination needs two"):
        population.demix(missing, ["stimulus", "context"])
    one_each = recording(repeats=1)[0]
    with pytest.raises(ValueError, match=r"has 1 trials with stimulus=0, context=0"):
        population.demix(one_each, ["stimulus", "context"])
    with pytest.raises(ValueError, match=r"all trials of each condition of 'rates' are identical.*noisy repeats"):
        population.demix(xr.concat([one_each] * 3, "trial"), ["stimulus", "context"])
    with pytest.raises(ValueError, match=r"n_components=16; 'rates' has 15 directions along 'neuron'"):
        population.demix(data, ["stimulus"], n_components=16)
    with pytest.raises(ValueError, match="no factors were given"):
        population.demix(data, [])
