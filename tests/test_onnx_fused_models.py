"""Whole transformers as ONNX Runtime's own tools leave them: fused by its optimiser, quantised by its quantisers.

A failure means that such files, which are what is published for ONNX Runtime, are not read or give other numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.onnx_model_bert import BertOnnxModel

from hither.formats.onnx import load_bytes

from .onnx_build import build, expected, helper, info

WORDS, PLACES, WIDTH, HEADS, INNER = 40, 12, 32, 2, 64


class Encoder:
    """A small BERT, node by node as PyTorch writes it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.count = 0

    def weight(self, *shape: int) -> str:
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def constant(self, value: Any) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.weights[name] = np.asarray(value)
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        self.count += 1
        name = name or f"v{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{self.count}", **attributes))
        return name

    def norm(self, x: str, name: str = "") -> str:
        scale, shift = (self.constant(self.rng.standard_normal(WIDTH).astype(np.float32)) for _ in range(2))
        return self.op("LayerNormalization", x, scale, shift, name=name, axis=-1, epsilon=1e-12)

    def dense(self, x: str, inner: int, outer: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(inner, outer)), self.weight(outer))

    def attention(self, x: str, mask: str) -> str:
        split = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS]))

        def heads(order: list[int]) -> str:
            return self.op("Transpose", self.op("Reshape", self.dense(x, WIDTH, WIDTH), split), perm=order)

        q, k, v = heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3])
        scores = self.op("Div", self.op("MatMul", q, k), self.constant(np.float32(np.sqrt(WIDTH // HEADS))))
        weights = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.dense(self.op("Reshape", mixed, self.constant(np.array([0, 0, WIDTH]))), WIDTH, WIDTH)

    def gelu(self, x: str) -> str:
        error = self.op("Erf", self.op("Div", x, self.constant(np.float32(np.sqrt(2)))))
        product = self.op("Mul", x, self.op("Add", error, self.constant(np.float32(1))))
        return self.op("Mul", product, self.constant(np.float32(0.5)))

    def written(self, layers: int = 2) -> bytes:
        words = self.op("Gather", self.weight(WORDS, WIDTH), "input_ids")
        kinds = self.op("Gather", self.weight(2, WIDTH), "token_type_ids")
        places = self.op("Gather", self.weight(PLACES, WIDTH), self.constant(np.arange(PLACES)[None]))
        x = self.norm(self.op("Add", self.op("Add", words, kinds), places))
        apart = self.op("Unsqueeze", self.op("Unsqueeze", "attention_mask", self.constant([1])), self.constant([2]))
        hidden = self.op("Sub", self.constant(np.float32(1)), self.op("Cast", apart, to=onnx.TensorProto.FLOAT))
        mask = self.op("Mul", hidden, self.constant(np.float32(-10000)))
        for layer in range(layers):
            x = self.norm(self.op("Add", self.attention(x, mask), x))
            inner = self.gelu(self.dense(x, WIDTH, INNER))
            x = self.norm(self.op("Add", self.dense(inner, INNER, WIDTH), x), "last" if layer == layers - 1 else "")
        inputs = [info(n, np.int64, ["batch", PLACES]) for n in ("input_ids", "token_type_ids", "attention_mask")]
        return build(self.nodes, inputs, ["last"], self.weights)


def feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    mask = (np.arange(PLACES) < np.array([[PLACES], [7]])).astype(np.int64)
    return {"input_ids": rng.integers(0, WORDS, (2, PLACES)), "token_type_ids": (mask - 1) ** 2, "attention_mask": mask}


def original(folder: Path) -> Path:
    path = folder / "original.onnx"
    path.write_bytes(Encoder().written())
    return path


def optimised(path: Path) -> Path:
    """As a session writes its graph when it has optimised it."""
    options, result = ort.SessionOptions(), path.with_suffix(".optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(result), 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return result


def fused(path: Path) -> Path:
    """As onnxruntime.transformers.optimizer fuses a BERT, but for what needs the package that infers shapes for it."""
    model = BertOnnxModel(onnx.load(path), HEADS, WIDTH)
    model.infer_runtime_shape = lambda *_, **__: None
    model.optimize(FusionOptions("bert"))
    result = path.with_suffix(".fused.onnx")
    model.save_model_to_file(str(result))
    return result


def quantised(path: Path) -> Path:
    result = path.with_suffix(".quantised.onnx")
    quantize_dynamic(path, result, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return result


def four_bits(path: Path, block: int = 16) -> Path:
    """Every product with a weight as MatMulNBits, as onnxruntime.quantization writes it."""
    model, result = onnx.load(path), path.with_suffix(".four.onnx")
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        matrix = weights[node.input[1]].T
        columns, rows = matrix.shape
        apart = matrix.reshape(columns, rows // block, block)
        scales = np.abs(apart).max(-1, keepdims=True) / 7
        values = np.clip(np.round(apart / scales) + 8, 0, 15).astype(np.uint8)
        names = [f"{node.name}.{part}" for part in ("packed", "scales")]
        for name, array in zip(names, (values[..., ::2] | values[..., 1::2] << 4, scales[..., 0])):
            model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        changed = helper.make_node(
            "MatMulNBits", [node.input[0], *names], list(node.output), name=node.name, domain="com.microsoft",
            K=rows, N=columns, bits=4, block_size=block,
        )  # fmt: skip
        node.CopyFrom(changed)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, result)
    return result


FILES: dict[str, tuple[list[Callable[[Path], Path]], dict[str, int], float]] = {
    "optimised": ([optimised], {"SkipLayerNormalization": 4, "BiasGelu": 2, "FusedMatMul": 2}, 1e-4),
    "fused": ([fused, optimised], {"SkipLayerNormalization": 4, "BiasGelu": 2, "Attention": 2}, 1e-4),
    # A value at the edge of two bytes may round to either.
    "quantised": ([quantised, optimised], {"DynamicQuantizeMatMul": 6, "MatMulIntegerToFloat": 6, "Gelu": 2}, 0.05),
    "fused and quantised": ([fused, quantised, optimised], {"QAttention": 2, "SkipLayerNormalization": 4}, 0.05),
    "four bits": ([four_bits], {"MatMulNBits": 12}, 1e-3),
}


@pytest.mark.parametrize("name", FILES)
def test_a_transformer_as_onnx_runtime_leaves_it(name: str, tmp_path: Path) -> None:
    steps, wanted, tolerance = FILES[name]
    path = original(tmp_path)
    for step in steps:
        path = step(path)
    data, given = path.read_bytes(), feeds()
    found = Counter(n.op_type for n in onnx.load(path).graph.node if n.domain == "com.microsoft")
    assert {n: found[n] for n in wanted} == wanted
    want = expected(data, given)[0]
    for device in ("numpy", "cpu"):
        got = np.asarray(next(iter(load_bytes(data, device=device)(given).values())))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=device)
