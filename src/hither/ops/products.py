"""Products of matrices and vectors: matmul, tensordot, einsum, outer products, diagonals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtypes as dt
from . import elementwise as el
from . import reduce as rd
from .operands import Like, apply, asarray, common_shape, converted, is_traced, lifted, one_axis, promoted, spread
from .shape import moveaxis, pad, permute_dims, reshape, slice_axis


def _operands(a: Like, b: Like, dtype: Any) -> tuple[Any, Any]:
    a, b = asarray(a), asarray(b)
    if dtype is not None and a.dtype.is_integer and b.dtype.is_integer and a.dtype.bits == b.dtype.bits == 8:
        return a, b
    left, right = promoted(a, b)
    return (converted(left, dt.int32), converted(right, dt.int32)) if left.dtype is dt.bool_ else (left, right)


def matmul(x1: Like, x2: Like, /, *, transpose_a: bool = False, transpose_b: bool = False, dtype: Any = None) -> Any:
    """The matrix product, over the last two axes; other axes broadcast, vectors are rows on the left, columns on the right.

    Args:
        transpose_a, transpose_b: multiply by the transpose of that operand's matrices.
        dtype: sum in this dtype and give it as the result's (8-bit integers in int32, say).

    Example:
        >>> import hither as ht
        >>> ht.matmul(ht.ones((2, 3)), ht.ones((3,)))
        Array([3., 3.], dtype=float32)
    """
    a, b = _operands(x1, x2, dtype)
    wanted = None if dtype is None else dt.dtype(dtype)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul takes vectors and matrices, got shapes {a.shape} and {b.shape}; use multiply for scalars")
    row, column = a.ndim == 1, b.ndim == 1
    if row:
        a, transpose_a = reshape(a, (1, a.size)), False
    if column:
        b, transpose_b = reshape(b, (b.size, 1)), False
    made = _stacked(a, b, transpose_a, transpose_b, wanted)
    shape = list(made.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return reshape(made, shape)


def _stacked(a: Any, b: Any, transpose_a: bool, transpose_b: bool, dtype: Any) -> Any:
    params: dict[str, Any] = {"transpose_a": transpose_a, "transpose_b": transpose_b, "dtype": dtype}
    if b.ndim == 2 and a.ndim > 2 and not transpose_a:  # one tall product instead of a stack
        *batch, m, k = a.shape
        made = apply("matmul", reshape(a, (math.prod(batch) * m, k)), b, **params)
        return reshape(made, (*batch, m, made.shape[-1]))
    batch = common_shape(a.shape[:-2], b.shape[:-2])
    if is_traced(a, b):
        a, b = (lifted(x) if tuple(x.shape[:-2]) != batch else x for x in (a, b))
    a, b = spread(a, (*batch, *a.shape[-2:])), spread(b, (*batch, *b.shape[-2:]))
    if len(batch) > 1:  # one batch axis is all that kernels need to know
        flat = math.prod(batch)
        made = apply("matmul", reshape(a, (flat, *a.shape[-2:])), reshape(b, (flat, *b.shape[-2:])), **params)
        return reshape(made, (*batch, *made.shape[-2:]))
    return apply("matmul", a, b, **params)


def vecdot(x1: Like, x2: Like, /, *, axis: int = -1) -> Any:
    """Σ x1·x2 along an axis that both have; complex x1 is conjugated. The result has the dtype that x1 and x2 promote to.

    Raises:
        ValueError: where the extents along the axis differ.
    """
    a, b = promoted(x1, x2)
    for x in (a, b):
        one_axis(axis, x.ndim)
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(f"vecdot: extents {a.shape[axis]} and {b.shape[axis]} along axis {axis} differ")
    made = el.multiply(el.conj(a), b)
    return rd.sum(made, axis=axis, dtype=made.dtype)


def outer(x1: Like, x2: Like, /) -> Any:
    """The products of every element of x1 with every element of x2."""
    a, b = asarray(x1), asarray(x2)
    return el.multiply(reshape(a, (a.size, 1)), reshape(b, (1, b.size)))


def tensordot(x1: Like, x2: Like, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Any:
    """Contraction over pairs of axes: the last `axes` of x1 with the first of x2, or the ones listed."""
    a, b = promoted(x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ValueError(f"tensordot over {axes} axes takes arrays that have them, got shapes {a.shape} and {b.shape}")
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        left, right = [one_axis(i, a.ndim) for i in axes[0]], [one_axis(i, b.ndim) for i in axes[1]]
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ValueError(f"tensordot: axes {left} of shape {a.shape} and {right} of {b.shape} differ in extent")
    free_a = [i for i in range(a.ndim) if i not in left]
    free_b = [i for i in range(b.ndim) if i not in right]
    inner = math.prod(a.shape[i] for i in left)
    rows, columns = [a.shape[i] for i in free_a], [b.shape[i] for i in free_b]
    tall = reshape(permute_dims(a, free_a + left), (math.prod(rows), inner))
    wide = reshape(permute_dims(b, right + free_b), (inner, math.prod(columns)))
    return reshape(matmul(tall, wide), (*rows, *columns))


def diagonal(x: Like, /, *, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Any:
    """A diagonal of two axes, as a new last axis: the main one, or the one `offset` places right of it (left if negative)."""
    x = asarray(x)
    x = moveaxis(x, [axis1, axis2], [0, 1])
    if offset:
        side = int(offset > 0)
        x = slice_axis(x, side, min(max(offset, -offset), x.shape[side]), x.shape[side])
    rows, columns, *rest = x.shape
    n = min(rows, columns)
    flat = reshape(x, (rows * columns, *rest))
    picked = apply(
        "slice", flat, starts=(0,) * flat.ndim, sizes=(n, *rest), steps=(columns + 1 if n > 1 else 1, *([1] * len(rest)))
    )
    return moveaxis(picked, 0, -1) if rest else picked


def trace(x: Like, /, *, offset: int = 0, axis1: int = -2, axis2: int = -1, dtype: Any = None) -> Any:
    """The sum of a diagonal (see `diagonal`), in the dtype that `sum` gives or in `dtype`."""
    return rd.sum(diagonal(x, offset=offset, axis1=axis1, axis2=axis2), axis=-1, dtype=dtype)


def diag(x: Like, /, *, k: int = 0) -> Any:
    """The matrix with a vector on its k-th diagonal, and else zeros; of a matrix, that diagonal.

    Args:
        x: [n], or [m, n].
        k: 0 the main diagonal, above it positive.

    Returns:
        [n + |k|, n + |k|], or a vector.

    Raises:
        ValueError: for other numbers of axes.

    Example:
        >>> import hither as ht
        >>> ht.diag(ht.asarray([1, 2]))
        Array([[1, 0],
               [0, 2]], dtype=int32)
    """
    x = asarray(x)
    if x.ndim == 2:
        return diagonal(x, offset=k)
    if x.ndim != 1:
        raise ValueError(f"diag takes a vector or a matrix, got shape {tuple(x.shape)}")
    n, apart = x.shape[0], max(k, -k)
    # A row of the result and what follows up to its next element of the diagonal: n elements, each with n zeros behind it.
    flat = reshape(pad(reshape(x, (n, 1)), [(0, 0), (0, n)]), (n * (n + 1),))
    square = reshape(flat[: n * n], (n, n))
    return pad(square, [(0, apart), (apart, 0)] if k > 0 else [(apart, 0), (0, apart)])


# -- einsum --------------------------------------------------------------------------------------------------------------------


def einsum(equation: str, /, *operands: Like) -> Any:
    """Sums of products by Einstein's convention, as NumPy's einsum: repeated labels, "..." and implicit outputs included.

    Operands are contracted from left to right, each pair as one batched matrix product.

    Example:
        >>> import hither as ht
        >>> ht.einsum("ij,jk->ik", ht.ones((2, 3)), ht.ones((3, 4))).shape
        (2, 4)
    """
    if not isinstance(equation, str):
        raise TypeError(f'einsum begins with its equation, as in einsum("ij,jk->ik", a, b), got a {type(equation).__name__}')
    arrays = promoted(*operands)
    terms, output = _parse(equation, arrays)
    pending = [_without_repeats(x, labels) for x, labels in zip(arrays, terms, strict=True)]
    left, labels = pending.pop(0)
    while pending:
        right, others = pending.pop(0)
        later = set(output).union(*(names for _, names in pending))
        left, labels = _contract(left, labels, right, others, later)
    gone = [a for a, label in enumerate(labels) if label not in output]
    if gone:
        left = rd.sum(left, axis=gone, dtype=left.dtype)
        labels = [label for label in labels if label in output]
    return permute_dims(left, [labels.index(label) for label in output])


def _parse(equation: str, arrays: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Labels per axis of each operand and of the result; the axes of "..." are labelled "0", "1", … from the right."""
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"einsum {equation!r} names {len(terms)} operands, got {len(arrays)}")
    letters = set(text) - set(",->.")
    if any(not c.isalpha() for c in letters):
        raise ValueError(f"einsum {equation!r}: labels are letters")
    made, widest = [], 0
    for term, x in zip(terms, arrays, strict=True):
        before, dots, after = term.partition("...")
        extra = x.ndim - len(before) - len(after)
        if extra < 0 or (not dots and extra):
            raise ValueError(f"einsum {equation!r}: {term!r} does not fit an array of shape {x.shape}")
        widest = max(widest, extra)
        made.append([*before, *(str(extra - 1 - i) for i in range(extra)), *after])
    ellipsis = [str(widest - 1 - i) for i in range(widest)]
    if arrow:
        before, dots, after = output.partition("...")
        result = [*before, *(ellipsis if dots else []), *after]
    else:
        flat = [label for term in made for label in term]
        result = ellipsis + sorted(label for label in set(flat) if label.isalpha() and flat.count(label) == 1)
    unknown = [label for label in result if not any(label in term for term in made)]
    if unknown or len(set(result)) != len(result):
        raise ValueError(f"einsum {equation!r}: the result's labels appear in an operand, and once each; got {output!r}")
    return made, result


def _without_repeats(x: Any, labels: list[str]) -> tuple[Any, list[str]]:
    """A label twice in one operand means the diagonal of those axes."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ValueError(f"einsum: label {label!r} stands for extents {x.shape[first]} and {x.shape[second]}")
            x = diagonal(x, axis1=first, axis2=second)
            labels = [name for i, name in enumerate(labels) if i not in (first, second)] + [label]
    return x, labels


def _contract(a: Any, left: list[str], b: Any, right: list[str], later: set[str]) -> tuple[Any, list[str]]:
    """One pair: sum each operand's private labels, then one product over batch, free and contracted labels."""
    for mine, others in ((left, right), (right, left)):
        gone = [i for i, label in enumerate(mine) if label not in others and label not in later]
        if gone:
            if mine is left:
                a = rd.sum(a, axis=gone, dtype=a.dtype)
            else:
                b = rd.sum(b, axis=gone, dtype=b.dtype)
            mine[:] = [label for i, label in enumerate(mine) if i not in gone]
    extents: dict[str, int] = {}
    for labels, shape in ((left, a.shape), (right, b.shape)):
        for label, n in zip(labels, shape, strict=True):
            if extents.get(label, 1) != 1 and n not in (1, extents[label]):
                raise ValueError(f"einsum: label {label!r} stands for extents {extents[label]} and {n}")
            extents[label] = max(extents.get(label, 1), n) if 0 not in (n, extents.get(label, 1)) else 0
    shared = [label for label in left if label in right]
    a = spread(a, [extents[label] if label in shared else n for label, n in zip(left, a.shape, strict=True)])
    b = spread(b, [extents[label] if label in shared else n for label, n in zip(right, b.shape, strict=True)])
    batch = [label for label in shared if label in later]
    inner = [label for label in shared if label not in later]
    rows = [label for label in left if label not in shared]
    columns = [label for label in right if label not in shared]

    def size(labels: list[str]) -> int:
        return math.prod(extents[label] for label in labels)

    a = permute_dims(a, [left.index(label) for label in (*batch, *rows, *inner)])
    b = permute_dims(b, [right.index(label) for label in (*batch, *inner, *columns)])
    if not inner:
        a = reshape(a, [extents[label] for label in (*batch, *rows)] + [1] * len(columns))
        b = reshape(b, [extents[label] for label in batch] + [1] * len(rows) + [extents[label] for label in columns])
        return el.multiply(a, b), [*batch, *rows, *columns]
    stack = [size(batch)] if batch else []
    made = matmul(reshape(a, [*stack, size(rows), size(inner)]), reshape(b, [*stack, size(inner), size(columns)]))
    labels = [*batch, *rows, *columns]
    return reshape(made, [extents[label] for label in labels]), labels


__all__ = [
    "diag", "diagonal", "einsum", "matmul", "outer", "tensordot", "trace", "vecdot",
]  # fmt: skip
