"""Opening a run: what may be trusted of a store is checked first, what is read later is checked then."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ip2lab.records.chunks import (
    MAX_CHUNK,
    ROOT,
    Metadata,
    array_metadata,
    checksum,
    chunk_counts,
    chunk_name,
    chunks_of,
    dtype_of,
    select,
    to_json,
)
from ip2lab.records.copies import Copy, is_copy, older_root, open_copy
from ip2lab.records.schema import ATTRS, GROUPS, SCHEMA_VERSION, check_nodes, misplaced, variable
from ip2lab.records.stores import Folder, Memory, Remote, Source, at_address

CHECKPOINT = ".checkpoint"
MAX_ROOT = 2**26  # bytes of a root's zarr.json; those of a run have some 50,000
AGAIN = 3  # times that a reader begins anew beside a writer

_Read = TypeVar("_Read")


def open_run(path: str | os.PathLike[str] | Source, *, verify: bool = False) -> xr.DataTree:
    """Open a recorded run: lazily, and validated.

    Parameters
    ----------
    path : path-like
        The run's folder (or the ``store`` of a :class:`Recorder` in memory), a zip file of it, or, as text, the address
        of one that
        `fsspec <https://filesystem-spec.readthedocs.io>`_ reads: ``"s3://bucket/run.zarr"``,
        ``"zip://run.zarr::https://host/runs.zip"``. A run that is still being written is seen as it was committed
        last; open it again to see more.
    verify : bool
        Read every chunk now, compare its checksum, and look for NaN where none may be. Without it a chunk is checked
        when it is read.

    Returns
    -------
    xarray.DataTree
        Groups and variables as in :data:`GROUPS`, with units and labels; numbers are read when they are used.

    Raises
    ------
    FileNotFoundError
        There is no run at `path`.
    ValueError
        The store is of another version, or damaged; the message says which group, variable, dim or chunk, and what
        was expected.

    Warns
    -----
    UserWarning
        It is a copy that xarray wrote (``run.to_zarr``), without checksums; what was not checked is named.

    Notes
    -----
    The run is read from where `path` leads now, whatever becomes of the current folder later.

    ``epoch`` along ``time`` is text, of which xarray can take no mean: to average over time bins, say what becomes of
    it, ``coarsen(time=5, coord_func={"epoch": "max"})``, or ``drop_vars("epoch")`` first.

    Examples
    --------
    >>> open_run("nowhere.zarr")
    Traceback (most recent call last):
        ...
    FileNotFoundError: ...nowhere.zarr: there is no run here (no zarr.json); ip2lab.train(..., path=...) makes one
    """
    if not isinstance(verify, (bool, np.bool_)):
        raise TypeError(f"verify: {verify!r} is not valid; give True or False")

    def read(source: Source, document: Metadata) -> xr.DataTree:
        nodes = validate(source, document)
        tree = xr.DataTree.from_dict(xr.open_groups((source, nodes), engine=_Backend))  # type: ignore[arg-type]
        tree.attrs = {name: value for name, value in document["attributes"].items() if name != "store"}
        if not isinstance(source, Memory):
            tree.encoding = {"source": str(source)}
        if verify:
            for problem in damages(source, nodes):
                raise ValueError(problem)
        return tree

    try:
        return _by_one_root(path, read)
    except Copy as found:
        copy = found
    if verify:
        raise ValueError(
            f"{copy.source}: is a copy without checksums, nothing of it can be verified; give verify=False"
        )
    tree = open_copy(copy.source, copy.document)
    _check_attrs(copy.source, copy.document["attributes"])
    _check_order(copy.source, {name: tree[name].to_dataset() for name in GROUPS})
    missing = "checksums of its chunks, and whether one is missing (it reads as empty), could not be checked"
    warnings.warn(f"{copy.source}: is a copy of a run, as xarray writes it: {missing}", stacklevel=2)
    return tree


def read_checkpoint(path: str | os.PathLike[str] | Source) -> dict[str, np.ndarray]:
    """Read the arrays from which training goes on.

    Parameters
    ----------
    path : path-like
        The run's folder, or the ``store`` of a :class:`Recorder` in memory.

    Returns
    -------
    dict of numpy.ndarray
        What was given to the last ``commit`` that had a checkpoint.

    Raises
    ------
    FileNotFoundError
        There is no run at `path`.
    ValueError
        The run has no checkpoint, or a damaged one.

    Examples
    --------
    >>> read_checkpoint("nowhere.zarr")
    Traceback (most recent call last):
        ...
    FileNotFoundError: ...nowhere.zarr: there is no run here (no zarr.json); ip2lab.train(..., path=...) makes one
    """

    def read(source: Source, document: Metadata) -> dict[str, np.ndarray]:
        checkpoint = checkpoint_of(source, document)
        base = f"{CHECKPOINT}/{checkpoint['slot']}"
        try:
            listed = source.get(f"{base}/{ROOT}", MAX_ROOT)
            if checksum(listed).hex() != checkpoint["checksum"]:
                raise ValueError("its bytes are damaged: the checksum differs")
            described = json.loads(listed)["consolidated_metadata"]["metadata"]
            source.names(base)
            arrays = {name: _read_array(source, f"{base}/{name}", data) for name, data in described.items()}
            if checkpoint_of(source, read_root(source)) != checkpoint:
                raise ValueError("it was replaced meanwhile")
            return arrays
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{source}: /{base}: the checkpoint cannot be read: {error}") from None

    return _by_one_root(path, read)


def _by_one_root(path: Any, read: Callable[[Source, Metadata], _Read]) -> _Read:
    """Read what a root names; anew where a writer has replaced the root meanwhile, for then a failure is no damage."""
    source = source_of(path)
    document = read_root(source)
    for _ in range(AGAIN):
        try:
            return read(source, document)
        except ValueError:
            source, before = source_of(path), document  # an address is listed anew
            document = read_root(source)
            if document == before:
                raise
    return read(source, document)


def _read_array(source: Source, key: str, data: Metadata) -> np.ndarray:
    """Read an array of a checkpoint, which is one chunk without compression."""
    name = key.rpartition("/")[2]
    shape, dtype = tuple(data["shape"]), dtype_of(data)
    chunks = tuple(max(size, 1) for size in shape)
    dims = tuple(data["dimension_names"])
    expected = array_metadata(shape, dtype, chunks, dims=dims, attrs={}, compress=False)
    if data != expected or not plain_name(name) or dtype.kind == "T":
        raise ValueError(f"{name!r} is no array of a checkpoint")
    source.names(key)
    return select(source, key, data, [slice(None)] * len(shape))


def plain_name(name: Any) -> bool:
    """Tell whether a name can be that of a file, on any system, and nothing else.

    Examples
    --------
    >>> plain_name("adam.first_moment"), plain_name("../secret")
    (True, False)
    """
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name))


def source_of(path: Any) -> Source:
    """Return where the bytes of a run are: in a folder, a zip file, in memory or at an address."""
    if isinstance(path, Folder | Memory | Remote):
        return path
    if isinstance(path, str) and "://" in path:
        return at_address(path)
    folder = Folder(path)
    packed = os.path.isfile(folder.path) and zipfile.is_zipfile(folder.path)  # what is no plain file is not opened
    return at_address(f"zip://::{folder.path}") if packed else folder


def local(source: Source) -> Folder | Memory:
    """Return where a run may be written: not at an address."""
    if isinstance(source, Remote):
        raise ValueError(
            f"{source}: runs are written to a local folder; write there, then copy the folder to this address"
        )
    return source


def checkpoint_of(source: Source, document: Metadata) -> Metadata:
    """Return which checkpoint of a run is valid."""
    checkpoint: Metadata = document["attributes"]["store"]["checkpoint"]
    if not checkpoint:
        raise ValueError(
            f"{source}: there is no checkpoint from which training could go on: it was recorded with "
            "record={'checkpoints': False}; train it again without that, or look at it with ip2lab.probe"
        )
    return checkpoint


# ---- the root and what it says --------------------------------------------------------------------------------


def with_checksum(document: Metadata) -> bytes:
    """Write a root's ``zarr.json`` with the checksum of its own content."""
    attrs = document["attributes"]
    store = {**attrs["store"], "checksum": ""}
    seal = checksum(to_json({**document, "attributes": {**attrs, "store": store}})).hex()
    return to_json({**document, "attributes": {**attrs, "store": {**store, "checksum": seal}}})


def read_root(source: Source) -> Metadata:
    """Read the root's ``zarr.json``: of this version of the schema, undamaged, and with all attributes."""
    raw = _root_bytes(source)
    try:
        document: Metadata = json.loads(raw)
        attrs = document["attributes"]
        version, copied = attrs.get("schema_version"), is_copy(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{source}: {ROOT} is damaged or no group's: {type(error).__name__}: {error}") from None
    _check_version(source, attrs, version)
    if copied:
        raise Copy(source, document)
    try:
        whole = with_checksum(document) == raw
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise ValueError(f"{source}: {ROOT} is damaged: the checksum of its content differs")
    _check_attrs(source, attrs)
    return document


def _check_version(source: Source, attrs: Metadata, version: object) -> None:
    """Raise ValueError for another version of the schema than this one."""
    if version is None:
        raise ValueError(f"{source}: is a Zarr store, but no run: the attribute schema_version is missing")
    if type(version) is not int or version != SCHEMA_VERSION:
        wrote = attrs["versions"].get("ip2lab") if isinstance(attrs.get("versions"), dict) else None
        raise ValueError(
            f"{source}: has schema_version {version!r} (written by ip2lab {wrote or '?'}); this ip2lab reads "
            f"version {SCHEMA_VERSION}: read it with the ip2lab that wrote it"
        )


def _root_bytes(source: Source) -> bytes:
    """Read the root's ``zarr.json``; of a copy in version 2 of Zarr, what stands in its place."""
    try:
        return source.get(ROOT, MAX_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        with contextlib.suppress(OSError, ValueError):
            return older_root(source)
        raise FileNotFoundError(
            f"{source}: there is no run here (no {ROOT}); ip2lab.train(..., path=...) makes one"
        ) from None
    except ValueError as error:
        raise ValueError(f"{source}: {ROOT} cannot be read: {error}") from None


def _check_attrs(source: Source, attrs: Metadata) -> None:
    """Check that the root's attributes are there and of the kind that the rest relies on."""
    for name in ATTRS:
        if name not in attrs:
            raise ValueError(f"{source}: the attribute {name!r} is missing")
    kinds = {
        "family": str,
        "model": str,
        "learnable": list,
        "config": dict,
        "versions": dict,
        "complete": bool,
        "title": str,
    }
    for name, kind in kinds.items():
        if not isinstance(attrs[name], kind):
            raise ValueError(f"{source}: the attribute {name!r} is {attrs[name]!r}; expected a {kind.__name__}")
    checkpoint = attrs["store"].get("checkpoint") if "store" in attrs else {}
    if checkpoint != {} and (not isinstance(checkpoint, dict) or checkpoint.get("slot") not in ("0", "1")):
        raise ValueError(f"{source}: names the checkpoint {checkpoint!r}; expected the slot '0' or '1'")


def validate(source: Source, document: Metadata) -> dict[str, Metadata]:
    """Check the metadata below a root, and that every chunk they promise is there; return them by path."""
    try:
        nodes: dict[str, Metadata] = document["consolidated_metadata"]["metadata"]
        check_nodes(nodes, document["attributes"]["model"])
        for key, data in nodes.items():
            if data["node_type"] == "array":
                _check_chunks(key, data, source.names(key))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: {ROOT}: its metadata are not those of a run ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return nodes


def _check_chunks(key: str, data: Metadata, names: set[str]) -> None:
    """Raise ValueError unless all chunks of an array are among the names of its files."""
    counts = chunk_counts(data)
    if math.prod(counts) > 2 * len(names) + 1000:  # too many to be worth counting through, or to be true
        raise ValueError(
            f"/{key}: its shape {data['shape']} needs {math.prod(counts)} chunks; there are {len(names)} files"
        )
    for name in map(chunk_name, itertools.product(*map(range, counts))):
        if name not in names:
            raise ValueError(
                f"/{key}: chunk {name} is missing ({math.prod(counts)} were expected); take the run from a copy"
            )


class _Stored(BackendArray):
    """An array of a store, read where it is indexed."""

    def __init__(self, source: Source, key: str, metadata: Metadata) -> None:
        self._source, self._key, self._metadata = source, key, metadata
        self.shape = tuple(metadata["shape"])
        self.dtype = dtype_of(metadata)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return select(self._source, self._key, self._metadata, key)


class _Backend(BackendEntrypoint):
    """Builds the datasets of a validated store; xarray sees to it that numbers are read once and changes stay here."""

    supports_groups = True

    def open_groups_as_dict(self, filename_or_obj: Any, **_: Any) -> dict[str, xr.Dataset]:
        source, nodes = filename_or_obj
        variables: dict[str, dict[str, xr.Variable]] = {}
        for key, data in nodes.items():
            group, _name, name = key.partition("/")
            if name:
                variables[group][name] = _variable(source, key, data)
            else:
                variables[group] = {}
        datasets = {
            group: xr.Dataset(*_split(group, found), {"title": nodes[group]["attributes"].get("title", "")})
            for group, found in variables.items()
        }
        _check_order(source, datasets)
        return {"/": xr.Dataset(), **{f"/{group}": dataset for group, dataset in datasets.items()}}


def _split(group: str, variables: Mapping[str, xr.Variable]) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Split data variables from coordinates."""
    rows = GROUPS[group].variables
    coords = {name: values for name, values in variables.items() if name in rows and rows[name].coordinate}
    return {name: values for name, values in variables.items() if name not in coords}, coords


def _variable(source: Source, key: str, data: Metadata) -> xr.Variable:
    """Build a variable: labels and text at once, since xarray would, and everything else when it is used."""
    stored = _Stored(source, key, data)
    dims, name = data["dimension_names"], key.rpartition("/")[2]
    values: Any = indexing.LazilyIndexedArray(stored)
    if stored.dtype.kind == "T":
        values = _plain_text(f"{source}: /{key}", select(source, key, data, [slice(None)] * len(dims)))
    elif dims == [name]:
        values = select(source, key, data, [slice(None)])
    chunks = chunks_of(data)
    encoding = {"chunks": chunks, "preferred_chunks": dict(zip(dims, chunks, strict=True))}
    return xr.Variable(dims, values, data["attributes"], encoding)


def _plain_text(where: str, text: np.ndarray) -> np.ndarray:
    """Turn text, which is stored with variable length, into numpy's ordinary fixed-length text."""
    words = text.tolist()
    if 4 * len(words) * max(map(len, words), default=0) > MAX_CHUNK:
        raise ValueError(f"{where}: its text is too long; expected short names and reasons")
    return np.array(words, dtype=str)


def _check_order(source: Source, datasets: Mapping[str, xr.Dataset]) -> None:
    """Check that no row is missing in the middle of a series, and that kept problems are problems of it."""
    series = datasets["series"].sizes["problem"]
    for group, dim, first in (("series", "problem", 0), ("properties", "problem", -1), ("trials", "trial", 0)):
        values = datasets[group][dim].values
        wrong = np.flatnonzero(values != np.arange(first, first + len(values)))
        if wrong.size:
            row = wrong[0]
            raise ValueError(f"{source}: /{group}: {dim} {first + row} is missing: row {row} has {values[row]}")
    states = datasets["properties"].sizes["problem"]
    if states not in (0, series + 1):
        raise ValueError(
            f"{source}: /properties: the dim 'problem' has {states} entries; expected {series + 1}: one before "
            f"learning, and one after each of {series} problems"
        )
    for group in ("weights", "activity"):
        kept = datasets[group]["problem"].values
        if (np.diff(kept) <= 0).any() or ((kept < -1) | (kept >= series)).any():
            raise ValueError(f"{source}: /{group}: its problems are {kept}; expected increasing ones below {series}")


# ---- reading everything ---------------------------------------------------------------------------------------


def damages(source: Source, nodes: Mapping[str, Metadata]) -> Iterator[str]:
    """Read every chunk of a validated store and say of each array that is wrong what is wrong with it."""
    failed = _all(source, nodes, "series/failed")
    problems = {group: _all(source, nodes, f"{group}/problem") for group in GROUPS}
    for group, rows in problems.items():
        if not _are_problems(rows, len(failed)):
            yield f"{source}: /{group}/problem: expected numbers that do not fall, from -1 to {len(failed)}"
    for key, data in nodes.items():
        group, _, name = key.partition("/")
        row = variable(group, name, data["dimension_names"]) if name else None
        if row is None:
            continue
        values = _all(source, nodes, key)
        wrong = misplaced(values, row.missing, np.isin(problems[group], np.flatnonzero(failed)))
        if wrong.any():
            first = np.argwhere(wrong)[0]
            yield f"{source}: {key}: holds {values[tuple(first)]} in row {first[0]}; expected finite numbers"


def _are_problems(rows: np.ndarray, series: int) -> bool:
    """Tell whether the problems of a group's rows do not fall and are of the series, or next in it."""
    return not ((np.diff(rows) < 0).any() or (rows < -1).any() or (rows > series).any())


def _all(source: Source, nodes: Mapping[str, Metadata], key: str) -> np.ndarray:
    return select(source, key, nodes[key], [slice(None)] * len(nodes[key]["shape"]))
