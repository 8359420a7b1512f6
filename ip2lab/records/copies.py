"""A run that xarray wrote again (``run.to_zarr``): the same groups and labels, in chunks that have no checksums.

It is read through zarr, after it was made sure that its metadata name no codec but plain ones: some, such as pickle,
run what a stranger wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.records.chunks import MAX_CHUNK, Metadata
from ip2lab.records.schema import GROUPS, check_present, compare, variable
from ip2lab.records.stores import Remote, Source

METADATA = ("zarr.json", ".zarray", ".zmetadata")
PLAIN = (
    "blosc",
    "bytes",
    "bz2",
    "crc32c",
    "gzip",
    "lz4",
    "lzma",
    "sharding_indexed",
    "transpose",
    "vlen-utf8",
    "zlib",
    "zstd",
)
MAX_METADATA = 2**26  # bytes of one of its files
MAX_LABELS = 2**30  # bytes of one row of labels: these are read at once
SLACK = 1000  # chunks that an array may have beyond twice the files: those that hold nothing are not written
KINDS = {"text": "UTO", "float": "f"}


class Copy(ValueError):
    """Says that a store is a copy: it can be read, but training cannot go on from it."""

    def __init__(self, source: Source, document: Metadata) -> None:
        self.source, self.document = source, document
        super().__init__(
            f"{source}: is a copy of a run, as xarray writes it, with no checkpoint from which training could go on; "
            "read it with ip2lab.open_run, and go on with the store that ip2lab.train wrote"
        )


def is_copy(document: Metadata) -> bool:
    """Tell whether a root is that of a copy: without what a store of ours says of itself, and of arrays unlike ours."""
    below = (document.get("consolidated_metadata") or {}).get("metadata") or {}
    arrays = [each for each in below.values() if isinstance(each, dict) and "shape" in each]
    return "store" not in document["attributes"] and not any(
        {"name": "crc32c"} in each.get("codecs", []) for each in arrays
    )


def older_root(source: Source) -> bytes:
    """Return what a copy in version 2 of Zarr says of itself, as version 3 would; an error where there is none."""
    attrs = json.loads(source.get(".zattrs", MAX_METADATA))
    inline: Metadata | None = {"metadata": {}} if ".zmetadata" in source.files() else None
    return json.dumps({"attributes": attrs, "consolidated_metadata": inline}).encode()


def open_copy(source: Source, document: Metadata) -> xr.DataTree:
    """Open a copy lazily, as far as it has the groups and variables of a run."""
    try:
        _check_files(source)
        consolidated = document.get("consolidated_metadata") is not None
        tree = xr.open_datatree(
            _zarr_store(source), engine="zarr", consolidated=consolidated, chunks=None, decode_times=False
        )
        _check_variables(tree, document["attributes"]["model"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{source}: its metadata are not those of a run ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    tree.attrs, tree.encoding = dict(document["attributes"]), {"source": str(source)}
    return tree


def _zarr_store(source: Source) -> Any:
    """Return what zarr reads a store from."""
    if isinstance(source, Remote):
        return source.address
    return str(source)


def _check_files(source: Source) -> None:
    """Read the metadata of all arrays; ValueError for codecs that are not plain ones, and for sizes that cannot be."""
    files = source.files()
    for key in sorted(files):
        if key.rpartition("/")[2] in METADATA:
            document = json.loads(source.get(key, MAX_METADATA))
            for codec in _codecs(document):
                name = codec if isinstance(codec, str) else codec.get("name", codec.get("id"))
                if name not in PLAIN:
                    raise ValueError(f"/{key}: names the codec {name!r}; expected {', '.join(PLAIN)}")
            for name, array in _arrays(document):
                _check_size(f"{key.rpartition('/')[0]}/{name}".strip("/"), array, len(files))


def _codecs(document: Any) -> Iterator[Any]:
    """Go through all codecs that metadata name, those inside others too."""
    if isinstance(document, list):
        for each in document:
            yield from _codecs(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key in ("codecs", "index_codecs", "filters", "compressor"):
                yield from value if isinstance(value, list) else [value] * (value is not None)
            if key != "attributes" and not key.endswith(".zattrs"):
                yield from _codecs(value)


def _arrays(document: Any) -> Iterator[tuple[str, Metadata]]:
    """Go through the arrays that metadata describe, with the names under which they stand there."""
    if "shape" in document:
        yield "", document
    below = document if "metadata" in document else document.get("consolidated_metadata") or {}
    for name, each in below.get("metadata", {}).items():
        if {"", ".."} & set(name.split("/")):
            raise ValueError(f"/{name}: leads out of the store")
        if "shape" in each:
            yield name, each


def _check_size(key: str, data: Metadata, files: int) -> None:
    """Refuse what would take more memory than a run's arrays do."""
    shape = data["shape"]
    chunks = data["chunks"] if "chunks" in data else data["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [-(-size // max(chunk, 1)) for size, chunk in zip(shape, chunks, strict=True)]
    if math.prod(counts) > 2 * files + SLACK:
        raise ValueError(f"/{key}: its shape {shape} needs {math.prod(counts)} chunks; there are {files} files")
    item = _item_size(data)
    if math.prod(chunks) * item > MAX_CHUNK or (len(shape) == 1 and shape[0] * item > MAX_LABELS):
        raise ValueError(f"/{key}: its shape {shape} in chunks of {chunks} is larger than any of a run's")


def _item_size(data: Metadata) -> int:
    """Return the bytes of one entry of an array."""
    kind = data.get("data_type", data.get("dtype"))
    if isinstance(kind, dict):
        kind, settings = kind["name"], kind.get("configuration", {})
        return int(settings.get("length_bytes", 8))
    return 8 if kind in ("string", "|O") else np.dtype(kind).itemsize


def _check_variables(tree: xr.DataTree, model: Any) -> None:
    """Raise ValueError, which says where, unless the variables of a run are there, with their dims, kinds and units."""
    variables = {f"{group}/{name}": each for group in tree.children for name, each in tree[group].variables.items()}
    for group in GROUPS:
        if group not in tree.children:
            raise ValueError(f"/{group}: the group is missing")
    check_present(variables, model)
    for key, values in variables.items():
        group, _, name = key.partition("/")
        row = variable(group, name, tuple(map(str, values.dims))) if group in GROUPS else None
        if row:  # others are not in the way
            kinds = KINDS.get(row.dtype) or np.dtype(row.dtype).kind
            comparisons = (
                ("dims", values.dims, row.dims),
                ("units", values.attrs.get("units"), row.units),
                ("kind of numbers", values.dtype.kind if values.dtype.kind not in kinds else kinds, kinds),
            )
            compare(f"/{key}", comparisons)
