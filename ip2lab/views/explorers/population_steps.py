"""The steps from a run to the pictures of its population, with what is chosen put in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis import connectivity, neurons, population
from ip2lab.analysis._labels import levels
from ip2lab.views import plots
from ip2lab.views.explorers.recipe import Step, call, later, ref
from ip2lab.views.labels import Labels
from ip2lab.views.style import logarithmic

if TYPE_CHECKING:
    from ip2lab.probes import probe
else:
    probe = later("ip2lab", "probe")

WIDTH = 50  # ms, standard deviation of the smoothing that makes rates of spikes
BIN = 100  # ms, of the decoder
COMPONENTS = 6
REPEATS = 20  # noisy trials of each condition, where none are stored
BLOCK = 50  # problems in a row in which stimuli cancel
SHUFFLED = "95 % of shuffled labels"
SAMPLES = 800  # that Isomap is given
RUN, ACTIVITY, PROPERTIES, WEIGHTS = map(ref, ("run", "activity", "properties", "weights"))
NO_BLOCK = (
    f"The decision subspace is an average over {BLOCK} problems in a row, in which the stimuli cancel; "
    "this run keeps no such block. A run of 500 problems keeps the weights of problems 450 to 499."
)


class Facts:
    """What the steps must know of a run: its datasets, and its problems by their labels."""

    def __init__(
        self, source: Mapping[str, Step], activity: xr.Dataset, properties: xr.Dataset, weights: xr.Dataset
    ) -> None:
        self.source = source  # the step that opens the run, where there is one
        self.activity, self.properties = activity, properties
        self.labels = Labels(activity["problem"].values)
        self.weighed = Labels(weights["problem"].values)
        self.every = Labels(properties["problem"].values) if "problem" in properties.coords else self.labels

    @property
    def problems(self) -> list[Any]:
        """Problems with activity."""
        return self.labels.keys

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

    def block(self) -> tuple[list[Any], bool]:
        """Problems in a row, and whether their activity is stored; no problems where there are too few."""
        stored = self.labels.in_a_row(BLOCK, self.every)
        return (stored, True) if stored else (self.weighed.in_a_row(BLOCK, self.every), False)


class Steps(NamedTuple):
    """The steps of the pictures, for what is chosen."""

    facts: Facts
    state: Mapping[str, Any]

    @property
    def problem(self) -> Any:
        """The label of the problem that is shown."""
        return self.facts.labels[self.state["problem"]]

    @property
    def name(self) -> str:
        """The variable that the signal is made of."""
        return "spikes" if self.state["signal"] == "rate" else str(self.state["signal"])

    def shared(self) -> dict[str, Any]:
        """The steps that several pictures need."""
        return {
            **self.facts.source,
            "activity": call(plots.label_conditions, RUN["activity"].to_dataset()),
            "properties": RUN["properties"].to_dataset(),
            "weights": RUN["weights"].to_dataset(),
            "signal": self._signal(self._stored(self.problem)),
            **self._directions(),
            **self._loaded(),
            **self._spread(),
        }

    # ------------------------------------------------------------------ pictures over time

    def _marks(self) -> dict[str, Any]:
        """What trajectories and means share: the label that colours, what is marked and what is hidden."""
        s = self.state
        hidden = [kind for i, kind in enumerate(self.facts.kinds(s["by"])) if i in s["hidden"]]
        return {"by": s["by"], "marked": s["span"], "hidden": hidden}

    def trajectories(self) -> dict[str, Any]:
        """The population in two components."""
        s, (x, y), scores = self.state, self._components(), ref("scores")
        turned = call(plots.rotate, scores, s["azimuth"], s["elevation"]) if s["view"] == "turned" else scores
        shown = call(plots.trajectories, ref("seen"), x=x, y=y, at=s["time"], **self._marks(), height=340)
        return {"seen": turned, "trajectories": shown}

    def average(self) -> dict[str, Any]:
        """The mean over neurons."""
        s = self.state
        some = ref("signal").isel(neuron=s["selected"]) if s["selected"] else ref("signal")
        return {
            "means": call(plots.over_time, some.mean("neuron", keep_attrs=True), **self._marks()),
            "average": call(plots.move_marker, ref("means"), s["time"]),
        }

    def _components(self) -> tuple[int, int]:
        """Which components are on the axes."""
        view = self.state["view"]
        x, y = (0, 1) if view == "turned" else (int(i) - 1 for i in view.split())
        return x, y

    def raster(self) -> dict[str, Any]:
        """All neurons in one trial."""
        s = self.state
        rows = call(
            plots.raster,
            ref("trial"),
            order=ref("order"),
            order_name=self._order_name(),
            selected=s["selected"],
            marked=s["span"],
            height=340,
        )
        return {
            "trial": self._stored(self.problem).isel(probe=s["trial"]).load(),
            **self._order(),
            "rows": rows,
            "raster": call(plots.move_marker, ref("rows"), s["time"]),
        }

    # ------------------------------------------------------------------ maps of neurons

    def _loaded(self) -> dict[str, Any]:
        """The loadings on the components that are shown."""
        return {
            f"loadings_{axis}": ref("axes").isel(component=i).assign_attrs(long_name=self._axis(i))
            for axis, i in zip("xy", self._components(), strict=True)
        }

    def loadings(self) -> Any:
        """The neurons by their loadings."""
        return call(plots.neuron_map, ref("loadings_x"), ref("loadings_y"), selected=self.state["selected"])

    def scatter(self) -> dict[str, Any]:
        """The neurons by two numbers that each has."""
        s, own = self.state, self.facts.properties
        x, y = (s[axis] in own and logarithmic(own[s[axis]]) for axis in "xy")
        return {
            "scatter_x": self._number(s["x"]),
            "scatter_y": self._number(s["y"]),
            "scatter": call(plots.neuron_map, ref("scatter_x"), ref("scatter_y"), selected=s["selected"], log=(x, y)),
        }

    # ------------------------------------------------------------------ problem by problem

    def _spread(self) -> dict[str, Any]:
        """The components that each problem has of its own."""
        return {
            "signals": self._signal(ACTIVITY[self.name]),
            "spread": call(population.dimensionality, ref("signals")),
        }

    def _place(self) -> float:
        """Where the chosen problem is on an axis of problems."""
        return self.facts.labels.place(self.state["problem"])

    def variance(self) -> dict[str, Any]:
        """The share of variance of each component."""
        spread = ref("spread")
        share = spread["explained_variance_ratio"].transpose("component", "problem")
        share = share.assign_coords(component=spread["component"].values + 1)
        return {
            "share": share.assign_attrs(long_name="share of variance"),
            "shares": call(plots.over_problems, ref("share"), floor=0.0, height=200),
            "variance": call(plots.move_marker, ref("shares"), self._place()),
        }

    def dimensions(self) -> dict[str, Any]:
        """The participation ratio."""
        return {
            "ratio": ref("spread")["participation_ratio"].assign_attrs(long_name="dimensions"),
            "ratios": call(plots.over_problems, ref("ratio"), floor=0.0, height=200),
            "dimensions": call(plots.move_marker, ref("ratios"), self._place()),
        }

    def angles(self) -> dict[str, Any]:
        """The angles between the components of each two problems."""
        own = ref("own")
        angles = call(population.principal_angles, own, own.rename(problem="other")).mean("component")
        return {
            "own": ref("spread")["components"].dropna("problem"),
            "pairs": call(np.degrees, angles).assign_attrs(long_name="angle", units="degrees"),
            "angles": call(plots.matrix, ref("pairs"), at=self.problem, limits=(0, 90)),
        }

    # ------------------------------------------------------------------ signals

    def _stored(self, problem: Any) -> Any:
        """What the signal is made of, after a problem or several (a list, a slice)."""
        return ACTIVITY[self.name].sel(problem=problem)

    def _signal(self, found: Any) -> Any:
        """The signal (..., probe, time, neuron); means of conditions where chosen."""
        return self._smooth(call(population.condition_means, found, trial="probe") if self._means() else found)

    def _smooth(self, found: Any) -> Any:
        """Rates of spikes where these are chosen, or numbers as they are."""
        rates = self.state["signal"] == "rate"
        return call(neurons.firing_rate, found, width=WIDTH) if rates else found.astype(float)

    def _means(self) -> bool:
        return bool(self.facts.repeated and self.state["repeats"] == "mean")

    def _noisy(self, least: int) -> tuple[dict[str, Any], Any]:
        """Single trials with noise: those stored, where there are enough of each condition, or made by the network."""
        counts = np.unique(self.facts.activity["condition"].values, return_counts=True)[1]
        if counts.min() >= least:
            return {}, self._stored(self.problem)
        made = call(plots.label_conditions, call(probe, RUN, self.problem, repeats=REPEATS))
        return {"noise": made}, ref("noise")[self.name]

    # ------------------------------------------------------------------ directions

    def _fitted(self) -> list[Any]:
        """The problems whose activity gives the directions."""
        s, problems = self.state, self.facts.problems
        first, last = (problems.index(end) for end in s["range"])
        return {
            "this": [s["problem"]],
            "all": problems,
            "range": problems[first : last + 1],
            "first": problems[:1],
            "last": problems[-1:],
        }[s["basis"]]

    def _of(self, problems: Sequence[Any]) -> Any:
        """The signal after several problems."""
        if list(problems) == self.facts.problems:
            return self._signal(ACTIVITY[self.name])
        return self._signal(self._stored([self.facts.labels[key] for key in problems]))

    def _directions(self) -> dict[str, Any]:
        """The steps from the signal to `scores`, and to `axes` (component, neuron) where there are such."""
        s, last = self.state, self.facts.problems[-1]
        own = s["basis"] == "this"
        found = {"fitted": ref("signal") if own else self._of(self._fitted())}
        find = getattr(self, f"_{s['method']}")
        if s["method"] not in ("pca", "isomap"):
            return found | find()
        found |= find(self.problem)
        if s["aligned"] and s["problem"] != last:
            label = self.facts.labels[last]
            found |= {"placed": found["scores"], "signal_last": self._signal(self._stored(label))}
            found |= find(label, "_last")  # the same for the last problem, onto which the others are rotated
            found["scores"] = call(population.procrustes, ref("placed"), ref("scores_last"))
        return found

    def _pca(self, _: Any, end: str = "") -> dict[str, Any]:
        most = min(COMPONENTS, self.facts.activity.sizes["neuron"])
        own = end if self.state["basis"] == "this" else ""
        basis = call(population.pca, ref(f"signal{own}" if own else "fitted"), n_components=most)
        return {
            f"basis{own}": basis,
            f"scores{end}": call(population.project, ref(f"signal{end}"), ref(f"basis{own}")),
            "axes": ref("basis")["components"],
        }

    def _isomap(self, problem: Any, end: str = "") -> dict[str, Any]:
        s, last = self.state, self.facts.problems[-1]
        one = s["basis"] == "this"
        needed = {*self._fitted(), s["problem"], *([last] if s["aligned"] else [])}
        both = [key for key in self.facts.problems if key in needed]
        activity = self.facts.activity
        probes = len(np.unique(activity["condition"])) if self._means() else activity.sizes["probe"]
        samples = len(both) * probes * len(self.facts.times)
        every = max(-(-samples // SAMPLES), 1)
        near = int(min(60, samples // every // 3))
        own = end if one else ""
        thin = ref(f"signal{own}" if own else "fitted").isel(time=slice(None, None, every))
        scores = ref(f"manifold{own}")["embedding"]
        return {
            "fitted": ref("signal") if one else self._of(both),
            f"manifold{own}": call(population.manifold, thin, n_components=3, n_neighbors=near),
            f"scores{end}": scores if one else scores.sel(problem=problem),
        }

    def _decision(self) -> dict[str, Any]:
        scores = call(population.project, ref("signal"), ref("decision"))
        return {**self._block(), "scores": scores, "axes": ref("decision")}

    def _stimulus(self) -> dict[str, Any]:
        signal, decision = ref("signal"), ref("decision")
        along_it = call(xr.dot, call(population.project, signal, decision), decision, dim="component")
        return {
            **self._block(),
            "rest": signal - along_it,
            "basis": call(population.pca, ref("rest"), n_components=3),
            "scores": call(population.project, ref("rest"), ref("basis")),
            "axes": ref("basis")["components"],
        }

    def _block(self) -> dict[str, Any]:
        """The decision subspace, from fifty problems in a row: stored, or made again from their weights."""
        keys, stored = self.facts.block()
        labels = self.facts.labels if stored else self.facts.weighed
        row = [labels[key] for key in keys]
        if stored:
            block = self._signal(self._stored(slice(row[0], row[-1]) if labels.numeric else row))
        else:
            some = range(row[0], row[-1] + 1) if row and labels.numeric else row
            block = self._smooth(call(probed, RUN, some, self.name))
        return {"block": block, "decision": call(population.subspaces, ref("block"))["decision"]}

    def _demixed(self) -> dict[str, Any]:
        factors = self._factors()
        shown = self._shown(factors)
        made, single = self._noisy(2)
        axes = [ref("found")["decoders"].sel(marginalisation=which, drop=True)[k] for which, k in shown]
        named = call(xr.concat, axes, "component").assign_coords(component=[f"{which} {k + 1}" for which, k in shown])
        basis = call(xr.Dataset, {"components": ref("axes"), "mean": ref("found")["mean"]})
        return {
            **made,
            "noisy": self._smooth(single),
            "found": call(population.demix, ref("noisy"), factors, trial="probe"),
            "axes": named.assign_attrs(units="1"),
            "scores": call(population.project, ref("signal"), basis),
        }

    @staticmethod
    def _shown(factors: Sequence[str]) -> list[tuple[str, int]]:
        """The demixed components that are shown: of what, and which of them."""
        return [(factors[0], 0), ("time", 0), (factors[1], 0) if len(factors) > 1 else (factors[0], 1)]

    def _axis(self, index: int) -> str:
        """What a neuron's number on an axis is called."""
        if self.state["method"] == "demixed":
            which, k = self._shown(self._factors())[index]
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

    # ------------------------------------------------------------------ neurons, decoding

    def _order(self) -> dict[str, Any]:
        """The rows of the raster from the bottom up."""
        order = self.state["order"]
        if order == "community":
            near = self.facts.weighed.nearest(self.state["problem"], self.facts.every)
            graph = WEIGHTS["recurrent_weights"].sel(problem=self.facts.weighed[near]).load()
            return {
                "communities": call(connectivity.communities, graph, runs=10)["community"],
                "order": ref("communities").values.argsort(kind="stable"),
            }
        if order == "neuron":
            return {"order": call(np.arange, self.facts.activity.sizes["neuron"])}
        if order == "loading":
            return {"order": ref("loadings_x").values.argsort()}
        if order == "peak":
            trial = ref("trial")
            smooth = call(neurons.firing_rate, trial, width=WIDTH) if self.state["signal"] == "rate" else trial
            return {"order": (-smooth.argmax("time").values).argsort(kind="stable")}
        return {"order": self._number(order).values.argsort()}

    def _order_name(self) -> str:
        order = self.state["order"]
        words = {"neuron": "", "peak": "peak time"} | {
            n: v.attrs.get("long_name", n) for n, v in self.facts.properties.items()
        }
        return str(words.get(order, order))

    def _number(self, which: str) -> Any:
        """One number for each neuron."""
        signal = ref("signal")
        if which == "mean":
            return signal.mean(["probe", "time"], keep_attrs=True)
        if which == "peak":
            return signal.mean("probe").idxmax("time").assign_attrs(long_name="time of the peak", units="ms")
        return PROPERTIES[which].sel(problem=self.problem)

    def decoding(self) -> dict[str, Any]:
        """How well a label can be read from the activity, bin by bin."""
        s = self.state
        steps = max(round(BIN / float(self.facts.times[1] - self.facts.times[0])), 1)
        made, single = self._noisy(5)
        bins = single.astype(float).drop_vars("epoch", errors="ignore").coarsen(time=steps, boundary="trim").mean()
        decoded, chance = ref("decoded"), ref("chance")
        both = [decoded["accuracy"], decoded["null_upper"] * (1 - chance) + chance]
        look: dict[str, Any] = {"marked": s["span"], "quiet": [SHUFFLED], "limits": (0.0, 1.02)}
        return {
            **made,
            "bins": bins,
            "decoded": call(population.decode, ref("bins"), s["by"], trial="probe"),
            "chance": decoded.attrs["chance"],
            "accuracy": call(xr.concat, both, "line")
            .assign_coords(line=[s["by"], SHUFFLED])
            .assign_attrs(long_name="decoding accuracy", units="1"),
            "read": call(plots.over_time, ref("accuracy"), **look),
            "decoding": call(plots.move_marker, ref("read"), s["time"]),
        }


def probed(run: xr.DataTree, problems: Iterable[Any], name: str) -> xr.DataArray:
    """Return a signal of the network as it was after each of several problems.

    Parameters
    ----------
    run : DataTree
        A run with weights of these problems.
    problems : iterable of int
        After which problems, of which there must be one.
    name : str
        A variable of what :func:`ip2lab.probe` returns.

    Returns
    -------
    DataArray
        (problem, probe, time, neuron), without noise.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> probed(run, [0, 1], "spikes").sizes["problem"]
    2
    """
    from ip2lab.probes import probe

    found = [probe(run, problem)[name] for problem in problems]
    if not found:
        raise ValueError(NO_BLOCK)
    return xr.concat(found, "problem")
