"""Pictures (functions: dataset in, HoloViews object out) and explorers (widgets around them)."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Figure": "widget.figure",
    "show": "widget.figure",
    "LearningExplorer": "explorers.learning",
    "PopulationExplorer": "explorers.population",
    "NeuronExplorer": "explorers.neurons",
    "PlasticityExplorer": "explorers.plasticity",
    "LiveTraining": "explorers.live",
}
__all__ = [
    "Figure",
    "LearningExplorer",
    "LiveTraining",
    "NeuronExplorer",
    "PlasticityExplorer",
    "PopulationExplorer",
    "show",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")


def __dir__() -> list[str]:
    return [*_HOMES]
