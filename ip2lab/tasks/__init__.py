"""Families of tasks: a family draws problems, a problem draws trials."""

from __future__ import annotations

from typing import Any

from ip2lab.tasks.association import Association
from ip2lab.tasks.base import Epoch, Family, Problem, configure

__all__ = ["Epoch", "Family", "Problem", "families", "family"]

_FAMILIES: dict[str, type[Family]] = {cls.name: cls for cls in (Association,)}


def families() -> list[str]:
    """Return the names of the families.

    Examples
    --------
    >>> "association" in families()
    True
    """
    return list(_FAMILIES)


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
    if name not in _FAMILIES:
        raise ValueError(f"unknown family {name!r}; known: {', '.join(_FAMILIES)}")
    return configure(_FAMILIES[name], **settings)
