"""Lists of arrays (TensorArrayV3, TensorList…) as values: what reads and writes them are functions that give a new list.

A list whose places are known while importing holds its items as they are. Where a place is only known at run time, or a loop
carries the list, it becomes one array with the items along its first axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import ops
from ...array import Array
from ...errors import InvalidModel, LimitExceeded, UnsupportedFeature
from ...graph.trace import static_value
from .sizes import Bounded

MAX_ITEMS = 1 << 24
MAX_LIST_BYTES = 1 << 31

Shape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class ArrayHandle:
    """What TensorArrayV3 gives beside the flow; the flow carries the list."""

    name: str


@dataclass(frozen=True, eq=False)
class TensorList:
    """`size` places for arrays of one dtype; `element` is what is known of their shape.

    Either `items` (None where nothing is written) or `buffer` [size, *element] has them; neither where nothing is written.
    """

    size: int
    dtype: str
    element: Shape
    items: tuple[Any, ...] | None = None
    buffer: Any = None
    grows: bool = False  # writing behind the end is allowed

    @staticmethod
    def empty(size: int, dtype: str, element: Shape) -> TensorList:
        """Nothing written yet."""
        if not 0 <= size <= MAX_ITEMS:
            raise LimitExceeded(f"a list of {size} arrays (at most {MAX_ITEMS})")
        return TensorList(size, dtype, element)

    @property
    def is_empty(self) -> bool:
        return self.buffer is None and (self.items is None or all(i is None for i in self.items))

    def _item_shape(self) -> tuple[int, ...] | None:
        """The shape of an item, where it is known."""
        if self.buffer is not None:
            return tuple(self.buffer.shape[1:])
        for item in self.items or ():
            if item is not None:
                return tuple(item.shape)
        element = self.element
        if element is None or any(n is None for n in element):
            return None
        return tuple(n for n in element if n is not None)

    def shaped(self, element: Shape) -> TensorList:
        """What an operator's element_shape adds."""
        return replace(self, element=element) if self._item_shape() is None and element is not None else self

    def _zeros(self, shape: Sequence[int]) -> Any:
        if math.prod(shape) * 4 > MAX_LIST_BYTES:
            raise LimitExceeded(f"a list of shape {tuple(shape)} is larger than {MAX_LIST_BYTES} bytes")
        return ops.zeros(tuple(shape), dtype=self.dtype)

    def stacked(self, shape: tuple[int, ...] | None = None) -> TensorList:
        """The list as one array; `shape` is that of an item where nothing is written yet."""
        if self.buffer is not None:
            return self
        own = self._item_shape()
        shape = shape if own is None else own
        if shape is None:
            raise UnsupportedFeature("the shape of a list's arrays is not known before one is written")
        if self.is_empty:
            return replace(self, items=None, buffer=self._zeros((self.size, *shape)))
        items = [self._zeros(shape) if i is None else i for i in self._all()]
        if any(isinstance(i, Bounded) or tuple(i.shape) != shape for i in items):
            raise UnsupportedFeature("a list of arrays of different shapes")
        return replace(self, items=None, buffer=ops.stack(items, axis=0))

    def _all(self) -> tuple[Any, ...]:
        if self.items is not None:
            return self.items
        if self.buffer is not None:
            return tuple(self.buffer[i] for i in range(self.size))
        return (None,) * self.size

    def get(self, place: Any) -> Any:
        """The array at a place."""
        known = static_value(place)
        if known is not None:
            at = int(known.reshape(()))
            if not 0 <= at < self.size:
                raise InvalidModel(f"place {at} is outside a list of {self.size}")
            if self.buffer is not None:
                return self.buffer[at]
            item = self.items[at] if self.items is not None else None
            if item is None:
                shape = self._item_shape()
                if shape is None:
                    raise InvalidModel(f"place {at} of a list is read before it is written")
                return self._zeros(shape)
            return item
        made = self.stacked()
        if made.size == 0:
            raise InvalidModel("an empty list is read")
        return ops.take(made.buffer, ops.reshape(place, ()), axis=0)

    def set(self, place: Any, value: Any) -> TensorList:
        """The list with an array written."""
        if str(value.dtype) != self.dtype:
            raise InvalidModel(f"an array of dtype {value.dtype} is written into a list of {self.dtype}")
        known = static_value(place)
        if known is not None:
            at = int(known.reshape(()))
            if self.grows and at >= self.size:
                return self.resized(at + 1).set(place, value)
            if not 0 <= at < self.size:
                raise InvalidModel(f"place {at} is outside a list of {self.size}")
        if known is not None and self.buffer is None:
            items = self._all()
            return replace(self, items=(*items[:at], value, *items[at + 1 :]))
        if isinstance(value, Bounded):
            raise UnsupportedFeature(
                "an array of data-dependent length is written into a list at a place known only at run time"
            )
        made = self.stacked(tuple(value.shape))
        if tuple(made.buffer.shape[1:]) != tuple(value.shape):
            raise InvalidModel(f"an array of shape {tuple(value.shape)} is written into a list of {made.buffer.shape[1:]}")
        row = ops.expand_dims(value, axis=0)
        starts = [ops.reshape(ops.astype(place, "int32"), ()), *([0] * len(value.shape))]
        return replace(made, buffer=ops.dynamic_update_slice(made.buffer, row, starts))

    def resized(self, size: int) -> TensorList:
        """The first `size` places."""
        TensorList.empty(size, self.dtype, self.element)
        items = self._all()[:size]
        return replace(self, size=size, buffer=None, items=(*items, *((None,) * (size - len(items)))))

    def pushed(self, value: Any) -> TensorList:
        """One place more."""
        return self.resized(self.size + 1).set(Array(np.array(self.size)), value)

    def stack(self) -> Any:
        """All items along a new first axis."""
        if self.size == 0:
            return self._zeros((0, *(self._item_shape() or ())))
        return self.stacked().buffer

    def gather(self, places: Any) -> Any:
        """Some items along a new first axis."""
        known = static_value(places)
        if known is not None and np.array_equal(known, np.arange(self.size)):
            return self.stack()
        if known is not None and known.size and not (known.min() >= 0 and known.max() < self.size):
            raise InvalidModel(f"places {known.tolist()!r:.100} are outside a list of {self.size}")
        if known is not None and known.size == 0:
            return self._zeros((0, *(self._item_shape() or ())))
        return ops.take(self.stacked().buffer, places, axis=0)

    def concat(self) -> Any:
        """All items joined along their first axis."""
        items = [i for i in self._all() if i is not None]
        if not items:
            return self._zeros((0, *(self._item_shape() or (0,))[1:]))
        return ops.concat(items, axis=0)

    @staticmethod
    def of(x: Any, dtype: str, element: Shape) -> TensorList:
        """The slices of an array along its first axis."""
        if not x.shape:
            raise InvalidModel("a list is made of an array without axes")
        return TensorList(x.shape[0], dtype, element, buffer=x)

    @staticmethod
    def split(x: Any, lengths: Sequence[int], dtype: str, element: Shape) -> TensorList:
        """Pieces of an array along its first axis."""
        return TensorList(len(lengths), dtype, element, items=tuple(ops.split(x, list(lengths), axis=0)))
