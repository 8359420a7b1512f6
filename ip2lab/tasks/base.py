"""What every family of tasks is made of: a family draws problems, a problem draws trials.

A trial is a row of epochs; within an epoch the input and the target are constant. So a problem is three small
tables over its conditions and epochs, free of any time step, and a trial is those tables spread over time.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.checks import FROM_ZERO, Rule, is_number, is_whole, obey
from ip2lab.properties import hint

FIXATION_INPUT = 1 / np.sqrt(10)
MOST_STEPS = 1_000_000  # of a trial, and trials at once: more is a mistake in units, or would not fit any memory
MOST_CHANNELS = 10_000
Seed = int | np.random.SeedSequence | np.random.Generator | None


def _is_delay(value: Any) -> bool:
    ends = value if isinstance(value, (list, tuple)) else (value, value)
    return len(ends) == 2 and all(map(is_number, ends)) and 0 < ends[0] <= ends[1]


LENGTH = Rule(lambda v: is_number(v) and v > 0, "a positive number of ms")
RULES: dict[str, Rule] = {  # of the settings of all families
    **dict.fromkeys(("stimulus", "response", "grace_period"), LENGTH),
    "delay": Rule(_is_delay, "a positive number of ms or (shortest, longest)"),
    "overlap": Rule(lambda v: is_number(v) and 0 <= v < 1, "a cosine from 0 to below 1"),
    "noise": FROM_ZERO,
    **dict.fromkeys(
        ("stimuli", "channels"),
        Rule(lambda v: is_whole(v) and 2 <= v <= MOST_CHANNELS, f"a whole number from 2 to {MOST_CHANNELS:,}"),
    ),
}


@dataclass(frozen=True)
class Epoch:
    """One stretch of a trial, in which input and target are constant.

    Parameters
    ----------
    name : str
        What it is called; "response" begins the names of the epochs in which an answer is due.
    duration : float or (float, float)
        Its length in ms, or the ends between which the length is drawn in every trial.
    scored : bool
        Whether its steps count in the loss.

    Examples
    --------
    >>> Epoch("delay", (500.0, 1500.0)).length(0.5)
    1000.0
    """

    name: str
    duration: float | tuple[float, float]
    scored: bool = True

    def length(self, share: float) -> float:
        """Return the duration in ms; `share` (0 to 1) places it between the two ends of a drawn one."""
        if isinstance(self.duration, tuple):
            low, high = self.duration
            return low + share * (high - low)
        return self.duration


@dataclass(frozen=True)
class Problem:
    """One problem: which input and which target belong to each condition in each epoch.

    Parameters
    ----------
    inputs : ndarray (condition, epoch, input)
        Input pattern.
    targets : ndarray of int (condition, epoch)
        Index of the right output.
    epochs : tuple of Epoch
        The epochs in order.
    labels : dict of str to list of str
        ``stimulus``, ``response`` and ``context`` of each condition.
    input_names, output_names : tuple of str
        Names of the channels; the last output is ``fixation``.
    noise : float
        Standard deviation of the noise on each input channel in steps of 20 ms.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> problem = family("association").problem(seed=0)
    >>> problem.conditions, problem.output_names
    (2, ('response 1', 'response 2', 'fixation'))
    """

    inputs: np.ndarray
    targets: np.ndarray
    epochs: tuple[Epoch, ...]
    labels: dict[str, list[str]]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        targets = _check_targets(self.targets, len(self.epochs), len(self.output_names))
        _check_inputs(self.inputs, (*targets.shape, len(self.input_names)))
        for names in (self.input_names, self.output_names):
            if len(set(names)) < len(names):
                raise ValueError(f"{', '.join(names)}: expected a name of its own for each input and each output")
        for label in dict.fromkeys(("stimulus", "response", "context", *self.labels)):
            if len(self.labels.get(label, ())) != len(targets):
                raise ValueError(
                    f"labels: {label!r} is {self.labels.get(label)}; expected one for each of {len(targets)} conditions"
                )

    @property
    def conditions(self) -> int:
        """How many conditions the problem has."""
        return len(self.targets)

    def steps(self, dt: float, share: float = 0.5) -> np.ndarray:
        """Return the number of time steps of `dt` ms in each epoch (epoch,); ``share`` as in :meth:`Epoch.length`."""
        if not is_number(dt) or not dt > 0:
            raise ValueError(f"dt: {dt!r} is not valid; give a positive number of ms")
        ends = np.rint(np.cumsum([0.0] + [epoch.length(share) for epoch in self.epochs]) / dt)
        if not ends[-1] <= MOST_STEPS:
            raise ValueError(
                f"dt = {dt:g} ms makes {ends[-1]:.3g} steps of a trial; at most {MOST_STEPS:,} can be done"
            )
        counts = np.diff(ends.astype(int))
        if (counts < 1).any():
            epoch = self.epochs[int(np.argmin(counts))]
            wrong = f"dt = {dt:g} ms leaves no step for the epoch {epoch.name!r} ({epoch.duration} ms)"
            raise ValueError(f"{wrong}; use a smaller dt")
        return counts

    def trials(self, conditions: npt.ArrayLike | None = None, *, dt: float = 20.0, seed: Seed = None) -> xr.Dataset:
        """Draw trials, labelled.

        Parameters
        ----------
        conditions : int or sequence of int, optional
            Which condition each trial is of; every condition once by default.
        dt : float
            Time step in ms.
        seed : int, optional
            Draws the input noise and the lengths of epochs that vary. Without a seed there is no noise and
            lengths are the middle of their range.

        Returns
        -------
        Dataset
            ``inputs`` (trial, time, input); ``target`` (trial, time), the index of the right output; ``scored``
            (trial, time), whether the step counts; ``epoch`` (trial, time), its name, empty where a shorter trial
            is over. Coordinates ``condition``, ``stimulus``, ``response`` and ``context`` along ``trial``.

        Examples
        --------
        >>> from ip2lab.tasks import family
        >>> problem = family("association").problem(seed=0)
        >>> trials = problem.trials()
        >>> dict(trials.sizes)
        {'trial': 2, 'time': 100, 'input': 11, 'output': 3}
        >>> trials.response.values.tolist()
        ['response 1', 'response 2']
        """
        chosen = self._chosen(conditions)
        inputs, target, rows = self.arrays(chosen, dt, None if seed is None else stream(seed))
        names = np.array([epoch.name for epoch in self.epochs] + [""])
        scored = np.array([epoch.scored for epoch in self.epochs] + [False])
        steps = ("trial", "time")
        along = {name: ("trial", [values[c] for c in chosen]) for name, values in self.labels.items()}
        time = np.arange(inputs.shape[1]) * dt
        return xr.Dataset(
            {
                "inputs": ((*steps, "input"), inputs, {"long_name": "input", "units": "1"}),
                "target": (steps, target, {"long_name": "index of the right output", "units": "1"}),
                "scored": (steps, scored[rows], {"long_name": "step counts in the loss", "units": "1"}),
                "epoch": (steps, names[rows], {"long_name": "epoch", "units": "1"}),
            },
            coords={
                "condition": ("trial", chosen, {"long_name": "condition", "units": "1"}),
                "time": ("time", time, {"long_name": "time from the start of the trial", "units": "ms"}),
                "input": ("input", list(self.input_names)),
                "output": ("output", list(self.output_names)),
                **along,
            },
        )

    def _chosen(self, conditions: npt.ArrayLike | None) -> np.ndarray:
        """Return the numbers of conditions, each once for None."""
        if conditions is None:
            return np.arange(self.conditions)
        if isinstance(conditions, Sized) and len(conditions) > MOST_STEPS:
            raise ValueError(f"conditions: {len(conditions)} are too many trials at once; give at most {MOST_STEPS:,}")
        chosen = np.atleast_1d(_array("conditions", conditions))
        whole = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu"
        if not whole or chosen.min() < 0 or chosen.max() >= self.conditions:
            last = self.conditions - 1
            raise ValueError(f"conditions: {conditions!r} is not valid; this problem has conditions 0 to {last}")
        return chosen

    def arrays(
        self, conditions: np.ndarray, dt: float, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return :meth:`trials` without labels.

        Inputs (trial, time, input), targets (trial, time) and the number of the epoch (trial, time), -1 where a
        shorter trial is over.
        """
        shares = [0.5 if rng is None else rng.random() for _ in conditions] if self.varies else [0.5]
        rows = [np.repeat(np.arange(len(self.epochs)), self.steps(dt, share)) for share in shares]
        longest = max(map(len, rows))
        epoch = np.array([np.pad(row, (0, longest - len(row)), constant_values=-1) for row in rows])
        epoch = np.broadcast_to(epoch, (len(conditions), longest))
        inputs = self.inputs[conditions[:, None], epoch]
        if rng is not None and self.noise:
            inputs += self.noise * np.sqrt(20 / dt) * rng.standard_normal(inputs.shape)
        inputs[epoch < 0] = 0
        return inputs, np.where(epoch < 0, 0, self.targets[conditions[:, None], epoch]), epoch

    @property
    def varies(self) -> bool:
        """Whether the length of an epoch is drawn anew in every trial."""
        return any(isinstance(epoch.duration, tuple) for epoch in self.epochs)


@dataclass(frozen=True)
class Family:
    """Settings that all families share; a family of its own adds :meth:`problem` and, where it has more, fields.

    Parameters
    ----------
    stimulus : float
        Length of the stimulus in ms.
    delay : float or (float, float)
        Length of the delay in ms; two values: drawn anew between them in every trial.
    response : float
        Length of the response period in ms.
    grace_period : float
        The first part of the response period that does not count, in ms.
    stimuli : int
        Number of stimuli.
    channels : int
        Number of stimulus channels.
    overlap : float
        Cosine between any two stimuli of a problem (0: orthonormal).
    noise : float
        Standard deviation of the noise on each input channel in steps of 20 ms.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> family("association", delay=(500, 1500)).settings()["delay"]
    (500.0, 1500.0)
    """

    name: ClassVar[str] = ""
    stimulus: float = 500.0
    delay: float | tuple[float, float] = 1000.0
    response: float = 500.0
    grace_period: float = 100.0
    stimuli: int = 2
    channels: int = 10
    overlap: float = 0.0
    noise: float = 0.0

    def __init_subclass__(cls) -> None:
        """Make the family known by its name, so that a stored run of it can be resumed, probed and replayed."""
        name = cls.__dict__.get("name")
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(
                f'the family {cls.__name__} has the name {name!r}; give it one of its own: name = "my_family"'
            )
        other = FAMILIES.get(name, cls)
        if other.__module__ != cls.__module__:  # the same cell run again replaces the family of before
            raise TypeError(f"the name {name!r} is that of {other.__module__}.{other.__name__}; choose another one")
        FAMILIES[name] = cls

    def __post_init__(self) -> None:
        obey(RULES, {field.name: getattr(self, field.name) for field in fields(self)})
        if isinstance(self.delay, (list, tuple)):
            object.__setattr__(self, "delay", (float(self.delay[0]), float(self.delay[1])))
        if not self.grace_period < self.response:
            raise ValueError(
                f"grace_period: {self.grace_period:g} ms of a response of {self.response:g} ms leave nothing to score"
            )
        if not self.stimuli < self.channels:
            wanted = f"give 2 to {self.channels - 1}"
            raise ValueError(f"stimuli: {self.stimuli!r} stimuli do not fit {self.channels} channels; {wanted}")

    def settings(self) -> dict[str, Any]:
        """Return every setting by name, plain enough for JSON."""
        return asdict(self)

    def problem(self, seed: Seed) -> Problem:
        """Draw a problem; the same seed gives the same problem."""
        raise NotImplementedError(f"the family {type(self).__name__} has no method problem(seed)")

    def patterns(self, rng: np.random.Generator, number: int | None = None) -> np.ndarray:
        """Draw random unit vectors (number, channels) with the family's overlap; orthonormal by default.

        Every orientation of the set is as likely as any other, so that a problem tells nothing of the next one.
        """
        number = self.stimuli if number is None else number
        q, r = np.linalg.qr(rng.standard_normal((self.channels, number + 1)))
        # LAPACK fixes the signs of q: the first channel of its first column is never positive. With those of r's
        # diagonal taken out, q is uniform over orthonormal frames (Mezzadri 2007, section 5).
        basis = (q * np.sign(np.diag(r))).T
        return np.sqrt(1 - self.overlap) * basis[1:] + np.sqrt(self.overlap) * basis[0]

    def response_epochs(self) -> tuple[Epoch, Epoch]:
        """Return the response period: the part that is not scored yet, and the rest."""
        return Epoch("response onset", self.grace_period, scored=False), Epoch(
            "response", self.response - self.grace_period
        )

    @property
    def stimulus_names(self) -> tuple[str, ...]:
        """Names of the stimulus channels and the fixation channel."""
        return (*(f"stimulus channel {i + 1}" for i in range(self.channels)), "fixation")


FAMILIES: dict[str, type[Family]] = {}


def stream(seed: Seed) -> np.random.Generator:
    """Return the random stream of a seed; ValueError for what is no seed."""
    if isinstance(seed, Sized) and len(seed) > 100:  # numpy would make words of all of them
        raise ValueError(f"seed: {len(seed):,} numbers are too many; give one, or a few")
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise ValueError(f"seed: {seed!r} is not valid; give a whole number from 0") from None


def _check_epochs(epochs: tuple[Epoch, ...]) -> None:
    if not all(isinstance(epoch, Epoch) for epoch in epochs):
        raise TypeError(f"epochs: {epochs!r} are not all epochs; give ip2lab.tasks.Epoch(name, duration)")
    if not any(epoch.scored and epoch.name.startswith("response") for epoch in epochs):
        came = ", ".join(epoch.name for epoch in epochs)
        raise ValueError(f"epochs: {came}: none of them is scored and has a name that begins with 'response'")


def _check_targets(given: Any, epochs: int, outputs: int) -> np.ndarray:
    """Return targets (condition, epoch) as an array."""
    targets = np.asarray(given)
    if targets.ndim != 2 or targets.shape[1] != epochs or not len(targets) or targets.dtype.kind not in "iu":
        came = f"{targets.dtype} of shape {targets.shape}"
        raise ValueError(f"targets: {came}; expected whole numbers (condition, epoch) for {epochs} epochs")
    if targets.min() < 0 or targets.max() >= outputs:
        raise ValueError(f"targets: from {targets.min()} to {targets.max()}; outputs are 0 to {outputs - 1}")
    return targets


def _check_inputs(given: Any, shape: tuple[int, ...]) -> None:
    inputs = np.asarray(given)
    if inputs.shape != shape or inputs.dtype.kind not in "iuf" or not np.isfinite(inputs).all():
        came = f"{inputs.dtype} of shape {inputs.shape}"
        raise ValueError(
            f"inputs: {came}; expected finite numbers {shape}: condition, epoch, and a name for each input"
        )


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {values!r} is not valid; give one list of numbers") from None


def configure(cls: type[Family], **settings: Any) -> Family:
    """Make a family; an unknown setting raises a TypeError that lists the known ones."""
    known = [field.name for field in fields(cls)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        has = f"it has {', '.join(known)}{hint(unknown[0], known)}"
        raise TypeError(f"family {cls.name!r} has no setting {unknown[0]!r}; {has}")
    return replace(cls(), **settings)
