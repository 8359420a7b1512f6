"""Runs of other trainers, recorded into the same schema: explorers and analysis then make no difference."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xarray as xr

from ip2lab.properties import PROPERTIES, hint
from ip2lab.records.rows import series_row
from ip2lab.records.schema import PROBE_LABELS, TRACES, template
from ip2lab.records.writing import Recorder, array_of, by_labels
from ip2lab.tasks import Family
from ip2lab.tasks import family as make_family

WEIGHTS = {
    "input_weights": ("neuron", "input"),
    "recurrent_weights": ("neuron", "presynaptic"),
    "bias": ("neuron",),
    "output_weights": ("output", "neuron"),
    "output_bias": ("output",),
}


class TrainingRecorder:
    """Records what a trainer of any other library does with a family of ours.

    For every problem call :meth:`trial` after each trial and :meth:`problem` at its end; :meth:`finish` gives the run.
    In a ``with`` statement a store is given free also when something goes wrong. Arrays may be numpy's or tensors, or
    labelled ones (``xarray.DataArray``), whose axes and entries are put in place by their labels.

    Parameters
    ----------
    family : str or Family
        What is learnt; its conditions, epochs and channels label the run.
    neurons : int
        Number of neurons.
    model : str
        What the network is called.
    signals : iterable of str
        What :meth:`problem` is given of the neurons: ``"spikes"``, ``"membrane"``, ``"dendrite"`` or ``"activity"``.
    weights : iterable of str
        Which weights it is given: ``"input_weights"`` (neuron, input), ``"recurrent_weights"`` (neuron, presynaptic),
        ``"bias"`` (neuron), ``"output_weights"`` (output, neuron), ``"output_bias"`` (output).
    properties : mapping of str to array (neuron) or float
        Intrinsic properties before learning, by their names in :data:`ip2lab.PROPERTIES` and in their units.
    learnable : iterable of str
        Which of them learn.
    dt : float
        Time step in ms.
    criterion, window : float, int
        A problem is solved when the mean loss of so many trials is below the criterion.
    seed : int
        What the trainer was seeded with.
    config : mapping
        What else is to be known of the run, as plain numbers, text, lists and dicts.
    path : path-like, optional
        Where the run is stored while it grows; in memory by default.

    Raises
    ------
    ValueError, TypeError
        An unknown name, or a value out of range; it is named.
    FileExistsError
        There is something at `path` already.

    Examples
    --------
    >>> import numpy as np
    >>> recorder = TrainingRecorder("association", neurons=3, model="mine", properties={"tau": 100.0})
    >>> solved = [recorder.trial(loss=0.001, correct=True, condition=0) for _ in range(52)]
    >>> solved.index(True)
    49
    >>> shape = {"activity": (2, 100, 3), "readout": (2, 100, 3)}  # probe (one a condition), time, neuron or output
    >>> activity = {name: np.full(size, 1 / 3) for name, size in shape.items()}
    >>> recorder.problem(properties={"tau": [90.0, 100.0, 110.0]}, activity=activity)
    >>> run = recorder.finish()
    >>> run["series"].trials_to_criterion.values, run["activity"].activity.dims
    (array([2.]), ('problem', 'probe', 'time', 'neuron'))
    """

    def __init__(
        self,
        family: str | Family,
        *,
        neurons: int,
        model: str = "other",
        signals: Iterable[str] = ("activity",),
        weights: Iterable[str] = (),
        properties: Mapping[str, Any] | None = None,
        learnable: Iterable[str] = (),
        dt: float = 20.0,
        criterion: float = 0.005,
        window: int = 50,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
    ) -> None:
        family, signals = make_family(family), _names("signals", signals, TRACES)
        if not signals:
            raise ValueError(f"signals: there are none; expected one or more of {', '.join(TRACES)}")
        start = {} if properties is None else properties
        learnable = _names("learnable", learnable, _names("properties", start, PROPERTIES))
        _check({"neurons": (neurons, 1), "window": (window, 1), "seed": (seed, 0)}, {"dt": dt, "criterion": criterion})
        config = {} if config is None else config
        if not isinstance(config, Mapping) or not isinstance(model, str) or not model:
            raise TypeError(f"config is {config!r}, model {model!r}; expected a mapping and a name")
        shown = family.problem(0).trials(dt=dt)
        self._datasets = template(
            model=model,
            neurons=neurons,
            properties=tuple(start),
            inputs=shown.input.values,
            outputs=shown.output.values,
            time=shown.time.values,
            epochs=shown.epoch.values[0],
            probes={name: shown[name].values for name in PROBE_LABELS[:4]} | {"repeat": np.zeros(shown.sizes["trial"])},
            weights={name: WEIGHTS[name] for name in _names("weights", weights, WEIGHTS)},
            signals=signals,
        )
        own = {
            "family": family.settings(),
            "problems": 0,
            "dt": dt,
            "criterion": criterion,
            "window": window,
            "neurons": neurons,
        }
        named = {"family": family.name, "model": model, "learnable": list(learnable), "seed": seed}
        self._dt, self._criterion, self._window = float(dt), float(criterion), window
        self._conditions, self._problem, self._earlier = family.problem(0).conditions, 0, 0
        before = self._properties(start, -1)
        self._recorder = Recorder(path, self._datasets, named | {"config": own | dict(config)})
        self._recorder.append("properties", **before)
        self._begin()

    def _begin(self) -> None:
        self._trials: list[tuple[float, float, bool, int]] = []  # of this problem
        self._written, self._since = 0, time.monotonic()

    def trial(
        self,
        *,
        loss: float,
        correct: bool,
        condition: int,
        response_loss: float | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> bool:
        """Record a trial; return whether the problem is solved by now.

        Parameters
        ----------
        loss : float
            Its loss (nats).
        correct : bool
            Whether fixation was kept and the response was right.
        condition : int
            Which condition of the problem it was.
        response_loss : float, optional
            The loss in the response period alone (nats); the loss where it is not given.
        properties : mapping of str to array (neuron), optional
            All properties as they are after it, for the trajectories within the problem.

        Raises
        ------
        ValueError
            A loss that is not finite, an unknown condition, properties that are missing, unknown or of another shape.
        """
        row = [array_of("loss", loss), array_of("response_loss", loss if response_loss is None else response_loss)]
        if not all(map(_real, row)):
            cure = "leave the trial out and end the problem: problem(reason='loss not finite')"
            raise ValueError(f"loss: {loss!r}, response_loss: {response_loss!r} have to be finite numbers; {cure}")
        if not _whole(condition) or not 0 <= condition < self._conditions:
            raise ValueError(f"condition: {condition!r} is not valid; give 0 to {self._conditions - 1}")
        right = array_of("correct", correct)
        if right.shape or right.dtype != bool:
            raise TypeError(f"correct: {correct!r} is not valid; give True or False")
        place = {"trial": [len(self._trials) + 1]}
        now = None if properties is None else self._properties(properties, self._problem) | place
        self._trials.append((float(row[0]), float(row[1]), bool(correct), int(condition)))
        if now:
            self._recorder.append("trajectories", **now)
        if self._recorder.due:
            self._flush()
            self._recorder.commit()
        return self._solved

    @property
    def _solved(self) -> bool:
        last = [row[0] for row in self._trials[-self._window :]]
        return len(last) == self._window and sum(last) / self._window < self._criterion

    def problem(
        self,
        *,
        properties: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        activity: Mapping[str, Any] | None = None,
        reason: str = "criterion not reached",
    ) -> None:
        """End a problem: it counts as solved where its last window of trials is below the criterion.

        Parameters
        ----------
        properties : mapping of str to array (neuron)
            All properties as they are now, in their units; not needed where the recorder was given none.
        weights : mapping of str to array, optional
            All weights that the recorder was told of; without them the problem is not among those whose weights are
            kept.
        activity : mapping of str to array, optional
            What the network does in one noise-free trial of each condition, ``problem.trials(dt=dt)``: all signals
            that the recorder was told of (probe, time, neuron), and ``"readout"``, the probabilities of the outputs
            (probe, time, output). Without it the problem is not among those whose activity is kept.
        reason : str
            Why a problem that is not solved was given up.

        Raises
        ------
        ValueError, TypeError
            Something that is missing, unknown or of another shape, or no trial since the last problem.
        """
        trials, solved, rate = len(self._trials), self._solved, np.nan
        if not isinstance(reason, str):
            raise TypeError(f"reason: {reason!r} is not valid; give words")
        if not trials:
            raise ValueError("problem: there was no trial since the last one; record each by trial(loss=..., ...)")
        rows = {"properties": self._properties({} if properties is None else properties, self._problem)}
        if weights is not None:
            rows["weights"] = self._checked("weights", weights, self._problem)
        if activity is not None:
            rows["activity"] = self._checked("activity", activity, self._problem)
            _check_readout(rows["activity"]["readout"])
            rate = float(np.mean(rows["activity"].get("spikes", np.nan))) * 1000 / self._dt
        loss, correct = (np.array([trial[column] for trial in self._trials]) for column in (0, 2))
        series = series_row(
            self._problem,
            loss,
            correct,
            window=self._window,
            limit=trials,
            solved=solved,
            reason=reason,
            firing_rate=rate,
            duration=time.monotonic() - self._since,
        )
        self._flush()
        self._recorder.append("series", **series)
        for group, columns in rows.items():
            self._recorder.append(group, **columns)
        self._problem, self._earlier = self._problem + 1, self._earlier + trials
        self._recorder.attrs["config"]["problems"] = self._problem
        self._begin()
        if self._recorder.due:
            self._recorder.commit()

    def finish(self, *, complete: bool = True) -> xr.DataTree:
        """Return the run; trials after the last problem are kept, too.

        Parameters
        ----------
        complete : bool
            Whether the series came to its end.

        Returns
        -------
        DataTree
            As :func:`ip2lab.open_run` gives it.
        """
        self._flush()
        return self._recorder.close(complete=complete)

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the store free."""
        self._recorder.release()

    def _flush(self) -> None:
        """Hand over the trials that wait."""
        new = self._trials[self._written :]
        if new:
            first = self._earlier + self._written
            loss, response_loss, correct, condition = (np.array(column) for column in zip(*new, strict=True))
            self._recorder.append(
                "trials",
                trial=np.arange(first, first + len(new)),
                loss=loss,
                response_loss=response_loss,
                correct=correct,
                problem=np.full(len(new), self._problem),
                condition=condition,
            )
        self._written = len(self._trials)

    def _properties(self, given: Mapping[str, Any], problem: int) -> dict[str, np.ndarray]:
        rows = self._checked("properties", given, problem)
        for name in given:
            PROPERTIES[name].check(rows[name])
        return rows

    def _checked(self, group: str, given: Mapping[str, Any], problem: int) -> dict[str, np.ndarray]:
        """Return what a problem adds to a group, or say which piece is missing, unknown or of another shape."""
        if not isinstance(given, Mapping):
            raise TypeError(f"{group}: came as {type(given).__name__}; expected a mapping from names to arrays")
        known = {str(name): variable for name, variable in self._datasets[group].data_vars.items()}
        _check_complete(group, given, known)
        rows = {"problem": np.array([problem])}
        for name, variable in known.items():
            values = _row(group, name, given[name], variable)
            rows[name] = (values != 0 if variable.dtype == bool else values)[None]
        return rows


def _check_complete(group: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise ValueError unless exactly the known variables of a group are given."""
    expected = f"expected {', '.join(known) or 'nothing'}"
    for name in given:
        if name not in known:
            raise ValueError(f"{group}: {name!r} is unknown; {expected}{hint(name, known)}")
    for name in known:
        if name not in given:
            raise ValueError(f"{group}: {name!r} is missing; {expected}")


def _row(group: str, name: str, given: Any, variable: xr.DataArray) -> np.ndarray:
    """Return what a problem adds to a variable; one number stands for a property of all neurons."""
    sizes = {str(dim): variable.sizes[dim] for dim in variable.dims[1:]}
    if group == "properties" and np.ndim(given) == 0:
        values = np.broadcast_to(array_of(f"{group}/{name}", given), tuple(sizes.values()))
    else:
        labels = {dim: variable[dim].values for dim in sizes if dim in variable.coords}
        labels |= {"probe": variable["condition"].values} if "probe" in sizes else {}
        values = array_of(f"{group}/{name}", by_labels(f"{group}/{name}", given, list(sizes), labels))
    if values.shape != tuple(sizes.values()) or values.dtype.kind not in "biuf":
        raise ValueError(f"{group}: {name!r} is {values.dtype} of shape {values.shape}; expected numbers {sizes}")
    return values


def _names(what: str, given: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return names, or say which one is unknown."""
    try:
        names = (given,) if isinstance(given, str) else tuple(islice(given, 1000))  # among more there is an unknown one
    except TypeError:
        raise TypeError(f"{what} is {given!r}; expected names") from None
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{what}: {name!r} is unknown; known: {', '.join(known) or 'none'}{hint(name, known)}")
    return names


def _check(whole: Mapping[str, tuple[Any, int]], positive: Mapping[str, Any]) -> None:
    """Raise ValueError unless numbers are whole and not below the least one, or positive."""
    for name, (value, least) in whole.items():
        if not _whole(value) or value < least:
            raise ValueError(f"{name} is {value!r}; expected a whole number from {least}")
    for name, value in positive.items():
        if not _real(value) or not value > 0:
            raise ValueError(f"{name} is {value!r}; expected a positive number")


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    """Tell whether this is one finite number, of Python's or numpy's."""
    if isinstance(value, range):
        return False
    array = np.asarray(value)
    return array.shape == () and array.dtype.kind in "iuf" and bool(np.isfinite(array))


def _check_readout(readout: np.ndarray) -> None:
    """Raise ValueError unless a readout holds probabilities."""
    total = readout.sum(-1)
    if not (np.isfinite(readout).all() and (readout >= 0).all() and np.allclose(total, 1, atol=1e-3)):
        came = f"from {readout.min():g} to {readout.max():g}, summing to {total.flat[0]:g}"
        raise ValueError(f"activity: 'readout' is {came}; expected probabilities of the outputs: give softmax(logits)")
