"""What several operators are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ..registry import Node
from ..sizes import Bounded, Sizes, together


def cast(x: Any, to: str) -> Any:
    """Convert to another dtype as C does: floats truncate, anything but zero is true."""
    if str(x.dtype) == to:
        return x
    return x != 0 if to == "bool" else ops.astype(x, to)


def same_dtypes(node: Node, *xs: Any) -> None:
    """TensorFlow converts nothing by itself: operands must agree."""
    kinds = dict.fromkeys(str(x.dtype) for x in xs)
    node.check(len(kinds) <= 1, f"operands must have one dtype, got {', '.join(kinds)}")


def elementwise(node: Node, function: Callable[..., Any], *xs: Any) -> Any:
    """A function of arrays that broadcast, of a length known only at run time or not."""
    try:
        return together(function, *xs)
    except ValueError as error:
        if any(isinstance(x, Bounded) for x in xs):
            raise node.unsupported(str(error)) from error
        raise


def plain(x: Any) -> Any:
    """Sizes as an ordinary array."""
    return x.plain() if isinstance(x, Sizes) else x


def int32(values: Any) -> Array:
    """Numbers as an int32 Array."""
    return Array(np.asarray(values, np.int32))


def channels_last(node: Node, x: Any, run: Callable[[Any], Any]) -> Any:
    """An image operator on x, which is channels first where the attribute data_format says so."""
    layout = node.text("data_format", "NHWC")
    node.check(layout in ("NHWC", "NCHW", "NDHWC", "NCDHW", "NWC", "NCW"), f"data_format {layout!r} is unknown")
    if layout[1] != "C":
        return run(x)
    made = run(ops.to_channels_last(x))
    if isinstance(made, tuple):
        return tuple(ops.to_channels_first(m) if len(m.shape) == len(x.shape) else m for m in made)
    return ops.to_channels_first(made)


def spatial(node: Node, name: str, rank: int) -> tuple[int, ...]:
    """A strides-like attribute [1, *spatial, 1] (or as data_format has it): its spatial part; ones where it is not given."""
    given = node.integers(name, (1,) * (rank + 2))
    first = node.text("data_format", "NHWC")[1:2] == "C"
    node.check(len(given) == rank + 2, f"{name} {given} do not fit {rank} spatial axes")
    part, others = (given[2:], given[:2]) if first else (given[1:-1], (given[0], given[-1]))
    node.check(min(part) > 0 and others == (1, 1), f"{name} {given} must be positive, and 1 for batch and channels")
    return part
