"""Convolutions. Kernels have Keras's shapes: [*window, in / groups, out], transposed [*window, out, in]."""

from __future__ import annotations

from typing import Any

from ... import ops
from .. import activations, config, constraints, initializers, regularizers
from ..layer import Layer
from .geometry import channel_axis, each, layout_of, one_of


class Convolution(Layer):
    """What all convolutions have: a window, an activation and a bias."""

    kernel: Any
    bias: Any
    rank: int

    def __init__(
        self, kernel_size: Any, strides: Any, padding: str, data_format: str | None, dilation_rate: Any, activation: Any,
        use_bias: bool, bias_initializer: Any, bias_regularizer: Any, bias_constraint: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.kernel_size = each(kernel_size, self.rank, "kernel_size")
        self.strides = each(strides, self.rank, "strides")
        self.dilation_rate = each(dilation_rate, self.rank, "dilation_rate")
        self.padding = one_of("padding", padding.lower(), ("valid", "same", "causal") if self.rank == 1 else ("valid", "same"))
        self.data_format = layout_of(data_format)
        self.activation, self.use_bias = activations.get(activation), use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)

    def channels(self, shape: Any) -> int:
        """The channels of an input of this shape."""
        return int(shape[channel_axis(self.data_format, len(shape))])

    def add_bias(self, filters: int) -> None:
        """Make the bias, if there is one."""
        if self.use_bias:
            self.add_weight(
                "bias", (filters,), self.bias_initializer, regularizer=self.bias_regularizer, constraint=self.bias_constraint
            )

    def convolved(self, x: Any, w: Any, groups: int, bias: Any) -> Any:
        """x convolved with w [*window, in / groups, out], with this layer's strides, padding and dilation."""
        padding: Any = self.padding
        if padding == "causal":
            padding = [((self.kernel_size[0] - 1) * self.dilation_rate[0], 0)]
        turned = ops.permute_dims(w, (self.rank + 1, self.rank, *range(self.rank)))
        return ops.conv(
            x, turned, bias, strides=self.strides, padding=padding, dilation=self.dilation_rate, groups=groups,
            layout=self.data_format,
        )  # fmt: skip

    def finished(self, y: Any) -> Any:
        """The activation."""
        return self.activation(y)


class _Conv(Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.filters, self.groups = filters, groups
        if groups < 1 or filters % groups:
            raise ValueError(f"{filters} filters do not divide into {groups} groups")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def build(self, input_shape: Any) -> None:
        channels = self.channels(input_shape)
        if channels % self.groups:
            raise ValueError(f"{self.name}: {channels} channels do not divide into {self.groups} groups")
        self.add_weight(
            "kernel", (*self.kernel_size, channels // self.groups, self.filters), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, x: Any) -> Any:
        return self.finished(self.convolved(x, self.kernel, self.groups, self.bias if self.use_bias else None))


@config.register("Convolution1D")
class Conv1D(_Conv):
    """Convolution over steps: [batch, steps, channels] → [batch, new steps, filters].

    Args:
        filters: channels of the output.
        kernel_size: extent of the window.
        strides, dilation_rate, groups, activation, use_bias: as for Conv2D.
        padding: "valid", "same", or "causal" (no step sees a later one).
    """

    rank = 1


@config.register("Convolution2D")
class Conv2D(_Conv):
    """Convolution of images: [batch, height, width, channels] → [batch, new height, new width, filters].

    Args:
        filters: channels of the output.
        kernel_size: extents of the window, or one for all.
        strides: from one window to the next.
        padding: "valid", or "same" (zeros around, so that the output has the input's extents / strides).
        data_format: "channels_last" or "channels_first".
        dilation_rate: distance between the elements that a window sees.
        groups: each group of channels is convolved with filters of its own.
        activation: function or name; None is linear.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: how the weights begin.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Conv2D(4, 3, strides=2, padding="same")(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 4, 4, 4)
    """

    rank = 2


@config.register("Convolution3D")
class Conv3D(_Conv):
    """Convolution of volumes, [batch, depth, height, width, channels]; arguments as for Conv2D."""

    rank = 3


class _ConvTranspose(Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        one_of("padding", self.padding, ("valid", "same"))
        self.filters = filters
        self.output_padding = None if output_padding is None else each(output_padding, self.rank, "output_padding", 0)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)

    def build(self, input_shape: Any) -> None:
        self.add_weight(
            "kernel", (*self.kernel_size, self.filters, self.channels(input_shape)), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, x: Any) -> Any:
        # "valid" reaches at least as far as the strides do; "same" makes extents · strides, unless output_padding says more.
        cut = []
        extra = self.output_padding or (None,) * self.rank
        for k, d, s, more in zip(self.kernel_size, self.dilation_rate, self.strides, extra):
            reach = (k - 1) * d + 1
            if self.padding == "valid":
                cut.append((0, -max(s - reach, 0) if more is None else -more))
            else:
                around = s + reach - 2 if more is None else reach + reach % 2 - 2 + more
                before = min(around - around // 2, reach - 1)
                cut.append((reach - 1 - before, reach - 1 - (around - before)))
        w = ops.permute_dims(self.kernel, (self.rank + 1, self.rank, *range(self.rank)))
        bias = self.bias if self.use_bias else None
        y = ops.conv_transpose(
            x, w, bias, strides=self.strides, padding=cut, dilation=self.dilation_rate, layout=self.data_format
        )
        return self.finished(y)


@config.register()
class Conv1DTranspose(_ConvTranspose):
    """Transposed convolution over steps; arguments as for Conv2DTranspose."""

    rank = 1


@config.register("Deconvolution2D", "Convolution2DTranspose")
class Conv2DTranspose(_ConvTranspose):
    """Transposed convolution of images: what makes a strided convolution's input shape of its output's.

    Args:
        filters: channels of the output.
        kernel_size: extents of the window, or one for all.
        strides: factors of the extents.
        padding: "same" (extents · strides) or "valid".
        output_padding: elements more at the end of each axis; worked out from strides unless given.
        data_format, dilation_rate, activation, use_bias: as for Conv2D.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Conv2DTranspose(4, 3, strides=2, padding="same")(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 16, 16, 4)
    """

    rank = 2


@config.register("Convolution3DTranspose")
class Conv3DTranspose(_ConvTranspose):
    """Transposed convolution of volumes; arguments as for Conv2DTranspose."""

    rank = 3


class _Depthwise(Convolution):
    """A convolution of each channel by itself."""

    def add_depthwise(self, name: str, channels: int, multiplier: int) -> None:
        """Make a kernel [*window, channels, multiplier]."""
        self.add_weight(
            name, (*self.kernel_size, channels, multiplier), self.depthwise_initializer,
            regularizer=self.depthwise_regularizer, constraint=self.depthwise_constraint,
        )  # fmt: skip

    def depthwise(self, x: Any, kernel: Any, bias: Any) -> Any:
        """x with its channels convolved one by one: channel c, filter m → c · multiplier + m."""
        channels, multiplier = kernel.shape[-2:]
        w = ops.reshape(kernel, (*self.kernel_size, 1, channels * multiplier))
        return self.convolved(x, w, channels, bias)

    def take(self, initializer: Any, regularizer: Any, constraint: Any) -> None:
        """Keep how the kernel begins and is trained."""
        self.depthwise_initializer = initializers.get(initializer)
        self.depthwise_regularizer = regularizers.get(regularizer)
        self.depthwise_constraint = constraints.get(constraint)


class _DepthwiseConv(_Depthwise):
    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self.take(depthwise_initializer, depthwise_regularizer, depthwise_constraint)

    def build(self, input_shape: Any) -> None:
        channels = self.channels(input_shape)
        self.add_depthwise("kernel", channels, self.depth_multiplier)
        self.add_bias(channels * self.depth_multiplier)

    def call(self, x: Any) -> Any:
        return self.finished(self.depthwise(x, self.kernel, self.bias if self.use_bias else None))


@config.register()
class DepthwiseConv1D(_DepthwiseConv):
    """Each channel of a sequence convolved by itself; arguments as for DepthwiseConv2D."""

    rank = 1


@config.register()
class DepthwiseConv2D(_DepthwiseConv):
    """Each channel of images convolved by itself.

    Args:
        kernel_size: extents of the window, or one for all.
        strides, padding, data_format, dilation_rate, activation, use_bias: as for Conv2D.
        depth_multiplier: how many filters each channel has.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.DepthwiseConv2D(3, depth_multiplier=2)(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 6, 6, 6)
    """

    rank = 2


class _SeparableConv(_Depthwise):
    depthwise_kernel: Any
    pointwise_kernel: Any

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        self.filters, self.depth_multiplier = filters, depth_multiplier
        self.take(depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.pointwise_constraint = constraints.get(pointwise_constraint)

    def build(self, input_shape: Any) -> None:
        channels = self.channels(input_shape)
        self.add_depthwise("depthwise_kernel", channels, self.depth_multiplier)
        self.add_weight(
            "pointwise_kernel", (*(1,) * self.rank, channels * self.depth_multiplier, self.filters), self.pointwise_initializer,
            regularizer=self.pointwise_regularizer, constraint=self.pointwise_constraint,
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, x: Any) -> Any:
        y = self.depthwise(x, self.depthwise_kernel, None)
        w = ops.permute_dims(self.pointwise_kernel, (self.rank + 1, self.rank, *range(self.rank)))
        return self.finished(ops.conv(y, w, self.bias if self.use_bias else None, layout=self.data_format))


@config.register("SeparableConvolution1D")
class SeparableConv1D(_SeparableConv):
    """A depthwise convolution over steps and one of all channels at each step; arguments as for SeparableConv2D."""

    rank = 1


@config.register("SeparableConvolution2D")
class SeparableConv2D(_SeparableConv):
    """A depthwise convolution of images and one of all channels at each pixel.

    Args:
        filters: channels of the output.
        kernel_size: extents of the depthwise window, or one for all.
        strides, padding, data_format, dilation_rate, activation, use_bias: as for Conv2D.
        depth_multiplier: how many filters each channel has in the depthwise convolution.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.SeparableConv2D(4, 3)(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 6, 6, 4)
    """

    rank = 2
