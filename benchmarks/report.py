"""Write the report and the plot of cost against size from the rows that have been run."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "torch", "jax", "snntorch", "norse", "spikingjelly", "spyx", "brainpy", "brainstate")
# what is compared, the goal as a ratio, and whether more is better
GOALS = {"step": {"plain loop": 80, "peer": 1.5, "floor": 1.75}, "module": {"plain loop": 20}}
GOALS_BATCH = {"64": {"plain loop": 2.5, "peer": 1.5, "floor": 1.25}, "16": {"plain loop": 2.7, "peer": 2.0}}
IN_TORCH = ("plain loop", "snnTorch", "Norse", "SpikingJelly")


def write(folder: Path) -> None:
    """Write the report of everything in `folder` beside it."""
    rows = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    lines = [
        "# How fast the core is",
        "",
        *_machine(),
        "",
        "| what | against | goal | measured | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, table in (
        ("step", _steps),
        ("module", _module),
        ("batch", _batches),
        ("simulation", _simulations),
        ("series", _runs),
        ("two", _two),
        ("first", _first),
    ):
        if name in rows:
            lines += table(rows[name])
    lines += ["", "## CPU time in ms, medians", ""]
    for name in ("step", "module", "batch", "simulation"):
        lines += _times(name, rows.get(name, {}))
    if "scaling" in rows:
        lines += _scaling(rows["scaling"])
        plot(rows["scaling"], folder.parent / "scaling.svg")
    (folder.parent / "speed.md").write_text("\n".join(lines) + "\n")


def _machine() -> Iterator[str]:
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        name = next(
            (line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")), name
        )
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    today, python = datetime.date.today().isoformat(), platform.python_version()
    yield f"Written by `make bench` on {today}; {name}, one core, Python {python}, float32."
    yield "Ratios are medians over rounds in which the candidates took turns; above 1 we are faster,"
    yield "but for the floor, of which we take a multiple."
    yield f"Versions: {', '.join(found)}."


def _line(what: str, against: str, goal: float | None, got: float, most: bool = False, form: str = "{:.2f}") -> str:
    if goal is None:
        return f"| {what} | {against} | | {form.format(got)} | |"
    verdict = "met" if (got <= goal if most else got >= goal) else "**missed**"
    return f"| {what} | {against} | {'at most' if most else 'at least'} {goal:g} | {form.format(got)} | {verdict} |"


def _against(what: str, against: dict[str, float], goals: dict[str, float]) -> Iterator[str]:
    for name, got in against.items():
        kind = name if name in ("plain loop", "floor") else "peer"
        label = name if kind != "peer" else f"fastest peer: {name}"
        yield _line(what, label, goals.get(kind), got, most=kind == "floor")


def _steps(row: dict[str, Any]) -> Iterator[str]:
    for state, found in row.items():
        yield from _against(
            f"whole training step, {state} (spikes a step {found['rate']:.2f})", found["against"], GOALS["step"]
        )


def _module(row: dict[str, Any]) -> Iterator[str]:
    yield from _against("module and torch.optim", row["against"], GOALS["module"])


def _batches(row: dict[str, Any]) -> Iterator[str]:
    for size, found in row.items():
        yield from _against(
            f"{size} (spikes a step {found['rate']:.2f})", found["against"], GOALS_BATCH[size.split()[0]]
        )


def _simulations(row: dict[str, Any]) -> Iterator[str]:
    for size, found in row.items():
        for name, got in found["against"].items():
            yield _line(f"simulation, {size}", name, 5 if name in IN_TORCH else None, got)


def _runs(row: dict[str, Any]) -> Iterator[str]:
    yield _line("series of 1000 problems with its store", "without", 1.15, row["ratio"], most=True)
    yield _line("CPU time a trial, last third", "first third", 1.1, row["last third over first"], most=True)
    yield _line("memory from the first third to the end, MB", "", None, row["memory growth"], form="{:.0f}")


def _two(row: dict[str, Any]) -> Iterator[str]:
    if "skipped" not in row:
        yield _line("two runs at once on two cores", "one run", 1.9, row["gain in CPU time"])
        yield _line("the same by the clock on the wall", "one run", None, row["gain in wall time"])


def _first(row: dict[str, Any]) -> Iterator[str]:
    for name, found in row.items():
        if "cold" not in found:
            yield _line(f"seconds before it: {name}", "", None, found["warm"])
            continue
        yield _line(f"first call, {name}: seconds with a warm cache", "", 0.5, found["warm"], most=True)
        yield _line(f"first call, {name}: seconds with an empty cache", "", None, found["cold"], form="{:.0f}")


def _times(name: str, row: dict[str, Any]) -> Iterator[str]:
    groups = {name: row} if "times" in row else {f"{name}, {key}": value for key, value in row.items()}
    for label, found in groups.items():
        yield (
            f"- **{label}**: "
            + ", ".join(f"{who} {ms:.3g}" for who, ms in found["times"].items())
            + (f"; floor {found['floor']:.3g}" if "floor" in found else "")
        )
        if "pieces" in found:
            yield "  - floor: " + ", ".join(
                f"{piece} {ms:.3g} ({form})" for piece, (form, ms) in found["pieces"].items()
            )


def _scaling(row: dict[str, Any]) -> Iterator[str]:
    yield from (
        "",
        "## Cost against size",
        "",
        "![CPU time against neurons, steps, trials and length of a series](scaling.svg)",
        "",
    )
    yield from (
        "| against | sizes | exponent measured | exponent of the count of operations |",
        "| --- | --- | --- | --- |",
    )
    for name, found in row.items():
        span = f"{found['sizes'][0]} to {found['sizes'][-1]}"
        yield f"| {name} | {span} | {found['exponent']:.2f} | {found['predicted']:.2f} |"


def plot(row: dict[str, Any], path: Path) -> None:
    """Draw measured times (dots) and the count of operations, scaled to the last of them (line)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    figure, axes = plt.subplots(1, len(row), figsize=(3 * len(row), 2.8), layout="constrained")
    for axis, (name, found) in zip(axes, row.items(), strict=True):
        counts = [count * found["ms"][-1] / found["operations"][-1] for count in found["operations"]]
        axis.loglog(found["sizes"], counts, color="0.7", label=f"operations, {found['predicted']:.2f}")
        axis.loglog(found["sizes"], found["ms"], "o", color="C0", label=f"measured, {found['exponent']:.2f}")
        axis.set_xticks(found["sizes"], [str(size) for size in found["sizes"]], fontsize=7)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_locator(ticker.NullLocator())
        axis.set_xlabel({"neurons": "neurons", "time": "steps", "trial": "trials", "problem": "problems"}[name])
        axis.legend(frameon=False, fontsize=7, title="exponent", title_fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("CPU time (ms)")
    figure.savefig(path)
    plt.close(figure)
