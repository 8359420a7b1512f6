"""The five families against a table written by hand, and a sixth one that a user defines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ip2lab
from ip2lab.tasks import FIXATION_INPUT, Epoch, Family, Problem, families, family

# epochs: name, from, to (ms), scored
REST = [("stimulus", 0, 500, True), ("delay", 500, 1500, True)]
AT_1500 = [*REST, ("response onset", 1500, 1600, False), ("response", 1600, 2000, True)]
AT_2000 = [*REST, ("test", 1500, 2000, True), ("response onset", 2000, 2100, False), ("response", 2100, 2500, True)]
FIX = "fixation"
# conditions: stimulus, test, context, response, and what is shown in each epoch:
# S1 .. S4 stimuli, C1 C2 context cues, f fixation, g go, n no-go
TABLE = {
    "association": (
        AT_1500,
        11,
        ["response 1", "response 2", FIX],
        [
            ("stimulus 1", None, "none", "response 1", "S1f f . ."),
            ("stimulus 2", None, "none", "response 2", "S2f f . ."),
        ],
    ),
    "dms": (
        AT_2000,
        11,
        ["match", "non-match", FIX],
        [
            ("stimulus 1", "test 1", "none", "match", "S1f f S1f . ."),
            ("stimulus 1", "test 2", "none", "non-match", "S1f f S2f . ."),
            ("stimulus 2", "test 1", "none", "non-match", "S2f f S1f . ."),
            ("stimulus 2", "test 2", "none", "match", "S2f f S2f . ."),
        ],
    ),
    "cd_dms": (
        AT_2000,
        21,
        ["match", "non-match", FIX],
        [
            ("stimulus 1", "test 1", "context 1", "match", "S1C1f f S1f . ."),
            ("stimulus 1", "test 2", "context 1", "non-match", "S1C1f f S2f . ."),
            ("stimulus 2", "test 1", "context 1", "non-match", "S2C1f f S1f . ."),
            ("stimulus 2", "test 2", "context 1", "match", "S2C1f f S2f . ."),
            ("stimulus 1", "test 1", "context 2", "non-match", "S1C2f f S1f . ."),
            ("stimulus 1", "test 2", "context 2", "match", "S1C2f f S2f . ."),
            ("stimulus 2", "test 1", "context 2", "match", "S2C2f f S1f . ."),
            ("stimulus 2", "test 2", "context 2", "non-match", "S2C2f f S2f . ."),
        ],
    ),
    "gng_dr_2": (
        AT_1500,
        13,
        ["response 1", "response 2", FIX],
        [
            ("stimulus 1", None, "go", "response 1", "S1f f g g"),
            ("stimulus 1", None, "no-go", FIX, "S1f f n n"),
            ("stimulus 2", None, "go", "response 2", "S2f f g g"),
            ("stimulus 2", None, "no-go", FIX, "S2f f n n"),
        ],
    ),
    "gng_dr_4": (
        AT_1500,
        13,
        ["response 1", "response 2", "response 3", "response 4", FIX],
        [
            ("stimulus 1", None, "go", "response 1", "S1f f g g"),
            ("stimulus 1", None, "no-go", FIX, "S1f f n n"),
            ("stimulus 2", None, "go", "response 2", "S2f f g g"),
            ("stimulus 2", None, "no-go", FIX, "S2f f n n"),
            ("stimulus 3", None, "go", "response 3", "S3f f g g"),
            ("stimulus 3", None, "no-go", FIX, "S3f f n n"),
            ("stimulus 4", None, "go", "response 4", "S4f f g g"),
            ("stimulus 4", None, "no-go", FIX, "S4f f n n"),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_conditions_epochs_masks_and_labels(name):
    epochs, channels, outputs, conditions = TABLE[name]
    problem = family(name).problem(seed=5)
    trials = problem.trials()
    assert trials.inputs.shape == (len(conditions), epochs[-1][2] / 20, channels)
    assert trials.output.values.tolist() == outputs
    for label, column in (("stimulus", 0), ("context", 2), ("response", 3)):
        assert problem.labels[label] == [row[column] for row in conditions]
    if name.endswith("dms"):
        assert problem.labels["test"] == [row[1] for row in conditions]
    response_starts = epochs[-1][1] - 100
    for epoch, start, stop, scored in epochs:
        inside = trials.sel(time=slice(start, stop - 1))
        assert (inside.epoch == epoch).all()
        assert (inside.scored == scored).all()
        for k, row in enumerate(conditions):
            right = row[3] if start >= response_starts else FIX
            assert (inside.target[k] == outputs.index(right)).all()


@pytest.mark.parametrize("name", TABLE)
def test_each_condition_shows_its_patterns_in_its_epochs(name):
    epochs, _, _, conditions = TABLE[name]
    trials = family(name).problem(seed=5).trials()
    seen: dict[str, np.ndarray] = {}  # each token is one pattern, wherever it appears
    for k, row in enumerate(conditions):
        for (epoch, start, stop, _), token in zip(epochs, row[4].split(), strict=True):
            shown = trials.inputs[k].sel(time=slice(start, stop - 1)).values
            assert (shown == shown[0]).all(), epoch
            assert np.allclose(shown[0], seen.setdefault(token, shown[0]), atol=0), (epoch, token)
            by_name = dict(zip(trials.input.values, shown[0], strict=True))
            assert by_name["fixation"] == (FIXATION_INPUT if token.endswith("f") else 0)
            assert by_name.get("go", 0) == (token == "g")
            assert by_name.get("no-go", 0) == (token == "n")
            stimulus = np.array([v for c, v in by_name.items() if c.startswith("stimulus")])
            cue = np.array([v for c, v in by_name.items() if c.startswith("cue")])
            assert np.isclose(np.linalg.norm(stimulus), float("S" in token))
            assert np.isclose(np.linalg.norm(cue), float("C" in token))
    patterns = np.array([v for token, v in seen.items() if "S" in token and "f" in token])
    assert len(np.unique(patterns, axis=0)) == len(patterns)


@given(seed=st.integers(0, 10**6), name=st.sampled_from(list(TABLE)), overlap=st.floats(0, 0.9))
def test_stimuli_have_the_overlap_that_was_asked_for(seed, name, overlap):
    problem = family(name, overlap=overlap).problem(seed)
    stimuli = np.unique(problem.inputs[:, 0, :10].round(9), axis=0)
    cosines = stimuli @ stimuli.T
    assert np.allclose(cosines, np.where(np.eye(len(stimuli)), 1, overlap), atol=1e-6)
    again = family(name, overlap=overlap).problem(seed)
    assert (again.inputs == problem.inputs).all()
    assert (family(name, overlap=overlap).problem(seed + 1).inputs[:, 0] != problem.inputs[:, 0]).any()


@pytest.mark.parametrize("name", TABLE)
def test_timing_settings_change_the_epochs(name):
    settings = {"stimulus": 300.0, "delay": (200.0, 800.0), "response": 400.0, "grace_period": 60.0, "stimuli": 3}
    chosen = family(name, **settings)
    assert chosen.settings() == {**family(name).settings(), **settings}
    trials = chosen.problem(0).trials(np.zeros(50, int), seed=1)
    lengths = (trials.epoch == "delay").sum("time") * 20
    assert 200 <= lengths.min() < 300
    assert 700 < lengths.max() <= 800
    assert (lengths % 20 == 0).all()
    assert ((trials.epoch == "stimulus").sum("time") == 15).all()
    assert ((trials.epoch == "response").sum("time") == 17).all()
    assert set(chosen.problem(0).labels["stimulus"]) == {"stimulus 1", "stimulus 2", "stimulus 3"}


# the same by hand with stimuli of 300 ms, a delay of 700 ms, tests of 400 ms and 260 ms of response of which 60 do not
# count: epochs of one trial, and with three stimuli the right response of each condition
SHORT = {"stimulus": 300, "delay": 700, "response": 260, "grace_period": 60, "stimuli": 3}
BRIEF = [("stimulus", 0, 300), ("delay", 300, 1000), ("response onset", 1000, 1060), ("response", 1060, 1260)]
TESTED = [*BRIEF[:2], ("test", 1000, 1400), ("response onset", 1400, 1460), ("response", 1460, 1660)]
MATCHES = ["match", "non-match", "non-match", "non-match", "match", "non-match", "non-match", "non-match", "match"]
SWAPPED = ["non-match", "match", "match", "match", "non-match", "match", "match", "match", "non-match"]
RECALLED = ["response 1", FIX, "response 2", FIX, "response 3", FIX]
SETTABLE = {
    "association": (BRIEF, ["response 1", "response 2", "response 3"]),
    "dms": (TESTED, MATCHES),
    "cd_dms": (TESTED, MATCHES + SWAPPED),
    "gng_dr_2": (BRIEF, RECALLED),
    "gng_dr_4": (BRIEF, RECALLED),
}


@pytest.mark.parametrize("name", SETTABLE)
def test_timing_and_number_of_stimuli_by_hand(name):
    epochs, responses = SETTABLE[name]
    settings = SHORT | ({"test": 400} if name.endswith("dms") else {})
    for delay in (700, (400, 1000)):  # without a seed a drawn delay has its middle length
        problem = family(name, **settings | {"delay": delay}).problem(3)
        trials = problem.trials(dt=10)
        assert trials.sizes["time"] == epochs[-1][2] / 10
        assert trials.response.values.tolist() == responses
        for epoch, start, stop in epochs:
            inside = trials.sel(time=slice(start, stop - 1))
            assert (inside.epoch == epoch).all()
            assert inside.sizes["time"] == (stop - start) / 10
            right = [trials.output.values.tolist().index(r if epoch.startswith("response") else FIX) for r in responses]
            assert (inside.target.values == np.array(right)[:, None]).all()
            assert (inside.scored == (epoch != "response onset")).all()
    outputs = {"association": 3, "dms": 2, "cd_dms": 2}.get(name, 3)
    assert trials.sizes["output"] == outputs + 1


@pytest.mark.parametrize("name", TABLE)
def test_input_noise_has_the_standard_deviation_asked_for(name):
    trials = family(name, noise=0.2).problem(0).trials(np.zeros(200, int), seed=1)
    clean = family(name).problem(0).trials(np.zeros(200, int)).inputs
    spread = float((trials.inputs - clean).std())
    # a standard deviation estimated from n samples errs by sigma / sqrt(2n); six of those
    assert abs(spread - 0.2) < 6 * 0.2 / np.sqrt(2 * clean.size)


@pytest.mark.parametrize(
    ("name", "settings", "error", "wording"),
    [
        ("dms", {"test": 0}, ValueError, r"test: 0 is not valid; give a positive number of ms"),
        ("gng_dr_2", {"test": 500}, TypeError, r"family 'gng_dr_2' has no setting 'test'; it has stimulus"),
        ("gng_dr_4", {"stimuli": 10}, ValueError, r"stimuli: 10 stimuli do not fit 10 channels; give 2 to 9"),
        ("cd_dms", {"overlap": 1}, ValueError, r"overlap: 1 is not valid; give a cosine"),
        ("dsm", {}, ValueError, r"unknown family 'dsm'; known: association, dms"),
    ],
)
def test_bad_settings_are_named(name, settings, error, wording):
    with pytest.raises(error, match=wording):
        family(name, **settings)


def reversal() -> type[Family]:
    """Define a sixth family as a user would, in one cell."""

    @dataclass(frozen=True)
    class Reversal(Family):
        name = "reversal"

        def problem(self, seed):
            plain = family("association", stimulus=self.stimulus, delay=self.delay).problem(seed)
            return replace(plain, targets=np.where(plain.targets < 2, 1 - plain.targets, plain.targets))

    return Reversal


def test_a_sixth_family_is_trained_and_resumed(tmp_path):
    chosen = reversal()(delay=200.0)
    path = tmp_path / "run.zarr"
    ip2lab.train(chosen, problems=1, neurons=20, max_trials=60, path=path, progress=False)
    run = ip2lab.resume(path, problems=2, progress=False)
    assert run.attrs["family"] == "reversal"
    assert run.attrs["config"]["family"]["delay"] == 200.0
    assert "reversal" in families()
    assert reversal().name == "reversal"  # the cell run again is no error


def test_names_of_families_are_their_own():
    with pytest.raises(TypeError, match=r"the family Nameless has the name None; give it one of its own: name = "):
        type("Nameless", (Family,), {})
    with pytest.raises(TypeError, match=r"the name 'dms' is that of ip2lab.tasks.dms.DMS; choose another one"):
        type("Other", (Family,), {"name": "dms", "__module__": "somewhere"})
    with pytest.raises(TypeError, match=r"is made already; set delay where it is made"):
        family(family("dms"), delay=5)


def test_a_problem_given_as_tables_draws_trials():
    epochs = (Epoch("cue", 100), Epoch("response", 100))
    inputs = np.arange(4.0).reshape(2, 2, 1)
    labels = {"stimulus": ["a", "b"], "response": ["x", "y"], "context": ["none", "none"]}
    problem = Problem(inputs, np.array([[2, 0], [2, 1]]), epochs, labels, ("in",), ("x", "y", "fixation"))
    trials = problem.trials([1], dt=50)
    assert trials.inputs[0, :, 0].values.tolist() == [2, 2, 3, 3]
    assert all(after >= before for before, after in pairwise(trials.time.values))
    with pytest.raises(ValueError, match="dt = 400 ms leaves no step for the epoch 'cue'"):
        problem.trials(dt=400)


SETTINGS = [(10, 0.0), (10, 0.4), (5, 0.0), (7, 0.7)]  # channels, overlap
DRAWS = 1500


@cache
def drawn_sets(name: str, channels: int, overlap: float) -> list[np.ndarray]:
    """Return what many problems show, (draw, pattern, channel): their stimuli and, where there are any, their cues."""
    problems = [family(name, channels=channels, overlap=overlap).problem(seed) for seed in range(DRAWS)]
    places = {}
    for k, label in enumerate(problems[0].labels["stimulus"]):
        places.setdefault(label, k)
    sets = [np.array([p.inputs[list(places.values()), 0, :channels] for p in problems])]
    cues = [n for n, channel in enumerate(problems[0].input_names) if channel.startswith("cue")]
    if cues:
        contexts = problems[0].labels["context"]
        first = [contexts.index("context 1"), contexts.index("context 2")]
        sets.append(np.array([p.inputs[first, 0][:, cues] for p in problems]))
    return sets


@pytest.mark.parametrize(("channels", "overlap"), SETTINGS)
@pytest.mark.parametrize("name", families())
def test_patterns_of_many_problems_point_everywhere_alike(name, channels, overlap):
    """A channel of a uniform unit vector in c dims has the density of 2 Beta((c-1)/2, (c-1)/2) - 1."""
    law = stats.beta((channels - 1) / 2, (channels - 1) / 2, loc=-1, scale=2)
    for shown in drawn_sets(name, channels, overlap):
        for pattern in np.moveaxis(shown, 1, 0):
            p_values = [stats.kstest(channel, law.cdf).pvalue for channel in pattern.T]
            assert min(p_values) > 1e-6


@pytest.mark.parametrize(("channels", "overlap"), SETTINGS)
@pytest.mark.parametrize("name", families())
def test_patterns_of_a_problem_are_exchangeable_and_tell_nothing_of_signs(name, channels, overlap):
    """Products of two channels average to what rotating a frame with its overlap gives, within 5 standard errors."""
    for shown in drawn_sets(name, channels, overlap):
        patterns = shown.shape[1]
        flat = shown.reshape(DRAWS, patterns * channels)
        products = flat[:, :, None] * flat[:, None, :]
        expected = np.kron(np.where(np.eye(patterns), 1, overlap), np.eye(channels)) / channels
        errors = products.std(0) / np.sqrt(DRAWS)
        assert (np.abs(products.mean(0) - expected) < 5 * errors + 1e-12).all()
        assert (np.abs(flat.mean(0)) < 5 * flat.std(0) / np.sqrt(DRAWS)).all()
        positive = (flat > 0).mean(0)
        assert (np.abs(positive - 0.5) < 2.5 / np.sqrt(DRAWS)).all()


@pytest.mark.slow
def test_a_trained_network_answers_a_new_association_at_chance():
    """What was learnt before says nothing of which response a new stimulus asks for: half of the answers are right."""
    runs = [ip2lab.train("association", problems=220, neurons=40, seed=seed, progress=False) for seed in (3, 4)]
    accuracy = np.concatenate([run["series"].zero_shot_accuracy.values[20:] for run in runs])
    error = accuracy.std(ddof=1) / np.sqrt(accuracy.size)
    assert abs(accuracy.mean() - 0.5) < 4 * error < 0.12


@pytest.mark.slow
def test_a_rule_that_never_changes_carries_over_to_new_stimuli():
    """`dms` is the stated exception: match is match whatever the stimuli."""
    options = {"start": {"tau_dendrite": (200.0, 4000.0)}, "input_gain": 24.0, "freeze_after": 0}
    run = ip2lab.train("dms", problems=100, seed=3, progress=False, **options)
    accuracy = run["series"].zero_shot_accuracy.values[20:]
    assert accuracy.mean() - 0.5 > 4 * accuracy.std(ddof=1) / np.sqrt(accuracy.size)
