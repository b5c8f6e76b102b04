"""How primitives that move, gather, scatter, reduce and sort are written in ONNX, and control flow.

Gathers and scatters clamp what lies outside, which ONNX Runtime refuses: indices that are only known at run time are clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from ....graph.core import Value
from .writer import Writer, rule

_UNBOUNDED = np.iinfo(np.int64).max


@rule("reshape")
def reshape(w: Writer, node: Any, x: str) -> str:
    return w.reshape(x, node.params["shape"])


@rule("transpose")
def transpose(w: Writer, node: Any, x: str) -> str:
    return w.op("Transpose", x, perm=list(node.params["permutation"]))


@rule("broadcast")
def broadcast(w: Writer, node: Any, x: str) -> str:
    shape, axes = node.params["shape"], node.params["axes"]
    lined = [node.operands[0].shape[axes.index(i)] if i in axes else 1 for i in range(len(shape))]
    first = x if lined == list(node.operands[0].shape) else w.reshape(x, lined)
    return w.op("Expand", first, w.const(list(shape)))


@rule("slice")
def slice_(w: Writer, node: Any, x: str) -> str:
    starts, sizes, steps = (node.params[k] for k in ("starts", "sizes", "steps"))
    ends = [a + (n - 1) * s + (1 if s > 0 else -1) if n else a for a, n, s in zip(starts, sizes, steps)]
    ends = [e if e >= 0 else -_UNBOUNDED for e in ends]  # a negative end would count from the back
    return w.op("Slice", x, w.const(list(starts)), w.const(ends), w.const(list(range(len(starts)))), w.const(list(steps)))


@rule("pad")
def pad(w: Writer, node: Any, x: str) -> str:
    kind = node.results[0].dtype
    pads = w.const([*node.params["low"], *node.params["high"]])
    if kind.kind == "b":
        made = w.op("Pad", w.cast(x, dt.uint8), pads, w.number(int(bool(node.params["value"])), dt.uint8))
        return w.cast(made, kind)
    return w.op("Pad", x, pads, w.number(node.params["value"], kind))


@rule("concat")
def concat(w: Writer, node: Any, *parts: str) -> str:
    return w.op("Concat", *parts, axis=node.params["axis"])


@rule("iota")
def iota(w: Writer, node: Any) -> str:
    shape, axis, kind = node.params["shape"], node.params["axis"], node.params["dtype"]
    line = w.op("Range", w.const(0), w.const(shape[axis]), w.const(1))
    lined = w.reshape(line if kind is dt.int64 else w.cast(line, kind), [n if i == axis else 1 for i, n in enumerate(shape)])
    return w.op("Expand", lined, w.const(list(shape)))


def _vector(w: Writer, starts: Value, name: str, most: Sequence[int]) -> str:
    """Starts as int64, each clamped to 0 … most."""
    wide = name if starts.dtype is dt.int64 else w.cast(name, dt.int64)
    return w.op("Max", w.op("Min", wide, w.const(list(most))), w.const(0))


@rule("dynamic_slice")
def dynamic_slice(w: Writer, node: Any, x: str, starts: str) -> str:
    sizes = node.params["sizes"]
    first = _vector(w, node.operands[1], starts, [n - s for n, s in zip(node.operands[0].shape, sizes)])
    made = w.op("Slice", x, first, w.op("Add", first, w.const(list(sizes))), w.const(list(range(len(sizes)))))
    return w.reshape(made, sizes)


@rule("dynamic_update_slice")
def dynamic_update_slice(w: Writer, node: Any, x: str, update: str, starts: str) -> str:
    whole, sizes = node.operands[0].shape, node.operands[1].shape
    first = _vector(w, node.operands[2], starts, [n - s for n, s in zip(whole, sizes)])
    places = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1)
    return w.op("ScatterND", x, w.op("Add", w.const(places), first), update)


def _clipped(w: Writer, node: Any, operand: int, name: str, most: Any) -> str:
    """Indices as int64 within 0 … most; constants are within already."""
    value = node.operands[operand]
    wide = name if value.dtype is dt.int64 else w.cast(name, dt.int64)
    if value in w.graph.constants:
        array = w.graph.constants[value]
        if array.size == 0 or (np.all(array >= 0) and np.all(array <= most)):
            return wide
    return w.op("Max", w.op("Min", wide, w.const(most)), w.const(0))


@rule("take")
def take(w: Writer, node: Any, x: str, indices: str) -> str:
    axis = node.params["axis"]
    return w.op("Gather", x, _clipped(w, node, 1, indices, node.operands[0].shape[axis] - 1), axis=axis)


@rule("take_along")
def take_along(w: Writer, node: Any, x: str, indices: str) -> str:
    axis = node.params["axis"]
    return w.op("GatherElements", x, _clipped(w, node, 1, indices, node.operands[0].shape[axis] - 1), axis=axis)


@rule("gather_nd")
def gather_nd(w: Writer, node: Any, x: str, indices: str) -> str:
    batch = node.params["batch_dims"]
    depth = node.operands[1].shape[-1]
    most = [n - 1 for n in node.operands[0].shape[batch : batch + depth]]
    return w.op("GatherND", x, _clipped(w, node, 1, indices, most), batch_dims=batch)


REDUCTIONS = {"set": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@rule("scatter_nd")
def scatter_nd(w: Writer, node: Any, x: str, indices: str, updates: str) -> str:
    most = [n - 1 for n in node.operands[0].shape[: node.operands[1].shape[-1]]]
    return w.op("ScatterND", x, _clipped(w, node, 1, indices, most), updates, reduction=REDUCTIONS[node.params["combine"]])


@rule("scatter_along")
def scatter_along(w: Writer, node: Any, x: str, indices: str, updates: str) -> str:
    axis = node.params["axis"]
    inside = _clipped(w, node, 1, indices, node.operands[0].shape[axis] - 1)
    return w.op("ScatterElements", x, inside, updates, axis=axis, reduction=REDUCTIONS[node.params["combine"]])


FOLDS = {"reduce_sum": "ReduceSum", "reduce_prod": "ReduceProd", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


@rule(*FOLDS)
def reduce(w: Writer, node: Any, x: str) -> str:
    """Narrow integers and bools are folded in int32."""
    kind, axes = node.operands[0].dtype, list(node.params["axes"])
    if not axes:
        return w.op("Identity", x)
    narrow = kind.bits < 32 and kind.kind in "biu"
    made = w.op(FOLDS[node.primitive.name], w.cast(x, dt.int32) if narrow else x, w.const(axes), keepdims=0)
    return w.cast(made, node.results[0].dtype) if narrow else made


@rule("argmax", "argmin")
def arg(w: Writer, node: Any, x: str) -> str:
    op_type = "ArgMax" if node.primitive.name == "argmax" else "ArgMin"
    if node.operands[0].dtype.kind == "b":
        x = w.cast(x, dt.int32)
    made = w.op(op_type, x, axis=node.params["axis"], keepdims=0, select_last_index=int(node.params["last"]))
    return made if node.results[0].dtype is dt.int64 else w.cast(made, node.results[0].dtype)


@rule("cumulative")
def cumulative(w: Writer, node: Any, x: str) -> str:
    """Sums have an operator; the others are folds of a mask: result i folds the elements that come no later than i."""
    axis, combine, exclusive, reverse = (node.params[k] for k in ("axis", "combine", "exclusive", "reverse"))
    kind, shape = node.operands[0].dtype, node.operands[0].shape
    if combine == "add":
        return w.op("CumSum", x, w.const(axis), exclusive=int(exclusive), reverse=int(reverse))
    n, rank = shape[axis], len(shape)
    seen = np.tril(np.ones((n, n), bool), -1 if exclusive else 0)
    seen = seen.T if reverse else seen
    limits = np.finfo(kind.numpy) if kind.kind == "f" else np.iinfo(kind.numpy)
    least, most = (-np.inf, np.inf) if kind.kind == "f" else (limits.min, limits.max)
    neutral = {"mul": 1, "max": least, "min": most}[combine]
    mask = w.const(seen.reshape([n if i in (axis, axis + 1) else 1 for i in range(rank + 1)]), bool)
    spread = w.reshape(x, [*shape[:axis], 1, *shape[axis:]])
    fold = {"mul": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}[combine]
    masked = w.op("Where", mask, spread, w.number(neutral, kind))
    return w.op(fold, masked, w.const([axis + 1]), keepdims=0)


@rule("sort")
def sort(w: Writer, node: Any, x: str) -> list[str]:
    axis = node.params["axis"]
    values, indices = w.op(
        "TopK", x, w.const([node.operands[0].shape[axis]]), results=2, axis=axis, largest=int(node.params["descending"])
    )
    wanted = node.results[1].dtype
    return [values, indices if wanted is dt.int64 else w.cast(indices, wanted)]


@rule("nonzero")
def nonzero(w: Writer, node: Any, x: str) -> list[str]:
    """Positions in a buffer of the largest size, and how many there are."""
    rank, bound = node.results[0].shape
    found = w.op("NonZero", x)
    count = w.op("Gather", w.op("Shape", found), w.const(1))
    room = w.op("Reshape", w.op("Sub", w.const(bound), count), w.const([1]))
    padded = w.op("Pad", found, w.op("Concat", w.const([0, 0, 0]), room, axis=0), w.const(0))
    return [w.reshape(padded, (rank, bound)), count]


@rule("nms")
def nms(w: Writer, node: Any, boxes: str, scores: str, limit: str, overlap: str, least: str) -> list[str]:
    bound = node.params["bound"]
    operands = [w.reshape(x, (1,)) for x in (limit, overlap, least)]
    if node.operands[2].dtype is not dt.int64:
        operands[0] = w.cast(operands[0], dt.int64)
    operands = [operands[0], *(w.cast(x, dt.float32) for x in operands[1:])]
    boxes, scores = (x if v.dtype is dt.float32 else w.cast(x, dt.float32) for x, v in zip((boxes, scores), node.operands))
    found = w.op("NonMaxSuppression", boxes, scores, *operands, center_point_box=int(node.params["center"]))
    found = w.op("Slice", found, w.const([0]), w.const([bound]), w.const([0]))
    count = w.op("Gather", w.op("Shape", found), w.const(0))
    room = w.op("Reshape", w.op("Sub", w.const(bound), count), w.const([1]))
    padded = w.op("Pad", found, w.op("Concat", w.const([0, 0]), room, w.const([0]), axis=0), w.const(0))
    return [w.reshape(padded, (bound, 3)), count]


@rule("cond")
def cond(w: Writer, node: Any, flag: str, *operands: str) -> list[str]:
    then, otherwise = (w.subgraph(node.params[k], operands, k) for k in ("then", "otherwise"))
    made = w.op("If", flag, results=len(node.results), then_branch=then, else_branch=otherwise)
    return made if isinstance(made, list) else [made]


@rule("while_loop")
def while_loop(w: Writer, node: Any, *operands: str) -> list[str]:
    """A Loop whose condition is computed before the first turn and at the end of each."""
    carried, bound = node.params["carried"], node.params["bound"]
    condition, body = node.params["condition"], node.params["body"]
    constants = operands[carried:]
    (first,) = w.inlined(condition, operands)
    inner = Writer(body, "body", w)
    turn, goes_on = inner.unique("turn"), inner.unique("goes_on")
    now = [inner.unique("carried") for _ in range(carried)]
    inner.names.update(zip(body.inputs, (*now, *constants), strict=True))
    inner.run()
    results = inner.results()
    (again,) = inner.inlined(condition, [*(name for name, _ in results), *constants])
    again = inner.op("Identity", again)
    inputs = [
        inner.info(turn, dt.int64, ()),
        inner.info(goes_on, dt.bool_, ()),
        *(inner.info(name, value.dtype, value.shape) for name, value in zip(now, body.inputs)),
    ]
    flag_value = Value(condition.outputs[0].abstract)
    graph = inner.proto(inputs, [(again, flag_value), *results])
    most = "" if bound is None else w.const(bound)
    made = w.op("Loop", most, first, *operands[:carried], results=len(node.results), body=graph)
    return made if isinstance(made, list) else [made]
