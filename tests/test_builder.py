"""Builder and kernel IR semantics: folding agrees with execution, halves convert exactly, control flow does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Kernel, Machine

from .kernel_interpreter import KernelError, interpret, run_code

CPU = Machine("llvm")
GPU = Machine("wgsl", gpu=True)
INTEGERS = [getattr(dt, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]


def folded(k: Builder, value: object) -> object:
    """The number a value was folded to; fails if it was not."""
    op = value.op  # type: ignore[attr-defined]
    assert op is not None and op.kind == "const", f"{op} was not folded"
    return op.attr


# -- folding -----------------------------------------------------------------------------------------------------------------


@st.composite
def integer_operation(draw: st.DrawFn) -> tuple[DType, str, int, int]:
    dtype = draw(st.sampled_from(INTEGERS))
    info = np.iinfo(dtype.numpy)
    number = st.one_of(st.integers(info.min, info.max), st.sampled_from([info.min, info.max, 0, 1]), st.integers(0, 9))
    kinds = ["add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "eq", "ne", "lt", "le"]
    kind, a, b = draw(st.sampled_from(kinds)), draw(number), draw(number)
    return dtype, kind, max(a, info.min), max(b, info.min)


@given(integer_operation())
@settings(max_examples=200)
def test_folding_agrees_with_execution(operation: tuple[DType, str, int, int]) -> None:
    """A constant expression is worth what running it gives: wrap-around, truncating division and all."""
    dtype, kind, a, b = operation
    k = Builder(CPU)
    x, y = k.buffer("x", dtype, 2), k.buffer("y", dtype, 2, "write")
    emit = k.compare if kind in ("eq", "ne", "lt", "le") else k.binary
    k.store(y, 0, emit(kind, k.load(x, 0), k.load(x, 1)))
    k.store(y, 1, emit(kind, k.const(a, dtype), k.const(b, dtype)))
    result = np.zeros(2, dtype.numpy)
    interpret(k.finish("both"), [np.array([a, b], dtype.numpy), result])
    if not (kind in ("div", "rem") and b == 0):  # any value will do
        assert result[0] == result[1], operation


def test_neutral_elements_disappear() -> None:
    k = Builder(CPU)
    x = k.load(k.buffer("x", dt.int32, 8), 0, 4)
    assert all(v is x for v in (x + 0, 0 + x, x - 0, x * 1, 1 * x, x / 1, x << 0, x >> 0, x | 0, x ^ 0))
    assert (x * 0).width == 4
    p = x < 3
    assert p & True is p and p | False is p
    f = k.load(k.buffer("f", dt.float32, 8), 0)
    assert (f + 0.0) is not f  # -0.0 + 0.0 is not -0.0


def test_equal_values_are_shared_but_never_out_of_scope() -> None:
    """Common subexpressions are found in enclosing scopes only: a value made inside a loop is not there after it."""
    k = Builder(CPU)
    x, y = k.buffer("x", dt.int32, 1), k.buffer("y", dt.int32, 4, "write")
    v = k.load(x, 0)
    outer = v * v
    with k.loop(0, 2) as loop:
        assert v * v is outer
        inner = v + v
        k.store(y, loop.index, inner)
    after = v + v
    assert after is not inner
    k.store(y, 2, after)
    result = np.zeros(4, np.int32)
    interpret(k.finish("scopes"), [np.array([21], np.int32), result])
    assert result.tolist() == [42, 42, 42, 0]


def test_constants_wrap_and_round_to_their_dtype() -> None:
    k = Builder(CPU)
    assert folded(k, k.const(300, dt.uint8)) == 44
    assert folded(k, k.const(200, dt.int8)) == -56
    assert folded(k, k.const(0.1, dt.float32)) == float(np.float32(0.1))
    assert folded(k, k.const(1e300, dt.float32)) == np.inf
    assert folded(k, k.const(-0.0, dt.float32)).hex() == "-0x0.0p+0"  # type: ignore[attr-defined]
    assert k.const(-0.0, dt.float32) is not k.const(0.0, dt.float32)


def test_operands_of_different_dtypes_are_refused() -> None:
    k = Builder(CPU)
    with pytest.raises(TypeError, match="float32 and int32"):
        k.const(1.0, dt.float32) + k.const(1, dt.int32)


def test_rem_of_floats_is_fmod() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.float32, 4), k.buffer("y", dt.float32, 4, "write")
    k.store(y, 0, k.rem(k.load(x, 0, 4), 1.5))
    kernel = k.finish("rem")
    assert all(op.kind != "rem" or op.args[0].dtype.is_integer for op in kernel.walk())
    a, b = np.array([7, -7, 1e9, 0.1], np.float32), np.zeros(4, np.float32)
    interpret(kernel, [a, b])
    np.testing.assert_array_equal(b, np.fmod(a, np.float32(1.5)))


# -- halves ------------------------------------------------------------------------------------------------------------------


def converting(source: DType, target: DType, machine: Machine, count: int) -> Kernel:
    k = Builder(machine)
    x, y = k.buffer("x", source, count), k.buffer("y", target, count, "write")
    k.store(y, 0, k.load(x, 0, count))
    return k.finish("convert")


HALVES = np.arange(65536, dtype=np.uint16)


@pytest.mark.parametrize("machine", [CPU, Machine("llvm", float16=True)], ids=["bits", "hardware"])
def test_every_half_becomes_its_float(machine: Machine) -> None:
    result = np.zeros(65536, np.float32)
    interpret(converting(dt.float16, dt.float32, machine, 65536), [HALVES, result])
    np.testing.assert_array_equal(result, HALVES.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(np.signbit(result), HALVES >= 0x8000)


def test_every_half_survives_the_round_trip() -> None:
    back = np.zeros(65536, np.uint16)
    interpret(converting(dt.float32, dt.float16, CPU, 65536), [HALVES.view(np.float16).astype(np.float32), back])
    nan = np.isnan(HALVES.view(np.float16))
    np.testing.assert_array_equal(back[~nan], HALVES[~nan])
    assert np.isnan(back.view(np.float16)[nan]).all()


def test_halves_that_only_move_keep_every_bit() -> None:
    """Loaded and stored, or chosen beside a number, a half is not widened and rounded, which would be most of a pad's work, and
    would lose what a NaN carries."""
    k = Builder(CPU)
    x, y = k.buffer("x", dt.float16, 65536), k.buffer("y", dt.float16, 65536, "write")
    loaded = k.load(x, 0, 65536)
    k.store(y, 0, k.select(k.lanes(dt.int32, 65536) < 65530, loaded, -0.5))
    back = np.zeros(65536, np.uint16)
    interpret(k.finish("moved"), [HALVES, back])
    np.testing.assert_array_equal(back, np.where(HALVES < 65530, HALVES, np.float16(-0.5).view(np.uint16)))


def test_floats_round_to_the_nearest_half_ties_to_even() -> None:
    """All midpoints between neighbouring halves, the floats just beside them, and what overflows or vanishes."""
    finite = HALVES[:0x7C00].view(np.float16).astype(np.float64)
    middle = np.append((finite[1:] + finite[:-1]) / 2, 65520).astype(np.float32)
    beside = [np.nextafter(middle, np.float32(s), dtype=np.float32) for s in (0, np.inf)]
    extremes = np.array([0, 1e-45, 2.0**-25, 65519.996, 65520, 65536, 1e10, np.inf], np.float32)
    positive = np.concatenate([middle, *beside, extremes])
    values = np.concatenate([positive, -positive])
    result = np.zeros(values.size, np.uint16)
    interpret(converting(dt.float32, dt.float16, CPU, values.size), [values, result])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(result, values.astype(np.float16).view(np.uint16))


# -- operations --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", INTEGERS, ids=str)
@pytest.mark.parametrize("source", [dt.float32, dt.float64], ids=str)
def test_float_to_int_truncates_and_saturates(source: DType, target: DType) -> None:
    info = np.iinfo(target.numpy)
    values = np.array([0, 1.9, -1.9, 127.5, -128.5, 3e9, -3e9, 1e25, -1e25, np.inf, -np.inf, np.nan], source.numpy)
    result = np.zeros(values.size, target.numpy)
    interpret(converting(source, target, CPU, values.size), [values, result])
    expected = [0 if np.isnan(v) else info.min if v < info.min else info.max if v > info.max else int(v) for v in values]
    assert result.tolist() == expected


def test_min_and_max_pass_a_nan_of_their_first_operand() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.float32, 4), k.buffer("y", dt.float32, 4, "write")
    nan, one = k.load(x, 0), k.load(x, 1)
    for i, v in enumerate((k.min(nan, one), k.min(one, nan), k.max(nan, one), k.max(one, nan))):
        k.store(y, i, v)
    result = np.zeros(4, np.float32)
    interpret(k.finish("nan"), [np.array([np.nan, 1, 0, 0], np.float32), result])
    np.testing.assert_array_equal(result, [np.nan, 1, np.nan, 1])


def test_partial_stores_gathers_and_scatters() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.int32, 8), k.buffer("y", dt.int32, 8, "read_write")
    backwards = k.const(7, INDEX) - k.lanes(INDEX, 4)
    k.store(y, 0, k.gather(x, backwards), 3)
    k.scatter(y, backwards, k.load(x, 0, 4))
    result = np.full(8, -1, np.int32)
    interpret(k.finish("lanes"), [np.arange(8, dtype=np.int32), result])
    assert result.tolist() == [7, 6, 5, -1, 3, 2, 1, 0]


# -- control flow ------------------------------------------------------------------------------------------------------------


def test_loops_carry_values_and_may_run_zero_times() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.int64, 1), k.buffer("y", dt.int64, 2, "write")
    trips = k.load(x, 0)
    zero, one = k.const(0, dt.int64), k.const(1, dt.int64)
    with k.loop(0, k.convert(trips, INDEX), init=[zero, one]) as loop:  # the two swap: all are read before any is replaced
        a, b = loop.carried
        loop.yield_(b, a + b)
    for i, v in enumerate(loop.results):
        k.store(y, i, v)
    kernel = k.finish("fibonacci")
    for n, expected in ((0, [0, 1]), (1, [1, 1]), (10, [55, 89])):
        result = np.zeros(2, np.int64)
        interpret(kernel, [np.array([n]), result])
        assert result.tolist() == expected


def test_branches_yield_values_and_guard_stores() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.float32, 1), k.buffer("y", dt.float32, 2, "read_write")
    v = k.load(x, 0)
    (larger,) = k.if_else(v < 0.0, lambda: (-v,), lambda: (v * 2.0,))
    k.store(y, 0, larger)
    with k.if_(v < 0.0):
        k.store(y, 1, v)
    kernel = k.finish("branch")
    for value, expected in ((-3, [3, -3]), (4, [8, 0])):
        result = np.zeros(2, np.float32)
        interpret(kernel, [np.array([value], np.float32), result])
        assert result.tolist() == expected


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 16])
def test_parallel_loops_cover_everything_once(threads: int) -> None:
    k = Builder(CPU)
    y = k.buffer("y", dt.int32, 10, "read_write")
    with k.loop(0, 10, kind="parallel", grain=2) as loop:
        k.store(y, loop.index, k.load(y, loop.index) + 1)
    result = np.zeros(10, np.int32)
    interpret(k.finish("count"), [result], threads)
    assert result.tolist() == [1] * 10


def test_a_loop_must_yield_what_it_carries() -> None:
    k = Builder(CPU)
    with pytest.raises(ValueError, match="carries"), k.loop(0, 3, init=[k.const(0, dt.int32)]) as loop:
        loop.yield_(k.const(0.0, dt.float32))


def test_workgroups_share_memory_across_a_barrier() -> None:
    """Each workgroup reverses its piece; without lockstep, early invocations would read poison."""
    k = Builder(GPU)
    x, shared = k.buffer("x", dt.int32, 8, "read_write"), k.local(dt.int32, 4, "workgroup")
    mine = k.special("local_id", 0)
    first = k.special("workgroup_id", 0) * 4
    k.store(shared, mine, k.load(x, first + mine))
    k.barrier()
    k.store(x, first + mine, k.load(shared, k.const(3, INDEX) - mine))
    values = np.arange(8, dtype=np.int32)
    interpret(k.finish("reverse", (2, 1, 1), (4, 1, 1)), [values])
    assert values.tolist() == [3, 2, 1, 0, 7, 6, 5, 4]


# -- the interpreter's own checks --------------------------------------------------------------------------------------------


def test_accesses_outside_a_buffer_raise() -> None:
    for index, width in ((-1, 1), (8, 1), (5, 4)):
        k = Builder(CPU)
        x, y = k.buffer("x", dt.int32, 8), k.buffer("y", dt.int32, 8, "write")
        k.store(y, 0, k.load(x, index, width))
        with pytest.raises(KernelError, match="access to elements"):
            interpret(k.finish("outside"), [np.zeros(8, np.int32), np.zeros(8, np.int32)])


def test_values_out_of_scope_and_read_only_buffers_raise() -> None:
    k = Builder(CPU)
    x, y = k.buffer("x", dt.int32, 2), k.buffer("y", dt.int32, 2, "write")
    with k.loop(0, 2) as loop:
        inside = k.load(x, loop.index)
    k.store(y, 0, inside)
    with pytest.raises(KernelError, match="not defined"):
        interpret(k.finish("scope"), [np.zeros(2, np.int32), np.zeros(2, np.int32)])
    k = Builder(CPU)
    k.store(k.buffer("x", dt.int32, 2), 0, k.const(1, dt.int32))
    with pytest.raises(KernelError, match="read-only"):
        interpret(k.finish("store"), [np.zeros(2, np.int32)])


def test_a_barrier_that_only_some_reach_raises() -> None:
    k = Builder(GPU)
    k.buffer("x", dt.int32, 4)
    with k.if_(k.special("local_id", 0) < 2):
        k.barrier()
    with pytest.raises(KernelError, match="only some invocations"):
        interpret(k.finish("diverge", (1, 1, 1), (4, 1, 1)), [np.zeros(4, np.int32)])


def test_fma_rounds_once_or_twice() -> None:
    for dtype, bits in ((dt.float32, 24), (dt.float64, 53)):
        k = Builder(CPU)
        x, y = k.buffer("x", dtype, 3), k.buffer("y", dtype, 1, "write")
        k.store(y, 0, k.fma(k.load(x, 0), k.load(x, 1), k.load(x, 2)))
        kernel = k.finish("fma")
        step = 2.0 ** (1 - bits)
        operands = np.array([1 + step, 1 + step, -(1 + 2 * step)], dtype.numpy)
        for fused, expected in ((True, step * step), (False, 0)):
            result = np.zeros(1, dtype.numpy)
            interpret(kernel, [operands, result], fused=fused)
            assert result[0] == expected


def test_programs_branch_loop_and_copy() -> None:
    """Halve x while it is larger than 1; then copy it, or not, as the flag says."""
    from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, While

    k = Builder(CPU)
    x, flag = k.buffer("x", dt.int32, 1, "read_write"), k.buffer("flag", dt.bool_, 1, "write")
    half = k.load(x, 0) / 2
    k.store(x, 0, half)
    k.store(flag, 0, half > 1)
    value, more, out = Ref("arena", 0, 4), Ref("arena", 256, 1), Ref("io", 0, 4)
    step = Launch(0, (value, more))
    entry = (While(more, (step,), bound=10), Cond(more, (), (Copy(value, out),)))
    code = Code([k.finish("halve")], {"run": entry, "bounded": (While(more, (step,), bound=2),)})
    for start, expected in ((1000, 1), (3, 1)):
        arena, io = np.zeros(512, np.uint8), np.zeros(4, np.uint8)
        arena[:4].view(np.int32)[0], arena[256] = start, 1
        run_code(code, "run", {"arena": arena, "io": io})
        assert io.view(np.int32)[0] == expected
    arena[:4].view(np.int32)[0], arena[256] = 1000, 1
    with pytest.raises(KernelError, match="more than its 2 trips"):
        run_code(code, "bounded", {"arena": arena, "io": io})
