"""Rows of the op table: linear algebra and Fourier transforms.

Results are made such that no sign is left open: an eigenvector or a singular vector may as well point the other way. Complex
numbers stay inside: programs take and give real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import hither as ht

from .op_case import Operand, Table

A = Operand
FLOATS = ("float32", "float64")
TABLE = Table()
la, fourier = ht.linalg, ht.fft


def row(name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand, **options: Any) -> None:
    """A row of sums of products, with a gradient."""
    TABLE.op(name, function, reference, *operands, **{"dtypes": FLOATS, "gradient": True, "tolerance": "sums"} | options)


def heavy(x: Any, xp: Any = ht) -> Any:
    """x with a diagonal that makes it regular."""
    return x + xp.asarray(np.diag(np.arange(3.0, 3 + x.shape[-1]))).astype(x.dtype)


def definite(x: Any, xp: Any = ht) -> Any:
    """x·xᵀ with eigenvalues that are positive and far from each other."""
    return xp.matmul(x, xp.moveaxis(x, -1, -2)) / 8 + xp.asarray(np.diag(2.0 ** np.arange(x.shape[-1]))).astype(x.dtype)


def of_heavy(
    name: str, function: Callable[..., Any], reference: Callable[..., Any], shape: tuple[int, ...] = (2, 4, 4)
) -> None:
    """A row of a function of regular matrices."""
    row(name, lambda x: function(heavy(x)), lambda x: reference(heavy(x, np)), A(shape))


of_heavy("det", la.det, np.linalg.det, (2, 3, 3))
row("det_permuted", la.det, np.linalg.det, A((3, 3), values=[[0, 2, 1], [1, 0.5, 0], [2, 1, 0]]))  # rows must be exchanged
of_heavy("slogdet", lambda x: tuple(la.slogdet(x)), lambda x: tuple(np.linalg.slogdet(x)))
of_heavy("inv", la.inv, np.linalg.inv)
of_heavy("matrix_power", lambda x: la.matrix_power(x * 0.5, 3), lambda x: np.linalg.matrix_power(x * 0.5, 3))
of_heavy("matrix_power_negative", lambda x: la.matrix_power(x, -2), lambda x: np.linalg.matrix_power(x, -2), (3, 3))
row("solve", lambda a, b: la.solve(heavy(a), b), lambda a, b: np.linalg.solve(heavy(a, np), b), A((2, 4, 4)), A((4, 3)))
row("solve_vector", lambda a, b: la.solve(heavy(a), b), lambda a, b: np.linalg.solve(heavy(a, np), b), A((4, 4)), A((4,)))
row("cholesky", lambda x: la.cholesky(definite(x)), lambda x: np.linalg.cholesky(definite(x, np)), A((2, 4, 4)))
row(
    "cholesky_upper", lambda x: la.cholesky(definite(x), upper=True), lambda x: np.linalg.cholesky(definite(x, np)).T, A((3, 3))
)
for _mode, _shape in (("reduced", (2, 5, 3)), ("complete", (3, 3)), ("reduced", (2, 4))):
    row(f"qr_{_mode}_{_shape[-1]}", lambda x, m=_mode: tuple(la.qr(heavy_tall(x), mode=m)),
        lambda x, m=_mode: tuple(np.linalg.qr(heavy_tall(x, np), m)), A(_shape))  # fmt: skip


def heavy_tall(x: Any, xp: Any = ht) -> Any:
    """As `heavy`, of matrices that need not be square."""
    return x + xp.asarray(3 * np.eye(*x.shape[-2:])).astype(x.dtype)


def functions_of_eigen(values: Any, vectors: Any, xp: Any) -> Any:
    """The eigenvalues, and the matrix with their square roots: vectors without their signs."""
    return values, xp.matmul(vectors * xp.sqrt(values)[..., None, :], xp.moveaxis(vectors, -1, -2))


def functions_of_singular(u: Any, s: Any, vh: Any, xp: Any) -> Any:
    """The singular values, and the matrix with their squares: vectors without their signs."""
    k = s.shape[-1]
    return s, xp.matmul(u[..., :k] * xp.square(s)[..., None, :], vh[..., :k, :])


for _n in (3, 4):  # odd ones have a column more while they are rotated
    row(
        f"eigh_{_n}", lambda x: functions_of_eigen(*la.eigh(definite(x)), ht),
        lambda x: functions_of_eigen(*np.linalg.eigh(definite(x, np)), np), A((2, _n, _n)),
    )  # fmt: skip
row("eigvalsh", lambda x: la.eigvalsh(definite(x)), lambda x: np.linalg.eigvalsh(definite(x, np)), A((4, 4)))
for _shape in ((2, 4, 3), (3, 5), (4, 4)):
    row(
        f"svd_{_shape[-2]}_{_shape[-1]}",
        lambda x: functions_of_singular(*la.svd(separate(x), full_matrices=False), ht),
        lambda x: functions_of_singular(*np.linalg.svd(separate(x, np), full_matrices=False), np), A(_shape),
    )  # fmt: skip
row("svd_full", lambda x: functions_of_singular(*la.svd(separate(x)), ht),
    lambda x: functions_of_singular(*np.linalg.svd(separate(x, np)), np), A((4, 2)))  # fmt: skip


def gram(x: Any, xp: Any) -> Any:
    """x·xᵀ, of no higher rank than x."""
    return xp.matmul(x, xp.moveaxis(x, -1, -2))


def separate(x: Any, xp: Any = ht) -> Any:
    """x with singular values that are far from each other and from 0."""
    rows, columns = x.shape[-2:]
    apart = np.zeros((rows, columns))
    np.fill_diagonal(apart, 2.0 ** np.arange(1, 1 + min(rows, columns)))
    return x / 4 + xp.asarray(apart).astype(x.dtype)


row("svdvals", lambda x: la.svdvals(separate(x)), lambda x: np.linalg.svdvals(separate(x, np)), A((3, 4)))
row("pinv", lambda x: la.pinv(separate(x)), lambda x: np.linalg.pinv(separate(x, np)), A((2, 4, 3)))
row("matrix_rank", lambda x: la.matrix_rank(gram(x, ht)), lambda x: np.linalg.matrix_rank(gram(x, np)),
    A((2, 4, 2)), gradient=False, tolerance="exact")  # fmt: skip
for _ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
    row(f"matrix_norm_{_ord}", lambda x, o=_ord: la.matrix_norm(separate(x), ord=o, keepdims=True),
        lambda x, o=_ord: np.linalg.matrix_norm(separate(x, np), ord=o, keepdims=True), A((2, 3, 4)))  # fmt: skip
row("cross", lambda a, b: la.cross(a, b, axis=0), lambda a, b: np.linalg.cross(a, b, axis=0), A((3, 4)), A((3, 1)))
row("diagonal_above", lambda x: la.diagonal(x, offset=1), lambda x: np.diagonal(x, 1, -2, -1), A((2, 3, 4)))
row("diagonal_below", lambda x: la.diagonal(x, offset=-2), lambda x: np.diagonal(x, -2, -2, -1), A((2, 3, 4)))
row("trace_above", lambda x: la.trace(x, offset=1), lambda x: np.trace(x, 1, -2, -1), A((2, 3, 4)))
row("hermitian", lambda a, b: hermitian(a, b, ht), lambda a, b: hermitian(a, b, np), A((3, 3)), A((3, 3)))


def hermitian(a: Any, b: Any, xp: Any) -> Any:
    """Eigenvalues of a complex matrix, and its inverse, determinant and a solution by parts."""
    linalg = la if xp is ht else np.linalg
    z = ht.make_complex(a, b) if xp is ht else a + 1j * b
    z = z + xp.asarray(np.diag([4.0, 6.0, 9.0]).astype(z.dtype if xp is np else z.dtype.numpy))
    h = xp.matmul(z, xp.conj(xp.moveaxis(z, -1, -2)))
    inverse = linalg.inv(z)
    return linalg.eigvalsh(h), xp.real(inverse), xp.imag(inverse), xp.abs(linalg.det(z)), linalg.svdvals(z)


# -- Fourier transforms ------------------------------------------------------------------------------------------------


def parts(z: Any, xp: Any) -> Any:
    """Both parts of complex numbers."""
    return xp.real(z), xp.imag(z)


def transform(name: str, shape: tuple[int, ...], **options: Any) -> None:
    """A row of a transform of complex numbers, given and taken by parts."""
    label = "_".join([name, *map(str, shape), *map(str, options.values())])
    TABLE.op(
        label, lambda a, b: parts(getattr(fourier, name)(ht.make_complex(a, b), **options), ht),
        lambda a, b: parts(getattr(np.fft, name)(a + 1j * b, **options), np), A(shape), A(shape), dtypes=FLOATS, gradient=True,
        tolerance="sums",
    )  # fmt: skip


transform("fft", (2, 12))
transform("fft", (3, 5), axis=0, n=4)
transform("fft", (96,), norm="ortho")  # in steps
transform("fft", (2, 257))  # a prime: convolved
transform("ifft", (2, 9), n=7)
transform("ifft", (130,), norm="forward")
transform("fftn", (3, 4, 5))
transform("ifftn", (3, 4, 5), axes=(0, 2), s=(2, 6))
transform("irfft", (2, 7), n=11)
transform("irfft", (5, 3), axis=0)
transform("irfftn", (3, 4))
transform("hfft", (2, 6))
row("rfft", lambda x: parts(fourier.rfft(x), ht), lambda x: parts(np.fft.rfft(x), np), A((3, 10)))
row("rfft_long", lambda x: ht.abs(fourier.rfft(x, n=100)), lambda x: np.abs(np.fft.rfft(x, n=100)), A((2, 96)))
row("rfftn", lambda x: parts(fourier.rfftn(x), ht), lambda x: parts(np.fft.rfftn(x), np), A((3, 6)))
row("ihfft", lambda x: parts(fourier.ihfft(x), ht), lambda x: parts(np.fft.ihfft(x), np), A((2, 7)))
row("fftshift", lambda x: fourier.fftshift(x, axes=1), lambda x: np.fft.fftshift(x, 1), A((3, 5)), tolerance="exact")
row("ifftshift", lambda x: fourier.ifftshift(x), lambda x: np.fft.ifftshift(x), A((3, 5)), tolerance="exact")
