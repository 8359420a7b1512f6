"""Go/no-go delayed recall: after a delay, a cue asks which stimulus it was, or asks to keep still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ip2lab.tasks.base import FIXATION_INPUT, Epoch, Family, Problem, Seed, stream


@dataclass(frozen=True)
class GoNoGoRecall2(Family):
    """One of two stimuli, a delay, then a go or a no-go cue: recall the stimulus, or keep fixating.

    Two more channels, the same in every problem, carry the cue all through the response period; it is the
    ``context`` among the labels. The paper does not define its family further; this is our definition.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> problem = family("gng_dr_2").problem(seed=1)
    >>> problem.labels["context"], problem.labels["response"]
    (['go', 'no-go', 'go', 'no-go'], ['response 1', 'fixation', 'response 2', 'fixation'])
    """

    name: ClassVar[str] = "gng_dr_2"

    def problem(self, seed: Seed) -> Problem:
        """Draw the stimuli of a problem."""
        stimuli = self.patterns(stream(seed))
        k, fixation = 2 * self.stimuli, self.stimuli
        which, no_go = np.divmod(np.arange(k), 2)
        inputs = np.zeros((k, 4, self.channels + 3))
        inputs[:, 0, : self.channels] = stimuli[which]
        inputs[:, :2, self.channels] = FIXATION_INPUT
        inputs[np.arange(k), 2:, self.channels + 1 + no_go] = 1
        targets = np.full((k, 4), fixation)
        targets[:, 2:] = np.where(no_go, fixation, which)[:, None]
        outputs = (*(f"response {i + 1}" for i in range(self.stimuli)), "fixation")
        return Problem(
            inputs,
            targets,
            (Epoch("stimulus", self.stimulus), Epoch("delay", self.delay), *self.response_epochs()),
            {
                "stimulus": [f"stimulus {i + 1}" for i in which],
                "response": [outputs[i] for i in targets[:, -1]],
                "context": ["no-go" if i else "go" for i in no_go],
            },
            (*self.stimulus_names, "go", "no-go"),
            outputs,
            self.noise,
        )


@dataclass(frozen=True)
class GoNoGoRecall4(GoNoGoRecall2):
    """The same with four stimuli.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> family("gng_dr_4").problem(seed=1).conditions
    8
    """

    name: ClassVar[str] = "gng_dr_4"
    stimuli: int = 4
