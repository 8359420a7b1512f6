"""Delayed match to sample, plain and under a context: tell whether the test is what was shown before the delay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from ip2lab.tasks.base import FIXATION_INPUT, LENGTH, Epoch, Family, Problem, Seed, stream


@dataclass(frozen=True)
class DMS(Family):
    """A sample, a delay, a test, then the response: match or non-match; the inputs are off during the response.

    The paper does not define its family further; this is our definition. ``stimulus`` among the labels is the
    sample; ``test`` stands beside it.

    Parameters
    ----------
    test : float
        Length of the test in ms.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> problem = family("dms").problem(seed=1)
    >>> list(zip(problem.labels["stimulus"], problem.labels["test"], problem.labels["response"]))[1:3]
    [('stimulus 1', 'test 2', 'non-match'), ('stimulus 2', 'test 1', 'non-match')]
    """

    name: ClassVar[str] = "dms"
    test: float = 500.0

    def __post_init__(self) -> None:
        super().__post_init__()
        LENGTH.check("test", self.test)

    def problem(self, seed: Seed) -> Problem:
        """Draw the stimuli of a problem."""
        stimuli = self.patterns(stream(seed))
        pairs = list(product(range(self.stimuli), repeat=2))
        sample, test = np.array(pairs).T
        inputs = np.zeros((len(pairs), 5, self.channels + 1))
        inputs[:, 0, :-1], inputs[:, 2, :-1] = stimuli[sample], stimuli[test]
        inputs[:, :3, -1] = FIXATION_INPUT
        targets = np.full((len(pairs), 5), 2)
        targets[:, 3:] = (sample != test)[:, None]
        return Problem(
            inputs,
            targets,
            (
                Epoch("stimulus", self.stimulus),
                Epoch("delay", self.delay),
                Epoch("test", self.test),
                *self.response_epochs(),
            ),
            {
                "stimulus": [f"stimulus {i + 1}" for i in sample],
                "response": ["match" if i == j else "non-match" for i, j in pairs],
                "context": ["none"] * len(pairs),
                "test": [f"test {i + 1}" for i in test],
            },
            self.stimulus_names,
            ("match", "non-match", "fixation"),
            self.noise,
        )


@dataclass(frozen=True)
class ContextDMS(DMS):
    """Delayed match to sample under one of two contexts, cued during the sample; context 2 swaps the responses.

    Ten more channels carry the cue, one of two random patterns that are new in every problem. Our definition, too.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> problem = family("cd_dms").problem(seed=1)
    >>> problem.conditions, problem.inputs.shape, problem.labels["context"][3:5]
    (8, (8, 5, 21), ['context 1', 'context 2'])
    >>> problem.labels["response"][0], problem.labels["response"][4]  # the same sample and test
    ('match', 'non-match')
    """

    name: ClassVar[str] = "cd_dms"

    def problem(self, seed: Seed) -> Problem:
        """Draw the stimuli and the two cues of a problem."""
        rng = stream(seed)
        plain = super().problem(rng)
        k, context = plain.conditions, np.repeat([0, 1], plain.conditions)
        cues = np.zeros((2 * k, 5, self.channels))
        cues[:, 0] = self.patterns(rng, 2)[context]
        targets = np.tile(plain.targets, (2, 1))
        targets[k:, 3:] = 1 - targets[k:, 3:]
        return replace(
            plain,
            inputs=np.concatenate([np.tile(plain.inputs, (2, 1, 1)), cues], axis=2),
            targets=targets,
            labels={name: 2 * values for name, values in plain.labels.items()}
            | {
                "response": [plain.output_names[k] for k in targets[:, -1]],
                "context": [f"context {c + 1}" for c in context],
            },
            input_names=(*plain.input_names, *(f"cue channel {i + 1}" for i in range(self.channels))),
        )
