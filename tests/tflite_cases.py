"""Models of one TensorFlow Lite operator for tests: every row runs in LiteRT and in hither on the same inputs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from .tflite_build import Arrays, Operand, Quantized, Result, one_operator

RNG = np.random.default_rng(7)
FLOAT, INT, LONG, BOOL = (Result(d) for d in ("float32", "int32", "int64", "bool"))
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6, TANH = range(5)


@dataclass(frozen=True)
class Case:
    """A model, its inputs call by call, and how far results may be apart: relative for floats, in steps for integers."""

    name: str
    data: bytes
    feeds: list[Arrays]
    tolerance: float = 2e-6
    steps: int = 0
    reference: bool = True  # LiteRT's own kernels, not XNNPACK's; some custom operators are in XNNPACK alone


CASES: list[Case] = []


def case(
    name: str, kind: str, operands: Sequence[Any], results: Sequence[Result] = (FLOAT,), table: str | None = None,
    custom: bytes = b"", tolerance: float = 2e-6, steps: int = 0, calls: int = 1,
    reference: bool = True, **options: Any,
) -> None:  # fmt: skip
    """Add a row. `calls`: run so often, for operators with state."""
    data, feeds = one_operator(kind, operands, results, table, custom, **options)
    repeated = [{k: (a if i == 0 else np.roll(a, i)) for k, a in feeds.items()} for i in range(calls)]
    CASES.append(Case(name, data, repeated, tolerance, steps, reference))


def floats(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def ints(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int32) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) > 0.5


def known(values: Any, dtype: Any = np.int32, quantized: Quantized | None = None) -> Operand:
    """A constant operand."""
    return Operand(np.asarray(values, dtype), quantized, known=True)


def fixed(*shape: int, low: float = -2.0, high: float = 2.0) -> Operand:
    """Constant weights."""
    return Operand(floats(*shape, low=low, high=high), known=True)


def integers(shape: tuple[int, ...], scale: Any, axis: int = 0, zero: int = 0, dtype: Any = np.int8) -> Operand:
    """Constant weights of 8 bits."""
    limits = np.iinfo(dtype)
    low = -127 if limits.min < 0 else 0
    return Operand(ints(*shape, low=low, high=limits.max + 1, dtype=dtype), Quantized(scale, zero, axis), known=True)


def biases(count: int, scale: Any, dtype: Any = np.int32) -> Operand:
    """A constant bias in the products' scale."""
    return Operand(ints(count, low=-3000, high=3000, dtype=dtype), Quantized(np.asarray(scale).tolist()), known=True)


def q8(*shape: int, scale: float = 0.03, zero: int = -5, dtype: Any = np.int8, fixed: bool = False) -> Operand:
    """Quantised numbers over the dtype's whole range."""
    limits = np.iinfo(dtype)
    return Operand(ints(*shape, low=limits.min, high=limits.max + 1, dtype=dtype), Quantized(scale, zero), fixed)


def r8(scale: float = 0.05, zero: int = 3, dtype: str = "int8") -> Result:
    return Result(dtype, Quantized(scale, zero))


X = (2, 5, 6, 3)

# -- elementwise -------------------------------------------------------------------------------------------------------------

for _kind in ("ABS", "NEG", "EXP", "SIN", "COS", "SQUARE", "FLOOR", "CEIL", "ROUND", "ELU", "HARD_SWISH", "TANH", "LOGISTIC",
              "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "SIGN"):  # fmt: skip
    case(_kind.lower(), _kind, [floats(2, 7) * 3])
for _kind in ("LOG", "SQRT", "RSQRT"):
    case(_kind.lower(), _kind, [floats(2, 7, low=0.1)])
case("gelu", "GELU", [floats(2, 7)], table="GeluOptions", Approximate=False)
case("gelu_tanh", "GELU", [floats(2, 7)], table="GeluOptions", Approximate=True, tolerance=1e-5)
case("leaky_relu", "LEAKY_RELU", [floats(2, 7)], table="LeakyReluOptions", Alpha=0.3)
case("prelu", "PRELU", [floats(*X), fixed(1, 1, 3)])
case("softmax", "SOFTMAX", [floats(3, 7)], table="SoftmaxOptions", Beta=1.0)
case("softmax_beta", "SOFTMAX", [floats(3, 7)], table="SoftmaxOptions", Beta=0.5)
case("log_softmax", "LOG_SOFTMAX", [floats(3, 7)])
case("l2_normalization", "L2_NORMALIZATION", [floats(3, 7)], table="L2NormOptions")
case("atan2", "ATAN2", [floats(3, 7), floats(3, 7)])

for _kind, _table in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions"), ("DIV", "DivOptions")):
    case(f"{_kind.lower()}_relu", _kind, [floats(*X), floats(6, 1) + 5], table=_table, FusedActivationFunction=RELU)
    case(f"{_kind.lower()}_relu6", _kind, [floats(*X), floats(*X) + 5], table=_table, FusedActivationFunction=RELU6)
    case(f"{_kind.lower()}_int", _kind, [ints(3, 4), ints(4, low=1)], [INT], _table)
case("add_n", "ADD_N", [floats(3, 4) for _ in range(3)], table="AddNOptions")
case("squared_difference", "SQUARED_DIFFERENCE", [floats(3, 4), floats(4)])
case("maximum", "MAXIMUM", [floats(3, 4), floats(4)])
case("minimum_int", "MINIMUM", [ints(3, 4), ints(4)], [INT])
case("pow", "POW", [floats(3, 4, low=0.1), floats(3, 4)], tolerance=1e-5)
case("floor_div", "FLOOR_DIV", [ints(3, 4), ints(4, low=1)], [INT])
case("floor_div_float", "FLOOR_DIV", [floats(3, 4), floats(4, low=0.3)])
case("floor_mod", "FLOOR_MOD", [ints(3, 4), ints(4, low=1)], [INT])
case("floor_mod_float", "FLOOR_MOD", [floats(3, 4), floats(4, low=0.3)], tolerance=1e-5)
case("bitwise_xor", "BITWISE_XOR", [ints(3, 4), ints(3, 4)], [INT])
case("right_shift", "RIGHT_SHIFT", [ints(3, 4), ints(3, 4, low=0, high=5)], [INT])
case("cast_to_int", "CAST", [floats(3, 4) * 5], [INT], "CastOptions", InDataType=0, OutDataType=2)
case("cast_to_bool", "CAST", [ints(3, 4, low=0, high=2)], [BOOL], "CastOptions", InDataType=2, OutDataType=6)
case("cast_from_bool", "CAST", [bools(3, 4)], [FLOAT], "CastOptions", InDataType=6, OutDataType=0)
case("bitcast", "BITCAST", [floats(3, 4)], [INT])
case("fake_quant", "FAKE_QUANT", [floats(3, 9) * 2], table="FakeQuantOptions", Min=-1.3, Max=2.1, NumBits=8, tolerance=1e-5)

# -- logic -------------------------------------------------------------------------------------------------------------------

for _kind in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
    case(_kind.lower(), _kind, [ints(3, 9, low=-2, high=3), ints(9, low=-2, high=3)], [BOOL])
for _kind in ("LOGICAL_AND", "LOGICAL_OR"):
    case(_kind.lower(), _kind, [bools(3, 9), bools(9)], [BOOL])
case("logical_not", "LOGICAL_NOT", [bools(3, 4)], [BOOL])
case("select", "SELECT", [bools(3, 4), floats(3, 4), floats(3, 4)])
case("select_rows", "SELECT", [bools(3), floats(3, 4), floats(3, 4)])
case("select_v2", "SELECT_V2", [bools(3, 1), floats(4), floats(3, 4)])

# -- convolution and products ----------------------------------------------------------------------------------------------

_CONV = {"Padding": SAME, "StrideH": 2, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
for _activation in (NONE, RELU, RELU_N1_TO_1, RELU6):
    case(
        f"conv_2d_{_activation}", "CONV_2D", [floats(*X), fixed(4, 3, 2, 3), fixed(4)],
        table="Conv2DOptions", FusedActivationFunction=_activation, **_CONV,
    )  # fmt: skip
case(
    "conv_2d_dilated", "CONV_2D", [floats(1, 9, 8, 3), fixed(4, 3, 2, 3), fixed(4)], table="Conv2DOptions",
    Padding=VALID, StrideH=1, StrideW=1, DilationHFactor=2, DilationWFactor=3,
)  # fmt: skip
case(
    "conv_2d_grouped", "CONV_2D", [floats(1, 5, 5, 4), fixed(6, 3, 3, 2), fixed(6)],
    table="Conv2DOptions", **_CONV,
)  # fmt: skip
case(
    "conv_2d_hybrid", "CONV_2D", [floats(1, 5, 5, 4), integers((2, 3, 3, 4), [0.01, 0.02]), fixed(2)],
    table="Conv2DOptions", tolerance=2e-2, **_CONV,
)  # fmt: skip
for _multiplier in (1, 2):
    case(
        f"depthwise_{_multiplier}", "DEPTHWISE_CONV_2D",
        [floats(*X), fixed(1, 3, 3, 3 * _multiplier), fixed(3 * _multiplier)],
        table="DepthwiseConv2DOptions", DepthMultiplier=_multiplier, Padding=SAME, StrideH=2, StrideW=2, DilationHFactor=1,
        DilationWFactor=1, FusedActivationFunction=RELU6,
    )  # fmt: skip
for _padding, _shape in ((SAME, (1, 10, 12, 2)), (VALID, (1, 11, 13, 2))):
    case(
        f"transpose_conv_{_padding}", "TRANSPOSE_CONV",
        [known(_shape), fixed(2, 3, 3, 3), floats(1, 5, 6, 3), fixed(2)],
        table="TransposeConvOptions", Padding=_padding, StrideH=2, StrideW=2,
    )  # fmt: skip
    case(
        f"convolution_2d_transpose_bias_{_padding}", "Convolution2DTransposeBias",
        [floats(1, 5, 6, 3), fixed(2, 2, 2, 3), fixed(2)],
        [Result(shape=(1, 10, 12, 2))], custom=struct.pack("<3i", 1 + _padding, 2, 2), reference=False,
    )  # fmt: skip
case(
    "conv_3d", "CONV_3D", [floats(1, 4, 5, 4, 2), fixed(2, 3, 2, 2, 3), fixed(3)],
    table="Conv3DOptions", Padding=SAME, StrideD=1, StrideH=2, StrideW=1, DilationDFactor=1, DilationHFactor=1,
    DilationWFactor=1,
)  # fmt: skip
case(
    "conv_3d_transpose", "CONV_3D_TRANSPOSE",
    [known((1, 4, 6, 4, 3)), fixed(2, 2, 2, 3, 2), floats(1, 2, 3, 2, 2)],
    table="Conv3DOptions", Padding=SAME, StrideD=2, StrideH=2, StrideW=2, DilationDFactor=1, DilationHFactor=1,
    DilationWFactor=1,
)  # fmt: skip
case(
    "fully_connected", "FULLY_CONNECTED", [floats(2, 3, 4), fixed(5, 12), fixed(5)],
    table="FullyConnectedOptions", FusedActivationFunction=RELU,
)  # fmt: skip
case(
    "fully_connected_keep", "FULLY_CONNECTED", [floats(2, 3, 4), fixed(5, 4), None],
    table="FullyConnectedOptions", KeepNumDims=True,
)  # fmt: skip
case(
    "fully_connected_hybrid", "FULLY_CONNECTED",
    [floats(3, 16), integers((5, 16), 0.01), fixed(5)],
    table="FullyConnectedOptions", tolerance=2e-2,
)  # fmt: skip
for _x, _y, _options in (((2, 3, 4), (2, 4, 5), {}), ((2, 4, 3), (5, 4), {"AdjX": True, "AdjY": True})):
    case(f"batch_matmul_{len(_options)}", "BATCH_MATMUL", [floats(*_x), floats(*_y)], table="BatchMatMulOptions", **_options)
case(
    "local_response_normalization", "LOCAL_RESPONSE_NORMALIZATION", [floats(1, 2, 2, 8)],
    table="LocalResponseNormalizationOptions", Radius=2, Bias=1.5, Alpha=0.7, Beta=0.6, tolerance=1e-5,
)  # fmt: skip
case("embedding_lookup", "EMBEDDING_LOOKUP", [ints(4, low=0, high=5), fixed(5, 3)])

# -- pools and reductions --------------------------------------------------------------------------------------------------

for _kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
    for _padding in (SAME, VALID):
        case(
            f"{_kind.lower()}_{_padding}", _kind, [floats(*X)], table="Pool2DOptions", Padding=_padding, StrideH=2, StrideW=1,
            FilterHeight=3, FilterWidth=2, FusedActivationFunction=RELU if _padding else NONE,
        )  # fmt: skip
for _kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
    case(_kind.lower(), _kind, [floats(2, 3, 4), known([-1, 0])], table="ReducerOptions")
    case(f"{_kind.lower()}_keep", _kind, [floats(2, 3, 4), known(1)], table="ReducerOptions", KeepDims=True)
case("sum_int", "SUM", [ints(2, 3), known([1])], [INT], "ReducerOptions")
case("reduce_any", "REDUCE_ANY", [bools(2, 9), known([1])], [BOOL], "ReducerOptions")
case("reduce_all", "REDUCE_ALL", [bools(9, 2), known([1])], [BOOL], "ReducerOptions")
case("arg_max", "ARG_MAX", [floats(3, 7), known(1)], [LONG], "ArgMaxOptions", OutputType=4)
case("arg_min", "ARG_MIN", [floats(3, 7), known(-1)], [INT], "ArgMinOptions", OutputType=2)
for _exclusive in (False, True):
    for _reverse in (False, True):
        case(
            f"cumsum_{_exclusive:d}{_reverse:d}", "CUMSUM", [floats(3, 5), known(1)], table="CumsumOptions",
            Exclusive=_exclusive, Reverse=_reverse,
        )  # fmt: skip
case("segment_sum", "SEGMENT_SUM", [floats(5, 2), known([0, 0, 1, 2, 2])])
for _kind in ("SUM", "MAX", "MIN", "PROD"):
    case(
        f"unsorted_segment_{_kind.lower()}", f"UNSORTED_SEGMENT_{_kind}", [floats(5, 2), ints(5, low=0, high=3), known(4)],
    )  # fmt: skip

# -- moving elements ---------------------------------------------------------------------------------------------------------

case("reshape", "RESHAPE", [floats(2, 6), known([3, -1])])
case("reshape_option", "RESHAPE", [floats(2, 6)], table="ReshapeOptions", NewShape=np.array([4, -1], np.int32))
case("squeeze", "SQUEEZE", [floats(1, 3, 1, 2)], table="SqueezeOptions", SqueezeDims=np.array([0, -2], np.int32))
case("squeeze_all", "SQUEEZE", [floats(1, 3, 1, 2)], table="SqueezeOptions")
case("expand_dims", "EXPAND_DIMS", [floats(3, 2), known(-1)])
case("transpose", "TRANSPOSE", [floats(2, 3, 4), known([2, 0, 1])])
case("pad", "PAD", [floats(2, 3), known([[1, 0], [2, 3]])])
case("padv2", "PADV2", [floats(2, 3), known([[1, 0], [2, 3]]), known(1.5, np.float32)])
for _mode in (0, 1):
    case(f"mirror_pad_{_mode}", "MIRROR_PAD", [floats(4, 5), known([[1, 2], [0, 3]])], table="MirrorPadOptions", Mode=_mode)
case("concatenation", "CONCATENATION", [floats(2, 3), floats(2, 1)], table="ConcatenationOptions", Axis=-1)
case("pack", "PACK", [floats(2, 3), floats(2, 3)], table="PackOptions", ValuesCount=2, Axis=1)
case("unpack", "UNPACK", [floats(2, 3)], [FLOAT] * 3, "UnpackOptions", Num=3, Axis=1)
case("split", "SPLIT", [known(1), floats(2, 6)], [FLOAT] * 3, "SplitOptions", NumSplits=3)
case("split_v", "SPLIT_V", [floats(2, 6), known([1, -1, 3]), known(1)], [FLOAT] * 3, "SplitVOptions", NumSplits=3)
case("slice", "SLICE", [floats(3, 5), known([1, 2]), known([-1, 2])])
case(
    "strided_slice", "STRIDED_SLICE", [floats(3, 8, 2), known([-2, 7, 1]), known([3, 0, 2]), known([1, -2, 1])],
    table="StridedSliceOptions", BeginMask=0, EndMask=2, ShrinkAxisMask=4,
)  # fmt: skip
case(
    "strided_slice_ellipsis", "STRIDED_SLICE", [floats(3, 8, 2), known([0, 1, 0]), known([0, 2, 0]), known([1, 1, 1])],
    table="StridedSliceOptions", EllipsisMask=1, NewAxisMask=4,
)  # fmt: skip
case("tile", "TILE", [floats(2, 3), known([2, 1])])
case("broadcast_to", "BROADCAST_TO", [floats(2, 1), known([3, 2, 4])])
case("reverse_v2", "REVERSE_V2", [floats(2, 3), known([1])])
case(
    "reverse_sequence", "REVERSE_SEQUENCE", [floats(3, 5, 2), ints(3, low=1, high=6, dtype=np.int64)],
    table="ReverseSequenceOptions", SeqDim=1, BatchDim=0,
)  # fmt: skip
case("space_to_depth", "SPACE_TO_DEPTH", [floats(1, 4, 6, 2)], table="SpaceToDepthOptions", BlockSize=2)
case("depth_to_space", "DEPTH_TO_SPACE", [floats(1, 2, 3, 8)], table="DepthToSpaceOptions", BlockSize=2)
case("space_to_batch", "SPACE_TO_BATCH_ND", [floats(1, 4, 5, 2), known([2, 3]), known([[0, 0], [1, 0]])])
case("batch_to_space", "BATCH_TO_SPACE_ND", [floats(6, 2, 2, 2), known([2, 3]), known([[0, 1], [1, 0]])])
case("matrix_diag", "MATRIX_DIAG", [floats(2, 3)])
case("matrix_set_diag", "MATRIX_SET_DIAG", [floats(2, 3, 4), floats(2, 3)])
case("dynamic_update_slice", "DYNAMIC_UPDATE_SLICE", [floats(4, 5), floats(2, 2), ints(2, low=0, high=5)])
case("shape", "SHAPE", [floats(4, 5)], [INT], "ShapeOptions", OutType=2)
case("rank", "RANK", [floats(4, 5)], [INT])
case("fill", "FILL", [known([2, 3]), floats()])
case("zeros_like", "ZEROS_LIKE", [floats(2, 3)])
case("range", "RANGE", [known(1), known(9), known(3)], [INT])
case("broadcast_args", "BROADCAST_ARGS", [known([2, 1]), known([3, 1, 4])], [INT])

# -- indices -----------------------------------------------------------------------------------------------------------------

case("gather", "GATHER", [floats(4, 3), ints(2, 2, low=0, high=4)], table="GatherOptions", Axis=0)
case("gather_batch", "GATHER", [floats(2, 3, 4), ints(2, 2, low=0, high=3)], table="GatherOptions", Axis=1, BatchDims=1)
case("gather_nd", "GATHER_ND", [floats(4, 3, 2), ints(5, 2, low=0, high=3)])
case("scatter_nd", "SCATTER_ND", [ints(5, 1, low=0, high=4), floats(5, 2), known([4, 2])])
case(
    "one_hot",
    "ONE_HOT",
    [ints(5, low=-1, high=4), known(3), known(2.0, np.float32), known(-1.0, np.float32)],
    table="OneHotOptions",
    Axis=0,
)
case("topk_v2", "TOPK_V2", [floats(3, 7), known(4)], [FLOAT, INT])
case("bucketize", "BUCKETIZE", [floats(3, 7)], [INT], "BucketizeOptions", Boundaries=np.array([-1, 0, 0.5], np.float32))
case("sparse_to_dense", "SPARSE_TO_DENSE", [known([[0, 1], [2, 0]]), known([3, 2]), floats(2), known(0.5, np.float32)])
case("unique", "UNIQUE", [known([4, 2, 4, 7, 2])], [INT, INT], "UniqueOptions", IdxOutType=2)
case("where", "WHERE", [bools(3, 4)], [LONG])
_BOXES = np.sort(floats(12, 2, 2, low=0, high=1), axis=1).reshape(12, 4)
case(
    "non_max_suppression_v4", "NON_MAX_SUPPRESSION_V4",
    [_BOXES, floats(12, low=0, high=1), known(15), known(0.4, np.float32), known(0.2, np.float32)], [INT, INT],
)  # fmt: skip
case(
    "non_max_suppression_v5", "NON_MAX_SUPPRESSION_V5",
    [_BOXES, floats(12, low=0, high=1), known(6), known(0.4, np.float32), known(0.1, np.float32), known(0.5, np.float32)],
    [INT, FLOAT, INT], tolerance=1e-5,
)  # fmt: skip

# -- images and signals ------------------------------------------------------------------------------------------------------

for _align, _half in ((False, False), (True, False), (False, True)):
    for _kind, _table in (
        ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    ):
        case(
            f"{_kind.lower()}_{_align:d}{_half:d}", _kind, [floats(1, 4, 5, 2), known([7, 3])], table=_table,
            AlignCorners=_align, HalfPixelCenters=_half,
        )  # fmt: skip

# -- recurrent ---------------------------------------------------------------------------------------------------------------


def state(*shape: int) -> Operand:
    return Operand(np.zeros(shape, np.float32), variable=True)


def weights(*shape: int) -> Operand:
    return fixed(*shape, low=-0.5, high=0.5)


case(
    "rnn", "RNN", [floats(2, 3), weights(4, 3), weights(4, 4), weights(4), state(2, 4)], table="RNNOptions",
    FusedActivationFunction=TANH, calls=3,
)  # fmt: skip
for _major in (False, True):
    case(
        f"unidirectional_sequence_rnn_{_major:d}", "UNIDIRECTIONAL_SEQUENCE_RNN",
        [floats(2, 2, 3), weights(4, 3), weights(4, 4), weights(4), state(2, 4)], table="SequenceRNNOptions",
        FusedActivationFunction=TANH, TimeMajor=_major, calls=2,
    )  # fmt: skip
case(
    "bidirectional_sequence_rnn", "BIDIRECTIONAL_SEQUENCE_RNN",
    [floats(2, 5, 3), *[weights(4, 3), weights(4, 4), weights(4), state(2, 4)] * 2, None, None, None],
    table="BidirectionalSequenceRNNOptions", FusedActivationFunction=TANH, MergeOutputs=True, calls=2,
)  # fmt: skip
case(
    "svdf", "SVDF", [floats(2, 3), weights(8, 3), weights(8, 5), weights(4), state(2, 40)], table="SVDFOptions", Rank=2,
    FusedActivationFunction=RELU, calls=4,
)  # fmt: skip


def lstm(
    cells: int, features: int, out: int, *, coupled: bool = False, peephole: bool = False, norm: bool = False
) -> list[Any]:
    """The 24 operands of an LSTM for a batch of 2."""
    gates = [None if coupled else weights(cells, features), *[weights(cells, features) for _ in range(3)]]
    back = [None if coupled else weights(cells, out), *[weights(cells, out) for _ in range(3)]]
    looks = [weights(cells) if peephole and not (coupled and i == 0) else None for i in range(3)]
    biases = [None if coupled else weights(cells), *[weights(cells) for _ in range(3)]]
    project = [weights(out, cells), weights(out)] if out != cells else [None, None]
    norms = [fixed(cells, low=0.5, high=1.5) for _ in range(4)] if norm else [None] * 4
    return [*gates, *back, *looks, *biases, *project, state(2, out), state(2, cells), *norms]


_LSTM = {"FusedActivationFunction": TANH, "CellClip": 0.0, "ProjClip": 0.0}
for _name, _options in (
    ("plain", {}),
    ("coupled", {"coupled": True}),
    ("peephole", {"peephole": True}),
    ("norm", {"norm": True}),
):
    case(
        f"unidirectional_sequence_lstm_{_name}", "UNIDIRECTIONAL_SEQUENCE_LSTM", [floats(2, 5, 3), *lstm(4, 3, 4, **_options)],
        table="UnidirectionalSequenceLSTMOptions", TimeMajor=False, calls=2, tolerance=1e-5, **_LSTM,
    )  # fmt: skip
case(
    "unidirectional_sequence_lstm_projected", "UNIDIRECTIONAL_SEQUENCE_LSTM", [floats(5, 2, 3), *lstm(4, 3, 2)],
    table="UnidirectionalSequenceLSTMOptions", TimeMajor=True, calls=2, tolerance=1e-5,
    **_LSTM | {"CellClip": 0.4, "ProjClip": 0.1},
)  # fmt: skip
case(
    "lstm", "LSTM", [floats(2, 3), *lstm(4, 3, 4)[:19]], table="LSTMOptions", calls=3, tolerance=1e-5,
    **_LSTM,
)  # fmt: skip

_two = [lstm(4, 3, 4)[:19] for _ in range(2)]
case(
    "bidirectional_sequence_lstm", "BIDIRECTIONAL_SEQUENCE_LSTM",
    [floats(2, 5, 3), *_two[0][:17], *_two[1][:17], *[state(5, 4) for _ in range(4)], *[None] * 9],
    table="BidirectionalSequenceLSTMOptions", TimeMajor=True, MergeOutputs=True, calls=2, tolerance=1e-5, **_LSTM,
)  # fmt: skip
case(
    "lstm_basic", "LSTM", [floats(2, 3), floats(2, 4), weights(16, 7), weights(16), floats(2, 4)], [FLOAT] * 4, "LSTMOptions",
    KernelType=1, tolerance=1e-5, **_LSTM,
)  # fmt: skip

# -- detection ---------------------------------------------------------------------------------------------------------------


def detection(**options: Any) -> bytes:
    return bytes(flexbuffers.Dumps(options))


_ANCHORS = np.concatenate([floats(20, 2, low=0, high=1), floats(20, 2, low=0.1, high=0.4)], axis=1)
for _regular in (False, True):
    case(
        f"detection_postprocess_{_regular:d}", "TFLite_Detection_PostProcess",
        [floats(1, 20, 4), floats(1, 20, 4, low=0, high=1), Operand(_ANCHORS, known=True)], [FLOAT] * 4,
        custom=detection(
            max_detections=6, max_classes_per_detection=1, detections_per_class=10, use_regular_nms=_regular,
            nms_score_threshold=0.3, nms_iou_threshold=0.5, num_classes=3, y_scale=10.0, x_scale=10.0, h_scale=5.0, w_scale=5.0,
        ),
        tolerance=1e-5,
    )  # fmt: skip
