"""Convolution by Winograd's way: the same results as the definition, at every size and with everything that fuses with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import dtypes as dt
from hither.graph.core import Node, Value
from hither.graph.primitives.rules import apply
from hither.graph.trace import trace_function
from hither.kernels.builder import Builder
from hither.kernels.steps import Code, Launch, Ref
from hither.kernels.templates import winograd
from hither.passes.bytes import Byte, takes_bytes
from hither.passes.filtering import exact_in_pairs, filtering
from hither.program import Program
from hither.program.compile import machine_for

from . import references as ref
from .kernel_interpreter import run_code
from .targets import on_target
from .wasm_session import in_node


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small convolutions take the template too, in blocks of few tiles, so that a test sees several quickly."""
    monkeypatch.setattr(winograd, "GAIN", float("inf"))
    monkeypatch.setattr(winograd, "BLOCK", 3)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def compiled(function: Callable[..., Any], x: np.ndarray, device: str = "cpu") -> Program:
    return ht.compile(function, {"x": ht.Spec(x.shape, x.dtype)}, device=device)


def kernels(program: Program) -> list[str]:
    return [k.name for k in program.plan.code.kernels]


@pytest.mark.parametrize(("outputs", "taps"), [(1, 1), (2, 3), (4, 3), (2, 5)])
@pytest.mark.parametrize("whole", [False, True])
def test_filtering_is_exact(outputs: int, taps: int, whole: bool) -> None:
    """In exact arithmetic the transforms give the sums of products themselves; a wrong coefficient shows."""
    f = filtering(outputs, taps, whole)
    assert not whole or all(c.denominator == 1 for row in (*f.data, *f.filter) for c in row)
    data = [Fraction(7 * i * i - 3 * i + 1) for i in range(f.points)]
    weights = [Fraction(5 - 4 * i) for i in range(taps)]

    def multiply(matrix: Any, x: list[Fraction]) -> list[Fraction]:
        return [sum((a * b for a, b in zip(row, x, strict=True)), Fraction(0)) for row in matrix]

    products = [a * b for a, b in zip(multiply(f.filter, weights), multiply(f.data, data), strict=True)]
    expected = [sum((weights[j] * data[i + j] for j in range(taps)), Fraction(0)) for i in range(outputs)]
    assert multiply(f.result, products) == expected


SHAPES = [  # batch, channels, outputs, spatial, window
    (1, 16, 32, (8, 8), (3, 3)),
    (1, 5, 7, (7, 9), (3, 3)),  # neither channels nor outputs fill vectors; tiles overlap on both axes
    (2, 8, 24, (13, 4), (3, 3)),
    (3, 17, 50, (5, 6), (3, 3)),
    (1, 6, 40, (3, 2), (3, 3)),  # too low for tiles of four
    (1, 4, 16, (6, 5), (5, 5)),
    (2, 9, 8, (9, 7), (1, 3)),
    (1, 9, 20, (9, 7), (3, 1)),
    (2, 12, 20, (11,), (3,)),
    (1, 3, 70, (6, 7), (3, 5)),
]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
@pytest.mark.parametrize(("batch", "channels", "outputs", "out", "window"), SHAPES, ids=str)
def test_every_size(batch: int, channels: int, outputs: int, out: Any, window: Any, device: str) -> None:
    x = normal(batch, channels, *(n + w - 1 for n, w in zip(out, window)))
    w, b = normal(outputs, channels, *window, seed=1), normal(outputs, seed=2)
    (found,) = on_target(device, lambda x: ht.conv(x, w, b), [x], threads=2 if device == "wasm" else 1)
    expected = ref.conv(x.astype(np.float64), w.astype(np.float64)) + b.reshape(-1, *(1,) * len(out))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * expected.std())


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
@pytest.mark.parametrize(
    ("channels", "outputs", "out", "most", "extreme"),
    [
        (16, 24, (8, 9), 255, False),
        (20, 9, (5, 7), 255, False),  # words of channels fill no vector
        (72, 10, (6, 4), 255, True),
        (148, 8, (4, 8), 127, True),  # as many as stay in 32 bits
        (4, 5, (3, 2), 255, True),
    ],
)
def test_bytes(channels: int, outputs: int, out: tuple[int, int], most: int, extreme: bool, device: str) -> None:
    """In whole numbers of 16 bits, at the ends of their range too: what is lost is float32's digits in the last transform. So
    results that stay integers, which have to be exact, go another way."""
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    rng = np.random.default_rng(0)
    shape = (2, *(n + 2 for n in out), channels)
    x = rng.integers(0, most, shape, endpoint=True)
    w = rng.integers(-128, 127, (outputs, channels, 3, 3), np.int8, endpoint=True)
    if extreme:
        x, w = np.where(x > most / 2, most, 0), np.where(w > 0, 127, -128).astype(np.int8)
    x[0], w[0] = most, -128
    bits = 7 if most == 127 else 8

    def sums(x: Any) -> Any:
        q = apply("round_to_bytes", x, ht.full(x.shape, 1.0), shift=0, bits=bits, signed=False, low=None, high=None)
        params = {"strides": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1, "layout": "channels_last"}
        return apply("conv", q, ht.asarray(w), dtype=dt.int32, **params)

    exact = ref.conv(np.moveaxis(x, -1, 1).astype(np.float64), w.astype(np.float64))
    for function, off in ((lambda x: ht.astype(sums(x), "float32"), 1e-6 * 9 * channels * most * 128), (sums, 0)):
        (found,) = on_target(device, function, [x.astype(np.float32)])
        names = kernels(compiled(function, x.astype(np.float32), device))
        assert any(name.startswith("winograd") for name in names) == (off > 0)
        np.testing.assert_allclose(np.moveaxis(found, -1, 1), exact, rtol=0, atol=off)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
@pytest.mark.parametrize("least", [-1.0, 0.0])
def test_bytes_of_floats(least: float, device: str) -> None:
    """Rounded in every run, with an offset where numbers are negative, and with what follows the convolution."""
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    x, w, b = np.maximum(normal(1, 12, 9, 10), least), normal(20, 12, 3, 3, seed=1), normal(20, 1, 1, seed=2)
    spec = {"x": ht.Spec(x.shape, "float32")}
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(
            lambda x: ht.relu(ht.conv(ht.maximum(x, least), w, padding=1) + b), spec, device=device, precision="int8",
            activations="int8",
        )  # fmt: skip
    assert any(op.kind == "dot" and op.attr == "pairs" for kernel in program.plan.code.kernels for op in kernel.walk())
    levels = (127 if device == "wasm" else 255) if least == 0 else (63 if device == "wasm" else 127)
    step, scale = np.abs(x).max() / levels, np.abs(w).max((1, 2, 3), keepdims=True) / 127
    rounded, weights = np.rint(x / step) * step, np.rint(w / scale) * scale
    expected = np.maximum(ref.conv(np.pad(rounded.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1))), weights) + b, 0)
    off = np.abs(program({"x": x})["output"].numpy() - expected)  # a byte that lies between two may be either
    assert off.max() <= 0.02 * expected.max() and np.median(off) <= 1e-5 * expected.max()


def test_bytes_whose_sums_could_overflow_stay_exact() -> None:
    """More channels than 32 bits take, or bytes of any size where seven bits would fit: not in whole numbers then."""
    axes = (filtering(4, 3, whole=True),) * 2
    for most, channels in ((127, 149), (255, 74)):
        assert exact_in_pairs(axes, channels, most) and not exact_in_pairs(axes, channels + 1, most)
        assert takes_bytes(*conv_of(channels // 4 * 4), Byte(bits=8 if most == 255 else 7))
        assert not takes_bytes(*conv_of(channels // 4 * 4 + 4), Byte(bits=8 if most == 255 else 7))


def conv_of(channels: int) -> tuple[Node, Value, np.ndarray]:
    """A 3×3 convolution of so many channels."""
    w = np.zeros((8, channels, 3, 3), np.int8)
    x = ht.Spec((1, 12, 12, channels), "float32").abstract()
    graph, _ = trace_function(lambda x: ht.conv(x, w.astype(np.float32), layout="channels_last"), [x])
    (node,) = (n for n in graph.nodes if n.primitive.name == "conv")
    return node, node.operands[0], w


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
def test_filters_of_a_network_in_training(device: str) -> None:
    """Filters that are no constants are packed and transformed in every run; what flows back through a convolution is one with
    the filters turned round, whatever the padding, and Winograd's way too."""
    for padding in (0, 1, ((2, 0), (1, 2))):
        x, w = normal(2, 5, 9, 8), normal(7, 5, 3, 3, seed=1)
        forward = ref.conv(x.astype(np.float64), w.astype(np.float64), padding=padding)
        g = normal(*forward.shape, seed=2)

        def both(x: Any, w: Any, g: Any, padding: Any = padding) -> Any:
            y, pull = ht.vjp(lambda v: ht.conv(v, w, padding=padding), x)
            return y, pull(g)[0]

        y, dx = on_target(device, both, [x, w, g])
        np.testing.assert_allclose(y, forward, rtol=2e-5, atol=2e-5 * forward.std())
        expected = ref.conv_transpose(g.astype(np.float64), w.astype(np.float64), padding=padding)
        np.testing.assert_allclose(dx, expected, rtol=2e-5, atol=2e-5 * expected.std())
        if device == "cpu":
            program = ht.compile(both, {n: ht.Spec(a.shape, a.dtype) for n, a in {"x": x, "w": w, "g": g}.items()})
            assert sum(name.startswith("winograd") for name in kernels(program)) == 2


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("batch", "channels", "outputs", "out", "window"), SHAPES[1:4], ids=str)
@pytest.mark.parametrize("device", ["cpu", "wasm"])
def test_touches_nothing_else(batch: int, channels: int, outputs: int, out: Any, window: Any, device: str) -> None:
    """The interpreter refuses accesses outside buffers, and scratch memory begins poisoned."""
    x = normal(batch, *(n + w - 1 for n, w in zip(out, window)), channels)
    w = normal(outputs, channels, *window, seed=1)
    program = compiled(lambda x: ht.relu(ht.conv(x, w, layout="channels_last")), x, device)
    plan = program.plan
    assert any(name.startswith("winograd") for name in kernels(program))
    regions = {space: np.zeros(size, np.uint8) for space, size in plan.code.sizes.items()}
    image = plan.weights_image()
    regions["weights"][: image.size] = image
    entry = plan.entries["predict"]
    (at,), (to,) = entry.inputs, entry.outputs
    regions["io"][at.ref.offset : at.ref.offset + x.nbytes] = x.reshape(-1).view(np.uint8)
    run_code(plan.code, "predict", regions, threads=2)
    size = batch * int(np.prod(out)) * outputs * 4
    found = regions["io"][to.ref.offset : to.ref.offset + size].view(np.float32).reshape(batch, *out, outputs)
    expected = np.moveaxis(ref.conv(np.moveaxis(x, -1, 1).astype(np.float64), w.astype(np.float64)), 1, -1)
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=2e-5, atol=2e-5 * expected.std())


def chained(x: Any) -> dict[str, Any]:
    """A residual, an activation, a convolution of a padded convolution, and a concatenation that results are placed in."""
    w = [normal(8, 8, 3, 3, seed=s) / 8 for s in range(4)]
    first = ht.silu(ht.conv(x, w[0], normal(8, seed=9), padding=1))
    second = ht.relu(ht.conv(first, w[1], padding=1) + x)
    both = ht.concat([ht.conv(second, w[2], padding=1), first], axis=1)
    flat = ht.reshape(ht.conv(x, w[3]), (x.shape[0], -1))
    return {"both": both * 2.0, "scaled": flat - 1.0}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
def test_with_what_fuses(device: str) -> None:
    x = normal(2, 8, 10, 7)
    wide, w = x.astype(np.float64), [normal(8, 8, 3, 3, seed=s).astype(np.float64) / 8 for s in range(4)]
    biased = ref.conv(wide, w[0], padding=1) + normal(8, seed=9).reshape(8, 1, 1)
    first = biased / (1 + np.exp(-biased))
    second = np.maximum(ref.conv(first, w[1], padding=1) + wide, 0)
    expected = [
        2 * np.concatenate([ref.conv(second, w[2], padding=1), first], axis=1),
        ref.conv(wide, w[3]).reshape(2, -1) - 1,
    ]
    found = on_target(device, lambda x: list(chained(x).values()), [x], threads=2 if device == "wasm" else 1)
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, wanted, rtol=3e-5, atol=3e-5)
    assert sum(name.startswith("winograd") for name in kernels(compiled(chained, x))) >= 3


def test_accuracy() -> None:
    """Over 256 channels the error stays within some times that of plain float32 sums; with the customary points 0, ±1, ±2 it
    would be over twice as large."""
    x, w = normal(1, 256, 34, 34), normal(32, 256, 3, 3, seed=1)
    program = compiled(lambda x: ht.conv(x, w), x)
    assert any(name.startswith("winograd") for name in kernels(program))
    expected = ref.conv(x.astype(np.float64), w.astype(np.float64))
    error = (program(x)["output"].numpy() - expected) / expected.std()
    assert np.sqrt(np.mean(error**2)) < 2.5e-6
    assert np.abs(error).max() < 2e-5


def test_threads_change_no_bit() -> None:
    """Tiles overlap at the edges, where only one may store."""
    x, w = normal(1, 64, 31, 29), normal(64, 64, 3, 3, seed=1)
    program = compiled(lambda x: ht.relu(ht.conv(x, w)), x)
    before = ht.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            ht.set_num_threads(threads)
            found.append(program(x)["output"].numpy().copy())
    finally:
        ht.set_num_threads(before)
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "options", "expected"),
    [
        (64, 64, 28, {}, True),
        (96, 96, 54, {}, True),
        (64, 64, 28, {"strides": 2}, False),
        (64, 64, 28, {"dilation": 2}, False),
        (64, 64, 28, {"groups": 2}, False),
        (3, 16, 64, {}, False),  # too few channels: transforms cost more than they save
        (512, 512, 5, {}, False),  # too few pixels: the filters' transform does
    ],
)
def test_is_chosen_where_it_pays(channels: int, outputs: int, size: int, options: dict[str, Any], expected: bool) -> None:
    w = normal(outputs, channels // options.get("groups", 1), 3, 3)
    for device in ("cpu", "wasm"):
        program = compiled(lambda x: ht.conv(x, w, **options), np.zeros((1, channels, size, size), np.float32), device)
        assert any(name.startswith("winograd") for name in kernels(program)) == expected


def test_weights_are_stored_once_and_plain() -> None:
    """Transformed filters would be four times as large in memory and in a download."""
    w = normal(64, 64, 3, 3)
    program = compiled(lambda x: ht.conv(x, w), np.zeros((1, 64, 30, 30), np.float32))
    assert any(name.startswith("winograd") for name in kernels(program))
    assert program.memory()["weights"] <= 1.1 * w.nbytes


def test_scratch_memory_needs_no_library() -> None:
    """On Windows LLVM calls a function of the C runtime for a frame of more than a page, unless it is told not to."""
    import llvmlite.binding as llvm

    from hither.kernels.ir import Machine
    from hither.runtime.object_file import undefined_symbols
    from hither.targets.llvm.printer import print_module

    machine = Machine("llvm", vector_bits=256)
    k = Builder(machine)
    x = k.buffer("x", dt.float32, 1 << 14, "read_write")
    scratch = k.local(dt.float32, 1 << 14)
    with k.loop(0, 1 << 14) as loop:
        k.store(scratch, loop.index, k.load(x, (1 << 14) - 1 - loop.index))
    with k.loop(0, 1 << 14) as loop:
        k.store(x, loop.index, k.load(scratch, loop.index))
    code = Code([k.finish("reverse")], {"main": (Launch(0, (Ref("io", 0, 1 << 16),)),)}, {"io": 1 << 16})
    module = llvm.parse_assembly(print_module(code, machine))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("x86_64-pc-windows-msvc-elf").create_target_machine(
        cpu="haswell", opt=2, reloc="pic", codemodel="small"
    )
    module.triple, module.data_layout = "x86_64-pc-windows-msvc-elf", str(target.target_data)
    assert undefined_symbols(target.emit_object(module)) == set()
