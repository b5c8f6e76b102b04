"""The Trainer: steps against NumPy and Keras, what it reports, what it refuses, and that every device trains alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import NameMismatch, NonFiniteLoss, ShapeMismatch, UnsupportedFeature


def data(n: int = 40, features: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, features)).astype(np.float32)
    return x, (x @ rng.normal(size=(features, classes))).argmax(1)


def dense_net(**settings: Any) -> ht.nn.Sequential:
    ht.nn.seed(1)
    return ht.nn.Sequential(
        [ht.nn.Input((5,)), ht.nn.Dense(8, activation="tanh", name="hidden"), ht.nn.Dense(3, name="head", **settings)]
    )


LOSS = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)


def numpy_steps(net: Any, x: np.ndarray, y: np.ndarray, rate: float, steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Gradient descent on the mean cross-entropy of a net of two dense layers, with derivatives written by hand."""
    w = {n: np.array(a.numpy(), np.float64) for n, a in net.weights.items()}
    losses = []
    for _ in range(steps):
        h = np.tanh(x @ w["hidden.kernel"] + w["hidden.bias"])
        z = h @ w["head.kernel"] + w["head.bias"]
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(float(-np.log(p[np.arange(len(y)), y]).mean()))
        dz = (p - np.eye(3)[y]) / len(y)
        dh = (dz @ w["head.kernel"].T) * (1 - h * h)
        for name, g in (
            ("head.kernel", h.T @ dz), ("head.bias", dz.sum(0)), ("hidden.kernel", x.T @ dh), ("hidden.bias", dh.sum(0)),
        ):  # fmt: skip
            w[name] -= rate * g
    return losses, w


def test_steps_are_gradient_descent() -> None:
    """Loss after loss and weight by weight what NumPy computes from derivatives written by hand."""
    x, y = data()
    net = dense_net()
    expected, weights = numpy_steps(net, x, y, 0.5, 6)
    trainer = ht.Trainer(net, LOSS, ht.optim.SGD(0.5))
    got = [trainer.train_on_batch(x, y)["loss"] for _ in range(6)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    for name, array in weights.items():
        np.testing.assert_allclose(net.weights[name].numpy(), array, atol=1e-5, err_msg=name)


KERAS = """
import json, os, sys
os.environ["KERAS_BACKEND"] = "jax"
import keras, numpy as np
L = keras.layers
kind, folder = sys.argv[1:]
data = np.load(folder + "/data.npz")
if kind == "dense":
    net = keras.Sequential([keras.Input((6,)), L.Dense(16, activation="relu", kernel_regularizer="l2",
        activity_regularizer=keras.regularizers.L2(0.01)),
        L.Dense(3, activation="softmax", kernel_constraint=keras.constraints.MaxNorm(1.0))])
    settings = dict(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"],
        weighted_metrics=["accuracy"])
    extra = dict(class_weight={0: 1.0, 1: 2.0, 2: 0.5}, validation_split=0.25)
elif kind == "cnn":
    net = keras.Sequential([keras.Input((8, 8, 2)), L.Conv2D(6, 3, padding="same"), L.BatchNormalization(), L.ReLU(),
        L.MaxPooling2D(), L.Conv2D(8, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3)])
    settings = dict(optimizer=keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    extra = dict(sample_weight=data["sample_weight"])
elif kind == "masked":
    net = keras.Sequential([keras.Input((5,), dtype="int32"), L.Embedding(9, 4, mask_zero=True),
        L.GRU(6, return_sequences=True), L.Dense(1)])
    settings = dict(optimizer="rmsprop", loss="mse", metrics=["mae"])
    extra = {}
net.compile(**settings)
weights = net.get_weights()
np.savez(folder + "/weights.npz", *weights)
curve = []
class Each(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        curve.append({k: float(v) for k, v in logs.items()})
history = net.fit(data["x"], data["y"], batch_size=16, epochs=3, shuffle=False, verbose=0, callbacks=[Each()], **extra)
np.savez(folder + "/after.npz", *net.get_weights())
evaluated = net.evaluate(data["x"], data["y"], batch_size=16, verbose=0, return_dict=True)
print(json.dumps({"evaluated": evaluated, "curve": curve,
    "history": {k: [float(v) for v in vs] for k, vs in history.history.items()}}))
"""


def _ours(kind: str, sample_weight: Any) -> tuple[ht.nn.Sequential, dict[str, Any], dict[str, Any]]:
    L = ht.nn
    if kind == "dense":
        net = L.Sequential([
            L.Input((6,)),
            L.Dense(16, activation="relu", kernel_regularizer="l2", activity_regularizer=L.regularizers.L2(0.01)),
            L.Dense(3, activation="softmax", kernel_constraint=L.constraints.MaxNorm(1.0)),
        ])  # fmt: skip
        settings: dict[str, Any] = {
            "optimizer": ht.optim.Adam(0.01), "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"],
            "weighted_metrics": ["accuracy"],
        }  # fmt: skip
        return net, settings, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "validation_split": 0.25}
    if kind == "cnn":
        net = L.Sequential([
            L.Input((8, 8, 2)), L.Conv2D(6, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
            L.Conv2D(8, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3),
        ])  # fmt: skip
        optimizer = ht.optim.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2)
        return net, {"optimizer": optimizer, "loss": LOSS, "metrics": ["accuracy"]}, {"sample_weight": sample_weight}
    net = L.Sequential([
        L.Input((5,), dtype="int32"), L.Embedding(9, 4, mask_zero=True), L.GRU(6, return_sequences=True), L.Dense(1)
    ])  # fmt: skip
    return net, {"optimizer": "rmsprop", "loss": "mse", "metrics": ["mae"]}, {}


@pytest.mark.parametrize("kind", ["dense", "cnn", "masked"])
def test_curves_are_those_of_keras(kind: str, tmp_path: Path) -> None:
    """Batch by batch the loss and metrics that Keras reports, and its weights at the end: regularizers and constraints, class
    and sample weights, batch normalisation, gradient accumulation, masks, a smaller last batch."""
    rng = np.random.default_rng(3)
    if kind == "masked":
        x: np.ndarray = rng.integers(0, 9, (40, 5)).astype(np.int32)
        x[:, 0], x[:20, 3:] = 1, 0
        y: np.ndarray = rng.normal(size=(40, 5, 1)).astype(np.float32)
    else:
        x = rng.normal(size=(40, 6) if kind == "dense" else (40, 8, 8, 2)).astype(np.float32)
        y = rng.integers(0, 3, 40).astype(np.int32)
    sample_weight = rng.uniform(0, 2, 40).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=y, sample_weight=sample_weight)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "-c", KERAS, kind, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=280
    )
    assert run.returncode == 0, run.stderr
    keras = json.loads(run.stdout.splitlines()[-1])
    net, settings, extra = _ours(kind, sample_weight)
    with np.load(tmp_path / "weights.npz") as saved:
        net.set_weights(list(saved.values()))
    curve: list[dict[str, float]] = []
    each = ht.train.LambdaCallback(on_train_batch_end=lambda batch, logs: curve.append(dict(logs)))
    trainer = ht.Trainer(net, **settings)
    history = trainer.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, callbacks=[each], **extra)
    assert len(curve) == len(keras["curve"])
    lost = {"mae"} if kind == "masked" else set()  # Keras's JAX backend loses the mask of metrics while it trains
    for got, expected in zip(curve, keras["curve"]):
        for name in set(expected) - lost:
            assert got[name] == pytest.approx(expected[name], abs=1e-4), (name, got, expected)
    assert set(history.history) == set(keras["history"])
    for name, values in keras["history"].items():
        if name not in lost:
            np.testing.assert_allclose(history.history[name], values, atol=1e-4, err_msg=name)
    evaluated = trainer.evaluate(x, y, batch_size=16, verbose=0)
    for name, value in keras["evaluated"].items():
        assert evaluated[name] == pytest.approx(value, abs=1e-4), name
    with np.load(tmp_path / "after.npz") as saved:
        for got_array, expected_array in zip(net.get_weights(), saved.values(), strict=True):
            np.testing.assert_allclose(got_array, expected_array, atol=1e-4)


def noisy_net() -> ht.nn.Sequential:
    ht.nn.seed(2)
    return ht.nn.Sequential([
        ht.nn.Input((5,)), ht.nn.Dense(8, activation="relu"), ht.nn.BatchNormalization(), ht.nn.Dropout(0.3), ht.nn.Dense(3)
    ])  # fmt: skip


def curve_on(device: str, seed: int = 0) -> list[float]:
    x, y = data()
    trainer = ht.Trainer(noisy_net(), LOSS, "adam", device=device, seed=seed)
    return trainer.fit(x, y, batch_size=16, epochs=3, verbose=0).history["loss"]


def test_states_go_on_from_batch_to_batch() -> None:
    """Training of stateful layers, against a layer that is handed its states; in a network drawn with its batch's size, one
    that is built by its first batch, and a module that makes its layers' weights in the middle of a call."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5, 3)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    cell = ht.nn.LSTM(2, return_state=True)
    state, losses = None, []
    for k in range(0, 12, 4):
        predicted, *state = cell(x[k : k + 4], initial_state=state)
        losses.append(np.mean((predicted.numpy() - y[k : k + 4]) ** 2))

    class Plain(ht.nn.Module):
        def __init__(self) -> None:
            self.layer = ht.nn.LSTM(2, stateful=True)

        def __call__(self, x: Any) -> Any:
            return self.layer(x)

    drawn = ht.nn.Input(batch_shape=(4, 5, 3))
    nets: list[Any] = [
        ht.nn.Functional(drawn, ht.nn.LSTM(2, stateful=True)(drawn)),
        ht.nn.Sequential([ht.nn.LSTM(2, stateful=True)]),
        Plain(),
    ]
    for net in nets:
        trainer = ht.Trainer(net, "mse", ht.optim.SGD(0.0))
        trainer.evaluate(x[:4], y[:4], batch_size=4, verbose=0)
        named = {n: w for n, w in zip(("kernel", "recurrent_kernel", "bias"), cell.get_weights())}
        held = trainer.get_weights()
        trainer.set_weights({n: named.get(n.rpartition(".")[2], np.zeros(w.shape)) for n, w in held.items()})
        history = trainer.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
        np.testing.assert_allclose(history["loss"], [np.mean(losses)], rtol=1e-5)
    free = ht.nn.Input((5, 3))
    with pytest.raises(ShapeMismatch, match="batch_shape"):
        ht.nn.LSTM(2, stateful=True)(free)


def test_the_seed_decides() -> None:
    """Shuffling and dropout follow from the seed: equal seeds give equal bits, others another curve."""
    assert curve_on("cpu") == curve_on("cpu")
    assert curve_on("cpu") != curve_on("cpu", seed=1)


def test_wasm_trains_alike() -> None:
    pytest.importorskip("wasmtime")
    np.testing.assert_allclose(curve_on("wasm"), curve_on("cpu"), rtol=1e-5)


@pytest.mark.gpu
def test_the_gpu_trains_alike(adapter: str) -> None:
    np.testing.assert_allclose(curve_on("webgpu"), curve_on("cpu"), rtol=1e-4)


def test_frozen_layers_stay() -> None:
    x, y = data()
    net = dense_net()
    net.get_layer("hidden").trainable = False
    before = {n: np.array(a.numpy()) for n, a in net.weights.items()}
    trainer = ht.Trainer(net, LOSS, "adam")
    trainer.fit(x, y, epochs=2, verbose=0)
    assert not [n for n in trainer.state if n.startswith("optimizer.") and "hidden" in n], "frozen weights have no slots"
    after = net.weights
    assert (after["hidden.kernel"].numpy() == before["hidden.kernel"]).all()
    assert (after["head.kernel"].numpy() != before["head.kernel"]).any()
    net.get_layer("hidden").trainable = True  # thawed: the next fit sees it, and goes on from where the head is
    trainer.fit(x, y, epochs=1, verbose=0)
    assert (net.weights["hidden.kernel"].numpy() != before["hidden.kernel"]).any()


def test_freezing_a_network_freezes_what_is_in_it() -> None:
    """As in Keras, whose moving averages stand still where the network around a batch normalisation is frozen; and thawing the
    network thaws layers that were frozen one by one."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5)).astype(np.float32), rng.normal(size=(32, 1)).astype(np.float32)
    base = ht.nn.Sequential([ht.nn.Input((5,)), ht.nn.Dense(4), ht.nn.BatchNormalization()], name="base")
    net = ht.nn.Sequential([ht.nn.Input((5,)), base, ht.nn.Dense(1)])
    base.trainable = False
    before, expected = base.get_weights(), np.asarray(net(x).numpy())
    trainer = ht.Trainer(net, "mse", ht.optim.SGD(0.1))
    loss = trainer.train_on_batch(x, y)["loss"]
    np.testing.assert_allclose(loss, np.mean((expected - y) ** 2), rtol=1e-5)  # with averages, not with the batch's statistics
    for old, new in zip(before, trainer.net.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not base.layers[1].trainable
    for layer in base.layers:
        layer.trainable = False
    net.trainable = True
    assert len(net.trainable_weights) == 6


def test_another_trainer_may_change_what_this_one_holds_fixed() -> None:
    """A generator's training through a frozen discriminator, which a second Trainer trains in between: its weights become part
    of the state, for to compile them in anew at every step takes a second each time."""
    rng = np.random.default_rng(0)
    made = ht.nn.Sequential([ht.nn.Input((3,)), ht.nn.Dense(5, name="made")], name="made")
    judge = ht.nn.Sequential([ht.nn.Input((5,)), ht.nn.Dense(1, name="judge")], name="judge")
    both = ht.nn.Sequential([ht.nn.Input((3,)), made, judge])
    one, other = ht.Trainer(judge, "mse", ht.optim.SGD(0.1)), ht.Trainer(both, "mse", ht.optim.SGD(0.0))
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 1)).astype(np.float32)
    programs = []
    for _ in range(5):
        judge.trainable = True
        one.train_on_batch(made(x), y)
        judge.trainable = False
        loss = other.train_on_batch(x, y)["loss"]
        (w, b), hidden = judge.get_weights(), made(x).numpy()
        np.testing.assert_allclose(loss, np.mean((hidden @ w + b - y) ** 2), rtol=1e-5)
        assert other._steps is not None
        programs.append(other._steps)
    assert programs[2] is programs[3] is programs[4]


def test_states_that_are_reset_begin_anew_in_training() -> None:
    """Also where the Trainer's programs hold them, and for batches of another size outside of it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 5, 3)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    net = ht.nn.Sequential([ht.nn.Input(batch_shape=(4, 5, 3)), ht.nn.LSTM(2, stateful=True)])
    trainer = ht.Trainer(net, "mse", ht.optim.SGD(0.0))

    def loss() -> float:
        return trainer.fit(x, y, batch_size=4, shuffle=False, verbose=0).history["loss"][0]

    first, second = loss(), loss()
    assert first != second
    trainer.net.layers[0].reset_states()
    assert loss() == first
    trainer.net.layers[0].reset_states()
    np.testing.assert_allclose(trainer.evaluate(x, y, batch_size=4, verbose=0)["loss"], first, rtol=1e-6)
    trainer.net.layers[0].reset_states()
    predicted = trainer.predict(x, batch_size=4).numpy()
    np.testing.assert_allclose(np.mean((predicted - y) ** 2), first, rtol=1e-5)
    (kernel, recurrent, bias), steps = trainer.net.get_weights(), ht.nn.LSTM(2)
    steps(np.concatenate([x[:4], x[4:8]], 1))
    steps.set_weights([kernel, recurrent, bias])
    np.testing.assert_allclose(steps(np.concatenate([x[:4], x[4:8]], 1)).numpy(), predicted[4:8], rtol=1e-5, atol=1e-6)
    states = [n for n in trainer.net.weights if "state" in n]
    assert all((trainer.net.weights[n].numpy() == trainer.state[f"weights.{n}"].numpy()).all() for n in states)
    layer = ht.nn.LSTM(2, stateful=True)
    layer(x[:4])
    with pytest.raises(ValueError, match="reset_states"):
        layer(x[:6])
    layer.reset_states()
    anew = layer(x[:6]).numpy()
    layer.reset_states()
    np.testing.assert_array_equal(anew[:4], layer(x[:4]).numpy())


def test_weights_that_nothing_changes_are_constants_of_the_programs() -> None:
    """A frozen layer is folded and packed like that of a model from a file; what comes into its place is seen all the same, and
    the moving averages of a batch normalisation, which are not trained either, go on moving."""
    x, y = data()
    hidden, norm = ht.nn.Dense(8, name="hidden", trainable=False), ht.nn.BatchNormalization(name="norm")
    net = ht.nn.Sequential([ht.nn.Input((5,)), hidden, norm, ht.nn.Dense(3)])
    trainer = ht.Trainer(net, LOSS, "adam")
    trainer.fit(x, y, epochs=1, verbose=0)
    assert trainer._steps is not None and set(trainer._steps.constant) == {"hidden.kernel", "hidden.bias"}
    assert set(trainer.get_weights()) == set(net.weights) == {n[8:] for n in trainer.state if n.startswith("weights.")}
    assert (net.weights["norm.moving_mean"].numpy() != 0).any()
    state = trainer.state
    first = trainer.predict(x)
    np.testing.assert_allclose(first.numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    trainer.set_weights({**net.weights, "hidden.kernel": np.zeros((5, 8), np.float32)})
    second = trainer.predict(x)
    np.testing.assert_allclose(second.numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    assert np.ptp(second.numpy(), axis=0).max() < 1e-6, "all samples are the same after a layer of zeros"
    trainer.load_state(state)
    np.testing.assert_array_equal(trainer.predict(x).numpy(), first.numpy())


def test_several_inputs_and_outputs() -> None:
    """Dicts by name, a loss for each output, its factor, and names of what is reported."""
    a, b = ht.nn.Input((3,), name="a"), ht.nn.Input((2,), name="b")
    joined = ht.nn.Concatenate()([a, b])
    net = ht.nn.Functional(
        [a, b], [ht.nn.Dense(1, name="size")(joined), ht.nn.Dense(2, activation="softmax", name="kind")(joined)]
    )
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(20, 3)), "b": rng.normal(size=(20, 2))}
    y = {"size": rng.normal(size=(20, 1)), "kind": rng.integers(0, 2, 20)}
    trainer = ht.Trainer(
        net,
        {"size": "mse", "kind": "sparse_categorical_crossentropy"},
        "sgd",
        {"kind": ["accuracy"]},
        loss_weights={"size": 0.5},
    )
    logs = trainer.evaluate(x, y, verbose=0)
    assert set(logs) == {"loss", "size_loss", "kind_loss", "kind_accuracy"}
    size, kind = (p.numpy() for p in trainer.predict(x))
    named = ht.nn.Functional({"a": a, "b": b}, dict(zip(("size", "kind"), net.outputs)))  # and as a dict, by its names
    by_name = ht.Trainer(
        named, {"kind": "sparse_categorical_crossentropy"}, metrics={"kind": "acc"}, weighted_metrics={"kind": "acc"}
    )
    np.testing.assert_array_equal(by_name.predict(x)["kind"].numpy(), kind)
    weighed = {"loss", "kind_loss", "kind_acc", "kind_weighted_acc"}
    assert set(by_name.evaluate(x, {"kind": y["kind"]}, sample_weight={"kind": np.ones(20)}, verbose=0)) >= weighed
    mse = ((size - y["size"]) ** 2).mean()
    cross = -np.log(kind[np.arange(20), y["kind"]]).mean()
    assert logs["loss"] == pytest.approx(0.5 * mse + cross, rel=1e-4)
    assert logs["kind_accuracy"] == pytest.approx((kind.argmax(1) == y["kind"]).mean())
    trainer.fit([x["a"], x["b"]], [y["size"], y["kind"]], epochs=1, verbose=0)
    with pytest.raises(NameMismatch, match=r"'sort'.*size, kind"):
        trainer.fit(x, {"sort": y["size"]}, verbose=0)


def test_iterables_of_batches() -> None:
    """A generator is one stream that epochs take from; a sequence gives the same batches each time; both train as arrays do."""
    x, y = data()
    pairs = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]

    class Sequence:
        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return pairs[i]

    def stream() -> Any:
        while True:
            yield from pairs

    arrays = ht.Trainer(dense_net(), LOSS, "sgd").fit(x, y, batch_size=10, epochs=2, shuffle=False, verbose=0).history
    sequence = ht.Trainer(dense_net(), LOSS, "sgd").fit(Sequence(), epochs=2, shuffle=False, verbose=0).history
    streamed = ht.Trainer(dense_net(), LOSS, "sgd").fit(stream(), epochs=2, steps_per_epoch=4, verbose=0).history
    assert arrays == sequence == streamed


def test_programs_share_their_state() -> None:
    """The smaller last batch and the validation have programs of their own over the same memory."""
    x, y = data(37)
    trainer = ht.Trainer(dense_net(), LOSS, "sgd", device="cpu")
    trainer.fit(x, y, batch_size=16, epochs=2, validation_data=(x, y), verbose=0)
    programs = list(trainer._steps._programs.values())  # type: ignore[union-attr]
    assert len(programs) == 4, "training and validation of 16 and of 5 samples, each compiled once"
    assert len({id(p.session._state) for p, _ in programs}) == 1  # type: ignore[attr-defined]


def test_network_and_trainer_see_each_other() -> None:
    x, y = data()
    net = dense_net()
    trainer = ht.Trainer(net, LOSS, "sgd")
    trainer.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(net(x).numpy(), trainer.predict(x).numpy(), atol=1e-5)
    net.load_weights({n: np.zeros(a.shape, np.float32) for n, a in net.weights.items()})
    assert (trainer.predict(x).numpy() == 0).all(), "weights set from outside count"


def test_metrics_of_growing_state() -> None:
    """A metric that is made for one number and gets one per class."""
    x, y = data()
    trainer = ht.Trainer(dense_net(activation="softmax"), "categorical_crossentropy", "sgd", ["f1_score", "auc", "accuracy"])
    logs = trainer.evaluate(x, np.eye(3, dtype=np.float32)[y], verbose=0)
    p = trainer.predict(x).numpy().argmax(1)
    for k in range(3):
        tp, fp, fn = ((p == k) & (y == k)).sum(), ((p == k) & (y != k)).sum(), ((p != k) & (y == k)).sum()
        assert logs["f1_score"][k] == pytest.approx(2 * tp / max(2 * tp + fp + fn, 1), abs=1e-4)
    assert logs["accuracy"] == pytest.approx((p == y).mean())


class Log(ht.nn.Layer):
    def call(self, x: Any) -> Any:
        return ht.log(x)


def test_a_nan_names_its_layer() -> None:
    """The layer whose operation makes the first NaN is named, and the weights are what they were."""
    x, y = data()
    net = ht.nn.Sequential(
        [ht.nn.Input((5,)), ht.nn.Dense(4, name="before"), Log(name="culprit"), ht.nn.Dense(3, name="after")]
    )
    before = {n: np.array(a.numpy()) for n, a in net.weights.items()}
    trainer = ht.Trainer(net, LOSS, "sgd")
    with pytest.raises(NonFiniteLoss, match=r"batch 1 of epoch 1 .*culprit \(Log\), in 'log'") as caught:
        trainer.fit(x, y, verbose=0)
    assert "culprit" in caught.value.where
    assert all((net.weights[n].numpy() == a).all() for n, a in before.items())
    x[3, 2] = np.nan
    with pytest.raises(NonFiniteLoss, match=r"input 'x.0', which holds a NaN"):
        ht.Trainer(dense_net(), LOSS, "sgd").fit(x, y, batch_size=40, verbose=0)
    history = ht.Trainer(dense_net(), LOSS, "sgd").fit(x, y, epochs=5, verbose=0, callbacks=[ht.train.TerminateOnNaN()])
    assert len(history.epoch) < 5


def test_errors_say_what_to_do() -> None:
    x, y = data()
    net = dense_net()
    with pytest.raises(UnsupportedFeature, match=r"hither\.Trainer\(net, loss="):
        net.fit(x, y)
    with pytest.raises(UnsupportedFeature, match=r"hither\.Trainer\(net, loss="):
        net.compile("adam")
    with pytest.raises(TypeError, match="no loss"):
        ht.Trainer(net).fit(x, y, verbose=0)
    with pytest.raises(ShapeMismatch, match="one row per sample"):
        ht.Trainer(net, LOSS).fit(x, y[:-1], verbose=0)
    with pytest.raises(NameMismatch, match=r"watches 'val_loss'.*validation_data"):
        ht.Trainer(net, LOSS).fit(x, y, verbose=0, callbacks=[ht.train.EarlyStopping()])
    with pytest.raises(ShapeMismatch, match="takes targets"):
        ht.Trainer(net, LOSS).fit(x, verbose=0)
