"""Runs a function on a compiled target and on the NumPy evaluator, and compares: what every test of the targets does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from hither.graph.core import abstract_of, evaluate
from hither.graph.trace import trace_function
from hither.program.compile import compile

from .op_case import check, flat_results
from .wasm_session import in_node

Function = Callable[..., Any]


def oracle(function: Function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The function traced and evaluated by NumPy."""
    graph, _ = trace_function(lambda *xs: flat_results(function(*xs)), [abstract_of(a) for a in arrays])
    with np.errstate(all="ignore"):
        return list(evaluate(graph, *arrays))


def on_target(device: str, function: Function, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
    """The function compiled and run: on "cpu", on "webgpu", or on "wasm" in Node."""
    specs = {f"x{i}": abstract_of(a) for i, a in enumerate(arrays)}
    with in_node(threads) if device == "wasm" else nullcontext():
        program = compile(lambda **given: tuple(flat_results(function(*given.values()))), specs, device=device)
    return [a.numpy() for a in program(dict(zip(specs, arrays, strict=True))).values()]


def check_target(device: str, function: Function, arrays: Sequence[np.ndarray], family: str, threads: int = 1) -> None:
    """Assert that a target agrees with the evaluator, within the tolerance of a family of functions."""
    for got, expected in zip(on_target(device, function, arrays, threads), oracle(function, arrays), strict=True):
        assert got.dtype == expected.dtype
        check(got, expected, family)
