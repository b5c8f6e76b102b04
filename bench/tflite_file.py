"""MobileNetV2 as a TensorFlow Lite file, for peers that read nothing else: the layers of bench.topologies, channels last.

Strided layers are padded explicitly, as converters from PyTorch do: TFLite's own "same" padding would shift the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tests.tflite_build import File

from . import topologies

SAME, VALID, RELU6, NONE = 0, 1, 3, 0


def mobilenet_v2(size: int = 224) -> bytes:
    """image f32[1,size,size,3] → scores f32[1,1000]."""
    file, weights = File(), topologies.mobilenet_weights()
    graph = file.graph()

    def operator(kind: str, inputs: Sequence[int], shape: Sequence[int], table: str, name: str = "", **options: Any) -> int:
        made = graph.tensor(shape, name=name)
        graph.operator(kind, inputs, [made], table, **options)
        return made

    image = graph.tensor((1, size, size, 3), name="image")
    values = [image]
    border = graph.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    for layer, (weight, bias) in zip(topologies.mobilenet_layers(), weights, strict=False):
        x, side = values[-1], graph.tensors[values[-1]].shape[1]
        padded = layer.stride > 1
        if padded:
            x = operator("PAD", [x, border], (1, side + 2, side + 2, layer.channels), "PadOptions")
        depthwise = layer.groups > 1
        filters = graph.constant(np.ascontiguousarray(weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))))
        side = -(-side // layer.stride)
        options: dict[str, int] = {"DepthMultiplier": 1} if depthwise else {}
        y = operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [x, filters, graph.constant(bias)],
            (1, side, side, layer.outputs),
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            Padding=VALID if padded else SAME,
            StrideW=layer.stride,
            StrideH=layer.stride,
            DilationWFactor=1,
            DilationHFactor=1,
            FusedActivationFunction=RELU6 if layer.clipped else NONE,
            **options,
        )
        if layer.skip:
            y = operator("ADD", [y, values[-layer.skip]], graph.tensors[y].shape, "AddOptions", FusedActivationFunction=NONE)
        values.append(y)
    axes = graph.constant(np.array([1, 2], np.int32))
    pooled = operator("MEAN", [values[-1], axes], (1, 1280), "ReducerOptions", KeepDims=False)
    weight, bias = weights[-1]
    dense = [pooled, graph.constant(weight), graph.constant(bias)]
    scores = operator(
        "FULLY_CONNECTED", dense, (1, len(bias)), "FullyConnectedOptions", "scores", FusedActivationFunction=NONE
    )  # fmt: skip
    graph.inputs, graph.outputs = [image], [scores]
    return file.finish()
