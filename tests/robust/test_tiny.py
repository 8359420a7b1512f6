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

TASK = family("association", stimulus=100.0, delay=100.0, response=100.0, unscored=20.0)
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
    "rate": {"model": "rate", "neurons": 6},
    "rate learning": {"model": "rate", "neurons": 6, "learnable": "tau", "singular_values": 2},
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


def test_trials_of_drawn_length_with_noisy_inputs():
    task = family("dms", stimulus=60.0, delay=(40.0, 160.0), response=100.0, unscored=20.0, noise=0.1)
    run = ip2lab.train(task, **(SMALL | {"criterion": 1e-9}))
    assert ip2lab.replay(run, 0, 9).attrs["identical"]


@pytest.mark.parametrize("settings", [{}, {"adaptation": True, "refractory": 40.0}, {"readout": "membrane"}])
def test_gradients_of_a_tiny_module(settings):
    net = SpikingNetwork(3, 2, 4, dtype=torch.float64, seed=0, **settings)
    inputs = torch.as_tensor(np.random.default_rng(0).normal(size=(2, 9, 3)))
    gradients = {}
    for compiled in (True, False):
        net.zero_grad()
        net(inputs, compiled=compiled).logits.square().sum().backward()
        gradients[compiled] = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    assert len(gradients[True]) == len(gradients[False]) >= 5
    for one, other in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
