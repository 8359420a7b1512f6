"""The options of :func:`ip2lab.train`: one table of defaults, one place where they are checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab.networks.spiking import ADAPTATION_PROPERTIES, PAPER_PROPERTIES
from ip2lab.properties import PROPERTIES, hint, in_order
from ip2lab.tasks.base import FAMILIES

COMMON: dict[str, Any] = {
    "neurons": 100,
    "dt": 20.0,
    "device": "cpu",
    "dtype": "float32",
    "property_learning_rate": None,
    "output_learning_rate": None,
    "beta1": 0.3,
    "clip": 1.0,
    "reset_optimizer": "first_moment",
    "l2": {},
    "rate_target": 5.0,
    "rate_weight": 0.0,
    "frozen": (),
    "freeze_after": None,
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
    "spiking": COMMON
    | {
        "start": "homogeneous",
        "noise": 0.05,
        "autapses": False,
        "adaptation": False,
        "input_gain": 12.0,
        "recurrent_gain": 1.5,
        "refractory": 0.0,
        "readout": "spikes",
        "spiking": True,
        "recurrent": True,
        "learning_rate": 0.004,
    },
    "rate": COMMON
    | {
        "start": "homogeneous",
        "noise": 0.0224,
        "input_gain": 6.0,
        "recurrent_gain": 1.0,
        "learning_rate": 6e-4,
        "output_learning_rate": 6e-4,
        "reset_optimizer": "all",
        "l2": {"input_weights": 1e-4, "output_weights": 0.1},
        "singular_values": 0,
        "rate_weight": 5e-4,
        "rate_target": None,
        "preset": None,
    },
    "attention": COMMON | {"heads": 4, "input_gain": 1.0, "learning_rate": 1e-3, "output_learning_rate": 1e-3},
    "filters": COMMON | {"filters": (50.0, 200.0, 800.0, 3200.0), "learning_rate": 0.05, "output_learning_rate": 0.05},
}
PRESETS: dict[str, dict[str, Any]] = {
    "goudar2023": {
        "dt": 1.0,
        "input_gain": 1.0,
        "learning_rate": 1e-4,
        "output_learning_rate": 1e-4,
        "l2": {"input_weights": 1e-4, "output_weights": 0.1, "recurrent_weights": 1e-3},
        "singular_values": 10,
        "max_trials": 20000,
    }
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
HAS: dict[str, tuple[str, ...]] = {
    "spiking": PAPER_PROPERTIES,
    "rate": ("tau",),
    "attention": (),
    "filters": (),
}  # properties of every network of a model
MANY = 100_000  # entries of a list that an argument may have
WEIGHT_COPIES = 32.0  # bytes a recurrent weight: itself, its gradient, two moments, what is undone, what is stored
TRIAL_BYTES = 40.0  # of a problem: loss, response loss, correctness, rate, condition
MASK = 5  # random stream of learnable="random"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return _number(value) and 0 < value < float("inf")


def _from_zero(value: Any) -> bool:
    return _number(value) and 0 <= value < float("inf")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _one_or_each(value: Any) -> bool:
    each = value.values() if isinstance(value, Mapping) else [value]
    return all(map(_from_zero, each))


def _many(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset, range)) and len(value) <= MANY


def _device(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(torch.empty(0, device=value).device)
    except (RuntimeError, AssertionError):  # no such device, or torch was built without it
        return False


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in names, " or ".join(map(repr, names))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("neurons", "max_trials"), (_whole, "a positive whole number")),
    **dict.fromkeys(("dt", "learning_rate", "criterion"), (_positive, "a positive number")),
    **dict.fromkeys(
        ("noise", "input_gain", "recurrent_gain", "refractory", "clip", "rate_weight"),
        (_from_zero, "0 or a positive number"),
    ),
    "rate_target": (lambda v: v is None or _from_zero(v), "0, a positive number, or None"),
    "singular_values": (_seed, "a whole number from 0"),
    "heads": (_whole, "a positive whole number"),
    "filters": (lambda v: _many(v) and all(map(_positive, v)), "time constants in ms"),
    "preset": (lambda v: v is None or v in PRESETS, " or ".join(map(repr, PRESETS))),
    "between_problems": (lambda v: v is None or (isinstance(v, str) and v in BETWEEN), " or ".join(map(repr, BETWEEN))),
    **dict.fromkeys(
        ("autapses", "adaptation", "spiking", "recurrent"), (lambda v: isinstance(v, bool), "True or False")
    ),
    **dict.fromkeys(
        ("network_seed", "problem_seed"), (lambda v: v is None or _seed(v), "a whole number from 0, or None")
    ),
    "window": (_whole, "a positive whole number"),
    "freeze_after": (lambda v: v is None or _seed(v), "the number of a problem, or None"),
    "output_learning_rate": (lambda v: v is None or _from_zero(v), "0, a positive number, or None"),
    "property_learning_rate": (
        lambda v: v is None or (isinstance(v, str) and v == "uniform") or _one_or_each(v),
        "0, a positive number, a mapping from properties to such numbers, 'uniform', or None",
    ),
    "l2": (_one_or_each, "0, a positive number, or a mapping from weight matrices to such numbers"),
    "beta1": (lambda v: _number(v) and 0 <= v < 1, "a number from 0 to below 1"),
    "reset_optimizer": _one_of("all", "first_moment", "none"),
    "readout": _one_of("spikes", "membrane"),
    "dtype": _one_of("float32", "float64"),
    "device": (
        _device,
        "the name of a device that torch can use here: 'cpu', or 'cuda' with a GPU and a CUDA build of torch",
    ),
    "frozen": (
        lambda v: _many(v) and all(isinstance(name, str) for name in v),
        "a list of names of parameters, as ['bias']",
    ),
    "record": (lambda v: isinstance(v, Mapping), f"a mapping with {' or '.join(map(repr, RECORD))}"),
    "problems_order": (
        lambda v: v is None or (_many(v) and not isinstance(v, (set, frozenset)) and all(map(_seed, v))),
        "a list of whole numbers from 0, or None",
    ),
    "start": (
        lambda v: isinstance(v, (str, Mapping)),
        "'homogeneous', 'heterogeneous', 'short', 'long', or a mapping from properties to values",
    ),
}
_RECORD_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "trajectories": (_whole, "a positive whole number"),
    **dict.fromkeys(("checkpoints", "half_precision"), (lambda v: isinstance(v, bool), "True or False")),
    "kept": (lambda v: v is None or (_many(v) and all(map(_seed, v))), "numbers of problems, or None"),
    "interval": (_from_zero, "0 or a positive number of seconds"),
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
    _check_model(model)
    if not isinstance(given, Mapping):
        raise TypeError(f"given: {given!r} is not valid; give a mapping of options to values")
    unknown = sorted(set(given) - set(DEFAULTS[model]), key=str)
    if unknown:
        known = f"it has {', '.join(sorted(DEFAULTS[model]))}{hint(unknown[0], DEFAULTS[model])}"
        of_family = any(unknown[0] in (f.name for f in fields(cls)) for cls in FAMILIES.values())
        cure = f"that is for the family: ip2lab.family(NAME, {unknown[0]}=...)" if of_family else known
        raise TypeError(f"the model {model!r} has no option {unknown[0]!r}; {cure}")
    preset = PRESETS.get(given.get("preset") or "", {})
    options = DEFAULTS[model] | preset | {name: _plain(value) for name, value in given.items()}
    _obey(_RULES, options, "")
    if options["max_trials"] <= options["window"]:
        raise ValueError(
            f"max_trials: {options['max_trials']} trials cannot hold a window of {options['window']}; give more"
        )
    affordable("neurons", options["neurons"], WEIGHT_COPIES * float(options["neurons"]) ** 2)
    affordable("max_trials", options["max_trials"], TRIAL_BYTES * float(options["max_trials"]))
    if isinstance(options.get("start"), Mapping):
        start = {name: in_order(f"start: {name}", v, options["neurons"]) for name, v in options["start"].items()}
        options["start"] = {name: _plain(values) for name, values in start.items()}
    unknown = sorted(set(options["record"]) - set(RECORD), key=str)
    if unknown:
        known = f"there is {', '.join(RECORD)}{hint(unknown[0], RECORD)}"
        raise TypeError(f"record: there is no {unknown[0]!r}; {known}")
    record = RECORD | {name: _plain(value) for name, value in options["record"].items()}
    _obey(_RECORD_RULES, record, "record.")
    return options | {"record": record}


def _check_model(model: Any) -> None:
    if not isinstance(model, str) or model not in DEFAULTS:
        raise ValueError(f"model: {model!r} is unknown; known: {', '.join(DEFAULTS)}{hint(model, DEFAULTS)}")


def _plain(value: Any) -> Any:
    """Turn numbers and lists of numpy's into Python's; ``for seed in np.arange(5)`` gives whole numbers too."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _obey(rules: Mapping[str, tuple[Callable[[Any], bool], str]], options: Mapping[str, Any], prefix: str) -> None:
    for name, (valid, wanted) in rules.items():
        if name in options and not valid(options[name]):
            raise ValueError(f"{prefix}{name}: {options[name]!r} is not valid; give {wanted}")


def whole(name: str, value: Any, least: int) -> int:
    """Return `value` where it is a whole number from `least`, or raise ValueError."""
    value = _plain(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} is not valid; give a whole number from {least}")
    return value


def several(name: str, values: Any, wanted: str) -> list[Any]:
    """Return `values` as a list where they are several, or raise TypeError."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: {values!r} is not valid; give a list of {wanted}")
    found = list(islice(np.atleast_1d(values) if isinstance(values, np.ndarray) else values, MANY + 1))
    if len(found) > MANY:
        raise ValueError(f"{name}: more than {MANY:,} {wanted}; give fewer")
    return found


def flag(name: str, value: Any) -> bool:
    """Return `value` where it is True or False, or raise TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: {value!r} is not valid; give True or False")
    return bool(value)


def from_zero(name: str, value: Any) -> float:
    """Return `value` where it is 0 or a positive number, or raise ValueError."""
    value = _plain(value)
    if not _from_zero(value):
        raise ValueError(f"{name}: {value!r} is not valid; give 0 or a positive number")
    return float(value)


def affordable(name: str, value: Any, size: float) -> None:
    """Raise ValueError where what `value` asks for takes more bytes than this machine has memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a system that tells
        memory = 2**40
    if size > memory:
        came = f"{value!r} take {size / 1e9:.3g} GB of memory; this machine has {memory / 1e9:.3g}"
        raise ValueError(f"{name}: {came}: give fewer")


def learnable_names(model: str, learnable: Any, adaptation: bool = False, seed: int = 0) -> tuple[str, ...]:
    """Return the names of the properties that learn; see `learnable` of :func:`ip2lab.train`."""
    _check_model(model)
    if isinstance(learnable, xr.Dataset):
        learnable = _decision(learnable)
    has = HAS[model] + (ADAPTATION_PROPERTIES if adaptation else ())
    if learnable is None or (isinstance(learnable, str) and learnable in ("default", "all", "random")):
        return _named_subset(learnable, model, has, seed)
    if isinstance(learnable, str):
        learnable = (learnable,)
    if not isinstance(learnable, Iterable):
        wanted = "'default', None, 'all', 'random', a name or names of properties, or what search_plasticity returned"
        raise TypeError(f"learnable: {learnable!r} is not valid; give {wanted}")
    names = tuple(islice(learnable, MANY))
    allowed = (*has, "gain") if model == "spiking" else has
    for name in names:
        if not isinstance(name, str) or name not in PROPERTIES:
            known = f"known: {', '.join(PROPERTIES)}{hint(name, PROPERTIES)}"
            raise ValueError(f"learnable: unknown property {name!r}; {known}")
        if name not in allowed:
            cure = "; give adaptation=True for it" if name in ADAPTATION_PROPERTIES and model == "spiking" else ""
            has_names = ", ".join(allowed) or "none"
            raise ValueError(f"learnable: this network has no property {name!r}; it has {has_names}{cure}")
    return tuple(dict.fromkeys(names))


def _named_subset(word: str | None, model: str, has: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """Return the properties that a word stands for."""
    if word is None:
        return ()
    if word == "all":
        return has
    if word == "random" and has:  # every subset but the empty one is as likely
        drawn = np.random.default_rng([seed, MASK]).integers(1, 2 ** len(has))
        return tuple(name for k, name in enumerate(has) if drawn >> k & 1)
    return PAPER_PROPERTIES if model == "spiking" and word == "default" else ()


def _decision(search: xr.Dataset) -> tuple[str, ...]:
    """Return what a search over configurations has decided."""
    if "decision" not in search.attrs:
        raise ValueError("learnable: this dataset has no attribute 'decision'; give what search_plasticity returned")
    return tuple(search.attrs["decision"])


def rates_by_parameter(
    options: Mapping[str, Any], learnable: Iterable[str], parameters: Iterable[str]
) -> dict[str, float]:
    """Return the learning rate of every parameter that learns, by its name in the network."""
    base = options["learning_rate"]
    output = OUTPUT_FACTOR * base if options["output_learning_rate"] is None else options["output_learning_rate"]
    given = options["property_learning_rate"]
    given = UNIFORM_FACTOR * base if isinstance(given, str) else given
    by_property = given if isinstance(given, Mapping) else {}
    wrong = sorted(set(by_property) - set(learnable), key=str)
    if wrong:
        raise ValueError(
            f"property_learning_rate: {wrong[0]!r} does not learn; learnable: {', '.join(learnable) or 'nothing'}"
        )
    frozen = set(options["frozen"])
    rates = {}
    for name in parameters:
        if name.startswith("free."):
            prop = name.removeprefix("free.")
            if prop not in learnable:
                continue
            default = base * PROPERTIES[prop].rate
            rates[name] = (
                by_property.get(prop, default) if given is None or isinstance(given, Mapping) else float(given)
            )
        else:
            rates[name] = output if name.startswith("output") else base
    short = {name.removeprefix("free.") for name in parameters}
    for option, names in (("frozen", frozen), ("l2", options["l2"] if isinstance(options["l2"], Mapping) else ())):
        wrong = sorted(set(names) - short, key=str)
        if wrong:
            known = f"known: {', '.join(sorted(short))}{hint(wrong[0], short)}"
            raise ValueError(f"{option}: {wrong[0]!r} is unknown; {known}")
    return {name: rate for name, rate in rates.items() if name.removeprefix("free.") not in frozen and rate > 0}
