"""The trainer: goes through a series of problems, each to criterion, and hands rows of the run to a recorder."""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab import networks, records
from ip2lab.checks import affordable, whole
from ip2lab.networks import kernel_types
from ip2lab.records.rows import series_row
from ip2lab.records.writing import array_of
from ip2lab.tasks import Family, Problem
from ip2lab.tasks import family as make_family
from ip2lab.training import recording
from ip2lab.training.data import TrialStream, score
from ip2lab.training.learners import Learner, OptimizerSettings, TrialRecord, make_learner
from ip2lab.training.options import consolidation_by_parameter, learnable_names, rates_by_parameter, resolve
from ip2lab.training.runtime import Progress, check_progress, interruptible, one_torch_thread, reporter, undisturbed

NETWORK, PROBLEMS, TRIALS, NOISE, PROBES, _, SHUFFLE = range(7)  # random streams: SeedSequence([seed, stream, problem])
NOT_OPTIONS = ("family", "problems", "parameters", "origin")  # what else stands in a run's configuration
PROBLEM_BYTES = 100  # of its row in the series
GO_ON, SOLVED, NOT_FINITE = range(3)  # how trials end
REASONS = {GO_ON: "criterion not reached", SOLVED: "", NOT_FINITE: "loss not finite"}


def train(
    family: str | Family,
    model: str = "spiking",
    *,
    learnable: Any = "default",
    problems: int = 100,
    seed: int = 0,
    path: str | Path | None = None,
    progress: Progress[Trainer] = True,
    **options: Any,
) -> xr.DataTree:
    """Train a network on a series of problems, one trial per update, each to criterion.

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
        A progress bar, nothing, or a function called with the :class:`Trainer` some ten times per second.
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
    trainer = make_trainer(family, model, learnable=learnable, problems=problems, seed=seed, **options)
    with interruptible(trainer):
        return trainer.run(trainer.create_run(path), progress)


def make_trainer(
    family: str | Family,
    model: str = "spiking",
    *,
    learnable: Any = "default",
    problems: int = 100,
    seed: int = 0,
    **options: Any,
) -> Trainer:
    """Return the trainer of :func:`train` with these arguments, before anything is learnt or recorded.

    Examples
    --------
    >>> make_trainer("association", neurons=20, problems=3).network.neurons
    20
    """
    if isinstance(learnable, xr.Dataset):  # a search may have chosen other options, too
        options = json.loads(learnable.attrs.get("options", "{}")) | options
    chosen = resolve(model, options)
    problems, seed = whole("problems", problems, 1), whole("seed", seed, 0)
    names = learnable_names(model, learnable, chosen.get("adaptation", False), seed)
    return Trainer(make_family(family), model, names, problems, seed, chosen)


def resume(path: str | Path, *, problems: int | None = None, progress: Progress[Trainer] = True) -> xr.DataTree:
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
    problems = None if problems is None else whole("problems", problems, 1)
    trainer = Trainer.from_attributes(records.open_run(path).attrs, problems)
    with interruptible(trainer):
        return trainer.run(trainer.resume_run(path), progress)


class Trainer:
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
        self.origin: dict[str, Any] = {}  # the run that this one went on from
        self.problem = self.trial = self.earlier_trials = 0
        self.trials_to_criterion: list[float] = []
        self.setting = self.draw(0)
        self.setting.steps(options["dt"])  # raises where dt leaves no step for an epoch
        self.trials = self._draw_trials()
        self.network = self.initial_network()
        self.learner: Learner = make_learner(self.network, self.optimizer_settings())
        self.criterion = kernel_types.Criterion(float(options["criterion"]), int(options["window"]))
        self.current = TrialRecord.empty(options["max_trials"])
        self._recorded = 0  # trials of this problem that the recorder has
        self._duration = 0.0
        self._zero_shot = (np.nan, np.nan)
        self._before = self.learner.state()  # the present problem: a loss that is not finite goes back to it
        self._stop = threading.Event()

    @undisturbed()
    def initial_network(self) -> Any:
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

    # ---------------------------------------------------------------- what a run says of it

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

    @classmethod
    def from_attributes(cls, attrs: Mapping[Any, Any], problems: int | None = None, **changes: Any) -> Trainer:
        """Return the trainer of a run with these attributes, with changed options, where the run began."""
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

    def create_run(self, path: str | Path | None) -> records.Recorder:
        """Return the recorder of a new run at `path`, or in memory."""
        entries, interval = len(self.optimizer_state()), self.options["record"]["interval"]
        template = recording.run_template(
            self.model, self.network, self.setting, optimizer_entries=entries, options=self.options
        )
        recorder = records.Recorder(path, template, self.attributes(), interval=interval)
        try:
            if self.problem == self.trial == 0:
                recorder.append("properties", problem=np.array([-1]), **recording.property_rows(self.network))
            recorder.commit(self.checkpoint())  # so that a run killed at once can be resumed too
        except BaseException:
            recorder.release()
            raise
        return recorder

    def resume_run(self, path: str | Path) -> records.Recorder:
        """Go to the checkpoint of the run at `path` and return the recorder that continues it."""
        interval = self.options["record"]["interval"]
        recorder = records.Recorder.reopen(path, interval=interval)  # first: no other process can go on meanwhile
        try:
            self.load_checkpoint(records.read_checkpoint(path))
        except BaseException:
            recorder.release()
            raise
        done = records.open_run(path)["series"].trials_to_criterion.values[: self.problem]
        self.trials_to_criterion = done.tolist()
        recorder.attrs["config"] = self.attributes()["config"]
        return recorder

    # ---------------------------------------------------------------- checkpoints

    def checkpoint(self) -> dict[str, np.ndarray] | None:
        """Return what training goes on from, None where that is not to be kept."""
        if not self.options["record"]["checkpoints"]:
            return None
        return {
            "position": np.array([self.problem, self.trial, self.earlier_trials]),
            "measures": np.array([self._duration, *self._zero_shot]),
            **{name: values[: self.trial] for name, values in vars(self.current).items()},
            **self.learner.state(),
            **{f"undo.{name}": value for name, value in self._before.items()},
        }

    @undisturbed()
    def load_checkpoint(self, checkpoint: Mapping[str, np.ndarray]) -> None:
        """Go to where a checkpoint was made."""
        state = dict(checkpoint)
        self.problem, self.trial, self.earlier_trials = (int(i) for i in state.pop("position"))
        if self.problem > self.problems:
            raise ValueError(f"problems: {self.problems} are fewer than the {self.problem} that this run has done")
        self._duration, *zero_shot = state.pop("measures").tolist()
        self._zero_shot = (zero_shot[0], zero_shot[1])
        for name, values in vars(self.current).items():
            values[: self.trial] = state.pop(name)
        self._before = {name.removeprefix("undo."): state.pop(name) for name in list(state) if name.startswith("undo.")}
        self.learner.load(state)
        self._recorded = self.trial
        if self.trial:
            self.setting = self.draw(self.problem)
            self._freeze_properties()

    def optimizer_state(self) -> np.ndarray:
        """Return all that the optimiser remembers as one row (entry,): with the weights, what training goes on from."""
        arrays = self.learner.optimizer_state().values()
        return np.concatenate([values.ravel() for values in arrays]).astype(self.options["dtype"])

    @undisturbed()
    def load_optimizer_state(self, row: np.ndarray) -> None:
        """Let the optimiser remember what such a row holds, and the learner see the network's present parameters."""
        state, start = self.learner.state(), 0
        for name, value in self.learner.optimizer_state().items():
            state[name] = row[start : start + value.size].reshape(value.shape).astype(value.dtype)
            start += value.size
        self.learner.load(state)

    # ---------------------------------------------------------------- what is drawn and how it learns

    def draw(self, problem: int) -> Problem:
        """Draw a problem of the series, the same for every model."""
        return self.family.problem(np.random.SeedSequence([self.problem_seed, PROBLEMS, self._number(problem)]))

    def _draw_trials(self) -> TrialStream:
        """Return the trials of the present problem."""
        stream, o = np.random.SeedSequence([self.problem_seed, TRIALS, self._number(self.problem)]), self.options
        return TrialStream(self.setting, stream, o["max_trials"], o["dt"], o["dtype"])

    def _number(self, problem: int) -> int:
        return problem if self.order is None else int(self.order[problem])

    def optimizer_settings(self) -> OptimizerSettings:
        """Return how parameters learn in the present problem."""
        o = self.options
        rate = rates_by_parameter(o, self.learnable, [name for name, _ in self.network.named_parameters()])
        consolidation = consolidation_by_parameter(o["consolidation"], rate)
        if self._properties_frozen:
            rate = {name: value for name, value in rate.items() if not name.startswith("free.")}
        matrices = ("input_weights", "recurrent_weights", "output_weights")
        l2 = dict(o["l2"]) if isinstance(o["l2"], Mapping) else dict.fromkeys(matrices, float(o["l2"]))
        return OptimizerSettings(
            rate,
            l2,
            beta1=o["beta1"],
            beta2=o["beta2"],
            clip=o["clip"],
            rate_weight=o["rate_weight"],
            rate_target=o["rate_target"],
            singular=o.get("singular_values", 0),
            consolidation=consolidation,
        )

    @property
    def _properties_frozen(self) -> bool:
        after = self.options["freeze_after"]
        return after is not None and self.problem > after

    def _freeze_properties(self) -> None:
        if self._properties_frozen:
            self.learner.set_rates(self.optimizer_settings())

    # ---------------------------------------------------------------- running

    def stop(self) -> None:
        """End the series after the trials that are under way; everything learnt so far is kept."""
        self._stop.set()

    def run(self, recorder: records.Recorder, progress: Progress[Trainer] = False) -> xr.DataTree:
        """Go through the problems that are left and return the run."""
        with one_torch_thread(), reporter(self, progress) as report, recorder:
            while self.problem < self.problems and not self._stop.is_set():
                self.train_problem(recorder, report)
            self._record_trials(recorder)
            complete = self.problem >= self.problems
            tree = recorder.close(complete=complete, checkpoint=self.checkpoint())
        if not complete:
            done = f"it holds the {self.problem} problems done and {self.trial} trials of the next"
            warnings.warn(f"the run was stopped before its end: {done}", stacklevel=3)
        return tree

    def train_problem(
        self,
        recorder: recording.Recorder = recording.UNRECORDED,
        report: Callable[[], None] = lambda: None,
        *,
        until: float = math.inf,
    ) -> None:
        """Work on the present problem until it is over, the trainer is stopped, or `until` so many trials are done."""
        self.start_problem()
        limit, status = self.options["max_trials"], GO_ON
        last = int(min(until, limit))
        # one that was begun gets its first trials though it is stopped: what was done between problems is done once
        while status == GO_ON and self.trial < last and not (self.trial and self._stop.is_set()):
            status = self._do_block(last, recorder)
            report()
        if status != GO_ON or self.trial >= limit:
            self._end_problem(status, recorder)
            report()

    def start_problem(self) -> None:
        """Draw the present problem and its trials; where it is new, begin with it."""
        if self.trial == 0:
            self.setting = self.draw(self.problem)
        self.trials = self._draw_trials()
        if self.trial == 0:
            self._begin()

    def do_trials(self, last: int) -> int:
        """Do the trials up to `last` and return how they ended: GO_ON, SOLVED or NOT_FINITE."""
        span, shown = (self.trial, last), self.trials.between(self.trial, last)
        noise = np.random.SeedSequence([self.network_seed, NOISE, self._number(self.problem)])
        key = noise.generate_state(1, np.uint64)[0]
        self.trial, status = self.learner.run(*shown, span, key, self.criterion, self.current)
        # a neuron whose parameter is not a number is silent: the loss of spikes that are read may stay finite
        total = sum(float(parameter.detach().sum()) for parameter in self.network.parameters())
        return status if math.isfinite(total) else NOT_FINITE

    def _do_block(self, last: int, recorder: recording.Recorder) -> int:
        """Do the trials up to the next row of ``/trajectories``, but no further than to `last`."""
        every, began = int(self.options["record"]["trajectories"]), time.perf_counter()
        status = self.do_trials(min(self.trial - self.trial % every + every, last))
        self._duration += time.perf_counter() - began
        if self.trial % every == 0 and status != NOT_FINITE:
            place = {"problem": np.array([self.problem]), "trial": np.array([self.trial])}
            recorder.append("trajectories", **place, **recording.property_rows(self.network))
        if status == GO_ON and recorder.due:  # not where it is over: resumed from here it would get another trial
            self._record_trials(recorder)
            recorder.commit(self.checkpoint())
        return status

    def _begin(self) -> None:
        self.current = TrialRecord.empty(self.options["max_trials"])
        self._recorded, self._duration = 0, 0.0
        self.learner.return_to_consolidated()
        if self.options["between_problems"] and self.problem:
            self._ablate(self.options["between_problems"])
        self._before = self.learner.state()
        self._freeze_properties()
        loss, answered = score(self.activity().logits.cpu().numpy(), self.trials.probe)
        self._zero_shot = float(loss.mean()), float(answered.mean())

    def _end_problem(self, status: int, recorder: recording.Recorder) -> None:
        """Record the problem that is over and go on to the next."""
        if status == NOT_FINITE:  # what the broken trial did to the network is undone
            self.learner.load(self._before)
            self.trial -= 1
        window, rates = self.criterion.window, self.current.rate[: self.trial]
        level = float(np.mean(rates[-window:])) if self.trial else np.nan
        self.trials_to_criterion.append(float(self.trial - window) if status == SOLVED else np.nan)
        self._record_problem(status, level, recorder)
        if self.problem == 0:
            self.learner.set_rate_target(level)
        self.learner.consolidate()
        self.learner.reset(self.options["reset_optimizer"])
        self._record_network(recorder)
        self.earlier_trials += self.trial
        self.problem, self.trial, self._recorded = self.problem + 1, 0, 0

    @torch.no_grad()
    def _ablate(self, what: str) -> None:
        """Do an ablation between two problems: shuffle properties over neurons, or reset to initial values."""
        network, initial = self.network, self.initial_network()
        parts = {name: getattr(network, name) for name in network.weights} if what == "reset_weights" else network.free
        stream = np.random.SeedSequence([self.network_seed, SHUFFLE, self.problem])
        order = torch.from_numpy(np.random.default_rng(stream).permutation(network.neurons))
        for name, part in parts.items():
            old = getattr(initial, name) if what == "reset_weights" else initial.free[name]
            part.copy_(part[order] if what == "shuffle_properties" else old)
        self.learner.load(self.learner.state())

    @torch.no_grad()
    def activity(self) -> Any:
        """Return what the network does now in one noise-free trial of each condition of the present problem."""
        bias = self.network.output_bias
        return self.network(torch.as_tensor(self.trials.probe.inputs, dtype=bias.dtype, device=bias.device))

    # ---------------------------------------------------------------- recording

    def _record_trials(self, recorder: recording.Recorder) -> None:
        """Record the trials of the present problem that the recorder does not have yet."""
        span = slice(self._recorded, self.trial)
        if span.start < span.stop:
            rows = recording.trial_rows(self.problem, self.earlier_trials, self.current, self.trials.conditions, span)
            recorder.append("trials", **rows)
        self._recorded = self.trial

    def _record_problem(self, status: int, level: float, recorder: recording.Recorder) -> None:
        """Record trials, outcome and properties of the problem that is over."""
        row = series_row(
            self.problem,
            self.current.loss[: self.trial],
            self.current.correct[: self.trial],
            window=self.criterion.window,
            limit=self.options["max_trials"],
            solved=status == SOLVED,
            reason=REASONS[status],
            firing_rate=level * 1000 / self.options["dt"] if "spikes" in self.network.signals else np.nan,
            duration=self._duration,
            zero_shot=self._zero_shot,
        )
        self._record_trials(recorder)
        recorder.append("series", **row)
        recorder.append("properties", problem=row["problem"], **recording.property_rows(self.network))

    def _record_network(self, recorder: recording.Recorder) -> None:
        """Record weights and activity after the present problem where it is one of those to be kept."""
        record, memory, place = self.options["record"], self.optimizer_state()[None], np.array([self.problem])
        keep = self._is_kept(record["kept"])
        if keep or self.problem in recording.WEIGHTS_BLOCK:
            known = memory if keep and record["checkpoints"] else np.zeros_like(memory)
            recorder.append("weights", problem=place, **recording.weight_rows(self.network), optimizer=known)
        if keep:
            recorder.append("activity", problem=place, **recording.activity_rows(self.network, self.activity()))

    def _is_kept(self, asked: Collection[int] | None) -> bool:
        if self.problem == self.problems - 1:
            return True
        return recording.is_kept(self.problem) if asked is None else self.problem in asked


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__array__"):
        return array_of("value", value).tolist()
    return list(value) if isinstance(value, (tuple, set, range)) else value
