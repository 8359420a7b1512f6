"""Training: a series of problems, each to criterion.

`trainer` goes through the series and keeps its state, `learners` do the trials of a problem, `data` draws these trials,
`recording` turns the trainer's state into rows of a run, `options` hold and check what can be chosen, `runtime` is what
surrounds a training: progress, interrupts, torch's threads.
"""

from ip2lab.training.trainer import resume, train

__all__ = ["resume", "train"]
