"""The functions of hither.kernels.math against NumPy in float64 and against mpmath: error bounds, special values, exactness.

All run through the interpreter of kernel IR, with fma rounding once and twice, thousands of lanes at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Kernel, Machine, Val
from hither.kernels.math import FUNCTIONS, is_finite, is_inf, is_nan
from hither.kernels.steps import Code, Launch, Ref

from .kernel_interpreter import interpret
from .native import MACHINE as NATIVE
from .native import private_cache, run_kernel  # noqa: F401
from .wgsl_cases import MACHINE as GPU

FLOATS = ("float32", "float64")
MP = mpmath.MPContext()
MP.prec = 140


def build(function: Callable[..., Val], dtype: str, operands: int, width: int, count: int) -> Kernel:
    """A kernel of this function over `count` elements, `width` at a time."""
    k = Builder(Machine("llvm"))
    sources = [k.buffer("x", dt.dtype(dtype), count) for _ in range(operands)]
    target = k.buffer("y", dt.dtype(dtype), count, "write")
    with k.loop(0, count, step=width, kind="parallel") as loop:
        k.store(target, loop.index, function(k, *(k.load(b, loop.index, width) for b in sources)))
    return k.finish("function")


def evaluate(name: str, *arrays: np.ndarray, fused: bool = True, width: int | None = None) -> np.ndarray:
    """The function over arrays, in one vector unless a width is given."""
    arrays = tuple(np.ascontiguousarray(a) for a in np.broadcast_arrays(*arrays))
    result = np.zeros_like(arrays[0])
    count = result.size
    kernel = build(FUNCTIONS[name], result.dtype.name, len(arrays), width or count, count)
    interpret(kernel, [*arrays, result], fused=fused)
    return result


# -- references --------------------------------------------------------------------------------------------------------------


def vectorised(f: Callable[..., float]) -> Callable[..., np.ndarray]:
    return np.vectorize(f, otypes=[np.float64])


IN_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "pow": np.power, "erf": vectorised(math.erf), "erfc": vectorised(math.erfc),
    "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.logaddexp(x, 0), "mod": np.mod,
    **{n: getattr(np, n) for n in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh",
                                   "tanh", "fmod", "cbrt")},
}  # fmt: skip

IN_MPMATH: dict[str, Callable[..., Any]] = {
    "exp2": lambda x: MP.power(2, x), "log": MP.ln, "log2": lambda x: MP.ln(x) / MP.ln(2),
    "log10": lambda x: MP.ln(x) / MP.ln(10), "pow": MP.power, "sigmoid": lambda x: 1 / (1 + MP.exp(-x)),
    "softplus": lambda x: MP.log1p(MP.exp(x)), "rsqrt": lambda x: 1 / MP.sqrt(x),
    "cbrt": lambda x: MP.sign(x) * MP.cbrt(abs(x)),
    **{n: getattr(MP, n) for n in ("exp", "expm1", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh",
                                   "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc")},
}  # fmt: skip

# Bounds in ulp, (float32, float64), and the ranges to draw from. "wide" adds magnitudes over the whole exponent range,
# "one" arguments close to 1, "zero" close to 0.
CASES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], str]] = {
    "exp": ((1.25, 1.25), (-103, 88.7), (-745, 709.7), "zero"),
    "exp2": ((1.25, 1.25), (-149, 128), (-1073, 1024), "zero"),
    "expm1": ((2, 2), (-20, 88.7), (-40, 709.7), "zero"),
    "log": ((1, 1), (0, 10), (0, 10), "wide one"),
    "log2": ((2, 2), (0, 10), (0, 10), "wide one"),
    "log10": ((2, 3), (0, 10), (0, 10), "wide one"),
    "log1p": ((1.5, 1.5), (-1, 10), (-1, 10), "zero wide"),
    "sin": ((2, 2), (-500, 500), (-500, 500), "zero wide"),
    "cos": ((2, 2), (-500, 500), (-500, 500), "zero wide"),
    "tan": ((4, 4), (-500, 500), (-500, 500), "zero wide"),
    "asin": ((2, 2), (-1, 1), (-1, 1), "zero one"),
    "acos": ((2, 2), (-1, 1), (-1, 1), "zero one"),
    "atan": ((2, 2), (-20, 20), (-20, 20), "zero wide"),
    "sinh": ((3, 3), (-89.4, 89.4), (-710.4, 710.4), "zero"),
    "cosh": ((2, 2), (-89.4, 89.4), (-710.4, 710.4), "zero"),
    "tanh": ((2.5, 2.5), (-10, 10), (-22, 22), "zero"),
    "asinh": ((3, 3), (-100, 100), (-100, 100), "zero wide"),
    "acosh": ((3, 3), (1, 100), (1, 100), "one wide"),
    "atanh": ((3, 3), (-1, 1), (-1, 1), "zero one"),
    "erf": ((2, 2), (-4.5, 4.5), (-6.5, 6.5), "zero"),
    "erfc": ((4, 4), (-6, 10), (-6, 27), "zero"),
    "sigmoid": ((3, 3), (-100, 100), (-740, 740), "zero"),
    "softplus": ((3, 3), (-100, 100), (-740, 740), "zero"),
    "rsqrt": ((1.5, 1.5), (0, 10), (0, 10), "wide"),
    "cbrt": ((1, 3), (-10, 10), (-10, 10), "wide"),
}
DOMAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log1p": lambda x: x > -1, "acosh": lambda x: x >= 1, "atanh": lambda x: abs(x) < 1,
    **dict.fromkeys(("log", "log2", "log10", "rsqrt"), lambda x: x > 0),
    **dict.fromkeys(("asin", "acos"), lambda x: abs(x) <= 1),
}  # fmt: skip


def arguments(name: str, dtype: str, count: int) -> np.ndarray:
    """Arguments for a function: uniform over its range, and where it is hard."""
    rng = np.random.default_rng(len(name))
    _, narrow, wide, more = CASES[name]
    low, high = narrow if dtype == "float32" else wide
    parts = [rng.uniform(low, high, count)]
    if "zero" in more:
        parts.append(rng.uniform(-1, 1, count) * 2.0 ** -rng.integers(0, 30, count))
        parts.append(rng.uniform(-1, 1, count // 8) * 2.0 ** -rng.uniform(100, 149, count // 8))
    if "one" in more:
        parts.append(1 + rng.uniform(-1, 1, count) * 2.0 ** -rng.integers(4, 20, count))
    if "wide" in more:
        limit = 125 if dtype == "float32" else 1020
        parts.append(2.0 ** rng.uniform(-limit, limit, count))
        parts.append(2.0 ** -rng.uniform(limit, limit + 23, count // 8))
    x = np.concatenate(parts).astype(dtype)
    return x[DOMAIN[name](x)] if name in DOMAIN else x


def ulps(got: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Errors in units of the last place, for float64 references of float32 results. inf counts as the next power of two."""
    with np.errstate(all="ignore"):
        top = np.where(np.isinf(got), np.copysign(2.0**128, got), got.astype(np.float64))
        reference = np.clip(reference, -(2.0**128), 2.0**128)
        exponent = np.maximum(np.floor(np.log2(np.abs(reference))), -126)
        return np.abs(top - reference) / 2.0 ** (np.minimum(exponent, 127) - 23)


def exact_ulps(name: str, got: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
    """Errors in units of the last place of float64 results, by mpmath."""
    errors = []
    for values in zip(got.tolist(), *(a.tolist() for a in arrays)):
        result, *operands = values
        reference = IN_MPMATH[name](*map(MP.mpf, operands))
        if math.isinf(result):
            result = math.copysign(MP.mpf(2) ** 1024, result) if abs(reference) < 1e300 else reference
        exponent = max(int(MP.floor(MP.log(abs(reference), 2))), -1022) if reference else -1022
        errors.append(float(abs(result - reference) / MP.mpf(2) ** (exponent - 52)))
    return np.array(errors)


def assert_within(errors: np.ndarray, bound: float, *arrays: np.ndarray) -> None:
    worst = int(np.nanargmax(np.where(np.isnan(errors), np.inf, errors)))
    assert errors[worst] <= bound, f"{errors[worst]:.2f} ulp at {[a[worst] for a in arrays]}, bound {bound}"


# -- accuracy ----------------------------------------------------------------------------------------------------------------


def test_every_function_has_a_case() -> None:
    assert set(CASES) | {"pow", "atan2", "fmod", "mod"} == set(FUNCTIONS)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_float32_accuracy(name: str, fused: bool) -> None:
    x = arguments(name, "float32", 6000)
    with np.errstate(all="ignore"):
        reference = IN_NUMPY[name](x.astype(np.float64))
    got = evaluate(name, x, fused=fused)
    assert_within(ulps(got, reference), CASES[name][0][0], x, got, reference)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_float64_accuracy(name: str, fused: bool) -> None:
    x = arguments(name, "float64", 120)
    got = evaluate(name, x, fused=fused)
    assert_within(exact_ulps(name, got, [x]), CASES[name][0][1], x, got)


def pow_operands(dtype: str, count: int) -> list[np.ndarray]:
    """Bases of every size, and exponents that bring the result anywhere between underflow and overflow."""
    rng = np.random.default_rng(1)
    spread, limit = (120, 127) if dtype == "float32" else (1000, 1023)
    x = np.concatenate([2.0 ** rng.uniform(-spread, spread, count), 1 + rng.uniform(-0.3, 0.4, count)]).astype(dtype)
    y = (rng.uniform(-limit, limit, x.size) / np.log2(x.astype(np.float64))).astype(dtype)
    return [x, y]


def atan2_operands(dtype: str, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    y, x = rng.normal(size=(2, count))
    return [(y * 2.0 ** rng.uniform(-9, 9, count)).astype(dtype), x.astype(dtype)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("name", "draw", "bound"), [("pow", pow_operands, 4), ("atan2", atan2_operands, 3)])
def test_binary_accuracy(name: str, draw: Callable[[str, int], list[np.ndarray]], bound: float, fused: bool) -> None:
    single = draw("float32", 4000)
    with np.errstate(all="ignore"):
        reference = IN_NUMPY[name](*(a.astype(np.float64) for a in single))
    assert_within(ulps(evaluate(name, *single, fused=fused), reference), bound, *single)
    double = draw("float64", 200)
    assert_within(exact_ulps(name, evaluate(name, *double, fused=fused), double), bound, *double)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_close_to_multiples_of_a_right_angle(name: str) -> None:
    """The floats next to n·π/2, where all digits cancel, for n up to the largest floats."""
    n = np.unique(np.concatenate([np.arange(1, 3000), (2.0 ** np.linspace(11, 60, 2000)).astype(np.int64)])).astype(np.float64)
    x = (n * (np.pi / 2)).astype(np.float32)
    bound = CASES[name][0][0]
    assert_within(ulps(evaluate(name, x), IN_NUMPY[name](x.astype(np.float64))), bound, x)
    with MP.workprec(1200):
        wide = np.array([float(int(v) * MP.pi / 2) for v in 2.0 ** np.linspace(1, 1000, 150)])
        assert_within(exact_ulps(name, evaluate(name, wide), [wide]), bound, wide)


def test_the_hardest_float64_angle() -> None:
    """6381956970095103·2^797 is the double closest to a multiple of π/2 relative to its size (Kahan, Muller)."""
    x = np.array([math.ldexp(6381956970095103.0, 797), 1.0])
    with MP.workprec(1300):
        assert_within(exact_ulps("cos", evaluate("cos", x), [x]), 2, x)


def test_exact_results() -> None:
    """Powers of two and integer powers come out exactly, as NumPy's do."""
    for dtype, low, high in (("float32", -149, 127), ("float64", -1074, 1023)):
        n = np.arange(low, high + 1).astype(dtype)
        powers = np.ldexp(np.ones_like(n), n.astype(int))
        np.testing.assert_array_equal(evaluate("exp2", n), powers)
        np.testing.assert_array_equal(evaluate("log2", powers), n)
        np.testing.assert_array_equal(evaluate("pow", np.full_like(n, 2), n), powers)
        small = np.arange(-40, 41).astype(dtype)
        np.testing.assert_array_equal(evaluate("pow", small, np.full_like(small, 3)), small**3)
        np.testing.assert_array_equal(evaluate("cbrt", small**3), small)


# -- special values ----------------------------------------------------------------------------------------------------------


def specials(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [
        0,
        info.smallest_subnormal,
        info.tiny,
        1e-30,
        0.25,
        0.5,
        1,
        1.5,
        2,
        3,
        4,
        100,  # e^100 is beyond float32, e^720 beyond float64
        720,
        1e4,
        2.0**24,
        2.0**25 + 4,
        1e30,
        info.max,
    ]
    return np.array([s * v for v in positive for s in (1, -1)] + [np.inf, -np.inf, np.nan], dtype)


def assert_same_specials(got: np.ndarray, expected: np.ndarray, *operands: np.ndarray) -> None:
    """NaN, infinities, zeros and their signs as in `expected`; anything else nearly equal."""
    for result, wanted, *values in zip(got, expected, *operands):
        where = f"{values}: got {result}, NumPy has {wanted}"
        if np.isnan(wanted):
            assert np.isnan(result), where
        elif np.isinf(wanted) or wanted == 0:
            assert result == wanted and np.signbit(result) == np.signbit(wanted), where
        else:
            info = np.finfo(expected.dtype)
            assert abs(float(result) - float(wanted)) <= max(
                abs(float(wanted)) * float(info.eps) * 4, float(info.tiny) / 1e5
            ), where


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CASES)
def test_special_values(name: str, dtype: str) -> None:
    x = specials(dtype)
    if name == "acosh":
        x = x[~(np.abs(x) < 1)]
    with np.errstate(all="ignore"):
        expected = np.asarray(IN_NUMPY[name](x.astype(np.float64))).astype(dtype)
    if name == "rsqrt":
        expected[x == 0] = np.copysign(np.inf, x[x == 0])
    if name == "cosh":
        expected = np.abs(expected)
    assert_same_specials(evaluate(name, x), expected, x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["pow", "atan2", "fmod", "mod"])
def test_special_pairs(name: str, dtype: str) -> None:
    a, b = (v.reshape(-1) for v in np.meshgrid(specials(dtype), specials(dtype)))
    with np.errstate(all="ignore"):
        expected = IN_NUMPY[name](a, b)
    assert_same_specials(evaluate(name, a, b), expected, a, b)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["fmod", "mod"])
def test_remainders_are_exact(name: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 3000)).astype(dtype)
    a *= (2.0 ** rng.integers(-20, 40, 3000)).astype(dtype)
    a, b = np.concatenate([a, np.arange(-50, 50, dtype=dtype)]), np.concatenate([b, np.full(100, 7, dtype)])
    np.testing.assert_array_equal(evaluate(name, a, b), IN_NUMPY[name](a, b))


def test_fmod_over_the_whole_range() -> None:
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 0x7F800000, (2, 400)).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(evaluate("fmod", *bits), np.fmod(*bits))


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_huge_angles_stay_bounded(name: str, dtype: str) -> None:
    rng = np.random.default_rng(5)
    integer = np.uint32 if dtype == "float32" else np.uint64
    x = rng.integers(0, np.array(np.finfo(dtype).max).view(integer), 4000, dtype=integer).view(dtype)
    assert np.all(np.abs(evaluate(name, x)) <= 1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_saturating_functions_stay_in_range_and_monotonic_ends(dtype: str) -> None:
    """tanh, erf and sigmoid never leave their range: 1 - tanh² and log(sigmoid) rely on it."""
    x = np.linspace(-40, 40, 20001).astype(dtype)
    for name, low in (("tanh", -1), ("erf", -1), ("sigmoid", 0)):
        y = evaluate(name, x)
        assert y.min() >= low and y.max() == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_classification(dtype: str) -> None:
    x = specials(dtype)
    for test, reference in ((is_nan, np.isnan), (is_inf, np.isinf), (is_finite, np.isfinite)):
        kernel = build(partial(as_number, test), dtype, 1, x.size, x.size)
        got = np.zeros_like(x)
        interpret(kernel, [x, got])
        np.testing.assert_array_equal(got, reference(x))


def as_number(test: Callable[[Builder, Val], Val], k: Builder, x: Val) -> Val:
    return k.select(test(k, x), k.const(1, x.dtype), 0.0)


# -- form --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_width_does_not_matter(name: str) -> None:
    """Scalars, the lanes of short vectors and of one long vector agree bit for bit."""
    rng = np.random.default_rng(6)
    operands = [rng.uniform(0.1, 9, 16).astype(np.float32) for _ in range(2 if name in ("pow", "atan2", "fmod", "mod") else 1)]
    one = evaluate(name, *operands)
    for width in (1, 4):
        np.testing.assert_array_equal(evaluate(name, *operands, width=width), one)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_functions_use_no_64_bit_values(name: str) -> None:
    """WGSL has none."""
    kernel = build(FUNCTIONS[name], "float32", 2 if name in ("pow", "atan2", "fmod", "mod") else 1, 4, 16)
    for op in kernel.walk():
        for value in op.results:
            assert value.dtype is INDEX or value.dtype.bits <= 32, op


def test_other_dtypes_are_refused() -> None:
    k = Builder(Machine("llvm"))
    with pytest.raises(TypeError, match="float32 and float64 values, got int32"):
        k.math("exp", k.const(1, dt.int32))


# -- compiled ----------------------------------------------------------------------------------------------------------------


def operands_of(name: str, dtype: str, count: int) -> list[np.ndarray]:
    """Special values and ordinary ones, in a number that vectors of 8 divide."""
    if name in ("pow", "atan2", "fmod", "mod"):
        arrays = [v.reshape(-1) for v in np.meshgrid(specials(dtype), specials(dtype))]
    else:
        arrays = [np.concatenate([specials(dtype), arguments(name, dtype, count)])]
    return [np.ascontiguousarray(a[: a.size // 8 * 8]) for a in arrays]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_native_code_agrees_bit_for_bit(name: str, dtype: str) -> None:
    operands = operands_of(name, dtype, 100)
    kernel = build(FUNCTIONS[name], dtype, len(operands), 8, operands[0].size)
    expected = np.zeros_like(operands[0])
    interpret(kernel, [*operands, expected], fused=NATIVE.fma)
    got = run_kernel(kernel, [*operands, np.zeros_like(expected)])[-1]
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


# The functions whose reductions and compensated sums a compiler that reassociates would undo: Mesa's does.
@pytest.mark.parametrize("name", ["exp", "log1p", "sin", "cos", "erfc", "pow"])
def test_gpu_compilers_do_not_undo_compensation(adapter: Any, name: str) -> None:
    from hither.runtime.webgpu import WebGpuExecutable

    operands = operands_of(name, "float32", 400)
    n = operands[0].size
    k = Builder(GPU)
    sources, target = [k.buffer("x", dt.float32, n) for _ in operands], k.buffer("y", dt.float32, n, "write")
    with k.loop(0, n, kind="parallel") as loop:
        k.store(target, loop.index, k.math(name, *(k.load(b, loop.index) for b in sources)))
    kernel = k.finish(name)
    stride = -(-4 * n // 4096) * 4096
    refs = tuple(Ref("io", stride * i, 4 * n) for i in range(len(operands) + 1))
    program = WebGpuExecutable(Code([kernel], {"main": (Launch(0, refs),)}, {"io": stride * len(refs)}), GPU)
    got = program.run("main", [(r, a, "x") for r, a in zip(refs, operands)], [(refs[-1], dt.float32, (n,))])[0]
    expected = np.zeros(n, np.float32)
    interpret(kernel, [*operands, expected])
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    normal = np.isfinite(expected) & (np.abs(expected) >= np.finfo(np.float32).tiny)
    assert np.max(ulps(got[normal], expected[normal].astype(np.float64))) <= 4
