"""ONNX out: every row of the op table, written and run by ONNX Runtime, against the NumPy evaluation; and whole models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import hither as ht
from hither.errors import UnsupportedOperators
from hither.formats.onnx import load_bytes, save
from hither.formats.onnx.export import export

from .op_case import Op, check, flat_results
from .op_table import cases
from .targets import oracle

# rows whose primitives have no counterpart in ONNX
NOT_IN_ONNX = ("bitcast", "conv_filter_gradient", "pool_gradient", "dequantize", "round_to_bytes")
# ONNX leaves open what a NaN does in ReduceMax and ReduceMin; ONNX Runtime loses some
LOSES_NAN = ("max_nan",)
CASES = [c for c in cases() if c[2] in ("float32", "int32", "bool") and c[1].name not in LOSES_NAN]


def run(proto: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    return session.run(None, {k: v for k, v in feeds.items() if k in wanted})


@pytest.mark.parametrize(("row", "dtype"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_op_table_through_onnx_runtime(row: Op, dtype: str) -> None:
    arrays = row.arrays(dtype)
    names = [f"x{i}" for i in range(len(arrays))]
    specs = {n: ht.Spec(a.shape, a.dtype) for n, a in zip(names, arrays)}
    try:
        proto = export(lambda *xs: tuple(flat_results(row.function(*xs))), specs)
    except UnsupportedOperators as error:
        assert {name for _, name, _ in error.operators} <= set(NOT_IN_ONNX)
        return
    got = run(proto, dict(zip(names, arrays)))
    for result, expected in zip(got, oracle(row.function, arrays), strict=True):
        check(np.asarray(result).astype(expected.dtype), expected, row.tolerance, factor=4)


LEAST = np.iinfo(np.int32).min


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [
        (ht.negative, [np.uint8([0, 1, 200])], np.uint8([0, 255, 56])),
        (ht.isinf, [np.float16([1, -np.inf, np.nan])], np.array([False, True, False])),
        (ht.log1p, [np.float16([0, 1, 65504, np.inf])], np.log1p(np.float16([0, 1, 65504, np.inf]))),
        (ht.expm1, [np.float16([0, 1, 10])], np.expm1(np.float16([0, 1, 10]))),
        (ht.matmul, [np.uint8([[100, 200]]), np.uint8([[7], [9]])], np.uint8([[(700 + 1800) % 256]])),
        (ht.truncated_divide, [np.int32([7, -7, LEAST, 5]), np.int32([0, 2, -1, -1])], np.int32([0, -3, LEAST, -5])),
        (ht.fmod, [np.int32([7, -7, LEAST, 5]), np.int32([0, 2, -1, -1])], np.int32([0, -1, 0, 0])),
        (ht.bitwise_right_shift, [np.int64([-5, 5, -5, 5]), np.int64([63, 63, -1, 1])], np.int64([-1, 0, -1, 2])),
        (ht.bitwise_left_shift, [np.uint8([3, 3, 3]), np.uint8([7, 8, 0])], np.uint8([128, 0, 3])),
    ],
    ids=["negative", "isinf", "log1p", "expm1", "matmul", "divide", "fmod", "right", "left"],
)  # fmt: skip
def test_halves_and_integers_at_their_ends(function: Any, arrays: list[np.ndarray], expected: np.ndarray) -> None:
    """What ONNX Runtime refuses (halves, unsigned numbers), stops at (division by zero) or leaves to the processor."""
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    proto = export(function, {n: ht.Spec(a.shape, a.dtype) for n, a in feeds.items()})
    back = load_bytes(proto.SerializeToString()).to("numpy")(feeds)
    for got in (run(proto, feeds)[0], next(iter(back.values())).numpy()):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=2e-3)


def test_a_network_keeps_its_names_and_weights(tmp_path: Path) -> None:
    net = ht.nn.Sequential([ht.nn.Input((4,), name="features"), ht.nn.Dense(3, activation="softmax", name="scores")])
    save(net, tmp_path / "net.onnx", {"features": ht.Spec((2, 4))})
    proto = onnx.load(tmp_path / "net.onnx")
    assert [i.name for i in proto.graph.input] == ["features"] and [o.name for o in proto.graph.output] == ["scores"]
    assert {"scores.kernel", "scores.bias"} <= {i.name for i in proto.graph.initializer}
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    expected = net(x).numpy()
    np.testing.assert_allclose(run(proto, {"features": x})[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ht.load(tmp_path / "net.onnx")(features=x)["scores"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_outputs_of_run_time_size_are_trimmed() -> None:
    x = np.array([[0, 2, 0], [3, 0, 4]], np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NonZero", ["x"], ["where"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])],
        [onnx.helper.make_tensor_value_info("where", onnx.TensorProto.INT64, [2, "n"])],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    model = load_bytes(made.SerializeToString())
    np.testing.assert_array_equal(run(export(model), {"x": x})[0], np.array(np.nonzero(x)))


def test_what_onnx_cannot_say_is_named() -> None:
    with pytest.raises(UnsupportedOperators, match="bitcast"):
        export(lambda x: ht.bitcast(x, "int32"), {"x": ht.Spec((2,))})
