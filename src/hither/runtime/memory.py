"""ht.memory(): how much of each device's memory hither holds, and for what."""

from __future__ import annotations

from ..array import live_arrays
from .accounts import PROGRAMS, Account


def memory() -> dict[str, dict[str, int]]:
    """What hither holds on each device, in bytes but for two counts; `memory().devices` of the JavaScript loader says the same.

    Returns:
        {device: {…}} of
        "live": what something uses: weights, state and arena of programs, and arrays. What lies in the memory of several
            arrays (views) counts once.
        "weights", "state": of programs; what programs share counts once.
        "arena": what runs compute in, inputs and outputs included. Programs that do not run at the same time share it.
        "pooled": free memory that waits for the next run or program; it is bounded, and freed before an allocation fails.
        "arrays", "programs": how many there are.
        "total": live + pooled.

    Programs for "cpu" count under "wasm" where there is no llvmlite.

    Example:
        >>> import hither as ht
        >>> before = ht.memory()["cpu"]["live"]
        >>> x = ht.arange(1000, dtype="float32")
        >>> ht.memory()["cpu"]["live"] - before
        4000
    """
    from . import host_memory, wasm, webgpu_memory

    def of(account: Account, arrays: tuple[int, int], pooled: int) -> dict[str, int]:
        """`arrays`: how many, and their bytes; `pooled`: what of the account nobody uses."""
        used, weights, state = account.bytes() - pooled, account.bytes("weights"), account.bytes("state")
        count, nbytes = arrays
        live = used + nbytes
        arena = used - weights - state - account.bytes("arrays")
        return {
            "live": live, "weights": weights, "state": state, "arena": arena, "pooled": pooled, "arrays": count,
            "programs": account.count(PROGRAMS), "total": live + pooled,
        }  # fmt: skip

    gpu = webgpu_memory.account
    on_gpu = of(gpu, (gpu.count("arrays"), 0), 0)
    pooled = webgpu_memory.memory()["pooled"]  # its pool is no part of the account
    return {
        "cpu": of(host_memory.account, live_arrays(), host_memory.arenas.idle()),
        "webgpu": {**on_gpu, "pooled": pooled, "total": on_gpu["live"] + pooled},
        "wasm": of(wasm.account, (0, 0), 0),
    }
