"""Models of one quantised operator for tests, as in tflite_cases.py: within a quantisation step of LiteRT."""

from __future__ import annotations

import numpy as np

from .tflite_build import Operand, Quantized
from .tflite_cases import BOOL, INT, RELU, RELU6, SAME, biases, case, floats, integers, ints, known, q8, r8

X = (2, 5, 6, 3)
CONV = {"Padding": SAME, "StrideH": 2, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}

for _kind in ("ABS", "TANH", "LOGISTIC", "RELU", "RELU6", "HARD_SWISH", "ELU"):
    _out = {"TANH": r8(1 / 128, 0), "LOGISTIC": r8(1 / 256, -128)}.get(_kind, r8(0.03, -20))
    case(f"{_kind.lower()}_int8", _kind, [q8(3, 40)], [_out], steps=1)
case("leaky_relu_int8", "LEAKY_RELU", [q8(3, 40)], [r8(0.03, -20)], "LeakyReluOptions", Alpha=0.2, steps=1)
case("softmax_int8", "SOFTMAX", [q8(3, 20)], [r8(1 / 256, -128)], "SoftmaxOptions", Beta=1.0, steps=1)
for _kind, _table in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
    for _dtype, _zero in (("int8", 4), ("uint8", 120)):
        case(
            f"{_kind.lower()}_{_dtype}", _kind,
            [q8(3, 20, dtype=np.dtype(_dtype), zero=_zero), q8(3, 20, scale=0.02, zero=_zero - 3, dtype=np.dtype(_dtype))],
            [r8(0.06, _zero, _dtype)], _table, FusedActivationFunction=RELU, steps=1,
        )  # fmt: skip
for _dtype, _zero in (("int8", -7), ("uint8", 121)):
    _kinds = np.dtype(_dtype)
    _signed = _dtype == "int8"
    _w = [0.004, 0.006, 0.005, 0.003] if _signed else 0.004
    case(
        f"conv_2d_{_dtype}", "CONV_2D",
        [
            q8(1, 6, 7, 3, dtype=_kinds, zero=_zero),
            integers((4, 3, 3, 3), _w, zero=0 if _signed else 127, dtype=_kinds),
            biases(4, np.multiply(np.float32(0.03), _w)),
        ],
        [r8(0.05, _zero, _dtype)], "Conv2DOptions", FusedActivationFunction=RELU6, steps=1, **CONV,
    )  # fmt: skip
_w = np.linspace(0.003, 0.006, 6)
case(
    "depthwise_int8", "DEPTHWISE_CONV_2D",
    [
        q8(1, 6, 7, 3), integers((1, 3, 3, 6), _w.tolist(), 3),
        biases(6, 0.03 * _w),
    ],
    [r8(0.03, 10)], "DepthwiseConv2DOptions", DepthMultiplier=2, Padding=SAME, StrideH=1, StrideW=1, DilationHFactor=1,
    DilationWFactor=1, steps=1,
)  # fmt: skip
case(
    "fully_connected_int8", "FULLY_CONNECTED",
    [q8(3, 40), integers((5, 40), 0.005), biases(5, 0.03 * 0.005)],
    [r8(0.04)], "FullyConnectedOptions", steps=1,
)  # fmt: skip
case("batch_matmul_int8", "BATCH_MATMUL", [q8(2, 3, 8), q8(2, 8, 5, zero=11)], [r8(0.04)], "BatchMatMulOptions", steps=1)
case(
    "conv_2d_int16", "CONV_2D",
    [
        Operand(ints(1, 6, 7, 3, low=-32768, high=32768, dtype=np.int16), Quantized(1e-4), False),
        integers((4, 3, 3, 3), [0.004, 0.006, 0.005, 0.003]),
        biases(4, [4e-7, 6e-7, 5e-7, 3e-7], np.int64),
    ],
    [r8(2e-4, 0, "int16")], "Conv2DOptions", steps=1, **CONV,
)  # fmt: skip
case(
    "transpose_conv_int8", "TRANSPOSE_CONV",
    [known((1, 8, 8, 2)), integers((2, 3, 3, 3), [0.004, 0.005]), q8(1, 4, 4, 3)],
    [r8(0.06)], "TransposeConvOptions", Padding=SAME, StrideH=2, StrideW=2, steps=1,
)  # fmt: skip
for _kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
    case(
        f"{_kind.lower()}_int8", _kind, [q8(1, 6, 6, 3)], [r8(0.03, -5)], "Pool2DOptions", Padding=SAME, StrideH=2, StrideW=2,
        FilterHeight=3, FilterWidth=3, steps=1,
    )  # fmt: skip
case("mean_int8", "MEAN", [q8(1, 6, 6, 3), known([1, 2])], [r8(0.02, 7)], "ReducerOptions", KeepDims=True, steps=1)
case("pad_int8", "PAD", [q8(2, 3), known([[1, 0], [2, 3]])], [r8(0.03, -5)])
case("concatenation_int8", "CONCATENATION", [q8(2, 3), q8(2, 4)], [r8(0.03, -5)], "ConcatenationOptions", Axis=1)
case("prelu_int8", "PRELU", [q8(*X), q8(1, 1, 3, zero=2, fixed=True)], [r8(0.05)], steps=1)
case(
    "resize_bilinear_int8",
    "RESIZE_BILINEAR",
    [q8(1, 4, 5, 2), known([7, 3])],
    [r8(0.03, -5)],
    "ResizeBilinearOptions",
    HalfPixelCenters=True,
    steps=1,
)
case(
    "resize_nearest_int8",
    "RESIZE_NEAREST_NEIGHBOR",
    [q8(1, 4, 5, 2), known([7, 3])],
    [r8(0.03, -5)],
    "ResizeNearestNeighborOptions",
)
case(
    "strided_slice_int8",
    "STRIDED_SLICE",
    [q8(3, 8), known([0, 1]), known([3, 8]), known([1, 2])],
    [r8(0.03, -5)],
    "StridedSliceOptions",
)
case("arg_max_int8", "ARG_MAX", [q8(3, 20), known(1)], [INT], "ArgMaxOptions", OutputType=2)
case("quantize", "QUANTIZE", [floats(3, 20)], [r8(0.02, 5)])
case("requantize", "QUANTIZE", [q8(3, 20)], [r8(0.05, 130, "uint8")], steps=1)
case("dequantize", "DEQUANTIZE", [q8(3, 20)])
case("dequantize_float16", "DEQUANTIZE", [Operand(floats(3, 4).astype(np.float16), known=True)])
case("equal_int8", "LESS", [q8(3, 20), q8(3, 20)], [BOOL])
case(
    "svdf_int8", "SVDF",
    [
        q8(1, 6), integers((8, 6), 0.005),
        Operand(ints(8, 4, low=-9000, high=9000, dtype=np.int16), Quantized(1e-4), True),
        Operand(ints(4, low=-99, high=99), Quantized(1e-4 * 1e-3), True),
        Operand(np.zeros((1, 32), np.int16), Quantized(1e-3), variable=True),
    ],
    [r8(0.02, -128)], "SVDFOptions", Rank=2, FusedActivationFunction=RELU, calls=3, steps=1,
)  # fmt: skip
