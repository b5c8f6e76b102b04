"""Losses and metrics against Keras 3 (its NumPy backend): values, sample weights, reductions, batches, configurations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.nn import losses, metrics

from .keras_reference import keras

RNG = np.random.default_rng(0)
REAL = (RNG.standard_normal((6, 3)).astype(np.float32), RNG.standard_normal((6, 3)).astype(np.float32))
POSITIVE = tuple(np.abs(x) + 0.1 for x in REAL)
CLASSES = RNG.integers(0, 4, 6)
ROWS = np.eye(4, dtype=np.float32)[CLASSES]
SCORES = RNG.standard_normal((6, 4)).astype(np.float32)
CHANCES = (np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)).astype(np.float32)
BITS = RNG.integers(0, 2, (6, 3)).astype(np.float32)
ODDS = RNG.random((6, 3)).astype(np.float32)
WEIGHTS = RNG.random(6).astype(np.float32)

LOSSES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "mse": ("MeanSquaredError", {}, REAL),
    "mae": ("MeanAbsoluteError", {}, REAL),
    "mape": ("MeanAbsolutePercentageError", {}, REAL),
    "msle": ("MeanSquaredLogarithmicError", {}, POSITIVE),
    "huber": ("Huber", {"delta": 0.7}, REAL),
    "log cosh": ("LogCosh", {}, REAL),
    "hinge": ("Hinge", {}, (BITS, REAL[1])),
    "hinge of signs": ("Hinge", {}, (2 * BITS - 1, REAL[1])),
    "squared hinge": ("SquaredHinge", {}, (BITS, REAL[1])),
    "categorical hinge": ("CategoricalHinge", {}, (ROWS, SCORES)),
    "kld": ("KLDivergence", {}, (CHANCES[::-1].copy(), CHANCES)),
    "poisson": ("Poisson", {}, POSITIVE),
    "cosine": ("CosineSimilarity", {}, REAL),
    "binary": ("BinaryCrossentropy", {"label_smoothing": 0.1}, (BITS, ODDS)),
    "binary logits": ("BinaryCrossentropy", {"from_logits": True}, (BITS, REAL[0])),
    "binary focal": ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5}, (BITS, ODDS)),
    "categorical": ("CategoricalCrossentropy", {"label_smoothing": 0.2}, (ROWS, CHANCES)),
    "categorical logits": ("CategoricalCrossentropy", {"from_logits": True}, (ROWS, SCORES)),
    "categorical focal": ("CategoricalFocalCrossentropy", {}, (ROWS, CHANCES)),
    "dice": ("Dice", {}, (BITS, ODDS)),
    "dice of rows": ("Dice", {"axis": (1,)}, (BITS, ODDS)),
    "tversky": ("Tversky", {"alpha": 0.3, "beta": 0.7}, (BITS, ODDS)),
    "sparse": ("SparseCategoricalCrossentropy", {}, (CLASSES, CHANCES)),
    "sparse logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, (CLASSES[:, None], SCORES)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_keras_losses(name: str) -> None:
    cls, settings, (y_true, y_pred) = LOSSES[name]
    for reduction in ("sum_over_batch_size", "sum", "none"):
        ours = getattr(losses, cls)(**settings, reduction=reduction)
        theirs = getattr(keras.losses, cls)(**settings, reduction=reduction)
        for weights in (None, WEIGHTS):
            want = np.asarray(theirs(y_true, y_pred, sample_weight=weights))
            np.testing.assert_allclose(ours(y_true, y_pred, weights).numpy(), want, rtol=2e-5, atol=1e-6)
            got = ht.jit(lambda t, p, ours=ours, w=weights: ours(t, p, w))(y_true, y_pred)
            np.testing.assert_allclose(got.numpy(), want, rtol=2e-5, atol=1e-6)
    assert ht.nn.deserialize(ht.nn.serialize(ours), losses.Loss).get_config() == ours.get_config()
    written = keras.losses.serialize(theirs)
    if cls != "Huber":  # Keras forgets its delta
        assert losses.get(written).get_config() == {**ours.get_config(), "name": theirs.name}


METRICS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "accuracy": ("Accuracy", {}, (CLASSES, np.roll(CLASSES, 1))),
    "binary accuracy": ("BinaryAccuracy", {"threshold": 0.4}, (BITS, ODDS)),
    "categorical accuracy": ("CategoricalAccuracy", {}, (ROWS, CHANCES)),
    "sparse accuracy": ("SparseCategoricalAccuracy", {}, (CLASSES, CHANCES)),
    "top k": ("TopKCategoricalAccuracy", {"k": 2}, (ROWS, CHANCES)),
    "sparse top k": ("SparseTopKCategoricalAccuracy", {"k": 2}, (CLASSES, CHANCES)),
    "mse": ("MeanSquaredError", {}, REAL),
    "rmse": ("RootMeanSquaredError", {}, REAL),
    "mae": ("MeanAbsoluteError", {}, REAL),
    "mape": ("MeanAbsolutePercentageError", {}, REAL),
    "msle": ("MeanSquaredLogarithmicError", {}, POSITIVE),
    "log cosh": ("LogCoshError", {}, REAL),
    "cosine": ("CosineSimilarity", {}, REAL),
    "poisson": ("Poisson", {}, POSITIVE),
    "kld": ("KLDivergence", {}, (CHANCES[::-1].copy(), CHANCES)),
    "hinge": ("Hinge", {}, (BITS, REAL[1])),
    "binary crossentropy": ("BinaryCrossentropy", {}, (BITS, ODDS)),
    "sparse crossentropy": ("SparseCategoricalCrossentropy", {"from_logits": True}, (CLASSES, SCORES)),
    "true positives": ("TruePositives", {}, (BITS, ODDS)),
    "false negatives": ("FalseNegatives", {"thresholds": [0.3, 0.6]}, (BITS, ODDS)),
    "precision": ("Precision", {}, (BITS, ODDS)),
    "precision of a class": ("Precision", {"class_id": 1, "thresholds": [0.2, 0.7]}, (BITS, ODDS)),
    "recall": ("Recall", {"thresholds": 0.4}, (BITS, ODDS)),
    "recall of top k": ("Recall", {"top_k": 2}, (ROWS, CHANCES)),
    "auc": ("AUC", {"num_thresholds": 50}, (BITS, ODDS)),
    "auc of precision and recall": ("AUC", {"num_thresholds": 50, "curve": "PR"}, (BITS, ODDS)),
    "auc by the smaller": ("AUC", {"num_thresholds": 20, "summation_method": "minoring"}, (BITS, ODDS)),
    "auc by the larger": ("AUC", {"curve": "PR", "summation_method": "majoring"}, (BITS, ODDS)),
    "auc at thresholds": ("AUC", {"thresholds": [0.6, 0.2, 0.4]}, (BITS, ODDS)),
    "auc of logits": ("AUC", {"from_logits": True}, (BITS, REAL[1])),
    "auc of labels": ("AUC", {"multi_label": True, "num_labels": ROWS.shape[1]}, (ROWS, CHANCES)),
    "auc of labels, weighed": (
        "AUC",
        {"multi_label": True, "curve": "PR", "label_weights": WEIGHTS[: ROWS.shape[1]].tolist()},
        (ROWS, CHANCES),
    ),
    "auc of weighed labels": ("AUC", {"label_weights": WEIGHTS[: ROWS.shape[1]].tolist()}, (ROWS, CHANCES)),
    "iou": ("IoU", {"num_classes": 4, "target_class_ids": [0, 2], "dtype": "float32"}, (CLASSES, np.roll(CLASSES, 1))),
    "iou of scores": ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False, "dtype": "float32"}, (CLASSES, CHANCES)),
    "iou without a class": (
        "MeanIoU",
        {"num_classes": 4, "ignore_class": 1, "dtype": "float32"},
        (CLASSES, np.roll(CLASSES, 1)),
    ),
    "iou of yes and no": (
        "BinaryIoU",
        {"threshold": 0.3, "target_class_ids": [1], "dtype": "float32"},
        (BITS[:, 0], ODDS[:, 0]),
    ),
    "f1": ("F1Score", {"average": "macro"}, (ROWS, CHANCES)),
    "f1 weighted": ("F1Score", {"average": "weighted", "threshold": 0.3}, (ROWS, CHANCES)),
    "f1 micro": ("F1Score", {"average": "micro", "threshold": 0.3}, (ROWS, CHANCES)),
    "r2": ("R2Score", {}, REAL),
    "r2 weighted": ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 1}, REAL),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_keras_metrics(name: str) -> None:
    cls, settings, (y_true, y_pred) = METRICS[name]
    for weights in (None, WEIGHTS):
        ours, theirs = getattr(metrics, cls)(**settings), getattr(keras.metrics, cls)(**settings)
        state, step = ours.init(), ht.jit(ours.update)
        for part in (slice(0, 4), slice(4, 6)):
            w = None if weights is None else weights[part]
            theirs.update_state(y_true[part], y_pred[part], sample_weight=w)
            ours.update_state(y_true[part], y_pred[part], sample_weight=w)
            state = step(state, y_true[part], y_pred[part], w)
        want = np.asarray(theirs.result())
        np.testing.assert_allclose(ours.result().numpy(), want, rtol=3e-5, atol=1e-6)
        np.testing.assert_allclose(ours.result(state).numpy(), want, rtol=3e-5, atol=1e-6)
    ours.reset_state()
    assert not np.any(ours.result().numpy()) or cls in ("R2Score",)


def test_names_mean_what_they_mean_in_keras() -> None:
    assert isinstance(losses.get("mse"), losses.MeanSquaredError)
    assert isinstance(metrics.get("mae"), metrics.MeanAbsoluteError)
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert isinstance(metrics.get("accuracy", sparse), metrics.SparseCategoricalAccuracy)
    assert [m.name for m in metrics.get_all(["accuracy", "mse", "accuracy"], sparse)] == [
        "accuracy", "mse", "accuracy_1",
    ]  # fmt: skip
    with pytest.raises(ht.HitherError, match="sparse_categorical_crossentropy"):
        losses.get("sparse_categorical_crossentrop")


def test_shapes_that_do_not_fit_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="sparse loss"):
        losses.CategoricalCrossentropy()(CLASSES, CHANCES)


def test_names_are_those_of_keras() -> None:
    """Names that Keras takes, in snake case, as class names and in capitals; and the names that are reported."""
    for name in (
        "MSE",
        "mae",
        "bce",
        "BinaryCrossentropy",
        "kl_divergence",
        "KLDivergence",
        "true_positives",
        "auc",
        "mean",
    ):
        found = keras.metrics.get(name)
        shown = type(found).__name__ if isinstance(found, keras.metrics.Metric) else found.__name__
        assert type(metrics.get(name)).__name__.lower() == shown.replace("_", "").lower(), name
    for name in ("MSE", "MAPE", "KLD", "kl_divergence", "BinaryCrossentropy", "log_cosh"):
        assert type(losses.get(name)).__name__.lower() == _plain_name(keras.losses.get(name)), name
    needed = {"IoU": {"num_classes": 2, "target_class_ids": [0]}, "MeanIoU": {"num_classes": 2}}
    for mine, theirs in ((metrics, keras.metrics), (losses, keras.losses)):
        for name in mine.__all__:
            if isinstance(getattr(mine, name), type) and hasattr(theirs, name) and name not in ("Loss", "Metric"):
                shown = getattr(theirs, name)(**needed.get(name, {})).name  # Keras numbers some names through the session
                assert getattr(mine, name)(**needed.get(name, {})).name == re.sub(r"_\d+$", "", shown)


def _plain_name(loss: Any) -> str:
    return (loss.__name__ if hasattr(loss, "__name__") else type(loss).__name__).replace("_", "").lower()


@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError", "BinaryCrossentropy", "Huber", "Hinge", "LogCosh"])
def test_one_number_per_sample_is_weighed_sample_by_sample(name: str) -> None:
    """Targets [n] beside predictions [n, 1]: the mean over the last axis must not be one over the samples."""
    y, p = BITS[:, 0], ODDS[:, :1]
    for targets, predictions in ((y, p), (y[:, None], p[:, 0])):
        for settings in ({}, {"reduction": "sum"}, {"reduction": None}):
            want = getattr(keras.losses, name)(**settings)(targets, predictions, sample_weight=WEIGHTS)
            got = getattr(losses, name)(**settings)(targets, predictions, WEIGHTS)
            np.testing.assert_allclose(got.numpy(), np.asarray(want), rtol=1e-5)
    metric, theirs = metrics.get("mse"), keras.metrics.MeanSquaredError()
    metric.update_state(y, p, WEIGHTS)
    theirs.update_state(y, p, WEIGHTS)
    np.testing.assert_allclose(float(metric.result()), float(theirs.result()), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ignored_classes_are_no_part_of_the_mean(reduction: str | None, weights: Any) -> None:
    arguments: dict[str, Any] = {"ignore_class": int(CLASSES[0]), "from_logits": True, "reduction": reduction}
    for targets in (CLASSES, CLASSES[:, None]):
        want = keras.losses.SparseCategoricalCrossentropy(**arguments)(targets, SCORES, sample_weight=weights)
        got = losses.SparseCategoricalCrossentropy(**arguments)(targets, SCORES, weights)
        np.testing.assert_allclose(got.numpy(), np.asarray(want), rtol=1e-5)
