"""The table of layers: each class with arguments and inputs, which suites expand over what they compare with Keras 3.

A new layer is one more row. Keras's layers in rows' arguments are of whatever backend tests/keras_reference.py chose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .keras_reference import keras

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A layer's class and arguments, and the shapes of its inputs; `ints`: whole numbers below this go in."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Shape, ...] = ((2, 5),)
    ints: int | None = None

    def __str__(self) -> str:
        said = ",".join(f"{k}={v if not hasattr(v, 'name') else type(v).__name__}" for k, v in self.arguments.items())
        return f"{self.kind}({said})"[:80]

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        if self.ints:
            return [rng.integers(0, self.ints, shape).astype(np.int32) for shape in self.inputs]
        return [rng.standard_normal(shape).astype(np.float32) for shape in self.inputs]


SEQUENCE, LINE, IMAGE, VOLUME = ((2, 5, 3),), ((2, 7, 4),), ((2, 7, 6, 4),), ((1, 4, 5, 6, 2),)
PLANES = ((2, 4, 7, 6),)
MOVIE = ((1, 3, 5, 4, 2),)
SAME, FIRST = {"padding": "same"}, {"data_format": "channels_first"}


def row(kind: str, inputs: tuple[Shape, ...] = ((2, 5),), ints: int | None = None, **arguments: Any) -> Row:
    return Row(kind, arguments, inputs, ints)


ROWS = [
    row("Dense", units=3, activation="tanh"),
    row("Dense", SEQUENCE, units=4, use_bias=False, kernel_regularizer="l2", kernel_constraint="non_neg"),
    row("Activation", activation="gelu"),
    row("Activation", activation="hard_sigmoid"),
    row("Identity"),
    row("ActivityRegularization", l1=0.1),
    row("Embedding", ((2, 5),), 7, input_dim=7, output_dim=3),
    row("Masking", SEQUENCE, mask_value=0.5),
    row("Dropout", rate=0.5),
    row("SpatialDropout1D", LINE, rate=0.5),
    row("SpatialDropout2D", IMAGE, rate=0.5),
    row("SpatialDropout3D", VOLUME, rate=0.5),
    row("GaussianNoise", stddev=0.5),
    row("GaussianDropout", rate=0.5),
    row("AlphaDropout", rate=0.5),
    row("ReLU", max_value=1.0, negative_slope=0.1, threshold=0.2),
    row("LeakyReLU"),
    row("PReLU", IMAGE, shared_axes=[1, 2], alpha_initializer="ones"),
    row("PReLU"),
    row("ELU", alpha=0.5),
    row("Softmax"),
    row("Flatten", IMAGE),
    row("Flatten", PLANES, **FIRST),
    row("Reshape", LINE, target_shape=(2, -1)),
    row("Permute", IMAGE, dims=(3, 1, 2)),
    row("RepeatVector", n=3),
    row("Cropping1D", LINE, cropping=(1, 2)),
    row("Cropping2D", IMAGE, cropping=((1, 0), (0, 2))),
    row("Cropping3D", VOLUME, cropping=(1, 0, 1)),
    row("ZeroPadding1D", LINE, padding=(1, 2)),
    row("ZeroPadding2D", PLANES, padding=((1, 0), (0, 2)), **FIRST),
    row("ZeroPadding3D", VOLUME, padding=1),
    row("UpSampling1D", LINE, size=3),
    row("UpSampling2D", IMAGE, size=(2, 3)),
    row("UpSampling2D", IMAGE, size=2, interpolation="bilinear"),
    row("UpSampling2D", IMAGE, size=2, interpolation="bicubic"),
    row("UpSampling3D", VOLUME, size=(1, 2, 2)),
    row("Conv1D", LINE, filters=3, kernel_size=3, padding="causal", dilation_rate=2),
    row("Conv1D", LINE, filters=3, kernel_size=2, strides=2, activation="relu"),
    row("Conv2D", IMAGE, filters=3, kernel_size=3, strides=2, **SAME),
    row("Conv2D", IMAGE, filters=4, kernel_size=(3, 2), groups=2, dilation_rate=(1, 2), use_bias=False),
    row("Conv2D", PLANES, filters=3, kernel_size=3, **FIRST),
    row("Conv3D", VOLUME, filters=3, kernel_size=2, **SAME),
    row("Conv1DTranspose", LINE, filters=3, kernel_size=3, strides=2),
    row("Conv2DTranspose", IMAGE, filters=3, kernel_size=3, strides=2, **SAME),
    row("Conv2DTranspose", IMAGE, filters=3, kernel_size=2, strides=3),
    row("Conv2DTranspose", IMAGE, filters=3, kernel_size=2, strides=3, **SAME),
    row("Conv2DTranspose", IMAGE, filters=3, kernel_size=(3, 4), strides=(2, 2), output_padding=1, **SAME),
    row("Conv2DTranspose", IMAGE, filters=3, kernel_size=3, dilation_rate=2),
    row("Conv3DTranspose", VOLUME, filters=3, kernel_size=3, strides=2, **SAME),
    row("DepthwiseConv1D", LINE, kernel_size=3, depth_multiplier=2),
    row("DepthwiseConv2D", IMAGE, kernel_size=3, strides=2, depth_multiplier=2, **SAME),
    row("DepthwiseConv2D", IMAGE, kernel_size=3, activation="relu"),
    row("SeparableConv1D", LINE, filters=3, kernel_size=3, **SAME),
    row("SeparableConv2D", IMAGE, filters=3, kernel_size=3, depth_multiplier=2),
    row("MaxPooling1D", LINE),
    row("MaxPooling2D", IMAGE, pool_size=(3, 2), strides=1, **SAME),
    row("MaxPooling3D", VOLUME),
    row("AveragePooling1D", LINE, pool_size=2, **SAME),
    row("AveragePooling2D", IMAGE, pool_size=3, strides=2, **SAME),
    row("AveragePooling2D", PLANES, pool_size=2, **FIRST),
    row("AveragePooling3D", VOLUME, pool_size=2),
    row("GlobalMaxPooling1D", LINE),
    row("GlobalMaxPooling2D", PLANES, **FIRST),
    row("GlobalMaxPooling3D", VOLUME),
    row("GlobalAveragePooling1D", LINE),
    row("GlobalAveragePooling2D", IMAGE, keepdims=True),
    row("GlobalAveragePooling3D", VOLUME),
    row("BatchNormalization", IMAGE),
    row("BatchNormalization", PLANES, axis=1, scale=False, epsilon=0.1),
    row("LayerNormalization", IMAGE, epsilon=0.01),
    row("LayerNormalization", IMAGE, axis=[1, 3], center=False),
    row("GroupNormalization", IMAGE, groups=2),
    row("GroupNormalization", PLANES, groups=-1, axis=1),
    row("RMSNormalization", LINE),
    row("UnitNormalization", LINE, axis=[1, 2]),
    row("Normalization", LINE, mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 9.0, 2.0]),
    row("Add", ((2, 3), (2, 3), (2, 3))),
    row("Add", ((2, 4, 3), (2, 3))),
    row("Subtract", ((2, 3), (2, 3))),
    row("Multiply", ((2, 3), (2, 1))),
    row("Average", ((2, 3), (2, 3))),
    row("Maximum", ((2, 3), (2, 3))),
    row("Minimum", ((2, 3), (2, 3))),
    row("Concatenate", ((2, 3, 2), (2, 4, 2)), axis=1),
    row("Dot", ((2, 3, 4), (2, 5, 4)), axes=(2, 2)),
    row("Dot", ((2, 4), (2, 4)), axes=1, normalize=True),
    row("Dot", ((2, 3, 4), (2, 4, 5)), axes=(-1, 1)),
    row("SimpleRNN", SEQUENCE, units=4),
    row("LSTM", SEQUENCE, units=4, return_sequences=True, recurrent_activation="hard_sigmoid"),
    row("LSTM", SEQUENCE, units=4, return_state=True, unit_forget_bias=False),
    row("LSTM", ((2, 20, 3),), units=4, go_backwards=True, return_sequences=True, return_state=True),
    row("LSTM", SEQUENCE, units=4, unroll=True, use_bias=False, dropout=0.5, recurrent_dropout=0.5),
    row("GRU", SEQUENCE, units=4, return_sequences=True),
    row("GRU", SEQUENCE, units=4, reset_after=False, go_backwards=True),
    row("GRU", SEQUENCE, units=4, reset_after=False, use_bias=False, return_state=True),
    row("GRU", ((2, 18, 3),), units=4, use_bias=False),
    row("RNN", SEQUENCE, cell=keras.layers.GRUCell(3), return_sequences=True),
    row("RNN", SEQUENCE, cell=[keras.layers.LSTMCell(3), keras.layers.SimpleRNNCell(4)], return_sequences=True),
    row("RNN", ((2, 18, 3),), cell=keras.layers.StackedRNNCells([keras.layers.GRUCell(3), keras.layers.LSTMCell(4)])),
    row("Bidirectional", SEQUENCE, layer=keras.layers.LSTM(3, return_sequences=True)),
    row("Bidirectional", SEQUENCE, layer=keras.layers.GRU(3), merge_mode="sum"),
    row("Bidirectional", SEQUENCE, layer=keras.layers.SimpleRNN(3, return_state=True), merge_mode="mul"),
    row("Bidirectional", SEQUENCE, layer=keras.layers.SimpleRNN(3, return_sequences=True), merge_mode=None),
    row("TimeDistributed", ((2, 3, 6, 5, 2),), layer=keras.layers.Conv2D(3, 2)),
    row("ConvLSTM1D", ((1, 3, 5, 2),), filters=3, kernel_size=3),
    row("ConvLSTM2D", MOVIE, filters=3, kernel_size=3, return_sequences=True, **SAME),
    row("ConvLSTM2D", MOVIE, filters=3, kernel_size=(3, 2), strides=2, return_state=True),
    row("ConvLSTM3D", ((1, 2, 4, 3, 3, 2),), filters=2, kernel_size=2, **SAME),
    row("EinsumDense", LINE, equation="abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de", activation="relu"),
    row("EinsumDense", LINE, equation="...x,xy->...y", output_shape=3),
    row("MultiHeadAttention", ((2, 5, 4), (2, 3, 6)), num_heads=2, key_dim=3, value_dim=2),
    row("MultiHeadAttention", ((2, 5, 4), (2, 5, 4), (2, 5, 3)), num_heads=2, key_dim=3, use_bias=False, output_shape=7),
    row("Attention", ((2, 5, 4), (2, 3, 4)), use_scale=True),
    row("Attention", ((2, 5, 4), (2, 3, 6), (2, 3, 4)), score_mode="concat"),
    row("AdditiveAttention", ((2, 5, 4), (2, 3, 4))),
    row("Rescaling", scale=0.5, offset=1.0),
    row("Resizing", IMAGE, height=4, width=9),
    row("Resizing", IMAGE, height=4, width=9, interpolation="nearest"),
    row("Resizing", IMAGE, height=3, width=5, crop_to_aspect_ratio=True),
    row("CenterCrop", IMAGE, height=4, width=3),
    row("CenterCrop", IMAGE, height=9, width=5),
    row("CategoryEncoding", ((2, 5),), 6, num_tokens=6),
    row("CategoryEncoding", ((2, 5),), 6, num_tokens=6, output_mode="count"),
    row("CategoryEncoding", ((5, 1),), 6, num_tokens=6, output_mode="one_hot"),
    row("RandomFlip", IMAGE),
]


def weights_like(layer: Any) -> list[np.ndarray]:
    """Weights to try a layer with: none 0, variances positive."""
    rng = np.random.default_rng(1)
    return [np.abs(rng.standard_normal(w.shape)).astype(w.dtype) * 0.3 + 0.1 for w in layer.get_weights()]


def called(layer: Any) -> Any:
    """A layer that takes all its inputs as one argument, as most do."""
    if type(layer).__name__ == "MultiHeadAttention":
        whole = type(layer).__call__
        spread = type("MultiHeadAttention", (type(layer),), {"__call__": lambda self, xs, **how: whole(self, *xs, **how)})
        layer.__class__ = spread
    return layer
