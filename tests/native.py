"""What the tests of native code share: arrays laid out in a region, and one kernel run over them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hither.kernels.ir import Kernel, Machine
from hither.kernels.steps import ALIGN, Code, Launch, Ref
from hither.runtime import cpu
from hither.runtime.host_memory import aligned_empty
from hither.runtime.object_file import undefined_symbols

MACHINE = cpu.host_machine()
NO_BYTES = aligned_empty(0)


@pytest.fixture(autouse=True, scope="module")
def private_cache(tmp_path_factory):
    """These tests neither read nor fill the user's cache."""
    old = os.environ.get("HITHER_CACHE_DIR")
    os.environ["HITHER_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("HITHER_CACHE_DIR") if old is None else os.environ.update(HITHER_CACHE_DIR=old)


class Region:
    """Lays arrays out in one region and gives them back."""

    def __init__(self, space: str = "io") -> None:
        self.space, self.size, self.refs, self.initial = space, 0, [], []

    def add(self, array: np.ndarray) -> Ref:
        ref = Ref(self.space, self.size, array.nbytes)
        self.size += -(-array.nbytes // ALIGN) * ALIGN
        self.refs.append(ref)
        self.initial.append(array)
        return ref

    def memory(self) -> np.ndarray:
        memory = aligned_empty(self.size)
        for ref, array in zip(self.refs, self.initial):
            memory[ref.offset : ref.offset + ref.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return memory

    def read(self, memory: np.ndarray, ref: Ref) -> np.ndarray:
        array = self.initial[self.refs.index(ref)]
        return memory[ref.offset : ref.offset + ref.nbytes].view(array.dtype).reshape(array.shape).copy()


def run_kernel(kernel: Kernel, arrays: list[np.ndarray], threads: int = 1, machine: Machine = MACHINE) -> list[np.ndarray]:
    """The arrays after one launch of the kernel over them."""
    region = Region()
    refs = tuple(region.add(a) for a in arrays)
    code = Code([kernel], {"main": (Launch(0, refs),)}, {"io": region.size})
    executable = cpu.CpuExecutable(code, machine, worth_sharing=1)
    assert undefined_symbols(executable.object) == set()
    memory = region.memory()
    executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
    return [region.read(memory, ref) for ref in refs]
