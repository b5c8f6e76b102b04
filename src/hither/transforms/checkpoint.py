"""Gradients other than the traced function's own: custom_gradient gives a rule, checkpoint forgets and computes again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..graph.core import Abstract
from ..graph.primitive import REGISTRY
from ..graph.trace import bind, trace_function
from ..graph.tree import Structure, flatten, tree_map, unflatten
from ..ops import asarray
from .gradient import conjugate_cotangent, fitting_cotangent


def _call(
    function: Callable[..., Any], args: tuple[Any, ...], backward: Callable[..., tuple[Any, ...]] | None
) -> tuple[Any, Structure]:
    """Apply a function as one `call` in the trace at hand; its flat results and their structure."""
    leaves, structure = flatten(tree_map(asarray, args))
    made: list[Structure] = []

    def flat(*tracers: Any) -> list[Any]:
        results, result_structure = flatten(function(*unflatten(structure, tracers)))
        made.append(result_structure)
        return [asarray(r) for r in results]

    abstracts = [Abstract(tuple(x.shape), x.dtype) for x in leaves]
    graph, captured = trace_function(flat, abstracts, name=getattr(function, "__name__", "function"), values=leaves)
    results = bind(REGISTRY["call"], *leaves, *captured, graph=graph, backward=backward)
    return list(results) if isinstance(results, tuple) else [results], made[-1]


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose gradient keeps its arguments alone and computes what lies between again.

    Costs one more evaluation in the backward pass and saves the memory of the function's intermediate results, which is most of
    what training a deep network takes.

    Args:
        function: of arrays, or structures of them.

    Source: Griewank and Walther, Algorithm 799: Revolve (2000); Chen et al., Training Deep Nets with Sublinear Memory Cost
    (arXiv 1604.06174).

    Example:
        >>> import hither as ht
        >>> block = ht.checkpoint(lambda x: ht.sin(ht.sin(x)))
        >>> round(float(ht.grad(block)(0.5)), 3)
        0.779
    """

    @wraps(function)
    def forgetful(*args: Any, **kwargs: Any) -> Any:
        results, structure = _call(lambda *a: function(*a, **kwargs), args, None)
        return unflatten(structure, results)

    return forgetful


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a gradient of one's own.

    Args:
        function: returns (value, pull). `pull(cotangent)` gives the cotangent of its argument, or a tuple with one for each
            argument; it may use whatever the function has computed. For several values it takes several cotangents.

    Example:
        >>> import hither as ht
        >>> @ht.custom_gradient
        ... def clipped(x):
        ...     return x, lambda g: ht.clip(g, -1.0, 1.0)
        >>> float(ht.grad(lambda x: 10 * clipped(x))(3.0))
        1.0
    """

    @wraps(function)
    def with_rule(*args: Any, **kwargs: Any) -> Any:
        count = flatten(args)[1].leaves
        structure = flatten(args)[1]
        name = f"an argument of {getattr(function, '__name__', 'function')}"

        def value(*a: Any) -> Any:
            made = function(*a, **kwargs)
            if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
                raise TypeError(f"custom_gradient: the function returns (value, pull), got {type(made).__name__}")
            return made[0]

        def backward(cotangents: tuple[Any, ...], operands: tuple[Any, ...]) -> tuple[Any, ...]:
            result, pull = function(*unflatten(structure, operands[:count]), **kwargs)
            shapes = flatten(result)[0]
            given = [conjugate_cotangent(_filled(g, r)) for g, r in zip(cotangents, shapes, strict=True)]
            made = pull(*given)
            made = made if isinstance(made, tuple) else (made,)
            found = [
                None if g is None else conjugate_cotangent(fitting_cotangent(asarray(g), x, name))
                for g, x in zip(_leaves(made, args), operands)
            ]
            return (*found, *[None] * (len(operands) - count))

        results, made = _call(value, args, backward)
        return unflatten(made, results)

    return with_rule


def _filled(g: Any, result: Any) -> Any:
    return asarray(result) * 0 if g is None else g


def _leaves(cotangents: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    """One cotangent per array of the arguments; None stands for a whole argument that has none."""
    if len(cotangents) != len(args):
        raise TypeError(f"custom_gradient: pull gives a cotangent for each of {len(args)} arguments, got {len(cotangents)}")
    found: list[Any] = []
    for g, argument in zip(cotangents, args):
        count = flatten(argument)[1].leaves
        leaves = [None] * count if g is None else flatten(g)[0]
        if len(leaves) != count:
            raise TypeError(f"custom_gradient: a cotangent has {len(leaves)} arrays for an argument of {count}")
        found += leaves
    return found
