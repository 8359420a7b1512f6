"""Series of problems kept on disk, so that a search can be judged many times without training anything twice.

A run is the same whoever asks for it (its seed decides everything), so the trials that each of its problems took say
what any search would have seen of it: :class:`Bank` stands in for :func:`ip2lab.plasticity.learn_series` and trains
only where what is kept is too short. One line a run in benchmarks/results/series.jsonl; the last one of a run counts.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ip2lab.plasticity import learn_series
from ip2lab.training.options import resolve

PATH = Path(__file__).parent / "results" / "series.jsonl"


class Bank:
    """Runs by family, model, learnable properties, options and seed.

    Parameters
    ----------
    path : path
        Where they are kept.
    budgets : mapping
        By family, the trials for which a run is trained at least when it is trained at all.
    """

    def __init__(self, path: Path = PATH, budgets: dict[str, float] | None = None) -> None:
        self.path, self.budgets, self.trained = path, budgets or {}, 0
        lines = path.read_text().splitlines() if path.exists() else []
        self.runs: dict[str, dict[str, Any]] = {run["key"]: run for run in map(json.loads, lines)}

    def learn(
        self, family: Any, model: str, learnable: Any, options: Any, seed: int, problems: int, budget: float, *_: Any
    ) -> dict[str, Any]:
        """Return what `learn_series` returns, without a state to go on from."""
        key = json.dumps([family.name, family.settings(), model, list(learnable), dict(options), seed], sort_keys=True)
        run = self.runs.get(key)
        if run is None or not _enough(run, problems, budget):
            least = max(budget, self.budgets.get(family.name, 0))
            found = learn_series(family, model, learnable, options, seed, problems, least)
            done, given = found["state"]["trials_to_criterion"], resolve(model, dict(options))
            trials = [given["max_trials"] if math.isnan(v) else int(v) + given["window"] for v in done]
            run = {
                "key": key,
                "to_criterion": [None if math.isnan(v) else v for v in done],
                "trials": trials,
                "unfinished": found["cost"] - sum(trials),
            }
            self.runs[key], self.trained = run, self.trained + 1
            with self.path.open("a") as file:
                file.write(json.dumps(run) + "\n")
        return _seen(run, problems, budget, resolve(model, dict(options)))


def _enough(run: dict[str, Any], problems: int, budget: float) -> bool:
    return len(run["trials"]) >= problems or sum(run["trials"]) + run["unfinished"] >= math.floor(min(budget, 1e12))


def _seen(run: dict[str, Any], problems: int, budget: float, options: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of a run that was stopped after `problems` or `budget` trials."""
    budget = math.floor(budget) if math.isfinite(budget) else budget
    trials = np.array(run["trials"][:problems], float)
    whole = int((np.cumsum(trials) <= budget).sum())
    before = float(trials[:whole].sum())
    begun = 0.0 if whole == problems else budget - before
    done = [math.nan if v is None else v for v in run["to_criterion"][:whole]]
    capped = np.nan_to_num(np.array(done, float), nan=options["max_trials"] - options["window"])
    return {
        "trials": max(float(capped.sum() + begun), 1.0),
        "problems_done": whole,
        "failed": int(np.isnan(np.array(done, float)).sum()),
        "late_trials": float(capped[problems // 2 :].mean()) if whole == problems else math.nan,
        "stopped": whole < problems,
        "cost": before + begun,
        "state": {"trials_to_criterion": done},
    }
