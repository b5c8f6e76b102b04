"""vmap: a function of single examples becomes one of batches, without a loop.

The function is traced once, for one example; then each primitive's batching rule applies it to all examples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..graph.batching import run_batched, spread
from ..graph.core import Abstract
from ..graph.trace import trace_function
from ..graph.tree import Structure, flatten, tree_map, unflatten
from ..ops import asarray, moveaxis

Axes = int | None | tuple[Any, ...] | list[Any] | dict[Any, Any]


def vmap(function: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """Map a function over an axis of its arguments.

    Args:
        function: of arrays, or structures of them.
        in_axes: which axis of each argument is mapped over; None passes an argument whole to each example. A number stands for
            all arguments, a tuple has an entry for each, which may be structured like the argument.
        out_axes: where the mapped axis stands in the results.

    Returns:
        A function of batches. Keyword arguments are mapped over their first axes.

    Raises:
        ValueError: from that function, if mapped axes differ in extent, or nothing is mapped.

    Example:
        >>> import hither as ht
        >>> ht.vmap(lambda a, b: ht.sum(a * b), in_axes=(0, None))(ht.ones((3, 4)), ht.arange(4.0)).numpy().tolist()
        [6.0, 6.0, 6.0]
    """

    @wraps(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(asarray, (args, kwargs))
        leaves, structure = flatten((args, kwargs))
        axes = [*_axes_of(in_axes, args), *([0] * flatten(kwargs)[1].leaves)]
        size = _extent(leaves, axes)
        operands = [
            (x, False) if axis is None else (x if axis % x.ndim == 0 else moveaxis(x, axis, 0), True)
            for x, axis in zip(leaves, axes, strict=True)
        ]
        made: list[Structure] = []

        def single(*tracers: Any) -> list[Any]:
            positional, named = unflatten(structure, tracers)
            results, result_structure = flatten(function(*positional, **named))
            made.append(result_structure)
            return [asarray(r) for r in results]

        abstracts = [Abstract(tuple(x.shape)[1:] if flag else tuple(x.shape), x.dtype) for x, flag in operands]
        graph, captured = trace_function(single, abstracts, name=getattr(function, "__name__", "function"))
        results = run_batched(graph, [*operands, *((c, False) for c in captured)], size)
        nested = unflatten(made[-1], [spread(x, flag, size) for x, flag in results])
        placed = _spread(out_axes, nested)
        flat, result_structure = flatten(nested)
        return unflatten(result_structure, [x if not a else moveaxis(x, 0, a) for x, a in zip(flat, placed, strict=True)])

    return mapped


def _axes_of(axes: Axes, arguments: tuple[Any, ...]) -> list[int | None]:
    """The axis for each array of the arguments."""
    if axes is None or isinstance(axes, int):
        return [axes] * flatten(arguments)[1].leaves
    if not isinstance(axes, tuple | list) or len(axes) != len(arguments):
        raise ValueError(f"axes are a number, None, or one entry for each of {len(arguments)}; got {axes!r}")
    found: list[int | None] = []
    for axis, argument in zip(axes, arguments):
        found += _spread(axis, argument)
    return found


def _spread(axis: Any, argument: Any) -> list[int | None]:
    if axis is None or isinstance(axis, int):
        return [axis] * flatten(argument)[1].leaves
    children = list(argument.values()) if isinstance(argument, dict) else list(argument)
    entries = [axis[k] for k in argument] if isinstance(argument, dict) else list(axis)
    return [a for entry, child in zip(entries, children, strict=True) for a in _spread(entry, child)]


def _extent(leaves: list[Any], axes: list[int | None]) -> int:
    extents: dict[int, str] = {}
    for i, (x, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is None:
            continue
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"vmap maps over axis {axis} of array {i}, which has shape {tuple(x.shape)}")
        extents.setdefault(x.shape[axis], f"axis {axis} of array {i}, of shape {tuple(x.shape)}")
    if len(extents) != 1:
        shown = "; ".join(f"{where}: {n}" for n, where in extents.items())
        raise ValueError(f"vmap needs mapped axes of one extent, got {shown or 'none'}")
    return next(iter(extents))
