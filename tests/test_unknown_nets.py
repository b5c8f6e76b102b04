"""What other exporters' networks do that those in tests/models.py do not: one small network for each thing that once broke."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import hither as ht


def test_a_bias_is_quantised_by_one_scale_of_shape_1(tmp_path: Path) -> None:
    """ONNX Runtime's static quantisation stores a bias as int32 [n] with a scale of shape [1], and leaves axis at 1."""
    bias = np.array([40, -7, 300], np.int32)
    node = helper.make_node("DequantizeLinear", ["bias", "scale", "zero"], ["b"])
    weights = {"bias": bias, "scale": np.array([0.5], np.float32), "zero": np.array(0, np.int32)}
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["x", "b"], ["y"])],
        "quantised_bias",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    path = tmp_path / "bias.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(ht.load(path)(x)["y"].numpy(), x + bias * np.float32(0.5))
