"""Learning curves against published fits, scipy and lifelines."""

from __future__ import annotations

from pathlib import Path

import lifelines
import numpy as np
import pytest
import xarray as xr
from scipy import optimize, stats

from ip2lab.analysis import curves

PUBLISHED = Path(__file__).parents[1] / "data" / "goudar"


@pytest.fixture(scope="module")
def published():
    rows = [np.loadtxt(PUBLISHED / f"conv_{seed}.txt") for seed in range(10)]
    return xr.DataArray(
        np.stack(rows), dims=("seed", "problem"), name="trials_to_criterion", coords={"seed": np.arange(10)}
    )


def law(x, a, tau, c):
    return a * np.exp(-x / tau) + c


def test_exponential_fit_of_the_published_curves(published):
    fit = curves.exponential_fit(published, bounds="goudar2023")
    # the published description of the fit, by scipy's own bounded curve_fit
    for seed in range(10):
        y = published.values[seed, 1:]
        tail = y[-31:].mean()
        scale = y[:30].mean() - tail
        bounds = ([0, 5, 0], [2 * scale, 200, 2 * tail])
        oracle, _ = optimize.curve_fit(law, np.arange(y.size), y, p0=(scale, 50, tail), bounds=bounds)
        ours = [float(fit[name][seed]) for name in ("scale", "tau", "asymptote")]
        np.testing.assert_allclose(ours, oracle, rtol=0.01)
    assert float(fit.tau.mean()) == pytest.approx(39.1, abs=0.05)
    assert float(fit.asymptote.mean()) == pytest.approx(21.1, abs=0.05)
    np.testing.assert_array_equal(fit.first_problem, published[:, 0])
    assert (fit.scale.units, fit.tau.units, fit.asymptote.units) == ("trials", "problems", "trials")


def exponential(n=300, noise=0.0, seed=0, a=200.0, tau=40.0, c=20.0):
    y = law(np.arange(n), a, tau, c) * np.exp(np.random.default_rng(seed).normal(0, noise, n))
    return xr.DataArray(np.append(2900.0, y), dims="problem")


def test_interval_covers_the_truth_and_narrows_with_less_noise():
    wide, narrow = (curves.exponential_fit(exponential(noise=s), resamples=60) for s in (0.3, 0.1))
    for name, truth in (("tau", 40.0), ("asymptote", 20.0)):
        lower, upper = narrow.interval.sel(parameter=name).values
        assert lower < truth * 1.1 and upper > truth * 0.9
        assert upper - lower < float(wide.interval.sel(parameter=name).diff("bound").squeeze())
    again = curves.exponential_fit(exponential(noise=0.3), resamples=60)
    xr.testing.assert_identical(wide, again)


def test_a_flat_and_a_too_slow_curve_are_at_a_bound():
    flat = xr.DataArray(np.full(100, 20.0), dims="problem")
    slow = exponential(n=100, tau=2000.0)
    assert bool(curves.exponential_fit(flat).at_bound) and bool(curves.exponential_fit(slow).at_bound)


def test_failures_are_never_dropped():
    trials = exponential()
    trials[[5, 7]] = np.nan
    with pytest.raises(ValueError, match=r"2 of 301 problems .* failed \(problem 5, 7\).*choose failures='cap'"):
        curves.exponential_fit(trials)
    with pytest.raises(ValueError, match="their cap is unknown; give the run's series"):
        curves.exponential_fit(trials, failures="cap")
    capped = curves.exponential_fit(trials, failures="cap", cap=8000)
    by_hand = curves.exponential_fit(trials.fillna(8000))
    xr.testing.assert_allclose(capped, by_hand)
    caps = trials.isnull().where(trials.isnull()) * 8000.0
    series = xr.Dataset({"trials_to_criterion": trials, "censored_trials": caps})
    xr.testing.assert_allclose(curves.exponential_fit(series, failures="cap"), capped)
    survived = curves.exponential_fit(trials, failures="survival", cap=30)
    clean = curves.exponential_fit(exponential())
    assert float(survived.tau) == pytest.approx(float(clean.tau), rel=0.02)  # known to be above 30: the curve is
    found = curves.failures(series)
    assert (int(found["count"]), int(found.problems), np.flatnonzero(found.failed).tolist()) == (2, 301, [5, 7])


def test_wrong_choices_in_a_fit_or_summary_are_refused_by_name():
    trials = exponential()
    with pytest.raises(ValueError, match=r"failures: 'drop' is not valid; give 'cap' or 'survival', or None"):
        curves.exponential_fit(trials, failures="drop")
    with pytest.raises(ValueError, match=r"3 along 'problem' after the first problem; 5 or more"):
        curves.exponential_fit(trials[:4])
    with pytest.raises(ValueError, match=r"holds -1; trials to criterion are not negative"):
        curves.final_efficiency(xr.where(trials < 21, -1.0, trials))
    with pytest.raises(ValueError, match=r"no dim 'problem'; it has task. Name the right one with along=..."):
        curves.exponential_fit(trials.rename(problem="task"))
    with pytest.raises(ValueError, match=r"no 'trials_to_criterion'; it has loss"):
        curves.failures(xr.Dataset({"loss": trials}))
    with pytest.raises(ValueError, match=r"last=500; .* has 301 along 'problem' that were tried"):
        curves.final_efficiency(trials, last=500)
    with pytest.raises(ValueError, match=r"area has no failures='survival'"):
        curves.area(trials.where(trials < 2000), failures="survival", cap=8000)
    with pytest.raises(ValueError, match=r"factor: 1 is not valid; give more than 1"):
        curves.problems_to_asymptote(trials, factor=1)
    with pytest.raises(ValueError, match=r"infinite values; mark a failure by NaN"):
        curves.area(trials.where(trials < 2000, np.inf))


def test_power_law_and_exponential_tell_themselves_apart():
    x = np.arange(1, 801)
    power = xr.DataArray(np.append(2000.0, 150 * x**-0.7 + 10), dims="problem")
    fit = curves.power_law_fit(power)
    assert [float(fit[n]) for n in ("scale", "exponent", "asymptote")] == pytest.approx([150, 0.7, 10], rel=1e-3)
    assert float(fit.aic) < float(curves.exponential_fit(power).aic)
    other = exponential(800)
    assert float(curves.power_law_fit(other).aic) > float(curves.exponential_fit(other).aic)


def test_area_and_problems_to_asymptote(published):
    np.testing.assert_allclose(curves.area(published), published.values[:, 1:].sum(1))
    trials = exponential(n=1000)
    expected = 40 * np.log(200 / 20)
    assert int(curves.problems_to_asymptote(trials)) == pytest.approx(expected, abs=2)
    assert int(curves.problems_to_asymptote(xr.DataArray(np.full(50, 9.0), dims="problem"))) == 0


def test_final_efficiency_is_the_mean_of_the_last_problems_with_failures_capped():
    trials = exponential()
    assert float(curves.final_efficiency(trials, last=100)) == pytest.approx(trials.values[-100:].mean())
    trials[-3:] = np.nan
    assert float(curves.final_efficiency(trials, last=10, failures="cap", cap=500)) == pytest.approx(
        np.append(trials.values[-10:-3], [500] * 3).mean()
    )


@pytest.mark.parametrize("seed", range(5))
def test_survival_equals_that_of_lifelines(seed):
    rng = np.random.default_rng(seed)
    times = np.ceil(rng.exponential(50, 40))
    caps = np.ceil(rng.exponential(80, 40))
    censored = times > caps
    assert censored.any()
    series = xr.Dataset(
        {
            "trials_to_criterion": ("problem", np.where(censored, np.nan, times)),
            "censored_trials": ("problem", np.where(censored, caps, np.nan)),
        }
    ).assign_coords(problem=np.arange(1, 41))
    found = curves.survival(series, limit=60, keep_first=True)
    oracle = lifelines.KaplanMeierFitter().fit(np.minimum(times, caps), ~censored)
    at = oracle.survival_function_.index.values
    np.testing.assert_allclose(found.survival.sel(trials=at), oracle.survival_function_.values[:, 0])
    band = oracle.confidence_interval_
    inside = (found.survival.sel(trials=at).values > 0) & (found.survival.sel(trials=at).values < 1)
    np.testing.assert_allclose(found.lower.sel(trials=at)[inside], band.values[inside, 0])
    np.testing.assert_allclose(found.upper.sel(trials=at)[inside], band.values[inside, 1])
    assert not found[["lower", "upper"]].isnull().any().to_array().any()
    assert float(found.restricted_mean) == pytest.approx(area_below(oracle, 60))
    assert float(curves.final_efficiency(series, last=40, failures="survival")) == pytest.approx(
        area_below(oracle, np.minimum(times, caps).max())
    )
    if seed > 0:  # the error by bootstrap takes a while
        return
    drawn = []
    for _ in range(300):
        i = rng.integers(0, 40, 40)
        drawn.append(area_below(lifelines.KaplanMeierFitter().fit(np.minimum(times, caps)[i], ~censored[i]), 60))
    assert float(found.restricted_mean_error) == pytest.approx(np.std(drawn), rel=0.25)


def area_below(fitted, limit):
    """Exact area under lifelines' curve up to `limit` (its own restricted mean integrates steps numerically)."""
    steps = fitted.survival_function_.iloc[:, 0]
    edges = np.append(steps.index.values[steps.index.values < limit], limit)
    return float((steps.values[: edges.size - 1] * np.diff(edges)).sum())


def seeds(values):
    return xr.DataArray(values, dims="seed", coords={"seed": np.arange(len(values))}, name="efficiency")


COVERAGE = {  # over 20 seeds: how values are drawn, the statistic, its true value, how often 95 % cover it
    "normal, mean": (lambda rng, shape: rng.normal(10, 2, shape), np.mean, 10.0, 0.95),
    "log-normal 0.5, mean": (lambda rng, shape: rng.lognormal(0, 0.5, shape), np.mean, np.exp(0.125), 0.94),
    "log-normal 1, mean": (lambda rng, shape: rng.lognormal(0, 1, shape), np.mean, np.exp(0.5), 0.91),
    "log-normal 1, median": (lambda rng, shape: rng.lognormal(0, 1, shape), np.median, 1.0, 0.94),
    "logarithms of log-normal 1": (lambda rng, shape: np.log(rng.lognormal(0, 1, shape)), np.mean, 0.0, 0.95),
}


@pytest.mark.parametrize("case", COVERAGE)
def test_bootstrap_of_twenty_seeds_covers_as_often_as_its_docstring_says(case):
    draw, statistic, truth, stated = COVERAGE[case]
    simulations = 1500
    data = xr.DataArray(draw(np.random.default_rng(1), (simulations, 20)), dims=("simulation", "seed"))
    found = curves.bootstrap(data, statistic, resamples=1000)
    share = float(((found.lower < truth) & (found.upper > truth)).mean())
    assert abs(share - stated) < 4 * np.sqrt(stated * (1 - stated) / simulations)


@pytest.mark.parametrize("seeds", [3, 5, 6, 8])
def test_bootstrap_of_few_normal_values_covers_their_mean(seeds):
    data = xr.DataArray(np.random.default_rng(2).normal(10, 2, (1500, seeds)), dims=("simulation", "seed"))
    found = curves.bootstrap(data, resamples=1000)
    assert 0.925 < float(((found.lower < 10) & (found.upper > 10)).mean()) < 0.975


def test_bootstrap_keeps_units_and_refuses_two_seeds():
    data = xr.DataArray(
        np.random.default_rng(0).normal(10, 2, (3, 20)), dims=("run", "seed"), attrs={"units": "trials"}
    )
    found = curves.bootstrap(data)
    assert found.estimate.units == "trials"
    np.testing.assert_allclose(found.estimate, data.mean("seed"))
    with pytest.raises(ValueError, match=r"2 along 'seed'; an interval over them needs three"):
        curves.bootstrap(data.isel(seed=[0, 1]))


def test_bootstrap_of_equal_values_is_that_value():
    found = curves.bootstrap(xr.DataArray(np.full((2, 4), 7.0), dims=("run", "seed")))
    assert (found.lower == 7).all() and (found.upper == 7).all()


def test_compare_is_a_paired_t_test_on_logarithms():
    rng = np.random.default_rng(3)
    one, other = np.exp(rng.normal(3, 0.4, (2, 9)))
    found = curves.compare(seeds(one), seeds(other), smallest_effect=1.1)
    oracle = stats.ttest_rel(np.log(one), np.log(other))
    assert float(found.p_value) == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval()
    assert np.log([float(found.lower), float(found.upper)]) == pytest.approx([interval.low, interval.high])
    assert float(found.ratio) == pytest.approx(stats.gmean(one) / stats.gmean(other))
    delta = np.log(one / other)
    assert float(found.effect_size) == pytest.approx((1 - 3 / 31) * delta.mean() / delta.std(ddof=1))
    low = stats.ttest_1samp(delta, -np.log(1.1), alternative="greater").pvalue
    high = stats.ttest_1samp(delta, np.log(1.1), alternative="less").pvalue
    assert float(found.p_equivalence) == pytest.approx(max(low, high))


def test_compare_tells_no_difference_from_undecided():
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(3, 0.5, 10))
    quiet, loud = np.exp(rng.normal(0, [[0.02], [0.6]], (2, 10)))
    verdicts = [
        str(curves.compare(seeds(base * factor), seeds(base), smallest_effect=1.2).verdict.values)
        for factor in (quiet, loud, 2 * quiet, quiet / 2)
    ]
    assert verdicts == ["no difference", "undecided", "first larger", "second larger"]
    same = curves.compare(seeds(base), seeds(base), smallest_effect=1.2)
    assert str(same.verdict.values) == "no difference" and float(same.p_value) == 1


def test_compare_corrects_over_all_comparisons():
    rng = np.random.default_rng(5)
    one = xr.DataArray(np.exp(rng.normal(0, 0.3, (200, 8))), dims=("family", "seed"))
    other = xr.DataArray(np.exp(rng.normal(0, 0.3, (200, 8))), dims=("family", "seed"))
    found = curves.compare(one, other, smallest_effect=1.01)
    assert (found.p_value < 0.05).sum() > 0
    assert set(found.verdict.values.tolist()) == {"undecided"}
    order = np.argsort(found.p_value.values)
    expected = np.minimum(1, np.maximum.accumulate(found.p_value.values[order] * np.arange(200, 0, -1)))
    np.testing.assert_allclose(found.p_corrected.values[order], expected)


def test_unmatched_seeds_and_nonpositive_values_are_refused_by_compare():
    one = seeds(np.arange(1.0, 6))
    with pytest.raises(ValueError, match=r"labels of 'seed' differ: the second lacks 0; the first lacks 5"):
        curves.compare(one, one.assign_coords(seed=np.arange(1, 6)), smallest_effect=1.2)
    with pytest.raises(ValueError, match=r"holds 0; ratios need positive"):
        curves.compare(one - 1, one, smallest_effect=1.2)
    with pytest.raises(ValueError, match=r"smallest_effect: 0.9 is not valid; give a ratio above 1"):
        curves.compare(one, one, smallest_effect=0.9)
    with pytest.raises(ValueError, match=r"2 along 'seed'; a paired comparison needs three"):
        curves.compare(one[:2], one[:2], smallest_effect=1.2)
    with pytest.raises(ValueError, match=r"labels of 'seed' differ: the second lacks 4"):
        curves.compare(one, one[:4], smallest_effect=1.2)


def drifting(rng, link, n=240, runs=5):
    practice = np.exp(-np.arange(n) / 80)
    shared = rng.normal(size=(runs, n))
    one = practice + 0.1 * (link * shared + rng.normal(size=(runs, n)))
    other = practice + 0.1 * (link * shared + rng.normal(size=(runs, n)))
    return (xr.DataArray(v, dims=("seed", "problem")) for v in (one, other))


def test_partial_association_is_the_partial_rank_correlation():
    one, other = drifting(np.random.default_rng(0), 1.0)
    found = curves.partial_association(one, other, permutations=50)
    t = np.arange(one.sizes["problem"])
    u, v = t / t[-1], np.log1p(t) / np.log1p(t[-1])
    for seed in range(5):
        ranks = [*(stats.rankdata(v) for v in (one[seed], other[seed])), u, u**2, u**3, v, v**2, v**3]
        inverse = np.linalg.inv(np.corrcoef(ranks))  # partial correlation from the precision matrix
        assert float(found.correlation[seed]) == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    assert float(found.mean_correlation) == pytest.approx(np.tanh(np.arctanh(found.correlation).mean()))


def test_partial_association_finds_a_link_and_not_a_trend():
    rng = np.random.default_rng(1)
    linked = curves.partial_association(*drifting(rng, 1.0), permutations=200)
    assert float(linked.mean_p_value) < 0.01 and float(linked.mean_correlation) > 0.2
    false = [
        float(curves.partial_association(*drifting(rng, 0.0, runs=1), permutations=100).p_value.squeeze())
        for _ in range(60)
    ]
    # with a straight line as the trend a third of these came out; 4 standard errors above the level
    assert np.mean(np.array(false) < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 60)


def test_wrong_arguments_of_partial_association_are_refused():
    one, other = drifting(np.random.default_rng(0), 1.0)
    with pytest.raises(ValueError, match=r"block=100; with 240 along 'problem' four or more"):
        curves.partial_association(one, other, block=100)
    with pytest.raises(ValueError, match=r"constant along 'problem'"):
        curves.partial_association(xr.ones_like(one), other)


def test_a_curve_that_does_not_fall_is_on_a_bound_whatever_was_found():
    rng = np.random.default_rng(1)
    rising = xr.DataArray(np.append(500.0, np.linspace(100, 300, 59) + rng.normal(size=59)), dims="problem")
    assert curves.exponential_fit(rising).at_bound


def test_the_fitted_curve_has_a_band_and_lies_in_it():
    rng = np.random.default_rng(0)
    problems = np.arange(200)
    trials = xr.DataArray(
        np.append(900, 60 * np.exp(-problems / 40) + 12 + rng.normal(0, 3, 200)),
        dims="problem",
        coords={"problem": np.arange(201)},
    )
    fit = curves.exponential_fit(trials, resamples=60)
    assert fit.fitted.problem.values.tolist() == list(range(1, 201))  # the first one is not fitted
    expected = float(fit.scale) * np.exp(-problems / float(fit.tau)) + float(fit.asymptote)
    np.testing.assert_allclose(fit.fitted, expected)
    inside = (fit.band.sel(bound="lower") <= fit.fitted) & (fit.fitted <= fit.band.sel(bound="upper"))
    assert inside.all()
    truth = 60 * np.exp(-problems / 40) + 12
    covered = (fit.band.sel(bound="lower") <= truth) & (truth <= fit.band.sel(bound="upper"))
    assert covered.mean() > 0.8
