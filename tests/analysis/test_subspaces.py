"""Subspaces against scipy's angles and planted directions under noise."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from ip2lab.analysis import population


def basis(rng, k, n):
    return xr.DataArray(rng.normal(size=(k, n)), dims=("component", "neuron"), coords={"neuron": np.arange(n)})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4), st.integers(4, 12))
def test_principal_angles_equal_those_of_scipy(seed, k, m, n):
    rng = np.random.default_rng(seed)
    one, other = basis(rng, k, n), basis(rng, m, n)
    ours = population.principal_angles(one, other.isel(neuron=rng.permutation(n)))
    np.testing.assert_allclose(ours, linalg.subspace_angles(one.values.T, other.values.T), atol=1e-7)
    assert ours.units == "rad"


def test_small_angles_are_precise_and_other_dims_are_matched():
    one = xr.DataArray(np.eye(2, 4), dims=("component", "neuron"))
    tilted = one + xr.DataArray([1e-9, 1e-3], dims="problem") * xr.DataArray(
        np.eye(2, 4, 2), dims=("component", "neuron")
    )
    np.testing.assert_allclose(
        population.principal_angles(one, tilted).sel(component=0), [1e-9, np.arctan(1e-3)], rtol=1e-6
    )


def test_bases_that_do_not_match_are_refused_by_principal_angles():
    one = basis(np.random.default_rng(0), 2, 5)
    with pytest.raises(ValueError, match="directions along 'component' are linearly dependent"):
        population.principal_angles(one, xr.concat([one, one], "component"))
    with pytest.raises(ValueError, match=r"labels of 'neuron' differ: the second lacks 4"):
        population.principal_angles(one, one.isel(neuron=slice(4)))
    with pytest.raises(ValueError, match=r"labels of 'neuron' differ: the second lacks 0; the first lacks 5"):
        population.principal_angles(one, one.assign_coords(neuron=np.arange(1, 6)))
    with pytest.raises(ValueError, match=r"6 directions in 5 dimensions"):
        population.principal_angles(basis(np.random.default_rng(0), 6, 5), one)


def network(seed=0, problems=50, repeats=None, neurons=30, turn=True):
    """Two planted decision directions common to all problems, two planted stimulus directions of each problem."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(neurons, 4)))[0].T
    t = np.linspace(0, 1, 25)
    decision = np.stack([np.outer(t, directions[0]), np.outer(t**2, directions[1])]) * 4
    shape = (problems, 2, 25, neurons)
    values, stimuli = np.empty(shape), np.empty((problems, 2, neurons))
    for p in range(problems):
        own = rng.normal(size=(2, neurons)) if turn or p == 0 else own  # noqa: F821
        stimuli[p] = own - own @ directions[:2].T @ directions[:2]
        values[p] = decision + 0.5 * np.einsum("t,rn->rtn", 1 - t, stimuli[p])
    data = xr.DataArray(
        values,
        dims=("problem", "probe", "time", "neuron"),
        coords={"problem": np.arange(450, 450 + problems), "response": ("probe", ["left", "right"])},
        name="rates",
    )
    if repeats:
        data = data + xr.DataArray(
            0.2 * rng.normal(size=(problems, repeats, 2, 25, neurons)), dims=("problem", "trial", *data.dims[1:])
        )
    return data.rename("rates"), directions[:2], stimuli


def test_subspaces_find_what_was_planted():
    data, decision, stimuli = network()
    found = population.subspaces(data, n_decision=2, n_stimulus=2)
    assert np.degrees(linalg.subspace_angles(found.decision.values.T, decision.T)).max() < 5
    left = stimuli[7] - stimuli[7] @ found.decision.values.T @ found.decision.values
    assert np.degrees(linalg.subspace_angles(found.stimulus.values[7].T, left.T)).max() < 10
    assert float(found.decision_share.min()) > 0.5 and float(found.stimulus_share.min()) > 0.99
    one = found.stimulus.isel(problem=0) @ found.decision.T
    assert float(np.abs(one).max()) < 1e-9  # the stimulus subspaces lie outside the decision subspace


def test_subspaces_of_too_few_problems_are_refused():
    data = network()[0]
    kept = data.isel(problem=[0, 1, 2, 4, 8])
    with pytest.raises(
        ValueError, match=r"average over 50 problems in a row.*has 5 \(450, 451, 452, 454, 458\).*450-499"
    ):
        population.subspaces(kept)
    with pytest.raises(ValueError, match="problems in a row"):
        population.subspaces(kept, block=5)
    assert population.subspaces(data.isel(problem=slice(10)), block=10).sizes["problem"] == 10
    with pytest.raises(ValueError, match=r"take 1 value \(left\); at least 2 are needed"):
        population.subspaces(data.isel(probe=[0]))
    with pytest.raises(ValueError, match=r"needs a coord 'response' along its probes; its coords are problem"):
        population.subspaces(data.drop_vars("response"))
    with pytest.raises(ValueError, match=r"n_decision=20 and n_stimulus=20 are more than the 30"):
        population.subspaces(data, n_decision=20, n_stimulus=20)


def test_subspace_rotation_lies_between_ceiling_and_chance():
    turned = population.subspace_rotation(network(problems=4, repeats=20)[0], n_components=2)
    still = population.subspace_rotation(network(problems=4, repeats=20, turn=False)[0], n_components=2)
    assert turned.problem.values.tolist() == [450, 451, 452, 453]
    assert np.isnan(turned.angle.sel(problem=450)).all()  # nothing before the first
    np.testing.assert_allclose(still.angle[1:].mean(), still.ceiling[1:].mean(), rtol=0.2)
    # the decision direction is shared, so one angle stays small until it is taken out
    decision = xr.DataArray(network()[1], dims=("component", "neuron"))
    alone = population.subspace_rotation(network(problems=4, repeats=20)[0], n_components=2, remove=decision)
    assert float(alone.angle[1:].min()) > 0.5 > float(alone.ceiling.max())
    exact = [linalg.subspace_angles(*np.random.default_rng(i).normal(size=(2, 30, 2))) for i in range(300)]
    np.testing.assert_allclose(turned.chance, np.mean(exact, axis=0), rtol=0.05)


def test_subspace_rotation_refuses_repeats_without_noise():
    data = network(problems=3)[0]
    alike = xr.concat([data] * 4, dim="trial")
    with pytest.raises(ValueError, match=r"4 repeats along 'trial' of 'rates' are identical.*noisy repeats"):
        population.subspace_rotation(alike)
    with pytest.raises(ValueError, match=r"has 1 along 'problem'; a comparison needs two or more"):
        population.subspace_rotation(alike.isel(problem=[0]))
    with pytest.raises(ValueError, match=r"31 directions are asked for; 'rates' at problem=450 has \d+"):
        population.subspace_rotation(network(problems=2, repeats=4)[0], n_components=31)
