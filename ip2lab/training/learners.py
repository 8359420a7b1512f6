"""Two ways to do the trials of a problem, one interface: compiled (on a CPU), and plain torch (any network anywhere).

The plain one is what the compiled one must equal, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from ip2lab.networks import kernel_types, rate_kernels, spiking_kernels, training_step
from ip2lab.networks.rate import RateNetwork
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.properties import PROPERTIES

SLOTS = (
    "tau_dendrite",
    "tau_soma",
    "threshold",
    "adaptation_strength",
    "tau_adaptation",
    "gain",
)  # rows of kernel_types.Neurons


@dataclass(frozen=True)
class OptimizerSettings:
    """How parameters learn. `rate` and `l2` have one entry a parameter that learns, by its name in the network.

    Of the recurrent weights `l2` counts the `singular` largest squared singular values (0: all squared weights).
    Without a `rate_target` it is what the first problem ends with.
    """

    rate: dict[str, float]
    l2: dict[str, float] = field(default_factory=dict)
    beta1: float = 0.3
    clip: float = 1.0
    rate_weight: float = 0.0
    rate_target: float | None = 5.0
    singular: int = 0

    beta2 = 0.999
    epsilon = 1e-8


@dataclass
class TrialRecord:
    """What is kept of every trial of one problem, (trial,) each, filled as it goes."""

    loss: np.ndarray
    response_loss: np.ndarray
    correct: np.ndarray
    rate: np.ndarray

    @classmethod
    def empty(cls, trials: int) -> TrialRecord:
        """Return room for at most `trials` trials."""
        loss, response_loss, rate = np.full((3, trials), np.nan)
        return cls(loss, response_loss, np.zeros(trials, bool), rate)


class Learner(Protocol):
    """Does trials of a problem, one update each."""

    def run(
        self,
        stimuli: kernel_types.Stimuli,
        rows: np.ndarray,
        span: tuple[int, int],
        key: np.uint64,
        goal: kernel_types.Goal,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on."""

    def reset(self, what: str) -> None:
        """Forget ``"all"`` of the optimiser's state, the ``"first_moment"``, or ``"none"``."""

    def set_rate_target(self, level: float) -> None:
        """Take the level of activity with which the first problem ended as the target, if none is given."""

    def last_trial(self, steps: int) -> dict[str, np.ndarray]:
        """Return logits and signals (time, ...) of the last trial done, which had `steps` steps."""

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Return copies of what the optimiser remembers: with the network's parameters, all that changes."""

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that changes while it learns."""

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go back to such a state."""


class CompiledLearner:
    """Trains a spiking network on the CPU with the compiled kernels.

    The parameters of the network become views of one flat array, so the module always shows the present state.
    """

    slots: tuple[str, ...] = SLOTS
    _kind: Any = kernel_types  # where the named tuples of weights and trace stand
    kept: tuple[str, ...] = ("moment1", "moment2", "step")

    def __init__(self, network: Any, rates: OptimizerSettings) -> None:
        self.network, self.rates = network, rates
        if isinstance(network, SpikingNetwork):
            network.check_autapses()
        dtype = network.bias.detach().numpy().dtype
        names = [name for name, _ in network.named_parameters()]
        sizes = [p.numel() for p in network.parameters()]
        self.starts = dict(zip(names, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.sizes = dict(zip(names, sizes, strict=True))
        flat, gradient, moment1, moment2 = (np.zeros(sum(sizes), dtype) for _ in range(4))
        views, g_views = {}, {}
        for name, parameter in network.named_parameters():
            turned = name in ("input_weights", "recurrent_weights")
            shape = tuple(parameter.shape[::-1]) if turned else tuple(parameter.shape)
            span = slice(self.starts[name], self.starts[name] + self.sizes[name])
            views[name], g_views[name] = flat[span].reshape(shape), gradient[span].reshape(shape)
            tensor = torch.from_numpy(views[name])
            tensor = tensor.T if turned else tensor
            tensor.copy_(parameter.detach())
            parameter.data = tensor
        values, slopes, g_values = (np.zeros((len(self.slots), network.neurons), dtype) for _ in range(3))
        values[[k for k, name in enumerate(self.slots) if name in ("threshold", "gain")]] = (
            1  # where there is no such property
        )
        self.transform = self._transform()
        updated = (flat, gradient, moment1, moment2, np.zeros(1, np.int64))
        self.learner = self._start(updated, views, g_views, (values, slopes, g_values))
        training_step.set_values(flat, self.transform, values, slopes, False)
        self.set_rates(rates)

    def _start(self, updated: tuple[Any, ...], views: Any, g_views: Any, values: tuple[Any, ...]) -> Any:
        names, kind = list(self.network.weights), self._kind.Weights
        weights, g_weights = (kind(*(v[name] for name in names)) for v in (views, g_views))
        rng_state, target = np.zeros(self.network.neurons, np.uint64), np.array([self.rates.rate_target or 0.0])
        parts = [*updated, weights, g_weights, *values, *self._make_room(1).values(), rng_state, target]
        return kernel_types.Learner._make(parts)

    def _make_room(self, steps: int) -> dict[str, Any]:
        """Return room for a trial of `steps` steps."""
        net = self.network
        dtype, outputs = net.bias.detach().numpy().dtype, len(net.output_bias)
        return {
            "trace": self._make_trace(steps),
            "noise": np.zeros((steps, net.neurons), dtype),
            "d_logits": np.zeros((steps, outputs), dtype),
            "d_neurons": np.zeros((steps, net.neurons), dtype),
        }

    def _make_trace(self, steps: int) -> Any:
        net = self.network
        dtype, adaptation = net.bias.detach().numpy().dtype, bool(net.model.adaptation)
        return kernel_types.make_trace((steps,), net.neurons, len(net.output_bias), dtype, adaptation)

    def _transform(self) -> kernel_types.Transform:
        rows = [PROPERTIES[name] for name in self.slots]
        free = self.network.free
        return kernel_types.Transform(
            np.array([self.starts.get(f"free.{name}", -1) for name in self.slots]),
            np.array([name in free and free[name].requires_grad for name in self.slots]),
            np.array([row.bounds[0] for row in rows]),
            np.array([row.log_range for row in rows]),
            np.array([name.startswith("tau") for name in self.slots]),
            self.network.dt,
        )

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on."""
        self.rates = rates
        self.transform = self.transform._replace(learns=np.array([f"free.{name}" in rates.rate for name in self.slots]))
        # the kernels' values follow an update only where a property learns: let none stay behind when it stops
        training_step.set_values(self.learner.flat, self.transform, self.learner.values, self.learner.slopes, False)
        names = [name for name in self.starts if name in rates.rate]
        start = np.array([self.starts[name] for name in names], np.int64)
        self.rule = kernel_types.Rule(
            start,
            start + np.array([self.sizes[name] for name in names], np.int64),
            np.array([rates.rate[name] for name in names], float),
            np.array([rates.l2.get(name, 0.0) for name in names], float),
            float(rates.beta1),  # an int would be another type: compiled anew
            rates.beta2,
            rates.epsilon,
            float(rates.clip),
            *self._pull(rates),
        )

    def _pull(self, rates: OptimizerSettings) -> tuple[float, float]:
        """Return weight and target of the rate in the kernels' units, spikes a step."""
        hertz = 5.0 if rates.rate_target is None else float(rates.rate_target)
        return float(rates.rate_weight) * (1000 / self.network.dt) ** 2, hertz * self.network.dt / 1000

    def run(
        self,
        stimuli: kernel_types.Stimuli,
        rows: np.ndarray,
        span: tuple[int, int],
        key: np.uint64,
        goal: kernel_types.Goal,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""
        longest = stimuli.inputs.shape[1]
        if longest > len(self.learner.noise):
            self.learner = self.learner._replace(**self._make_room(longest))
        learn, model = self._kernel()
        return learn(
            stimuli, rows, *span, key, self.network.noise_scale, model, self.transform, self.rule, goal, self.learner,
            records.loss, records.response_loss, records.correct, records.rate,
        )  # fmt: skip

    def _kernel(self) -> tuple[Any, Any]:
        """Return the compiled function that does trials, and what does not learn."""
        return spiking_kernels.learn, self.network.model

    def set_rate_target(self, level: float) -> None:
        """Do nothing: a spiking network's target is given in Hz."""

    def reset(self, what: str) -> None:
        """Forget ``"all"`` of the optimiser's state, the ``"first_moment"``, or ``"none"``."""
        if what in ("all", "first_moment"):
            self.learner.moment1[:] = 0
        if what == "all":
            self.learner.moment2[:] = 0
            self.learner.step[:] = 0

    def last_trial(self, steps: int) -> dict[str, np.ndarray]:
        """Return logits and signals (time, ...) of the last trial done, which had `steps` steps."""
        trace = self.learner.trace
        names = ("logits", *self.network.signals)
        return {name: getattr(trace, name)[:steps].reshape(steps, -1).copy() for name in names}

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that changes while it learns."""
        return {"flat": self.learner.flat.copy()} | self.optimizer_state()

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Return copies of what the optimiser remembers: both moments and the number of updates."""
        return {name: getattr(self.learner, name).copy() for name in self.kept}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go back to such a state."""
        for name, value in state.items():
            getattr(self.learner, name)[:] = value
        training_step.set_values(self.learner.flat, self.transform, self.learner.values, self.learner.slopes, False)


class RateLearner(CompiledLearner):
    """Trains a rate network on the CPU with the compiled kernels."""

    slots = ("tau",)
    kept = (*CompiledLearner.kept, "target")
    _kind = rate_kernels

    def _make_trace(self, steps: int) -> Any:
        net = self.network
        return rate_kernels.make_trace(steps, net.neurons, len(net.output_bias), net.bias.detach().numpy().dtype)

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on."""
        weight = rates.l2.get("recurrent_weights", 0.0) if rates.singular else 0.0
        self.singular = np.array([weight, rates.singular])
        plain = {name: l2 for name, l2 in rates.l2.items() if not (rates.singular and name == "recurrent_weights")}
        super().set_rates(replace(rates, l2=plain))
        self.rates = rates

    def _pull(self, rates: OptimizerSettings) -> tuple[float, float]:
        return float(rates.rate_weight), 0.0

    def _kernel(self) -> tuple[Any, Any]:
        return rate_kernels.learn, self.singular

    def set_rate_target(self, level: float) -> None:
        """Take the mean squared rate with which the first problem ended as the target, if none is given."""
        if self.rates.rate_target is None:
            self.learner.target[:] = level

    def last_trial(self, steps: int) -> dict[str, np.ndarray]:
        """Return logits and activity (time, ...) of the last trial done, which had `steps` steps."""
        trace = self.learner.trace
        return {"logits": trace.logits[:steps].copy(), "activity": trace.rates[1 : steps + 1].copy()}


class PlainLearner:
    """Trains any network with autograd and :class:`torch.optim.Adam`, on any device."""

    def __init__(self, network: Any, rates: OptimizerSettings) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam([torch.zeros(1)])
        self.target = np.array([rates.rate_target or 0.0])
        self.set_rates(rates)

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on; the optimiser starts anew for parameters that did not learn before."""
        old = {id(p): self.optimizer.state[p] for p in self.optimizer.state}
        self.rates = rates
        self.named = {name: p for name, p in self.network.named_parameters() if name in rates.rate}
        groups = [{"params": [p], "lr": rates.rate[name]} for name, p in self.named.items()]
        self.optimizer = torch.optim.Adam(groups, lr=0.0, betas=(rates.beta1, rates.beta2), eps=rates.epsilon)
        for p in self.named.values():
            if id(p) in old:
                self.optimizer.state[p] = old[id(p)]

    def run(
        self,
        stimuli: kernel_types.Stimuli,
        rows: np.ndarray,
        span: tuple[int, int],
        key: np.uint64,
        goal: kernel_types.Goal,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""
        for trial in range(*span):
            outcome = self._trial(stimuli, int(rows[trial - span[0]]), trial, key)
            records.loss[trial], records.response_loss[trial], records.correct[trial], records.rate[trial] = outcome
            if not np.isfinite(records.loss[trial]):
                return trial + 1, 2
            window = records.loss[max(0, trial + 1 - goal.window) : trial + 1]
            if trial + 1 > goal.window and window.sum() / goal.window < goal.criterion:
                return trial + 1, 1
        return span[1], 0

    def _trial(
        self, stimuli: kernel_types.Stimuli, row: int, trial: int, key: np.uint64
    ) -> tuple[float, float, bool, float]:
        bias = self.network.output_bias
        steps = int(stimuli.length[row])

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array[row, :steps], device=bias.device)

        noise = draw_noise(self.network, key, trial, steps)
        activity = self._last = self.network(tensor(stimuli.inputs).to(bias.dtype)[None], noise, compiled=False)
        logits, target, weight, response = (
            activity.logits[0],
            tensor(stimuli.target),
            tensor(stimuli.weight),
            tensor(stimuli.response),
        )
        each = functional.cross_entropy(logits, target, reduction="none")
        loss = (weight.to(bias.dtype) * each).sum()
        total = loss + self._penalties(activity)
        for p in self.named.values():
            p.grad = None
        total.backward()
        recurrent = self.named.get("recurrent_weights")
        if not self.network.autapses and recurrent is not None and recurrent.grad is not None:
            recurrent.grad.fill_diagonal_(0)
        if self.rates.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.named.values(), self.rates.clip)
        self.optimizer.step()
        probability = torch.softmax(logits.detach(), -1)
        scored, answering = weight > 0, response > 0
        kept = bool((probability.argmax(-1) == target)[scored & ~answering].all())
        answered = kept and bool(probability[answering].sum(0).argmax() == target[answering][-1])
        loss, response_loss, level = (x.detach() for x in (loss, each[answering].mean(), self._level(activity)))
        return float(loss), float(response_loss), answered, float(level)

    def _penalties(self, activity: Any) -> torch.Tensor:
        rates, total = self.rates, activity.logits.new_zeros(())
        for name, weight in rates.l2.items():
            if name not in self.named:  # frozen
                continue
            if name == "recurrent_weights" and rates.singular:
                squares = torch.linalg.svdvals(self.named[name]).square()[: rates.singular]
            else:
                squares = self.named[name].square()
            total = total + weight * squares.mean()
        if rates.rate_weight > 0 and "spikes" in activity._fields:
            hertz = activity.spikes[0].mean(0) * 1000 / self.network.dt
            total = total + rates.rate_weight * (hertz - rates.rate_target).square().mean()
        elif rates.rate_weight > 0:
            total = total + rates.rate_weight * (self._level(activity) - float(self.target[0])).abs()
        return total

    @staticmethod
    def _level(activity: Any) -> torch.Tensor:
        """Return spikes a step and neuron, or the mean square of other activity."""
        return activity.spikes.mean() if "spikes" in activity._fields else activity.activity.square().mean()

    def set_rate_target(self, level: float) -> None:
        """Take the mean square of activity with which the first problem ended as the target, if none is given."""
        if self.rates.rate_target is None:
            self.target[:] = level

    def reset(self, what: str) -> None:
        """Forget ``"all"`` of the optimiser's state, the ``"first_moment"``, or ``"none"``."""
        if what == "all":
            self.optimizer.state.clear()
        elif what == "first_moment":
            for state in self.optimizer.state.values():
                state["exp_avg"].zero_()

    def last_trial(self, steps: int) -> dict[str, np.ndarray]:
        """Return logits and signals (time, ...) of the last trial done, which had `steps` steps."""
        names = ("logits", *self.network.signals)
        return {name: getattr(self._last, name)[0].detach().cpu().numpy() for name in names}

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that changes while it learns."""
        kept = {f"parameter.{name}": p.detach().cpu().numpy().copy() for name, p in self.network.named_parameters()}
        return kept | self.optimizer_state()

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Return copies of what the optimiser remembers, zeros for a parameter that has not learnt yet."""
        kept = {"target": self.target.copy()}
        for name, p in self.network.named_parameters():
            state = self.optimizer.state.get(p) or {
                "step": torch.zeros((), dtype=torch.float32, device="cpu"),
                "exp_avg": p * 0,
                "exp_avg_sq": p * 0,
            }
            kept |= {f"{key}.{name}": value.detach().cpu().numpy().copy() for key, value in state.items()}
        return kept

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go back to such a state."""
        with torch.no_grad():
            for name, p in self.network.named_parameters():
                p.copy_(torch.from_numpy(state[f"parameter.{name}"]))
        self.target[:] = state["target"]
        self.optimizer.state.clear()
        for name, p in self.named.items():
            self.optimizer.state[p] = {
                key: torch.as_tensor(state[f"{key}.{name}"]).to(p.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


def make_learner(network: Any, rates: OptimizerSettings) -> Learner:
    """Return the fastest learner there is for a network where it is."""
    compiled = {SpikingNetwork: CompiledLearner, RateNetwork: RateLearner}
    on_cpu = network.output_bias.device.type == "cpu"
    return compiled.get(type(network), PlainLearner)(network, rates) if on_cpu else PlainLearner(network, rates)


def draw_noise(network: Any, key: np.uint64, trial: int, steps: int) -> torch.Tensor | None:
    """Return the noise of one numbered trial (1, time, neuron), the same as the kernels draw; None without noise."""
    if not network.noise_scale > 0:
        return None
    noise = np.empty((steps, network.neurons), network.output_bias.detach().cpu().numpy().dtype)
    training_step.fill_noise(key, trial, network.noise_scale, np.zeros(network.neurons, np.uint64), noise)
    return torch.from_numpy(noise[None]).to(network.output_bias.device)
