"""Writing a run while it grows."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from ip2lab.properties import UnknownName, hint
from ip2lab.records.chunks import (
    ROOT,
    TEXT,
    Metadata,
    array_metadata,
    checksum,
    chunks_of,
    dtype_of,
    group_document,
    pieces,
    select,
    to_json,
)
from ip2lab.records.lock import LOCK, Lock, describe, holder_of, is_locked, uninterrupted
from ip2lab.records.reading import (
    CHECKPOINT,
    checkpoint_of,
    local,
    open_run,
    plain_name,
    read_checkpoint,
    read_root,
    source_of,
    validate,
    with_checksum,
)
from ip2lab.records.schema import GROUPS, SCHEMA_VERSION, check_nodes, chunk_shape, misplaced
from ip2lab.records.stores import PARTIAL, Folder, Memory

ELSEWHERE = "Give another path, read it with ip2lab.open_run, or go on with it by ip2lab.resume"


@dataclass
class _Column:
    """A growing array: its metadata as committed, and the committed rows of its last chunk if that is not full."""

    metadata: Metadata
    tail: np.ndarray

    @property
    def length(self) -> int:
        return int(self.metadata["shape"][0])


class Recorder:
    """Writes a run while it grows.

    Rows wait in memory (:meth:`append`) and go to the store together (:meth:`commit`). One process writes to a store
    at a time. Use it in a ``with`` statement, or call :meth:`close`: both give the store free again.

    Parameters
    ----------
    path : path-like or None
        A folder that does not exist yet, or holds no more than a process left that was killed before the first
        checkpoint; None records in memory.
    template : mapping of str to xarray.Dataset
        What :func:`template` returned.
    attrs : mapping
        Attributes of the run: at least ``family``, ``model``, ``learnable``, ``seed`` and ``config``, as plain
        numbers, text, lists and dicts. ``schema_version`` and ``complete`` are set here; ``versions``, ``date`` and
        ``title`` where they are not given.
    interval : float
        Seconds of work that a kill may cost: a commit is due early enough to be done by then.
    block : int
        Number of waiting problems at which a commit is due.

    Attributes
    ----------
    attrs : dict
        Attributes of the run; they may be changed, and the next commit writes them.

    Raises
    ------
    FileExistsError
        There is something at `path` already.
    OSError
        The folder cannot be written.
    ValueError, TypeError
        Attributes that are missing or cannot be kept.

    Examples
    --------
    >>> from ip2lab.records import template
    >>> probes = {"condition": [0], "stimulus": ["1"], "response": ["1"], "context": [""], "repeat": [0]}
    >>> datasets = template(model="rate", neurons=2, properties=["tau"], inputs=["1"], outputs=["1"], time=[0],
    ...                     epochs=["stimulus"], probes=probes, weights={})
    >>> attrs = {"family": "association", "model": "rate", "learnable": [], "seed": 0, "config": {}}
    >>> with Recorder(None, datasets, attrs) as recorder:
    ...     recorder.append("properties", problem=[-1], tau=[[100.0, 100.0]])
    ...     recorder.append("properties", problem=[0], tau=[[90.0, 110.0]])
    ...     recorder.append("series", problem=[0], trials_to_criterion=[3.0], censored_trials=[np.nan], trials=[53],
    ...                     failed=[False], failure_reason=[""], loss=[0.004], accuracy=[1.0], zero_shot_loss=[1.0],
    ...                     zero_shot_accuracy=[0.5], last_error=[2.0], firing_rate=[np.nan], duration=[0.1])
    ...     run = recorder.close(complete=True)
    >>> run["series"]["trials_to_criterion"].values
    array([3.])
    >>> run.attrs["complete"]
    True
    """

    _lock: Lock | None
    _source: Folder | Memory

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        template: Mapping[str, xr.Dataset],
        attrs: Mapping[str, Any],
        *,
        interval: float = 5.0,
        block: int = 50,
    ) -> None:
        if not isinstance(attrs, Mapping):
            raise TypeError(f"attrs is {attrs!r}; expected a mapping of names to plain values")
        missing = [name for name in ("family", "model", "learnable", "seed", "config") if name not in attrs]
        if missing or "store" in attrs:
            wrong = (
                f"lack {', '.join(missing)}" if missing else "have the name 'store', which the store keeps for itself"
            )
            raise ValueError(f"attrs {wrong}; give family, model, learnable, seed, config and others")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        named = {"title": f"{attrs['model']} network learning {attrs['family']}", "date": now, "versions": versions()}
        self._start(interval, block)
        self.attrs = {**named, **attrs, "schema_version": SCHEMA_VERSION, "complete": False}
        to_json(self.attrs)  # what cannot be kept is refused before anything is made
        self._plan(template)
        check_nodes(self._nodes, self.attrs["model"])
        if path is None:
            self._source = Memory()
        else:
            self._source = _make_folder(path)
        try:
            if isinstance(self._source, Folder):
                with self._writing():
                    self._lock = Lock(self._source.path)
                _clear(self._source)
            with self._writing():
                self._create(template)
                self._replace_root(self.lengths, {})
        except BaseException:
            self.release()
            raise

    def _start(self, interval: float, block: int) -> None:
        numbers = all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in (interval, block))
        if not numbers or not interval >= 0 or not block >= 1:
            raise ValueError(f"interval is {interval!r}, block {block!r}; expected seconds from 0, problems from 1")
        self._interval, self._block = interval, block
        self._nodes: dict[str, Metadata] = {}  # a group's arrays follow it: zarr relies on that
        self._columns: dict[str, dict[str, _Column]] = {}
        self._waiting: dict[str, list[dict[str, np.ndarray]]] = {group: [] for group in GROUPS}
        self._checkpoint: Metadata = {}
        self._lock = None
        self._last, self._took = time.monotonic(), 0.0

    def _plan(self, template: Mapping[str, xr.Dataset]) -> None:
        """Decide how the groups and their variables are stored."""
        for group, dataset in template.items():
            marked = " ".join(str(name) for name in dataset.coords if name not in dataset.dims)
            attrs = {**dataset.attrs, **({"coordinates": marked} if marked else {})}
            self._nodes[group] = {"zarr_format": 3, "node_type": "group", "attributes": attrs}
            self._columns[group] = {}
            for name, variable in dataset.variables.items():
                dtype, dims = np.dtype(variable.encoding.get("dtype", variable.dtype)), tuple(map(str, variable.dims))
                dtype = TEXT if dtype.kind == "U" else dtype
                chunks = chunk_shape(group, dims, variable.shape, dtype.itemsize)
                data = array_metadata(variable.shape, dtype, chunks, dims=dims, attrs=dict(variable.attrs))
                self._nodes[f"{group}/{name}"] = data
                if dims[0] == GROUPS[group].dim:
                    self._columns[group][str(name)] = _Column(data, np.zeros(variable.shape, dtype))

    def _create(self, template: Mapping[str, xr.Dataset]) -> None:
        """Write what does not grow: metadata of groups and arrays, and labels."""
        for key, data in self._nodes.items():
            group, _, name = key.partition("/")
            self._source.make(key)
            self._source.put(f"{key}/{ROOT}", to_json(data))
            if name and name not in self._columns[group]:
                self._write(key, 0, template[group][name].values.astype(dtype_of(data)), data)

    def _write(self, key: str, start: int, rows: np.ndarray, metadata: Metadata) -> None:
        for name, data in pieces(start, rows, metadata):
            self._source.put(f"{key}/{name}", data)

    @property
    def due(self) -> bool:
        """True when a block of problems waits, or what came since the last commit would soon be too much to lose."""
        problems = sum(len(rows["problem"]) for rows in self._waiting["series"])
        worked = time.monotonic() - self._last
        return problems >= self._block or worked + 2 * self._took >= 0.9 * self._interval  # this one may be slower

    @property
    def store(self) -> Any:
        """What :func:`open_run` and :func:`read_checkpoint` take: the path, or the run in memory."""
        return self._source.path if isinstance(self._source, Folder) else self._source

    @property
    def lengths(self) -> dict[str, int]:
        """Number of committed rows of each group."""
        return {group: next(iter(columns.values())).length for group, columns in self._columns.items()}

    def append(self, group: str, **columns: Any) -> None:
        """Add rows to a group; they wait in memory until the next commit.

        Parameters
        ----------
        group : str
            Name of the group.
        **columns : array
            All variables of the group that grow, its coordinates among them; the leading axis is the growing dim.

        Raises
        ------
        KeyError
            The group is unknown.
        ValueError
            A variable is missing, unknown, of another shape, or not finite where it has to be.
        TypeError
            Numbers that the variable's dtype cannot hold.
        """
        if not isinstance(group, str) or group not in self._columns:
            raise UnknownName(f"unknown group {group!r}; known: {', '.join(self._columns)}{hint(group, self._columns)}")
        known = self._columns[group]
        _check_names(group, columns, known)
        rows = {name: _rows(f"{group}/{name}", columns[name], column.metadata) for name, column in known.items()}
        counts = {name: len(values) for name, values in rows.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{group}: came with different numbers of rows: {counts}; expected equally many")
        if group == "series":
            for name, values in rows.items():
                _check_missing(name, values, rows["failed"])
        self._waiting[group].append(rows)

    def commit(self, checkpoint: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the waiting rows and a checkpoint; from then on readers see both.

        An interrupt by the keyboard meanwhile is delivered afterwards.

        Parameters
        ----------
        checkpoint : mapping of str to array, optional
            From which training goes on exactly here. Without one, the last one stays valid together with the rows
            that there were then: :meth:`reopen` goes back to it.

        Raises
        ------
        OSError
            The disk is full, the folder cannot be written, or is gone. The rows keep waiting, and what was committed
            before stays readable.
        ValueError, TypeError
            A name or an array that cannot be kept in a checkpoint.
        """
        began = time.monotonic()
        with uninterrupted(), self._writing():
            grown = {group: self._grow(group) for group, parts in self._waiting.items() if parts}
            lengths = self.lengths | {group: next(iter(columns.values())).length for group, columns in grown.items()}
            named = self._checkpoint if checkpoint is None else self._write_checkpoint(checkpoint, lengths)
            self._replace_root(lengths, named)
            self._checkpoint = named
            for group, columns in grown.items():
                self._columns[group] = columns
                self._waiting[group].clear()
            self._last, self._took = began, time.monotonic() - began  # what is committed is the work up to here
            for group, columns in grown.items():
                for name, column in columns.items():
                    # after the root, so that who asks the array itself sees no more than what is committed either
                    self._source.put(f"{group}/{name}/{ROOT}", to_json(column.metadata))

    def _grow(self, group: str) -> dict[str, _Column]:
        """Write the chunks that the waiting rows of a group fall into, and return its columns with them."""
        grown = {}
        for name, column in self._columns[group].items():
            rows = np.concatenate([column.tail, *(part[name] for part in self._waiting[group])])
            size = chunks_of(column.metadata)[0]
            self._write(f"{group}/{name}", column.length // size, rows, column.metadata)
            length = column.length - len(column.tail) + len(rows)
            data = {**column.metadata, "shape": [length, *column.metadata["shape"][1:]]}
            grown[name] = _Column(data, rows[len(rows) - length % size :].copy())
        return grown

    def _write_checkpoint(self, arrays: Mapping[str, np.ndarray], lengths: Mapping[str, int]) -> Metadata:
        """Write a checkpoint to the slot that the root does not name, and return what the root is to say of it."""
        if not isinstance(arrays, Mapping):
            raise TypeError(f"checkpoint is {arrays!r}; expected a mapping of names to arrays")
        slot = "1" if self._checkpoint.get("slot") == "0" else "0"
        described = {}
        for name, values in arrays.items():
            rows = array_of(f"checkpoint {name!r}", values)
            if not plain_name(name) or rows.dtype.kind not in "biuf":
                raise ValueError(
                    f"checkpoint {name!r} of dtype {rows.dtype}: expected numbers, under a name of letters, digits, "
                    "'_', '.' and '-'"
                )
            dims = tuple(f"dim_{i}" for i in range(rows.ndim))
            chunks = tuple(max(size, 1) for size in rows.shape)
            data = array_metadata(rows.shape, rows.dtype, chunks, dims=dims, attrs={}, compress=False)
            key = f"{CHECKPOINT}/{slot}/{name}"
            self._source.make(key)
            self._write(key, 0, rows, data)
            described[name] = data
        document = to_json(group_document({}, described))
        self._source.make(f"{CHECKPOINT}/{slot}")
        self._source.put(f"{CHECKPOINT}/{slot}/{ROOT}", document)
        return {"slot": slot, "checksum": checksum(document).hex(), "lengths": dict(lengths)}

    def _replace_root(self, lengths: Mapping[str, int], checkpoint: Metadata) -> None:
        """Replace the root's metadata, and with it all that readers see."""
        nodes = dict(self._nodes)
        for group, length in lengths.items():
            for name, column in self._columns[group].items():
                nodes[f"{group}/{name}"] = {**column.metadata, "shape": [length, *column.metadata["shape"][1:]]}
        document = group_document({**self.attrs, "store": {"checkpoint": checkpoint}}, nodes)
        self._source.put(ROOT, with_checksum(document), durable=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Write as the one who may, and say of an error of the system what it means for the run."""
        try:
            if self._lock:
                self._lock.check()
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno or errno.EIO,
                f"{self._source}: cannot be written: {reason}. What was committed before stays readable with "
                "ip2lab.open_run where it is still there; the rows since then wait in memory",
            ) from error

    def close(self, *, complete: bool, checkpoint: Mapping[str, np.ndarray] | None = None) -> xr.DataTree:
        """Commit for the last time, give the store free and return the run.

        Parameters
        ----------
        complete : bool
            Whether the run came to its end.
        checkpoint : mapping of str to array, optional
            From which it could go on.

        Returns
        -------
        xarray.DataTree
            What :func:`open_run` returns; a run in memory is loaded.
        """
        self.attrs["complete"] = bool(complete)
        self.commit(checkpoint)
        self.release()
        tree = open_run(self.store)
        if isinstance(self._source, Memory):
            for node in tree.subtree:
                node.dataset = node.to_dataset(inherit=False).load()
        return tree

    def release(self) -> None:
        """Give the store free without a commit; there may be another writer from then on, and this one is done."""
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the store free."""
        self.release()

    @classmethod
    def reopen(cls, path: str | os.PathLike[str], *, interval: float = 5.0, block: int = 50) -> Self:
        """Go on with a run from its last checkpoint; rows that were committed after it are dropped.

        Parameters
        ----------
        path : path-like
            The run's folder.
        interval, block : float, int
            As for a new recorder.

        Returns
        -------
        Recorder
            Its ``attrs`` are those of the run, with ``complete`` False.

        Raises
        ------
        BlockingIOError
            Another process writes to the run: its host, process and time are named.
        FileNotFoundError, ValueError
            There is no run, or it is damaged, or it has no checkpoint.
        """
        recorder = cls.__new__(cls)
        recorder._start(interval, block)
        recorder._source = local(source_of(path))
        checkpoint_of(recorder._source, read_root(recorder._source))  # a lock is only left where there is a run
        if isinstance(recorder._source, Folder):
            recorder._lock = Lock(recorder._source.path)
        try:
            recorder._restore(read_root(recorder._source))
        except BaseException:
            recorder.release()
            raise
        return recorder

    def _restore(self, document: Metadata) -> None:
        """Take over what a store holds."""
        nodes = validate(self._source, document)
        read_checkpoint(self.store)
        self._checkpoint = checkpoint_of(self._source, document)
        lengths = self._checkpoint.get("lengths", {})
        self.attrs = {name: value for name, value in document["attributes"].items() if name != "store"}
        self.attrs["complete"] = False
        for key, data in nodes.items():
            group, _, name = key.partition("/")
            self._nodes[key] = data
            if not name:
                self._columns[group] = {}
            elif data["dimension_names"][0] == GROUPS[group].dim:
                rows = data["shape"][0]
                if not 0 <= lengths.get(group, -1) <= rows:
                    came = f"the checkpoint names {lengths.get(group)} rows of /{group}"
                    raise ValueError(f"{self._source}: {came}; expected at most {rows}")
                self._columns[group][name] = self._resume(key, data, lengths[group])
        with self._writing():
            self._source.sweep()
            if any(nodes[f"{group}/problem"]["shape"][0] > length for group, length in lengths.items()):
                self._replace_root(lengths, self._checkpoint)  # before a chunk is written with fewer rows than it had

    def _resume(self, key: str, data: Metadata, length: int) -> _Column:
        """Return a column cut to a length, with the rows of its last chunk if that is not full."""
        size = chunks_of(data)[0]
        data = {**data, "shape": [length, *data["shape"][1:]]}
        rest = slice(length - length % size, length)
        return _Column(data, select(self._source, key, data, [rest, *[slice(None)] * (len(data["shape"]) - 1)]))


def array_of(where: str, values: Any) -> np.ndarray:
    """Return numbers as an array, those of a tensor too, wherever it is and whether or not it learns."""
    if isinstance(values, range):  # it may stand for more numbers than there is memory
        raise TypeError(f"{where} is {values!r}; expected an array")
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def by_labels(where: str, values: Any, dims: Sequence[str], labels: Mapping[str, Any] | None = None) -> Any:
    """Return a labelled array with its axes in the order of `dims`, and each axis in the order of its `labels`.

    Neurons have their numbers as labels. Anything without labels comes back as it is: its axes are taken to be `dims`.
    """
    if not isinstance(values, xr.DataArray):
        return values
    if set(values.dims) != set(dims):
        raise ValueError(f"{where} has dims {', '.join(map(str, values.dims))}; expected {', '.join(dims)}")
    numbers = {dim: np.arange(values.sizes[dim]) for dim in ("neuron", "presynaptic") if dim in dims}
    for dim, wanted in (numbers | dict(labels or {})).items():
        name = "condition" if dim == "probe" else dim
        if name in values.coords and values[name].dims == (dim,):
            values = values.isel({dim: _order(f"{where}: the labels of {dim!r}", values[name].values, wanted)})
    return values.transpose(*dims)


def _order(what: str, labels: np.ndarray, wanted: Any) -> np.ndarray:
    """Return where each wanted label is; ValueError where labels are not the wanted ones, each once."""
    index = pd.Index(labels)
    order = index.get_indexer(wanted) if index.is_unique else np.array([-1])
    if len(index) != len(wanted) or (order < 0).any():
        raise ValueError(
            f"{what} are {index.tolist()[:8]}; expected {pd.Index(wanted).tolist()[:8]}, each once, in any order, or "
            "none at all"
        )
    return order


def _check_names(group: str, columns: Mapping[str, Any], known: Mapping[str, _Column]) -> None:
    """Raise ValueError unless exactly the known variables of a group came."""
    for name in {**columns, **known}:
        if name not in known or name not in columns:
            came = "an unknown variable" if name not in known else "no variable"
            raise ValueError(f"{group}: came with {came} {name!r}; expected {', '.join(known)}")


def _rows(where: str, values: Any, metadata: Metadata) -> np.ndarray:
    """Return a copy of rows in the dtype of their variable, or say what is wrong with them."""
    dtype, shape = dtype_of(metadata), metadata["shape"][1:]
    rows = array_of(where, by_labels(where, values, metadata["dimension_names"]))
    if dtype.kind == "T" and rows.dtype.kind not in "UT":
        raise TypeError(f"{where} has dtype {rows.dtype}; expected text")
    if rows.ndim == 0 or list(rows.shape[1:]) != shape:
        expected = dict(zip(metadata["dimension_names"], ["any", *shape], strict=True))
        raise ValueError(f"{where} has shape {rows.shape}; expected {expected}")
    if dtype.kind != "T" and rows.size and not np.can_cast(rows.dtype, dtype, "same_kind"):
        raise TypeError(f"{where} has dtype {rows.dtype}; expected {dtype}")
    with np.errstate(over="ignore"):  # a value beyond float16 is stored as infinite
        return rows.astype(dtype, copy=True)


def _check_missing(name: str, values: np.ndarray, failed: np.ndarray) -> None:
    """Refuse numbers of /series that are not finite where the table says that they have to be."""
    missing = GROUPS["series"].variables[name].missing
    wrong = misplaced(values, missing, failed)
    if wrong.any():
        may = {"any": "a number or NaN", "failed": "a number where the problem did not fail"}.get(missing, "a number")
        raise ValueError(
            f"series/{name}: came with {values[wrong][0]} in row {np.flatnonzero(wrong)[0]}; expected {may}"
        )


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on, empty for what is not installed.

    Examples
    --------
    >>> list(versions())
    ['python', 'ip2lab', 'numpy', 'torch', 'numba', 'xarray', 'zarr']
    """
    found = {"python": platform.python_version()}
    for name in ("ip2lab", "numpy", "torch", "numba", "xarray", "zarr"):
        try:
            found[name] = packages.version(name)
        except packages.PackageNotFoundError:
            found[name] = ""
    return found


def _make_folder(path: str | os.PathLike[str]) -> Folder | Memory:
    """Make the folder of a new run."""
    source = local(source_of(path))
    if isinstance(source, Memory):
        raise TypeError("path is a run in memory; expected a folder, or None to record in memory")
    try:
        source.path.parent.mkdir(parents=True, exist_ok=True)
        source.path.mkdir()
    except OSError as error:
        if unstarted(source.path):
            return source
        if not os.path.lexists(source.path):
            what = f"{source}: cannot be made: {error.strerror}. Give a path that can be written"
            raise OSError(error.errno, what) from error
        holder = holder_of(source.path)
        now = f" (it is being written: {describe(holder)})" if holder else ""
        raise FileExistsError(f"{source}: exists already{now}. {ELSEWHERE}") from None
    return source


def unstarted(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds no more than a writer left that was killed before its first checkpoint.

    It may have been killed before it had locked the folder, or while it wrote its name into the lock.

    Examples
    --------
    >>> unstarted("nowhere.zarr")
    False
    """
    source = Folder(path)
    if not os.path.isdir(source.path):  # False too where the system finds the path too long
        return False
    if not os.path.isfile(source.path / LOCK):
        return not os.listdir(source.path)
    return _empty(source) and not is_locked(source.path)


def _empty(source: Folder) -> bool:
    """Tell whether there is neither a trial nor a checkpoint, nor anything that is not a run's."""
    own = {ROOT, LOCK, CHECKPOINT, *GROUPS}
    if any(name not in own and not name.endswith(PARTIAL) for name in os.listdir(source.path)):
        return False
    try:
        document = read_root(source)
        trials = document["consolidated_metadata"]["metadata"]["trials/trial"]["shape"][0]
    except FileNotFoundError:
        return True
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return not document["attributes"]["store"]["checkpoint"] and not trials


def _clear(source: Folder) -> None:
    """Remove what a killed writer left at its birth; another one may have come first, then this is its run."""
    if not _empty(source):
        raise FileExistsError(f"{source}: exists already. {ELSEWHERE}")
    entries = sorted(source.path.iterdir(), key=Path.is_dir)  # the root first: without it there is no run to be read
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
