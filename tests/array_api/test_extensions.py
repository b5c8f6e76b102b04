"""The standard's extensions `linalg` and `fft`: names, signatures, and on drawn stacks shapes, dtypes and values against
array-api-strict. If these fail, code written for the extensions computes something else on hither, or does not run."""

from __future__ import annotations

import inspect
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import hither as ht

from .strict import name_of, xp
from .test_names import check_arguments
from .test_values import drawn

pytestmark = pytest.mark.filterwarnings("ignore")
FUNCTIONS = [
    (module, name) for module in ("linalg", "fft") for name in sorted(getattr(xp, module).__all__)
    if inspect.isfunction(getattr(getattr(xp, module), name))
]  # fmt: skip
DTYPES = ("float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_the_extension_has_the_function(module: str, name: str) -> None:
    mine = getattr(ht, module)
    assert name in mine.__all__ and name in dir(mine)
    check_arguments(name, getattr(getattr(xp, module), name), getattr(mine, name))


def stacks(square: bool) -> Any:
    """Matrices, or stacks of them, that may be empty."""
    side = st.integers(0, 4)
    shape = st.tuples(side, side).map(lambda s: (s[0], s[0]) if square else s)
    lead = st.lists(st.integers(0, 2), max_size=2).map(tuple)
    return st.tuples(lead, shape, st.sampled_from(DTYPES), st.integers(0, 99)).map(_stack)


def _stack(drawn: Any) -> np.ndarray:
    lead, shape, dtype, seed = drawn
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*lead, *shape))
    return (x + 1j * rng.normal(size=x.shape) if dtype.startswith("c") else x).astype(dtype)


def same(got: Any, expected: Any) -> None:
    """Shape, dtype and values."""
    wanted = np.asarray(expected)
    assert name_of(got.dtype) == name_of(expected.dtype) and got.shape == expected.shape
    scale = np.abs(wanted).max() if wanted.size else 1
    tolerance = 1e-3 if wanted.dtype.name in ("float32", "complex64") else 1e-8
    np.testing.assert_allclose(got.numpy(), wanted, rtol=tolerance, atol=tolerance * scale)


def adjoint(x: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(x, -1, -2))


@drawn
@given(stacks(square=True), st.data())
def test_functions_of_square_matrices(x: np.ndarray, data: Any) -> None:
    n = x.shape[-1]
    x = (x + 4 * np.eye(n)).astype(x.dtype)
    mine, theirs = ht.asarray(x), xp.asarray(x)
    for name in ("det", "inv"):
        same(getattr(ht.linalg, name)(mine), getattr(xp.linalg, name)(theirs))
    for one, other in zip(ht.linalg.slogdet(mine), xp.linalg.slogdet(theirs)):
        same(one, other)
    power = data.draw(st.integers(-2, 3))
    same(ht.linalg.matrix_power(mine, power), xp.linalg.matrix_power(theirs, power))
    right = np.ones((n, 2), x.dtype)
    same(ht.linalg.solve(mine, ht.asarray(right)), xp.linalg.solve(theirs, xp.asarray(right)))
    definite = (x @ adjoint(x)).astype(x.dtype)
    upper = data.draw(st.booleans())
    same(ht.linalg.cholesky(ht.asarray(definite), upper=upper), xp.linalg.cholesky(xp.asarray(definite), upper=upper))
    values, vectors = ht.linalg.eigh(ht.asarray(definite))
    same(values, xp.linalg.eigh(xp.asarray(definite)).eigenvalues)
    same(ht.linalg.eigvalsh(ht.asarray(definite)), xp.linalg.eigvalsh(xp.asarray(definite)))
    assert name_of(vectors.dtype) == x.dtype.name and vectors.shape == x.shape
    close(vectors.numpy() * values.numpy()[..., None, :] @ adjoint(vectors.numpy()), definite)
    close(adjoint(vectors.numpy()) @ vectors.numpy(), np.broadcast_to(np.eye(n), x.shape))


def close(got: np.ndarray, expected: np.ndarray) -> None:
    """Values, up to rounding."""
    rough = 1e-4 if got.dtype.name in ("float32", "complex64") else 1e-10
    np.testing.assert_allclose(got, expected, atol=rough * max(np.abs(expected).max(initial=1), 1))


@drawn
@given(stacks(square=False), st.data())
def test_functions_of_matrices(x: np.ndarray, data: Any) -> None:
    mine, theirs = ht.asarray(x), xp.asarray(x)
    mode = data.draw(st.sampled_from(["reduced", "complete"]))
    for one, other in zip(ht.linalg.qr(mine, mode=mode), xp.linalg.qr(theirs, mode=mode)):
        assert one.shape == other.shape and name_of(one.dtype) == name_of(other.dtype)
    q, r = (y.numpy() for y in ht.linalg.qr(mine, mode=mode))
    close(q @ r, x)
    close(adjoint(q) @ q, np.broadcast_to(np.eye(q.shape[-1]), (*q.shape[:-2], q.shape[-1], q.shape[-1])))
    full = data.draw(st.booleans())
    made, wanted = ht.linalg.svd(mine, full_matrices=full), xp.linalg.svd(theirs, full_matrices=full)
    for one, other in zip(made, wanted):
        assert one.shape == other.shape and name_of(one.dtype) == name_of(other.dtype)
    same(made.S, wanted.S)
    u, s, vh = (y.numpy() for y in made)
    k = s.shape[-1]
    close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x)
    same(ht.linalg.svdvals(mine), xp.linalg.svdvals(theirs))
    same(ht.linalg.trace(mine), xp.linalg.trace(theirs))
    offset = data.draw(st.integers(-5, 5))
    same(ht.linalg.diagonal(mine, offset=offset), xp.linalg.diagonal(theirs, offset=offset))
    if x.size:
        same(ht.linalg.pinv(mine), xp.linalg.pinv(theirs))
        same(ht.linalg.matrix_rank(mine), xp.linalg.matrix_rank(theirs))
        for ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
            same(ht.linalg.matrix_norm(mine, ord=ord), xp.linalg.matrix_norm(theirs, ord=ord))
        for ord in (0, 1, 2, 3, np.inf, -np.inf):
            same(ht.linalg.vector_norm(mine, axis=-1, ord=ord), xp.linalg.vector_norm(theirs, axis=-1, ord=ord))


@drawn
@given(st.data())
def test_transforms(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    dtype = data.draw(st.sampled_from(["32", "64"]))
    norm = data.draw(st.sampled_from(["backward", "ortho", "forward"]))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    real, double = f"float{dtype}", {"32": "complex64", "64": "complex128"}[dtype]
    for name in ("fft", "ifft", "irfft", "hfft", "rfft", "ihfft"):
        x = _stack((shape[:-1], shape[-1:], real if name in ("rfft", "ihfft") else double, 1))
        n = data.draw(st.integers(1, 7))
        options = {"n": n, "axis": axis, "norm": norm}
        same(getattr(ht.fft, name)(ht.asarray(x), **options), getattr(xp.fft, name)(xp.asarray(x), **options))
    axes = data.draw(st.permutations(range(len(shape))).map(lambda p: tuple(p[: max(1, len(p) - 1)])))
    s = tuple(data.draw(st.integers(1, 6)) for _ in axes)
    for name in ("fftn", "ifftn", "irfftn", "rfftn"):
        x = _stack((shape[:-1], shape[-1:], real if name == "rfftn" else double, 2))
        options = {"s": s, "axes": axes, "norm": norm}
        same(getattr(ht.fft, name)(ht.asarray(x), **options), getattr(xp.fft, name)(xp.asarray(x), **options))
    for name in ("fftshift", "ifftshift"):
        same(getattr(ht.fft, name)(ht.asarray(x), axes=axes), getattr(xp.fft, name)(xp.asarray(x), axes=axes))


@pytest.mark.parametrize("n", [1, 4, 7])
def test_frequencies(n: int) -> None:
    for name in ("fftfreq", "rfftfreq"):
        got = getattr(ht.fft, name)(n, d=0.5, dtype=ht.float64)
        same(got, getattr(xp.fft, name)(n, d=0.5, dtype=xp.float64))
        assert getattr(ht.fft, name)(n).dtype is ht.float32


def test_results_have_names() -> None:
    """Of the standard's namedtuples."""
    x = ht.asarray(np.eye(2))
    assert ht.linalg.eigh(x)._fields == ("eigenvalues", "eigenvectors") and ht.linalg.qr(x)._fields == ("Q", "R")
    assert ht.linalg.svd(x)._fields == ("U", "S", "Vh") and ht.linalg.slogdet(x)._fields == ("sign", "logabsdet")


def test_what_is_wrong_is_refused() -> None:
    x = ht.ones((2, 3))
    for name in ("cholesky", "det", "eigh", "inv", "slogdet"):
        with pytest.raises(ValueError, match=f"{name} takes square matrices.*\\(2, 3\\)"):
            getattr(ht.linalg, name)(x)
    with pytest.raises(ValueError, match="solve takes"):
        ht.linalg.solve(x, x)
    with pytest.raises(ValueError, match="3 elements"):
        ht.linalg.cross(ht.ones((2, 2)), ht.ones((2, 2)))
    with pytest.raises(ValueError, match="mode is"):
        ht.linalg.qr(x, mode="r")
    with pytest.raises(TypeError, match="rfft takes real numbers"):
        ht.fft.rfft(ht.ones(3, dtype="complex64"))
    with pytest.raises(ValueError, match="norm is one of"):
        ht.fft.fft(x, norm="both")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ht.fft.fft(x, n=0)
