"""Eigenvalues of Hermitian matrices and singular values, by Jacobi's rotations of pairs of columns.

A round rotates n/2 disjoint pairs at once, a sweep of n - 1 rounds meets every pair once (Brent and Luk, The Solution of
Singular-Value and Symmetric Eigenvalue Problems on Multiprocessor Arrays, 1985), and sweeps go on until what is off the
diagonal is rounding error: array operations of one shape throughout, which is what vectors and GPUs want. Small singular values
are as accurate as large ones (Demmel and Veselić, Jacobi's Method is More Accurate than QR, 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import dtypes as dt
from .. import elementwise as el
from .. import reduce as rd
from ..control import fori_loop, while_loop
from ..creation import eye, full, tril
from ..indexing import take_along_axis
from ..operands import Like, converted, spread
from ..products import diagonal, matmul
from ..search import argsort
from ..shape import concat, expand_dims, pad, reshape, take_known
from .orthogonal import factored
from .stacks import adjoint, nonzero, ruled, stack_of, staged

SWEEPS = 24  # at most; some 5 to 10 are enough for whatever has been measured, and what converges late is not worth more


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Any
    S: Any
    Vh: Any


# -- rotations ------------------------------------------------------------------------------------------------


def _rotation(first: Any, second: Any, between: Any) -> tuple[Any, Any, Any]:
    """Sine, tangent of half the angle and phase of `between`, of what makes [[first, between], [.., second]] diagonal.

    Golub and Van Loan, Matrix Computations, 4th edition, section 8.5.2, with the phase taken out first.
    """
    size = el.abs(between)
    still = el.less(size, float(np.finfo(size.dtype.numpy).tiny) / _epsilon(size))  # of matrices that were scaled to 1
    ratio = el.divide(el.subtract(second, first), el.where(still, 1, el.multiply(size, 2)))
    root = el.hypot(ratio, full((), 1, dtype=ratio.dtype))
    tangent = el.divide(el.where(el.less(ratio, 0), -1.0, 1.0), el.add(el.abs(ratio), root))
    tangent = el.where(still, 0, tangent)
    cosine = el.rsqrt(el.add(el.square(tangent), 1))
    sine = el.multiply(cosine, tangent)
    phase = el.where(still, 1, el.divide(between, converted(nonzero(size), between.dtype)))
    return sine, el.divide(sine, el.add(cosine, 1)), phase


def _rotated(x: Any, rotation: tuple[Any, Any, Any]) -> Any:
    """x with columns i and n/2 + i of each matrix rotated, as small changes of what they were (Rutishauser, The Jacobi Method
    for Real Symmetric Matrices, 1966)."""
    s, t, phase = (expand_dims(converted(v, x.dtype), axis=1) for v in rotation)
    half = x.shape[-1] // 2
    first, second = x[:, :, :half], el.multiply(x[:, :, half:], el.conj(phase))
    turned = el.subtract(first, el.multiply(s, el.add(second, el.multiply(t, first))))
    return concat([turned, el.add(second, el.multiply(s, el.subtract(first, el.multiply(t, second))))], axis=2)


def _next_round(n: int) -> np.ndarray:
    """Where the columns of the next round come from: the first stays, the others go round in a circle."""
    half = n // 2
    top, bottom = list(range(half)), list(range(half, n))
    if half > 1:
        top, bottom = [top[0], bottom[0], *top[1:-1]], [*bottom[1:], top[-1]]
    return np.array(top + bottom)


def _even(x: Any, rows: bool) -> Any:
    """With a row (if `rows`) and column of zeros more where the number of columns is odd."""
    odd = x.shape[-1] % 2
    return pad(x, [(0, 0), (0, odd if rows else 0), (0, odd)])


def _swept(turn: Any, unfinished: Any, values: tuple[Any, ...], rounds: int) -> tuple[Any, ...]:
    """`turn` for rounds that make a sweep, and sweeps while they are `unfinished`."""

    def sweep(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        return carry[0] + 1, *fori_loop(0, rounds, lambda _, now: turn(*now), carry[1:])

    def check(carry: tuple[Any, ...]) -> Any:
        return el.logical_and(el.less(carry[0], SWEEPS), unfinished(*carry[1:]))

    return tuple(while_loop(check, sweep, (full((), 0, dtype=dt.int32), *values), bound=SWEEPS)[1:])


def _epsilon(x: Any) -> float:
    return float(np.finfo(x.dtype.numpy).eps)


def _scaled(x: Any) -> tuple[Any, Any]:
    """x by the largest magnitude in each matrix, so that squares neither overflow nor vanish, and that, [B, 1]."""
    scale = nonzero(rd.max(el.abs(x), axis=(1, 2), keepdims=True))
    return el.divide(x, converted(scale, x.dtype)), scale[:, :, 0]


def _size(x: Any) -> Any:
    """Σ |x|² of each matrix."""
    return rd.sum(el.square(el.abs(x)), axis=(1, 2))


# -- eigenvalues ------------------------------------------------------------------------------------------------


def _eigen(a: Any) -> tuple[Any, Any]:
    """Eigenvalues [B, n], ascending, and eigenvectors [B, n, n] of Hermitian a."""
    n = a.shape[-1]
    a, scale = _scaled(a)
    wide = _even(a, rows=True)
    total = wide.shape[-1]
    order = _next_round(total)
    half = total // 2
    apart = np.abs(np.subtract.outer(np.arange(total), np.arange(total)))
    zeroed, outside = apart == half, (apart != 0).astype(a.dtype.real.numpy)  # rounding would keep what a rotation makes 0
    limit = el.multiply(_size(a), _epsilon(a) ** 2)

    def turn(x: Any, vectors: Any) -> tuple[Any, Any]:
        on = el.real(diagonal(x))
        rotation = _rotation(on[:, :half], on[:, half:], diagonal(x[:, :half, half:]))
        x = el.where(zeroed, 0, adjoint(_rotated(adjoint(_rotated(x, rotation)), rotation)))
        return take_known(take_known(x, order, 1), order, 2), take_known(_rotated(vectors, rotation), order, 2)

    def unfinished(x: Any, vectors: Any) -> Any:
        return rd.any(el.greater(_size(el.multiply(x, converted(outside, x.dtype))), limit))

    vectors = spread(eye(total, dtype=a.dtype), wide.shape)
    x, vectors = _swept(turn, unfinished, (wide, vectors), total - 1)
    values = el.real(diagonal(x))
    if total > n:  # the column that was added has stayed by itself, and goes last
        values = el.where(el.equal(el.abs(vectors[:, n, :]), 0), values, np.inf)
    ascending = argsort(values, axis=-1)
    values = take_along_axis(values, ascending, axis=-1)[:, :n]
    return el.multiply(values, scale), take_along_axis(vectors, expand_dims(ascending, axis=1), axis=2)[:, :n, :n]


def _gaps(values: Any, sign: float = 1.0) -> Any:
    """1 / (values[j] - values[i]), 0 where they are equal: there eigenvectors have no derivative."""
    gap = el.multiply(el.subtract(expand_dims(values, axis=1), expand_dims(values, axis=2)), sign)
    return el.where(el.equal(gap, 0), 0, el.divide(1, nonzero(gap)))


def _spread_diagonal(x: Any) -> Any:
    """[B, n] on the diagonals of [B, n, n]."""
    return el.multiply(expand_dims(x, axis=-1), eye(x.shape[-1], dtype=x.dtype))


def _eigen_rule(cotangents: Sequence[Any], a: Any, results: Sequence[Any]) -> Any:
    """V · (diag(dλ) + VᴴdV ∘ F) · Vᴴ, F as in `_gaps`. Giles, An Extended Collection of Matrix Derivative Results, 2008."""
    (of_values, of_vectors), (values, vectors) = cotangents, results
    inner = el.multiply(a, 0) if of_values is None else converted(_spread_diagonal(of_values), a.dtype)
    if of_vectors is not None:
        turned = el.multiply(matmul(adjoint(vectors), of_vectors), converted(_gaps(values), a.dtype))
        inner = el.add(inner, turned)
    return matmul(matmul(vectors, inner), adjoint(vectors))


def eigh(x: Like, /) -> EighResult:
    """Eigenvalues, ascending, and orthonormal eigenvectors (columns) of each symmetric or Hermitian matrix.

    Only the lower triangle of x is read. Gradients of eigenvectors exist where eigenvalues differ, and are meaningful for what
    does not depend on the signs (or phases) of eigenvectors.

    Args:
        x: [..., n, n].

    Returns:
        (eigenvalues [..., n], eigenvectors [..., n, n]).

    Example:
        >>> import hither as ht
        >>> ht.linalg.eigh(ht.asarray([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
        Array([1., 3.], dtype=float32)
    """
    a, lead, back = stack_of("eigh", x, square=True)
    n = a.shape[-1]
    lower = tril(a, k=-1)
    on = converted(el.real(diagonal(a)), a.dtype)
    a = el.add(el.add(lower, adjoint(lower)), _spread_diagonal(on))
    made = ruled(staged(_eigen, a), a, _eigen_rule) if a.size else (el.real(on), a)
    return EighResult(reshape(converted(made[0], back.real), (*lead, n)), reshape(converted(made[1], back), (*lead, n, n)))


def eigvalsh(x: Like, /) -> Any:
    """The eigenvalues of each symmetric or Hermitian matrix, ascending. See `eigh`.

    Example:
        >>> import hither as ht
        >>> ht.linalg.eigvalsh(ht.asarray([[2.0, 1.0], [1.0, 2.0]]))
        Array([1., 3.], dtype=float32)
    """
    return eigh(x).eigenvalues


# -- singular values ------------------------------------------------------------------------------------------------


def _singular(a: Any) -> tuple[Any, Any, Any]:
    """U [B, m, m], S [B, n] and V [B, n, n] of [B, m, n] with m ≥ n.

    Columns are rotated until they are orthogonal to each other (Hestenes, Inversion of Matrices by Biorthogonalization, 1958);
    their lengths are S. Of such columns QR finds the directions alone, and completes them where they vanish or are too few.
    """
    batch, m, n = a.shape
    a, scale = _scaled(a)
    wide = _even(a, rows=False)
    total = wide.shape[-1]
    order = _next_round(total)
    half = total // 2
    # Cosines between columns, as Demmel and Veselić: what is small beside short columns is not small.
    limit, outside = 4 * _epsilon(a) * m**0.5, (1 - np.eye(total)).astype(a.dtype.real.numpy)
    vectors = spread(eye(n, total, dtype=a.dtype), (batch, n, total))

    def lengths(x: Any) -> Any:
        return rd.sum(el.square(el.abs(x)), axis=1)

    def turn(x: Any, vectors: Any) -> tuple[Any, Any]:
        first, second = x[:, :, :half], x[:, :, half:]
        rotation = _rotation(lengths(first), lengths(second), rd.sum(el.multiply(el.conj(first), second), axis=1))
        return take_known(_rotated(x, rotation), order, 2), take_known(_rotated(vectors, rotation), order, 2)

    def unfinished(x: Any, vectors: Any) -> Any:
        root = el.sqrt(lengths(x))
        bound = el.multiply(el.multiply(expand_dims(root, axis=1), expand_dims(root, axis=2)), limit)
        return rd.any(el.greater(el.multiply(el.abs(matmul(adjoint(x), x)), outside), bound))

    x, vectors = _swept(turn, unfinished, (wide, vectors), total - 1)
    values = el.sqrt(lengths(x))
    if total > n:
        values = el.where(rd.any(el.not_equal(el.abs(vectors), 0), axis=1), values, -1.0)
    descending = argsort(values, axis=-1, descending=True)[:, :n]
    values = take_along_axis(values, descending, axis=-1)
    x, vectors = (take_along_axis(v, expand_dims(descending, axis=1), axis=2) for v in (x, vectors))
    q, r = factored(x, m)
    on = diagonal(r)
    turned = el.where(el.equal(on, 0), 1, el.sign(on))
    u = concat([el.multiply(q[:, :, :n], expand_dims(turned, axis=1)), q[:, :, n:]], axis=2)
    return u, el.multiply(values, scale), vectors


def _singular_rule(cotangents: Sequence[Any], a: Any, results: Sequence[Any]) -> Any:
    """By the first n columns of U. Townsend, Differentiating the Singular Value Decomposition, 2016."""
    of_u, of_s, of_v = cotangents
    u, s, v = results
    m, n = a.shape[-2:]
    u = u[:, :, :n]
    row, below = expand_dims(converted(s, a.dtype), axis=1), expand_dims(converted(s, a.dtype), axis=2)
    gaps = converted(_gaps(el.square(s)), a.dtype)
    inner = el.multiply(matmul(adjoint(v), v), 0) if of_s is None else converted(_spread_diagonal(of_s), a.dtype)
    outside: Any = None

    def skew(x: Any) -> Any:
        return el.subtract(x, adjoint(x))

    if of_u is not None:
        of_u = of_u[:, :, :n]
        along = matmul(adjoint(u), of_u)
        inner = el.add(inner, el.multiply(el.multiply(skew(along), gaps), row))
        if a.dtype.kind == "c":  # a common phase of a column of U and of V, which changes neither S nor what they stand for
            inner = el.add(inner, el.divide(el.multiply(skew(along), eye(n, dtype=a.dtype)), el.multiply(row, 2)))
        if m > n:
            outside = el.divide(el.subtract(of_u, matmul(u, along)), row)
    if of_v is not None:
        inner = el.add(inner, el.multiply(below, el.multiply(skew(matmul(adjoint(v), of_v)), gaps)))
    made = matmul(u, inner)
    return matmul(made if outside is None else el.add(made, outside), adjoint(v))


def svd(x: Like, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition x = U · diag(S) · Vh of each matrix.

    Gradients exist where singular values differ and, by U or Vh of matrices that are not square, are not zero. Columns that
    only complete U or Vh to a square matrix are any that do, and have none.

    Args:
        x: [..., m, n]; k = min(m, n).
        full_matrices: whether U is [..., m, m] and Vh [..., n, n], or [..., m, k] and [..., k, n].

    Returns:
        (U, S [..., k], Vh), S descending and real; columns of U and rows of Vh are orthonormal.

    Example:
        >>> import hither as ht
        >>> ht.linalg.svd(ht.asarray([[0.0, 2.0], [1.0, 0.0]])).S
        Array([2., 1.], dtype=float32)
    """
    a, lead, back = stack_of("svd", x)
    _, m, n = a.shape
    k = min(m, n)
    tall = a if m >= n else adjoint(a)
    if a.size:
        u, s, v = ruled(staged(_singular, tall), tall, _singular_rule)
    else:
        rows = max(m, n)
        u = spread(eye(rows, dtype=a.dtype), (a.shape[0], rows, rows))
        s, v = full((a.shape[0], k), 0, dtype=a.dtype.real), spread(eye(k, dtype=a.dtype), (a.shape[0], k, k))
    if m < n:
        u, v = v, u
    if not full_matrices:
        u, v = u[:, :, :k], v[:, :, :k]
    u, vh = converted(u, back), converted(adjoint(v), back)
    s = reshape(converted(s, back.real), (*lead, k))
    return SVDResult(reshape(u, (*lead, *u.shape[1:])), s, reshape(vh, (*lead, *vh.shape[1:])))


def svdvals(x: Like, /) -> Any:
    """The singular values of each matrix, descending. See `svd`.

    Example:
        >>> import hither as ht
        >>> ht.linalg.svdvals(ht.asarray([[0.0, 2.0], [1.0, 0.0]]))
        Array([2., 1.], dtype=float32)
    """
    return svd(x, full_matrices=False).S
