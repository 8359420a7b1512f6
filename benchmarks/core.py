"""How fast the core is, beside the plain loop, the peers and the floor.

Run it with ``make bench``, or ``python benchmarks/core.py [row ...]``. Everything runs on one core, in float32. The
candidates of a comparison take turns, round by round; what is reported is the median over rounds of the CPU time, and
ratios are medians of the ratios within a round. Before anything is timed, our gradients must agree with the oracle.
Each row is kept in ``benchmarks/results/speed/``, and ``benchmarks/results/speed.md`` and ``scaling.svg`` are written
from what is there.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import floor
import jax_network
import numpy as np
import peers
import report
import runs
import torch
from measure import best_of, clock, clock_piece, interleave, ratio
from torch.nn import functional

import ip2lab
from ip2lab.networks import kernel_types
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.tasks import family
from ip2lab.training.data import TrialStream
from ip2lab.training.learners import CompiledLearner, OptimizerSettings, PlainLearner, TrialRecord

RESULTS = Path(__file__).parent / "results" / "speed"
INPUTS, OUTPUTS = 11, 3
RATES = {
    "learning_rate": 0.004,
    "property_learning_rate": {"tau_dendrite": 0.04, "tau_soma": 0.04, "threshold": 0.0012},
}


def floor_clocks(case: floor.Case, parameters: int | None) -> dict[str, Callable[[], float]]:
    """Return one clock a piece and form, named ``floor: piece: form``."""
    return {
        f"floor: {name}: {form}": clock_piece(piece)
        for name, forms in floor.pieces(case, parameters).items()
        for form, piece in forms.items()
    }


def floor_times(taken: dict[str, list[float]]) -> tuple[list[float], dict[str, tuple[str, float]]]:
    """Return the floor of each round, and of each piece its fastest form and that one's median time."""
    medians: dict[str, dict[str, float]] = {}
    for name, times in taken.items():
        if name.startswith("floor: "):
            _, piece, form = name.split(": ")
            medians.setdefault(piece, {})[form] = float(np.median(times))
    best = {piece: min(forms.items(), key=lambda item: item[1]) for piece, forms in medians.items()}
    chosen = [taken[f"floor: {piece}: {form}"] for piece, (form, _) in best.items()]
    return [sum(times) for times in zip(*chosen, strict=True)], best


# ---------------------------------------------------------------- what is run


def make_network(neurons: int, inputs: int = INPUTS, **options: Any) -> SpikingNetwork:
    return SpikingNetwork(inputs, OUTPUTS, neurons, **options)


def make_batch(trials: int, steps: int, inputs: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Return input (trial, time, input), on in the first quarter, and targets (trial, time)."""
    rng = np.random.default_rng(1)
    x = np.zeros((trials, steps, inputs), np.float32)
    x[:, : steps // 4] = rng.standard_normal((trials, 1, inputs)) / np.sqrt(inputs)
    return torch.from_numpy(x), torch.from_numpy(rng.integers(0, OUTPUTS, (trials, steps)))


def loss_of(
    network: SpikingNetwork, x: torch.Tensor, target: torch.Tensor, noise: torch.Tensor | None, compiled: bool
) -> torch.Tensor:
    logits = network(x, noise, compiled=compiled).logits
    return functional.cross_entropy(logits.reshape(-1, OUTPUTS), target.reshape(-1))


def rates_for(network: SpikingNetwork, scale: float = 1.0) -> OptimizerSettings:
    """Return the default rates of :func:`ip2lab.train`, times `scale`."""
    rate = {
        name: RATES["learning_rate"] * (3 if name.startswith("output") else 1) for name, _ in network.named_parameters()
    }
    rate |= {f"free.{name}": value for name, value in RATES["property_learning_rate"].items()}  # type: ignore[attr-defined]
    return OptimizerSettings({name: value * scale for name, value in rate.items()})


def association(dtype: str = "float32") -> kernel_types.Stimuli:
    return TrialStream(family("association").problem(seed=0), np.random.SeedSequence(0), 2, 20.0, dtype).probe


def learner_step(learner: Any, stimuli: kernel_types.Stimuli, trials: int) -> Callable[[], Any]:
    """Return a function that does so many trials of one problem."""
    records, rows, goal = TrialRecord.empty(trials), np.arange(trials) % 2, kernel_types.Criterion(0.0, trials)
    return lambda: learner.run(stimuli, rows, (0, trials), np.uint64(5), goal, records)


# ---------------------------------------------------------------- the oracle


def check_gradients() -> str:
    """Hold the compiled path to the plain one: 50 updates in float64, one gradient of a batch in float32."""
    worst = 0.0
    stimuli = association("float64")
    learners = [
        kind(make_network(40, dtype=torch.float64), rates_for(make_network(40)))
        for kind in (CompiledLearner, PlainLearner)
    ]
    for learner in learners:
        learner_step(learner, stimuli, 50)()
    for (name, p), (_, q) in zip(*(learner.network.named_parameters() for learner in learners), strict=True):
        worst = max(worst, _apart(name, p.detach(), q.detach(), 1e-7))
    network = make_network(256, 20)
    x, target = make_batch(8, 100)
    gradients = []
    for compiled in (True, False):
        network.zero_grad()
        loss_of(network, x, target, None, compiled).backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    single = max(_apart(name, gradients[0][name], gradients[1][name], 2e-3) for name in gradients[1])
    return (
        f"relative differences: parameters after 50 updates in float64 {worst:.1e}, a gradient in float32 {single:.1e}"
    )


def _apart(name: str, ours: torch.Tensor, oracle: torch.Tensor, most: float) -> float:
    difference = float((ours - oracle).norm() / oracle.norm().clamp(min=1e-30))
    if not difference <= most:
        raise SystemExit(
            f"{name} left the oracle: compiled and plain loop are {difference:.1e} apart, allowed is {most:.0e}"
        )
    return difference


# ---------------------------------------------------------------- rows


def row_step() -> dict[str, Any]:
    """Whole training step of one trial, fresh (rates of zero, nearly) and trained."""
    return {state: _step(state) for state in ("fresh", "trained")}


def _step(state: str) -> dict[str, Any]:
    stimuli, network = association(), make_network(100)
    if state == "trained":
        learner_step(CompiledLearner(network, rates_for(network)), stimuli, 300)()
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    hardly = rates_for(network, 1e-6)  # everything is computed, nothing moves: the state stays what it is called

    def copy() -> SpikingNetwork:
        twin = make_network(100)
        twin.load_state_dict(start)
        return twin

    plain = learner_step(PlainLearner(copy(), hardly), stimuli, 5)
    once = clock(plain)
    clocks = {"ip2lab.train": series_clock(start, 600), "plain loop": lambda: once() / 5}
    compiled = learner_step(CompiledLearner(copy(), hardly), stimuli, 10)
    once_compiled = clock(compiled)
    clocks["kernels alone"] = lambda: once_compiled() / 10
    clocks |= _jax_steps(copy(), stimuli, hardly)
    x = torch.from_numpy(stimuli.inputs[:1])
    case = floor.make_case(copy(), x, 0.05 * torch.randn(1, x.shape[1], 100))
    clocks |= floor_clocks(case, sum(p.numel() for p in network.parameters()))
    taken = interleave(clocks)
    lowest, pieces = floor_times(taken)
    jax = best_of(taken, [name for name in taken if name.startswith("JAX")])
    ours = taken["ip2lab.train"]
    return {
        "times": {name: float(np.median(times)) for name, times in taken.items() if not name.startswith("floor")},
        "floor": float(np.median(lowest)),
        "pieces": pieces,
        "rate": float(case.spikes.mean()),
        "near": _near(case),
        "against": {
            "plain loop": ratio(taken["plain loop"], ours),
            jax: ratio(taken[jax], ours),
            "floor": ratio(ours, lowest),
        },
    }


def _near(case: floor.Case) -> float:
    return float((np.abs(case.membrane - case.threshold) < case.threshold).mean())


def series_clock(start: dict[str, torch.Tensor], trials: int) -> Callable[[], float]:
    """Return a clock of one trial within ``ip2lab.train``, all defaults recorded, `start` hardly moving.

    Timed from the first call of the progress function to the last, so that what a series costs once is left out.
    """

    def once() -> float:
        seen: list[tuple[float, int]] = []

        def watch(series: Any) -> None:
            if not seen:
                with torch.no_grad():
                    series.network.load_state_dict(start)
            seen.append((time.process_time(), series.trial if series.problem == 0 else trials))

        small = {"learning_rate": 1e-9, "property_learning_rate": 1e-9, "output_learning_rate": 1e-9}
        ip2lab.train("association", problems=1, progress=watch, criterion=1e-12, max_trials=trials, **small)
        (begin, first), (end, last) = seen[0], seen[-1]
        return (end - begin) / (last - first)

    once()
    return once


def _jax_steps(
    network: SpikingNetwork, stimuli: kernel_types.Stimuli, rates: OptimizerSettings
) -> dict[str, Callable[[], float]]:
    import jax

    p = jax_network.parameters(network)
    x, target, weight = (jax.numpy.asarray(a[0]) for a in (stimuli.inputs, stimuli.target, stimuli.weight))
    clocks = {}
    for name, by_hand, unroll, trials in (
        ("JAX, scan", False, 1, 1),
        ("JAX, scan unrolled by 4", False, 4, 1),
        ("JAX, hand-written backward", True, 4, 1),
        ("JAX, hand-written backward, ten trials a call", True, 4, 10),
    ):
        step = jax_network.make_step(rates.rate, network.noise_scale, network.dt, by_hand, unroll, trials)
        state = [jax_network.first_state(p, "threefry2x32")]

        def go(step: Any = step, state: list[Any] = state, trials: int = trials) -> None:
            for _ in range(10 // trials):
                state[0], loss = step(state[0], x, target, weight)
            jax.block_until_ready(loss)

        once = clock(go)
        clocks[name] = lambda once=once: once() / 10
    return clocks


def row_module() -> dict[str, Any]:
    """A user's own loop: the public module, torch.optim.Adam, noise from torch, clip."""
    clocks = {}
    x, target = make_batch(1, 100, INPUTS)
    for compiled in (True, False):
        network = make_network(100)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-9)

        def step(network: Any = network, optimizer: Any = optimizer, compiled: bool = compiled) -> None:
            optimizer.zero_grad()
            noise = 0.05 * torch.randn(1, 100, 100)
            loss_of(network, x, target, noise, compiled).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        clocks["module" if compiled else "plain loop"] = clock(step)
    taken = interleave(clocks)
    return {
        "times": {name: float(np.median(times)) for name, times in taken.items()},
        "against": {"plain loop": ratio(taken["plain loop"], taken["module"])},
    }


BATCHES = {"64 trials, N 256": (64, 256, 200), "16 trials, N 1024": (16, 1024, 200)}
SIZES = {"1 trial, N 100": (1, 100, 100), **BATCHES}


def row_batch() -> dict[str, Any]:
    """Forward and backward of many trials, with a lower and a higher firing rate."""
    return {
        f"{name}, {state}": _batch(*size, gain)
        for name, size in BATCHES.items()
        for state, gain in (("fresh", 12.0), ("driven", 40.0))
    }


def _batch(trials: int, neurons: int, steps: int, gain: float) -> dict[str, Any]:
    network = make_network(neurons, 20, input_gain=gain)
    x, target = make_batch(trials, steps)
    noise = 0.05 * torch.randn(trials, steps, neurons, generator=torch.Generator().manual_seed(0))

    def go(compiled: bool) -> None:
        network.zero_grad()
        loss_of(network, x, target, noise, compiled).backward()

    clocks = {"ip2lab": clock(lambda: go(True)), "plain loop": clock(lambda: go(False))}
    clocks |= _jax_gradients(network, x, target, noise)
    time_major, target_t = x.transpose(0, 1).contiguous(), target.T.contiguous()
    for name, build in (peers.IN_TORCH | peers.IN_JAX).items():
        train, _ = build(neurons, 20, OUTPUTS)
        clocks[name] = clock(lambda train=train: train(time_major, target_t))
    case = floor.make_case(network, x, noise)
    clocks |= floor_clocks(case, None)
    taken = interleave(clocks, 5)
    lowest, pieces = floor_times(taken)
    peer = best_of(
        taken, [name for name in taken if name not in ("ip2lab", "plain loop") and not name.startswith("floor")]
    )
    ours = taken["ip2lab"]
    return {
        "times": {name: float(np.median(times)) for name, times in taken.items() if not name.startswith("floor")},
        "floor": float(np.median(lowest)),
        "pieces": pieces,
        "rate": float(case.spikes.mean()),
        "near": _near(case),
        "against": {
            "plain loop": ratio(taken["plain loop"], ours),
            peer: ratio(taken[peer], ours),
            "floor": ratio(ours, lowest),
        },
    }


def _jax_gradients(
    network: SpikingNetwork, x: torch.Tensor, target: torch.Tensor, noise: torch.Tensor
) -> dict[str, Callable[[], float]]:
    import jax

    p = jax_network.parameters(network)
    arrays = [jax.numpy.asarray(a.transpose(0, 1).contiguous().numpy()) for a in (x, noise, target)]
    weight = jax.numpy.full(x.shape[1], 1 / x.shape[1])
    clocks = {}
    for name, by_hand in (("JAX, scan", False), ("JAX, hand-written backward", True)):
        gradient = jax.jit(jax.value_and_grad(jax_network.make_loss(network.dt, by_hand, 1)))
        clocks[name] = clock(lambda gradient=gradient: jax.block_until_ready(gradient(p, *arrays, weight)))
    return clocks


def row_simulation() -> dict[str, Any]:
    """Forward only, spikes and membrane of every step recorded."""
    import jax

    result = {}
    for size, (trials, neurons, steps) in SIZES.items():
        network = make_network(neurons, 20)
        x, _ = make_batch(trials, steps)
        time_major = x.transpose(0, 1).contiguous()

        @torch.no_grad()
        def go(compiled: bool, network: Any = network, x: Any = x) -> Any:
            return network(x, compiled=compiled)

        clocks = {"ip2lab": clock(lambda go=go: go(True)), "plain loop": clock(lambda go=go: go(False))}
        p, x_jax = jax_network.parameters(network), jax.numpy.asarray(time_major.numpy())
        run = jax.jit(lambda p, x: jax_network.simulate(p, x, None, dt=20.0))
        clocks["JAX, scan"] = clock(lambda run=run, p=p, x=x_jax: jax.block_until_ready(run(p, x)))
        for name, build in (peers.IN_TORCH | peers.IN_JAX).items():
            simulate = build(neurons, 20, OUTPUTS)[1]
            clocks[name] = clock(lambda simulate=simulate, x=time_major: simulate(x))
        taken = interleave(clocks)
        against = {name: ratio(taken[name], taken["ip2lab"]) for name in taken if name != "ip2lab"}
        result[size] = {"times": {name: float(np.median(times)) for name, times in taken.items()}, "against": against}
    return result


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "step": row_step,
    "module": row_module,
    "batch": row_batch,
    "simulation": row_simulation,
    "series": runs.series,
    "two": runs.two,
    "first": runs.first,
    "scaling": runs.scaling,
}


def main(wanted: list[str]) -> None:
    """Run the rows that are wanted (all by default) and write what was found."""
    unknown = sorted(set(wanted) - set(ROWS))
    if unknown:
        raise SystemExit(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    warnings.filterwarnings("ignore", module="jax|spyx|brainpy|brainstate")
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})  # before JAX counts the processors
    print(check_gradients(), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in wanted or ROWS:
        began = time.time()
        (RESULTS / f"{name}.json").write_text(json.dumps(ROWS[name](), indent=1))
        print(f"{name}: {time.time() - began:.0f} s", flush=True)
        report.write(RESULTS)


if __name__ == "__main__":
    main(sys.argv[1:])
