"""Large inputs, which native programs read where the caller has them, and what a program keeps from one run to the next.

References are NumPy's results of the same expression.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import dtypes as dt
from hither.kernels.builder import Builder
from hither.kernels.steps import Code, Copy, Launch, Ref
from hither.program.cpu import CpuSession
from hither.runtime import cpu
from hither.runtime.host_memory import aligned_empty, arenas
from hither.targets.llvm.inputs import WORTH, direct

from .native import MACHINE, NO_BYTES

SHAPE = (64, 128)  # 32 KB of float32
RNG = np.random.default_rng(0)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("hither.runtime.cpu.shared_work", lambda code, steps: 1 << 20)  # so little would wake nobody
    before = ht.get_num_threads()
    ht.set_num_threads(request.param)
    yield request.param
    ht.set_num_threads(before)


def values(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def misplaced(a: np.ndarray) -> np.ndarray:
    """The same elements, four bytes off."""
    raw = np.empty(a.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64 + 4
    found = raw[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    found[...] = a
    assert found.flags.c_contiguous
    return found


def read_only(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda a: a,
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "four bytes off": misplaced,
    "read-only": lambda a: read_only(a.copy()),
    "one row, repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("way", WAYS)
def test_inputs_may_lie_in_memory_in_any_way(way: str, threads: int) -> None:
    """Only what lies as the code expects it may be read where it is; nothing is written there."""
    w = values(128, 96)
    program = ht.compile(
        lambda x, y: {"product": ht.matmul(ht.relu(x), ht.asarray(w)), "sum": x + y},
        {"x": ht.Spec(SHAPE, "float32"), "y": ht.Spec(SHAPE, "float32")},
    )
    for _ in range(3):
        x, y = WAYS[way](values(*SHAPE)), values(*SHAPE)
        kept = x.copy(), y.copy()
        got = {n: a.numpy() for n, a in program(x=x, y=y).items()}
        np.testing.assert_allclose(got["product"], np.maximum(kept[0], 0).astype(np.float64) @ w, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(got["sum"], kept[0] + kept[1])
        np.testing.assert_array_equal(x, kept[0])
        np.testing.assert_array_equal(y, kept[1])


def test_runs_that_follow_each_other_see_their_own_inputs() -> None:
    """An address from the run before must not be left in the table, nor an array that was copied beside one that was not."""
    program = ht.compile(lambda x: x * 2, {"x": ht.Spec(SHAPE, "float32")})
    for way in (*WAYS, *reversed(WAYS)):
        x = WAYS[way](values(*SHAPE))
        np.testing.assert_array_equal(program(x=x)["output"].numpy(), x * 2)
        del x
        gc.collect()


def test_one_array_may_be_several_inputs_and_results_are_no_views_of_it() -> None:
    program = ht.compile(lambda x, y: {"same": x, "difference": x - y}, {n: ht.Spec(SHAPE, "float32") for n in ("x", "y")})
    x = values(*SHAPE)
    found = program(x=x, y=x)
    kept = x.copy()
    x[...] = 7
    np.testing.assert_array_equal(found["same"].numpy(), kept)
    np.testing.assert_array_equal(found["difference"].numpy(), np.zeros(SHAPE, np.float32))


def test_entries_with_inputs_in_another_order() -> None:
    """Their steps may be equal but for where the inputs are."""
    specs = {n: ht.Spec(SHAPE, "float32") for n in ("a", "b")}
    entries = {"first": ("a", "b"), "second": ("b", "a"), "one": ("b",)}
    functions = {"first": lambda a, b: a * 3 - b, "second": lambda b, a: a * 3 - b, "one": lambda b: b * 2}
    program = ht.compile(functions, {entry: {n: specs[n] for n in names} for entry, names in entries.items()})
    a, b = values(*SHAPE), values(*SHAPE)
    for _ in range(2):
        np.testing.assert_allclose(program.run("first", a=a, b=b)["output"].numpy(), a * 3 - b, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(program.run("second", a=a, b=b)["output"].numpy(), a * 3 - b, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(program.run("one", b=b)["output"].numpy(), b * 2)


def test_what_a_loop_begins_with_is_left_as_it_was() -> None:
    """A loop computes what it carries where that lies: not in the caller's array."""

    def function(x: Any) -> Any:
        return ht.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * 2 + 1), (ht.asarray(np.int32(0)), x))[1]

    program = ht.compile(function, {"x": ht.Spec(SHAPE, "float32")})
    x = values(*SHAPE)
    kept, want = x.copy(), x.astype(np.float64)
    for _ in range(5):
        want = want * 2 + 1
    np.testing.assert_allclose(program(x=x)["output"].numpy(), want, rtol=1e-5)
    np.testing.assert_array_equal(x, kept)


def test_small_inputs_and_those_that_steps_write_are_copied() -> None:
    k = Builder(MACHINE)
    x, y = k.buffer("x", dt.float32, WORTH // 4), k.buffer("y", dt.float32, WORTH // 4, "read_write")
    k.store(y, 0, k.load(x, 0))
    a, b, c = (Ref("io", i * WORTH, WORTH) for i in range(3))
    small, whole = Ref("io", 3 * WORTH, 256), Ref("io", 0, 3 * WORTH)
    sizes = {"io": 4 * WORTH}

    def found(*steps: Any) -> tuple[Ref, ...]:
        return direct(Code([k.finish("k")], {"main": steps}, sizes, {"main": (a, b, small)}), "main")

    assert found(Launch(0, (a, c)), Launch(0, (b, c))) == (a, b), "of what is only read, the large ones"
    assert found(Launch(0, (a, b))) == (a,), "a kernel writes the other"
    assert found(Copy(b, c), Copy(c, a)) == (b,), "a copy goes there"
    assert found(Copy(whole, Ref("arena", 0, 3 * WORTH))) == (), "read as parts of something else"


def test_regions_alone_are_enough() -> None:
    """Who runs code on regions (profiles, the search for tiles) has inputs in io, without a table."""
    k = Builder(MACHINE)
    n = WORTH // 4
    x, y = k.buffer("x", dt.float32, n), k.buffer("y", dt.float32, n, "write")
    with k.loop(0, n) as loop:
        k.store(y, loop.index, k.load(x, loop.index) + 1.0)
    a, b = Ref("io", 0, WORTH), Ref("io", WORTH, WORTH)
    code = Code([k.finish("k")], {"main": (Launch(0, (a, b)),)}, {"io": 2 * WORTH}, {"main": (a,)})
    executable = cpu.CpuExecutable(code, MACHINE)
    assert executable.native.direct == {"main": [0]}
    io = aligned_empty(2 * WORTH)
    io[:WORTH].view(np.float32)[:] = np.arange(n)
    executable.run("main", NO_BYTES, NO_BYTES, io)
    np.testing.assert_array_equal(io[WORTH:].view(np.float32), np.arange(n) + 1)


def test_stored_programs_know_which_inputs_stay(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program from disk would read its inputs at address 0."""
    monkeypatch.setenv("HITHER_CACHE", str(tmp_path))
    path = tmp_path / "net.onnx"
    specs = {"x": ht.Spec(SHAPE, "float32")}
    ht.save(lambda x: x * 3, path, specs)
    x = values(*SHAPE)
    for _ in range(2):
        program = ht.compile(ht.load(str(path)), specs)
        np.testing.assert_array_equal(next(iter(program(x).values())).numpy(), x * 3)


def test_memory_forgets_a_program_that_is_gone() -> None:
    """What is kept beside memory for the next run must not keep the session, and so its weights, alive."""
    program = ht.compile(lambda x: ht.matmul(x, x), {"x": ht.Spec((64, 64), "float32")})
    x = values(64, 64)
    program(x=x)
    assert isinstance(program.session, CpuSession)
    assert arenas.idle() > 0
    session = weakref.ref(program.session)
    del program
    gc.collect()
    assert session() is None
