"""Many runs: the same numbers wherever they run, labelled by what differs, and gone on with where they are stored."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_learning import assert_same_bits

import ip2lab
from ip2lab.experiments import grid, run_many
from ip2lab.records import open_run

SMALL = {"problems": 2, "neurons": 20, "max_trials": 60, "window": 20}


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_is_every_combination_once(sizes):
    axes = {f"axis{k}": list(range(size)) for k, size in enumerate(sizes)}
    plan = grid(**axes, constant="same")
    assert len(plan) == np.prod(sizes)
    assert len({tuple(each.values()) for each in plan}) == len(plan)
    assert all(each["constant"] == "same" for each in plan)


def test_runs_are_labelled_by_what_differs():
    plan = grid(family=["association", "dms"], learnable=[None, ("tau_soma", "threshold")], seed=[3], **SMALL)
    runs = run_many(plan, progress=False)
    assert runs.trials_to_criterion.dims == ("run", "problem")
    assert runs.family.values.tolist() == ["association"] * 2 + ["dms"] * 2
    assert runs.learnable.values.tolist() == ["nothing", "tau_soma + threshold"] * 2
    assert "seed" not in runs.coords
    alone = ip2lab.train(**plan[3], progress=False)
    assert (runs.loss[3].values == alone["series"].loss.values).all()
    for variable in runs.data_vars.values():
        assert {"units", "long_name"} <= set(variable.attrs)


def test_shorter_series_are_filled_up():
    runs = run_many([SMALL | {"family": "association", "problems": n} for n in (1, 3)], progress=False)
    assert runs.loss.notnull().sum("problem").values.tolist() == [1, 3]
    assert runs.trials.notnull().sum("problem").values.tolist() == [1, 3]
    assert not runs.failed[0, 1:].any()


def test_executors_change_nothing():
    plan = grid(family="association", seed=[0, 1, 2], **SMALL)
    here = run_many(plan, progress=False).drop_vars("duration")
    with ThreadPoolExecutor(2) as pool:
        assert run_many(plan, executor=pool, progress=False).drop_vars("duration").identical(here)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert run_many(plan, executor=pool, progress=False).drop_vars("duration").identical(here)


def test_every_model_makes_the_same_bits_in_a_parallel_experiment(tmp_path):
    models = ["spiking", "rate", "attention", "filters"]
    plan = grid(family="association", model=models, **(SMALL | {"neurons": 70}))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        run_many(plan, executor=pool, folder=tmp_path, progress=False)
    for i, arguments in enumerate(plan):
        assert_same_bits(open_run(tmp_path / f"{i:04d}.zarr"), ip2lab.train(**arguments, progress=False))


def test_what_is_stored_is_not_done_again(tmp_path):
    plan = grid(family="association", seed=[0, 1], **SMALL)
    first = run_many(plan, folder=tmp_path, progress=False)
    assert run_many(plan, folder=tmp_path, progress=False).identical(first)  # even the computing times
    assert open_run(tmp_path / "0001.zarr").attrs["seed"] == 1


def test_an_interrupted_run_goes_on(tmp_path):
    plan = [SMALL | {"family": "association"}]
    whole = run_many(plan, progress=False)
    with pytest.warns(UserWarning, match="the run was stopped before its end"):
        ip2lab.train(**plan[0], path=tmp_path / "0000.zarr", progress=lambda series: series.stop())
    runs = run_many(plan, folder=tmp_path, progress=False)
    assert (runs.loss.values == whole.loss.values).all()


def test_a_run_that_fails_is_named():
    with pytest.raises(RuntimeError, match=r"run 1, .*'dsm'.* failed: unknown family 'dsm'") as caught:
        run_many([SMALL | {"family": "association"}, SMALL | {"family": "dsm"}], progress=False)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("plan", "error", "wording"),
    [
        ([], ValueError, "plan: there is no run in it"),
        ("dms", TypeError, "plan: 'dms' is not valid; give a list of mappings of arguments, one a run"),
        ({"family": "dms"}, TypeError, "plan: .* is not valid; give a list of mappings of arguments, one a run"),
        (["dms"], TypeError, "plan: 'dms' is no mapping of arguments"),
        ([{1: "dms"}], TypeError, "plan: .* is no mapping of arguments"),
    ],
)
def test_a_plan_that_is_none_is_refused(plan, error, wording):
    with pytest.raises(error, match=wording):
        run_many(plan)


def test_an_executor_that_is_gone_and_one_whose_workers_die():
    plan = [SMALL | {"family": "association", "seed": seed} for seed in range(2)]
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(
        RuntimeError, match=r"run 0, .*cannot schedule new futures.*2 of 2 failed; give folder="
    ) as gone:
        run_many(plan, executor=pool, progress=False)
    assert isinstance(gone.value.__cause__, RuntimeError)
    dying = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=os._exit, initargs=(3,))
    with dying as pool, pytest.raises(RuntimeError, match=r"run 0, .* failed: .*2 of 2 failed") as died:
        run_many(plan, executor=pool, progress=False)
    assert isinstance(died.value.__cause__, BrokenProcessPool)
