"""Convolutions on their way to the machine: what is joined, what is read where it lies, and that results stay the same.

References are the NumPy evaluation of the same function (tests/targets.py), which knows neither passes nor kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.kernels.ir import Machine
from hither.kernels.steps import Launch
from hither.program.compile import compile, machine_for, plan_target

from .op_case import check
from .targets import on_target, oracle

RNG = np.random.default_rng(0)
SMALL_CACHE = Machine("llvm", vector_bits=256, l2_bytes=1 << 10)  # nothing stays in it, so that small pictures make blocks


def weight(*shape: int) -> Any:
    return ht.asarray(RNG.uniform(-1, 1, shape).astype(np.float32))


def launches(function: Any, machine: Machine, *shape: int) -> list[str]:
    """What each launch computes."""
    plan = plan_target(function, {"x": ht.Spec(shape, "float32")}, machine)
    return [step.label for step in plan.code.entries["predict"] if isinstance(step, Launch)]


def widened(channels: int, window: int, stride: int, inputs: int = 6, first: int = 1) -> Any:
    """conv → clip → depthwise conv → hard swish, and a sum with something else."""
    w, bias = weight(channels, inputs, first, first), weight(channels)
    d, shift = weight(channels, 1, window, window), weight(channels)
    low = (window - 1) // 2
    around = (((window - 1) - low, low), (low, (window - 1) - low))  # not the same on all sides, for even windows

    def function(x: Any) -> Any:
        edge = ((first // 2, first // 2),) * 2
        y = ht.clip(ht.conv(x, w, bias, padding=edge), 0, 6)
        z = ht.conv(y, d, shift, strides=(stride, stride), padding=around, groups=channels)
        return z * ht.clip(z + 3, 0, 6) / 6

    return function


def test_a_convolution_joins_the_depthwise_one_that_reads_it() -> None:
    """Else the widest array of a network is written to memory and read back."""
    function = widened(32, 3, 1)
    assert len(launches(function, SMALL_CACHE, 1, 6, 20, 20)) == 3  # channels are put last, and first again
    assert len(launches(function, Machine("llvm", l2_bytes=1 << 24), 1, 6, 20, 20)) == 5, "small arrays stay in the cache"


def test_what_somebody_else_reads_too_is_no_block() -> None:
    """The picture between them must be in memory then."""
    w, d = weight(32, 6, 1, 1), weight(32, 1, 3, 3)

    def function(x: Any) -> Any:
        y = ht.relu(ht.conv(x, w))
        return ht.conv(y, d, padding=((1, 1), (1, 1)), groups=32) + y

    assert len(launches(function, SMALL_CACHE, 1, 6, 20, 20)) > 3


@pytest.mark.parametrize(
    ("channels", "window", "stride", "batch", "height", "width", "first"),
    [
        (32, 3, 1, 1, 29, 20, 1),
        (32, 3, 2, 1, 57, 31, 1),
        (40, 3, 1, 2, 26, 13, 1),  # a panel that is not full, two pictures
        (33, 5, 1, 1, 19, 17, 1),
        (64, 5, 2, 1, 61, 9, 1),
        (8, 3, 3, 1, 40, 8, 1),  # lines that nothing is repeated of
        (24, 4, 2, 1, 30, 11, 1),
        (16, 3, 1, 1, 25, 14, 3),
        (96, 3, 1, 1, 29, 20, 1),  # panels that take turns
        (100, 3, 2, 1, 57, 15, 1),
    ],
)
def test_blocks_compute_what_their_convolutions_do(
    channels: int, window: int, stride: int, batch: int, height: int, width: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines at the border, segments that do not divide the picture, panels that are not full; chunks change nothing."""
    monkeypatch.setattr("hither.kernels.blocks.RESIDENT", 1 << 20)
    monkeypatch.setattr("hither.runtime.cpu.shared_work", lambda code, steps: 1 << 20)  # so little would wake nobody
    function = widened(channels, window, stride, first=first)
    x = RNG.uniform(-1, 1, (batch, 6, height, width)).astype(np.float32)
    assert len(launches(function, machine_for("cpu"), *x.shape)) == len(launches(function, Machine("wasm"), *x.shape)) == 3
    program = compile(function, {"x": ht.Spec(x.shape, "float32")}, device="cpu")
    (expected,) = oracle(function, [x])
    check(same_on_threads(program, x), expected, "sums")
    check(on_target("wasm", function, [x])[0], expected, "sums")


def same_on_threads(program: Any, x: np.ndarray) -> np.ndarray:
    """The result of a program, which any number of threads computes to the bit."""
    before = ht.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 5):
            ht.set_num_threads(threads)
            results.append(program(x=x)["output"].numpy())
    finally:
        ht.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    return results[0]


@pytest.mark.parametrize(("rows", "columns"), [(49, 160), (49, 1000), (30, 97), (200, 256)])
def test_threads_share_the_rows_of_a_product_of_more_columns(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are numbered by how many threads there are: a wrong number computes one twice and another not at all."""
    monkeypatch.setattr("hither.runtime.cpu.shared_work", lambda code, steps: 1 << 20)
    b = RNG.uniform(-1, 1, (64, columns)).astype(np.float32)
    x = RNG.uniform(-1, 1, (rows, 64)).astype(np.float32)
    program = compile(lambda x: ht.matmul(x, ht.asarray(b)), {"x": ht.Spec(x.shape, "float32")}, device="cpu")
    check(same_on_threads(program, x), x.astype(np.float64) @ b, "sums")


@pytest.mark.parametrize(("stride", "around"), [(2, ((1, 1), (1, 1))), (1, ((0, 2), (1, 0))), (3, ((2, 0), (2, 3)))])
def test_a_picture_at_the_front_of_a_block_is_padded_line_by_line(
    stride: int, around: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A padded copy of it took a fiftieth of a network's time."""
    monkeypatch.setattr("hither.kernels.blocks.RESIDENT", 1 << 20)
    w, d = weight(24, 3, 3, 4), weight(24, 1, 3, 3)

    def function(x: Any) -> Any:
        y = ht.relu(ht.conv(x, w, strides=(stride, stride), padding=around))
        return ht.conv(y, d, padding=((1, 1), (1, 1)), groups=24)

    x = RNG.uniform(-1, 1, (2, 3, 53, 61)).astype(np.float32)
    assert len(launches(function, machine_for("cpu"), *x.shape)) == 2  # the last one puts the result's channels first
    (got,), (expected,) = on_target("cpu", function, [x]), oracle(function, [x])
    check(got, expected, "sums")


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1), (2, 0), (3, 2)])
def test_a_picture_is_read_where_it_lies(stride: int, pad: int) -> None:
    """Turning a channels-first picture around first took as long as a third of the convolution."""
    w = weight(20, 3, 3, 5)

    def function(x: Any) -> Any:
        return ht.relu(ht.conv(x, w, strides=(stride, stride), padding=((pad, pad), (pad, pad + 1 if pad else 0))))

    x = RNG.uniform(-1, 1, (2, 3, 17, 26)).astype(np.float32)
    made = launches(function, machine_for("cpu"), *x.shape)
    assert not any("transpose" in name for name in made[:-1]), made  # the last one puts the result's channels first
    (got,), (expected,) = on_target("cpu", function, [x]), oracle(function, [x])
    check(got, expected, "sums")


def test_resizing_by_whole_factors_keeps_the_channels_last() -> None:
    """A picture that went back to channels first to be repeated was read element by element, ten times slower."""
    w, v = weight(16, 4, 3, 3), weight(8, 16, 1, 1)

    def function(x: Any) -> Any:
        small = ht.relu(ht.conv(x, w, padding=((1, 1), (1, 1))))
        return ht.conv(ht.resize(small, scales=(2, 3), mode="nearest", transform="asymmetric", nearest="floor"), v)

    machine = machine_for("cpu")
    plan = plan_target(function, {"x": ht.Spec((1, 4, 6, 5), "float32")}, machine)
    steps = [step for step in plan.code.entries["predict"] if isinstance(step, Launch)]
    kernels = [plan.code.kernels[step.kernel] for step in steps[:-1]]
    assert not any(op.kind == "gather" for kernel in kernels for op in kernel.walk()), [k.name for k in kernels]
    x = RNG.uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32)
    check(on_target("cpu", function, [x])[0], oracle(function, [x])[0], "sums")


def test_an_epilogue_may_use_its_convolution_twice_and_ends_before_a_pad() -> None:
    """hard swish and a scale, then padding for the next: scaling while padding would keep the picture from being stored in
    its place."""
    a, b, scale = weight(8, 8, 1, 1), weight(8, 8, 3, 3), weight(8, 1, 1)

    def function(x: Any) -> Any:
        y = ht.conv(x, a)
        y = y * ht.clip(y + 3, 0, 6) * scale + 1
        return ht.conv(y, b, padding=((1, 1), (1, 1)))

    made = launches(function, machine_for("cpu"), 1, 8, 9, 9)
    assert [name.split("_")[0] for name in made[1:4]] == ["conv", "pad", "conv"], made


def test_concatenations_inside_pads_are_stored_once() -> None:
    """Each part goes straight to its place inside the border."""
    parts = [weight(8, 8, 1, 1) for _ in range(3)]
    last = weight(4, 24, 3, 3)

    def function(x: Any) -> Any:
        return ht.conv(ht.concat([ht.relu(ht.conv(x, w)) for w in parts], axis=1), last, padding=((1, 1), (1, 1)))

    made = launches(function, machine_for("cpu"), 1, 8, 9, 9)
    assert not any("concat" in name for name in made), made
    x = RNG.uniform(-1, 1, (1, 8, 9, 9)).astype(np.float32)
    for device in ("cpu", "wasm"):
        check(on_target(device, function, [x])[0], oracle(function, [x])[0], "sums")


@pytest.mark.parametrize(
    ("kernel", "stride", "outputs"), [((2, 2), (2, 2), 1), ((4, 2), (4, 2), 2), ((3, 4), (2, 2), 3), ((5, 4), (2, 4), 1)]
)
def test_phases_of_few_channels_share_a_kernel(kernel: tuple[int, int], stride: tuple[int, int], outputs: int) -> None:
    """Transposed convolutions that end in a few channels: each phase alone filled a vector with one of them."""
    w = weight(6, outputs, *kernel)
    x = RNG.uniform(-1, 1, (1, 6, 5, 7)).astype(np.float32)

    def function(x: Any) -> Any:
        return ht.sigmoid(ht.conv_transpose(x, w, strides=stride))

    check(on_target("cpu", function, [x])[0], oracle(function, [x])[0], "sums")
    given = ht.asarray(w).numpy()  # weights that are computed are packed at run time
    computed = lambda x, w: ht.conv_transpose(x, w, strides=stride)  # noqa: E731
    check(on_target("cpu", computed, [x, given])[0], oracle(computed, [x, given])[0], "sums")
