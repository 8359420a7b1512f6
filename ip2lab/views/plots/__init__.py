"""Pictures: functions from labelled data and a few choices to HoloViews elements.

Every picture is made of a fixed number of parts, each one glyph with a colour an item, so that other data of the same
kind can take the place of the old in a live figure. Nothing is computed here but what drawing needs (a running mean,
an order, a place for a label); everything else comes from :mod:`ip2lab.analysis`.
"""

from ip2lab.views.plots.checks import drawable
from ip2lab.views.plots.curves import (
    bars,
    curve_limits,
    learning_curves,
    move_marker,
    over_problems,
    survival_curves,
    within_problem_loss,
)
from ip2lab.views.plots.maps import matrix, neuron_map, over_time
from ip2lab.views.plots.neurons import color_scale, highlight, property_density, property_trajectories, scatter, shifts
from ip2lab.views.plots.plasticity import configuration_table, property_worth, search_rounds, seed_ratios
from ip2lab.views.plots.population import history, raster, rotate, trajectories
from ip2lab.views.plots.series import series_picture
from ip2lab.views.plots.single_neuron import (
    channels,
    fi_curves,
    label_conditions,
    lesion_costs,
    neuron_trace,
    partners,
    psth,
    trial_raster,
)
from ip2lab.views.plots.trials import trial_picture

__all__ = [
    "bars",
    "channels",
    "color_scale",
    "configuration_table",
    "curve_limits",
    "fi_curves",
    "highlight",
    "history",
    "label_conditions",
    "learning_curves",
    "lesion_costs",
    "matrix",
    "move_marker",
    "neuron_map",
    "neuron_trace",
    "over_problems",
    "over_time",
    "partners",
    "property_density",
    "property_trajectories",
    "property_worth",
    "psth",
    "raster",
    "rotate",
    "scatter",
    "search_rounds",
    "seed_ratios",
    "series_picture",
    "shifts",
    "survival_curves",
    "trajectories",
    "trial_picture",
    "trial_raster",
    "within_problem_loss",
]

for _name in __all__:
    globals()[_name] = drawable(globals()[_name])
