"""Principal components, participation ratio, speed and aligned trials against scikit-learn and closed forms."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ip2lab.analysis import population


def activity(seed=0, shape=(6, 40, 8), dtype=float, dims=("trial", "time", "neuron")):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=shape) * np.linspace(3, 0.5, shape[-1]) @ np.linalg.qr(rng.normal(size=(shape[-1],) * 2))[0]
    coords = {"time": 10.0 * np.arange(shape[1]), "neuron": [f"n{i}" for i in range(shape[-1])]}
    return xr.DataArray(
        (mixed + 5).astype(dtype), dims=dims, coords=coords, name="rates", attrs={"units": "Hz", "rig": "left"}
    )


@pytest.mark.parametrize("shape", [(6, 40, 8), (2, 3, 20)])
def test_pca_equals_that_of_scikit_learn(shape):
    data = activity(shape=shape)
    fit = population.pca(data)
    flat = data.values.reshape(-1, shape[-1])
    oracle = PCA(n_components=fit.sizes["component"], svd_solver="full").fit(flat)
    np.testing.assert_allclose(fit.components, oracle.components_, atol=1e-9)
    np.testing.assert_allclose(fit.explained_variance_ratio, oracle.explained_variance_ratio_, atol=1e-12)
    np.testing.assert_allclose(fit.explained_variance, oracle.explained_variance_)
    np.testing.assert_allclose(fit.scores.values.reshape(len(flat), -1), oracle.transform(flat), atol=1e-9)
    np.testing.assert_allclose(fit["mean"], oracle.mean_)


@settings(max_examples=25, deadline=None)
@given(st.permutations(["trial", "time", "neuron"]), st.integers(0, 100), st.booleans())
def test_pca_does_not_depend_on_the_order_of_dims_or_on_dask(order, seed, lazy):
    data = activity(seed)
    before = data.copy(deep=True)
    moved = data.transpose(*order)
    fit = population.pca(moved.chunk(trial=2, neuron=3) if lazy else moved, n_components=3)
    xr.testing.assert_allclose(
        fit.scores.transpose(*data.dims[:2], "component"), population.pca(data, n_components=3).scores
    )
    assert fit.attrs["rig"] == "left"
    assert fit.scores.attrs["units"] == "Hz"
    xr.testing.assert_identical(data, before)


def test_pca_keeps_float32_and_its_precision_far_from_zero():
    data = activity(dtype=np.float32) + np.float32(2000)
    fit = population.pca(data)
    exact = population.pca(data.astype(float))
    assert fit.scores.dtype == np.float32
    np.testing.assert_allclose(fit.explained_variance_ratio, exact.explained_variance_ratio, rtol=1e-4)


def test_pca_of_boolean_spikes_equals_that_of_their_numbers():
    spikes = activity() > 6
    fit = population.pca(spikes, n_components=2)
    oracle = PCA(2, svd_solver="full").fit(spikes.values.reshape(-1, 8).astype(float))
    np.testing.assert_allclose(fit.explained_variance_ratio, oracle.explained_variance_ratio_, rtol=1e-4)


def test_pca_reads_dask_in_pieces_and_stays_lazy():
    values = dask.array.random.default_rng(0).normal(size=(20, 100, 6), chunks=(5, 50, 6))
    fit = population.pca(xr.DataArray(values, dims=("trial", "time", "neuron")), n_components=2)
    assert fit.scores.chunks is not None


@pytest.mark.parametrize("at", ["start", "end"])
def test_pca_of_padded_trials_equals_that_of_their_recorded_samples(at):
    whole = activity()
    trials = [whole.isel(trial=i, time=slice(0, 40 - 3 * i)) for i in range(6)]
    stacked = population.pad_trials(trials, at=at)
    fit = population.pca(stacked, n_components=3)
    oracle = PCA(3, svd_solver="full").fit(np.concatenate([t.values for t in trials]))
    np.testing.assert_allclose(fit.components, oracle.components_, atol=1e-9)
    assert (
        int(fit.scores.isel(component=0).notnull().sum())
        == sum(t.sizes["time"] for t in trials)
        == fit.attrs["samples"]
    )
    end = stacked.isel(trial=5, time=-1 if at == "end" else 24)
    np.testing.assert_array_equal(end, trials[5].isel(time=-1))


def test_holes_in_recorded_samples_are_refused():
    whole = activity()
    stacked = population.pad_trials([whole[0], whole[1, :30]])
    stacked[1, 3, 2] = np.nan
    for call in (
        population.pca,
        population.participation_ratio,
        lambda d: population.project(d, population.pca(whole)),
    ):
        with pytest.raises(ValueError, match=r"NaN or infinite values \(the first at trial=1, time=30.0, neuron=n2\)"):
            call(stacked)


def test_project_matches_neurons_by_label_and_applies_a_basis_elsewhere():
    data = activity()
    basis = population.pca(data.isel(trial=slice(0, 3)), n_components=2)
    shuffled = data.isel(neuron=[3, 1, 0, 2, 7, 6, 5, 4])
    scores = population.project(data, basis)
    xr.testing.assert_allclose(scores, population.project(shuffled, basis))
    xr.testing.assert_allclose(scores.isel(trial=slice(0, 3)), basis.scores)
    bare = population.project(data, basis.components)
    np.testing.assert_allclose(bare, data.values @ basis.components.values.T)


def test_project_refuses_other_neurons():
    data = activity()
    basis = population.pca(data)
    with pytest.raises(ValueError, match=r"labels of 'neuron' differ: 'components' lacks other; 'rates' lacks"):
        population.project(data.assign_coords(neuron=["other", *data.neuron.values[1:]]), basis)
    with pytest.raises(ValueError, match=r"'rates' lacks "):
        population.project(data.isel(neuron=slice(5)), basis)


def test_participation_ratio_of_known_covariance():
    variances = np.array([4.0, 3.0, 2.0, 1.0])
    # columns that are exactly orthogonal with exactly these variances
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 5)) - 0)[0]
    basis = np.linalg.qr(basis - basis.mean(0))[0][:, :4]
    data = xr.DataArray(basis * np.sqrt(variances), dims=("time", "neuron"))
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert float(population.participation_ratio(data)) == pytest.approx(expected, rel=1e-9)


def test_participation_ratio_of_few_samples_comes_from_the_small_matrix():
    data = activity(shape=(2, 3, 20))
    power = np.linalg.eigvalsh(np.cov(data.values.reshape(6, 20).T))
    assert float(population.participation_ratio(data)) == pytest.approx(power.sum() ** 2 / (power**2).sum())


def test_participation_ratio_ceiling_falls_with_fewer_trials():
    rng = np.random.default_rng(0)
    data = xr.DataArray(rng.normal(size=(100, 10, 30)), dims=("trial", "time", "neuron"))
    many = population.participation_ratio(data, split="trial")
    few = population.participation_ratio(data.isel(trial=slice(6)), split="trial")
    assert 0 < float(few.ceiling) < float(many.ceiling) <= 1
    assert float(many.split_half) < float(many)  # fewer samples, fewer directions


def test_speed_of_a_circle_and_of_a_line():
    t = np.arange(0, 1000, 2.0)
    circle = xr.DataArray(
        np.stack([3 * np.cos(t / 100), 3 * np.sin(t / 100), 0 * t]),
        dims=("neuron", "time"),
        coords={"time": t},
        attrs={"units": "Hz"},
    )
    path = population.speed(circle)
    np.testing.assert_allclose(path.speed, 0.03, rtol=1e-3)
    np.testing.assert_allclose(path.curvature.isel(time=slice(3, -3)), 1 / 3, rtol=1e-3)
    assert (path.speed.units, path.curvature.units) == ("Hz ms^-1", "(Hz)^-1")
    line = population.speed(xr.DataArray(t[:, None] * [1.0, 2.0], dims=("time", "neuron"), coords={"time": t}))
    np.testing.assert_allclose(line.curvature, 0, atol=1e-6)
    rest = population.speed(xr.zeros_like(circle))
    assert (rest.speed == 0).all() and rest.curvature.isnull().all()
