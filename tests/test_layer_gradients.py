"""Every layer's gradients and one training step against Keras 3 on JAX, along the layer table.

A failure means that a network trains to something else than it does in Keras, though it computes the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import nn

from .keras_reference import keras
from .layer_gradients import RATE, draws, factors, refused
from .layer_rows import ROWS, Row, called, weights_like
from .test_nn_layers import flat_arrays, plain

ROOT = Path(__file__).resolve().parent.parent


pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]  # JAX compiles what it differentiates: make train runs it


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What tests/layer_gradients.py writes."""
    path = tmp_path_factory.mktemp("keras") / "gradients.npz"
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling is most of the time
    setting = {**os.environ, "HITHER_TEST_KERAS": "jax", "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-m", "tests.layer_gradients", str(path)], cwd=ROOT, env=setting, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(path) as found:
        return dict(found)


def built(row: Row) -> tuple[Any, list[np.ndarray]]:
    """Our layer of the row, with the table's weights, and its inputs."""
    arrays = row.arrays()
    theirs = called(getattr(keras.layers, row.kind)(**row.arguments))
    theirs(whole(arrays))
    ours = called(nn.deserialize(plain(keras.saving.serialize_keras_object(theirs))))
    ours(whole(arrays))
    ours.set_weights(weights_like(theirs))
    return ours, arrays


def keras_order(layer: Any) -> list[str]:
    """The names of a layer's weights in the order of `get_weights`, which is Keras's."""
    return [next(n for n, a in layer.weights.items() if a is getattr(m, k)) for m, k in layer.weight_places()]


def of_row(reference: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    return {name.partition("/")[2]: a for name, a in reference.items() if name.partition("/")[0] == str(number)}


def whole(parts: list[Any]) -> Any:
    """One input, or the list of several."""
    return parts if len(parts) > 1 else parts[0]


NUMBERS = [i for i, row in enumerate(ROWS) if not refused(row)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda i: str(ROWS[i]))
def test_gradients_are_kerass(number: int, reference: dict[str, np.ndarray]) -> None:
    row = ROWS[number]
    layer, arrays = built(row)
    names, want = keras_order(layer), of_row(reference, number)
    weights = {n: layer.weights[n] for i, n in enumerate(names) if f"weight/{i}" in want}
    inputs = {i: ht.asarray(a) for i, a in enumerate(arrays) if a.dtype == np.float32}

    def weighted(weights: Any, inputs: Any) -> Any:
        given = [inputs.get(i, a) for i, a in enumerate(arrays)]
        with layer.swapped(weights):
            made = flat_arrays(layer(whole(given), training=False))
        return sum(ht.sum(y * f) for y, f in zip(made, factors([tuple(y.shape) for y in made]), strict=True))

    of_weights, of_inputs = ht.grad(weighted, argnums=(0, 1))(weights, inputs)
    got = {f"weight/{names.index(n)}": g for n, g in of_weights.items()} | {f"input/{i}": g for i, g in of_inputs.items()}
    assert set(got) == {n for n in want if not n.startswith("step/")}
    for name, gradient in got.items():
        np.testing.assert_allclose(gradient.numpy(), want[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda i: str(ROWS[i]))
def test_a_training_step_is_kerass(number: int, reference: dict[str, np.ndarray]) -> None:
    """Weights, and statistics that layers keep, after a step of the Trainer: penalties and constraints are in it.

    Layers without weights have none to train; those that draw random numbers draw others than Keras.
    """
    row = ROWS[number]
    layer, arrays = built(row)
    want = {int(n.removeprefix("step/")): a for n, a in of_row(reference, number).items() if n.startswith("step/")}
    trainable = any(m.is_trainable(k) for m, k in layer.weight_places())
    assert bool(want) == (trainable and not draws(row))
    if not trainable:
        return
    targets = [np.zeros(y.shape, np.float32) for y in flat_arrays(layer(whole(arrays)))]
    before = layer.get_weights()
    trainer = ht.Trainer(layer, loss=whole(["mse"] * len(targets)), optimizer=ht.optim.SGD(RATE))
    assert np.isfinite(trainer.train_on_batch(whole(arrays), whole(targets))["loss"])
    after = layer.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    for i, array in want.items():
        np.testing.assert_allclose(after[i], array, rtol=1e-4, atol=1e-4, err_msg=keras_order(layer)[i])
