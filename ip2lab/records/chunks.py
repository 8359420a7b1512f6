"""How arrays become chunks of bytes with checksums, and how chunks become arrays again.

What is written is plain Zarr, version 3, which any reader of it understands. It is not written through zarr's own
arrays because a commit touches some fifty small chunks, each a round through zarr's event loop, and rewrites chunks
that are filled in part, which zarr would read first. It is not read through them because they take a missing chunk for
zeros, and array metadata from other files than the one that a commit replaces.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numcodecs.vlen import VLenUTF8

from ip2lab.records.stores import Source

Metadata = dict[str, Any]

TEXT = np.dtypes.StringDType()
NUMBERS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
MAX_CHUNK = 64 * 2**20  # bytes of one chunk once decoded: what a reader has to trust a store with
ROOT = "zarr.json"


# ---- metadata -------------------------------------------------------------------------------------------------------


def array_metadata(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    *,
    dims: tuple[str, ...],
    attrs: Metadata,
    compress: bool = True,
) -> Metadata:
    """Return the ``zarr.json`` of an array (Zarr version 3) as it is stored here."""
    name = "string" if dtype.kind == "T" else dtype.name
    if name not in (*NUMBERS, "string"):
        raise TypeError(f"an array of dtype {dtype} cannot be stored; give one of {', '.join(NUMBERS)} or text")
    fill = {"T": "", "b": False, "f": "NaN"}.get(dtype.kind, 0)
    codecs: list[Metadata] = [{"name": "vlen-utf8", "configuration": {}}]
    if dtype.kind != "T":
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}]
        settings = {"typesize": dtype.itemsize, "cname": "zstd", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}
        codecs += [{"name": "blosc", "configuration": settings}] if compress else []
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": [*codecs, {"name": "crc32c"}],
        "attributes": attrs,
        "dimension_names": list(dims),
        "storage_transformers": [],
    }


def dtype_of(metadata: Metadata) -> np.dtype[Any]:
    """Return the numpy dtype of an array from its metadata."""
    return TEXT if metadata["data_type"] == "string" else np.dtype(metadata["data_type"])


def chunks_of(metadata: Metadata) -> tuple[int, ...]:
    """Return the shape of an array's chunks from its metadata."""
    return tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])


def chunk_counts(metadata: Metadata) -> list[int]:
    """Return how many chunks an array has along each of its dims."""
    return [-(-size // chunk) for size, chunk in zip(metadata["shape"], chunks_of(metadata), strict=True)]


def chunk_name(index: tuple[int, ...]) -> str:
    """Return the file name of a chunk."""
    return ".".join(["c", *map(str, index)])


def to_json(document: Any) -> bytes:
    """Write JSON: numpy's numbers as plain ones, NaN and infinity refused (they are no JSON)."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise TypeError(
            f"{value!r} ({type(value).__name__}) cannot be kept as an attribute; give numbers, text, lists or dicts"
        )

    try:
        return json.dumps(document, default=plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise ValueError(f"attributes: {error}; NaN and infinity have no place in JSON, give None or text") from None


def group_document(attrs: Mapping[str, Any], nodes: Mapping[str, Metadata]) -> Metadata:
    """Return a group's ``zarr.json`` with the metadata of everything below it."""
    inline = {"kind": "inline", "must_understand": False, "metadata": dict(nodes)}
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs), "consolidated_metadata": inline}


# ---- one chunk ------------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> bytes:
    """Return the CRC-32C of some bytes as the codec of that name appends it."""
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def encode(block: np.ndarray, metadata: Metadata) -> bytes:
    """Encode one whole chunk."""
    if block.dtype.kind == "T":
        data = bytes(VLenUTF8().encode(block.astype(object)))
    else:
        block = np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<"))
        compressed = metadata["codecs"][1]["name"] == "blosc"
        data = blosc.compress(block, b"zstd", 5, blosc.BITSHUFFLE) if compressed else block.tobytes()
    return data + checksum(data)


def decode(data: bytes, metadata: Metadata) -> np.ndarray:
    """Decode one whole chunk after checking it."""
    check_chunk(data, metadata)
    shape, dtype, body = chunks_of(metadata), dtype_of(metadata), data[:-4]
    if dtype.kind == "T":
        return VLenUTF8().decode(body).astype(dtype).reshape(shape)
    raw = blosc.decompress(body) if metadata["codecs"][1]["name"] == "blosc" else body
    return np.frombuffer(raw, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def check_chunk(data: bytes, metadata: Metadata) -> None:
    """Raise ValueError when a chunk's bytes are damaged, or when it would unpack to another size than declared."""
    body = data[:-4]
    if len(data) < 4 or data[-4:] != checksum(body):
        raise ValueError("its bytes are damaged: the checksum differs")
    count = math.prod(chunks_of(metadata))
    codec = metadata["codecs"][-2]["name"]
    if codec == "vlen-utf8":
        declared = int.from_bytes(body[:4], "little")
    elif codec == "blosc":  # its header holds the sizes: decoded at 4, encoded at 12
        count *= dtype_of(metadata).itemsize
        declared = int.from_bytes(body[4:8], "little") if int.from_bytes(body[12:16], "little") == len(body) else -1
    else:
        count, declared = count * dtype_of(metadata).itemsize, len(body)
    if declared != count:
        raise ValueError(f"it holds {declared} where {count} were declared")


# ---- whole arrays ---------------------------------------------------------------------------------------------------


def pieces(start: int, rows: np.ndarray, metadata: Metadata) -> Iterator[tuple[str, bytes]]:
    """Cut rows that begin at chunk `start` of an array's first dim into encoded chunks with their names."""
    chunks, dtype = chunks_of(metadata), dtype_of(metadata)
    shape = (len(rows), *metadata["shape"][1:]) if metadata["shape"] else ()
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    fill = {"f": np.nan, "T": ""}.get(dtype.kind, 0)
    for index in itertools.product(*map(range, counts)):
        part = rows[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
        chunk = np.full(chunks, fill, dtype)
        chunk[tuple(map(slice, part.shape))] = part
        yield chunk_name((start + index[0], *index[1:]) if index else ()), encode(chunk, metadata)


def read_chunk(source: Source, key: str, metadata: Metadata) -> bytes:
    """Read and check one chunk; ValueError names the array, the chunk and what is wrong with it."""
    array, _, name = key.rpartition("/")
    size = math.prod(chunks_of(metadata)) * max(dtype_of(metadata).itemsize, 1)
    try:
        data = source.get(key, limit=size + 64 if metadata["data_type"] != "string" else MAX_CHUNK)
        check_chunk(data, metadata)
    except FileNotFoundError:
        raise ValueError(f"{source}: /{array}: chunk {name} is missing; take the run from a copy") from None
    except ValueError as error:
        raise ValueError(
            f"{source}: /{array}: chunk {name} cannot be read: {error}; take the run from a copy"
        ) from None
    return data


def select(source: Source, key: str, metadata: Metadata, indexers: Sequence[Any]) -> np.ndarray:
    """Read from an array what one indexer for each dim selects: a number, a slice or numbers, independently."""
    wanted = [_wanted(size, i) for size, i in zip(metadata["shape"], indexers, strict=True)]
    values = np.empty([len(numbers) for numbers in wanted], dtype_of(metadata))
    for parts in itertools.product(*map(_parts, wanted, chunks_of(metadata))) if values.size else ():
        index, places, inside = zip(*parts, strict=True) if parts else ((), (), ())
        block = decode(read_chunk(source, f"{key}/{chunk_name(index)}", metadata), metadata)
        values[_grid(places)] = block[_grid(inside)]
    kept = tuple(slice(None) if np.ndim(i) or isinstance(i, slice) else 0 for i in indexers)
    return np.asarray(values[kept]) if kept else values


def _wanted(size: int, indexer: Any) -> range | np.ndarray:
    """Return the numbers along a dim that an indexer stands for."""
    if isinstance(indexer, slice):
        return range(*indexer.indices(size))
    numbers = np.atleast_1d(indexer)
    return np.where(numbers < 0, numbers + size, numbers)


def _parts(wanted: range | np.ndarray, chunk: int) -> Iterator[tuple[int, Any, Any]]:
    """Go through the chunks along a dim that hold wanted numbers: which one, their places among all, and inside it."""
    if isinstance(wanted, range) and wanted.step == 1:
        for i in range(wanted[0] // chunk, wanted[-1] // chunk + 1):
            first, stop = max(i * chunk, wanted.start), min((i + 1) * chunk, wanted.stop)
            yield i, slice(first - wanted.start, stop - wanted.start), slice(first - i * chunk, stop - i * chunk)
        return
    numbers = np.asarray(wanted)
    for i in np.unique(numbers // chunk).tolist():
        places = np.flatnonzero(numbers // chunk == i)
        yield i, places, numbers[places] - i * chunk


def _grid(places: Sequence[Any]) -> Any:
    """Index a block by places along each dim, by slices where all of them are (much faster)."""
    if all(isinstance(place, slice) for place in places):
        return tuple(places)
    return np.ix_(*(np.arange(p.start, p.stop) if isinstance(p, slice) else p for p in places))
