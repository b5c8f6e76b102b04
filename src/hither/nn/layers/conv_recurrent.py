"""Convolutional recurrent layers: an LSTM whose products are convolutions. Shi et al.: Convolutional LSTM Network, 2015."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from .. import activations, config
from .geometry import channel_axis, each, layout_of, one_of
from .recurrent import CellLayer, of_cell
from .recurrent_cells import LSTMCell, Noise, States, dropped_state


class _ConvLSTMCell(LSTMCell):
    """One step of a convolutional LSTM; states h and c, gates in the order input, forget, cell, output."""

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, **kwargs)
        self.keep(
            filters, use_bias, (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint), dropout, recurrent_dropout, seed,
        )  # fmt: skip
        self.filters = filters
        self.kernel_size = each(kernel_size, self.rank, "kernel_size")
        self.strides, self.dilation_rate = (each(v, self.rank, "strides") for v in (strides, dilation_rate))
        self.padding, self.data_format = one_of("padding", padding, ("valid", "same")), layout_of(data_format)
        self.activation, self.recurrent_activation = activations.get(activation), activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape: Any) -> None:
        channels = input_shape[channel_axis(self.data_format, len(input_shape))]
        self.add_part("kernel", "kernel", (*self.kernel_size, channels, 4 * self.filters))
        self.add_part("recurrent_kernel", "recurrent", (*self.kernel_size, self.filters, 4 * self.filters))
        if self.use_bias:
            self.add_bias()

    def _weight(self, kernel: Any) -> Any:
        return ops.permute_dims(kernel, (self.rank + 1, self.rank, *range(self.rank)))

    def enter(self, x: Any) -> Any:
        images = ops.reshape(x, (-1, *x.shape[-self.rank - 1 :]))
        y = ops.conv(
            images, self._weight(self.kernel), self.bias if self.use_bias else None, strides=self.strides,
            padding=self.padding, dilation=self.dilation_rate, layout=self.data_format,
        )  # fmt: skip
        return ops.reshape(y, (*x.shape[: -self.rank - 1], *y.shape[1:]))

    def begin(self, entered: Any) -> States:
        axis = channel_axis(self.data_format, self.rank + 2)
        shape = [self.filters if a == axis else n for a, n in enumerate(entered.shape[1:])]
        return [ops.zeros(shape, dtype=entered.dtype) for _ in range(2)]

    def step(self, entered: Any, states: States, noise: Noise = None) -> tuple[Any, States]:
        h, c = states
        recurrent = ops.conv(
            dropped_state(h, noise), self._weight(self.recurrent_kernel), padding="same", layout=self.data_format
        )
        i, f, new, o = ops.split(entered + recurrent, 4, axis=channel_axis(self.data_format, h.ndim))
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(new)
        h = gate(o) * self.activation(c)
        return h, [h, c]


@config.register()
class ConvLSTM1DCell(_ConvLSTMCell):
    """The cell of ConvLSTM1D."""

    rank = 1


@config.register()
class ConvLSTM2DCell(_ConvLSTMCell):
    """The cell of ConvLSTM2D."""

    rank = 2


@config.register()
class ConvLSTM3DCell(_ConvLSTMCell):
    """The cell of ConvLSTM3D."""

    rank = 3


class _ConvLSTM(CellLayer):
    cell_class: type[_ConvLSTMCell]

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(of_cell(self.cell_class, given), given)


@config.register()
class ConvLSTM1D(_ConvLSTM):
    """A convolutional LSTM over [batch, steps, length, channels]; arguments as for ConvLSTM2D."""

    cell_class = ConvLSTM1DCell


@config.register()
class ConvLSTM2D(_ConvLSTM):
    """A convolutional LSTM over [batch, steps, height, width, channels].

    Args:
        filters: channels of states and output.
        kernel_size: extents of the windows, or one for both.
        strides, padding, data_format, dilation_rate: of the convolution of the input, as for Conv2D.
        activation, recurrent_activation, use_bias: as for LSTM.
        return_sequences, return_state, go_backwards, stateful: as for RNN.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.ConvLSTM2D(4, 3, padding="same")(np.ones((1, 5, 8, 8, 3), np.float32)).shape
        (1, 8, 8, 4)
    """

    cell_class = ConvLSTM2DCell


@config.register()
class ConvLSTM3D(_ConvLSTM):
    """A convolutional LSTM over [batch, steps, depth, height, width, channels]; arguments as for ConvLSTM2D."""

    cell_class = ConvLSTM3DCell
