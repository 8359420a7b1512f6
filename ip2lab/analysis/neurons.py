"""Single neurons: how they fire, what they are selective for, and how their intrinsic properties adapt."""

from __future__ import annotations

from ip2lab.analysis._excitability import fi_curve, relative_threshold
from ip2lab.analysis._intervals import adaptation_index, interspike_intervals
from ip2lab.analysis._properties import density, drift
from ip2lab.analysis._rates import firing_rate, psth
from ip2lab.analysis._selectivity import mixed_selectivity, selectivity

__all__ = [
    "adaptation_index",
    "density",
    "drift",
    "fi_curve",
    "firing_rate",
    "interspike_intervals",
    "mixed_selectivity",
    "psth",
    "relative_threshold",
    "selectivity",
]
