"""What a run consists of: one table from which datasets are built and by which stores are validated."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.networks import models
from ip2lab.properties import PROPERTIES, UnknownName
from ip2lab.records.chunks import MAX_CHUNK, Metadata, array_metadata, chunks_of, dtype_of

SCHEMA_VERSION = 1
MOST_NEURONS = 1_000_000  # their labels alone are in the way beyond
ATTRS = ("schema_version", "family", "model", "learnable", "seed", "config", "versions", "date", "complete", "title")


@dataclass(frozen=True)
class Variable:
    """What a variable is.

    ``dtype`` is numpy's name, "text", or "float" for the run's own precision. ``missing`` says where a number may
    be NaN: "never", "any", or in rows of "failed" problems. An ``optional`` variable is not in every run.
    """

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    missing: str = "never"
    optional: bool = False
    coordinate: bool = False


@dataclass(frozen=True)
class Group:
    """A group: its growing dim, how many rows of it a chunk takes, and its variables."""

    dim: str
    rows: int
    title: str
    variables: Mapping[str, Variable]


def _label(dim: str, dtype: str, units: str, long_name: str, optional: bool = False) -> Variable:
    return Variable((dim,), dtype, units, long_name, optional=optional, coordinate=True)


_PROBLEM = _label("problem", "int64", "1", "problem of the series")
_NEURON = _label("neuron", "int64", "1", "neuron")
_OUTPUT = _label("output", "text", "1", "output channel", optional=True)
_ROW = ("problem",)
_TRIAL = ("trial",)
_TRACE = ("problem", "probe", "time", "neuron")

GROUPS: Mapping[str, Group] = {
    "series": Group(
        dim="problem",
        rows=500,
        title="one row per problem",
        variables={
            "problem": _PROBLEM,
            "trials_to_criterion": Variable(_ROW, "float64", "1", "trials to criterion", "any"),
            "censored_trials": Variable(_ROW, "float64", "1", "trials to criterion at which it was given up", "any"),
            "trials": Variable(_ROW, "int64", "1", "trials presented"),
            "failed": Variable(_ROW, "bool", "1", "criterion not reached"),
            "failure_reason": Variable(_ROW, "text", "1", "why the criterion was not reached"),
            "loss": Variable(_ROW, "float64", "nats", "mean loss of the last window", "failed"),
            "accuracy": Variable(_ROW, "float64", "1", "share of correct trials in the last window", "failed"),
            "zero_shot_loss": Variable(_ROW, "float64", "nats", "loss before the first trial", "any"),
            "zero_shot_accuracy": Variable(_ROW, "float64", "1", "share correct before the first trial", "any"),
            "last_error": Variable(_ROW, "float64", "1", "last trial with an error", "any"),
            "firing_rate": Variable(_ROW, "float64", "Hz", "mean firing rate", "any"),
            "duration": Variable(_ROW, "float64", "s", "computing time"),
        },
    ),
    "trials": Group(
        dim="trial",
        rows=8192,
        title="one row per trial of the whole series",
        variables={
            "trial": _label("trial", "int64", "1", "trial of the whole series"),
            "loss": Variable(_TRIAL, "float64", "nats", "loss", "failed"),
            "response_loss": Variable(_TRIAL, "float64", "nats", "loss in the response period", "failed"),
            "correct": Variable(_TRIAL, "bool", "1", "fixation kept and response right"),
            "problem": Variable(_TRIAL, "int64", "1", "problem of the series"),
            "condition": Variable(_TRIAL, "int64", "1", "condition"),
        },
    ),
    "properties": Group(
        dim="problem",
        rows=50,
        title="intrinsic properties at the end of each problem; problem -1 is before learning",
        variables={"problem": _PROBLEM, "neuron": _NEURON},
    ),
    "trajectories": Group(
        dim="step",
        rows=100,
        title="intrinsic properties within problems",
        variables={
            "problem": _label("step", "int64", "1", "problem of the series"),
            "trial": _label("step", "int64", "1", "trial within the problem"),
            "neuron": _NEURON,
        },
    ),
    "weights": Group(
        dim="problem",
        rows=1,
        title="weights at the end of kept problems",
        variables={
            "problem": _PROBLEM,
            "neuron": _NEURON,
            "presynaptic": _label("presynaptic", "int64", "1", "presynaptic neuron", optional=True),
            "input": _label("input", "text", "1", "input channel", optional=True),
            "output": _OUTPUT,
        },
    ),
    "activity": Group(
        dim="problem",
        rows=1,
        title="one noise-free probe trial per condition after kept problems",
        variables={
            "problem": _PROBLEM,
            "condition": _label("probe", "int64", "1", "condition"),
            "stimulus": _label("probe", "text", "1", "stimulus"),
            "response": _label("probe", "text", "1", "correct response"),
            "context": _label("probe", "text", "1", "context"),
            "repeat": _label("probe", "int64", "1", "repeat of the condition"),
            "time": _label("time", "float64", "ms", "time from the start of the trial"),
            "epoch": _label("time", "text", "1", "epoch of the trial"),
            "neuron": _NEURON,
            "output": _label("output", "text", "1", "output channel"),
            "spikes": Variable(_TRACE, "bool", "1", "spikes", optional=True),
            "membrane": Variable(_TRACE, "float", "1", "membrane potential", "failed", optional=True),
            "dendrite": Variable(_TRACE, "float", "1", "dendritic potential", "failed", optional=True),
            "activity": Variable(_TRACE, "float", "1", "activity", "failed", optional=True),
            "adaptation": Variable(_TRACE, "float", "1", "adaptation", "failed", optional=True),
            "readout": Variable((*_TRACE[:3], "output"), "float", "1", "probability of the output", "failed"),
        },
    ),
}
SIGNALS = {"spiking": ("spikes", "membrane", "dendrite")}  # what is recorded of a model's neurons; of others `activity`
TRACES = ("spikes", "membrane", "dendrite", "activity")  # of networks of other trainers, at least one of these
PROBE_LABELS = ("condition", "stimulus", "response", "context", "repeat")


def variable(group: str, name: str, dims: Sequence[str] = ()) -> Variable | None:
    """Return the table's row for a variable, None where there is none.

    Properties have the rows of their own table; weights have the names and `dims` that their network gives them.

    Examples
    --------
    >>> variable("series", "firing_rate").units, variable("properties", "tau_soma").dims
    ('Hz', ('problem', 'neuron'))
    """
    if name in GROUPS[group].variables:
        return GROUPS[group].variables[name]
    if group in ("properties", "trajectories") and name in PROPERTIES:
        row = PROPERTIES[name]
        return Variable((GROUPS[group].dim, "neuron"), "float", row.unit, row.label, "failed")
    if group == "weights" and name.isidentifier() and dims and dims[0] == "problem":
        return Variable(tuple(dims), "float", "1", name.replace("_", " "), "failed")
    return None


def misplaced(values: np.ndarray, missing: str, failed: np.ndarray) -> np.ndarray:
    """Mark the numbers that are not finite where a variable's `missing` says that they have to be.

    Examples
    --------
    >>> misplaced(np.array([1.0, np.nan, np.nan]), "failed", np.array([False, True, False])).tolist()
    [False, False, True]
    """
    if values.dtype.kind != "f":
        return np.zeros(values.shape, dtype=bool)
    wrong = np.isinf(values) if missing == "any" else ~np.isfinite(values)
    if missing == "failed":
        wrong[failed] = False
    return wrong


# ---- building -------------------------------------------------------------------------------------------------


def template(
    *,
    model: str,
    neurons: int,
    properties: Iterable[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    time: Sequence[float] | np.ndarray,
    epochs: Sequence[str] | np.ndarray,
    probes: Mapping[str, Any],
    weights: Mapping[str, Sequence[str] | Mapping[str, int]],
    adaptation: bool = False,
    signals: Iterable[str] | None = None,
    dtype: str = "float32",
) -> dict[str, xr.Dataset]:
    """Build the empty datasets of a run, one per group, with all labels in place.

    Parameters
    ----------
    model : str
        ``"spiking"`` records spikes, membrane and dendrite; every other model its ``activity``.
    neurons : int
        Number of neurons.
    properties : iterable of str
        The properties that the network has (names of :data:`ip2lab.PROPERTIES`), learnable or not.
    inputs, outputs : sequence of str
        Names of the channels: the coordinates ``input`` and ``output``.
    time : array of shape (time,)
        Start of each time step (ms), increasing.
    epochs : sequence of str
        The epoch that each time step belongs to.
    probes : mapping
        One label per probe trial under each of ``condition``, ``stimulus``, ``response``, ``context``, ``repeat``.
    weights : mapping
        Dims of each weight variable, out of ``neuron``, ``presynaptic``, ``input`` and ``output``; a mapping of dim
        to size where a network has dims of its own.
    adaptation : bool
        Whether the state of spike-frequency adaptation is recorded too.
    signals : iterable of str, optional
        What is recorded of a network of another trainer, in place of its ``activity``.
    dtype : str
        Of weights, properties and activity: ``"float32"`` or ``"float64"``.

    Returns
    -------
    dict of xarray.Dataset
        Keys as in :data:`GROUPS`. The growing dim has length 0. A variable's ``encoding`` may be set to store it
        in another precision: ``datasets["activity"]["membrane"].encoding["dtype"] = "float16"``.

    Raises
    ------
    ValueError, TypeError, KeyError
        An argument of another kind or length than described; it is named.

    Examples
    --------
    >>> probes = {"condition": [0, 1], "stimulus": ["1", "2"], "response": ["1", "2"], "context": ["", ""],
    ...           "repeat": [0, 0]}
    >>> datasets = template(model="spiking", neurons=3, properties=["tau_soma"], inputs=["fixation", "1"],
    ...                     outputs=["fixation", "1", "2"], time=[0, 20], epochs=["stimulus", "response"],
    ...                     probes=probes, weights={"input_weights": ("neuron", "input")})
    >>> list(datasets)
    ['series', 'trials', 'properties', 'trajectories', 'weights', 'activity']
    >>> dict(datasets["activity"].sizes)
    {'problem': 0, 'probe': 2, 'time': 2, 'neuron': 3, 'output': 3}
    >>> datasets["properties"]["tau_soma"].attrs["units"]
    'ms'
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
    if not isinstance(neurons, int | np.integer) or isinstance(neurons, bool) or not 1 <= neurons <= MOST_NEURONS:
        raise ValueError(f"neurons is {neurons!r}; expected a whole number from 1 to {MOST_NEURONS:,}")
    _check_kinds(properties=properties, probes=probes, weights=weights, adaptation=adaptation, model=model)
    labels = _labels(neurons, inputs, outputs, time, epochs, probes)
    sizes = {dim: len(labels[dim]) for dim in ("neuron", "presynaptic", "input", "output", "time")}
    sizes["probe"] = len(labels["condition"])
    for dims in weights.values():
        sizes |= {dim: size for dim, size in dims.items() if dim not in sizes} if isinstance(dims, Mapping) else {}
    recorded = [*(SIGNALS.get(model, ("activity",)) if signals is None else signals), *["adaptation"] * adaptation]
    specs = _choose(recorded, list(properties), weights)
    datasets = {group: _empty(group, rows, sizes, labels, dtype) for group, rows in specs.items()}
    datasets["trials"]["condition"].attrs["labels"] = _condition_labels(labels)
    return datasets


def _check_kinds(*, properties: Any, probes: Any, weights: Any, adaptation: Any, model: Any) -> None:
    wanted = {
        "model": (isinstance(model, str), "a word"),
        "properties": (isinstance(properties, Iterable) and not isinstance(properties, str), "names of properties"),
        "probes": (isinstance(probes, Mapping), "a mapping of labels"),
        "weights": (
            isinstance(weights, Mapping) and all(isinstance(dims, Iterable) for dims in weights.values()),
            "a mapping of names to dims",
        ),
        "adaptation": (isinstance(adaptation, bool | np.bool_), "True or False"),
    }
    given = locals()
    for name, (right, words) in wanted.items():
        if not right:
            raise TypeError(f"{name} is {given[name]!r}; expected {words}")


def _cast(name: str, values: Any, dtype: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {values!r}; expected a list of {'words' if dtype is str else 'numbers'}") from None


def _labels(
    neurons: int, inputs: Any, outputs: Any, time: Any, epochs: Any, probes: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Check the labels of all dims and return them as arrays."""
    lacking = [name for name in PROBE_LABELS if name not in probes]
    if lacking:
        raise UnknownName(f"probes lacks {lacking[0]!r}; expected labels under {', '.join(PROBE_LABELS)}")
    text = {"input": inputs, "output": outputs, "epoch": epochs, **{name: probes[name] for name in PROBE_LABELS[1:4]}}
    numbers = {"condition": probes["condition"], "repeat": probes["repeat"]}
    labels = {"neuron": np.arange(neurons), "presynaptic": np.arange(neurons), "time": _cast("time", time, float)}
    labels |= {name: _cast(name, values, str) for name, values in text.items()}
    labels |= {name: _cast(name, values, "int64") for name, values in numbers.items()}
    _check_labels(labels)
    return labels


def _check_labels(labels: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless labels fit their dims, times increase, and channels have names of their own."""
    for name, values in labels.items():
        partner = "time" if name == "epoch" else "condition" if name in PROBE_LABELS else name
        if values.ndim != 1 or values.shape != labels[partner].shape:
            raise ValueError(f"{name} has shape {values.shape}; expected one label for each {partner}")
    if not (np.isfinite(labels["time"]).all() and (np.diff(labels["time"]) > 0).all()):
        raise ValueError(f"time is {labels['time']}; expected increasing numbers (ms)")
    for name in ("input", "output"):
        if len(set(labels[name])) < len(labels[name]):
            raise ValueError(f"{name}s are {list(map(str, labels[name]))}; expected a name of its own for each channel")


def _choose(
    signals: Iterable[str], properties: list[str], weights: Mapping[str, Any]
) -> dict[str, dict[str, Variable]]:
    """Choose which variables the run has in each group."""
    wanted = {*signals, *(dim for dims in weights.values() for dim in dims)}
    own: dict[str, dict[str, Sequence[str]]] = {group: {} for group in GROUPS}
    own["properties"] = own["trajectories"] = {PROPERTIES[name].name: () for name in properties}
    own["weights"] = {name: ("problem", *dims) for name, dims in weights.items()}
    chosen: dict[str, dict[str, Variable]] = {}
    for group, rows in GROUPS.items():
        chosen[group] = {name: row for name, row in rows.variables.items() if not row.optional or name in wanted}
        for name, dims in own[group].items():
            row = variable(group, name, dims)
            if row is None or row.coordinate:
                raise ValueError(f"weights has the name {name!r}; expected an identifier that is no dim's name")
            chosen[group][name] = row
    return chosen


def _empty(
    group: str, rows: Mapping[str, Variable], sizes: Mapping[str, int], labels: Mapping[str, np.ndarray], dtype: str
) -> xr.Dataset:
    """Build one dataset whose growing dim has length 0."""
    sizes = {**sizes, GROUPS[group].dim: 0}
    built = {}
    for name, row in rows.items():
        unknown = [dim for dim in row.dims if dim not in sizes]
        if unknown:
            raise ValueError(
                f"weights {name!r} has the dim {unknown[0]!r}; expected neuron, presynaptic, input or output, "
                "or a mapping of dim to size"
            )
        kind = {"text": "str", "float": dtype}.get(row.dtype, row.dtype)
        grows = GROUPS[group].dim in row.dims
        values = np.zeros([sizes[dim] for dim in row.dims], dtype=kind) if grows else labels[name].astype(kind)
        built[name] = xr.Variable(row.dims, values, {"units": row.units, "long_name": row.long_name})
    coords = {name: built.pop(name) for name, row in rows.items() if row.coordinate}
    return xr.Dataset(built, coords, {"title": GROUPS[group].title})


def _condition_labels(labels: Mapping[str, np.ndarray]) -> list[str]:
    """Name each condition by its stimulus, context and response."""
    named = {}
    columns = [labels[name].tolist() for name in PROBE_LABELS[:4]]
    for condition, stimulus, response, context in zip(*columns, strict=True):
        named[condition] = f"{', '.join(filter(None, (stimulus, context)))} -> {response}"
    return [named[condition] for condition in sorted(named)]


def chunk_shape(group: str, dims: Sequence[str], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Choose the chunks of an array: the group's rows of a growing dim, all of other dims, cut where that is large.

    Numbers that are one a row take at least 1000 rows: many files of a few bytes would be slow to read.

    Examples
    --------
    >>> chunk_shape("activity", ("problem", "probe", "time", "neuron"), (0, 2, 100, 50), 4)
    (1, 2, 100, 50)
    >>> chunk_shape("activity", ("problem",), (0,), 8)
    (1000,)
    >>> chunk_shape("weights", ("problem", "neuron", "presynaptic"), (0, 10000, 10000), 4)
    (1, 2500, 2500)
    """
    grows, rows = GROUPS[group].dim, GROUPS[group].rows if len(dims) > 1 else max(GROUPS[group].rows, 1000)
    chunk = [rows if dim == grows else max(size, 1) for dim, size in zip(dims, shape, strict=True)]
    while math.prod(chunk) * itemsize > MAX_CHUNK // 2:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)


# ---- validating -----------------------------------------------------------------------------------------------


def check_nodes(nodes: Mapping[str, Metadata], model: str) -> None:
    """Raise ValueError, which says where and what was expected, unless metadata are those of a run.

    Parameters
    ----------
    nodes : mapping
        ``zarr.json`` of each group and array, keyed by path.
    model : str
        The model that was run.
    """
    for group in GROUPS:
        if not isinstance(nodes.get(group), dict) or nodes[group].get("node_type") != "group":
            raise ValueError(f"/{group}: the group is missing")
    sizes: dict[str, tuple[int, str]] = {}
    for key, data in nodes.items():
        group, _, name = key.partition("/")
        if group not in GROUPS:
            raise ValueError(f"/{key}: unknown; a run has the groups {', '.join(GROUPS)}")
        if name:
            _check_array(group, name, data)
            _check_sizes(group, name, data, sizes)
    check_present(nodes, model)
    for group in GROUPS:
        _check_coordinates(group, nodes)


def check_present(names: Container[str], model: str) -> None:
    """Raise ValueError, naming it, where a variable that every run of a model has is not among `names` (GROUP/NAME)."""
    foreign = model not in models() and any(f"activity/{name}" in names for name in TRACES)
    required = {"activity": () if foreign else SIGNALS.get(model, ("activity",))}
    for group, rows in GROUPS.items():
        for name, row in rows.variables.items():
            if f"{group}/{name}" not in names and (not row.optional or name in required.get(group, ())):
                raise ValueError(f"/{group}: the variable {name!r} ({', '.join(row.dims)}; {row.units}) is missing")


def _check_array(group: str, name: str, data: Any) -> None:
    """Compare an array's metadata with the table and with the one way in which arrays are stored."""
    where = f"/{group}/{name}"
    try:
        dims, shape, chunks, attrs, dtype = (
            tuple(data["dimension_names"]),
            data["shape"],
            chunks_of(data),
            dict(data["attributes"]),
            dtype_of(data),
        )
        stored = array_metadata(tuple(shape), dtype, chunks, dims=dims, attrs=attrs)
        row = variable(group, name, dims)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: its metadata cannot be read ({type(error).__name__}: {error})") from None
    if row is None:
        raise ValueError(f"{where}: unknown variable with the dims {', '.join(map(str, dims))}")
    kind = {"text": "string", "float": data["data_type"] if dtype.kind == "f" else "float32"}.get(row.dtype, row.dtype)
    comparisons: Iterable[tuple[str, Any, Any]] = (
        ("dims", dims, row.dims),
        ("dtype", data["data_type"], kind),
        ("units", attrs.get("units"), row.units),
        ("long_name is", type(attrs.get("long_name")).__name__, "str"),  # its wording may change between releases
        ("further attributes", sorted(map(str, set(attrs) - {"units", "long_name", "labels"})), []),
        *((key, data.get(key), stored.get(key)) for key in {**stored, **data}),
    )
    compare(where, comparisons)
    _check_shape(where, shape, chunks, dims)
    if math.prod(chunks) * dtype.itemsize > MAX_CHUNK:
        raise ValueError(f"{where}: its chunks of shape {chunks} are larger than the {MAX_CHUNK} bytes of a run's")


def compare(where: str, comparisons: Iterable[tuple[str, Any, Any]]) -> None:
    """Raise ValueError for the first of (what, found, expected) that is not as expected."""
    for what, found, expected in comparisons:
        if found != expected:
            raise ValueError(f"{where}: its {what}: {found!r}; expected {expected!r}")


def _check_shape(where: str, shape: Sequence[Any], chunks: Sequence[Any], dims: Sequence[str]) -> None:
    """Raise ValueError unless there is a size and a chunk size, both whole numbers, for each dim."""
    whole = all(type(number) is int for number in (*shape, *chunks)) and all(chunk > 0 for chunk in chunks)
    if not whole or not len(dims) == len(shape) == len(chunks) or min(shape) < 0:
        raise ValueError(f"{where}: its shape is {shape} in chunks of {chunks}; expected as many whole numbers as dims")


def _check_sizes(group: str, name: str, data: Metadata, sizes: dict[str, tuple[int, str]]) -> None:
    """Compare the size of each dim with that of the variables before; only growing dims differ between groups."""
    for dim, size in zip(data["dimension_names"], data["shape"], strict=True):
        key = f"{group}/{dim}" if dim == GROUPS[group].dim else dim
        before, other = sizes.setdefault(key, (size, f"/{group}/{name}"))
        if before != size:
            raise ValueError(f"/{group}/{name}: the dim {dim!r} has {size} entries; expected {before}, as in {other}")


def _check_coordinates(group: str, nodes: Mapping[str, Metadata]) -> None:
    """Check that what is marked as a coordinate of the group is what the table says."""
    rows = GROUPS[group].variables
    expected = {name for name, row in rows.items() if row.coordinate and row.dims != (name,)}
    attrs = nodes[group].get("attributes")
    marked = attrs.get("coordinates", "") if isinstance(attrs, dict) else None
    if not isinstance(marked, str) or set(marked.split()) != expected:
        raise ValueError(f"/{group}: its coordinates are {marked!r}; expected {' '.join(sorted(expected))!r}")
