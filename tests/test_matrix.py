"""Every model on every family, and every ablation: what was asked for, and nothing else, is what changes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import ip2lab
from ip2lab import probes
from ip2lab.tasks import families, family

TINY = {"problems": 2, "max_trials": 30, "window": 20, "progress": False, "seed": 2}
WEIGHTS = {"input_weights", "recurrent_weights", "output_weights", "output_bias"}
THREE = {"tau_dendrite", "tau_soma", "threshold"}
FIVE = THREE | {"adaptation_strength", "tau_adaptation"}
DEFAULT = THREE | {"bias"}


@pytest.mark.parametrize("name", families()[:5])
@pytest.mark.parametrize("model", ip2lab.models())
def test_every_model_learns_on_every_family(model, name):
    neurons = {} if model == "filters" else {"neurons": 95 if model == "attention" else 20}
    run = ip2lab.train(family(name, stimulus=200, delay=200, response=200), model, **TINY, **neurons)
    problem = family(name).problem(0)
    series, activity = run["series"].to_dataset(), run["activity"].to_dataset()
    assert run.attrs["complete"]
    assert ((series.trials >= 20) & (series.trials <= 30)).all()
    assert np.isfinite(run["trials"].loss.values).all()
    assert activity.response.values.tolist() == problem.labels["response"]
    assert activity.output.values.tolist() == list(problem.output_names)
    np.testing.assert_allclose(activity.readout.sum("output"), 1, rtol=1e-5)
    assert set(run["trials"].condition.values) <= set(range(problem.conditions))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_trains_with_any_number_of_heads(heads, capsys):
    run = ip2lab.train("association", "attention", heads=heads, **TINY | {"progress": True})
    assert run.attrs["config"]["heads"] == heads
    assert np.ptp(run["weights"].query_weights.values, axis=0).any()
    parameters = run.attrs["config"]["parameters"]
    assert abs(parameters / 11803 - 1) < 0.03
    assert f"attention ({parameters:,} parameters)" in capsys.readouterr().err


@pytest.mark.parametrize("name", families()[:5])
def test_the_number_of_parameters_is_printed_and_matched(name, capsys):
    printed = {}
    for model in ("spiking", "rate", "attention"):
        run = ip2lab.train(name, model, **TINY | {"progress": True, "problems": 1})
        said = re.search(rf"{model} \(([\d,]+) parameters\)", capsys.readouterr().err)
        printed[model] = int(said[1].replace(",", ""))
        assert printed[model] == run.attrs["config"]["parameters"]
    assert all(abs(number / printed["spiking"] - 1) < 0.03 for number in printed.values()), printed


ABLATIONS = [
    ({}, DEFAULT, WEIGHTS),
    ({"learnable": None}, set(), WEIGHTS),
    ({"learnable": "bias"}, {"bias"}, WEIGHTS),
    ({"learnable": "tau_soma"}, {"tau_soma"}, WEIGHTS),
    ({"learnable": "all", "property_learning_rate": "uniform"}, DEFAULT, WEIGHTS),
    ({"learnable": "gain"}, {"gain"}, WEIGHTS),
    ({"learnable": "all", "adaptation": True}, {"bias"} | FIVE, WEIGHTS),
    ({"learnable": None, "adaptation": True}, set(), WEIGHTS),
    ({"frozen": tuple(sorted(WEIGHTS))}, DEFAULT, set()),
    ({"frozen": ("recurrent_weights",)}, DEFAULT, WEIGHTS - {"recurrent_weights"}),
    ({"frozen": ("output_weights", "output_bias")}, DEFAULT, WEIGHTS - {"output_weights", "output_bias"}),
    ({"frozen": ("threshold",)}, DEFAULT - {"threshold"}, WEIGHTS),
    ({"recurrent": False}, DEFAULT, WEIGHTS - {"recurrent_weights"}),
    ({"spiking": False, "readout": "membrane"}, DEFAULT - {"threshold"}, WEIGHTS - {"recurrent_weights"}),
    ({"model": "rate"}, {"bias"}, WEIGHTS | {"initial_rates"}),
    ({"model": "rate", "start": "heterogeneous"}, {"bias"}, WEIGHTS | {"initial_rates"}),
    ({"model": "rate", "start": "heterogeneous", "learnable": "tau"}, {"tau"}, WEIGHTS | {"initial_rates"}),
]


@pytest.mark.parametrize(("options", "properties", "weights"), ABLATIONS, ids=[str(row[0]) for row in ABLATIONS])
def test_an_ablation_moves_what_it_says_and_nothing_else(options, properties, weights):
    run = ip2lab.train("association", neurons=20, **TINY, **options)
    values = run["properties"].to_dataset()
    moved = {str(name) for name in values.data_vars if np.ptp(values[name].values, axis=0).any()}
    assert moved == properties
    ends = run["weights"].to_dataset()
    names = {str(name) for name in ends.data_vars} - {"optimizer"}
    moved = {
        name
        for name in names
        if np.ptp(ends[name].values, axis=0).any() and not name.startswith("free_") and name != "bias"
    }
    assert moved == weights
    assert ("bias" in properties) == bool(np.ptp(ends["bias"].values, axis=0).any())


STARTS = [
    ("homogeneous", (100, 100), (20, 20)),
    ("short", (50, 50), (20, 20)),
    ("long", (1000, 1000), (20, 20)),
    ("heterogeneous", (200, 4000), (10, 40)),
    ({"tau_dendrite": (300.0, 600.0)}, (300, 600), (20, 20)),
    ({"tau_soma": np.full(50, 30.0)}, (100, 100), (30, 30)),
]


@pytest.mark.parametrize("learnable", [None, "default"])
@pytest.mark.parametrize(("start", "dendrite", "soma"), STARTS, ids=[str(row[0])[:20] for row in STARTS])
def test_every_start_with_properties_fixed_and_learnable(start, dendrite, soma, learnable):
    run = ip2lab.train("association", neurons=50, start=start, learnable=learnable, dt=10, **TINY)
    for name, (low, high) in (("tau_dendrite", dendrite), ("tau_soma", soma)):
        values = run["properties"][name].values
        assert values[0].min() > low * 0.999 and values[0].max() < high * 1.001
        assert low == high or (values[0].min() < low * 1.5 and values[0].max() > high / 1.5)
        assert np.ptp(values, axis=0).any() == (learnable is not None)


def test_masks_of_a_search_and_of_chance_are_taken_over():
    search = ip2lab.search_plasticity(
        "association", seeds=[1, 2], problems=1, candidates=[(), ("tau_soma",)], method="exhaustive",
        neurons=20, max_trials=60,
    )  # fmt: skip
    decision = list(search.attrs["decision"])
    run = ip2lab.train("dms", learnable=search, neurons=20, **TINY)  # the mask of another family
    assert run.attrs["learnable"] == decision
    runs = [ip2lab.train("dms", learnable="random", neurons=20, **TINY | {"seed": k, "problems": 1}) for k in range(8)]
    drawn = {tuple(run.attrs["learnable"]) for run in runs}
    assert len(drawn) > 2 and all(drawn)


def test_synapses_frozen_while_properties_learn_on():
    run = ip2lab.train("association", neurons=20, **TINY)
    on = probes.continue_training(run, problems=2, frozen=tuple(WEIGHTS), record={"kept": [0, 1]})
    before, after = run["weights"].to_dataset().isel(problem=-1), on["weights"].to_dataset()
    for name in WEIGHTS:
        assert all(np.array_equal(after[name].values[k], before[name].values) for k in range(2)), name
    assert all(np.ptp(on["properties"][name].values, axis=0).any() for name in THREE)
