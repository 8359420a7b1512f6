"""How fast which network learns which family, and what the slow level finds.

python benchmarks/learning.py table [--families dms ...] [--models "spiking" "rate" ...] [--seeds 3] [--problems 60]
python benchmarks/learning.py search [--families dms ...] [--chosen 20] [--judged 40] [--random 8]
python benchmarks/learning.py goudar [--first 0] [--seeds 1] [--problems 31]
python benchmarks/learning.py show

Results are added to benchmarks/results/learning.json, one entry a network and family; what is there is done again only
with --again. Each command ends with `show`, which writes all of it as tables to benchmarks/results/learning.md.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from learning_tables import markdown
from scipy import stats
from series import Bank

import ip2lab
from ip2lab import plasticity
from ip2lab.examples import CANDIDATES
from ip2lab.networks import build
from ip2lab.plasticity import evaluate, learn_series, search_plasticity
from ip2lab.training.options import learnable_names, resolve

RESULTS = Path(__file__).parent / "results" / "learning.json"
FRESH = 410  # first seed of the table: settings were chosen on seeds below 400
BUDGET = {"cd_dms": 26_000}  # trials after which a series is given up, 12,000 elsewhere
PAPER = ("bias", "tau_dendrite", "tau_soma", "threshold")
SETS = CANDIDATES  # what a search chooses among
ONE_RATE = dict.fromkeys(PAPER[1:], 0.04)
MODELS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "spiking": ("spiking", PAPER, {}),
    "spiking, three without the bias": ("spiking", PAPER[1:], {}),
    "spiking, tau_dendrite": ("spiking", ("bias", "tau_dendrite"), {}),
    "spiking, bias only": ("spiking", "bias", {}),
    "spiking, nothing": ("spiking", None, {}),
    "spiking, held after the first problem": ("spiking", PAPER, {"freeze_after": 0}),
    "spiking, consolidated": ("spiking", PAPER, {"consolidation": "mean"}),
    "spiking, adaptation, bias only": ("spiking", "bias", {"adaptation": True}),
    "spiking, adaptation, all five": ("spiking", "all", {"adaptation": True}),
    "spiking, all at one rate": ("spiking", PAPER, {"property_learning_rate": ONE_RATE}),
    "spiking, gain for threshold": ("spiking", ("bias", "tau_dendrite", "tau_soma", "gain"), {}),
    "spiking, heterogeneous": ("spiking", PAPER, {"start": "heterogeneous"}),
    "spiking, heterogeneous, bias only": ("spiking", "bias", {"start": "heterogeneous"}),
    "spiking, heterogeneous, nothing": ("spiking", None, {"start": "heterogeneous"}),
    "spiking, heterogeneous, held after the first problem": (
        "spiking",
        PAPER,
        {"start": "heterogeneous", "freeze_after": 0},
    ),
    "spiking, heterogeneous, consolidated": ("spiking", PAPER, {"start": "heterogeneous", "consolidation": "mean"}),
    "spiking, Adam reset": ("spiking", PAPER, {"reset_optimizer": "all"}),
    "spiking, Adam reset, faster dendrites": (
        "spiking",
        PAPER,
        {
            "reset_optimizer": "all",
            "property_learning_rate": {"tau_dendrite": 0.08, "tau_soma": 0.04, "threshold": 0.0012},
        },
    ),
    "spiking, no spikes": ("spiking", PAPER, {"spiking": False, "readout": "membrane"}),
    "spiking, no recurrence": ("spiking", PAPER, {"recurrent": False}),
    "rate": ("rate", "bias", {}),
    "rate, heterogeneous": ("rate", "bias", {"start": "heterogeneous"}),
    "rate, heterogeneous, learnable": ("rate", ("bias", "tau"), {"start": "heterogeneous"}),
    "attention, 1 head": ("attention", None, {"heads": 1}),
    "attention, 2 heads": ("attention", None, {"heads": 2}),
    "attention, 4 heads": ("attention", None, {"heads": 4}),
    "filter bank": ("filters", None, {}),
}
# the search, by family: problems of a series, trials after which a run of the exhaustive search is given up, and one of
# a random choice; it counts with what it had taken by then, which is less than it would take: what is worse looks
# better than it is, and the exhaustive search cheaper
SEARCH = {
    "association": (40, 20_000, 8_000),
    "gng_dr_2": (40, 20_000, 12_000),
    "gng_dr_4": (40, 16_000, 16_000),
    "dms": (40, 30_000, 16_000),
    "cd_dms": (20, 24_000, 20_000),
}
HALVING, EXHAUSTIVE = range(520, 540), range(500, 520)  # seeds A and B, or the first of them
JUDGED = {5: range(600, 650), 20: range(650, 750)}  # seeds C by the number of A: the first ones told that 5 are too few


def load() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(kind: str, key: str, entry: dict[str, Any]) -> None:
    results = load()
    stamp = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "ip2lab": ip2lab.__version__}
    results.setdefault(kind, {})[key] = entry | stamp
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    print(time.strftime("%H:%M"), kind, key, flush=True)


def parameters(name: str, family: Any) -> int:
    model, learnable, options = MODELS[name]
    problem, options = family.problem(0), resolve(model, options)
    names = learnable_names(model, learnable, bool(options.get("adaptation")))
    network = build(model, len(problem.input_names), len(problem.output_names), options, learnable=names)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def learn(name: str, family: Any, seed: int, problems: int) -> dict[str, Any]:
    model, learnable, options = MODELS[name]
    names = learnable_names(model, learnable, bool(options.get("adaptation")))
    found = learn_series(family, model, names, options, seed, problems, BUDGET.get(family.name, 12_000))
    done = found.pop("state")["trials_to_criterion"]
    return {
        "first": None if not done or math.isnan(done[0]) else done[0],
        "late": None if found["stopped"] else found["late_trials"],
        "done": len(done),
        "failed": found["failed"],
        "trials": found["trials"],
        "cost": found["cost"],  # with the windows
    }


def row(name: str, family: Any, args: argparse.Namespace) -> None:
    """Keep a row of the table."""
    began, seeds = time.perf_counter(), range(FRESH, FRESH + args.seeds)
    runs = [learn(name, family, seed, args.problems) for seed in seeds]
    entry = {"runs": runs, "seeds": list(seeds), "problems": args.problems, "parameters": parameters(name, family)}
    seconds = round(time.perf_counter() - began, 1)
    keep("table", f"{family.name} | {name}", entry | {"seconds": seconds})


def missing(kind: str, args: argparse.Namespace, names: Any) -> list[tuple[str, Any]]:
    """Return the names and families of which there is no entry yet."""
    there = {} if args.again else load().get(kind, {})
    pairs = [(name, ip2lab.family(family)) for family in args.families for name in args.models or names]
    return [(name, family) for name, family in pairs if f"{family.name} | {name}" not in there]


def table(args: argparse.Namespace) -> None:
    for name, family in missing("table", args, MODELS):
        row(name, family, args)


def search(args: argparse.Namespace) -> None:
    """Choose by halving on seeds A and exhaustively on seeds B, and judge both, and every set, on seeds C."""
    for family in map(ip2lab.family, args.families):
        problems, *caps = SEARCH[family.name]
        bank, judging = Bank(), JUDGED[args.chosen]
        asked: dict[str, Any] = {"problems": problems, "progress": False, "candidates": SETS}

        def capped(cap: float, bank: Bank = bank) -> Any:
            return lambda *given: bank.learn(*given[:6], min(given[6], cap))

        with patch.object(plasticity, "learn_series", capped(caps[0])):
            truth = search_plasticity(family, seeds=EXHAUSTIVE[: args.chosen], method="exhaustive", **asked)
        best = SETS[int(truth.log_ratio.values.argmin())]  # the fewest trials, whether clear or not
        with patch.object(plasticity, "learn_series", bank.learn):
            found = search_plasticity(family, seeds=HALVING[: args.chosen], **asked)
            choices: dict[str, Any] = {"best": truth.assign_attrs(decision=list(best)), "halving": found}
            both = evaluate(choices, family, seeds=judging[: args.judged], problems=problems)
        choices |= {" + ".join(names): names for names in SETS}
        with patch.object(plasticity, "learn_series", capped(caps[1])):
            random = evaluate(choices, family, seeds=judging[: args.random], problems=problems)
        entry = {name: found.attrs[name] for name in ("decision", "difference", "reason", "cost")}
        entry |= {"cost_share": found.attrs["cost"] / truth.attrs["cost"], "exhaustive": list(best)}
        entry |= {"problems": problems, "caps": caps, "judged": both.sizes["seed"], "drawn": random.sizes["seed"]}
        keep("search", f"{family.name} | {args.chosen}", entry | _judged(both, random))


def _judged(both: Any, random: Any) -> dict[str, Any]:
    """Return the intervals of what is judged, and the seeds on which the regret would be known to 5 %."""
    total, late = (np.diff(np.log(both[name].values), axis=0)[0] for name in ("trials", "late_trials"))
    logs = np.log(random.trials.values)
    best, halving, drawn = logs[0], logs[1], logs[2:].mean(0)
    return {
        "regret": _interval(total),
        "late_regret": _interval(late),
        "random": _interval(drawn - best),
        "random_over_halving": _interval(drawn - halving),
        "seeds_needed": math.ceil((1.96 * total.std(ddof=1) / math.log(1.05)) ** 2),
    }


def _interval(logs: np.ndarray) -> list[float]:
    """Return the ratio of geometric means minus one, with the ends of its 95 % interval."""
    reach = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return [float(np.expm1(logs.mean() + sign * reach)) for sign in (0, -1, 1)]


def goudar(args: argparse.Namespace) -> None:
    for seed in range(args.first, args.first + args.seeds):
        run = ip2lab.train(
            "association", "rate", preset="goudar2023", problems=args.problems, seed=seed, progress=False
        )
        trials = run["series"].trials_to_criterion.values
        spans = {"first": trials[:1], "2-11": trials[1:11], "12-31": trials[11:31]}
        keep("goudar", f"seed {seed}", {name: float(part.mean()) for name, part in spans.items() if len(part)})


def show(_: argparse.Namespace) -> None:
    text = markdown(load())
    RESULTS.with_suffix(".md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "search", "goudar", "show"])
    parser.add_argument("--families", nargs="+", default=list(SEARCH))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), metavar="NAME", help="; ".join(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed of goudar")
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--chosen", type=int, default=20, choices=list(JUDGED), help="seeds of a search")
    parser.add_argument("--judged", type=int, default=40, help="so many seeds judge what a search chose")
    parser.add_argument("--random", type=int, default=8, help="so many of them judge a random choice, too")
    parser.add_argument("--again", action="store_true", help="do again what is there")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="tau_soma")  # the heterogeneous start has somata faster than a step
    {"table": table, "search": search, "goudar": goudar, "show": show}[args.what](args)
    if args.what != "show":
        show(args)


if __name__ == "__main__":
    main()
