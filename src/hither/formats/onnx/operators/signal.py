"""Discrete Fourier transforms, windows, mel filters. Complex numbers are a last axis of two."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..proto import check_shape, numpy_dtype
from ..registry import Node, operator
from .common import cast
from .movement import padded


def parts(z: Any, dtype: Any) -> Any:
    """Complex numbers as a last axis of two."""
    return ops.stack([cast(ops.real(z), dtype), cast(ops.imag(z), dtype)], axis=-1)


def fourier(node: Node, x: Any, length: int, inverse: bool, onesided: bool) -> Any:
    """The DFT of x [..., n, 1 or 2] along its second to last axis, cut or padded to `length`."""
    node.check(length > 0, f"the DFT length must be positive, got {length}")
    if x.shape[-1] == 1 and onesided and not inverse:
        return parts(ops.fft.rfft(x[..., 0], n=length), x.dtype)
    z = x[..., 0] if x.shape[-1] == 1 else ops.make_complex(x[..., 0], x[..., 1])
    made = (ops.fft.ifft if inverse else ops.fft.fft)(z, n=length)
    return parts(made[..., : length // 2 + 1] if onesided else made, x.dtype)


@operator("DFT")
def dft(node: Node, x: Any, length: Any = None, axis: Any = None) -> Any:
    rank = len(x.shape)
    node.check(rank >= 2 and x.shape[-1] in (1, 2), f"the last axis holds real and imaginary parts, got shape {tuple(x.shape)}")
    if node.opset < 20:
        where = node.axis(node.get("axis", 1), rank)
    else:
        where = node.axis(-2 if axis is None else int(node.scalar(axis, "the axis")), rank)
    node.check(where != rank - 1, "the axis of real and imaginary parts cannot be transformed")
    size = x.shape[where] if length is None else int(node.scalar(length, "the length"))
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    order = [i for i in range(rank) if i != where]
    order.insert(rank - 2, where)
    x = ops.permute_dims(x, tuple(order))
    if inverse and onesided:
        result = real_signal(node, x, (x.shape[-2] - 1) * 2 if length is None else size)
    else:
        result = fourier(node, x, size, inverse, onesided)
    return ops.permute_dims(result, tuple(order.index(i) for i in range(rank)))


def real_signal(node: Node, x: Any, size: int) -> Any:
    """The inverse of a one-sided DFT: the half that is left out mirrors the given one, conjugated."""
    node.check(x.shape[-1] == 2 and size > 0, f"an inverse one-sided DFT takes complex numbers, got shape {tuple(x.shape)}")
    return ops.expand_dims(cast(ops.fft.irfft(ops.make_complex(x[..., 0], x[..., 1]), n=size), x.dtype), axis=-1)


@operator("STFT")
def stft(node: Node, signal: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    hop = int(node.scalar(step, "the frame step"))
    if len(signal.shape) == 2:
        signal = ops.expand_dims(signal, axis=2)
    node.check(len(signal.shape) == 3 and hop > 0, f"shape {tuple(signal.shape)} or step {hop} is not that of a signal")
    node.check(window is not None or length is not None, "needs a window or a frame length")
    size = int(node.scalar(length, "the frame length")) if length is not None else window.shape[0]
    count = (signal.shape[1] - size) // hop + 1
    node.check(0 < size <= signal.shape[1], f"frames of {size} do not fit a signal of {signal.shape[1]}")
    check_shape((signal.shape[0], count, size, 2), 8, node.label)
    index = (np.arange(count)[:, None] * hop + np.arange(size)).astype(np.int32)
    frames = apply("take", signal, Array(index), axis=1)  # [B, frames, size, 1 or 2]
    if window is not None:
        if window.shape[0] < size:
            before = (size - window.shape[0]) // 2
            window = padded(node, window, [before], [size - window.shape[0] - before], "constant")
        frames = frames * ops.reshape(window, (size, 1))
    return fourier(node, frames, size, False, bool(node["onesided"]))


def _window(node: Node, size: Any, coefficients: tuple[float, ...]) -> Any:
    """A sum of cosines over one period (or, symmetric, over one less)."""
    count = int(node.scalar(size, "the size"))
    node.check(count >= 0, f"the size must not be negative, got {count}")
    check_shape((count,), 8, node.label)
    period = count if node["periodic"] else max(count - 1, 1)
    at = np.arange(count) * (2 * np.pi / max(period, 1))
    total = sum(c * (-1) ** k * np.cos(k * at) for k, c in enumerate(coefficients))
    return Array(np.asarray(total).astype(numpy_dtype(node["output_datatype"], node.label)))


@operator("HannWindow")
def hann_window(node: Node, size: Any) -> Any:
    return _window(node, size, (0.5, 0.5))


@operator("HammingWindow")
def hamming_window(node: Node, size: Any) -> Any:
    return _window(node, size, (25 / 46, 21 / 46))


@operator("BlackmanWindow")
def blackman_window(node: Node, size: Any) -> Any:
    return _window(node, size, (0.42, 0.5, 0.08))


@operator("MelWeightMatrix")
def mel_weight_matrix(node: Node, bins: Any, length: Any, rate: Any, low: Any, high: Any) -> Any:
    """Triangles whose corners are evenly spaced on the mel scale 2595·log10(1 + f/700), snapped to DFT bins."""
    count, size, samples = (int(node.scalar(v, "a size")) for v in (bins, length, rate))
    first, last = (float(node.scalar(v, "a frequency")) for v in (low, high))
    node.check(count > 0 and size > 0 and samples > 0 and 0 <= first <= last, "sizes must be positive and frequencies in order")
    spectrum = size // 2 + 1
    check_shape((spectrum, count), 8, node.label)
    ends = 2595 * np.log10(1 + np.array([first, last]) / 700)
    mel = np.arange(count + 2) * ((ends[1] - ends[0]) / (count + 2)) + ends[0]
    corner = np.floor((size + 1) * (700 * (10 ** (mel / 2595) - 1)) / samples).astype(np.int64)
    result = np.zeros((spectrum, count))
    for i in range(count):
        left, peak, right = corner[i : i + 3]
        if left == peak:
            if peak < spectrum:
                result[peak, i] = 1
        else:
            at = np.arange(left, min(peak, spectrum - 1) + 1)
            result[at, i] = (at - left) / (peak - left)
        if right > peak:
            at = np.arange(peak, min(right, spectrum))
            result[at, i] = (right - at) / (right - peak)
    return Array(result.astype(numpy_dtype(node["output_datatype"], node.label)))
