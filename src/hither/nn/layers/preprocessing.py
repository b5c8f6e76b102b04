"""Preprocessing: scaling, cropping and resizing images, encoding categories."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from .. import config
from ..layer import Layer
from .geometry import layout_of, one_of, spatial_axes
from .reshaping import RESAMPLING


@config.register()
class Rescaling(Layer):
    """x · scale + offset.

    Args:
        scale, offset: numbers, or arrays that broadcast to the input.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Rescaling(1 / 127.5, offset=-1)(np.array([[0, 255]], np.uint8)).numpy().tolist()
        [[-1.0, 1.0]]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, x: Any) -> Any:
        scale, offset = (np.asarray(v, self.dtype.numpy) for v in (self.scale, self.offset))
        return ops.astype(x, self.dtype) * scale + offset


class ImageLayer(Layer):
    """A layer on images [height, width, channels], or a batch of them."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = layout_of(data_format)

    def axes(self, x: Any) -> tuple[int, int]:
        """The axes of rows and columns."""
        if x.ndim == 3:
            return (0, 1) if self.data_format == "channels_last" else (1, 2)
        return spatial_axes(self.data_format, x.ndim)  # type: ignore[return-value]


def _window(x: Any, axes: tuple[int, int], starts: tuple[int, int], sizes: tuple[int, int]) -> Any:
    for axis, start, size in zip(axes, starts, sizes):
        x = ops.slice_axis(x, axis, start, start + size)
    return x


def largest_part(x: Any, axes: tuple[int, int], sizes: tuple[int, int]) -> Any:
    """The largest part in the middle that has the ratio of `sizes`."""
    height, width = (x.shape[a] for a in axes)
    part = (min(int(width * sizes[0] / sizes[1]), height) or height, min(int(height * sizes[1] / sizes[0]), width) or width)
    return _window(x, axes, ((height - part[0]) // 2, (width - part[1]) // 2), part)


@config.register()
class Resizing(ImageLayer):
    """Images resampled to a height and width.

    Args:
        height, width: of the result.
        interpolation: "bilinear", "nearest" or "bicubic".
        crop_to_aspect_ratio: cut the sides off that do not fit into the result's ratio, instead of distorting.
        antialias: whether shrinking averages.
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.Resizing(4, 6)(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 4, 6, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        if pad_to_aspect_ratio:
            raise self.unsupported("pad_to_aspect_ratio=True")
        self.height, self.width, self.interpolation = height, width, one_of("interpolation", interpolation, tuple(RESAMPLING))
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.fill_mode, self.fill_value, self.antialias = fill_mode, fill_value, antialias

    def call(self, x: Any) -> Any:
        axes, sizes = self.axes(x), (self.height, self.width)
        x = ops.astype(x, self.dtype) if self.interpolation != "nearest" else x
        if self.crop_to_aspect_ratio:
            x = largest_part(x, axes, sizes)
        return ops.resize(x, sizes, axes=axes, antialias=self.antialias, **RESAMPLING[self.interpolation])


@config.register()
class CenterCrop(ImageLayer):
    """The middle of images; images that are too small are scaled up so far that they have one.

    Args:
        height, width: of the result.
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.CenterCrop(4, 6)(np.ones((1, 8, 8, 3), np.float32)).shape
        (1, 4, 6, 3)
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.height, self.width = height, width

    def call(self, x: Any) -> Any:
        axes, sizes = self.axes(x), (self.height, self.width)
        x = ops.astype(x, self.dtype)
        height, width = (x.shape[a] for a in axes)
        if height >= self.height and width >= self.width:
            return _window(x, axes, ((height - self.height) // 2, (width - self.width) // 2), sizes)
        return ops.resize(largest_part(x, axes, sizes), sizes, axes=axes)


@config.register()
class CategoryEncoding(Layer):
    """Category numbers as vectors of `num_tokens`.

    Args:
        num_tokens: how many categories.
        output_mode: "multi_hot" (1 for each category that occurs along the last axis), "one_hot" or "count".

    Example:
        >>> import numpy as np, hither as ht
        >>> ht.nn.CategoryEncoding(4)(np.array([[0, 2, 2]])).numpy().tolist()
        [[1.0, 0.0, 1.0, 0.0]]
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_tokens is None or num_tokens < 1:
            raise ValueError(f"num_tokens is the number of categories, got {num_tokens}")
        if sparse:
            raise self.unsupported("sparse=True")
        self.num_tokens, self.sparse = num_tokens, sparse
        self.output_mode = one_of("output_mode", {"multiHot": "multi_hot", "oneHot": "one_hot"}.get(output_mode, output_mode),
                                  ("multi_hot", "one_hot", "count"))  # fmt: skip

    def call(self, x: Any, count_weights: Any = None) -> Any:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(f"count_weights belong to output_mode='count', this layer's is {self.output_mode!r}")
        x = ops.astype(x, dt.int32)
        x = ops.reshape(x, (1,)) if x.ndim == 0 else x
        if self.output_mode == "one_hot" and x.ndim > 1 and x.shape[-1] == 1:
            x = ops.squeeze(x, -1)
        hot = ops.one_hot(x, self.num_tokens, dtype=self.dtype)
        if self.output_mode == "one_hot":
            return hot
        axis = 1 if x.ndim > 1 else 0
        if self.output_mode == "multi_hot":
            return ops.max(hot, axis=axis)
        if count_weights is not None:
            hot = hot * ops.expand_dims(ops.asarray(count_weights, dtype=self.dtype), axis=-1)
        return ops.sum(hot, axis=axis)
