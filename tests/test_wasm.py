"""The wasm printer: every kernel IR operation, dtype and width, run in Node and compared with NumPy.

If one of these fails, some program computes something else in the browser than natively.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Val
from hither.kernels.sharing import CHUNKS_PER_THREAD
from hither.kernels.steps import Launch, Ref
from hither.targets.wasm.encoder import signed, unsigned
from tests.wasm_kernels import MACHINE, printed, run_kernel, same, samples
from tests.wasm_node import run_wasm

pytestmark = pytest.mark.usefixtures("node")

INTEGERS = (dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64)
FLOATS = (dt.float32, dt.float64)
NARROW = tuple(d for d in (*INTEGERS, *FLOATS) if d.bits <= 32)
Emit = Callable[..., Val]


def widths(dtype: DType) -> tuple[int, ...]:
    """Vectors hold elements of at most 32 bits."""
    return (1, 4, 8) if dtype.bits <= 32 else (1,)


def mapped(emit: Emit, inputs: Sequence[np.ndarray], result: DType, width: int, relaxed: bool = False) -> np.ndarray:
    """emit(k, *elements) over whole arrays, `width` elements at a time."""
    n = inputs[0].size
    assert n % width == 0
    k = Builder(MACHINE, width)
    buffers = [k.buffer("x", dt.dtype(x.dtype), n) for x in inputs]
    out = k.buffer("out", result, n, "write")
    with k.loop(0, n, width) as loop:
        loads = [k.load(b, loop.index, width, dt.dtype(x.dtype)) for b, x in zip(buffers, inputs, strict=True)]
        k.store(out, loop.index, emit(k, *loads))
    return run_kernel(k.finish("map"), [*inputs, np.zeros(n, result.numpy)], relaxed=relaxed)[-1]


# -- elementwise -----------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "min": lambda a, b: np.where(b < a, b, a),
    "max": lambda a, b: np.where(b > a, b, a),
}


@pytest.mark.parametrize("dtype", (*INTEGERS, *FLOATS), ids=str)
@pytest.mark.parametrize("kind", ARITHMETIC)
def test_arithmetic(kind: str, dtype: DType) -> None:
    a, b = samples(dtype), samples(dtype, seed=1)[::-1].copy()
    if dtype.is_float:
        a[10], b[20] = np.nan, np.nan
    with np.errstate(all="ignore"):
        expected = ARITHMETIC[kind](a, b).astype(dtype.numpy)
    for width in widths(dtype):
        same(mapped(lambda k, x, y: k.binary(kind, x, y), [a, b], dtype, width), expected)


def truncating(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C's quotient and remainder, wrapped to the dtype, from Python's unbounded integers."""
    pairs = [(abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1), y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    quotient = [q for q, _ in pairs]
    remainder = [x - q * y for x, (q, y) in zip(a.tolist(), pairs, strict=True)]
    bits = a.dtype.itemsize * 8
    wrap = [q & ((1 << bits) - 1) for q in quotient]
    unsigned_type = np.dtype(f"uint{bits}")
    return np.array(wrap, unsigned_type).view(a.dtype), np.array(remainder, a.dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division(dtype: DType) -> None:
    a, b = samples(dtype), samples(dtype, seed=1)
    b[b == 0] = 3
    if dtype.kind == "i":
        a[0], b[0] = np.iinfo(dtype.numpy).min, -1  # the quotient that does not fit must wrap, not trap
    quotient, remainder = truncating(a, b)
    for width in widths(dtype):
        same(mapped(lambda k, x, y: x / y, [a, b], dtype, width), quotient)
        same(mapped(lambda k, x, y: k.rem(x, y), [a, b], dtype, width), remainder)
        for literal in (1, 3, 8, -1, -7):
            if literal > 0 or dtype.kind == "i":
                q, r = truncating(a, np.full_like(a, literal))
                same(mapped(lambda k, x, c=literal: x / c, [a], dtype, width), q)
                same(mapped(lambda k, x, c=literal: k.rem(x, c), [a], dtype, width), r)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_division_by_zero_does_not_trap(dtype: DType) -> None:
    a, b = samples(dtype), np.zeros(48, dtype.numpy)
    for width in widths(dtype):
        mapped(lambda k, x, y: x / y, [a, b], dtype, width)
        mapped(lambda k, x, y: k.rem(x, y), [a, b], dtype, width)
        mapped(lambda k, x: x / 0, [a], dtype, width)
        mapped(lambda k, x: k.rem(x, 0), [a], dtype, width)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_division_and_remainder(dtype: DType) -> None:
    info = np.finfo(dtype.numpy)
    a, b = samples(dtype), samples(dtype, seed=1)
    extremes = [info.max, info.tiny, info.smallest_subnormal, 1.0, -info.max, np.inf, np.nan, 0.0, info.tiny * 1.75, -3.25]
    a = np.concatenate([a, np.repeat(np.array(extremes, dtype.numpy), 10), np.zeros(4, dtype.numpy)])
    b = np.concatenate([b, np.tile(np.array(extremes, dtype.numpy), 10), np.ones(4, dtype.numpy)])
    with np.errstate(all="ignore"):
        quotient, remainder = a / b, np.fmod(a, b)
    for width in widths(dtype)[:2]:
        same(mapped(lambda k, x, y: x / y, [a, b], dtype, width), quotient)
        same(mapped(lambda k, x, y: k.rem(x, y), [a, b], dtype, width), remainder)


@pytest.mark.parametrize("dtype", (dt.bool_, *INTEGERS), ids=str)
def test_bitwise(dtype: DType) -> None:
    a, b = samples(dtype), samples(dtype, seed=1)
    for width in widths(dtype):
        for kind, function in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
            same(
                mapped(lambda k, x, y, kind=kind: k.binary(kind, x, y), [a, b], dtype, width).astype(dtype.numpy),
                function(a, b),
            )
        same(mapped(lambda k, x: ~x, [a], dtype, width), np.invert(a))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_shifts(dtype: DType) -> None:
    a = samples(dtype)
    counts = (np.arange(48) % dtype.bits).astype(dtype.numpy)
    for width in widths(dtype):
        same(mapped(lambda k, x, c: x << c, [a, counts], dtype, width), np.left_shift(a, counts))
        same(mapped(lambda k, x, c: x >> c, [a, counts], dtype, width), np.right_shift(a, counts))
        same(mapped(lambda k, x: x << 3, [a], dtype, width), np.left_shift(a, dtype.numpy.type(3)))
        same(mapped(lambda k, x: x >> 3, [a], dtype, width), np.right_shift(a, dtype.numpy.type(3)))


@pytest.mark.parametrize("dtype", (*INTEGERS, *FLOATS), ids=str)
def test_unary(dtype: DType) -> None:
    a = samples(dtype)
    with np.errstate(all="ignore"):
        for width in widths(dtype):
            same(mapped(lambda k, x: -x, [a], dtype, width), np.negative(a))
            same(mapped(lambda k, x: k.abs(x), [a], dtype, width), np.abs(a))
            for kind, function in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc), ("round", np.rint)):
                expected = function(a) if dtype.is_float else a
                same(mapped(lambda k, x, kind=kind: k.unary(kind, x), [a], dtype, width), expected)
            if dtype.is_float:
                same(mapped(lambda k, x: k.sqrt(k.abs(x)), [a], dtype, width), np.sqrt(np.abs(a)))


@pytest.mark.parametrize("relaxed", (False, True))
@pytest.mark.parametrize("dtype", (dt.bool_, *INTEGERS, *FLOATS), ids=str)
def test_compare_and_select(dtype: DType, relaxed: bool) -> None:
    a, b = samples(dtype), samples(dtype, seed=1)
    b[::3] = a[::3]
    if dtype.is_float:
        a[5] = b[9] = np.nan
    for width in widths(dtype):
        for kind, function in (("eq", np.equal), ("ne", np.not_equal), ("lt", np.less), ("le", np.less_equal)):
            got = mapped(lambda k, x, y, kind=kind: k.compare(kind, x, y), [a, b], dt.bool_, width, relaxed)
            same(got, function(a, b))
        got = mapped(lambda k, x, y: k.select(x < y, y, x), [a, b], dtype, width, relaxed)
        same(got, np.where(a < b, b, a))


@pytest.mark.parametrize("source", (dt.bool_, *INTEGERS, *FLOATS), ids=str)
def test_convert(source: DType) -> None:
    a = samples(source)
    if source.is_float:
        a[8:16] = [np.nan, np.inf, -np.inf, 3e9, -3e9, 300, -300, 70000]
    for target in (dt.bool_, *INTEGERS, *FLOATS):
        if source.is_float and target.is_integer:
            info = np.iinfo(target.numpy)
            exact = [
                0 if np.isnan(x) else info.max if x == np.inf else info.min if x == -np.inf else int(x) for x in a.tolist()
            ]
            expected = np.array([min(max(x, info.min), info.max) for x in exact], target.numpy)
        else:
            expected = a.astype(target.numpy)
        for width in widths(source) if target.bits <= 32 else (1,):
            same(mapped(lambda k, x, target=target: k.convert(x, target), [a], target, width), expected)


def test_float16_storage() -> None:
    """Halves are stored as 16 bits and computed in float32; all of them survive the way through, rounding is to even."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for width in (1, 4):
        same(mapped(lambda k, x: x, [every], dt.float16, width), every)
    x = np.concatenate(
        [samples(dt.float32), np.float32([65519.9, 65520, 1e-8, 5.97e-8, 2.0**-25, 1e9, 1 + 2.0**-11, 1 + 3 * 2.0**-11])]
    )
    with np.errstate(all="ignore"):
        same(mapped(lambda k, v: v, [x], dt.float16, 4), x.astype(np.float16))


@pytest.mark.parametrize("width", (1, 4))
def test_bitcast(width: int) -> None:
    a = samples(dt.float32)
    same(mapped(lambda k, x: k.bitcast(x, dt.uint32), [a], dt.uint32, width), a.view(np.uint32))
    same(mapped(lambda k, x: k.bitcast(x, dt.float32), [a.view(np.int32)], dt.float32, width), a)
    bytes_ = samples(dt.uint8)
    same(mapped(lambda k, x: k.bitcast(x, dt.int8), [bytes_], dt.int8, width), bytes_.view(np.int8))
    wide = samples(dt.float64)
    same(mapped(lambda k, x: k.bitcast(x, dt.int64), [wide], dt.int64, 1), wide.view(np.int64))


@pytest.mark.parametrize("relaxed", (False, True))
def test_fma(relaxed: bool) -> None:
    a, b, c = (samples(dt.float32, seed=s) for s in range(3))
    for width in (1, 4, 8):
        got = mapped(lambda k, x, y, z: k.fma(x, y, z), [a, b, c], dt.float32, width, relaxed)
        np.testing.assert_allclose(got, a.astype(np.float64) * b + c, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", (dt.bool_, *NARROW), ids=str)
def test_lanes_pack_extract_splat(dtype: DType) -> None:
    a = samples(dtype, 16)
    for width in (4, 8):
        out = mapped(lambda k, x, w=width: k.pack([k.extract(x, w - 1 - i) for i in range(w)]), [a], dtype, width)
        same(out, a.reshape(-1, width)[:, ::-1].ravel())
        out = mapped(lambda k, x, w=width: k.broadcast(k.extract(x, 2), w), [a], dtype, width)
        same(out, np.repeat(a.reshape(-1, width)[:, 2], width))
        if dtype is not dt.bool_:
            out = mapped(lambda k, x, w=width, d=dtype: k.lanes(d, w), [a], dtype, width)
            same(out, np.tile(np.arange(width), 16 // width).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", (dt.bool_, *NARROW), ids=str)
def test_reduce(dtype: DType) -> None:
    a = samples(dtype, 16)
    if dtype is dt.float32:
        a = a.round().clip(-9, 9)  # so that any order of summation is exact
        a[a == 0] = 2
    functions: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    for width in (4, 8):
        for how, function in functions.items():
            out = mapped(lambda k, x, how=how, w=width: k.broadcast(k.reduce(how, x), w), [a], dtype, width)
            expected = function.reduce(a.reshape(-1, width), axis=1, dtype=a.dtype)
            same(out, np.repeat(expected, width).astype(dtype.numpy))


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("width", (4, 8))
def test_partial_store(dtype: DType, width: int) -> None:
    """`count` lanes are written and not a byte more."""
    a = samples(dtype, width)
    for count in range(1, width + 1):
        k = Builder(MACHINE, width)
        x, out = k.buffer("x", dtype, width), k.buffer("out", dtype, width + 1, "write")
        k.store(out, 1, k.load(x, 0, width), count)
        got = run_kernel(k.finish("partial"), [a, np.full(width + 1, 77, dtype.numpy)])[1]
        same(got, np.concatenate([[77], a[:count], [77] * (width - count)]).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_gather_scatter(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    a, where = samples(dtype, 32), rng.permutation(32).astype(np.int32)
    k = Builder(MACHINE, 4)
    x, i = k.buffer("x", dtype, 32), k.buffer("i", dt.int32, 32)
    gathered, scattered = k.buffer("g", dtype, 32, "write"), k.buffer("s", dtype, 32, "write")
    reversed_ = k.buffer("r", dtype, 32, "write")
    with k.loop(0, 32, 4) as loop:
        index = k.convert(k.load(i, loop.index, 4), INDEX)
        k.store(gathered, loop.index, k.gather(x, index))
        k.scatter(scattered, index, k.load(x, loop.index, 4))
        descending = k.broadcast(k.const(31, INDEX) - loop.index, 4) + k.lanes(INDEX, 4) * -1
        k.store(reversed_, loop.index, k.gather(x, descending))
    empty = np.zeros(32, dtype.numpy)
    _, _, g, s, r = run_kernel(k.finish("gather"), [a, where, empty, empty, empty])
    expected = empty.copy()
    expected[where] = a
    same(g, a[where])
    same(s, expected)
    same(r, a[::-1])


def test_scatter_in_order() -> None:
    """Where lanes meet, the last one wins."""
    k = Builder(MACHINE, 4)
    x, out = k.buffer("x", dt.int32, 4), k.buffer("out", dt.int32, 4, "write")
    k.scatter(out, k.broadcast(k.as_index(2), 4), k.load(x, 0, 4))
    same(run_kernel(k.finish("last"), [np.int32([1, 2, 3, 4]), np.zeros(4, np.int32)])[1], np.int32([0, 0, 4, 0]))


def test_strided_transpose() -> None:
    """A strided gather and a strided scatter, with constants on both sides of zero in the addresses."""
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    k = Builder(MACHINE, 4)
    x, out, back = (
        k.buffer("x", dt.float32, 24),
        k.buffer("out", dt.float32, 24, "write"),
        k.buffer("b", dt.float32, 24, "write"),
    )
    with k.loop(1, 7) as loop:
        lane = k.broadcast(loop.index - 1, 4) + k.lanes(INDEX, 4) * 6
        column = k.gather(x, lane)
        k.store(out, loop.index * 4 - 4, column)
        k.scatter(back, lane, column)
    _, out_, back_ = run_kernel(k.finish("transpose"), [a.ravel(), np.zeros(24, np.float32), np.zeros(24, np.float32)])
    same(out_, a.T.ravel())
    same(back_, a.ravel())


def test_negative_partial_addresses() -> None:
    """index = constant - counter: the constant must not go into the unsigned offset of the access."""
    a = np.arange(10, dtype=np.int32)
    k = Builder(MACHINE)
    x, out = k.buffer("x", dt.int32, 10), k.buffer("out", dt.int32, 10, "write")
    with k.loop(0, 10) as loop:
        k.store(out, loop.index, k.load(x, (loop.index * -40000 + 360000) / 40000))
        k.store(out, loop.index, k.load(x, loop.index * -1 + 9))
    module = printed([k.finish("reverse")], [Launch(0, (Ref("weights", 0, 40), Ref("io", 0, 40)))])
    same(np.frombuffer(run_wasm(module, "main", weights=a.tobytes(), io=bytes(40)), np.int32), a[::-1])


def test_loads_keep_their_place_among_stores() -> None:
    """A value loaded before a store to the same place must be the old one, although it is used after."""
    k = Builder(MACHINE)
    x = k.buffer("x", dt.int32, 4, "read_write")
    first, second = k.load(x, 0), k.load(x, 1)
    k.store(x, 0, second)
    k.store(x, 1, first)
    third = k.load(x, 2)
    with k.loop(2, 4) as loop:
        k.store(x, loop.index, k.const(9, dt.int32))
    k.store(x, 3, third)
    same(run_kernel(k.finish("swap"), [np.int32([1, 2, 3, 4])])[0], np.int32([2, 1, 9, 3]))


def test_private_scratch_is_set_for_every_chunk() -> None:
    """Blocks note there which lines they have; what an earlier chunk on the same thread left gave wrong results."""
    k = Builder(MACHINE)
    out, mine = k.buffer("out", dt.int32, 64, "write"), k.local(dt.int32, 1)
    k.store(mine, 0, k.const(5, dt.int32))
    with k.loop(0, 64, kind="parallel") as loop:
        k.store(out, loop.index, k.load(mine, 0))
        k.store(mine, 0, k.const(99, dt.int32))
    kernel = k.finish("private")
    for threads, chunks in ((1, 1), (2, 2 * CHUNKS_PER_THREAD)):
        expected = np.where(np.arange(64) % (64 // chunks) == 0, 5, 99)
        same(run_kernel(kernel, [np.zeros(64, np.int32)], threads)[0], expected.astype(np.int32))


def test_private_scratch() -> None:
    """Each thread has scratch memory of its own."""
    k = Builder(MACHINE)
    out = k.buffer("out", dt.int32, 64, "write")
    first, second = k.local(dt.int8, 3), k.local(dt.int32, 8)
    with k.loop(0, 64, kind="parallel") as loop:
        k.store(first, 1, k.convert(loop.index, dt.int8))
        with k.loop(0, 8) as inner:
            k.store(second, inner.index, k.convert(loop.index * 10 + inner.index, dt.int32))
        k.store(out, loop.index, k.load(second, 7) + k.convert(k.load(first, 1), dt.int32))
    kernel = k.finish("scratch")
    for threads in (1, 2):
        same(run_kernel(kernel, [np.zeros(64, np.int32)], threads)[0], (np.arange(64) * 11 + 7).astype(np.int32))
    assert (
        printed([kernel], [Launch(0, (Ref("io", 0, 256),))]).scratch_bytes == 256
    )  # 48, so that the next thread's begins on a line of its own


@pytest.mark.parametrize("value", (0, 1, 63, 64, 127, 128, 624485, 2**31 - 1, 2**32 - 1))
def test_leb128(value: int) -> None:
    """Against the definition: seven bits per byte, least significant first, sign in bit 6 of the last."""
    raw = unsigned(value)
    assert sum((b & 0x7F) << (7 * i) for i, b in enumerate(raw)) == value
    assert all(b & 0x80 for b in raw[:-1]) and not raw[-1] & 0x80
    for x in (value, -value):
        raw = signed(x)
        total = sum((b & 0x7F) << (7 * i) for i, b in enumerate(raw))
        assert total - ((1 << (7 * len(raw))) if raw[-1] & 0x40 else 0) == x
