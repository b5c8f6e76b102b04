"""Batches that are not full, in programs compiled for full ones: the same as in a program for exactly so many samples.

What is compared with is what the Trainer compiles for those sizes, which other tests hold to Keras.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import ops
from hither.train import PartialBatchWarning

L = ht.nn
SPARSE = L.losses.SparseCategoricalCrossentropy(from_logits=True)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, high, shape).astype(np.int32)


def convolutional() -> Any:
    """Statistics of batches, draws, windows, and what regularizes weights and activations."""
    net = L.Sequential([
        L.Input((8, 8, 2)), L.Conv2D(4, 3, strides=2, padding="same", kernel_regularizer="l2"), L.BatchNormalization(),
        L.ReLU(), L.DepthwiseConv2D(3, padding="same"), L.GroupNormalization(2), L.MaxPooling2D(), L.Dropout(0.3), L.Flatten(),
        L.Dense(5, activation="relu", activity_regularizer="l1"), L.ActivityRegularization(l2=0.1), L.Dense(3),
    ])  # fmt: skip
    return net, {"loss": SPARSE, "metrics": ["accuracy"]}, {"x": normal(12, 8, 8, 2), "y": whole(3, 12)}


def transposed() -> Any:
    """Pictures to pictures: an encoder and what makes it larger again."""
    net = L.Sequential([
        L.Input((6, 6, 1)), L.Conv2D(3, 3, strides=2, padding="same", activation="elu"), L.AveragePooling2D(1),
        L.Conv2DTranspose(2, 3, strides=2, padding="same"), L.SpatialDropout2D(0.2), L.UpSampling2D(2), L.Conv2D(1, 3),
    ])  # fmt: skip
    return net, {"loss": "mse", "metrics": ["mae", L.metrics.RootMeanSquaredError()]}, {
        "x": normal(8, 6, 6, 1), "y": normal(8, 10, 10, 1, seed=2),
    }  # fmt: skip


def recurrent() -> Any:
    """A loop whose body has products over rows in its gradient; lookups; masks; draws of an odd number per sample."""
    net = L.Sequential([
        L.Input((11,), dtype="int32"), L.Embedding(9, 4, mask_zero=True), L.LSTM(5, return_sequences=True, dropout=0.2),
        L.GRU(3), L.Dense(1),
    ])  # fmt: skip
    return net, {"loss": "huber", "optimizer": ht.optim.RMSprop(0.01), "metrics": ["mae"]}, {
        "x": whole(9, 7, 11), "y": normal(7, 1),
    }  # fmt: skip


def attentive() -> Any:
    """Products of rows with themselves, norms, an average over time."""
    x = L.Input((6, 4))
    h = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3, dropout=0.1)(x, x)]))
    net = L.Functional(x, L.Dense(2, activation="softmax")(L.GlobalAveragePooling1D()(h)))
    metrics = [L.metrics.AUC(num_thresholds=20), L.metrics.CategoricalAccuracy(), L.metrics.F1Score()]
    return net, {"loss": "categorical_crossentropy", "metrics": metrics}, {
        "x": normal(9, 6, 4), "y": np.eye(2, dtype=np.float32)[whole(2, 9)],
    }  # fmt: skip


def several() -> Any:
    """Two inputs and outputs, weights of samples, losses that are summed, weighted metrics."""
    a, b = L.Input((3,), name="left"), L.Input((2,), name="right")
    h = L.Dense(4, activation="tanh")(L.Concatenate()([a, b]))
    net = L.Functional([a, b], [L.Dense(1, name="level")(h), L.Dense(3, name="kind")(h)])
    settings = {
        "loss": {"level": L.losses.MeanSquaredError(reduction="sum"), "kind": SPARSE},
        "loss_weights": {"level": 0.3, "kind": 2.0},
        "weighted_metrics": {"kind": ["accuracy"], "level": ["mae"]},
        "optimizer": ht.optim.Adam(0.01, clipnorm=0.5),
    }  # fmt: skip
    given = {"left": normal(8, 3), "right": normal(8, 2), "y_level": normal(8, 1, seed=3), "y_kind": whole(3, 8)}
    return net, settings, {**given, "sample_weight": np.abs(normal(8, seed=4))}


class Centred(L.Module):
    """A network that is no layer: the batch's own statistics, biased and not, its extremes, running sums over it."""

    def __init__(self) -> None:
        self.kernel = ht.asarray(normal(3, 3, seed=5))

    def __call__(self, x: Any) -> Any:
        x = (x - ops.mean(x, axis=0)) / (ops.std(x, axis=0, correction=1) + 1)
        x = ops.matmul(x, self.kernel) + ops.cumulative_sum(x, axis=0)
        return x / (1 + ops.max(ops.abs(x), axis=0)) + ops.min(x)


def own() -> Any:
    """A network of a user's, and a loss that is one number for the whole batch."""
    return Centred(), {"loss": lambda t, p: ops.mean(ops.square(t - p)) + ops.var(p)}, {"x": normal(10, 3), "y": normal(10, 3)}


def noisy() -> Any:
    """Normal draws, two words of a block each, of an odd number per sample."""
    net = L.Sequential([L.Input((3,)), L.GaussianNoise(0.5), L.GaussianDropout(0.3), L.Dense(1)])
    return net, {"loss": "mse"}, {"x": normal(6, 3), "y": normal(6, 1, seed=2)}


NETWORKS: list[Callable[[], Any]] = [convolutional, transposed, recurrent, attentive, several, own, noisy]


def grouped(given: dict[str, np.ndarray], rows: slice) -> tuple[Any, Any, Any]:
    """What a Trainer takes, of named arrays."""
    x = [a[rows] for n, a in given.items() if not n.startswith(("y", "sample"))]
    y = [a[rows] for n, a in given.items() if n.startswith("y")]
    weight = given.get("sample_weight")
    return x[0] if len(x) == 1 else x, y[0] if len(y) == 1 else y, None if weight is None else weight[rows]


def filled(given: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    """Rows of arrays, and the first of them again and again behind."""
    count = rows.stop - rows.start
    made = {}
    for name, array in given.items():
        part = array[rows]
        made[name] = np.concatenate([part, part[:1].repeat(len(array) - count, 0)])
    return made


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_allclose(array.numpy(), expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_partial_batches_are_exact(make: Callable[[], Any]) -> None:
    """Losses, metrics, the weights that follow, and what layers draw are those of a batch of exactly so many samples."""
    pair = []
    for _ in range(2):
        L.seed(4)
        net, settings, given = make()
        pair.append(ht.Trainer(net, settings.pop("loss"), device="cpu", seed=3, **settings))
    mine, reference = pair
    full = len(next(iter(given.values())))
    program = ht.compile(mine, {n: ht.Spec(a.shape, a.dtype) for n, a in given.items()}, device="cpu")
    for start, stop in ((0, full), (0, 3), (2, full - 1), (1, 2)) if make is not own else ((0, full), (0, 3), (2, full - 1)):
        rows = slice(start, stop)
        part, count = filled(given, rows), np.int32(stop - start)
        entry, extra = ("train_step", {}) if stop - start == full else ("train_partial", {"rows": count})
        program.run("reset_metrics")
        found = program.run(entry, {**part, **extra})
        expected = reference.train_on_batch(*grouped(given, rows))
        same(found, expected)
        program.run("reset_metrics")
        found = program.run("evaluate_partial", {**part, "rows": count})
        expected = reference.test_on_batch(*grouped(given, rows))
        same(found, expected)
    for (name, array), expected in zip(program.state.items(), reference.state.values(), strict=True):
        if not name.startswith("metrics."):
            np.testing.assert_allclose(array.numpy(), expected.numpy(), rtol=1e-4, atol=2e-5, err_msg=name)


def test_predicting_needs_no_entry_of_its_own_unless_samples_are_mixed() -> None:
    """What is predicted of a sample does not depend on the others, or there is an entry that counts only the real ones."""
    for make, mixes in ((convolutional, False), (own, True)):
        net, settings, given = make()
        trainer = ht.Trainer(net, settings.pop("loss"), device="cpu", **settings)
        program = ht.compile(trainer, {n: ht.Spec(a.shape, a.dtype) for n, a in given.items()}, device="cpu")
        assert ("predict_partial" in program.entries) == mixes
        part = {"x": filled(given, slice(2, 6))["x"]}
        run = program.run("predict_partial", {**part, "rows": np.int32(4)}) if mixes else program.run("predict", part)
        expected = trainer.predict(given["x"][2:6], verbose=0).numpy()
        np.testing.assert_allclose(next(iter(run.values())).numpy()[:4], expected, rtol=1e-5, atol=1e-6)


class Sorted(L.Module):
    def __init__(self) -> None:
        self.kernel = ht.asarray(normal(3, 1))

    def __call__(self, x: Any) -> Any:
        return ops.matmul(x, self.kernel) * ops.sort(x, axis=0)


def test_what_mixes_samples_otherwise_is_said() -> None:
    """A batch that is sorted has another first sample with other rows: no such entries, and a warning that says why."""
    trainer = ht.Trainer(Sorted(), "mse", "sgd", device="cpu")
    with pytest.warns(PartialBatchWarning, match=r"predict is for full batches only: .*\(sort\) mixes the rows"):
        entries = trainer.as_entries({"x": ht.Spec((4, 3)), "y": ht.Spec((4, 1))})
    assert set(entries.functions) == {"predict", "train_step", "evaluate", "reset_metrics"}


def test_one_sample_is_always_a_full_batch() -> None:
    trainer = ht.Trainer(L.Sequential([L.Input((3,)), L.Dense(1)]), "mse", "sgd", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = ht.compile(trainer, {"x": ht.Spec((1, 3)), "y": ht.Spec((1, 1))}, device="cpu")
    x, y = normal(1, 3), normal(1, 1)
    loss = float(program.run("train_partial", x=x, y=y, rows=np.int32(1))["loss"])
    assert loss == pytest.approx(trainer.train_on_batch(x, y)["loss"], rel=1e-6)


def test_a_network_for_one_size_of_batches_is_bundled_without() -> None:
    """A stateful layer remembers something of each row: another number of rows is not possible, which is said, and no error."""
    net = L.Sequential([L.Input(batch_shape=(4, 5, 2)), L.GRU(3, stateful=True), L.Dense(1)])
    trainer = ht.Trainer(net, "mse", "sgd", device="cpu")
    with pytest.warns(PartialBatchWarning, match="predict is for full batches only"):
        entries = trainer.as_entries({"x": ht.Spec((4, 5, 2)), "y": ht.Spec((4, 1))})
    assert "train_partial" not in entries.functions and "train_step" in entries.functions
