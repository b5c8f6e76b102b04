"""Spec: what an input or output is: shape, dtype, and, where known, what its numbers mean to a person.

The numbers' meaning (an image, a sound, labels) lets a bundle's loader take pictures and show results by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dtypes import DType, dtype
from .errors import DTypeMismatch, ShapeMismatch, UnsupportedFeature
from .graph.core import Abstract

Extent = int | str | None
MEDIA = ("image", "audio", "text")
PICTURES = ("NCHW", "NHWC")  # layouts that loaders fill


@dataclass(frozen=True, eq=False)
class Spec:
    """A signature of one array.

    Args:
        shape: extents; None is a free one, a string a free one by name (equal names are equal extents). None instead of a
            tuple: even the number of axes is free.
        dtype: element type.
        media: "image", "audio", "text" or None (plain numbers).
        layout: for media, the order of the axes, for example "NCHW", "NHWC" or "NT".
        scale, mean, std: for media, elements are `(raw * scale - mean) / std`; numbers or one number per channel.
        labels: what the entries along the last axis of an output stand for.
        value: the array itself, where it is known while compiling; it then is no input of the program any more.

    Raises:
        ShapeMismatch: a shape that is none.
        UnsupportedFeature: media or a layout that loaders do not know: they would take a picture for something else.

    Example:
        >>> Spec((1, 224, 224, 3), "float32", media="image", layout="NHWC", scale=1 / 255)
        Spec(float32[1,224,224,3], image NHWC)
    """

    shape: tuple[Extent, ...] | None
    dtype: DType
    media: str | None = None
    layout: str | None = None
    scale: Any = None
    mean: Any = None
    std: Any = None
    labels: tuple[str, ...] | None = None
    value: np.ndarray | None = None

    def __init__(
        self,
        shape: Sequence[Extent] | None,
        dtype: Any = "float32",
        media: str | None = None,
        layout: str | None = None,
        scale: Any = None,
        mean: Any = None,
        std: Any = None,
        labels: Sequence[str] | None = None,
        value: Any = None,
    ) -> None:
        kind = _dtype(dtype)
        if media is not None and media not in MEDIA:
            raise UnsupportedFeature(f"a Spec's media is {', '.join(map(repr, MEDIA))} or None, got {media!r}")
        if media == "image" and layout is not None and layout not in PICTURES:
            raise UnsupportedFeature(f"the layout of pictures is {' or '.join(map(repr, PICTURES))}, got {layout!r}")
        fields = {
            "shape": _shape_of(shape),
            "dtype": kind,
            "media": media,
            "layout": layout,
            "scale": scale,
            "mean": mean,
            "std": std,
            "labels": None if labels is None else tuple(labels),
            "value": None if value is None else np.asarray(value, kind.numpy),
        }
        for name, content in fields.items():
            object.__setattr__(self, name, content)  # the dataclass is frozen
        if self.value is not None:
            self.check("a Spec's value", self.value)

    @property
    def is_static(self) -> bool:
        """Whether every extent is a number."""
        return self.shape is not None and all(isinstance(e, int) for e in self.shape)

    def abstract(self, name: str = "") -> Abstract:
        """The Abstract of a Spec without free extents.

        Raises:
            ShapeMismatch: if an extent is free.
        """
        if self.shape is None or not self.is_static:
            raise ShapeMismatch(f"input {name!r} is {self} with free extents; give a Spec with a number for each")
        return Abstract(tuple(int(e) for e in self.shape if e is not None), self.dtype)

    def check(self, name: str, like: Any) -> None:
        """Raise ShapeMismatch or DTypeMismatch unless `like` (anything with shape and dtype) fits this Spec."""
        got = dtype(like.dtype)
        if got != self.dtype:
            raise DTypeMismatch(
                f"{name} takes {self}, got {got}{_shape(like.shape)}; convert it with .astype({str(self.dtype)!r})"
            )
        if self.shape is None:
            return
        fits = len(self.shape) == len(like.shape)
        fits = fits and all(not isinstance(e, int) or e == n for e, n in zip(self.shape, like.shape))
        if not fits:
            raise ShapeMismatch(f"{name} takes {self}, got {got}{_shape(like.shape)}")

    def __repr__(self) -> str:
        media = f", {self.media}{' ' + self.layout if self.layout else ''}" if self.media else ""
        return f"Spec({self}{media})"

    def __str__(self) -> str:
        return f"{self.dtype}{_shape(self.shape)}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spec):
            return NotImplemented
        fields = ("shape", "dtype", "media", "layout", "scale", "mean", "std", "labels")
        same = all(np.array_equal(getattr(self, f), getattr(other, f)) for f in fields)
        if self.value is None or other.value is None:
            return same and self.value is other.value
        return same and np.array_equal(self.value, other.value, equal_nan=self.dtype.kind in "fc")

    __hash__ = object.__hash__


def _dtype(like: Any) -> DType:
    return dtype(like)


def _shape_of(shape: Any) -> tuple[Extent, ...] | None:
    if shape is None:
        return None
    if isinstance(shape, str) or not hasattr(shape, "__iter__"):
        raise ShapeMismatch(f"the shape of a Spec is a tuple of extents, such as (1, 3), or None; got {shape!r}")
    return tuple(_extent(e) for e in shape)


def _extent(extent: Any) -> Extent:
    if extent is None or isinstance(extent, str):
        return extent
    number = int(extent)
    if number < 0 or number != extent:
        raise ShapeMismatch(f"an extent of a Spec is a number ≥ 0, a name or None, got {extent!r}")
    return number


def _shape(shape: Sequence[Extent] | None) -> str:
    return "[…]" if shape is None else f"[{','.join('?' if e is None else str(e) for e in shape)}]"


def plain_array(name: str, value: Any, wanted: DType) -> np.ndarray:
    """Python numbers, or nested lists of them, for an input of this dtype.

    Raises:
        DTypeMismatch: they are no numbers, or the dtype does not hold them: nothing is cut to an integer or wraps around.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DTypeMismatch(f"input {name!r} takes {wanted}, got a {type(value).__name__} that is no array: {error}") from error
    if array.dtype.kind not in "biufc" or (array.dtype.kind == "c" and wanted.kind != "c"):
        raise DTypeMismatch(f"input {name!r} takes {wanted}, got a {type(value).__name__} of {array.dtype}")
    with np.errstate(all="ignore"):
        made = array.astype(wanted.numpy)
    wrong = made != array if wanted.kind in "biu" else np.zeros(array.shape, bool)
    if wrong.any():
        raise DTypeMismatch(f"input {name!r} takes {wanted}, which does not hold {array[wrong].flat[0]}")
    return made
