"""Native execution: threads, steps that wait for each other, branches and loops, the object cache, refusals."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.ir import INDEX, Kernel
from hither.kernels.sharing import CHUNKS_PER_THREAD
from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, While
from hither.runtime import cpu
from hither.runtime.host_memory import aligned_empty
from hither.runtime.object_cache import ObjectCache, cache_directory
from hither.runtime.object_file import undefined_symbols
from hither.runtime.threads import get_num_threads, set_num_threads
from hither.targets.llvm import entry_symbol, print_module

from .native import MACHINE, NO_BYTES, Region, private_cache, run_kernel  # noqa: F401

# -- threads and steps ---------------------------------------------------------------------------------------------------


def counting_kernel(n: int, grain: int) -> Kernel:
    """y[i] += 1 for each i, in parallel; and in which chunk, beside."""
    k = Builder(MACHINE)
    y, who = k.buffer("y", dt.int32, n, "read_write"), k.buffer("who", dt.int32, n, "write")
    me = k.convert(k.special("thread"), dt.int32)
    with k.loop(0, n, kind="parallel", grain=grain) as loop:
        k.store(y, loop.index, k.load(y, loop.index) + 1)
        k.store(who, loop.index, me)
    return k.finish("count")


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("n, grain", [(1, 1), (7, 1), (1000, 1), (1000, 400), (1000, 1000), (3, 2)])
def test_parallel_loops_run_every_iteration_once(n, grain, threads):
    y, who = run_kernel(counting_kernel(n, grain), [np.zeros(n, np.int32), np.zeros(n, np.int32)], threads)
    np.testing.assert_array_equal(y, 1)
    parts = 1 if threads == 1 else min(CHUNKS_PER_THREAD * threads, max(1, n // grain))
    np.testing.assert_array_equal(np.unique(who), np.arange(min(parts, n)))
    assert (np.diff(who) >= 0).all(), "chunks are contiguous"


def test_stores_beside_a_parallel_loop_happen_once():
    k = Builder(MACHINE)
    y, z = k.buffer("y", dt.int32, 1, "read_write"), k.buffer("z", dt.int32, 64, "write")
    k.store(y, 0, k.load(y, 0) + 1)
    with k.loop(0, 3) as serial:
        k.store(y, 0, k.load(y, 0) + k.convert(serial.index, dt.int32))
    with k.loop(0, 64, kind="parallel") as loop:
        k.store(z, loop.index, k.const(1, dt.int32))
    y, z = run_kernel(k.finish("beside"), [np.zeros(1, np.int32), np.zeros(64, np.int32)], threads=4)
    assert y[0] == 4 and z.sum() == 64


def step_kernel(n: int, function: Callable[..., Any], dtype: dt.DType = dt.int32, parallel: bool = True) -> Kernel:
    """y = function(x) elementwise; x and y may be the same memory."""
    k = Builder(MACHINE)
    x, y = k.buffer("x", dtype, n), k.buffer("y", dtype, n, "write")
    with k.loop(0, n, kind="parallel" if parallel else "serial") as loop:
        k.store(y, loop.index, function(k, k.load(x, loop.index)))
    return k.finish("step")


def reversing_kernel(n: int) -> Kernel:
    """y[i] = x[n-1-i]: thread 0 reads what the last thread wrote."""
    k = Builder(MACHINE)
    x, y = k.buffer("x", dt.int32, n), k.buffer("y", dt.int32, n, "write")
    with k.loop(0, n, kind="parallel") as loop:
        k.store(y, loop.index, k.load(x, k.const(n - 1, INDEX) - loop.index))
    return k.finish("reverse")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_steps_wait_for_each_other(threads):
    """A chain in which each step reads what other threads wrote, many times over; serial kernels and copies between."""
    n = 4096
    region = Region()
    a, b = region.add(np.arange(n, dtype=np.int32)), region.add(np.zeros(n, np.int32))
    kernels = [reversing_kernel(n), step_kernel(n, lambda k, x: x + 1), step_kernel(n, lambda k, x: x * 3, parallel=False)]
    chain = (Launch(0, (a, b)), Launch(1, (b, b)), Launch(2, (b, b)), Copy(b, a)) * 10
    code = Code(kernels, {"main": chain}, {"io": region.size})
    executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
    want = np.arange(n, dtype=np.int32)
    for _ in range(10):
        want = (want[::-1] + 1) * 3
    for _ in range(5):
        memory = region.memory()
        executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
        np.testing.assert_array_equal(region.read(memory, a), want)


@pytest.mark.parametrize("nbytes", [1, 63, 64, 1000, (1 << 18) + 77])
def test_copies(nbytes):
    region = Region()
    source, target = (
        region.add(np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)),
        region.add(np.zeros(nbytes + 1, np.uint8)),
    )
    code = Code([], {"main": (Copy(source, Ref("io", target.offset, nbytes)),)}, {"io": region.size})
    executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
    assert undefined_symbols(executable.object) == set()
    for threads in (1, 3):
        memory = region.memory()
        executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
        np.testing.assert_array_equal(region.read(memory, target)[:-1], region.initial[0])
        assert region.read(memory, target)[-1] == 0, "a copy wrote past its end"


def flag_kernel() -> Kernel:
    """flag = counter > 0; counter -= 1."""
    k = Builder(MACHINE)
    counter, flag = k.buffer("counter", dt.int32, 1, "read_write"), k.buffer("flag", dt.bool_, 1, "write")
    value = k.load(counter, 0)
    k.store(flag, 0, k.const(0, dt.int32) < value)
    k.store(counter, 0, value - 1)
    return k.finish("flag")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("trips", [0, 1, 7])
def test_while_and_cond(trips, threads):
    """While the counter lasts: double in parallel, then take one branch or the other by a flag that each trip changes."""
    n = 512
    region = Region()
    counter, flag = region.add(np.array([trips], np.int32)), region.add(np.zeros(1, bool))
    turn, x = region.add(np.zeros(1, np.uint8)), region.add(np.ones(n, np.int32))
    kernels = [
        flag_kernel(),
        step_kernel(n, lambda k, v: v * 2),
        step_kernel(n, lambda k, v: v + 1),
        step_kernel(n, lambda k, v: v - 1),
        step_kernel(1, lambda k, v: v ^ 1, dt.uint8),
    ]
    body = (
        Launch(1, (x, x)),
        Cond(turn, (Launch(2, (x, x)),), (Launch(3, (x, x)),)),
        Launch(4, (turn, turn)),
        Launch(0, (counter, flag)),
    )
    code = Code(kernels, {"main": (Launch(0, (counter, flag)), While(flag, body, trips))}, {"io": region.size})
    executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
    want = 1
    for i in range(trips):
        want = want * 2 + (1 if i % 2 else -1)
    for _ in range(3):
        memory = region.memory()
        executable.run("main", NO_BYTES, NO_BYTES, memory, threads)
        np.testing.assert_array_equal(region.read(memory, x), want)


def test_runs_from_several_python_threads():
    """Runs that share an arena take turns; all of them give the right result, whatever the number of native threads."""
    n = 2048
    inputs, outputs = Region(), Region("arena")
    x, scratch = inputs.add(np.zeros(n, np.int32)), outputs.add(np.zeros(n, np.int32))
    kernels = [reversing_kernel(n), step_kernel(n, lambda k, v: v + 1)]
    steps = (Launch(0, (x, scratch)), Launch(1, (scratch, scratch)), Launch(0, (scratch, x))) * 3
    code = Code(kernels, {"main": steps}, {"io": inputs.size, "arena": outputs.size})
    executable = cpu.CpuExecutable(code, MACHINE, worth_sharing=1)
    arena, failures = outputs.memory(), []

    def work(start: int) -> None:
        memory = inputs.memory()
        values = memory[: 4 * n].view(np.int32)
        for i in range(20):
            values[:] = np.arange(n) * start
            executable.run("main", NO_BYTES, arena, memory, 1 + i % 2)
            if not np.array_equal(values, np.arange(n) * start + 3):
                failures.append(start)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failures and not any(t.is_alive() for t in threads)


# -- the object cache, the objects, and refusals -------------------------------------------------------------------------


def test_objects_are_cached_and_damaged_ones_are_compiled_again(tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path / "objects")
    region = Region()
    refs = (region.add(np.zeros(4, np.int32)),) * 2
    code = Code([step_kernel(4, lambda k, v: v + 41)], {"main": (Launch(0, refs),)}, {"io": region.size})
    text = print_module(code, MACHINE, cpu.host_target())
    first = cpu.compile_object(text, cache)
    (path,) = cache.directory.iterdir()
    if os.name == "posix":
        assert cache.directory.stat().st_mode & 0o777 == 0o700 and path.stat().st_mode & 0o777 == 0o600

    compiled = []
    original = cpu._target_machine
    monkeypatch.setattr(cpu, "_target_machine", lambda: compiled.append(1) or original())
    assert cpu.compile_object(text, cache) == first and not compiled
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert cpu.compile_object(text, cache) == first and compiled
    assert cache.get(path.stem) == first, "the damaged file was replaced"
    path.write_bytes(b"")
    assert cache.get(path.stem) is None


def test_the_cache_is_bounded_and_forgets_the_oldest(tmp_path):
    cache = ObjectCache(tmp_path / "objects", limit=4000)
    for i in range(10):
        key = cache.key(str(i))
        cache.put(key, bytes(1000))
        os.utime(cache.directory / f"{key}.o", (i, i))
    kept = [i for i in range(10) if cache.get(cache.key(str(i))) is not None]
    assert kept == [7, 8, 9]
    assert cache.key("ab", "c") != cache.key("a", "bc")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_cache_that_others_can_write_is_refused(tmp_path):
    directory = tmp_path / "objects"
    directory.mkdir()
    directory.chmod(0o777)
    cache = ObjectCache(directory)
    with pytest.warns(UserWarning, match="written by other users"):
        cache.put("key", b"data")
    assert not list(directory.iterdir())


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path))
    assert cache_directory() == tmp_path


def test_undefined_symbols_sees_what_is_missing():
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    text = "declare float @expf(float)\ndefine float @f(float %x) {\n %y = call float @expf(float %x)\n ret float %y\n}"
    for triple, name in {
        "x86_64-unknown-linux-gnu": "expf",
        "aarch64-unknown-linux-gnu": "expf",
        "x86_64-apple-macosx13.0.0": "_expf",
        "x86_64-pc-windows-msvc": "expf",
    }.items():
        target = llvm.Target.from_triple(triple).create_target_machine(opt=2)
        module = llvm.parse_assembly(text)
        module.triple, module.data_layout = triple, str(target.target_data)
        found = undefined_symbols(target.emit_object(module))
        assert name in found and found <= {name, "_fltused", "_GLOBAL_OFFSET_TABLE_"}, triple
    with pytest.raises(ValueError, match="not an object"):
        undefined_symbols(b"hello")


def test_what_cannot_be_printed_or_run_is_refused_by_name():
    k = Builder(MACHINE)
    x = k.buffer("x", dt.float32, 16, "write")
    k.barrier()
    code = Code([k.finish("waits")], {"main": (Launch(0, (Ref("io", 0, 64),)),)}, {"io": 64})
    with pytest.raises(ValueError, match="waits: barrier"):
        print_module(code, MACHINE)
    with pytest.raises(ValueError, match="wasm"):
        print_module(code, replace(MACHINE, name="wasm"))
    k = Builder(MACHINE)
    x = k.buffer("x", dt.float32, 16, "write")
    k.store(x, 0, k.const(1.0, dt.float32, 16))
    kernel = k.finish("fill")
    with pytest.raises(ValueError, match="smaller"):
        print_module(Code([kernel], {"main": (Launch(0, (Ref("io", 0, 32),)),)}), MACHINE)
    code = Code([kernel], {"main": (Launch(0, (Ref("io", 0, 64),)),)}, {"io": 64, "weights": 8})
    assert entry_symbol(code, "main") == "entry_0"
    with pytest.raises(ValueError, match="weights have 0 bytes"):
        cpu.CpuExecutable(code, MACHINE)
    executable = cpu.CpuExecutable(code, MACHINE, bytes(8))
    with pytest.raises(KeyError, match="predict"):
        executable.run("predict", NO_BYTES, NO_BYTES, NO_BYTES)
    with pytest.raises(ValueError, match="region io"):
        executable.run("main", NO_BYTES, NO_BYTES, aligned_empty(32))
    with pytest.raises(ValueError, match="multiple of 64"):
        executable.run("main", NO_BYTES, NO_BYTES, aligned_empty(128)[4:])


def test_number_of_threads():
    default = get_num_threads()
    try:
        set_num_threads(3)
        assert get_num_threads() == 3
        with pytest.raises(ValueError, match="positive"):
            set_num_threads(0)
    finally:
        set_num_threads(None)
    assert get_num_threads() == default >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_makes_its_own_threads():
    kernel, arrays = counting_kernel(64, 1), [np.zeros(64, np.int32), np.zeros(64, np.int32)]
    run_kernel(kernel, arrays, threads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process that has threads
        child = os.fork()
    if child == 0:
        good = run_kernel(kernel, arrays, threads=2)[0].sum() == 64
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
