"""Rows of the op table: products, convolution, pooling, normalisation, control flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hither as ht

from . import references as ref
from . import references_sampling as sampling
from .op_case import FLOAT, FLOATS, Operand, Table

A = Operand
X = A((3, 4))
TABLE = Table()
op = TABLE.op

# -- products ----------------------------------------------------------------------------------------------------------------

PRODUCTS = ("float32", "float64", "float16", "int32")


def product(name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand) -> None:
    """A row of sums of products."""
    op(name, function, reference, *operands, dtypes=PRODUCTS, gradient=True, tolerance="sums")


product("matmul", ht.matmul, np.matmul, A((5, 7)), A((7, 3)))
product("matmul_column", ht.matmul, np.matmul, A((9, 14)), A((14, 1)))  # vectors along k, and two steps that fill none
product("matmul_row", ht.matmul, np.matmul, A((1, 8)), A((8, 9)))  # sums split in four
product("matmul_two_rows", ht.matmul, np.matmul, A((2, 6)), A((6, 9)))  # and in two
product("matmul_far", ht.matmul, np.matmul, A((50, 9)), A((9, 72)))  # so wide that WebAssembly packs what is computed
product("matmul_batch", ht.matmul, np.matmul, A((2, 1, 5, 4)), A((3, 4, 6)))
product("matmul_tall", ht.matmul, np.matmul, A((2, 3, 5, 4)), A((4, 6)))
product("matmul_vectors", ht.matmul, np.matmul, A((9,)), A((9,)))
product("matmul_vector", ht.matmul, np.matmul, A((2, 5, 4)), A((4,)))
product("matmul_ta", lambda a, b: ht.matmul(a, b, transpose_a=True), lambda a, b: a.T @ b, A((7, 5)), A((7, 3)))
product("matmul_tb", lambda a, b: ht.matmul(a, b, transpose_b=True), lambda a, b: a @ b.T, A((5, 7)), A((3, 7)))
product(
    "matmul_tt", lambda a, b: ht.matmul(a, b, transpose_a=True, transpose_b=True), lambda a, b: a.T @ b.T, A((7, 5)), A((3, 7))
)
product(
    "tensordot",
    lambda a, b: ht.tensordot(a, b, axes=([1, 0], [0, 1])),
    lambda a, b: np.tensordot(a, b, ([1, 0], [0, 1])),
    A((3, 4, 5)),
    A((4, 3, 2)),
)
product("vecdot", ht.vecdot, lambda a, b: np.sum(a * b, -1), A((3, 4)), A((3, 4)))
product("outer", ht.outer, np.outer, A((3,)), A((4,)))
for _equation, _shapes in {
    "ij,jk->ik": ((3, 4), (4, 5)), "bij,bkj->bik": ((2, 3, 4), (2, 5, 4)), "ii->i": ((4, 4),), "ij->": ((3, 4),),
    "...ij,...jk": ((2, 3, 4), (4, 5)), "i,j,k->kij": ((2,), (3,), (4,)), "bhqd,bhkd->bhqk": ((1, 2, 3, 4), (1, 2, 5, 4)),
    "ijk,jil->kl": ((2, 3, 4), (3, 2, 5)), "ij,ij->j": ((3, 4), (3, 4)), "a...,...b->a...b": ((2, 3), (3, 4)),
}.items():  # fmt: skip
    product(
        f"einsum_{_equation}", lambda *x, e=_equation: ht.einsum(e, *x), lambda *x, e=_equation: np.einsum(e, *x),
        *[A(s) for s in _shapes],
    )  # fmt: skip
op(
    "matmul_int8", lambda a, b: ht.matmul(a, b, dtype="int32"), lambda a, b: a.astype(np.int32) @ b.astype(np.int32),
    A((5, 40), -128, 127, "int8"), A((40, 6), -128, 127, "int8"), dtypes=("int8",),
)  # fmt: skip
op(
    "matmul_uint8_int8", lambda a, b: ht.matmul(a, b, dtype="int32"), lambda a, b: a.astype(np.int32) @ b.astype(np.int32),
    A((5, 40), 0, 255, "uint8"), A((40, 6), -128, 127, "int8"), dtypes=("int8",),
)  # fmt: skip

# -- convolution and pooling -------------------------------------------------------------------------------------------------

for _label, _x, _w, _options in [
    ("pointwise", (2, 6, 5, 4), (7, 6, 1, 1), {}),
    ("3x3", (1, 3, 8, 7), (5, 3, 3, 3), {"padding": 1}),
    ("strided", (1, 3, 9, 8), (4, 3, 3, 3), {"strides": 2, "padding": ((1, 0), (0, 1))}),
    ("dilated", (1, 2, 9, 9), (3, 2, 3, 3), {"dilation": 2, "padding": 2}),
    ("grouped", (1, 6, 5, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    ("depthwise", (1, 8, 6, 6), (8, 1, 3, 3), {"groups": 8, "padding": 1}),
    ("depthwise_multiplied", (1, 4, 7, 6), (8, 1, 3, 3), {"groups": 4, "strides": 2}),
    ("to_one", (1, 3, 6, 7), (1, 3, 3, 3), {"padding": 1}),
    ("1d", (2, 3, 16), (4, 3, 5), {"strides": 2, "padding": 2}),
    ("3d", (1, 2, 4, 5, 6), (3, 2, 2, 2, 3), {"padding": 1}),
]:  # fmt: skip
    op(
        f"conv_{_label}", lambda x, w, o=_options: ht.conv(x, w, **o), lambda x, w, o=_options: ref.conv(x, w, **o),
        A(_x), A(_w), dtypes=FLOATS, gradient=True, tolerance="sums",
    )  # fmt: skip
    op(
        f"conv_last_{_label}", lambda x, w, o=_options: ht.conv(x, w, layout="channels_last", **o),
        lambda x, w, o=_options: np.moveaxis(ref.conv(np.moveaxis(x, -1, 1), w, **o), 1, -1),
        A((_x[0], *_x[2:], _x[1])), A(_w), dtypes=FLOAT, gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "conv_int8", lambda x, w: ht.conv(x, w, padding=1, dtype="int32"), lambda x, w: ref.conv(x.astype(np.int64), w, padding=1),
    A((1, 3, 5, 5), -128, 127), A((4, 3, 3, 3), -128, 127), dtypes=("int8",),
)  # fmt: skip
op(
    "conv_int8_depthwise", lambda x, w: ht.conv(x, w, padding=1, groups=3, dtype="int32"),
    lambda x, w: ref.conv(x.astype(np.int64), w, padding=1, groups=3),
    A((1, 3, 5, 5), -128, 127), A((6, 1, 3, 3), -128, 127), dtypes=("int8",),
)  # fmt: skip
op(
    "conv_bias", lambda x, w, b: ht.conv(x, w, b, padding="same"), lambda x, w, b: ref.conv(x, w, padding=1) + b[:, None, None],
    A((1, 3, 5, 5)), A((4, 3, 3, 3)), A((4,)), gradient=True, tolerance="sums",
)  # fmt: skip
for _label, _x, _w, _options in [
    ("plain", (1, 3, 4, 5), (3, 2, 3, 3), {}),
    ("strided", (2, 3, 4, 3), (3, 4, 2, 2), {"strides": 2}),
    ("padded", (1, 3, 4, 4), (3, 2, 3, 3), {"strides": 2, "padding": 1, "output_padding": 1}),
    ("dilated", (1, 2, 4, 4), (2, 3, 3, 3), {"dilation": 2, "padding": ((1, 0), (2, 1))}),
    ("grouped", (1, 4, 3, 3), (4, 2, 3, 3), {"groups": 2, "strides": (2, 1)}),
    ("1d", (1, 2, 7), (2, 3, 4), {"strides": 3}),
    ("empty", (1, 2, 1, 1), (2, 3, 3, 3), {"padding": ((0, 0), (2, 1))}),
]:  # fmt: skip
    op(
        f"conv_transpose_{_label}", lambda x, w, o=_options: ht.conv_transpose(x, w, **o),
        lambda x, w, o=_options: ref.conv_transpose(x, w, **o), A(_x), A(_w), gradient=True, tolerance="sums",
    )  # fmt: skip
op(  # strides beyond the window: what no product reaches lies at the end, as what the convolution did not read
    "conv_transpose_same_sparse", lambda x, w: ht.conv_transpose(x, w, strides=4, padding="same"),
    lambda x, w: np.pad(x[:, :, :, None] * w[0, 0], [(0, 0)] * 3 + [(0, 2)]).reshape(1, 1, 12), A((1, 1, 3)), A((1, 1, 2)),
    gradient=True, tolerance="sums",
)  # fmt: skip


def without_window(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a pool by keyword; the window is positional."""
    return {k: v for k, v in options.items() if k != "window"}


for _label, _x, _options in [
    ("2", (2, 3, 6, 8), {"window": 2}),
    ("overlapping", (1, 2, 7, 7), {"window": 3, "strides": 2, "padding": 1}),
    ("uneven", (1, 2, 9, 5), {"window": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (2, 1)}),
    ("1d", (2, 3, 11), {"window": 4, "strides": 3}),
    ("axis_by_axis", (1, 2, 9, 8), {"window": (6, 5), "strides": (1, 2), "padding": ((3, 2), (2, 2))}),
]:  # fmt: skip
    op(
        f"max_pool_{_label}", lambda x, o=_options: ht.max_pool(x, o["window"], **without_window(o)),
        lambda x, o=_options: ref.pool(x, np.max, -np.inf, **o), A(_x), gradient=True, tolerance="exact",
    )  # fmt: skip
    op(
        f"avg_pool_{_label}",
        lambda x, o=_options: ht.avg_pool(x, o["window"], count_include_pad=True, **without_window(o)),
        lambda x, o=_options: ref.pool(x, np.mean, 0.0, **o), A(_x), gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "avg_pool_exclusive", lambda x: ht.avg_pool(x, 3, strides=2, padding=1),
    lambda x: ref.pool(x, np.nanmean, np.nan, window=3, strides=2, padding=1), A((1, 2, 6, 6)), gradient=True, tolerance="sums",
)  # fmt: skip
op(  # windows that would begin in the padding after the input are left out
    "avg_pool_ceil",
    lambda x: ht.avg_pool(x, 2, strides=2, padding=((2, 4),), ceil_mode=True, count_include_pad=True),
    lambda x: np.stack([x[:, :, 0] * 0, (x[:, :, 0] + x[:, :, 1]) / 2, x[:, :, 2] / 2], 2), A((1, 2, 3)), gradient=True,
    tolerance="sums",
)  # fmt: skip
op("max_pool_indices", lambda x: ht.max_pool_with_indices(x, 2)[1], ref.max_pool_indices, A((2, 3, 4, 6)), dtypes=FLOAT)
op(
    "lp_pool",
    lambda x: ht.lp_pool(x, 2),
    lambda x: ref.pool(x, lambda v, axis: np.sqrt(np.sum(v * v, axis=axis)), 0.0, window=2),
    A((1, 2, 4, 4), 0.1, 2),
    gradient=True,
    tolerance="sums",
)
op(
    "global_avg_pool",
    ht.global_avg_pool,
    lambda x: x.mean((2, 3), keepdims=True),
    A((2, 3, 4, 5)),
    gradient=True,
    tolerance="sums",
)
op(
    "global_max_pool",
    ht.global_max_pool,
    lambda x: x.max((2, 3), keepdims=True),
    A((2, 3, 4, 5)),
    gradient=True,
    tolerance="exact",
)

# -- normalisation -----------------------------------------------------------------------------------------------------------

op("softmax", ht.softmax, ref.softmax, A((3, 7), -5, 5), gradient=True, tolerance="transcendental")
op(
    "softmax_axis",
    lambda x: ht.softmax(x, axis=1),
    lambda x: ref.softmax(x, 1),
    A((2, 5, 3)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "softmax_large",
    ht.softmax,
    ref.softmax,
    A((2, 3), values=[[900, 901, 899], [-900, 0, -901]]),
    dtypes=FLOAT,
    tolerance="transcendental",
)
op("log_softmax", ht.log_softmax, lambda x: np.log(ref.softmax(x)), A((3, 7), -5, 5), gradient=True, tolerance="transcendental")
op("hardmax", ht.hardmax, lambda x: np.eye(x.shape[-1])[np.argmax(x, -1)], A((3, 5)), dtypes=("float32", "float16"))
op(
    "batch_norm",
    ht.batch_norm,
    ref.batch_norm,
    A((2, 3, 4)),
    A((3,), 0.5, 2),
    A((3,)),
    A((3,)),
    A((3,), 0.2, 2),
    gradient=True,
    tolerance="sums",
)
op("layer_norm", ht.layer_norm, ref.layer_norm, A((2, 3, 8)), A((8,)), A((8,)), gradient=True, tolerance="sums")
op(
    "rms_norm",
    ht.rms_norm,
    lambda x, s: x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * s,
    A((2, 3, 8)),
    A((8,)),
    gradient=True,
    tolerance="sums",
)
op("instance_norm", ht.instance_norm, ref.instance_norm, A((2, 3, 4, 5)), A((3,)), A((3,)), gradient=True, tolerance="sums")
op(
    "group_norm",
    lambda x, s, b: ht.group_norm(x, 2, s, b),
    lambda x, s, b: ref.group_norm(x, 2, s, b),
    A((2, 4, 3, 2)),
    A((4,)),
    A((4,)),
    gradient=True,
    tolerance="sums",
)
op(
    "local_response_norm",
    lambda x: ht.local_response_norm(x, 3, alpha=0.3),
    lambda x: ref.local_response_norm(x, 3, 0.3),
    A((2, 5, 3)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "lp_normalize",
    ht.lp_normalize,
    lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    A((3, 5)),
    gradient=True,
    tolerance="sums",
)
op(
    "mean_variance_normalize",
    ht.mean_variance_normalize,
    lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / (x.std((0, 2, 3), keepdims=True) + 1e-9),
    A((2, 3, 4, 4)),
    gradient=True,
    tolerance="sums",
)

# -- images ------------------------------------------------------------------------------------------------------------------

for _label, _size in {"up": (7, 9), "down": (2, 3)}.items():
    op(
        f"resize_linear_{_label}", lambda x, m=_size: ht.resize(x, m), lambda x, m=_size: ref.resize_linear(x, m),
        A((1, 2, 4, 5)), gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "resize_nearest", lambda x: ht.resize(x, scales=(2, 3), mode="nearest", transform="asymmetric", nearest="floor"),
    lambda x: x.repeat(2, 2).repeat(3, 3), A((1, 2, 3, 4)), gradient=True, tolerance="exact",
)  # fmt: skip
op(
    "resize_cubic", lambda x: ht.resize(x, (9,), mode="cubic", transform="align_corners"),
    lambda x: ref.resize_matrix(x, 9, -0.75), A((2, 5)), dtypes=("float32", "float64"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "grid_sample",
    ht.grid_sample,
    sampling.grid_sample,
    A((2, 3, 4, 5)),
    A((2, 3, 2, 2), -1.2, 1.2),
    dtypes=FLOAT,
    gradient=True,
    tolerance="sums",
)

SAMPLED: dict[str, Any] = {"dtypes": FLOAT, "gradient": True, "tolerance": "sums"}
ROIS = A((3, 4), values=[[0.6, 0.4, 3.3, 2.9], [1.2, 0.3, 4.4, 3.8], [-2.5, 1.1, 2.2, 5.6]])
OF_IMAGES = A((3,), dtype="int32", values=[0, 1, 1])
op("grid_sample_volume", ht.grid_sample, sampling.grid_sample, A((2, 3, 3, 4, 5)), A((2, 2, 1, 3, 3), -1.2, 1.2), **SAMPLED)
op("affine_grid", lambda t: ht.affine_grid(t, (3, 4)), lambda t: sampling.affine_grid(t, 3, 4), A((2, 2, 3)), **SAMPLED)
for _samples in (0, 2):
    op(
        f"roi_align_{_samples}", lambda x, n, m=_samples: ht.roi_align(x, ROIS.draw("float32", 0), n, (2, 3), samples=m),
        lambda x, n, m=_samples: sampling.roi_align(x, np.asarray(ROIS.values), n, (2, 3), m),
        A((2, 3, 4, 5)), OF_IMAGES, **SAMPLED,
    )  # fmt: skip
op(
    "roi_max_pool", lambda x, r, n: ht.roi_max_pool(x, r, n, (2, 2)), lambda x, r, n: sampling.roi_max_pool(x, r, n, (2, 2)),
    A((2, 3, 4, 5)), ROIS, OF_IMAGES, dtypes=FLOAT, tolerance="exact",
)  # fmt: skip
op(
    "roi_max_pool_slope", lambda x, n: ht.roi_max_pool(x, ROIS.draw("float32", 0), n, (2, 2)),
    lambda x, n: sampling.roi_max_pool(x, ROIS.draw("float64", 0), n, (2, 2)), A((2, 3, 4, 5)), OF_IMAGES, dtypes=FLOAT,
    tolerance="exact", gradient=True,
)  # fmt: skip
CROPS = A((3, 4), values=[[0.1, 0.2, 0.9, 0.8], [0.52, 0.93, 0.2, 0.1], [-0.5, 0.05, 0.55, 1.2]])
for _mode in ("linear", "nearest"):
    op(
        f"crop_and_resize_{_mode}",
        lambda x, n, m=_mode: ht.crop_and_resize(
            x, CROPS.draw("float32", 0), n, (3, 2), mode=m, extrapolation=0.5, layout="channels_last"
        ),
        lambda x, n, m=_mode: sampling.crop_and_resize(x, np.asarray(CROPS.values), n, (3, 2), m == "nearest", 0.5),
        A((2, 4, 5, 3)), OF_IMAGES, **SAMPLED,
    )  # fmt: skip
MAPS = A((2, 8), values=[[0.9, 0.2, -0.3, -0.1, 1.1, 0.4, 0.01, 0.02], [1.2, 0, 0.5, 0, 0.7, 1.1, 0, 0]])
op(
    "projective_transform",
    lambda x: ht.projective_transform(x, MAPS.draw("float32", 0), (3, 6), mode="linear", fill=0.5),
    lambda x: sampling.projective(x, np.asarray(MAPS.values), (3, 6), 0.5),
    A((2, 3, 4, 5)), **SAMPLED,
)  # fmt: skip
op(
    "deform_conv", lambda x, w, o, m: ht.deform_conv(x, w, o, None, m), sampling.deform_conv,
    A((2, 3, 4, 5)), A((4, 3, 2, 2)), A((2, 8, 3, 4)), A((2, 4, 3, 4)), **SAMPLED,
)  # fmt: skip
op(
    "col2im", lambda x: ht.col2im(x, (4, 5), (2, 3), padding=1), lambda x: sampling.col2im(x, (4, 5), (2, 3), 1),
    A((2, 12, 25)), **SAMPLED,
)  # fmt: skip

# -- recurrence --------------------------------------------------------------------------------------------------------------

op(
    "reverse_sequences", ht.reverse_sequences, sampling.reverse_sequences,
    A((5, 3, 2)), A((3,), dtype="int32", values=[5, 0, 3]), gradient=True, tolerance="exact",
)  # fmt: skip
for _label, _steps in {"short": 4, "long": 18}.items():  # written out, and a scan
    op(
        f"lstm_{_label}", ht.lstm, ref.lstm, A((_steps, 2, 3)), A((1, 16, 3), -0.5, 0.5), A((1, 16, 4), -0.5, 0.5), A((1, 32)),
        dtypes=("float32", "float64"), gradient=True, tolerance="sums",
    )  # fmt: skip
    op(
        f"gru_{_label}", lambda *x: ht.gru(*x, direction="reverse", linear_before_reset=True), ref.gru_reverse,
        A((_steps, 2, 3)), A((1, 12, 3), -0.5, 0.5), A((1, 12, 4), -0.5, 0.5), A((1, 24)),
        dtypes=("float32", "float64"), gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "lstm_lengths", lambda x, w, r, b, n: ht.lstm(x, w, r, b, lengths=n), ref.lstm,
    A((5, 3, 2)), A((1, 8, 2)), A((1, 8, 2)), A((1, 16)), A((3,), dtype="int32", values=[5, 1, 3]),
    dtypes=("float32", "float64"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "rnn_both", lambda *x: ht.rnn(*x, direction="bidirectional"), ref.rnn_both,
    A((4, 2, 3)), A((2, 4, 3)), A((2, 4, 4), -0.5, 0.5), dtypes=("float32", "float64"), gradient=True, tolerance="sums",
)  # fmt: skip

# -- control -----------------------------------------------------------------------------------------------------------------

op(
    "cond", lambda x: ht.cond(ht.sum(x) > 0, lambda v: v * v, lambda v: v - 1.0, x),
    lambda x: x * x if x.sum() > 0 else x - 1, A((5,)), dtypes=FLOAT, gradient=True,
)  # fmt: skip
op(
    "cond_closure", lambda x, y: ht.cond(ht.sum(x) < 9, lambda: x * y, lambda: y * 3.0), lambda x, y: x * y,
    A((5,)), A((5,)), dtypes=FLOAT, gradient=True,
)  # fmt: skip
op(
    "fori_loop", lambda x: ht.fori_loop(0, 3, lambda i, v: v * x + i, x), lambda x: ((x * x + 0) * x + 1) * x + 2,
    A((5,)), dtypes=FLOAT, gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "scan", lambda x: ht.scan(lambda c, v: (c + v, c * v), ht.zeros_like(x[0]), x), ref.scan_sums,
    A((4, 3)), dtypes=FLOAT, gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "scan_reverse", lambda x, w: ht.scan(lambda c, v: (c * w + v, c), ht.zeros_like(w), x, reverse=True)[0],
    lambda x, w: ((x[2] * w) + x[1]) * w + x[0], A((3, 2)), A((2,)), dtypes=FLOAT, gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "while_loop", lambda x: ht.while_loop(lambda v: ht.max(v) < 50.0, lambda v: v * v + 1.0, x, bound=20), ref.squared,
    A((4,), 0.5, 2), dtypes=FLOAT, gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "checkpoint", lambda x: ht.checkpoint(lambda v: ht.sin(v) * v)(x), lambda x: np.sin(x) * x,
    A((5,)), dtypes=FLOAT, gradient=True,
)  # fmt: skip
op(
    "grad_of_checkpoint", lambda x: ht.grad(lambda v: ht.sum(ht.checkpoint(lambda u: ht.sin(u) * u)(v)))(x),
    lambda x: np.cos(x) * x + np.sin(x), A((5,)), dtypes=FLOAT, gradient=True, tolerance="sums",
)  # fmt: skip
