"""Two ways to do the trials of a problem, one interface: compiled (on a CPU), and plain torch (any network anywhere).

The plain one is what the compiled one must equal, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from ip2lab.networks import kernel_types, training_step
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.neuron import constant_of
from ip2lab.properties import rows_of


@dataclass(frozen=True)
class OptimizerSettings:
    """How parameters learn. `rate` and `l2` have one entry a parameter that learns, by its name in the network.

    Of the recurrent weights `l2` counts the `singular` largest squared singular values (0: all squared weights).
    Without a `rate_target` it is what the first problem ends with. `consolidation` has an entry for each parameter that
    goes back, when a problem begins, to a consolidated value: the share of the way to its present value that this one
    goes at the end of a problem, or ``"mean"`` for the mean over problems.
    """

    rate: dict[str, float]
    l2: dict[str, float] = field(default_factory=dict)
    beta1: float = 0.3
    clip: float = 1.0
    rate_weight: float = 0.0
    rate_target: float | None = 5.0
    singular: int = 0
    beta2: float = 0.999
    consolidation: dict[str, float | str] = field(default_factory=dict)

    epsilon = 1e-8

    def moved(self, name: str, old: Any, present: Any, times: int) -> Any:
        """Return the consolidated value of a parameter at the end of a problem; `times` it was consolidated before."""
        share = self.consolidation[name]
        share = 1 / (times + 1) if share == "mean" or not times else float(share)
        return old + share * (present - old)


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
        criterion: kernel_types.Criterion,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on."""

    def reset(self, what: str) -> None:
        """Forget ``"all"`` of the optimiser's state, the ``"first_moment"``, or ``"none"``."""

    def consolidate(self) -> None:
        """Move the consolidated values towards the present ones, at the end of a problem."""

    def return_to_consolidated(self) -> None:
        """Set the parameters that have one to their consolidated value, if there is one yet."""

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
    """Trains a network that has compiled kernels, on the CPU.

    The parameters of the network become views of one flat array, so the module always shows the present state.
    """

    def __init__(self, network: Any, rates: OptimizerSettings) -> None:
        self.network, self.rates = network, rates
        if isinstance(network, SpikingNetwork):
            network.check_autapses()
        self.dtype = network.output_bias.detach().numpy().dtype
        parameters = dict(network.named_parameters())
        names = _in_flat_order(parameters)
        sizes = [parameters[name].numel() for name in names]
        self.starts = dict(zip(names, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.sizes = dict(zip(names, sizes, strict=True))
        self.rows = rows_of(network.model_name)
        self.kept = ["moment1", "moment2", "step", *(["target"] if network.target_from_first_problem else [])]
        self.consolidated = {
            f"consolidated.{name}": np.zeros(self.sizes[name], self.dtype) for name in rates.consolidation
        }
        if rates.consolidation:
            self.consolidated["consolidations"] = np.zeros(1)
        flat, gradient, moment1, moment2 = (np.zeros(sum(sizes), self.dtype) for _ in range(4))
        views, g_views = {}, {}
        for name in names:
            views[name], g_views[name] = self._view(name, flat), self._view(name, gradient)
            tensor = torch.from_numpy(views[name])
            tensor = tensor.T if name in PRESYNAPTIC_FIRST else tensor
            tensor.copy_(parameters[name].detach())
            parameters[name].data = tensor
        self.transform = self._transform()
        values, slopes, g_values = (np.zeros((len(self.rows), network.neurons), self.dtype) for _ in range(3))
        for value, row in zip(values, self.rows, strict=True):
            value[:] = row.neutral  # stays where the network has no such property
        weights, constants = network.weights_type, network.constants_type
        self.buffers = kernel_types.TrainingState(
            flat=flat,
            gradient=gradient,
            moment1=moment1,
            moment2=moment2,
            step=np.zeros(1, np.int64),
            weights=weights(*(views[name] for name in network.weights)),
            g_weights=weights(*(g_views[name] for name in network.weights)),
            values=values,
            slopes=slopes,
            g_values=g_values,
            neurons=constants(*values),
            g_neurons=constants(*g_values),
            rng_state=np.zeros(network.neurons, np.uint64),
            target=np.array([rates.rate_target or 0.0]),
            **self._trial_buffers(1),
        )
        self.set_rates(rates)

    def _view(self, name: str, flat: np.ndarray) -> np.ndarray:
        """The part of a flat array that belongs to a parameter, in its shape."""
        shape = self.network.get_parameter(name).shape
        span = slice(self.starts[name], self.starts[name] + self.sizes[name])
        return flat[span].reshape(tuple(shape[::-1] if name in PRESYNAPTIC_FIRST else shape))

    def _trial_buffers(self, steps: int) -> dict[str, Any]:
        """What a trial of `steps` steps is written to."""
        net = self.network
        return {
            "trace": net.make_trace(steps, self.dtype),
            "noise": np.zeros((steps, net.neurons), self.dtype),
            "d_logits": np.zeros((steps, len(net.output_bias)), self.dtype),
            "d_neurons": np.zeros((steps, net.neurons), self.dtype),
        }

    def _transform(self) -> kernel_types.Transform:
        table = [self.network.table.get(row.name, row) for row in self.rows]
        low, span = np.transpose([row.transform_constants for row in table]).copy()
        return kernel_types.Transform(
            start=np.array([self.starts.get(f"free.{row.name}", -1) for row in table]),
            learns=np.zeros(len(table), bool),
            kind=np.array([kernel_types.TRANSFORMS.index(row.transform) for row in table]),
            low=low,
            span=span,
            decays=np.array([constant_of(row) != row.name for row in table]),
            dt=self.network.dt,
        )

    def _set_values(self) -> None:
        """Let the kernels see the present properties, also those that do not learn."""
        training_step.set_values(self.buffers.flat, self.transform, self.buffers.values, self.buffers.slopes, False)

    def set_rates(self, rates: OptimizerSettings) -> None:
        """Learn with other rates from now on."""
        self.rates = rates
        learns = np.array([f"free.{row.name}" in rates.rate for row in self.rows])
        self.transform = self.transform._replace(learns=learns)
        # the kernels' values follow an update only where a property learns: let none stay behind when it stops
        self._set_values()
        names = [name for name in self.starts if name in rates.rate]
        start = np.array([self.starts[name] for name in names], np.int64)
        plain = {name: l2 for name, l2 in rates.l2.items() if not (rates.singular and name == "recurrent_weights")}
        weight, target = self.network.homeostasis(rates.rate_weight, rates.rate_target)
        self.optimizer = kernel_types.Optimizer(
            start=start,
            stop=start + np.array([self.sizes[name] for name in names], np.int64),
            rate=np.array([rates.rate[name] for name in names], float),
            l2=np.array([plain.get(name, 0.0) for name in names], float),
            beta1=float(rates.beta1),  # an int would be another type: compiled anew
            beta2=rates.beta2,
            epsilon=rates.epsilon,
            clip=float(rates.clip),
            rate_weight=weight,
            rate_target=target,
            singular_weight=float(rates.l2.get("recurrent_weights", 0.0)) if rates.singular else 0.0,
            singular_values=int(rates.singular),
        )

    def run(
        self,
        stimuli: kernel_types.Stimuli,
        rows: np.ndarray,
        span: tuple[int, int],
        key: np.uint64,
        criterion: kernel_types.Criterion,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""
        longest, net = stimuli.inputs.shape[1], self.network
        if longest > len(self.buffers.noise):
            self.buffers = self.buffers._replace(**self._trial_buffers(longest))
        return net.kernels.learn(
            stimuli, rows, *span, key, net.noise_scale, net.model, self.transform, self.optimizer, criterion,
            self.buffers, records.loss, records.response_loss, records.correct, records.rate,
        )  # fmt: skip

    def set_rate_target(self, level: float) -> None:
        """Take the activity with which the first problem ended as the target, if none is given."""
        if "target" in self.kept and self.rates.rate_target is None:
            self.buffers.target[:] = level

    def _consolidating(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield each parameter that has a consolidated value: its name, that value, and the present one."""
        for name in self.rates.consolidation:
            span = slice(self.starts[name], self.starts[name] + self.sizes[name])
            yield name, self.consolidated[f"consolidated.{name}"], self.buffers.flat[span]

    def consolidate(self) -> None:
        """Move the consolidated values towards the present ones, at the end of a problem."""
        for name, value, present in self._consolidating():
            value[:] = self.rates.moved(name, value, present, int(self.consolidated["consolidations"][0]))
        if self.consolidated:
            self.consolidated["consolidations"] += 1

    def return_to_consolidated(self) -> None:
        """Set the parameters that have one to their consolidated value, if there is one yet."""
        if self.consolidated and self.consolidated["consolidations"]:
            for _, value, present in self._consolidating():
                present[:] = value
            self._set_values()

    def reset(self, what: str) -> None:
        """Forget ``"all"`` of the optimiser's state, the ``"first_moment"``, or ``"none"``."""
        if what in ("all", "first_moment"):
            self.buffers.moment1[:] = 0
        if what == "all":
            self.buffers.moment2[:] = 0
            self.buffers.step[:] = 0

    def last_trial(self, steps: int) -> dict[str, np.ndarray]:
        """Return logits and signals (time, ...) of the last trial done, which had `steps` steps."""
        return self.network.last_trial(self.buffers.trace, steps)

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that changes while it learns."""
        return {"flat": self.buffers.flat.copy()} | self.optimizer_state()

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Return copies of what is remembered beside the parameters: moments, updates, consolidated values."""
        moments = {name: getattr(self.buffers, name).copy() for name in self.kept}
        return moments | {name: value.copy() for name, value in self.consolidated.items()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go back to such a state."""
        for name, value in state.items():
            (self.consolidated[name] if name in self.consolidated else getattr(self.buffers, name))[:] = value
        self._set_values()


PRESYNAPTIC_FIRST = ("input_weights", "recurrent_weights")  # in the memory of the kernels


def _in_flat_order(parameters: Iterable[str]) -> list[str]:
    """Order names of parameters as they lie in memory: the bias with the weights whose sums it joins.

    The norm of the gradient is summed up in this order, which decides its last bits.
    """
    names = list(parameters)
    names.insert(names.index("recurrent_weights") + 1, names.pop(names.index("free.bias")))
    return names


class PlainLearner:
    """Trains any network with autograd and :class:`torch.optim.Adam`, on any device."""

    def __init__(self, network: Any, rates: OptimizerSettings) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam([torch.zeros(1)])
        self.target = np.array([rates.rate_target or 0.0])
        parameters = dict(network.named_parameters())
        self.consolidated = {name: torch.zeros_like(parameters[name]) for name in rates.consolidation}
        self.consolidations = 0
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
        criterion: kernel_types.Criterion,
        records: TrialRecord,
    ) -> tuple[int, int]:
        """Do trials ``span[0]`` to ``span[1]``; return how many are done and 0 (go on), 1 (solved), 2 (not finite)."""
        for trial in range(*span):
            outcome = self._trial(stimuli, int(rows[trial - span[0]]), trial, key)
            records.loss[trial], records.response_loss[trial], records.correct[trial], records.rate[trial] = outcome
            if not np.isfinite(records.loss[trial]):
                return trial + 1, 2
            window = records.loss[max(0, trial + 1 - criterion.window) : trial + 1]
            if trial + 1 > criterion.window and window.sum() / criterion.window < criterion.loss:
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

    @torch.no_grad()
    def consolidate(self) -> None:
        """Move the consolidated values towards the present ones, at the end of a problem."""
        for name, value in self.consolidated.items():
            value.copy_(self.rates.moved(name, value, self.network.get_parameter(name), self.consolidations))
        self.consolidations += 1

    @torch.no_grad()
    def return_to_consolidated(self) -> None:
        """Set the parameters that have one to their consolidated value, if there is one yet."""
        for name, value in self.consolidated.items() if self.consolidations else ():
            self.network.get_parameter(name).copy_(value)

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
        if self.consolidated:
            kept["consolidations"] = np.array([float(self.consolidations)])
        return kept | {f"consolidated.{name}": v.cpu().numpy().copy() for name, v in self.consolidated.items()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go back to such a state."""
        with torch.no_grad():
            for name, p in self.network.named_parameters():
                p.copy_(torch.from_numpy(state[f"parameter.{name}"]))
        self.target[:] = state["target"]
        for name, value in self.consolidated.items():
            value.copy_(torch.from_numpy(state[f"consolidated.{name}"]))
            self.consolidations = int(state["consolidations"][0])
        self.optimizer.state.clear()
        for name, p in self.named.items():
            self.optimizer.state[p] = {
                key: torch.as_tensor(state[f"{key}.{name}"]).to(p.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


def make_learner(network: Any, rates: OptimizerSettings) -> Learner:
    """Return the fastest learner there is for a network where it is."""
    compiled = hasattr(network, "kernels") and network.output_bias.device.type == "cpu"
    return CompiledLearner(network, rates) if compiled else PlainLearner(network, rates)


def draw_noise(network: Any, key: np.uint64, trial: int, steps: int) -> torch.Tensor | None:
    """Return the noise of one numbered trial (1, time, neuron), the same as the kernels draw; None without noise."""
    if not network.noise_scale > 0:
        return None
    noise = np.empty((steps, network.neurons), network.output_bias.detach().cpu().numpy().dtype)
    training_step.fill_noise(key, trial, network.noise_scale, np.zeros(network.neurons, np.uint64), noise)
    return torch.from_numpy(noise[None]).to(network.output_bias.device)
