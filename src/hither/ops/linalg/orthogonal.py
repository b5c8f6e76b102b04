"""QR by Householder's reflections. Golub and Van Loan, Matrix Computations, 4th edition, algorithm 5.2.1."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import elementwise as el
from .. import reduce as rd
from ..control import scan
from ..creation import arange, eye, triu
from ..operands import Like, converted, spread
from ..products import matmul
from ..shape import expand_dims, reshape
from .stacks import column, nonzero, stack_of, staged


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Any
    R: Any


def _squares(x: Any) -> Any:
    """Σ |x|² of each row, real."""
    return rd.sum(el.add(el.square(el.real(x)), el.square(el.imag(x))) if x.dtype.kind == "c" else el.square(x), axis=-1)


def _reflected(x: Any, v: Any, scale: Any) -> Any:
    """(I - scale · v · vᴴ) · x."""
    along = matmul(expand_dims(el.conj(v), axis=1), x)  # [B, 1, n]
    return el.subtract(x, el.multiply(expand_dims(el.multiply(v, scale), axis=2), along))


def factored(a: Any, columns: int) -> tuple[Any, Any]:
    """Q [B, m, columns] with orthonormal columns, and R [B, columns, n], of a [B, m, n]; columns is min(m, n) or m."""
    batch, m, n = a.shape
    index = arange(m)

    def reflection(x: Any, k: Any) -> tuple[Any, Any]:
        """v and its scale, such that the reflection leaves nothing of column k below the diagonal."""
        x = el.where(el.greater_equal(index, k), x, 0)
        below = _squares(el.where(el.greater(index, k), x, 0))
        nothing = el.equal(below, 0)  # then nothing is reflected
        head = column(expand_dims(x, axis=1), k)  # [B, 1]
        size = el.abs(head)
        length = el.sqrt(el.where(nothing, 1, el.add(below, reshape(el.square(size), (batch,)))))
        direction = el.where(el.equal(head, 0), 1, el.divide(head, converted(nonzero(size), head.dtype)))
        shift = el.multiply(direction, converted(expand_dims(length, axis=1), head.dtype))
        v = el.where(el.equal(index, k), el.add(head, shift), x)
        scale = el.where(nothing, 0, el.divide(2.0, el.where(nothing, 1, _squares(v))))
        return v, converted(expand_dims(scale, axis=1), x.dtype)

    def forward(r: Any, k: Any) -> Any:
        v, scale = reflection(column(r, k), k)
        return _reflected(r, v, scale), (v, scale)

    def backward(q: Any, reflector: Any) -> Any:
        return _reflected(q, *reflector), ()

    start = spread(eye(m, columns, dtype=a.dtype), (batch, m, columns))
    if not a.size:
        return start, a[:, :columns, :]
    r, reflectors = scan(forward, a, arange(min(m, n)))
    q, _ = scan(backward, start, reflectors, reverse=True)
    return q, triu(r[:, :columns, :])


def qr(x: Like, /, *, mode: str = "reduced") -> QRResult:
    """Q with orthonormal columns and upper triangular R with Q·R = x.

    Args:
        x: [..., m, n].
        mode: "reduced": Q is [..., m, k] and R [..., k, n] with k = min(m, n); "complete": [..., m, m] and [..., m, n].

    Returns:
        (Q, R). Signs are those of LAPACK for real matrices.

    Raises:
        ValueError: for another mode.

    Example:
        >>> import hither as ht
        >>> q, r = ht.linalg.qr(ht.asarray([[3.0, 1.0], [4.0, 2.0]]))
        >>> ht.round(ht.abs(r) * 100) / 100
        Array([[5. , 2.2],
               [0. , 0.4]], dtype=float32)
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode is 'reduced' or 'complete', got {mode!r}")
    a, lead, back = stack_of("qr", x)
    _, m, n = a.shape
    q, r = staged(factored, a, columns=m if mode == "complete" else min(m, n))
    return QRResult(*(reshape(converted(y, back), (*lead, *y.shape[1:])) for y in (q, r)))
