"""The slow level: which intrinsic properties may learn is decided once per family, from what its problems demand.

A configuration (a set of learnable properties) is worth the trials it saves. Networks with every candidate
configuration learn the same short series of problems from the same seeds, and the number of trials they take is
compared as a ratio. After each round the worse half is dropped, and a run that has taken far more trials than the
others needed is stopped. The winner is fixed before anything else is learnt; if the data cannot separate the best
configurations, this is reported and the smallest of them is chosen. The pseudo-code is in
``docs/explanation/levels.md``; its constants are `START`, `MARGIN` and `HOPELESS` below.

The fast level (:mod:`ip2lab.training.learners`) then tunes the chosen properties in every problem.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats
from tqdm.auto import tqdm

from ip2lab.checks import flag, several, whole
from ip2lab.experiments import content_of, distinct, run_each, text_of
from ip2lab.properties import PROPERTIES
from ip2lab.records import open_search, write_search
from ip2lab.records.stores import absolute
from ip2lab.records.writing import array_of
from ip2lab.tasks import Family
from ip2lab.tasks import family as make_family
from ip2lab.training.options import learnable_names, resolve
from ip2lab.training.runtime import one_torch_thread
from ip2lab.training.trainer import Trainer

START = 1000  # trials that every run may take before any is judged by what others took
MARGIN = 1.5  # a run is not waited for when it has taken this many times the trials of those that stay in the race
HOPELESS = 4.0  # nor when it has taken this many times the trials of the first one that was through
ALPHA = 0.05
METRICS = {
    "trials": "trials that the problems took together",
    "problems_done": "problems finished",
    "failed": "problems given up",
    "late_trials": "mean trials to criterion in the second half, capped",
    "stopped": "run was stopped because others had needed far less",
}


def subsets(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return all subsets, the small ones first.

    Examples
    --------
    >>> subsets(["tau_soma", "threshold"])
    [(), ('tau_soma',), ('threshold',), ('tau_soma', 'threshold')]
    """
    names = several("names", names, "names of properties")
    if len(names) > len(PROPERTIES):
        raise ValueError(f"names: {len(names)} of them have 2**{len(names)} subsets; give at most {len(PROPERTIES)}")
    return [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]


def search_plasticity(
    family: str | Family,
    *,
    seeds: Iterable[int],
    problems: int,
    candidates: Sequence[Any] | None = None,
    method: str = "halving",
    executor: Executor | None = None,
    path: str | Path | None = None,
    progress: bool = True,
    model: str = "spiking",
    **options: Any,
) -> xr.Dataset:
    """Find out which properties should learn in a family.

    Parameters
    ----------
    family : str or Family
        The family.
    seeds : iterable of int
        Seeds of networks and problems. ``"halving"`` spreads them over its rounds, later rounds get more.
    problems : int
        Length of the series in the last round (``"halving"``: half of it in the round before, and so on).
    candidates : sequence, optional
        Configurations: None, names of properties, or a mapping of arguments of :func:`ip2lab.train`
        (``{"learnable": "tau_soma", "start": {"tau_dendrite": 500}}`` chooses a fixed value, too). By default all
        subsets of the properties that the network has.
    method : {"halving", "exhaustive"}
        Give up the worse half in each round, or run everything.
    executor : concurrent.futures.Executor, optional
        Where the runs of a round run at the same time.
    path : path, optional
        Where the result is stored (JSON), or found if it is there already from the same arguments. An interrupted
        search leaves its runs beside it (``.part``); the same call goes on from them.
    progress : bool
        Whether a bar shows the runs that are finished or given up.
    model : str
        The model.
    **options
        Options of :func:`ip2lab.train`.

    Returns
    -------
    Dataset
        ``trials``, ``problems_done``, ``failed``, ``late_trials``, ``stopped`` (configuration, seed, round), NaN where
        a configuration was given up before; ``log_ratio`` and its ``standard_error`` (configuration), ``given_up``
        (configuration), the round, -1 for those that were not; ``learns`` (configuration, property), bool. Attributes
        ``decision`` (names of properties), ``options`` (others that belong to it), ``reason``, ``difference``
        ("clear", "no difference"), ``cost`` (trials of all runs) and what was asked for. Give it to
        ``train(learnable=...)``.

    Raises
    ------
    ValueError
        Too few candidates or seeds, a seed twice, or `path` holds a search that was asked for otherwise.

    Examples
    --------
    >>> import ip2lab
    >>> found = search_plasticity("association", seeds=[1, 2, 3], problems=2, candidates=[None, "tau_dendrite"],
    ...                           neurons=20, max_trials=100, window=20, criterion=0.3, progress=False)
    >>> found.trials.dims, found.sizes["round"]
    (('configuration', 'seed', 'round'), 1)
    """
    family, seeds, progress = make_family(family), _seeds(seeds), flag("progress", progress)
    configurations = [_configuration(model, each, options) for each in _candidates(model, candidates, options)]
    _check(seeds, len(configurations), method)
    names = _names(configurations)
    asked = {
        "family": family.name,
        "settings": json.dumps(family.settings()),
        "model": model,
        "method": method,
        "seeds": seeds,
        "problems": whole("problems", problems, 1),
        "configurations": names,
        "common": json.dumps(options, default=_exact, sort_keys=True),
    }
    place = None if path is None else absolute(path, "a file")
    if place is not None and place.exists():
        return _stored(place, asked)
    journal = _Journal(place, asked)
    rounds = _rounds(method, len(configurations), seeds, problems)
    race = _Race(family, model, configurations, rounds, executor, journal)
    race.run(halve=method == "halving", progress=progress)
    result = race.result(names, seeds).assign_attrs(asked)
    if place is not None:
        write_search(result, place)
        result.encoding["source"] = str(place)
        journal.close()
    return result


def _seeds(seeds: Iterable[int]) -> list[int]:
    seeds = [whole("seeds", seed, 0) for seed in several("seeds", seeds, "whole numbers")]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {seeds} has one of them twice; networks with the same seed are no new evidence")
    return seeds


def _candidates(model: str, candidates: Sequence[Any] | None, options: Mapping[str, Any]) -> Sequence[Any]:
    if candidates is None:
        return subsets(learnable_names(model, "all", bool(options.get("adaptation", False))))
    return several("candidates", candidates, "configurations")


class _Configuration(NamedTuple):
    """A candidate: the properties that learn, all options of training, and those of them that only it has."""

    learnable: tuple[str, ...]
    options: dict[str, Any]
    own: dict[str, Any]


def _configuration(model: str, candidate: Any, options: Mapping[str, Any]) -> _Configuration:
    own = dict(candidate) if isinstance(candidate, Mapping) else {"learnable": candidate}
    learnable = own.pop("learnable", None)
    chosen = {**options, **own}
    names = learnable_names(model, learnable, bool(chosen.get("adaptation", False)))
    resolve(model, chosen)
    return _Configuration(names, chosen, own)


def _names(configurations: list[_Configuration]) -> list[str]:
    """Return what the configurations are called; those that differ by different names."""
    pairs = [(each.learnable, each.own) for each in configurations]
    words = ["; ".join([text_of(learnable), *([text_of(own)] if own else [])]) for learnable, own in pairs]
    return distinct(words, list(map(content_of, pairs)))


def _exact(value: Any) -> Any:
    """Return what JSON has no word for as it is, whatever its length, so that the same text is the same value."""
    return array_of("value", value).tolist() if hasattr(value, "__array__") else content_of(value)


def _check(seeds: list[int], candidates: int, method: str) -> None:
    if not isinstance(method, str) or method not in ("halving", "exhaustive"):
        raise ValueError(f"method: {method!r} is unknown; known: 'halving', 'exhaustive'")
    if candidates < 2:
        raise ValueError(f"candidates: {candidates} of them leave nothing to choose; give two or more")
    least = 2 if method == "exhaustive" else math.ceil(math.log2(candidates)) + 1
    if len(seeds) < least:
        raise ValueError(f"seeds: {len(seeds)} are too few to choose among {candidates}; give {least} or more")


def _rounds(method: str, candidates: int, seeds: list[int], problems: int) -> list[tuple[list[int], int]]:
    """Return seeds and length of series of every round."""
    if method == "exhaustive":
        return [(seeds, problems)]
    number = math.ceil(math.log2(candidates))
    share = 2.0 ** np.arange(number)
    ends = np.rint(np.cumsum(share / share.sum()) * (len(seeds) - number)).astype(int) + np.arange(1, number + 1)
    parts = np.split(np.array(seeds), ends[:-1])
    return [(part.tolist(), max(1, math.ceil(problems / 2 ** (number - 1 - k)))) for k, part in enumerate(parts)]


@dataclass
class _Race:
    """The runs of a search: `outcomes` by (configuration, seed), and which configurations are left."""

    family: Family
    model: str
    configurations: list[_Configuration]
    rounds: list[tuple[list[int], int]]
    executor: Executor | None
    journal: _Journal

    def __post_init__(self) -> None:
        """Begin with all configurations and no outcome."""
        self.left = list(range(len(self.configurations)))
        self.given_up = np.full(len(self.configurations), -1)
        self.outcomes: dict[tuple[int, int], dict[str, Any]] = {}

    def run(self, *, halve: bool, progress: bool) -> None:
        """Do all rounds, or as many as it takes until one configuration is left."""
        sizes = [math.ceil(len(self.left) / 2**k) * len(seeds) for k, (seeds, _) in enumerate(self.rounds)]
        with tqdm(total=sum(sizes), unit="run", disable=not progress) as bar:
            for number in range(len(self.rounds)):
                bar.set_postfix_str(f"round {number + 1} of {len(self.rounds)}, {len(self.left)} configurations")
                self._round(number, START if halve else math.inf, bar)
                if halve and number < len(self.rounds) - 1:
                    self._halve(number)
                bar.update(sum(sizes[: number + 1]) - bar.n)
                if len(self.left) == 1:
                    break

    def _round(self, number: int, budget: float, bar: tqdm[Any]) -> None:
        """Do a round in which every run has so many trials at first."""
        seeds, problems = self.rounds[number]
        unfinished = [(c, seed) for c in self.left for seed in seeds]
        while unfinished:
            for place, outcome in zip(unfinished, self._outcomes(unfinished, problems, budget), strict=True):
                self.outcomes[place] = outcome | {"round": number}
                bar.update(not outcome["stopped"])
            unfinished = [place for place in unfinished if self.outcomes[place]["stopped"]]
            enough = self._enough(unfinished, seeds)
            if budget >= enough:
                break
            budget = min(2 * budget, enough)

    def _enough(self, unfinished: list[tuple[int, int]], seeds: list[int]) -> float:
        """Return after how many trials unfinished runs are not waited for any more."""
        waiting = {c for c, _ in unfinished}
        finished = [c for c in self.left if c not in waiting]
        costs = sorted(max(self.outcomes[c, seed]["cost"] for seed in seeds) for c in finished)
        if not costs:
            return math.inf
        keep = math.ceil(len(self.left) / 2)
        return min(HOPELESS * costs[0], MARGIN * costs[keep - 1] if len(costs) >= keep else math.inf)

    def _outcomes(self, places: list[tuple[int, int]], problems: int, budget: float) -> Iterator[dict[str, Any]]:
        """Yield what every run came to, from the journal where an interrupted search has left it."""
        keys = [f"{c}, seed {seed}, {problems} problems, {budget} trials" for c, seed in places]
        pairs = list(zip(places, keys, strict=True))
        calls = [self._call(*place, problems, budget) for place, key in pairs if key not in self.journal.known]
        new = iter(run_each(learn_series, calls, self.executor))
        for (c, seed), key in pairs:
            outcome = self.journal.known[key] if key in self.journal.known else next(new)
            if isinstance(outcome, Exception):
                raise RuntimeError(f"{self.configurations[c]._asdict()}, seed {seed}: {outcome}") from outcome
            self.journal.add(key, outcome)
            yield outcome

    def _call(self, c: int, seed: int, problems: int, budget: float) -> tuple[Any, ...]:
        given = self.configurations[c]
        state = self.outcomes.get((c, seed), {}).get("state")
        return self.family, self.model, given.learnable, given.options, seed, problems, budget, state

    def _halve(self, number: int) -> None:
        """Give up the worse half after a round."""
        keep, means = math.ceil(len(self.left) / 2), self.log_ratios()[0]
        order = sorted(self.left, key=lambda c: (means[c], len(self.configurations[c].learnable)))
        stopped = {c for (c, _), outcome in self.outcomes.items() if outcome["round"] == number and outcome["stopped"]}
        kept = [c for c in order[:keep] if c not in stopped] or order[:1]
        self.given_up[[c for c in order if c not in kept]] = number
        self.left = sorted(kept)

    def log_ratios(self, seeds: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, standard error and number of the log ratios of trials to those of the best still in the race."""
        seeds = [seed for part, _ in self.rounds for seed in part] if seeds is None else seeds
        logs = np.array([[self._log_trials(c, seed) for seed in seeds] for c in range(len(self.configurations))])
        # one that is stopped counts with what it had taken by then, which is less than it would take
        best = min(self.left, key=lambda c: np.nanmean(logs[c]))
        mean, error, number = np.transpose([_mean_and_error(row[np.isfinite(row)]) for row in logs - logs[best]])
        return mean, error, number

    def _log_trials(self, c: int, seed: int) -> float:
        return math.log(self.outcomes[c, seed]["trials"]) if (c, seed) in self.outcomes else math.nan

    def decide(self) -> tuple[int, str, str]:
        """Return the chosen configuration, whether the difference is clear, and the reason in words.

        Compared are those of the last round that had more than one, on its seeds: rounds before chose who is in it,
        and are no evidence. The test is two-sided because the better one is named after looking: of two equal
        configurations, one is called clearly better in `ALPHA` of all searches.
        """
        number = self.given_up.max() if len(self.left) == 1 else len(self.rounds) - 1
        raced = [*self.left, *np.flatnonzero(self.given_up == number)]
        mean, error, seeds = self.log_ratios(self.rounds[number][0])
        best = min(self.left, key=lambda c: mean[c])
        limit = stats.t.ppf(1 - ALPHA / 2, np.maximum(seeds - 1, 1))
        others = [c for c in raced if c != best]
        together = [best, *(c for c in others if not mean[c] - mean[best] > limit[c] * error[c])]
        if len(together) == 1:
            factor = math.exp(min(mean[c] for c in others) - mean[best])
            how = f" by a factor of {factor:.2f} or more"
            return best, "clear", f"fewest trials{how} (paired over seeds, two-sided t-test at {ALPHA:g})"
        chosen = min(
            (c for c in together if c in self.left), key=lambda c: (len(self.configurations[c].learnable), mean[c])
        )
        names = ", ".join(text_of(self.configurations[c].learnable) for c in together)
        which = "the smallest" if len(self.left) > 1 else f"the others took {HOPELESS:g} times the trials; the one left"
        return chosen, "no difference", f"no difference between {names} that these seeds show; {which} is taken"

    def result(self, names: list[str], seeds: list[int]) -> xr.Dataset:
        """Return all that was seen, with the decision."""
        chosen, difference, reason = self.decide()
        mean, error, _ = self.log_ratios()
        words, one = "mean log ratio of trials to those of the best", "configuration"
        properties = list(dict.fromkeys(name for each in self.configurations for name in each.learnable))
        learns = np.array([[name in each.learnable for name in properties] for each in self.configurations], bool)
        found = self._metrics(seeds) | {
            "log_ratio": _variable(one, mean, words),
            "standard_error": _variable(one, error, f"standard error of the {words}"),
            "given_up": _variable(one, self.given_up, "round in which it was given up, -1: none"),
            "learns": _variable((one, "property"), learns, "the property may learn"),
        }
        coords = {
            "configuration": names,
            "seed": seeds,
            "round": np.arange(len(self.rounds)),
            "property": np.array(properties, dtype=str),
        }
        attrs = {
            "decision": list(self.configurations[chosen].learnable),
            "chosen": names[chosen],
            "options": json.dumps(self.configurations[chosen].own, default=_exact),
            "difference": difference,
            "reason": reason,
            "cost": float(sum(outcome["cost"] for outcome in self.outcomes.values())),
        }
        lengths = _variable("round", [problems for _, problems in self.rounds], "length of the series")
        return xr.Dataset(found, coords, attrs).assign(problems=lengths)

    def _metrics(self, seeds: list[int]) -> dict[str, Any]:
        """Return the metrics (configuration, seed, round), NaN where a configuration did not run."""
        shape = (len(self.configurations), len(seeds), len(self.rounds))
        data = {name: np.full(shape, np.nan) for name in METRICS}
        for (c, seed), outcome in self.outcomes.items():
            for name, array in data.items():
                array[c, seeds.index(seed), outcome["round"]] = outcome[name]
        dims = ("configuration", "seed", "round")
        return {name: _variable(dims, array, METRICS[name]) for name, array in data.items()}


def _variable(dims: str | tuple[str, ...], values: Any, words: str) -> tuple[Any, Any, dict[str, str]]:
    return dims, values, {"long_name": words, "units": "1"}


def _mean_and_error(values: np.ndarray) -> tuple[float, float, int]:
    """Return mean, standard error and number of values, NaN where there are too few."""
    number = len(values)
    mean = values.mean() if number else math.nan
    return mean, values.std(ddof=1) / math.sqrt(number) if number > 1 else math.nan, number


def learn_series(
    family: Family,
    model: str,
    learnable: tuple[str, ...],
    options: Mapping[str, Any],
    seed: int,
    problems: int,
    budget: float,
    state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Go through a series without recording it, for at most `budget` trials, on from where `state` was made.

    Returns
    -------
    dict
        The metrics of a search, ``cost`` (trials done) and ``state``.

    Examples
    --------
    >>> found = learn_series(make_family("association"), "spiking", (), {"neurons": 20, "max_trials": 60}, 0, 2, 100)
    >>> found["stopped"], found["cost"]
    (True, 100.0)
    """
    given = resolve(model, dict(options))
    given["record"]["checkpoints"] = True  # what `state` holds
    trainer = Trainer(family, model, learnable, problems, seed, given)
    budget = math.floor(budget) if math.isfinite(budget) else budget
    if state is not None:
        trainer.load_checkpoint(state["checkpoint"])
        trainer.trials_to_criterion = list(state["trials_to_criterion"])
    with one_torch_thread():
        while trainer.problem < problems and trainer.earlier_trials + trainer.trial < budget:
            trainer.train_problem(until=budget - trainer.earlier_trials)
    cap = given["max_trials"] - given["window"]
    done = np.nan_to_num(np.array(trainer.trials_to_criterion, float), nan=cap)
    taken = done.sum() + trainer.trial
    return {
        "trials": float(max(taken, 1)),
        "problems_done": trainer.problem,
        "failed": int(np.isnan(trainer.trials_to_criterion).sum()),
        "late_trials": float(done[problems // 2 :].mean()) if trainer.problem == problems else np.nan,
        "stopped": trainer.problem < problems,
        "cost": float(trainer.earlier_trials + trainer.trial),
        "state": {"checkpoint": trainer.checkpoint(), "trials_to_criterion": trainer.trials_to_criterion},
    }


def _stored(path: Path, asked: Mapping[str, Any]) -> xr.Dataset:
    """Return a stored search, or say what was different then."""
    found = open_search(path)
    _same(found.attrs, asked, path)
    return found


def _same(then: Mapping[str, Any], asked: Mapping[str, Any], path: Path) -> None:
    for name, value in asked.items():
        if then[name] != value:
            raise ValueError(f"{path} holds a search with {name} {then[name]!r}, not {value!r}; give another path")


class _Journal:
    """What the runs of a search came to, one line each, in a file beside its result until that is written.

    The networks are not kept: a run that must go on begins anew, which gives the same.
    """

    def __init__(self, path: Path | None, asked: Mapping[str, Any]) -> None:
        self.path = None if path is None else path.with_name(f"{path.name}.part")
        self.known: dict[str, dict[str, Any]] = {}
        if self.path is None:
            return
        if not self.path.exists():
            self.path.write_text(json.dumps(asked))
        first, *lines = self.path.read_text().splitlines()
        _same(json.loads(first), asked, self.path)
        for line in lines:
            with suppress(ValueError):  # cut short when the search was killed
                self.known.update(json.loads(line))

    def add(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Keep what a run came to."""
        if self.path is not None and key not in self.known:
            self.known[key] = {name: value for name, value in outcome.items() if name != "state"}
            with self.path.open("a") as file:
                file.write("\n" + json.dumps({key: self.known[key]}))

    def close(self) -> None:
        """Remove the file."""
        if self.path is not None:
            self.path.unlink()


def _check_choices(choices: Mapping[str, Any], family: Family, seeds: list[int]) -> None:
    if not isinstance(choices, Mapping):
        raise TypeError(f"choices: {choices!r} is not valid; give a mapping of names to what to compare")
    if not choices or not seeds:
        raise ValueError(f"{'seeds' if choices else 'choices'}: there is none; give one or more")
    _check_disjoint(choices, family, seeds)


def _check_disjoint(choices: Mapping[str, Any], family: Family, seeds: list[int]) -> None:
    """Refuse seeds of the evaluation that a search has seen, and searches in the family that share some."""
    searches = {name: each.attrs for name, each in choices.items() if isinstance(each, xr.Dataset)}
    for name, asked in searches.items():
        if seen := sorted(set(seeds) & set(asked["seeds"])):
            raise ValueError(f"seeds: {seen} were used to find {name!r}; evaluate it on others")
    for one, other in combinations([name for name in searches if searches[name]["family"] == family.name], 2):
        if shared := sorted(set(searches[one]["seeds"]) & set(searches[other]["seeds"])):
            raise ValueError(f"seeds: {shared} were used to find {one!r} and {other!r}; find each on seeds of its own")


def evaluate(
    choices: Mapping[str, Any],
    family: str | Family,
    *,
    seeds: Iterable[int],
    problems: int,
    model: str = "spiking",
    executor: Executor | None = None,
    **options: Any,
) -> xr.Dataset:
    """Compare choices on seeds that none of them was made with.

    Parameters
    ----------
    choices : mapping
        What to compare by name: results of searches, or whatever ``learnable`` takes.
    family : str or Family
        The family.
    seeds : iterable of int
        Seeds of the evaluation; one that a search has seen is refused, and so are two searches in this family that
        share a seed: they would share its luck.
    problems : int
        Length of the series.
    model, executor, **options
        As for :func:`search_plasticity`.

    Returns
    -------
    Dataset
        The metrics (choice, seed); ``regret`` (choice) to the choice that is named first, as a ratio of geometric means
        minus one, with ``low`` and ``high`` of its 95 % interval (paired over seeds, t distribution).

    Examples
    --------
    >>> found = evaluate({"all": "all", "none": None}, "association", seeds=[5, 6], problems=1, neurons=20,
    ...               max_trials=60)
    >>> float(found.regret[0]), found.trials.dims
    (0.0, ('choice', 'seed'))
    """
    family, seeds, problems = make_family(family), _seeds(seeds), whole("problems", problems, 1)
    _check_choices(choices, family, seeds)
    calls = [call for choice in choices.values() for call in _calls(choice, family, model, options, seeds, problems)]
    outcomes = list(_raised(run_each(learn_series, calls, executor)))
    found: dict[str, Any] = {}
    for name in [name for name in METRICS if name != "stopped"]:
        values = np.array([outcome[name] for outcome in outcomes], float).reshape(len(choices), len(seeds))
        found[name] = _variable(("choice", "seed"), values, METRICS[name])
    logs = np.log(found["trials"][1])
    mean, error, _ = np.transpose([_mean_and_error(row) for row in logs - logs[0]])
    reach = stats.t.ppf(0.975, max(len(seeds) - 1, 1)) * error
    found["regret"] = _variable("choice", np.expm1(mean), "trials more than the first choice")
    found["low"] = _variable("choice", np.expm1(mean - reach), "lower end of 95 %")
    found["high"] = _variable("choice", np.expm1(mean + reach), "upper end of 95 %")
    return xr.Dataset(found, {"choice": list(choices), "seed": seeds}, {"family": family.name, "problems": problems})


def _raised(outcomes: Iterable[Any]) -> Iterator[Any]:
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def _calls(
    choice: Any, family: Family, model: str, options: Mapping[str, Any], seeds: list[int], problems: int
) -> list[tuple[Any, ...]]:
    """Return the arguments of :func:`learn_series` for a choice, one call per seed."""
    own = json.loads(choice.attrs["options"]) if isinstance(choice, xr.Dataset) else {}
    given = {**options, **own}
    names = learnable_names(model, choice, bool(given.get("adaptation", False)))
    return [(family, model, names, given, seed, problems, math.inf) for seed in seeds]
