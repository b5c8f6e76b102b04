"""Rows: a function of batches, compiled for full ones, made exact for the first rows of one, however many they are.

Compiled shapes are fixed and data sets are of any length. What depends on the number of rows is found by tracing for three
numbers: extents that are multiples of it, the axes of rows, and constants (1 / n of a mean). Then the Graph for full batches is
computed with one thing kept true of every value: its leading part along its axes of rows is what the Graph of so few rows
computes; what lies behind means nothing. Most primitives keep that by themselves. What sums over rows gets its neutral element
for those behind; what has no such element is refused, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from .. import ops
from ..errors import UnsupportedFeature
from ..graph.core import Abstract, Graph, Node, Value
from ..graph.primitive import REGISTRY, Elementwise, Reduction
from ..graph.primitives import counter
from ..graph.trace import repeat, trace_function, weight
from ..ops.operands import apply


class Rows(NamedTuple):
    """How rows lie along an axis: `groups` of them one after another, and `each` elements in all for each row. What is the same
    all along the axis has 0 groups: it is right however rows lie."""

    each: int
    groups: int = 1

    @property
    def fixed(self) -> Rows:
        return Rows(self.each, self.groups or 1)


Axes = dict[int, Rows]  # the axes of rows
Masks = Mapping[int, tuple[Axes, Any]]  # operand → its axes that are summed over, and the neutral element

_SHAPES = {("reshape", "shape"), ("broadcast", "shape"), ("iota", "shape"), ("slice", "sizes"), ("dynamic_slice", "sizes")}
_ROUNDING = 2e-6  # of float32 constants that were computed from the number of rows


def for_fewer_rows(graph_of: Callable[[int], Graph], rows: int) -> FewerRows:
    """A Graph for full batches as a function of how many of their rows count.

    Args:
        graph_of: the Graph for a number of rows. Only extents and constants may depend on it.
        rows: of a full batch.

    Returns:
        A function of the number of rows (an int32 of shape (), at least 1) and the Graph's inputs for full batches. Outputs
        with rows are right in the first ones. Rows behind should be what the function can take, such as the first again.

    Raises:
        UnsupportedFeature: from that function, for what mixes rows in a way that is not known for fewer of them; says where.
    """
    sizes = (rows, rows + 1, 2 * rows + 1)  # even and odd, near and far: nothing that depends on them looks alike
    return FewerRows(tuple(map(graph_of, sizes)), sizes)


@dataclass
class FewerRows:
    """See `for_fewer_rows`. `masked`: whether a call found anything that depends on the number of rows."""

    graphs: tuple[Graph, ...]
    sizes: tuple[int, ...]
    masked: bool = False

    def __call__(self, count: Any, *operands: Any) -> tuple[Any, ...]:
        outputs, run = _run(self.graphs, self.sizes, count, operands)
        self.masked = run.masked
        return outputs


def _run(
    graphs: Sequence[Graph], sizes: tuple[int, ...], count: Any, operands: Sequence[Any]
) -> tuple[tuple[Any, ...], _Interpreter]:
    first = graphs[0]
    run = _Interpreter(sizes, count)
    for values in zip(*(g.inputs for g in graphs), strict=True):
        run.axes[values[0]] = run.axes_of(values, "an input")
    run.env.update(zip(first.inputs, operands, strict=True))
    if len({len(g.nodes) for g in graphs}) > 1:
        raise UnsupportedFeature(f"{first.name} does something else for {sizes[0]} rows than for {sizes[1]} or {sizes[2]}")
    constants = [g.constants for g in graphs]
    for nodes in zip(*(g.nodes for g in graphs), strict=True):
        run.node(nodes, constants)
    names = [run.name(values, constants) for values in zip(*(g.outputs for g in graphs), strict=True)]
    if any(rows.groups > 1 for name in names for rows in run.axes[name].values()):
        raise UnsupportedFeature(f"a result of {first.name} has groups of rows along one axis; reshape it to an axis for each")
    return tuple(run.env[name] for name in names), run


class _Interpreter:
    """Values of the Graph for full batches by what they are for fewer rows."""

    def __init__(self, sizes: tuple[int, ...], count: Any) -> None:
        self.sizes, self.count = sizes, count
        self.env: dict[Value, Any] = {}
        self.axes: dict[Value, Axes] = {}
        self.constants: dict[tuple[Value, ...], Value] = {}
        self.masks: dict[Any, Any] = {}
        self.masked = False

    def axes_of(self, values: Sequence[Value], where: str) -> Axes:
        """The axes of rows: along which the three values have the same multiple of their numbers of rows, one group of them."""
        found: Axes = {}
        if len({v.abstract.rank for v in values}) == 1 and len({v.dtype for v in values}) == 1:
            for axis, extents in enumerate(zip(*(v.shape for v in values))):
                if len(set(extents)) == 1:
                    continue
                each = extents[0] // self.sizes[0]
                if not each or any(n != each * size for n, size in zip(extents, self.sizes)):
                    break
                found[axis] = Rows(each)
            else:
                return found
        raise UnsupportedFeature(f"{where}: {' or '.join(str(v.abstract) for v in values)} for {_numbers(self.sizes)} rows")

    def name(self, values: tuple[Value, ...], constants: Sequence[Mapping[Value, np.ndarray]]) -> Value:
        """The Value by which one is known, a constant if it is new. Graphs hold each literal once, so equal constants of the
        first may be different ones of the others: 8 rows, and a shift by 8."""
        if values[0] not in constants[0]:
            return values[0]
        if values not in self.constants:
            made = self.constants[values] = Value(values[0].abstract, values[0].name)
            self.axes[made] = self.axes_of(values, "a constant")
            self.env[made] = self._constant([c[v] for c, v in zip(constants, values, strict=True)], values[0].name)
        return self.constants[values]

    def _constant(self, arrays: Sequence[np.ndarray], name: str) -> Any:
        """What a constant is for this number of rows: itself, or a function of the number that gives all three of them."""
        first = arrays[0]
        part = tuple(slice(0, n) for n in first.shape)
        arrays = [a[part] for a in arrays]
        if all(np.array_equal(first, a, equal_nan=first.dtype.kind == "f") for a in arrays):
            return weight(first, name)
        self.masked = True
        made = _fitted(arrays, self.sizes, self.count)
        if made is None:
            shown = " or ".join(str(a.reshape(-1)[0]) for a in arrays)
            raise UnsupportedFeature(f"a constant {shown} for {_numbers(self.sizes)} rows is no function of them that is known")
        return made

    def node(self, nodes: Sequence[Node], constants: Sequence[Mapping[Value, np.ndarray]]) -> None:
        """Compute a node's results."""
        first = nodes[0]
        where = f"{first.source or 'a part without a name'} ({first.primitive.name})"
        if any(n.primitive is not first.primitive for n in nodes):
            raise UnsupportedFeature(f"{where}: something else is done for {_numbers(self.sizes)} rows")
        for key, value in first.params.items():
            plain = not isinstance(value, Graph) and not callable(value) and (first.primitive.name, key) not in _SHAPES
            if plain and any(n.params[key] != value for n in nodes):
                raise UnsupportedFeature(f"{where}: its {key} depends on the number of rows")
        names = [self.name(values, constants) for values in zip(*(n.operands for n in nodes), strict=True)]
        operands = [self.env[name] for name in names]
        for values in zip(*(n.results for n in nodes), strict=True):
            self.axes[values[0]] = self.axes_of(values, where)
        if any(isinstance(p, Graph) for p in first.params.values()):
            results = self._control(nodes, names)
        else:
            known = _Node(first, [self.axes[name] for name in names], [self.axes[r] for r in first.results])
            rule = _RULES.get(first.primitive.name) or _KINDS.get(type(first.primitive.lowering))
            groups = _GROUPS.get(first.primitive.name) or _GROUPS_OF_KINDS.get(type(first.primitive.lowering), _one_group)
            masks = rule(known) if rule is not None else _apart(known)
            if masks is None or not groups(known):
                raise UnsupportedFeature(f"{where} mixes the rows of a batch; what it would be for fewer of them is not known")
            for i, (axes, neutral) in masks.items():
                operands[i] = self._masked(names[i], axes, neutral)
            self.axes.update(zip(first.results, known.results, strict=True))
            results = repeat(first, operands)
        self.env.update(zip(first.results, results, strict=True))

    def _masked(self, value: Value, axes: Axes, neutral: Any) -> Any:
        """A value with the neutral element behind the rows that count."""
        self.masked = True
        x = self.env[value]
        key = (value, tuple(axes.items()), neutral)
        if key not in self.masks:
            shape = tuple(x.shape)
            keep: Any = None
            for axis, (each, groups) in axes.items():
                i = counter(shape, axis, dt.int32, self.count)
                i = ops.remainder(i, np.int32(shape[axis] // groups)) if groups > 1 else i
                here = ops.less(i, ops.multiply(self.count, np.int32(each // max(groups, 1))))
                keep = here if keep is None else ops.logical_and(keep, here)
            self.masks[key] = ops.where(keep, x, np.asarray(neutral).astype(value.dtype.numpy))
        return self.masks[key]

    def _control(self, nodes: Sequence[Node], names: Sequence[Value]) -> tuple[Any, ...]:
        """A call, a branch or a loop: its Graphs are for fewer rows, too, and get the number as one more operand."""
        first = nodes[0]
        if any(rows.groups > 1 for name in names for rows in self.axes[name].values()):
            raise UnsupportedFeature(f"{first.source or first.primitive.name}: takes groups of rows")
        operands = [self.env[name] for name in names]
        graphs = {key: [n.params[key] for n in nodes] for key, value in first.params.items() if isinstance(value, Graph)}
        if first.primitive.name == "call":
            outputs, run = _run(graphs["graph"], self.sizes, self.count, operands)
            self.masked |= run.masked
            return outputs
        like = [*(v.abstract for v in graphs[next(iter(graphs))][0].inputs), Abstract((), dt.int32)]

        def closed(bodies: list[Graph]) -> Graph:
            def body(*given: Any) -> tuple[Any, ...]:
                outputs, run = _run(bodies, self.sizes, given[-1], given[:-1])
                self.masked |= run.masked
                return outputs

            return trace_function(body, like, name=bodies[0].name)[0]

        params = {k: None if callable(v) else v for k, v in first.params.items() if k not in graphs}
        made = apply(first.primitive.name, *operands, self.count, **params, **{k: closed(g) for k, g in graphs.items()})
        return made if isinstance(made, tuple) else (made,)


def _numbers(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes[:-1])) + f" or {sizes[-1]}"


# -- constants that depend on the number of rows ------------------------------------------------------------------------------


def _fitted(arrays: Sequence[np.ndarray], sizes: Sequence[int], count: Any) -> Any:
    """The function of the number of rows that gives these constants, at `count`; None if none is known."""
    kind = dt.dtype(arrays[0].dtype)
    n = np.asarray(sizes, np.float64)
    values = [a.astype(np.float64) for a in arrays]
    if kind.is_integer:  # (a n + b) // 2
        slope = np.rint(2 * (values[2] - values[0]) / (n[2] - n[0]))
        for by in range(-2, 3):
            start = 2 * values[0] - slope * n[0] + by
            if all(np.array_equal((slope * m + start) // 2, v) for m, v in zip(n, values)):
                whole = ops.add(ops.multiply(ops.astype(count, "int32"), slope.astype(np.int32)), start.astype(np.int32))
                return ops.astype(ops.floor_divide(whole, np.int32(2)), kind)
        return None
    if kind.kind != "f":
        return None
    rows, one = ops.astype(count, "float32"), np.float32(1)
    for numbers, made in (
        (1 / n, ops.divide(one, rows)),
        (n, rows),
        (1 / (n - 1) if n[0] > 1 else n, ops.divide(one, ops.subtract(rows, one))),
    ):
        with np.errstate(all="ignore"):
            slope = (values[2] - values[0]) / (numbers[2] - numbers[0])
        for factor, start in ((values[0] / numbers[0], np.zeros_like(slope)), (slope, values[0] - slope * numbers[0])):
            near = [np.allclose(factor * s + start, v, rtol=_ROUNDING, atol=0) for s, v in zip(numbers, values)]
            if all(near):
                whole = ops.multiply(made, _repeated(factor))
                whole = ops.add(whole, _repeated(start)) if start.any() else whole
                return ops.astype(ops.broadcast_to(whole, arrays[0].shape), kind)
    return None


def _repeated(array: np.ndarray) -> np.ndarray:
    """An array as a scalar where all of it is one number."""
    made = array.astype(np.float32)
    return made.reshape(-1)[0] if made.size and (made == made.reshape(-1)[0]).all() else made


# -- what primitives do to rows: which operands to mask, or None where fewer rows are not known -------------------------------


@dataclass(frozen=True)
class _Node:
    node: Node
    axes: list[Axes]
    results: list[Axes]

    def __getitem__(self, key: str) -> Any:
        return self.node.params[key]

    def shape(self, i: int) -> tuple[int, ...]:
        return self.node.operands[i].shape


def _keeps(n: _Node) -> Masks | None:
    """Row i of the result is of row i, and of nothing else with rows."""
    return {}


def _apart(n: _Node) -> Masks | None:
    """It may do anything with an operand, so none may have rows."""
    return None if any(n.axes) or any(n.results) else {}


def _in_first_axis(*first: int) -> Callable[[_Node], Masks | None]:
    """These operands may have rows, in their first axis; the others have none."""
    return lambda n: {} if all(set(a) <= ({0} if i in first else set()) for i, a in enumerate(n.axes)) else None


def _reduction(n: _Node) -> Masks | None:
    lowering = n.node.primitive.lowering
    assert isinstance(lowering, Reduction)
    axes = {a: rows for a, rows in n.axes[0].items() if a in n["axes"]}
    return {0: (axes, lowering.initial(n.node.operands[0].dtype))} if axes else {}


def _matmul(n: _Node) -> Masks | None:
    rank = len(n.shape(0))
    inner = rank - 2 if n["transpose_a"] else rank - 1, rank - 1 if n["transpose_b"] else rank - 2
    if inner[0] not in n.axes[0]:
        return {}
    i = int(np.prod(n.shape(1)) < np.prod(n.shape(0)))
    if not n.axes[i][inner[i]].groups:  # the other one knows how rows lie
        i = 1 - i
    return {i: ({inner[i]: n.axes[i][inner[i]]}, 0)}


def _filter_gradient(n: _Node) -> Masks | None:
    if _in_first_axis(0, 1)(n) is None:
        return None
    return {1: (n.axes[1], 0)} if n.axes[1] else {}


def _slice(n: _Node) -> Masks | None:
    for axis, (each, _) in n.axes[0].items():
        start, size, step = n["starts"][axis], n["sizes"][axis], n["steps"][axis]
        if axis in n.results[0]:
            if start or step != 1:
                return None
        elif not 0 <= start < each or not 0 <= start + (size - 1) * step < each:  # a batch may have one row alone
            return None
    return {}


def _pad(n: _Node) -> Masks | None:
    return None if any(n["low"][a] or n["high"][a] for a in n.axes[0]) else {}


def _along(*operands: int) -> Callable[[_Node], Masks | None]:
    """These operands have no rows along the axis that is worked on."""
    return lambda n: None if any(n["axis"] in n.axes[i] for i in operands) else {}


def _concat(n: _Node) -> Masks | None:
    return None if any(n["axis"] in axes for axes in n.axes) else {}


def _gather_nd(n: _Node) -> Masks | None:
    indexed = range(n["batch_dims"], n["batch_dims"] + n.shape(1)[-1])
    return None if any(a in n.axes[0] for a in indexed) or len(n.shape(1)) - 1 in n.axes[1] else {}


def _dynamic_slice(n: _Node) -> Masks | None:
    return {} if all(n["sizes"][a] == n.shape(0)[a] for a in n.axes[0]) and not n.axes[1] else None


def _dynamic_update_slice(n: _Node) -> Masks | None:
    return {} if n.axes[0] == n.axes[1] and not n.axes[2] else None


def _cumulative(n: _Node) -> Masks | None:
    if n["axis"] not in n.axes[0] or not n["reverse"]:
        return {}
    neutral = REGISTRY["reduce_" + {"add": "sum", "mul": "prod"}.get(n["combine"], n["combine"])].lowering
    assert isinstance(neutral, Reduction)
    return {0: ({n["axis"]: n.axes[0][n["axis"]]}, neutral.initial(n.node.operands[0].dtype))}


def _scatter_nd(n: _Node) -> Masks | None:
    """Rows of updates that are added to what has none: those behind add nothing. Trailing axes are the operand's own."""
    outer, depth = len(n.shape(1)) - 1, n.shape(1)[-1]
    if any(a < depth for a in n.axes[0]) or outer in n.axes[1]:
        return None
    summed = {a: rows for a, rows in n.axes[2].items() if a < outer}
    if not summed:
        return {}
    return {2: (summed, 0)} if n["combine"] == "add" else None


def _scatter_along(n: _Node) -> Masks | None:
    axis = n["axis"]
    if axis in n.axes[0]:
        return None
    if axis not in n.axes[2]:
        return {}
    return {2: ({axis: n.axes[2][axis]}, 0)} if n["combine"] == "add" else None


# -- how rows lie along the axes of results; False where they would lie in no way that is known -------------------------------


def _one_group(n: _Node) -> bool:
    """There is one group of rows along each axis of the operands, and of the results."""
    return all(rows.groups < 2 for axes in n.axes for rows in axes.values())


def _merged(result: Axes, *operands: Mapping[int, Rows]) -> bool:
    """As along the operands' axes, given by the result's; they have to agree."""
    for axis, (each, _) in result.items():
        groups = {o[axis].groups for o in operands if axis in o and o[axis].groups}
        if len(groups) > 1:
            return False
        result[axis] = Rows(each, groups.pop() if groups else 0)
    return True


def _as_operands(n: _Node) -> bool:
    return all(_merged(result, *n.axes) for result in n.results)


def _as_transposed(n: _Node) -> bool:
    return _merged(n.results[0], {i: n.axes[0][a] for i, a in enumerate(n["permutation"]) if a in n.axes[0]})


def _as_broadcast(n: _Node) -> bool:
    return _merged(n.results[0], {n["axes"][a]: rows for a, rows in n.axes[0].items()})


def _as_reduced(n: _Node) -> bool:
    kept = [a for a in range(len(n.shape(0))) if a not in n["axes"]]
    return _merged(n.results[0], {i: n.axes[0][a] for i, a in enumerate(kept) if a in n.axes[0]})


def _as_multiplied(n: _Node) -> bool:
    rank = len(n.shape(0))
    m, other = (rank - 1 if n["transpose_a"] else rank - 2), (rank - 2 if n["transpose_b"] else rank - 1)
    if len({axes[a].groups for axes, a in zip(n.axes, (2 * rank - 3 - m, 2 * rank - 3 - other)) if a in axes} - {0}) > 1:
        return False  # the axes that are summed over
    outer = [{a: rows for a, rows in axes.items() if a < rank - 2} for axes in n.axes]
    for axes, at, a in ((0, rank - 2, m), (1, rank - 1, other)):
        outer[axes].update({at: n.axes[axes][a]} if a in n.axes[axes] else {})
    return _merged(n.results[0], *outer)


def _as_reshaped(n: _Node) -> bool:
    """Axes that keep their places apart from extents of 1; or one axis of rows, with as many groups as now stand before it."""
    source, target, before, after = n.shape(0), n.node.results[0].shape, n.axes[0], n.results[0]
    longer = [[a for a, extent in enumerate(shape) if extent != 1] for shape in (source, target)]
    if [source[a] for a in longer[0]] == [target[a] for a in longer[1]]:
        return _merged(after, {b: before[a] for a, b in zip(*longer, strict=True) if a in before})
    if not before and not after:
        return True
    if len(before) != 1 or len(after) != 1:
        return False
    ((a, (_, groups)),), ((b, (each, _)),) = before.items(), after.items()
    outer, inner = int(np.prod(source[:a])), int(np.prod(target[:b]))
    groups = groups or max(1, inner // outer)
    after[b] = Rows(each, outer * groups // inner)
    return outer * groups % inner == 0 and outer * groups >= inner and each % after[b].groups == 0


_GROUPS: dict[str, Callable[[_Node], bool]] = {
    "transpose": _as_transposed, "broadcast": _as_broadcast, "reshape": _as_reshaped, "matmul": _as_multiplied,
    "pad": _as_operands, "iota": lambda n: True,
}  # fmt: skip
_GROUPS_OF_KINDS: dict[type, Callable[[_Node], bool]] = {Elementwise: _as_operands, Reduction: _as_reduced}
_KINDS: dict[type, Callable[[_Node], Masks | None]] = {Elementwise: _keeps, Reduction: _reduction}
_RULES: dict[str, Callable[[_Node], Masks | None]] = {
    "transpose": _keeps, "broadcast": _keeps, "iota": _keeps, "reshape": _keeps, "slice": _slice, "pad": _pad,
    "concat": _concat, "matmul": _matmul, "conv": _in_first_axis(0), "conv_transpose": _in_first_axis(0),
    "pool": _in_first_axis(0), "pool_gradient": _in_first_axis(0, 1, 2), "conv_filter_gradient": _filter_gradient,
    "take": _along(0), "take_along": _along(0), "gather_nd": _gather_nd, "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice, "argmax": _along(0), "argmin": _along(0), "sort": _along(0),
    "cumulative": _cumulative, "scatter_nd": _scatter_nd, "scatter_along": _scatter_along,
}  # fmt: skip

__all__ = ["FewerRows", "for_fewer_rows"]
