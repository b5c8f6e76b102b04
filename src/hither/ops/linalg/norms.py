"""Norms, powers, ranks and pseudo-inverses of matrices, and products of vectors in space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import elementwise as el
from .. import reduce as rd
from ..creation import eye
from ..operands import Like, asarray, converted, one_axis, promoted, spread, wide_float
from ..products import matmul
from ..shape import expand_dims, matrix_transpose, moveaxis, reshape, stack
from .elimination import inv
from .jacobi import svd, svdvals
from .stacks import adjoint, nonzero, stack_of


def matrix_norm(x: Like, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Any:
    """A norm of each matrix.

    Args:
        x: [..., m, n].
        ord: "fro" √Σ|x|², "nuc" the sum of singular values, 1 and inf the largest sum of magnitudes of a column and of a row
            (-1 and -inf the smallest), 2 and -2 the largest and the smallest singular value.
        keepdims: whether the last two axes stay, with extent 1.

    Raises:
        ValueError: for another ord.

    Example:
        >>> import hither as ht
        >>> ht.linalg.matrix_norm(ht.asarray([[3.0, 0.0], [0.0, 4.0]]))
        Array(5., dtype=float32)
    """
    a, lead, back = stack_of("matrix_norm", x)
    match ord:
        case None | "fro":
            squares = el.square(el.abs(a)) if a.dtype.kind == "c" else el.square(a)
            made = el.sqrt(rd.sum(squares, axis=(1, 2)))
        case "nuc":
            made = rd.sum(svdvals(a), axis=-1)
        case 2 | -2:
            made = (rd.max if ord == 2 else rd.min)(svdvals(a), axis=-1)
        case _ if ord in (1, -1, math.inf, -math.inf):
            sums = rd.sum(el.abs(a), axis=1 if ord in (1, -1) else 2)
            made = (rd.max if ord in (1, math.inf) else rd.min)(sums, axis=-1)
        case _:
            raise ValueError(f"matrix_norm: ord is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return reshape(converted(made, back.real), (*lead, 1, 1) if keepdims else lead)


def matrix_power(x: Like, n: int, /) -> Any:
    """Each square matrix to an integer power: products of squares; of the inverse for a negative n.

    Example:
        >>> import hither as ht
        >>> ht.linalg.matrix_power(ht.asarray([[1.0, 1.0], [0.0, 1.0]]), 5)
        Array([[1., 5.],
               [0., 1.]], dtype=float32)
    """
    x = asarray(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power takes square matrices in the last two axes, got shape {tuple(x.shape)}")
    if n < 0:
        x, n = inv(x), -n
    made = None
    while n:
        if n % 2:
            made = x if made is None else matmul(made, x)
        n //= 2
        x = matmul(x, x) if n else x
    return spread(eye(x.shape[-1], dtype=x.dtype), x.shape) if made is None else made


def _threshold(s: Any, shape: tuple[int, ...], rtol: Like | None) -> Any:
    """What counts as zero, [..., 1]: rtol times the largest singular value."""
    largest = rd.max(s, axis=-1, keepdims=True)
    if rtol is None:
        return el.multiply(largest, max(shape[-2:]) * float(np.finfo(s.dtype.numpy).eps))
    return el.multiply(largest, expand_dims(asarray(rtol, dtype=s.dtype), axis=-1))


def matrix_rank(x: Like, /, *, rtol: Like | None = None) -> Any:
    """How many singular values of each matrix exceed rtol times the largest one, int64.

    Args:
        x: [..., m, n].
        rtol: a number, or one for each matrix; max(m, n) times the dtype's epsilon by default.

    Example:
        >>> import hither as ht
        >>> ht.linalg.matrix_rank(ht.asarray([[1.0, 2.0], [2.0, 4.0]]))
        Array(1, dtype=int64)
    """
    wide, _ = wide_float(x)
    if not wide.size:
        return rd.count_nonzero(wide, axis=(-2, -1))
    s = svdvals(wide)
    return rd.count_nonzero(el.greater(s, _threshold(s, wide.shape, rtol)), axis=-1)


def pinv(x: Like, /, *, rtol: Like | None = None) -> Any:
    """The Moore-Penrose pseudo-inverse of each matrix: singular values up to rtol times the largest one count as zero.

    Args:
        x: [..., m, n].
        rtol: as for `matrix_rank`.

    Returns:
        [..., n, m].

    Example:
        >>> import hither as ht
        >>> ht.linalg.pinv(ht.asarray([[2.0], [0.0]]))
        Array([[0.5, 0. ]], dtype=float32)
    """
    wide, back = wide_float(x)
    if not wide.size:
        return converted(matrix_transpose(wide), back)
    u, s, vh = svd(wide, full_matrices=False)
    kept = el.greater(s, _threshold(s, wide.shape, rtol))
    inverse = el.where(kept, el.divide(1, nonzero(s)), 0)
    made = matmul(el.multiply(adjoint(vh), converted(expand_dims(inverse, axis=-2), wide.dtype)), adjoint(u))
    return converted(made, back)


def cross(x1: Like, x2: Like, /, *, axis: int = -1) -> Any:
    """The vector product of vectors of three elements along an axis; other axes broadcast.

    Raises:
        ValueError: where the axis has another extent than 3.

    Example:
        >>> import hither as ht
        >>> ht.linalg.cross(ht.asarray([1, 0, 0]), ht.asarray([0, 1, 0]))
        Array([0, 0, 1], dtype=int32)
    """
    a, b = promoted(x1, x2)
    for x in (a, b):
        if x.shape[one_axis(axis, x.ndim)] != 3:
            raise ValueError(f"cross takes vectors of 3 elements along axis {axis}, got shape {tuple(x.shape)}")
    (a0, a1, a2), (b0, b1, b2) = ([moveaxis(x, axis, -1)[..., i] for i in range(3)] for x in (a, b))
    made = [
        el.subtract(el.multiply(p, q), el.multiply(r, s))
        for p, q, r, s in ((a1, b2, a2, b1), (a2, b0, a0, b2), (a0, b1, a1, b0))
    ]
    return moveaxis(stack(made, axis=-1), -1, axis)
