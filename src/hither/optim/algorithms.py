"""The optimizers, with Keras 3's names, arguments, defaults and formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..nn import config
from .optimizer import Optimizer, State


@config.register("sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum (Polyak, 1964) or Nesterov's (1983) if asked for.

    Example:
        >>> import hither as ht
        >>> optimizer = ht.optim.SGD(0.1)
        >>> weights = {"w": ht.asarray([1.0])}
        >>> weights, state = optimizer.update({"w": ht.asarray([2.0])}, optimizer.init(weights), weights)
        >>> weights["w"].numpy().tolist()
        [0.800000011920929]
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is between 0 and 1, got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum",) if self.momentum else ()

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        if not self.momentum:
            return w - rate * g, {}
        m = self.momentum * slots["momentum"] - rate * g
        return (w + self.momentum * m - rate * g if self.nesterov else w + m), {"momentum": m}


@config.register("rmsprop")
class RMSprop(Optimizer):
    """Tieleman and Hinton (2012)."""

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("velocity", *(("momentum",) if self.momentum else ()), *(("average_gradient",) if self.centered else ()))

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        rho = self.rho
        after = {"velocity": rho * slots["velocity"] + (1 - rho) * g * g}
        variance = after["velocity"]
        if self.centered:
            after["average_gradient"] = rho * slots["average_gradient"] + (1 - rho) * g
            variance = variance - after["average_gradient"] ** 2
        by = rate * g * ops.rsqrt(variance + self.epsilon)
        if self.momentum:
            by = after["momentum"] = self.momentum * slots["momentum"] + by
        return w - by, after


@config.register("adam")
class Adam(Optimizer):
    """Kingma and Ba (2014); amsgrad: Reddi et al. (2018)."""

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        amsgrad: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        alpha = rate * ops.sqrt(1 - ops.pow(self.beta_2, step)) / (1 - ops.pow(self.beta_1, step))
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        v = slots["velocity"] + (g * g - slots["velocity"]) * (1 - self.beta_2)
        after = {"momentum": m, "velocity": v}
        if self.amsgrad:
            v = after["velocity_hat"] = ops.maximum(slots["velocity_hat"], v)
        return w - m * alpha / (ops.sqrt(v) + self.epsilon), after


@config.register("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""

    def __init__(
        self, learning_rate: Any = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, amsgrad: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs)


@config.register("adamax")
class Adamax(Optimizer):
    """Kingma and Ba (2014), section 7."""

    slots = ("momentum", "norm")

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        u = ops.maximum(self.beta_2 * slots["norm"], ops.abs(g))
        by = rate * m / ((1 - ops.pow(self.beta_1, step)) * (u + self.epsilon))
        return w - by, {"momentum": m, "norm": u}


@config.register("adadelta")
class Adadelta(Optimizer):
    """Zeiler (2012)."""

    slots = ("accumulated_gradient", "accumulated_change")

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.rho, self.epsilon = rho, epsilon

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        rho, e = self.rho, self.epsilon
        gradient = rho * slots["accumulated_gradient"] + (1 - rho) * g * g
        by = -ops.sqrt(slots["accumulated_change"] + e) * g / ops.sqrt(gradient + e)
        change = rho * slots["accumulated_change"] + (1 - rho) * by * by
        return w + rate * by, {"accumulated_gradient": gradient, "accumulated_change": change}


@config.register("adagrad")
class Adagrad(Optimizer):
    """Duchi, Hazan and Singer (2011)."""

    slots = ("accumulator",)

    def __init__(
        self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def begin(self, slot: str, weight: Any) -> Any:
        return ops.full_like(weight, self.initial_accumulator_value)

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        total = slots["accumulator"] + g * g
        return w - rate * g / ops.sqrt(total + self.epsilon), {"accumulator": total}


@config.register("nadam")
class Nadam(Optimizer):
    """Dozat (2015): Adam with Nesterov momentum."""

    slots = ("momentum", "velocity")

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def _u(self, step: Any) -> Any:
        return self.beta_1 * (1 - 0.5 * ops.pow(0.96, step))

    def shared(self) -> State:
        return {"u_product": ops.asarray(np.float32(1))}

    def advance(self, shared: State, step: Any) -> State:
        return {"u_product": shared["u_product"] * self._u(step)}

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        product, following = shared["u_product"], self._u(step + 1)
        m = slots["momentum"] + (g - slots["momentum"]) * (1 - self.beta_1)
        v = slots["velocity"] + (g * g - slots["velocity"]) * (1 - self.beta_2)
        m_hat = following * m / (1 - product * following) + (1 - self._u(step)) * g / (1 - product)
        v_hat = v / (1 - ops.pow(self.beta_2, step))
        return w - m_hat * rate / (ops.sqrt(v_hat) + self.epsilon), {"momentum": m, "velocity": v}


@config.register("lion")
class Lion(Optimizer):
    """Chen et al. (2023): the sign of an interpolated momentum."""

    slots = ("momentum",)

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def step(self, w: Any, g: Any, slots: State, rate: Any, step: Any, shared: State) -> tuple[Any, State]:
        m = slots["momentum"]
        by = rate * ops.sign(m * self.beta_1 + g * (1 - self.beta_1))
        return w - by, {"momentum": m * self.beta_2 + g * (1 - self.beta_2)}
