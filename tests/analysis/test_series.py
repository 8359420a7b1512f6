"""Means of conditions, pictures laid onto another, dimensions problem by problem."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial import procrustes as scipy_procrustes

from ip2lab.analysis import population


@pytest.fixture
def activity() -> xr.DataArray:
    rng = np.random.default_rng(3)
    coords = {
        "condition": ("probe", [1, 0, 1, 0]),
        "stimulus": ("probe", ["b", "a", "b", "a"]),
        "repeat": ("probe", [0, 0, 1, 1]),
    }
    return xr.DataArray(rng.normal(size=(2, 4, 30, 5)), dims=("problem", "probe", "time", "neuron"), coords=coords)


def test_conditions_are_averaged_and_keep_what_they_share(activity: xr.DataArray) -> None:
    found = population.condition_means(activity, trial="probe")
    assert found.condition.values.tolist() == found.probe.values.tolist() == [0, 1]
    assert found.stimulus.values.tolist() == ["a", "b"]
    assert "repeat" not in found.coords
    np.testing.assert_allclose(found.values[:, 1], activity.values[:, ::2].mean(1))
    assert found.dims == activity.dims


def test_spikes_are_averaged_as_numbers(activity: xr.DataArray) -> None:
    found = population.condition_means(activity > 0, trial="probe")
    assert set(np.unique(found)) <= {0.0, 0.5, 1.0}


def test_a_missing_label_is_named(activity: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="cue"):
        population.condition_means(activity, "cue", trial="probe")


def test_procrustes_undoes_a_rotation_and_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    path = rng.normal(size=(4, 20, 3)).cumsum(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one, other = (xr.DataArray(v, dims=("probe", "time", "component")) for v in (path @ turn + 3, path))
    np.testing.assert_allclose(population.procrustes(one, other), other, atol=1e-9)
    noisy = other + 0.3 * rng.normal(size=other.shape)
    laid = population.procrustes(noisy, other)
    flat = [v.values.reshape(-1, 3) for v in (other, noisy)]
    expected = scipy_procrustes(*flat)[1]
    found = laid.values.reshape(-1, 3) - laid.values.reshape(-1, 3).mean(0)
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-6)


def test_procrustes_wants_two_of_a_size(activity: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="4 along 'probe', the data 2 along 'probe'; expected equally many"):
        population.procrustes(activity, activity[:, :2], feature="neuron")
    with pytest.raises(ValueError, match="give the same dims"):
        population.procrustes(activity, activity[0], feature="neuron")


def test_dimensions_are_those_of_each_problem(activity: xr.DataArray) -> None:
    found = population.dimensionality(activity, n_components=2)
    for p in range(2):
        fit = population.pca(activity[p], n_components=2)
        np.testing.assert_allclose(found.components[p], fit.components, atol=1e-12)
        np.testing.assert_allclose(found.explained_variance_ratio[p], fit.explained_variance_ratio)
        np.testing.assert_allclose(found.participation_ratio[p], population.participation_ratio(activity[p]))


def test_a_silent_problem_has_no_dimensions(activity: xr.DataArray) -> None:
    silent = activity.copy()
    silent[0] = 0
    found = population.dimensionality(silent)
    assert found.participation_ratio.isnull().values.tolist() == [True, False]
    assert found.components[0].isnull().all()
    with pytest.raises(ValueError, match="n_components=9"):
        population.dimensionality(activity, n_components=9)
