"""Tune every model in every family alike: the same draws of the same levers, by successive halving on tuning seeds.

python benchmarks/tuning.py [--families dms ...] [--models spiking ...] [--processes 1]
python benchmarks/tuning.py show

Two objectives, stated beforehand: the trials of the whole series, and those of its last third. The criterion and the
window are never touched. Every model gets `TRIES` draws (the first one is its defaults) and the same rounds: so many
seeds and problems, after which the better half by the sum of both ranks goes on. A problem is given up after `MOST`
trials, a series after `GIVEN_UP` problems that were. One line a run in benchmarks/results/tuning.jsonl; what is there
is not run again, so that this may be stopped and started at any time. The seeds are those from `TUNING` on: no figure
that is reported comes from them.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import ip2lab
from ip2lab.experiments import run_each
from ip2lab.plasticity import learn_series
from ip2lab.training.options import learnable_names, resolve

RESULTS = Path(__file__).parent / "results" / "tuning.jsonl"
FAMILIES = ("association", "gng_dr_2", "dms", "gng_dr_4", "cd_dms")
MODELS: dict[str, tuple[str, Any]] = {
    "spiking": ("spiking", "default"),
    "rate": ("rate", "bias"),
    "rate, learnable tau": ("rate", "all"),
    "attention": ("attention", None),
    "filter bank": ("filters", None),
}
TUNING, TRIES, MOST, GIVEN_UP = 100, 24, 3000, 5
ROUNDS = ((1, 50), (1, 100), (2, 200), (4, 200))  # seeds, problems
# As factors on a model's default where a number is named `times`. A model takes the levers that it has.
LEVERS: dict[str, tuple[Any, ...]] = {
    "times learning_rate": (0.25, 0.5, 1.0, 2.0, 4.0),
    "times output_learning_rate": (1.0, 3.0, 6.0, 12.0),  # on the learning rate of the other weights
    "times property_learning_rate": (0.25, 0.5, 1.0, 2.0),
    "times input_gain": (1.0, 2.0, 4.0, 8.0),
    "times recurrent_gain": (0.7, 1.0, 1.4),
    "start": ("homogeneous", "long", "heterogeneous", "heterogeneous"),
    "readout": ("spikes", "spikes", "membrane"),
    "reset_optimizer": ("all", "first_moment", "none"),
    "beta1": (0.0, 0.3, 0.7),
    "beta2": (0.95, 0.99, 0.999),
    "clip": (0.1, 0.3, 1.0, 3.0),
    "l2 of outputs": (0.0, 0.0, 1e-3, 1e-1),
    "l2 of recurrent weights": (0.0, 0.0, 1e-3),
    "consolidation of properties": (1.0, "mean", 0.2, 0.0),
    "consolidation of weights": (1.0, 1.0, 0.7, 0.5),
}
WEIGHTS = ("input_weights", "recurrent_weights", "output_weights")


def draw(model: str, number: int) -> dict[str, Any]:
    """Return the options of a draw: the same values of the levers for every model; number 0 is the defaults."""
    kind, learnable = MODELS[model]
    usual = resolve(kind, {})
    if number == 0:
        return {}
    rng = np.random.default_rng([TUNING, number])
    lever = {name: values[rng.integers(len(values))] for name, values in LEVERS.items()}
    rate = usual["learning_rate"] * lever["times learning_rate"]
    names = learnable_names(kind, learnable)
    table = {name: ip2lab.PROPERTIES[name].rate for name in names}
    options: dict[str, Any] = {
        "learning_rate": rate,
        "output_learning_rate": rate * lever["times output_learning_rate"],
        "property_learning_rate": {n: rate * r * lever["times property_learning_rate"] for n, r in table.items()}
        or None,
        **{name: lever[name] for name in ("reset_optimizer", "beta1", "beta2", "clip")},
        **{name: lever[name] for name in ("start", "readout") if name in usual},
    }
    for gain in ("input_gain", "recurrent_gain"):
        if gain in usual:
            options[gain] = usual[gain] * lever[f"times {gain}"]
    if kind in ("spiking", "rate"):  # the others have other matrices
        options["l2"] = {
            "output_weights": lever["l2 of outputs"],
            "recurrent_weights": lever["l2 of recurrent weights"],
        }
        shares = dict.fromkeys(names, lever["consolidation of properties"])
        options["consolidation"] = shares | dict.fromkeys(WEIGHTS, lever["consolidation of weights"])
    return options


def run(family: str, model: str, number: int, seed: int, problems: int) -> dict[str, Any]:
    """Return the line of a run."""
    warnings.filterwarnings("ignore", message="tau_soma")
    kind, learnable = MODELS[model]
    options, began = draw(model, number), time.process_time()
    names = learnable_names(kind, learnable)
    state, done, cost = None, np.empty(0), 0.0
    while len(done) < problems and np.isnan(done).sum() < GIVEN_UP:  # in steps, so that a hopeless one ends early
        found = learn_series(
            ip2lab.family(family), kind, names, {"max_trials": MOST, **options}, seed, problems, cost + 5 * MOST, state
        )
        state, cost = found["state"], found["cost"]
        done = np.array(state["trials_to_criterion"], float)
    return {
        "family": family,
        "model": model,
        "draw": number,
        "seed": seed,
        "problems": problems,
        "to_criterion": [None if np.isnan(v) else int(v) for v in done],
        "cpu": round(time.process_time() - began, 1),
    }


def objectives(lines: list[dict[str, Any]], problems: int) -> tuple[float, float]:
    """Return the mean logarithm over runs of the trials of the whole series, and of its last third."""
    whole, late = [], []
    for line in lines:
        done = [MOST if v is None else v for v in line["to_criterion"]]
        done += [MOST] * (problems - len(done))  # given up
        whole.append(np.log(np.sum(done[:problems])))
        late.append(np.log(max(np.mean(done[2 * problems // 3 : problems]), 1)))
    return float(np.mean(whole)), float(np.mean(late))


class Lines:
    """The runs that there are."""

    def __init__(self) -> None:
        lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        self.known = {self._key(line): line for line in map(json.loads, lines)}

    @staticmethod
    def _key(line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(line[name] for name in ("family", "model", "draw", "seed"))

    def get(self, places: list[tuple[Any, ...]], problems: int, executor: Executor | None) -> list[dict[str, Any]]:
        """Return the lines of runs that are at least so long, from the file or from now."""
        asked = [
            (*place, problems) for place in places if self.known.get(place, {"problems": 0})["problems"] < problems
        ]
        for outcome in run_each(run, asked, executor):
            if isinstance(outcome, Exception):
                raise outcome
            self.known[self._key(outcome)] = outcome
            with RESULTS.open("a") as file:
                file.write(json.dumps(outcome) + "\n")
        return [self.known[place] for place in places]


def tune(family: str, model: str, lines: Lines, executor: Executor | None) -> dict[str, int]:
    """Return the best draw by each objective."""
    left = list(range(TRIES))
    for number, (seeds, problems) in enumerate(ROUNDS):
        places = [(family, model, k, TUNING + s) for k in left for s in range(seeds)]
        found = lines.get(places, problems, executor)
        scores = np.array([objectives(found[i * seeds : (i + 1) * seeds], problems) for i in range(len(left))])
        ranks = scores.argsort(0).argsort(0).sum(1)
        if number < len(ROUNDS) - 1:
            left = [left[i] for i in ranks.argsort(kind="stable")[: (len(left) + 1) // 2]]
    return {name: left[int(scores[:, k].argmin())] for k, name in enumerate(("whole", "late"))}


def show() -> None:
    """Print how the draws of the last round did, of what is complete."""
    lines, (seeds, problems) = Lines(), ROUNDS[-1]
    for family, model, number in sorted({key[:3] for key in lines.known}):
        runs = [lines.known.get((family, model, number, TUNING + s), {"problems": 0}) for s in range(seeds)]
        if min(line["problems"] for line in runs) >= problems:
            whole, late = np.exp(objectives(runs, problems))
            first = np.exp(np.mean([np.log(line["to_criterion"][0] or MOST) for line in runs]))
            print(f"{family:12s} {model:20s} {number:2d}: first {first:.0f}, whole {whole:.0f}, late {late:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="tune", choices=["tune", "show"])
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    if args.what == "show":
        return show()
    lines = Lines()
    with ProcessPoolExecutor(args.processes) as executor:
        for model in args.models:
            for family in args.families:
                chosen = tune(family, model, lines, executor if args.processes > 1 else None)
                print(time.strftime("%H:%M"), model, family, chosen, flush=True)
    return None


if __name__ == "__main__":
    main()
