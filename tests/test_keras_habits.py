"""What people write who know Keras: layers, networks, metrics and calls in its idioms. Each does what it does there, or says
what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import nn
from hither.errors import ShapeMismatch, UnsupportedFeature

from .keras_reference import keras

X = np.random.default_rng(0).standard_normal((6, 4, 5)).astype(np.float32)


class Linear(nn.Layer):
    """The layer of Keras's guide to writing one."""

    def __init__(self, units: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True)
        self.b = self.add_weight(shape=(self.units,), initializer="ones", regularizer="l2", constraint="non_neg", name="bias")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        return inputs @ self.w + self.b


def test_weights_may_be_assigned_as_in_keras() -> None:
    """An attribute per weight, and no second one by the name that add_weight made up or was given: training would miss one."""
    layer = Linear(name="own")
    out = layer(X[0])
    w, b, _ = layer.get_weights()
    np.testing.assert_allclose(out.numpy(), X[0] @ w + b, rtol=1e-5)
    assert list(layer.weights) == ["w", "b", "count"] and list(layer.trainable_weights) == ["w", "b"]
    trainer = ht.Trainer(nn.Sequential([nn.Input((5,)), layer]), "mse", ht.optim.SGD(0.1))
    y = np.zeros((6, 3), np.float32)
    trainer.train_on_batch(X[:, 0], y)
    error = X[:, 0] @ w + b - y
    np.testing.assert_allclose(
        trainer.net.weights["own.w"].numpy(), w - 0.1 * X[:, 0].T @ error * 2 / y.size, rtol=1e-4, atol=1e-6
    )
    learned = b - 0.1 * (error.sum(0) * 2 / y.size + 0.01 * 2 * b)
    np.testing.assert_allclose(trainer.net.weights["own.b"].numpy(), np.maximum(learned, 0), rtol=1e-4)

    class Many(nn.Layer):
        def build(self, input_shape: Any) -> None:
            self.parts = [self.add_weight(shape=(2,)) for _ in range(2)]  # type: ignore[assignment]

    with pytest.raises(TypeError, match="attribute of its own"):
        Many().build((1,))
    with pytest.raises(TypeError, match=r"shape=\(3, 4\)"):
        layer.add_weight((3, 4))  # type: ignore[arg-type]


def drawn(keras_like: Any, position: Any) -> Any:
    """A network with operators between layers; of Keras, or of hither."""
    x = (keras_like.Input if keras_like is keras else nn.Input)((4, 5))
    dense = (keras.layers if keras_like is keras else nn).Dense
    h = dense(5, activation="tanh", name="h")(x)
    h = (h + position if keras_like is keras else position + h) * 2 - x / 3.0
    h = 1 - (h[:, -1] + h[:, 0] ** 2) @ np.eye(5, dtype=np.float32)
    h = abs(-h) % 2 + 5 // (x[:, 1] * x[:, 1] + 1)
    made = keras.Model if keras_like is keras else nn.Functional
    return made(x, dense(2, name="y")(h))


def test_operators_between_layers_are_layers_of_the_network(tmp_path: Path) -> None:
    """Residual sums and the like, in files of either, with arrays among the operands."""
    position = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    theirs, ours = drawn(keras, position), drawn(nn, ht.asarray(position))
    ours.set_weights(theirs.get_weights())
    expected = np.asarray(theirs(X))
    np.testing.assert_allclose(ours(X).numpy(), expected, rtol=1e-4, atol=1e-5)
    ht.save(ours, tmp_path / "ours.keras")
    np.testing.assert_allclose(np.asarray(keras.models.load_model(tmp_path / "ours.keras")(X)), expected, rtol=1e-4, atol=1e-5)
    theirs.save(tmp_path / "theirs.keras")
    for name in ("ours", "theirs"):
        (found,) = ht.load(tmp_path / f"{name}.keras")(X).values()
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_functions_are_layers_by_lambda() -> None:
    x = nn.Input((4, 5))
    both = nn.Lambda(lambda pair, factor: ht.concat([pair[0], pair[1] * factor], axis=-1), arguments={"factor": 2.0})([x, x])
    net = nn.Functional(x, nn.Lambda(lambda h, training: ht.mean(h, axis=1) + (1.0 if training else 0.0))(both))
    np.testing.assert_allclose(net(X).numpy(), np.concatenate([X, 2 * X], -1).mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((net(X, training=True) - net(X)).numpy(), 1.0, rtol=1e-5)
    with pytest.raises(TypeError, match="Lambda"):
        ht.concat([x, x], axis=-1)
    with pytest.raises(TypeError, match="not iterable"):
        list(x)


def test_a_layer_draws_with_keys_of_its_call() -> None:
    """The reparameterisation of a variational autoencoder: other draws in every step, the same ones for the same seed."""

    class Sampling(nn.Layer):
        def call(self, inputs: Any) -> Any:
            mean, log_variance = inputs
            self.add_loss(-0.5 * ht.mean(1 + log_variance - mean**2 - ht.exp(log_variance)))
            return mean + ht.exp(0.5 * log_variance) * ht.random.normal(nn.next_key(), mean.shape)

    def losses() -> list[float]:
        nn.seed(0)
        x = nn.Input((5,))
        net = nn.Functional(x, nn.Dense(5)(Sampling()([nn.Dense(2)(x), nn.Dense(2)(x)])))
        trainer = ht.Trainer(net, "mse", ht.optim.SGD(0.0), seed=4)
        return [trainer.train_on_batch(X[:, 0], X[:, 0])["loss"] for _ in range(3)]

    first = losses()
    assert len(set(first)) == 3 and losses() == first
    with pytest.raises(TypeError, match="next_key"):
        ht.random.normal((2, 3))


def _net() -> nn.Sequential:
    return nn.Sequential([nn.Input((5,)), nn.Dense(1)])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: _net().fit(X, X), r"Trainer\("),
        (lambda: _net().evaluate(X, X), r"Trainer\("),
        (lambda: _net().train_on_batch(X, X), r"Trainer\("),
        (lambda: _net().predict(X), r"net\(x\)"),
        (lambda: _net().save("a.keras"), r"hither\.save\("),
        (lambda: _net().save_weights("a.weights.h5"), r"hither\.save_weights\("),
        (lambda: nn.metrics.Mean().add_weight(name="n"), r"init\(\)"),
    ],
)
def test_methods_of_keras_say_what_to_write(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(UnsupportedFeature, match=says):
        call()


def test_unknown_names_say_what_they_should_be() -> None:
    for made, says in (
        (lambda: nn.losses.get("mean_square_error"), r"mean_squared_error.*hither\.nn\.losses\.Loss"),
        (lambda: ht.optim.get("addam"), r"adam.*hither\.optim\.Optimizer"),
        (lambda: nn.metrics.get("acuracy"), r"hither\.nn\.metrics\.Metric"),
    ):
        with pytest.raises(UnsupportedFeature, match=says):
            made()


def test_names_and_paths_of_keras_say_what_to_write() -> None:
    with pytest.raises(AttributeError, match="Functional"):
        nn.Model  # noqa: B018
    with pytest.raises(TypeError, match="network=net"):
        _net().load_weights("a.weights.h5")  # type: ignore[arg-type]


def test_an_error_names_the_layer_that_it_comes_from() -> None:
    """The message alone, of two matrices, does not say which of a network's hundred layers was given the wrong one."""
    net = nn.Sequential([nn.Input((5,)), nn.Dense(4, name="first"), nn.Dense(3)], name="net")
    with pytest.raises(ValueError, match="inner extents") as caught:
        net(np.zeros((2, 6), np.float32))
    assert caught.value.__notes__ == ["in the layer net/first (Dense), called with (2, 6)"]
    with pytest.raises(ShapeMismatch, match=r"'kernel' would have the shape \(6, -3\)"):
        nn.Dense(-3)(np.zeros((2, 6), np.float32))


def test_predicting_shows_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = ht.Trainer(nn.Sequential([nn.Input((5,)), nn.Dense(3)]), "mse")
    trainer.predict(X[:, 0], verbose=0)
    assert not capsys.readouterr().out
    trainer.predict(X[:, 0], verbose=2)
    assert capsys.readouterr().out.startswith("Predicted - ")
    with pytest.warns(ht.train.OutOfDataWarning), pytest.raises(ShapeMismatch, match="no batches"):
        trainer.predict(iter([]))
    with pytest.raises(ValueError, match="batch_size is 1 or more"):
        trainer.fit(X[:, 0], X[:, 0, :3], validation_split=0.5, validation_batch_size=0, verbose=0)
