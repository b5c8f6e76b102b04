"""Signals: frames, windows, short-time Fourier transforms, with the names of tf.signal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from . import elementwise as el
from .fft import irfft, rfft
from .operands import Like, asarray, one_axis, with_axes
from .shape import pad, reshape, slice_axis, take_known

Window = Callable[..., Any]  # (length, dtype=) → [length]


def cosine_window(window_length: int, a: float, b: float, /, *, periodic: bool = True, dtype: Any = None) -> Any:
    """a - b·cos(2πi/n) for i < window_length, with n the length, or one less if the window is symmetric.

    Args:
        periodic: whether it is one period of something periodic, as transforms take it (as SciPy's fftbins).
        dtype: float32 by default.

    Raises:
        ValueError: for a length below 1.
    """
    if window_length < 1:
        raise ValueError(f"a window has a length of at least 1, got {window_length}")
    if window_length == 1:
        return asarray(np.ones(1), dtype=dtype or dt.float32)
    angle = 2 * np.pi * np.arange(window_length) / (window_length if periodic else window_length - 1)
    return asarray(a - b * np.cos(angle), dtype=dtype or dt.float32)


def hann_window(window_length: int, /, *, periodic: bool = True, dtype: Any = None) -> Any:
    """The raised cosine ½ - ½·cos. Odd lengths are periodic too, where tf.signal makes them symmetric. See `cosine_window`.

    Example:
        >>> import hither as ht
        >>> ht.signal.hann_window(4)
        Array([0. , 0.5, 1. , 0.5], dtype=float32)
    """
    return cosine_window(window_length, 0.5, 0.5, periodic=periodic, dtype=dtype)


def hamming_window(window_length: int, /, *, periodic: bool = True, dtype: Any = None) -> Any:
    """0.54 - 0.46·cos. See `cosine_window`.

    Example:
        >>> import hither as ht
        >>> ht.signal.hamming_window(4)
        Array([0.08, 0.54, 1.  , 0.54], dtype=float32)
    """
    return cosine_window(window_length, 0.54, 0.46, periodic=periodic, dtype=dtype)


def frame(
    signal: Like, frame_length: int, frame_step: int, /, *, pad_end: bool = False, pad_value: Any = 0, axis: int = -1
) -> Any:
    """An axis cut into frames that start every `frame_step` elements: the axis becomes [frames, frame_length].

    Args:
        pad_end: whether frames go on until the signal ends, filled up with `pad_value`; else only whole ones count.

    Raises:
        ValueError: for a length or step below 1.

    Example:
        >>> import hither as ht
        >>> ht.signal.frame(ht.arange(5), 3, 2)
        Array([[0, 1, 2],
               [2, 3, 4]], dtype=int32)
    """
    x = asarray(signal)
    axis = one_axis(axis, x.ndim)
    if frame_length < 1 or frame_step < 1:
        raise ValueError(f"frame takes a length and a step of at least 1, got {frame_length} and {frame_step}")
    n = x.shape[axis]
    count = -(-n // frame_step) if pad_end else max(0, 1 + (n - frame_length) // frame_step)
    missing = max(0, (count - 1) * frame_step + frame_length - n) if count else 0
    x = pad(x, [(0, missing if a == axis else 0) for a in range(x.ndim)], value=pad_value)
    places = (np.arange(count)[:, None] * frame_step + np.arange(frame_length)).reshape(-1)
    return reshape(take_known(x, places, axis), (*x.shape[:axis], count, frame_length, *x.shape[axis + 1 :]))


def overlap_and_add(signal: Like, frame_step: int, /) -> Any:
    """Frames [..., frames, frame_length] put back together: where they overlap they are added.

    Returns:
        [..., (frames - 1) · frame_step + frame_length].

    Example:
        >>> import hither as ht
        >>> ht.signal.overlap_and_add(ht.ones((2, 3)), 2)
        Array([1., 1., 2., 1., 1.], dtype=float32)
    """
    x = with_axes("overlap_and_add", signal, "[..., frames, frame_length]")
    *lead, count, length = x.shape
    parts = -(-length // frame_step)
    rest = [(0, 0)] * len(lead)
    x = reshape(pad(x, [*rest, (0, 0), (0, parts * frame_step - length)]), (*lead, count, parts, frame_step))
    # Part r of frame f lies at step f + r: each part moved to its place, then all added.
    moved = [pad(x[..., r, :], [*rest, (r, parts - 1 - r), (0, 0)]) for r in range(parts)]
    total = moved[0]
    for other in moved[1:]:
        total = el.add(total, other)
    made = reshape(total, (*lead, (count + parts - 1) * frame_step))
    return slice_axis(made, -1, 0, (count - 1) * frame_step + length)


def _sizes(frame_length: int, fft_length: int | None) -> int:
    return 1 << max(frame_length - 1, 0).bit_length() if fft_length is None else fft_length


def stft(
    signals: Like, frame_length: int, frame_step: int, /, *, fft_length: int | None = None,
    window_fn: Window | None = hann_window, pad_end: bool = False,
) -> Any:  # fmt: skip
    """The short-time Fourier transform: the `rfft` of windowed frames, complex.

    Args:
        signals: real [..., samples].
        fft_length: what each frame is padded to; the next power of two by default.
        window_fn: (length, dtype=) → window, or None for none.
        pad_end: as for `frame`.

    Returns:
        [..., frames, fft_length // 2 + 1].

    Example:
        >>> import hither as ht
        >>> ht.signal.stft(ht.ones(1600), 400, 160).shape
        (8, 257)
    """
    x = asarray(signals)
    x = x if x.dtype.is_float else asarray(x, dtype=dt.float32)
    frames = frame(x, frame_length, frame_step, pad_end=pad_end)
    if window_fn is not None:
        frames = el.multiply(frames, window_fn(frame_length, dtype=x.dtype))
    return rfft(frames, n=_sizes(frame_length, fft_length))


def inverse_stft(
    stfts: Like, frame_length: int, frame_step: int, /, *, fft_length: int | None = None,
    window_fn: Window | None = hann_window,
) -> Any:  # fmt: skip
    """The signal whose `stft` is nearest to this one: windowed frames added up, by the sum of squares of their windows.

    Where no window reaches (the first sample of Hann's) the result is 0.

    Args:
        stfts: [..., frames, fft_length // 2 + 1]; the other arguments are those of `stft`.

    Returns:
        Real [..., (frames - 1) · frame_step + frame_length].

    Source: Griffin and Lim, Signal Estimation from Modified Short-Time Fourier Transform, 1984.

    Example:
        >>> import hither as ht
        >>> x = ht.sin(ht.arange(40.0))
        >>> y = ht.signal.inverse_stft(ht.signal.stft(x, 16, 8), 16, 8)
        >>> bool(ht.max(ht.abs(y - x)[1:]) < 1e-5)
        True
    """
    frames = irfft(stfts, n=_sizes(frame_length, fft_length))
    frames = slice_axis(frames, -1, 0, min(frame_length, frames.shape[-1]))
    frames = pad(frames, [(0, 0)] * (frames.ndim - 1) + [(0, frame_length - frames.shape[-1])])
    if window_fn is None:
        window = asarray(np.ones(frame_length), dtype=frames.dtype)
    else:
        window = asarray(window_fn(frame_length, dtype=frames.dtype))
    made = overlap_and_add(el.multiply(frames, window), frame_step)
    squares = np.broadcast_to(np.square(window.numpy()), (frames.shape[-2], frame_length))
    return el.divide_no_nan(made, overlap_and_add(squares, frame_step))


__all__ = [
    "cosine_window", "frame", "hamming_window", "hann_window", "inverse_stft", "overlap_and_add", "stft",
]  # fmt: skip


def __dir__() -> list[str]:
    return list(__all__)
