"""Arrays that live on the GPU: operations, programs and gradients follow them there; elements are fetched when looked at."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import DTypeMismatch, ShapeMismatch, UnsupportedFeature
from hither.program import eager
from hither.runtime import webgpu, webgpu_device

pytestmark = pytest.mark.gpu

X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4) / 4
W = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


@pytest.fixture
def x() -> Any:
    return ht.asarray(X).to_device("webgpu")


def test_arrays_go_and_come_back(x: Any) -> None:
    assert (x.device, x.shape, x.dtype, x.nbytes, x.ndim) == ("webgpu", (3, 4), ht.float32, 48, 2)
    assert x.to_device("webgpu") is x
    back = x.to_device("cpu")
    assert back.device == "cpu"
    np.testing.assert_array_equal(back.numpy(), X)
    np.testing.assert_array_equal(np.asarray(x), X)
    for kind in ("int64", "uint8", "bool", "float16", "int32"):
        a = (np.arange(5) % 2).astype(kind)
        there = ht.asarray(a).to_device("webgpu")
        assert there.numpy().dtype == a.dtype
        np.testing.assert_array_equal(there.numpy(), a)
    assert ht.zeros((0, 3)).to_device("webgpu").numpy().shape == (0, 3)


def test_operations_run_where_their_operands_are(x: Any) -> None:
    """Against NumPy; a host operand comes along."""
    w = ht.asarray(W)
    for got, expected in (
        (x * 2 + 1, X * 2 + 1),
        (x @ w, X @ W),
        (ht.sum(ht.exp(x), axis=0), np.exp(X).sum(0)),
        (x.T[1:, 0], X.T[1:, 0]),
        (ht.where(x > 0, x, 0.0), np.where(X > 0, X, 0)),
        (ht.argmax(x, axis=1), X.argmax(1)),
        (ht.concat([x, x], axis=1), np.concatenate([X, X], 1)),
    ):
        assert got.device == "webgpu"
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert float(ht.sum(x)) == pytest.approx(float(X.sum()))
    assert bool(ht.all(x < 9))


def test_an_operation_is_compiled_once(x: Any) -> None:
    x + x  # so that this one is there
    count = len(eager._programs)
    y = x + 3.0
    for value in (1.0, 2.0, -0.0):
        y = x + value
    assert len(eager._programs) <= count + 1  # whatever the number, which goes over as one element
    np.testing.assert_array_equal(y.numpy(), X)


def test_a_function_is_compiled_once(x: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transforms trace anew in each call gives equal Graphs, and equal Graphs are one program."""
    forgetful = ht.checkpoint(lambda a: ht.sin(ht.sin(a)) * 2)
    ruled = ht.custom_gradient(lambda a: (ht.exp(a), lambda g: ht.clip(g, -1.0, 1.0)))
    product = lambda a: ht.scan(lambda carry, row: (carry * row, carry), a[0], a)[0]  # noqa: E731
    doubled = lambda a: ht.while_loop(lambda b: ht.max(b) < 5, lambda b: b * 2 + 1, a, bound=5)  # noqa: E731
    once = lambda: [  # noqa: E731
        forgetful(x), ruled(x), ht.grad(lambda a: ht.sum(forgetful(a)))(x), ht.grad(lambda a: ht.sum(ruled(a)))(x),
        ht.grad(lambda a: ht.sum(product(a)))(x), ht.vmap(doubled)(x), ht.vmap(forgetful)(x),
    ]  # fmt: skip
    first = once()
    monkeypatch.setattr(eager, "_compile", lambda primitive, *rest: pytest.fail(f"{primitive} is compiled again"))
    for one, other in zip(first, once(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    monkeypatch.undo()
    np.testing.assert_allclose(first[0].numpy(), 2 * np.sin(np.sin(X)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        ht.checkpoint(lambda a: ht.sin(ht.sin(a)) * 3)(x).numpy(), 3 * np.sin(np.sin(X)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(first[3].numpy(), np.ones_like(X), rtol=1e-6)


def test_programs_leave_results_where_their_inputs_were(x: Any) -> None:
    program = ht.compile(lambda x: {"y": x @ W, "n": ht.sum(x)}, {"x": ht.Spec(X.shape, "float32")}, device="webgpu")
    there, here = program(x), program(X)
    assert {a.device for a in there.values()} == {"webgpu"} and {a.device for a in here.values()} == {"cpu"}
    np.testing.assert_allclose(there["y"].numpy(), X @ W, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(here["y"].numpy(), X @ W, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeMismatch, match=r"'x' has shape \(4, 3\), expected \(3, 4\)"):
        program(x.T)
    native = ht.compile(lambda x: x + 1, {"x": ht.Spec(X.shape, "float32")}, device="cpu")
    np.testing.assert_array_equal(native(x)["output"].numpy(), X + 1)  # fetched
    state = ht.compile(
        lambda s, x: ({"y": s["t"] + x}, {"t": s["t"] + x}),
        {"x": ht.Spec(X.shape, "float32")},
        device="webgpu",
        state={"t": X},
    )
    state(x)
    np.testing.assert_array_equal(state(x)["y"].numpy(), 3 * X)


def test_arrays_come_and_go_in_pieces() -> None:
    """As they do where a region lies in several buffers: nothing of a later piece goes where the first one lies."""
    data = np.arange(300, dtype=np.float32)
    x = ht.asarray(data).to_device("webgpu")
    program = ht.compile(lambda x: x * 2, {"x": ht.Spec((300,), "float32")}, device="webgpu")
    plan = program.session.executable.plan
    locate = plan.locate

    def pieces(ref: Any) -> list[tuple[int, int, int]]:
        (found,) = locate(ref)
        buffer, offset, nbytes = found
        return [(buffer, offset + at, min(256, nbytes - at)) for at in range(0, nbytes, 256)]

    plan.locate = pieces
    np.testing.assert_array_equal(program(x)["output"].numpy(), 2 * data)


def test_results_do_not_change_when_the_program_runs_again(x: Any) -> None:
    program = ht.compile(lambda x: x * 2, {"x": ht.Spec(X.shape, "float32")}, device="webgpu")
    results = [program(x + float(i))["output"] for i in range(4)]
    for i, result in enumerate(results):
        np.testing.assert_allclose(result.numpy(), (X + i) * 2, rtol=1e-6)


def test_jit_and_gradients_follow(x: Any) -> None:
    doubled = ht.jit(lambda a: a * a)(x)
    assert doubled.device == "webgpu"
    np.testing.assert_allclose(doubled.numpy(), X * X, rtol=1e-6)
    slope = ht.grad(lambda a: ht.sum(a * a * a))(x)
    assert slope.device == "webgpu"
    np.testing.assert_allclose(slope.numpy(), 3 * X * X, rtol=1e-5)


def test_assignment_changes_one_array(x: Any) -> None:
    y = ht.asarray(x, copy=True)
    y[0, 0] = 9
    assert y.device == "webgpu" and float(y[0, 0]) == 9
    np.testing.assert_array_equal(x.numpy(), X)


def test_what_the_gpu_lacks_is_refused_by_name(x: Any) -> None:
    with pytest.raises(DTypeMismatch, match="float64"):
        ht.asarray(np.ones(2)).to_device("webgpu")
    with pytest.raises(UnsupportedFeature, match="float64"):
        x.astype("float64")
    with pytest.raises(BufferError, match="to_device"):
        x.__dlpack_device__()
    with pytest.raises(ValueError, match="'cpu' or 'webgpu'"):
        x.to_device("tpu")


def test_arrays_of_a_lost_device_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webgpu_device, "_device", None)  # a device of its own: other tests keep theirs
    monkeypatch.setattr(eager, "_programs", type(eager._programs)())
    lost = ht.asarray(X).to_device("webgpu")
    lost.tensor.on.handle.destroy()
    with pytest.raises(webgpu.DeviceLost):
        lost.numpy()
    with pytest.raises(webgpu.DeviceLost, match="make the array again"):
        lost + 1
    np.testing.assert_array_equal((ht.asarray(X).to_device("webgpu") + 1).numpy(), X + 1)


def test_arrays_are_made_and_copied_there(x: Any) -> None:
    """`device=` of the functions that make arrays; copies and pickles."""
    there = {"device": "webgpu"}
    for made in (ht.asarray([1, 2], **there), ht.zeros(2, **there), ht.asarray(x, dtype="int32", **there)):
        assert made.device == "webgpu"
    assert ht.asarray(x, device="cpu").device == "cpu"
    with pytest.raises(ValueError, match="copy=False"):
        ht.asarray(x, device="cpu", copy=False)
    for again in (copy.copy(x), copy.deepcopy({"x": x})["x"], pickle.loads(pickle.dumps(x))):
        assert again.device == "webgpu" and np.array_equal(again.numpy(), x.numpy())


def test_linear_algebra_stays_where_its_operands_are() -> None:
    """Factorisations of an array on the GPU were computed on the CPU, and came back there without a word."""
    a = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    there = ht.asarray(a).to_device("webgpu")
    q, r = ht.linalg.qr(there)
    det, inverse = ht.linalg.det(there), ht.linalg.inv(there)
    assert {x.device for x in (q, r, det, inverse)} == {"webgpu"}
    np.testing.assert_allclose((q @ r).numpy(), a, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(det.numpy(), np.linalg.det(a), rtol=1e-4)
    np.testing.assert_allclose(inverse.numpy(), np.linalg.inv(a), rtol=1e-3, atol=1e-4)
