"""Delayed sensorimotor association (Goudar et al., Nat Neurosci 26:879-890, 2023): stimulus k asks for response k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ip2lab.tasks.base import FIXATION_INPUT, Epoch, Family, Problem, Seed, stream


@dataclass(frozen=True)
class Association(Family):
    """A stimulus, a delay, then the response that belongs to it; the inputs are off during the response.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> problem = family("association").problem(seed=1)
    >>> problem.labels["stimulus"]
    ['stimulus 1', 'stimulus 2']
    >>> [epoch.name for epoch in problem.epochs]
    ['stimulus', 'delay', 'response onset', 'response']
    """

    name: ClassVar[str] = "association"

    def problem(self, seed: Seed) -> Problem:
        """Draw the stimuli of a problem."""
        stimuli = self.patterns(stream(seed))
        k, fixation = self.stimuli, self.stimuli
        inputs = np.zeros((k, 4, self.channels + 1))
        inputs[:, 0, :-1] = stimuli
        inputs[:, :2, -1] = FIXATION_INPUT
        targets = np.full((k, 4), fixation)
        targets[:, 2:] = np.arange(k)[:, None]
        names = [str(i + 1) for i in range(k)]
        return Problem(
            inputs,
            targets,
            (Epoch("stimulus", self.stimulus), Epoch("delay", self.delay), *self.response_epochs()),
            {
                "stimulus": [f"stimulus {i}" for i in names],
                "response": [f"response {i}" for i in names],
                "context": ["none"] * k,
            },
            self.stimulus_names,
            (*(f"response {i}" for i in names), "fixation"),
            self.noise,
        )
