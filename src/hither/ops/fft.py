"""Discrete Fourier transforms: the array API standard's `fft` extension, of any length, along any axes.

Short transforms are products with a matrix. Longer ones are cut into short ones (Cooley and Tukey, An Algorithm for the
Machine Calculation of Complex Fourier Series, 1965, in four steps as Bailey, FFTs in External or Hierarchical Memory, 1990), so
most of the work is products, which every target does well. Lengths with a large prime factor are convolutions of a length
without one (Bluestein, A Linear Filtering Approach to the Computation of the Discrete Fourier Transform, 1970).

Everything is written with complex numbers. Compiled programs compute with pairs of real ones (`passes/pairs.py`), and take and
give real arrays: `real`, `imag` or `abs` of a spectrum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..dtypes import DType
from . import elementwise as el
from .operands import Axis, Like, asarray, axes_of, converted, one_axis, placed, wide_float
from .products import matmul
from .shape import concat, flip, moveaxis, pad, reshape, roll, slice_axis

SHORT = 64  # transforms up to this length are one product
LONGEST_PRIME = 256  # and prime lengths up to this


def _turns(counts: np.ndarray, length: int, sign: int) -> np.ndarray:
    """exp(sign · 2πi · counts / length), of quarter turns exactly. Reduced as integers: large angles would lose digits."""
    counts = sign * counts % length
    quarters, rest = np.divmod(4 * counts, length)
    return np.where(rest == 0, np.array([1, 1j, -1, -1j])[quarters], np.exp(2j * np.pi * counts / length))


@lru_cache(maxsize=256)
def _matrix(length: int, sign: int, dtype: DType) -> np.ndarray:
    index = np.arange(length)
    return _turns(np.multiply.outer(index, index), length, sign).astype(dtype.numpy)


@lru_cache(maxsize=256)
def _twiddles(p: int, q: int, sign: int, dtype: DType) -> np.ndarray:
    return _turns(np.multiply.outer(np.arange(q), np.arange(p)), p * q, sign).astype(dtype.numpy)


@lru_cache(maxsize=64)
def _chirp(length: int, padded: int, sign: int, dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    """Bluestein's factors, and the transform of what is convolved with."""
    chirp = _turns(np.arange(length) ** 2, 2 * length, sign)
    kernel = np.zeros(padded, np.complex128)
    kernel[:length] = chirp.conj()
    kernel[padded - length + 1 :] = chirp[:0:-1].conj()
    return chirp.astype(dtype.numpy), (np.fft.fft(kernel) / padded).astype(dtype.numpy)


def _factor(length: int) -> int:
    """The largest divisor that is short enough for one product; 1 if none is."""
    return next((d for d in range(min(SHORT, length), 1, -1) if length % d == 0), 1)


def _largest_prime(length: int) -> int:
    largest, divisor = 1, 2
    while divisor * divisor <= length:
        while length % divisor == 0:
            largest, length = divisor, length // divisor
        divisor += 1
    return max(largest, length)


def _transform(x: Any, sign: int) -> Any:
    """Σ x[…, j] · exp(sign · 2πi · j · k / n) for each k, of complex x."""
    *rest, n = x.shape
    if n <= SHORT or (n <= LONGEST_PRIME and _factor(n) == 1):
        return matmul(x, _matrix(n, sign, x.dtype)) if x.ndim > 1 else reshape(_transform(reshape(x, (1, n)), sign), (n,))
    if _largest_prime(n) > LONGEST_PRIME:
        return _convolved(x, sign)
    p = _factor(n)
    if p == 1:  # a product of primes between SHORT and LONGEST_PRIME
        p = _largest_prime(n)
    q = n // p
    columns = moveaxis(reshape(x, (*rest, p, q)), -1, -2)  # [q, p]: element j of the signal is j = row + q · column
    turned = el.multiply(_transform(columns, sign), _twiddles(p, q, sign, x.dtype))
    rows = _transform(moveaxis(turned, -1, -2), sign)  # [p, q]
    return reshape(moveaxis(rows, -1, -2), (*rest, n))


def _convolved(x: Any, sign: int) -> Any:
    n = x.shape[-1]
    padded = 1 << (2 * n - 2).bit_length()
    chirp, kernel = _chirp(n, padded, sign, x.dtype)
    wide = _fitted(el.multiply(x, chirp), -1, padded)
    made = _transform(el.multiply(_transform(wide, -1), kernel), 1)
    return el.multiply(slice_axis(made, -1, 0, n), chirp)


# -- lengths, scales, dtypes ------------------------------------------------------------------------------------------------


def _fitted(x: Any, axis: int, n: int) -> Any:
    """x cut, or padded with zeros, to n along an axis."""
    axis = one_axis(axis, x.ndim)
    have = x.shape[axis]
    if have > n:
        return slice_axis(x, axis, 0, n)
    return pad(x, [(0, n - have if a == axis else 0) for a in range(x.ndim)]) if have < n else x


def _length(name: str, n: int) -> int:
    if n < 1:
        raise ValueError(f"{name}: a transform has a length of at least 1, got {n}")
    return n


def _complex(x: Any) -> Any:
    x, _ = wide_float(x)
    return x if x.dtype.kind == "c" else converted(x, dt.promote(x.dtype, dt.complex64))


def _real(name: str, x: Like) -> Any:
    x = asarray(x)
    if x.dtype.kind == "c":
        raise TypeError(f"{name} takes real numbers, got {x.dtype}; take `fft` of complex ones")
    return wide_float(x)[0]


NORMS = {"backward": (0.0, 1.0), "ortho": (0.5, 0.5), "forward": (1.0, 0.0)}  # forward, inverse: n to this power divides


def _scaled(x: Any, n: int, norm: str, inverse: bool) -> Any:
    if norm not in NORMS:
        raise ValueError(f"norm is one of {', '.join(map(repr, NORMS))}, got {norm!r}")
    power = NORMS[norm][inverse]
    return el.multiply(x, n**-power) if power else x


def _along(function: Callable[[Any], Any], x: Any, axis: int) -> Any:
    axis = one_axis(axis, x.ndim)
    return function(x) if axis == x.ndim - 1 else moveaxis(function(moveaxis(x, axis, -1)), -1, axis)


def _one(name: str, x: Any, n: int | None, axis: int, norm: str, inverse: bool) -> Any:
    axis = one_axis(axis, x.ndim)
    n = _length(name, x.shape[axis] if n is None else n)
    made = _along(lambda y: _transform(y, 1 if inverse else -1), _fitted(_complex(x), axis, n), axis)
    return _scaled(made, n, norm, inverse)


def _several(name: str, x: Any, s: Sequence[int] | None, axes: Axis) -> list[tuple[int, int | None]]:
    """(axis, length or None) of each axis that is transformed, in the order given."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    listed = [one_axis(a, x.ndim) for a in ((axes,) if isinstance(axes, int) else axes)]
    axes_of(listed, x.ndim)  # none twice
    if s is not None and len(s) != len(listed):
        raise ValueError(f"{name}: s has a length for each axis, got {len(s)} for {len(listed)} axes")
    return list(zip(listed, [None] * len(listed) if s is None else s, strict=True))


# -- the standard's functions ------------------------------------------------------------------------------------------------


def fft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The discrete Fourier transform along an axis, Σⱼ x[j]·exp(-2πi·jk/n): complex64, or complex128 of 64-bit numbers.

    Args:
        x: real or complex.
        n: cut, or pad with zeros, to this length first.
        norm: what divides: "backward" nothing (then the inverse divides by n), "ortho" √n both ways, "forward" n.

    Raises:
        ValueError: for n < 1, or another norm.

    Example:
        >>> import hither as ht
        >>> ht.fft.fft(ht.asarray([1.0, 0.0, 0.0, 0.0]))
        Array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _one("fft", asarray(x), n, axis, norm, False)


def ifft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `fft`: Σₖ x[k]·exp(2πi·jk/n) / n.

    Example:
        >>> import hither as ht
        >>> ht.real(ht.fft.ifft(ht.fft.fft(ht.asarray([1.0, 2.0]))))
        Array([1., 2.], dtype=float32)
    """
    return _one("ifft", asarray(x), n, axis, norm, True)


def fftn(x: Like, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Any:
    """`fft` along several axes: all, or those listed, cut or padded to the lengths `s`.

    Example:
        >>> import hither as ht
        >>> ht.abs(ht.fft.fftn(ht.ones((2, 2))))
        Array([[4., 0.],
               [0., 0.]], dtype=float32)
    """
    x = asarray(x)
    for axis, n in _several("fftn", x, s, axes):
        x = _one("fftn", x, n, axis, norm, False)
    return _complex(x)


def ifftn(x: Like, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Any:
    """The inverse of `fftn`."""
    x = asarray(x)
    for axis, n in _several("ifftn", x, s, axes):
        x = _one("ifftn", x, n, axis, norm, True)
    return _complex(x)


def rfft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The first n // 2 + 1 elements of the `fft` of real numbers; the others mirror them.

    Raises:
        TypeError: for complex numbers.

    Example:
        >>> import hither as ht
        >>> ht.abs(ht.fft.rfft(ht.asarray([1.0, -1.0, 1.0, -1.0])))
        Array([0., 0., 4.], dtype=float32)
    """
    x = _real("rfft", x)
    made = _one("rfft", x, n, axis, norm, False)
    return slice_axis(made, one_axis(axis, x.ndim), 0, made.shape[axis] // 2 + 1)


def irfft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `rfft`: n real numbers, 2·(elements - 1) unless n is given.

    The imaginary parts of the first element and, for an even n, of the middle one count as zero.

    Example:
        >>> import hither as ht
        >>> ht.fft.irfft(ht.fft.rfft(ht.asarray([1.0, 2.0, 3.0, 4.0])))
        Array([1., 2., 3., 4.], dtype=float32)
    """
    x = _complex(asarray(x))
    axis = one_axis(axis, x.ndim)
    n = _length("irfft", 2 * (x.shape[axis] - 1) if n is None else n)
    half = _fitted(x, axis, n // 2 + 1)
    mirrored = el.conj(flip(slice_axis(half, axis, 1, (n + 1) // 2), axis=axis))
    return el.real(_one("irfft", concat([half, mirrored], axis=axis), n, axis, norm, True))


def rfftn(x: Like, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Any:
    """`rfft` along the last of the axes, `fft` along the others."""
    x = _real("rfftn", x)
    *others, (last, n) = _several("rfftn", x, s, axes)
    x = rfft(x, n=n, axis=last, norm=norm)
    for axis, n in others:
        x = _one("rfftn", x, n, axis, norm, False)
    return x


def irfftn(x: Like, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Any:
    """The inverse of `rfftn`."""
    x = asarray(x)
    *others, (last, n) = _several("irfftn", x, s, axes)
    for axis, count in others:
        x = _one("irfftn", x, count, axis, norm, True)
    return irfft(x, n=n, axis=last, norm=norm)


_SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def hfft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The real `fft` of a signal of which x is the first half; the second mirrors it, conjugated. n as for `irfft`."""
    return irfft(el.conj(_complex(asarray(x))), n=n, axis=axis, norm=_SWAPPED.get(norm, norm))


def ihfft(x: Like, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `hfft`: the first n // 2 + 1 elements of the `ifft` of real numbers."""
    return el.conj(rfft(_real("ihfft", x), n=n, axis=axis, norm=_SWAPPED.get(norm, norm)))


def _frequencies(counts: np.ndarray, n: int, d: float, dtype: Any, device: Any) -> Any:
    wanted = dt.float32 if dtype is None else dt.dtype(dtype)
    if not wanted.is_float:
        raise TypeError(f"frequencies are floats, asked for {wanted}")
    return placed(asarray((counts / (n * d)).astype(wanted.numpy)), device)


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequency of each element of `fft`, in cycles per unit of the sample spacing d: 0, 1, …, -2, -1 over n·d.

    Example:
        >>> import hither as ht
        >>> ht.fft.fftfreq(4)
        Array([ 0.  ,  0.25, -0.5 , -0.25], dtype=float32)
    """
    index = np.arange(_length("fftfreq", n))
    return _frequencies(np.where(index < (n + 1) // 2, index, index - n), n, d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequency of each element of `rfft`: 0, 1, …, n // 2 over n·d.

    Example:
        >>> import hither as ht
        >>> ht.fft.rfftfreq(4)
        Array([0.  , 0.25, 0.5 ], dtype=float32)
    """
    return _frequencies(np.arange(_length("rfftfreq", n) // 2 + 1), n, d, dtype, device)


def _shifted(x: Like, axes: Axis, sign: int) -> Any:
    x = asarray(x)
    listed = axes_of(axes, x.ndim)
    shifts = [x.shape[a] // 2 if sign > 0 else -(x.shape[a] // 2) for a in listed]
    return roll(x, shifts, axis=listed) if listed else x


def fftshift(x: Like, /, *, axes: Axis = None) -> Any:
    """x with the element of frequency zero moved to the middle of these axes (all).

    Example:
        >>> import hither as ht
        >>> ht.fft.fftshift(ht.fft.fftfreq(4))
        Array([-0.5 , -0.25,  0.  ,  0.25], dtype=float32)
    """
    return _shifted(x, axes, 1)


def ifftshift(x: Like, /, *, axes: Axis = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted(x, axes, -1)


__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft", "rfftfreq",
    "rfftn",
]  # fmt: skip


def __dir__() -> list[str]:
    return list(__all__)
