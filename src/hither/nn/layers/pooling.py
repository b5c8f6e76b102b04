"""Pooling over windows and over everything."""

from __future__ import annotations

from typing import Any

from ... import dtypes as dt
from ... import ops
from .. import config
from ..layer import Layer
from .geometry import each, layout_of, one_of, spatial_axes


class _Pooling(Layer):
    """A layer that makes one element of each window.

    Args:
        pool_size: extents of the window.
        strides: from one window to the next; the window's extents unless given.
        padding: "valid" or "same".
        data_format: where the channels are.
    """

    rank: int
    operation = staticmethod(ops.max_pool)

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = each(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else each(strides, self.rank, "strides")
        self.padding = one_of("padding", padding, ("valid", "same"))
        self.data_format = layout_of(data_format)

    def call(self, x: Any) -> Any:
        return self.operation(x, self.pool_size, strides=self.strides, padding=self.padding, layout=self.data_format)


@config.register("MaxPool1D")
class MaxPooling1D(_Pooling):
    """The largest element of each window of [batch, steps, channels].

    Args:
        pool_size: extent of the window.
        strides: from one window to the next; the window's extent unless given.
        padding: "valid" or "same".
        data_format: where the channels are.
    """

    rank = 1


@config.register("MaxPool2D")
class MaxPooling2D(_Pooling):
    """The largest element of each window of images.

    Args:
        pool_size: extents of the window.
        strides: from one window to the next; the window's extents unless given.
        padding: "valid" or "same".
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.MaxPooling2D()(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 4, 4, 3)
    """

    rank = 2


@config.register("MaxPool3D")
class MaxPooling3D(_Pooling):
    """The largest element of each window of volumes; arguments as for MaxPooling2D."""

    rank = 3


@config.register("AvgPool1D")
class AveragePooling1D(_Pooling):
    """The mean of each window of [batch, steps, channels]; arguments as for MaxPooling1D. Padding is not counted."""

    rank = 1
    operation = staticmethod(ops.avg_pool)


@config.register("AvgPool2D")
class AveragePooling2D(_Pooling):
    """The mean of each window of images; arguments as for MaxPooling2D. Padding is not counted."""

    rank = 2
    operation = staticmethod(ops.avg_pool)


@config.register("AvgPool3D")
class AveragePooling3D(_Pooling):
    """The mean of each window of volumes; arguments as for MaxPooling2D. Padding is not counted."""

    rank = 3
    operation = staticmethod(ops.avg_pool)


class _GlobalPooling(Layer):
    """A layer that makes one element of each channel.

    Args:
        data_format: where the channels are.
        keepdims: whether the spatial axes stay, with extent 1.
    """

    operation = staticmethod(ops.max)

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format, self.keepdims = layout_of(data_format), keepdims

    def call(self, x: Any) -> Any:
        return self.operation(x, axis=spatial_axes(self.data_format, x.ndim), keepdims=self.keepdims)


@config.register("GlobalMaxPool1D")
class GlobalMaxPooling1D(_GlobalPooling):
    """The largest step of each channel.

    Args:
        data_format: where the channels are.
        keepdims: whether the axis of steps stays, with extent 1.
    """


@config.register("GlobalMaxPool2D")
class GlobalMaxPooling2D(_GlobalPooling):
    """The largest element of each channel of images.

    Args:
        data_format: where the channels are.
        keepdims: whether the spatial axes stay, with extent 1.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.GlobalMaxPooling2D()(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 3)
    """


@config.register("GlobalMaxPool3D")
class GlobalMaxPooling3D(_GlobalPooling):
    """The largest element of each channel of volumes; arguments as for GlobalMaxPooling2D."""


@config.register("GlobalAvgPool1D")
class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of the steps of each channel, of those that count where a mask says so; arguments as for GlobalMaxPooling1D."""

    operation = staticmethod(ops.mean)
    supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return super().call(x)
        last = self.data_format == "channels_last"
        kept = ops.expand_dims(ops.astype(mask, x.dtype if x.dtype.kind == "f" else dt.float32), axis=2 if last else 1)
        axis = 1 if last else 2
        total = ops.sum(x * kept, axis=axis, keepdims=self.keepdims)
        return total / ops.sum(kept, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        return None


@config.register("GlobalAvgPool2D")
class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel of images; arguments as for GlobalMaxPooling2D."""

    operation = staticmethod(ops.mean)


@config.register("GlobalAvgPool3D")
class GlobalAveragePooling3D(_GlobalPooling):
    """The mean of each channel of volumes; arguments as for GlobalMaxPooling2D."""

    operation = staticmethod(ops.mean)
