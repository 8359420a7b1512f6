"""What is around a run changes nothing: where one stands, what torch and numpy are set to, what lies in the cache."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from make_run import make_template
from test_records import ATTRS, add, assert_same

import ip2lab
from ip2lab import examples
from ip2lab.experiments import grid, run_many
from ip2lab.networks import compilation
from ip2lab.probes import restore
from ip2lab.records import Recorder, TrainingRecorder, open_run, open_search, read_checkpoint, write_search
from ip2lab.records.stores import absolute

TINY = {"problems": 2, "neurons": 20, "max_trials": 60, "window": 20, "progress": False}
SEARCH = {"problems": 1, "candidates": [None, "tau_soma"], "neurons": 10, "max_trials": 60, "progress": False}
ROOT = Path(__file__).parents[1]


def bits(found: Any) -> str:
    """Return a digest of every number and label of a run, a dataset or a dict of arrays, but for computing times."""
    digest = hashlib.sha256()

    def take(name: Any, values: Any) -> None:
        values = np.asarray(values)
        digest.update(f"{name}{values.shape}{values.dtype.kind}".encode())
        digest.update(repr(values.tolist()).encode() if values.dtype.kind in "UO" else values.tobytes())

    groups = (
        {"": found} if not isinstance(found, xr.DataTree) else {name: found[name] for name in sorted(found.children)}
    )
    for group, data in groups.items():
        for name, values in sorted((data if isinstance(data, dict) else data.variables).items()):
            if name != "duration":
                take(f"{group}/{name}", values)
    return digest.hexdigest()


# ---- where one stands -----------------------------------------------------------------------------------------


def plan_of(*seeds: int) -> list[dict[str, Any]]:
    return grid(family="association", seed=list(seeds), **{name: TINY[name] for name in TINY if name != "progress"})


def fill(folder: Path, seed: int) -> None:
    """Put into a folder, under names that are the same in every one, what public functions read."""
    folder.mkdir()
    run = ip2lab.train("association", seed=seed, path=folder / "run", **TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about its own format
        run.to_zarr(folder / "copy")
    shutil.make_archive(str(folder / "packed"), "zip", folder, "run")
    shutil.make_archive(str(folder / "flat"), "zip", folder / "run")
    (folder / "inside").mkdir()
    seeds = [seed, seed + 1]
    ip2lab.search_plasticity("association", seeds=seeds, path=folder / "search.json", **SEARCH)
    run_many(plan_of(*seeds), folder=folder / "many", progress=False)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tmp_path_factory.mktemp("here") / "there", tmp_path_factory.mktemp("else") / "there"
    for folder, seed in zip(folders, (1, 5), strict=True):
        fill(folder, seed)
    return folders


def reopened(path: Any) -> dict[str, np.ndarray]:
    return read_checkpoint(Recorder.reopen(path).store)


READERS: dict[str, Callable[[], Any]] = {
    "open_run": lambda: open_run("run"),
    "open_run(Path)": lambda: open_run(Path("run")),
    "open_run(bytes path)": lambda: open_run(type("P", (), {"__fspath__": lambda _: b"run"})()),
    "open_run(..)": lambda: open_run("inside/../../there/run"),
    "open_run(zip file)": lambda: open_run("flat.zip"),
    "open_run(zip)": lambda: open_run("zip://run::packed.zip"),
    "open_run(cached zip)": lambda: open_run("zip://run::simplecache::file://packed.zip"),
    "open_run(file)": lambda: open_run("file://run"),
    "a copy": lambda: open_run("copy"),
    "pickled": lambda: pickle.loads(pickle.dumps(open_run("run"))),
    "copied": lambda: copy.deepcopy(open_run("run")),
    "copied shallow": lambda: open_run("run").copy(),
    "selected": lambda: open_run("run").isel(problem=slice(None), missing_dims="ignore"),
    "chunked": lambda: open_run("run").chunk(),
    "resume": lambda: ip2lab.resume("run", progress=False),
    "open_search": lambda: open_search("search.json"),
}


def in_first(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    """Call something in the first folder and go to the second one."""
    monkeypatch.chdir(two[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* is a copy of a run")
        found = call()
    monkeypatch.chdir(two[1])
    return found


@pytest.mark.parametrize("name", READERS)
def test_what_was_opened_is_read_from_where_it_is(two, name, monkeypatch):
    kept = "search.json" if name == "open_search" else "run"
    found = in_first(two, monkeypatch, READERS[name])
    expected = (open_search if name == "open_search" else open_run)(two[0] / kept)
    other = (open_search if name == "open_search" else open_run)(two[1] / kept)
    assert found.encoding["source"].endswith(("/there/run", "/packed.zip", "/flat.zip", "/copy", "/search.json"))
    assert str(two[0]) in found.encoding["source"]
    assert found.attrs == expected.attrs
    if name != "open_search":
        assert bits(ip2lab.probe(found, 1, repeats=2)) == bits(ip2lab.probe(expected, 1, repeats=2))
        assert ip2lab.replay(found, 1, 30).attrs["identical"]
        assert bits(restore(found, 0).checkpoint()) == bits(restore(expected, 0).checkpoint())
    assert bits(found) == bits(expected) != bits(other)


def continue_training() -> xr.DataTree:
    return ip2lab.continue_training(
        "run", 0, problems=1, path="on", progress=lambda _: os.chdir(os.environ["ELSEWHERE"])
    )


def train() -> xr.DataTree:
    return ip2lab.train(
        "association", seed=3, path="new", **TINY | {"progress": lambda _: os.chdir(os.environ["ELSEWHERE"])}
    )


def record() -> xr.DataTree:
    datasets = make_template(neurons=4, steps=6)
    with Recorder("recorded", datasets, ATTRS) as recorder:
        first = add(recorder, datasets, 0, 0)
        recorder.commit()
        os.chdir(os.environ["ELSEWHERE"])
        add(recorder, datasets, 1, first)
        return recorder.close(complete=True, checkpoint={"a": np.zeros(3)})


def record_training() -> xr.DataTree:
    with TrainingRecorder("association", neurons=3, path="trained") as recorder:
        os.chdir(os.environ["ELSEWHERE"])
        recorder.trial(loss=0.1, correct=True, condition=0)
        recorder.problem()
        return recorder.finish()


class Wandering(Executor):
    """Calls what is submitted in another folder, as a worker may stand anywhere."""

    def submit(self, function, /, *args, **kwargs):
        os.chdir(os.environ["ELSEWHERE"])
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def many() -> xr.Dataset:
    return run_many(plan_of(3, 4), executor=Wandering(), folder="runs", progress=False)


def search() -> xr.Dataset:
    return ip2lab.search_plasticity("association", seeds=[3, 4], path="found.json", executor=Wandering(), **SEARCH)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (train, "new"),
        (continue_training, "on"),
        (record, "recorded"),
        (record_training, "trained"),
        (many, "runs"),
        (search, "found.json"),
    ],
)
def test_what_is_written_goes_where_one_stood_when_it_was_asked_for(two, call, name, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", str(two[1]))
    before = set(os.listdir(two[1]))
    found = in_first(two, monkeypatch, call)
    assert set(os.listdir(two[1])) == before
    assert (two[0] / name).exists() and not (two[0] / f"{name}.part").exists()
    if call is many:
        stored = open_run(two[0] / "runs/0001.zarr")
        assert stored["series"].loss.values.tolist() == found.loss[1].values.tolist()
        return
    again = (open_search if call is search else open_run)(two[0] / name)
    assert found.encoding["source"] == again.encoding["source"] == str(two[0] / name)
    assert bits(found) == bits(again)


def test_files_that_are_asked_for_by_a_relative_path_lie_where_one_stood(two, tmp_path, monkeypatch):
    tiny = {"family": "association", "seed": 1, "problems": 1, "max_trials": 60, "neurons": 10}
    monkeypatch.setitem(examples.EXAMPLES, "tiny", tiny)
    monkeypatch.chdir(tmp_path)
    made = examples.make("tiny", "made")
    before = examples.checksum("made/tiny.zarr")
    write_search(open_search(two[0] / "search.json"), "written.json")
    assert json.loads((tmp_path / "made/tiny.json").read_text())["checksum"] == before
    assert made.encoding["source"] == str(tmp_path / "made/tiny.zarr")
    assert open_search("written.json").encoding["source"] == str(tmp_path / "written.json")


def test_a_tilde_in_a_path_is_the_home_folder(two, tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    shutil.copytree(two[0], home, ignore=shutil.ignore_patterns("new", "runs", "found.json", "trained"))
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    for path in ("~/run", Path("~/run"), "zip://run::~/packed.zip", "~/flat.zip"):
        assert bits(open_run(path)) == bits(open_run(two[0] / "run"))
    assert bits(open_search("~/search.json")) == bits(open_search(two[0] / "search.json"))
    ip2lab.train("association", seed=3, path="~/new", **TINY)
    ip2lab.resume("~/new", problems=3, progress=False)
    run_many(plan_of(3, 4), folder="~/runs", progress=False)
    ip2lab.search_plasticity("association", seeds=[3, 4], path="~/found.json", **SEARCH)
    write_search(open_search("~/found.json"), "~/written.json")
    with TrainingRecorder("association", neurons=3, path="~/trained") as recorder:
        recorder.trial(loss=0.1, correct=True, condition=0)
        recorder.finish()
    assert not list(here.iterdir())
    assert {"new", "runs", "found.json", "written.json", "trained"} <= set(os.listdir(home))


def test_a_path_through_a_link_stays_the_one_that_the_system_means(tmp_path, monkeypatch):
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far/away")
    monkeypatch.chdir(tmp_path / "near")
    assert os.path.realpath(absolute("link/../run")) == str(tmp_path / "far/run")  # not near/run
    assert absolute("link/run") == tmp_path / "near/link/run"
    assert absolute("./x/../run") == absolute("run") == tmp_path / "near/run"


def test_paths_that_lead_nowhere_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of(1)
    for path, says in (
        ("~nobody_of_this_name/run", "there is no user of this name.*'./~nobody_of_this_name/run'"),
        ("memory://bucket/runs", "an address; a folder has to be on this machine"),
        (Path("memory://bucket/runs"), "an address that has been changed into a path"),
    ):
        with pytest.raises(ValueError, match=says):
            run_many(plan, folder=path, progress=False)
    with pytest.raises(TypeError, match=r"path is 3 .*expected the path of a folder"):
        run_many(plan, folder=3, progress=False)
    assert not list(tmp_path.iterdir())
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError, match="the current folder is gone: give a full path"):
        open_run("run")


def test_a_zip_file_that_was_replaced_is_read_anew(two, tmp_path):
    for folder in two:
        shutil.copy(folder / "flat.zip", tmp_path / "flat.zip")
        assert bits(open_run(tmp_path / "flat.zip")) == bits(open_run(folder / "run"))


def test_a_live_training_goes_on_where_it_was_begun(two, monkeypatch):
    views = pytest.importorskip("ip2lab.views")
    monkeypatch.chdir(two[0])
    live = views.LiveTraining("association", path="run")
    monkeypatch.chdir(two[1])
    assert str(live.path) == str(two[0] / "run") == live.run.encoding["source"]
    live.close()


# ---- copies that xarray wrote ---------------------------------------------------------------------------------


def copied(run: xr.DataTree, path: Path, **how: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.to_zarr(path, **how)
    return path


def opened(path: Path) -> xr.DataTree:
    with pytest.warns(UserWarning, match=r"is a copy of a run, as xarray writes it: checksums .* could not be") as told:
        run = open_run(path)
    assert len(told) == 1 and told[0].filename == __file__
    return run


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "how", [{}, {"consolidated": False}, {"zarr_format": 2}, {"zarr_format": 2, "consolidated": False}]
)
def test_a_copy_is_opened_and_says_what_was_not_checked(two, lazy, how, tmp_path):
    run = open_run(two[0] / "run") if lazy else open_run(two[0] / "run").load()
    path = copied(run, tmp_path / "copy", **how)
    found = opened(path)
    assert not found["activity"]["membrane"].variable._in_memory
    assert found.attrs == run.attrs and found.encoding["source"] == str(path)
    assert_same(found, run)
    assert bits(ip2lab.probe(found, 1)) == bits(ip2lab.probe(run, 1))
    assert ip2lab.replay(found, 1, 20).attrs["identical"]
    assert_same(opened(copied(found, tmp_path / "again", **how)), run)
    with pytest.raises(ValueError, match=r"copy: is a copy of a run.* no checkpoint .*go on with the store that"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match=r"no checkpoint"), pytest.warns(UserWarning, match="is a copy of a run"):
        ip2lab.resume(path, problems=3, progress=False)
    with pytest.raises(ValueError, match="is a copy without checksums, nothing of it can be verified"):
        open_run(path, verify=True)


@pytest.mark.filterwarnings("ignore")
def test_a_copy_written_to_a_zip_file_opens(two, tmp_path):
    run = open_run(two[0] / "run")
    with zarr.storage.ZipStore(tmp_path / "copy.zip", mode="w") as store:
        run.to_zarr(store)
    assert_same(open_run(tmp_path / "copy.zip"), run)


@pytest.mark.parametrize("model", ip2lab.models())
@pytest.mark.parametrize("half", [False, True])
def test_a_copy_of_a_run_of_every_model_opens(model, half, tmp_path):
    run = ip2lab.train("association", model, **TINY | {"neurons": 70}, record={"half_precision": half, "kept": []})
    assert_same(opened(copied(run, tmp_path / "copy")), run)


def test_damaged_stores_of_ours_are_no_copies(two, tmp_path):
    def without_store(document: dict[str, Any]) -> None:
        del document["attributes"]["store"]

    for change in (without_store, lambda document: document["attributes"].pop("title")):
        path = Path(shutil.copytree(two[0] / "run", tmp_path / "run"))
        document = json.loads((path / "zarr.json").read_bytes())
        change(document)
        (path / "zarr.json").write_text(json.dumps(document))
        with pytest.raises(ValueError, match="is damaged: the checksum"):
            open_run(path)
        shutil.rmtree(path)


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edited(path: Path) -> None:
        document = json.loads((path / name).read_text())
        change(document)
        (path / name).write_text(json.dumps(document))

    return edited


def both(change: Callable[[dict[str, Any]], Any], array: str = "series/loss") -> Callable[[Path], None]:
    """Change the metadata of an array where it stands alone, and where the root repeats it."""

    def changed(path: Path) -> None:
        edit(f"{array}/zarr.json", change)(path)
        edit("zarr.json", lambda root: change(root["consolidated_metadata"]["metadata"][array]))(path)

    return changed


def escape(path: Path) -> None:
    shutil.copytree(path / "series/loss", path.parent / "secret")
    edit(
        "zarr.json",
        lambda root: root["consolidated_metadata"]["metadata"].update(
            {"series/../../secret": root["consolidated_metadata"]["metadata"]["series/loss"]}
        ),
    )(path)


def link(path: Path) -> None:
    shutil.move(path / "series/loss", path.parent / "secret")
    (path / "series/loss").symlink_to(path.parent / "secret")


def fifo(path: Path) -> None:
    os.mkfifo(path / "series/pipe")


HOSTILE = {
    "pickle": (
        both(lambda data: data["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})),
        "codec 'numcodecs.pickle'",
    ),
    "pickle where nothing repeats it": (
        edit("series/loss/zarr.json", lambda data: data["codecs"].append({"name": "pickle"})),
        "codec 'pickle'",
    ),
    "a codec inside a codec": (
        both(
            lambda data: data.update(
                codecs=[{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "pickle"}]}}]
            )
        ),
        "codec 'pickle'",
    ),
    "a name that leads out": (escape, "leads out of the store"),
    "a link": (link, "leads out of the store"),
    "no file": (fifo, "leads out of the store"),
    "more than there is": (both(lambda data: data.update(shape=[10**15])), r"needs \d+ chunks; there are \d+ files"),
    "one huge chunk": (
        both(
            lambda data: data.update(
                shape=[10**12], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [10**12]}}
            )
        ),
        "is larger than any of a run's",
    ),
    "another unit": (both(lambda data: data["attributes"].update(units="s")), "series/loss: its units: 's'"),
    "other dims": (both(lambda data: data.update(dimension_names=["x"])), r"series/loss: its dims|expected"),
    "no kept attribute": (edit("zarr.json", lambda root: root["attributes"].pop("config")), "'config' is missing"),
    "attributes of another kind": (
        edit("zarr.json", lambda root: root["attributes"].update(model=["x"])),
        "unhashable|'model' is",
    ),
    "nothing in it": (edit("zarr.json", lambda root: root.update(consolidated_metadata=7)), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_copy_is_refused(two, name, tmp_path):
    change, says = HOSTILE[name]
    path = copied(open_run(two[0] / "run"), tmp_path / "copy")
    change(path)
    with pytest.raises(ValueError, match=says):
        open_run(path)


def test_an_object_array_of_a_stranger_is_not_unpickled(two, tmp_path):
    class Mark:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = copied(open_run(two[0] / "run"), tmp_path / "copy", zarr_format=2, consolidated=False)
    shutil.rmtree(path / "series/problem")
    (path / "series/problem").mkdir()
    layout = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "fill_value": None, "order": "C"}
    layout |= {"filters": [{"id": "pickle"}], "compressor": None, "dimension_separator": "."}
    (path / "series/problem/.zarray").write_text(json.dumps(layout))
    (path / "series/problem/.zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["problem"]}))
    (path / "series/problem/0").write_bytes(pickle.dumps(Mark()))
    with pytest.raises(ValueError, match="names the codec 'pickle'"):
        open_run(path)
    assert not (tmp_path / "ran").exists()


def test_a_variable_that_is_missing_in_a_copy_is_named(two, tmp_path):
    run = open_run(two[0] / "run").copy()
    run["series"] = run["series"].to_dataset().drop_vars("loss")
    path = copied(run, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"the variable 'loss' .* is missing"):
        open_run(path)


def test_a_run_goes_through_netcdf_with_the_lines_of_the_page(two, tmp_path):
    pytest.importorskip("h5netcdf", reason="a run in one netCDF file needs h5netcdf or netCDF4")
    page = (ROOT / "docs/howto/resume.md").read_text()
    there, back = (block.partition("```")[0] for block in page.split("```{code-block} python\n")[2:4])
    program = f"run = open_run({str(two[0] / 'run')!r})\n{there}\n{back}\n"
    program = f"from test_surroundings import *\n{program}\nassert run.attrs == open_run({str(two[0] / 'run')!r}).attrs"
    program += f"\nassert_same(run, open_run({str(two[0] / 'run')!r}))\nip2lab.probe(run, 0)\n"
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": places}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---- what torch and numpy are set to --------------------------------------------------------------------------


@contextlib.contextmanager
def setting(change: Callable[[Any], Any], value: Any, back: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(back)


@contextlib.contextmanager
def other_seeds() -> Iterator[None]:
    states = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002 - that is what must not matter
    torch.manual_seed(7)
    try:
        yield
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        torch.set_rng_state(states[1])


AMBIENT: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "set_default_device meta": lambda: setting(torch.set_default_device, "meta", None),
    "set_default_device cpu": lambda: setting(torch.set_default_device, "cpu", None),
    "with device meta": lambda: torch.device("meta"),
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "threads": lambda: setting(torch.set_num_threads, 2, torch.get_num_threads()),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "numpy raises": lambda: np.errstate(all="raise"),
    "other seeds": other_seeds,
}


@contextlib.contextmanager
def all_at_once() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in ("autocast", "set_default_device meta", "float64", "numpy raises", "other seeds", "inference_mode"):
            stack.enter_context(AMBIENT[name]())
        yield


AMBIENT["all at once"] = all_at_once


def everything(model: str, path: Path | None = None) -> str:
    """Do with a model all that makes numbers, and return a digest of them."""
    size = {"neurons": 70} if model == "attention" else {}
    options = {"noise": 0.1} if model in ("spiking", "rate") else {}
    run = ip2lab.train("association", model, path=path, **TINY | size, **options)
    parts = [bits(run), bits(ip2lab.probe(run, 0, repeats=2)), bits(ip2lab.replay(run, 1, 10))]
    parts.append(bits(ip2lab.continue_training(run, 0, problems=1)))
    if model in ("spiking", "rate"):
        parts.append(bits(ip2lab.probe(run, 0, clamp=[1, 2], shuffle="properties")))
    if model == "spiking":
        parts.append(bits(ip2lab.search_plasticity("association", seeds=[3, 4], **SEARCH)))
    if path is not None:
        parts.append(bits(ip2lab.resume(path, problems=3, progress=False)))
    return " ".join(parts)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {model: everything(model, tmp_path_factory.mktemp(model) / "run") for model in ip2lab.models()}


@pytest.mark.parametrize("name", AMBIENT)
@pytest.mark.parametrize("model", ip2lab.models())
def test_settings_of_torch_and_numpy_change_no_bit(plain, model, name, tmp_path):
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    with AMBIENT[name](), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Anomaly Detection has been enabled")
        found = everything(model, tmp_path / "run")
    assert found == plain[model]
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()) == before


def test_a_network_that_was_made_under_inference_mode_learns_outside_of_it(tmp_path):
    for model in ip2lab.models():
        with torch.inference_mode():
            run = ip2lab.train("association", model, path=tmp_path / model, **TINY | {"neurons": 70})
            trainer = restore(run, 1, exact=True)
        ip2lab.resume(tmp_path / model, problems=3, progress=False)
        trainer.problems = 3
        trainer.train_problem()
        assert bits(ip2lab.probe(tmp_path / model, 2)) == bits(
            ip2lab.probe(ip2lab.continue_training(run, problems=1), 0).assign_coords(problem=2)
        )


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_surroundings import everything
import ip2lab
print(*(everything(model) for model in ip2lab.models()))
"""
PROCESSES = [
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"},
    {
        "PYTHONHASHSEED": "2",
        "TZ": "America/St_Johns",
        "LC_ALL": "C.UTF-8",
        "PYTHONWARNINGS": "error",
        "OMP_NUM_THREADS": "2",
    },
]


@pytest.mark.slow
def test_the_environment_of_the_process_changes_no_bit(tmp_path):
    found = set()
    for more in PROCESSES:
        script = SCRIPT.format(tests=str(ROOT / "tests"))
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert found == {" ".join(everything(model) for model in ip2lab.models()) + "\n"}


# ---- the cache of compiled functions --------------------------------------------------------------------------


def doubled(x):
    """What is compiled here."""
    return 2 * x + 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    compilation._tell.cache_clear()
    return tmp_path / "cache"


def called(values: Any) -> tuple[Any, int]:
    """Compile and call anew, as a session does; return the result and how often it came from the cache."""
    built = compilation.compiled(doubled)
    return built(values), sum(built.stats.cache_hits.values())


def only(cache: Path) -> Path:
    (file,) = [file for file in cache.rglob("*") if file.is_file()]
    return file


def test_a_damaged_cache_is_compiled_again_and_told_once(cache, caplog):
    assert called(3) == (7, 0) and called(3) == (7, 1)
    whole = only(cache).read_bytes()
    step = max(len(whole) // 12, 1)
    broken = [b"", b"x", os.urandom(5000), whole[:-1], whole + b"x", *(whole[:n] for n in range(1, len(whole), step))]
    broken += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(0, len(whole), step)]
    with caplog.at_level(logging.WARNING, "ip2lab"):
        for data in broken:
            only(cache).write_bytes(data)
            assert called(3) == (7, 0)
            assert called(3) == (7, 1)
    assert len([record for record in caplog.records if "damaged; these are compiled again" in record.message]) == 1


def test_an_unusable_cache_warns_once_and_kernels_still_run(cache, caplog):
    built = compilation.compiled(doubled)
    shutil.rmtree(cache)
    cache.write_text("a file in its place")
    with caplog.at_level(logging.WARNING, "ip2lab"):
        assert built(3) == 7 and built(3.0) == 7.0
    assert len([record for record in caplog.records if "cannot be kept in" in record.message]) == 1
    assert called(3)[0] == 7  # from the folder of the user, or from none
    cache.unlink()
    assert called(3)[0] == 7
    file = only(cache)
    file.unlink()
    file.mkdir()
    assert called(3)[0] == 7


def test_two_that_compile_at_once_do_not_take_each_others_files(cache):
    first, second = compilation.compiled(doubled), compilation.compiled(doubled)
    load = type(first._cache._cache_file).load

    def with_another_in_between(self, key):
        type(first._cache._cache_file).load = load
        second(3.5)  # is written between the other's look into the cache and what it writes
        return load(self, key)

    type(first._cache._cache_file).load = with_another_in_between
    assert first(3) == 7
    assert called(3) == (7, 1) and called(3.5) == (8.0, 1)


CACHED = """
import numpy as np
from ip2lab.networks.training_step import fill_noise
noise = np.empty((5, 3), {dtype!r})
fill_noise(np.uint64(3), 1, 0.5, np.zeros(3, np.uint64), noise)
print(repr(noise.tolist()))
"""


@pytest.mark.slow
def test_kernels_with_a_damaged_cache_in_processes_of_their_own(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def start(dtype: str) -> str:
        command = [sys.executable, "-c", CACHED.format(dtype=dtype)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        single, double, *_ = pool.map(start, ["float32", "float64", "float32", "float64"])
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert len(files) == 2
    for cut in (0, 10, 1000):
        for file in files:
            os.truncate(file, cut)
        assert (start("float32"), start("float64")) == (single, double)
    for file in files:
        file.chmod(0o444)
        os.truncate(file, 7) if os.access(file, os.W_OK) else None
    assert start("float64") == double
