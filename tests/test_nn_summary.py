"""A network's summary says what Keras's model says of its layers. If it fails, users see wrong shapes or sizes."""

from __future__ import annotations

import numpy as np
import pytest

import hither as ht
from hither import nn

from .keras_reference import keras
from .test_nn_layers import plain


def rows(text: str) -> list[list[str]]:
    """The table's cells, without head and total."""
    lines = text.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[4:-2]]


def test_a_summary_has_keras_shapes_and_sizes() -> None:
    k = keras.layers
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedded = k.Embedding(6, 3, name="embedding")(tokens)
    shared = k.Dense(3, name="shared")
    hidden, state, _ = k.LSTM(4, return_state=True, name="lstm")(shared(shared(embedded)))
    made = k.BatchNormalization(name="norm")(k.Concatenate(name="both")([hidden, state]))
    theirs = keras.Model(tokens, made)
    printed: list[str] = []
    nn.deserialize(plain(keras.saving.serialize_keras_object(theirs))).summary(printed.append)
    table = rows(printed[0])
    assert [row[0] for row in table] == [
        "tokens (InputLayer)", "embedding (Embedding)", "shared (Dense)", "shared (Dense)", "lstm (LSTM)", "both (Concatenate)",
        "norm (BatchNormalization)",
    ]  # fmt: skip
    shapes = {layer.name: layer.output for layer in theirs.layers if layer.name != "shared"}
    for name, shape, count, *source in table:
        layer = theirs.get_layer(name.split()[0])
        if layer.name in shapes:
            output = shapes[layer.name]
            wanted = [f"{tuple(t.shape)}" for t in output] if isinstance(output, list | tuple) else f"{tuple(output.shape)}"
            assert shape == (f"[{', '.join(wanted)}]" if isinstance(wanted, list) else wanted)
            assert int(count) == layer.count_params()
        assert bool(source) == (layer.name != "tokens")
    assert [int(row[2]) for row in table if row[0] == "shared (Dense)"] == [theirs.get_layer("shared").count_params(), 0]
    assert table[5][3] == "lstm[0], lstm[1]"
    trained = sum(int(np.prod(w.shape)) for w in theirs.trainable_weights)
    total = theirs.count_params()
    assert printed[0].splitlines()[-1] == f"Params: {total:,} ({trained:,} trainable, {total - trained:,} not)"


def test_a_stack_says_what_it_is_once_it_knows_its_input() -> None:
    net = nn.Sequential([nn.Dense(4), nn.Dense(2)])
    with pytest.raises(ValueError, match="begin it with an Input"):
        net.summary()
    net(ht.ones((2, 3)))
    printed: list[str] = []
    net.summary(printed.append)
    assert [row[1:] for row in rows(printed[0])] == [["(None, 3)", "0"], ["(None, 4)", "16"], ["(None, 2)", "10"]]
