"""What ONNX has one operator for and a Graph computes with several primitives: found here, and written as that operator.

Other runtimes have fast kernels for a convolution with bias, a softmax, a clip, and none for their parts. Composites are looked
for from the results backwards, so that the largest wins; nodes within one must be read by nothing outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....graph.core import Graph, Node, Value

MOST_COMPARED = 1 << 16  # elements of a constant that are looked at


@dataclass(frozen=True)
class Composite:
    """One operator in place of `inner`: `write(writer, *operand names)` gives the name of its result."""

    operands: tuple[Value, ...]
    inner: tuple[Node, ...]
    write: Callable[..., str]


Pattern = Callable[["Found", Node], Composite | None]
PATTERNS: dict[str, list[Pattern]] = {}


def pattern(*names: str) -> Callable[[Pattern], Pattern]:
    """Register a composite whose last primitive is one of these."""

    def register(function: Pattern) -> Pattern:
        for name in names:
            PATTERNS.setdefault(name, []).append(function)
        return function

    return register


class Found:
    """A Graph as patterns look at it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made = graph.producers()
        self.users = graph.users()
        self.outputs = frozenset(graph.outputs)

    def plan(self) -> tuple[list[Node], dict[int, Composite]]:
        """The nodes to write, in order, and by id those of them that end a composite."""
        needed, kept, composites = set(self.outputs), [], {}
        for node in reversed(self.graph.nodes):
            if not any(r in needed for r in node.results):
                continue
            kept.append(node)
            composite = self.match(node)
            if composite is not None:
                composites[id(node)] = composite
            needed.update(node.operands if composite is None else composite.operands)
        return kept[::-1], composites

    def match(self, node: Node) -> Composite | None:
        """The composite that a node is the last of."""
        for candidate in PATTERNS.get(node.primitive.name, ()):
            found = candidate(self, node)
            if found is not None and self._enclosed(node, found.inner):
                return found
        return None

    def _enclosed(self, last: Node, inner: Iterable[Node]) -> bool:
        within = {id(last), *map(id, inner)}
        return all(
            result not in self.outputs and all(id(user) in within for user in self.users.get(result, ()))
            for node in inner
            for result in node.results
        )

    def node(self, value: Value, *names: str) -> Node | None:
        """The node that makes a value, if it is one of these primitives."""
        node = self.made.get(value)
        return node if node is not None and node.primitive.name in names else None

    def known(self, value: Value) -> np.ndarray | None:
        """A constant that broadcasts to the value, literals as small as they can be said; None if it is not constant."""
        spread = self.node(value, "broadcast")
        array = self.graph.constants.get(value if spread is None else spread.operands[0])
        if array is None:
            return None
        if spread is not None:
            array = array.reshape(lined(spread))
        if array.size <= MOST_COMPARED and not self.named(value):
            for axis in range(array.ndim):
                first = array.take([0], axis) if array.shape[axis] > 1 else array
                if np.array_equal(np.broadcast_to(first, array.shape), array):
                    array = first
        return without_leading_ones(array)

    def named(self, value: Value) -> str:
        """The name of the weight that a constant is or is spread from."""
        spread = self.node(value, "broadcast")
        return (value if spread is None else spread.operands[0]).name

    def number(self, value: Value) -> float | None:
        """The number that all elements of a constant are."""
        array = self.known(value)
        return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiu" else None

    def either(self, node: Node, *names: str) -> Iterable[tuple[Value, Node]]:
        """(the other operand, the node that makes this one) of a commutative node, both ways round."""
        for this, other in ((0, 1), (1, 0)):
            found = self.node(node.operands[this], *names)
            if found is not None:
                yield node.operands[other], found

    def scaled(self, node: Node | None, name: str = "mul") -> Iterable[tuple[Value, float]]:
        """(the operand, the number) of an operation with a number."""
        if node is None or node.primitive.name != name:
            return
        for this, other in ((0, 1), (1, 0)):
            number = self.number(node.operands[other])
            if number is not None:
                yield node.operands[this], number

    def folded(self, value: Value, axes: tuple[int, ...], shape: Sequence[int]) -> tuple[Value, list[Node]]:
        """What a value is before its folded axes were put back and broadcast to `shape`; and the nodes that do so."""
        kept, path = [n for i, n in enumerate(shape) if i not in axes], []
        spread = self.node(value, "broadcast")
        if spread is not None and tuple(spread.results[0].shape) == tuple(shape):
            source = spread.operands[0]
            if spread.params["axes"] == tuple(i for i in range(len(shape)) if i not in axes):
                return source, [spread]
            if spread.params["axes"] == tuple(range(len(shape))):
                value, path = source, [spread]
        again = self.node(value, "reshape")
        if again is not None and list(again.operands[0].shape) == kept and list(value.shape) == restored(shape, axes):
            return again.operands[0], [*path, again]
        return value, path


def lined(spread: Node) -> list[int]:
    """The shape of a broadcast's operand with an axis of one where it is repeated."""
    shape, axes = spread.params["shape"], spread.params["axes"]
    return [spread.operands[0].shape[axes.index(i)] if i in axes else 1 for i in range(len(shape))]


def without_leading_ones(array: np.ndarray) -> np.ndarray:
    """The same for everything that broadcasts."""
    return array.reshape(array.shape[next((i for i, n in enumerate(array.shape) if n != 1), array.ndim) :])


def restored(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """A shape with the folded axes as ones."""
    return [1 if i in axes else n for i, n in enumerate(shape)]


# -- convolutions ------------------------------------------------------------------------------------------------------------


@pattern("add")
def convolution_with_bias(f: Found, node: Node) -> Composite | None:
    from .rules_nets import convolution

    for other, conv in f.either(node, "conv", "conv_transpose"):
        bias, rank = f.known(other), len(node.results[0].shape)
        axis = 1 if conv.params["layout"] == "channels_first" else rank - 1
        channels = node.results[0].shape[axis]
        if bias is None or conv.results[0].dtype.kind != "f" or conv.results[0].shape != node.results[0].shape:
            continue
        whole = bias.reshape((1,) * (rank - bias.ndim) + bias.shape)
        if bias.size != 1 and whole.shape != tuple(channels if i == axis else 1 for i in range(rank)):
            continue
        name = f.named(other)
        vector = np.broadcast_to(bias.reshape(-1), (channels,))
        return Composite(
            conv.operands, (conv,), lambda w, x, k, c=conv, v=vector, n=name: convolution(w, c, x, k, w.weight(v, n))
        )
    return None


@pattern("conv", "matmul")
def product_of_bytes(f: Found, node: Node) -> Composite | None:
    """An int32 product of (8-bit integers - zero point): ONNX's integer products take the zero points."""
    from .rules_nets import convolution, matmul

    if node.results[0].dtype.name != "int32":
        return None
    parts = [p for p in (_less_zero_point(f, o) for o in node.operands) if p is not None]
    if len(parts) < 2 or all(zero is None and isinstance(narrow, Value) for narrow, zero in parts):
        return None
    operands = [v for v in (*(narrow for narrow, _ in parts), *(zero for _, zero in parts)) if isinstance(v, Value)]

    def write(w: Any, *names: str) -> str:
        given = iter(names)
        factors = [next(given) if isinstance(v, Value) else w.const(v, v.dtype) for v, _ in parts]
        kinds = [v.dtype.numpy if isinstance(v, Value) else v.dtype for v, _ in parts]
        points = [next(given) if isinstance(z, Value) else w.const(z or 0, k) for (_, z), k in zip(parts, kinds)]
        return str((convolution if node.primitive.name == "conv" else matmul)(w, node, *factors, zero_points=points))

    return Composite(tuple(operands), (), write)


def _less_zero_point(f: Found, value: Value) -> tuple[Any, Value | int | None] | None:
    """(8-bit value, zero point) of a value that is their difference in int32.

    The 8-bit value is an array where it is constant and wide in the Graph; the zero point is a number or a scalar's Value.
    """
    if value.dtype.name in ("int8", "uint8"):
        return value, None
    array = f.graph.constants.get(value)
    if array is not None:
        zero = max(0, -int(array.min(initial=0)))
        narrow = (array + zero).astype(np.uint8)
        return (narrow, zero) if zero < 256 and np.array_equal(narrow, array + zero) else None
    less = f.node(value, "sub")
    wide = f.node(value if less is None else less.operands[0], "convert")
    if wide is None or wide.operands[0].dtype.name not in ("int8", "uint8"):
        return None
    source = wide.operands[0]
    if less is None:
        return source, None
    number = f.number(less.operands[1])
    if number is not None:
        limits = np.iinfo(source.dtype.numpy)
        return (source, int(number)) if limits.min <= number <= limits.max else None
    spread = f.node(less.operands[1], "broadcast")
    point = f.node(less.operands[1] if spread is None else spread.operands[0], "convert")
    if point is None or point.operands[0].shape != () or point.operands[0].dtype is not source.dtype:
        return None
    return source, point.operands[0]


@pattern("mul")
def mean_of_windows(f: Found, node: Node) -> Composite | None:
    from .rules_nets import average_pool

    for value, factor in f.scaled(node):
        pool = f.node(value, "pool")
        if (
            pool is not None
            and pool.params["combine"] == "add"
            and pool.results[0].dtype.kind == "f"
            and all(d == 1 for d in pool.params["dilation"])
            and math.isclose(factor * math.prod(pool.params["window"]), 1, rel_tol=1e-6)
        ):
            return Composite(pool.operands, (pool,), lambda w, x, p=pool: average_pool(w, p, x))
    return None


# -- activations -------------------------------------------------------------------------------------------------------------


def _limits(f: Found, node: Node) -> tuple[Value, float, float, tuple[Node, ...]] | None:
    """(what is limited, lower, upper, inner nodes) of a chain of max and min with numbers."""
    for value, number in f.scaled(node, "min"):
        for inner, low in f.scaled(f.node(value, "max"), "max"):
            return (inner, low, number, (f.made[value],)) if low <= number else None
        return value, -math.inf, number, ()
    for value, number in f.scaled(node, "max"):
        for inner, high in f.scaled(f.node(value, "min"), "min"):
            return (inner, number, high, (f.made[value],)) if number <= high else None
        return value, number, math.inf, ()
    return None


def _is_float(node: Node) -> bool:
    return node.results[0].dtype.name in ("float32", "float64")


@pattern("max", "min")
def clip(f: Found, node: Node) -> Composite | None:
    """Relu, HardSigmoid, Clip."""
    found = _limits(f, node) if _is_float(node) else None
    if found is None:
        return None
    x, low, high, inner = found
    kind = node.results[0].dtype
    if (low, high) == (0, math.inf):
        return Composite((x,), inner, lambda w, a: w.op("Relu", a))
    if (low, high) == (0, 1):
        line = _line(f, x)
        if line is not None:
            source, alpha, beta, more = line
            whole = Composite(
                (source,), (*inner, *more), lambda w, a, p=(alpha, beta): w.op("HardSigmoid", a, alpha=p[0], beta=p[1])
            )
            if f._enclosed(node, whole.inner):
                return whole

    def write(w: Any, a: str) -> str:
        ends = [w.number(v, kind) if math.isfinite(v) else "" for v in (low, high)]
        return str(w.op("Clip", a, *(ends if ends[1] else ends[:1])))

    return Composite((x,), inner, write)


def _line(f: Found, value: Value) -> tuple[Value, float, float, tuple[Node, ...]] | None:
    """(x, alpha, beta, inner nodes) of alpha · x + beta."""
    added = f.node(value, "add")
    for scaled, beta in f.scaled(added, "add"):
        multiplied = f.node(scaled, "mul")
        for x, alpha in f.scaled(multiplied):
            return x, alpha, beta, (f.made[value], f.made[scaled])
    return None


@pattern("mul", "div")
def hard_swish(f: Found, node: Node) -> Composite | None:
    """x · (x / 6 + 1/2 limited to 0 … 1), and x · (x + 3 limited to 0 … 6) / 6 with the division in any place."""
    if not _is_float(node):
        return None
    for x, gate in f.either(node, "max", "min") if node.primitive.name == "mul" else ():
        limits = _limits(f, gate)
        if limits is None or limits[1:3] != (0, 1):
            continue
        line = _line(f, limits[0])
        if line and line[0] is x and math.isclose(line[1], 1 / 6, rel_tol=1e-6) and line[2] == 0.5:
            return Composite((x,), (gate, *limits[3], *line[3]), lambda w, a: w.op("HardSwish", a))
    for value in _sixth(f, node):
        product = f.node(value, "mul")
        for x, gate in f.either(product, "max", "min") if product is not None else ():
            found = _six(f, x, gate)
            if product is not None and found:
                return Composite((x,), (product, *found), lambda w, a: w.op("HardSwish", a))
    for x, scaled in f.either(node, "mul", "div") if node.primitive.name == "mul" else ():
        for value in _sixth(f, scaled):
            limited = f.node(value, "max", "min")
            found = () if limited is None else _six(f, x, limited)
            if found:
                return Composite((x,), (scaled, *found), lambda w, a: w.op("HardSwish", a))
    return None


def _sixth(f: Found, node: Node) -> Iterable[Value]:
    """What a node takes a sixth of."""
    if node.primitive.name == "div":
        if f.number(node.operands[1]) == 6:
            yield node.operands[0]
        return
    for value, number in f.scaled(node):
        if math.isclose(number, 1 / 6, rel_tol=1e-6):
            yield value


def _six(f: Found, x: Value, gate: Node) -> tuple[Node, ...]:
    """The nodes of x + 3 limited to 0 … 6; none if it is something else."""
    limits = _limits(f, gate)
    if limits is None or limits[1:3] != (0, 6):
        return ()
    for source, three in f.scaled(f.node(limits[0], "add"), "add"):
        if source is x and three == 3:
            return (gate, *limits[3], f.made[limits[0]])
    return ()


@pattern("select")
def leaky_relu(f: Found, node: Node) -> Composite | None:
    """x where it is not negative, else a multiple: by a number LeakyRelu, by a constant per channel PRelu."""
    negative, scaled, x = node.operands
    below, product = f.node(negative, "lt"), f.node(scaled, "mul")
    if not _is_float(node) or below is None or product is None or below.operands[0] is not x:
        return None
    if f.number(below.operands[1]) != 0 or x not in product.operands:
        return None
    other = product.operands[1] if product.operands[0] is x else product.operands[0]
    slope, inner = f.known(other), (below, product)
    if slope is None:
        return None
    if slope.size == 1:
        alpha = float(slope.reshape(()))
        return Composite((x,), inner, lambda w, a: w.op("LeakyRelu", a, alpha=alpha))
    name = f.named(other)
    return Composite((x,), inner, lambda w, a: w.op("PRelu", a, w.weight(slope, name)))


# -- reductions --------------------------------------------------------------------------------------------------------------


def _mean(f: Found, value: Value) -> tuple[Value, tuple[int, ...], tuple[Node, ...]] | None:
    """(x, axes, nodes) of a mean, its axes kept or not."""
    for scaled, factor in f.scaled(f.node(value, "mul")):
        again = f.node(scaled, "reshape")
        total = f.node(scaled if again is None else again.operands[0], "reduce_sum")
        if total is None or not _is_float(total):
            continue
        x, axes = total.operands[0], total.params["axes"]
        count = math.prod(x.shape[a] for a in axes)
        if axes and math.isclose(factor * count, 1, rel_tol=1e-6):
            return x, tuple(axes), (f.made[value], *([] if again is None else [again]), total)
    return None


@pattern("mul")
def mean(f: Found, node: Node) -> Composite | None:
    found = _mean(f, node.results[0])
    if found is None:
        return None
    x, axes, nodes = found
    kept = list(node.results[0].shape) == restored(x.shape, axes)

    def write(w: Any, a: str) -> str:
        made = w.op("ReduceMean", a, w.const(list(axes)), keepdims=int(kept))
        plain = [n for i, n in enumerate(x.shape) if i not in axes]
        return str(made if kept or plain == list(node.results[0].shape) else w.reshape(made, node.results[0].shape))

    return Composite((x,), nodes[1:], write)


@pattern("div")
def softmax(f: Found, node: Node) -> Composite | None:
    """exp(x - max(x)) over its sum."""
    exps = f.node(node.operands[0], "exp")
    apart = exps and f.node(exps.operands[0], "sub")
    if exps is None or apart is None or not _is_float(node):
        return None
    x, shape = apart.operands[0], node.results[0].shape
    for axis in range(len(shape)):
        total, outer = f.folded(node.operands[1], (axis,), shape)
        most, inner = f.folded(apart.operands[1], (axis,), shape)
        summed, largest = f.node(total, "reduce_sum"), f.node(most, "reduce_max")
        if summed is None or largest is None or (summed.params["axes"], largest.params["axes"]) != ((axis,), (axis,)):
            continue
        if summed.operands[0] is exps.results[0] and largest.operands[0] is x and x.shape == shape:
            nodes = (exps, apart, summed, largest, *outer, *inner)
            return Composite((x,), nodes, lambda w, a, i=axis: w.op("Softmax", a, axis=i))
    return None


def _standardized(f: Found, value: Value) -> tuple[Value, tuple[int, ...], float, tuple[Node, ...]] | None:
    """(x, axes, epsilon, nodes) of (x - mean) / √(variance + epsilon)."""
    node = f.node(value, "mul", "div")
    if node is None or not _is_float(node):
        return None
    root, ways = ("sqrt", ((0, 1),)) if node.primitive.name == "div" else ("rsqrt", ((0, 1), (1, 0)))
    for this, other in ways:
        apart = f.node(node.operands[this], "sub")
        if apart is None:
            continue
        x = apart.operands[0]
        low = f.node(apart.operands[1], "broadcast")
        centre = _mean(f, apart.operands[1] if low is None else low.operands[0])
        if centre is None or centre[0] is not x:
            continue
        up = f.node(node.operands[other], "broadcast")
        deviation = f.node(node.operands[other] if up is None else up.operands[0], root)
        for variance, epsilon in f.scaled(deviation and f.node(deviation.operands[0], "add"), "add"):
            power = _mean(f, variance)
            squared = f.node(power[0], "mul") if power else None
            if power is None or squared is None or deviation is None or power[1] != centre[1]:
                continue
            if squared.operands == (apart.results[0], apart.results[0]) and list(variance.shape) == restored(x.shape, power[1]):
                spread = [n for n in (low, up) if n is not None]
                inner = (apart, *centre[2], *spread, deviation, f.made[deviation.operands[0]], *power[2], squared)
                return x, centre[1], epsilon, (node, *inner)
    return None


@pattern("add", "mul")
def layer_norm(f: Found, node: Node) -> Composite | None:
    """(x - mean) / √(variance + epsilon) · scale + bias over the last axes."""
    shift: Value | None = None
    scaled: Node | None = node
    if node.primitive.name == "add":
        for other, product in f.either(node, "mul"):
            if f.known(other) is not None:
                shift, scaled = other, product
        if shift is None:
            return None
    assert scaled is not None
    for a, b in ((0, 1), (1, 0)):
        factor = f.known(scaled.operands[b])
        found = _standardized(f, scaled.operands[a])
        if factor is None or found is None:
            continue
        x, axes, epsilon, nodes = found
        rank = len(x.shape)
        inside = [x.shape[a] for a in axes]
        parts = [(factor, scaled.operands[b]), *([] if shift is None else [(f.known(shift), shift)])]
        if axes != tuple(range(rank - len(axes), rank)) or any(a is None or a.ndim > len(axes) for a, _ in parts):
            continue
        vectors = [(np.broadcast_to(a, inside), f.named(v)) for a, v in parts if a is not None]

        def write(
            w: Any, a: str, axis: int = axes[0], epsilon: float = epsilon, vectors: list[tuple[np.ndarray, str]] = vectors
        ) -> str:
            return str(w.op("LayerNormalization", a, *[w.weight(*v) for v in vectors], axis=axis, epsilon=epsilon))

        return Composite((x,), (*nodes, *([] if scaled is node else [scaled])), write)
    return None
