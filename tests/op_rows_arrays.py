"""Rows of the op table: functions that move, look up, reduce and sort elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hither as ht
from hither.graph.primitives.rules import apply

from . import references as ref
from .op_case import FLOAT, NUMBERS, Operand, Table

A = Operand
X = A((3, 4))
TABLE = Table()
op = TABLE.op

# -- shape -------------------------------------------------------------------------------------------------------------------

SHAPES = ("float32", "float16", "int64", "bool")


def moved(name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand) -> None:
    """A row that moves elements: exact in every dtype, linear."""
    op(name, function, reference, *operands, dtypes=SHAPES, gradient=True, tolerance="exact")


moved("reshape", lambda x: ht.reshape(x, (4, -1, 3)), lambda x: x.reshape(4, -1, 3), A((2, 6, 2)))
moved("permute_dims", lambda x: ht.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), A((2, 3, 5)))
moved(
    "transpose_reshape",
    lambda x: x.transpose(1, 0, 2).reshape(6, 5),
    lambda x: x.transpose(1, 0, 2).reshape(6, 5),
    A((2, 3, 5)),
)
moved("moveaxis", lambda x: ht.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), A((2, 3, 5)))
moved("squeeze", lambda x: ht.squeeze(x, 1), lambda x: np.squeeze(x, 1), A((2, 1, 3)))
moved("expand_dims", lambda x: ht.expand_dims(x, axis=(0, -1)), lambda x: x[None, ..., None], A((2, 3)))
moved("broadcast_to", lambda x: ht.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3)), A((2, 1)))
moved("concat", lambda a, b, c: ht.concat([a, b, c], axis=1), lambda *p: np.concatenate(p, 1), A((2, 3)), A((2, 1)), A((2, 4)))
moved("stack", lambda a, b: ht.stack([a, b], axis=1), lambda a, b: np.stack([a, b], 1), A((2, 3)), A((2, 3)))
moved("split", lambda x: tuple(ht.split(x, [1, 3, 2], axis=1)), lambda x: tuple(np.split(x, [1, 4], 1)), A((2, 6)))
moved("unstack", ht.unstack, lambda x: tuple(x), A((3, 2)))
moved("flip", lambda x: ht.flip(x, axis=1), lambda x: np.flip(x, 1), A((2, 5)))
moved("roll", lambda x: ht.roll(x, (1, -2), axis=(0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)), A((3, 5)))
moved("tile", lambda x: ht.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), A((2, 3)))
moved("repeat", lambda x: ht.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1), A((2, 3)))
moved("repeat_counts", lambda x: ht.repeat(x, [0, 2, 1], axis=1), lambda x: np.repeat(x, [0, 2, 1], 1), A((2, 3)))
moved("slice", lambda x: x[1:, ::-2, ..., None], lambda x: x[1:, ::-2, ..., None], A((3, 6, 2)))
moved("slice_strided", lambda x: x[1:9:3, -1:-8:-2], lambda x: x[1:9:3, -1:-8:-2], A((10, 9)))
moved("index", lambda x: x[1, -2], lambda x: x[1, -2], A((3, 6, 2)))
moved("pad", lambda x: ht.pad(x, [(1, 2), (0, 3)]), lambda x: np.pad(x, [(1, 2), (0, 3)]), A((2, 3)))
moved("pad_negative", lambda x: ht.pad(x, [(-1, 2), (1, -1)]), lambda x: np.pad(x, [(0, 2), (1, 0)])[1:, :-1], A((3, 3)))
for _mode in ("reflect", "symmetric", "edge", "wrap"):
    moved(
        f"pad_{_mode}", lambda x, m=_mode: ht.pad(x, [(2, 1), (1, 2)], mode=m),
        lambda x, m=_mode: np.pad(x, [(2, 1), (1, 2)], mode=m), A((3, 4)),
    )  # fmt: skip
moved("tril", lambda x: ht.tril(x, k=1), lambda x: np.tril(x, 1), A((2, 4, 5)))
moved("triu", lambda x: ht.triu(x, k=-1), lambda x: np.triu(x, -1), A((2, 4, 5)))
moved("depth_to_space", lambda x: ht.depth_to_space(x, 2), lambda x: ref.depth_to_space(x, 2, True), A((2, 8, 3, 2)))
moved(
    "depth_to_space_crd",
    lambda x: ht.depth_to_space(x, 2, mode="CRD"),
    lambda x: ref.depth_to_space(x, 2, False),
    A((1, 8, 2, 2)),
)
moved("space_to_depth", lambda x: ht.depth_to_space(ht.space_to_depth(x, 2), 2), lambda x: x, A((1, 2, 4, 6)))
moved(
    "space_to_batch", lambda x: ht.space_to_batch(x, (2, 3), ((1, 0), (0, 2))), ref.space_to_batch, A((2, 3, 4, 2)),
)  # fmt: skip
moved(
    "batch_to_space", lambda x: ht.batch_to_space(x, (2, 3), ((1, 0), (0, 2))),
    ref.batch_to_space, A((12, 2, 2, 2)),
)  # fmt: skip
moved("diagonal", ht.diagonal, lambda x: np.diagonal(x, axis1=-2, axis2=-1), A((2, 4, 3)))
moved(
    "dynamic_slice", lambda x, i: ht.dynamic_slice(x, i, (2, 3)), lambda x, i: x[2:4, 0:3],
    A((4, 5)), A((2,), dtype="int32", values=[9, -4]),
)  # fmt: skip
moved("dynamic_update_slice", ht.dynamic_update_slice, ref.dynamic_update_slice, A((4, 5)), A((2, 3)), A((2,), 0, 2, "int32"))

# -- gather and scatter ------------------------------------------------------------------------------------------------------

moved("take", lambda x, i: ht.take(x, i, axis=1), lambda x, i: np.take(x, i, 1), A((3, 5, 2)), A((2, 4), 0, 5, "int32"))
op(
    "dequantize",
    lambda packed, scales: apply("dequantize", packed, scales, bits=4, block=8, size=23, axis=0, dtype=scales.dtype),
    lambda packed, scales: (
        (np.array([[int(b) >> s & 15 for b in row for s in (0, 4)] for row in packed]) - 8.0) * scales.repeat(8, 1)
    )[:, :23].T,
    A((2, 12), 0, 256, "uint8"), A((2, 3)), dtypes=FLOAT, gradient=True,
)  # fmt: skip
op(
    "round_to_bytes", lambda x, f: apply("round_to_bytes", x, f, shift=64, bits=7, signed=False, low=None, high=100),
    lambda x, f: np.minimum(np.rint(x.astype(np.float64) * f) + 64, 100).astype(np.uint8),
    A((5, 7), -60, 60, "float32"), A((5, 7), 0.5, 1, "float32"), dtypes=FLOAT,
)  # fmt: skip
op(
    "round_to_signed_bytes", lambda x, f: apply("round_to_bytes", x, f, shift=-3, bits=8, signed=True, low=-128, high=None),
    lambda x, f: np.maximum(np.rint(x.astype(np.float64) * f) - 3, -128).astype(np.int8),
    A((5, 7), -300, 120, "float32"), A((5, 7), 0.5, 1, "float32"), dtypes=FLOAT,
)  # fmt: skip
op(
    "dequantize_zeros",
    lambda packed, scales, zeros: apply(
        "dequantize", packed, scales, zeros, bits=2, block=10, size=11, axis=1, dtype=scales.dtype,
    ),
    lambda packed, scales, zeros: (
        np.array([[int(b) >> s & 3 for b in row for s in (0, 2, 4, 6)][:11] for row in packed])
        - zeros.repeat(10, 1)[:, :11].astype(np.float64)
    ) * scales.repeat(10, 1)[:, :11],
    A((3, 3), 0, 256, "uint8"), A((1, 2)), A((1, 2), 0, 4), dtypes=FLOAT, gradient=True,
)  # fmt: skip
moved("take_negative", lambda x, i: ht.take(x, i, axis=0), lambda x, i: np.take(x, i, 0), A((5, 2)), A((6,), -5, 5, "int64"))
moved("take_row", lambda x, i: x[i], lambda x, i: x[i], A((5, 3)), A((), 0, 5, "int32"))
moved(
    "take_along_axis",
    lambda x, i: ht.take_along_axis(x, i, axis=1),
    lambda x, i: np.take_along_axis(x, i, 1),
    A((3, 5)),
    A((3, 4), 0, 5, "int64"),
)
moved("gather_nd", ht.gather_nd, lambda x, i: x[i[..., 0], i[..., 1]], A((3, 3, 4)), A((2, 5, 2), 0, 3, "int64"))
moved(
    "gather_nd_batch", lambda x, i: ht.gather_nd(x, i, batch_dims=1),
    lambda x, i: np.stack([x[b][i[b, :, 0]] for b in range(2)]),
    A((2, 4, 3)), A((2, 5, 1), 0, 4, "int32"),
)  # fmt: skip
moved(
    "getitem_arrays",
    lambda x, i, j: x[i, :, j],
    lambda x, i, j: x[i, :, j],
    A((4, 2, 3)),
    A((5,), 0, 4, "int32"),
    A((5,), 0, 3, "int32"),
)
moved("scatter_nd", ht.scatter_nd, ref.scatter_nd, A((6, 2)), A((3, 1), dtype="int64", values=[[4], [0], [4]]), A((3, 2)))
moved(
    "scatter_along_axis", lambda x, i, u: ht.scatter_along_axis(x, i, u, axis=1), ref.scatter_along,
    A((3, 5)), A((3, 2), dtype="int64", values=[[0, 0], [4, 1], [2, 3]]), A((3, 2)),
)  # fmt: skip
for _how in ("add", "mul", "min", "max"):
    op(
        f"scatter_nd_{_how}", lambda x, i, u, h=_how: ht.scatter_nd(x, i, u, combine=h),
        lambda x, i, u, h=_how: ref.scatter_nd(x, i, u, h), A((6, 2)),
        A((4, 1), dtype="int32", values=[[4], [0], [4], [5]]), A((4, 2)),
        dtypes=("float32", "int32"), gradient=True,
    )  # fmt: skip

# -- reductions --------------------------------------------------------------------------------------------------------------

op(
    "sum",
    ht.sum,
    np.sum,
    A((4, 5)),
    dtypes=("float32", "float64", "float16", "int32", "int64"),
    gradient=True,
    tolerance="sums",
)
op(
    "sum_axes",
    lambda x: ht.sum(x, axis=(0, 2), keepdims=True),
    lambda x: np.sum(x, (0, 2), keepdims=True),
    A((3, 5, 7)),
    gradient=True,
    tolerance="sums",
)
op("sum_long", lambda x: ht.sum(x, axis=-1), lambda x: np.sum(x, -1), A((3, 1000)), tolerance="sums")
op(
    "prod",
    lambda x: ht.prod(x, axis=0),
    lambda x: np.prod(x, 0),
    A((4, 3)),
    dtypes=("float32", "float64", "int32"),
    gradient=True,
    tolerance="sums",
)
op(
    "prod_axes",
    lambda x: ht.prod(x, axis=(0, 2)),
    lambda x: np.prod(x, (0, 2)),
    A((2, 3, 3)),
    dtypes=("float32",),
    gradient=True,
    tolerance="sums",
)
op("max", lambda x: ht.max(x, axis=1), lambda x: np.max(x, 1), A((4, 7)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op(
    "min",
    lambda x: ht.min(x, axis=(0, 1)),
    lambda x: np.min(x, (0, 1)),
    A((4, 7, 2)),
    dtypes=NUMBERS,
    gradient=True,
    tolerance="exact",
)
op(
    "max_nan",
    lambda x: ht.max(x, axis=0),
    lambda x: np.max(x, 0),
    A((2, 3), values=[[1, np.nan, 3], [np.nan, 2, 5]]),
    dtypes=FLOAT,
)
op("mean", lambda x: ht.mean(x, axis=-1), lambda x: np.mean(x, -1), A((3, 9)), gradient=True, tolerance="sums")
op("mean_ints", ht.mean, np.mean, A((3, 9)), dtypes=("int32", "uint8"), tolerance="sums")
op("var", lambda x: ht.var(x, axis=0), lambda x: np.var(x, 0), A((7, 3)), gradient=True, tolerance="sums")
op("std", lambda x: ht.std(x, axis=0, correction=1), lambda x: np.std(x, 0, ddof=1), A((7, 3)), gradient=True, tolerance="sums")
op("any", lambda x: ht.any(x, axis=1), lambda x: np.any(x, 1), A((5, 3), 0, 2), dtypes=("bool", "int32"))
op("all", lambda x: ht.all(x, axis=1), lambda x: np.all(x, 1), A((5, 2), 0, 2), dtypes=("bool", "int32"))
op("count_nonzero", ht.count_nonzero, np.count_nonzero, A((9,), 0, 2), dtypes=("bool", "int32", "float32"))
op(
    "logsumexp",
    lambda x: ht.logsumexp(x, axis=1),
    lambda x: np.log(np.sum(np.exp(x), 1)),
    A((3, 5)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "rows_then_columns",  # as many columns as rows, and as long, but they are not the same elements
    lambda x: ht.sum((x - ht.mean(x, axis=(1, 2), keepdims=True)) ** 2, axis=(0, 2)),
    lambda x: np.sum((x - np.mean(x, (1, 2), keepdims=True)) ** 2, (0, 2)),
    A((3, 3, 2)),
    gradient=True,
    tolerance="sums",
)
op(
    "logsumexp_all",  # its result has no axis, and is a view of a reduction that has one
    ht.logsumexp,
    lambda x: np.log(np.sum(np.exp(x))),
    A((2, 3, 5)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "vector_norm",
    lambda x: ht.vector_norm(x, axis=1),
    lambda x: np.linalg.norm(x, axis=1),
    A((3, 5)),
    gradient=True,
    tolerance="sums",
)
op("argmax", lambda x: ht.argmax(x, axis=1), lambda x: np.argmax(x, 1), A((4, 9), 0, 5), dtypes=NUMBERS)
op(
    "argmin",
    lambda x: ht.argmin(x, axis=0, keepdims=True),
    lambda x: np.argmin(x, 0, keepdims=True),
    A((9, 4), 0, 5),
    dtypes=NUMBERS,
)
op(
    "argmax_last",
    lambda x: ht.argmax(x, axis=1, last=True),
    lambda x: x.shape[1] - 1 - np.argmax(x[:, ::-1], 1),
    A((4, 9), 0, 3),
    dtypes=("int32",),
)
op(
    "cumulative_sum",
    lambda x: ht.cumulative_sum(x, axis=1),
    lambda x: np.cumsum(x, 1),
    A((3, 8)),
    dtypes=("float32", "float64", "int32", "int64"),
    gradient=True,
    tolerance="sums",
)
op(
    "cumulative_sum_reverse", lambda x: ht.cumulative_sum(x, axis=0, exclusive=True, reverse=True),
    lambda x: np.cumsum(x[::-1], 0)[::-1] - x, A((6, 2)), dtypes=("float32", "int32"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "cumulative_sum_reverse_initial", lambda x: ht.cumulative_sum(x, axis=1, include_initial=True, reverse=True),
    lambda x: np.stack([x[:, i:].sum(1) for i in range(5)], 1), dtypes=("float32", "int32"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "cumulative_prod",
    lambda x: ht.cumulative_prod(x, axis=1),
    lambda x: np.cumprod(x, 1),
    A((3, 6)),
    dtypes=("float32", "int32"),
    gradient=True,
    tolerance="sums",
)
op(
    "cumulative_max",
    lambda x: ht.cumulative_max(x, axis=1),
    lambda x: np.maximum.accumulate(x, 1),
    A((3, 9)),
    dtypes=("float32", "int32"),
    gradient=True,
    tolerance="exact",
)
op(
    "cumulative_min",
    lambda x: ht.cumulative_min(x, axis=0),
    lambda x: np.minimum.accumulate(x, 0),
    A((9, 3)),
    dtypes=("float32",),
    gradient=True,
    tolerance="exact",
)

# -- sorting -----------------------------------------------------------------------------------------------------------------

op("sort", lambda x: ht.sort(x, axis=0), lambda x: np.sort(x, 0), A((7, 3)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op(
    "sort_descending",
    lambda x: ht.sort(x, descending=True),
    lambda x: -np.sort(-x),
    A((3, 7)),
    dtypes=("float32", "int32"),
    gradient=True,
)
op("argsort", ht.argsort, lambda x: np.argsort(x, kind="stable"), A((3, 12), 0, 4), dtypes=("int32", "float32", "uint8"))
op(
    "argsort_descending",
    lambda x: ht.argsort(x, descending=True),
    lambda x: np.argsort(-x, kind="stable"),
    A((3, 12), 0, 4),
    dtypes=("int32",),
)
op(
    "top_k",
    lambda x: ht.top_k(x, 3),
    lambda x: (-np.sort(-x)[:, :3], np.argsort(-x, kind="stable")[:, :3]),
    A((4, 9)),
    dtypes=("float32", "int32"),
    gradient=True,
)
op(
    "searchsorted",
    ht.searchsorted,
    np.searchsorted,
    A((5,), values=[-2, 0, 1, 1, 3]),
    A((3, 4), -4, 4),
    dtypes=("float32", "int32"),
)
op("nonzero_bounded", ht.nonzero_bounded, ref.nonzero_bounded, A((3, 5), 0, 2), dtypes=("bool", "int32", "float32"))
op("one_hot", lambda i: ht.one_hot(i, 5), lambda i: np.eye(5)[i], A((3, 2), 0, 5), dtypes=("int32", "int64", "uint8"))
op(
    "nms_bounded", lambda b, s: ht.nms_bounded(b, s, 3, 0.5, 0.1, bound=6), lambda b, s: ref.nms(b, s, 3, 0.5, 0.1, 6),
    A((1, 12, 4), 0, 1), A((1, 2, 12), 0, 1), dtypes=FLOAT,
)  # fmt: skip
op(
    "soft_nms_bounded", lambda b, s: ht.soft_nms_bounded(b, s, 5, 1.0, 0.0, 0.3), lambda b, s: ref.soft_nms(b, s, 5, 0.3),
    A((6, 4), values=[[0, 0, 2, 2], [0, 1, 2, 3], [1, 1, 3, 3], [5, 5, 6, 7], [0, 0, 1, 2], [5, 5, 7, 7]]), A((6,), 0.1, 1),
    dtypes=FLOAT, tolerance="transcendental",
)  # fmt: skip


def distinct(x: Any) -> tuple[Any, ...]:
    """unique_bounded, with zeros where nothing is meant."""
    values, first, inverse, counts, count = ht.unique_bounded(x, in_order=True)
    meant = ht.arange(x.shape[0]) < count
    return ht.where(meant, values, 0), ht.where(meant, first, 0), inverse, ht.where(meant, counts, 0), count


def distinct_reference(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same with a dict."""
    found: dict[Any, list[int]] = {}
    for i, v in enumerate(x.tolist()):
        found.setdefault(v, []).append(i)
    made = [np.zeros(len(x), x.dtype), *(np.zeros(len(x), np.int64) for _ in range(3))]
    for place, (v, at) in enumerate(found.items()):
        made[0][place], made[1][place], made[3][place] = v, at[0], len(at)
        made[2][at] = place
    return (*made, np.array(len(found)))


op("unique_bounded", distinct, distinct_reference, A((9,), 0, 4), dtypes=("int32", "int64"), tolerance="exact")
op(
    "unique_bounded_floats",
    distinct,
    distinct_reference,
    A((6,), values=[2, -1, 2, 0.5, -1, 7]),
    dtypes=FLOAT,
    tolerance="exact",
)
op(  # more columns than are written out: they are sorted by in a loop
    "unique_bounded_rows", lambda x: ht.unique_bounded(ht.take(x, [0, 1, 2, 1, 0, 3], axis=0), axis=0)[1:],
    lambda x: (lambda found: (
        np.append(found[1], [6, 6]), found[2].ravel(), np.append(found[3], [0, 0]), np.array(4)
    ))(np.unique(x[[0, 1, 2, 1, 0, 3]], axis=0, return_index=True, return_inverse=True, return_counts=True)),
    A((4, 20), 0, 2), dtypes=("int32",),
)  # fmt: skip

# -- the rest of the standard ------------------------------------------------------------------------------------------------

op(
    "diff",
    lambda x: ht.diff(x, n=2, axis=0),
    lambda x: np.diff(x, n=2, axis=0),
    A((5, 3)),
    dtypes=("float32", "int32"),
    gradient=True,
)
op(
    "searchsorted_sorter", lambda t, x: ht.searchsorted(t, x, side="right", sorter=ht.argsort(t)),
    lambda t, x: np.searchsorted(t, x, side="right", sorter=np.argsort(t)), A((5,), values=[3, 1, 2, 5, 4]), A((4, 2), 0, 6),
    dtypes=("float32", "int32"),
)  # fmt: skip
op(
    "take_along_axis_broadcast", lambda x, i: ht.take_along_axis(x, i, axis=1), lambda x, i: np.take_along_axis(x, i, 1),
    A((3, 5)), A((1, 4), 0, 5, "int32"), tolerance="exact", gradient=True,
)  # fmt: skip
