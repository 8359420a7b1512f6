"""Analysis of labelled activity, properties, weights and learning curves, of this package's runs or of anybody's data.

Needs numpy, xarray, scipy and scikit-learn; never torch. `population`, `neurons`, `connectivity` and `curves` answer
questions; `from_events`, `from_pynapple` and `to_pynapple` bring data in and out.
"""

from __future__ import annotations

from ip2lab.analysis import connectivity, curves, neurons, population
from ip2lab.analysis._events import from_events
from ip2lab.analysis._pynapple import from_pynapple, to_pynapple

__all__ = ["connectivity", "curves", "from_events", "from_pynapple", "neurons", "population", "to_pynapple"]
