"""Analysis of labelled activity, properties, weights and learning curves, of this package's runs or of anybody's data.

Needs numpy, xarray, scipy and scikit-learn; never torch. `population`, `neurons`, `connectivity` and `curves` answer
questions; `from_events`, `from_pynapple` and `to_pynapple` bring data in and out.
"""

from __future__ import annotations

from ip2lab.analysis import curves, neurons, population

__all__ = ["curves", "neurons", "population"]
