"""Every layer class against the Keras 3 class of its name: results, weights, configurations; and compiled against run at once.

A row failing means that a network from a file computes something else than it did in Keras, or cannot be written back.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import nn
from hither.errors import HitherError, UnsupportedFeature

from .keras_reference import keras
from .layer_rows import IMAGE, LINE, ROWS, SEQUENCE, Row, called, row, weights_like


def plain(config: Any) -> Any:
    return json.loads(json.dumps(config))


def flat(result: Any) -> list[np.ndarray]:
    if isinstance(result, list | tuple):
        return [array for part in result for array in flat(part)]
    return [np.asarray(result)]


def assert_close(got: Any, want: Any) -> None:
    assert len(flat(got)) == len(flat(want))
    for a, b in zip(flat(got), flat(want)):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=ROWS, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[Row, Any, Any, Any]:
    """A row, its input, Keras's layer and ours of Keras's configuration, with the same weights."""
    made: Row = request.param
    arrays = made.arrays()
    x: Any = arrays if len(arrays) > 1 else arrays[0]
    theirs = called(getattr(keras.layers, made.kind)(**made.arguments))
    theirs(x)
    theirs.set_weights(weights_like(theirs))
    ours = called(nn.deserialize(plain(keras.saving.serialize_keras_object(theirs))))
    ours(x)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    ours.set_weights(theirs.get_weights())
    return made, x, theirs, ours


def test_layers_compute_what_keras_does(case: Any) -> None:
    made, x, theirs, ours = case
    assert_close(ours(x), theirs(x, training=False) if made.kind == "RandomFlip" else theirs(x))


def test_compiled_layers_compute_the_same(case: Any) -> None:
    _, x, _, ours = case
    arrays = x if isinstance(x, list) else [x]
    program = ht.compile(
        lambda a, b=None, c=None: tuple(flat_arrays(ours([v for v in (a, b, c) if v is not None] if b is not None else a))),
        {name: ht.Spec(array.shape, array.dtype) for name, array in zip("abc", arrays)},
        device="cpu",
    )
    assert_close(list(program(dict(zip("abc", arrays))).values()), flat(ours(x)))


def flat_arrays(result: Any) -> list[Any]:
    return [a for part in result for a in flat_arrays(part)] if isinstance(result, list | tuple) else [result]


def test_keras_reads_our_configurations(case: Any) -> None:
    _, x, theirs, ours = case
    again = called(keras.saving.deserialize_keras_object(plain(nn.serialize(ours))))
    again(x)
    again.set_weights(theirs.get_weights())
    if case[0].kind != "RandomFlip":  # in training unless told otherwise
        assert_close(again(x), theirs(x))
    assert plain(nn.serialize(nn.deserialize(plain(nn.serialize(ours))))) == plain(nn.serialize(ours))


def test_every_layer_class_has_a_row() -> None:
    elsewhere = {  # in tests below, or inside other rows
        "ConvLSTM1DCell", "ConvLSTM2DCell", "ConvLSTM3DCell", "GRUCell", "LSTMCell", "Lambda", "RandomWidth", "SimpleRNNCell",
        "StackedRNNCells", "ThresholdedReLU",
        "RandomBrightness", "RandomContrast", "RandomCrop", "RandomRotation", "RandomTranslation", "RandomZoom",  # random
    }  # fmt: skip
    from hither.nn import layers

    assert set(layers.__all__) == {r.kind for r in ROWS} | elsewhere


# -- what rows do not show -------------------------------------------------------------------------------------------------

TOKENS = np.array([[3, 1, 0, 0, 0], [0, 2, 4, 1, 0], [1, 2, 3, 4, 5]], np.int32)

MASKED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "lstm": [("LSTM", {"units": 4})],
    "backwards": [("GRU", {"units": 4, "go_backwards": True, "return_sequences": True})],
    "zero output": [("SimpleRNN", {"units": 4, "return_sequences": True, "zero_output_for_mask": True})],
    "two layers": [("LSTM", {"units": 4, "return_sequences": True}), ("Dropout", {"rate": 0.5}), ("GRU", {"units": 3})],
    "both ways": [("Bidirectional", {"layer": keras.layers.LSTM(3, return_sequences=True)}), ("LSTM", {"units": 2})],
    "each step": [("TimeDistributed", {"layer": keras.layers.Dense(3)}), ("GRU", {"units": 2})],
    "stacked": [("RNN", {"cell": [keras.layers.GRUCell(3), keras.layers.LSTMCell(4)], "return_sequences": True})],
    "mean": [("Dense", {"units": 3}), ("GlobalAveragePooling1D", {})],
    "ends at Flatten": [("Conv1D", {"filters": 3, "kernel_size": 2}), ("LSTM", {"units": 2})],
}


@pytest.mark.parametrize("case_", MASKED)
def test_masks_travel_as_in_keras(case_: str) -> None:
    layers = [keras.layers.Embedding(6, 3, mask_zero=True)]
    layers += [getattr(keras.layers, kind)(**arguments) for kind, arguments in MASKED[case_]]
    theirs = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    theirs.set_weights(weights_like(theirs))
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    ours.set_weights(theirs.get_weights())
    want = theirs(TOKENS)
    assert_close(ours(TOKENS), want)
    program = ht.compile(ours, {"tokens": ht.Spec((3, 5), "int32")}, device="cpu")
    assert_close(list(program(tokens=TOKENS).values()), want)


@pytest.mark.parametrize("kind", ["Add", "Concatenate", "Multiply", "Maximum"])
def test_merged_masks(kind: str) -> None:
    a, b = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    embedding = keras.layers.Embedding(6, 3, mask_zero=True)
    merged = getattr(keras.layers, kind)()([embedding(a), embedding(b)])
    theirs = keras.Model([a, b], keras.layers.LSTM(2)(merged))
    theirs.set_weights(weights_like(theirs))
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    ours.set_weights(theirs.get_weights())
    other = TOKENS[::-1].copy()
    assert_close(ours([TOKENS, other]), theirs([TOKENS, other]))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Bidirectional"])
def test_initial_states(kind: str) -> None:
    x = row("", SEQUENCE).arrays()[0]
    cell = keras.layers.LSTM(4, return_sequences=True) if kind == "Bidirectional" else None
    theirs = getattr(keras.layers, kind)(cell if cell else 4, **({} if cell else {"return_sequences": True}))
    theirs(x)
    theirs.set_weights(weights_like(theirs))
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    ours(x)
    ours.set_weights(theirs.get_weights())
    count = {"LSTM": 2, "GRU": 1, "Bidirectional": 4}[kind]
    states = [np.full((2, 4), 0.1 * (i + 1), np.float32) for i in range(count)]
    want = theirs(x, initial_state=states)
    assert_close(ours(x, initial_state=states), want)
    assert_close(ours([x, *states]), want)  # as Keras 2 and TensorFlow.js call it


def test_attention_is_masked_as_in_keras() -> None:
    """Masks that Keras writes into the network's configuration, causal attention, and its weights as a second result."""
    tokens = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(6, 4, mask_zero=True)(tokens)
    many, weights = keras.layers.MultiHeadAttention(2, 3)(
        embedded, embedded, use_causal_mask=True, return_attention_scores=True
    )
    theirs = keras.Model(tokens, [keras.layers.GlobalAveragePooling1D()(many), weights])
    theirs.set_weights(weights_like(theirs))
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    ours.set_weights(theirs.get_weights())
    assert_close(ours(TOKENS), theirs(TOKENS))
    theirs = keras.Model(tokens, keras.layers.MultiHeadAttention(2, 3)(embedded, embedded))  # padding included, not pooled
    theirs.set_weights(weights_like(theirs))
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    ours.set_weights(theirs.get_weights())
    assert_close(ours(TOKENS), theirs(TOKENS))
    pair = row("", ((3, 5, 4), (3, 5, 4))).arrays()
    masks = [TOKENS != 0, TOKENS != 1]
    assert_close(nn.Attention()(pair, mask=masks), keras.layers.Attention()(pair, mask=masks))


def test_a_stateful_layer_goes_on_where_it_was() -> None:
    x = row("", ((2, 6, 3),)).arrays()[0]
    whole, parts = nn.LSTM(4, return_sequences=True), nn.LSTM(4, return_sequences=True, stateful=True)
    want = whole(x).numpy()
    parts(x)
    parts.reset_states()
    parts.set_weights(whole.get_weights())
    got = np.concatenate([parts(x[:, :2]).numpy(), parts(x[:, 2:]).numpy()], 1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="batch of 2"):
        parts(x[:1])
    net = nn.Sequential([nn.Input(batch_shape=(2, 3, 3)), nn.LSTM(4, stateful=True)])
    with pytest.raises(UnsupportedFeature, match="state_0"):
        ht.compile(net, {"x": ht.Spec((2, 3, 3))}, device="cpu")


def test_many_steps_are_one_loop() -> None:
    """A sequence of a thousand steps compiles to a loop, not to a thousand copies of the cell."""
    layer = nn.LSTM(2)
    x = row("", ((1, 1000, 3),)).arrays()[0]
    layer(x[:, :2])
    program = ht.compile(layer, {"x": ht.Spec(x.shape)}, device="cpu")
    assert len(program.plan.code.kernels) < 50
    np.testing.assert_allclose(program(x=x)["output"].numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-5)


def test_batch_statistics_in_training() -> None:
    x = row("", IMAGE).arrays()[0] * 3 + 1
    theirs, ours = keras.layers.BatchNormalization(momentum=0.9), nn.BatchNormalization(momentum=0.9)
    for layer in (theirs, ours):
        layer(x)
    ours.set_weights(theirs.get_weights())
    assert_close(ours(x, training=True), theirs(x, training=True))
    ours.trainable = False
    before = ours.get_weights()
    ours(x, training=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, ours.get_weights()))


@pytest.mark.parametrize(
    ("layer", "mean", "deviation"),
    [(nn.Dropout(0.25), 1.0, (0.25 / 0.75) ** 0.5), (nn.GaussianNoise(0.5), 1.0, 0.5), (nn.SpatialDropout1D(0.25), 1.0, 0.58),
     (nn.GaussianDropout(0.5), 1.0, 1.0)],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Layer) else "",
)  # fmt: skip
def test_noise_in_training(layer: Any, mean: float, deviation: float) -> None:
    """Means and deviations by the layers' definitions."""
    drawn = layer(np.ones((8, 4, 1000), np.float32), training=True).numpy()
    assert abs(drawn.mean() - mean) < 0.06 and abs(drawn.std() - deviation) < 0.08


def test_alpha_dropout_keeps_mean_and_deviation() -> None:
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    drawn = nn.AlphaDropout(0.25)(x, training=True).numpy()
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1) < 0.03


def test_softmax_over_several_axes() -> None:
    x = row("", LINE).arrays()[0]
    e = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(nn.Softmax((1, 2))(x).numpy(), e / e.sum((1, 2), keepdims=True), rtol=1e-5)


def test_functions_in_a_network_are_read() -> None:
    """`keras.ops` on symbolic tensors, which Keras writes as layers whose class names layers have too."""
    k = keras.ops
    x, y = keras.Input((4, 3)), keras.Input((4, 3))
    z = k.mean(x[:, 1:3], axis=-1, keepdims=True)
    z = k.concatenate([z, k.cast(y[:, :2, :1], "float32")], axis=1)
    z = k.transpose(k.reshape(z, (-1, 2, 2)), (0, 2, 1))
    z = k.softmax(k.gelu(z) ** 2 / 3.0, axis=1)
    z = 1 - k.where(z > 0.5, z, -z)
    z = k.squeeze(k.expand_dims(k.clip(keras.activations.leaky_relu(z, 0.2), -1, 1), 1), 1)
    theirs = keras.Model([x, y], [k.relu(z) + 1, keras.layers.Add()([z, z])])
    ours = nn.deserialize(plain(keras.saving.serialize_keras_object(theirs)))
    arrays = row("", ((2, 4, 3), (2, 4, 3))).arrays()
    assert_close(ours(arrays), theirs(arrays))
    again = keras.saving.deserialize_keras_object(plain(nn.serialize(ours)))
    assert_close(again(arrays), theirs(arrays))


def test_what_keras_3_has_no_more() -> None:
    x = np.array([[-1.0, 0.5, 2.0]], np.float32)
    np.testing.assert_array_equal(nn.ThresholdedReLU(1.0)(x).numpy(), [[0, 0, 2]])
    image = np.ones((1, 2, 2, 1), np.float32)
    np.testing.assert_array_equal(nn.RandomWidth(0.5)(image).numpy(), image)
    with pytest.raises(UnsupportedFeature, match="RandomWidth"):
        nn.RandomWidth(0.5)(image, training=True)
    with pytest.raises(UnsupportedFeature, match="Lambda"):
        nn.serialize(nn.Lambda(abs))
    with pytest.raises(UnsupportedFeature, match="Lambda"):
        nn.deserialize({"class_name": "Lambda", "config": {"name": "f", "function": ["4wEAAAA=", None, None]}})


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2", "OrthogonalRegularizer"])
def test_regularizers(name: str) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    theirs = getattr(keras.regularizers, name)()
    ours = nn.regularizers.get(plain(keras.saving.serialize_keras_object(theirs)))
    np.testing.assert_allclose(float(ours(ht.asarray(w))), float(theirs(w)), rtol=1e-5)
    assert plain(keras.saving.serialize_keras_object(keras.regularizers.get(plain(nn.serialize(ours))))) == plain(
        keras.saving.serialize_keras_object(theirs)
    )


@pytest.mark.parametrize("name", ["MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"])
def test_constraints(name: str) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32) * 2
    theirs = getattr(keras.constraints, name)()
    ours = nn.constraints.get(plain(keras.saving.serialize_keras_object(theirs)))
    np.testing.assert_allclose(ours(ht.asarray(w)).numpy(), theirs(w), rtol=1e-5, atol=1e-6)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("Conv2D", {"filters": 3, "kernel_size": (3, 3, 3)}),
    ("Conv2D", {"filters": 3, "kernel_size": 0}),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "full"}),
    ("MaxPooling2D", {"data_format": "NHWC"}),
    ("Permute", {"dims": (1, 3)}),
    ("Dropout", {"rate": 2}),
    ("Bidirectional", {"layer": {"class_name": "Dense", "config": {"units": 2}}}),
    ("RNN", {"cell": {"class_name": "Dense", "config": {"units": 2}}}),
    ("Dense", {}),
    ("Dense", {"units": 3, "unites": 4}),
]


@pytest.mark.parametrize(("kind", "arguments"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_arguments_are_errors_that_name_the_layer(kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(HitherError, match=kind):
        nn.deserialize({"class_name": kind, "config": arguments})


def test_a_sparse_one_hot_of_keras_is_refused() -> None:
    """There are no sparse arrays; a dense one in its place would be another network."""
    numbers = np.array([0, 2], np.int32)
    data = {"module": "keras.src.ops.nn", "class_name": "OneHot", "config": {"num_classes": 3, "sparse": False}}
    assert nn.deserialize(data)(numbers).numpy().tolist() == [[1, 0, 0], [0, 0, 1]]
    data["config"] = {"num_classes": 3, "sparse": True}
    with pytest.raises(UnsupportedFeature, match="sparse=True"):
        nn.deserialize(data)(numbers)
