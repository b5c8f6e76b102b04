"""Learning rates that follow the step, with Keras 3's names, arguments and formulas.

A schedule is called with the step (0, 1, …, an array or a traced one) and gives the rate as float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..nn import config


class LearningRateSchedule:
    """Base of all schedules. Subclass it and write `__call__(step)`."""

    keras_module = "keras.optimizers.schedules"

    def __call__(self, step: Any) -> Any:
        """The learning rate at this step."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The schedule of `get_config`'s arguments."""
        return cls(**config)


def _float(step: Any) -> Any:
    return ops.astype(ops.asarray(step), "float32")


@config.register()
class ExponentialDecay(LearningRateSchedule):
    """`initial · decay_rate^(step / decay_steps)`, the exponent floored if `staircase`."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False, name: str = ""
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name or "ExponentialDecay"

    def __call__(self, step: Any) -> Any:
        turns = _float(step) / self.decay_steps
        turns = ops.floor(turns) if self.staircase else turns
        return self.initial_learning_rate * ops.exp(turns * math.log(self.decay_rate))


@config.register()
class InverseTimeDecay(LearningRateSchedule):
    """`initial / (1 + decay_rate · step / decay_steps)`, the quotient floored if `staircase`."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False, name: str = ""
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name or "InverseTimeDecay"

    def __call__(self, step: Any) -> Any:
        turns = _float(step) / self.decay_steps
        turns = ops.floor(turns) if self.staircase else turns
        return self.initial_learning_rate / (1 + self.decay_rate * turns)


@config.register()
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to and including the step `boundaries[i]`, the last value after all of them."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(f"{len(boundaries)} boundaries part {len(boundaries) + 1} values, got {len(values)}")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> Any:
        step = ops.asarray(step)
        rate: Any = ops.asarray(np.float32(self.values[-1]))
        for boundary, value in reversed(list(zip(self.boundaries, self.values))):
            rate = ops.where(step <= boundary, np.float32(value), rate)
        return rate


@config.register()
class PolynomialDecay(LearningRateSchedule):
    """From `initial` to `end` along `(1 - step / decay_steps)^power`; `cycle` starts again with more steps each time."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 0.0001, power: float = 1.0,
        cycle: bool = False, name: str = "PolynomialDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps, self.end_learning_rate = (
            initial_learning_rate, decay_steps, end_learning_rate,
        )  # fmt: skip
        self.power, self.cycle, self.name = power, cycle, name

    def __call__(self, step: Any) -> Any:
        at, length = _float(step), ops.asarray(np.float32(self.decay_steps))
        if self.cycle:
            length = length * ops.maximum(ops.ceil(at / length), 1.0)
        else:
            at = ops.minimum(at, length)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1 - at / length) ** self.power + self.end_learning_rate


@config.register()
class CosineDecay(LearningRateSchedule):
    """A linear warm-up to `warmup_target`, then half a cosine down to `alpha` of it (Loshchilov and Hutter, 2016)."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0, name: str = "CosineDecay",
        warmup_target: float | None = None, warmup_steps: int = 0,
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps, self.alpha, self.name = initial_learning_rate, decay_steps, alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: Any) -> Any:
        at = _float(step)
        top = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        since = at if self.warmup_target is None else at - self.warmup_steps
        done = ops.clip(since / self.decay_steps, 0.0, 1.0)
        cosine = 0.5 * (1 + ops.cos(math.pi * done))
        decayed = top * ((1 - self.alpha) * cosine + self.alpha)
        if self.warmup_target is None or not self.warmup_steps:
            return decayed
        rising = self.initial_learning_rate + (top - self.initial_learning_rate) * at / self.warmup_steps
        return ops.where(at < self.warmup_steps, rising, decayed)


@config.register()
class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after the other, each `t_mul` as long and `m_mul` as high as the one before (SGDR)."""

    def __init__(
        self, initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0,
        alpha: float = 0.0, name: str = "SGDRDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step: Any) -> Any:
        done = _float(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restart = ops.floor(done)
            done = done - restart
        else:
            restart = ops.floor(ops.log(1 - done * (1 - self.t_mul)) / math.log(self.t_mul))
            before = (1 - ops.pow(self.t_mul, restart)) / (1 - self.t_mul)
            done = (done - before) / ops.pow(self.t_mul, restart)
        height = ops.pow(np.float32(self.m_mul), restart)
        cosine = 0.5 * height * (1 + ops.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
    "PiecewiseConstantDecay", "PolynomialDecay",
]  # fmt: skip
