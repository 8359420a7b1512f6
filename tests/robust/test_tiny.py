"""Tiny trainings of every kind of network and option.

`make coverage` runs them with the compiler off too, so that lines of compiled code count.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ip2lab
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.tasks import family
from ip2lab.training.trainer import Trainer

# with the compiler off, Python warns of the integers of the random numbers, which wrap around on purpose
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar:RuntimeWarning")

TASK = family("association", stimulus=100.0, delay=100.0, response=100.0, grace_period=20.0)
SMALL = {"neurons": 4, "max_trials": 14, "window": 5, "criterion": 0.4, "problems": 2, "seed": 1, "progress": False}
KINDS = {
    "default": {},
    "nothing": {"learnable": None},
    "adapting": {"adaptation": True, "learnable": "all", "start": "heterogeneous", "dt": 10.0, "refractory": 20.0},
    "membrane": {"readout": "membrane"},
    "no spikes": {"readout": "membrane", "spiking": False},
    "feedforward": {"recurrent": False},
    "gain": {"learnable": "gain", "autapses": True, "clip": 0.0},
    "penalties": {"l2": 0.01, "rate_weight": 0.01, "dtype": "float64", "noise": 0.0},
    "frozen": {"frozen": ["input_weights", "recurrent_weights", "bias", "output_bias"], "freeze_after": 0},
    "rate": {"model": "rate", "neurons": 6, "noise": 0.0},
    "rate learning": {"model": "rate", "neurons": 6, "learnable": "tau", "l2": 0.01, "singular_values": 2},
    "filters": {"model": "filters"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_trial_is_finite_and_can_be_done_again(kind):
    run = ip2lab.train(TASK, **(SMALL | KINDS[kind]))
    assert run.attrs["complete"]
    for group in ("trials", "properties", "weights", "activity"):
        for name, variable in run[group].data_vars.items():
            assert variable.dtype.kind != "f" or np.isfinite(variable.values).all(), f"{group}/{name}"
    trials = int(run["series"].trials[1])
    again = ip2lab.replay(run, 1, trials - 1)
    assert again.attrs["identical"]


def test_trials_of_random_length_with_noisy_inputs_replay_identically():
    task = family("dms", stimulus=60.0, delay=(40.0, 160.0), response=100.0, grace_period=20.0, noise=0.1)
    run = ip2lab.train(task, **(SMALL | {"criterion": 1e-9}))
    assert ip2lab.replay(run, 0, 9).attrs["identical"]


@pytest.mark.parametrize("model", ["spiking", "rate"])
def test_training_ends_where_it_is_solved_or_explodes(monkeypatch, model):
    easy = SMALL | {"model": model, "criterion": 100.0}
    run = ip2lab.train(TASK, **easy)
    assert run["series"].trials.values.tolist() == [6, 6] and not run["series"].failed.any()
    begin = Trainer._begin

    def explode(self):
        begin(self)
        with torch.no_grad():
            self.network.output_weights[1] = float("nan")

    monkeypatch.setattr(Trainer, "_begin", explode)
    series = ip2lab.train(TASK, **easy)["series"]
    assert series.failure_reason.values.tolist() == ["loss not finite"] * 2 and not series.trials.any()


@pytest.mark.parametrize("trials", [2, 4, 18])  # one after the other, side by side, more than go side by side
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"adaptation": True, "refractory": 40.0},
        {"readout": "membrane", "recurrent": False},
        {"readout": "membrane", "spiking": False},
    ],
)
def test_gradients_of_a_tiny_network_equal_those_of_the_plain_loop(settings, smooth, trials):
    """Also by the inputs, through the logits and all else, where few and where many spikes pass some on."""
    net = SpikingNetwork(3, 2, 5, dtype=torch.float64, seed=0, **settings)
    if smooth and net.model.spiking:
        net.model = net.model._replace(spiking=2)
    rng = np.random.default_rng(0)
    inputs = torch.as_tensor(rng.normal(size=(trials, 9, 3))).requires_grad_()
    gradients = {}
    for compiled in (True, False):
        done = net(inputs, compiled=compiled)
        through = (done.logits,) if smooth else (done.logits, done.membrane, done.spikes)
        loss = sum(part.square().sum() for part in through)
        learnt = [inputs, *(p for p in net.parameters() if p.requires_grad)]
        gradients[compiled] = torch.autograd.grad(loss, learnt, allow_unused=True, materialize_grads=True)
    assert len(gradients[True]) == 9 and gradients[True][0].any()
    for one, other in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
