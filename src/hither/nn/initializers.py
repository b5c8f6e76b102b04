"""Initializers: how weights begin, with Keras 3's names, arguments and formulas.

An initializer is called with a shape and gives an array. Those that draw take their numbers from a seed of their own, or from
the generator that `hither.nn.seed` starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..ops import asarray, random
from . import config
from .config import arguments
from .randomness import next_key


class Initializer:
    """Base of all initializers."""

    keras_module = "keras.initializers"

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """An array of this shape; float32 unless a dtype is given."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**arguments(cls, {k: v for k, v in config.items() if k != "dtype"}))


class _Random(Initializer):
    seed: int | None = None

    def _key(self) -> Any:
        if isinstance(self.seed, int):
            return random.key(self.seed)
        return next_key(type(self).__name__, concrete=True)


@config.register("zeros", "zero")
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return asarray(np.zeros(tuple(shape), dt.dtype(dtype or "float32").numpy))


@config.register("ones", "one")
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return asarray(np.ones(tuple(shape), dt.dtype(dtype or "float32").numpy))


@config.register("constant")
class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return asarray(np.full(tuple(shape), self.value, dt.dtype(dtype or "float32").numpy))


@config.register("identity", "IdentityInitializer")
class Identity(Initializer):
    """A matrix with `gain` along its diagonal."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise ValueError(f"the identity initializer makes matrices, got shape {tuple(shape)}")
        return asarray((self.gain * np.eye(shape[0], shape[1])).astype(dt.dtype(dtype or "float32").numpy))


@config.register("random_normal", "normal")
class RandomNormal(_Random):
    """Normally distributed."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return random.normal(self._key(), shape, mean=self.mean, std=self.stddev, dtype=dtype or dt.float32)


@config.register("truncated_normal")
class TruncatedNormal(_Random):
    """Normally distributed within two standard deviations."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return random.truncated_normal(self._key(), shape, mean=self.mean, std=self.stddev, dtype=dtype or dt.float32)


@config.register("random_uniform", "uniform")
class RandomUniform(_Random):
    """Evenly distributed between minval and maxval."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return random.uniform(self._key(), shape, low=self.minval, high=self.maxval, dtype=dtype or dt.float32)


@config.register("variance_scaling")
class VarianceScaling(_Random):
    """Of variance scale / n, where n is the fan in, the fan out, or their mean ("fan_avg")."""

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: Any = None
    ) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        _one_of("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        _one_of("distribution", distribution, ("truncated_normal", "untruncated_normal", "uniform"))
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        key, dtype = self._key(), dtype or dt.float32
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.uniform(key, shape, low=-limit, high=limit, dtype=dtype)
        if self.distribution == "untruncated_normal":
            return random.normal(key, shape, std=math.sqrt(variance), dtype=dtype)
        # The standard deviation of a standard normal cut at ±2.
        return random.truncated_normal(key, shape, std=math.sqrt(variance) / 0.87962566103423978, dtype=dtype)


class _Preset(VarianceScaling):
    """A VarianceScaling whose arguments have a name."""

    arguments: tuple[float, str, str]

    def __init__(self, seed: Any = None) -> None:
        super().__init__(*self.arguments, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(config.get("seed"))


def _preset(name: str, doc: str, scale: float, mode: str, distribution: str) -> type[_Preset]:
    spelled = "".join(part.capitalize() for part in name.split("_"))
    made = type(spelled, (_Preset,), {"__doc__": doc, "arguments": (scale, mode, distribution), "__module__": __name__})
    return config.register(name)(made)


GlorotUniform = _preset("glorot_uniform", "Glorot and Bengio (2010), uniform.", 1.0, "fan_avg", "uniform")
GlorotNormal = _preset("glorot_normal", "Glorot and Bengio (2010), normal.", 1.0, "fan_avg", "truncated_normal")
HeUniform = _preset("he_uniform", "He et al. (2015), uniform.", 2.0, "fan_in", "uniform")
HeNormal = _preset("he_normal", "He et al. (2015), normal.", 2.0, "fan_in", "truncated_normal")
LecunUniform = _preset("lecun_uniform", "LeCun et al. (1998), uniform.", 1.0, "fan_in", "uniform")
LecunNormal = _preset("lecun_normal", "LeCun et al. (1998), normal.", 1.0, "fan_in", "truncated_normal")


@config.register("orthogonal", "OrthogonalInitializer")
class Orthogonal(_Random):
    """Orthonormal rows or columns times `gain` (Saxe et al. 2014)."""

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        if len(shape) < 2:
            raise ValueError(f"the orthogonal initializer needs two axes or more, got shape {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        drawn = random.normal(self._key(), (max(rows, columns), min(rows, columns)), dtype=dt.float64).numpy()
        q, r = np.linalg.qr(drawn)
        q = q * np.sign(np.diag(r))
        q = q.T if rows < columns else q
        return asarray((self.gain * q.reshape(tuple(shape))).astype(dt.dtype(dtype or "float32").numpy))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(inputs, outputs) that a weight of this shape connects: the last two axes, times the window of a convolution."""
    if len(shape) < 2:
        n = int(shape[0]) if shape else 1
        return n, n
    window = math.prod(shape[:-2])
    return int(shape[-2]) * window, int(shape[-1]) * window


def get(identifier: Any) -> Any:
    """An initializer by name, configuration or as it is; arrays and functions of (shape, dtype) pass through.

    Raises:
        UnsupportedFeature: if there is none of this name.
    """
    if identifier is None:
        return Zeros()
    if isinstance(identifier, str):
        return config.find(identifier, Initializer)()
    if isinstance(identifier, dict):
        return config.deserialize(identifier, Initializer)
    if hasattr(identifier, "shape"):
        return lambda shape, dtype=None: asarray(identifier)
    return identifier


def _one_of(what: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} is one of {', '.join(map(repr, allowed))}, got {value!r}")
