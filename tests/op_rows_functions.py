"""Rows of the op table: sums by index, bands and diagonals, signals, and what TensorFlow and Keras have as functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal

import hither as ht

from .op_case import FLOAT, NUMBERS, Operand, Table

A = Operand
X = A((3, 4))
FLOATS = ("float32", "float64")
TABLE = Table()
op = TABLE.op


def segments(data: np.ndarray, ids: np.ndarray, count: int, fold: Any, start: Any) -> np.ndarray:
    """One slice after another into its segment."""
    made = np.full((count, *data.shape[ids.ndim :]), start, data.dtype)
    for at in np.ndindex(*ids.shape):
        if 0 <= ids[at] < count:
            made[ids[at]] = fold(made[ids[at]], data[at])
    return made


IDS = A((5,), dtype="int32", values=[2, 0, 2, 5, -1])  # two of them are of no segment
op("segment_sum", lambda x, i: ht.segment_sum(x, i, num_segments=4), lambda x, i: segments(x, i, 4, np.add, 0), A((5, 3)), IDS,
   dtypes=("float32", "float64", "int32"), gradient=True, tolerance="sums")  # fmt: skip
op("segment_max", lambda x, i: ht.segment_max(x, i, num_segments=3)[np.array([0, 2])],
   lambda x, i: segments(x, i, 3, np.maximum, -np.inf)[[0, 2]], A((5, 3)), IDS, dtypes=FLOATS, gradient=True,
   tolerance="exact")  # fmt: skip
op("scatter", lambda i, v: ht.scatter(i, v, (3, 4)), lambda i, v: segments(v, i[:, 0], 3, np.add, 0),
   A((4, 1), dtype="int32", values=[[2], [0], [2], [1]]), A((4, 4)), dtypes=FLOATS, gradient=True,
   tolerance="sums")  # fmt: skip
op("bincount_weights", lambda w: ht.bincount([0, 2, 2], w, length=4), lambda w: np.bincount([0, 2, 2], w, 4), A((3,)),
   dtypes=FLOATS, gradient=True)  # fmt: skip
op("confusion_matrix", lambda a, b: ht.confusion_matrix(a, b, num_classes=3),
   lambda a, b: np.array([[((a == i) & (b == j)).sum() for j in range(3)] for i in range(3)]), A((9,), 0, 4), A((9,), -1, 3),
   dtypes=("int32", "int64"), tolerance="exact")  # fmt: skip
op("in_top_k", lambda t, p: ht.in_top_k(t, p, 2), lambda t, p: (np.argsort(-p, -1)[:, :2] == t[:, None]).any(1),
   A((6,), dtype="int32", low=0, high=4), A((6, 5)), dtypes=FLOAT, tolerance="exact")  # fmt: skip
op("isin", lambda x: ht.isin(x, [1, 3]), lambda x: np.isin(x, [1, 3]), A((3, 4), 0, 5), dtypes=("int32", "uint8"))
op("isin_inverted", lambda x, y: ht.isin(x, y, invert=True), lambda x, y: np.isin(x, y, invert=True), A((9,), 0, 5),
   A((2, 2), 0, 5), dtypes=("int32",))  # fmt: skip
op("setdiff1d_bounded", lambda x: (ht.setdiff1d_bounded(x, [1, 3])[0][:2], ht.setdiff1d_bounded(x, [1, 3])[2]),
   lambda x: (np.array([4, 2]), np.array(3)), A((5,), values=[4, 3, 2, 1, 4]), dtypes=("int32", "int64"))  # fmt: skip

# -- diagonals and elementwise ------------------------------------------------------------------------------------------------

for _k in (0, 1, -2):
    op(f"diag_{_k}", lambda x, k=_k: ht.diag(x, k=k), lambda x, k=_k: np.diag(x, k), A((4,)), gradient=True, tolerance="exact")
op("diag_of_matrix", lambda x: ht.diag(x, k=1), lambda x: np.diag(x, 1), X, dtypes=NUMBERS, gradient=True, tolerance="exact")
for _lower, _upper in ((1, 0), (-1, 1), (0, -1)):
    op(f"band_part_{_lower}_{_upper}", lambda x, a=_lower, b=_upper: ht.band_part(x, a, b),
       lambda x, a=_lower, b=_upper: np.triu(np.tril(x, b if b >= 0 else 9), -a if a >= 0 else -9), A((2, 4, 5)),
       gradient=True, tolerance="exact")  # fmt: skip
op("divide_no_nan", ht.divide_no_nan, lambda a, b: np.where(b == 0, 0, a / np.where(b == 0, 1, b)), A((4,)),
   A((4,), values=[2.0, 0.0, -4.0, 0.0]))  # fmt: skip
op("squared_difference", ht.squared_difference, lambda a, b: (a - b) ** 2, X, A((4,)), gradient=True)
op("heaviside", ht.heaviside, np.heaviside, A((5,), values=[-1.0, 0.0, 2.0, -0.0, 3.0]), A((5,)), tolerance="exact")
op("moments", lambda x: ht.moments(x, 0, keepdims=True), lambda x: (x.mean(0, keepdims=True), x.var(0, keepdims=True)), X,
   gradient=True, tolerance="sums")  # fmt: skip
op("dropout", lambda x: (ht.mean(ht.random.dropout(ht.random.key(1), x * 0 + 1, 0.5, noise_shape=(2, 1)), axis=1) % 2),
   lambda x: np.zeros(2), A((2, 64)), dtypes=FLOATS)  # fmt: skip

# -- convolution --------------------------------------------------------------------------------------------------------------


def dilated(x: np.ndarray, w: np.ndarray, step: int, apart: int) -> np.ndarray:
    """The largest sum of each window."""
    h, v = ((n - (k - 1) * apart - 1) // step + 1 for n, k in zip(x.shape[1:3], w.shape))
    made = np.empty((x.shape[0], h, v, x.shape[3]))
    for i, j in np.ndindex(h, v):
        rows, columns = (slice(at * step, at * step + (k - 1) * apart + 1, apart) for at, k in zip((i, j), w.shape))
        made[:, i, j] = (x[:, rows, columns] + w).max((1, 2))
    return made


op("dilation2d", lambda x, w: ht.dilation2d(x, w, strides=2), lambda x, w: dilated(x, w, 2, 1), A((2, 6, 5, 3)), A((2, 3, 3)),
   gradient=True)  # fmt: skip
op("dilation2d_apart", lambda x, w: ht.dilation2d(x, w, dilation=2), lambda x, w: dilated(x, w, 1, 2), A((1, 6, 5, 2)),
   A((2, 2, 2)), gradient=True)  # fmt: skip


def separable(x: np.ndarray, depthwise: np.ndarray, pointwise: np.ndarray) -> np.ndarray:
    """Every filter over its channel, then the channels mixed."""
    m = depthwise.shape[0] // x.shape[1]
    made = [[scipy.signal.correlate(image[i // m], depthwise[i, 0], "valid") for i in range(len(depthwise))] for image in x]
    return np.einsum("oc,nchw->nohw", pointwise, np.array(made))


op("separable_conv", ht.separable_conv, separable, A((2, 3, 6, 5)), A((6, 1, 3, 3)), A((4, 6)), dtypes=FLOATS, gradient=True,
   tolerance="sums")  # fmt: skip

# -- signals ------------------------------------------------------------------------------------------------------------------

WINDOW = scipy.signal.get_window("hann", 8)


def framed(x: np.ndarray, length: int, step: int) -> np.ndarray:
    """Frames along the last axis."""
    return np.stack([x[..., at : at + length] for at in range(0, x.shape[-1] - length + 1, step)], -2)


def spectra(x: np.ndarray) -> np.ndarray:
    """Transforms of windowed frames, padded to 16."""
    return np.fft.rfft(framed(x, 8, 4) * WINDOW, 16)


op("frame", lambda x: ht.signal.frame(x, 4, 3), lambda x: framed(x, 4, 3), A((2, 12)), gradient=True, tolerance="exact")
op("frame_padded", lambda x: ht.signal.frame(x, 4, 3, pad_end=True, pad_value=7, axis=0),
   lambda x: np.moveaxis(framed(np.moveaxis(np.pad(x, [(0, 2), (0, 0)], constant_values=7), 0, -1), 4, 3), 0, -1), A((8, 2)),
   gradient=True, tolerance="exact")  # fmt: skip
for _name in ("hann", "hamming"):
    op(f"{_name}_window", lambda x, n=_name: x * getattr(ht.signal, f"{n}_window")(7, dtype=x.dtype),
       lambda x, n=_name: x * scipy.signal.get_window(n, 7), A((7,)), dtypes=FLOATS, gradient=True)  # fmt: skip
op("symmetric_window", lambda x: x * ht.signal.hann_window(8, periodic=False, dtype=x.dtype), lambda x: x * np.hanning(8),
   A((8,)), dtypes=FLOATS)  # fmt: skip
op("overlap_and_add", lambda x: ht.signal.overlap_and_add(x, 2),
   lambda x: sum(np.pad(x[:, i], [(0, 0), (2 * i, 4 - 2 * i)]) for i in range(3)), A((2, 3, 5)), dtypes=FLOATS, gradient=True,
   tolerance="sums")  # fmt: skip
op("stft", lambda x: ht.abs(ht.signal.stft(x, 8, 4, fft_length=16)), lambda x: np.abs(spectra(x)),
   A((2, 24)), dtypes=FLOATS, gradient=True, tolerance="sums")  # fmt: skip
op("inverse_stft", lambda x: ht.signal.inverse_stft(ht.signal.stft(x, 8, 4), 8, 4)[:, 1:], lambda x: x[:, 1:], A((2, 24)),
   dtypes=FLOATS, gradient=True, tolerance="sums")  # fmt: skip
