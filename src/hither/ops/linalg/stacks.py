"""What factorisations share: matrices as one stack [B, m, n] in a dtype to compute in, columns and rows at traced places, and
results whose gradient is a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ... import dtypes as dt
from ...dtypes import DType
from ...graph.core import Abstract, Graph
from ...graph.trace import trace_function
from .. import elementwise as el
from ..indexing import dynamic_slice
from ..operands import Like, apply, asarray, is_traced, wide_float
from ..shape import concat, expand_dims, matrix_transpose, reshape


@lru_cache(maxsize=256)
def _graph(function: Callable[..., Any], abstracts: tuple[Abstract, ...], static: tuple[tuple[str, Any], ...]) -> Graph:
    def run(*xs: Any) -> Sequence[Any]:
        made = function(*xs, **dict(static))
        return made if isinstance(made, tuple) else (made,)

    return trace_function(run, abstracts, name=function.__name__)[0]


def staged(function: Callable[..., Any], *xs: Any, **static: Any) -> Any:
    """`function(*xs, **static)`. Of concrete arrays as a Graph, kept and computed as one where the arrays are: its loops go
    round some hundred times, and every step that is called by itself costs more than what it computes."""
    if is_traced(*xs):
        return function(*xs, **static)
    graph = _graph(function, tuple(Abstract(tuple(x.shape), x.dtype) for x in xs), tuple(sorted(static.items())))
    return apply("call", *xs, graph=graph)


Rule = Callable[[Sequence[Any], Any, Sequence[Any]], Any]  # (cotangents, x, results) → cotangent of x


def stack_of(name: str, x: Like, square: bool = False) -> tuple[Any, tuple[int, ...], DType]:
    """[B, m, n] of at least 32 bits, the axes before the matrices, and the dtype of results.

    Raises:
        ValueError: for what is no stack of (with `square`, square) matrices.
    """
    x = asarray(x)
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ValueError(f"{name} takes {'square ' if square else ''}matrices in the last two axes, got shape {tuple(x.shape)}")
    wide, back = wide_float(x)
    *lead, m, n = wide.shape
    return reshape(wide, (math.prod(lead), m, n)), tuple(lead), back


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return el.conj(matrix_transpose(x)) if x.dtype.kind == "c" else matrix_transpose(x)


def column(x: Any, k: Any) -> Any:
    """Column k of each matrix: [B, m]."""
    batch, m, _ = x.shape
    return reshape(dynamic_slice(x, _start(k, 2), (batch, m, 1)), (batch, m))


def row(x: Any, k: Any) -> Any:
    """Row k of each matrix: [B, n]."""
    batch, _, n = x.shape
    return reshape(dynamic_slice(x, _start(k, 1), (batch, 1, n)), (batch, n))


def _start(k: Any, axis: int) -> Any:
    zero = asarray(0)
    return concat([expand_dims(asarray(k, dtype=dt.int32) if a == axis else zero) for a in range(3)])


def nonzero(x: Any) -> Any:
    """x with ones for zeros: a divisor where the quotient is not used."""
    return el.where(el.equal(x, 0), 1, x)


def ruled(results: Sequence[Any], x: Any, rule: Rule) -> tuple[Any, ...]:
    """`results` of x, whose gradient by x is the rule's and not that of how they were computed.

    They are operands of the call, so that nothing is computed twice; the rule sees them as what x gives, again by the rule, so
    that it can be differentiated too. Cotangents are those of gradient rules (linear, without conjugates).
    """
    if not is_traced(x, *results):
        return tuple(results)
    values = [x, *results]
    graph, _ = trace_function(lambda x, *made: made, [Abstract(tuple(v.shape), v.dtype) for v in values], name="ruled")

    def backward(cotangents: Sequence[Any], operands: Sequence[Any]) -> tuple[Any, ...]:
        x, *made = operands
        given = [None if g is None else el.conj(g) for g in cotangents]
        return (el.conj(rule(given, x, ruled(made, x, rule))), *(None for _ in made))

    made = apply("call", *values, graph=graph, backward=backward)
    return made if isinstance(made, tuple) else (made,)
