"""How much a process grows by holding a program: run as a process of its own, for nothing else may come and go.

python -m tests.resident cpu int8      bytes that a precision holds, and those of its weights in float32, as JSON
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from typing import Any

import numpy as np

import hither as ht

LAYERS, WIDTH, CHANNELS = 4, 1536, 512  # 4 · (9.4 + 9.4) MB of float32


def model(layers: int, seed: int) -> tuple[Any, dict[str, ht.Spec], int]:
    """Matrices and convolutions, half of the bytes each; what it takes, and the bytes of its weights in float32."""
    rng = np.random.default_rng(seed)
    matrices = [rng.standard_normal((WIDTH, WIDTH), np.float32) for _ in range(layers)]
    filters = [rng.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) / 70 for _ in range(layers)]

    def function(x: Any, image: Any) -> dict[str, Any]:
        for w in matrices:
            x = ht.tanh(ht.matmul(x, w))
        for w in filters:
            image = ht.conv(image, w, strides=2, padding=[(1, 1), (1, 1)])
        return {"x": x, "image": image}

    specs = {"x": ht.Spec((1, WIDTH)), "image": ht.Spec((1, CHANNELS, 8, 8))}
    return function, specs, sum(w.nbytes for w in (*matrices, *filters))


def resident() -> int:
    """Bytes of this process that are in memory now."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def grown(device: str, precision: str, layers: int, seed: int) -> tuple[int, int]:
    """By how much this process grows by a program, and the float32 bytes of its weights."""
    before = resident()
    function, specs, nbytes = model(layers, seed)
    program = ht.compile(function, specs, device=device, precision=precision)
    del function
    program(x=np.ones((1, WIDTH), np.float32), image=np.ones((1, CHANNELS, 8, 8), np.float32))
    return resident() - before, nbytes


def main(device: str, precision: str) -> None:
    grown(device, precision, 1, 0)  # whatever else is loaded and kept
    held, nbytes = grown(device, precision, LAYERS, 1)
    print(json.dumps({precision: held, "float32 weights": nbytes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
