"""Optimizer: what all optimizers share. An optimizer is a pure function of gradients, state and weights.

    state = optimizer.init(weights)                              # {"step": 0, "learning_rate": …, slots of each weight}
    weights, state = optimizer.update(gradients, state, weights)

so that a training step compiles into one program, with weights and state in its memory. The learning rate is part of the state:
callbacks change it without compiling anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..nn import config
from .schedules import LearningRateSchedule

Weights = Mapping[str, Any]
State = dict[str, Any]


class Optimizer:
    """Base of all optimizers; Keras 3's arguments.

    Args:
        learning_rate: a number, or a schedule.
        weight_decay: share of each weight, times the learning rate, that a step takes away (decoupled, as in AdamW).
        clipnorm, global_clipnorm, clipvalue: limits of each gradient's norm, of all gradients' norm together, of each element;
            at most one of them.
        use_ema, ema_momentum, ema_overwrite_frequency: keep a moving average of the weights (`state["average"]`), which takes
            their places every so many steps.
        gradient_accumulation_steps: apply the mean gradient of so many calls at once; the weights stay in between.
        name: for messages.

    A subclass names its slots in `slots` and writes `step`.
    """

    keras_module = "keras.optimizers"
    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        if sum(limit is not None for limit in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError("an optimizer takes one of clipnorm, clipvalue and global_clipnorm")
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"ema_momentum is between 0 and 1, got {ema_momentum}")
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError(f"gradient_accumulation_steps is 2 or more, or None; got {gradient_accumulation_steps}")
        if isinstance(learning_rate, Mapping):
            learning_rate = config.deserialize(learning_rate, LearningRateSchedule)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum, self.ema_overwrite_frequency = use_ema, ema_momentum, ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.name = name or type(self).__name__.lower()

    # -- what a subclass writes --------------------------------------------------------------------------------------------

    def begin(self, slot: str, weight: Any) -> Any:
        """What a slot holds before the first step: zeros."""
        return ops.zeros_like(weight)

    def shared(self) -> State:
        """State that all weights share, beside the step and the learning rate."""
        return {}

    def advance(self, shared: State, step: Any) -> State:
        """The shared state after this step (1, 2, …)."""
        return shared

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        """A weight and its slots after a step with gradient `g`. `step` counts from 1, as float32; `shared` is after it."""
        raise NotImplementedError

    # -- what users call ---------------------------------------------------------------------------------------------------

    def init(self, weights: Weights) -> State:
        """The state before the first step, for weights by path."""
        scheduled = isinstance(self.learning_rate, LearningRateSchedule) or callable(self.learning_rate)
        rate = self.learning_rate(np.int32(0)) if scheduled else self.learning_rate
        state: State = {
            "step": ops.asarray(np.int32(0)),
            "learning_rate": ops.asarray(rate, dtype="float32"),
            **self.shared(),
            **{slot: {path: self.begin(slot, w) for path, w in weights.items()} for slot in self.slots},
        }
        if self.use_ema:
            state["average"] = dict(weights)
        if self.gradient_accumulation_steps:
            state["accumulated"] = {path: ops.zeros_like(w) for path, w in weights.items()}
            state["micro_step"] = ops.asarray(np.int32(0))
        return state

    def update(self, gradients: Weights, state: State, weights: Weights) -> tuple[dict[str, Any], State]:
        """Weights and state after one step.

        Args:
            gradients: by path; None leaves a weight as it is.
            state: of `init`, or of the last call.
            weights: by path.

        Raises:
            KeyError: a gradient for a weight that the state does not know.
        """
        many = self.gradient_accumulation_steps
        if not many:
            return self._averaged(*self._apply(gradients, state, weights), state["step"])
        summed = {p: state["accumulated"][p] + g for p, g in gradients.items() if g is not None}
        count = state["micro_step"] + 1
        last = count >= many
        inner = {k: v for k, v in state.items() if k not in ("accumulated", "micro_step")}
        applied, after = self._apply({p: g / many for p, g in summed.items()}, inner, weights)
        kept = {p: ops.where(last, applied[p], weights[p]) for p in weights}
        made = _chosen(last, after, inner)
        made["accumulated"] = {p: ops.where(last, ops.zeros_like(a), summed.get(p, a)) for p, a in state["accumulated"].items()}
        made["micro_step"] = ops.where(last, ops.zeros_like(count), count)
        return self._averaged(kept, made, state["step"])

    def _apply(self, gradients: Weights, state: State, weights: Weights) -> tuple[dict[str, Any], State]:
        count = state["step"] + 1
        step = ops.astype(count, "float32")
        rate = state["learning_rate"]
        if callable(self.learning_rate):
            rate = ops.asarray(self.learning_rate(state["step"]), dtype="float32")
        clipped = self._clipped({p: g for p, g in gradients.items() if g is not None})
        keys = list(self.shared())
        shared = self.advance({k: state[k] for k in keys}, step)
        made: State = {**state, **shared, "step": count, "learning_rate": rate}
        found = dict(weights)
        for slot in self.slots:
            made[slot] = dict(state[slot])
        for path, g in clipped.items():
            w = weights[path]
            if self.weight_decay:
                w = ops.astype(w - w * (self.weight_decay * rate), w.dtype)
            slots = {slot: state[slot][path] for slot in self.slots}
            new, after = self.step(w, ops.astype(g, w.dtype), slots, rate, step, shared)
            found[path] = ops.astype(new, w.dtype)  # of a weight in halves, what a float32 rate makes is rounded, as in Keras
            for slot in self.slots:
                made[slot][path] = ops.astype(after[slot], slots[slot].dtype)
        return found, made

    def _averaged(self, found: dict[str, Any], made: State, before: Any) -> tuple[dict[str, Any], State]:
        """Weights and state with the moving averages; `before` steps were taken earlier.

        As in Keras, every batch counts, those included that gradients are only accumulated over.
        """
        if not self.use_ema:
            return found, made
        m = ops.where(before > 0, np.float32(self.ema_momentum), np.float32(0))  # it begins with the first step's weights
        average = {p: ops.astype(m * a + (1 - m) * found[p], a.dtype) for p, a in made["average"].items()}
        if self.ema_overwrite_frequency:
            now = (before + 1) % self.ema_overwrite_frequency == 0
            found = {p: ops.where(now, average[p], w) if p in average else w for p, w in found.items()}
        return found, {**made, "average": average}

    def _clipped(self, gradients: Weights) -> dict[str, Any]:
        if self.clipvalue is not None:
            return {p: ops.clip(g, -self.clipvalue, self.clipvalue) for p, g in gradients.items()}
        if self.clipnorm is not None:
            return {p: _limited(g, ops.sqrt(ops.sum(g * g)), self.clipnorm) for p, g in gradients.items()}
        if self.global_clipnorm is not None and gradients:
            total: Any = 0.0
            for g in gradients.values():
                total = ops.sum(g * g) + total
            norm = ops.sqrt(total)
            return {p: _limited(g, norm, self.global_clipnorm) for p, g in gradients.items()}
        return dict(gradients)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer."""
        return {k: config.serialize(v) for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        """The optimizer of `get_config`'s arguments, or of those that Keras wrote."""
        return cls(**{k: v for k, v in data.items() if k not in ("is_legacy_optimizer", "jit_compile", "decay")})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self.learning_rate}>"


def _limited(g: Any, norm: Any, limit: float) -> Any:
    """A gradient scaled down to a norm where it has a larger one."""
    return g * (limit / ops.maximum(norm, limit))


def _chosen(flag: Any, new: Any, old: Any) -> Any:
    """One of two equal structures."""
    if isinstance(new, dict):
        return {k: _chosen(flag, v, old[k]) for k, v in new.items()}
    return ops.where(flag, new, old)


def get(identifier: Any) -> Optimizer:
    """An optimizer by name ("adam"), configuration, or as it is.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, Mapping):
        return config.deserialize(identifier, Optimizer)
    if not isinstance(identifier, str):
        raise TypeError(f"an optimizer is a name, a configuration or a hither.optim object, got {type(identifier).__name__}")
    return config.find(identifier, Optimizer)()
