"""Eager operations, inferences and training steps, many times over: what hither and the process hold must not grow."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hither as ht

WIDTH, BATCH = 16, 8


def weights(layers: int, seed: int = 0) -> list[np.ndarray]:
    """Small square matrices."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32) for _ in range(layers)]


def batch(seed: int = 1) -> np.ndarray:
    """An input of `network`."""
    return np.random.default_rng(seed).normal(size=(BATCH, WIDTH)).astype(np.float32)


def network(x: Any, layers: list[Any]) -> Any:
    """Dense layers with tanh between them."""
    for w in layers:
        x = ht.tanh(ht.matmul(x, w))
    return x


def eager(device: str) -> Callable[[], Any]:
    """One operation on concrete arrays, on a GPU as its own program."""
    x = ht.asarray(batch()).to_device(device)
    y = x + 1
    return lambda: x * y


def inference(device: str) -> Callable[[], Any]:
    """One run of a compiled network."""
    layers = [ht.asarray(w) for w in weights(2)]
    program = ht.compile(lambda x: network(x, layers), {"x": ht.Spec((BATCH, WIDTH), "float32")}, device=device)
    x = batch()
    return lambda: program(x=x)


def training(device: str) -> Callable[[], Any]:
    """One step of gradient descent."""

    def loss(layers: list[Any], x: Any) -> Any:
        return ht.mean((network(x, layers) - 0.5) ** 2)

    def step(state: Any, x: Any) -> Any:
        value, slopes = ht.value_and_grad(loss)(state["w"], x)
        return {"loss": value}, {"w": [w - 0.05 * g for w, g in zip(state["w"], slopes)]}

    program = ht.compile(step, {"x": ht.Spec((BATCH, WIDTH), "float32")}, device=device, state={"w": weights(2)})
    x = batch()
    return lambda: program(x=x)


KINDS: dict[str, Callable[[str], Callable[[], Any]]] = {"eager": eager, "inference": inference, "training": training}


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def repeat(kind: str, device: str, times: int, before: int = 20) -> tuple[dict[str, int], dict[str, int], int, int]:
    """What ht.memory() says of the device, and what the process has, before and after so many times."""
    act = KINDS[kind](device)
    for _ in range(before):
        act()
    gc.collect()
    first, had = ht.memory()[device], resident()
    for _ in range(times):
        act()
    gc.collect()
    return first, ht.memory()[device], had, resident()
