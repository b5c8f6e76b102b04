"""Complex numbers as pairs of real arrays: what computes with them inside a Graph becomes real arithmetic, on every target.

Targets have no complex dtypes and need none: a transform's spectrum, a phasor, a root is two arrays. A part that is known to
be zero (that of real numbers that were converted) is no array at all, so that the transform of a real signal is two products,
not four. What crosses the border stays complex: a program's inputs and results have the dtypes that its signature says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..dtypes import DType
from ..errors import UnsupportedFeature
from ..graph.core import Abstract, Graph, Node, Value
from ..graph.primitives.rules import apply, full
from ..graph.trace import bind, source, trace_function, weight
from ..ops import elementwise as el
from ..ops.bits import copysign
from ..ops.operands import wide_float
from .inline import inline


@dataclass(frozen=True, eq=False)
class Pair:
    """real + i · imag; without imag a real number in complex company."""

    real: Any
    imag: Any = None

    @property
    def both(self) -> tuple[Any, Any]:
        """Two arrays, with zeros written out."""
        return self.real, full(0, self.real) if self.imag is None else self.imag


Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def _parts(x: Any) -> tuple[Any, Any]:
    return (x.real, x.imag) if isinstance(x, Pair) else (x, None)


def _sum(a: Any, b: Any, sign: int = 1) -> Any:
    """a ± b, where None is zero."""
    if b is None:
        return a
    if a is None:
        return b if sign > 0 else apply("neg", b)
    return apply("add" if sign > 0 else "sub", a, b)


def _times(name: str, a: Any, b: Any, **params: Any) -> Any:
    return None if a is None or b is None else apply(name, a, b, **params)


# -- arithmetic ------------------------------------------------------------------------------------------------------------


@_rule("complex")
def _complex(a: Any, b: Any) -> Pair:
    return Pair(*(wide_float(x)[0] for x in (a, b)))  # complex numbers have no halves


@_rule("convert")
def _convert(x: Any, dtype: DType) -> Any:
    real, imag = _parts(x)
    part = dtype.real
    return Pair(apply("convert", real, dtype=part), None if imag is None else apply("convert", imag, dtype=part))


@_rule("real")
def _real(x: Pair) -> Any:
    return x.real


@_rule("imag")
def _imag(x: Pair) -> Any:
    return x.both[1]


@_rule("conj")
def _conj(x: Pair) -> Pair:
    return Pair(x.real, None if x.imag is None else apply("neg", x.imag))


@_rule("add")
def _add(a: Pair, b: Pair) -> Pair:
    return Pair(_sum(a.real, b.real), _sum(a.imag, b.imag))


@_rule("sub")
def _sub(a: Pair, b: Pair) -> Pair:
    return Pair(_sum(a.real, b.real, -1), _sum(a.imag, b.imag, -1))


@_rule("mul", "matmul")
def _mul(a: Pair, b: Pair, name: str = "mul", dtype: Any = None, **params: Any) -> Pair:
    def product(x: Any, y: Any) -> Any:
        return _times(name, x, y, **params)

    real = _sum(product(a.real, b.real), product(a.imag, b.imag), -1)
    return Pair(real, _sum(product(a.real, b.imag), product(a.imag, b.real)))


@_rule("div")
def _div(a: Pair, b: Pair) -> Pair:
    """(a/s) · conj(b/s) / |b/s|² with s the larger part of b, so that squares neither overflow nor vanish; a/0 part by part."""
    if b.imag is None:
        return Pair(apply("div", a.real, b.real), None if a.imag is None else apply("div", a.imag, b.real))
    size = apply("max", apply("abs", b.real), apply("abs", b.imag))
    none = el.equal(size, 0)
    size = el.where(none, 1, size)
    c, d = el.where(none, 1, apply("div", b.real, size)), apply("div", b.imag, size)
    below = apply("add", apply("mul", b.real, c), apply("mul", b.imag, d))
    made = _mul(a, Pair(c, apply("neg", d)))
    return Pair(apply("div", made.real, below), apply("div", made.imag, below))


@_rule("abs")
def _abs(x: Pair) -> Any:
    return apply("abs", x.real) if x.imag is None else el.hypot(x.real, x.imag)


@_rule("sign")
def _sign(x: Pair) -> Pair:
    size = _abs(x)
    size = el.where(el.equal(size, 0), 1, size)
    return Pair(*(apply("div", part, size) for part in x.both))


@_rule("eq", "ne")
def _compare(a: Pair, b: Pair, name: str = "eq") -> Any:
    real, imag = (apply(name, x, y) for x, y in zip(a.both, b.both, strict=True))
    return apply("bit_and" if name == "eq" else "bit_or", real, imag)


@_rule("select")
def _select(condition: Any, a: Pair, b: Pair) -> Pair:
    parts = [(a.real, b.real)] if a.imag is None and b.imag is None else list(zip(a.both, b.both, strict=True))
    return Pair(*(apply("select", condition, x, y) for x, y in parts))


@_rule("reduce_prod")
def _product(x: Pair, axes: tuple[int, ...]) -> Pair:
    """Halves are multiplied until one element is left along each axis."""
    for axis in axes:
        while (n := x.real.shape[axis]) > 1:
            first, second = (_by_parts("slice", [x], _span(x.real.shape, axis, i, n // 2)) for i in (0, n // 2))
            made = _mul(first, second)
            if n % 2:
                last = _by_parts("slice", [x], _span(x.real.shape, axis, n - 1, 1))
                made = _by_parts("concat", [made, last], {"axis": axis})
            x = made
    shape = tuple(n for a, n in enumerate(x.real.shape) if a not in axes)
    if not all(x.real.shape[a] for a in axes):
        return Pair(full(1, x.real, shape=shape))
    return _by_parts("reshape", [x], {"shape": shape})


@_rule("cumulative")
def _running(x: Pair, axis: int, combine: str, exclusive: bool, reverse: bool) -> Pair:
    """Sums part by part. Products with a neighbour 1, 2, 4, … before: Hillis and Steele, Data Parallel Algorithms, 1986."""
    if combine != "mul":
        return _by_parts("cumulative", [x], {"axis": axis, "combine": combine, "exclusive": exclusive, "reverse": reverse})
    n = x.real.shape[axis]

    def shifted(x: Pair, by: int) -> Pair:
        """Ones, then all but the last elements; from the other end if reversed."""
        by = min(by, n)
        amounts = [tuple(by if a == axis and end == reverse else 0 for a in range(len(x.real.shape))) for end in (False, True)]
        kept = _by_parts("slice", [x], _span(x.real.shape, axis, by if reverse else 0, n - by))
        return _pad(kept, value=1, low=amounts[0], high=amounts[1])

    x = shifted(x, 1) if exclusive else x
    distance = 1
    while distance < n:
        x, distance = _mul(x, shifted(x, distance)), distance * 2
    return x


def _span(shape: tuple[int, ...], axis: int, start: int, size: int) -> dict[str, Any]:
    starts = tuple(start if a == axis else 0 for a in range(len(shape)))
    return {"starts": starts, "sizes": (*shape[:axis], size, *shape[axis + 1 :]), "steps": (1,) * len(shape)}


# -- functions: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.1 to 4.5 --------------------------------------


def _polar(size: Any, angle: Any) -> Pair:
    return Pair(el.multiply(size, el.cos(angle)), el.multiply(size, el.sin(angle)))


@_rule("exp")
def _exp(x: Pair) -> Pair:
    return Pair(el.exp(x.real)) if x.imag is None else _polar(el.exp(x.real), x.imag)


@_rule("expm1")
def _expm1(x: Pair) -> Pair:
    a, b = x.both
    half = el.sin(el.multiply(b, 0.5))
    real = el.subtract(el.multiply(el.expm1(a), el.cos(b)), el.multiply(2.0, el.square(half)))
    return Pair(real, el.multiply(el.exp(a), el.sin(b)))


@_rule("log")
def _log(x: Pair) -> Pair:
    a, b = x.both
    return Pair(el.log(el.hypot(a, b)), el.atan2(b, a))


@_rule("log1p")
def _log1p(x: Pair) -> Pair:
    a, b = x.both
    next_ = el.add(a, 1.0)
    grown = el.add(el.multiply(a, el.add(a, 2.0)), el.square(b))
    size = el.hypot(next_, b)  # of large numbers, whose squares overflow
    return Pair(el.where(el.greater(size, 1e9), el.log(size), el.multiply(el.log1p(grown), 0.5)), el.atan2(b, next_))


@_rule("sqrt")
def _sqrt(x: Pair) -> Pair:
    """t = √((|z| + |a|)/2) is the larger part; b / 2t the other. Kahan: Branch Cuts for Complex Elementary Functions, 1987."""
    a, b = x.both
    larger = el.sqrt(el.multiply(el.add(el.hypot(a, b), el.abs(a)), 0.5))
    smaller = el.divide(el.abs(b), el.where(el.equal(larger, 0), 1, el.multiply(larger, 2.0)))
    right = el.greater_equal(a, 0)
    return Pair(el.where(right, larger, smaller), copysign(el.where(right, smaller, larger), b))


@_rule("rsqrt")
def _rsqrt(x: Pair) -> Pair:
    return _div(Pair(full(1, x.real)), _sqrt(x))


@_rule("sinh")
def _sinh(x: Pair) -> Pair:
    a, b = x.both
    return Pair(el.multiply(el.sinh(a), el.cos(b)), el.multiply(el.cosh(a), el.sin(b)))


@_rule("cosh")
def _cosh(x: Pair) -> Pair:
    a, b = x.both
    return Pair(el.multiply(el.cosh(a), el.cos(b)), el.multiply(el.sinh(a), el.sin(b)))


@_rule("tanh")
def _tanh(x: Pair) -> Pair:
    """(t + i·T) / (1 + i·t·T) with t = tanh a and T = tan b: no exponential that could overflow."""
    a, b = x.both
    t, other = el.tanh(a), el.tan(b)
    return _div(Pair(t, other), Pair(full(1, a), el.multiply(t, other)))


def _turned(x: Pair) -> Pair:
    a, b = x.both
    return Pair(apply("neg", b), a)  # i · x


def _turned_back(x: Pair) -> Pair:
    a, b = x.both
    return Pair(b, apply("neg", a))  # -i · x


@_rule("sin")
def _sin(x: Pair) -> Pair:
    return _turned_back(_sinh(_turned(x)))


@_rule("cos")
def _cos(x: Pair) -> Pair:
    return _cosh(_turned(x))


@_rule("tan")
def _tan(x: Pair) -> Pair:
    return _turned_back(_tanh(_turned(x)))


@_rule("pow")
def _pow(a: Pair, b: Pair) -> Pair:
    """exp(b · log a); 0 to a power with a positive real part is 0, to the power 0 it is 1, else NaN, as in NumPy."""
    made = _exp(_mul(b, _log(a)))
    zero, one, undefined = (Pair(full(v, a.real), i) for v, i in ((0, None), (1, None), (np.nan, full(np.nan, a.real))))
    limit = _select(_compare(b, zero), one, _select(el.greater(b.real, 0), zero, undefined))
    return _select(_compare(a, zero), limit, made)


# -- what treats both parts alike ------------------------------------------------------------------------------------------

LINEAR = {
    "barrier", "broadcast", "concat", "dynamic_slice", "dynamic_update_slice", "gather_nd", "neg", "reduce_sum", "reshape",
    "round", "slice", "take", "take_along", "transpose",
}  # fmt: skip
ADDING = {"scatter_along": ("set", "add"), "scatter_nd": ("set", "add")}  # with these, they too


def _by_parts(name: str, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    pairs = [x for x in operands if isinstance(x, Pair)]
    real = apply(name, *(x.real if isinstance(x, Pair) else x for x in operands), **params)
    if all(p.imag is None for p in pairs):
        return Pair(real)
    return Pair(real, apply(name, *(x.both[1] if isinstance(x, Pair) else x for x in operands), **params))


@_rule("pad")
def _pad(x: Pair, value: Any = 0, **params: Any) -> Pair:
    value = complex(value)
    real = apply("pad", x.real, value=value.real, **params)
    if x.imag is None and not value.imag:
        return Pair(real)
    return Pair(real, apply("pad", x.both[1], value=value.imag, **params))


def _applied(node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
    name, params = node.primitive.name, dict(node.params)
    if name in ("cond", "while_loop"):
        return _control(node, operands)
    if not any(isinstance(x, Pair) for x in operands) and not any(v.dtype.kind == "c" for v in node.results):
        made = bind(node.primitive, *operands, **params)
        return made if isinstance(made, tuple) else (made,)
    if name in LINEAR or params.get("combine", "") in ADDING.get(name, ()):
        return (_by_parts(name, operands, params),)
    if name not in RULES:
        raise UnsupportedFeature(f"{node.source or name}: {name} of complex numbers has no rule in real ones; call it on NumPy")
    if name in ("matmul", "eq", "ne"):
        params["name"] = name
    return (RULES[name](*operands, **params),)


# -- bodies of branches and loops ------------------------------------------------------------------------------------------


def _flat(values: Sequence[Any]) -> list[Any]:
    return [part for x in values for part in (x.both if isinstance(x, Pair) else (x,))]


def _paired(parts: Sequence[Any], like: Sequence[Value]) -> tuple[Any, ...]:
    given = iter(parts)
    return tuple(Pair(next(given), next(given)) if v.dtype.kind == "c" else next(given) for v in like)


def _abstracts(values: Sequence[Value]) -> list[Abstract]:
    return [Abstract(v.shape, v.dtype.real) for v in values for _ in range(2 if v.dtype.kind == "c" else 1)]


def _body(graph: Graph) -> Graph:
    graph = inline(graph)

    def run(*parts: Any) -> list[Any]:
        return _flat(_run(graph, _paired(parts, graph.inputs)))

    return trace_function(run, _abstracts(graph.inputs), name=graph.name)[0]


def _control(node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
    params = {k: _body(v) if isinstance(v, Graph) and _is_complex(v) else v for k, v in node.params.items()}
    if "carried" in params:
        params["carried"] = len(_abstracts(node.operands[: node.params["carried"]]))
    made = bind(node.primitive, *_flat(operands), **params)
    return _paired(made if isinstance(made, tuple) else (made,), node.results)


def _is_complex(graph: Graph) -> bool:
    values = [*graph.inputs, *graph.constants, *(r for n in graph.nodes for r in n.results)]
    inner = (p for n in graph.nodes for p in n.params.values() if isinstance(p, Graph))
    return any(v.dtype.kind == "c" for v in values) or any(map(_is_complex, inner))


def _run(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    env: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for value, array in graph.constants.items():
        if value.dtype.kind != "c":
            env[value] = weight(array, value.name)
        else:
            parts = [array.real] if not array.imag.any() else [array.real, array.imag]
            env[value] = Pair(*(weight(p.copy(), value.name and f"{value.name}.{n}") for p, n in zip(parts, ("real", "imag"))))
    for node in graph.nodes:
        with source(node.source):
            env.update(zip(node.results, _applied(node, [env[o] for o in node.operands]), strict=True))
    return [env[v] for v in graph.outputs]


def real_pairs(graph: Graph) -> Graph:
    """A Graph of real numbers; only complex inputs and outputs are taken apart and put together at its border.

    Raises:
        UnsupportedFeature: for an operation that has no rule here (inverse trigonometric functions).
    """
    if not _is_complex(graph):
        return graph

    def run(*given: Any) -> list[Any]:
        inputs = [Pair(apply("real", x), apply("imag", x)) if x.dtype.kind == "c" else x for x in given]
        return [apply("complex", *x.both) if isinstance(x, Pair) else x for x in _run(graph, inputs)]

    names = graph.input_names or ("",) * len(graph.inputs)
    made, _ = trace_function(run, [v.abstract for v in graph.inputs], names, graph.name)
    return replace(made, output_names=graph.output_names, input_names=graph.input_names)
