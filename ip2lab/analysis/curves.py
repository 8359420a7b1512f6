"""Learning curves: trials to criterion, problem after problem, and what may be said about them.

Every function takes a run's ``/series``, a table like it, or the trials alone (with dim ``problem``). What a problem
without a number is, is said by what stands beside it:

- *failed*: given up. ``failed`` is True there.
- *censored*: known to take longer than ``censored_trials``.
- *not attempted*: neither of these, or ``attempted`` is False.

Trials alone may have ``failed`` and ``attempted`` as coords. Where nothing is said, NaN is a failure, but for the end
of a series that is shorter than another one in the same table: there the table was filled up, nothing was tried.

A failure is never dropped: as soon as there is one, `failures` must be chosen. ``"cap"`` counts it at the trials after
which it was given up; ``"survival"`` only uses that it would have taken longer. What was not attempted counts nowhere.

Problems labelled by numbers or times are in the order of these, others in that of the data. The first problem of a
series is kept apart, whatever it is called: it is mostly learning to fixate. Where the data are a later stretch of a
series, ``keep_first=True`` keeps it in.
"""

from __future__ import annotations

from ip2lab.analysis._compare import bootstrap, compare, partial_association
from ip2lab.analysis._efficiency import area, failures, final_efficiency, problems_to_asymptote
from ip2lab.analysis._fits import exponential_fit, mean_fit, power_law_fit
from ip2lab.analysis._search_results import configurations, marginal_effect
from ip2lab.analysis._survival import survival

__all__ = [
    "area",
    "bootstrap",
    "compare",
    "configurations",
    "exponential_fit",
    "failures",
    "final_efficiency",
    "marginal_effect",
    "mean_fit",
    "partial_association",
    "power_law_fit",
    "problems_to_asymptote",
    "survival",
]
