"""ht.memory(): how much of each device's memory hither holds, and for what."""

from __future__ import annotations

from ..array import live_arrays
from .accounts import Account


def memory() -> dict[str, dict[str, int]]:
    """What hither holds on each device: {device: {"live": bytes, "pooled": bytes, "weights": bytes, "arrays": n}}.

    "live" is all that something uses: weights, state and arenas of programs, and arrays, of which there are "arrays". What lies
    in the memory of several arrays (views) counts once. "weights" are those of programs, part of "live". "pooled" is free
    memory that waits for the next run or program; it is bounded, and freed before an allocation fails. Programs for "cpu" count
    under "wasm" where there is no llvmlite.

    Example:
        >>> import hither as ht
        >>> before = ht.memory()["cpu"]["live"]
        >>> x = ht.arange(1000, dtype="float32")
        >>> ht.memory()["cpu"]["live"] - before
        4000
    """
    from . import host_memory, wasm, webgpu_memory

    def of(account: Account, arrays: int, nbytes: int, pooled: int) -> dict[str, int]:
        live = account.bytes() + nbytes
        return {"live": live, "pooled": pooled, "weights": account.bytes("weights"), "arrays": arrays}

    idle = host_memory.arenas.idle()
    count, nbytes = live_arrays()
    gpu = webgpu_memory.memory()
    return {
        "cpu": of(host_memory.account, count, nbytes - idle, idle),
        "webgpu": of(webgpu_memory.account, webgpu_memory.account.count("arrays"), 0, gpu["pooled"]),
        "wasm": of(wasm.account, 0, 0, 0),
    }
