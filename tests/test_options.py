"""The options of `train`: defaults as promised, wrong ones refused by name, wrong values never half accepted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ip2lab
from ip2lab.checks import FLAG, whole
from ip2lab.networks import network_class
from ip2lab.properties import PROPERTIES
from ip2lab.training.options import DEFAULTS, OUTPUT_FACTOR, RECORD, RULES, learnable_names, rates_by_parameter, resolve

PARAMETERS = ["input_weights", "recurrent_weights", "output_weights", "output_bias"]
PARAMETERS += [f"free.{name}" for name in ("bias", "tau_dendrite", "tau_soma", "threshold")]
PAPER = ("bias", "tau_dendrite", "tau_soma", "threshold")
WRONG = {  # what names of starts, parameters and properties there are is checked where they are used
    "neurons": (0, -1, 2.5, True, "100", None, [100], np.ones(2)),
    "dt": (0, -20.0, float("nan"), float("inf"), "20", None, True, np.ones(2)),
    "device": ("", "gpu", 0, None, True, "cuda:99", ["cpu"]),
    "dtype": ("float16", "half", np.float32, None, 32),
    "bounds": (None, 3, "wide", [("tau_soma", 2, 9)], {"tau_soma": 3}, {"tau_soma": (1, 2, 3)}),
    "noise": (-0.1, float("nan"), float("inf"), "0", None, True, np.ones(2)),
    "autapses": (0, 1, "no", None),
    "property_learning_rate": (
        -1,
        float("nan"),
        "fast",
        [0.1],
        {"tau_soma": -1},
        {"tau_soma": "x"},
        {"tau_soma": None},
    ),
    "output_learning_rate": (-1, float("inf"), "fast", True, [0.1]),
    "learning_rate": (0, -1, float("nan"), float("inf"), None, "fast", True, np.ones(2)),
    "beta1": (1, 1.0, -0.1, float("nan"), None, "0", True),
    "beta2": (1, -0.1, None, "0"),
    "consolidation": (-0.1, 1.5, float("nan"), None, "median", True, [0.5], {"tau_soma": 2}, {"tau_soma": "x"}),
    "clip": (-1, float("nan"), None, "off"),
    "reset_optimizer": ("All", "", None, True, np.ones(2)),
    "l2": (-1, float("nan"), None, "on", [1], {"input_weights": -1}, {"input_weights": "x"}),
    "rate_target": (-1, float("nan"), "5"),
    "rate_weight": (-1, float("inf"), None, "1"),
    "frozen": ("bias", None, 3, [3], [None], True),
    "freeze_after": (-1, 0.5, "last", True, float("nan")),
    "criterion": (0, -1, float("nan"), None, "0.005"),
    "window": (0, -1, 2.5, None, "50", True),
    "max_trials": (0, -1, 2.5, None, "8000", float("inf")),
    "network_seed": (-1, 2.5, "x", True),
    "problem_seed": (-1, 2.5, "x", True),
    "record": (
        None,
        True,
        "all",
        ["kept"],
        {"trajectories": 0},
        {"trajectories": None},
        {"interval": -1},
        {"interval": "5"},
        {"kept": -1},
        {"kept": [-1]},
    ),
    "problems_order": ("random", 3, True, [0, -1], [0.5], {0: 1}, ["x"]),
    "start": (None, 5, ["x"], True),
    "adaptation": (0, 1, "yes", None),
    "input_gain": (-1, float("nan"), None, "1"),
    "recurrent_gain": (-1, float("nan"), None, "1"),
    "refractory": (-1, float("nan"), None, "1"),
    "readout": ("spike", None, 1, True),
    "spiking": (0, 1, "yes", None),
    "recurrent": (0, 1, "yes", None),
    "between_problems": ("x", 3, True, ["x"], np.ones(2)),
}


def test_the_table_of_wrong_values_has_every_option():
    assert set(WRONG) == set(DEFAULTS["spiking"])


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_names_the_option_and_what_is_valid(option, value):
    rule = (RULES | network_class("spiking").rules).get(option)
    error = ValueError if rule is None else rule.error  # a flag that is none is a TypeError, here as everywhere
    assert (error is TypeError) == (rule is FLAG)
    with pytest.raises(error, match=rf"^{option}[:.].* (is not valid; give .+)"):
        resolve("spiking", {option: value})


def test_defaults_are_valid_plain_and_as_promised():
    options = resolve("spiking", {})
    promised = {"neurons": 100, "dt": 20, "readout": "spikes", "criterion": 0.005, "window": 50, "max_trials": 8000}
    promised |= {"start": "homogeneous", "adaptation": False, "autapses": False, "refractory": 0, "spiking": True}
    assert {name: options[name] for name in promised} == promised
    json.dumps(options)  # can be recorded with the run


@pytest.mark.parametrize("model", list(DEFAULTS))
def test_the_default_options_of_every_model_obey_the_rules(model):
    options = resolve(model, {})
    assert json.dumps(resolve(model, options)) == json.dumps(
        options
    )  # what a run recorded makes the same options again


def test_the_page_of_options_is_the_table():
    page = (Path(__file__).parents[1] / "docs" / "options.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    table = {row[0].strip("`"): row[1:-1] for row in rows}
    for name, cells in table.items():
        if name in RECORD:
            assert cells[0] == f"`{RECORD[name]!r}`"
        else:
            shown = [f"`{options[name]!r}`" if name in options else "–" for options in DEFAULTS.values()]
            assert cells[: len(shown)] == shown, name
    assert table.keys() == set(RECORD).union(*DEFAULTS.values())


def test_defaults_are_not_changed_by_what_is_given():
    given = {"record": {"trajectories": 3}, "l2": {"input_weights": 0.1}}
    before = resolve("spiking", {})
    resolve("spiking", given)["record"]["kept"] = [1]
    assert given == {"record": {"trajectories": 3}, "l2": {"input_weights": 0.1}}
    assert resolve("spiking", {}) == before


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(
        TypeError, match=r"the model 'spiking' has no option 'neuron'; it has adaptation, autapses, .*, window"
    ):
        resolve("spiking", {"neuron": 3})


@pytest.mark.parametrize("model", ["spikin", None, 3, ["spiking"]])
def test_an_unknown_model_lists_the_known_ones(model):
    with pytest.raises(ValueError, match=r"model: .* is unknown; known: spiking"):
        resolve(model, {})


def test_an_unknown_record_lists_the_known_ones():
    with pytest.raises(TypeError, match=r"record: there is no 'weights'; there is trajectories, kept"):
        resolve("spiking", {"record": {"weights": True}})


def test_max_trials_below_the_window_is_refused():
    with pytest.raises(ValueError, match="max_trials: 50 trials cannot hold a window of 50; give more"):
        resolve("spiking", {"max_trials": 50})


def test_numbers_of_numpy_are_numbers():
    options = resolve("spiking", {"neurons": np.int64(7), "noise": np.float32(0.5), "problems_order": np.arange(3)})
    assert (options["neurons"], options["noise"], options["problems_order"]) == (7, 0.5, [0, 1, 2])
    assert type(options["neurons"]) is int and type(options["noise"]) is float
    assert whole("seed", np.int64(3), 0) == 3


@pytest.mark.parametrize("value", [0, 2.5, "1", None, True])
def test_an_invalid_number_of_problems_is_refused(value):
    with pytest.raises(ValueError, match=r"problems: .* is not valid; give a whole number from 1"):
        whole("problems", value, 1)


@pytest.mark.parametrize(
    ("learnable", "adaptation", "expected"),
    [
        ("default", False, PAPER),
        ("default", True, PAPER),
        (None, False, ()),
        ([], False, ()),
        ("all", False, PAPER),
        ("all", True, (*PAPER, "adaptation_strength", "tau_adaptation")),
        ("tau_soma", False, ("tau_soma",)),
        (["threshold", "tau_soma", "threshold"], False, ("tau_soma", "threshold")),
        ("gain", False, ("gain",)),
        ({"tau_adaptation"}, True, ("tau_adaptation",)),
    ],
)
def test_learnable_as_a_word_a_name_or_names_gives_the_properties(learnable, adaptation, expected):
    assert learnable_names("spiking", learnable, adaptation) == expected


@pytest.mark.parametrize(
    ("learnable", "error", "wording"),
    [
        ("tau_axon", ValueError, r"learnable: unknown property 'tau_axon'; known: bias, tau_dendrite, tau_soma"),
        (["tau"], ValueError, r"learnable: this network has no property 'tau'; it has bias, tau_dendrite, .*gain$"),
        ("tau_adaptation", ValueError, r"no property 'tau_adaptation'; .*; give adaptation=True for it"),
        (3, TypeError, r"learnable: 3 is not valid; give 'default', None, 'all', .* names of properties"),
        ([None], ValueError, r"learnable: unknown property None"),
        ([["tau_soma"]], ValueError, r"learnable: unknown property \['tau_soma'\]"),
    ],
)
def test_a_wrong_learnable_is_refused_by_name(learnable, error, wording):
    with pytest.raises(error, match=wording):
        learnable_names("spiking", learnable, False)


def rates(learnable=PAPER, **given):
    return rates_by_parameter(resolve("spiking", given), learnable, PARAMETERS)


def test_every_property_has_a_learning_rate_of_its_own():
    got = rates(learning_rate=0.01)
    for name in PAPER:
        assert got[f"free.{name}"] == pytest.approx(0.01 * PROPERTIES[name].rate)
    assert got["free.bias"] == got["input_weights"] == got["recurrent_weights"] == 0.01
    assert got["output_weights"] == got["output_bias"] == pytest.approx(0.01 * OUTPUT_FACTOR)


def test_property_learning_rate_is_one_number_or_one_per_property():
    one = rates(property_learning_rate=0.5)
    assert {one[f"free.{name}"] for name in PAPER} == {0.5}
    each = rates(property_learning_rate={"tau_soma": 0.25}, learning_rate=0.01)
    assert each["free.tau_soma"] == 0.25
    assert each["free.tau_dendrite"] == pytest.approx(0.1)
    assert rates(property_learning_rate={}) == rates()


def test_what_does_not_learn_has_no_rate():
    assert {name for name in rates(()) if name.startswith("free.")} == set()
    assert "free.tau_soma" not in rates(("tau_dendrite",))
    assert {"free.bias", "free.threshold"}.isdisjoint(rates(frozen=["bias", "threshold"]))
    assert {"output_weights", "output_bias"}.isdisjoint(rates(output_learning_rate=0))
    assert "free.threshold" not in rates(property_learning_rate={"threshold": 0})


@pytest.mark.parametrize(
    ("given", "wording"),
    [
        ({"frozen": ["W_rec"]}, r"frozen: 'W_rec' is unknown; known: bias, input_weights, .*threshold"),
        ({"l2": {"W_rec": 0.1}}, r"l2: 'W_rec' is unknown; known: bias, input_weights"),
        (
            {"property_learning_rate": {"gain": 1}},
            r"property_learning_rate: 'gain' does not learn; learnable: bias, tau_",
        ),
    ],
)
def test_an_unknown_parameter_in_frozen_or_l2_is_refused(given, wording):
    with pytest.raises(ValueError, match=wording):
        rates(**given)


def test_a_rate_for_a_property_where_nothing_learns():
    with pytest.raises(ValueError, match="'tau_soma' does not learn; learnable: nothing"):
        rates((), property_learning_rate={"tau_soma": 1})


def test_a_setting_of_the_family_is_sent_to_the_family():
    with pytest.raises(TypeError, match=r"has no option 'delay'; that is for the family: ip2lab.family\(NAME, delay="):
        resolve("spiking", {"delay": 500})


@pytest.mark.parametrize(
    ("model", "options", "meant"),
    [
        ("spikin", {}, "spiking"),
        ("spiking", {"learning_rates": 1}, "learning_rate"),
        ("spiking", {"neuron": 10}, "neurons"),
        ("rate", {"singular_value": 1}, "singular_values"),
        ("spiking", {"record": {"trajectory": 5}}, "trajectories"),
    ],
)
def test_a_misspelt_option_suggests_the_known_one(model, options, meant):
    with pytest.raises((TypeError, ValueError), match=rf"; did you mean '{meant}'\?$"):
        resolve(model, options)


def test_a_misspelt_property_suggests_the_known_one():
    with pytest.raises(ValueError, match=r"learnable: unknown property 'treshold'; .*; did you mean 'threshold'\?$"):
        learnable_names("spiking", "treshold")


def test_bounds_of_a_run_are_kept_and_hold(tmp_path):
    path = tmp_path / "run.zarr"
    bounds = {"tau_dendrite": (20.0, 110.0), "bias": (0.0, 1.0)}
    few = {"neurons": 20, "max_trials": 60, "progress": False}
    run = ip2lab.train("association", problems=1, bounds=bounds, learning_rate=0.1, path=path, **few)
    longer = ip2lab.resume(path, problems=2, progress=False)
    assert longer.attrs["config"]["bounds"] == {name: list(pair) for name, pair in bounds.items()}
    for name, (low, high) in bounds.items():
        values = longer["properties"][name].values
        assert low <= values.min() and values.max() <= high
        np.testing.assert_array_equal(values[: len(run["properties"][name])], run["properties"][name].values)
    # a bounded bias learns as a free parameter that is not its value, and is stored under a name that says so
    assert "bias" not in longer["weights"] and longer["weights"].free_bias.shape == (2, 20)
    again = ip2lab.probes.restore(longer, 1).network.properties()["bias"].detach()
    np.testing.assert_allclose(again, longer["properties"].bias[-1], atol=1e-6)
    with pytest.raises(ValueError, match=r"tau_dendrite: 100 is outside its bounds; give values between 200 and 300"):
        ip2lab.train("association", problems=1, bounds={"tau_dendrite": (200, 300)}, **few)
    with pytest.raises(ValueError, match="bounds: this network has no property 'tau'"):
        ip2lab.train("association", problems=1, bounds={"tau": (20, 300)}, **few)
