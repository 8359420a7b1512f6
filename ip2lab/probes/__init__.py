"""What is done to a trained network: activity made again, trials replayed, parts changed, other tasks learnt.

Every function makes a network of its own from the run; the run and what trains on it stay as they are.
"""

from ip2lab.probes.again import probe, replay, restore
from ip2lab.probes.learn import learn_on
from ip2lab.probes.questions import delays, lesions, retention, silenced, transplants

__all__ = [
    "delays",
    "learn_on",
    "lesions",
    "probe",
    "replay",
    "restore",
    "retention",
    "silenced",
    "transplants",
]
