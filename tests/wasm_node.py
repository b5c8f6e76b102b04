"""Runs WebAssembly modules in one long-lived Node process, so that a test costs a millisecond and not a process start.

    io = run_wasm(module, "main", weights, state, arena, io, threads=2)

Frames on stdin and stdout: the header's length (4 bytes, little endian), a JSON header, then the bytes that it announces.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import struct
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from hither.kernels.steps import ALIGN, SPACES
from hither.targets.wasm.printer import WasmModule

SERVER = Path(__file__).with_suffix(".mjs")
TIMEOUT = 30.0  # seconds for one call


class NodeError(RuntimeError):
    """What Node threw: a module that does not validate, a trap."""


class _Node:
    def __init__(self) -> None:
        flag = "--experimental-wasm-relaxed-simd"
        known = subprocess.run(["node", "--v8-options"], capture_output=True, text=True, timeout=20, check=True).stdout
        flags = [flag] if flag in known else []  # newer V8 has relaxed SIMD on and the flag gone
        self.process = subprocess.Popen(["node", *flags, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.process.kill)

    def call(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        raw = json.dumps(header).encode()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(struct.pack("<I", len(raw)) + raw + payload)
        self.process.stdin.flush()
        deadline = time.monotonic() + TIMEOUT
        (length,) = struct.unpack("<I", self._read(self.process.stdout, 4, deadline))
        answer = json.loads(self._read(self.process.stdout, length, deadline))
        return answer, self._read(self.process.stdout, answer.get("bytes", 0), deadline)

    def _read(self, pipe: IO[bytes], count: int, deadline: float) -> bytes:
        out = bytearray()
        while len(out) < count:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self.process.kill()
                _node.cache_clear()
                raise TimeoutError(f"Node did not answer within {TIMEOUT} s")
            piece = os.read(pipe.fileno(), count - len(out))
            if not piece:
                _node.cache_clear()
                raise NodeError("the Node process ended")
            out += piece
        return bytes(out)


@functools.cache
def _node() -> _Node:
    return _Node()


def run_wasm_regions(
    module: WasmModule,
    entry: str,
    weights: bytes = b"",
    state: bytes = b"",
    arena: bytes = b"",
    io: bytes = b"",
    threads: int = 1,
    repeat: int = 1,
) -> dict[str, bytes]:
    """Call an entry `repeat` times over fresh memory; returns every region as it was left.

    The entry runs on Node's main thread; with more threads than one the memory is shared, and workers help.
    """
    regions = dict(zip(SPACES, (weights, state, arena, io), strict=True))
    sync = ALIGN  # away from address 0, so that a wrong base shows
    position = sync + -(-module.sync_bytes // ALIGN) * ALIGN
    scratch_stride = -(-module.scratch_bytes // ALIGN) * ALIGN
    scratch = position
    position += scratch_stride * threads
    offsets = {}
    for space, content in regions.items():
        offsets[space] = position
        position += -(-len(content) // ALIGN) * ALIGN
    header = {
        "module": len(module.bytes),
        "flag": module.shared_flag_offset,
        "entry": entry,
        "threads": threads,
        "repeat": repeat,
        "pages": -(-position // 65536),
        "sync": sync,
        "scratch": scratch,
        "scratchStride": scratch_stride,
        "regions": [{"offset": offsets[s], "bytes": len(regions[s])} for s in SPACES],
    }
    answer, payload = _node().call(header, module.bytes + b"".join(regions.values()))
    if "error" in answer:
        raise NodeError(answer["error"])
    out = {}
    at = 0
    for space, content in regions.items():
        out[space] = payload[at : at + len(content)]
        at += len(content)
    return out


def run_wasm(
    module: WasmModule,
    entry: str,
    weights: bytes = b"",
    state: bytes = b"",
    arena: bytes = b"",
    io: bytes = b"",
    threads: int = 1,
) -> bytes:
    """Call an entry once; returns the io region as it was left."""
    return run_wasm_regions(module, entry, weights, state, arena, io, threads)["io"]
