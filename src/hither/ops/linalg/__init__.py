"""Linear algebra: the array API standard's `linalg` extension, on stacks of matrices in the last two axes.

Factorisations are loops of array operations (`scan`, `while_loop`), so they are traced, compiled for every target,
differentiated and mapped like anything else. They are meant for matrices of up to some hundred rows: a step works on a whole
stack at once, but it is a step, and LAPACK's blocked algorithms do more in one. float16 is computed in float32. What cannot be
factored (a singular system, a matrix that is not positive definite) gives infinities or NaN: compiled code cannot raise.
"""

from __future__ import annotations

from ..products import diagonal, matmul, outer, tensordot, trace, vecdot
from ..reduce import vector_norm
from ..shape import matrix_transpose
from .elimination import SlogdetResult, cholesky, det, inv, slogdet, solve
from .jacobi import EighResult, SVDResult, eigh, eigvalsh, svd, svdvals
from .norms import cross, matrix_norm, matrix_power, matrix_rank, pinv
from .orthogonal import QRResult, qr

__all__ = [
    "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def __dir__() -> list[str]:
    return list(__all__)
