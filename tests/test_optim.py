"""Optimizers and schedules step by step against Keras 3 (its NumPy backend), and what the pure update promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import optim
from hither.graph.tree import flatten

from .keras_reference import keras

RNG = np.random.default_rng(0)
START = {"a": RNG.standard_normal((3, 2)).astype(np.float32), "b": RNG.standard_normal(4).astype(np.float32)}
GRADIENTS = [{k: RNG.standard_normal(v.shape).astype(np.float32) for k, v in START.items()} for _ in range(7)]

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.1}),
    "momentum": ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01}),
    "rmsprop centered": ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True}),
    "adam": ("Adam", {"learning_rate": 0.01}),
    "adam defaults": ("Adam", {}),
    "amsgrad": ("Adam", {"learning_rate": 0.01, "amsgrad": True}),
    "adamw": ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "adamax": ("Adamax", {"learning_rate": 0.01}),
    "adadelta": ("Adadelta", {"learning_rate": 1.0}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "nadam": ("Nadam", {"learning_rate": 0.01}),
    "lion": ("Lion", {"learning_rate": 0.01, "weight_decay": 0.01}),
    "clipnorm": ("SGD", {"learning_rate": 0.1, "clipnorm": 0.5}),
    "clipvalue": ("Adam", {"learning_rate": 0.1, "clipvalue": 0.3}),
    "global_clipnorm": ("SGD", {"learning_rate": 0.1, "global_clipnorm": 1.0}),
    "ema": ("SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}),
    "accumulated ema": (
        "SGD",
        {
            "learning_rate": 0.1,
            "gradient_accumulation_steps": 2,
            "use_ema": True,
            "ema_momentum": 0.5,
            "ema_overwrite_frequency": 3,
        },
    ),
    "accumulation": ("Adam", {"learning_rate": 0.1, "gradient_accumulation_steps": 3}),
    "decay": ("SGD", {"learning_rate": 0.1, "weight_decay": 0.2, "momentum": 0.3}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_keras_steps(name: str) -> None:
    cls, arguments = OPTIMIZERS[name]
    theirs = getattr(keras.optimizers, cls)(**arguments)
    variables = {k: keras.Variable(v) for k, v in START.items()}
    theirs.build(list(variables.values()))
    ours = getattr(optim, cls)(**arguments)
    weights = {k: ht.asarray(v) for k, v in START.items()}
    state = ours.init(weights)
    step = ht.jit(ours.update)
    for gradients in GRADIENTS:
        theirs.apply(list(gradients.values()), list(variables.values()))
        weights, state = step(gradients, state, weights)
        for k, v in variables.items():
            np.testing.assert_allclose(weights[k].numpy(), np.asarray(v.numpy()), rtol=2e-5, atol=2e-6, err_msg=k)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_configurations_make_equal_optimizers(name: str) -> None:
    cls, arguments = OPTIMIZERS[name]
    ours = getattr(optim, cls)(**arguments)
    assert optim.get(ht.nn.serialize(ours)).get_config() == ours.get_config()
    theirs = getattr(keras.optimizers, cls)(**arguments)
    read = optim.get(keras.optimizers.serialize(theirs))
    want = {**ours.get_config(), "name": read.name, "learning_rate": pytest.approx(ours.learning_rate)}  # theirs is float32
    assert read.get_config() == want


SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    "staircase": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True}),
    "inverse": ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    "piecewise": ("PiecewiseConstantDecay", {"boundaries": [3, 6], "values": [0.1, 0.01, 0.001]}),
    "polynomial": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 6, "power": 2.0}),
    "cycle": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "cycle": True}),
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 8, "alpha": 0.1}),
    "warmup": ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 8, "warmup_target": 0.1, "warmup_steps": 3}),
    "restarts": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 3, "m_mul": 0.8}),
    "equal restarts": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 3, "t_mul": 1.0}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_keras_schedules(name: str) -> None:
    cls, arguments = SCHEDULES[name]
    theirs = getattr(keras.optimizers.schedules, cls)(**arguments)
    ours = getattr(optim.schedules, cls)(**arguments)
    compiled = ht.jit(ours)
    for step in range(12):
        want = float(np.asarray(theirs(step)))
        assert float(ours(np.int32(step))) == pytest.approx(want, rel=1e-4, abs=1e-8), step
        assert float(compiled(np.int32(step))) == pytest.approx(want, rel=1e-4, abs=1e-8), step
    again = ht.nn.deserialize(ht.nn.serialize(ours), optim.LearningRateSchedule)
    assert again.get_config() == ours.get_config()


def test_the_learning_rate_is_state_and_schedules_follow_the_step() -> None:
    ours = optim.SGD(0.5)
    state = ours.init({"w": ht.ones(1)})
    state["learning_rate"] = ht.asarray(0.25)
    weights, _ = ours.update({"w": ht.ones(1)}, state, {"w": ht.ones(1)})
    assert weights["w"].numpy().tolist() == [0.75]
    scheduled = optim.SGD(optim.schedules.PiecewiseConstantDecay([0], [1.0, 0.0]))
    weights = {"w": ht.ones(1)}
    state = scheduled.init(weights)
    for want in (0.0, 0.0):
        weights, state = scheduled.update({"w": ht.ones(1)}, state, weights)
        assert weights["w"].numpy().tolist() == [want]


def test_unknown_names_are_answered_with_close_ones() -> None:
    with pytest.raises(ht.HitherError, match="adam"):
        optim.get("adan")


@pytest.mark.parametrize("accumulated", [None, 2])
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Adadelta", "Adagrad", "Nadam", "Lion"])
def test_weights_in_halves_stay_halves(name: str, accumulated: int | None) -> None:
    """The learning rate is float32, and what it makes of a weight in halves is rounded to the weight's own type, slots and
    averages too, as variables in Keras are: the state of a compiled step cannot change its types."""
    optimizer = getattr(optim, name)(
        0.1, weight_decay=0.01, clipnorm=1.0, use_ema=True, gradient_accumulation_steps=accumulated
    )
    weights = {"w": ht.asarray(np.array([1.0, -2.0, 3.0], np.float16))}
    state = optimizer.init(weights)
    kinds = [a.dtype for a in flatten(state)[0]]
    for _ in range(2):
        weights, state = optimizer.update({"w": ht.asarray(np.array([0.3, 0.0, -0.4], np.float16))}, state, weights)
        assert weights["w"].dtype.name == "float16" and [a.dtype for a in flatten(state)[0]] == kinds


def test_a_layer_in_halves_trains() -> None:
    net = ht.nn.Sequential([ht.nn.Input((1,)), ht.nn.Dense(1, dtype="float16", use_bias=False, name="d")])
    net.load_weights({"d.kernel": np.full((1, 1), 0.5, np.float16)})
    ht.Trainer(net, "mse", optim.SGD(0.25)).train_on_batch(np.ones((2, 1)), np.zeros((2, 1)))
    assert net.weights["d.kernel"].dtype.name == "float16"
    np.testing.assert_array_equal(net.weights["d.kernel"].numpy(), 0.25)  # 0.5 - 0.25 * 2 * 0.5
