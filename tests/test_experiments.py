"""Many runs: the same numbers wherever they run, labelled by what differs, and gone on with where they are stored."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learning import assert_same_bits

import ip2lab
from ip2lab import experiments, family
from ip2lab.experiments import grid, labels, run_many, series_of
from ip2lab.records import open_run
from ip2lab.records.lock import LOCK

SMALL = {"problems": 2, "neurons": 20, "max_trials": 60, "window": 20}


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_holds_every_combination_once(sizes):
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


@pytest.mark.parametrize(
    "axis",
    [
        [4, 7],
        (4, 7),
        range(4, 8, 3),
        {4, 7},
        frozenset([4, 7]),
        np.array([4, 7]),
        xr.DataArray([4, 7]),
        torch.tensor([4, 7]),
        pd.Series([4, 7], index=["a", "b"]),
        pd.Index([4, 7]),
        {4: "a", 7: "b"}.keys(),
        iter([4, 7]),
        (number for number in (4, 7)),
    ],
    ids=lambda axis: type(axis).__name__,
)
def test_whatever_holds_several_values_is_an_axis(axis):
    plan = grid(family="dms", seed=axis)
    assert [arguments["seed"] for arguments in plan] == [4, 7]
    assert labels(plan) == {"seed": ("run", [4, 7])}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", "dms"),
        ("start", {"tau_soma": [10.0, 20.0]}),
        ("l2", {}),
        ("seed", np.int64(3)),
        ("seed", np.array(3)),
        ("learnable", ("tau_soma", "threshold")),
        ("learnable", {"tau_soma", "threshold"}),
        ("learnable", xr.Dataset(attrs={"decision": ["tau_soma"]})),
        ("frozen", ("bias",)),
        ("filters", np.array([50.0, 200.0])),
        ("problems_order", range(10)),
    ],
)
def test_a_list_option_of_one_run_is_not_an_axis(name, value):
    (only,) = grid(**{name: value})
    assert only[name] is value
    assert len(grid(**{name: [value, value]})) == 2


def test_an_axis_without_a_value_and_one_with_two_dims_are_refused():
    for empty in ([], (), range(0), np.zeros(0), iter([])):
        with pytest.raises(ValueError, match="seed: there is no value in it, so no run; give one or more"):
            grid(seed=empty)
    with pytest.raises(ValueError, match=r"seed: came with 2 dims; an axis has one: give a list of what a run takes"):
        grid(seed=np.zeros((2, 2), int))


def labelled(values):
    """Return values in another order, each with its neuron."""
    return xr.DataArray(values, dims="neuron", coords={"neuron": np.arange(len(values))})[::-1]


def variants():
    """Values that differ, and what each of them may be given as."""
    long = np.linspace(100.0, 200.0, 300)
    other = long.copy()
    other[150] += 1e-9  # what no text of an array shows
    search = xr.Dataset(attrs={"decision": ["tau_soma"], "options": "{}"})
    fixed = xr.Dataset(attrs={"decision": ["tau_soma"], "options": '{"start": {"tau_soma": 30}}'})
    return [
        (
            "start",
            [
                {"tau_soma": long},
                {"tau_soma": long.tolist()},
                {"tau_soma": xr.DataArray(long)},
                {"tau_soma": labelled(long)},
            ],
        ),
        ("start", [{"tau_soma": other}, {"tau_soma": tuple(other)}, {"tau_soma": torch.from_numpy(other)}]),
        ("start", [{"tau_soma": 20}, {"tau_soma": 20.0}, {"tau_soma": np.float64(20)}]),
        ("start", ["homogeneous", MISSING]),
        ("start", ["short"]),
        ("family", ["dms", family("dms")]),
        ("family", [family("dms", delay=500), family("dms", delay=500.0)]),
        ("family", [family("dms", delay=1500)]),
        ("family", [family("dms", delay=(500, 1500)), family("dms", delay=[500.0, 1500.0])]),
        ("family", ["association"]),
        ("learnable", ["default", MISSING]),
        ("learnable", [None, (), []]),
        ("learnable", [("tau_soma", "threshold"), ["tau_soma", "threshold"]]),
        ("learnable", ["tau_soma", ("tau_soma",), search]),
        ("learnable", [fixed]),
        ("noise", [0.05, MISSING, np.float64(0.05)]),
        ("noise", [0, 0.0]),
        ("adaptation", [False, MISSING, np.bool_(False)]),
        ("adaptation", [True]),
        ("rate_target", [None]),
        ("rate_target", [5.0, MISSING, 5]),
        ("problems_order", [range(20), list(range(20))]),
        ("problems_order", [list(range(19, -1, -1))]),
        ("freeze_after", [1]),
        ("freeze_after", ["1"]),
    ]


MISSING = object()


@settings(max_examples=60)
@given(data=st.data())
def test_two_runs_have_the_same_labels_where_they_are_given_the_same(data):
    def drawn():
        chosen = {}
        for name in dict.fromkeys(name for name, _ in variants()):
            kinds = [values for other, values in variants() if other == name]
            kind = data.draw(st.integers(0, len(kinds) - 1))
            chosen[name] = kind, data.draw(st.sampled_from(kinds[kind]))
        return chosen

    chosen = [drawn() for _ in range(data.draw(st.integers(2, 5)))]
    plan = [{name: value for name, (_, value) in each.items() if value is not MISSING} for each in chosen]
    found = labels(plan)
    for name in chosen[0]:
        kinds = [each[name][0] for each in chosen]
        words = list(found[name][1]) if name in found else ["the same"] * len(kinds)
        same = [[one == other for one in kinds] for other in kinds]
        assert [[one == other for one in words] for other in words] == same
        assert all(len(str(word)) < 80 and "\n" not in str(word) for word in words)


def test_values_with_the_same_text_get_different_labels():
    found = labels([{"x": 1}, {"x": "1"}, {"x": True}, {"x": None}, {"x": "nothing"}, {"x": "1 (2)"}, {"x": 1.0}])
    assert found["x"][1] == ["1", "1 (2)", "True", "nothing", "nothing (2)", "1 (2) (2)", "1"]


def test_plans_are_labelled_before_anything_is_trained(monkeypatch):
    plan = grid(family=[family("dms", delay=500), family("dms", delay=1500)], seed=range(2), **SMALL)
    plan = [arguments | {"start": {"tau_soma": np.linspace(20, 30, 20) + i}} for i, arguments in enumerate(plan)]
    runs = run_many(plan, progress=False)
    assert runs.family.values.tolist() == ["dms (delay=500)"] * 2 + ["dms (delay=1500)"] * 2
    assert runs.seed.values.tolist() == [0, 1, 0, 1]
    assert len(set(runs.start.values)) == 4
    assert runs.set_index(run=["family", "seed", "start"]).indexes["run"].is_unique
    for i, arguments in enumerate(plan):
        alone = ip2lab.train(**arguments, progress=False)
        assert runs.loss[i].values.tolist() == alone["series"].loss.values.tolist()

    class NoTextError(Exception):
        pass

    class NoText:
        def __repr__(self):
            raise NoTextError

    monkeypatch.setattr(experiments, "series_of", lambda *_: pytest.fail("something was trained"))
    with pytest.raises(NoTextError):
        run_many([SMALL | {"start": NoText()}, SMALL], progress=False)


def test_arrays_in_a_stored_experiment_are_compared_by_what_they_hold(tmp_path):
    plan = [SMALL | {"family": "association", "start": {"tau_soma": np.linspace(20, 30, 20)}}]
    first = run_many(plan, folder=tmp_path, progress=False)
    again = [plan[0] | {"start": {"tau_soma": xr.DataArray(np.linspace(20, 30, 20))}}]
    assert run_many(again, folder=tmp_path, progress=False).identical(first)
    with pytest.raises(RuntimeError, match=r"holds another run, with start"):
        run_many([plan[0] | {"start": {"tau_soma": np.linspace(20, 31, 20)}}], folder=tmp_path, progress=False)


def test_series_of_different_lengths_are_padded_with_missing_values():
    runs = run_many([SMALL | {"family": "association", "problems": n} for n in (1, 3)], progress=False)
    assert runs.loss.notnull().sum("problem").values.tolist() == [1, 3]
    assert runs.trials.notnull().sum("problem").values.tolist() == [1, 3]
    assert not runs.failed[0, 1:].any()


def test_every_executor_gives_the_same_runs():
    plan = grid(family="association", seed=[0, 1, 2], **SMALL)
    here = run_many(plan, progress=False).drop_vars("duration")
    with ThreadPoolExecutor(2) as pool:
        assert run_many(plan, executor=pool, progress=False).drop_vars("duration").identical(here)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert run_many(plan, executor=pool, progress=False).drop_vars("duration").identical(here)


def test_every_model_gives_the_same_bits_in_a_parallel_experiment(tmp_path):
    models = ["spiking", "rate", "attention", "filters"]
    plan = grid(family="association", model=models, **(SMALL | {"neurons": 70}))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        run_many(plan, executor=pool, folder=tmp_path, progress=False)
    for i, arguments in enumerate(plan):
        assert_same_bits(open_run(tmp_path / f"{i:04d}.zarr"), ip2lab.train(**arguments, progress=False))


def test_complete_stored_runs_are_not_trained_again(tmp_path):
    plan = grid(family="association", seed=[0, 1], **SMALL)
    first = run_many(plan, folder=tmp_path, progress=False)
    assert run_many(plan, folder=tmp_path, progress=False).identical(first)  # even the computing times
    assert open_run(tmp_path / "0001.zarr").attrs["seed"] == 1


def test_an_interrupted_run_of_an_experiment_resumes(tmp_path):
    plan = [SMALL | {"family": "association"}]
    whole = run_many(plan, progress=False)
    with pytest.warns(UserWarning, match="the run was stopped before its end"):
        ip2lab.train(**plan[0], path=tmp_path / "0000.zarr", progress=lambda series: series.stop())
    runs = run_many(plan, folder=tmp_path, progress=False)
    assert (runs.loss.values == whole.loss.values).all()


def test_an_error_names_the_run_that_failed():
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
def test_an_invalid_plan_is_refused(plan, error, wording):
    with pytest.raises(error, match=wording):
        run_many(plan)


def test_a_closed_executor_and_dying_workers_raise_named_errors():
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


@pytest.mark.parametrize("left", [(), ("lock",)], ids=["nothing", "an empty lock"])
def test_a_worker_killed_before_it_wrote_anything_is_begun_again(tmp_path, left):
    """What a kill leaves between the making of the folder and the first words in the lock."""
    folder = tmp_path / "run.zarr"
    folder.mkdir()
    for _ in left:
        (folder / LOCK).touch()
    series = series_of({"family": "association", "seed": 1, "problems": 1, "neurons": 20, "max_trials": 60}, folder)
    assert len(series["trials_to_criterion"]) == 1
    assert ip2lab.open_run(folder).attrs["complete"]
