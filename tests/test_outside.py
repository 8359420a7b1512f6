"""Runs of other trainers in the same schema: labelled, checked, and as good as ours for explorers and analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ip2lab
from ip2lab.analysis import curves, neurons, population
from ip2lab.records import Recorder, TrainingRecorder, open_run
from ip2lab.training.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "neurons": 4,
    "model": "theirs",
    "signals": ("spikes", "membrane"),
    "weights": ("input_weights", "output_weights"),
    "properties": {"tau_soma": 20.0, "threshold": [0.5, 1.0, 1.5, 2.0]},
    "learnable": ["tau_soma"],
    "dt": 50.0,
    "criterion": 0.1,
    "window": 3,
}


def outcome(rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    logits = torch.tensor(rng.normal(size=(4, 50, 3)), requires_grad=True)
    return {
        "properties": {"tau_soma": rng.uniform(10, 30, 4), "threshold": np.ones(4)},
        "weights": {"input_weights": rng.normal(size=(4, 11)), "output_weights": rng.normal(size=(3, 4))},
        "activity": {
            "spikes": torch.tensor(rng.random((4, 50, 4)) < 0.2, dtype=torch.float32),
            "membrane": torch.tensor(rng.normal(size=(4, 50, 4)), requires_grad=True),
            "readout": torch.softmax(logits, -1),
        },
    }


def record(path: Path | None = None) -> Any:
    rng = np.random.default_rng(3)
    with TrainingRecorder("dms", **SETTINGS, path=path, config={"library": "of theirs", "rate": 0.1}) as recorder:
        for number, losses in enumerate(([0.9, 0.8, 0.05, 0.05, 0.05], [0.7] * 4, [0.01, 0.02, 0.3, 0.01, 0.02, 0.03])):
            outcomes = outcome(rng)
            for k, loss in enumerate(losses):
                extra = {"properties": outcomes["properties"]} if k % 2 else {}
                solved = recorder.trial(loss=loss, correct=loss < 0.5, condition=k % 4, response_loss=2 * loss, **extra)
                assert solved == (k >= 2 and sum(losses[k - 2 : k + 1]) < 0.3)
            if number == 1:
                recorder.problem(properties=outcomes["properties"], reason="gave up")
            else:
                recorder.problem(**outcomes)
        recorder.trial(loss=torch.tensor(0.5), correct=False, condition=0)
        return recorder.finish(complete=False)


def test_a_run_recorded_by_another_trainer_holds_what_was_given(tmp_path: Path) -> None:
    run = record(tmp_path / "run")
    series, trials = run["series"].to_dataset(), run["trials"].to_dataset()
    np.testing.assert_array_equal(series.trials_to_criterion, [2, np.nan, 3])
    np.testing.assert_array_equal(series.censored_trials, [np.nan, 1, np.nan])
    assert series.failure_reason.values.tolist() == ["", "gave up", ""]
    assert series.trials.values.tolist() == [5, 4, 6]
    assert series.last_error.values[:2].tolist() == [1, 3]
    np.testing.assert_allclose(series.loss, [0.05, 0.7, 0.02])
    assert series.accuracy.values.tolist() == [1, 0, 1]
    assert trials.problem.values.tolist() == [0] * 5 + [1] * 4 + [2] * 6 + [3]
    assert trials.trial.values.tolist() == list(range(16))
    assert trials.condition.values[:5].tolist() == [0, 1, 2, 3, 0]
    assert trials.condition.attrs["labels"][1] == "stimulus 1, none -> non-match"
    np.testing.assert_allclose(trials.response_loss[:-1], 2 * trials.loss[:-1])
    assert run["properties"].problem.values.tolist() == [-1, 0, 1, 2]
    assert run["properties"].threshold.values[0].tolist() == [0.5, 1, 1.5, 2]
    assert run["properties"].tau_soma.values[0].tolist() == [20] * 4
    assert run["trajectories"].trial.values.tolist() == [2, 4, 2, 4, 2, 4, 6]
    activity = run["activity"].to_dataset()
    assert activity.problem.values.tolist() == run["weights"].problem.values.tolist() == [0, 2]
    assert activity.spikes.dtype == bool
    assert activity.response.values.tolist() == ["match", "non-match", "non-match", "match"]
    assert activity.sel(time=1500).epoch.item() == "test"
    rate = neurons.firing_rate(activity.spikes.sel(problem=0)).mean().item()
    np.testing.assert_allclose(series.firing_rate[0], rate)
    assert np.isnan(series.firing_rate[1])
    assert run.attrs["family"] == "dms"
    assert run.attrs["learnable"] == ["tau_soma"]
    assert not run.attrs["complete"]
    assert run.attrs["config"]["library"] == "of theirs"
    assert run.attrs["config"]["problems"] == 3
    assert all(v.attrs["units"] for node in run.subtree for v in node.to_dataset().data_vars.values())
    stored = open_run(tmp_path / "run", verify=True)
    in_memory = record()
    for group in stored.children:
        drop = ["duration"] if group == "series" else []
        one, other = (tree[group].to_dataset().drop_vars(drop).load() for tree in (stored, in_memory))
        assert one.identical(other)


def test_a_run_of_another_trainer_opens_in_analyses_and_explorers() -> None:
    pytest.importorskip("ipywidgets")
    from ip2lab.views import LearningExplorer, NeuronExplorer, PopulationExplorer

    run = record()
    assert population.pca(run["activity"].membrane.sel(problem=2), n_components=2).scores.sizes["component"] == 2
    assert float(curves.final_efficiency(run["series"].to_dataset(), last=1, failures="cap")) == 3
    ours = ip2lab.train("dms", problems=2, neurons=20, max_trials=60, progress=False)
    assert list(LearningExplorer([run, ours]).runs) == ["theirs", "spiking"]
    assert PopulationExplorer(run).state["signal"] == "rate"
    NeuronExplorer(run).state = {"problem": 2}


@pytest.mark.parametrize("config", [{}, {"family": {}}, {"problems": 3}, {"problems": 3, "family": "dms"}])
def test_a_configuration_that_makes_no_series_is_refused_by_name(config: dict[str, Any]) -> None:
    run = ip2lab.train("dms", problems=1, neurons=20, max_trials=60, progress=False)
    run.attrs["config"] = config
    for call in (
        lambda: ip2lab.probe(run, 0),
        lambda: Trainer.from_attributes(run.attrs, 3),
    ):  # the second is what resume does
        with pytest.raises(ValueError, match=r"^run: its configuration \(config\) holds .*'family' .* 'problems'"):
            call()


def test_probe_replay_and_resume_refuse_a_run_of_another_trainer(tmp_path: Path) -> None:
    run = record(tmp_path / "run")
    other = r"run: its network, 'theirs', is another trainer's; only networks of ip2lab \(spiking, .*can be made again"
    for call in (
        lambda: ip2lab.probe(run, 0),
        lambda: ip2lab.replay(run, 0, 1),
        lambda: ip2lab.resume(tmp_path / "run", progress=False),
    ):
        with pytest.raises(ValueError, match=other):
            call()
    with pytest.raises(FileExistsError, match="exists already"):
        TrainingRecorder("dms", **SETTINGS, path=tmp_path / "run")


def test_a_run_being_recorded_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "due", property(lambda _: True))
    path = tmp_path / "run"
    with TrainingRecorder("association", neurons=2, path=path) as recorder:
        for number in range(1, 4):
            recorder.trial(loss=1.0, correct=False, condition=1)
            assert open_run(path)["trials"].sizes["trial"] == number
            recorder.problem()
            assert open_run(path)["series"].sizes["problem"] == number
        recorder.trial(loss=1.0, correct=False, condition=0)
    assert open_run(path, verify=True)["trials"].problem.values.tolist() == [0, 1, 2, 3]
    assert not (path / ".lock").exists()


def test_a_trial_without_a_bool_and_a_reason_without_text_are_refused() -> None:
    recorder = TrainingRecorder("association", neurons=2)
    with pytest.raises(TypeError, match="correct: 'yes' is not valid; give True or False"):
        recorder.trial(loss=1.0, correct="yes", condition=1)
    recorder.trial(loss=1.0, correct=np.True_, condition=np.int64(1))
    with pytest.raises(TypeError, match="reason: 3 is not valid; give words"):
        recorder.problem(reason=3)


def test_a_problem_of_one_trial_without_activity_is_recorded_as_failed() -> None:
    recorder = TrainingRecorder("association", neurons=2)
    recorder.trial(loss=1.0, correct=False, condition=1)
    recorder.problem()
    run = recorder.finish()
    assert run["series"].failed.values.tolist() == [True]
    assert run["series"].censored_trials.values.tolist() == [0]
    assert run["activity"].sizes["problem"] == 0
    assert run["properties"].sizes["problem"] == 2


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"family": "dsm"}, ValueError, r"unknown family 'dsm'; .*did you mean 'dms'\?"),
        ({"neurons": 0}, ValueError, "neurons is 0"),
        ({"signals": "spike"}, ValueError, r"signals: 'spike' is unknown; known: spikes, .*did you mean 'spikes'\?"),
        ({"weights": ["output_weight"]}, ValueError, r"weights: 'output_weight' is unknown; .*'output_weights'\?"),
        ({"properties": {"beta": 0.9}}, ValueError, "properties: 'beta' is unknown; known: .*tau_dendrite"),
        ({"properties": ["tau_soma", "gain"]}, TypeError, "properties: came as list; expected a mapping from names"),
        (
            {"properties": {"tau_soma": 5000.0}},
            ValueError,
            "tau_soma: 5000 is outside its bounds; give values between 2",
        ),
        (
            {"properties": {"tau_soma": [20.0]}},
            ValueError,
            r"'tau_soma' is float64 of shape \(1,\); expected numbers {'neuron': 4}",
        ),
        ({"learnable": ["gain"]}, ValueError, "learnable: 'gain' is unknown; known: tau_soma, threshold"),
        ({"window": 0}, ValueError, "window is 0; expected a whole number from 1"),
        ({"criterion": -1}, ValueError, "criterion is -1; expected a positive number"),
        ({"dt": 400}, ValueError, "dt = 400 ms leaves no step for the epoch"),
        ({"config": {"net": object()}}, TypeError, "cannot be kept as an attribute"),
        ({"config": [1]}, TypeError, r"config is \[1\], model 'theirs'; expected a mapping and a name"),
        ({"seed": "x"}, ValueError, "seed is 'x'; expected a whole number from 0"),
        ({"signals": 3}, TypeError, "signals is 3; expected names"),
        ({"signals": ()}, ValueError, "signals: there are none; expected one or more of spikes, membrane"),
    ],
)
def test_a_wrong_recorder_argument_is_refused(change: dict[str, Any], error: type[Exception], says: str) -> None:
    settings = {"family": "dms"} | SETTINGS | change
    with pytest.raises(error, match=says):
        TrainingRecorder(settings.pop("family"), **settings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"loss": np.nan},
            r"loss: nan, response_loss: None have to be finite numbers; leave the trial out and end the",
        ),
        ({"response_loss": np.inf}, "loss: 0.5, response_loss: inf have to be finite numbers"),
        ({"condition": 4}, "condition: 4 is not valid; give 0 to 3"),
        ({"loss": "low"}, "loss: 'low', response_loss: None have to be finite numbers"),
        ({"loss": [0.5]}, r"loss: \[0.5\], response_loss: None have to be finite numbers"),
        ({"condition": "match"}, "condition: 'match' is not valid; give 0 to 3"),
        ({"properties": {"tau_soma": 1}}, "properties: 'threshold' is missing; expected tau_soma, threshold"),
    ],
)
def test_a_wrong_trial_is_refused_and_not_recorded(change: dict[str, Any], says: str) -> None:
    recorder = TrainingRecorder("dms", **SETTINGS)
    with pytest.raises(ValueError, match=says):
        recorder.trial(**{"loss": 0.5, "correct": True, "condition": 0} | change)
    assert recorder.finish()["trials"].sizes["trial"] == 0


@pytest.mark.parametrize(
    ("group", "change", "says"),
    [
        ("weights", {"output_weights": None}, "weights: 'output_weights' is missing; expected input_weights, output"),
        ("weights", {"bias": np.zeros(4)}, "weights: 'bias' is unknown; expected input_weights, output_weights"),
        ("weights", {"output_weights": np.zeros((4, 3))}, r"'output_weights' is float64 of shape \(4, 3\); expected"),
        ("activity", {"readout": None}, "activity: 'readout' is missing; expected spikes, membrane, readout"),
        ("activity", {"readout": np.zeros((4, 50, 3))}, "'readout' is from 0 to 0, summing to 0; expected prob"),
        ("activity", {"membrane": np.zeros((4, 51, 4))}, r"'membrane' is float64 of shape \(4, 51, 4\); expected"),
        ("properties", {"tau_soma": 5000.0}, "tau_soma: 5000 is outside its bounds"),
        ("properties", {"tau": 50.0}, "properties: 'tau' is unknown; expected tau_soma, threshold"),
    ],
)  # fmt: skip
def test_a_wrong_array_of_a_problem_is_refused_and_not_recorded(group: str, change: dict[str, Any], says: str) -> None:
    recorder, pieces = TrainingRecorder("dms", **SETTINGS), outcome(np.random.default_rng(0))
    with pytest.raises(ValueError, match="problem: there was no trial since the last one"):
        recorder.problem(**pieces)
    recorder.trial(loss=0.5, correct=True, condition=0)
    wrong = {name: value for name, value in (pieces[group] | change).items() if value is not None}
    with pytest.raises(ValueError, match=says):
        recorder.problem(**pieces | {group: wrong})
    recorder.problem(**pieces)  # nothing of the refused one was kept
    run = recorder.finish()
    assert run["series"].sizes["problem"] == run["weights"].sizes["problem"] == run["activity"].sizes["problem"] == 1
