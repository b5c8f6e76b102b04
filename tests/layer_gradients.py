"""Gradients and training steps of every row of the layer table by Keras 3 on JAX: `python -m tests.layer_gradients OUT.npz`.

A process of its own, because Keras has one backend per process. OUT holds, for row i: `i/input/j` and `i/weight/j`, the
gradients of `weighted` by inputs and trainable weights, and `i/step/j`, all weights after one step of gradient descent on
`squares` in training; `j` counts as `layer.weights` does.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import numpy as np

from .layer_rows import ROWS, Row

RATE = 0.1  # of the step of gradient descent
# Draw random numbers in training, so that a step of theirs is no reference for one of ours.
RANDOM = {
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "RandomFlip",
}  # fmt: skip


def refused(row: Row) -> bool:
    """Whether Keras 3.15 cannot compute the row on JAX: its attention there takes values as long as keys only."""
    a = row.arguments
    return row.kind == "MultiHeadAttention" and a.get("value_dim", a.get("key_dim")) != a.get("key_dim")


def draws(row: Row) -> bool:
    """Whether the row's layer draws random numbers in training."""
    return row.kind in RANDOM or bool(row.arguments.get("dropout") or row.arguments.get("recurrent_dropout"))


def factors(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """What a layer's outputs are multiplied with to give one number to differentiate."""
    rng = np.random.default_rng(2)
    return [rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in shapes]


def reference(row: Row) -> dict[str, np.ndarray]:
    """The arrays of one row, by the part of their name after the row's number."""
    import jax
    import jax.numpy as jnp

    from .keras_reference import keras
    from .layer_rows import called, weights_like

    arrays = row.arrays()
    layer = called(getattr(keras.layers, row.kind)(**row.arguments))
    layer(arrays if len(arrays) > 1 else arrays[0])
    layer.set_weights(weights_like(layer))
    variables = layer.trainable_variables
    places = [next(i for i, w in enumerate(layer.weights) if w is v) for v in variables]
    fixed = [v.value for v in layer.non_trainable_variables]
    takes_training = "training" in inspect.signature(layer.call).parameters
    movable = [i for i, a in enumerate(arrays) if a.dtype == np.float32]

    def outputs(weights: Any, inputs: Any, training: bool) -> tuple[list[Any], Any, Any]:
        given = list(map(jnp.asarray, arrays))
        for i, x in zip(movable, inputs, strict=True):
            given[i] = x
        how = {"training": training} if takes_training else {}
        apart = row.kind == "MultiHeadAttention" or len(given) == 1  # stateless_call does not go through what `called` made
        made, state, losses = layer.stateless_call(
            weights, fixed, *(given if apart else [given]), return_losses=True, **how
        )  # fmt: skip
        return jax.tree.leaves(made), state, losses

    def weighted(weights: Any, inputs: Any) -> Any:
        made = outputs(weights, inputs, False)[0]
        return sum(jnp.sum(y * f) for y, f in zip(made, factors([y.shape for y in made]), strict=True))

    def squares(weights: Any, inputs: Any) -> tuple[Any, Any]:
        made, state, losses = outputs(weights, inputs, True)
        return sum(jnp.mean(y * y) for y in made) + sum(losses), state

    values, inputs = [v.value for v in variables], [jnp.asarray(arrays[i]) for i in movable]
    of_weights, of_inputs = jax.grad(weighted, argnums=(0, 1))(values, inputs)
    found = {f"weight/{p}": np.asarray(g) for p, g in zip(places, of_weights, strict=True)}
    found |= {f"input/{i}": np.asarray(g) for i, g in zip(movable, of_inputs, strict=True)}
    if values and not draws(row):
        slopes, state = jax.grad(squares, has_aux=True)(values, inputs)
        for variable, slope in zip(variables, slopes, strict=True):
            variable.assign(variable.value - RATE * slope)
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
        for variable, value in zip(layer.non_trainable_variables, state, strict=True):
            variable.assign(value)
        found |= {f"step/{i}": a for i, a in enumerate(layer.get_weights())}
    return found


def main(path: str) -> None:
    """Write the file."""
    found = {f"{i}/{name}": array for i, row in enumerate(ROWS) if not refused(row) for name, array in reference(row).items()}
    np.savez(path, **found)


if __name__ == "__main__":
    if os.environ.get("HITHER_TEST_KERAS") != "jax":
        raise SystemExit("run it with HITHER_TEST_KERAS=jax: gradients need that backend")
    main(sys.argv[1])
