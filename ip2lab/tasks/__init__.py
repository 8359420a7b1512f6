"""Families of tasks: a family draws problems, a problem draws trials."""

from __future__ import annotations

from typing import Any

from ip2lab.properties import hint
from ip2lab.tasks import plugins
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
    """Return the names of the families: those built in, those defined since, and those of installed packages.

    An installed package offers families under the entry points ``ip2lab.families``; see :mod:`ip2lab.tasks.plugins`.
    Only their names are read here: a package is imported, and its family checked, when the family is asked for.

    Examples
    --------
    >>> "dms" in families()
    True
    """
    return list(dict.fromkeys([*FAMILIES, *plugins.offered()]))


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
        For an unknown name, a setting out of range, or a family of another package that cannot be used: the package
        and the reason are named.
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
    if not isinstance(name, str) or not (name in FAMILIES or plugins.load(name)):
        known = families()
        cure = hint(name, known) or "; define a family of your own before its name is used"
        raise ValueError(f"unknown family {name!r}; known: {', '.join(known)}{cure}")
    return configure(FAMILIES[name], **settings)
