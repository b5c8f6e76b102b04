"""Local rewrites that make a Graph smaller: identities, merged views, transposes absorbed by products, equal nodes shared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control


@dataclass
class Sweep:
    """What a rule may look at: the Graph being built, who made each of its values, and how often the old ones are read."""

    builder: GraphBuilder
    made: dict[Value, Node]
    uses: Counter[Value]

    def add(self, name: str, operands: Sequence[Value], params: Mapping[str, Any], source: str) -> Value:
        return self.builder.add(REGISTRY[name], operands, params, source)[0]

    def maker(self, value: Value, name: str) -> Node | None:
        """The node that makes a value, if it is of this primitive."""
        node = self.made.get(value)
        return node if node is not None and node.primitive.name == name else None


Rule = Callable[[Sweep, Node, tuple[Value, ...]], Value | None]
_RULES: dict[str, list[Rule]] = {}


def simplify(graph: Graph) -> Graph:
    """Apply the rules below in one sweep, sharing equal nodes on the way."""
    made: dict[Value, Node] = {}
    seen: dict[object, tuple[Value, ...]] = {}
    uses = Counter([*(o for n in graph.nodes for o in n.operands), *graph.outputs])
    noted = 0

    def note(builder: GraphBuilder) -> None:
        nonlocal noted
        for new in builder.nodes[noted:]:
            made.update(dict.fromkeys(new.results, new))
        noted = len(builder.nodes)

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
        note(builder)
        sweep = Sweep(builder, made, uses)
        for candidate in _RULES.get(node.primitive.name, ()):
            better = candidate(sweep, node, operands)
            if better is not None:
                return [better]
        if isinstance(node.primitive.lowering, Control):
            return None
        key = (node.primitive.name, operands, _hashable(node.params))
        if key not in seen:
            seen[key] = builder.add(node.primitive, operands, node.params, node.source)
        return list(seen[key])

    return rewrite(graph, rule)


def _hashable(params: object) -> object:
    if isinstance(params, dict):
        return tuple(sorted((k, _hashable(v)) for k, v in params.items()))
    if isinstance(params, list | tuple):
        return tuple(_hashable(p) for p in params)
    return (type(params).__name__, repr(params)) if isinstance(params, float) else repr(params)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rewrite for nodes of these primitives."""

    def register(function: Rule) -> Rule:
        for name in names:
            _RULES.setdefault(name, []).append(function)
        return function

    return register


@rule("reshape", "broadcast", "convert", "transpose", "slice", "pad", "concat")
def _identity(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A view or cast that changes nothing."""
    if len(operands) != 1 or operands[0].abstract != node.results[0].abstract:
        return None
    p = node.params
    match node.primitive.name:
        case "transpose" if tuple(p["permutation"]) != tuple(range(operands[0].abstract.rank)):
            return None
        case "broadcast" if tuple(p["axes"]) != tuple(range(operands[0].abstract.rank)):
            return None
        case "slice" if any(s < 0 for s in p["steps"]):
            return None
    return operands[0]


@rule("reshape")
def _reshape_of_reshape(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    inner = s.made.get(operands[0])
    if inner is None or inner.primitive.name != "reshape":
        return None
    if inner.operands[0].abstract == node.results[0].abstract:
        return inner.operands[0]
    return s.add(node.primitive.name, inner.operands, node.params, node.source)


@rule("transpose")
def _transpose_of_transpose(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    inner = s.made.get(operands[0])
    if inner is None or inner.primitive.name != "transpose":
        return None
    first = inner.params["permutation"]
    permutation = tuple(first[p] for p in node.params["permutation"])
    if permutation == tuple(range(len(permutation))):
        return inner.operands[0]
    return s.add(node.primitive.name, inner.operands, {"permutation": permutation}, node.source)


@rule("transpose")
def _transpose_as_reshape(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """Moving axes of extent 1 about changes no element's position: it is an alias."""
    shape, permutation = operands[0].shape, node.params["permutation"]
    moved = [p for p in permutation if shape[p] != 1]
    if moved != sorted(moved):
        return None
    return s.add("reshape", operands, {"shape": node.results[0].shape}, node.source)


@rule("broadcast")
def _broadcast_as_reshape(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A broadcast that only adds axes of extent 1."""
    axes = tuple(node.params["axes"])
    if operands[0].abstract.size != node.results[0].abstract.size or axes != tuple(sorted(axes)):
        return None
    return s.add("reshape", operands, {"shape": node.results[0].shape}, node.source)


@rule("matmul")
def _transposed_operands(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A product reads a transposed matrix in place: the transpose becomes its flag."""
    new = list(operands)
    params = dict(node.params)
    for i, flag in enumerate(("transpose_a", "transpose_b")):
        inner = s.made.get(operands[i])
        if inner is not None and inner.primitive.name == "transpose":
            permutation = tuple(inner.params["permutation"])
            rank = len(permutation)
            if permutation == (*range(rank - 2), rank - 1, rank - 2):
                new[i] = inner.operands[0]
                params[flag] = not params[flag]
    if tuple(new) == operands:
        return None
    return s.add(node.primitive.name, new, params, node.source)


@rule("matmul")
def _stacked_rows(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """Every matrix of the stack times the same matrix is one taller product: [B, M, K] @ broadcast([K, N])."""
    a, b = operands
    if a.abstract.rank < 3 or node.params["transpose_a"]:
        return None
    matrix: Value | None = None
    inner = s.maker(b, "broadcast")
    if inner is not None and inner.operands[0].shape[-2:] == b.shape[-2:]:
        rows_and_columns = tuple(inner.params["axes"])[-2:] == (b.abstract.rank - 2, b.abstract.rank - 1)
        if rows_and_columns and inner.operands[0].abstract.size == b.shape[-1] * b.shape[-2]:
            matrix = inner.operands[0]
    elif b in s.builder.constants and all(n == 1 for n in b.shape[:-2]):
        matrix = b
    if matrix is None:
        return None
    m = int(np.prod(a.shape[:-1]))
    tall = s.add("reshape", (a,), {"shape": (m, a.shape[-1])}, node.source)
    if matrix in s.builder.constants:
        flat = s.builder.constant(s.builder.constants[matrix].reshape(b.shape[-2:]), matrix.name)
    else:
        flat = s.add("reshape", (matrix,), {"shape": b.shape[-2:]}, node.source)
    product = s.add("matmul", (tall, flat), node.params, node.source)
    return s.add("reshape", (product,), {"shape": node.results[0].shape}, node.source)


@rule("mul")
def _scaled_convolution(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A constant factor per output channel (batch norm's) goes into the constant weights of the convolution before it."""
    for i, old in enumerate(node.operands):
        conv, factor = s.maker(operands[i], "conv"), s.maker(operands[1 - i], "broadcast")
        if conv is None or factor is None or s.uses[old] != 1 or not node.results[0].dtype.is_float:
            continue
        (source,), w = factor.operands, conv.operands[1]
        channel = operands[i].abstract.rank - 1 if conv.params["layout"] == "channels_last" else 1
        axes = [axis for axis, n in zip(factor.params["axes"], source.shape, strict=True) if n != 1]
        if source not in s.builder.constants or w not in s.builder.constants or axes not in ([], [channel]):
            continue
        scale = s.builder.constants[source].reshape(-1, *(1,) * (w.abstract.rank - 1))
        scaled = s.builder.constant(s.builder.constants[w] * scale, w.name)
        return s.add("conv", (conv.operands[0], scaled), conv.params, conv.source)
    return None


@rule("conv_transpose")
def _transposed_without_strides(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """Without strides a transposed convolution is a convolution with the filters turned round, which has faster kernels: what
    flows back through a convolution, above all."""
    (x, w), p = operands, node.params
    window, rank = w.shape[2:], w.abstract.rank
    padding = tuple(
        ((n - 1) * d - low, (n - 1) * d - high + extra)
        for n, d, (low, high), extra in zip(window, p["dilation"], p["padding"], p["output_padding"], strict=True)
    )
    if p["groups"] != 1 or any(n != 1 for n in p["strides"]) or min(min(pair) for pair in padding) < 0:
        return None
    if not node.results[0].abstract.size:  # padding takes away all there is; no convolution leaves so little
        return None
    turned = s.add("transpose", (w,), {"permutation": (1, 0, *range(2, rank))}, node.source)
    ends = {"starts": (0, 0, *(n - 1 for n in window)), "sizes": turned.shape, "steps": (1, 1, *(-1 for _ in window))}
    if math.prod(window) > 1:
        turned = s.add("slice", (turned,), ends, node.source)
    kept = {name: p[name] for name in ("strides", "dilation", "groups", "layout", "dtype") if name in p}
    return s.add("conv", (x, turned), {**kept, "padding": padding}, node.source)


@rule("concat")
def _concat_of_concat(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """Joining what was only joined to be joined again: all the pieces at once."""
    pieces: list[Value] = []
    for old, operand in zip(node.operands, operands, strict=True):
        inner = s.maker(operand, "concat")
        flat = inner is not None and inner.params["axis"] == node.params["axis"] and s.uses[old] == 1
        pieces.extend(inner.operands if flat and inner is not None else (operand,))
    return None if len(pieces) == len(operands) else s.add("concat", pieces, node.params, node.source)


@rule("pow")
def _small_power(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A constant power that a product computes: squares above all."""
    x, exponent = operands
    spread = s.maker(exponent, "broadcast")
    known = s.builder.constants.get(spread.operands[0] if spread is not None else exponent)
    if known is None or not known.size or not x.dtype.is_float or x.shape != node.results[0].shape:
        return None
    if (known != known.flat[0]).any():
        return None
    match float(known.flat[0]):
        case 1.0:
            return x
        case 2.0:
            return s.add("mul", (x, x), {}, node.source)
        case 3.0:
            return s.add("mul", (s.add("mul", (x, x), {}, node.source), x), {}, node.source)
    return None


SEPARATED = 16  # taps from which the largest of a window is found axis by axis


@rule("pool")
def _pool_by_axis(s: Sweep, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """The largest of a big window is the largest of its lines' largest: 13 + 13 taps instead of 169."""
    p = node.params
    window = tuple(p["window"])
    if p["combine"] not in ("max", "min") or math.prod(window) <= SEPARATED or sum(n > 1 for n in window) < 2:
        return None
    axis = max(i for i, n in enumerate(window) if n > 1)

    def along(value: Value, chosen: Callable[[int], bool]) -> Value:
        nothing = {"window": 1, "strides": 1, "dilation": 1, "padding": (0, 0)}
        part = {name: tuple(n if chosen(i) else other for i, n in enumerate(p[name])) for name, other in nothing.items()}
        return s.add("pool", (value,), {**p, **part}, node.source)

    return along(along(operands[0], lambda i: i == axis), lambda i: i != axis)
