"""Learning on with something changed: other tasks, lesions, frozen parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab.checks import whole
from ip2lab.probes.perturbations import change
from ip2lab.probes.playback import Run, restore, tree_of
from ip2lab.properties import in_order
from ip2lab.tasks import Family, Problem
from ip2lab.tasks import family as make_family
from ip2lab.training.options import learnable_names
from ip2lab.training.runtime import Progress, check_progress, interruptible, undisturbed
from ip2lab.training.trainer import Trainer

MADE_ONCE = ("noise", "spiking", "readout")


def continue_training(
    run: Run,
    problem: int | None = None,
    *,
    problems: int = 20,
    family: str | Family | None = None,
    learnable: Any = "same",
    seed: int | None = None,
    path: str | Path | None = None,
    progress: Progress[Trainer] = False,
    **changes: Any,
) -> xr.DataTree:
    """Let the network of a run learn on from a problem, with something changed.

    With nothing changed it is the run itself, bit for bit: the same next problems, the same trials, the same noise.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int, optional
        After which problem; the last one by default.
    problems : int
        How many problems to learn.
    family : str or Family, optional
        Another family; weights are kept where input and output channels have the same names, others are new.
    learnable : optional
        Which properties learn from now on, as for :func:`ip2lab.train`; the same as before by default.
    seed : int, optional
        Draws other problems, trials and noise than the run's own next ones.
    path : str or Path, optional
        Where the run is stored, as for :func:`ip2lab.train`.
    progress : bool or callable
        As for :func:`ip2lab.train`.
    **changes
        Changes of the network as of :func:`probe`, made once, and options of :func:`ip2lab.train`
        (``frozen=["recurrent_weights"]``, ``recurrent=False``) that hold while it learns.

    Returns
    -------
    DataTree
        A run, with ``origin`` in its configuration.

    Examples
    --------
    >>> import ip2lab
    >>> from ip2lab.probes import continue_training
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> on = continue_training(run, 0, problems=1)
    >>> float(on["series"].loss[0]) == float(run["series"].loss[1])
    True
    """
    check_progress(progress)
    given = {"family": family, "learnable": learnable, "seed": seed}
    trainer = changed_trainer(run, problem, problems, **given, **changes)
    with interruptible(trainer):
        return trainer.run(trainer.create_run(path), progress)


def changed_trainer(
    run: Run,
    problem: int | None,
    problems: int,
    *,
    family: str | Family | None = None,
    learnable: Any = "same",
    seed: int | None = None,
    **changes: Any,
) -> Trainer:
    """Return the trainer of :func:`continue_training`."""
    problems, tree = whole("problems", problems, 1), tree_of(run)
    old = restore(tree, problem, exact=True)
    options = {name: changes.pop(name) for name in list(changes) if name in old.options and name not in MADE_ONCE}
    if "silence" in changes and changes.get("readout", old.options.get("readout")) == "membrane":
        raise ValueError(
            "silence: a silenced neuron's membrane is still read out; only runs that read spikes can learn on"
        )
    attrs = _changed_attributes(tree, old, family, learnable, seed)
    new = Trainer.from_attributes(attrs, problems, **_streams(old, problems, seed) | options)
    _carry_over(old, new)
    changes = {name: in_order(name, value, old.network.neurons) for name, value in changes.items()}
    origin = {name: attrs[name] for name in ("family", "model", "seed")}
    new.origin = origin | {"problem": old.problem - 1, "changes": changes}
    change(new, new.setting, new.seed, **changes)
    return new


def _streams(old: Trainer, problems: int, seed: int | None) -> dict[str, Any]:
    """Return the options with which a trainer draws the run's own next problems; with a seed, those of that seed."""
    if seed is None:
        return {"problems_order": list(range(old.problem, old.problem + problems))}
    return dict.fromkeys(("network_seed", "problem_seed", "problems_order"))


def _changed_attributes(
    tree: xr.DataTree, old: Trainer, family: str | Family | None, learnable: Any, seed: int | None
) -> dict[str, Any]:
    """Return the attributes of a run with another family, other learnable properties, or another seed."""
    attrs: dict[str, Any] = {str(name): value for name, value in tree.attrs.items()}
    attrs["config"] = {**attrs["config"], "record": {**old.options["record"], "kept": None}}
    if family is not None:
        other = make_family(family)
        attrs["family"], attrs["config"]["family"] = other.name, other.settings()
    if not isinstance(learnable, str) or learnable != "same":
        attrs["learnable"] = learnable_names(old.model, learnable, "adaptation" in old.network.signals, old.seed)
    return attrs if seed is None else attrs | {"seed": whole("seed", seed, 0)}


@undisturbed()
@torch.no_grad()
def _carry_over(old: Trainer, new: Trainer) -> None:
    """Copy what one network has learnt into another; where channels differ, by their names."""
    for name, dims in new.network.weights.items():
        source, target = getattr(old.network, name), getattr(new.network, name)
        pairs = [_places(old.setting, new.setting, *axis) for axis in zip(dims, target.shape, strict=True)]
        there, here = zip(*pairs, strict=True)
        target[np.ix_(*here)] = source[np.ix_(*there)]
    for name, parameter in new.network.free.items():
        parameter.copy_(old.network.free[name])
    new.learner.load(new.learner.state())
    if old.setting.input_names == new.setting.input_names and old.setting.output_names == new.setting.output_names:
        new.load_optimizer_state(old.optimizer_state())


def _places(old: Problem, new: Problem, dim: str, size: int) -> tuple[list[int], list[int]]:
    """Return where the channels stand that both problems have, in the old one and in the new one."""
    if dim not in ("input", "output"):  # neurons: all, in their order
        return list(range(size)), list(range(size))
    there, here = (list(getattr(problem, f"{dim}_names")) for problem in (old, new))
    common = [name for name in there if name in here]
    return [there.index(name) for name in common], [here.index(name) for name in common]
