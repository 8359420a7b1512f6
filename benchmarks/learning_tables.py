"""The results of benchmarks/learning.py as markdown tables."""

from __future__ import annotations

from typing import Any

# Goudar et al. 2023, computed from the ten published seeds: mean and standard deviation over seeds
PUBLISHED = {"first": (2900, 317), "2-11": (197, 71), "12-31": (118, 54)}
HEAD = """# What the networks learn, measured

Written by `python benchmarks/learning.py show` from `learning.json`: runs on a CPU in float32, dt 20 ms, 100
neurons. Trials to criterion are counted from the end of the first window of 50, so 1 is the floor; a problem that
was given up counts with the cap (7950).
"""
LEARNING = """\
Settings were chosen on seeds below 400. First problem and mean of the second half, per seed; failures are problems not
solved in 8000 trials. A series that took too many trials in all, windows included (12,000; `cd_dms` 26,000), was
stopped, after as many problems as are named. What is not in the table was not run.
"""
SEARCH = """\
Which of the paper's three properties should learn (eight configurations, homogeneous start): the choice of successive
halving on as many seeds as are named, and the one with the fewest trials in an exhaustive search on as many others;
both judged on seeds that neither has seen. Five seeds were tried first, and were too few to choose among sets that
are alike; twenty were judged on seeds that nothing was chosen on, neither sets nor the number of seeds. Regret:
trials that halving's choice takes beyond those of the exhaustive one, in all and in the second half of the series, as
a ratio of geometric means over seeds with its 95 % interval (paired, t); and on how many seeds it would be known to 5
% up and down. Random: the same for a configuration drawn at random, on the first of those seeds. Cost: trials of
halving as a share of those of the exhaustive search. In the exhaustive search a run was given up at the first cap,
and where a random choice is judged at the second; it counts with what it had taken, so that a random choice looks
better than it is, and the exhaustive search cheaper: without caps the shares would be smaller.
"""


def markdown(results: dict[str, Any]) -> str:
    """Return everything that is there as one page."""
    parts = [HEAD, _learning(results.get("table", {})), _search(results.get("search", {}))]
    parts.append(_goudar(results.get("goudar", {})))
    return "\n".join(part for part in parts if part)


def _section(title: str, words: str, columns: list[str], rows: list[list[str]]) -> str:
    """A heading, what is to be known, and a table; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    lines.insert(1, "|---" * len(columns) + "|")
    return "\n".join([f"## {title}", "", *([words] if words else []), *lines]) + "\n"


def _learning(entries: dict[str, Any]) -> str:
    rows = []
    for key, entry in sorted(entries.items()):
        runs, (family, name) = entry["runs"], key.split(" | ")
        first, late = (_each(runs, which, digits) for which, digits in (("first", 0), ("late", 1)))
        stopped = [f" (stopped after {run['done']})" if run["done"] < entry["problems"] else "" for run in runs]
        failed = ", ".join(f"{run['failed']}{word}" for run, word in zip(runs, stopped, strict=True))
        seeds = "-".join(map(str, sorted({entry["seeds"][0], entry["seeds"][-1]})))
        rows.append([family, name, f"{entry['parameters']:,}", seeds, str(entry["problems"]), first, late, failed])
    columns = ["family", "network", "parameters", "seeds", "problems", "first problem", "second half", "failures"]
    return _section("Families and networks", LEARNING, columns, rows)


def _each(runs: list[dict[str, Any]], which: str, digits: int) -> str:
    return ", ".join("-" if run[which] is None else f"{run[which]:.{digits}f}" for run in runs)


def _percent(values: list[float], digits: int = 0) -> str:
    mean, low, high = (f"{100 * value:.{digits}f} %" for value in values)
    return f"{mean} ({low} to {high})"


def _search(entries: dict[str, Any]) -> str:
    rows = []
    for (family, number), entry in sorted((key.split(" | "), entry) for key, entry in entries.items()):
        spans = [_percent(entry[name], digits) for name, digits in (("regret", 1), ("late_regret", 1), ("random", 0))]
        seeds = f"{entry['judged']}, {entry.get('drawn', 4)}", str(entry["seeds_needed"])
        chosen = _names(entry["exhaustive"]), _names(entry["decision"])
        beyond, cost = _percent(entry["random_over_halving"]), f"{100 * entry['cost_share']:.0f} %"
        settings = ", ".join(f"{value:,}" for value in (entry["problems"], *entry["caps"]))
        rows.append([family, number, settings, *chosen, *spans[:2], *seeds, spans[2], beyond, cost])
    columns = [
        "family",
        "seeds of a search",
        "problems, caps",
        "exhaustive",
        "halving",
        "regret",
        "regret, second half",
    ]
    columns += ["judged on, random", "for 5 %", "random", "random beyond halving", "cost"]
    return _section("The slow level", SEARCH, columns, rows)


def _names(decision: list[str]) -> str:
    return " + ".join(decision) or "nothing"


def _goudar(entries: dict[str, Any]) -> str:
    rows = []
    for name, (mean, deviation) in PUBLISHED.items():
        each = [f"{entry[name]:.0f}" if entry.get(name) else "-" for _, entry in sorted(entries.items())]
        rows.append(["1" if name == "first" else name, *each, f"{mean} (sd {deviation})"])
    columns = ["problems", *sorted(entries), "published (ten seeds)"]
    return _section('The rate network with `preset="goudar2023"`, dt 1 ms', "", columns, rows if entries else [])
