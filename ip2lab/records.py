"""The run: its schema, and how it is written while it grows and read while it is written.

One table, :data:`GROUPS`, says which variables a run has, along which dims, in which unit. Datasets are built from
it (:func:`template`), rows are checked against it (:class:`Recorder`), stores are validated by it
(:func:`open_run`). The store is Zarr, version 3, and ``xarray.open_datatree(path, engine="zarr")`` alone reads it.

A commit writes chunks first and then replaces the root's ``zarr.json``, which holds the metadata of all arrays,
as a whole. Rows are only ever added, and a chunk that was filled in part is replaced whole, so a reader sees the
rows of one commit, whenever it looks, and a kill loses what was not committed and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata as packages
from types import TracebackType
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr

from ip2lab import storage
from ip2lab.properties import PROPERTIES
from ip2lab.storage import Folder, Lock, Memory, Metadata

SCHEMA_VERSION = 1
CHECKPOINT = ".checkpoint"
CHUNK = 2**25  # bytes of a chunk, about; larger ones are cut along their longest dim


# ---- the schema -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variable:
    """One row of the table: what a variable is.

    ``dtype`` "float" is the run's own; ``missing`` says where a number may be NaN: "never", "any", or only in rows
    of "failed" problems. A ``coordinate`` labels a dim; an ``optional`` variable is not in every run.
    """

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    missing: str = "never"
    coordinate: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Group:
    """A group of the table: its growing dim, how many rows a chunk takes, and its variables."""

    dim: str
    rows: int
    title: str
    variables: Mapping[str, Variable] = field(default_factory=dict)

    @property
    def per_neuron(self) -> bool:
        """Whether the group has a variable for every property that the network has."""
        return "neuron" in self.variables and self.dim in ("problem", "step") and "time" not in self.variables


def _along(*dims: str, optional: bool = False, dtype: str = "float", units: str = "1", long_name: str = "", **rest: Any) -> Variable:
    return Variable(dims, dtype, units, long_name, optional=optional, **rest)


def _coordinate(dim: str, long_name: str, dtype: str = "int64", units: str = "1", optional: bool = False) -> Variable:
    return Variable((dim,), dtype, units, long_name, coordinate=True, optional=optional)


_PROBLEM = _coordinate("problem", "problem of the series")
_NEURON = _coordinate("neuron", "neuron")
_OUTPUT = _coordinate("output", "output channel", "text", optional=True)
_TRACE = ("problem", "probe", "time", "neuron")

GROUPS: Mapping[str, Group] = {
    "series": Group("problem", 500, "one row per problem", {
        "problem": _PROBLEM,
        "trials_to_criterion": Variable(("problem",), "float64", "1", "trials to criterion", "any"),
        "censored_trials": Variable(("problem",), "float64", "1", "trials after which the problem was given up", "any"),
        "trials": Variable(("problem",), "int64", "1", "trials presented"),
        "failed": Variable(("problem",), "bool", "1", "criterion not reached"),
        "failure_reason": Variable(("problem",), "text", "1", "why the problem failed"),
        "loss": Variable(("problem",), "float64", "nats", "mean loss of the last window", "failed"),
        "accuracy": Variable(("problem",), "float64", "1", "share of correct trials in the last window", "failed"),
        "zero_shot_loss": Variable(("problem",), "float64", "nats", "loss before the first trial", "any"),
        "zero_shot_accuracy": Variable(("problem",), "float64", "1", "share of correct conditions before the first trial", "any"),
        "last_error": Variable(("problem",), "float64", "1", "last trial with an error", "any"),
        "firing_rate": Variable(("problem",), "float64", "Hz", "mean firing rate", "any"),
        "duration": Variable(("problem",), "float64", "s", "computing time"),
    }),
    "trials": Group("trial", 8192, "one row per trial of the whole series", {
        "trial": _coordinate("trial", "trial of the whole series"),
        "loss": Variable(("trial",), "float64", "nats", "loss", "failed"),
        "response_loss": Variable(("trial",), "float64", "nats", "loss in the response period", "failed"),
        "correct": Variable(("trial",), "bool", "1", "fixation kept and response right"),
        "problem": Variable(("trial",), "int64", "1", "problem of the series"),
        "condition": Variable(("trial",), "int64", "1", "condition"),
    }),
    "properties": Group("problem", 50, "properties of the neurons at the end of each problem; -1 is before learning", {
        "problem": _PROBLEM,
        "neuron": _NEURON,
    }),
    "trajectories": Group("step", 100, "properties of the neurons within problems", {
        "problem": _coordinate("step", "problem of the series"),
        "trial": _coordinate("step", "trial within the problem"),
        "neuron": _NEURON,
    }),
    "weights": Group("problem", 1, "weights at the end of kept problems", {
        "problem": _PROBLEM,
        "neuron": _NEURON,
        "presynaptic": _coordinate("presynaptic", "presynaptic neuron", optional=True),
        "input": _coordinate("input", "input channel", "text", optional=True),
        "output": _OUTPUT,
    }),
    "activity": Group("problem", 1, "noise-free probe trials after kept problems", {
        "problem": _PROBLEM,
        "neuron": _NEURON,
        "output": _OUTPUT,
        "time": _coordinate("time", "time from the start of the trial", "float64", "ms"),
        "epoch": _coordinate("time", "epoch of the trial", "text"),
        "condition": _coordinate("probe", "condition"),
        "stimulus": _coordinate("probe", "stimulus", "text"),
        "response": _coordinate("probe", "correct response", "text"),
        "context": _coordinate("probe", "context", "text"),
        "repeat": _coordinate("probe", "repeat of the condition"),
        "spikes": Variable(_TRACE, "bool", "1", "spikes", optional=True),
        "membrane": Variable(_TRACE, "float", "1", "membrane potential", "failed", optional=True),
        "dendrite": Variable(_TRACE, "float", "1", "dendritic potential", "failed", optional=True),
        "activity": Variable(_TRACE, "float", "1", "activity", "failed", optional=True),
        "adaptation": Variable(_TRACE, "float", "1", "adaptation", "failed", optional=True),
        "readout": Variable((*_TRACE[:3], "output"), "float", "1", "probability of the output", "failed"),
    }),
}
_LABELS = ("condition", "stimulus", "response", "context", "repeat")
_NEEDED = ("schema_version", "family", "model", "learnable", "seed", "config", "versions", "date", "complete", "title")


def _variable(group: str, name: str, dims: tuple[str, ...] = ()) -> Variable | None:
    """Return the table's row for a variable; weights have the names and dims that their network gives them."""
    if name in GROUPS[group].variables:
        return GROUPS[group].variables[name]
    if group in ("properties", "trajectories") and name in PROPERTIES:
        row = PROPERTIES[name]
        return Variable((GROUPS[group].dim, "neuron"), "float", row.unit, row.label, "failed")
    if group == "weights" and name.isidentifier():
        return Variable(dims, "float", "1", name.replace("_", " "), "failed")
    return None


def template(
    *,
    model: str,
    neurons: int,
    properties: Iterable[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    time: np.ndarray,
    epochs: Sequence[str],
    probes: Mapping[str, Sequence[Any]],
    weights: Mapping[str, Sequence[str]],
    adaptation: bool = False,
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
    time : numpy.ndarray
        Start of each time step (ms), increasing.
    epochs : sequence of str
        The epoch that each time step belongs to.
    probes : mapping
        One label per probe trial under each of ``condition``, ``stimulus``, ``response``, ``context``, ``repeat``.
    weights : mapping
        Dims of each weight variable, of ``neuron``, ``presynaptic``, ``input``, ``output``; a mapping of dim to size where
        a network has dims of its own.
    adaptation : bool
        Whether the state of spike-frequency adaptation is recorded too.
    dtype : str
        Of weights, properties and activity.

    Returns
    -------
    dict of xarray.Dataset
        Keys as in :data:`GROUPS`. The growing dim has length 0. A variable's ``encoding`` may be set to store it
        otherwise, as in ``template["activity"]["membrane"].encoding["dtype"] = "float16"``.

    Examples
    --------
    >>> probes = {"condition": [0, 1], "stimulus": ["1", "2"], "response": ["1", "2"], "context": ["", ""], "repeat": [0, 0]}
    >>> datasets = template(model="spiking", neurons=3, properties=["tau_soma"], inputs=["fixation", "1"],
    ...                     outputs=["fixation", "1", "2"], time=[0.0, 20.0], epochs=["stimulus", "response"], probes=probes,
    ...                     weights={"input_weights": ("neuron", "input")})
    >>> list(datasets)
    ['series', 'trials', 'properties', 'trajectories', 'weights', 'activity']
    >>> dict(datasets["activity"].sizes)
    {'problem': 0, 'neuron': 3, 'output': 3, 'time': 2, 'probe': 2}
    >>> datasets["properties"]["tau_soma"].attrs["units"]
    'ms'
    """
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"dtype {dtype!r} is not one of numbers with a fraction; give 'float32' or 'float64'")
    labels = {
        "neuron": np.arange(neurons),
        "presynaptic": np.arange(neurons),
        "input": list(inputs),
        "output": list(outputs),
        "time": np.asarray(time, dtype=float),
        "epoch": list(epochs),
        **{name: list(probes[name]) for name in _LABELS},
    }
    states = ["spikes", "membrane", "dendrite"] if model == "spiking" else ["activity"]
    names = {group: [n for n, v in rows.variables.items() if not v.optional] for group, rows in GROUPS.items()}
    names["properties"] += [PROPERTIES[name].name for name in properties]
    names["trajectories"] += names["properties"][2:]
    names["activity"] = [*names["activity"], *states, *(["adaptation"] if adaptation else []), "output"]
    sizes = {dim: len(labels[dim]) for dim in ("neuron", "presynaptic", "input", "output", "time")}
    sizes["probe"] = len(labels["condition"])
    own = {dim: size for dims in weights.values() if isinstance(dims, Mapping) for dim, size in dims.items()}
    used = {dim for dims in weights.values() for dim in dims}
    names["weights"] += [*weights, *(dim for dim in ("presynaptic", "input", "output") if dim in used)]
    datasets = {}
    for group, rows in GROUPS.items():
        specs = {name: _variable(group, name, (rows.dim, *weights.get(name, ()))) for name in names[group]}
        order = [*rows.variables, *names[group]]
        specs = dict(sorted(specs.items(), key=lambda item: order.index(item[0])))
        datasets[group] = _empty(group, specs, {**own, **sizes}, labels, dtype)
    conditions = dict(zip(labels["condition"], zip(*(labels[n] for n in _LABELS[1:4]), strict=True), strict=True))
    datasets["trials"]["condition"].attrs["labels"] = [
        f"{', '.join(filter(None, (stimulus, context)))} -> {response}" for _, (stimulus, response, context) in sorted(conditions.items())
    ]
    return datasets


def _empty(group: str, specs: Mapping[str, Any], sizes: Mapping[str, int], labels: Mapping[str, Any], dtype: str) -> xr.Dataset:
    """Build one dataset with a growing dim of length 0."""
    grows = GROUPS[group].dim
    variables = {}
    for name, spec in specs.items():
        unknown = [dim for dim in spec.dims if dim != grows and dim not in sizes]
        if unknown:
            raise ValueError(f"weights {name!r}: unknown dim {unknown[0]!r}; known: {', '.join(sizes)}; give a mapping of dim to size for others")
        kind = _dtype(spec, dtype)
        shape = tuple(0 if dim == grows else sizes[dim] for dim in spec.dims)
        values = np.zeros(shape, dtype=kind) if grows in spec.dims else np.array(labels[name], dtype=kind)
        if values.shape != shape:
            raise ValueError(f"{name!r} has shape {values.shape}; expected {dict(zip(spec.dims, shape, strict=True))}")
        variables[name] = xr.Variable(spec.dims, values, {"units": spec.units, "long_name": spec.long_name})
    coords = {name: variables.pop(name) for name, spec in specs.items() if spec.coordinate}
    return xr.Dataset(variables, coords, {"title": GROUPS[group].title})


def _dtype(spec: Variable, dtype: str) -> np.dtype[Any]:
    return storage.TEXT if spec.dtype == "text" else np.dtype(dtype if spec.dtype == "float" else spec.dtype)


def _chunks(rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Choose a chunk's shape: so many rows of the growing dim, cut further along the longest dim if it gets too large."""
    chunk = [rows, *(max(size, 1) for size in shape[1:])]
    while math.prod(chunk) * dtype.itemsize > CHUNK:
        longest = int(np.argmax(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)


# ---- writing --------------------------------------------------------------------------------------------------


@dataclass
class _Column:
    """A growing array: its metadata, the rows of its last chunk if that is filled in part, and the rows that wait."""

    metadata: Metadata
    tail: np.ndarray
    waiting: list[np.ndarray] = field(default_factory=list)

    @property
    def length(self) -> int:
        return int(self.metadata["shape"][0])

    def rows(self) -> np.ndarray:
        return np.concatenate([self.tail, *self.waiting])


class Recorder:
    """Writes a run while it grows.

    Rows wait in memory (:meth:`append`) and go to the store together (:meth:`commit`). One process writes a store
    at a time. Use it in a ``with`` statement, or call :meth:`close`: both give the store free again.

    Parameters
    ----------
    path : path-like or None
        A folder that does not exist yet; None records in memory.
    template : mapping
        What :func:`template` returned.
    attrs : mapping
        Attributes of the run: at least ``family``, ``model``, ``learnable``, ``seed`` and ``config``, as plain
        numbers, text, lists and dicts. ``schema_version``, ``versions``, ``date``, ``title`` and ``complete`` are
        filled in where they are not given.
    interval : float
        Seconds after which a commit is due.
    block : int
        Number of waiting problems at which a commit is due.

    Attributes
    ----------
    attrs : dict
        May be changed; the next commit writes them.

    Raises
    ------
    FileExistsError
        Where there is something at `path` already.
    OSError
        Where the folder cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> probes = {"condition": [0], "stimulus": ["1"], "response": ["1"], "context": [""], "repeat": [0]}
    >>> datasets = template(model="rate", neurons=2, properties=["tau"], inputs=["1"], outputs=["1"], time=[0.0],
    ...                     epochs=["stimulus"], probes=probes, weights={})
    >>> attrs = {"family": "association", "model": "rate", "learnable": [], "seed": 0, "config": {}}
    >>> with Recorder(None, datasets, attrs) as recorder:
    ...     recorder.append("properties", problem=[-1, 0], tau=np.full((2, 2), 100.0))
    ...     recorder.append("series", problem=[0], trials_to_criterion=[3.0], censored_trials=[np.nan], trials=[53],
    ...                     failed=[False], failure_reason=[""], loss=[0.004], accuracy=[1.0], zero_shot_loss=[1.0],
    ...                     zero_shot_accuracy=[0.5], last_error=[2.0], firing_rate=[np.nan], duration=[0.1])
    ...     run = recorder.close(complete=True)
    >>> run["series"]["trials_to_criterion"].values
    array([3.])
    >>> run.attrs["complete"]
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        template: Mapping[str, xr.Dataset],
        attrs: Mapping[str, Any],
        *,
        interval: float = 5.0,
        block: int = 50,
    ) -> None:
        missing = [name for name in ("family", "model", "learnable", "seed", "config") if name not in attrs]
        if missing:
            raise ValueError(f"attrs lack {', '.join(missing)}; a run is recorded with what it was made by")
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        title = f"{attrs['model']} network learning {attrs['family']}"
        self.attrs = {"versions": versions(), "date": now, "title": title, **attrs,
                      "schema_version": SCHEMA_VERSION, "complete": False}
        storage.to_json(self.attrs)  # what cannot be kept is refused before anything is made
        self._start(interval, block)
        if path is None:
            self._source: Folder | Memory = Memory()
        else:
            self._source = Folder(path)
            _make_folder(self._source)
            self._lock = Lock(self._source.path)
        with self._writing():
            self._create(template)
            self._replace_root()

    def _start(self, interval: float, block: int) -> None:
        self._interval, self._block = interval, block
        self._nodes: dict[str, Metadata] = {}  # a group's arrays right after it: zarr relies on that order
        self._columns: dict[str, dict[str, _Column]] = {}
        self._checkpoint: Metadata = {}
        self._lock: Lock | None = None
        self._last = time.monotonic()

    def _create(self, template: Mapping[str, xr.Dataset]) -> None:
        """Write the groups and everything that does not grow."""
        for group, dataset in template.items():
            grows, rows = GROUPS[group].dim, GROUPS[group].rows
            names = [str(name) for name in dataset.coords if name not in dataset.dims]
            attrs = {**dataset.attrs, **({"coordinates": " ".join(names)} if names else {})}
            self._nodes[group] = {"zarr_format": 3, "node_type": "group", "attributes": attrs}
            self._columns[group] = {}
            self._source.make(group)
            self._source.put(f"{group}/{storage.ROOT}", storage.to_json(self._nodes[group]))
            for name, variable in dataset.variables.items():
                dtype = np.dtype(variable.encoding.get("dtype", variable.dtype))
                dims = tuple(map(str, variable.dims))
                chunks = _chunks(rows if dims[0] == grows else max(variable.shape[0], 1), variable.shape, dtype)
                data = storage.array_metadata(variable.shape, dtype, chunks, dims=dims, attrs=dict(variable.attrs))
                self._nodes[f"{group}/{name}"] = data
                self._source.make(f"{group}/{name}")
                if dims[0] == grows:
                    self._columns[group][str(name)] = _Column(data, np.zeros(variable.shape, dtype))
                else:
                    self._write(f"{group}/{name}", 0, variable.values.astype(dtype), data)
                self._source.put(f"{group}/{name}/{storage.ROOT}", storage.to_json(data))

    def _write(self, key: str, start: int, rows: np.ndarray, metadata: Metadata) -> None:
        for name, data in storage.pieces(start, rows, metadata):
            self._source.put(f"{key}/{name}", data)

    @property
    def due(self) -> bool:
        """True when a block of problems waits, or the last commit was longer than the interval ago."""
        waiting = sum(map(len, self._columns["series"]["problem"].waiting))
        return waiting >= self._block or time.monotonic() - self._last >= self._interval

    @property
    def store(self) -> Any:
        """What :func:`open_run` and :func:`read_checkpoint` take: the path, or the store in memory."""
        return self._source.path if isinstance(self._source, Folder) else self._source.store

    @property
    def lengths(self) -> dict[str, int]:
        """Rows of each group that are committed."""
        return {group: next(iter(columns.values())).length for group, columns in self._columns.items()}

    def append(self, group: str, **columns: Any) -> None:
        """Add rows to a group; they wait in memory until the next commit.

        Parameters
        ----------
        group : str
            Name of the group.
        **columns : array
            All variables of the group that grow, coordinates among them; the leading axis is the growing dim.

        Raises
        ------
        KeyError
            An unknown group.
        ValueError
            A variable missing, unknown, of another shape, or NaN where none may be.
        TypeError
            Numbers that the variable's dtype cannot hold.
        """
        if group not in self._columns:
            raise KeyError(f"unknown group {group!r}; known: {', '.join(self._columns)}")
        known = self._columns[group]
        for name in (*columns, *known):
            if name not in known or name not in columns:
                came = "unknown" if name not in known else "missing"
                raise ValueError(f"{group}: {came} variable {name!r}; give {', '.join(known)}")
        rows = {name: _rows(f"{group}/{name}", columns[name], column.metadata) for name, column in known.items()}
        counts = {name: len(value) for name, value in rows.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{group}: rows along {GROUPS[group].dim!r} differ in number: {counts}; give equally many")
        for name, value in rows.items():
            if group == "series" and value.dtype.kind == "f":
                _check_missing(f"{group}/{name}", value, GROUPS[group].variables[name].missing, rows["failed"])
            known[name].waiting.append(value)

    def commit(self, checkpoint: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the waiting rows and a checkpoint; readers see both from then on, or neither.

        Parameters
        ----------
        checkpoint : mapping of arrays, optional
            From which training goes on exactly here. Without one, the last one stays valid together with the rows
            that there were then, and :meth:`reopen` goes back to it.

        Raises
        ------
        OSError
            The disk is full, the folder cannot be written or is gone. The rows keep waiting, and what was committed
            before stays readable.
        """
        with self._writing():
            grown = self._write_rows()
            lengths = {group: self.lengths[group] + count for group, count in grown.items()}
            if checkpoint is not None:
                self._checkpoint = {**self._write_checkpoint(checkpoint), "lengths": lengths}
            self._replace_root(lengths)
            for group, columns in self._columns.items():
                for name, column in columns.items():
                    if grown[group]:
                        _settle(column)
                        # after the root, so that a reader that asks the array itself does not see more
                        self._source.put(f"{group}/{name}/{storage.ROOT}", storage.to_json(column.metadata))
            self._last = time.monotonic()

    def _write_rows(self) -> dict[str, int]:
        """Write the chunks that waiting rows fall into and return how many rows wait in each group."""
        grown = {}
        for group, columns in self._columns.items():
            grown[group] = sum(map(len, next(iter(columns.values())).waiting))
            for name, column in columns.items() if grown[group] else ():
                first = column.length // storage.chunks_of(column.metadata)[0]
                self._write(f"{group}/{name}", first, column.rows(), column.metadata)
        return grown

    def _write_checkpoint(self, arrays: Mapping[str, np.ndarray]) -> Metadata:
        """Write a checkpoint to the slot that the committed root does not name."""
        slot = "1" if self._checkpoint.get("slot") == "0" else "0"
        described = {}
        for name, value in arrays.items():
            rows = np.asarray(value)
            dims = tuple(f"dim_{i}" for i in range(rows.ndim))
            chunks = tuple(max(size, 1) for size in rows.shape)
            described[name] = storage.array_metadata(rows.shape, rows.dtype, chunks, dims=dims, attrs={}, compress=False)
            self._source.make(f"{CHECKPOINT}/{slot}/{name}")
            self._write(f"{CHECKPOINT}/{slot}/{name}", 0, rows, described[name])
        document = storage.to_json(_group_document({}, described))
        self._source.put(f"{CHECKPOINT}/{slot}/{storage.ROOT}", document)
        return {"slot": slot, "checksum": storage.checksum(document).hex()}

    def _replace_root(self, lengths: Mapping[str, int] | None = None) -> None:
        """Replace the root's metadata, and with it everything that a reader sees."""
        nodes = dict(self._nodes)
        for group, length in (lengths or self.lengths).items():
            for name, column in self._columns[group].items():
                nodes[f"{group}/{name}"] = {**column.metadata, "shape": [length, *column.metadata["shape"][1:]]}
        document = _group_document({**self.attrs, "store": {"checkpoint": self._checkpoint}}, nodes)
        self._source.put(storage.ROOT, _sealed(document), durable=True)

    @contextlib.contextmanager
    def _writing(self) -> Any:
        """Say in an error of the system what it means for the run."""
        kept = self._checkpoint
        try:
            if self._lock:
                self._lock.check()
            yield
        except OSError as error:
            self._checkpoint = kept
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"{self._source}: cannot be written ({reason}). What was committed before stays "
                                       "readable with open_run; the rows since then still wait") from error

    def close(self, *, complete: bool, checkpoint: Mapping[str, np.ndarray] | None = None) -> xr.DataTree:
        """Commit for the last time and return the run, from memory loaded, from disk lazy.

        Parameters
        ----------
        complete : bool
            Whether the run came to its end.
        checkpoint : mapping of arrays, optional
            From which it could go on.

        Returns
        -------
        xarray.DataTree
            What :func:`open_run` returns.
        """
        self.attrs["complete"] = bool(complete)
        self.commit(checkpoint)
        self.release()
        tree = open_run(self.store)
        return tree if isinstance(self._source, Folder) else tree.load()

    def release(self) -> None:
        """Give the store free without a commit."""
        if self._lock:
            self._lock.release()
        self._lock = None

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the store free."""
        self.release()

    @classmethod
    def reopen(cls, path: str | os.PathLike[str], *, interval: float = 5.0, block: int = 50) -> Self:
        """Go on with a run where its last checkpoint is; rows after that are written again.

        Parameters
        ----------
        path : path-like
            The run's folder (or the store in memory of a recorder).
        interval, block : float, int
            As for a new recorder.

        Raises
        ------
        BlockingIOError
            Another process writes to the run: it is named.
        ValueError
            The store is not valid, or has no checkpoint.
        """
        recorder = cls.__new__(cls)
        recorder._start(interval, block)
        recorder._source = _source(path)
        _read_root(recorder._source)
        if isinstance(recorder._source, Folder):
            recorder._lock = Lock(recorder._source.path)
        try:
            recorder._restore(_read_root(recorder._source))
        except BaseException:
            recorder.release()
            raise
        return recorder

    def _restore(self, document: Metadata) -> None:
        """Take over what is in a store."""
        nodes = _validate(self._source, document)
        self.attrs = _plain_attrs(document)
        self.attrs["complete"] = False
        self._checkpoint = document["attributes"]["store"]["checkpoint"]
        if not self._checkpoint:
            raise ValueError(f"{self._source}: there is no checkpoint from which training could go on")
        for key, data in nodes.items():
            group, _, name = key.partition("/")
            self._nodes[key] = data
            if not name:
                self._columns[group] = {}
            elif data["dimension_names"][0] == GROUPS[group].dim:
                self._columns[group][name] = self._resume(key, data, self._checkpoint["lengths"][group])
        self._source.sweep(iter(["", *nodes, *self._slots()]))

    def _slots(self) -> list[str]:
        return [f"{CHECKPOINT}/{slot}" for slot in "01"]

    def _resume(self, key: str, data: Metadata, length: int) -> _Column:
        """Read the rows of the last chunk that is filled in part."""
        chunks = storage.chunks_of(data)
        data = {**data, "shape": [length, *data["shape"][1:]]}
        tail = np.zeros((length % chunks[0], *data["shape"][1:]), storage.dtype_of(data))
        counts = storage.chunk_counts(data)[1:] if len(tail) else [0]
        for index in itertools.product(*map(range, counts)):
            name = storage.chunk_name((length // chunks[0], *index))
            block = storage.decode(storage.read_chunk(self._source, f"{key}/{name}", data), data)
            place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks[1:], strict=True))
            part = tail[(slice(None), *place)]
            part[...] = block[tuple(map(slice, part.shape))]
        return _Column(data, tail)


def _settle(column: _Column) -> None:
    """Take waiting rows as written: keep those of a chunk that is filled in part."""
    rows = column.rows()
    column.metadata["shape"][0] += sum(map(len, column.waiting))
    rest = column.length % storage.chunks_of(column.metadata)[0]
    column.tail = rows[len(rows) - rest :].copy()
    column.waiting.clear()


def _rows(where: str, values: Any, metadata: Metadata) -> np.ndarray:
    """Return a copy of rows in the dtype of their variable, or say what is wrong with them."""
    dtype, shape = storage.dtype_of(metadata), metadata["shape"][1:]
    rows = np.asarray(values, dtype=dtype if dtype.kind == "T" else None)
    if list(rows.shape[1:]) != shape or rows.ndim == 0:
        expected = dict(zip(metadata["dimension_names"], ["rows", *shape], strict=True))
        raise ValueError(f"{where} has shape {rows.shape}; expected {expected}")
    if dtype.kind != "T" and not np.can_cast(rows.dtype, dtype, "same_kind") and rows.size:
        raise TypeError(f"{where} has dtype {rows.dtype}; expected {dtype}, or what converts to it without loss of kind")
    return rows.astype(dtype, copy=True)


def _check_missing(where: str, values: np.ndarray, missing: str, failed: np.ndarray) -> None:
    """Refuse numbers that are not finite where the table says that none may be."""
    wrong = ~np.isfinite(values)
    if missing == "any":
        wrong = np.isinf(values)
    elif missing == "failed":
        wrong &= ~failed.reshape(-1, *[1] * (values.ndim - 1))
    if wrong.any():
        row = int(np.argwhere(wrong)[0, 0])
        may = "NaN where a problem failed" if missing == "failed" else "NaN where there is none" if missing == "any" else "finite numbers only"
        raise ValueError(f"{where}: {values[wrong][0]} in row {row}; may hold {may}")


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on.

    Examples
    --------
    >>> sorted(versions())
    ['ip2lab', 'numpy', 'python', 'torch', 'xarray', 'zarr']
    """
    found = {"python": platform.python_version()}
    for name in ("ip2lab", "numpy", "torch", "xarray", "zarr"):
        try:
            found[name] = packages.version(name)
        except packages.PackageNotFoundError:
            found[name] = ""
    return found


def _make_folder(source: Folder) -> None:
    """Make the folder of a new run."""
    try:
        source.path.parent.mkdir(parents=True, exist_ok=True)
        source.path.mkdir()
    except FileExistsError:
        raise FileExistsError(f"{source}: exists already. Give another path, read it with ip2lab.open_run, or go on with "
                              "it by ip2lab.resume") from None
    except OSError as error:
        raise OSError(error.errno, f"{source}: cannot be made ({error.strerror}); give a path that can be written") from error


def _group_document(attrs: Mapping[str, Any], nodes: Mapping[str, Metadata]) -> Metadata:
    """Return a group's ``zarr.json`` with the metadata of everything below it."""
    inline = {"kind": "inline", "must_understand": False, "metadata": dict(nodes)}
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs), "consolidated_metadata": inline}


def _sealed(document: Metadata) -> bytes:
    """Write a root with the checksum of its own content."""
    attrs = document["attributes"]
    store = {**attrs["store"], "checksum": ""}
    seal = storage.checksum(storage.to_json({**document, "attributes": {**attrs, "store": store}})).hex()
    return storage.to_json({**document, "attributes": {**attrs, "store": {**store, "checksum": seal}}})


# ---- reading --------------------------------------------------------------------------------------------------


def open_run(path: str | os.PathLike[str] | zarr.storage.MemoryStore, *, verify: bool = False) -> xr.DataTree:
    """Open a recorded run: lazily, and validated.

    Parameters
    ----------
    path : path-like
        The run's folder. It may be open for writing elsewhere: what was committed is seen; open it again to see more.
    verify : bool
        Read every chunk now, compare checksums, and look for NaN where none may be. Without it, a damaged chunk is
        an error when it is read.

    Returns
    -------
    xarray.DataTree
        Groups and variables as in :data:`GROUPS`.

    Raises
    ------
    FileNotFoundError
        There is no store at `path`.
    ValueError
        The store is of another version or damaged; the message says which group, variable, dim or chunk, and what was
        expected.

    Examples
    --------
    >>> open_run("nowhere.zarr")
    Traceback (most recent call last):
        ...
    FileNotFoundError: nowhere.zarr: there is no run here (no zarr.json); ip2lab.train(..., path=...) makes one
    """
    source = _source(path)
    document = _read_root(source)
    nodes = _validate(source, document)
    arrays = {key: data for key, data in nodes.items() if data["node_type"] == "array"}
    tree = xr.open_datatree(source.reader(json.dumps(document).encode(), arrays), engine="zarr")
    tree.attrs = _plain_attrs(document)
    return tree


def _plain_attrs(document: Metadata) -> Metadata:
    return {name: value for name, value in document["attributes"].items() if name != "store"}


def _source(path: Any) -> Folder | Memory:
    if isinstance(path, zarr.storage.MemoryStore):
        return Memory(path)
    return Folder(path)


def _read_root(source: Folder | Memory) -> Metadata:
    """Read the root's metadata."""
    try:
        document = json.loads(source.get(storage.ROOT))
    except FileNotFoundError:
        raise FileNotFoundError(f"{source}: there is no run here (no zarr.json); ip2lab.train(..., path=...) makes one") from None
    return document


def _validate(source: Folder | Memory, document: Metadata) -> dict[str, Metadata]:
    return document["consolidated_metadata"]["metadata"]


def read_checkpoint(path: Any) -> dict[str, np.ndarray]:
    """Read the arrays from which training goes on."""
    source = _source(path)
    checkpoint = _read_root(source)["attributes"]["store"]["checkpoint"]
    if not checkpoint:
        raise ValueError(f"{source}: there is no checkpoint from which training could go on")
    base = f"{CHECKPOINT}/{checkpoint['slot']}"
    described = json.loads(source.get(f"{base}/{storage.ROOT}"))["consolidated_metadata"]["metadata"]
    arrays = {}
    for name, data in described.items():
        key = storage.chunk_name((0,) * len(data["shape"]))
        empty = 0 in data["shape"]
        block = None if empty else storage.decode(storage.read_chunk(source, f"{base}/{name}/{key}", data), data)
        arrays[name] = np.zeros(data["shape"], storage.dtype_of(data)) if block is None else block
    return arrays
