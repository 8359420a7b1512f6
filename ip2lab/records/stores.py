"""Where the bytes of a run are: in a folder, in memory, or at an address; files are only ever replaced whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial"


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
    text = _local(path, wanted)
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


def _local(path: Any, wanted: str) -> str:
    """Return a path as text; TypeError or ValueError where it is none, or an address."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path is {path!r} ({type(path).__name__}); expected the path of {wanted}")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"path is {path!r}; it holds a null character; expected a path without")
    if isinstance(path, str) and "://" in text:
        raise ValueError(f"path is {path!r}, an address; {wanted} has to be on this machine: give its path")
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:[/\\]", text):  # longer than the letter of a drive
        raise ValueError(f"path is {path!r}, an address that has been changed into a path; give it as text")
    return text


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
        with _as_value_error():
            data = bytes(self._system.cat_file(self._root + key, start=0, end=limit + 1))
        if len(data) > limit:
            raise ValueError(f"it has more than the {limit} bytes that it could need")
        return data

    def names(self, key: str) -> set[str]:
        """List the files directly under a key, as they were when this was asked first."""
        if self._listed is None:
            with _as_value_error():
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
def _as_value_error() -> Iterator[None]:
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
    full = _with_full_path(address)
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


def _with_full_path(address: str) -> str:
    """Return an address in which the local file that an archive is read from has its full path."""
    *outer, last = address.split("::")
    scheme, mark, path = last.rpartition("://")
    if scheme in ("", "file", "local") and (outer or mark):
        last = f"{scheme}{mark}{absolute(path)}"
    return "::".join([*outer, last])
