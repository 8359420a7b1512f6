"""Families from other packages: an entry point of the group ``ip2lab.families`` names each; loaded when asked for.

In the other package's ``pyproject.toml``::

    [project.entry-points."ip2lab.families"]
    my_family = "my_package.tasks:MyFamily"
"""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points

import numpy as np

from ip2lab.tasks.base import FAMILIES, Family, Problem

GROUP = "ip2lab.families"


def offered() -> dict[str, list[EntryPoint]]:
    """Return the entry points of installed packages by the name of the family, nothing of them loaded."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def load(name: str) -> bool:
    """Make the family of that name from another package known; False where no package offers it.

    Raises
    ------
    ValueError
        The package cannot be loaded, or what it offers is no family like ours; both are named.
    """
    points = offered().get(name, [])
    if not points:
        return False
    packages = [point.dist.name if point.dist else point.value for point in points]
    if len(points) > 1:
        raise ValueError(f"the family {name!r} is offered by {' and '.join(packages)}; uninstall all but one of them")
    before = dict(FAMILIES)
    try:
        cls = points[0].load()
        check(name, cls)
    except Exception as error:  # whatever the other package does
        FAMILIES.clear()
        FAMILIES.update(before)  # what it defined by the way is not known either
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"the family {name!r} of the package {packages[0]} cannot be used: {reason}") from error
    FAMILIES[name] = cls
    return True


def check(name: str, cls: object) -> None:
    """Raise TypeError or ValueError unless `cls` is a family of that name whose problems and trials can be drawn."""
    if not (isinstance(cls, type) and issubclass(cls, Family)):
        raise TypeError(f"its entry point leads to {cls!r}; expected a class that inherits ip2lab.tasks.Family")
    if cls.name != name:
        raise ValueError(f"its class {cls.__name__} has the name {cls.name!r}; expected that of its entry point")
    family = cls()
    json.dumps(family.settings())  # a run keeps them so
    one, again = family.problem(0), family.problem(0)
    for problem in (one, again):
        if not isinstance(problem, Problem):
            raise TypeError(f"problem(seed) returned {type(problem).__name__}; expected ip2lab.tasks.Problem")
    if not (np.array_equal(one.inputs, again.inputs) and np.array_equal(one.targets, again.targets)):
        raise ValueError("problem(0) is another one each time; draw it from np.random.default_rng(seed)")
    one.trials(dt=20.0, seed=0)
