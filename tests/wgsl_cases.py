"""Programs for the WGSL target: small Codes that between them use every operation on every dtype WebGPU has.

Each is run natively (wgpu), in Chromium (Dawn), and by the kernel interpreter on NumPy, whose result is the expected one.
Kernels hold many operations each, because a software GPU takes up to a second to compile one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hither import dtypes as dt
from hither.dtypes import DType
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Buffer, Kernel, Machine, Val
from hither.kernels.steps import ALIGN, Code, Launch, Ref

MACHINE = Machine("wgsl", gpu=True, wide=("int64", "uint64"))
HALF = Machine("wgsl", gpu=True, float16=True, wide=("int64", "uint64"))


@dataclass
class Case:
    """A Code, the initial bytes of its regions, and where its results lie: {name: (ref, storage dtype)}."""

    code: Code
    regions: dict[str, np.ndarray]
    results: dict[str, tuple[Ref, DType]]
    machine: Machine = MACHINE
    rtol: float = 2e-6
    names: list[str] = field(default_factory=list)  # what each row of the result is, for messages


def lay(**spaces: list[np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, list[Ref]]]:
    """Regions that hold these arrays, each at a multiple of ALIGN, and where."""
    regions, refs = {}, {}
    for space, arrays in spaces.items():
        places, at = [], 0
        for a in arrays:
            places.append(Ref(space, at, a.nbytes))
            at += -(-max(a.nbytes, 1) // ALIGN) * ALIGN
        region = np.zeros(at, np.uint8)
        for place, a in zip(places, arrays):
            region[place.offset : place.offset + a.nbytes] = np.frombuffer(a.tobytes(), np.uint8)
        regions[space], refs[space] = region, places
    return regions, refs


def of_kernel(
    kernel: Kernel, inputs: list[np.ndarray], machine: Machine = MACHINE, rtol: float = 2e-6, fill: float = 0
) -> Case:
    """One launch: buffers that are read get `inputs`, in order, as weights; the others lie in io and are the results."""
    outputs = [np.zeros(b.size, b.dtype.numpy) for b in kernel.buffers if b.access != "read"]
    regions, refs = lay(weights=inputs, io=outputs)
    reads, writes = iter(refs["weights"]), iter(refs["io"])
    args = tuple(next(reads) if b.access == "read" else next(writes) for b in kernel.buffers)
    results = {b.name: (ref, b.dtype) for b, ref in zip(kernel.buffers, args) if b.access != "read"}
    code = Code([kernel], {"main": (Launch(0, args),)}, {k: v.size for k, v in regions.items()})
    return Case(code, regions, results, machine, rtol)


def rows(
    dtype: DType, out: DType, inputs: list[np.ndarray], emit: Callable[..., dict[str, Val]], machine: Machine = MACHINE
) -> Case:
    """A kernel that computes several values from elements i of the inputs and stores each into a row of the output."""
    n = inputs[0].size
    count = len(emit(Builder(machine), *(Builder(machine).const(1, dtype) for _ in inputs)))
    k = Builder(machine)
    sources = [k.buffer(f"x{i}", dtype, n) for i in range(len(inputs))]
    target = k.buffer("out", out, n * count, "write")
    names = []
    with k.loop(0, n, kind="parallel") as loop:
        found = emit(k, *(k.load(s, loop.index, dtype=dtype) for s in sources))
        for row, (name, value) in enumerate(found.items()):
            names.append(name)
            k.store(target, loop.index + row * n, value)
    case = of_kernel(
        k.finish(f"rows_{dtype}_{out}"), [np.ascontiguousarray(a, machine.storage(dtype).numpy) for a in inputs], machine
    )
    case.names = names
    return case


# -- arithmetic ----------------------------------------------------------------------------------------------------------

INF, NAN = float("inf"), float("nan")
_SPECIAL = [
    NAN,
    INF,
    -INF,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.5,
    3e38,
    -3e38,
    1e-30,
    300.0,
    -300.0,
    7.25,
    2147483648.0,
]
_SPECIAL += [-2147483904.0, 4294967296.0, 65504.0, 16777217.0, 5.3, -5.3, 1e10]


def _pairs(values: list[float], dtype: DType) -> list[np.ndarray]:
    """Every pair of the values, and a third operand."""
    a = np.array(values, dtype.numpy)
    n = a.size
    return [np.repeat(a, n), np.tile(a, n), np.roll(np.repeat(a, n), 7)]


def _float_values(k: Builder, x: Val, y: Val, z: Val) -> dict[str, Val]:
    found = {name: k.unary(name, x) for name in ("neg", "abs", "floor", "ceil", "trunc", "round")}
    found["sqrt"] = k.sqrt(k.abs(x))
    found |= {name: k.binary(name, x, y) for name in ("add", "sub", "mul", "div", "rem", "min", "max")}
    found["fma"] = k.fma(k.floor(x * 0.001), k.const(3.0, dt.float32), k.const(1.0, dt.float32))
    found["select"] = k.select(x < y, y, z)
    big = k.const(3e38, dt.float32)
    found |= {f"constant {v}": k.select(x < y, k.const(v, dt.float32), x) for v in (INF, -INF, NAN)}
    found |= {
        "overflow": big * big,
        "0/0": k.const(0.0, dt.float32) / k.const(0.0, dt.float32),
        "sqrt(-1)": k.sqrt(k.const(-1.0, dt.float32)),
        "least float": k.const(1e-45, dt.float32) * 1e38,
    }
    return found


def _float_to_int(k: Builder, x: Val, y: Val, z: Val) -> dict[str, Val]:
    found = {name: k.convert(k.compare(name, x, y), dt.int32) for name in ("eq", "ne", "lt", "le")}
    found["is_nan"] = k.convert(x.ne(x), dt.int32)
    found["is_number"] = k.convert(x.eq(x), dt.int32)
    found["to bool"] = k.convert(k.convert(x, dt.bool_), dt.int32)
    for target in (dt.int8, dt.uint8, dt.int16, dt.uint16, dt.int32, dt.uint32, INDEX):
        if target is not INDEX:
            found[f"to {target}"] = k.convert(k.convert(x, target), dt.int32)
    found["bits"] = k.bitcast(k.select(x.ne(x), k.const(1.0, dt.float32), x), dt.int32)
    found["constant to int"] = k.convert(k.const(-2.75, dt.float32), dt.int32)
    found["infinity to int"] = k.convert(k.const(INF, dt.float32), dt.int32)
    return found


def _int_values(dtype: DType) -> Callable[..., dict[str, Val]]:
    def emit(k: Builder, x: Val, y: Val, z: Val) -> dict[str, Val]:
        one = k.const(1, dtype)
        found = {name: k.unary(name, x) for name in ("neg", "abs", "not")}
        found |= {name: k.binary(name, x, y) for name in ("add", "sub", "mul", "min", "max", "and", "or", "xor")}
        divisor = k.select(y.eq(0), one, y)
        found |= {name: k.binary(name, x, divisor) for name in ("div", "rem")}
        found |= {f"{name} 3": k.binary(name, x, k.const(3, dtype)) for name in ("div", "rem")}
        found |= {f"{name} {n}": k.binary(name, x, k.const(n, dtype)) for name in ("shl", "shr") for n in (1, 3)}
        found["shl by value"] = x << (y & 7)
        found |= {name: k.convert(k.compare(name, x, y), dtype) for name in ("eq", "ne", "lt", "le")}
        found |= {"select": k.select(x < y, y, z), "not zero": k.convert(k.convert(x, dt.bool_), dtype)}
        found["shift of a constant"] = k.const(2, dtype) << k.const(dtype.bits - 2, dtype) if dtype.bits < 64 else one
        return found

    return emit


def _int_conversions(dtype: DType) -> Callable[..., dict[str, Val]]:
    def emit(k: Builder, x: Val) -> dict[str, Val]:
        targets = [t for t in (dt.int8, dt.uint8, dt.int16, dt.uint16, dt.int32, dt.uint32) if t is not dtype]
        found = {f"to {t}": k.convert(k.convert(x, t), dt.float32) for t in targets}
        found["to float32"] = k.convert(x, dt.float32)
        same = {8: (dt.int8, dt.uint8), 16: (dt.int16, dt.uint16), 32: (dt.int32, dt.uint32)}.get(dtype.bits, ())
        return found | {f"bits as {t}": k.convert(k.bitcast(x, t), dt.float32) for t in same if t is not dtype}

    return emit


def _bool_values(k: Builder, x: Val, y: Val, z: Val) -> dict[str, Val]:
    found = {name: k.binary(name, x, y) for name in ("and", "or", "xor")}
    found |= {name: k.compare(name, x, y) for name in ("eq", "ne")}
    return found | {"not": ~x, "select": k.select(x, y, z), "constant": x ^ k.const(True, dt.bool_)}


def _integers(dtype: DType) -> list[float]:
    bits = min(dtype.bits, 32)
    if dtype.bits == 64:  # carried in 32 bits: values whose products fit
        return [0, 1, 2, 3, 7, 100, 32767] + ([-1, -2, -3, -7, -100] if dtype.kind == "i" else [])
    if dtype.kind == "u":
        return [0, 1, 2, 3, 7, 100, (1 << bits) - 1, (1 << bits) - 2, 1 << (bits - 1), (1 << (bits - 1)) - 1]
    low = -(1 << (bits - 1))
    return [0, 1, 2, 3, 7, -1, -2, -3, -7, 100, low, low + 1, -low - 1]


def arithmetic() -> dict[str, Case]:
    cases = {
        "float32": rows(dt.float32, dt.float32, _pairs(_SPECIAL, dt.float32), _float_values),
        "float32 to int": rows(dt.float32, dt.int32, _pairs(_SPECIAL, dt.float32), _float_to_int),
        "bool": rows(dt.bool_, dt.bool_, _pairs([0, 1], dt.bool_), _bool_values),
    }
    for dtype in (dt.int8, dt.uint8, dt.int16, dt.uint16, dt.int32, dt.uint32, dt.int64, dt.uint64):
        cases[dtype.name] = rows(dtype, dtype, _pairs(_integers(dtype), dtype), _int_values(dtype))
        single = [np.array(_integers(dtype), dtype.numpy)]
        cases[f"{dtype} converted"] = rows(dtype, dt.float32, single, _int_conversions(dtype))
    return cases


# -- structure -----------------------------------------------------------------------------------------------------------


def vectors() -> Case:
    """Widths 2 to 4: lanes, pack, extract, reduce, gather, scatter, partial stores."""
    k = Builder(MACHINE)
    x = k.buffer("x", dt.float32, 64)
    order = k.buffer("order", dt.int32, 64)
    out = k.buffer("out", dt.float32, 512, "write")
    whole = k.buffer("whole", dt.uint8, 64, "write")
    with k.loop(0, 4, kind="parallel") as loop:
        at, base = loop.index * 128, loop.index * 16
        for width in (2, 3, 4):
            a, b = k.load(x, base, width), k.load(x, base + 5, width)
            spot = at + (width - 2) * 40
            k.store(out, spot, k.fma(a, b, k.const(0.5, dt.float32, width)))
            k.store(out, spot + 4, k.select(a < b, k.floor(a), k.rem(a, b)), width - 1)
            for i, how in enumerate(("add", "mul", "max", "min")):
                k.store(out, spot + 8 + i, k.reduce(how, a - b))
            places = k.convert(k.load(order, base, width), INDEX)
            k.store(out, spot + 12, k.gather(x, places))
            k.scatter(out, k.rem(places, 8) + (spot + 16), a)
            k.store(out, spot + 24, k.extract(b, width - 1))
            k.store(out, spot + 25, k.convert(k.lanes(dt.int32, width) * 3, dt.float32))
            narrow = k.convert(k.round(k.abs(a) * 100.0), dt.uint8)
            k.store(whole, base + (width - 2) * 4, (narrow << 1) ^ k.convert(k.lanes(dt.int32, width), dt.uint8))
            nan = k.convert(a.ne(a), dt.float32) + k.convert(k.convert(a * 50.0, dt.int8), dt.float32)
            k.store(out, spot + 30, -nan)
            k.store(out, spot + 35, k.pack([k.extract(a, 1), k.extract(b, 0)]))
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(64).astype(np.float32), rng.permutation(64).astype(np.int32)]
    return of_kernel(k.finish("vectors"), inputs, rtol=1e-5)


def quads() -> Case:
    """Accesses that are whole, aligned vectors of four, which are bound as such; and one array where a single one is not."""
    k = Builder(MACHINE)
    x, y, z = (k.buffer(name, dt.float32, 96) for name in "xyz")
    out = k.buffer("out", dt.float32, 96, "write")
    with k.loop(0, 24, kind="parallel") as loop:
        with k.loop(0, 96, 24, init=[k.const(0.0, dt.float32, 4)]) as inner:
            a = k.load(x, inner.index, 4)
            inner.yield_(k.fma(a, k.load(z, inner.index + 1, 4), inner.carried[0]))
        at = loop.index << 2
        k.store(out, at, k.load(y, at, 4) * 2.0 + inner.results[0])
    return of_kernel(k.finish("quads"), [np.arange(96, dtype=np.float32) * s for s in (1.0, 0.5, 0.25)], rtol=1e-5)


def control() -> Case:
    """Nested loops that swap what they carry, run-time bounds, branches, private memory, several parallel loops."""
    k = Builder(MACHINE)
    x = k.buffer("x", dt.float32, 64)
    n = k.buffer("n", dt.int64, 1)
    out = k.buffer("out", dt.float32, 64, "write")
    sums = k.buffer("sums", dt.int32, 12, "write")
    once = k.buffer("once", dt.float32, 1, "write")
    scratch = k.local(dt.float32, 8)
    first = k.load(x, 0)
    k.store(once, 0, first * 2.0)
    with k.loop(0, 64, kind="parallel") as loop:
        value = k.load(x, loop.index)
        zero, one = k.const(0.0, dt.float32), k.const(1.0, dt.float32)
        with k.loop(0, k.load(n, 0), init=[zero, one]) as outer:
            with k.loop(1, 8, 3, init=[outer.carried[0]]) as inner:
                inner.yield_(inner.carried[0] + k.convert(inner.index, dt.float32))
            outer.yield_(outer.carried[1], inner.results[0])
        with k.loop(0, 8) as fill:
            k.store(scratch, fill.index, value * k.convert(fill.index, dt.float32))
        picked, half = k.if_else(
            value < 0.0,
            lambda: (k.load(scratch, 3), k.convert(k.const(1, dt.int32), dt.float32)),
            lambda: (k.load(scratch, 5) - outer.results[0], outer.results[1]),
        )
        with k.if_(k.const(0.5, dt.float32) < value):
            k.store(scratch, 0, value)
        k.store(out, loop.index, picked + half + k.load(scratch, 0) + first)
    with k.loop(2, 12, 3, kind="parallel") as loop:
        k.store(sums, loop.index, k.convert(loop.index, dt.int32) * 10)
    rng = np.random.default_rng(2)
    return of_kernel(k.finish("control"), [rng.standard_normal(64).astype(np.float32), np.array([5], np.int32)])


def serial() -> Case:
    """A kernel without a parallel loop: one invocation, whose later reads see its earlier writes."""
    k = Builder(MACHINE)
    x = k.buffer("x", dt.int32, 16)
    out = k.buffer("out", dt.int32, 16, "read_write")
    with k.loop(0, 16, init=[k.const(0, dt.int32)]) as loop:
        total = loop.carried[0] + k.load(x, loop.index)
        k.store(out, loop.index, total)
        loop.yield_(total)
    with k.loop(1, 16) as loop:
        k.store(out, loop.index, k.load(out, loop.index) + k.load(out, loop.index - 1))
    return of_kernel(k.finish("serial"), [np.arange(16, dtype=np.int32)])


def workgroup() -> Case:
    """A reversal through workgroup memory, and atomics in workgroup and global memory."""
    k = Builder(MACHINE)
    x = k.buffer("x", dt.float32, 128)
    out = k.buffer("out", dt.float32, 128, "write")
    counts = k.buffer("counts", dt.int32, 4, "read_write")
    shared, tally = k.local(dt.float32, 32, "workgroup"), k.local(dt.int32, 1, "workgroup")
    group, local = k.special("workgroup_id", 0), k.special("local_id", 0)
    at = group * 32 + local
    value = k.load(x, at)
    k.store(shared, local, value)
    with k.if_(local.eq(0)):
        k.store(tally, 0, k.const(0, dt.int32))
    k.barrier()
    k.atomic("add", tally, 0, k.convert(value < 0.0, dt.int32))
    k.store(out, at, k.load(shared, k.const(31, INDEX) - local))
    k.barrier()
    with k.if_(local.eq(0)):
        k.atomic("add", counts, 0, k.load(tally, 0))
        k.atomic("max", counts, 1, k.convert(group, dt.int32) * 7)
        k.atomic("min", counts, 2, k.convert(group, dt.int32) - 9)
    values = np.random.default_rng(3).standard_normal(128).astype(np.float32)
    return of_kernel(k.finish("workgroup", grid=(4, 1, 1), workgroup=(32, 1, 1)), [values])


def reduced(machine: Machine = MACHINE) -> Case:
    """Reductions over workgroups whose size is no power of two; sums that wrap, and a NaN in one of the workgroups."""
    size, groups = 12, 3
    k = Builder(machine)
    found, inputs = [], []
    rng = np.random.default_rng(7)
    for dtype in (dt.float32, dt.int32, dt.uint8):
        found.append(k.buffer(f"{dtype}", dtype, size * groups))
        inputs.append((rng.uniform(0.5, 2, size * groups) * (100 if dtype.is_integer else 1)).astype(found[-1].dtype.numpy))
    inputs[0][size + 3] = NAN
    out = k.buffer("out", dt.float32, groups * 3 * 4 * size, "write")
    group, local = k.special("workgroup_id", 0), k.special("local_id", 0)
    for row, source in enumerate(found):
        value = k.load(source, group * size + local, 1, (dt.float32, dt.int32, dt.uint8)[row])
        for column, how in enumerate(("add", "mul", "max", "min")):
            total = k.workgroup_reduce(how, value, size)
            k.store(out, ((group * 3 + row) * 4 + column) * size + local, k.convert(total, dt.float32))
    return of_kernel(k.finish("reduced", grid=(groups, 1, 1), workgroup=(size, 1, 1)), inputs, machine, rtol=1e-5)


def dots(machine: Machine) -> Case:
    """Sums of products of bytes, the extremes among them, of scalars and of vectors; bytes that kernels stored lie in words."""
    rng = np.random.default_rng(3)
    left, right = (rng.integers(-128, 127, 64, np.int8, endpoint=True) for _ in range(2))
    left[:8], right[:8] = -128, -128
    seven = (left & 127).astype(np.uint8)
    k = Builder(machine)
    signed, unsigned = k.buffer("signed", dt.int8, 64), k.buffer("unsigned", dt.uint8, 64)
    words, out = k.buffer("words", dt.int32, 16), k.buffer("out", dt.int32, 96, "write")
    with k.loop(0, 4, kind="parallel") as loop:
        columns = k.load(words, loop.index * 4, 4)
        for row in range(4):
            there = loop.index * 4 + row * 16
            k.store(out, there, k.dot(k.word(signed, 16 * row + 4), columns, k.const(7, dt.int32, 4)))
            single = k.dot(k.word(unsigned, loop.index * 16 + 4 * row), k.load(words, row), k.const(0, dt.int32), True)
            k.store(out, loop.index + (64 + 4 * row), single)
        lanes = k.pack([k.word(signed, loop.index * 16 + 4 * lane) for lane in range(4)])
        k.store(out, loop.index * 4 + 80, k.dot(lanes, columns, columns))
    inputs = [left.astype(np.int32), seven.astype(np.uint32), right.view(np.int32)]
    return of_kernel(k.finish("dots"), inputs, machine)


def packed() -> Case:
    """Read-only buffers of elements narrower than a word, in which weights may be kept."""
    k = Builder(MACHINE)
    rng = np.random.default_rng(4)
    inputs, found = [], []
    for dtype in (dt.uint8, dt.int8, dt.uint16, dt.int16, dt.float16):
        source = Buffer(f"{dtype}_{len(k.buffers)}", dtype, 20)
        k.buffers.append(source)
        found.append(source)
        if dtype is dt.float16:
            inputs.append(np.concatenate([rng.standard_normal(16), [INF, -INF, 6e-8, NAN]]).astype(np.float16))
        else:
            info = np.iinfo(dtype.numpy)
            inputs.append(rng.integers(info.min, info.max, 20, dtype.numpy, endpoint=True))
    out = k.buffer("out", dt.float32, 100, "write")
    vectors = k.buffer("vectors", dt.float32, 200, "write")
    with k.loop(0, 20, kind="parallel") as loop:
        for row, source in enumerate(found):
            k.store(out, loop.index + row * 20, k.convert(k.load(source, loop.index), dt.float32))
    with k.loop(0, 4, kind="parallel") as loop:  # whole words where four elements fill them, and one place beside
        for row, source in enumerate(found):
            for shift in (0, 1):
                value = k.load(source, loop.index * 4 + shift, 4, dt.float32)
                k.store(vectors, loop.index * 4 + (row * 40 + shift * 20), value)
    return of_kernel(k.finish("packed"), inputs)


def halves() -> Case:
    """float16 in memory and hardware conversions."""
    k = Builder(HALF)
    x = k.buffer("x", dt.float16, 32)
    out = k.buffer("out", dt.float16, 96, "write")
    bits = k.buffer("bits", dt.uint16, 32, "write")
    with k.loop(0, 32, kind="parallel") as loop:
        value = k.load(x, loop.index)
        k.store(out, loop.index, k.fma(value, value, k.const(0.1, dt.float32)))
        k.store(out, loop.index + 32, k.convert(k.const(0.1, dt.float16), dt.float32) - value)
        k.store(out, loop.index + 64, k.convert(k.const(1e6, dt.float16), dt.float32))
        k.store(bits, loop.index, k.bitcast(k.convert(value, dt.float16), dt.uint16))
    values = np.random.default_rng(5).standard_normal(32).astype(np.float16)
    return of_kernel(k.finish("halves"), [values], HALF, rtol=1e-3)


def half_pairs() -> Case:
    """Halves stored two to a word: those beyond float16's range are infinite, infinities and NaNs stay what they are, and the
    last that round to a finite half do."""
    over = [65504, 65519.996, 65520, 65536, 1e5, 3e38, INF]
    values = np.array([*over, *(-v for v in over), NAN, -NAN, 0, -0.0, 1.5, 6e-8, -6.1e-5, 1 / 3, 65503, -2049], np.float32)
    k = Builder(MACHINE)
    x, out = k.buffer("x", dt.float32, 24), k.buffer("out", dt.float16, 24, "write")
    with k.loop(0, 24, 4, kind="parallel") as loop:
        k.store(out, loop.index, k.load(x, loop.index, 4))
    return of_kernel(k.finish("half_pairs"), [values], rtol=0)


def structure() -> dict[str, Case]:
    return {
        "vectors": vectors(),
        "quads": quads(),
        "control": control(),
        "serial": serial(),
        "workgroup": workgroup(),
        "reduced": reduced(),
        "packed": packed(),
        "half pairs": half_pairs(),
    }


# -- binding -------------------------------------------------------------------------------------------------------------


def mixer(dtypes: list[DType], n: int, name: str = "mixer") -> Kernel:
    """out[i] = sum of operands[i] · 1, 2, 3…: the operands in these dtypes, the result in the last."""
    k = Builder(MACHINE)
    sources = [k.buffer(f"x{i}", d, n) for i, d in enumerate(dtypes[:-1])]
    out = k.buffer("out", dtypes[-1], n, "write")
    with k.loop(0, n, kind="parallel") as loop:
        total = k.const(0.0, dt.float32)
        for weight, source in enumerate(sources, 1):
            total = total + k.convert(k.load(source, loop.index), dt.float32) * float(weight)
        k.store(out, loop.index, total)
    return k.finish(name)


def aliased() -> Case:
    """In place over an operand of another dtype; the same operand twice; an operand inside another one."""
    f, i = dt.float32, dt.int32
    kernels = [mixer([f, f, f], 128), mixer([f, i], 128, "in_place")]
    values = np.arange(256, dtype=np.float32)
    regions, refs = lay(arena=[values, values * 3, np.zeros(128, np.float32)])
    a, b, c = refs["arena"]
    head, tail = Ref("arena", a.offset, 512), Ref("arena", a.offset + 512, 512)
    steps = (
        Launch(0, (head, head, c), "twice"),
        Launch(0, (head, tail, Ref("arena", b.offset, 512)), "apart"),
        Launch(0, (Ref("arena", a.offset + 256, 512), head, c), "overlapping"),
        Launch(1, (head, head), "in place"),
    )
    sizes = {k: v.size for k, v in regions.items()}
    return Case(Code(kernels, {"main": steps}, sizes), regions, {"a": (head, i), "b": (b, f), "c": (c, f)})


def crowded() -> Case:
    """More operands than a stage may bind: neighbours are bound together."""
    kinds = [dt.float32, dt.int32] * 6 + [dt.float32]
    arrays = [np.arange(64).astype(d.numpy) * (j + 1) for j, d in enumerate(kinds)]
    regions, refs = lay(arena=arrays[::-1])
    args = tuple(refs["arena"][::-1])
    code = Code([mixer(kinds, 64)], {"main": (Launch(0, args),)}, {"arena": regions["arena"].size})
    return Case(code, regions, {"out": (args[-1], dt.float32)})


def scale_quads(n: int) -> Kernel:
    """out[i] += x[i] / 2, four at a time."""
    k = Builder(MACHINE)
    x, out = k.buffer("x", dt.float32, n), k.buffer("out", dt.float32, n, "read_write")
    with k.loop(0, n, 4, kind="parallel") as loop:
        k.store(out, loop.index, k.fma(k.load(x, loop.index, 4), k.const(0.5, dt.float32, 4), k.load(out, loop.index, 4)))
    return k.finish("scale_quads")


def oversized() -> Case:
    """Arrays above the binding limit in the weights and in the arena (the test plans with small limits)."""
    n = 1500  # 6,000 bytes, where the limits allow bindings of 1,024 and buffers of 4,096
    rng = np.random.default_rng(6)
    arrays = [rng.standard_normal(m).astype(np.float32) for m in (100, n, n, 200)]
    regions, refs = lay(weights=arrays, arena=[np.zeros(n, np.float32)])
    small, one, two, _ = refs["weights"]
    (out,) = refs["arena"]
    kernels = [mixer([dt.float32] * 2, n, "whole"), mixer([dt.float32] * 3, 100, "parts"), scale_quads(n)]
    steps = (
        Launch(0, (one, out)),
        Launch(2, (two, out)),
        Launch(1, (small, Ref("weights", two.offset + 1024, 400), Ref("arena", 512, 400))),
        Launch(1, (Ref("weights", two.offset, 6000), small, Ref("arena", 1024, 400))),
    )
    sizes = {k: v.size for k, v in regions.items()}
    return Case(Code(kernels, {"main": steps}, sizes), regions, {"out": (out, dt.float32)})


def binding() -> dict[str, Case]:
    return {"aliased": aliased(), "crowded": crowded()}


def all_cases() -> dict[str, Case]:
    """Everything a browser can run (which excludes halves: SwiftShader has none)."""
    return arithmetic() | structure() | binding()
