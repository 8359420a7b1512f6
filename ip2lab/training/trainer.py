"""The series of problems: train to criterion, then the next problem, everything recorded as it goes."""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab import networks, records
from ip2lab.networks import kernel_types
from ip2lab.properties import PROPERTIES
from ip2lab.records.writing import array_of
from ip2lab.tasks import Family, Problem
from ip2lab.tasks import family as make_family
from ip2lab.training.data import TrialStream, score
from ip2lab.training.learners import Learner, OptimizerSettings, TrialRecord, make_learner
from ip2lab.training.options import affordable, learnable_names, rates_by_parameter, resolve, whole
from ip2lab.training.runtime import Progress, check_progress, interruptible, one_torch_thread, reporter, undisturbed

NETWORK, PROBLEMS, TRIALS, NOISE, PROBES, _, SHUFFLE = range(7)  # random streams: SeedSequence([seed, stream, problem])
WEIGHTS_BLOCK = range(450, 500)  # problems whose weights are kept in a row, for averages over 50 of them
NOT_OPTIONS = ("family", "problems", "parameters", "origin")  # what else stands in a run's configuration
PROBLEM_BYTES = 100  # of its row in the series
REASONS = {0: "criterion not reached", 1: "", 2: "loss not finite"}


def kept(problem: int) -> bool:
    """Tell whether activity and weights of a problem are kept: the first ones, later ones ever farther apart.

    Examples
    --------
    >>> [problem for problem in range(40) if kept(problem)]
    [0, 1, 2, 3, 5, 8, 10, 12, 16, 20, 24, 31, 38]
    """
    problem, step = whole("problem", problem, -1), 8.0
    while round(step) < problem:
        step *= 1.25
    return problem in (0, 1, 2, 3, 5) or round(step) == problem


def train(
    family: str | Family,
    model: str = "spiking",
    *,
    learnable: Any = "default",
    problems: int = 100,
    seed: int = 0,
    path: str | Path | None = None,
    progress: Progress = True,
    **options: Any,
) -> xr.DataTree:
    """Train a network on a series of problems, one trial an update, each to criterion.

    Parameters
    ----------
    family : str or Family
        A name of :func:`ip2lab.families`, or a family with settings of its own (:func:`ip2lab.family`).
    model : str
        The kind of network, one of :func:`ip2lab.models`.
    learnable : "default", None, "all", "random", str, iterable of str or Dataset
        The properties that learn beside the weights: the paper's three (of the spiking network; none of the others),
        nothing, all that the network has, a random subset of them, names, or what
        :func:`ip2lab.search_plasticity` returned.
    problems : int
        Length of the series.
    seed : int
        Draws everything; the same seed gives the same run, bit for bit.
    path : str or Path, optional
        Where the run is stored while it trains; in memory by default. Whatever ends the process, at most the last
        5 seconds of work are lost (``record={"interval": ...}``), and :func:`ip2lab.resume` goes on.
    progress : bool or callable
        A progress bar, nothing, or a function called with this :class:`Series` some ten times a second.
    **options
        What the network is, how it learns, what is kept: docs/options.md has them all with their defaults
        (``ip2lab.training.options.DEFAULTS``); all are recorded with the run.

    Returns
    -------
    DataTree
        The run; `complete` among its attributes is False where it was interrupted (Ctrl-C, the stop button): what was
        learnt so far is kept. A second interrupt raises KeyboardInterrupt.

    Raises
    ------
    ValueError, TypeError
        For what is unknown or out of range, naming it and what is valid.
    FileExistsError
        Where there is something at `path` already.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=30, progress=False, max_trials=60)
    >>> run["series"].sizes["problem"], run.attrs["complete"]
    (2, True)
    """
    check_progress(progress)
    series = prepared(family, model, learnable=learnable, problems=problems, seed=seed, **options)
    with interruptible(series):
        return series.record(path).run(progress)


def prepared(
    family: str | Family,
    model: str = "spiking",
    *,
    learnable: Any = "default",
    problems: int = 100,
    seed: int = 0,
    **options: Any,
) -> Series:
    """Return the series that :func:`train` with these arguments goes through, before anything is learnt or recorded.

    Examples
    --------
    >>> prepared("association", neurons=20, problems=3).network.bias.shape
    torch.Size([20])
    """
    if isinstance(learnable, xr.Dataset):  # a search may have chosen other options, too
        options = json.loads(learnable.attrs.get("options", "{}")) | options
    chosen = resolve(model, options)
    problems, seed = whole("problems", problems, 1), whole("seed", seed, 0)
    names = learnable_names(model, learnable, chosen.get("adaptation", False), seed)
    return Series(make_family(family), model, names, problems, seed, chosen)


def resume(path: str | Path, *, problems: int | None = None, progress: Progress = True) -> xr.DataTree:
    """Go on with a stored run where its last checkpoint is, bit for bit as if it had never stopped.

    A finished run can be made longer. What it had kept of its last problem stays: weights and activity of that problem
    are then one row more than a run has that was meant to be as long from the start; all others are the same.

    Parameters
    ----------
    path : str or Path
        The run's store.
    problems : int, optional
        A new length of the series, at least what is done; the old one by default.
    progress : bool or callable
        As for :func:`train`.

    Returns
    -------
    DataTree
        The run.

    Examples
    --------
    >>> import ip2lab, tempfile
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, path=path, progress=False)
    >>> ip2lab.resume(path, problems=2, progress=False)["series"].sizes["problem"]
    2
    """
    check_progress(progress)
    series = Series.of(records.open_run(path).attrs, None if problems is None else whole("problems", problems, 1))
    with interruptible(series):
        return series.go_on(path).run(progress)


class Unrecorded:
    """Stands in for a recorder where a series is gone through without being recorded."""

    due = False

    def append(self, group: str, **columns: Any) -> None:
        """Keep nothing."""


class Series:
    """A network on its way through a series of problems; what a progress function is given.

    Attributes
    ----------
    problem, trial : int
        Where it is: the problem it works on and the trials of it that are done.
    trials_to_criterion : list of float
        Of the problems done; NaN where the criterion was not reached.
    current : TrialRecord
        Loss, correctness and rate of every trial of this problem, filled up to `trial`.
    network : torch.nn.Module
        The network as it is now; see :mod:`ip2lab.networks`.
    """

    recorder: records.Recorder

    @undisturbed()
    def __init__(
        self, family: Family, model: str, learnable: tuple[str, ...], problems: int, seed: int, options: dict[str, Any]
    ) -> None:
        affordable("problems", problems, PROBLEM_BYTES * float(problems))
        self.family, self.model, self.learnable = family, model, learnable
        self.problems, self.seed, self.options = problems, seed, options
        self.network_seed = seed if options["network_seed"] is None else options["network_seed"]
        self.problem_seed = seed if options["problem_seed"] is None else options["problem_seed"]
        self.order = options["problems_order"]
        if self.order is not None and len(self.order) < problems:
            raise ValueError(f"problems_order: {len(self.order)} entries are too few for {problems} problems")
        self.problem = self.trial = 0
        self.trials_to_criterion: list[float] = []
        self._stop = threading.Event()
        self.setting = self.draw(0)
        self.setting.steps(options["dt"])  # an epoch that dt leaves no step for is told here
        self.network = self.born()
        self.learner: Learner = make_learner(self.network, self.rates())
        self.goal = kernel_types.Goal(float(options["criterion"]), int(options["window"]))
        self.current = TrialRecord.empty(options["max_trials"])
        self._earlier = self._written = 0  # trials of earlier problems, and those of this one that went to the store
        self._duration = 0.0
        self.last_trials = 0  # that the problem before the present one took
        self._zero_shot = (np.nan, np.nan)
        self._undo = self.learner.state()
        self.origin: dict[str, Any] = {}  # the run that this one went on from
        self.pause = options["max_trials"]  # no trial from this one on is done

    @undisturbed()
    def born(self) -> Any:
        """Return the network as it is before anything is learnt, a new one each time."""
        return networks.build(
            self.model,
            len(self.setting.input_names),
            len(self.setting.output_names),
            self.options,
            learnable=self.learnable,
            seed=np.random.SeedSequence([self.network_seed, NETWORK, 0]),
        ).to(self.options["device"])

    @property
    def parameters(self) -> int:
        """How many numbers learn: what networks that are compared have alike within 3 %."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    @classmethod
    def of(cls, attrs: Mapping[Any, Any], problems: int | None = None, **changes: Any) -> Series:
        """Make the series that a run with these attributes was, with changed options, where it began."""
        if attrs["model"] not in networks.models():
            known = f"only networks of ip2lab ({', '.join(networks.models())}) can be made again"
            raise ValueError(f"run: its network, {attrs['model']!r}, is another trainer's; {known}")
        config = dict(attrs["config"])
        if not isinstance(config.get("family"), Mapping) or "problems" not in config:
            names = f"its configuration (config) holds {list(config)}, from which no series can be made"
            raise ValueError(f"run: {names}; ip2lab.train writes 'family' (its settings) and 'problems' there")
        problems = whole("problems", config["problems"], 1) if problems is None else problems
        family = make_family(attrs["family"], **config["family"])
        config = {name: value for name, value in config.items() if name not in NOT_OPTIONS}
        options = resolve(attrs["model"], config | changes)
        seed = whole("seed", attrs["seed"], 0)
        return cls(family, attrs["model"], tuple(attrs["learnable"]), problems, seed, options)

    # ---------------------------------------------------------------- the store

    def record(self, path: str | Path | None) -> Series:
        """Start a new store at `path`, or in memory."""
        probe = self.setting.trials(dt=self.options["dt"])
        labels = {name: probe[name].values for name in ("condition", "stimulus", "response", "context")}
        template = records.template(
            model=self.model,
            neurons=self.network.neurons,
            properties=tuple(self.network.free),
            inputs=self.setting.input_names,
            outputs=self.setting.output_names,
            time=probe.time.values,
            epochs=probe.epoch.values[0],
            probes=labels | {"repeat": np.zeros(probe.sizes["trial"], int)},
            weights=self.network.weights
            | {f"free_{name}": ("neuron",) for name in self.network.free}
            | {"optimizer": {"entry": len(self.memory())}},
            adaptation="adaptation" in self.network.signals,
            dtype=self.options["dtype"],
        )
        if self.options["record"]["half"]:
            for signal in set(self.network.signals) - {"spikes"}:
                template["activity"][signal].encoding["dtype"] = "float16"
        interval = self.options["record"]["interval"]
        self.recorder = records.Recorder(path, template, self.attributes(), interval=interval)
        try:
            if self.problem == self.trial == 0:
                self._keep_properties(-1)
            self.recorder.commit(self.checkpoint())  # so that a run killed at once can be resumed too
        except BaseException:
            self.recorder.release()
            raise
        return self

    def go_on(self, path: str | Path) -> Series:
        """Continue the store at `path` from its checkpoint."""
        interval = self.options["record"]["interval"]
        self.recorder = records.Recorder.reopen(path, interval=interval)  # first: no other process can go on meanwhile
        try:
            self.take(records.read_checkpoint(path))
        except BaseException:
            self.recorder.release()
            raise
        done = records.open_run(path)["series"].trials_to_criterion.values[: self.problem]
        self.trials_to_criterion = done.tolist()
        self.recorder.attrs["config"] = self.attributes()["config"]
        return self

    @undisturbed()
    def take(self, state: dict[str, np.ndarray]) -> None:
        """Go to where a checkpoint was made."""
        state = dict(state)
        self.problem, self.trial, self._earlier = (int(i) for i in state.pop("position"))
        if self.problem > self.problems:
            raise ValueError(f"problems: {self.problems} are fewer than the {self.problem} that this run has done")
        self._duration, *zero_shot = state.pop("measures").tolist()
        self._zero_shot = (zero_shot[0], zero_shot[1])
        for name in ("loss", "response_loss", "correct", "rate"):
            getattr(self.current, name)[: self.trial] = state.pop(name)
        self._undo = {name.removeprefix("undo."): state.pop(name) for name in list(state) if name.startswith("undo.")}
        self.learner.load(state)
        self._written = self.trial
        if self.trial:
            self.setting = self.draw(self.problem)
            if self._frozen_now:
                self.learner.set_rates(self.rates())

    def checkpoint(self) -> dict[str, np.ndarray] | None:
        """Return what training goes on from, None where that is not to be kept."""
        if not self.options["record"]["checkpoints"]:
            return None
        now = self.current
        return {
            "position": np.array([self.problem, self.trial, self._earlier]),
            "measures": np.array([self._duration, *self._zero_shot]),
            **{name: getattr(now, name)[: self.trial] for name in ("loss", "response_loss", "correct", "rate")},
            **self.learner.state(),
            **{f"undo.{name}": value for name, value in self._undo.items()},
        }

    def attributes(self) -> dict[str, Any]:
        """Return what is written down of the run beside its numbers: what it is, and what it is made with."""
        return {
            "family": self.family.name,
            "model": self.model,
            "learnable": list(self.learnable),
            "seed": self.seed,
            "config": {
                "family": self.family.settings(),
                "problems": self.problems,
                "parameters": self.parameters,
                **({"origin": _plain(self.origin)} if self.origin else {}),
                **{name: _plain(value) for name, value in self.options.items()},
            },
        }

    # ---------------------------------------------------------------- what is drawn and how it learns

    def draw(self, problem: int) -> Problem:
        """Draw a problem of the series, the same for every model."""
        return self.family.problem(np.random.SeedSequence([self.problem_seed, PROBLEMS, self._number(problem)]))

    def _number(self, problem: int) -> int:
        return problem if self.order is None else int(self.order[problem])

    def rates(self) -> OptimizerSettings:
        """Return how parameters learn in the present problem."""
        o = self.options
        rate = rates_by_parameter(o, self.learnable, [name for name, _ in self.network.named_parameters()])
        if self._frozen_now:
            rate = {name: value for name, value in rate.items() if not name.startswith("free.")}
        matrices = ("input_weights", "recurrent_weights", "output_weights")
        l2 = dict(o["l2"]) if isinstance(o["l2"], Mapping) else dict.fromkeys(matrices, float(o["l2"]))
        return OptimizerSettings(
            rate, l2, o["beta1"], o["clip"], o["rate_weight"], o["rate_target"], o.get("singular_values", 0)
        )

    @property
    def _frozen_now(self) -> bool:
        after = self.options["freeze_after"]
        return after is not None and self.problem > after

    # ---------------------------------------------------------------- running

    def stop(self) -> None:
        """End the series after the trials that are under way; everything learnt so far is kept."""
        self._stop.set()

    def run(self, progress: Progress = False) -> xr.DataTree:
        """Go through the problems that are left and return the run."""
        with one_torch_thread(), reporter(self, progress) as report, self.recorder:
            while self.problem < self.problems and not self._stop.is_set():
                self.work(report)
            self._append_trials()
            complete = self.problem >= self.problems
            tree = self.recorder.close(complete=complete, checkpoint=self.checkpoint())
        if not complete:
            done = f"it holds the {self.problem} problems done and {self.trial} trials of the next"
            warnings.warn(f"the run was stopped before its end: {done}", stacklevel=3)
        return tree

    def work(self, report: Callable[[], None]) -> None:
        """Work on the present problem until it is over or the series is stopped."""
        self.start_problem()
        most, every, status = self.options["max_trials"], int(self.options["record"]["trajectories"]), 0
        # one that was begun gets its first trials though it is stopped: what was done between problems is done once
        while status == 0 and self.trial < min(most, self.pause) and not (self.trial and self._stop.is_set()):
            began = time.perf_counter()
            status = self.do_trials(min(self.trial - self.trial % every + every, most, self.pause))
            self._duration += time.perf_counter() - began
            if self.trial % every == 0 and status != 2:
                self._keep_trajectory()
            if status == 0 and self.recorder.due:  # one that is over is finished first: it must not get a trial more
                self._commit()
            report()
        if status or self.trial >= most:
            self._finish(status)
            report()

    def start_problem(self) -> None:
        """Draw the present problem and its trials; where it is new, begin with it."""
        o, number = self.options, self._number(self.problem)
        if self.trial == 0:
            self.setting = self.draw(self.problem)
        stream = np.random.SeedSequence([self.problem_seed, TRIALS, number])
        self.trials = TrialStream(self.setting, stream, o["max_trials"], o["dt"], o["dtype"])
        self.key = np.random.SeedSequence([self.network_seed, NOISE, number]).generate_state(1, np.uint64)[0]
        if self.trial == 0:
            self._begin()

    def do_trials(self, last: int) -> int:
        """Do the trials up to `last`; return 0 (go on), 1 (solved) or 2 (loss not finite)."""
        shown = self.trials.between(self.trial, last)
        self.trial, status = self.learner.run(*shown, (self.trial, last), self.key, self.goal, self.current)
        # a neuron that is no number any more is silent: the loss of spikes that are read may stay finite
        total = sum(float(parameter.detach().sum()) for parameter in self.network.parameters())
        return status if math.isfinite(total) else 2

    def _begin(self) -> None:
        self.current = TrialRecord.empty(self.options["max_trials"])
        self._written, self._duration = 0, 0.0
        if self.options["between_problems"] and self.problem:
            self._between(self.options["between_problems"])
        self._undo = self.learner.state()
        if self._frozen_now:
            self.learner.set_rates(self.rates())
        self._zero_shot = self._test()

    def _finish(self, status: int) -> None:
        """Record the problem that is over and go on to the next."""
        if status == 2:  # what the broken trial did to the network is undone
            self.learner.load(self._undo)
            self.trial -= 1
        self._append_trials()
        o, now, solved = self.options, self.current, status == 1
        window = slice(max(0, self.trial - o["window"]), self.trial)
        wrong = np.flatnonzero(~now.correct[: self.trial])
        self.trials_to_criterion.append(float(self.trial - o["window"]) if solved else np.nan)
        row = {
            "problem": self.problem,
            "trials_to_criterion": self.trials_to_criterion[-1],
            "censored_trials": np.nan if solved else float(o["max_trials"] - o["window"]),
            "trials": self.trial,
            "failed": not solved,
            "failure_reason": REASONS[status],
            "loss": _mean(now.loss[window]),
            "accuracy": _mean(now.correct[window]),
            "zero_shot_loss": self._zero_shot[0],
            "zero_shot_accuracy": self._zero_shot[1],
            "last_error": float(wrong[-1]) if len(wrong) else np.nan,
            "firing_rate": _mean(now.rate[window]) * 1000 / o["dt"] if "spikes" in self.network.signals else np.nan,
            "duration": self._duration,
        }
        self.recorder.append("series", **{name: np.array([value]) for name, value in row.items()})
        self._keep_properties(self.problem)
        if self.problem == 0:
            self.learner.set_rate_target(_mean(now.rate[window]))
        self.learner.reset(o["reset_optimizer"])
        self._keep_state()
        self._earlier, self.last_trials = self._earlier + self.trial, self.trial
        self.problem, self.trial, self._written = self.problem + 1, 0, 0

    @torch.no_grad()
    def _between(self, what: str) -> None:
        """Do an ablation between two problems: shuffle properties over neurons, or give back what was born."""
        network, born = self.network, self.born()
        parts = {name: getattr(network, name) for name in network.weights} if what == "reset_weights" else network.free
        stream = np.random.SeedSequence([self.network_seed, SHUFFLE, self.problem])
        order = torch.from_numpy(np.random.default_rng(stream).permutation(network.neurons))
        for name, part in parts.items():
            old = getattr(born, name) if what == "reset_weights" else born.free[name]
            part.copy_(part[order] if what == "shuffle_properties" else old)
        self.learner.load(self.learner.state())

    # ---------------------------------------------------------------- keeping

    def _append_trials(self) -> None:
        span, now = slice(self._written, self.trial), self.current
        if span.start < span.stop:
            self.recorder.append(
                "trials",
                trial=self._earlier + np.arange(span.start, span.stop),
                loss=now.loss[span],
                response_loss=now.response_loss[span],
                correct=now.correct[span],
                problem=np.full(span.stop - span.start, self.problem),
                condition=self.trials.conditions[span],
            )
        self._written = self.trial

    def _commit(self) -> None:
        self._append_trials()
        self.recorder.commit(self.checkpoint())

    def _values(self) -> dict[str, np.ndarray]:
        free = {name: parameter.detach().cpu().numpy() for name, parameter in self.network.free.items()}
        return {name: PROPERTIES[name].to_value(value).astype(value.dtype)[None] for name, value in free.items()}

    def _keep_properties(self, problem: int) -> None:
        self.recorder.append("properties", problem=np.array([problem]), **self._values())

    def _keep_trajectory(self) -> None:
        place = {"problem": np.array([self.problem]), "trial": np.array([self.trial])}
        self.recorder.append("trajectories", **place, **self._values())

    def _keep_state(self) -> None:
        """Keep weights and activity after the present problem where it is one of those to be kept."""
        asked, place = self.options["record"]["kept"], np.array([self.problem])
        keep = (kept(self.problem) if asked is None else self.problem in asked) or self.problem == self.problems - 1
        if keep or self.problem in WEIGHTS_BLOCK:
            weights = {name: getattr(self.network, name) for name in self.network.weights}
            weights |= {f"free_{name}": parameter for name, parameter in self.network.free.items()}
            kept_weights = {name: value.detach().cpu().numpy()[None] for name, value in weights.items()}
            memory = self.memory()[None]
            known = keep and self.options["record"]["checkpoints"]
            self.recorder.append(
                "weights", problem=place, **kept_weights, optimizer=memory if known else np.zeros_like(memory)
            )
        if keep:
            activity = self.activity()
            states = {name: getattr(activity, name).cpu().numpy()[None] for name in self.network.signals}
            if "spikes" in states:
                states["spikes"] = states["spikes"] > 0
            readout = torch.softmax(activity.logits, -1).cpu().numpy()[None]
            self.recorder.append("activity", problem=place, readout=readout, **states)

    def memory(self) -> np.ndarray:
        """Return all that the optimiser remembers as one row (entry,): with the weights, what training goes on from."""
        memory = self.learner.optimizer_state()
        return np.concatenate([value.ravel() for value in memory.values()]).astype(self.options["dtype"])

    @undisturbed()
    def set_memory(self, row: np.ndarray) -> None:
        """Let the optimiser remember what such a row holds, and the learner see the network's present parameters."""
        state, start = self.learner.state(), 0
        for name, value in self.learner.optimizer_state().items():
            state[name] = row[start : start + value.size].reshape(value.shape).astype(value.dtype)
            start += value.size
        self.learner.load(state)

    # ---------------------------------------------------------------- looking

    @torch.no_grad()
    def activity(self) -> Any:
        """Return what the network does now in one noise-free trial of each condition of the present problem."""
        bias = self.network.output_bias
        return self.network(torch.as_tensor(self.trials.probe.inputs, dtype=bias.dtype, device=bias.device))

    def _test(self) -> tuple[float, float]:
        """Return loss and accuracy over all conditions, frozen and noise-free."""
        loss, answered = score(self.activity().logits.cpu().numpy(), self.trials.probe)
        return float(loss.mean()), float(answered.mean())


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__array__"):
        return array_of("value", value).tolist()
    return list(value) if isinstance(value, (tuple, set, range)) else value
