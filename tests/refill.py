"""Give ONNX's `light` networks weights worth comparing.

Those graphs (AlexNet, ResNet-50, DenseNet…) make every weight by ConstantOfShape, so that all outputs are equal and a
wrong permutation, stride or group would pass. `refill` replaces each by values from a seeded generator, spread so that
activations neither vanish nor explode (after He et al. 2015, arXiv 1502.01852), and scales the classifier so that its softmax
does not saturate: saturated outputs would hide errors as well.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

# A constant reaches its use through these, in DenseNet's scale and shift and in Inception's classifier.
_PASSING = {"Unsqueeze", "Reshape"}


def refill(model: onnx.ModelProto, seed: str) -> onnx.ModelProto:
    """Return the model with its ConstantOfShape weights drawn from a generator seeded by `seed`."""
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    graph = filled.graph
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for place, operand in enumerate(node.input):
            uses.setdefault(operand, []).append((node, place))

    weights: dict[str, NDArray[np.float32]] = {}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        shape = tuple(int(n) for n in numpy_helper.to_array(shapes[node.input[0]]))
        user, place = _use(node.output[0], uses)
        weights[node.output[0]] = _draw(user, place, shape, rng)
        graph.node.remove(node)
    for shape_name in {name for name in shapes if name in uses and _only_shapes(uses[name])}:
        graph.initializer.remove(shapes[shape_name])
        for value in [value for value in graph.input if value.name == shape_name]:
            graph.input.remove(value)

    classifier = next(node for node in reversed(graph.node) if node.op_type in ("Conv", "Gemm"))
    scaled = [name for operand in classifier.input[1:] if (name := _source(operand, graph, weights)) is not None]
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    spread = _spread(filled, classifier.output[0])
    by_name = {tensor.name: tensor for tensor in graph.initializer}
    for name in scaled:
        by_name[name].CopyFrom(numpy_helper.from_array(weights[name] / np.float32(spread), name))
    return filled


def _only_shapes(users: list[tuple[onnx.NodeProto, int]]) -> bool:
    return all(node.op_type == "ConstantOfShape" for node, _ in users)


def _use(name: str, uses: dict[str, list[tuple[onnx.NodeProto, int]]]) -> tuple[onnx.NodeProto, int]:
    """The node, and its operand's place, that a constant is meant for."""
    node, place = uses[name][0]
    return _use(node.output[0], uses) if node.op_type in _PASSING else (node, place)


def _source(name: str, graph: onnx.GraphProto, weights: dict[str, NDArray[np.float32]]) -> str | None:
    """The refilled weight behind an operand, seen through reshapes."""
    if name in weights:
        return name
    for node in graph.node:
        if name in node.output and node.op_type in _PASSING:
            return _source(node.input[0], graph, weights)
    return None


def _draw(user: onnx.NodeProto, place: int, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    normal = rng.standard_normal(shape, np.float32)
    match user.op_type, place:
        case (("Conv" | "Gemm"), 1):
            transposed = any(a.name == "transB" and a.i for a in user.attribute) or user.op_type == "Conv"
            fan_in = math.prod(shape[1:]) if transposed else shape[0]
            axes = tuple(range(1, len(shape))) if transposed else (0,)
            # Filters that sum to zero do not see the mean that ReLU leaves behind; otherwise it grows from layer to
            # layer until the output is the same for every picture. What is left of the variance is 1/2 - 1/(2 pi).
            normal -= normal.mean(axes, keepdims=True)
            return normal * np.float32(math.sqrt(1 / (0.5 - 0.5 / math.pi) / fan_in))
        case (("Conv" | "Gemm"), 2) | ("BatchNormalization", 2 | 3) | ("Add", _):
            return normal * np.float32(0.1)
        case ("BatchNormalization", 1 | 4) | ("Mul", _):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    raise ValueError(f"no rule to refill operand {place} of {user.op_type} {user.name!r}")


def _spread(model: onnx.ModelProto, name: str) -> float:
    """The standard deviation of one intermediate value on a random picture."""
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.add().name = name
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    picture = session.get_inputs()[0]
    values = np.random.default_rng(0).uniform(0, 1, picture.shape).astype(np.float32)
    return float(np.std(session.run([name], {picture.name: values})[0]))
