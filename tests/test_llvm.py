"""Kernel IR printed as LLVM IR and run natively, against NumPy: every operation, dtype, tail, loop, step and thread count."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Machine
from hither.kernels.steps import Code, Copy, Launch, Ref
from hither.runtime import cpu
from hither.runtime.object_file import undefined_symbols
from hither.targets.llvm import Target, print_module

from .native import MACHINE, private_cache, run_kernel  # noqa: F401

INTEGERS = [dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64]
FLOATS = [dt.float32, dt.float64]


def lanewise(
    function: Callable[..., Any], inputs: list[np.ndarray], result: dt.DType, width: int, machine: Machine = MACHINE
) -> np.ndarray:
    """`function(k, *vectors)` over whole arrays, `width` lanes at a time."""
    k = Builder(machine, width)
    count = inputs[0].size
    assert count % width == 0
    sources = [k.buffer("x", dt.dtype(a.dtype), count) for a in inputs]
    target = k.buffer("y", result, count, "write")
    with k.loop(0, count, width) as loop:
        values = [k.load(b, loop.index, width, dt.dtype(a.dtype)) for b, a in zip(sources, inputs)]
        k.store(target, loop.index, function(k, *values))
    out = np.zeros(count, result.numpy)
    return run_kernel(k.finish("lanewise"), [*inputs, out], machine=machine)[-1]


def samples(dtype: dt.DType, count: int = 64, seed: int = 0) -> np.ndarray:
    """Values of a dtype, its extremes and special ones among them."""
    rng = np.random.default_rng(seed)
    if dtype is dt.bool_:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_float:
        values = rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)
        special = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e9, -1e9, math.inf, -math.inf, math.nan]
    else:
        low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
        values = rng.integers(low, high, count, dtype.numpy, endpoint=True)
        special = [0, 1, high, low, low + 1, high - 1, 2, 3]
    values = values.astype(dtype.numpy)
    where = rng.permutation(count)[: len(special)]
    values[where] = quiet(lambda: np.array(special).astype(dtype.numpy))
    return values


def quiet(function: Callable[[], np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


NUMPY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "min": lambda a, b: np.where(b < a, b, a), "max": lambda a, b: np.where(b > a, b, a),
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
}  # fmt: skip


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, dt.bool_], ids=str)
def test_two_operand_operations(dtype, width):
    """One kernel with every operation that the dtype has, each into its own result."""
    kinds = [k for k in NUMPY if not (dtype.is_float and k in ("and", "or", "xor"))]
    if dtype is dt.bool_:
        kinds = [k for k in kinds if k not in ("add", "sub", "mul")]
    a, b = samples(dtype, seed=1), samples(dtype, seed=2)
    k = Builder(MACHINE, width)
    x, y = k.buffer("x", dtype, a.size), k.buffer("y", dtype, a.size)
    results = [k.buffer(kind, dt.bool_ if kind in ("eq", "ne", "lt", "le") else dtype, a.size, "write") for kind in kinds]
    with k.loop(0, a.size, width) as loop:
        u, v = (k.load(buffer, loop.index, width, dtype) for buffer in (x, y))
        for kind, result in zip(kinds, results):
            method = k.compare if kind in ("eq", "ne", "lt", "le") else k.binary
            k.store(result, loop.index, method(kind, u, v))
    expected = [quiet(lambda kind=kind: np.asarray(NUMPY[kind](a, b))) for kind in kinds]
    got = run_kernel(k.finish("binary"), [a, b, *(np.zeros_like(e) for e in expected)])[2:]
    for kind, g, e in zip(kinds, got, expected):
        np.testing.assert_array_equal(g, e, err_msg=kind)


@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_division_truncates_and_never_traps(dtype, width):
    a, b = samples(dtype, seed=3), samples(dtype, seed=4)
    b[:4], a[4:8] = 0, np.iinfo(dtype.numpy).min
    if dtype.kind == "i":
        b[4:6] = -1
    for kind in ("div", "rem"):
        got = lanewise(lambda k, x, y, kind=kind: k.binary(kind, x, y), [a, b], dtype, width)
        for x, y, g in zip(a.tolist(), b.tolist(), got.tolist()):
            if y == 0:
                continue  # some value
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            value = quotient if kind == "div" else x - quotient * y
            assert g == np.array(value % 2**dtype.bits, np.uint64).astype(dtype.numpy), (kind, x, y)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_division_by_constants_and_shifts(dtype):
    a = samples(dtype)
    shifts = (np.arange(a.size) % dtype.bits).astype(dtype.numpy)
    np.testing.assert_array_equal(lanewise(lambda k, x, s: x << s, [a, shifts], dtype, 16), a << shifts)
    np.testing.assert_array_equal(lanewise(lambda k, x, s: x >> s, [a, shifts], dtype, 16), a >> shifts)
    got = lanewise(lambda k, x: k.binary("div", x, 7), [a], dtype, 16)
    np.testing.assert_array_equal(got, np.array([abs(v) // 7 * (-1 if v < 0 else 1) for v in a.tolist()]).astype(dtype.numpy))
    if dtype.kind == "i":  # Python's constant -1 must be guarded too
        least = np.full(16, np.iinfo(dtype.numpy).min, dtype.numpy)
        np.testing.assert_array_equal(lanewise(lambda k, x: k.binary("div", x, -1), [least], dtype, 16), least)


@pytest.mark.parametrize("rounding", [True, False], ids=["sse4.1", "sse2"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_functions(dtype, rounding, monkeypatch):
    if not rounding:
        monkeypatch.setattr(cpu, "host_target", lambda: Target(cpu._architecture(), rounding=False))
    a = samples(dtype, 128)
    a[:8] = [0.49999997, -0.3, 8388607.5, -8388609.0, 4503599627370495.5, -0.7, 1e30, -1.5]
    references = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}
    references |= {"sqrt": np.sqrt, "abs": np.abs, "neg": np.negative}
    for name, reference in references.items():
        got = lanewise(lambda k, x, name=name: k.unary(name, x), [a], dtype, 16)
        want = quiet(lambda reference=reference: reference(a))
        np.testing.assert_array_equal(got, want, err_msg=name)
        kept = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[kept]), np.signbit(want[kept]), err_msg=f"sign of {name}")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_remainder_is_exact(dtype):
    rng = np.random.default_rng(5)
    tiny, huge = np.finfo(dtype.numpy).smallest_subnormal, np.finfo(dtype.numpy).max
    a, b = samples(dtype, 256, 6), samples(dtype, 256, 7)
    a[:6], b[:6] = [huge, huge, 5.3, -5.3, tiny * 7, -huge], [tiny * 3, 3.7, math.inf, 2.0, tiny * 2, tiny]
    a[6:80] = rng.standard_normal(74) * 10.0 ** rng.uniform(-30, 30, 74)
    got = lanewise(lambda k, x, y: k.rem(x, y), [a, b], dtype, 8)
    want = quiet(lambda: np.fmod(a, b))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(want)]), np.signbit(want[~np.isnan(want)]))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fma_rounds_once_where_the_machine_can_and_twice_elsewhere(dtype):
    a, b, c = (np.nan_to_num(samples(dtype, 64, s), posinf=1, neginf=1) for s in (1, 2, 3))
    twice = lanewise(lambda k, x, y, z: k.fma(x, y, z), [a, b, c], dtype, 16, replace(MACHINE, fma=False))
    np.testing.assert_array_equal(twice, quiet(lambda: a * b + c))
    if MACHINE.fma and dtype is dt.float32:
        once = lanewise(lambda k, x, y, z: k.fma(x, y, z), [a, b, c], dtype, 16)
        exact = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
        np.testing.assert_array_equal(once, exact.astype(np.float32))


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS, dt.bool_], ids=str)
def test_conversions(source, width):
    """Every target dtype from one source in one kernel."""
    a = samples(source, 64, 9)
    targets = [t for t in (*INTEGERS, *FLOATS, dt.bool_) if t is not source]
    k = Builder(MACHINE, width)
    x = k.buffer("x", source, a.size)
    results = [k.buffer(str(t), t, a.size, "write") for t in targets]
    with k.loop(0, a.size, width) as loop:
        value = k.load(x, loop.index, width, source)
        for t, result in zip(targets, results):
            k.store(result, loop.index, k.convert(value, t))
    got = run_kernel(k.finish("convert"), [a, *(np.zeros(a.size, t.numpy) for t in targets)])[1:]
    for t, g in zip(targets, got):
        if source.is_float and t.is_integer:
            info = np.iinfo(t.numpy)
            exact = [
                0 if math.isnan(v) else info.max if v == math.inf else info.min if v == -math.inf else int(v)
                for v in a.tolist()
            ]
            want = np.array([min(max(v, info.min), info.max) for v in exact], t.numpy)
        else:
            want = quiet(lambda t=t: a.astype(t.numpy))
        np.testing.assert_array_equal(g, want, err_msg=f"{source} to {t}")


@pytest.mark.parametrize("native", [True, False], ids=["f16c", "bits"])
def test_float16_storage(native):
    if native and not MACHINE.float16:
        pytest.skip("this processor does not convert halves")
    machine = replace(MACHINE, float16=native)
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(lanewise(lambda k, x: x, [every], dt.float32, 16, machine), every.astype(np.float32))
    values = np.concatenate([samples(dt.float32, 64), every.astype(np.float32)[::7][:4096] * np.float32(1.0003)])
    want = quiet(lambda: values.astype(np.float16))
    np.testing.assert_array_equal(lanewise(lambda k, x: x, [values], dt.float16, 16, machine), want)


@pytest.mark.skipif(not MACHINE.float16, reason="this processor does not convert halves")
def test_float64_and_integers_round_once_to_float16():
    half = np.arange(0, 0x7C00, 97, dtype=np.uint16).view(np.float16).astype(np.float64)
    between = (half[:-1] + half[1:]) / 2
    values = np.concatenate(
        [half, between, between * (1 + 1e-12), between * (1 - 1e-12), [1e300, -1e300, math.inf, math.nan, 65519.99, 65520]]
    )
    values = np.concatenate([values, np.zeros(-values.size % 16)])
    got = lanewise(lambda k, x: x, [values], dt.float16, 16)
    np.testing.assert_array_equal(got, quiet(lambda: values.astype(np.float16)))
    numbers = np.array([0, 1, -1, 2049, 2051, 65504, 65519, 65520, 2**40, -(2**62)] + [3] * 6, np.int64)
    got = lanewise(lambda k, x: x, [numbers], dt.float16, 16)
    np.testing.assert_array_equal(got, quiet(lambda: numbers.astype(np.float64).astype(np.float16)))


def test_select_bitcast_lanes_pack_extract_not():
    a = samples(dt.float32, 64)
    magnitude = lanewise(lambda k, x: k.bitcast(k.bitcast(x, dt.uint32) & 0x7FFFFFFF, dt.float32), [a], dt.float32, 16)
    np.testing.assert_array_equal(magnitude, np.abs(a))
    np.testing.assert_array_equal(lanewise(lambda k, x: k.select(x < 0, 1.0, x), [a], dt.float32, 16), np.where(a < 0, 1, a))
    np.testing.assert_array_equal(lanewise(lambda k, x: k.lanes(dt.int32, 16), [a], dt.int32, 16), np.tile(np.arange(16), 4))
    flipped = lanewise(lambda k, x: k.pack([k.extract(x, 7 - i) for i in range(8)]), [a], dt.float32, 8)
    np.testing.assert_array_equal(flipped, a.reshape(-1, 8)[:, ::-1].reshape(-1))
    np.testing.assert_array_equal(lanewise(lambda k, x: ~(x < 0), [a], dt.bool_, 16), ~(a < 0))
    numbers = samples(dt.int16)
    np.testing.assert_array_equal(lanewise(lambda k, x: ~x, [numbers], dt.int16, 16), ~numbers)
    np.testing.assert_array_equal(lanewise(lambda k, x: k.abs(x), [numbers], dt.int16, 16), np.abs(numbers))


@pytest.mark.parametrize("width", [2, 7, 12, 16, 64])
@pytest.mark.parametrize("dtype", [dt.int32, dt.float32, dt.uint8], ids=str)
def test_reduce(dtype, width):
    a = np.arange(1, width + 1).astype(dtype.numpy)[::-1].copy()
    k = Builder(MACHINE)
    x, y = k.buffer("x", dtype, width), k.buffer("y", dtype, 3, "write")
    value = k.load(x, 0, width)
    for i, how in enumerate(("add", "max", "min")):
        k.store(y, i, k.reduce(how, value))
    got = run_kernel(k.finish("reduce"), [a, np.zeros(3, dtype.numpy)])[1]
    np.testing.assert_array_equal(got, np.array([a.sum(dtype=dtype.numpy), a.max(), a.min()]))


@pytest.mark.parametrize("bits", [128, 512])
@pytest.mark.parametrize("dtype", [dt.float32, dt.int8, dt.float64, dt.bool_, dt.float16], ids=str)
def test_partial_stores_leave_the_rest_alone(dtype, bits):
    """Every count of lanes, masked (512) and in pieces (128)."""
    machine = replace(MACHINE, vector_bits=min(bits, MACHINE.vector_bits))
    width = 16
    k = Builder(machine)
    x, y = k.buffer("x", dtype, width), k.buffer("y", dtype, width * width, "write")
    for count in range(1, width + 1):
        k.store(y, (count - 1) * width, k.load(x, 0, width, dtype), count)
    a = np.arange(width).astype(dtype.numpy) + dtype.numpy.type(1)
    got = run_kernel(k.finish("tails"), [a, np.zeros(width * width, dtype.numpy)], machine=machine)[1].reshape(width, width)
    np.testing.assert_array_equal(got, np.tril(np.ones((width, width), dtype.numpy)) * a)


def test_gather_and_scatter():
    rng = np.random.default_rng(0)
    table, where = rng.standard_normal(100).astype(np.float32), rng.integers(0, 100, 32).astype(np.int32)
    k = Builder(MACHINE)
    t, w, y = k.buffer("t", dt.float32, 100), k.buffer("w", dt.int32, 32), k.buffer("y", dt.float32, 32, "write")
    z = k.buffer("z", dt.int32, 100, "read_write")
    with k.loop(0, 32, 16) as loop:
        index = k.convert(k.load(w, loop.index, 16), INDEX)
        k.store(y, loop.index, k.gather(t, index))
        k.scatter(z, index & 7, k.convert(k.lanes(dt.int32, 16), dt.int32))
    got = run_kernel(k.finish("gather"), [table, where, np.zeros(32, np.float32), np.full(100, -1, np.int32)])
    np.testing.assert_array_equal(got[2], table[where])
    want = np.full(100, -1)
    for i, index in enumerate(where):
        want[index & 7] = i % 16
    np.testing.assert_array_equal(got[3], want)


def test_loops_carry_values_and_branches_yield_them():
    """Run-time bounds, nesting, no trips, one trip, a negative step, values used after the loop, if inside a loop."""
    k = Builder(MACHINE)
    n, y = k.buffer("n", dt.int64, 4), k.buffer("y", dt.int64, 8, "write")
    zero, one = k.const(0, dt.int64), k.const(1, dt.int64)
    stop = k.convert(k.load(n, 0), INDEX)
    with k.loop(0, stop, init=[zero, one]) as fibonacci:
        a, b = fibonacci.carried
        fibonacci.yield_(b, a + b)
    k.store(y, 0, fibonacci.results[0])
    with k.loop(3, k.convert(k.load(n, 1), INDEX), init=[one]) as never:
        never.yield_(never.carried[0] + 100)
    k.store(y, 1, never.results[0])
    with k.loop(2, 3, init=[zero]) as once:
        once.yield_(once.carried[0] + k.convert(once.index, dt.int64))
    k.store(y, 2, once.results[0])
    with k.loop(0, 5, init=[zero]) as outer:
        with k.loop(0, outer.index, init=[outer.carried[0]]) as inner:
            (odd,) = k.if_else((inner.index & 1).eq(1), lambda: (inner.carried[0] + 10,), lambda: (inner.carried[0] + 1,))
            inner.yield_(odd)
        outer.yield_(inner.results[0])
    k.store(y, 3, outer.results[0])
    with k.loop(9, -1, -3, init=[zero]) as down:
        down.yield_(down.carried[0] * 10 + k.convert(down.index, dt.int64))
    k.store(y, 4, down.results[0])
    with k.if_(k.load(n, 2) < 0):
        k.store(y, 5, one)
    with k.if_(k.load(n, 3) < 0):
        k.store(y, 6, one)
    with k.loop(4, 4, init=[one]) as empty:
        empty.yield_(empty.carried[0] + 1)
    k.store(y, 7, empty.results[0])
    got = run_kernel(k.finish("loops"), [np.array([10, 3, -1, 1]), np.zeros(8, np.int64)])[1]
    total = sum(10 if j & 1 else 1 for i in range(5) for j in range(i))
    np.testing.assert_array_equal(got, [55, 1, 2, total, 9630, 1, 0, 1])


def test_private_memory():
    k = Builder(MACHINE)
    x, y = k.buffer("x", dt.float32, 64), k.buffer("y", dt.float32, 64, "write")
    row = k.local(dt.float32, 16)
    with k.loop(0, 64, 16, kind="parallel") as loop:
        k.store(row, 0, k.load(x, loop.index, 16))
        with k.loop(0, 16) as lane:
            k.store(y, loop.index + lane.index, k.load(row, k.const(15, INDEX) - lane.index))
    a = samples(dt.float32)
    got = run_kernel(k.finish("reverse"), [a, np.zeros_like(a)], threads=2)[1]
    np.testing.assert_array_equal(got, a.reshape(4, 16)[:, ::-1].reshape(-1))


@pytest.mark.parametrize("processor", ["x86-64", "haswell", "skylake-avx512", "cortex-a72", "apple-m1"])
def test_objects_for_other_processors_need_nothing_from_outside(processor):
    """Rounding, remainder, conversion and division all have library functions that LLVM might call."""
    import llvmlite.binding as llvm

    bits = {"haswell": 256, "skylake-avx512": 512}.get(processor, 128)
    old, arch = processor == "x86-64", "x86_64" if bits > 128 or processor == "x86-64" else "aarch64"
    machine = replace(MACHINE, vector_bits=bits, fma=not old, float16=not old)
    kernels, launches = [], []
    for dtype in (dt.float32, dt.float64, dt.int64, dt.uint8):
        for width in (1, 16):
            k = Builder(machine)
            x, y = k.buffer("x", dtype, 64, "read_write"), k.buffer("y", dt.float16, 64, "write")
            v = k.load(x, 0, width, dtype)
            if dtype.is_float:
                v = k.round(k.floor(k.ceil(k.trunc(v)))) + k.fma(v, v, k.sqrt(k.abs(v))) + k.rem(v, v + 1.0)
                v = v + k.convert(k.convert(v, dt.uint64), dtype) + k.convert(k.convert(v, dt.int8), dtype)
            else:
                v = k.binary("div", v, v + 1) + k.rem(v, v + 3) + k.convert(k.convert(v, dt.float32), dtype)
            k.store(x, 0, k.late(v), max(1, width - 3))
            k.store(y, 0, k.late(v))
            launches.append(Launch(len(kernels), (Ref("io", 0, 512), Ref("io", 512, 512))))
            kernels.append(k.finish("everything"))
    copy = Copy(Ref("io", 0, 1 << 19), Ref("io", 1 << 19, 1 << 19))
    code = Code(kernels, {"main": (*launches, copy)}, {"io": 1 << 20})
    text = print_module(code, machine, Target(arch, rounding=not old))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for triple in (f"{arch}-unknown-linux-gnu", f"{arch}-apple-macosx13.0.0", f"{arch}-pc-windows-msvc-elf"):
        target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2, reloc="pic", codemodel="small")
        module = llvm.parse_assembly(text)
        module.triple, module.data_layout = triple, str(target.target_data)
        assert undefined_symbols(target.emit_object(module)) == set()


def test_sums_are_finished_one_after_the_other():
    """A code generator left to itself computes the maximum of all, then the minimum of all, then stores them: the next tile's
    multiply-adds wait behind those."""
    import llvmlite.binding as llvm

    machine = replace(MACHINE, vector_bits=512)
    count = 12

    def order(late: bool) -> list[str]:
        k = Builder(machine)
        x, y = k.buffer("x", dt.float32, 16 * count), k.buffer("y", dt.float32, 16 * count, "write")
        sums = [k.load(x, i * 16, 16) * k.load(x, 0) for i in range(count)]
        for i, v in enumerate(sums):
            v = k.late(v) if late else v
            v = k.binary("max", v, k.const(0, dt.float32, 16))
            k.store(y, i * 16, k.binary("min", v, k.const(6, dt.float32, 16)))
        refs = (Ref("io", 0, 64 * count), Ref("io", 64 * count, 64 * count))
        code = Code([k.finish("clip")], {"main": (Launch(0, refs),)}, {"io": 128 * count})
        module = llvm.parse_assembly(print_module(code, machine, Target("x86_64")))
        target = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu="znver4", opt=2)
        text = target.emit_assembly(module)
        lines = [line.split() for line in text.splitlines() if "zmm" in line]
        kinds = {"vmaxps": "max", "vminps": "min"}
        return [kinds.get(w[0], "store" if w[0].startswith("vmov") and w[-1].endswith(")") else "") for w in lines]

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    found = [kind for kind in order(late=True) if kind]
    assert found == ["max", "min", "store"] * count
    assert [kind for kind in order(late=False) if kind] != found, "the code generator has learnt it: `late` is not needed"


@pytest.mark.parametrize("width", [2, 7, 16])
@pytest.mark.parametrize("dtype", [dt.uint8, dt.int16, dt.float16, dt.float64, dt.bool_], ids=str)
def test_gather_of_every_size(dtype, width):
    table = np.nan_to_num(samples(dtype, 64).astype(np.float64), posinf=3, neginf=2).astype(dtype.numpy)
    where = np.random.default_rng(1).integers(0, 64, width)
    k = Builder(MACHINE)
    t, w, y = k.buffer("t", dtype, 64), k.buffer("w", dt.int64, width), k.buffer("y", dtype, width, "write")
    k.store(y, 0, k.gather(t, k.convert(k.load(w, 0, width), INDEX), dtype))
    got = run_kernel(k.finish("gather"), [table, where, np.zeros(width, dtype.numpy)])[2]
    np.testing.assert_array_equal(got, table[where])
