"""The slow level: which properties it let learn, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import ipywidgets
import numpy as np
import xarray as xr
from markupsafe import Markup

from ip2lab import examples, records
from ip2lab.analysis import curves
from ip2lab.views import plots
from ip2lab.views.explorers.base import Explorer, Panel, choices, dropdown
from ip2lab.views.explorers.recipe import Recipe, Step, call, ref
from ip2lab.views.markup import beside, caption
from ip2lab.views.plots.plasticity import ordered, symbol

Searches = xr.Dataset | str | Path | Mapping[str, Any] | Sequence[Any]


def named(searches: Searches) -> dict[str, xr.Dataset]:
    """Return searches by name: by family and method, where no names are given.

    Examples
    --------
    >>> import ip2lab
    >>> list(named(ip2lab.example("search_dms")))
    ['dms']
    """
    if isinstance(searches, (xr.Dataset, str, Path)):
        searches = [searches]
    if not isinstance(searches, Iterable):
        raise TypeError(f"searches: {searches!r} is not valid; give what ip2lab.search_plasticity returned, or several")
    if isinstance(searches, Mapping) and not isinstance(searches, xr.Dataset):
        found = {str(name): _as_search(one) for name, one in searches.items()}
    else:
        opened = [_as_search(one) for one in cast("Sequence[Any]", searches)]
        words = [str(one.attrs.get("family", "search")) for one in opened]
        words = [
            w if words.count(w) == 1 else f"{w}, {one.attrs['method']}" for w, one in zip(words, opened, strict=True)
        ]
        found = {
            w if words.count(w) == 1 else f"{w} ({i + 1})": one
            for i, (w, one) in enumerate(zip(words, opened, strict=True))
        }
    if not found:
        raise ValueError("no searches were given; give what ip2lab.search_plasticity returned, or several of these")
    return found


def _as_search(one: Any) -> xr.Dataset:
    if isinstance(one, (str, Path)):
        return records.open_search(one)
    if not isinstance(one, xr.Dataset) or "learns" not in one:
        raise TypeError(
            f"searches: {type(one).__name__} is no search; give what ip2lab.search_plasticity returned, "
            "or the path of a stored one"
        )
    return one


class PlasticityExplorer(Explorer):
    """Which properties the slow level chose for a family, and why.

    Parameters
    ----------
    searches : Dataset, path, mapping of str to these, or sequence of these
        What :func:`ip2lab.search_plasticity` returned or stored; one a family, say. A click on a row picks a
        configuration, in all pictures.

    Examples
    --------
    >>> import ip2lab
    >>> explorer = PlasticityExplorer(ip2lab.example("search_association"))
    >>> explorer.state["configuration"]
    'bias + tau_dendrite'
    """

    KEYS: ClassVar[dict[str, tuple[str, int]]] = {
        "ArrowUp": ("configuration", -1),
        "ArrowDown": ("configuration", 1),
        "ArrowLeft": ("search", -1),
        "ArrowRight": ("search", 1),
    }

    def __init__(self, searches: Searches) -> None:
        self.searches = named(searches)
        self._recipe = Recipe({f"search_{i}": one for i, one in enumerate(self.searches.values(), 1)})
        first = next(iter(self.searches))
        controls = {
            "search": dropdown("search", list(self.searches), first),
            "configuration": dropdown("configuration", *self._choices(first)),
            "compare": ipywidgets.Checkbox(
                value=len(self.searches) > 1, description="all searches below", indent=False, layout={"width": "auto"}
            ),
        }
        self._words = ipywidgets.HTML()
        controls["search"].observe(self._switch, "value")
        several = [controls["search"]] if len(self.searches) > 1 else []
        row = [*several, controls["configuration"], *([controls["compare"]] if several else [])]
        super().__init__(controls, [row, [self._words]])

    def _choices(self, name: str) -> tuple[list[str], str]:
        return ordered(self.searches[name]), str(self.searches[name].attrs["chosen"])

    def _switch(self, _: Any) -> None:
        """Offer the configurations of the search that is shown now, its choice first."""
        control, (options, chosen) = self.controls["configuration"], self._choices(self.controls["search"].value)
        if list(control.options) != choices(options):
            held, self._held = self._held, True
            control.options = choices(options)
            control.value = chosen
            self._held = held

    def _pick(self, _: str, __: float, y: float) -> None:
        names = ordered(self.search)
        row = int(np.clip(len(names) - 1 - round(y), 0, len(names) - 1))
        self.controls["configuration"].value = names[row]

    @property
    def search(self) -> xr.Dataset:
        """The search that is shown now."""
        return self.searches[self.controls["search"].value]

    def _shared(self) -> dict[str, Any]:
        s, numbers = self.state, {name: f"search_{i}" for i, name in enumerate(self.searches, 1)}
        shown = numbers if s["compare"] else {s["search"]: numbers[s["search"]]}
        opened = {word: _source(self.searches[name]) for name, word in numbers.items()}
        return {
            **{word: one for word, one in opened.items() if one is not None},
            "searches": {name: ref(word) for name, word in shown.items()},
            "search": ref("searches")[s["search"]],
            "means": call(curves.configurations, ref("search")),
            "worths": {name: call(curves.marginal_effect, ref(word)) for name, word in shown.items()},
        }

    def _table(self) -> str:
        picked = self._story(self.controls["configuration"].value)
        self._words.value = beside(decision(self.search))
        return caption("Configurations", ": mean and 95 % interval over seeds", picked)

    def _story(self, picked: str) -> str:
        """What became of one configuration."""
        one = self.search.sel(configuration=picked)
        seeds = int(one["trials"].notnull().sum())
        runs = f"{seeds} runs, {float(one['trials'].sum()):,.0f} trials"
        gone, last = int(one["given_up"]), self.search.sizes["round"] - 1
        if picked == self.search.attrs["chosen"]:
            return f"{picked}: chosen ({runs})"
        return f"{picked}: {'in the last round' if gone < 0 else f'given up after round {gone} of {last}'} ({runs})"

    def _ratios(self) -> str:
        return caption("Seed by seed", ": trials as a ratio; a triangle was stopped there and would have taken more")

    def _rounds(self) -> str:
        return caption("Rounds", f": {self.search.attrs['cost']:,.0f} trials in all; ✕ given up, ★ chosen")

    def _worths(self) -> xr.Dataset:
        """What each property is worth in the search that is shown."""
        found: xr.Dataset = self._value("worths")[self.controls["search"].value]
        return found

    def _worth(self) -> str:
        return caption("What each property is worth", "", _worth_words(self._worths()))

    def _no_worth(self) -> str:
        none = "No two configurations differ in one property alone, so none can be judged by itself."
        return "" if self._worths()["comparisons"].sum() else none

    PANELS: ClassVar[tuple[Panel, ...]] = (
        Panel(
            "table",
            "configurations",
            ("search", "configuration"),
            lambda e: call(plots.configuration_table, ref("search"), ref("means"), picked=e.state["configuration"]),
            _table,
            width=4,
            events={"tap": _pick},
        ),
        Panel(
            "ratios",
            "seed by seed",
            ("search", "configuration"),
            lambda e: call(plots.seed_ratios, ref("search"), ref("means"), picked=e.state["configuration"]),
            _ratios,
            events={"tap": _pick},
        ),
        Panel(
            "rounds",
            "rounds",
            ("search", "configuration"),
            lambda e: call(plots.search_rounds, ref("search"), picked=e.state["configuration"]),
            _rounds,
            events={"tap": _pick},
        ),
        Panel(
            "worth",
            "what each property is worth",
            ("search", "compare"),
            lambda e: call(plots.property_worth, ref("worths"), chosen=e.state["search"]),
            _worth,
            hidden=_no_worth,
            width=4,
        ),
    )

    def data(self) -> xr.Dataset:
        """Return the search that is shown, with intervals and the worth of each property."""
        means = self._value("means").rename({n: f"{n}_interval" for n in ("late_trials", "failed")})
        return xr.merge([self.search, means, self._worths()], combine_attrs="override", compat="override")


def _worth_words(worth: xr.Dataset) -> str:
    """What each property is worth, in words."""
    words = []
    for p in worth["property"].values:
        one = worth.sel(property=p)
        if not np.isfinite(one.worth):
            words.append(f"{symbol(str(p))} ({p}) unknown")
            continue
        least = "at most " if float(one.at_least) > 0 and float(one.worth) < 1 else ""
        words.append(f"{symbol(str(p))} ({p}) {least}× {float(one.worth):.2f} in {int(one.comparisons)} pairs of runs")
    return ", ".join(words)


def decision(search: xr.Dataset) -> Markup:
    """Return what a search decided and why, as HTML.

    Examples
    --------
    >>> import ip2lab
    >>> from ip2lab.views.markup import as_text
    >>> as_text(decision(ip2lab.example("search_association")))[:36]
    'association: bias and tau_dendrite m'
    """
    a = search.attrs
    chosen = " and ".join(a["decision"]) or "nothing"
    other = json.loads(a.get("options", "{}"))
    with_ = f", with {', '.join(f'{n} = {v}' for n, v in other.items() if n != 'learnable')}" if other else ""
    rounds = (
        f"{a['method']}, {search.sizes['seed']} seeds, {search.sizes['round']} round{'s' * (search.sizes['round'] > 1)}"
    )
    return caption(f"{a['family']}: {chosen} may learn{with_}", "", a["reason"], rounds)


def _source(search: xr.Dataset) -> Step | None:
    """The step that opens a search again; none where nothing says from where it came."""
    path = search.encoding.get("source")
    if not path:
        return None
    stored = Path(path)
    if stored.parent.resolve() == examples.DATA.resolve() and stored.stem in examples.SEARCHES:
        return call(examples.example, stored.stem)
    return call(records.open_search, str(path))
