"""The native WebGPU runtime: control flow, state, copies, memory, and what it refuses."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import dtypes as dt
from hither.errors import DTypeMismatch, UnsupportedFeature
from hither.kernels.builder import Builder
from hither.kernels.ir import Kernel
from hither.kernels.steps import Code, Cond, Copy, Launch, Ref, While
from hither.runtime import webgpu, webgpu_device
from hither.targets.wgsl.bindings import plan_bindings
from hither.targets.wgsl.plan import Binding, BindingError, Dispatch, Limits, Plan, dispatches, verify
from hither.targets.wgsl.printer import print_variants

from .wgsl_cases import HALF, MACHINE, mixer

N = 100
COUNT, FLAG = Ref("state", 0, 4), Ref("arena", 0, 4)
X, Y, Z = (Ref("io", 512 * i, 4 * N) for i in range(3))


def affine(scale: float, offset: float, n: int = N) -> Kernel:
    """y = x · scale + offset."""
    k = Builder(MACHINE)
    x, y = k.buffer("x", dt.float32, n), k.buffer("y", dt.float32, n, "write")
    with k.loop(0, n, kind="parallel") as loop:
        k.store(y, loop.index, k.load(x, loop.index) * scale + offset)
    return k.finish("affine")


def counter(below: int) -> Kernel:
    """count += 1; flag = count < below."""
    k = Builder(MACHINE)
    count, flag = k.buffer("count", dt.int32, 1, "read_write"), k.buffer("flag", dt.bool_, 1, "write")
    value = k.load(count, 0) + 1
    k.store(count, 0, value)
    k.store(flag, 0, value < below)
    return k.finish("counter")


def program() -> Code:
    """Entries that branch, loop, keep a count and copy."""
    kernels = [affine(2, 0), affine(1, 1), counter(5)]
    double, increment, count = Launch(0, (X, Y), "double"), Launch(1, (Y, Y), "increment"), Launch(2, (COUNT, FLAG), "count")
    entries: dict[str, tuple[Any, ...]] = {
        "double": (double,),
        "loop": (double, count, While(FLAG, (increment, count))),
        "bounded": (double, count, While(FLAG, (increment,), bound=3)),
        "branch": (count, Cond(FLAG, (double,), (double, increment))),
        "copy": (double, Copy(Y, Z)),
    }
    return Code(kernels, entries, {"state": 256, "arena": 256, "io": 512 * 3})


def run(made: webgpu.WebGpuExecutable, entry: str, x: np.ndarray, out: Ref = Y) -> np.ndarray:
    return made.run(entry, [(X, x, "x")], [(out, dt.float32, x.shape)])[0]


@pytest.fixture
def made(adapter: Any) -> webgpu.WebGpuExecutable:
    return webgpu.WebGpuExecutable(program(), MACHINE)


ONES = np.ones(N, np.float32)


def test_while_runs_until_its_flag_is_false(made: webgpu.WebGpuExecutable) -> None:
    assert run(made, "loop", ONES)[0] == 6  # counts 1 to 5, so four trips
    assert made.round_trips == 5
    assert made.read([(COUNT, dt.int32, ())])[0] == 5


def test_while_stops_at_its_bound(made: webgpu.WebGpuExecutable) -> None:
    assert run(made, "bounded", ONES)[0] == 5


def test_cond_takes_the_branch_its_flag_says_and_state_survives_calls(made: webgpu.WebGpuExecutable) -> None:
    assert [run(made, "branch", ONES)[0] for _ in range(6)] == [2, 2, 2, 2, 3, 3]
    assert made.round_trips == 1


def test_a_fork_has_its_own_state(made: webgpu.WebGpuExecutable) -> None:
    run(made, "branch", ONES)
    other = made.fork()
    assert other.read([(COUNT, dt.int32, ())])[0] == 0
    assert made.read([(COUNT, dt.int32, ())])[0] == 1


def test_copies_within_one_buffer(made: webgpu.WebGpuExecutable) -> None:
    x = np.arange(N, dtype=np.float32)
    np.testing.assert_array_equal(run(made, "copy", x, Z), x * 2)
    assert made.round_trips == 0


def test_profile_names_every_dispatch(made: webgpu.WebGpuExecutable) -> None:
    assert [label for label, _ in made.profile("copy")] == ["double", "copy"]


def test_many_invocations_are_spread_over_two_dimensions(adapter: Any) -> None:
    n, limits = 500, Limits(workgroups=3)
    places = Ref("io", 0, 4 * n), Ref("io", 4096, 4 * n)
    code = Code([affine(1, 1, n)], {"main": (Launch(0, places),)}, {"io": 8192})
    made = webgpu.WebGpuExecutable(code, MACHINE, limits=limits)
    (dispatch,) = dispatches(made.plan)
    assert dispatch.workgroups == (3, 3, 1)
    x = np.arange(n, dtype=np.float32)
    (got,) = made.run("main", [(places[0], x, "x")], [(places[1], dt.float32, (n,))])
    np.testing.assert_array_equal(got, x + 1)


def test_empty_arrays_are_bound_like_others(adapter: Any) -> None:
    nothing = Ref("arena", 0, 0), Ref("io", 256, 0)
    code = Code([affine(1, 1, 0)], {"main": (Launch(0, nothing),)}, {"arena": 0, "io": 256})
    (got,) = webgpu.WebGpuExecutable(code, MACHINE).run("main", [], [(nothing[1], dt.float32, (0, 3))])
    assert got.shape == (0, 3)


# -- memory --------------------------------------------------------------------------------------------------------------


def test_dropping_an_executable_frees_its_buffers(adapter: Any) -> None:
    gc.collect()
    before = webgpu.memory()
    made = webgpu.WebGpuExecutable(program(), MACHINE, private=True)
    held = made.memory()
    assert webgpu.memory()["live"] - before["live"] >= held["state"] + held["arena"] + held["io"] > 0
    for _ in range(3):
        run(made, "loop", ONES)
    settled = webgpu.memory()
    for _ in range(50):
        run(made, "double", ONES)
    now = webgpu.memory()
    assert now["live"] <= settled["live"] and now["buffers"] <= settled["buffers"]  # nothing is allocated per run
    del made
    gc.collect()
    after = webgpu.memory()
    # of this one nothing is left; what tests before it left behind may have gone, too, with the same collection
    assert after["live"] <= before["live"] and after["buffers"] <= before["buffers"]


def test_forks_share_weights(adapter: Any) -> None:
    code = Code([affine(1, 0)], {"main": (Launch(0, (Ref("weights", 0, 4 * N), X)),)}, {"weights": 512, "io": 512})
    weights = np.arange(128, dtype=np.float32)
    made = webgpu.WebGpuExecutable(code, MACHINE, weights)
    before = webgpu.memory()["weights"]
    other = made.fork()
    assert webgpu.memory()["weights"] == before
    (got,) = other.run("main", [], [(X, dt.float32, (N,))])
    np.testing.assert_array_equal(got, weights[:N])


# -- dtypes at the boundary ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [d for d in dt.ALL if d.kind != "c" and d is not dt.float64], ids=str)
@pytest.mark.parametrize("machine", [MACHINE, HALF], ids=["float32", "float16"])
def test_arrays_come_back_as_they_went(dtype: dt.DType, machine: Any) -> None:
    for shape in ((3, 5), (), (0, 2)):
        array = (np.arange(np.prod(shape)).reshape(shape) - (4 if dtype.kind in "if" else 0)).astype(dtype.numpy)
        stored = webgpu.to_device(array, machine)
        back = webgpu.from_device(stored.tobytes(), dtype, shape, machine)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("value, dtype", [(2**31, "int64"), (-(2**31) - 1, "int64"), (2**32, "uint64")])
def test_integers_that_do_not_fit_are_refused_by_name(value: int, dtype: str) -> None:
    with pytest.raises(OverflowError, match=rf"'ids'.*{value}"):
        webgpu.to_device(np.array([1, value], dtype), MACHINE, "ids")


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_dtypes_that_webgpu_lacks_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(DTypeMismatch, match=rf"'x' is {dtype}"):
        webgpu.to_device(np.ones(2, dtype), MACHINE, "x")


def test_float64_kernels_are_refused_by_name() -> None:
    k = Builder(MACHINE)
    x, y = k.buffer("x", dt.float32, 1), k.buffer("y", dt.float32, 1, "write")
    k.store(y, 0, k.convert(k.convert(k.load(x, 0), dt.float64) * 2.0, dt.float32))
    plan = plan_bindings(Code([k.finish("wide")], {"main": (Launch(0, (X, Y)),)}, {"io": 1024}), MACHINE)
    with pytest.raises(UnsupportedFeature, match="wide computes in float64"):
        print_variants(plan, MACHINE)


# -- what is refused -----------------------------------------------------------------------------------------------------


def test_inputs_of_another_size_and_unknown_entries_are_refused(made: webgpu.WebGpuExecutable) -> None:
    with pytest.raises(ValueError, match=r"'x'.*12 bytes.*400"):
        made.run("double", [(X, np.ones(3, np.float32), "x")])
    with pytest.raises(KeyError, match="double, loop"):
        made.run("predict")
    with pytest.raises(ValueError, match="256 bytes, got 4"):
        webgpu.WebGpuExecutable(Code([], {}, {"weights": 256}), MACHINE, b"1234")


def test_limits_that_are_too_small_are_named(made: webgpu.WebGpuExecutable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(made.device.limits, "maxBufferSize", 1000)
    with pytest.raises(webgpu.WebGpuError, match=r"maxBufferSize \(needs 1792, has 1000\)"):
        webgpu.WebGpuExecutable(program(), MACHINE)


def test_a_missing_adapter_or_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import wgpu

    monkeypatch.setattr(webgpu_device, "_device", None)
    monkeypatch.setattr(wgpu.gpu, "request_adapter_sync", lambda **_: None, raising=False)
    with pytest.raises(webgpu.WebGpuError, match="mesa-vulkan-drivers"):
        webgpu.device()
    monkeypatch.setitem(sys.modules, "wgpu", None)
    with pytest.raises(webgpu.WebGpuError, match=r"hither\[gpu\]"):
        webgpu.device()


def test_a_lost_device_is_reported_and_replaced(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webgpu_device, "_device", None)  # a device of its own: other tests keep theirs
    made = webgpu.WebGpuExecutable(program(), MACHINE)
    made.device.handle.destroy()
    with pytest.raises(webgpu.DeviceLost, match="load the program again"):
        run(made, "double", ONES)
    again = webgpu.WebGpuExecutable(program(), MACHINE)
    assert again.device is not made.device
    assert run(again, "double", ONES)[0] == 2


def test_what_compiles_when_it_is_called_comes_back_after_a_device_was_lost(
    adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can load a jitted function again, nor should a Model have to be read anew: the next call compiles."""
    monkeypatch.setattr(webgpu_device, "_device", None)  # a device of its own: other tests keep theirs
    model = ht.Model(
        lambda arrays: {"y": arrays["x"] * 2}, {"x": ht.Spec((2,), "float32")}, {"y": ht.Spec((2,), "float32")}, device="webgpu"
    )
    x = np.ones(2, np.float32)
    for call in (ht.jit(lambda x: x * 2, device="webgpu"), lambda x: model(x)["y"]):
        assert call(x).numpy().tolist() == [2, 2]
        webgpu.device().handle.destroy()
        with pytest.raises(webgpu.DeviceLost):
            call(x)
        assert call(x).numpy().tolist() == [2, 2]


# -- the binding plan ----------------------------------------------------------------------------------------------------


def plan_of(kernel: Kernel, *args: Ref, limits: Limits | None = None) -> Plan:
    sizes = {"weights": 1 << 16, "arena": 1 << 16, "io": 1 << 16}
    return plan_bindings(Code([kernel], {"main": (Launch(0, args),)}, sizes), MACHINE, limits)


def test_launches_that_cannot_be_bound_say_why() -> None:
    kernel = mixer([dt.float32] * 3, 64)
    a, b, w = Ref("arena", 0, 256), Ref("arena", 256, 256), Ref("weights", 0, 256)
    with pytest.raises(BindingError, match="writes out_2, which is bound to weights"):
        plan_of(kernel, a, b, w)
    with pytest.raises(BindingError, match="not at a multiple of 256"):
        plan_of(kernel, a, Ref("arena", 300, 256), b)
    with pytest.raises(BindingError, match="3 buffers, a launch binds 2"):
        plan_of(kernel, a, b)
    with pytest.raises(BindingError, match="outside its region"):
        plan_of(kernel, a, b, Ref("arena", 1 << 20, 256))
    with pytest.raises(BindingError, match="maxStorageBuffersPerShaderStage is 2"):
        plan_of(kernel, w, a, Ref("io", 0, 256), limits=Limits(storage_buffers=2))
    k = Builder(HALF)
    x, y = k.buffer("x", dt.float32, 8), k.buffer("y", dt.float16, 8, "write")
    k.store(y, 0, k.load(x, 0))
    with pytest.raises(BindingError, match="float16 results overlap 32-bit operands"):
        plan_bindings(Code([k.finish("half")], {"main": (Launch(0, (a, a)),)}, {"arena": 1024}), HALF)


def test_float16_and_32_bit_operands_share_a_binding_when_there_are_too_many() -> None:
    """Halves are then read out of words. Every operand differs, so a wrong place shows."""
    rng = np.random.default_rng(0)
    arrays = {f"x{i}": rng.integers(-99, 99, 7).astype(np.float16 if i % 2 else np.float32) for i in range(32)}
    specs = {name: ht.Spec(a.shape, a.dtype) for name, a in arrays.items()}
    program = ht.compile(
        lambda **x: sum(ht.astype(a, "float32") * (i + 1) for i, a in enumerate(x.values())), specs, device="webgpu"
    )
    expected = sum(a.astype(np.float32) * (i + 1) for i, a in enumerate(arrays.values()))
    np.testing.assert_array_equal(program(arrays)["output"].numpy(), expected)
    assert program.statistics()["launches"] == 1


def test_operands_share_a_binding_only_where_they_must() -> None:
    kernel = mixer([dt.float32] * 3, 64)
    a, b, c = (Ref("arena", 256 * i, 256) for i in range(3))
    apart = plan_of(kernel, a, b, c)
    assert apart.variants[0].slots == ((0, 0), (1, 0), (2, 0))
    twice = plan_of(kernel, a, a, c)
    assert twice.variants[0].slots == ((0, 0), (0, 0), (1, 0))
    overlapping = plan_of(kernel, Ref("arena", 0, 1024), b, Ref("arena", 2048, 256))
    assert overlapping.variants[0].slots == ((0, 0), (0, 64), (1, 0))
    crowded = plan_of(kernel, a, b, Ref("arena", 1 << 15, 256), limits=Limits(storage_buffers=2))
    assert crowded.variants[0].slots == ((0, 0), (0, 64), (1, 0))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: replace(d, bindings=(*d.bindings[:2], d.bindings[1])), "read_write ranges overlap"),
        (lambda d: replace(d, bindings=(Binding(0, 100, 256), *d.bindings[1:])), "binding at 100"),
        (lambda d: replace(d, bindings=(Binding(0, 0, 1 << 20), *d.bindings[1:])), "beyond its buffer"),
        (lambda d: replace(d, bindings=d.bindings[:2]), "2 bindings for a layout of 3"),
        (lambda d: replace(d, workgroups=(1 << 17, 1, 1)), "workgroups"),
        (lambda d: replace(d, bindings=(Binding(1, 0, 256), *d.bindings[1:])), "bound both read_write and read"),
    ],
)
def test_the_verifier_refuses_what_browsers_refuse(change: Any, message: str) -> None:
    plan = plan_of(mixer([dt.float32] * 3, 64), Ref("weights", 0, 256), Ref("arena", 256, 256), Ref("arena", 512, 256))
    (good,) = plan.entries["main"]
    assert isinstance(good, Dispatch)
    plan.entries["main"] = (change(good),)
    with pytest.raises(BindingError, match=message):
        verify(plan)
