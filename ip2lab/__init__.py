"""ip2lab: a laboratory for learning to learn with intrinsic plasticity in recurrent spiking networks.

The names a user types are here and load what they need when first used, so that
``import ip2lab.analysis`` brings neither torch nor numba nor holoviews.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "PROPERTIES": "properties",
    "train": "training",
    "resume": "training",
    "open_run": "records",
    "families": "tasks",
    "family": "tasks",
    "models": "networks",
    "probe": "probes",
    "replay": "probes",
    "continue_training": "probes",
    "example": "examples",
    "search_plasticity": "plasticity",
}
_MODULES = (
    "analysis",
    "examples",
    "experiments",
    "networks",
    "plasticity",
    "probes",
    "records",
    "tasks",
    "training",
    "views",
)
__all__ = [
    "PROPERTIES",
    "continue_training",
    "example",
    "families",
    "family",
    "models",
    "open_run",
    "probe",
    "replay",
    "resume",
    "search_plasticity",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join([*_HOMES, *_MODULES])}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
