"""Complex numbers in compiled programs, as pairs of real ones (`passes/pairs.py`).

If these fail, a spectrum, a root or a phasor is another number on a device than on NumPy, or what cannot be said in real
numbers fails without a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import UnsupportedFeature

RNG = np.random.default_rng(0)
A, B, C, D = (RNG.normal(size=(3, 4)).astype(np.float32) for _ in range(4))
A[0] = [0, 1, -2, 0]  # on the axes, and on the branch cut of logarithm and root
B[0] = [0, 0, 0, -3]


def by_parts(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of complex numbers as one of real and imaginary parts."""

    def run(*parts: Any) -> Any:
        made = function(*(ht.make_complex(a, b) for a, b in zip(parts[::2], parts[1::2])))
        return ht.real(made), ht.imag(made)

    return run


def check(made: Any, expected: np.ndarray) -> None:
    real, imag = (part.numpy() for part in made)
    np.testing.assert_allclose(real, expected.real, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(imag, expected.imag, rtol=2e-5, atol=2e-6)


UNARY = {
    "exp": np.exp, "expm1": lambda z: np.exp(z) - 1, "log1p": lambda z: np.log(1 + z), "sqrt": np.sqrt, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "sign": np.sign, "conj": np.conj,
    "negative": np.negative, "round": np.round, "square": np.square,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_functions(name: str) -> None:
    expected = UNARY[name](A.astype(np.float64) + 1j * B)
    check(ht.jit(by_parts(getattr(ht, name)))(A, B), expected)


@pytest.mark.parametrize("name", ["reciprocal", "log"])
def test_functions_that_have_a_pole(name: str) -> None:
    expected = {"reciprocal": np.reciprocal, "log": np.log}[name](A[1:].astype(np.float64) + 1j * B[1:])
    check(ht.jit(by_parts(getattr(ht, name)))(A[1:], B[1:]), expected)


def test_powers_of_zero_and_logarithms_of_large_numbers() -> None:
    """0 to a negative power is no zero, and squares overflow long before a logarithm does."""
    power = np.array([2, 0, -1, -0.5, 1 + 3j, 1j], np.complex64)
    real, imag = ht.jit(by_parts(ht.pow))(*np.zeros((2, 6), np.float32), power.real.copy(), power.imag.copy())
    np.testing.assert_array_equal(real.numpy(), [0, 1, np.nan, np.nan, 0, np.nan])
    np.testing.assert_array_equal(imag.numpy(), [0, 0, np.nan, np.nan, 0, np.nan])
    large = np.array([1e20 + 1e20j, -3e30 + 1j, 1e12j, 1e-5 + 1e-6j])
    parts = large.real.astype(np.float32), large.imag.astype(np.float32)
    check(ht.jit(by_parts(ht.log1p))(*parts), np.log(1 + (parts[0].astype(np.float64) + 1j * parts[1])))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "pow"])
def test_arithmetic(name: str) -> None:
    expected = getattr(np, {"pow": "power"}.get(name, name))(A.astype(np.float64) + 1j * B, C.astype(np.float64) + 1j * D)
    check(ht.jit(by_parts(getattr(ht, name)))(A, B, C, D), expected)


def test_quotients_of_large_and_small_numbers_do_not_overflow() -> None:
    large, small = np.float32(1e30), np.float32(1e-30)
    check(ht.jit(by_parts(ht.divide))(*(np.full(1, v) for v in (large, large, large, -large))), np.array([1j]))
    check(ht.jit(by_parts(ht.divide))(*(np.full(1, v) for v in (small, small, small, -small))), np.array([1j]))
    x, zero = np.array([1 + 2j, -1 + 2j, 1 - 2j]), np.zeros(3)
    with np.errstate(all="ignore"):
        check(ht.jit(by_parts(ht.divide))(x.real, x.imag, zero, zero), x / 0j)


def test_products_reductions_and_views() -> None:
    weights = (np.arange(20).reshape(4, 5) * (0.1 - 0.2j)).astype(np.complex64)

    def function(z: Any) -> Any:
        z = ht.concat([ht.matmul(z, weights), ht.ones((3, 1), dtype=ht.complex64)], axis=1)
        z = ht.where(ht.real(z) > 0, z, ht.flip(z, axis=1))
        return ht.prod(ht.pad(z, [(0, 0), (1, 0)], value=2j), axis=1) + ht.cumulative_prod(z[:, :3], axis=1)[:, 2]

    z = A.astype(np.float64) + 1j * B
    y = np.concatenate([z @ weights, np.ones((3, 1))], 1)
    y = np.where(y.real > 0, y, y[:, ::-1])
    check(ht.jit(by_parts(function))(A, B), y.prod(1) * 2j + y[:, :3].prod(1))


def test_loops_and_branches_carry_complex_numbers() -> None:
    def function(z: Any) -> Any:
        turned = ht.fori_loop(0, 5, lambda i, v: v * (0.6 + 0.8j), z)
        return ht.cond(ht.sum(ht.abs(z)) > 0, lambda v: v * 1j, lambda v: ht.conj(v), turned)

    check(ht.jit(by_parts(function))(A, B), (A + 1j * B) * (0.6 + 0.8j) ** 5 * 1j)


def test_gradients_by_parts() -> None:
    """Of |exp(z)|² = exp(2a): the derivative by the real part alone."""
    slope = ht.jit(ht.grad(lambda a, b: ht.sum(ht.square(ht.abs(ht.exp(ht.make_complex(a, b))))), argnums=(0, 1)))(A, B)
    np.testing.assert_allclose(slope[0].numpy(), 2 * np.exp(2 * A), rtol=1e-5)
    np.testing.assert_allclose(slope[1].numpy(), 0 * A, atol=1e-5)


def test_the_border_is_real_and_says_so() -> None:
    with pytest.raises(UnsupportedFeature, match=r"a result is complex64.*return hither.real and hither.imag"):
        ht.jit(ht.make_complex)(A, B)
    with pytest.raises(UnsupportedFeature, match=r"'input_0' is complex64.*make_complex inside"):
        ht.jit(ht.abs)(A + 1j * B)
    with pytest.raises(UnsupportedFeature, match="asin of complex numbers"):
        ht.jit(by_parts(ht.asin))(A, B)


def test_the_transform_of_a_real_signal_multiplies_real_numbers() -> None:
    """Two products, not four: the imaginary part of what was real is no array."""
    from hither.graph.core import Abstract
    from hither.graph.trace import trace_function
    from hither.passes import optimize

    graph, _ = trace_function(lambda x: by_parts(lambda z: ht.fft.rfft(ht.real(z)))(x, x), [Abstract((8, 32), ht.float32)])
    names = [node.primitive.name for node in optimize(graph).nodes]
    assert names.count("matmul") == 2 and all(v.dtype.kind != "c" for n in optimize(graph).nodes for v in n.results)
