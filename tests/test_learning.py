"""The series of problems: criterion, failure, what is recorded, seeds to bits, interrupts and resuming to the bit."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import ip2lab
from ip2lab.probes import continue_training
from ip2lab.records import Recorder
from ip2lab.tasks import family
from ip2lab.training import runtime, trainer
from ip2lab.training.learners import PlainLearner
from ip2lab.training.recording import is_kept
from ip2lab.training.trainer import Trainer, make_trainer

ROOT = Path(__file__).parents[1]
SHORT = family("association", stimulus=200.0, delay=200.0, response=200.0, grace_period=40.0)
TINY = {"neurons": 20, "max_trials": 120, "criterion": 0.3, "progress": False, "seed": 5}
UNTIMED = ("duration",)  # the only variable that is not the same in every run of the same seed


def train(task=SHORT, problems=3, **changes) -> xr.DataTree:
    return ip2lab.train(task, problems=problems, **(TINY | changes))


def digest(run: xr.DataTree) -> str:
    """Return a hash of every number and label in a run, but for how long it took."""
    total = hashlib.sha256()
    for node in sorted(run.subtree, key=lambda node: node.path):
        for name, variable in sorted(node.to_dataset(inherit=False).variables.items()):
            if name not in UNTIMED:
                total.update(f"{node.path}/{name}{variable.dims}{variable.shape}{variable.dtype}".encode())
                values = np.asarray(variable.values)
                total.update(values.astype("U").tobytes() if values.dtype.kind in "OUT" else values.tobytes())
    return total.hexdigest()


def assert_same_bits(one: xr.DataTree, two: xr.DataTree) -> None:
    for path in sorted({node.path for node in one.subtree} | {node.path for node in two.subtree}):
        a, b = one[path].to_dataset(inherit=False), two[path].to_dataset(inherit=False)
        assert set(a.variables) == set(b.variables), path
        for name in set(a.variables) - set(UNTIMED):
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=f"{path}/{name}")
    assert digest(one) == digest(two)


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    """An undisturbed run: three problems, some trajectories in each."""
    return train()


# ---------------------------------------------------------------- criterion and failure


@pytest.mark.parametrize("criterion", [0.3, 0.05])
def test_a_problem_ends_where_fifty_trials_in_a_row_are_below_the_criterion(criterion):
    """Recomputed from /trials: at least 51 trials, the mean of the last 50; recorded as trials - 50."""
    run = train(problems=6, criterion=criterion, max_trials=400)
    series, trials = run["series"].to_dataset(), run["trials"].to_dataset()
    solved = ~series.failed.values
    assert solved.any()
    for problem in series.problem.values:
        loss = trials.loss.values[trials.problem.values == problem]
        row = series.sel(problem=problem)
        means = np.array([loss[i - 49 : i + 1].mean() if i >= 50 else np.inf for i in range(len(loss))])
        below = np.flatnonzero(means < criterion)
        assert len(loss) == row.trials
        if row.failed:
            assert below.size == 0 and len(loss) == 400
            assert np.isnan(row.trials_to_criterion) and row.censored_trials == 350
            assert row.failure_reason == "criterion not reached"
        else:
            assert below.tolist() == [len(loss) - 1]
            assert row.trials_to_criterion == len(loss) - 50
            assert row.failure_reason == "" and np.isnan(row.censored_trials)
        assert row.loss == pytest.approx(loss[-50:].mean(), rel=1e-12)


def test_the_window_and_the_cap_are_options():
    run = train(problems=1, window=5, max_trials=9, criterion=1e-9)
    series = run["series"].isel(problem=0)
    assert (int(series.trials), float(series.censored_trials), bool(series.failed)) == (9, 4, True)
    easy = train(problems=1, window=5, criterion=100.0)["series"].isel(problem=0)
    assert (int(easy.trials), float(easy.trials_to_criterion)) == (6, 1)


def test_a_row_of_the_series_summarizes_the_trials_of_its_problem(whole):
    series, trials = whole["series"], whole["trials"]
    for problem in range(3):
        mine = trials.problem.values == problem
        correct, row = trials.correct.values[mine], series.sel(problem=problem)
        assert float(row.accuracy) == pytest.approx(correct[-50:].mean())
        wrong = np.flatnonzero(~correct)
        assert float(row.last_error) == wrong[-1]
        assert 0 <= row.zero_shot_accuracy <= 1 and row.zero_shot_loss > 0
        assert row.firing_rate > 0 and row.duration > 0
        assert set(trials.condition.values[mine]) == {0, 1}
    assert trials.trial.values.tolist() == list(range(int(series.trials.sum())))


def test_zero_shot_is_before_the_first_trial_over_all_conditions(whole):
    """Where nothing learns and there is no noise, every trial is that test again."""
    still = {"learning_rate": 1e-30, "output_learning_rate": 0.0, "learnable": None, "noise": 0.0}
    run = train(problems=1, criterion=1e-9, window=10, max_trials=20, **still)
    trials, row = run["trials"], run["series"].isel(problem=0)
    each = [float(trials.loss.values[trials.condition.values == c][0]) for c in (0, 1)]
    assert float(row.zero_shot_loss) == pytest.approx(np.mean(each), rel=1e-5)
    first = whole["series"].isel(problem=0)
    assert float(first.zero_shot_loss) == pytest.approx(float(row.zero_shot_loss), rel=1e-5)


# ---------------------------------------------------------------- what is kept


def test_kept_problems_are_the_same_whatever_the_length_and_grow_apart():
    chosen = [problem for problem in range(1000) if is_kept(problem)]
    assert chosen[:7] == [0, 1, 2, 3, 5, 8, 10] and 25 <= len(chosen) <= 35
    run = train(problems=5, max_trials=52)
    assert run["weights"].problem.values.tolist() == [0, 1, 2, 3, 4]  # the last one too
    assert run["activity"].problem.values.tolist() == [0, 1, 2, 3, 4]
    chosen = train(problems=5, max_trials=52, record={"kept": [1]})
    assert chosen["activity"].problem.values.tolist() == [1, 4]


def test_trajectories_have_a_row_every_ten_trials_and_end_at_the_stored_properties(whole):
    properties, steps = whole["properties"], whole["trajectories"]
    assert properties.problem.values.tolist() == [-1, 0, 1, 2]
    np.testing.assert_allclose(properties.tau_dendrite.sel(problem=-1), 100, rtol=1e-5)
    assert (steps.trial.values % 10 == 0).all()
    for problem in range(3):
        count = int(whole["series"].trials.sel(problem=problem))
        assert steps.trial.values[steps.problem.values == problem].tolist() == list(range(10, count + 1, 10))
    dense = train(record={"trajectories": 1})["trajectories"]
    ends = [int((dense.problem.values <= p).sum()) - 1 for p in range(3)]
    np.testing.assert_array_equal(dense.tau_soma.values[ends], properties.tau_soma.values[1:])
    every = [i for i in range(dense.sizes["step"]) if int(dense.trial[i]) % 10 == 0]
    np.testing.assert_array_equal(dense.threshold.values[every], steps.threshold.values)


def test_the_record_is_of_the_network_that_learnt(whole):
    """Activity of the last problem, made again from the weights in the store with the plain loop."""
    from ip2lab.networks.spiking import SpikingNetwork

    weights, last = whole["weights"].isel(problem=-1), whole["activity"].isel(problem=-1)
    net = SpikingNetwork(11, 3, 20)
    with torch.no_grad():
        for name in ("input_weights", "recurrent_weights", "output_weights", "output_bias"):
            getattr(net, name).copy_(torch.as_tensor(weights[name].values))
    for name in ("bias", "tau_dendrite", "tau_soma", "threshold"):
        net.set_property(name, whole["properties"][name].sel(problem=2).values)
    shown = SHORT.problem(np.random.SeedSequence([5, trainer.PROBLEMS, 2])).trials()
    with torch.no_grad():
        done = net(torch.as_tensor(shown.inputs.values, dtype=torch.float32), compiled=False)
    flipped = (done.spikes.numpy() > 0) != last.spikes.values
    assert last.spikes.values.any() and flipped.mean() < 1e-3
    np.testing.assert_allclose(torch.softmax(done.logits, -1), last.readout, atol=1e-3)


def test_configuration_and_units_are_recorded(whole):
    assert whole.attrs["family"] == "association" and whole.attrs["seed"] == 5
    assert whole.attrs["learnable"] == ["bias", "tau_dendrite", "tau_soma", "threshold"]
    assert whole.attrs["config"]["neurons"] == 20 and whole.attrs["config"]["family"] == SHORT.settings()
    assert whole.attrs["complete"] is True
    for node in whole.subtree:
        for name, variable in node.data_vars.items():
            assert variable.attrs.get("units") and variable.attrs.get("long_name"), f"{node.path}/{name}"


# ---------------------------------------------------------------- what learns


def test_only_the_properties_named_learnable_change():
    names = {"bias", "tau_dendrite", "tau_soma", "threshold"}
    asked = [
        (None, set()),
        ("tau_soma", {"tau_soma"}),
        (["threshold", "tau_soma"], {"threshold", "tau_soma"}),
        ("all", names),
    ]
    for learnable, expected in asked:
        run = train(problems=1, learnable=learnable)
        moved = {name for name in names if np.ptp(run["properties"][name].values, axis=0).any()}
        assert moved == expected == set(run.attrs["learnable"])


def test_frozen_parameters_keep_their_bits():
    frozen = ("recurrent_weights", "tau_soma", "output_bias")
    run = train(frozen=frozen, problems=3)
    for name in ("recurrent_weights", "output_bias"):
        values = run["weights"][name].values
        assert all(v.tobytes() == values[0].tobytes() for v in values)
    assert not np.ptp(run["properties"].tau_soma.values, axis=0).any()
    assert np.ptp(run["weights"].input_weights.values, axis=0).all()
    assert np.ptp(run["properties"].threshold.values, axis=0).all()


def test_properties_freeze_after_a_problem_and_weights_do_not():
    run = train(problems=4, freeze_after=1)
    for name in ("tau_dendrite", "tau_soma", "threshold"):
        moved = np.abs(np.diff(run["properties"][name].values, axis=0)).sum(1) > 0  # of problems 0, 1, 2, 3
        assert moved.tolist() == [True, True, False, False]
    assert np.ptp(run["weights"].input_weights.values[2:], axis=0).any()


NAMES = ("bias", "tau_dendrite", "tau_soma", "threshold")


def free_at(run: xr.DataTree, problem: int) -> np.ndarray:
    """Return the free parameters (property, neuron) after a problem."""
    after = run["properties"].sel(problem=problem)
    return np.array([ip2lab.PROPERTIES[name].to_free(after[name].values) for name in NAMES])


def free_at_the_start(options, problem: int) -> np.ndarray:
    """Return the free parameters (property, neuron) with which a problem begins, on the learner that options give."""
    training = make_trainer(SHORT, problems=5, **{k: v for k, v in (TINY | options).items() if k != "progress"})
    while training.problem < problem:
        training.train_problem()
    training.start_problem()
    return np.array([training.network.free[name].detach().numpy() for name in NAMES])


@pytest.mark.parametrize(("share", "expected", "plain"), [
    (0.0, lambda ends: ends[0], False),
    (0.25, lambda ends: 0.75 * (0.75 * ends[0] + 0.25 * ends[1]) + 0.25 * ends[2], False),
    ("mean", lambda ends: ends.mean(0), False),
    ("mean", lambda ends: ends.mean(0), True),
    (1.0, lambda ends: ends[2], False),
])  # fmt: skip
def test_a_problem_begins_at_the_consolidated_properties(monkeypatch, share, expected, plain):
    if plain:
        monkeypatch.setattr(trainer, "make_learner", PlainLearner)
    options = {"consolidation": share, "dtype": "float64", "max_trials": 20, "window": 10}
    run = train(problems=3, **options)
    ends = np.array([free_at(run, problem) for problem in (0, 1, 2)])
    assert np.ptp(ends, axis=0).all()  # they are tuned in every problem
    np.testing.assert_allclose(free_at_the_start(options, 3), expected(ends), rtol=1e-6, atol=1e-9)


def test_single_parameters_may_be_consolidated_and_others_go_on():
    options = {"consolidation": {"tau_soma": 0.0, "recurrent_weights": 0.0}, "dtype": "float64", "max_trials": 60}
    run, begun = train(problems=3, **options), free_at_the_start(options, 3)
    np.testing.assert_allclose(begun[2], free_at(run, 0)[2], rtol=1e-9)
    np.testing.assert_allclose(begun[[0, 1, 3]], free_at(run, 2)[[0, 1, 3]], rtol=1e-6)


def test_a_consolidating_run_resumes_and_replays_bit_for_bit(tmp_path, monkeypatch):
    options = {"consolidation": {"tau_soma": "mean", "tau_dendrite": 0.5, "output_weights": 0.5}, "problems": 4}
    wanted, path = train(**options), tmp_path / "run.zarr"
    stopped_at(path, 2, 20, monkeypatch, **options)
    assert_same_bits(ip2lab.resume(path, progress=False), wanted)
    on = continue_training(wanted, 1, problems=2)
    np.testing.assert_array_equal(on["series"].loss, wanted["series"].loss[2:])
    replayed = ip2lab.replay(wanted, 3, 10)
    kept = wanted["trials"].loss.values[wanted["trials"].problem.values == 3]
    assert float(replayed.loss) == pytest.approx(kept[10], rel=1e-6)


def test_reset_optimizer_decides_what_adam_forgets():
    runs = {what: train(reset_optimizer=what) for what in ("all", "first_moment", "none")}
    first = [run["trials"].loss.values[run["trials"].problem.values == 0] for run in runs.values()]
    assert all(np.array_equal(loss, first[0]) for loss in first)
    assert len({digest(run) for run in runs.values()}) == 3


def test_network_seed_and_problem_seed_act_separately(whole):
    other_problems, other_network = train(problem_seed=77), train(network_seed=77)
    same = whole["properties"].sel(problem=-1)
    born = [run["weights"].isel(problem=0) for run in (other_problems, other_network)]
    assert same.equals(other_problems["properties"].sel(problem=-1))
    assert not born[0].equals(born[1])
    conditions = [run["trials"].condition.values[:50] for run in (whole, other_problems, other_network)]
    assert np.array_equal(conditions[0], conditions[2]) and not np.array_equal(conditions[0], conditions[1])


def test_problems_order_gives_the_problems_in_that_order():
    run = train(problems_order=[2, 2, 0], learning_rate=1e-30, output_learning_rate=0, learnable=None, criterion=100.0)
    plain = train(learning_rate=1e-30, output_learning_rate=0, learnable=None, criterion=100.0)
    shot, wanted = run["series"].zero_shot_loss.values, plain["series"].zero_shot_loss.values
    np.testing.assert_allclose(shot, wanted[[2, 2, 0]], rtol=1e-5)


KINDS = [
    {"adaptation": True, "learnable": "all"},
    {"readout": "membrane", "spiking": False},
    {"recurrent": False},
    {"l2": 0.01, "rate_weight": 0.01},
    {"dtype": "float64"},
    {"start": "heterogeneous", "refractory": 20.0, "dt": 10.0},
    {"learnable": "gain"},
]


@pytest.mark.parametrize("changes", KINDS, ids=" ".join)
def test_every_kind_of_network_learns(changes):
    run = train(problems=1, max_trials=300, criterion=0.1, **changes)
    loss = run["trials"].loss.values
    assert np.isfinite(loss).all()
    assert loss[-10:].mean() < loss[:10].mean() / 2


# ---------------------------------------------------------------- a loss that is not finite


def poison(monkeypatch, when: int, what) -> None:
    """Let `what` happen to the learner after trial `when` of problem 1."""
    plain = Trainer.do_trials
    done = []

    def do_trials(self, last):
        status = plain(self, last)
        if self.problem == 1 and self.trial >= when and not done:
            done.append(what(self))
        return status

    monkeypatch.setattr(Trainer, "do_trials", do_trials)


def break_weights(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.network.input_weights[3] = float("nan")


def break_moments(trainer: Trainer) -> None:
    trainer.learner.load(trainer.learner.state() | {"moment1": trainer.learner.state()["moment1"] + np.float32("inf")})


@pytest.mark.parametrize("what", [break_weights, break_moments])
@pytest.mark.parametrize("when", [10, 40])
def test_a_loss_that_is_not_finite_fails_the_problem_and_the_series_goes_on(monkeypatch, what, when):
    poison(monkeypatch, when, what)
    run = train(problems=4)
    series = run["series"].to_dataset()
    assert series.failed.values[1]
    assert series.failure_reason.values[1] == "loss not finite"
    assert np.isnan(series.trials_to_criterion.values[1]) and series.censored_trials.values[1] == 70
    assert series.sizes["problem"] == 4 and run.attrs["complete"]
    assert "loss not finite" not in series.failure_reason.values[[0, 2, 3]].tolist()
    assert when <= series.trials.values[1] < when + 10  # looked at every ten trials, with the trajectories
    for group in ("trials", "properties", "weights", "activity"):  # never a silent NaN in a record
        for name, variable in run[group].data_vars.items():
            assert variable.dtype.kind not in "f" or np.isfinite(variable.values).all(), f"{group}/{name}"
    for name, values in run["properties"].data_vars.items():  # what was learnt in the broken problem is undone
        np.testing.assert_array_equal(values.sel(problem=1), values.sel(problem=0), err_msg=name)


@pytest.mark.parametrize("model", ["rate", "attention", "filters"])
def test_other_models_that_break_fail_the_problem_too(monkeypatch, model):
    def break_readout(trainer):
        with torch.no_grad():
            trainer.network.output_weights[0, 0] = float("nan")
        trainer.learner.load(trainer.learner.state())

    poison(monkeypatch, 10, break_readout)
    run = train(problems=3, model=model, criterion=1e-9, max_trials=60, window=20, neurons=70)
    reasons = run["series"].failure_reason.values.tolist()
    assert reasons == ["criterion not reached", "loss not finite", "criterion not reached"]
    for group in ("trials", "trajectories", "properties", "weights", "activity"):
        for name, variable in run[group].data_vars.items():
            assert variable.dtype.kind not in "f" or np.isfinite(variable.values).all(), f"{group}/{name}"


def test_trajectories_hold_no_nan_either(monkeypatch):
    poison(monkeypatch, 20, break_moments)
    steps = train(problems=2)["trajectories"]
    assert all(np.isfinite(variable.values).all() for variable in steps.data_vars.values())


def test_a_network_broken_from_its_first_trial_fails_its_problem_within_ten_trials(monkeypatch):
    plain = Trainer._begin

    def begin(self):
        plain(self)
        if self.problem == 1:
            break_weights(self)

    monkeypatch.setattr(Trainer, "_begin", begin)
    series = train(problems=3)["series"]
    assert series.failure_reason.values[1] == "loss not finite" and int(series.trials[1]) < 10
    assert not series.failed.values[2] or series.failure_reason.values[2] == "criterion not reached"


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_updates_that_overflow_are_undone(clip):
    run = train(problems=2, learning_rate=1e38, clip=clip)
    assert run.attrs["complete"]
    assert run["series"].failure_reason.values.tolist() == ["loss not finite"] * 2
    born = run["properties"].sel(problem=-1)
    for name, values in run["properties"].data_vars.items():
        assert (values == born[name]).all()
    assert all(np.isfinite(v.values).all() for v in run["weights"].data_vars.values())


# ---------------------------------------------------------------- the same seed, the same bits


HASH = """
import sys; sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads({threads})
from test_learning import digest, train
print("digest", digest(train(path={path!r}, progress={progress})))
print(torch.get_num_threads())
"""


def in_another_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=both, timeout=300)


@pytest.mark.parametrize(("threads", "progress", "cold"), [(1, True, False), (2, False, True)])
def test_the_same_seed_in_another_process_gives_the_same_bits(whole, tmp_path, threads, progress, cold):
    """With one thread and two, with a progress bar, with kernels from the cache and with kernels it compiles itself."""
    path = str(tmp_path / "run.zarr")
    code = HASH.format(tests=str(ROOT / "tests"), threads=threads, path=path, progress=progress)
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")} if cold else {}
    done = in_another_process(code, OMP_NUM_THREADS=str(threads), **cache)
    assert done.returncode == 0, done.stderr
    assert f"digest {digest(whole)}" in done.stdout
    assert done.stdout.split()[-1] == str(threads)  # training with one thread leaves the setting as it was
    assert_same_bits(ip2lab.open_run(path), whole)


@pytest.mark.parametrize("model", ["rate", "attention", "filters"])
def test_other_models_give_the_same_bits_in_another_process_with_two_threads(tmp_path, model):
    path, less = str(tmp_path / "run.zarr"), {"model": model, "neurons": 70, "problems": 2}
    code = HASH.format(tests=str(ROOT / "tests"), threads=2, path=path, progress=True)
    done = in_another_process(code.replace("train(path", f"train(**{less}, path"), OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    here = train(**less)
    assert f"digest {digest(here)}" in done.stdout
    assert_same_bits(ip2lab.open_run(path), here)


def test_recording_and_progress_change_nothing(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "CALL_EVERY", 0.0)
    calls = []
    watched = train(path=tmp_path / "run.zarr", progress=lambda trainer: calls.append((trainer.problem, trainer.trial)))
    assert_same_bits(watched, whole)
    assert len(calls) > 20 and calls == sorted(calls) and calls[-1][0] == 3
    sparse = train(record={"trajectories": 37, "kept": [0]})
    for group in ("trials", "properties"):
        assert sparse[group].to_dataset().equals(whole[group].to_dataset())


def test_it_trains_with_one_thread_and_leaves_the_setting(monkeypatch):
    monkeypatch.setattr(runtime, "CALL_EVERY", 0.0)
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    try:
        train(problems=1, progress=lambda trainer: seen.add(torch.get_num_threads()))
        assert seen == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_trainings_in_threads_leave_the_number_of_threads_as_it_was():
    """The second one begins while the first has set one thread, and ends after it."""
    began, both, ended, found = threading.Event(), threading.Event(), threading.Event(), {}

    def first() -> None:
        with runtime.one_torch_thread():
            began.set()
            both.wait(20)
        ended.set()

    def second() -> None:
        began.wait(20)
        with runtime.one_torch_thread():
            both.set()
            ended.wait(20)
            found["in"] = torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = threading.Thread(target=lambda: found.update(after=torch.get_num_threads()))
        after.start()
        after.join()
        assert found == {"in": 1, "after": 2}
    finally:
        torch.set_num_threads(before)


def test_a_progress_function_is_called_no_more_often_than_the_interval(monkeypatch):
    now, calls = itertools.count(1000.0, 0.03), []
    monkeypatch.setattr(runtime.time, "monotonic", lambda: next(now))
    train(progress=lambda trainer: calls.append(next(now)))
    assert len(calls) > 5
    assert min(np.diff(calls[:-1])) >= runtime.CALL_EVERY  # the last one is told in any case


def test_a_rate_network_is_held_at_the_level_of_its_first_problem(monkeypatch):
    monkeypatch.setattr(runtime, "CALL_EVERY", 0.0)
    found = {}

    def look(trainer: Trainer) -> None:
        if trainer.problem not in found and trainer.trial == 0 and trainer.problem:
            found[trainer.problem] = float(trainer.learner.buffers.target[0])

    levels = train(model="rate", problems=2, rate_weight=0.01, progress=look)
    assert levels.attrs["complete"] and found[1] > 0 and found.get(2, found[1]) == found[1]
    given = train(model="rate", problems=2, rate_weight=0.01, rate_target=50.0)  # above every level: it pulls up
    assert not np.array_equal(given["trials"].loss.values, levels["trials"].loss.values)


def test_the_length_of_a_series_changes_nothing_before_its_end(whole):
    short = train(problems=2)
    for group in ("properties", "weights", "activity"):
        assert short[group].to_dataset().equals(whole[group].to_dataset().sel(problem=short[group].problem))


def test_simultaneous_runs_in_threads_do_not_affect_each_other(whole):
    """The kernels let other threads run; each training keeps to itself, of whatever kind its network is."""
    kinds = [{}, {"model": "rate"}, {"model": "attention", "neurons": 70}, {"model": "filters"}]
    alone, made = [digest(train(**kind)) for kind in kinds], {}

    def work(number: int) -> None:
        made[number] = digest(train(**kinds[number % len(kinds)]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2 * len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alone[0] == digest(whole)
    assert [made.get(number) for number in range(len(threads))] == alone * 2


def test_no_clock_that_can_be_set_is_asked_for_a_duration(whole, tmp_path, monkeypatch):
    """The clock goes back by an hour whenever somebody looks at it."""
    hours, commits, commit = itertools.count(500_000, -1), [], Recorder.commit
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    monkeypatch.setattr(Recorder, "commit", lambda *given, **named: (commits.append(given), commit(*given, **named)))
    monkeypatch.setattr(runtime, "CALL_EVERY", 0.0)
    run = train(path=tmp_path / "run.zarr", record={"interval": 0.01}, progress=lambda trainer: None)
    assert_same_bits(run, whole)
    assert (run["series"].duration > 0).all()
    assert len(commits) > 5


def test_another_seed_gives_another_run(whole):
    assert digest(train(seed=6)) != digest(whole)


# ---------------------------------------------------------------- stopping and going on


def stopped_at(path, problem: int, trial: int, monkeypatch, **changes) -> xr.DataTree:
    monkeypatch.setattr(runtime, "CALL_EVERY", 0.0)

    def stop(trainer: Trainer) -> None:
        if (trainer.problem, trainer.trial) >= (problem, trial):
            trainer.stop()

    with pytest.warns(UserWarning, match="the run was stopped before its end: it holds the . problems done"):
        return train(path=path, **(changes | {"progress": stop}))


@pytest.mark.parametrize(("problem", "trial"), [(0, 10), (0, 40), (1, 0), (1, 30), (2, 50)])
def test_a_resumed_run_equals_the_undisturbed_one_bit_for_bit(whole, tmp_path, monkeypatch, problem, trial):
    path = tmp_path / "run.zarr"
    part = stopped_at(path, problem, trial, monkeypatch)
    assert part.attrs["complete"] is False
    assert part["series"].sizes["problem"] == problem
    mine = part["trials"].problem.values == problem
    assert mine.sum() == trial
    done = ip2lab.resume(path, progress=False)
    assert done.attrs["complete"] is True
    assert_same_bits(done, whole)
    assert_same_bits(ip2lab.open_run(path), whole)


def test_a_run_resumed_five_times_equals_the_undisturbed_one(whole, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    stopped_at(path, 0, 10, monkeypatch)
    for problem, trial in ((0, 20), (0, 60), (1, 10), (2, 10)):

        def stop(trainer: Trainer, here=(problem, trial)) -> None:
            if (trainer.problem, trainer.trial) >= here:
                trainer.stop()

        with pytest.warns(UserWarning, match="the run was stopped before its end"):
            ip2lab.resume(path, progress=stop)
    assert_same_bits(ip2lab.resume(path, progress=False), whole)


def test_a_run_with_every_option_set_resumes_bit_for_bit(tmp_path, monkeypatch):
    changes = {
        "task": family("association", **(SHORT.settings() | {"delay": (100.0, 300.0), "noise": 0.1})),
        "adaptation": True, "learnable": ["tau_soma", "tau_adaptation", "gain"], "freeze_after": 0, "l2": {"bias": 0.1},
        "reset_optimizer": "none", "rate_weight": 0.01, "frozen": ["output_bias"], "problems_order": [4, 1, 4],
        "start": {"tau_dendrite": (50.0, 300.0), "gain": 2.0}, "network_seed": 9, "problem_seed": 8,
        "property_learning_rate": {"gain": 0.01}, "dtype": "float64", "beta2": 0.99, "consolidation": "mean",
    }  # fmt: skip
    wanted = train(**changes)
    path = tmp_path / "run.zarr"
    stopped_at(path, 1, 20, monkeypatch, **changes)
    assert_same_bits(ip2lab.resume(path, progress=False), wanted)


def test_a_run_with_failed_problems_resumes_bit_for_bit(tmp_path, monkeypatch):
    hopeless = {"criterion": 1e-9, "max_trials": 60}
    wanted, path = train(**hopeless), tmp_path / "run.zarr"
    stopped_at(path, 1, 30, monkeypatch, **hopeless)
    assert_same_bits(ip2lab.resume(path, progress=False), wanted)


def test_a_run_stopped_before_its_first_trial_starts_again(whole, tmp_path, monkeypatch):
    path = str(tmp_path / "run.zarr")
    go_through = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, *given: (self.stop(), go_through(self, *given))[1])
    with pytest.warns(UserWarning, match="0 problems done and 0 trials"):
        train(path=path)
    monkeypatch.undo()
    assert_same_bits(ip2lab.resume(path, progress=False), whole)


def test_a_complete_run_is_made_longer(whole, tmp_path):
    path = tmp_path / "run.zarr"
    train(path=path, problems=2)
    longer = ip2lab.resume(path, problems=3, progress=False)
    assert longer.attrs["config"]["problems"] == 3
    assert_same_bits(longer, whole)
    with pytest.raises(ValueError, match="problems: 1 are fewer than the 3 that this run has done"):
        ip2lab.resume(path, problems=1, progress=False)


INTERRUPT = """
import os, signal, sys, threading, time, warnings
sys.path.insert(0, {tests!r})
import ip2lab
from ip2lab.training import runtime
from test_learning import SHORT, TINY
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
runtime.CALL_EVERY = 0.0
interrupts = {interrupts}

def interrupt(trainer):
    if interrupts and (trainer.problem, trainer.trial) >= interrupts[0]:
        interrupts.pop(0)
        os.kill(os.getpid(), signal.SIGINT)
        if interrupts:  # the second one while the first is being obeyed
            os.kill(os.getpid(), signal.SIGINT)

try:
    run = ip2lab.train(SHORT, problems=3, path={path!r}, **(TINY | {{"progress": interrupt}}))
    print("returned", run.attrs["complete"], run["series"].sizes["problem"], run["trials"].sizes["trial"])
except KeyboardInterrupt:
    print("interrupted")
print("handler", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interrupted_run_is_returned_and_resumes_bit_for_bit(whole, tmp_path):
    path = str(tmp_path / "run.zarr")
    done = in_another_process(INTERRUPT.format(tests=str(ROOT / "tests"), path=path, interrupts=[(1, 30)]))
    first = int(whole["series"].trials[0])
    assert done.stdout.split("\n")[:2] == [f"returned False 1 {first + 30}", "handler True"], done.stderr
    assert_same_bits(ip2lab.resume(path, progress=False), whole)


def test_a_second_interrupt_raises(tmp_path):
    path = str(tmp_path / "run.zarr")
    done = in_another_process(INTERRUPT.format(tests=str(ROOT / "tests"), path=path, interrupts=[(1, 30), (9, 9)]))
    assert done.stdout.split("\n")[:2] == ["interrupted", "handler True"], done.stderr
    assert ip2lab.open_run(path).attrs["complete"] is False  # what was committed stays readable


def test_training_in_a_thread_leaves_the_interrupt_alone(whole):
    before, made = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: made.append(digest(train())))
    thread.start()
    thread.join()
    assert made == [digest(whole)]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_progress_bar_names_the_problem(capsys):
    train(progress=True)
    assert "problem" in capsys.readouterr().err


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "error", "wording"),
    [
        ({"task": "asociation"}, ValueError, "unknown family 'asociation'; known: association"),
        ({"model": "spikes"}, ValueError, "model: 'spikes' is unknown; known: spiking"),
        ({"neuron": 10}, TypeError, "the model 'spiking' has no option 'neuron'; it has adaptation"),
        ({"learnable": "tau_axon"}, ValueError, "learnable: unknown property 'tau_axon'; known: bias, tau_dendrite"),
        ({"learnable": "tau"}, ValueError, "this network has no property 'tau'; it has bias, tau_dendrite"),
        ({"learnable": "tau_adaptation"}, ValueError, "give adaptation=True for it"),
        (
            {"start": {"tau_soma": -20}},
            ValueError,
            "tau_soma: -20 is outside its bounds; give values between 2 and 1000",
        ),
        ({"start": "random"}, ValueError, "start: 'random' is unknown; known: 'homogeneous', 'heterogeneous'"),
        ({"frozen": ["W_rec"]}, ValueError, "frozen: 'W_rec' is unknown; known: bias"),
        ({"problems": 0}, ValueError, "problems: 0 is not valid; give a whole number from 1"),
        ({"seed": -1}, ValueError, "seed: -1 is not valid; give a whole number from 0"),
        ({"seed": 1.5}, ValueError, r"seed: 1.5 is not valid; give a whole number from 0"),
        ({"max_trials": 50}, ValueError, "max_trials: 50 trials cannot hold a window of 50; give more"),
        ({"dt": 300.0}, ValueError, "dt = 300 ms leaves no step for the epoch"),
        ({"problems_order": [1]}, ValueError, "problems_order: 1 entries are too few for 3 problems"),
        ({"progress": "yes"}, TypeError, "progress: 'yes' is not valid; give True, False or a function of the trainer"),
        ({"spiking": False}, ValueError, "without spiking there are no spikes to read; give readout='membrane'"),
    ],
)
def test_bad_input_is_refused_by_name_and_nothing_is_left(tmp_path, changes, error, wording):
    with pytest.raises(error, match=wording):
        train(path=tmp_path / "run.zarr", **changes)
    assert not (tmp_path / "run.zarr").exists()


def test_an_existing_path_is_refused_and_left_alone(tmp_path):
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr" / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match=r"run\.zarr"):
        train(path=tmp_path / "run.zarr")
    assert [entry.read_text() for entry in (tmp_path / "run.zarr").iterdir()] == ["kept"]


def test_resuming_a_missing_run_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*there is no run here"):
        ip2lab.resume(tmp_path / "nowhere", progress=False)
    with pytest.raises(TypeError, match="progress: 3 is not valid"):
        ip2lab.resume(tmp_path / "nowhere", progress=3)


def test_an_error_in_a_progress_function_leaves_the_store_readable(tmp_path):
    def wrong(trainer: Trainer) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        train(path=tmp_path / "run.zarr", progress=wrong)
    assert ip2lab.open_run(tmp_path / "run.zarr").attrs["complete"] is False


def test_a_run_stopped_while_a_problem_begins_resumes_without_repeating_the_start(tmp_path, monkeypatch):
    """Shuffling twice is not shuffling once: the stop waits until the problem has trials."""
    whole, begin = train(between_problems="shuffle_properties"), Trainer._begin

    def begin_and_stop(trainer: Trainer) -> None:
        begin(trainer)
        if trainer.problem == 1:
            trainer.stop()

    monkeypatch.setattr(Trainer, "_begin", begin_and_stop)
    with pytest.warns(UserWarning, match="stopped before its end"):
        train(path=tmp_path / "run", between_problems="shuffle_properties")
    monkeypatch.undo()
    assert_same_bits(ip2lab.resume(tmp_path / "run", progress=False), whole)
