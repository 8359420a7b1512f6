"""Communities and modularity against networkx and planted partitions; changes and gradients against closed forms."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import adjusted_mutual_info_score

from ip2lab.analysis import _communities, connectivity

GROUPS = np.repeat(np.arange(4), 12)


def planted(seed=0, contrast=0.25, groups=GROUPS):
    rng = np.random.default_rng(seed)
    strength = np.where(groups[:, None] == groups, 1.0, contrast)
    coords = {"neuron": np.arange(len(groups)) + 100}
    return xr.DataArray(
        strength * rng.normal(size=strength.shape), dims=("neuron", "presynaptic"), coords=coords, name="weights"
    )


@pytest.mark.parametrize("method", ["leiden", "louvain"])
def test_planted_communities_are_found_and_scored_as_networkx_does(method):
    found = connectivity.communities(planted(), method=method, runs=100)
    assert adjusted_mutual_info_score(found.community, GROUPS) == pytest.approx(1)
    assert int(found.n_communities) == 4
    graph = _communities._graph(planted().values)
    sets = [set(np.flatnonzero(found.community.values == c)) for c in range(4)]
    expected = nx.community.modularity(nx.from_numpy_array(graph), sets)
    assert float(found.modularity) == pytest.approx(expected)
    assert float(found.agreement.sel(neuron=100)[:12].min()) > 0.9
    assert found.community.dims == ("neuron",) and found.neuron.values[0] == 100


def test_no_worse_than_networkx_at_modularity():
    weights = planted(contrast=0.7)
    graph = _communities._graph(weights.values)
    reference = nx.from_numpy_array(graph)
    theirs = np.mean(
        [nx.community.modularity(reference, nx.community.louvain_communities(reference, seed=s)) for s in range(10)]
    )
    ours = connectivity.modularity(weights, nulls=2, runs=10).modularity
    assert float(ours) > theirs - 2e-3


def test_consensus_of_a_random_matrix_is_less_consistent():
    random = xr.DataArray(np.random.default_rng(0).normal(size=(48, 48)), dims=("neuron", "presynaptic"))
    both = [float(connectivity.communities(w, runs=30).consistency) for w in (planted(), random)]
    assert both[0] > 0.95
    assert both[1] < 0.7


def test_resolution_sweep_and_other_dims():
    weights = xr.concat([planted(0), planted(1)], dim="problem")
    found = connectivity.communities(weights, resolution=[0.3, 1.0, 2.0], runs=5)
    assert found.community.sizes == {"problem": 2, "resolution": 3, "neuron": 48}
    assert (found.n_communities.diff("resolution") >= 0).all() and int(
        found.n_communities.sel(resolution=0.3).max()
    ) == 1
    graph = _communities._graph(planted(1).values)
    labels = found.community.sel(resolution=2.0).isel(problem=1).values
    sets = [set(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    expected = nx.community.modularity(nx.from_numpy_array(graph), sets, resolution=2.0)
    assert float(found.modularity.sel(resolution=2.0)[1]) == pytest.approx(expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_null_keeps_strengths_and_signs(sparse):
    rng = np.random.default_rng(0)
    matrix = planted().values * (rng.random((48, 48)) < 0.3 if sparse else 1)
    drawn = _communities.shuffled(matrix, rng)
    np.testing.assert_array_equal(np.sign(drawn), np.sign(matrix))
    off = ~np.eye(48, dtype=bool)
    for part in (np.clip, lambda m, *_: np.clip(m, None, 0)):
        one, other = (np.where(off, part(m, 0, None), 0) for m in (matrix, drawn))
        np.testing.assert_allclose(one.sum(0), other.sum(0), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(one.sum(1), other.sum(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(np.diag(drawn), np.diag(matrix))
    assert abs(np.corrcoef(np.abs(drawn[off]), np.abs(matrix[off]))[0, 1]) < (0.8 if sparse else 0.3)


def test_modularity_finds_modules_and_only_those():
    random = np.random.default_rng(0).normal(size=(6, 40, 40)) * np.linspace(0.5, 2, 40)[:, None]  # unequal strengths
    null = connectivity.modularity(xr.DataArray(random, dims=("seed", "neuron", "presynaptic")), nulls=60)
    assert float(null.p_value.min()) > 0.02 and float(np.abs(null.z).max()) < 3
    assert abs(float(null.z.mean())) < 3 / np.sqrt(6)
    found = connectivity.modularity(planted(), untrained=planted(contrast=1.0), nulls=60)
    assert float(found.p_value) == pytest.approx(1 / 61) and float(found.z) > 5
    assert float(found.untrained) < float(found.modularity)


def test_stationarity_between_null_and_ceiling():
    start, noise = planted(0), planted(5, contrast=1.0)
    small = start + 0.1 * start * np.sign(np.random.default_rng(0).normal(size=start.shape))
    moved = planted(3, groups=np.roll(GROUPS, 6))
    weights = xr.concat([start, small, moved, noise], dim="problem").assign_coords(problem=[0, 1, 5, 8])
    found = connectivity.stationarity(weights, runs=8)
    assert found.problem.values.tolist() == [1, 5, 8]
    assert float(found.stationarity.sel(problem=1)) > 0.95 and float(found.ceiling.sel(problem=1)) > 0.95
    assert float(found.stationarity.sel(problem=5)) < 0.6 < float(found.ceiling.sel(problem=5))
    # the change that moved the communities is large: shuffled, it also destroys them
    assert float(found.null_mean.sel(problem=5)) < float(found.null_mean.sel(problem=1))


def test_spectral_radius_of_the_circular_law():
    data = xr.DataArray(
        1.5 * np.random.default_rng(0).normal(size=(3, 400, 400)) / 20, dims=("problem", "neuron", "presynaptic")
    )
    np.testing.assert_allclose(connectivity.spectral_radius(data), 1.5, rtol=0.08)


def test_change_size_and_gradient_alignment():
    rng = np.random.default_rng(0)
    run = xr.Dataset(
        {
            "recurrent_weights": (("problem", "neuron", "presynaptic"), rng.normal(size=(4, 5, 5))),
            "bias": (("problem", "neuron"), np.zeros((4, 5))),
            "constant": ("neuron", np.ones(5)),
        },
        coords={"problem": [0, 1, 2, 3]},
    )
    found = connectivity.change_size(run)
    assert found.parameter.values.tolist() == ["recurrent_weights", "bias"]
    w = run.recurrent_weights.values
    expected = [np.linalg.norm(w[i + 1] - w[i]) for i in range(3)]
    np.testing.assert_allclose(found.change[0], expected)
    np.testing.assert_allclose(found.relative[0], np.array(expected) / [np.linalg.norm(m) for m in w[:3]])
    assert (found.relative[1] == 0).all()
    aligned = connectivity.gradient_alignment(run)
    flat = w.reshape(4, -1)
    assert float(aligned.alignment[0, 0, 2]) == pytest.approx(
        flat[0] @ flat[2] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[2])
    )
    pairs = rng.normal(size=(2, 20_000, 25))
    cosines = (pairs[0] * pairs[1]).sum(1) / np.linalg.norm(pairs[0], axis=1) / np.linalg.norm(pairs[1], axis=1)
    assert float(aligned.chance[0]) == pytest.approx(np.quantile(np.abs(cosines), 0.95), rel=0.03)


def test_wrong_weights_and_arguments_are_refused_by_name():
    weights = planted()
    with pytest.raises(ValueError, match=r"48 along 'neuron' and 10 along 'presynaptic'; expected recurrent weights"):
        connectivity.communities(weights.isel(presynaptic=slice(10)))
    with pytest.raises(ValueError, match=r"method: 'infomap' is not valid; give 'leiden' or 'louvain'"):
        connectivity.modularity(weights, method="infomap")
    with pytest.raises(ValueError, match=r"runs: 1 is not valid; give a whole number from 2"):
        connectivity.communities(weights, runs=1)
    with pytest.raises(ValueError, match=r"zero off its diagonal"):
        connectivity.communities(xr.DataArray(np.eye(5), dims=("neuron", "presynaptic")))
    with pytest.raises(ValueError, match=r"resolution: 0 is not valid; give a positive number"):
        connectivity.communities(weights, resolution=0)
    ring = xr.DataArray(np.roll(np.eye(12), 1, axis=0), dims=("neuron", "presynaptic"))
    with pytest.raises(ValueError, match=r"no other matrix has these strengths and signs"):
        connectivity.modularity(ring)
    with pytest.raises(ValueError, match=r"has 1 along 'problem'; a comparison needs two or more"):
        connectivity.stationarity(weights.expand_dims("problem"))
    with pytest.raises(
        ValueError, match=r"no variable has the dims 'trial'; there are: weights \(neuron, presynaptic\)"
    ):
        connectivity.gradient_alignment(weights, along="trial")
    with pytest.raises(
        ValueError, match=r"NaN or infinite values \(the first at problem=0, neuron=100, presynaptic=0\)"
    ):
        connectivity.change_size((weights * np.nan).expand_dims(problem=2))


def test_modularity_does_not_depend_on_the_unit_of_the_weights():
    values = np.random.default_rng(0).normal(size=(12, 12))
    expected = None
    for scale in (1.0, 2.0**-1000, 2.0**1000):
        weights = xr.DataArray(scale * values, dims=("neuron", "presynaptic"))
        found = (
            connectivity.communities(weights, runs=5).modularity.item(),
            float(connectivity.modularity(weights, runs=3, nulls=3).modularity),
        )
        expected = expected or found
        assert found == expected and np.isfinite(found).all()
