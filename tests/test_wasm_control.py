"""The wasm printer: loops, branches, steps, threads and what it refuses, in Node.

If one of these fails, a program in the browser takes another path, loses an iteration or races with itself.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Kernel, Loop, Machine, Op
from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, While
from hither.targets.wasm.printer import print_module
from tests.wasm_kernels import MACHINE, printed, run_kernel, same, samples
from tests.wasm_node import NodeError, run_wasm, run_wasm_regions

pytestmark = pytest.mark.usefixtures("node")

# -- control ---------------------------------------------------------------------------------------------------------


def test_carried_values() -> None:
    """Carried values that swap, stand still, come from outside, repeat, or are the counter."""
    k = Builder(MACHINE)
    out = k.buffer("out", dt.int32, 7, "write")
    one, two = k.const(1, dt.int32), k.const(2, dt.int32)
    outside = k.convert(k.special("thread"), dt.int32) + 40
    zero = k.const(0, dt.int32)
    with k.loop(0, 5, init=[one, two, two, zero, zero, zero, zero]) as loop:
        a, b, c, _, _, _, total = loop.carried
        added = a + b
        counter = k.convert(loop.index, dt.int32)
        loop.yield_(b, added, c, outside, added, counter, total + a * b)
    for i, r in enumerate(loop.results):
        k.store(out, i, r)
    a, b, same_, total = 1, 2, 0, 0
    for _ in range(5):
        total += a * b
        a, b, same_ = b, a + b, a + b
    same(run_kernel(k.finish("carried"), [np.zeros(7, np.int32)])[0], np.int32([a, b, 2, 40, same_, 4, total]))


@pytest.mark.parametrize("width", (1, 4, 8))
def test_nested_loops(width: int) -> None:
    """A matrix product whose accumulator is carried through two loops, with a zero-trip loop beside."""
    m, n, p = 5, 8, 7
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((m, p)).astype(np.float32), rng.standard_normal((p, n)).astype(np.float32)
    k = Builder(MACHINE, width)
    a, b = k.buffer("a", dt.float32, m * p), k.buffer("b", dt.float32, p * n)
    c, empty = k.buffer("c", dt.float32, m * n, "write"), k.buffer("n", dt.int32, 1)
    trips = k.load(empty, 0)
    zero = k.const(0.0, dt.float32, width)
    with k.loop(0, m) as row, k.loop(0, n, width) as column:
        with k.loop(0, 1, init=[zero]) as outer:
            with k.loop(0, p, init=[outer.carried[0]]) as inner:
                value = k.load(a, row.index * p + inner.index) * k.load(b, inner.index * n + column.index, width)
                inner.yield_(inner.carried[0] + value)
            outer.yield_(inner.results[0])
        with k.loop(0, trips, init=[outer.results[0]]) as never:
            never.yield_(never.carried[0] * 5.0)
        k.store(c, row.index * n + column.index, never.results[0])
    arrays = [x.ravel(), y.ravel(), np.zeros(m * n, np.float32), np.zeros(1, np.int32)]
    got = run_kernel(k.finish("product"), arrays)[2]
    np.testing.assert_allclose(got.reshape(m, n), x @ y, rtol=1e-5, atol=1e-5)


def test_if() -> None:
    """Branches with results, with stores, nested in loops, and with only one side."""
    a = samples(dt.int32, 24)
    k = Builder(MACHINE)
    x, out, marks = k.buffer("x", dt.int32, 24), k.buffer("out", dt.int32, 24, "write"), k.buffer("m", dt.int32, 24, "write")
    with k.loop(0, 24, init=[k.const(0, dt.int32)]) as loop:
        v = k.load(x, loop.index)
        (total,) = loop.carried
        chosen, other = k.if_else(v < 0, lambda: (total - v, v), lambda: (total, k.rem(v, 5)))
        with k.if_(k.rem(loop.index, 3).eq(0)):
            k.store(marks, loop.index, other)
        k.store(out, loop.index, chosen)
        loop.yield_(chosen)
    _, got, marked = run_kernel(k.finish("if"), [a, np.zeros(24, np.int32), np.full(24, 7, np.int32)])
    with np.errstate(all="ignore"):
        same(got, np.cumsum(np.where(a < 0, -a, 0), dtype=np.int32))
    other = np.where(a < 0, a, np.fmod(a, 5)).astype(np.int32)
    same(marked, np.where(np.arange(24) % 3 == 0, other, 7).astype(np.int32))


def test_constants_leave_inner_loops() -> None:
    """Many vector constants in one loop, more than there are registers, and a splat of a value from outside."""
    a = samples(dt.float32, 16)
    k = Builder(MACHINE, 4)
    x, s, out = k.buffer("x", dt.float32, 16), k.buffer("s", dt.float32, 1), k.buffer("out", dt.float32, 16, "write")
    scale = k.load(s, 0)
    with k.loop(0, 2), k.loop(0, 16, 4) as loop:
        total = k.load(x, loop.index, 4)
        for i in range(20):
            total = total * k.const(1.0 + i / 64, dt.float32) + scale
        k.store(out, loop.index, total)
    expected = a.copy()
    for i in range(20):
        expected = expected * np.float32(1.0 + i / 64) + np.float32(0.75)
    same(run_kernel(k.finish("constants"), [a, np.float32([0.75]), np.zeros(16, np.float32)])[2], expected)


# -- threads and steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", (1, 2, 3))
@pytest.mark.parametrize("trips,step,grain", [(0, 1, 1), (1, 1, 1), (2, 3, 1), (7, 1, 4), (7, 2, 1), (100, 5, 16), (5, 1, 100)])
def test_parallel_chunks(threads: int, trips: int, step: int, grain: int) -> None:
    """Every iteration runs exactly once, in contiguous chunks of at least `grain`."""
    extent = trips * step + 3
    k = Builder(MACHINE)
    seen, who = k.buffer("seen", dt.int32, extent, "read_write"), k.buffer("who", dt.int32, extent, "write")
    with k.loop(3, extent, step, kind="parallel", grain=grain) as loop:
        k.store(seen, loop.index, k.load(seen, loop.index) + 1)
        k.store(who, loop.index, k.convert(k.special("thread"), dt.int32))
    counts, owner = run_kernel(k.finish("chunks"), [np.zeros(extent, np.int32), np.zeros(extent, np.int32)], threads)
    expected = np.zeros(extent, np.int32)
    expected[3:extent:step] = 1
    same(counts, expected)
    owners = owner[3:extent:step]
    assert (np.diff(owners) >= 0).all()
    _, sizes = np.unique(owners, return_counts=True)
    assert (sizes[:-1] >= grain).all()


def test_serial_kernels_run_once() -> None:
    """Kernels without a parallel loop, and stores beside one, run on one thread only."""
    k = Builder(MACHINE)
    counter = k.buffer("c", dt.int32, 1, "read_write")
    k.store(counter, 0, k.load(counter, 0) + 1)
    serial = k.finish("serial")
    k = Builder(MACHINE)
    counter, out = k.buffer("c", dt.int32, 1, "read_write"), k.buffer("o", dt.int32, 8, "write")
    k.store(counter, 0, k.load(counter, 0) + 1)
    with k.loop(0, 8, kind="parallel") as loop:
        k.store(out, loop.index, k.convert(loop.index, dt.int32))
    beside = k.finish("beside")
    counter_ref, out_ref = Ref("state", 0, 4), Ref("io", 0, 32)
    steps = [Launch(0, (counter_ref,)), Launch(1, (counter_ref, out_ref)), Launch(0, (counter_ref,))]
    for threads in (1, 2):
        got = run_wasm_regions(printed([serial, beside], steps), "main", state=bytes(4), io=bytes(32), threads=threads)
        assert struct.unpack("<i", got["state"]) == (3,)
        same(np.frombuffer(got["io"], np.int32), np.arange(8, dtype=np.int32))


def test_barriers_between_dependent_steps() -> None:
    """Two threads pass an array back and forth, each reading what the other wrote; repeated entries do not overlap."""
    n = 4096
    k = Builder(MACHINE, 4)
    x, out = k.buffer("x", dt.int32, n), k.buffer("out", dt.int32, n, "write")
    with k.loop(0, n, 4, kind="parallel") as loop:
        k.store(out, loop.index, k.gather(x, k.broadcast(k.const(n - 1, INDEX) - loop.index, 4) + k.lanes(INDEX, 4) * -1) + 1)
    kernel = k.finish("reverse")
    here, there = Ref("io", 0, n * 4), Ref("arena", 0, n * 4)
    steps = [Launch(0, (here, there)), Launch(0, (there, here))] * 10
    a = np.arange(n, dtype=np.int32)
    module = printed([kernel], steps)
    for threads in (1, 2):
        got = run_wasm_regions(module, "main", arena=bytes(n * 4), io=a.tobytes(), threads=threads, repeat=20)
        same(np.frombuffer(got["io"], np.int32), a + 400)


def counting_kernels() -> tuple[Kernel, Kernel]:
    """value += amount in all elements; flag = value[0] < 10."""
    k = Builder(MACHINE)
    value, amount = k.buffer("v", dt.int32, 64, "read_write"), k.buffer("a", dt.int32, 1)
    with k.loop(0, 64, kind="parallel") as loop:
        k.store(value, loop.index, k.load(value, loop.index) + k.load(amount, 0))
    add = k.finish("add")
    k = Builder(MACHINE)
    value, flag = k.buffer("v", dt.int32, 64), k.buffer("f", dt.bool_, 1, "write")
    k.store(flag, 0, k.load(value, 0) < 10)
    return add, k.finish("below")


@pytest.mark.parametrize("threads", (1, 2))
def test_cond_while_copy(threads: int) -> None:
    add, below = counting_kernels()
    value, flag = Ref("io", 0, 256), Ref("arena", 3, 1)
    one, two, saved = Ref("weights", 0, 4), Ref("weights", 4, 4), Ref("io", 256, 256)
    count_up = While(flag, (Launch(0, (value, one)), Launch(1, (value, flag))))
    steps = [
        Launch(1, (value, flag)),
        count_up,
        Copy(value, saved),
        Cond(flag, (Launch(0, (value, one)),), (Launch(0, (value, two)), Cond(flag, (), (Launch(0, (value, two)),)))),
        Cond(flag, (Launch(0, (value, one)),), ()),
    ]
    weights = np.int32([1, 2]).tobytes()
    for start, end in ((0, 10), (9, 10), (10, 10), (50, 50)):
        io = np.full(128, start, np.int32)
        out = run_wasm(printed([add, below], steps), "main", weights, arena=bytes(4), io=io.tobytes(), threads=threads)
        same(np.frombuffer(out, np.int32), np.repeat([end + 4, end], 64).astype(np.int32))


def test_equal_kernels_are_printed_once() -> None:
    add, below = counting_kernels()
    again, _ = counting_kernels()
    refs = (Ref("io", 0, 256), Ref("io", 256, 4))
    once = printed([add, below], [Launch(0, refs)])
    twice = printed([add, below, again], [Launch(0, refs), Launch(2, refs)])
    assert len(twice.bytes) - len(once.bytes) < 40  # one more call, no third function


def test_two_entries() -> None:
    add, below = counting_kernels()
    value = Ref("io", 0, 256)
    code = Code([add, below], {
        "one": (Launch(0, (value, Ref("weights", 0, 4))),),
        "two": (Launch(0, (value, Ref("weights", 256, 4))),),
    })  # fmt: skip
    module = print_module(code, MACHINE, False)
    assert module.entries == ("one", "two")
    weights = np.zeros(65, np.int32)
    weights[0], weights[64] = 1, 2
    for entry, expected in (("one", 1), ("two", 2)):
        out = run_wasm(module, entry, weights.tobytes(), io=bytes(256))
        same(np.frombuffer(out, np.int32), np.full(64, expected, np.int32))


# -- limits and errors -----------------------------------------------------------------------------------------------


def test_other_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="'llvm'"):
        print_module(Code([], {}), Machine("llvm"), False)
    gpu = Builder(Machine("wgsl", gpu=True))
    out = gpu.buffer("out", dt.int32, 4, "write")
    gpu.store(out, gpu.special("workgroup_id", 0), gpu.const(1, dt.int32))
    with pytest.raises(ValueError, match="workgroup_id exists on GPUs only"):
        printed([gpu.finish("shader")], [Launch(0, (Ref("io", 0, 16),))])


def test_unsupported_vectors_are_refused() -> None:
    k = Builder(MACHINE)
    x, out = k.buffer("x", dt.float64, 4), k.buffer("out", dt.float64, 4, "write")
    k.store(out, 0, k.load(x, 0, 2))
    with pytest.raises(ValueError, match="2 lanes of float64"):
        printed([k.finish("wide")], [Launch(0, (Ref("io", 0, 32), Ref("io", 256, 32)))])
    k = Builder(MACHINE)
    out = k.buffer("out", dt.int32, 4, "write")
    with k.loop(0, 4) as loop:
        k.store(out, loop.index, k.const(1, dt.int32))
    kernel = k.finish("backwards")
    loop_op: Op = kernel.body.ops[-1]
    loop_op.attr = Loop("serial", -1)
    with pytest.raises(ValueError, match="steps by -1"):
        printed([kernel], [Launch(0, (Ref("io", 0, 16),))])


def test_out_of_bounds_is_reported() -> None:
    """The harness passes a trap on, and the engine still runs the next module."""
    k = Builder(MACHINE)
    out = k.buffer("out", dt.int32, 1 << 20, "write")
    k.store(out, 1 << 20, k.const(1, dt.int32))
    module = printed([k.finish("outside")], [Launch(0, (Ref("io", 0, 4),))])
    with pytest.raises(NodeError, match="memory access out of bounds"):
        run_wasm(module, "main", io=bytes(4))
    assert run_wasm(printed([], []), "main", io=b"still alive") == b"still alive"


def test_function_names() -> None:
    """A stack trace through a module with names says which kernel trapped."""
    k = Builder(MACHINE)
    out = k.buffer("out", dt.int32, 1 << 20, "write")
    k.store(out, 1 << 20, k.const(1, dt.int32))
    code = Code([k.finish("outside_its_buffer")], {"main": (Launch(0, (Ref("io", 0, 4),)),)})
    with_names, without = (print_module(code, MACHINE, False, names) for names in (True, False))
    assert b"outside_its_buffer" in with_names.bytes
    assert b"outside_its_buffer" not in without.bytes
    with pytest.raises(NodeError, match="outside_its_buffer"):
        run_wasm(with_names, "main", io=bytes(4))
