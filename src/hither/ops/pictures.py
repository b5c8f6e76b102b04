"""Whole pictures: mirrored, turned, in grey, thresholded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from . import elementwise as el
from . import reduce as rd
from .operands import Like, asarray, converted, spread, wide_float
from .sampling import projective_transform
from .segments import bincount
from .shape import expand_dims, flip, slice_axis

_LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, rounded as TensorFlow has it


def _channel_axis(x: Any, layout: str) -> int:
    if layout not in ("channels_first", "channels_last"):
        raise ValueError(f"layout is channels_first or channels_last, got {layout!r}")
    if x.ndim < 3:
        raise ValueError(f"pictures have three axes or more, got shape {x.shape}")
    return -3 if layout == "channels_first" else -1


def flip_left_right(x: Like, /, *, layout: str = "channels_first") -> Any:
    """Pictures mirrored: columns in reverse order.

    Args:
        x: [..., C, H, W], or [..., H, W, C] for layout="channels_last".
    """
    x = asarray(x)
    return flip(x, axis=-1 if _channel_axis(x, layout) == -3 else -2)


def flip_up_down(x: Like, /, *, layout: str = "channels_first") -> Any:
    """Pictures upside down: rows in reverse order; arguments as for `flip_left_right`."""
    x = asarray(x)
    return flip(x, axis=-2 if _channel_axis(x, layout) == -3 else -3)


def rotate(
    x: Like, radians: float, /, *, center: float | Sequence[float] = 0.5, fill: Like = 0.0, mode: str = "nearest",
    layout: str = "channels_first",
) -> Any:  # fmt: skip
    """Pictures turned counterclockwise about a point, in their own frame (TensorFlow.js's rotateWithOffset).

    Args:
        x: [N, C, H, W], or [N, H, W, C] for layout="channels_last".
        radians: the angle.
        center: the point, (across, down) as fractions of width and height; one number for both.
        fill: what comes in from outside: a number, or one per channel.
        mode: "nearest" or "linear".

    Example:
        >>> import hither as ht
        >>> ht.rotate(ht.asarray([[[[1.0, 2.0], [3.0, 4.0]]]]), 0.0).tolist()
        [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    x = asarray(x)
    height, width = x.shape[-2:] if _channel_axis(x, layout) == -3 else x.shape[-3:-1]
    across, down = (center, center) if isinstance(center, int | float) else center
    cx, cy, sine, cosine = across * width, down * height, math.sin(radians), math.cos(radians)
    matrix = [cosine, -sine, cx - cx * cosine + cy * sine, sine, cosine, cy - cx * sine - cy * cosine, 0.0, 0.0]
    matrices = np.array([matrix], np.float32)
    return projective_transform(x, matrices, (height, width), mode=mode, fill=fill, layout=layout)


def rgb_to_grayscale(x: Like, /, *, layout: str = "channels_first") -> Any:
    """Brightness of coloured pictures: 0.2989 red + 0.587 green + 0.114 blue; integers stay integers, rounded down.

    Args:
        x: [..., 3, H, W], or [..., H, W, 3] for layout="channels_last".

    Returns:
        The same with one channel.
    """
    x = asarray(x)
    axis = _channel_axis(x, layout)
    if x.shape[axis] != 3:
        raise ValueError(f"rgb_to_grayscale takes three channels, got {x.shape[axis]} of shape {x.shape} ({layout})")
    wide, _ = wide_float(x)
    shares = np.array(_LUMA, wide.dtype.numpy).reshape([3 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return converted(rd.sum(el.multiply(wide, shares), axis=axis, keepdims=True), x.dtype)


def grayscale_to_rgb(x: Like, /, *, layout: str = "channels_first") -> Any:
    """Pictures of one channel with it three times."""
    x = asarray(x)
    axis = _channel_axis(x, layout)
    if x.shape[axis] != 1:
        raise ValueError(f"grayscale_to_rgb takes one channel, got {x.shape[axis]} of shape {x.shape} ({layout})")
    return spread(x, [3 if a == axis % x.ndim else n for a, n in enumerate(x.shape)])


def threshold(
    x: Like, value: Like = 0.5, /, *, method: str = "binary", inverted: bool = False, layout: str = "channels_first"
) -> Any:  # fmt: skip
    """A picture in black and white: 255 where its brightness (0 … 255) is above a threshold, else 0, int32.

    Args:
        x: [C, H, W], or [H, W, C] for layout="channels_last", of one channel or three.
        value: the threshold as a fraction of 255, for method "binary".
        method: "binary", or "otsu": the threshold that separates two classes best. Otsu: A Threshold Selection Method from
            Gray-Level Histograms (1979).
        inverted: 255 where the brightness is not above it.
    """
    x = asarray(x)
    grey = x if x.shape[_channel_axis(x, layout)] == 1 else rgb_to_grayscale(x, layout=layout)
    if method == "binary":
        limit = el.multiply(converted(asarray(value), dt.float32), 255.0)
        grey = converted(grey, dt.float32)
    elif method == "otsu":
        grey = converted(grey, dt.int32)
        limit = _otsu(grey)
    else:
        raise ValueError(f"threshold: method is binary or otsu, got {method!r}")
    above = el.greater(grey, limit)
    return el.multiply(converted(el.logical_not(above) if inverted else above, dt.int32), 255)


def _otsu(grey: Any) -> Any:
    """The level below which, inclusive, one class lies: where the variance between classes is largest."""
    level = np.arange(256, dtype=np.float32)
    counts = converted(bincount(grey, length=256), dt.float32)
    low, moment = rd.cumulative_sum(counts), rd.cumulative_sum(el.multiply(counts, level))
    total, whole = slice_axis(low, 0, 255, 256), slice_axis(moment, 0, 255, 256)
    high = el.subtract(total, low)
    both = el.logical_and(el.greater(low, 0.0), el.greater(high, 0.0))
    apart = el.subtract(
        el.divide(moment, el.where(both, low, 1.0)), el.divide(el.subtract(whole, moment), el.where(both, high, 1.0))
    )
    shares = el.multiply(el.divide(low, total), el.divide(high, total))
    between = el.where(both, el.multiply(shares, el.square(apart)), 0.0)
    return expand_dims(rd.argmax(between, axis=0, dtype=dt.int32), axis=(0, 1, 2))


__all__ = [
    "flip_left_right", "flip_up_down", "grayscale_to_rgb", "rgb_to_grayscale", "rotate", "threshold",
]  # fmt: skip
