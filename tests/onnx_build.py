"""Small ONNX models for tests, and the same inputs run through hither and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from hither.formats.onnx import load_bytes
from hither.model import Model

Arrays = Mapping[str, np.ndarray]
IR_VERSION = 8


def info(name: str, dtype: Any = np.float32, shape: Sequence[Any] | None = ()) -> onnx.ValueInfoProto:
    """The type of an input or output."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def untyped(*names: str) -> list[onnx.ValueInfoProto]:
    """Outputs whose type is to be inferred; "name:float32" says it where no schema does."""
    parts = [name.partition(":") for name in names]
    return [info(name, dtype, None) if dtype else onnx.ValueInfoProto(name=name) for name, _, dtype in parts]


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    constants: Arrays | None = None,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    """A serialised model."""
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "test", list(inputs), untyped(*outputs), tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    model.ir_version = IR_VERSION
    return model.SerializeToString()


def one_node(
    op_type: str, arrays: Sequence[Any], outputs: int = 1, opset: int = 17, known: Sequence[int] = (), domain: str = "",
    unwanted: Sequence[int] = (), typed: Sequence[int] = (), **attributes: Any,
) -> bytes:  # fmt: skip
    """A model of one node. `known` are the positions of operands that are constants; None operands are left out, as are
    the results at `unwanted` positions. No schema gives the type of those at `typed` positions: they are float32."""
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    wanted = ["" if i in unwanted else f"y{i}" for i in range(outputs)]
    results = [f"{name}:float32" if i in typed else name for i, name in enumerate(wanted) if name]
    node = helper.make_node(op_type, names, wanted, name="node", domain=domain, **attributes)
    given = {n: np.asarray(a) for n, a in zip(names, arrays) if n}
    inputs = [info(n, a.dtype, a.shape) for n, a in given.items() if int(n[1:]) not in known]
    constants = {n: a for n, a in given.items() if int(n[1:]) in known}
    return build([node], inputs, results, constants, opset, {domain: 1} if domain else None)


def hither_model(data: bytes) -> Model:
    """The model on the NumPy evaluator."""
    return load_bytes(data, device="numpy")


def expected(data: bytes, inputs: Arrays) -> list[np.ndarray]:
    """What ONNX Runtime gives, unoptimised."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, dict(inputs))


def check(data: bytes, inputs: Arrays, rtol: float = 1e-4, atol: float = 1e-5) -> list[np.ndarray]:
    """Assert that hither gives what ONNX Runtime gives; returns it."""
    got = [np.asarray(a) for a in hither_model(data)(dict(inputs)).values()]
    want = expected(data, inputs)
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)
    return got


def fed(arrays: Sequence[Any], known: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """The inputs of a model that `one_node` made of these operands."""
    return {f"x{i}": np.asarray(a) for i, a in enumerate(arrays) if a is not None and i not in known}


def check_node(
    op_type: str, arrays: Sequence[Any], outputs: int = 1, opset: int = 17, known: Sequence[int] = (), rtol: float = 1e-4,
    atol: float = 1e-5, **attributes: Any,
) -> None:  # fmt: skip
    """Compare one node with ONNX Runtime."""
    check(one_node(op_type, arrays, outputs, opset, known, **attributes), fed(arrays, known), rtol, atol)


__all__ = ["TensorProto", "build", "check", "check_node", "expected", "fed", "helper", "hither_model", "info", "one_node"]
