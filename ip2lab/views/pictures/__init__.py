"""Pictures: functions from labelled data and a few choices to HoloViews elements.

Every picture is made of a fixed number of parts, each one glyph with a colour an item, so that other data of the same
kind can take the place of the old in a live figure. Nothing is computed here but what drawing needs (a running mean,
an order, a place for a label); everything else comes from :mod:`ip2lab.analysis`.
"""

from ip2lab.views.pictures.cell import (
    channels,
    fi_curves,
    lesion_costs,
    neuron_trace,
    partners,
    psth,
    trial_raster,
    worded,
)
from ip2lab.views.pictures.checked import checked
from ip2lab.views.pictures.curves import (
    bars,
    curve_limits,
    learning_curves,
    moved,
    over_problems,
    survival_curves,
    within_problem_loss,
)
from ip2lab.views.pictures.maps import matrix, neuron_map, over_time
from ip2lab.views.pictures.neurons import picked, property_density, property_trajectories, scatter, shades, shifts
from ip2lab.views.pictures.plasticity import configuration_table, property_worth, search_rounds, seed_ratios
from ip2lab.views.pictures.population import history, raster, trajectories, turned
from ip2lab.views.pictures.series import series_picture
from ip2lab.views.pictures.trials import trial_picture

__all__ = [
    "bars",
    "channels",
    "configuration_table",
    "curve_limits",
    "fi_curves",
    "history",
    "learning_curves",
    "lesion_costs",
    "matrix",
    "moved",
    "neuron_map",
    "neuron_trace",
    "over_problems",
    "over_time",
    "partners",
    "picked",
    "property_density",
    "property_trajectories",
    "property_worth",
    "psth",
    "raster",
    "scatter",
    "search_rounds",
    "seed_ratios",
    "series_picture",
    "shades",
    "shifts",
    "survival_curves",
    "trajectories",
    "trial_picture",
    "trial_raster",
    "turned",
    "within_problem_loss",
    "worded",
]

for _name in __all__:
    globals()[_name] = checked(globals()[_name])
