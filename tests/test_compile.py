"""From a function to a Program: what is fused, how memory is planned, control flow, entries, errors, caching. No GPU needed:
plans for every machine are looked at, programs run on the CPU."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import hither as ht
from hither.errors import DTypeMismatch, HitherError, NameMismatch, ShapeMismatch
from hither.formats.onnx import load_bytes
from hither.graph.primitive import REGISTRY
from hither.graph.trace import bind
from hither.kernels.ir import Machine
from hither.kernels.steps import ALIGN, Cond, Launch, Ref, While
from hither.program.arena import Life, most_alive, place
from hither.program.compile import CompileError, machine_for, plan_target
from hither.program.plan import Plan
from hither.web.builds import MACHINES

from .onnx_build import build, info

RNG = np.random.default_rng(0)
TARGETS = {"cpu": machine_for("cpu"), **{name: machines[0] for name, machines in MACHINES.items()}}
on_every_machine = pytest.mark.parametrize("machine", TARGETS.values(), ids=TARGETS)


def weight(*shape: int) -> Any:
    return ht.asarray(RNG.standard_normal(shape).astype(np.float32))


def planned(function: Any, machine: Machine = TARGETS["cpu"], **shapes: tuple[int, ...]) -> Plan:
    return plan_target(function, {n: ht.Spec(s, "float32") for n, s in shapes.items()}, machine)


def launches(plan: Plan, entry: str = "predict") -> list[str]:
    """What each launch of an entry computes."""
    return [step.label for step in plan.code.entries[entry] if isinstance(step, Launch)]


# -- fusion ------------------------------------------------------------------------------------------------------------------

K33, K11, BIAS = weight(16, 8, 3, 3), weight(16, 8, 1, 1), weight(16)


def convolved(x: Any, w: Any) -> Any:
    return ht.relu(ht.conv(x, w, BIAS, layout="channels_last"))


FUSED: Mapping[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "elementwise chain": (lambda x: ht.tanh(ht.exp(x) * 2 + x) / 3, (4, 50)),
    "views between": (lambda x: ht.matrix_transpose(ht.reshape(x + 1, (50, 4)) * 2), (4, 50)),
    "softmax": (ht.softmax, (4, 50)),
    "softmax of long rows": (ht.softmax, (4, 5000)),
    "log softmax": (ht.log_softmax, (4, 50)),
    "layer norm": (lambda x: ht.layer_norm(x, weight(50), weight(50)), (4, 50)),
    "rms norm": (ht.rms_norm, (4, 50)),
    "matmul, bias, relu": (lambda x: ht.relu(x @ weight(50, 20) + weight(20)), (4, 50)),
    "matmul, residual": (lambda x: ht.gelu(x @ weight(50, 50)) + x, (4, 50)),
    "convolution, bias, relu": (lambda x: convolved(x, K33), (1, 9, 9, 8)),
    "pointwise convolution, bias, relu": (lambda x: convolved(x, K11), (1, 9, 9, 8)),
    "pooling, scale": (lambda x: ht.max_pool(x, 2, layout="channels_last") * 2, (1, 8, 8, 8)),
    "reduction of a chain": (lambda x: ht.sum(ht.exp(x) * x), (4, 50)),
    "reduction over rows, then a chain": (lambda x: ht.sqrt(ht.sum(x * x, axis=0) + 1), (4, 50)),
}


@on_every_machine
@pytest.mark.parametrize("name", FUSED)
def test_is_one_kernel(name: str, machine: Machine) -> None:
    function, shape = FUSED[name]
    assert len(launches(planned(function, machine, x=shape))) == 1


@on_every_machine
def test_mlp_is_one_kernel_per_layer(machine: Machine) -> None:
    layers = [(weight(32, 32), weight(32)) for _ in range(4)]

    def mlp(x: Any) -> Any:
        for w, b in layers:
            x = ht.gelu(x @ w + b)
        return x

    plan = planned(mlp, machine, x=(8, 32))
    assert len(launches(plan)) == 4
    assert len(plan.code.kernels) == 1, "equal kernels are printed once"


@on_every_machine
def test_reshape_of_a_stored_value_is_an_alias(machine: Machine) -> None:
    plan = planned(lambda x: ht.reshape(ht.softmax(x) @ weight(16, 16), (2, 2, 16)) @ weight(16, 16), machine, x=(4, 16))
    assert len(launches(plan)) == 3  # softmax, matmul, matmul


def test_values_with_several_readers_are_computed_once() -> None:
    def branches(x: Any) -> dict[str, Any]:
        shared = ht.exp(x @ weight(16, 16))
        return {"a": ht.softmax(shared), "b": ht.sum(shared, axis=0), "c": shared @ weight(16, 4)}

    assert len(launches(planned(branches, x=(4, 16)))) == 4


# -- memory ------------------------------------------------------------------------------------------------------------------


def test_rows_are_turned_around_in_memory_before_they_are_walked_again_and_again() -> None:
    """Group norm after a convolution, whose result has its channels last: gathering in each pass was nine times slower."""
    w = weight(8, 3, 3, 3)
    plan = planned(lambda x: ht.relu(ht.group_norm(ht.conv(x, w, padding=((1, 1), (1, 1))), 4)), x=(1, 3, 11, 13))
    assert [name.split("_")[0] for name in launches(plan)] == ["pad", "conv", "transpose", "reduce"]


def test_big_windows_of_maxima_are_walked_axis_by_axis() -> None:
    """13² taps took a text detector's network 25 times as long as 13 + 13 do. Sums are not regrouped: that rounds otherwise."""
    most = planned(lambda x: ht.max_pool(x, 13, strides=1, padding=6), x=(1, 4, 20, 20))
    assert sum("pool" in name for name in launches(most)) == 2
    mean = planned(lambda x: ht.avg_pool(x, 5, strides=1, count_include_pad=True), x=(1, 4, 20, 20))
    assert sum("pool" in name for name in launches(mean)) == 1


def test_a_constant_square_is_a_product() -> None:
    for two in (2.0, np.full((5, 7), 2, np.float32)):
        (name,) = launches(planned(lambda x, two=two: ht.sum(ht.pow(x, two), axis=-1), x=(5, 7)))
        assert "pow" not in name and "mul" in name
    program = ht.compile(lambda x: {"cube": x**3.0, "same": x**1.0}, {"x": ht.Spec((3,), "float32")}, device="cpu")
    got = program(np.array([-2, 0, 3], np.float32))
    assert got["cube"].tolist() == [-8, 0, 27]
    assert got["same"].tolist() == [-2, 0, 3]


def accesses(plan: Plan, entry: str = "predict") -> Iterator[tuple[int, Ref, bool]]:
    """(step, piece of the arena, whether it is written), reads of a step before its writes."""
    for number, step in enumerate(plan.code.entries[entry]):
        assert isinstance(step, Launch)
        for access in ("read", "write"):
            for ref, buffer in zip(step.args, plan.code.kernels[step.kernel].buffers, strict=True):
                used = "write" if buffer.access == "scratch" else buffer.access
                if ref.space == "arena" and access in used:
                    yield number, ref, access == "write"


def residual_network(x: Any) -> Any:
    """Convolutions, branches, a concatenation, pooling, dense layers."""
    x = ht.relu(ht.conv(x, weight(16, 3, 3, 3), padding="same"))
    for _ in range(3):
        x = ht.relu(x + ht.conv(ht.relu(ht.conv(x, weight(16, 16, 3, 3), padding="same")), weight(16, 16, 1, 1)))
    x = ht.max_pool(x, 2)
    x = ht.concat([ht.conv(x, weight(8, 16, 1, 1)), ht.conv(x, weight(24, 16, 3, 3), padding="same")], axis=1)
    return ht.softmax(ht.relu(ht.mean(x, axis=(2, 3)) @ weight(32, 64)) @ weight(64, 10))


@on_every_machine
def test_what_a_step_reads_is_what_was_last_written_there(machine: Machine) -> None:
    """No two values that are alive together share bytes: seen from the steps alone, without the planner's lifetimes."""
    written: list[Ref] = []  # latest last
    count = 0
    for number, ref, is_write in accesses(planned(residual_network, machine, x=(1, 3, 16, 16))):
        overlapping = [w for w in written if w.offset < ref.offset + ref.nbytes and ref.offset < w.offset + w.nbytes]
        if is_write:
            written = [w for w in written if w != ref] + [ref]
        else:
            assert overlapping and overlapping[-1] == ref, f"step {number} reads {ref}, written last: {overlapping}"
            count += 1
    assert count >= 10


@on_every_machine
def test_the_arena_is_not_much_larger_than_what_is_alive_at_once(machine: Machine) -> None:
    plan = planned(residual_network, machine, x=(1, 3, 16, 16))
    values: list[tuple[Ref, int, int]] = []  # with first and last step
    current: dict[Ref, int] = {}
    for number, ref, is_write in accesses(plan):
        at = current.get(ref)
        if is_write and (at is None or values[at][2] < number):
            partial = at is not None and values[at][1] == values[at][2]  # written piece by piece (concat)
            if not partial:
                current[ref] = len(values)
                values.append((ref, number, number))
                continue
        assert at is not None
        values[at] = (ref, values[at][1], number)
    most = max(
        sum(-(-ref.nbytes // ALIGN) * ALIGN for ref, first, last in values if first <= step <= last)
        for step in range(len(plan.code.entries["predict"]))
    )
    assert most <= plan.code.sizes["arena"] <= 1.3 * most


def test_memory_reports_what_is_resident() -> None:
    w = RNG.standard_normal((64, 64)).astype(np.float32)
    program = ht.compile(lambda x: ht.softmax(x @ ht.asarray(w)) @ ht.asarray(w), {"x": ht.Spec((4, 64), "float32")})
    held = program.memory()
    assert w.nbytes <= held["weights"] < 2 * w.nbytes, "the weight is kept once"
    assert held["state"] == 0 and held["arena"] >= 3 * 4 * 64 * 4
    assert held["total"] == held["weights"] + held["state"] + held["arena"]


def test_equal_constants_are_stored_once() -> None:
    w = RNG.standard_normal((32, 32)).astype(np.float32)
    twice = planned(lambda x: ht.relu(x @ ht.asarray(w.copy())) @ ht.asarray(w.copy()), x=(4, 32))
    assert w.nbytes <= twice.code.sizes["weights"] < 2 * w.nbytes


# -- rewrites ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_a_stack_of_products_is_one_product_only_if_its_matrices_are_equal(axes: tuple[int, int]) -> None:
    """A square matrix spread along another axis than the first gives as many different matrices."""
    x, w = RNG.standard_normal((3, 2, 3)).astype(np.float32), RNG.standard_normal((3, 3)).astype(np.float32)
    program = ht.compile(
        lambda x, w: ht.matmul(x, bind(REGISTRY["broadcast"], w, shape=(3, 3, 3), axes=axes)),
        {"x": ht.Spec((3, 2, 3), "float32"), "w": ht.Spec((3, 3), "float32")},
    )
    (missing,) = {0, 1, 2} - set(axes)
    stack = np.broadcast_to(np.expand_dims(w, missing), (3, 3, 3))
    np.testing.assert_allclose(program(x, w)["output"].numpy(), x @ stack, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("convolve", "weights", "expected"),
    [(ht.conv, (3, 0, 2, 2), (1, 3, 3, 3)), (ht.conv_transpose, (0, 3, 2, 2), (1, 3, 5, 5))],
    ids=["conv", "conv_transpose"],
)
def test_a_convolution_of_no_channels_is_zero(
    convolve: Callable[..., Any], weights: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """As a product over nothing is: eagerly, and in a program, where no kernel is cut into so little."""
    x, w = np.zeros((1, 0, 4, 4), np.float32), np.zeros(weights, np.float32)
    compiled = ht.compile(lambda x, w: convolve(x, w), {"x": ht.Spec(x.shape), "w": ht.Spec(w.shape)})
    for got in (convolve(x, w), compiled(x=x, w=w)["output"]):
        np.testing.assert_array_equal(got.numpy(), np.zeros(expected))


@on_every_machine
def test_a_reduction_over_no_axes_can_be_finished_elementwise(machine: Machine) -> None:
    one = planned(lambda x: bind(REGISTRY["reduce_sum"], x, axes=()) * 2 + 1, machine, x=())
    assert len(launches(one)) == 1
    program = ht.compile(lambda x: bind(REGISTRY["reduce_sum"], x, axes=()) * 2 + 1, {"x": ht.Spec((), "float32")})
    assert float(program(np.float32(3))["output"]) == 7


# -- control flow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_what_is_read_as_one_number_fuses(shape: tuple[int, ...]) -> None:
    """Reshapes between one number and arrays of one element, beside reductions: looking for fusions stumbled over them."""
    x = np.full(shape, 2.0, np.float32)

    def f(x: Any) -> Any:
        return ht.grad(lambda x: ht.sum(ht.sin(ht.reshape(x, (-1,)) * x)))(x)

    np.testing.assert_allclose(ht.jit(f)(x).numpy(), np.full(shape, 4 * np.cos(4), np.float32), rtol=1e-5)


def test_cond_runs_one_branch() -> None:
    w = weight(8, 8)

    def f(x: Any, flag: Any) -> Any:
        y = x * 2
        return ht.cond(flag, lambda a: ht.softmax(a @ w), lambda a: a - x, y) + y

    program = ht.compile(f, {"x": ht.Spec((3, 8), "float32"), "flag": ht.Spec((), "bool")})
    assert sum(isinstance(s, Cond) for s in program.plan.code.entries["predict"]) == 1
    x = RNG.standard_normal((3, 8)).astype(np.float32)
    exp = np.exp(x * 2 @ w.numpy())
    np.testing.assert_allclose(
        program(x, True)["output"].numpy(), exp / exp.sum(1, keepdims=True) + 2 * x, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(program(x, False)["output"].numpy(), 3 * x, rtol=1e-6)


def test_while_loop_runs_until_its_condition_fails() -> None:
    """Collatz: as many turns as the value says, none if it starts at 1."""

    def steps(n: Any, bound: int | None = None) -> Any:
        def turn(state: Any) -> Any:
            n, count = state
            return ht.where(n % 2 == 0, n // 2, 3 * n + 1), count + 1

        return ht.while_loop(lambda s: s[0] != 1, turn, (n, ht.asarray(np.int32(0))), bound=bound)

    spec = {"n": ht.Spec((), "int32")}
    program = ht.compile(lambda n: steps(n)[1], spec)
    assert sum(isinstance(s, While) for s in program.plan.code.entries["predict"]) == 1
    assert [int(program(np.int32(n))["output"].numpy()) for n in (1, 2, 6, 27)] == [0, 1, 8, 111]
    bounded = ht.compile(lambda n: steps(n, bound=200)[1], spec)
    assert int(bounded(np.int32(27))["output"].numpy()) == 111


def test_a_loop_inside_a_branch_inside_a_loop() -> None:
    def f(x: Any) -> Any:
        def turn(i: Any, total: Any) -> Any:
            doubled = lambda t: ht.fori_loop(0, i, lambda _, u: u * 2, t)  # noqa: E731
            return ht.cond(i % 2 == 0, doubled, lambda t: t + 1, total)

        return ht.fori_loop(0, ht.asarray(x.shape[0], dtype="int32") + ht.astype(ht.min(x) * 0, "int32"), turn, x)

    x = np.arange(1, 6, dtype=np.float32)
    found = ht.compile(f, {"x": ht.Spec((5,), "float32")})(x)["output"].numpy()
    want = x
    for i in range(5):
        want = want * 2**i if i % 2 == 0 else want + 1
    np.testing.assert_array_equal(found, want)


# -- entries and outputs -----------------------------------------------------------------------------------------------------


def test_entries_share_weights_and_kernels() -> None:
    w = weight(16, 16)
    entries = {"encode": lambda x: ht.tanh(x @ w), "decode": lambda code: {"y": ht.tanh(code @ w), "norm": ht.sum(code)}}
    program = ht.compile(
        entries, {"encode": {"x": ht.Spec((2, 16), "float32")}, "decode": {"code": ht.Spec((2, 16), "float32")}}
    )
    assert list(program.entries) == ["encode", "decode"] and program.default_entry == "encode"
    assert program.memory()["weights"] < 2 * w.numpy().nbytes
    assert len(program.plan.code.kernels) == 2
    x = RNG.standard_normal((2, 16)).astype(np.float32)
    code = program(x)["output"]
    np.testing.assert_allclose(code.numpy(), np.tanh(x @ w.numpy()), rtol=1e-5, atol=1e-6)
    found = program.run("decode", code=code)
    assert list(found) == ["y", "norm"]
    np.testing.assert_allclose(found["y"].numpy(), np.tanh(code.numpy() @ w.numpy()), rtol=1e-5, atol=1e-6)


def test_outputs_may_be_inputs_constants_and_each_other() -> None:
    def f(x: Any) -> dict[str, Any]:
        y = x + 1
        return {"x": x, "y": y, "again": y, "flat": ht.reshape(y, (6,)), "c": ht.asarray(np.float32([7, 8]))}

    x = RNG.standard_normal((2, 3)).astype(np.float32)
    found = {k: v.numpy() for k, v in ht.compile(f, {"x": ht.Spec((2, 3), "float32")})(x).items()}
    for name, want in {"x": x, "y": x + 1, "again": x + 1, "flat": (x + 1).ravel(), "c": np.float32([7, 8])}.items():
        np.testing.assert_array_equal(found[name], want)


def test_outputs_of_data_dependent_size_are_trimmed() -> None:
    model = load_bytes(build([helper.make_node("NonZero", ["x"], ["y"])], [info("x", np.float32, (3, 4))], ["y"]), device="cpu")
    for share in (0.0, 0.4, 1.0):
        x = (RNG.uniform(size=(3, 4)) < share).astype(np.float32)
        found = model(x)
        assert list(found) == ["y"]
        np.testing.assert_array_equal(found["y"].numpy(), np.stack(np.nonzero(x)))


def test_results_are_the_callers() -> None:
    program = ht.compile(lambda x: x * 2, {"x": ht.Spec((3,), "float32")})
    first = program(np.float32([1, 2, 3]))["output"]
    program(np.float32([4, 5, 6]))
    np.testing.assert_array_equal(first.numpy(), [2, 4, 6])


# -- errors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, said",
    [
        (lambda p: p(y=np.zeros((2, 3), np.float32)), NameMismatch, "unknown: 'y'; missing: 'x'.*inputs are 'x'"),
        (lambda p: p(), NameMismatch, "missing: 'x'"),
        (lambda p: p(1, 2), NameMismatch, "takes 1 inputs"),
        (lambda p: p(np.zeros((3, 2), np.float32)), ShapeMismatch, r"'x' has shape \(3, 2\), expected \(2, 3\)"),
        (lambda p: p(np.zeros((2, 3), np.complex64)), DTypeMismatch, "'x' has dtype complex64, expected float32"),
        (lambda p: p.run("train"), KeyError, "no entry 'train'; this program has 'predict'"),
    ],
)  # fmt: skip
def test_calls_say_what_is_wrong(call: Callable[[Any], Any], error: type[Exception], said: str) -> None:
    program = ht.compile(lambda x: x + 1, {"x": ht.Spec((2, 3), "float32")})
    with pytest.raises(error, match=said):
        call(program)


def test_integers_that_do_not_fit_are_refused() -> None:
    program = ht.compile(lambda x: x + 1, {"x": ht.Spec((2,), "int32")})
    np.testing.assert_array_equal(program(np.array([1, 2], np.int64))["output"].numpy(), [2, 3])
    with pytest.raises(DTypeMismatch, match="4294967296, int32 holds"):
        program(np.array([1, 2**32], np.int64))


@pytest.mark.parametrize("value", [[300], [-1], [0.5], [float("nan")], [2**70], ["1"], [[1], [2, 3]]], ids=str)
def test_plain_numbers_that_the_dtype_does_not_hold_are_refused(value: Any) -> None:
    spec = ht.Spec((1,), "uint8")
    program = ht.compile(lambda x: x + 0, {"x": spec})
    model = ht.Model(lambda arrays: {"y": arrays["x"] + 0}, {"x": spec}, {"y": spec})
    for call in (program, model):
        with pytest.raises(DTypeMismatch, match="'x' takes uint8"):
            call(x=value)
        for fine in ([255], [True], [3.0], [np.int64(3)]):
            (found,) = call(x=fine).values()
            np.testing.assert_array_equal(found.numpy(), np.uint8(fine))


def test_compile_says_what_is_wrong(tmp_path: Path) -> None:
    specs = {"x": ht.Spec((2,), "float32")}
    with pytest.raises(HitherError, match="no device 'tpu'; there are"):
        ht.compile(lambda x: x, specs, device="tpu")
    for choose in (ht.set_default_device, lambda name: ht.compile(lambda x: x, specs, device=name)):
        with pytest.raises(HitherError, match=r"nothing is compiled for 'numpy'; .*model\.to\(\"numpy\"\)"):
            choose("numpy")
    with pytest.raises(CompileError, match="no precision 'float8'; there are"):
        ht.compile(lambda x: x, specs, precision="float8")
    with pytest.raises(CompileError, match=r"hither\.jit"):
        ht.compile(lambda x: x)
    with pytest.raises(CompileError, match="got int"):
        ht.compile(3, specs)  # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="free extents"):
        ht.compile(lambda x: x, {"x": ht.Spec((None, 2), "float32")})
    for write in (ht.compile, lambda f, specs: ht.bundle(f, tmp_path / "never", specs)):
        with pytest.raises(CompileError, match=r"the spec of 'x' is a hither\.Spec, .*; got a tuple, \(3, 4\)"):
            write(lambda x: x, {"x": (3, 4)})
    with pytest.raises(CompileError, match=r"got a list \(several shapes .* are for hither\.bundle"):
        ht.compile(lambda x: x, [specs])  # type: ignore[arg-type]
    for result in (None, "text", {"y": object()}):
        with pytest.raises(CompileError, match=r"the output '(output|y)' is a (NoneType|str|object), no array"):
            ht.compile(lambda x, result=result: result, specs)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_programs_say_how_they_are_shared(take: Callable[[Any], Any]) -> None:
    """Two Programs over one state by accident, or an error about locks: neither says what to do."""
    with pytest.raises(TypeError, match=r"fork\(\) gives another state .* hither\.bundle"):
        take(ht.compile(lambda x: x + 1, {"x": ht.Spec((2,), "float32")}))


# -- jit ---------------------------------------------------------------------------------------------------------------------


def test_jit_compiles_once_per_signature() -> None:
    traced = []

    @ht.jit
    def f(x: Any, scale: Any, times: int = 1) -> Any:
        traced.append(x.shape)
        for _ in range(times):
            x = {"y": x["a"] * scale if isinstance(x, dict) else x * scale}["y"]
        return x

    x = np.float32([1, 2, 3])
    for _ in range(3):
        np.testing.assert_array_equal(f(x, x).numpy(), x * x)
    assert len(traced) == 1
    f(x[:2], x[:2])  # another shape
    f(x.astype(np.int32), x.astype(np.int32))  # another dtype
    np.testing.assert_array_equal(f(x, x, times=2).numpy(), x**3)  # numbers are part of the program
    np.testing.assert_array_equal(f(x, 2.0).numpy(), x * 2)
    np.testing.assert_array_equal(f(x, 3.0).numpy(), x * 3)
    assert len(traced) == 6
    f(x, 3.0)
    assert len(traced) == 6


def test_jit_keeps_the_structure_of_arguments_and_results() -> None:
    @ht.jit
    def f(tree: Any) -> Any:
        return {"sum": tree["a"] + tree["b"][0], "pair": (tree["a"], [tree["b"][1] * 2, None, "text"])}

    a, b, c = (np.float32([n]) for n in (1, 2, 3))
    found = f({"a": a, "b": [b, c]})
    assert float(found["sum"][0]) == 3 and float(found["pair"][0][0]) == 1
    doubled, nothing, text = found["pair"][1]
    assert float(doubled[0]) == 6 and nothing is None and text == "text"


def test_jit_tells_equal_numbers_apart_that_make_different_programs() -> None:
    one = np.float32([1])
    divided = ht.jit(lambda x, c: x / c)
    assert float(divided(one, 0.0)[0]) == np.inf and float(divided(one, -0.0)[0]) == -np.inf
    scaled = ht.jit(lambda x, by: x * by[0], static_argnames=["by"])
    whole = np.int32([1])
    assert scaled(whole, by=(1,)).dtype == ht.int32 and scaled(whole, by=(1.0,)).dtype == ht.float32
    for _ in range(3):
        divided(one, float("nan"))
    assert len(divided.programs) == 3, "a NaN is compiled once"  # type: ignore[attr-defined]


def test_jit_takes_static_arguments_by_position() -> None:
    cast = ht.jit(lambda x, to, *, by=1: ht.astype(x * by, to), static_argnames=["to"])
    x = np.int32([1, 2])
    assert cast(x, ht.float32).dtype == cast(x, to=ht.float32, by=2).dtype == ht.float32
    assert cast(x, ht.int8).dtype == ht.int8
    with pytest.raises(ValueError, match=r"'axes'.*takes 'x'"):
        ht.jit(lambda x: x, static_argnames=["axes"])


def test_jit_inside_a_trace_is_inlined() -> None:
    inner = ht.jit(lambda x: ht.exp(x))
    plan = planned(lambda x: inner(x) * 2 + inner(x), x=(4,))
    assert len(launches(plan)) == 1
    assert not inner.programs  # type: ignore[attr-defined]


# -- placing -----------------------------------------------------------------------------------------------------------------

LIVES = st.builds(lambda n, b, d: Life(n * ALIGN, b, b + d), st.integers(0, 20), st.integers(0, 15), st.integers(0, 8))


@given(st.lists(LIVES, max_size=30))
def test_placed_values_never_overlap_while_both_live(lives: list[Life]) -> None:
    offsets, size = place(lives)
    assert most_alive(lives) <= size <= sum(x.nbytes for x in lives)
    taken = np.full((32, max(size // ALIGN, 1)), -1)
    for i, (life, offset) in enumerate(zip(lives, offsets, strict=True)):
        cells = taken[life.birth : life.death + 1, offset // ALIGN : (offset + life.nbytes) // ALIGN]
        assert cells.size == (life.death - life.birth + 1) * (life.nbytes // ALIGN) and (cells == -1).all()
        cells[...] = i
