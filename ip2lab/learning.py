"""The series of problems: train to criterion, then the next problem, everything recorded as it goes."""

from __future__ import annotations

import datetime
import platform
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from ip2lab import records
from ip2lab.learners import CompiledLearner, Learner, PlainLearner, Rates, Records
from ip2lab.networks import kernels
from ip2lab.networks.spiking import Activity, SpikingNetwork
from ip2lab.options import NETWORK_OPTIONS, learnable_names, rates_by_parameter, resolve
from ip2lab.properties import PROPERTIES
from ip2lab.tasks import Family, Problem
from ip2lab.tasks import family as make_family

NETWORK, PROBLEMS, TRIALS, NOISE, PROBES = range(5)  # random streams: SeedSequence([seed, stream, problem])
WEIGHTS_BLOCK = range(450, 500)  # problems whose weights are kept in a row, for averages over 50 of them
_FIRST_KEPT = (0, 1, 2, 3, 5)
CALL_EVERY = 0.1  # seconds between two calls of a progress function


def kept(problem: int) -> bool:
    """Tell whether activity and weights of a problem are kept: 0, 1, 2, 3, 5, 8, 10, 13, 16, 20, ... a quarter further each.

    Examples
    --------
    >>> [problem for problem in range(30) if kept(problem)]
    [0, 1, 2, 3, 5, 8, 10, 13, 16, 20, 25]
    """
    step = 8.0
    while round(step) < problem:
        step *= 1.25
    return problem in _FIRST_KEPT or round(step) == problem


def train(
    family: str | Family,
    model: str = "spiking",
    *,
    learnable: Any = "default",
    problems: int = 100,
    seed: int = 0,
    path: str | Path | None = None,
    progress: bool | Callable[[Series], None] = True,
    **options: Any,
) -> xr.DataTree:
    """Train a network on a series of problems, one trial an update, each to criterion.

    Parameters
    ----------
    family : str or Family
        A name of :func:`ip2lab.families`, or a family with settings of its own (:func:`ip2lab.family`).
    model : {"spiking"}
        The kind of network.
    learnable : "default", None, "all", str or iterable of str
        The properties that learn beside the weights: the paper's three, nothing, all that the network has, or names.
    problems : int
        Length of the series.
    seed : int
        Draws everything; the same seed gives the same run, bit for bit.
    path : str or Path, optional
        Where the run is stored while it trains; in memory by default.
    progress : bool or callable
        A progress bar, nothing, or a function called with this :class:`Series` some ten times a second.
    **options
        See ``ip2lab.options.DEFAULTS``; all are recorded with the run.

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
    if not isinstance(problems, int) or isinstance(problems, bool) or problems < 1:
        raise ValueError(f"problems: {problems!r} is not valid; give a positive whole number")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed: {seed!r} is not valid; give a whole number from 0")
    chosen = resolve(model, options)
    names = learnable_names(model, learnable, chosen["adaptation"])
    series = Series(make_family(family), model, names, problems, seed, chosen, path)
    return series.run(progress)


class Series:
    """A network on its way through a series of problems; what a progress function is given.

    Attributes
    ----------
    problem, trial : int
        Where it is: the problem it works on and the trials of it that are done.
    trials_to_criterion : list of float
        Of the problems done; NaN where the criterion was not reached.
    current : Records
        Loss, correctness and rate of every trial of this problem, filled up to `trial`.
    network : SpikingNetwork
        The network as it is now.
    """

    def __init__(
        self, family: Family, model: str, learnable: tuple[str, ...], problems: int, seed: int, options: dict[str, Any], path: str | Path | None
    ) -> None:
        self.family, self.options, self.learnable, self.problems = family, options, learnable, problems
        seeds = {name: seed if options[name] is None else options[name] for name in ("network_seed", "problem_seed")}
        self.network_seed, self.problem_seed = seeds["network_seed"], seeds["problem_seed"]
        order = options["problems_order"]
        self.order = list(range(problems)) if order is None else [int(p) for p in order]
        if len(self.order) < problems:
            raise ValueError(f"problems_order: {len(self.order)} entries are too few for {problems} problems")
        self.problem = self.trial = 0
        self.trials_to_criterion: list[float] = []
        self._stop = threading.Event()
        self.setting = self._draw(0)
        self.setting.steps(options["dt"])  # an epoch that dt leaves no step for is told here
        self.network = self._make_network()
        self.learner: Learner = self._make_learner()
        self.goal = kernels.Goal(float(options["criterion"]), int(options["window"]))
        probe = self.setting.trials(dt=options["dt"])
        weights = {
            "input_weights": ("neuron", "input"),
            "recurrent_weights": ("neuron", "presynaptic"),
            "bias": ("neuron",),
            "output_weights": ("output", "neuron"),
            "output_bias": ("output",),
        }
        template = records.template(
            model=model,
            neurons=options["neurons"],
            properties=tuple(self.network.free),
            inputs=list(self.setting.input_names),
            outputs=list(self.setting.output_names),
            time=probe.time.values,
            epochs=probe.epoch.values[0],
            probes={name: probe[name].values for name in ("condition", "stimulus", "response", "context")} | {"repeat": np.zeros(probe.sizes["trial"], int)},
            weights=weights,
            adaptation=bool(options["adaptation"]),
            dtype=options["dtype"],
        )
        self.weight_names = tuple(weights)
        self.recorder = records.Recorder(path, template, self._attributes(model, seed))
        self.current = Records.empty(options["max_trials"])
        self._written = self._before_problem = 0  # trials of this problem handed to the recorder, trials of all problems before
        self._since_problem = 0.0
        self._zero_shot = (np.nan, np.nan)

    # ------------------------------------------------------------ making

    def _make_network(self) -> SpikingNetwork:
        o = self.options
        network = SpikingNetwork(
            len(self.setting.input_names),
            len(self.setting.output_names),
            learnable=self.learnable,
            seed=np.random.SeedSequence([self.network_seed, NETWORK, 0]),
            dtype=getattr(torch, o["dtype"]),
            **{name: o[name] for name in NETWORK_OPTIONS},
        )
        return network.to(o["device"])

    def _make_learner(self) -> Learner:
        if self.options["device"] == "cpu":
            return CompiledLearner(self.network, self.rates())
        return PlainLearner(self.network, self.rates())

    def rates(self) -> Rates:
        """Return how parameters learn in the present problem."""
        o = self.options
        names = [name for name, _ in self.network.named_parameters()]
        rate = rates_by_parameter(o, self.learnable, names)
        after = o["freeze_after"]
        if after is not None and self.problem > after:
            rate = {name: value for name, value in rate.items() if not name.startswith("free.")}
        l2 = dict(o["l2"]) if isinstance(o["l2"], Mapping) else dict.fromkeys(("input_weights", "recurrent_weights", "output_weights"), float(o["l2"]))
        return Rates(rate, l2, beta1=o["beta1"], clip=o["clip"], rate_weight=o["rate_weight"], rate_target=o["rate_target"])

    def _attributes(self, model: str, seed: int) -> dict[str, Any]:
        packages = ("ip2lab", "numpy", "torch", "numba", "xarray", "zarr")
        return {
            "family": self.family.name,
            "model": model,
            "learnable": list(self.learnable),
            "seed": seed,
            "config": {
                "family": self.family.settings(),
                "problems": self.problems,
                "parameters": sum(p.numel() for p in self.network.parameters() if p.requires_grad),
                **{name: _plain(value) for name, value in self.options.items()},
            },
            "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def _stream(self, seed: int, stream: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([seed, stream, self.order[self.problem]])

    def _draw(self, problem: int) -> Problem:
        return self.family.problem(np.random.SeedSequence([self.problem_seed, PROBLEMS, self.order[problem]]))

    # ------------------------------------------------------------ running

    def stop(self) -> None:
        """End the series after the trials that are under way; everything learnt so far is kept."""
        self._stop.set()

    def run(self, progress: bool | Callable[[Series], None] = False) -> xr.DataTree:
        """Go through the problems that are left and return the run."""
        with _torch_threads(1), _interruptible(self), _reporter(self, progress) as report:
            if self.problem == 0 and self.trial == 0:
                self._keep_properties(-1)
            while self.problem < self.problems and not self._stop.is_set():
                self._problem(report)
        complete = self.problem >= self.problems
        tree = self.recorder.close(complete=complete)
        if not complete:
            done = len(self.trials_to_criterion)
            warnings.warn(f"stopped in problem {self.problem} of {self.problems}: the run holds the {done} problems done", stacklevel=3)
        return tree

    def _problem(self, report: Callable[[], None]) -> None:
        o = self.options
        if self.trial == 0:
            self.setting = self._draw(self.problem)
            self.current = Records.empty(o["max_trials"])
            self._written, self._since_problem = 0, 0.0
            self._zero_shot = self._test(self.setting)
            self._before = self.learner.state()
            if o["freeze_after"] is not None and self.problem == o["freeze_after"] + 1:
                self.learner.set_rates(self.rates())  # type: ignore[attr-defined]
        trials = TrialStream(self.setting, self._stream(self.problem_seed, TRIALS), o)
        key = self._stream(self.network_seed, NOISE).generate_state(1, np.uint64)[0]
        every, status = int(o["record"]["trajectories"]), 0
        while status == 0 and self.trial < o["max_trials"] and not self._stop.is_set():
            began = time.perf_counter()
            last = min(self.trial - self.trial % every + every, o["max_trials"])
            self.trial, status = self.learner.run(*trials.between(self.trial, last), (self.trial, last), key, self.goal, self.current)
            if self.trial % every == 0:
                self._keep_trajectory()
            self._since_problem += time.perf_counter() - began
            if self.recorder.due:
                self._commit()
            report()
        if status or self.trial >= o["max_trials"]:
            self._finish(status)
            report()

    def _finish(self, status: int) -> None:
        """Record the problem that is over and go on to the next."""
        o, window = self.options, slice(max(0, self.trial - self.options["window"]), self.trial)
        now, reason = self.current, {1: "", 2: "loss not finite", 0: "criterion not reached"}[status]
        if status == 2:  # what the broken trial did to the network is undone
            self.learner.load(self._before)
            self.trial -= 1
            window = slice(max(0, self.trial - o["window"]), self.trial)
        wrong = np.flatnonzero(~now.correct[: self.trial])
        to_criterion = float(self.trial - o["window"]) if status == 1 else np.nan
        self._append_trials()
        row = {
            "problem": self.problem,
            "trials_to_criterion": to_criterion,
            "censored_trials": np.nan if status == 1 else float(o["max_trials"] - o["window"]),
            "trials": self.trial,
            "failed": status != 1,
            "failure_reason": reason,
            "loss": _mean(now.loss[window]),
            "accuracy": _mean(now.correct[window]),
            "zero_shot_loss": self._zero_shot[0],
            "zero_shot_accuracy": self._zero_shot[1],
            "last_error": float(wrong[-1]) if len(wrong) else np.nan,
            "firing_rate": _mean(now.rate[window]) * 1000 / o["dt"],
            "duration": self._since_problem,
        }
        self.recorder.append("series", **{name: np.array([value]) for name, value in row.items()})
        self._keep_properties(self.problem)
        self._keep_state()
        self.trials_to_criterion.append(to_criterion)
        self.learner.reset(o["reset_optimizer"])
        self._before_problem += self.trial
        self.problem, self.trial = self.problem + 1, 0
        if self.recorder.due:
            self._commit()

    # ------------------------------------------------------------ keeping

    def _append_trials(self) -> None:
        span, now = slice(self._written, self.trial), self.current
        if span.start >= span.stop:
            return
        conditions = TrialStream(self.setting, self._stream(self.problem_seed, TRIALS), self.options).conditions[span]
        self.recorder.append(
            "trials",
            trial=self._before_problem + np.arange(span.start, span.stop),
            loss=now.loss[span],
            response_loss=now.response_loss[span],
            correct=now.correct[span],
            problem=np.full(span.stop - span.start, self.problem),
            condition=conditions,
        )
        self._written = self.trial

    def _keep_properties(self, problem: int) -> None:
        values = {name: value.detach().cpu().numpy()[None] for name, value in self.network.properties().items()}
        self.recorder.append("properties", problem=np.array([problem]), **values)

    def _keep_trajectory(self) -> None:
        values = {name: PROPERTIES[name].to_value(free.detach().cpu().numpy())[None] for name, free in self.network.free.items()}
        self.recorder.append("trajectories", problem=np.array([self.problem]), trial=np.array([self.trial]), **values)

    def _keep_state(self) -> None:
        """Keep weights and activity after the present problem where it is one of those to be kept."""
        asked = self.options["record"]["kept"]
        keep = kept(self.problem) if asked is None else self.problem in asked
        keep = keep or self.problem == self.problems - 1
        if keep or self.problem in WEIGHTS_BLOCK:
            weights = {name: getattr(self.network, name).detach().cpu().numpy()[None] for name in self.weight_names}
            self.recorder.append("weights", problem=np.array([self.problem]), **weights)
        if keep:
            activity = self.activity(self.setting)
            states = ("spikes", "membrane", "dendrite") + (("adaptation",) if self.options["adaptation"] else ())
            arrays = {name: getattr(activity, name).detach().cpu().numpy()[None] for name in states}
            arrays["spikes"] = arrays["spikes"] > 0
            readout = torch.softmax(activity.logits, -1).detach().cpu().numpy()[None]
            self.recorder.append("activity", problem=np.array([self.problem]), readout=readout, **arrays)

    def _commit(self) -> None:
        self._append_trials()
        self.recorder.commit()

    # ------------------------------------------------------------ testing

    @torch.no_grad()
    def activity(self, problem: Problem) -> Activity:
        """Return what the network does now in one noise-free trial of each condition."""
        inputs = problem.trials(dt=self.options["dt"]).inputs.values
        bias = self.network.bias
        return self.network(torch.as_tensor(inputs, dtype=bias.dtype, device=bias.device))

    def _test(self, problem: Problem) -> tuple[float, float]:
        """Return loss and accuracy over all conditions, frozen and noise-free."""
        stimuli = make_stimuli(problem.trials(dt=self.options["dt"]), self.options["dtype"])
        logits = self.activity(problem).logits.cpu().numpy()
        scratch = np.empty((logits.shape[1], 1, logits.shape[2]), logits.dtype)
        outcomes = [
            kernels.cross_entropy(np.ascontiguousarray(one[:, None]), stimuli.target[i], stimuli.weight[i], stimuli.response[i], scratch)
            for i, one in enumerate(logits)
        ]
        return float(np.mean([o[0] for o in outcomes])), float(np.mean([o[2] for o in outcomes]))


class TrialStream:
    """The trials of one problem in the order in which they come; any stretch of them can be had again."""

    def __init__(self, problem: Problem, stream: np.random.SeedSequence, options: Mapping[str, Any]) -> None:
        self.problem, self.options = problem, options
        self.conditions = np.random.default_rng(stream).integers(problem.conditions, size=options["max_trials"])
        self.varies = problem.noise > 0 or any(isinstance(epoch.duration, tuple) for epoch in problem.epochs)
        self.entropy = list(stream.entropy)  # type: ignore[arg-type]
        self.fixed = None if self.varies else make_stimuli(problem.trials(dt=options["dt"]), options["dtype"])

    def between(self, first: int, last: int) -> tuple[kernels.Stimuli, np.ndarray]:
        """Return trials `first` to `last`: what is shown, and which row of it each trial is."""
        if self.fixed is not None:
            return self.fixed, self.conditions[first:last]
        trials = [
            self.problem.trials(self.conditions[i], dt=self.options["dt"], seed=np.random.SeedSequence([*self.entropy, i])) for i in range(first, last)
        ]
        return stack([make_stimuli(trial, self.options["dtype"]) for trial in trials]), np.arange(last - first)


def make_stimuli(trials: xr.Dataset, dtype: str) -> kernels.Stimuli:
    """Turn labelled trials into the arrays that the learners take."""
    scored = trials.scored.values
    responding = scored & np.char.startswith(trials.epoch.values, "response")
    return kernels.Stimuli(
        np.ascontiguousarray(trials.inputs.values, dtype),
        np.ascontiguousarray(trials.target.values, np.int64),
        np.ascontiguousarray(scored / scored.sum(1, keepdims=True), dtype),
        responding.astype(dtype),
        (trials.epoch.values != "").sum(1),
    )


def stack(parts: Sequence[kernels.Stimuli]) -> kernels.Stimuli:
    """Put trials of different lengths into one set of arrays, the shorter ones filled up with zeros."""
    longest = max(part.inputs.shape[1] for part in parts)

    def filled(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, 0), (0, longest - array.shape[1])] + [(0, 0)] * (array.ndim - 2))

    columns = list(zip(*parts, strict=True))
    return kernels.Stimuli(*(np.concatenate([filled(array) for array in column]) for column in columns[:4]), np.concatenate(columns[4]))


@contextmanager
def _interruptible(series: Series) -> Iterator[None]:
    """Make the first interrupt stop the series cleanly; the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, previous)
        series.stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    """Let torch use so many threads: networks of this size only get slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _reporter(series: Series, progress: bool | Callable[[Series], None]) -> Iterator[Callable[[], None]]:
    if progress is False:
        yield lambda: None
        return
    if progress is True and kernels.must_compile():
        print("compiling (once on this machine) ...", flush=True)
    bar = tqdm(total=series.problems, unit="problem", initial=series.problem) if progress is True else None
    last, seen = 0.0, series.problem

    def report() -> None:
        nonlocal last, seen
        now = time.monotonic()
        if now - last < CALL_EVERY and series.problem < series.problems:
            return
        last = now
        if bar is None:
            progress(series)  # type: ignore[operator]
            return
        bar.update(series.problem - seen)
        seen = series.problem
        done = series.trials_to_criterion
        loss = series.current.loss[max(0, series.trial - 50) : series.trial]
        bar.set_postfix_str(
            f"trial {series.trial}, loss {_mean(loss):.4f}, trials to criterion {', '.join(f'{x:.0f}' for x in done[-5:]) or '-'}"
        )

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, (tuple, set, range)) else value


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "unknown"
