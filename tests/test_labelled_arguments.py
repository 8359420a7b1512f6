"""Labelled arrays as arguments of training, probes and recorders: labels decide, never positions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import ip2lab
from ip2lab import probes
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.properties import in_order
from ip2lab.records import TrainingRecorder

TINY = {"neurons": 8, "max_trials": 60, "progress": False}
ORDER = np.array([3, 0, 7, 1, 6, 2, 5, 4])


@pytest.fixture(scope="module")
def run():
    return ip2lab.train("association", problems=3, **TINY)


@pytest.fixture(scope="module")
def tau():
    values = np.geomspace(20, 400, 8)
    return xr.DataArray(values, dims="neuron", coords={"neuron": np.arange(8)}, name="tau_dendrite")


def forms(tau):
    """Return the same values in another order, labelled in every way."""
    return {"permuted": tau[ORDER], "series": tau[ORDER].to_series(), "bare": tau.values, "in order": tau}


@pytest.mark.parametrize("form", ["permuted", "series", "bare", "in order"])
def test_a_start_labelled_by_neuron_is_taken_by_its_labels(tau, form):
    found = ip2lab.train("association", problems=1, start={"tau_dendrite": forms(tau)[form]}, **TINY)
    born = found["properties"].tau_dendrite.sel(problem=-1)
    np.testing.assert_allclose(born, tau, rtol=1e-5)


@pytest.mark.parametrize("form", ["permuted", "series", "in order"])
def test_a_probe_with_labelled_properties_is_that_of_the_bare_ones(run, tau, form):
    bare = ip2lab.probe(run, 1, tau_dendrite=tau.values)
    assert ip2lab.probe(run, 1, tau_dendrite=forms(tau)[form]).identical(bare)


def test_learning_on_with_permuted_properties_is_that_of_the_bare_ones(run, tau):
    one, other = (probes.continue_training(run, 1, problems=1, tau_dendrite=v) for v in (tau.values, tau[ORDER]))
    np.testing.assert_array_equal(one["trials"].loss, other["trials"].loss)


def test_a_network_is_given_permuted_properties_by_label(tau):
    network = SpikingNetwork(3, 2, 8)
    network.set_property("tau_dendrite", tau[ORDER])
    np.testing.assert_allclose(network.properties()["tau_dendrite"].detach(), tau, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (xr.DataArray(np.ones((2, 8)), dims=("problem", "neuron")), "dims problem, neuron; expected 'neuron' only"),
        (
            xr.DataArray(np.ones(8), dims="neuron", coords={"neuron": [0, 0, *range(2, 8)]}),
            "expected each of 0 to 7 once",
        ),
        (pd.Series(np.ones(7), index=range(7)), "expected each of 0 to 7 once"),
        (xr.DataArray(np.ones(8), dims="unit", coords={"unit": list("abcdefgh")}), "expected each of 0 to 7 once"),
    ],
)
def test_labels_that_are_not_those_of_the_neurons_are_refused(run, values, words):
    with pytest.raises(ValueError, match=words):
        in_order("tau_dendrite", values, 8)
    with pytest.raises(ValueError, match=words):
        ip2lab.probe(run, 1, tau_dendrite=values)
    with pytest.raises(ValueError, match=words):
        ip2lab.train("association", start={"tau_dendrite": values}, **TINY)


@pytest.mark.parametrize("dim", ["neuron", "presynaptic", "problem"])
def test_a_run_in_another_order_is_the_same_run(run, dim):
    size = {"neuron": 8, "presynaptic": 8, "problem": 3}[dim]
    turned = run.map_over_datasets(lambda d: d.sortby(dim, ascending=False) if dim in d.dims else d)
    assert turned["weights"].sizes.get(dim, size) == size
    assert ip2lab.probe(turned, 1).identical(ip2lab.probe(run, 1))
    assert probes.retention(turned, relearn=False).identical(probes.retention(run, relearn=False))
    same = [probes.lesions(each, by="tau_soma", bins=2, controls=2) for each in (run, turned)]
    assert same[0].identical(same[1])
    assert probes.single_lesions(turned, neurons=[2]).identical(probes.single_lesions(run, neurons=[2]))


def test_some_problems_of_a_run_are_found_by_their_numbers(run):
    part = run.map_over_datasets(lambda d: d.sel(problem=[2]) if "problem" in d.dims else d)
    assert ip2lab.probe(part, 2).identical(ip2lab.probe(run, 2))
    with pytest.raises(ValueError, match=r"problem: 1 is not among those that this run has done; it has 2$"):
        ip2lab.probe(part, 1)


def test_a_run_that_lacks_neurons_is_refused_by_name(run):
    part = run.map_over_datasets(lambda d: d.isel(neuron=slice(4)) if "neuron" in d.dims else d)
    with pytest.raises(ValueError, match=r"run: weights/input_weights .*needs"):
        ip2lab.probe(part, 2)


def recorded(turn):
    """Record one problem, with every array turned by `turn`; return the run."""
    rng = np.random.default_rng(0)
    recorder = TrainingRecorder(
        "association", neurons=4, signals=["activity"], weights=["recurrent_weights"], properties={"tau": 100.0}
    )
    recorder.trial(loss=1.0, correct=True, condition=0)
    wide = {"neuron": np.arange(4)}
    probe = {"condition": ("probe", [0, 1])}
    values = {
        "activity": xr.DataArray(rng.random((2, 100, 4)), dims=("probe", "time", "neuron"), coords=wide | probe),
        "readout": xr.DataArray(np.full((2, 100, 3), 1 / 3), dims=("probe", "time", "output")),
    }
    weights = xr.DataArray(
        rng.normal(size=(4, 4)), dims=("neuron", "presynaptic"), coords=wide | {"presynaptic": np.arange(4)}
    )
    tau = xr.DataArray(rng.uniform(50, 90, 4), dims="neuron", coords=wide)
    recorder.problem(
        properties={"tau": turn(tau)},
        weights={"recurrent_weights": turn(weights)},
        activity={name: turn(v) for name, v in values.items()},
    )
    return recorder.finish()


@pytest.mark.parametrize(
    "turn",
    [
        lambda v: v.transpose(*v.dims[::-1]),
        lambda v: v.isel({d: [2, 0, 3, 1] for d in ("neuron", "presynaptic") if d in v.dims}),
        lambda v: v.isel(presynaptic=[2, 0, 3, 1]) if "presynaptic" in v.dims else v,
        lambda v: v.isel(probe=[1, 0]) if "condition" in v.coords else v,
    ],
    ids=["axes", "neurons", "one side of the weights", "conditions"],
)
def test_a_recorder_puts_labelled_arrays_in_place(turn):
    same = recorded(lambda v: v)
    for group in ("properties", "weights", "activity"):
        assert recorded(turn)[group].to_dataset().identical(same[group].to_dataset())


def test_a_recorder_refuses_labels_that_are_not_its_own():
    with pytest.raises(ValueError, match=r"properties/tau: the labels of 'neuron' are \[1, 2, 3, 4\]; expected \[0, 1"):
        recorded(lambda v: v.assign_coords(neuron=v.neuron + 1) if "neuron" in v.coords else v)
    with pytest.raises(ValueError, match=r"weights/recurrent_weights has dims neuron, other; expected neuron, presyn"):
        recorded(lambda v: v.rename(presynaptic="other") if "presynaptic" in v.dims else v)


def test_tensors_and_bare_arrays_are_taken_as_they_are(tau):
    network = SpikingNetwork(3, 2, 8)
    network.set_property("tau_dendrite", torch.tensor(tau.values))
    np.testing.assert_allclose(network.properties()["tau_dendrite"].detach(), tau, rtol=1e-5)
