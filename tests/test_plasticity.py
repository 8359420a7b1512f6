"""The slow level: the known best is found, equals are called equal, and seeds are not used twice."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

import ip2lab
from ip2lab import plasticity
from ip2lab.plasticity import evaluate, learn_series, subsets
from ip2lab.properties import PROPERTIES
from ip2lab.training.options import learnable_names, rates_by_parameter, resolve

NAMES = ("tau_dendrite", "tau_soma", "threshold")
SMALL = {"neurons": 20, "max_trials": 100, "window": 20, "criterion": 0.3}


def search_plasticity(*given, **asked):
    """Search among the subsets of the paper's three unless a test names other candidates."""
    return plasticity.search_plasticity(*given, **{"candidates": subsets(NAMES)} | asked)


def synthetic(worth, noise, unlucky=0.0):
    """Return what stands in for learning: trials that a configuration takes, known up to noise.

    A share of the runs that is `unlucky` takes twenty times the trials, as one that all but fails does.
    """

    def learn(family, model, learnable, options, seed, problems, budget, state=None):
        rng = np.random.default_rng([seed, *(list(PROPERTIES).index(name) for name in learnable)])
        common = np.random.default_rng(seed).normal()  # some seeds are hard for all
        needed = problems * math.exp(5 + worth(set(learnable)) + common + noise * rng.normal())
        needed *= 20 if rng.random() < unlucky else 1
        taken = min(needed, budget)
        whole = taken == needed
        return {
            "trials": taken, "problems_done": problems if whole else 0, "failed": 0, "late_trials": taken / problems,
            "stopped": not whole, "cost": taken, "state": None,
        }  # fmt: skip

    return learn


@pytest.mark.parametrize("method", ["halving", "exhaustive"])
@pytest.mark.parametrize("best", subsets(NAMES))
def test_the_best_subset_is_found(monkeypatch, method, best):
    worth = lambda chosen: 0.8 * len(chosen ^ set(best))  # noqa: E731
    monkeypatch.setattr(plasticity, "learn_series", synthetic(worth, 0.05))
    found = search_plasticity("dms", seeds=range(7), problems=20, method=method, progress=False)
    assert found.attrs["decision"] == list(best)
    assert found.attrs["difference"] == "clear"
    assert "fewest trials by a factor of" in found.attrs["reason"]


@pytest.mark.parametrize("method", ["halving", "exhaustive"])
@pytest.mark.parametrize("number", [2, 3, 5, 8])
def test_the_same_candidate_twice_is_no_difference(monkeypatch, method, number):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda _: 0.0, 0.3))
    candidates = ["tau_soma"] * number
    found = search_plasticity("dms", seeds=range(8), problems=20, candidates=candidates, method=method, progress=False)
    assert found.attrs["difference"] == "no difference"
    assert found.attrs["decision"] == ["tau_soma"]


def test_long_arrays_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda _: 0.0, 0.3))
    values = np.linspace(20.0, 30.0, 2000)
    other = np.where(np.arange(2000) == 1000, 31.0, values)  # where str() of an array writes dots
    asked = {"seeds": range(4), "problems": 20, "progress": False, "path": tmp_path / "found.json"}
    starts = [{"tau_soma": values}, {"tau_soma": other}]
    candidates = [{"learnable": "threshold", "start": start} for start in starts]
    found = search_plasticity("dms", candidates=candidates, **asked)
    assert len(set(found.configuration.values)) == 2 and all(len(name) < 80 for name in found.configuration.values)
    chosen = json.loads(found.attrs["options"])["start"]["tau_soma"]
    assert chosen == starts[list(found.configuration.values).index(found.attrs["chosen"])]["tau_soma"].tolist()
    assert search_plasticity("dms", candidates=candidates, **asked).identical(found)
    with pytest.raises(ValueError, match="holds a search with configurations"):
        search_plasticity("dms", candidates=[candidates[0], {"learnable": "threshold"}], **asked)
    asked["path"] = tmp_path / "common.json"
    search_plasticity("dms", candidates=[None, "threshold"], start=starts[0], **asked)
    with pytest.raises(ValueError, match="holds a search with common"):
        search_plasticity("dms", candidates=[None, "threshold"], start=starts[1], **asked)


@pytest.mark.parametrize("number", range(3, 10))
def test_halving_leaves_two_candidates_for_the_last_round(monkeypatch, number):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda chosen: 0.1 * len(chosen), 0.01))
    candidates = [{"learnable": NAMES[: k % 4], "start": {"tau_dendrite": 100 + k}} for k in range(number)]
    found = search_plasticity("dms", seeds=range(8), problems=20, candidates=candidates, progress=False)
    raced = found.trials.notnull().any("seed").sum("configuration").values
    assert raced[0] == number
    assert raced[-1] == 2
    assert all(after == math.ceil(before / 2) for before, after in pairwise(raced))


@pytest.mark.parametrize("unlucky", [0.0, 0.15])
@pytest.mark.parametrize("number", [2, 4, 8])
@pytest.mark.parametrize("method", ["halving", "exhaustive"])
def test_equal_candidates_are_called_clearly_different_in_five_percent(monkeypatch, method, number, unlucky):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda _: 0.0, 0.3, unlucky))
    clear, searches = 0, 200
    asked = {"problems": 20, "method": method, "candidates": subsets(NAMES)[:number], "progress": False}
    for first in range(0, 20 * searches, 20):
        found = search_plasticity("dms", seeds=range(first, first + 20), **asked)
        clear += found.attrs["difference"] == "clear"
        if found.attrs["difference"] != "clear":
            assert found.attrs["reason"].startswith("no difference between")
    assert clear / searches < plasticity.ALPHA + 4 * math.sqrt(plasticity.ALPHA * 0.95 / searches)


def test_halving_costs_a_quarter(monkeypatch):
    worth = lambda chosen: 2.0 - 0.9 * len(chosen & {"tau_dendrite", "tau_soma"})  # noqa: E731
    monkeypatch.setattr(plasticity, "learn_series", synthetic(worth, 0.1))
    one = search_plasticity("dms", seeds=range(8), problems=40, progress=False)
    other = search_plasticity("dms", seeds=range(8), problems=40, method="exhaustive", progress=False)
    assert one.attrs["cost"] < 0.25 * other.attrs["cost"]
    assert one.attrs["decision"] == other.attrs["decision"] == ["tau_dendrite", "tau_soma"]


def test_what_was_given_up_is_not_run_again(monkeypatch):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda chosen: 1.0 * ("threshold" in chosen), 0.05))
    found = search_plasticity("dms", seeds=range(7), problems=20, progress=False)
    assert found.trials.dims == ("configuration", "seed", "round")
    assert found.problems.values.tolist() == [5, 10, 20]
    ran = found.trials.notnull()
    assert (ran.any("seed").sum("configuration") == [8, 4, 2]).all()
    for name in found.configuration.values:
        last = int(found.given_up.sel(configuration=name))
        rounds = ran.sel(configuration=name).any("seed").values
        assert rounds.tolist() == [r <= (2 if last < 0 else last) for r in range(3)]
    per_seed = ran.any("configuration").sum("round")
    assert (per_seed == 1).all()  # a seed belongs to one round
    for variable in found.data_vars.values():
        assert {"units", "long_name"} <= set(variable.attrs)


def test_a_search_on_real_networks_is_stored_and_used(tmp_path):
    path = tmp_path / "search.json"
    asked = {"seeds": [1, 2, 3], "problems": 2, "candidates": [None, "tau_dendrite"], "progress": False}
    found = search_plasticity("association", **asked, path=path, **SMALL)
    again = search_plasticity("association", **asked, path=path, **SMALL)
    assert again.identical(found)
    run = ip2lab.train("association", learnable=found, problems=1, progress=False, **SMALL)
    assert run.attrs["learnable"] == found.attrs["decision"]
    with pytest.raises(ValueError, match=r"holds a search with problems 2, not 3; give another path"):
        search_plasticity("association", **asked | {"problems": 3}, path=path, **SMALL)


@pytest.mark.parametrize("interrupted_after", [1, 5, 17])
def test_an_interrupted_search_goes_on(monkeypatch, tmp_path, interrupted_after):
    learn = synthetic(lambda chosen: 0.3 * len(chosen), 0.3)
    asked = {"seeds": range(7), "problems": 20, "progress": False}
    monkeypatch.setattr(plasticity, "learn_series", learn)
    whole = search_plasticity("dms", **asked)
    calls = []

    def interrupted(*given):
        calls.append(given)
        if len(calls) > interrupted_after:
            raise KeyboardInterrupt
        return learn(*given)

    path = tmp_path / "search.json"
    monkeypatch.setattr(plasticity, "learn_series", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search_plasticity("dms", **asked, path=path)
    part = tmp_path / "search.json.part"
    part.write_text(part.read_text() + '\n{"cut": {"tri')  # killed while it wrote
    with pytest.raises(ValueError, match=r"part holds a search with problems 20, not 10; give another path"):
        search_plasticity("dms", **asked | {"problems": 10}, path=path)
    before = len(calls)
    monkeypatch.setattr(plasticity, "learn_series", lambda *given: calls.append(given) or learn(*given))
    assert search_plasticity("dms", **asked, path=path).identical(whole)
    again = len(calls) - before
    search_plasticity("dms", **asked)
    assert again == len(calls) - before - again - interrupted_after  # nothing is done twice
    assert not part.exists()


def test_progress_counts_every_run(monkeypatch, capsys):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda chosen: 1.0 * len(chosen), 0.1))
    search_plasticity("dms", seeds=range(7), problems=20, progress=True)
    shown = capsys.readouterr().err
    assert "30/30" in shown  # eight configurations with two seeds, four with two, two with three
    assert "round 3 of 3, 2 configurations" in shown


def test_a_search_over_starts_labels_and_chooses_fixed_values():
    candidates = [{"start": {"tau_dendrite": 100}}, {"start": {"tau_dendrite": 1500}, "learnable": "tau_soma"}]
    found = search_plasticity(
        "association", seeds=[1, 2, 3], problems=1, candidates=candidates, progress=False, **SMALL
    )
    assert found.configuration.values.tolist() == [
        "nothing; start=tau_dendrite=100",
        "tau_soma; start=tau_dendrite=1500",
    ]
    run = ip2lab.train("association", learnable=found, problems=1, progress=False, **SMALL)
    chosen = candidates[found.configuration.values.tolist().index(found.attrs["chosen"])]
    assert run.attrs["config"]["start"] == chosen["start"]


def test_a_stopped_series_continues_as_if_never_stopped():
    family = ip2lab.family("association")
    arguments = (family, "spiking", ("tau_dendrite",), SMALL, 3, 3)
    whole = learn_series(*arguments, math.inf)
    part = learn_series(*arguments, 50.5)
    assert part["stopped"]
    assert part["cost"] == 50
    rest = learn_series(*arguments, math.inf, part["state"])
    assert (rest["trials"], rest["cost"]) == (whole["trials"], whole["cost"])
    for name, value in whole["state"]["checkpoint"].items():
        if name != "measures":  # holds the computing time
            assert (value == rest["state"]["checkpoint"][name]).all(), name


def test_a_run_goes_on_though_no_checkpoints_are_to_be_recorded():
    arguments = (ip2lab.family("association"), "spiking", (), SMALL | {"record": {"checkpoints": False}}, 3, 2)
    part = learn_series(*arguments, 30)
    assert learn_series(*arguments, math.inf, part["state"])["trials"] == learn_series(*arguments, math.inf)["trials"]


def test_an_executor_changes_nothing():
    asked = {"seeds": [1, 2, 3], "problems": 1, "candidates": [None, "tau_soma"], "progress": False, **SMALL}
    with ThreadPoolExecutor(2) as pool:
        assert search_plasticity("association", **asked).identical(
            search_plasticity("association", executor=pool, **asked)
        )


def test_invalid_choices_of_evaluate_are_refused():
    with pytest.raises(TypeError, match=r"choices: \['tau_soma'\] is not valid; give a mapping of names"):
        evaluate(["tau_soma"], "dms", seeds=[1], problems=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"problems: 'x' is not valid; give a whole number from 1"):
        evaluate({"nothing": None}, "dms", seeds=[1], problems="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"names: 1000 of them have 2\*\*1000 subsets"):
        plasticity.subsets(map(str, range(1000)))


def test_searches_and_judgement_have_seeds_of_their_own(monkeypatch):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda chosen: 0.5 * len(chosen), 0.0))
    found = search_plasticity("dms", seeds=range(7), problems=4, progress=False)
    judged = evaluate({"found": found, "all": NAMES}, "dms", seeds=[20, 21, 22], problems=4)
    assert float(judged.regret[0]) == 0
    assert float(judged.regret[1]) == pytest.approx(math.exp(1.5) - 1)
    assert (judged.low <= judged.regret).all()
    with pytest.raises(ValueError, match=r"seeds: \[3\] were used to find 'found'; evaluate it on others"):
        evaluate({"found": found}, "dms", seeds=[3, 30], problems=4)
    asked = {"problems": 4, "method": "exhaustive", "progress": False}
    choices = {"found": found, "best": search_plasticity("dms", seeds=[6, 7], **asked)}
    with pytest.raises(
        ValueError, match=r"seeds: \[6\] were used to find 'found' and 'best'; find each on seeds of its"
    ):
        evaluate(choices, "dms", seeds=[20, 21], problems=4)
    with pytest.raises(ValueError, match=r"seeds: \[7\] were used to find 'best'; evaluate it on others"):
        evaluate(choices | {"best": search_plasticity("dms", seeds=[7, 8], **asked)}, "dms", seeds=[7, 20], problems=4)
    choices["best"] = search_plasticity("dms", seeds=[7, 8], **asked)
    assert float(evaluate(choices, "dms", seeds=[20, 21], problems=4).regret[1]) == pytest.approx(0)
    choices["best"] = search_plasticity("gng_dr_2", seeds=[5, 6], **asked)  # another family's mask
    assert evaluate(choices, "dms", seeds=[20, 21], problems=4).sizes["seed"] == 2


@pytest.mark.parametrize(
    ("changes", "wording"),
    [
        ({"seeds": [1, 1, 2, 3]}, r"seeds: \[1, 1, 2, 3\] has one of them twice"),
        ({"seeds": [1]}, r"seeds: 1 are too few to choose among 8; give 4 or more"),
        ({"candidates": ["tau_soma"]}, r"candidates: 1 of them leave nothing to choose; give two or more"),
        ({"candidates": [None, "tau"]}, r"learnable: this network has no property 'tau'"),
        ({"seeds": [1, 2.5, 3, 4]}, r"seeds: 2.5 is not valid; give a whole number from 0"),
        ({"method": "grid"}, r"method: 'grid' is unknown; known: 'halving', 'exhaustive'"),
    ],
)
def test_a_wrong_argument_of_a_search_is_refused_by_name(changes, wording):
    with pytest.raises(ValueError, match=wording):
        search_plasticity("dms", **{"seeds": range(5), "problems": 2, "progress": False} | changes)


def test_a_single_seed_and_an_empty_list_are_refused():
    with pytest.raises(TypeError, match=r"seeds: 5 is not valid; give a list of whole numbers"):
        search_plasticity("dms", seeds=5, problems=2)
    with pytest.raises(ValueError, match=r"seeds: there is none; give one or more"):
        evaluate({"all": "all"}, "dms", seeds=[], problems=2)
    with pytest.raises(ValueError, match=r"choices: there is none; give one or more"):
        evaluate({}, "dms", seeds=[1], problems=2)
    with pytest.raises(ValueError, match=r"seeds: \[4, 4\] has one of them twice"):
        evaluate({"all": "all"}, "dms", seeds=[4, 4], problems=2)


# ---------------------------------------------------------------- the fast level: masks and ablations, one word each


def test_a_random_subset_is_drawn_from_the_seed():
    drawn = [learnable_names("spiking", "random", seed=seed) for seed in range(200)]
    assert drawn == [learnable_names("spiking", "random", seed=seed) for seed in range(200)]
    assert set(drawn) == set(subsets(("bias", *NAMES))) - {()}  # every one of the fifteen turns up
    assert learnable_names("attention", "random", seed=3) == ()


def test_uniform_gives_every_property_the_same_rate():
    names = [f"free.{name}" for name in NAMES]
    options = resolve("spiking", {"property_learning_rate": "uniform", "learning_rate": 0.002})
    assert rates_by_parameter(options, NAMES, names) == dict.fromkeys(names, 0.02)


@pytest.mark.parametrize(("word", "expected"), [("short", 50), ("long", 1000), ("homogeneous", 100)])
def test_a_start_named_by_a_word_sets_the_time_constants(word, expected):
    for model, name in (("spiking", "tau_dendrite"), ("rate", "tau")):
        run = ip2lab.train("association", model, start=word, problems=1, progress=False, max_trials=30, window=20)
        born = run["properties"][name].sel(problem=-1).values
        assert born == pytest.approx(np.full(100, expected), rel=1e-4)


@pytest.mark.parametrize("learnable", [None, "tau_soma", ("tau_dendrite", "threshold"), ("tau_soma", "gain"), "all"])
def test_a_mask_freezes_bitwise_and_moves_the_rest(learnable):
    options = SMALL | {"adaptation": learnable == "all"}
    run = ip2lab.train("dms", learnable=learnable, problems=2, progress=False, **options)
    for name, values in run["properties"].data_vars.items():
        same = values.values == values.values[0]
        assert (not same[1:].any(0).all()) if name in run.attrs["learnable"] else same.all(), name


def test_without_candidates_every_subset_of_what_the_network_has_is_tried(monkeypatch):
    monkeypatch.setattr(plasticity, "learn_series", synthetic(lambda chosen: -len(chosen), 0.05))
    found = plasticity.search_plasticity("dms", seeds=range(8), problems=20, progress=False)
    assert found.sizes["configuration"] == 16
    assert found.attrs["decision"] == ["bias", *NAMES]
