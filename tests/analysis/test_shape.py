"""Embeddings and alignment against scikit-learn, scipy and planted rotations."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import linalg, stats
from sklearn import datasets, manifold

from ip2lab.analysis import _dynamics, population


def roll():
    points, along = datasets.make_swiss_roll(1500, random_state=0)
    return xr.DataArray(points.reshape(6, 250, 3), dims=("trial", "time", "neuron")), along


def test_isomap_unrolls_a_swiss_roll_where_pca_does_not():
    data, along = roll()
    found = population.manifold(data, n_neighbors=10)
    flat = found.embedding.values.reshape(-1, 2)
    assert abs(stats.spearmanr(flat[:, 0], along).statistic) > 0.95
    pca = population.pca(data, n_components=2).scores.values.reshape(-1, 2)
    assert max(abs(stats.spearmanr(pca[:, i], along).statistic) for i in range(2)) < 0.8
    oracle = manifold.trustworthiness(data.values.reshape(-1, 3), flat, n_neighbors=10)
    assert float(found.trustworthiness) == pytest.approx(oracle) and oracle > 0.95
    assert found.embedding.dims == ("trial", "time", "component")


@pytest.mark.parametrize("method", ["spectral", "tsne"])
def test_other_methods_keep_neighbours(method):
    data = roll()[0].isel(trial=slice(3), time=slice(100))
    found = population.manifold(data, method=method, n_neighbors=20)
    assert float(found.trustworthiness) > 0.9
    xr.testing.assert_identical(found, population.manifold(data, method=method, n_neighbors=20))


def test_wrong_arguments_of_manifold_are_refused_by_name():
    data = roll()[0]
    with pytest.raises(ValueError, match=r"method: 'umap' is not valid; give 'isomap', 'spectral' or 'tsne'"):
        population.manifold(data, method="umap")
    with pytest.raises(
        ValueError, match=r"has 12 samples along trial, time; isomap with n_neighbors=15 needs 17 to 10000"
    ):
        population.manifold(data.isel(time=slice(2)))
    with pytest.raises(ValueError, match=r"has 150000 samples .*thin them"):
        population.manifold(xr.concat([data] * 100, "trial"))
    apart = xr.concat([data, data + 1000], "trial")
    with pytest.raises(ValueError, match=r"graph of 10 neighbours falls apart.*raise n_neighbors"):
        population.manifold(apart, n_neighbors=10)


def paths(seed=0, conditions=8, noise=0.0, names=("condition", "time", "neuron")):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=(conditions, 60, 5)), axis=1)
    turned = 3 * values @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 7 + noise * rng.normal(size=values.shape)
    return tuple(xr.DataArray(v, dims=names, name="paths") for v in (values, turned))


def test_a_planted_rotation_is_found_on_held_out_conditions():
    one, other = paths()
    found = population.align(one, other)
    assert float(found.aligned) > 0.999 and float(found.cka) == pytest.approx(1)
    assert float(found.unaligned) < 0.9 and float(found.p_value) == pytest.approx(1 / 101)
    itself = population.align(one, one)
    assert float(itself.unaligned) == pytest.approx(1)


def test_the_rotation_of_align_equals_scipys():
    one, other = (p.values for p in paths(noise=1.0))
    order = np.arange(8)
    a, b = (v[:4].reshape(-1, 5) - v[:4].mean((0, 1)) for v in (one, other))
    rotation, scale = linalg.orthogonal_procrustes(a, b)
    rest = other[4:] - other[:4].mean((0, 1)) - scale / (a**2).sum() * (one[4:] - one[:4].mean((0, 1))) @ rotation
    expected = 1 - (rest**2).sum() / ((other[4:] - other[:4].mean((0, 1))) ** 2).sum()
    assert _dynamics._held_out(one, other, [order]) == pytest.approx(expected)


def test_unrelated_paths_do_not_align():
    found = population.align(paths(0)[0], paths(1)[0])
    assert float(found.aligned) < 0.5 and float(found.p_value) > 0.02


def test_paths_that_cannot_be_aligned_are_refused():
    one, other = paths()
    with pytest.raises(ValueError, match=r"5 along 'neuron', 'paths' 4 along 'neuron'.*population.pca"):
        population.align(one, other.isel(neuron=slice(4)))
    with pytest.raises(ValueError, match=r"'paths' has 1 along 'condition'; a rotation, fitted on some"):
        population.align(one.isel(condition=[0]), other.isel(condition=[0]))
    with pytest.raises(ValueError, match="'paths' is constant"):
        population.align(one * 0, other)
    with pytest.raises(
        ValueError, match=r"has dims trial, condition, time, neuron; expected neuron, condition, time only"
    ):
        population.align(one.expand_dims("trial"), other)
