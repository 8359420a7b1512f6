"""Write intervals.json beside this file: `python make.py`, in an environment that has elephant."""

from __future__ import annotations

import json
from pathlib import Path

import elephant
import neo
import numpy as np
import quantities as pq
from elephant import statistics


def described(when: np.ndarray) -> dict[str, object]:
    """Spike times (ms) and what elephant says about them."""
    train = neo.SpikeTrain(when * pq.ms, t_start=0 * pq.ms, t_stop=3000 * pq.ms)
    intervals = statistics.isi(train)
    return {
        "times_ms": when.astype(int).tolist(),
        "mean_interval": float(intervals.rescale("ms").magnitude.mean()),
        "cv": float(statistics.cv(intervals)),
        "lv": float(statistics.lv(intervals)),
        "rate": float(statistics.mean_firing_rate(train).rescale("Hz").magnitude),
    }


rng = np.random.default_rng(7)
drawn = [np.unique(np.floor(np.cumsum(rng.gamma(2.0, 500 / rate, 200)))) for rate in (5, 20, 60)]
found = {"elephant": elephant.__version__, "trains": [described(when[when < 3000]) for when in drawn]}
(Path(__file__).parent / "intervals.json").write_text(json.dumps(found) + "\n")
