"""How fast which network learns which family, over fresh seeds; and the tuning of every model by the same levers.

python benchmarks/learning.py table [--families dms ...] [--models "spiking" "rate" ...] [--seeds 3] [--problems 60]
python benchmarks/learning.py tune [--families dms ...] [--models ...] [--tries 20]
python benchmarks/learning.py search [--families dms ...] [--problems 40]
python benchmarks/learning.py goudar [--seeds 1] [--problems 12]
python benchmarks/learning.py show

Results are added to benchmarks/results/learning.json, one entry a network and family; `show` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

import ip2lab
from ip2lab.networks import build
from ip2lab.options import learnable_names, resolve
from ip2lab.plasticity import judge, learn_series, search_plasticity

RESULTS = Path(__file__).parent / "results" / "learning.json"
FRESH, TUNING, SELECTION, JUDGEMENT = 300, 400, 500, 600  # first seed of each kind: they never meet
BUDGET = 60_000  # trials after which a series of problems is given up
PAPER = ("tau_dendrite", "tau_soma", "threshold")
MODELS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "spiking": ("spiking", PAPER, {}),
    "spiking, tau_dendrite": ("spiking", ("tau_dendrite",), {}),
    "spiking, nothing": ("spiking", None, {}),
    "spiking, adaptation": ("spiking", None, {"adaptation": True}),
    "spiking, all at one rate": ("spiking", PAPER, {"property_learning_rate": "uniform"}),
    "spiking, gain for threshold": ("spiking", ("tau_dendrite", "tau_soma", "gain"), {}),
    "spiking, heterogeneous": ("spiking", PAPER, {"start": "heterogeneous"}),
    "spiking, heterogeneous, nothing": ("spiking", None, {"start": "heterogeneous"}),
    "no spikes": ("spiking", PAPER, {"spiking": False, "readout": "membrane"}),
    "no recurrence": ("spiking", PAPER, {"recurrent": False}),
    "rate": ("rate", None, {}),
    "rate, heterogeneous": ("rate", None, {"start": "heterogeneous"}),
    "rate, heterogeneous, learnable": ("rate", "tau", {"start": "heterogeneous"}),
    "attention, 1 head": ("attention", None, {"heads": 1}),
    "attention, 2 heads": ("attention", None, {"heads": 2}),
    "attention, 4 heads": ("attention", None, {"heads": 4}),
    "filter bank": ("filters", None, {}),
}
LEVERS: dict[str, tuple[Any, ...]] = {  # the same for every model, as factors on its defaults where they are numbers
    "learning_rate": (0.25, 0.5, 1.0, 2.0, 4.0),
    "input_gain": (0.25, 0.5, 1.0, 2.0),
    "output_learning_rate": (0.5, 1.0, 3.0, 6.0),  # over learning_rate
    "output_l2": (0.0, 1e-3, 1e-1),
    "reset_optimizer": ("all", "first_moment", "none"),
    "start": ("homogeneous", "heterogeneous"),
}


def load() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(kind: str, key: str, entry: dict[str, Any]) -> None:
    results = load()
    stamp = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "ip2lab": ip2lab.__version__}
    results.setdefault(kind, {})[key] = entry | stamp
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def parameters(name: str, family: Any) -> int:
    model, learnable, options = MODELS[name]
    problem, options = family.problem(0), resolve(model, options)
    names = learnable_names(model, learnable, bool(options.get("adaptation")))
    network = build(model, len(problem.input_names), len(problem.output_names), options, learnable=names)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def learn(name: str, family: Any, seed: int, problems: int, changes: dict[str, Any], budget: float) -> dict[str, Any]:
    model, learnable, options = MODELS[name]
    options = options | changes
    names = learnable_names(model, learnable, bool(options.get("adaptation")))
    found = learn_series(family, model, names, options, seed, problems, budget)
    done = found.pop("state")["done"]
    late = done[problems // 2 :]
    mean = float(np.nanmean(late)) if len(done) == problems and not np.isnan(late).all() else None
    first = None if not done or math.isnan(done[0]) else done[0]
    return {"first": first, "late": mean, "done": len(done), "failed": found["failed"], "trials": found["trials"]}


def table(args: argparse.Namespace) -> None:
    for name in args.models or MODELS:
        for family in map(ip2lab.family, args.families):
            began = time.perf_counter()
            seeds = range(FRESH, FRESH + args.seeds)
            runs = [learn(name, family, seed, args.problems, {}, BUDGET) for seed in seeds]
            entry = {
                "runs": runs,
                "seeds": list(seeds),
                "problems": args.problems,
                "parameters": parameters(name, family),
                "seconds": round(time.perf_counter() - began, 1),
            }
            keep("table", f"{family.name} | {name}", entry)
            print(row(family.name, name, entry), flush=True)


def row(family: str, name: str, entry: dict[str, Any]) -> str:
    def each(key: str, digits: int) -> str:
        return ", ".join("-" if run[key] is None else f"{run[key]:.{digits}f}" for run in entry["runs"])

    failed = ", ".join(
        f"{run['failed']}" + ("" if run["done"] == entry["problems"] else f" (stopped at {run['done']})")
        for run in entry["runs"]
    )
    return f"| {family} | {name} | {entry['parameters']} | {each('first', 0)} | {each('late', 1)} | {failed} |"


def show(_: argparse.Namespace) -> None:
    results = load()
    print("| family | network | parameters | first problem | second half | failures |\n|---|---|---|---|---|---|")
    for key, entry in sorted(results.get("table", {}).items()):
        print(row(*key.split(" | "), entry))
    for kind in ("tune", "search", "goudar"):
        for key, entry in sorted(results.get(kind, {}).items()):
            print(kind, key, json.dumps(entry.get("best", entry.get("decision", entry))))


def lever_settings(name: str, tries: int) -> list[dict[str, Any]]:
    """Return the same draws of the levers for every model, the first one its defaults."""
    model, _, options = MODELS[name]
    given, rng = resolve(model, options), np.random.default_rng(TUNING)
    settings: list[dict[str, Any]] = [{}]
    for _ in range(tries - 1):
        drawn = {lever: values[rng.integers(len(values))] for lever, values in LEVERS.items()}
        rate = given["learning_rate"] * drawn["learning_rate"]
        one = {
            "learning_rate": rate,
            "output_learning_rate": rate * drawn["output_learning_rate"],
            "l2": dict(given["l2"]) | {"output_weights": drawn["output_l2"]},
            "reset_optimizer": drawn["reset_optimizer"],
        }
        if "input_gain" in given:
            one["input_gain"] = given["input_gain"] * drawn["input_gain"]
        if "start" in given and "start" not in options:
            one["start"] = drawn["start"]
        settings.append(one)
    return settings


def tune(args: argparse.Namespace) -> None:
    for name in args.models or MODELS:
        for family in map(ip2lab.family, args.families):
            tried, least = [], float(BUDGET)
            for settings in lever_settings(name, args.tries):
                seeds = range(TUNING, TUNING + args.seeds)
                runs = [learn(name, family, seed, args.problems, settings, 2 * least) for seed in seeds]
                score = math.exp(np.mean([math.log(run["trials"]) for run in runs]))
                whole = all(run["done"] == args.problems for run in runs)
                least = min(least, score) if whole else least
                tried.append(
                    {"settings": settings, "trials": score, "finished": whole, "failed": sum(r["failed"] for r in runs)}
                )
            best = min((each for each in tried if each["finished"]), key=lambda each: each["trials"], default=tried[0])
            keep("tune", f"{family.name} | {name}", {"tried": tried, "best": best, "problems": args.problems})
            print(
                family.name,
                name,
                "default",
                round(tried[0]["trials"]),
                "best",
                round(best["trials"]),
                best["settings"],
                flush=True,
            )


def search(args: argparse.Namespace) -> None:
    for family in map(ip2lab.family, args.families):
        one = search_plasticity(family, seeds=range(SELECTION, SELECTION + 7), problems=args.problems, progress=False)
        entry = {name: one.attrs[name] for name in ("decision", "difference", "reason", "cost")}
        entry["log_ratio"] = dict(zip(one.configuration.values.tolist(), one.log_ratio.values.tolist(), strict=True))
        if args.exhaustive:
            seeds = range(SELECTION + 50, SELECTION + 50 + args.seeds)
            truth = search_plasticity(family, seeds=seeds, problems=args.problems, method="exhaustive", progress=False)
            judged = judge(
                {"exhaustive": truth, "halving": one},
                family,
                seeds=range(JUDGEMENT, JUDGEMENT + 5),
                problems=args.problems,
            )
            entry["exhaustive"] = {name: truth.attrs[name] for name in ("decision", "reason", "cost")}
            entry["cost_share"] = one.attrs["cost"] / (truth.attrs["cost"] * 7 / args.seeds)
            entry["regret"] = [float(judged[name][1]) for name in ("regret", "low", "high")]
        keep("search", family.name, entry)
        print(family.name, json.dumps(entry), flush=True)


def goudar(args: argparse.Namespace) -> None:
    for seed in range(args.seeds):
        run = ip2lab.train(
            "association", "rate", preset="goudar2023", problems=args.problems, seed=seed, progress=False
        )
        trials = run["series"].trials_to_criterion.values
        entry = {
            "first": trials[0],
            "2-11": trials[1:11].mean(),
            "12-31": trials[11:31].mean() if len(trials) > 30 else None,
        }
        keep("goudar", f"seed {seed}", entry)
        print(seed, entry, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "tune", "search", "goudar", "show"])
    parser.add_argument("--families", nargs="+", default=ip2lab.families()[:5])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), metavar="NAME", help="; ".join(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--exhaustive", action="store_true", help="find the truth as well, and judge both (long)")
    args = parser.parse_args()
    {"table": table, "tune": tune, "search": search, "goudar": goudar, "show": show}[args.what](args)


if __name__ == "__main__":
    main()
