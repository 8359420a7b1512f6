"""Families of tasks: a family draws problems, a problem draws trials."""

from __future__ import annotations

from typing import Any

from ip2lab.tasks.association import Association
from ip2lab.tasks.base import FAMILIES, FIXATION_INPUT, Epoch, Family, Problem, configure
from ip2lab.tasks.dms import DMS, ContextDMS
from ip2lab.tasks.gng_dr import GoNoGoRecall2, GoNoGoRecall4

__all__ = [
    "DMS",
    "FIXATION_INPUT",
    "Association",
    "ContextDMS",
    "Epoch",
    "Family",
    "GoNoGoRecall2",
    "GoNoGoRecall4",
    "Problem",
    "families",
    "family",
]


def families() -> list[str]:
    """Return the names of the families: the five of the paper and those that a user has defined since.

    Examples
    --------
    >>> families()[:5]
    ['association', 'dms', 'cd_dms', 'gng_dr_2', 'gng_dr_4']
    """
    return list(FAMILIES)


def family(name: str | Family, **settings: Any) -> Family:
    """Return a family by name with what belongs to the task set: timing, noise, number of stimuli.

    Parameters
    ----------
    name : str or Family
        One of :func:`families`, or a family (returned as it is).
    **settings
        Fields of the family, e.g. ``delay=1500`` (ms) or ``delay=(500, 1500)``, drawn anew in every trial.

    Raises
    ------
    ValueError
        For an unknown name or a setting out of range.
    TypeError
        For an unknown setting.

    Examples
    --------
    >>> family("association", delay=1500).delay
    1500
    """
    if isinstance(name, Family):
        if settings:
            raise TypeError(f"the family {name.name!r} is made already; set {', '.join(settings)} where it is made")
        return name
    if not isinstance(name, str) or name not in FAMILIES:
        own = "define a family of your own before its name is used"
        raise ValueError(f"unknown family {name!r}; known: {', '.join(FAMILIES)}; {own}")
    return configure(FAMILIES[name], **settings)
