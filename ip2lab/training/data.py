"""The trials of a problem as arrays for learners: drawn in order, padded to one length, and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ip2lab.networks import kernel_types
from ip2lab.tasks import Problem


class TrialStream:
    """The trials of one problem in the order in which they come; any stretch of them can be had again.

    Attributes
    ----------
    conditions : ndarray (trial,)
        Condition of each trial.
    probe : kernel_types.Stimuli
        One noise-free trial of each condition.
    """

    def __init__(self, problem: Problem, stream: np.random.SeedSequence, trials: int, dt: float, dtype: str) -> None:
        self.problem, self.dt, self.dtype = problem, dt, dtype
        self.conditions = np.random.default_rng(stream).integers(problem.conditions, size=trials)
        self.probe = make_stimuli(problem, np.arange(problem.conditions), dt, dtype)
        self._entropy = stream.entropy

    def between(self, first: int, last: int) -> tuple[kernel_types.Stimuli, np.ndarray]:
        """Return what trials `first` to `last` show, and which row of it each of them is."""
        conditions = self.conditions[first:last]
        if not self.problem.varies and not self.problem.noise:
            return self.probe, conditions
        parts = [
            make_stimuli(self.problem, self.conditions[[i]], self.dt, self.dtype, self._rng(i))
            for i in range(first, last)
        ]
        return _stack(parts), np.arange(last - first)

    def epochs(self, trial: int) -> np.ndarray:
        """Return the epoch of each step of a trial (time,)."""
        _, _, epoch = self.problem.arrays(self.conditions[[trial]], self.dt, self._rng(trial))
        return np.array([e.name for e in self.problem.epochs])[epoch[0]]

    def _rng(self, trial: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._entropy, spawn_key=(trial,)))


def make_stimuli(
    problem: Problem, conditions: np.ndarray, dt: float, dtype: str, rng: np.random.Generator | None = None
) -> kernel_types.Stimuli:
    """Return one trial of each of `conditions`; without `rng` noise-free and with epochs of their middle length."""
    inputs, target, epoch = problem.arrays(conditions, dt, rng)
    scored = np.array([e.scored for e in problem.epochs] + [False])[epoch]
    responding = scored & np.array([e.name.startswith("response") for e in problem.epochs] + [False])[epoch]
    return kernel_types.Stimuli(
        np.ascontiguousarray(inputs, dtype),
        np.ascontiguousarray(target, np.int64),
        np.ascontiguousarray(scored / scored.sum(1, keepdims=True), dtype),
        responding.astype(dtype),
        (epoch >= 0).sum(1),
    )


def score(logits: np.ndarray, stimuli: kernel_types.Stimuli) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each trial (trial,) and whether it was answered (trial,), as the kernels do."""
    logits = logits.astype(float)
    shifted = logits - logits.max(-1, keepdims=True)
    probability = np.exp(shifted)
    total = probability.sum(-1, keepdims=True)
    right = np.take_along_axis(shifted, stimuli.target[..., None], -1)[..., 0]
    loss = (stimuli.weight * (np.log(total[..., 0]) - right)).sum(1)
    answering = stimuli.response > 0
    kept = (shifted.argmax(-1) == stimuli.target) | answering | (stimuli.weight == 0)
    mean = (probability / total * answering[..., None]).sum(1)
    last = np.where(answering, np.arange(answering.shape[1]), 0).argmax(1)
    return loss, kept.all(1) & (mean.argmax(-1) == np.take_along_axis(stimuli.target, last[:, None], 1)[:, 0])


def _stack(parts: Sequence[kernel_types.Stimuli]) -> kernel_types.Stimuli:
    """Put trials of different lengths into one set of arrays, the shorter ones filled up with zeros."""
    longest = max(part.inputs.shape[1] for part in parts)

    def joined(name: str) -> np.ndarray:
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(
            [np.pad(a, [(0, 0), (0, longest - a.shape[1])] + [(0, 0)] * (a.ndim - 2)) for a in arrays]
        )

    filled = {name: joined(name) for name in ("inputs", "target", "weight", "response")}
    return kernel_types.Stimuli(**filled, length=np.concatenate([part.length for part in parts]))
