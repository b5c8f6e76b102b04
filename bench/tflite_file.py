"""MobileNetV2 as a TensorFlow Lite file, for peers that read nothing else: the layers of bench.topologies, channels last.

Strided layers are padded explicitly, as converters from PyTorch do: TFLite's own "same" padding would shift the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite

from . import topologies

SAME, VALID, RELU6, NONE = 0, 1, 3, 0


class _File:
    """Tensors, buffers and operators on their way into one flatbuffer."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 24)
        self.tensors: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.operators: list[int] = []
        self.codes: list[int] = []
        self.buffers = [self._buffer(None)]  # number 0 means: no constant

    def _buffer(self, data: np.ndarray | None) -> int:
        b = self.builder
        content = None if data is None else b.CreateNumpyVector(np.frombuffer(data.tobytes(), np.uint8))
        tflite.BufferStart(b)
        if content is not None:
            tflite.BufferAddData(b, content)
        return int(tflite.BufferEnd(b))

    def _integers(self, values: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, np.int32)))

    def _tables(self, start: Callable[..., Any], offsets: Sequence[int]) -> int:
        start(self.builder, len(offsets))
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def tensor(self, shape: Sequence[int], data: np.ndarray | None = None, name: str = "") -> int:
        """The number of a new tensor, a constant where `data` is given."""
        b, buffer = self.builder, 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(self._buffer(data))
        dimensions, title = self._integers(shape), b.CreateString(name or f"t{len(self.tensors)}")
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, dimensions)
        tflite.TensorAddType(b, tflite.TensorType.INT32 if data is not None and data.dtype == np.int32 else 0)
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, title)
        self.tensors.append(tflite.TensorEnd(b))
        self.shapes.append(tuple(shape))
        return len(self.tensors) - 1

    def constant(self, array: np.ndarray) -> int:
        return self.tensor(array.shape, np.ascontiguousarray(array))

    def operator(self, kind: str, inputs: Sequence[int], shape: Sequence[int], name: str = "", **options: Any) -> int:
        """The number of the tensor that an operator makes. `kind` is the stem of its options table: "Conv2D"."""
        b, code = self.builder, getattr(tflite.BuiltinOperator, _CODES[kind])
        if code not in self.codes:
            self.codes.append(code)
        output = self.tensor(shape, name=name)
        read, written = self._integers(inputs), self._integers([output])
        table = _OPTIONS.get(kind, f"{kind}Options")
        getattr(tflite, f"{table}Start")(b)
        for key, value in options.items():
            getattr(tflite, f"{table}Add{key}")(b, value)
        details = getattr(tflite, f"{table}End")(b)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self.codes.index(code))
        tflite.OperatorAddInputs(b, read)
        tflite.OperatorAddOutputs(b, written)
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, table))
        tflite.OperatorAddBuiltinOptions(b, details)
        self.operators.append(tflite.OperatorEnd(b))
        return output

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        b = self.builder
        codes = []
        for code in self.codes:
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
            tflite.OperatorCodeAddBuiltinCode(b, code)
            tflite.OperatorCodeAddVersion(b, 1)
            codes.append(tflite.OperatorCodeEnd(b))
        tensors = self._tables(tflite.SubGraphStartTensorsVector, self.tensors)
        operators = self._tables(tflite.SubGraphStartOperatorsVector, self.operators)
        read, written = self._integers(inputs), self._integers(outputs)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, read)
        tflite.SubGraphAddOutputs(b, written)
        tflite.SubGraphAddOperators(b, operators)
        graphs = self._tables(tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)])
        listed = self._tables(tflite.ModelStartOperatorCodesVector, codes)
        buffers = self._tables(tflite.ModelStartBuffersVector, self.buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, listed)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())


_CODES = {
    "Conv2D": "CONV_2D",
    "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
    "Pad": "PAD",
    "Add": "ADD",
    "Mean": "MEAN",
    "FullyConnected": "FULLY_CONNECTED",
}
_OPTIONS = {"Mean": "ReducerOptions"}


def mobilenet_v2(size: int = 224) -> bytes:
    """image f32[1,size,size,3] → scores f32[1,1000]."""
    file, weights = _File(), topologies.mobilenet_weights()
    image = file.tensor((1, size, size, 3), name="image")
    values = [image]
    border = file.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    for layer, (weight, bias) in zip(topologies.mobilenet_layers(), weights, strict=False):
        x, side = values[-1], file.shapes[values[-1]][1]
        padded = layer.stride > 1
        if padded:
            x = file.operator("Pad", [x, border], (1, side + 2, side + 2, layer.channels))
        depthwise = layer.groups > 1
        filters = file.constant(weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1))
        side = -(-side // layer.stride)
        options: dict[str, int] = {"DepthMultiplier": 1} if depthwise else {}
        y = file.operator(
            "DepthwiseConv2D" if depthwise else "Conv2D",
            [x, filters, file.constant(bias)],
            (1, side, side, layer.outputs),
            Padding=VALID if padded else SAME,
            StrideW=layer.stride,
            StrideH=layer.stride,
            DilationWFactor=1,
            DilationHFactor=1,
            FusedActivationFunction=RELU6 if layer.clipped else NONE,
            **options,
        )
        if layer.skip:
            y = file.operator("Add", [y, values[-layer.skip]], file.shapes[y], FusedActivationFunction=NONE)
        values.append(y)
    axes = file.constant(np.array([1, 2], np.int32))
    pooled = file.operator("Mean", [values[-1], axes], (1, 1280), KeepDims=False)
    weight, bias = weights[-1]
    dense = [pooled, file.constant(weight), file.constant(bias)]
    scores = file.operator("FullyConnected", dense, (1, len(bias)), "scores", FusedActivationFunction=NONE)
    return file.finish([image], [scores])
