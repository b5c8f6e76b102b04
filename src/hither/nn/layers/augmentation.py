"""Augmentation: layers that change images at random in training, each image of a batch in its own way; otherwise they do not.

What they draw comes from the training's key, so that a training repeats itself. Factors are Keras's: one number f stands for
-f … f, and two are the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import dtypes as dt
from ... import ops
from .. import config
from ..randomness import next_key
from .geometry import one_of
from .preprocessing import ImageLayer, largest_part

Factor = float | Sequence[float]
# Keras's fill modes, in the words of `ops.projective_transform`: a b c d continues as d c b a, k k k k, a b c d or d d d d.
FILL_MODES = {"reflect": "reflection", "constant": "zeros", "wrap": "wrap", "nearest": "border"}
INTERPOLATIONS = {"bilinear": "linear", "nearest": "nearest"}


def bounds(what: str, factor: Any, least: float, most: float) -> tuple[float, float]:
    """The bounds that a factor stands for.

    Raises:
        ValueError: it is no number or two, or they are out of the range.
    """
    pair = (-abs(factor), abs(factor)) if isinstance(factor, int | float) else tuple(factor)
    if len(pair) != 2 or not all(least <= f <= most for f in pair):
        raise ValueError(f"{what} is a number from {least:g} to {most:g}, or two of them, got {factor!r}")
    return min(pair), max(pair)


class RandomImage(ImageLayer):
    """A layer that changes images in training.

    Args:
        seed: makes the layer's draws its own.
        data_format: where the channels are.
    """

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.seed = seed

    def call(self, x: Any, training: bool = False) -> Any:
        x = ops.astype(x, self.dtype)
        return self.changed(x) if training else x

    def changed(self, x: Any) -> Any:
        """What training sees."""
        raise NotImplementedError

    def key(self) -> Any:
        """A key to draw from."""
        key = next_key(self.name)
        return key if self.seed is None else ops.random.fold_in(key, self.seed)

    def count(self, x: Any) -> int:
        """How many images."""
        return int(x.shape[0]) if x.ndim == 4 else 1

    def draw(self, x: Any, limits: tuple[float, float]) -> Any:
        """A number for each image, evenly distributed between the limits: float32[images]."""
        return ops.random.uniform(self.key(), (self.count(x),), low=limits[0], high=limits[1])

    def by_image(self, x: Any, values: Any) -> Any:
        """A number for each image in the shape that applies to its pixels."""
        return ops.astype(ops.reshape(values, (-1, *(1,) * (x.ndim - 1)) if x.ndim == 4 else (1,) * x.ndim), x.dtype)


@config.register()
class RandomFlip(RandomImage):
    """In training, images mirrored at random.

    Args:
        mode: "horizontal", "vertical" or "horizontal_and_vertical".
        seed: makes the layer's draws its own.
        data_format: where the channels are.
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = one_of("mode", mode, ("horizontal", "vertical", "horizontal_and_vertical"))

    def changed(self, x: Any) -> Any:
        rows, columns = self.axes(x)
        for axis, wanted in ((columns, "horizontal"), (rows, "vertical")):
            if wanted in self.mode:
                mirrored = self.by_image(x, self.draw(x, (0.0, 1.0))) < 0.5
                x = ops.where(mirrored, ops.flip(x, axis=axis), x)
        return x


class _Moved(RandomImage):
    """In training, images seen through an affine map of their own.

    Args:
        fill_mode: what comes from outside: "reflect" (d c b a | a b c d), "constant", "wrap" (a b c d | a b c d, as
            TensorFlow's kernel does it) or "nearest".
        interpolation: "bilinear" or "nearest".
        fill_value: for fill_mode "constant".
    """

    def __init__(
        self, fill_mode: str, interpolation: str, seed: int | None, fill_value: float, data_format: str | None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.fill_mode = one_of("fill_mode", fill_mode, tuple(FILL_MODES))
        self.interpolation = one_of("interpolation", interpolation, tuple(INTERPOLATIONS))
        self.fill_value = fill_value

    def changed(self, x: Any) -> Any:
        batch = x if x.ndim == 4 else ops.expand_dims(x, axis=0)
        rows, columns = self.axes(batch)
        size = batch.shape[rows], batch.shape[columns]
        made = ops.projective_transform(
            batch, self.maps(batch, *size), size, mode=INTERPOLATIONS[self.interpolation], padding=FILL_MODES[self.fill_mode],
            fill=self.fill_value, layout=self.data_format,
        )  # fmt: skip
        return made if x.ndim == 4 else made[0]

    def maps(self, x: Any, height: int, width: int) -> Any:
        """The maps from places in the result to places in the image, float32[images, 8]; see `ops.projective_transform`."""
        raise NotImplementedError


def _affine(x: Sequence[Any], y: Sequence[Any]) -> Any:
    """Maps of rows (a0, a1, a2) for x and for y, arrays or numbers."""
    rows = [ops.asarray(v, dtype=dt.float32) for v in (*x, *y, 0.0, 0.0)]
    shape = next(v.shape for v in rows if v.ndim)
    return ops.stack([ops.broadcast_to(v, shape) for v in rows], axis=1)


@config.register()
class RandomRotation(_Moved):
    """In training, images turned about their middles.

    Args:
        factor: how far, in full turns, counter-clockwise: from -f to f, or two bounds.
        fill_mode: what comes in from outside: "reflect" (d c b a | a b c d | d c b a), "constant", "wrap" (as TensorFlow does
            it) or "nearest".
        interpolation: "bilinear" or "nearest".
        seed: makes the layer's draws its own.
        fill_value: for "constant".
        data_format: where the channels are.

    Example:
        >>> import numpy as np, hither as ht
        >>> quarter = ht.nn.RandomRotation((0.25, 0.25), interpolation="nearest")
        >>> quarter(np.array([[[1], [2]], [[3], [4]]], np.float32), training=True).numpy()[..., 0].tolist()
        [[2.0, 4.0], [1.0, 3.0]]
    """

    def __init__(
        self, factor: Factor, fill_mode: str = "reflect", interpolation: str = "bilinear", seed: int | None = None,
        fill_value: float = 0.0, data_format: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor
        self.limits = bounds("factor", factor, -1, 1)

    def maps(self, x: Any, height: int, width: int) -> Any:
        angle = self.draw(x, self.limits) * (2 * math.pi)
        cos, sin = ops.cos(angle), ops.sin(angle)
        right, down = (width - 1) / 2, (height - 1) / 2
        return _affine(
            (cos, -sin, right - right * cos + down * sin),
            (sin, cos, down - right * sin - down * cos),
        )


@config.register()
class RandomTranslation(_Moved):
    """In training, images moved down and to the right.

    Args:
        height_factor, width_factor: how far, as parts of the height and width: from -f to f, or two bounds.
        fill_mode, interpolation, seed, fill_value, data_format: as for RandomRotation.
    """

    def __init__(
        self, height_factor: Factor, width_factor: Factor, fill_mode: str = "reflect", interpolation: str = "bilinear",
        seed: int | None = None, fill_value: float = 0.0, data_format: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.limits = bounds("height_factor", height_factor, -1, 1), bounds("width_factor", width_factor, -1, 1)

    def maps(self, x: Any, height: int, width: int) -> Any:
        down, right = (self.draw(x, limits) * float(n) for limits, n in zip(self.limits, (height, width)))
        return _affine((1.0, 0.0, -right), (0.0, 1.0, -down))


@config.register()
class RandomZoom(_Moved):
    """In training, images made smaller or larger about their middles.

    Args:
        height_factor, width_factor: -0.3 shows 70 % of the height in the place of the whole (nearer), 0.3 shows 130 %: from -f
            to f, or two bounds. No width_factor keeps proportions.
        fill_mode, interpolation, seed, fill_value, data_format: as for RandomRotation.
    """

    def __init__(
        self, height_factor: Factor, width_factor: Factor | None = None, fill_mode: str = "reflect",
        interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0, data_format: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.height_limits = bounds("height_factor", height_factor, -1, 1)
        self.width_limits = None if width_factor is None else bounds("width_factor", width_factor, -1, 1)

    def maps(self, x: Any, height: int, width: int) -> Any:
        tall = self.draw(x, self.height_limits) + 1.0
        wide = tall if self.width_limits is None else self.draw(x, self.width_limits) + 1.0
        return _affine((wide, 0.0, (1.0 - wide) * ((width - 1) / 2)), (0.0, tall, (1.0 - tall) * ((height - 1) / 2)))


@config.register()
class RandomContrast(RandomImage):
    """In training, each channel's distance from its mean multiplied by 1 - lower … 1 + upper.

    Args:
        factor: lower and upper, or one number for both.
        value_range: what the result is cut to.
        seed: makes the layer's draws its own.
        data_format: where the channels are.
    """

    def __init__(
        self, factor: Factor, value_range: Sequence[float] = (0, 255), seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.factor, self.value_range = factor, value_range
        pair = (factor, factor) if isinstance(factor, int | float) else tuple(factor)
        bounds("factor", pair, 0, 1)
        self.limits = 1.0 - pair[0], 1.0 + pair[1]

    def changed(self, x: Any) -> Any:
        mean = ops.mean(x, axis=self.axes(x), keepdims=True)
        return ops.clip((x - mean) * self.by_image(x, self.draw(x, self.limits)) + mean, *map(float, self.value_range))


@config.register()
class RandomBrightness(RandomImage):
    """In training, a number added to all pixels of an image.

    Args:
        factor: how much, as part of the range of values: from -f to f, or two bounds.
        value_range: of the pixels; the result is cut to it.
        seed: makes the layer's draws its own.
        data_format: where the channels are.
    """

    def __init__(
        self, factor: Factor, value_range: Sequence[float] = (0, 255), seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.factor, self.value_range = factor, value_range
        self.limits = bounds("factor", factor, -1, 1)

    def changed(self, x: Any) -> Any:
        low, high = sorted(map(float, self.value_range))
        return ops.clip(x + self.by_image(x, self.draw(x, self.limits) * (high - low)), low, high)


@config.register()
class RandomCrop(RandomImage):
    """In training, a part of the images at a random place, the same for all of a batch.

    Otherwise, and where images are no larger than the part, the largest part in the middle that has its proportions, resized.

    Args:
        height, width: of the part.
        seed: makes the layer's draws its own.
        data_format: where the channels are.
    """

    def __init__(self, height: int, width: int, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.height, self.width = height, width

    def call(self, x: Any, training: bool = False) -> Any:
        x = ops.astype(x, self.dtype)
        axes, part = self.axes(x), (self.height, self.width)
        room = [x.shape[axis] - size for axis, size in zip(axes, part)]
        if training and min(room) > 0:
            starts: list[Any] = [0] * x.ndim
            sizes = list(x.shape)
            for axis, size, left in zip(axes, part, room):
                starts[axis], sizes[axis] = ops.random.randint(self.key(), 0, left + 1), size
            return ops.dynamic_slice(x, starts, sizes)
        middle = largest_part(x, axes, part)
        return middle if tuple(middle.shape[a] for a in axes) == part else ops.resize(middle, part, axes=axes)


@config.register()
class RandomWidth(ImageLayer):
    """In training, TensorFlow.js stretches images to a random width here. That width is no part of a compiled program, so
    here it is an error to train through it; otherwise images stay as they are.

    Args:
        factor: how far the width may change, as a fraction.
    """

    def __init__(
        self, factor: Any, interpolation: str = "bilinear", seed: int | None = None, auto_vectorize: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.factor, self.interpolation, self.seed, self.auto_vectorize = factor, interpolation, seed, auto_vectorize

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            raise self.unsupported("a width that changes from one training step to the next")
        return x
