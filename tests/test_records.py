"""The store of a run: nothing lost, nothing wrong, nothing let in."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from make_run import make_run, make_template, random_properties, random_rows

from ip2lab.records import GROUPS, SCHEMA_VERSION, Recorder, open_run, read_checkpoint, reading, template
from ip2lab.records import lock as lock_module
from ip2lab.records.chunks import array_metadata, checksum, pieces, select
from ip2lab.records.lock import Lock, is_locked
from ip2lab.records.reading import with_checksum
from ip2lab.records.stores import Folder, Memory

ATTRS = {"family": "association", "model": "spiking", "learnable": ["tau_soma"], "seed": 3, "config": {"dt": 20}}
SMALL = {"neurons": 4, "steps": 6}
KEPT = (0, 1, 3)


def columns(datasets: dict[str, xr.Dataset], problem: int, first: int) -> dict[str, dict[str, Any]]:
    """Rows of a problem that depend on its number only (and on the number of its first trial)."""
    return random_rows(datasets, problem, np.random.default_rng([7, problem]), first=first, kept=KEPT)


def add(recorder: Recorder, datasets: dict[str, xr.Dataset], problem: int, first: int) -> int:
    """Append a problem (before the first one, the properties at birth) and return the number of the next trial."""
    if problem == 0:
        birth = random_properties(datasets["properties"], [-1], np.random.default_rng(7))
        recorder.append("properties", problem=[-1], **birth)
    rows = columns(datasets, problem, first)
    for group, values in rows.items():
        recorder.append(group, **values)
    return first + int(rows["series"]["trials"][0])


def checkpoint(problem: int) -> dict[str, np.ndarray]:
    return {"problem": np.array(problem), "weights": np.full((3, 50), problem, "float32"), "none": np.zeros((0, 2))}


def record(path: Any, problems: int, *, every: int = 1, **sizes: Any) -> xr.DataTree:
    datasets = make_template(**(SMALL | sizes))
    with Recorder(path, datasets, ATTRS | {"model": sizes.get("model", "spiking")}) as recorder:
        first = 0
        for problem in range(problems):
            first = add(recorder, datasets, problem, first)
            if problem % every == every - 1:
                recorder.commit(checkpoint(problem))
        return recorder.close(complete=True, checkpoint=checkpoint(problems - 1))


def go_on(path: Path, problems: int) -> None:
    """Record until there are so many problems, from wherever the store is, committing after each."""
    datasets = make_template(**SMALL)
    start, first = 0, 0
    if path.exists():
        recorder = Recorder.reopen(path)
        start, first = int(read_checkpoint(path)["problem"]) + 1, recorder.lengths["trials"]
    else:
        recorder = Recorder(path, datasets, ATTRS)
        recorder.commit(checkpoint(-1))
    with recorder:
        for problem in range(start, problems):
            first = add(recorder, datasets, problem, first)
            recorder.commit(checkpoint(problem))
        recorder.close(complete=True, checkpoint=checkpoint(problems - 1))


def assert_same(left: xr.DataTree, right: xr.DataTree) -> None:
    """Equal in every bit of every variable, its dims, dtype and attributes."""
    for group in GROUPS:
        one, other = left[group].to_dataset().load(), right[group].to_dataset().load()
        xr.testing.assert_identical(one, other)
        assert {n: v.dtype.kind for n, v in one.variables.items()} == {
            n: v.dtype.kind for n, v in other.variables.items()
        }


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the root's metadata as one could who knows how they are with_checksum."""
    document = json.loads((path / "zarr.json").read_bytes())
    change(document)
    (path / "zarr.json").write_bytes(with_checksum(document))


def nodes(document: dict[str, Any]) -> dict[str, Any]:
    return document["consolidated_metadata"]["metadata"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "run"
    record(path, 5, every=2)
    return path


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "run"))


# ---- what is written is what is read --------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(
    problems=st.integers(1, 9),
    every=st.integers(1, 5),
    neurons=st.integers(1, 4),
    steps=st.integers(1, 5),
    stimuli=st.integers(1, 3),
    repeats=st.integers(1, 2),
    model=st.sampled_from(["spiking", "rate", "attention"]),
    adaptation=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_recorded_rows_are_read_back_bit_for_bit(problems: int, every: int, dtype: str, **sizes: Any) -> None:
    datasets = make_template(dtype=dtype, **sizes)
    with tempfile.TemporaryDirectory() as folder:
        tree = record(Path(folder) / "run", problems, every=every, dtype=dtype, **sizes)
        first, expected = 0, {}
        for problem in range(problems):
            rows = columns(datasets, problem, first)
            first += rows["series"]["trials"][0]
            for group, values in rows.items():
                for name, value in values.items():
                    expected.setdefault((group, name), []).append(np.asarray(value))
        for (group, name), parts in expected.items():
            values = tree[group][name].values[1 if group == "properties" else 0 :]
            kind = datasets[group][name].dtype
            wanted = np.concatenate(parts)
            np.testing.assert_array_equal(values, wanted if kind.kind == "U" else wanted.astype(kind))
            assert values.dtype == kind or kind.kind == "U"
        plain = xr.open_datatree(Path(folder) / "run", engine="zarr")
        for group in GROUPS:
            for name, values in tree[group].to_dataset().variables.items():
                np.testing.assert_array_equal(values, plain[group][name])
                assert values.attrs == plain[group][name].attrs
        assert_same(tree, record(None, problems, every=problems + 1, dtype=dtype, **sizes))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_selection_is_that_of_numpy(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple))
    chunks = tuple(data.draw(st.integers(1, 4)) for _ in shape)
    values = np.arange(np.prod(shape)).reshape(shape)
    source = Memory()
    metadata = array_metadata(shape, values.dtype, chunks, dims=("a", "b", "c")[: len(shape)], attrs={})
    for name, chunk in pieces(0, values, metadata):
        source.put(f"x/{name}", chunk)
    indexers = []
    for size in shape:
        numbers = st.lists(st.integers(0, size - 1), max_size=4).map(np.array) if size else st.nothing()
        number = st.integers(0, size - 1) if size else st.nothing()
        step = st.sampled_from([1, 2, 3, -1, -2])
        bounds = st.one_of(st.none(), st.integers(-9, 9))
        indexers.append(
            data.draw(st.one_of(number, numbers.map(lambda n: n.astype(int)), st.builds(slice, bounds, bounds, step)))
        )
    expected = values
    for axis in reversed(range(len(shape))):
        expected = expected[(slice(None),) * axis + (indexers[axis],)]
    np.testing.assert_array_equal(select(source, "x", metadata, indexers), expected)


def test_large_arrays_are_cut_into_chunks_along_every_dim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record(None, 5)
    monkeypatch.setattr("ip2lab.records.schema.MAX_CHUNK", 128)
    go_on(tmp_path / "run", 3)
    assert len(list((tmp_path / "run/activity/membrane").glob("c.0.*"))) > 2
    go_on(tmp_path / "run", 5)
    assert_same(open_run(tmp_path / "run", verify=True), whole)
    plain = xr.open_datatree(tmp_path / "run", engine="zarr")
    np.testing.assert_array_equal(plain["activity"]["membrane"], whole["activity"]["membrane"])


def test_a_float16_encoding_stores_half_precision(tmp_path: Path) -> None:
    datasets = make_template(**SMALL)
    datasets["activity"]["membrane"].encoding["dtype"] = "float16"
    with Recorder(tmp_path / "run", datasets, ATTRS) as recorder:
        add(recorder, datasets, 0, 0)
        run = recorder.close(complete=True)
    expected = columns(datasets, 0, 0)["activity"]["membrane"]
    assert run["activity"]["membrane"].dtype == np.float16
    np.testing.assert_array_equal(run["activity"]["membrane"], expected.astype("float16"))


def test_every_variable_says_what_it_is(kept: Path) -> None:
    run = open_run(kept)
    for group in GROUPS:
        for values in run[group].to_dataset().variables.values():
            assert values.attrs["units"]
            assert values.attrs["long_name"]
    assert run["trials"]["condition"].attrs["labels"] == ["1 -> 1", "2 -> 2"]
    assert run["properties"]["tau_dendrite"].attrs["units"] == "ms"
    assert run["properties"]["problem"].values[0] == -1
    assert run.attrs["schema_version"] == SCHEMA_VERSION
    assert run.attrs["versions"]["numpy"] == np.__version__
    assert run.attrs["complete"] is True
    assert run.encoding["source"] == str(kept)


def test_a_run_is_read_lazily_and_its_file_is_not_changed_by_who_reads(store: Path) -> None:
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    run = open_run(store)
    data = run["activity"]["membrane"]
    assert not data.variable._in_memory
    data.values[:] = 0
    run["series"]["loss"].values[:] = 0
    assert {file: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before


def test_activity_is_averaged_over_time_bins_as_open_run_says(kept: Path) -> None:
    membrane = open_run(kept)["activity"]["membrane"]
    binned = membrane.coarsen(time=2, coord_func={"epoch": "max"}).mean()
    assert set(binned["epoch"].values) <= set(membrane["epoch"].values)
    np.testing.assert_allclose(binned, membrane.drop_vars("epoch").coarsen(time=2).mean())
    np.testing.assert_allclose(binned[..., 0, :], membrane[..., :2, :].mean("time"))


def test_plain_xarray_reads_it_in_a_process_that_has_no_ip2lab(kept: Path, tmp_path: Path) -> None:
    code = f"""
import sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "The codec `vlen-utf8`")  # of the lowest zarr; later ones know it
sys.modules["ip2lab"] = None
import xarray as xr
run = xr.open_datatree({str(kept)!r}, engine="zarr")
assert run["series"]["firing_rate"].attrs["units"] == "Hz"
assert run["activity"]["membrane"].dims == ("problem", "probe", "time", "neuron")
assert list(run["activity"].coords) == list({list(open_run(kept)["activity"].coords)!r})
print(float(run["series"]["loss"].sum()), sorted(run.children), run.attrs["family"])
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    total = float(open_run(kept)["series"]["loss"].sum())
    assert result.stdout.split()[0] == repr(total)
    assert "checkpoint" not in result.stdout
    assert not result.stderr


def test_zarr_alone_sees_no_more_than_what_is_committed_and_reads_a_checkpoint(tmp_path: Path) -> None:
    datasets = make_template(**SMALL)
    with Recorder(tmp_path / "run", datasets, ATTRS) as recorder:
        first = add(recorder, datasets, 0, 0)
        recorder.commit(checkpoint(0))
        add(recorder, datasets, 1, first)
        group = zarr.open_group(tmp_path / "run", mode="r", use_consolidated=False)
        assert group["series/loss"].shape == (1,)
        slot = zarr.open_group(tmp_path / "run/.checkpoint/0", mode="r")
        np.testing.assert_array_equal(slot["weights"][:], checkpoint(0)["weights"])
        recorder.commit()
        assert group["series/loss"].shape == (2,)


def test_changing_rows_after_append_does_not_change_the_record() -> None:
    datasets = make_template(**SMALL)
    with Recorder(None, datasets, ATTRS) as recorder:
        rows = columns(datasets, 0, 0)
        recorder.append(
            "properties", problem=[-1], **random_properties(datasets["properties"], [-1], np.random.default_rng(7))
        )
        for group, values in rows.items():
            recorder.append(group, **values)
        rows["trials"]["loss"][:] = -1
        run = recorder.close(complete=False)
    assert (run["trials"]["loss"] > 0).all()
    assert run.attrs["complete"] is False
    assert datasets["trials"].sizes["trial"] == 0


def test_a_commit_is_due_after_a_block_or_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = make_template(**SMALL)
    with Recorder(None, datasets, ATTRS, interval=1000, block=2) as recorder:
        first = add(recorder, datasets, 0, 0)
        assert not recorder.due
        add(recorder, datasets, 1, first)
        assert recorder.due
        recorder.commit()
        assert not recorder.due
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 1001)
        assert recorder.due
    assert recorder.lengths["series"] == 2


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_run_of_every_earlier_schema_opens_and_reopens(version: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parent / f"data/records/schema_{version}.zip") as archive:
        archive.extractall(tmp_path / "run")
    run = open_run(tmp_path / "run", verify=True)
    assert run["series"].sizes["problem"] == 3
    assert run["weights"]["problem"].values.tolist() == [0, 2]
    assert list(run["activity"]["output"].values) == ["fixation", "response 1", "response 2"]
    assert run["series"]["trials"].values.tolist() == [493, 163, 114]
    assert float(run["series"]["loss"].sum()) == 0.1593841903862296
    assert int(read_checkpoint(tmp_path / "run")["problem"]) == 2
    Recorder.reopen(tmp_path / "run").release()


# ---- nothing is lost ------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing of the recorder is used after it."""


def writes(monkeypatch: pytest.MonkeyPatch, fail_at: int | None, error: BaseException | None) -> list[str]:
    """Count what is moved into its place from now on; raise instead of the move with a given number."""
    done: list[str] = []
    move = os.replace

    def replace(source: Any, target: Any) -> None:
        if len(done) == fail_at and error is not None:
            raise error
        move(source, target)
        done.append(str(target))

    monkeypatch.setattr(os, "replace", replace)
    return done


def committed(path: Path, problems: int) -> None:
    """The run is readable, valid, and holds exactly so many problems, with the checkpoint that belongs to them."""
    run = open_run(path, verify=True)
    assert run["series"].sizes["problem"] == problems
    assert int(read_checkpoint(path)["problem"]) == problems - 1
    if problems:
        whole = record(None, problems)
        for group in GROUPS:
            xr.testing.assert_equal(run[group].to_dataset().load(), whole[group].to_dataset())


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.nightly)])
def test_an_end_at_any_write_loses_only_what_was_not_committed(tmp_path: Path, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        done = writes(patch, None, None)
        go_on(tmp_path / "whole", 3)
    whole, root = (
        open_run(tmp_path / "whole"),
        [n for n, target in enumerate(done) if target.endswith("whole/zarr.json")],
    )
    assert len(root) == 6  # empty, before learning, three problems, the end
    for number in sorted({*range(root[1] + 1, len(done), step), *root[2:]}):
        path = tmp_path / f"run{number}"
        with pytest.MonkeyPatch.context() as patch:
            writes(patch, number, Killed())
            with pytest.raises(Killed):
                go_on(path, 3)
        (path / ".lock").unlink(missing_ok=True)  # of this process, which lives; a dead one's is tested below
        committed(path, min(sum(n < number for n in root) - 2, 3))
        go_on(path, 3)
        assert_same(open_run(path, verify=True), whole)
        assert not list(path.rglob("*.partial"))


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_full_disk_at_any_write_is_told_and_the_commit_can_be_repeated(tmp_path: Path, step: int) -> None:
    whole = record(None, 2)
    with pytest.MonkeyPatch.context() as patch:
        done = writes(patch, None, None)
        record(tmp_path / "whole", 2)
    roots = [n for n, target in enumerate(done) if target.endswith("whole/zarr.json")]
    count = roots[2] - roots[1]  # writes of the commit of the second problem
    for number in range(0, count + step, step):
        path, datasets = tmp_path / f"run{number}", make_template(**SMALL)
        with Recorder(path, datasets, ATTRS) as recorder:
            first = add(recorder, datasets, 0, 0)
            recorder.commit(checkpoint(0))
            add(recorder, datasets, 1, first)
            with pytest.MonkeyPatch.context() as patch:
                writes(patch, number, OSError(errno.ENOSPC, "No space left on device"))
                says = rf"{path}: cannot be written: No space left on device"
                with pytest.raises(OSError, match=says) if number < count else contextlib.nullcontext():
                    recorder.commit(checkpoint(1))
            committed(path, recorder.lengths["series"])
            assert not list(path.rglob("*.partial"))
            recorder.commit(checkpoint(1))
            recorder.close(complete=True, checkpoint=checkpoint(1))
        assert_same(open_run(path, verify=True), whole)
    assert count > 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", path], capture_output=True, check=False)
        if shutil.which("mount")
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip("needs to mount a small disk: root, and a system that lets it")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_raises_and_leaves_the_store_readable(small_disk: Path) -> None:
    path, datasets = small_disk / "run", make_template(**SMALL)
    with Recorder(path, datasets, ATTRS) as recorder:
        recorder.commit(checkpoint(-1))

        def fill() -> None:
            problem = first = 0
            while problem < 1000:
                first = add(recorder, datasets, problem, first)
                recorder.commit(checkpoint(problem))
                problem += 1

        with pytest.raises(OSError, match=r"cannot be written: No space left on device.*stays readable"):
            fill()
        assert recorder.lengths["series"] > 2
        committed(path, recorder.lengths["series"])


def run_child(path: Path, problems: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, str(path), str(problems)])


def wait_for_commit(path: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait until the root has changed since now, and names a checkpoint."""

    def root() -> bytes:
        try:
            return (path / "zarr.json").read_bytes()
        except FileNotFoundError:
            return b""

    before, limit = root(), time.monotonic() + 60
    while (root() == before or b'"slot":' not in root()) and child.poll() is None:
        assert time.monotonic() < limit, "the child writes nothing"
        time.sleep(0.002)


def kill_again_and_again(path: Path, kills: int, seed: int) -> None:
    rng, problems = np.random.default_rng(seed), 10_000
    for _ in range(kills):
        child = run_child(path, problems)
        wait_for_commit(path, child)
        time.sleep(rng.uniform(0, 0.15))
        child.kill()
        assert child.wait() == -signal.SIGKILL
        count = open_run(path)["series"].sizes["problem"]
        committed(path, count)
    count = open_run(path)["series"].sizes["problem"] + 3
    go_on(path, count)
    assert_same(open_run(path, verify=True), record(None, count, every=50))
    assert not list(path.rglob("*.partial"))


def test_kills_during_commits(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "run", 5, seed=1)


@pytest.mark.nightly
def test_200_kills_during_commits(tmp_path: Path, note: Callable[[str], None]) -> None:
    for seed in range(20):
        kill_again_and_again(tmp_path / f"run{seed}", 10, seed)
    note("200 kills: every run was readable, held its committed prefix, and was finished bit for bit")


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    path, seen = tmp_path / "run", set()
    child = run_child(path, 40)
    wait_for_commit(path, child)
    while child.poll() is None:
        for run in (open_run(path, verify=True), xr.open_datatree(path, engine="zarr")):
            count = run["series"].sizes["problem"]
            seen.add(count)
            assert run["properties"].sizes["problem"] in (0, count + 1)
            assert run["trials"].sizes["trial"] == int(run["series"]["trials"].sum())
            assert np.isfinite(run["properties"]["tau_soma"].values).all()
            assert np.isfinite(run["trials"]["loss"].values).all()
    assert child.returncode == 0
    assert len(seen) > 3
    assert open_run(path)["series"].sizes["problem"] == 40


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Be interruptible in a shell's background job too, which is born ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_end_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = make_template(**SMALL)
    with Recorder(tmp_path / "run", datasets, ATTRS) as recorder:
        add(recorder, datasets, 0, 0)
        put = Folder.put

        def interrupted(self: Any, *args: Any, **settings: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            put(self, *args, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "put", interrupted)
            with pytest.raises(KeyboardInterrupt):
                recorder.commit(checkpoint(0))
        committed(tmp_path / "run", 1)
        recorder.commit(checkpoint(0))
        committed(tmp_path / "run", 1)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_rows_after_the_last_checkpoint_are_dropped_and_written_again(tmp_path: Path) -> None:
    path, datasets = tmp_path / "run", make_template(**SMALL)
    with Recorder(path, datasets, ATTRS) as recorder:
        first = add(recorder, datasets, 0, 0)
        recorder.commit(checkpoint(0))
        add(recorder, datasets, 1, first)
        recorder.commit()
    assert open_run(path)["series"].sizes["problem"] == 2
    with Recorder.reopen(path) as recorder:
        assert recorder.lengths["series"] == 1
        committed(path, 1)
        assert recorder.attrs["complete"] is False
    go_on(path, 3)
    assert_same(open_run(path, verify=True), record(None, 3))


def test_deleting_or_moving_a_store_in_use_raises_a_named_error(tmp_path: Path) -> None:
    path, datasets = tmp_path / "run", make_template(**SMALL)
    with Recorder(path, datasets, ATTRS) as recorder:
        add(recorder, datasets, 0, 0)
        path.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError, match=r"run: cannot be written: .*deleted, moved or given free"):
            recorder.commit()
    assert not path.exists()
    assert open_run(tmp_path / "moved")["series"].sizes["problem"] == 0


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that only its owner may write, and a process that is not the owner."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    if os.geteuid() != os.getuid():
        os.seteuid(os.getuid())
    folder.chmod(0o755)
    shutil.rmtree(folder)


def give_up_rights(folder: Path) -> None:
    if os.getuid() == 0:
        os.seteuid(65534)
    else:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)


def test_an_unwritable_folder_raises_and_leaves_the_store_readable(nobody: Path) -> None:
    datasets = make_template(**SMALL)
    path = nobody / "run"
    with Recorder(path, datasets, ATTRS) as recorder:
        first = add(recorder, datasets, 0, 0)
        recorder.commit(checkpoint(0))
        add(recorder, datasets, 1, first)
        give_up_rights(nobody)
        with pytest.raises(PermissionError, match=r"run: cannot be written: Permission denied.*stays readable"):
            recorder.commit()
        committed(path, 1)
        with pytest.raises(PermissionError, match=r"other: cannot be made: Permission denied"):
            Recorder(nobody / "other", datasets, ATTRS)


def test_no_file_stays_open(store: Path) -> None:
    def handles() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to count the open files of this process")
    before = handles()
    runs = [open_run(store) for _ in range(20)]
    loaded = [run["activity"]["spikes"].sum().values for run in runs]
    with Recorder.reopen(store) as recorder:
        recorder.commit(checkpoint(4))
    assert len(set(map(int, loaded))) == 1
    assert handles() == before


# ---- one writer -----------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_with_the_name_of_the_first_and_a_dead_one_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "run"
    child = run_child(path, 10_000)
    try:
        wait_for_commit(path, child)
        named = rf"{socket.gethostname()}, process {child.pid}, since \d{{4}}-\d\d-\d\d \d\d:"
        with pytest.raises(BlockingIOError, match=named):
            Recorder.reopen(path)
        with pytest.raises(FileExistsError, match=rf"exists already \(it is being written: host {named}"):
            Recorder(path, make_template(**SMALL), ATTRS)
    finally:
        child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    # killed, but not yet waited for: the process is there as a zombie, and its lock is stale
    with Recorder.reopen(path) as recorder:
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
            Recorder.reopen(path)
        recorder.commit()
    child.wait()
    Recorder.reopen(path).release()


def test_a_writer_that_sleeps_keeps_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "run"
    child = run_child(path, 10_000)
    try:
        wait_for_commit(path, child)
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(BlockingIOError, match=f"process {child.pid}"):
            Recorder.reopen(path)
        assert is_locked(path)
    finally:
        child.kill()
        child.wait()
    assert not is_locked(path)
    Recorder.reopen(path).release()


def test_a_forked_child_has_no_part_in_the_lock(tmp_path: Path) -> None:
    lock = Lock(tmp_path)

    def in_child(act: Callable[[], object]) -> int:
        """Fork, act there, and return 0 where that went well."""
        pid = os.fork()
        if pid == 0:
            try:
                act()
                os._exit(0)
            except BaseException:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(lock.check) == 1  # it is not the child's,
    assert in_child(lambda: Lock(tmp_path)) == 1  # nor free,
    assert in_child(lock.release) == 0
    lock.check()  # nor the child's to release
    sleeper = os.fork()
    if sleeper == 0:
        time.sleep(60)
        os._exit(0)
    try:
        lock.close()  # as the death of this process does, though its child lives on
        assert not is_locked(tmp_path)
        Lock(tmp_path).release()
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)


def test_a_lock_of_another_host_or_process_is_respected(store: Path) -> None:
    recorder = Recorder.reopen(store)
    lock = json.loads((store / ".lock").read_bytes())
    for other in ({"host": "elsewhere"}, {"host": None}, {"pid": "seven"}):
        (store / ".lock").write_text(json.dumps(lock | {"token": "another"} | other))
        with pytest.raises(FileNotFoundError, match=r"no longer this writer's, now it is host"):
            recorder.commit()
        with pytest.raises(BlockingIOError, match=r"is being written by another process: .*delete .*\.lock"):
            Recorder.reopen(store)
    recorder.release()
    assert (store / ".lock").exists()
    for stale in (json.dumps(lock), json.dumps({"token": "another"}), "", '{"host": "el', "[]"):
        (store / ".lock").write_text(stale)
        Recorder.reopen(store).release()
        assert not (store / ".lock").exists()
    (store / ".lock").write_text(json.dumps(lock | {"host": "elsewhere"}))  # not locked, as seen from here
    with pytest.raises(BlockingIOError, match=r"host elsewhere, .*delete .*\.lock"):
        Recorder.reopen(store)


def test_a_lock_file_that_is_deleted_or_replaced_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, file = lock_module._claim, tmp_path / ".lock"
    for change in (file.unlink, lambda: (tmp_path / "other").rename(file)):
        (tmp_path / "other").write_text("")

        def meanwhile(descriptor: int, change: Callable[[], object] = change) -> bool:
            monkeypatch.setattr(lock_module, "_claim", claim)
            change()
            return claim(descriptor)

        monkeypatch.setattr(lock_module, "_claim", meanwhile)
        lock = Lock(tmp_path)
        lock.check()
        with pytest.raises(BlockingIOError):
            Lock(tmp_path)
        lock.release()


def test_where_the_system_locks_no_files_a_lock_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "fcntl", None)
    Lock(tmp_path).close()
    with pytest.raises(BlockingIOError, match=r"delete .*\.lock"):
        Lock(tmp_path)
    (tmp_path / ".lock").write_text("")
    Lock(tmp_path).release()
    assert not (tmp_path / ".lock").exists()


def test_existing_missing_and_invalid_paths_are_refused_by_name(store: Path, tmp_path: Path) -> None:
    datasets = make_template(**SMALL)
    (tmp_path / "file").write_text("")
    for path in (store, tmp_path / "file", tmp_path):  # an empty folder may be used
        with pytest.raises(FileExistsError, match=r"exists already. Give another path, read it with ip2lab.open_run"):
            Recorder(path, datasets, ATTRS)
    with pytest.raises(OSError, match=r"cannot be made.*Give a path that can be written"):
        Recorder(tmp_path / "file" / "run", datasets, ATTRS)
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        for call in (open_run, read_checkpoint, Recorder.reopen):
            with pytest.raises(FileNotFoundError, match=r"there is no run here"):
                call(path)
    with pytest.raises(TypeError, match=r"path is 3 \(int\)"):
        open_run(3)  # type: ignore[arg-type]


def test_who_looks_while_a_store_is_born_again_finds_no_run_rather_than_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, datasets, seen = tmp_path / "run", make_template(**SMALL), []
    Recorder(path, datasets, ATTRS)._lock.close()  # killed before its first checkpoint
    remove = shutil.rmtree

    def look(folder: Path) -> None:
        remove(folder)
        try:
            open_run(path)
        except Exception as error:
            seen.append(type(error))

    monkeypatch.setattr(shutil, "rmtree", look)
    Recorder(path, datasets, ATTRS).release()
    assert set(seen) == {FileNotFoundError}
    assert len(seen) == 6


def test_a_reader_that_has_read_the_root_before_it_was_replaced_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is removed, begun anew, or committed to, between the reading of its root and that of the rest."""
    path, datasets, validate = tmp_path / "run", make_template(**SMALL), reading.validate

    def meanwhile(change: Callable[[], None]) -> None:
        def changed(source: Any, document: Any) -> Any:
            monkeypatch.setattr(reading, "validate", validate)
            change()
            return validate(source, document)

        monkeypatch.setattr(reading, "validate", changed)

    with Recorder(path, datasets, ATTRS) as recorder:
        add(recorder, datasets, 0, 0)
        recorder.commit()
    meanwhile(lambda: shutil.rmtree(path))
    with pytest.raises(FileNotFoundError, match="there is no run here"):
        open_run(path)

    record(path, 4)
    other = tmp_path / "other"
    record(other, 2)
    meanwhile(lambda: (shutil.rmtree(path), other.rename(path)))  # type: ignore[arg-type]
    assert_same(open_run(path, verify=True), record(None, 2))

    meanwhile(lambda: shutil.rmtree(path / "trials"))  # the root is as it was: that is damage
    with pytest.raises(ValueError, match=r"/trials/\w+: chunk \S+ is missing"):
        open_run(path)


def test_a_checkpoint_is_never_put_together_from_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, datasets, read, commits = tmp_path / "run", make_template(**SMALL), reading._read_array, [0]
    with Recorder(path, datasets, ATTRS) as recorder:

        def commit(problem: int) -> None:
            commits.append(add(recorder, datasets, problem, commits[-1]))
            recorder.commit(checkpoint(problem))

        def slowly(source: Any, key: str, data: Any) -> Any:
            values = read(source, key, data)
            if len(commits) < 4:  # the second of two commits writes where this is being read
                commit(len(commits) - 1)
            return values

        commit(0)
        monkeypatch.setattr(reading, "_read_array", slowly)
        found = read_checkpoint(path)
    for name, values in checkpoint(2).items():
        np.testing.assert_array_equal(found[name], values)


# ---- a broken store -------------------------------------------------------------------------------------------


def drop(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: [
        nodes(document).pop(name) for name in [*nodes(document)] if name == key or name.startswith(f"{key}/")
    ]


def put(key: str, *path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> None:
        place = nodes(document)[key] if key else document
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


def attribute(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> None:
        document["attributes"].pop(name)
        if value is not None:
            document["attributes"][name] = value

    return change


TRACE = ["problem", "probe", "time", "neuron"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            attribute("schema_version", 99),
            r"has schema_version 99 \(written by ip2lab .*\); this ip2lab reads version 1",
        ),
        (attribute("schema_version", True), r"has schema_version True"),
        (
            attribute("schema_version", "1.1"),
            r"has schema_version '1.1' \(written by ip2lab .*read it with the ip2lab that",
        ),
        (attribute("schema_version", None), r"no run: the attribute schema_version is missing"),
        (attribute("family", None), r"the attribute 'family' is missing"),
        (attribute("complete", "yes"), r"the attribute 'complete' is 'yes'; expected a bool"),
        (drop("trials"), r"/trials: the group is missing"),
        (drop("series/loss"), r"/series: the variable 'loss' \(problem; nats\) is missing"),
        (drop("activity/spikes"), r"/activity: the variable 'spikes' .* is missing"),
        (drop("activity/time"), r"/activity: the variable 'time' \(time; ms\) is missing"),
        (put("series/loss", "attributes", "units", value="V"), r"/series/loss: its units: 'V'; expected 'nats'"),
        (put("series/loss", "attributes", value={}), r"/series/loss: its units: None; expected 'nats'"),
        (
            put("properties/tau_soma", "attributes", "units", value="s"),
            r"/properties/tau_soma: its units: 's'; expected 'ms'",
        ),
        (
            put("series/loss", "attributes", "long_name", value=3),
            r"/series/loss: its long_name is: 'int'; expected 'str'",
        ),
        (
            put("series/loss", "attributes", "scale_factor", value=2),
            r"/series/loss: its further attributes: \['scale_factor'\]",
        ),
        (
            put("activity/membrane", "dimension_names", value=["problem", "time", "probe", "neuron"]),
            r"/activity/membrane: its dims: \('problem', 'time', 'probe', 'neuron'\); expected \('problem', 'probe'",
        ),
        (put("series/loss", "data_type", value="int64"), r"/series/loss: its dtype: 'int64'; expected 'float64'"),
        (
            put("series/loss", "shape", value=[4]),
            r"the dim 'problem' has 4 entries; expected 5, as in /series/trials_to_criterion",
        ),
        (put("weights/bias", "shape", value=[3, 5]), r"/weights/bias: the dim 'neuron' has 5 entries; expected 4"),
        (put("series/loss", "shape", value=[5.0]), r"/series/loss: its shape is \[5.0\]"),
        (put("series/loss", "shape", value=[-5]), r"/series/loss: its shape is \[-5\]"),
        (put("series/loss", "shape", value=[]), r"/series/loss: its shape is \[\]"),
        (put("series/loss", "codecs", value=None), r"/series/loss: its codecs: None"),
        (put("series/loss", "chunk_grid", value={}), r"/series/loss: its metadata cannot be read"),
        (
            put("activity", "attributes", value={}),
            r"/activity: its coordinates are ''; expected 'condition context epoch",
        ),
        (lambda document: nodes(document).update({"more": nodes(document)["series"]}), r"/more: unknown; a run has"),
        (
            lambda document: nodes(document).update({"series/more": nodes(document)["series/loss"]}),
            r"/series/more: unknown variable with the dims problem",
        ),
        (lambda document: document.pop("consolidated_metadata"), r"its metadata are not those of a run"),
        (put("", "consolidated_metadata", "metadata", value=[]), r"are not those of a run"),
    ],
)
def test_a_store_that_violates_the_schema_is_refused(
    store: Path, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    rewrite(store, change)
    for call in (open_run, Recorder.reopen):
        with pytest.raises(ValueError, match=says) as error:
            call(store)
        assert str(store) in str(error.value)
    assert not (store / ".lock").exists()


def test_a_root_with_a_wrong_checksum_is_refused(store: Path) -> None:
    text = (store / "zarr.json").read_text()
    for changed in (text.replace('"seed":3', '"seed":4'), text.replace("Hz", "kHz")):
        (store / "zarr.json").write_text(changed)
        with pytest.raises(ValueError, match=r"zarr.json is damaged: the checksum of its content differs"):
            open_run(store)
    for broken in (text[:100], "[]", "{}", "", "[" * 100_000, "\0" * 50):
        (store / "zarr.json").write_text(broken)
        with pytest.raises(ValueError, match=r"zarr.json is damaged"):
            open_run(store)


def chunk(path: Path, array: str, values: np.ndarray, name: str | None = None) -> None:
    """Write a chunk with a right checksum."""
    metadata = nodes(json.loads((path / "zarr.json").read_bytes()))[array]
    for found, data in pieces(0, values, metadata):
        (path / array / (name or found)).write_bytes(data)


@pytest.mark.parametrize(
    ("array", "values", "says"),
    [
        ("series/problem", [0, 1, 3, 4, 5], r"/series: problem 2 is missing: row 2 has 3"),
        ("properties/problem", [-1, 0, 1, 2, 3, 5], r"/properties: problem 4 is missing"),
        ("weights/problem", [0, 3, 1], r"/weights: its problems are \[0 3 1\]; expected increasing ones below 5"),
        ("activity/problem", [0, 1, 7], r"/activity: its problems are \[0 1 7\]"),
    ],
)
def test_a_gap_in_the_problems_is_refused(store: Path, array: str, values: list[int], says: str) -> None:
    chunk(store, array, np.array(values))
    with pytest.raises(ValueError, match=says):
        open_run(store)


def test_properties_with_too_few_problems_are_refused(store: Path) -> None:
    def shorten(document: dict[str, Any]) -> None:
        for key, data in nodes(document).items():
            if key.startswith("properties/") and data["dimension_names"][0] == "problem":
                data["shape"][0] -= 1

    rewrite(store, shorten)
    with pytest.raises(ValueError, match=r"/properties: the dim 'problem' has 5 entries; expected 6"):
        open_run(store)


@pytest.mark.parametrize(
    ("array", "values", "says"),
    [
        ("series/loss", np.array([1, np.nan, 1, 1, 1.0]), r"series/loss: holds nan in row 1; expected finite"),
        ("series/duration", np.array([1, 1, 1, 1, np.inf]), r"series/duration: holds inf"),
        ("series/trials_to_criterion", np.array([1, 1, 1, 1, -np.inf]), r"trials_to_criterion: holds -inf"),
        ("properties/tau_soma", np.full((6, 4), np.nan), r"properties/tau_soma: holds nan"),
        ("activity/membrane", np.full((1, 2, 6, 4), np.nan), r"activity/membrane: holds nan in row 0"),
        ("trajectories/problem", np.arange(300)[::-1], r"/trajectories/problem: expected numbers that do not fall"),
    ],
)
def test_verify_refuses_contradictory_numbers(store: Path, array: str, values: np.ndarray, says: str) -> None:
    open_run(store, verify=True)
    chunk(store, array, values)
    with pytest.raises(ValueError, match=says):
        open_run(store, verify=True)


def test_nan_may_be_where_a_problem_failed(store: Path) -> None:
    chunk(store, "series/failed", np.array([False, True, False, False, False]))
    chunk(store, "series/loss", np.array([1, np.nan, 1, 1, 1.0]))
    assert open_run(store, verify=True)["series"]["loss"].isnull().sum() == 1


def test_flipped_bytes_are_named_when_read_and_by_verification(store: Path) -> None:
    rng = np.random.default_rng(5)
    files = sorted(file for file in store.rglob("c*") if file.is_file() and ".checkpoint" not in str(file))
    for file in rng.choice(files, 30):
        data = bytearray(file.read_bytes())
        kept, place = bytes(data), rng.integers(len(data))
        data[place] ^= 1 << rng.integers(8)
        file.write_bytes(data)
        group, name = file.parts[-3:-1]
        says = f"{store}: /{group}/{name}: chunk {file.name} cannot be read: its bytes are damaged"
        for verify in (False, True):
            with pytest.raises(ValueError, match=says):
                open_run(store, verify=verify)[group][name].values  # noqa: B018
        with pytest.raises(ValueError, match="checksum"):
            xr.open_datatree(store, engine="zarr")[group][name].values  # noqa: B018
        file.write_bytes(kept)
    open_run(store, verify=True)


def test_deleted_chunks_are_named(store: Path) -> None:
    run = open_run(store)
    for file in ("series/loss/c.0", "activity/membrane/c.1.0.0.0", "activity/epoch/c.0"):
        kept = (store / file).read_bytes()
        (store / file).unlink()
        with pytest.raises(ValueError, match=rf"/{Path(file).parent}: chunk {Path(file).name} is missing"):
            open_run(store)
        (store / file).write_bytes(kept)
    shutil.rmtree(store / "series/loss")
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 is missing"):
        open_run(store)
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 is missing"):  # after it was opened
        run["series"]["loss"].values  # noqa: B018


def damage(path: Path, rng: np.random.Generator) -> str:
    """Do something to a random file."""
    file = rng.choice(sorted(f for f in path.rglob("*") if f.is_file()))
    data, kind = bytearray(file.read_bytes()), rng.integers(6)
    at, length = rng.integers(len(data) + 1), rng.integers(1, 40)
    if kind == 0:
        file.unlink()
    elif kind == 1:
        file.write_bytes(data[:at])
    elif kind == 2:
        file.write_bytes(bytes(data) + rng.bytes(length))
    elif kind == 3:
        file.write_bytes(bytes(data[:at]) + bytes(length) + bytes(data[at + length :]))
    elif kind == 4:
        file.write_bytes(bytes(data[:at]) + rng.bytes(length) + bytes(data[at + length :]))
    else:
        data[min(at, len(data) - 1)] ^= 1 << rng.integers(8)
        file.write_bytes(data)
    return f"{['deleted', 'cut', 'longer', 'zeros', 'noise', 'a bit'][kind]} {file.relative_to(path)} at {at}"


def damages(kept: Path, folder: Path, count: int, seed: int) -> int:
    """Return how many of random damages are reported; all others must be harmless."""
    rng, reported, harmless = np.random.default_rng(seed), 0, 0
    original, saved = open_run(kept), read_checkpoint(kept)
    for number in range(count):
        path = folder / f"damaged{number}"
        shutil.copytree(kept, path)
        what = damage(path, rng)
        try:
            run, arrays = open_run(path, verify=True), read_checkpoint(path)
        except (ValueError, FileNotFoundError) as error:
            reported += str(path) in str(error)
        else:
            assert_same(run, original)
            assert run.attrs == original.attrs, what
            assert arrays.keys() == saved.keys(), what
            assert all(np.array_equal(arrays[name], saved[name]) for name in saved), what
            harmless += 1
        assert reported + harmless == number + 1, what
        shutil.rmtree(path)
    return reported


def test_random_damages_are_reported_or_harmless(kept: Path, tmp_path: Path) -> None:
    assert damages(kept, tmp_path, 40, seed=11) > 15


@pytest.mark.nightly
def test_500_random_damages(kept: Path, tmp_path: Path, note: Callable[[str], None]) -> None:
    reported = damages(kept, tmp_path, 500, seed=12)
    note(f"500 random damages: {reported} reported, {500 - reported} harmless by equality, none passed")


def test_a_damaged_checkpoint_is_refused_with_its_path(store: Path, tmp_path: Path) -> None:
    slot = json.loads((store / "zarr.json").read_bytes())["attributes"]["store"]["checkpoint"]["slot"]
    for file in (f".checkpoint/{slot}/zarr.json", f".checkpoint/{slot}/weights/c.0.0", f".checkpoint/{slot}/problem/c"):
        kept = (store / file).read_bytes()
        for broken in (None, kept[:-1] + b"x", b""):
            (store / file).unlink(missing_ok=True)
            if broken is not None:
                (store / file).write_bytes(broken)
            for call in (read_checkpoint, Recorder.reopen):
                with pytest.raises(ValueError, match=rf"run: /.checkpoint/{slot}: the checkpoint cannot be read"):
                    call(store)
        (store / file).write_bytes(kept)
    open_run(store, verify=True)
    record_without = make_run(tmp_path / "other", problems=2, **SMALL)
    rewrite(tmp_path / "other", lambda document: document["attributes"]["store"].update(checkpoint={}))
    assert record_without["series"].sizes["problem"] == 2
    for call in (read_checkpoint, Recorder.reopen):
        with pytest.raises(ValueError, match=r"there is no checkpoint"):
            call(tmp_path / "other")
    rewrite(tmp_path / "other", lambda document: document["attributes"]["store"].update(checkpoint={"slot": "../x"}))
    with pytest.raises(ValueError, match=r"names the checkpoint .*expected the slot"):
        read_checkpoint(tmp_path / "other")


# ---- a hostile store ------------------------------------------------------------------------------------------


def test_paths_do_not_leave_the_store(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    shutil.copytree(store / "series/loss", secret)
    document = json.loads((store / "zarr.json").read_bytes())
    for name in ("series/../../secret", "../secret", "/etc/passwd", "series//loss", "weights/../../secret"):
        other = Path(shutil.copytree(store, tmp_path / "other"))
        rewrite(other, lambda found, name=name: nodes(found).update({name: nodes(document)["weights/bias"]}))
        with pytest.raises(ValueError, match=r"unknown"):
            open_run(other)
        shutil.rmtree(other)
    for link in ("series/loss/c.0", "series/loss", "series", ".checkpoint"):
        other = Path(shutil.copytree(store, tmp_path / "other"))
        (other / link).rename(tmp_path / "moved")
        (other / link).symlink_to(tmp_path / "moved")
        call = read_checkpoint if link == ".checkpoint" else open_run
        with pytest.raises(ValueError, match=r"leads out of the store|is missing"):
            call(other)
        shutil.rmtree(other)
        (tmp_path / "moved").unlink() if (tmp_path / "moved").is_file() else shutil.rmtree(tmp_path / "moved")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("series/loss", "codecs", value=[{"name": "numcodecs.pickle"}]), r"/series/loss: its codecs"),
        (
            put("series/failure_reason", "data_type", value="object"),
            r"/series/failure_reason: its metadata cannot be read",
        ),
        (put("series/failure_reason", "data_type", value="O"), r"/series/failure_reason"),
        (put("series/loss", "storage_transformers", value=[{"name": "x"}]), r"its storage_transformers"),
        (put("series/loss", "shape", value=[10**15]), r"the dim 'problem' has 1000000000000000 entries; expected 5"),
        (put("activity/time", "shape", value=[10**15]), r"the dim 'time' has \d+ entries"),
        (put("weights/bias", "shape", value=[3, 10**12]), r"the dim 'neuron' has 10+ entries; expected 4"),
        (
            put("series/loss", "chunk_grid", "configuration", "chunk_shape", value=[10**12]),
            r"/series/loss: its chunks of shape \(10+,\) are larger than the \d+ bytes",
        ),
    ],
)
def test_hostile_metadata_are_refused(store: Path, change: Callable[[dict[str, Any]], Any], says: str) -> None:
    rewrite(store, change)
    with pytest.raises(ValueError, match=says):
        open_run(store)


def test_huge_but_consistent_shapes_are_refused_before_memory_is_taken(store: Path) -> None:
    def grow(document: dict[str, Any]) -> None:
        for key, data in nodes(document).items():
            if key.startswith("series/"):
                data["shape"] = [10**15]

    rewrite(store, grow)
    with pytest.raises(ValueError, match=r"/series/\w+: its shape \[10+\] needs 10+ chunks; there are 2 files"):
        open_run(store)


def test_chunks_that_unpack_to_another_size_are_refused(store: Path) -> None:
    for array, place, value in (
        ("series/loss", 4, 2**31 - 1),
        ("series/loss", 12, 7),
        ("series/failure_reason", 0, 2**32 - 1),
    ):
        file = store / array / "c.0"
        kept = file.read_bytes()
        lie = bytearray(kept[:-4])
        lie[place : place + 4] = value.to_bytes(4, "little")
        file.write_bytes(bytes(lie) + checksum(bytes(lie)))
        with pytest.raises(ValueError, match=rf"/{array}: chunk c.0 cannot be read: it holds"):
            open_run(store)[array].values  # noqa: B018
        file.write_bytes(kept)
    with open(store / "series/loss/c.0", "ab") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"chunk c.0 cannot be read: it has \d+ bytes, more than"):
        open_run(store)["series/loss"].values  # noqa: B018
    with open(store / "zarr.json", "ab") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"zarr.json cannot be read: it has \d+ bytes"):
        open_run(store)


def test_a_named_pipe_in_place_of_a_chunk_is_refused_without_waiting(store: Path) -> None:
    run = open_run(store)
    (store / "series/loss/c.0").unlink()
    os.mkfifo(store / "series/loss/c.0")
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 is missing"):
        open_run(store)
    with pytest.raises(ValueError, match=r"/series/loss: chunk c.0 cannot be read: it is no plain file"):
        run["series"]["loss"].values  # noqa: B018


def test_text_that_decompresses_beyond_the_limit_is_refused(store: Path) -> None:
    words = np.array(["x" * 5_000_000, "", "", "", ""], dtype=np.dtypes.StringDType())
    chunk(store, "series/failure_reason", words)
    with pytest.raises(ValueError, match=r"/series/failure_reason: its text is too long"):
        open_run(store)


# ---- arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"neurons": 0}, ValueError, "neurons is 0"),
        ({"neurons": "many"}, ValueError, "neurons is 'many'"),
        ({"dtype": "int8"}, ValueError, "dtype is 'int8'; expected 'float32' or 'float64'"),
        ({"properties": ["mood"]}, KeyError, "unknown property 'mood'; known: .*tau_dendrite"),
        ({"time": [0, 20]}, ValueError, r"epoch has shape \(3,\); expected one label for each time"),
        ({"time": [0, 40, 20]}, ValueError, "expected increasing numbers"),
        ({"time": [0, 40, np.nan]}, ValueError, "expected increasing numbers"),
        ({"epochs": "delay"}, ValueError, r"epoch has shape \(\)"),
        ({"inputs": ["a", "a"]}, ValueError, r"inputs are \['a', 'a'\]; expected a name of its own"),
        ({"probes": {"condition": [0]}}, KeyError, "probes lacks 'stimulus'"),
        ({"weights": {"w": ("neuron", "key")}}, ValueError, "weights 'w' has the dim 'key'"),
        ({"weights": {"neuron": ("neuron",)}}, ValueError, "weights has the name 'neuron'"),
        ({"weights": {"a b": ("neuron",)}}, ValueError, "weights has the name 'a b'"),
    ],
)
def test_a_wrong_template_argument_is_refused(change: dict[str, Any], error: type[Exception], says: str) -> None:
    probes = {"condition": [0], "stimulus": ["1"], "response": ["1"], "context": ["a"], "repeat": [0]}
    right: dict[str, Any] = {
        "model": "spiking",
        "neurons": 2,
        "properties": ["tau_soma"],
        "inputs": ["a"],
        "outputs": ["a"],
        "time": [0, 20, 40],
        "epochs": ["a", "b", "c"],
        "probes": probes,
        "weights": {"keys": {"neuron": 2, "key": 5}},
    }
    assert template(**right)["weights"]["keys"].shape == (0, 2, 5)
    assert template(**right)["trials"]["condition"].attrs["labels"] == ["1, a -> 1"]
    with pytest.raises(error, match=says):
        template(**(right | change))


@pytest.mark.parametrize(
    ("group", "change", "error", "says"),
    [
        ("nowhere", {}, KeyError, "unknown group 'nowhere'; known: series"),
        (
            "series",
            {"mood": [1.0]},
            ValueError,
            "series: came with an unknown variable 'mood'; expected trials_to_criterion",
        ),
        ("series", {"loss": None}, ValueError, "series: came with no variable 'loss'"),
        ("series", {"loss": [[1.0]]}, ValueError, r"series/loss has shape \(1, 1\); expected {'problem': 'any'}"),
        ("series", {"loss": 1.0}, ValueError, r"series/loss has shape \(\)"),
        ("series", {"loss": [1.0, 2.0]}, ValueError, "series: came with different numbers of rows"),
        ("series", {"loss": [np.nan]}, ValueError, "series/loss: came with nan in row 0; expected a number where"),
        ("series", {"duration": [np.inf]}, ValueError, "series/duration: came with inf in row 0; expected a number"),
        (
            "series",
            {"last_error": [np.inf]},
            ValueError,
            "last_error: came with inf in row 0; expected a number or NaN",
        ),
        ("series", {"trials": [1.5]}, TypeError, "series/trials has dtype float64; expected int64"),
        ("series", {"failed": [1]}, TypeError, "series/failed has dtype int64; expected bool"),
        ("series", {"loss": ["a"]}, TypeError, "series/loss has dtype <U1; expected float64"),
        ("series", {"failure_reason": [3]}, TypeError, "series/failure_reason has dtype int64; expected text"),
        ("properties", {"tau_soma": np.ones((1, 3))}, ValueError, r"properties/tau_soma has shape \(1, 3\)"),
    ],
)
def test_a_wrong_row_is_not_recorded(group: str, change: dict[str, Any], error: type[Exception], says: str) -> None:
    datasets = make_template(**SMALL)
    rows = columns(datasets, 0, 0).get(group, {}) | change
    with Recorder(None, datasets, ATTRS) as recorder:
        with pytest.raises(error, match=says):
            recorder.append(group, **{name: value for name, value in rows.items() if value is not None})
        add(recorder, datasets, 0, 0)
        assert_same(recorder.close(complete=True), record(None, 1))


def test_wrong_attributes_and_intervals_of_a_recorder_are_refused(tmp_path: Path) -> None:
    datasets, path = make_template(**SMALL), tmp_path / "run"
    for attrs, error, says in (
        ({}, ValueError, "attrs lack family, model, learnable, seed, config"),
        (ATTRS | {"store": 1}, ValueError, "attrs have the name 'store'"),
        (ATTRS | {"config": {"noise": np.nan}}, ValueError, "attributes: .*NaN and infinity have no place in JSON"),
        (ATTRS | {"config": {"network": object()}}, TypeError, r"\(object\) cannot be kept as an attribute"),
    ):
        with pytest.raises(error, match=says):
            Recorder(path, datasets, attrs)
    for settings_ in ({"interval": -1}, {"interval": np.nan}, {"block": 0}):
        with pytest.raises(ValueError, match=r"interval is .*, block is|interval is .*, block"):
            Recorder(path, datasets, ATTRS, **settings_)
    assert not path.exists()
    with Recorder(
        path, datasets, ATTRS | {"config": {"rate": np.float32(0.5), "path": path, "sizes": np.arange(2)}}
    ) as recorder:
        for wrong in ({"../x": np.zeros(1)}, {"x": np.array(["a"])}, {"x": np.array([None])}):
            with pytest.raises(ValueError, match=r"checkpoint '.*x' of dtype .*: expected numbers"):
                recorder.commit(wrong)
        run = recorder.close(complete=True)
    assert run.attrs["config"] == {"rate": 0.5, "path": str(path), "sizes": [0, 1]}
    with pytest.raises(TypeError, match=r"path is a run in memory"):
        Recorder(Recorder(None, datasets, ATTRS).store, datasets, ATTRS)


def test_a_closed_recorder_writes_nothing(tmp_path: Path) -> None:
    datasets = make_template(**SMALL)
    recorder = Recorder(tmp_path / "run", datasets, ATTRS)
    add(recorder, datasets, 0, 0)
    recorder.close(complete=True)
    with pytest.raises(FileNotFoundError, match="given free"):
        recorder.commit()


if __name__ == "__main__":
    go_on(Path(sys.argv[1]), int(sys.argv[2]))


def test_a_lock_whose_name_cannot_be_written_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            Lock(tmp_path)
    Lock(tmp_path).release()


def test_where_a_file_system_locks_no_files_the_lock_file_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", refused)
    first = Lock(tmp_path)
    with pytest.raises(BlockingIOError, match="is being written by another process"):
        Lock(tmp_path)
    first.release()
    Lock(tmp_path).release()
