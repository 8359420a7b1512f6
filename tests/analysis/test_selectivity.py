"""Selectivity against scipy, statsmodels' formulas by hand, scikit-learn and planted effects."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score

from ip2lab.analysis import neurons


def recording(seed=0, trials=60, noise=1.0):
    rng = np.random.default_rng(seed)
    stimulus, context = np.arange(trials) % 3, np.arange(trials) // 3 % 2
    values = noise * rng.normal(size=(trials, 7, 4))
    values[:, 3:, 0] += stimulus[:, None]
    values[:, :, 1] += 2.0 * context[:, None]
    values[:, :, 2] += 2.0 * ((stimulus == 1) == (context == 1))[:, None]
    coords = {"stimulus": ("trial", stimulus), "context": ("trial", context), "response": ("trial", 2 - stimulus)}
    return xr.DataArray(
        values, dims=("trial", "time", "neuron"), coords=coords, name="rates", attrs={"units": "Hz", "rig": "left"}
    )


def omega(groups):
    """Omega squared by its definition from scipy's F."""
    f, n, k = stats.f_oneway(*groups).statistic, sum(map(len, groups)), len(groups)
    return (k - 1) * (f - 1) / ((k - 1) * (f - 1) + n)


@settings(max_examples=25, deadline=None)
@given(st.permutations(["trial", "time", "neuron"]), st.sampled_from([None, {"trial": 7}, {"trial": 20, "time": 2}]))
def test_omega_squared_is_the_f_statistics(order, chunks):
    data = recording()
    moved = data.transpose(*order)
    found = neurons.selectivity(moved.chunk(chunks) if chunks else moved, "stimulus")
    expected = [[omega([data.values[data.stimulus == s, t, n] for s in range(3)]) for n in range(4)] for t in range(7)]
    np.testing.assert_allclose(found.transpose("time", "neuron"), expected, atol=1e-12)
    assert (found.units, found.attrs["rig"]) == ("1", "left")


def test_omega_squared_is_unbiased_and_finds_the_planted_neuron():
    found = neurons.selectivity(recording(trials=300), "stimulus")
    assert float(found[3:, 0].min()) > 0.25 > float(found[:3, 0].max())
    many = xr.DataArray(np.random.default_rng(0).normal(size=(40, 5000)), dims=("trial", "neuron"))
    null = neurons.selectivity(many, xr.DataArray(np.arange(40) % 4, dims="trial", name="label"))
    assert abs(float(null.mean())) < 6 * float(null.std()) / np.sqrt(5000) + 2e-3  # its bias is of the order of 1/n^2
    assert float(null.min()) < 0  # not clipped


def test_mutual_information_is_scikit_learns_less_the_shuffled():
    rng = np.random.default_rng(0)
    stimulus = np.arange(200) % 2
    counts = rng.poisson(2 + 3 * stimulus[:, None], (200, 3)).clip(0, 12)
    data = xr.DataArray(counts, dims=("trial", "neuron"), coords={"stimulus": ("trial", stimulus)})
    found = neurons.selectivity(data, "stimulus", measure="mutual_information", shuffles=300)
    for n in range(3):
        null = np.mean([mutual_info_score(counts[:, n], rng.permutation(stimulus)) for _ in range(300)])
        assert float(found[n]) == pytest.approx(mutual_info_score(counts[:, n], stimulus) - null, abs=2e-3)
    assert found.units == "nats"


def test_mutual_information_of_a_perfect_and_of_no_code():
    stimulus = np.arange(400) % 2
    values = np.stack(
        [stimulus + 0.01 * np.random.default_rng(0).normal(size=400), np.random.default_rng(1).normal(size=400)], 1
    )
    data = xr.DataArray(values, dims=("trial", "neuron"), coords={"stimulus": ("trial", stimulus)})
    found = neurons.selectivity(data, "stimulus", measure="mutual_information")
    assert float(found[0]) == pytest.approx(np.log(2), abs=0.01) and abs(float(found[1])) < 0.02
    lazy = neurons.selectivity(data.chunk(neuron=1), "stimulus", measure="mutual_information")
    xr.testing.assert_allclose(lazy.compute(), found)
    with pytest.raises(ValueError, match=r"in 4 chunks along 'trial'; join them: .chunk\(trial=-1\)"):
        neurons.selectivity(data.chunk(trial=100), "stimulus", measure="mutual_information")


def test_a_constant_neuron_is_not_selective():
    data = recording()
    data[:, :, 3] = 0.1
    assert (neurons.selectivity(data, "stimulus")[:, 3] == 0).all()
    assert (neurons.selectivity(data, "stimulus", measure="mutual_information")[:, 3] == 0).all()
    mixed = neurons.mixed_selectivity(data, ["stimulus", "context"])
    assert (mixed.omega_squared[..., 3] == 0).all() and (mixed.p_value[..., 3] == 1).all()


def test_wrong_arguments_of_selectivity_are_refused():
    data = recording()
    alike = recording(noise=0.0)
    with pytest.raises(
        ValueError, match=r"the trials along 'trial' of each class of 'rates' are identical.*noisy repeats"
    ):
        neurons.selectivity(
            alike, xr.DataArray(alike.stimulus.values + 3 * alike.context.values, dims="trial", name="cell")
        )
    with pytest.raises(ValueError, match=r"measure: 'eta' is not valid; give 'omega_squared' or 'mutual_information'"):
        neurons.selectivity(data, "stimulus", measure="eta")
    with pytest.raises(ValueError, match=r"class 0 of 'first' has one trial in 'rates'"):
        neurons.selectivity(data, xr.DataArray(np.arange(60) > 0, dims="trial", name="first").astype(int))
    with pytest.raises(ValueError, match=r"NaN or infinite values \(the first at trial=2, time=1, neuron=3\)"):
        neurons.selectivity(data.where((data > 1e9) | (np.arange(60 * 28).reshape(60, 7, 4) != 2 * 28 + 7)), "stimulus")


def anova(values, stimulus, context, drop):
    """Type III sum of squares of one effect by least squares on dummies, sum to zero."""
    s = np.stack([(stimulus == i).astype(float) - (stimulus == 2) for i in range(2)], 1)
    c = np.where(context == 1, -1.0, 1.0)[:, None]
    parts = [s, c, s * c]
    one = np.ones((len(values), 1))

    def rss(columns):
        x = np.hstack([one, *columns])
        return ((values - x @ np.linalg.lstsq(x, values, rcond=None)[0]) ** 2).sum()

    full = rss(parts)
    return rss(parts[:drop] + parts[drop + 1 :]) - full, full


def test_two_way_analysis_of_variance_with_unequal_numbers():
    data = recording().isel(trial=np.r_[0:40, 41, 43, 50:60])
    found = neurons.mixed_selectivity(data, ["stimulus", "context"])
    assert found.effect.values.tolist() == ["stimulus", "context", "stimulus:context"]
    values = data.values[:, 5, 2]
    for i, df in enumerate((2, 1, 2)):
        gain, rest = anova(values, data.stimulus.values, data.context.values, i)
        within = rest / (52 - 6)
        p = stats.f.sf(gain / df / within, df, 46)
        assert float(found.p_value[i, 5, 2]) == pytest.approx(p)
        total = ((values - values.mean()) ** 2).sum()
        assert float(found.omega_squared[i, 5, 2]) == pytest.approx((gain - df * within) / (total + within))


def test_mixed_selectivity_finds_what_was_planted():
    found = neurons.mixed_selectivity(recording(trials=240), ["stimulus", "context"])
    significant = (found.p_value < 1e-4).mean("time")
    np.testing.assert_allclose(significant[:, 0], [4 / 7, 0, 0])
    np.testing.assert_allclose(significant[:, 1], [0, 1, 0])
    assert float(significant[2, 2]) == 1


def test_wrong_arguments_of_mixed_selectivity_are_refused():
    data = recording()
    with pytest.raises(
        ValueError, match=r"'stimulus' and 'response' cannot be told apart in 'rates': of 9 combinations 3 occur"
    ):
        neurons.mixed_selectivity(data, ["stimulus", "response"])
    with pytest.raises(ValueError, match=r"factors: \['stimulus'\] is not valid; give the names of two coords"):
        neurons.mixed_selectivity(data, ["stimulus"])
    with pytest.raises(ValueError, match=r"has 6 trials for 6 combinations"):
        neurons.mixed_selectivity(data.isel(trial=slice(6)), ["stimulus", "context"])
    with pytest.raises(ValueError, match=r"the trials of the same stimulus and context of 'rates' are identical"):
        neurons.mixed_selectivity(recording(noise=0.0), ["stimulus", "context"])
