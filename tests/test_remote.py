"""A store at an address that fsspec knows: the same run, the same checks, nothing written."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem
from make_run import make_run
from test_records import assert_same, damage

import ip2lab
from ip2lab.records import Recorder, open_run, read_checkpoint
from ip2lab.records.stores import Remote

ADDRESS = "memory://bucket/run.zarr"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / "run.zarr"
    make_run(path, problems=5, neurons=4, steps=6, commit_every=2)
    return path


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def upload(path: Path, system: MemoryFileSystem) -> None:
    system.store.clear()
    for file in path.rglob("*"):
        if file.is_file():
            system.pipe_file(f"/bucket/run.zarr/{file.relative_to(path).as_posix()}", file.read_bytes())


def test_an_address_gives_the_same_run(kept: Path, memory: MemoryFileSystem, tmp_path: Path) -> None:
    upload(kept, memory)
    inside, flat = (
        shutil.make_archive(str(tmp_path / name), "zip", kept.parent, base)
        for name, base in (("a", kept.name), ("b", "."))
    )
    alone = shutil.make_archive(str(tmp_path / "c"), "zip", kept)
    here = open_run(kept)
    addresses = [ADDRESS, f"file://{kept}", f"zip://run.zarr::{inside}", f"zip://run.zarr::{flat}", f"zip://::{alone}"]
    for address in (*addresses, f"simplecache::{ADDRESS}"):
        there = open_run(address, verify=True)
        assert_same(there, here)
        assert there.attrs == here.attrs
        assert there.encoding["source"] == (str(kept) if address.startswith("file") else address)
        saved = read_checkpoint(kept)
        assert all(np.array_equal(read_checkpoint(address)[name], saved[name]) for name in saved)


def test_only_used_chunks_are_fetched(kept: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(kept, memory)
    fetched: list[str] = []
    listed: list[str] = []
    cat, find = MemoryFileSystem.cat_file, MemoryFileSystem.find
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda s, p, **k: fetched.append(p) or cat(s, p, **k))
    monkeypatch.setattr(MemoryFileSystem, "find", lambda s, p, **k: listed.append(p) or find(s, p, **k))
    run = open_run(ADDRESS)
    assert len(listed) == 1
    assert not [path for path in fetched if "membrane" in path or "series/loss" in path]
    data = run["activity"]["membrane"]
    assert not data.variable._in_memory
    before = len(fetched)
    data.sel(problem=3).load()
    assert [path for path in fetched[before:] if "membrane" in path] == ["/bucket/run.zarr/activity/membrane/c.3.0.0.0"]
    assert len(fetched) - before < 6  # and the labels of its probe trials


def test_explorers_open_an_address_and_training_refuses_to_write(memory: MemoryFileSystem, tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets")
    from ip2lab.views import PopulationExplorer

    path = tmp_path / "run.zarr"
    ip2lab.train("association", problems=2, neurons=20, max_trials=60, path=path, progress=False)
    upload(path, memory)
    explorer = PopulationExplorer(ADDRESS)
    assert f"ip2lab.open_run('{ADDRESS}')" in explorer.code()
    run = ip2lab.open_run(ADDRESS)
    assert ip2lab.replay(run, 1, 3).attrs["identical"]
    before = dict(memory.store)
    elsewhere = r"memory://.*: runs are written to a local folder; write there, then copy the folder"
    with pytest.raises(ValueError, match=elsewhere):
        ip2lab.resume(ADDRESS, problems=3, progress=False)
    with pytest.raises(ValueError, match=elsewhere):
        ip2lab.train("association", problems=1, neurons=20, path="memory://bucket/new", progress=False)
    with pytest.raises(ValueError, match=elsewhere):
        Recorder.reopen(ADDRESS)
    assert memory.store.keys() == before.keys()
    with pytest.raises(ValueError, match=r"path is PosixPath.'memory:/bucket/new'.*give it as text"):
        ip2lab.train("association", problems=1, neurons=20, path=Path("memory://bucket/new"), progress=False)


def outcome(path: str | Path) -> str | xr.DataTree:
    try:
        run, saved = open_run(path, verify=True), read_checkpoint(path)
    except (ValueError, FileNotFoundError) as error:
        text = str(error).replace(str(path), "STORE")
        return re.sub(r"it has (\d+ bytes, )?more than .*", "too large", text)
    return run.assign(saved=xr.DataTree(xr.Dataset({name: ((), float(np.sum(rows))) for name, rows in saved.items()})))


def test_a_damaged_remote_run_raises_like_a_local_one(kept: Path, memory: MemoryFileSystem, tmp_path: Path) -> None:
    rng, reported = np.random.default_rng(5), 0
    for number in range(30):
        path = Path(shutil.copytree(kept, tmp_path / str(number)))
        what = damage(path, rng)
        upload(path, memory)
        here, there = outcome(path), outcome(ADDRESS)
        if isinstance(here, str):
            assert there == here, what
            reported += 1
        else:
            assert isinstance(there, xr.DataTree), what
            assert there.identical(here), what
    assert reported > 10


def test_no_more_is_fetched_than_a_file_could_need(kept: Path, memory: MemoryFileSystem) -> None:
    upload(kept, memory)
    run = open_run(ADDRESS)
    memory.pipe_file("/bucket/run.zarr/series/loss/c.0", bytes(2**20))
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 cannot be read: it has more than the \d+ bytes"):
        run["series"]["loss"].values  # noqa: B018
    memory.rm_file("/bucket/run.zarr/series/loss/c.0")
    with pytest.raises(ValueError, match=r"memory://bucket/run.zarr: /series/loss: chunk c.0 is missing"):
        run["series"]["loss"].values  # noqa: B018
    with pytest.raises(ValueError, match=r"memory://bucket/run.zarr: /series/loss: chunk c.0 is missing"):
        open_run(ADDRESS)


def test_an_error_of_the_file_system_names_the_array_and_chunk(kept: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "run"), "zip", kept))
    data = bytearray(archive.read_bytes())
    chunk = (kept / "series/loss/c.0").read_bytes()
    at = data.find(b"series/loss/c.0") + len("series/loss/c.0")
    data[at : at + len(chunk) // 2] = bytes(len(chunk) // 2)
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 cannot be read: (BadZipFile|error): "):
        open_run(f"zip://::{archive}")["series"]["loss"].values  # noqa: B018


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("memory://nowhere", FileNotFoundError, r"memory://nowhere: there is no run here \(no zarr.json\)"),
        ("zip://::nowhere.zip", FileNotFoundError, r"zip://::nowhere.zip: there is nothing here"),
        (f"zip://::{__file__}", ValueError, r"cannot be read: File is not a zip file"),
        ("nope://run", ValueError, r"nope://run: cannot be read: Protocol not known: nope"),
        ("file:///nowhere/run", FileNotFoundError, r"/nowhere/run: there is no run here"),
    ],
)
def test_a_wrong_address_is_refused_with_its_reason(address: str, error: type[Exception], says: str) -> None:
    for call in (open_run, read_checkpoint):
        with pytest.raises(error, match=says):
            call(address)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match=r"s3://bucket/run: reading it needs one more package: .*s3fs"):
        open_run("s3://bucket/run")


def test_a_password_in_an_address_is_not_shown() -> None:
    source = Remote("ftp://me:secret@host/run", fsspec.filesystem("memory"), "/run")
    assert str(source) == "ftp://host/run"


def test_an_address_that_cannot_list_its_files_is_refused(
    kept: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(kept, memory)
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_: [])
    with pytest.raises(
        ValueError, match=r"memory://.*: the files at this address cannot be listed; pack the run: zip://"
    ):
        open_run(ADDRESS)
