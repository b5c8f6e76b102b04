"""Reverse-mode differentiation: grad, value_and_grad, vjp, and with vmap jacobian and hessian.

A function is traced into a Graph, the Graph is run forwards, and from its outputs backwards each primitive's rule turns the
cotangents of its results into those of its operands (graph/pullback.py). The rules are written with primitives, so a gradient
can be differentiated, mapped and compiled like any function.

By a complex number z = a + bi the gradient is (d/da) + i (d/db), the direction of steepest ascent. Rules do not see this: they
are the transposes of linear maps, without conjugates, as for real numbers, so cotangents are conjugated on the way in and out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..array import Array
from ..graph.core import Abstract
from ..graph.pullback import linearize
from ..graph.trace import Tracer, trace_function
from ..graph.tree import Structure, flatten, tree_map, unflatten
from ..ops import asarray, broadcast_to, conj, reshape
from .vmap import vmap

Argnums = int | Sequence[int]


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of a function, and the function that pulls cotangents back through it (vector-Jacobian product).

    Args:
        function: of arrays, or nested lists, tuples and dicts of them.
        *primals: where to differentiate it.
        has_aux: whether it returns (value, anything else); the rest is handed through.

    Returns:
        (value, pull) or (value, pull, aux). `pull(cotangent)`, for a cotangent like the value, gives one like each primal, in
        a tuple. Integer arrays get zeros.

    Example:
        >>> import hither as ht
        >>> y, pull = ht.vjp(lambda a, b: a * b, 2.0, 5.0)
        >>> [float(g) for g in pull(1.0)]
        [5.0, 2.0]
    """
    primals = tree_map(asarray, primals)
    leaves, structure = flatten(primals)
    value_structure: Any = None
    aux: list[tuple[list[Any], Structure]] = []  # its leaves, and their structure

    def flat(*tracers: Any) -> list[Any]:
        nonlocal value_structure
        value = function(*unflatten(structure, tracers))
        if has_aux:
            if not isinstance(value, tuple) or len(value) != 2:
                raise TypeError(f"has_aux=True: the function returns (value, aux), got a {type(value).__name__}")
            value, rest = value
            aux.append(flatten(rest))
        results, value_structure = flatten(value)
        extra = filter(_is_array, aux[-1][0]) if has_aux else ()
        return [*map(asarray, results), *extra]

    abstracts = [Abstract(tuple(x.shape), x.dtype) for x in leaves]
    name = getattr(function, "__name__", "function")
    graph, captured = trace_function(flat, abstracts, name=name, values=leaves)
    results, pull = linearize(graph, [*leaves, *captured])
    count = value_structure.leaves

    def pulled(cotangent: Any) -> Any:
        given, shape = flatten(tree_map(asarray, cotangent))
        if shape.leaves != count:
            raise TypeError(f"the cotangent of {name} has {shape.leaves} arrays; its value has {count}")
        fitting = [conjugate_cotangent(fitting_cotangent(g, r, f"the value of {name}")) for g, r in zip(given, results)]
        made = pull([*fitting, *[None] * (len(results) - count)])[: len(leaves)]
        return unflatten(structure, [_zeros(x) if g is None else conjugate_cotangent(g) for g, x in zip(made, leaves)])

    value = unflatten(value_structure, results[:count])
    if not has_aux:
        return value, pulled
    arrays = iter(results[count:])
    rest, rest_structure = aux[-1]
    return value, pulled, unflatten(rest_structure, [next(arrays) if _is_array(x) else x for x in rest])


def value_and_grad(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the value of `function` and its gradient.

    Args:
        function: returns one number, a float array of shape (); with has_aux a pair (that, anything else).
        argnums: which argument, or which in a tuple, to differentiate by: arrays, or structures of arrays.
        has_aux: whether `function` returns something beside the value.

    Returns:
        A function with the same arguments that returns (value, gradient), or ((value, aux), gradient). The gradient is
        structured like the argument; a tuple for several.

    Raises:
        TypeError: from that function, if the value is no float of shape (), or an argument is no float or complex array.

    Example:
        >>> import hither as ht
        >>> f = ht.value_and_grad(lambda x: ht.sum(x ** 2))
        >>> value, gradient = f(ht.asarray([1.0, -3.0]))
        >>> float(value), gradient.numpy().tolist()
        (10.0, [2.0, -6.0])
    """

    @wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        of_chosen, primals = _chosen(function, argnums, args, kwargs)
        value, pull, *aux = vjp(of_chosen, *primals, has_aux=has_aux)
        if not hasattr(value, "shape") or tuple(value.shape) or value.dtype.kind != "f":
            shown = f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
            raise TypeError(
                f"grad differentiates functions that return one float, got {shown}; take a sum or mean, or use jacobian or vjp"
            )
        gradient = pull(asarray(1, dtype=value.dtype))
        gradient = gradient[0] if isinstance(argnums, int) else gradient
        return ((value, aux[0]) if has_aux else value), gradient

    return differentiated


def grad(function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `function`, or (gradient, aux). Arguments as for `value_and_grad`.

    Example:
        >>> import hither as ht
        >>> float(ht.grad(lambda x: x ** 3)(2.0)), float(ht.grad(ht.grad(lambda x: x ** 3))(2.0))
        (12.0, 12.0)
    """
    both = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, made = both(*args, **kwargs)
        return (made, value[1]) if has_aux else made

    return gradient


def jacobian(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the derivative of every element of the value by every element of the arguments.

    Args:
        function: returns a float array, or a structure of them.
        argnums: which argument, or which in a tuple, to differentiate by.

    Returns:
        A function whose result is structured like the value, each array of it like the argument, with the shape
        `value.shape + argument.shape`.

    Example:
        >>> import hither as ht
        >>> ht.jacobian(lambda x: x ** 2)(ht.asarray([1.0, 3.0])).numpy().tolist()
        [[2.0, 0.0], [0.0, 6.0]]
    """

    @wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        of_chosen, primals = _chosen(function, argnums, args, kwargs)
        value, pull = vjp(of_chosen, *primals)
        results, structure = flatten(value)
        rows = []
        for i, result in enumerate(results):
            if result.dtype.kind != "f":
                raise TypeError(f"jacobian differentiates float values, got {result.dtype}")

            def row(one: Any, i: int = i) -> Any:
                given = [one if j == i else _zeros(r) for j, r in enumerate(results)]
                return pull(unflatten(structure, given))

            basis = np.eye(result.size, dtype=result.dtype.numpy).reshape(result.size, *result.shape)
            made = vmap(row)(asarray(basis))
            made = tree_map(lambda g, shape=tuple(result.shape): reshape(g, (*shape, *g.shape[1:])), made)
            rows.append(made[0] if isinstance(argnums, int) else made)
        return unflatten(structure, rows)

    return differentiated


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of one that returns one float.

    Example:
        >>> import hither as ht
        >>> ht.hessian(lambda x: x[0] ** 2 * x[1])(ht.asarray([1.0, 2.0])).numpy().tolist()
        [[4.0, 2.0], [2.0, 0.0]]
    """
    return jacobian(grad(function, argnums), argnums)


def _chosen(
    function: Callable[..., Any], argnums: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], list[Any]]:
    """A call as a function of the arguments to differentiate by, and those arguments."""
    args, kwargs = _by_position(function, args, kwargs)
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    places = [_place(i, len(args)) for i in numbers]
    if len(set(places)) != len(places):
        raise ValueError(f"argnums {tuple(numbers)} name an argument twice")
    primals = [args[i] for i in places]
    for i, primal in zip(numbers, primals):
        _require_floats(f"argument {i}", primal)

    def of_chosen(*values: Any) -> Any:
        filled = list(args)
        for i, value in zip(places, values):
            filled[i] = value
        return function(*filled, **kwargs)

    return of_chosen, primals


def _by_position(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments given by name at their positions, which `argnums` counts."""
    if not kwargs:
        return args, kwargs
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except ValueError:  # a builtin that does not say what it takes
        return args, kwargs
    return bound.args, bound.kwargs


def _place(argnum: int, count: int) -> int:
    if not -count <= argnum < count:
        raise ValueError(f"argnums names argument {argnum}; the function was called with {count} positional arguments")
    return argnum % count


def _require_floats(what: str, value: Any) -> None:
    for leaf in flatten(value)[0]:
        x = leaf if isinstance(leaf, Array | Tracer) else asarray(leaf)
        if x.dtype.kind not in "fc":
            raise TypeError(
                f"{what} holds {x.dtype}, by which nothing is differentiated; convert it to float32, or leave it out of argnums"
            )


def _is_array(x: Any) -> bool:
    return isinstance(x, Array | Tracer | np.ndarray)


def fitting_cotangent(g: Any, like: Any, what: str) -> Any:
    """A cotangent of something in its dtype.

    Raises:
        ValueError: it has another shape.
    """
    if tuple(g.shape) != tuple(like.shape):
        raise ValueError(f"a cotangent of shape {tuple(g.shape)} for {what}, which has shape {tuple(like.shape)}")
    return g if g.dtype == like.dtype else g.astype(like.dtype)


def conjugate_cotangent(g: Any) -> Any:
    """A cotangent between users' convention and that of primitives' rules; the same either way."""
    return conj(g) if g.dtype.kind == "c" else g


def _zeros(x: Any) -> Any:
    zero = asarray(np.zeros((), x.dtype.numpy))
    return broadcast_to(zero, tuple(x.shape)) if x.shape else zero
