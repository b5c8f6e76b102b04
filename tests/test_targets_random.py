"""Random programs and odd shapes on every compiled target: bit for bit what the NumPy evaluator gives.

The op table tests each function by itself; here they meet. A failure prints the smallest program that shows it.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import hither as ht

from .random_programs import DTYPES_OF, RandomProgram, check_program, random_program, small

MARKS = {"cpu": [], "wasm": [pytest.mark.node], "webgpu": [pytest.mark.gpu]}
PROGRAMS = {"cpu": 80, "wasm": 120, "webgpu": 8}
SHAPES = {"cpu": 60, "wasm": 60, "webgpu": 4}

# The same examples on every run: new ones are looked for with `python -m tests.random_programs`.
SETTINGS = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
on_devices = pytest.mark.parametrize("device", [pytest.param(d, marks=m) for d, m in MARKS.items()])
seeds = st.integers(0, 2**16).map(random.Random)


@on_devices
def test_random_programs(device: str) -> None:
    @settings(max_examples=PROGRAMS[device], **SETTINGS)
    @given(st.randoms(use_true_random=False))
    def check(choose: random.Random) -> None:
        program = random_program(choose, DTYPES_OF[device])
        note(str(program))
        check_program(device, program)

    check()


def check_function(device: str, function: Any, *arrays: np.ndarray) -> None:
    """Check one function of small integers."""
    check_program(device, RandomProgram(list(arrays), [("result", lambda v: function(*v[: len(arrays)]))], [len(arrays)]))


extents = st.integers(1, 20)
few = st.integers(1, 3)


@on_devices
def test_matmul_of_odd_shapes(device: str) -> None:
    """Stacks that broadcast, vectors, transposed operands, nothing to sum over; constant right operands are packed."""

    @settings(max_examples=SHAPES[device], **SETTINGS)
    @given(seeds, st.lists(few, max_size=2), st.tuples(extents, st.integers(0, 40), extents), *[st.booleans()] * 4)
    def check(
        choose: random.Random, batch: list[int], sizes: tuple[int, int, int], left: bool, right: bool, stack: bool, known: bool
    ) -> None:
        m, k, n = sizes
        a = small(choose, (*batch, *((k, m) if left else (m, k))), "float32")
        b = small(choose, (*(batch if stack else ()), *((n, k) if right else (k, n))), "float32")
        if known:
            check_function(device, lambda a: ht.matmul(a, ht.asarray(b), transpose_a=left, transpose_b=right), a)
        else:
            check_function(device, lambda a, b: ht.matmul(a, b, transpose_a=left, transpose_b=right), a, b)

    check()


@st.composite
def convolutions(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of a picture [N, C, *spatial] and of weights, and options that fit them."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    per_group, out = draw(st.integers(1, 9)), draw(st.integers(1, 17)) * groups
    window = [draw(few) for _ in range(rank)]
    options = {
        "groups": groups,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilation": [draw(st.integers(1, 2)) for _ in range(rank)],
        "padding": [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)],
    }
    if draw(st.booleans()):  # depthwise
        options["groups"], out, per_group = per_group, per_group * draw(st.integers(1, 2)), 1
    reach = [(n - 1) * d + 1 for n, d in zip(window, options["dilation"])]
    spatial = [draw(st.integers(n, n + 9 // rank + 2)) for n in reach]
    return (draw(st.integers(1, 2)), per_group * options["groups"], *spatial), (out, per_group, *window), options


@on_devices
def test_convolutions_of_odd_shapes(device: str) -> None:
    """One to three axes, groups, depthwise, strides, dilation and uneven padding; constant weights and computed ones; with an
    epilogue that broadcasts."""

    @settings(max_examples=SHAPES[device], **SETTINGS)
    @given(seeds, convolutions(), st.booleans())
    def check(choose: random.Random, drawn: Any, known: bool) -> None:
        picture, window, options = drawn
        x, w = small(choose, picture, "float32"), small(choose, window, "float32")
        bias = small(choose, (window[0], *(1 for _ in window[2:])), "float32")

        def convolve(x: Any, w: Any) -> Any:
            return ht.relu(ht.conv(x, w, **options) + ht.asarray(bias))

        if known:
            check_function(device, lambda x: convolve(x, ht.asarray(w)), x)
        else:
            check_function(device, convolve, x, w)

    check()


@on_devices
def test_transposed_convolutions_of_odd_shapes(device: str) -> None:
    @settings(max_examples=SHAPES[device], **SETTINGS)
    @given(seeds, convolutions())
    def check(choose: random.Random, drawn: Any) -> None:
        (n, c, *spatial), (_, outputs, *window), options = drawn
        shrunk = [i * s + (k - 1) * d + 1 - s - sum(p) for i, s, k, d, p in zip(
            spatial, options["strides"], window, options["dilation"], options["padding"])]  # fmt: skip
        if min(shrunk) < 1:
            options["padding"] = 0
        x, w = small(choose, (n, c, *spatial), "float32"), small(choose, (c, outputs, *window), "float32")
        check_function(device, lambda x: ht.conv_transpose(x, ht.asarray(w), **options), x)

    check()


@on_devices
def test_reductions_of_odd_shapes(device: str) -> None:
    """Any axes, empty ones too, and what is computed from the result in the same kernel."""

    @settings(max_examples=SHAPES[device], **SETTINGS)
    @given(seeds, st.lists(st.integers(0, 9), max_size=4), st.data())
    def check(choose: random.Random, shape: list[int], data: st.DataObject) -> None:
        axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1)))) if shape else ()
        name = data.draw(st.sampled_from(("sum", "prod", "max", "min") if math.prod(shape) else ("sum", "prod")))
        dtype = data.draw(st.sampled_from(("float32", "int32", "uint8", "int64")))
        x = small(choose, tuple(shape), dtype)
        if name == "prod":
            x = np.where(x % 2 == 0, 2, 1).astype(dtype)

        def function(x: Any) -> Any:
            reduced = getattr(ht, name)(x, axis=axes, keepdims=True)
            return ht.where(ht.less(x, reduced), x, reduced) * 2

        check_function(device, function, x)

    check()
