"""Networks whose architecture is public and whose weights do not matter to a clock: built here, with seeded weights.

MobileNetV2 is a list of layers first, so that peers without an ONNX reader can be given the same network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Convolution:
    """A convolution with bias, padded by half its kernel on each side; `skip` adds the value that many layers before."""

    channels: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    clipped: bool = True  # to 0…6
    skip: int = 0

    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.channels // self.groups, self.kernel, self.kernel)


MOBILENET_CLASSES = 1000
# expansion, output channels, repeats, stride of the first: table 2 of the paper (Sandler et al. 2018, arXiv 1801.04381)
_MOBILENET_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_layers() -> list[Convolution]:
    """The convolutions of MobileNetV2-1.0, batch norms folded; global average pooling and a dense layer follow."""
    layers = [Convolution(3, 32, 3, 2)]
    channels = 32
    for expansion, outputs, repeats, stride in _MOBILENET_STAGES:
        for i in range(repeats):
            wide, step = channels * expansion, stride if i == 0 else 1
            if expansion != 1:
                layers.append(Convolution(channels, wide))
            layers.append(Convolution(wide, wide, 3, step, wide))
            skip = 3 if step == 1 and channels == outputs else 0
            layers.append(Convolution(wide, outputs, clipped=False, skip=skip))
            channels = outputs
    return [*layers, Convolution(channels, 1280)]


def mobilenet_weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each convolution, then of the dense layer; scaled so that activations keep their magnitude."""
    rng = np.random.default_rng(0)
    made = []
    for shape in [*(layer.weight_shape() for layer in mobilenet_layers()), (MOBILENET_CLASSES, 1280)]:
        weight = rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
        made.append((weight.astype(np.float32), (rng.normal(size=shape[0]) * 0.1).astype(np.float32)))
    return made


@dataclass
class _OnnxGraph:
    """Nodes and initializers under construction."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        from onnx import helper

        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def model(
        self, inputs: dict[str, tuple[tuple[int, ...], str]], output: tuple[str, str, tuple[int, ...]], opset: int
    ) -> Any:
        from onnx import TensorProto, helper

        value, name, shape = output
        self.nodes[[n.output[0] for n in self.nodes].index(value)].output[0] = name
        kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        ports = [helper.make_tensor_value_info(n, kinds[d], s) for n, (s, d) in inputs.items()]
        result = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "net", ports, result, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def mobilenet_v2(size: int = 224) -> Any:
    """MobileNetV2-1.0 as an ONNX ModelProto: image f32[1,3,size,size] → scores f32[1,1000]."""
    graph, weights = _OnnxGraph(), mobilenet_weights()
    low, high = graph.constant(np.float32(0)), graph.constant(np.float32(6))
    values = ["image"]
    for layer, (weight, bias) in zip(mobilenet_layers(), weights, strict=False):
        shape = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "pads": [layer.kernel // 2] * 4}
        value = graph.node("Conv", values[-1], weight, bias, group=layer.groups, **shape)
        if layer.clipped:
            value = graph.node("Clip", value, low, high)
        if layer.skip:
            value = graph.node("Add", value, values[-layer.skip])
        values.append(value)
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", values[-1]))
    scores = graph.node("Gemm", pooled, *weights[-1], transB=1)
    return graph.model({"image": ((1, 3, size, size), "float32")}, (scores, "scores", (1, MOBILENET_CLASSES)), 13)


def bert_encoder(sequence: int, layers: int = 6, width: int = 384, heads: int = 12, vocabulary: int = 30522) -> Any:
    """A BERT encoder as an ONNX ModelProto, its defaults being MiniLM-L6's (Wang et al. 2020, arXiv 2002.10957).

    input_ids, attention_mask: i64[1,sequence] → last_hidden_state f32[1,sequence,width].
    """
    graph, rng = _OnnxGraph(), np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * (shape[0] ** -0.5 if len(shape) == 2 else 0.02)).astype(np.float32)

    def dense(x: str, columns: int, rows: int = width) -> str:
        return graph.node("Add", graph.node("MatMul", x, weight(rows, columns)), weight(columns))

    def norm(x: str) -> str:
        return graph.node("LayerNormalization", x, 1 + weight(width), weight(width), axis=-1, epsilon=1e-12)

    def split(x: str, order: list[int]) -> str:
        shape = np.array([1, sequence, heads, width // heads], np.int64)
        return graph.node("Transpose", graph.node("Reshape", x, shape), perm=order)

    words = graph.node("Gather", weight(vocabulary, width), "input_ids")
    x = norm(graph.node("Add", words, weight(1, sequence, width)))
    seen = graph.node("Cast", graph.node("Unsqueeze", "attention_mask", np.array([1, 2], np.int64)), to=1)
    mask = graph.node("Mul", graph.node("Sub", np.float32(1), seen), np.float32(-10000))
    for _ in range(layers):
        query, key, value = (dense(x, width) for _ in range(3))
        product = graph.node("MatMul", split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
        scaled = graph.node("Div", product, np.float32((width // heads) ** 0.5))
        attention = graph.node("Softmax", graph.node("Add", scaled, mask), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", attention, split(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        joined = graph.node("Reshape", mixed, np.array([1, sequence, width], np.int64))
        x = norm(graph.node("Add", dense(joined, width), x))
        hidden = dense(x, 4 * width)
        error = graph.node("Erf", graph.node("Div", hidden, np.float32(2**0.5)))  # GELU, written out as exporters do
        gelu = graph.node("Mul", graph.node("Mul", hidden, graph.node("Add", error, np.float32(1))), np.float32(0.5))
        x = norm(graph.node("Add", dense(gelu, width, 4 * width), x))
    ids = {name: ((1, sequence), "int64") for name in ("input_ids", "attention_mask")}
    return graph.model(ids, (x, "last_hidden_state", (1, sequence, width)), 17)
