"""How bytes reach the disk and come back: chunks with checksums, files replaced whole, one writer at a time.

What is written is plain Zarr, version 3, which any reader of it understands. It is not written through zarr's own
arrays because a commit touches some fifty small chunks, each a round through zarr's event loop, and rewrites chunks
that are filled in part, which zarr would read first. It is not read through them because they take a missing chunk for
zeros, and array metadata from other files than the one that a commit replaces.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import re
import signal
import socket
import stat
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numcodecs.vlen import VLenUTF8

try:
    import fcntl
except ImportError:  # Windows: a lock file is believed, and one that a dead writer left is deleted by hand
    fcntl = None  # type: ignore[assignment]

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
PARTIAL = ".partial"
LOCK = ".lock"


# ---- arrays and chunks ----------------------------------------------------------------------------------------


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


def pieces(start: int, rows: np.ndarray, metadata: Metadata) -> Iterator[tuple[str, bytes]]:
    """Cut rows that begin at chunk `start` of an array's first dim into encoded chunks with their names."""
    chunks, dtype = chunks_of(metadata), dtype_of(metadata)
    shape = (len(rows), *metadata["shape"][1:]) if metadata["shape"] else ()
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    fill = np.nan if dtype.kind == "f" else "" if dtype.kind == "T" else 0
    for index in itertools.product(*map(range, counts)):
        part = rows[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
        if part.shape != chunks:
            part = (
                np.pad(part, [(0, c - s) for c, s in zip(chunks, part.shape, strict=True)], constant_values=fill)
                if dtype.kind != "T"
                else np.array([*part, *[""] * (chunks[0] - len(part))], dtype=TEXT)
            )
        name = chunk_name((start + index[0], *index[1:]) if index else ())
        yield name, encode(part.astype(dtype, copy=False), metadata)


# ---- where the bytes are --------------------------------------------------------------------------------------


def absolute(path: Any, wanted: str = "a run's folder") -> Path:
    """Return a path that means the same wherever one goes later; a leading ``~`` is the home folder.

    Raises
    ------
    TypeError, ValueError
        It cannot be the path of what is wanted, or is an address on another machine.

    Examples
    --------
    >>> absolute("runs/first.zarr").is_absolute(), "~" in str(absolute("~/runs/first.zarr"))
    (True, False)
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path is {path!r} ({type(path).__name__}); expected the path of {wanted}")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"path is {path!r}; it holds a null character; expected a path without")
    if isinstance(path, str) and "://" in text:
        raise ValueError(f"path is {path!r}, an address; {wanted} has to be on this machine: give its path")
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:[/\\]", text):  # longer than the letter of a drive
        raise ValueError(f"path is {path!r}, an address that has been changed into a path; give it as text")
    home = os.path.expanduser(text)
    if text.startswith("~") and home == text:
        raise ValueError(
            f"path is {path!r}; there is no user of this name: for a folder that is called so, give './{text}'"
        )
    try:
        full = Path(home).absolute()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"path is {path!r}, and the current folder is gone: give a full path"
        ) from None
    plain = Path(os.path.normpath(full))
    return plain if os.path.realpath(plain) == os.path.realpath(full) else full  # after a link, `..` is not its folder


class Folder:
    """A folder whose files are only ever replaced whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)

    def put(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Write a file beside its place and move it there, so that a reader meets the old one or the new one."""
        target = self.path / key
        partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
        try:
            with open(partial, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def get(self, key: str, limit: int | None = None) -> bytes:
        """Read a file; one that is no plain file, or larger than `limit` bytes, raises ValueError."""
        target = self.path / key
        status = os.lstat(target)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no plain file")
        if limit is not None and status.st_size > limit:
            raise ValueError(f"it has {status.st_size} bytes, more than the {limit} that it could need")
        return target.read_bytes()

    def names(self, key: str) -> set[str]:
        """List the plain files in a folder, none where there is no such folder; ValueError where it is elsewhere."""
        target = self.path / key
        if os.path.realpath(target) != os.path.join(os.path.realpath(self.path), *key.split("/")):
            raise ValueError(f"/{key}: leads out of the store")
        try:
            with os.scandir(target) as entries:
                return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def files(self) -> set[str]:
        """List all files below the folder; ValueError where one is a link, or no plain file."""
        found = set()
        for folder, folders, names in os.walk(self.path):
            for name in [*folders, *names]:
                file = Path(folder, name)
                mode = os.lstat(file).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise ValueError(
                        f"/{file.relative_to(self.path).as_posix()}: leads out of the store, or is no file"
                    )
            found |= {Path(folder, name).relative_to(self.path).as_posix() for name in names}
        return found

    def make(self, key: str) -> None:
        """Make a folder for files."""
        (self.path / key).mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove what a killed writer left half written."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.endswith(PARTIAL):
                    os.unlink(os.path.join(folder, name))

    def __str__(self) -> str:
        return str(self.path)


class Memory:
    """The same in memory."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Keep bytes under a key."""
        self._files[key] = data

    def get(self, key: str, limit: int | None = None) -> bytes:
        """Return the bytes under a key."""
        try:
            return self._files[key]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "is not there", key) from None

    def names(self, key: str) -> set[str]:
        """List the files directly under a key."""
        return {name.rpartition("/")[2] for name in self._files if name.rpartition("/")[0] == key}

    def files(self) -> set[str]:
        """List all files."""
        return set(self._files)

    def make(self, key: str) -> None:
        """Do nothing: there are no folders."""

    def sweep(self) -> None:
        """Nothing is ever half written."""

    def __str__(self) -> str:
        return "a run in memory"


class Remote:
    """A folder at an address that fsspec knows, only to be read: listed once, its files fetched when they are used."""

    def __init__(self, address: str, system: Any, root: str) -> None:
        self.address, self._system, self._root = address, system, f"{root.rstrip('/')}/" if root.strip("/") else ""
        self._listed: dict[str, set[str]] | None = None

    def get(self, key: str, limit: int) -> bytes:
        """Read a file, not more of it than `limit` bytes: one that has more raises ValueError."""
        with _understood():
            data = bytes(self._system.cat_file(self._root + key, start=0, end=limit + 1))
        if len(data) > limit:
            raise ValueError(f"it has more than the {limit} bytes that it could need")
        return data

    def names(self, key: str) -> set[str]:
        """List the files directly under a key, as they were when this was asked first."""
        if self._listed is None:
            with _understood():
                found = self._system.find(self._root or "/")
            if not found:  # a plain web server may give files and no list of them
                raise ValueError("the files at this address cannot be listed; pack the run: zip://::ADDRESS/run.zip")
            self._listed = {}
            for path in found:
                folder, _, name = path.removeprefix(self._root).lstrip("/").rpartition("/")
                self._listed.setdefault(folder, set()).add(name)
        return self._listed.get(key, set())

    def files(self) -> set[str]:
        """List all files."""
        self.names("")
        return {f"{folder}/{name}".lstrip("/") for folder, names in (self._listed or {}).items() for name in names}

    def __str__(self) -> str:
        return re.sub(r"//[^/@]*@", "//", self.address)  # without a password in it


Source = Folder | Memory | Remote


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Turn whatever a file system raises that is no OSError, as every one of them has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def at_address(address: str) -> Folder | Remote:
    """Return where the bytes are that an address stands for; a local folder is read as one.

    Examples
    --------
    >>> str(at_address("file:///data/run.zarr"))
    '/data/run.zarr'
    """
    full = _anchored(address)
    archive = full.startswith(("zip://", "tar://", "libarchive://"))  # fsspec would keep the list of files of before
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        system, root = url_to_fs(full, **({"skip_instance_cache": True} if archive else {}))
    except FileNotFoundError:
        raise FileNotFoundError(f"{address}: there is nothing here") from None
    except ImportError as error:
        raise ImportError(f"{address}: reading it needs one more package: {error}") from error
    except Exception as error:
        raise ValueError(f"{address}: cannot be read: {error}") from error
    if isinstance(system, LocalFileSystem):
        return Folder(root)
    system.invalidate_cache()
    return Remote(full, system, root)


def _anchored(address: str) -> str:
    """Return an address in which the local file that an archive is read from has its full path."""
    *outer, last = address.split("::")
    scheme, mark, path = last.rpartition("://")
    if scheme in ("", "file", "local") and (outer or mark):
        last = f"{scheme}{mark}{absolute(path)}"
    return "::".join([*outer, last])


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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep an interrupt by the keyboard until the end of a block."""
    if threading.current_thread() is not threading.main_thread():  # others are not interrupted
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGINT)


# ---- one writer at a time -------------------------------------------------------------------------------------


class Lock:
    """A file that names the one process which writes to a folder, locked by the operating system while it does.

    However a process ends, the system then frees its lock, and the file is stale and taken over. A file that names
    another host is believed: not every file system shares locks between hosts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / LOCK
        self.mine = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            "token": os.urandom(8).hex(),
        }
        self._descriptor: int | None = self._take()
        _held.add(self)

    def _take(self) -> int:
        """Open the file, lock it, and write into it who holds it."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            free, current = _claim(descriptor), _is_at(descriptor, self.path)
            if free and current:
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, to_json(self.mine))
                return descriptor
            holder = _read(descriptor)
            os.close(descriptor)
            if current:  # else it was deleted or replaced meanwhile
                raise BlockingIOError(
                    f"{self.path.parent} is being written by another process: {describe(holder)}. Wait for it, stop "
                    f"it, or, where it no longer runs, delete {self.path}"
                )

    def check(self) -> None:
        """Raise when the lock, or the whole folder, is no longer this writer's."""
        holder = holder_of(self.path.parent)
        if self._descriptor is None or holder.get("token") != self.mine["token"]:
            now = f"now it is {describe(holder)}'s" if holder else "it was deleted, moved or given free"
            raise FileNotFoundError(errno.ENOENT, f"it is no longer this writer's, {now}")

    def release(self) -> None:
        """Give the lock back; its file is deleted if it is still this writer's."""
        with contextlib.suppress(OSError):
            self.check()
            if fcntl is None:
                self.close()  # Windows deletes no open file
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the file, as the end of the process does."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _close_in_child() -> None:
    """Leave the locks to the process that was forked: a lock is free once every copy of its descriptor is closed."""
    for lock in list(_held):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _claim(descriptor: int) -> bool:
    """Lock an open file for as long as it stays open; False where it names a writer that may still run."""
    if fcntl is None:
        return not _read(descriptor)
    return _flock(descriptor) and _read(descriptor).get("host", socket.gethostname()) == socket.gethostname()


def _flock(descriptor: int) -> bool:
    """Lock an open file unless another has it; who only asks (`is_locked`) has it for an instant, so try for longer."""
    late = time.monotonic() + 0.1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > late:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> Metadata:
    """Return whom an open lock file names."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return parse_holder(os.read(descriptor, 4096))


def is_locked(path: Path) -> bool:
    """Tell whether a folder has a writer that may still run."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # who may not write there cannot ask
        return True
    try:
        return not _claim(descriptor)
    finally:
        os.close(descriptor)


def parse_holder(data: bytes) -> Metadata:
    """Return who holds a lock; nobody where the file was left empty or half written."""
    try:
        holder = json.loads(data)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def holder_of(path: Path) -> Metadata:
    """Return who writes to a folder, nobody where it has no lock."""
    try:
        return parse_holder((path / LOCK).read_bytes())
    except OSError:
        return {}


def describe(holder: Metadata) -> str:
    """Say who holds a lock."""
    return f"host {holder.get('host')}, process {holder.get('pid')}, since {holder.get('time')}"
