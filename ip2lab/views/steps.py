"""The steps from a run to the pictures of its population, as lines of code with what is chosen put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._labels import levels

WIDTH = 50  # ms, standard deviation of the smoothing that makes rates of spikes
BIN = 100  # ms, of the decoder
COMPONENTS = 6
REPEATS = 20  # noisy trials of each condition, where none are stored
BLOCK = 50  # problems in a row in which stimuli cancel
SHUFFLED = "95 % of shuffled labels"
SAMPLES = 800  # that Isomap is given


class Facts(NamedTuple):
    """What the steps must know of a run."""

    source: str  # the expression that opens it
    activity: xr.Dataset
    properties: xr.Dataset
    weighed: list[int]  # problems with weights

    @property
    def problems(self) -> list[int]:
        """Problems with activity."""
        return list(self.activity["problem"].values.tolist())

    @property
    def times(self) -> np.ndarray:
        """Times of a trial (ms)."""
        return np.asarray(self.activity["time"].values)

    @property
    def repeated(self) -> bool:
        """Whether there are several trials of a condition."""
        return "repeat" in self.activity.coords and int(self.activity["repeat"].max()) > 0

    def kinds(self, by: str) -> list[Any]:
        """The values of a label, in the order in which pictures show them."""
        return list(levels(self.activity[by].values)[0].tolist())


class Steps(NamedTuple):
    """Builds the lines."""

    facts: Facts
    state: Mapping[str, Any]

    def lines(self) -> dict[str, str]:
        """Every step by name, from the run to the pictures, with what is chosen put in."""
        s = self.state
        p, name = s["problem"], "spikes" if s["signal"] == "rate" else s["signal"]
        hidden = [kind for i, kind in enumerate(self.facts.kinds(s["by"])) if i in s["hidden"]]
        look, now = f"by={s['by']!r}, marked={s['span']}, hidden={hidden}", s["time"]
        x, y = (0, 1) if s["view"] == "turned" else (int(i) - 1 for i in s["view"].split())
        some = f".isel(neuron={s['selected']})" if s["selected"] else ""
        return {
            "run": self.facts.source,
            "activity": "pictures.worded(run['activity'].to_dataset())",
            "properties": "run['properties'].to_dataset()",
            "weights": "run['weights'].to_dataset()",
            "signal": self._signal(f"problem={p}"),
            **self._directions(),
            "seen": f"pictures.turned(scores, {s['azimuth']}, {s['elevation']})" if s["view"] == "turned" else "scores",
            "trajectories": f"pictures.trajectories(seen, x={x}, y={y}, at={now}, {look}, height=340)",
            "trial": f"activity[{name!r}].sel(problem={p}).isel(probe={s['trial']}).load()",
            **self._order(),
            "rows": f"pictures.raster(trial, order=order, order_name={self._order_name()!r}, "
            f"selected={s['selected']}, marked={s['span']}, height=340)",
            "raster": f"pictures.moved(rows, {now})",
            "loadings_x": f"axes.isel(component={x}).assign_attrs(long_name={self._axis(x)!r})",
            "loadings_y": f"axes.isel(component={y}).assign_attrs(long_name={self._axis(y)!r})",
            "loadings": f"pictures.neuron_map(loadings_x, loadings_y, selected={s['selected']})",
            "scatter_x": self._number(s["x"]),
            "scatter_y": self._number(s["y"]),
            "scatter": f"pictures.neuron_map(scatter_x, scatter_y, selected={s['selected']}, log={self._log()})",
            "means": f"pictures.over_time(signal{some}.mean('neuron', keep_attrs=True), {look})",
            "average": f"pictures.moved(means, {now})",
            "signals": self._signal(""),
            "spread": "population.dimensionality(signals)",
            "share": "spread['explained_variance_ratio'].transpose('component', 'problem').assign_coords("
            "component=spread['component'].values + 1).assign_attrs(long_name='share of variance')",
            "ratio": "spread['participation_ratio'].assign_attrs(long_name='dimensions')",
            "shares": "pictures.over_problems(share, floor=0.0, height=200)",
            "variance": f"pictures.moved(shares, {p})",
            "ratios": "pictures.over_problems(ratio, floor=0.0, height=200)",
            "dimensions": f"pictures.moved(ratios, {p})",
            "own": "spread['components'].dropna('problem')",
            "pairs": "np.degrees(population.principal_angles(own, own.rename(problem='other')).mean('component'))"
            ".assign_attrs(long_name='angle', units='degrees')",
            "angles": f"pictures.matrix(pairs, at={p}, limits=(0, 90))",
            **self._decoder(),
            "read": f"pictures.over_time(accuracy, marked={s['span']}, quiet=['{SHUFFLED}'], limits=(0.0, 1.02))",
            "decoding": f"pictures.moved(read, {now})",
        }

    def _signal(self, where: str, data: str = "activity", repeats: bool | None = None) -> str:
        """The signal (..., probe, time, neuron), of the problems `where` says; means of conditions where chosen."""
        s = self.state
        name = "spikes" if s["signal"] == "rate" else s["signal"]
        text = f"{data}[{name!r}]" + (f".sel({where})" if where else "")
        if self.facts.repeated and s["repeats"] == "mean" and repeats is None:
            text = f"population.condition_means({text}, trial='probe')"
        return f"neurons.firing_rate({text}, width={WIDTH})" if s["signal"] == "rate" else f"{text}.astype(float)"

    def _fitted(self) -> list[int]:
        s = self.state
        first, last = s["range"]
        return {
            "this": [s["problem"]],
            "all": self.facts.problems,
            "range": [p for p in self.facts.problems if first <= p <= last],
            "first": self.facts.problems[:1],
            "last": self.facts.problems[-1:],
        }[s["basis"]]

    def _directions(self) -> dict[str, str]:
        """The lines from the signal to `scores`, and to `axes` (component, neuron) where there are such."""
        s, chosen = self.state, self._fitted()
        where = "" if chosen == self.facts.problems else f"problem={chosen}"
        lines = {"fitted": "signal" if s["basis"] == "this" else self._signal(where)}
        lines |= getattr(self, f"_{s['method']}_lines")()
        if s["aligned"] and s["method"] in ("pca", "isomap") and s["problem"] != self.facts.problems[-1]:
            lines |= self._last(lines)
            lines["placed"] = lines["scores"]
            lines["scores"] = "population.procrustes(placed, scores_last)"
        return lines

    def _last(self, lines: dict[str, str]) -> dict[str, str]:
        """The same steps for the last problem, onto which the others are rotated."""
        last = {"signal_last": self._signal(f"problem={self.facts.problems[-1]}")}
        if self.state["method"] == "isomap":
            steps = {"manifold": lines["manifold"], "scores": lines["scores"]}
        else:
            steps = {"basis": lines["basis"], "scores": lines["scores"]}
        own = self.state["basis"] == "this"
        for name, text in steps.items():
            renamed = text.replace("(fitted", "(signal_last" if own else "(fitted").replace("(signal,", "(signal_last,")
            if own:
                renamed = renamed.replace("basis)", "basis_last)").replace("manifold[", "manifold_last[")
            renamed = renamed.replace(f"problem={self.state['problem']})", f"problem={self.facts.problems[-1]})")
            last[f"{name}_last"] = renamed
        return last

    def _pca_lines(self) -> dict[str, str]:
        most = min(COMPONENTS, self.facts.activity.sizes["neuron"])
        return {
            "basis": f"population.pca(fitted, n_components={most})",
            "scores": "population.project(signal, basis)",
            "axes": "basis['components']",
        }

    def _decision_lines(self) -> dict[str, str]:
        return {**self._block(), "scores": "population.project(signal, decision)", "axes": "decision"}

    def _stimulus_lines(self) -> dict[str, str]:
        return {
            **self._block(),
            "rest": "signal - xr.dot(population.project(signal, decision), decision, dim='component')",
            "basis": "population.pca(rest, n_components=3)",
            "scores": "population.project(rest, basis)",
            "axes": "basis['components']",
        }

    def _block(self) -> dict[str, str]:
        """The decision subspace, from fifty problems in a row: stored, or made again from their weights."""
        name = "spikes" if self.state["signal"] == "rate" else self.state["signal"]
        stored, weighed = (in_a_row(found, BLOCK) for found in (self.facts.problems, self.facts.weighed))
        if stored:
            block = self._signal(f"problem=slice({stored[0]}, {stored[-1]})")
        else:
            first, last = (weighed[0], weighed[-1] + 1) if weighed else (0, 0)
            made = f"xr.concat([ip2lab.probe(run, q)[{name!r}] for q in range({first}, {last})], 'problem')"
            block = self._signal("", "made", repeats=True).replace(f"made[{name!r}]", made)
        return {"block": block, "decision": "population.subspaces(block)['decision']"}

    def _demixed_lines(self) -> dict[str, str]:
        factors = self._factors()
        shown = self._demixed(factors)
        names = [f"{which} {k + 1}" for which, k in shown]
        return {
            **self._noisy(2),
            "found": f"population.demix(noisy, {factors}, trial='probe')",
            "axes": f"xr.concat([found['decoders'].sel(marginalisation=m, drop=True)[k] for m, k in {shown}], "
            f"'component').assign_coords(component={names}).assign_attrs(units='1')",
            "scores": "population.project(signal, xr.Dataset({'components': axes, 'mean': found['mean']}))",
        }

    @staticmethod
    def _demixed(factors: Sequence[str]) -> list[tuple[str, int]]:
        """The demixed components that are shown: of what, and which of them."""
        return [(factors[0], 0), ("time", 0), (factors[1], 0) if len(factors) > 1 else (factors[0], 1)]

    def _axis(self, index: int) -> str:
        """What a neuron's number on an axis is called."""
        if self.state["method"] == "demixed":
            which, k = self._demixed(self._factors())[index]
            return f"weight in {which} {k + 1}"
        return f"loading on component {index + 1}"

    def _factors(self) -> list[str]:
        """Labels of which every combination occurs: what demixing can tell apart."""
        found: list[str] = []
        for name in ("stimulus", "context", "response"):
            if name not in self.facts.activity.coords:
                continue
            tried = [self.facts.activity[n].values.tolist() for n in (*found, name)]
            levels = [len(set(labels)) for labels in tried]
            if levels[-1] > 1 and len(set(zip(*tried, strict=True))) == np.prod(levels):
                found.append(name)
        return found or ["condition"]

    def _noisy(self, least: int) -> dict[str, str]:
        """Single trials with noise: those stored, where there are enough of each condition, or made by the network."""
        counts = np.unique(self.facts.activity["condition"].values, return_counts=True)[1]
        if counts.min() >= least:
            return {"noisy": self._signal(f"problem={self.state['problem']}", repeats=True)}
        made = f"pictures.worded(ip2lab.probe(run, {self.state['problem']}, repeats={REPEATS}))"
        return {"noise": made, "noisy": self._signal("", "noise", repeats=True)}

    def _isomap_lines(self) -> dict[str, str]:
        s, chosen = self.state, self._fitted()
        both = sorted({*chosen, s["problem"], *([self.facts.problems[-1]] if s["aligned"] else [])})
        probes = (
            len(np.unique(self.facts.activity["condition"])) if self._means() else self.facts.activity.sizes["probe"]
        )
        samples = len(both) * probes * len(self.facts.times)
        every = max(-(-samples // SAMPLES), 1)
        near = int(min(60, samples // every // 3))
        one = s["basis"] == "this"
        return {
            "fitted": "signal" if one else self._signal(f"problem={both}"),
            "manifold": f"population.manifold(fitted.isel(time=slice(None, None, {every})), n_components=3, "
            f"n_neighbors={near})",
            "scores": "manifold['embedding']" + ("" if one else f".sel(problem={s['problem']})"),
        }

    def _means(self) -> bool:
        return bool(self.facts.repeated and self.state["repeats"] == "mean")

    def _order(self) -> dict[str, str]:
        s = self.state
        p = s["problem"]
        smooth = f"neurons.firing_rate(trial, width={WIDTH})" if s["signal"] == "rate" else "trial"
        if s["order"] == "community":
            nearest = min(self.facts.weighed, key=lambda q: abs(q - p))
            graph = f"weights['recurrent_weights'].sel(problem={nearest}).load()"
            return {
                "communities": f"connectivity.communities({graph}, runs=10)['community']",
                "order": "communities.values.argsort(kind='stable')",
            }
        lines = {
            "neuron": f"np.arange({self.facts.activity.sizes['neuron']})",
            "loading": "loadings_x.values.argsort()",
            "peak": f"(-{smooth}.argmax('time').values).argsort(kind='stable')",
        }
        return {"order": lines.get(s["order"], f"properties[{s['order']!r}].sel(problem={p}).values.argsort()")}

    def _order_name(self) -> str:
        order = self.state["order"]
        words = {"neuron": "", "peak": "peak time"} | {
            n: v.attrs.get("long_name", n) for n, v in self.facts.properties.items()
        }
        return str(words.get(order, order))

    def _number(self, which: str) -> str:
        """One number a neuron."""
        if which == "mean":
            return "signal.mean(['probe', 'time'], keep_attrs=True)"
        if which == "peak":
            return "signal.mean('probe').idxmax('time').assign_attrs(long_name='time of the peak', units='ms')"
        return f"properties[{which!r}].sel(problem={self.state['problem']})"

    def _log(self) -> tuple[bool, bool]:
        x, y = (self.state[axis] in self.facts.properties for axis in "xy")
        return x, y

    def _decoder(self) -> dict[str, str]:
        s = self.state
        steps = max(round(BIN / float(self.facts.times[1] - self.facts.times[0])), 1)
        lines = self._noisy(5)
        name = "spikes" if s["signal"] == "rate" else s["signal"]
        single = lines["noisy"]
        if s["signal"] == "rate":
            single = f"{'noise' if 'noise' in lines else 'activity'}[{name!r}]"
            single += "" if "noise" in lines else f".sel(problem={s['problem']})"
            single += ".astype(float)"
        bins = f"{single}.drop_vars('epoch', errors='ignore').coarsen(time={steps}, boundary='trim').mean()"
        return {
            **({"noise": lines["noise"]} if "noise" in lines else {}),
            "bins": bins,
            "decoded": f"population.decode(bins, {s['by']!r}, trial='probe')",
            "chance": "decoded.attrs['chance']",
            "accuracy": "xr.concat([decoded['accuracy'], decoded['null_upper'] * (1 - chance) + chance], 'line')"
            f".assign_coords(line=[{s['by']!r}, {SHUFFLED!r}])"
            ".assign_attrs(long_name='decoding accuracy', units='1')",
        }


def in_a_row(numbers: Sequence[int], count: int) -> list[int]:
    """The first `count` numbers that follow each other, or nothing."""
    have = set(numbers)
    return next((list(range(n, n + count)) for n in numbers if have.issuperset(range(n, n + count))), [])
