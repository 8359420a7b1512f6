"""What is done to a trained network: activity made again, trials replayed, parts changed, other tasks learnt.

Every function makes a network of its own from the run; the run and what trains on it stay as they are.
"""

from ip2lab.probes.continuation import continue_training
from ip2lab.probes.interventions import delays, lesions, retention, single_lesions, transplants
from ip2lab.probes.playback import probe, replay, restore

__all__ = [
    "continue_training",
    "delays",
    "lesions",
    "probe",
    "replay",
    "restore",
    "retention",
    "single_lesions",
    "transplants",
]
