"""The options of :func:`ip2lab.train`: one table of defaults, one place where they are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab.checks import (
    COUNT,
    FLAG,
    FROM_ZERO,
    MANY,
    POSITIVE,
    SEED,
    Rule,
    affordable,
    each,
    is_list,
    is_number,
    known,
    obey,
    one_of,
    optional,
    plain,
)
from ip2lab.networks import models, network_class, own_options
from ip2lab.properties import PROPERTIES, hint, in_order, properties_of
from ip2lab.tasks.base import FAMILIES

COMMON: dict[str, Any] = {
    "neurons": 100,
    "dt": 20.0,
    "device": "cpu",
    "dtype": "float32",
    "property_learning_rate": None,
    "output_learning_rate": None,
    "beta1": 0.3,
    "beta2": 0.999,
    "clip": 1.0,
    "reset_optimizer": "first_moment",
    "l2": {},
    "rate_target": 5.0,
    "rate_weight": 0.0,
    "frozen": (),
    "freeze_after": None,
    "consolidation": 1.0,
    "between_problems": None,
    "criterion": 0.005,
    "window": 50,
    "max_trials": 8000,
    "network_seed": None,
    "problem_seed": None,
    "record": {},
    "problems_order": None,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    model: COMMON | own_options(network_class(model)) | network_class(model).training_defaults for model in models()
}
PRESETS: dict[str, dict[str, Any]] = {
    name: preset for model in models() for name, preset in getattr(network_class(model), "presets", {}).items()
}
BETWEEN = ("shuffle_properties", "reset_properties", "reset_weights")
OUTPUT_FACTOR = 6.0  # the readout learns this much faster than the other weights unless output_learning_rate is given
UNIFORM_FACTOR = 10.0  # property_learning_rate="uniform": every property learns as time constants do
RECORD = {
    "trajectories": 10,  # trials between two rows of /trajectories
    "kept": None,  # problems whose weights and activity are kept; None: 0, 1, 2, 3, 5, 8, ..., ever farther apart
    "checkpoints": True,  # whether what training goes on from is kept, for `resume` and as starting points of `replay`
    "half_precision": False,  # whether membrane and dendrite are kept in half precision
    "interval": 5.0,  # seconds of work that are lost at most where the process is killed
}
WEIGHT_COPIES = 32.0  # bytes a recurrent weight: itself, its gradient, two moments, what is undone, what is stored
TRIAL_BYTES = 40.0  # of a problem: loss, response loss, correctness, rate, condition
MASK = 5  # random stream of learnable="random"


def _one_or_each(value: Any) -> bool:
    values = value.values() if isinstance(value, Mapping) else [value]
    return all(map(FROM_ZERO.valid, values))


def _device(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(torch.empty(0, device=value).device)
    except (RuntimeError, AssertionError):  # no such device, or torch was built without it
        return False


def _share(value: Any) -> bool:
    return (isinstance(value, str) and value == "mean") or (is_number(value) and 0 <= value <= 1)


def _rate_of_properties(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value == "uniform") or _one_or_each(value)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("neurons", "max_trials", "window"), COUNT),
    **dict.fromkeys(("dt", "learning_rate", "criterion"), POSITIVE),
    **dict.fromkeys(("clip", "rate_weight"), FROM_ZERO),
    **dict.fromkeys(("network_seed", "problem_seed"), optional(SEED)),
    "rate_target": Rule(lambda v: v is None or FROM_ZERO.valid(v), "0, a positive number, or None"),
    "output_learning_rate": Rule(lambda v: v is None or FROM_ZERO.valid(v), "0, a positive number, or None"),
    "between_problems": optional(one_of(*BETWEEN)),
    "freeze_after": Rule(optional(SEED).valid, "the number of a problem, or None"),
    "property_learning_rate": Rule(
        _rate_of_properties,
        "0, a positive number, a mapping from properties to such numbers, 'uniform', or None",
    ),
    "l2": Rule(_one_or_each, "0, a positive number, or a mapping from weight matrices to such numbers"),
    **dict.fromkeys(("beta1", "beta2"), Rule(lambda v: is_number(v) and 0 <= v < 1, "a number from 0 to below 1")),
    "consolidation": Rule(
        lambda v: all(map(_share, v.values() if isinstance(v, Mapping) else [v])),
        "a number from 0 to 1, 'mean', or a mapping from parameters to these",
    ),
    "reset_optimizer": one_of("all", "first_moment", "none"),
    "dtype": one_of("float32", "float64"),
    "device": Rule(
        _device,
        "the name of a device that torch can use here: 'cpu', or 'cuda' with a GPU and a CUDA build of torch",
    ),
    "frozen": Rule(
        lambda v: is_list(v) and all(isinstance(name, str) for name in v), "a list of names of parameters, as ['bias']"
    ),
    "record": Rule(lambda v: isinstance(v, Mapping), f"a mapping with {' or '.join(map(repr, RECORD))}"),
    "problems_order": Rule(
        lambda v: v is None or (each(SEED, "").valid(v) and not isinstance(v, (set, frozenset))),
        "a list of whole numbers from 0, or None",
    ),
}
RECORD_RULES: dict[str, Rule] = {
    "trajectories": COUNT,
    **dict.fromkeys(("checkpoints", "half_precision"), FLAG),
    "kept": Rule(lambda v: v is None or each(SEED, "").valid(v), "numbers of problems, or None"),
    "interval": Rule(FROM_ZERO.valid, "0 or a positive number of seconds"),
}


def resolve(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a model, the given ones over its defaults.

    Raises
    ------
    TypeError
        For an unknown option; the message lists the known ones.
    ValueError
        For an unknown model or a value that is not valid; the message says what is.

    Examples
    --------
    >>> resolve("spiking", {"neurons": 50})["neurons"]
    50
    """
    known("model", model, DEFAULTS)
    if not isinstance(given, Mapping):
        raise TypeError(f"given: {given!r} is not valid; give a mapping of options to values")
    unknown = sorted(set(given) - set(DEFAULTS[model]), key=str)
    if unknown:
        there = f"it has {', '.join(sorted(DEFAULTS[model]))}{hint(unknown[0], DEFAULTS[model])}"
        of_family = any(unknown[0] in (f.name for f in fields(cls)) for cls in FAMILIES.values())
        cure = f"that is for the family: ip2lab.family(NAME, {unknown[0]}=...)" if of_family else there
        raise TypeError(f"the model {model!r} has no option {unknown[0]!r}; {cure}")
    preset = PRESETS.get(given.get("preset") or "", {})
    options = DEFAULTS[model] | preset | {name: plain(value) for name, value in given.items()}
    obey(RULES | network_class(model).rules, options)
    if options["max_trials"] <= options["window"]:
        raise ValueError(
            f"max_trials: {options['max_trials']} trials cannot hold a window of {options['window']}; give more"
        )
    affordable("neurons", options["neurons"], WEIGHT_COPIES * float(options["neurons"]) ** 2)
    affordable("max_trials", options["max_trials"], TRIAL_BYTES * float(options["max_trials"]))
    if isinstance(options.get("start"), Mapping):
        start = {name: in_order(f"start: {name}", v, options["neurons"]) for name, v in options["start"].items()}
        options["start"] = {name: plain(values) for name, values in start.items()}
    unknown = sorted(set(options["record"]) - set(RECORD), key=str)
    if unknown:
        there = f"there is {', '.join(RECORD)}{hint(unknown[0], RECORD)}"
        raise TypeError(f"record: there is no {unknown[0]!r}; {there}")
    record = RECORD | {name: plain(value) for name, value in options["record"].items()}
    obey(RECORD_RULES, record, "record.")
    return options | {"record": record}


def learnable_names(model: str, learnable: Any, adaptation: bool = False, seed: int = 0) -> tuple[str, ...]:
    """Return the names of the properties that learn, in the order of the table; `learnable` is that of `train`.

    Examples
    --------
    >>> learnable_names("spiking", "default"), learnable_names("rate", "default"), learnable_names("rate", None)
    (('bias', 'tau_dendrite', 'tau_soma', 'threshold'), ('bias',), ())
    """
    known("model", model, DEFAULTS)
    if isinstance(learnable, xr.Dataset):
        learnable = _decision(learnable)
    has = properties_of(model, adaptation)
    if learnable is None:
        return ()
    if isinstance(learnable, str):
        if learnable in ("default", "all", "random"):
            return _named_subset(learnable, model, has, seed)
        learnable = (learnable,)
    if not isinstance(learnable, Iterable):
        wanted = "'default', None, 'all', 'random', a name or names of properties, or what search_plasticity returned"
        raise TypeError(f"learnable: {learnable!r} is not valid; give {wanted}")
    names = tuple(islice(learnable, MANY))
    for name in names:
        _check_property(model, name, properties_of(model, adaptation, PROPERTIES))
    return tuple(name for name in PROPERTIES if name in names)


def _check_property(model: str, name: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError where a network of `model` cannot have a property."""
    if not isinstance(name, str) or name not in PROPERTIES:
        raise ValueError(
            f"learnable: unknown property {name!r}; known: {', '.join(PROPERTIES)}{hint(name, PROPERTIES)}"
        )
    if name not in allowed:
        row = PROPERTIES[name]
        cure = "; give adaptation=True for it" if row.needs == "adaptation" and model in row.models else ""
        has = ", ".join(allowed) or "none"
        raise ValueError(f"learnable: this network has no property {name!r}; it has {has}{cure}")


def _named_subset(word: str, model: str, has: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """Return the properties that a word stands for."""
    if word == "all":
        return has
    if word == "random" and has:  # every subset but the empty one is as likely
        drawn = np.random.default_rng([seed, MASK]).integers(1, 2 ** len(has))
        return tuple(name for k, name in enumerate(has) if drawn >> k & 1)
    return network_class(model).default_learnable if word == "default" else ()


def _decision(search: xr.Dataset) -> tuple[str, ...]:
    """Return what a search over configurations has decided."""
    if "decision" not in search.attrs:
        raise ValueError("learnable: this dataset has no attribute 'decision'; give what search_plasticity returned")
    return tuple(search.attrs["decision"])


def rates_by_parameter(
    options: Mapping[str, Any], learnable: Iterable[str], parameters: Iterable[str]
) -> dict[str, float]:
    """Return the learning rate of every parameter that learns, by its name in the network."""
    base, learnable = options["learning_rate"], tuple(learnable)
    output = OUTPUT_FACTOR * base if options["output_learning_rate"] is None else options["output_learning_rate"]
    by_property = _rates_by_property(options["property_learning_rate"], learnable, base)
    short = {name.removeprefix("free."): name for name in parameters}
    for option in ("frozen", "l2", "consolidation"):
        names = () if isinstance(options[option], (float, int, str)) else options[option]
        wrong = sorted(set(names) - set(short), key=str)
        if wrong:
            there = f"known: {', '.join(sorted(short))}{hint(wrong[0], short)}"
            raise ValueError(f"{option}: {wrong[0]!r} is unknown; {there}")
    rates = {}
    for name, whole_name in short.items():
        if name != whole_name:  # a property
            rates[whole_name] = by_property.get(name, 0.0)
        else:
            rates[whole_name] = output if name.startswith("output") else base
    frozen = {short[name] for name in options["frozen"]}
    return {name: rate for name, rate in rates.items() if name not in frozen and rate > 0}


def consolidation_by_parameter(given: Any, learning: Iterable[str]) -> dict[str, Any]:
    """Return the `consolidation` of each parameter that learns and has a consolidated value of its own."""
    short = {name.removeprefix("free."): name for name in learning}
    shares = given if isinstance(given, Mapping) else {n: given for n, whole in short.items() if n != whole}
    return {short[name]: share for name, share in shares.items() if name in short and share != 1}


def _rates_by_property(given: Any, learnable: tuple[str, ...], base: float) -> dict[str, float]:
    """Return the learning rate of each property that learns; `given` is one for all, or one per property."""
    if given is not None and not isinstance(given, Mapping):
        return dict.fromkeys(learnable, UNIFORM_FACTOR * base if isinstance(given, str) else float(given))
    given = given or {}
    wrong = sorted(set(given) - set(learnable), key=str)
    if wrong:
        raise ValueError(
            f"property_learning_rate: {wrong[0]!r} does not learn; learnable: {', '.join(learnable) or 'nothing'}"
        )
    return {name: given.get(name, base * PROPERTIES[name].rate) for name in learnable}
