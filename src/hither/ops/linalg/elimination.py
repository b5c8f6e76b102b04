"""Systems of equations, determinants and Cholesky factors, by elimination: one column a step, whole stacks at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ... import dtypes as dt
from .. import elementwise as el
from .. import reduce as rd
from ..control import scan
from ..creation import arange, eye, full, zeros
from ..indexing import take_along_axis
from ..operands import Like, asarray, broadcasted, converted, promoted, spread
from ..products import diagonal, matmul
from ..shape import concat, expand_dims, reshape
from .stacks import adjoint, column, nonzero, row, ruled, stack_of, staged


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Any
    logabsdet: Any


def _eliminated(rows: Any, n: int) -> tuple[Any, Any]:
    """[B, n, n + m] with zeros below the diagonal of the first n columns, and the sign of the exchanges of rows.

    Gaussian elimination with partial pivoting. Golub and Van Loan, Matrix Computations, 4th edition, algorithm 3.4.1.
    """
    batch, _, width = rows.shape
    index = arange(n)

    def step(carry: Any, k: Any) -> Any:
        rows, sign = carry
        size = el.where(el.greater_equal(index, k), el.abs(column(rows, k)), -1.0)
        pivot = converted(rd.argmax(size, axis=1, keepdims=True), dt.int32)  # [B, 1]
        picked = take_along_axis(rows, spread(expand_dims(pivot, axis=2), (batch, 1, width)), axis=1)
        at_k, at_pivot = (expand_dims(el.equal(index, place), axis=-1) for place in (k, pivot))
        rows = el.where(at_k, picked, el.where(at_pivot, expand_dims(row(rows, k), axis=1), rows))
        below = column(rows, k)
        factor = el.where(el.greater(index, k), el.divide(below, nonzero(column(picked, k))), 0)
        rows = el.subtract(rows, el.multiply(expand_dims(factor, axis=2), picked))
        moved = el.not_equal(reshape(pivot, (batch,)), k)
        return (rows, el.multiply(sign, el.where(moved, -1.0, 1.0))), ()

    return scan(step, (rows, full((batch,), 1, dtype=rows.dtype)), index)[0]


def _back_substituted(upper: Any, right: Any) -> Any:
    """x of upper · x = right, from the last row up."""
    batch, n, m = right.shape
    index = arange(n)

    def step(x: Any, k: Any) -> Any:
        coefficients = row(upper, k)
        known = reshape(matmul(expand_dims(coefficients, axis=1), x), (batch, m))
        value = el.divide(el.subtract(row(right, k), known), column(expand_dims(coefficients, axis=1), k))
        return el.where(expand_dims(el.equal(index, k), axis=-1), expand_dims(value, axis=1), x), ()

    return scan(step, zeros(right.shape, dtype=right.dtype), index, reverse=True)[0]


def _solution(both: Any, n: int) -> Any:
    rows, _ = _eliminated(both, n)
    return _back_substituted(rows[:, :, :n], rows[:, :, n:])


def _solved(a: Any, b: Any) -> Any:
    """A⁻¹ · B of stacks [B, n, n] and [B, n, m], both of which it is differentiated by.

    With X = A⁻¹B: dB = A⁻ᴴ·G and dA = -dB·Xᴴ (Giles, An Extended Collection of Matrix Derivative Results, 2008).
    """
    n = a.shape[-1]
    if not n or not b.size:
        return b
    both = concat([a, b], axis=2)

    def rule(cotangents: Sequence[Any], both: Any, results: Sequence[Any]) -> Any:
        right = _solved(adjoint(both[:, :, :n]), cotangents[0])
        return concat([el.negative(matmul(right, adjoint(results[0]))), right], axis=2)

    return ruled([staged(_solution, both, n=n)], both, rule)[0]


def solve(x1: Like, x2: Like, /) -> Any:
    """x of x1 · x = x2, for stacks of square matrices x1; other axes broadcast.

    Args:
        x1: [..., n, n].
        x2: [n], or [..., n, m].

    Raises:
        ValueError: where shapes do not fit. A singular matrix gives infinities and NaN.

    Example:
        >>> import hither as ht
        >>> ht.linalg.solve(ht.asarray([[2.0, 0.0], [0.0, 4.0]]), ht.asarray([2.0, 2.0]))
        Array([1. , 0.5], dtype=float32)
    """
    a, b = promoted(x1, x2)
    vector = b.ndim == 1
    b = expand_dims(b, axis=-1) if vector else b
    n = a.shape[-1] if a.ndim else 0
    if a.ndim < 2 or a.shape[-2] != n or b.ndim < 2 or b.shape[-2] != n:
        raise ValueError(
            f"solve takes [..., n, n] and [n] or [..., n, m], got shapes {tuple(a.shape)} and {tuple(asarray(x2).shape)}"
        )
    lead = broadcasted(zeros(a.shape[:-2]), zeros(b.shape[:-2]))[0].shape
    left, _, back = stack_of("solve", spread(a, (*lead, n, n)))
    right, _, _ = stack_of("solve", spread(b, (*lead, n, b.shape[-1])))
    made = converted(_solved(left, right), back)
    return reshape(made, (*lead, n)) if vector else reshape(made, (*lead, n, b.shape[-1]))


def inv(x: Like, /) -> Any:
    """The inverse of each square matrix.

    Example:
        >>> import hither as ht
        >>> ht.linalg.inv(ht.asarray([[2.0, 0.0], [0.0, 4.0]]))
        Array([[0.5 , 0.  ],
               [0.  , 0.25]], dtype=float32)
    """
    a, lead, back = stack_of("inv", x, square=True)
    n = a.shape[-1]
    return reshape(converted(_solved(a, spread(eye(n, dtype=a.dtype), a.shape)), back), (*lead, n, n))


def _pivots(name: str, x: Like) -> tuple[Any, Any, tuple[int, ...], Any]:
    a, lead, back = stack_of(name, x, square=True)
    n = a.shape[-1]
    if not n or not a.size:
        return zeros((a.shape[0], n), dtype=a.dtype), full((a.shape[0],), 1, dtype=a.dtype), lead, back
    rows, sign = staged(_eliminated, a, n=n)
    return diagonal(rows), sign, lead, back


def det(x: Like, /) -> Any:
    """The determinant of each square matrix.

    Example:
        >>> import hither as ht
        >>> ht.linalg.det(ht.asarray([[2.0, 1.0], [4.0, 4.0]]))
        Array(4., dtype=float32)
    """
    pivots, sign, lead, back = _pivots("det", x)
    made = el.multiply(sign, rd.prod(pivots, axis=-1))
    return reshape(converted(made, back), lead)


def slogdet(x: Like, /) -> SlogdetResult:
    """The sign (of complex matrices a number of magnitude 1) and the logarithm of the magnitude of each determinant.

    Returns:
        (sign, logabsdet); 0 and -inf for singular matrices.

    Example:
        >>> import hither as ht
        >>> sign, size = ht.linalg.slogdet(ht.asarray([[1.0, 2.0], [3.0, 4.0]]))
        >>> float(sign), round(float(size), 4)
        (-1.0, 0.6931)
    """
    pivots, sign, lead, back = _pivots("slogdet", x)
    sign = el.multiply(sign, rd.prod(el.sign(pivots), axis=-1))
    size = rd.sum(el.log(el.abs(pivots)), axis=-1)
    return SlogdetResult(reshape(converted(sign, back), lead), reshape(converted(size, back.real), lead))


def _factor(a: Any) -> Any:
    """L of Golub and Van Loan, Matrix Computations, 4th edition, algorithm 4.2.1."""
    index = arange(a.shape[-1])

    def step(lower: Any, k: Any) -> Any:
        done = matmul(lower, expand_dims(el.conj(row(lower, k)), axis=-1))
        rest = el.subtract(column(a, k), reshape(done, done.shape[:2]))
        pivot = el.sqrt(el.real(column(expand_dims(rest, axis=1), k)))  # [B, 1]
        pivot = converted(pivot, a.dtype)
        made = el.where(el.equal(index, k), pivot, el.where(el.greater(index, k), el.divide(rest, pivot), 0))
        return el.where(el.equal(index, k), expand_dims(made, axis=-1), lower), ()

    return scan(step, zeros(a.shape, dtype=a.dtype), index)[0]


def cholesky(x: Like, /, *, upper: bool = False) -> Any:
    """The lower triangular L with L·Lᴴ = x of each positive definite matrix, or the upper Lᴴ.

    Only the lower triangle of x is read. NaN where x is not positive definite.

    Example:
        >>> import hither as ht
        >>> ht.linalg.cholesky(ht.asarray([[4.0, 2.0], [2.0, 2.0]]))
        Array([[2., 0.],
               [1., 1.]], dtype=float32)
    """
    a, lead, back = stack_of("cholesky", x, square=True)
    n = a.shape[-1]
    made = converted(staged(_factor, a) if a.size else a, back)
    return reshape(adjoint(made) if upper else made, (*lead, n, n))
