"""Layers that move elements and compute nothing: reshaping, cropping, padding, upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from .. import config
from ..layer import Layer
from .geometry import Pairs, each, layout_of, one_of, pairs, spatial_axes


@config.register()
class Flatten(Layer):
    """All axes but the batch's as one.

    Args:
        data_format: "channels_first" turns the channels to the end before.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Flatten()(np.ones((2, 3, 4), np.float32)).shape
        (2, 12)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = layout_of(data_format)

    def call(self, x: Any) -> Any:
        if self.data_format == "channels_first" and x.ndim > 2:
            x = ops.moveaxis(x, 1, -1)
        return ops.reshape(x, (x.shape[0], -1))


@config.register()
class Reshape(Layer):
    """The same elements in another shape.

    Args:
        target_shape: without the batch axis; one extent may be -1, which is worked out.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Reshape((2, -1))(np.ones((5, 6), np.float32)).shape
        (5, 2, 3)
    """

    def __init__(self, target_shape: Sequence[int | None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(-1 if n is None else n for n in target_shape)  # TensorFlow.js writes null

    def call(self, x: Any) -> Any:
        return ops.reshape(x, (x.shape[0], *self.target_shape))


@config.register()
class Permute(Layer):
    """The axes in another order.

    Args:
        dims: for each axis after the batch's, which it was; counted from 1.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Permute((2, 1))(np.ones((5, 6, 7), np.float32)).shape
        (5, 7, 6)
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"dims is an order of the axes 1 … {len(self.dims)}, got {self.dims}")

    def call(self, x: Any) -> Any:
        return ops.permute_dims(x, (0, *self.dims))


@config.register()
class RepeatVector(Layer):
    """[batch, features] → [batch, n, features].

    Args:
        n: how many times.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.RepeatVector(3)(np.ones((2, 4), np.float32)).shape
        (2, 3, 4)
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n

    def call(self, x: Any) -> Any:
        return ops.broadcast_to(ops.expand_dims(x, axis=1), (x.shape[0], self.n, x.shape[1]))


class _Padded(Layer):
    """A layer with (before, after) per spatial axis."""

    rank: int

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = layout_of(data_format)

    def _pad(self, x: Any, amounts: Pairs, sign: int) -> Any:
        every = [(0, 0)] * x.ndim
        for axis, (before, after) in zip(spatial_axes(self.data_format, x.ndim), amounts):
            if sign < 0 and before + after > x.shape[axis]:
                raise ValueError(f"{self.name} cuts {before} + {after} of {x.shape[axis]} elements in shape {tuple(x.shape)}")
            every[axis] = (sign * before, sign * after)
        return ops.pad(x, every)


class _Cropping(_Padded):
    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = pairs(cropping, self.rank, "cropping")

    def call(self, x: Any) -> Any:
        return self._pad(x, self.cropping, -1)


@config.register()
class Cropping1D(_Cropping):
    """Cuts steps off both ends of [batch, steps, channels].

    Args:
        cropping: (before, after), or one number for both.
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": list(self.cropping[0])}


@config.register()
class Cropping2D(_Cropping):
    """Cuts rows and columns off the sides of images.

    Args:
        cropping: ((top, bottom), (left, right)), (rows, columns), or one number.
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Cropping2D(((1, 0), (2, 2)))(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 7, 4, 3)
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


@config.register()
class Cropping3D(_Cropping):
    """Cuts the borders of volumes off.

    Args:
        cropping: (before, after) for each of the three axes, one number for each, or one number.
        data_format: where the channels are.
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class _ZeroPadding(_Padded):
    def __init__(self, padding: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = pairs(padding, self.rank, "padding")

    def call(self, x: Any) -> Any:
        return self._pad(x, self.padding, 1)


@config.register()
class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps of a sequence.

    Args:
        padding: (before, after), or one number for both.
        data_format: where the channels are.
    """

    rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": list(self.padding[0])}


@config.register()
class ZeroPadding2D(_ZeroPadding):
    """Zeros around images.

    Args:
        padding: ((top, bottom), (left, right)), (rows, columns), or one number.
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.ZeroPadding2D(((0, 1), (0, 1)))(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 9, 9, 3)
    """

    rank = 2

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


@config.register()
class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes.

    Args:
        padding: (before, after) for each of the three axes, one number for each, or one number.
        data_format: where the channels are.
    """

    rank = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class _UpSampling(Layer):
    rank: int

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.data_format = each(size, self.rank, "size"), layout_of(data_format)

    def call(self, x: Any) -> Any:
        for axis, times in zip(spatial_axes(self.data_format, x.ndim), self.size):
            x = ops.repeat(x, times, axis=axis)
        return x


@config.register()
class UpSampling1D(_UpSampling):
    """Every step `size` times.

    Args:
        size: how often.
    """

    rank = 1

    def __init__(self, size: Any = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size[0]}


@config.register()
class UpSampling2D(_UpSampling):
    """Images made larger.

    Args:
        size: factors of rows and columns, or one for both.
        data_format: where the channels are.
        interpolation: "nearest", "bilinear" or "bicubic".

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.UpSampling2D(2, interpolation="bilinear")(np.ones((1, 4, 4, 3), np.float32)).shape
        (1, 8, 8, 3)
    """

    rank = 2

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        self.interpolation = one_of("interpolation", interpolation, tuple(RESAMPLING))

    def call(self, x: Any) -> Any:
        if self.interpolation == "nearest":
            return super().call(x)
        axes = spatial_axes(self.data_format, x.ndim)
        sizes = [x.shape[axis] * times for axis, times in zip(axes, self.size)]
        return ops.resize(x, sizes, axes=axes, **RESAMPLING[self.interpolation])


@config.register()
class UpSampling3D(_UpSampling):
    """Every element of a volume repeated along its three axes.

    Args:
        size: factors of the axes, or one for all.
        data_format: where the channels are.
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)


# Keras's names of interpolations, in the arguments of `ops.resize`.
RESAMPLING: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "nearest": "round_prefer_ceil"},
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic": -0.5, "exclude_outside": True},
}
