"""Writes TensorFlow Lite files, and runs them in LiteRT: for tests, and for benchmarks of peers that read nothing else.

A file is described with plain Python values and turned into a flatbuffer at the end, so parts may be made in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

Arrays = dict[str, np.ndarray]
TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "complex64": 8, "int8": 9,
    "float64": 10, "uint32": 15, "uint16": 16, "resource": 13, "string": 5,
}  # fmt: skip
_VERSIONS = {"BROADCAST_TO": 2}  # operators that LiteRT does not have in version 1
_CONTENTS = {"int32": "Int32Vector", "uint16": "Uint16Vector", "uint8": "Uint8Vector"}


@dataclass(frozen=True)
class Quantized:
    """Scales and zero points, one or one per index of an axis."""

    scale: float | Sequence[float]
    zero: int | Sequence[int] = 0
    axis: int = 0


@dataclass(frozen=True)
class Level:
    """One axis of a sparse tensor: dense of `extent`, or sparse with segments and indices."""

    extent: int = 0
    segments: np.ndarray | None = None
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class Sparse:
    """How a sparse tensor's values are laid out."""

    order: Sequence[int]
    blocks: Sequence[int]
    levels: Sequence[Level]


@dataclass
class _Tensor:
    shape: tuple[int, ...]
    dtype: str
    buffer: int
    name: str
    quantized: Quantized | None
    variable: bool
    free: Sequence[int] | None
    sparse: Sparse | None


@dataclass
class _Operator:
    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    table: str | None
    options: Mapping[str, Any]
    custom: bytes


@dataclass
class Graph:
    """One subgraph: tensors and operators, in order."""

    file: File
    name: str
    tensors: list[_Tensor] = field(default_factory=list)
    operators: list[_Operator] = field(default_factory=list)
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()

    def tensor(
        self, shape: Sequence[int] = (), dtype: str = "float32", data: np.ndarray | None = None, name: str = "",
        quantized: Quantized | None = None, variable: bool = False, free: Sequence[int] | None = None,
        sparse: Sparse | None = None,
    ) -> int:  # fmt: skip
        """The number of a new tensor, a constant where `data` is given."""
        buffer = self.file.buffer(data.tobytes()) if data is not None else 0
        title = name or f"t{len(self.tensors)}"
        self.tensors.append(_Tensor(tuple(shape), dtype, buffer, title, quantized, variable, free, sparse))
        return len(self.tensors) - 1

    def constant(self, array: np.ndarray, name: str = "", quantized: Quantized | None = None) -> int:
        """The number of a new constant tensor."""
        return self.tensor(array.shape, array.dtype.name, np.ascontiguousarray(array), name, quantized)

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], table: str | None = None, custom: bytes = b"",
        **options: Any,
    ) -> None:  # fmt: skip
        """Add an operator. `kind` is a builtin's name, or a custom operator's; `table` the options' (Conv2DOptions)."""
        self.operators.append(_Operator(self.file.code(kind), inputs, outputs, table, options, custom))


class File:
    """A whole file. The first graph is the main one."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []
        self.codes: list[str] = []
        self.buffers: list[bytes] = [b""]  # number 0 means: no constant
        self.signatures: list[tuple[str, int, Mapping[str, int], Mapping[str, int]]] = []
        self._b = flatbuffers.Builder(1 << 16)

    def graph(self, name: str = "main") -> Graph:
        """A new subgraph."""
        self.graphs.append(Graph(self, name))
        return self.graphs[-1]

    def buffer(self, data: bytes) -> int:
        self.buffers.append(data)
        return len(self.buffers) - 1

    def code(self, kind: str) -> int:
        if kind not in self.codes:
            self.codes.append(kind)
        return self.codes.index(kind)

    def signature(self, key: str, graph: int, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Names for the tensors that a graph takes and gives."""
        self.signatures.append((key, graph, inputs, outputs))

    # -- the flatbuffer --------------------------------------------------------------------------------------------------

    def finish(self) -> bytes:
        """The file's bytes."""
        buffers = self._tables("ModelStartBuffersVector", [self._buffer(data) for data in self.buffers])
        graphs = self._tables("ModelStartSubgraphsVector", [self._graph(g) for g in self.graphs])
        codes = self._tables("ModelStartOperatorCodesVector", [self._code(kind) for kind in self.codes])
        signatures = self._tables("ModelStartSignatureDefsVector", [self._signature(*s) for s in self.signatures])
        model = self._table(
            "Model", Version=3, OperatorCodes=codes, Subgraphs=graphs, Buffers=buffers, SignatureDefs=signatures
        )  # fmt: skip
        self._b.Finish(model, b"TFL3")
        return bytes(self._b.Output())

    def _table(self, kind: str, **fields: Any) -> int:
        getattr(tflite, f"{kind}Start")(self._b)
        for key, value in fields.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{key}")(self._b, value)
        return int(getattr(tflite, f"{kind}End")(self._b))

    def _tables(self, start: str, offsets: Sequence[int]) -> int:
        getattr(tflite, start)(self._b, len(offsets))
        for offset in reversed(offsets):
            self._b.PrependUOffsetTRelative(offset)
        return int(self._b.EndVector())

    def _numbers(self, values: Any, dtype: Any = np.int32) -> int:
        return int(self._b.CreateNumpyVector(np.asarray(values, dtype).reshape(-1)))

    def _buffer(self, data: bytes) -> int:
        if not data:
            return self._table("Buffer")
        self._b.StartVector(1, len(data), 16)  # LiteRT wants weights at multiples of 16
        self._b.head -= len(data)
        self._b.Bytes[self._b.head : self._b.head + len(data)] = data
        return self._table("Buffer", Data=int(self._b.EndVector()))

    def _code(self, kind: str) -> int:
        number = getattr(tflite.BuiltinOperator, kind, None)
        if number is None:
            name = self._b.CreateString(kind)
            return self._table("OperatorCode", DeprecatedBuiltinCode=32, BuiltinCode=32, CustomCode=name, Version=1)
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, Version=_VERSIONS.get(kind, 1)
        )

    def _signature(self, key: str, graph: int, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> int:
        ports = []
        for start, names in (("Inputs", inputs), ("Outputs", outputs)):
            made = [self._table("TensorMap", Name=self._b.CreateString(n), TensorIndex=i) for n, i in names.items()]
            ports.append(self._tables(f"SignatureDefStart{start}Vector", made))
        title = self._b.CreateString(key)
        return self._table("SignatureDef", Inputs=ports[0], Outputs=ports[1], SignatureKey=title, SubgraphIndex=graph)

    def _graph(self, graph: Graph) -> int:
        tensors = self._tables("SubGraphStartTensorsVector", [self._tensor(t) for t in graph.tensors])
        operators = self._tables("SubGraphStartOperatorsVector", [self._operator(o) for o in graph.operators])
        inputs, outputs, name = self._numbers(graph.inputs), self._numbers(graph.outputs), self._b.CreateString(graph.name)
        return self._table("SubGraph", Tensors=tensors, Inputs=inputs, Outputs=outputs, Operators=operators, Name=name)

    def _tensor(self, tensor: _Tensor) -> int:
        quantized = None
        if tensor.quantized is not None:
            q = tensor.quantized
            scale = self._numbers(q.scale, np.float32)
            zeros = np.broadcast_to(q.zero, np.size(q.scale))
            zero = self._numbers(zeros, np.int64)
            quantized = self._table("QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=q.axis)
        sparse = None if tensor.sparse is None else self._sparse(tensor.sparse)
        free = None if tensor.free is None else self._numbers(tensor.free)
        return self._table(
            "Tensor", Shape=self._numbers(tensor.shape), Type=TYPES[tensor.dtype], Buffer=tensor.buffer,
            Name=self._b.CreateString(tensor.name), Quantization=quantized, IsVariable=tensor.variable, Sparsity=sparse,
            ShapeSignature=free,
        )  # fmt: skip

    def _sparse(self, sparse: Sparse) -> int:
        levels = []
        for level in sparse.levels:
            fields: dict[str, Any] = {"Format": int(level.segments is not None), "DenseSize": level.extent}
            for key, values in (("ArraySegments", level.segments), ("ArrayIndices", level.indices)):
                if values is not None:
                    kind = _CONTENTS[values.dtype.name]
                    vector = self._numbers(values, values.dtype)
                    fields[key] = self._table(kind, Values=vector)
                    fields[f"{key}Type"] = getattr(tflite.SparseIndexVector, kind)
            levels.append(self._table("DimensionMetadata", **fields))
        found = self._tables("SparsityParametersStartDimMetadataVector", levels)
        order, blocks = self._numbers(sparse.order), self._numbers(sparse.blocks)
        return self._table("SparsityParameters", TraversalOrder=order, BlockMap=blocks, DimMetadata=found)

    def _operator(self, op: _Operator) -> int:
        details = kind = None
        if op.table is not None:
            fields = {
                k: self._b.CreateString(v)
                if isinstance(v, str)
                else self._numbers(v, v.dtype)
                if isinstance(v, np.ndarray)
                else v
                for k, v in op.options.items()
            }
            details, kind = self._table(op.table, **fields), getattr(tflite.BuiltinOptions, op.table)
        custom = self._numbers(np.frombuffer(op.custom, np.uint8), np.uint8) if op.custom else None
        return self._table(
            "Operator", OpcodeIndex=op.code, Inputs=self._numbers(op.inputs), Outputs=self._numbers(op.outputs),
            BuiltinOptionsType=kind, BuiltinOptions=details, CustomOptions=custom,
        )  # fmt: skip


# -- one operator ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operand:
    """An input of a model of one operator; a constant where `known`, a variable tensor (given by shape) where `variable`."""

    array: np.ndarray
    quantized: Quantized | None = None
    known: bool = False
    variable: bool = False


@dataclass(frozen=True)
class Result:
    """An output of a model of one operator."""

    dtype: str = "float32"
    quantized: Quantized | None = None
    shape: tuple[int, ...] = ()  # where LiteRT does not find it out by itself


def one_operator(
    kind: str, operands: Sequence[Operand | np.ndarray | None], results: Sequence[Result] = (Result(),),
    table: str | None = None, custom: bytes = b"", **options: Any,
) -> tuple[bytes, Arrays]:  # fmt: skip
    """A model of one operator and its inputs: x0, x1, …, those that are no constants; outputs are y0, y1, …"""
    file = File()
    graph = file.graph()
    feeds: Arrays = {}
    numbers = []
    for i, given in enumerate(operands):
        if given is None:
            numbers.append(-1)
            continue
        o = given if isinstance(given, Operand) else Operand(given)
        data = np.ascontiguousarray(o.array) if o.known else None
        numbers.append(graph.tensor(o.array.shape, o.array.dtype.name, data, f"x{i}", o.quantized, o.variable))
        if not o.known and not o.variable:
            feeds[f"x{i}"] = o.array
    graph.inputs = [n for n, o in zip(numbers, operands) if o is not None and _is_input(o)]
    graph.outputs = [graph.tensor(r.shape, r.dtype, name=f"y{i}", quantized=r.quantized) for i, r in enumerate(results)]
    graph.operator(kind, numbers, graph.outputs, table, custom, **options)
    return file.finish(), feeds


def _is_input(operand: Operand | np.ndarray) -> bool:
    return not isinstance(operand, Operand) or not (operand.known or operand.variable)


def litert(data: bytes, feeds: Sequence[Arrays], reference: bool = False) -> list[Arrays]:
    """What LiteRT makes of a model, call by call, by the tensors' names (or the first signature's).

    Args:
        reference: with TensorFlow Lite's own kernels, without the XNNPACK delegate.
    """
    run = litert_calls(data, reference)
    return [run(each) for each in feeds]


def litert_calls(data: bytes, reference: bool = False) -> Callable[[Arrays], Arrays]:
    """A LiteRT interpreter of a model on one thread, as a function; state goes from call to call. See `litert`."""
    import pytest

    interpreters = pytest.importorskip("ai_edge_litert.interpreter")  # not published for every system
    kinds = interpreters.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if reference else kinds.AUTO
    interpreter = interpreters.Interpreter(model_content=data, experimental_op_resolver_type=kind, num_threads=1)
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    if signatures:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        return lambda feeds: dict(runner(**feeds))

    def run(feeds: Arrays) -> Arrays:
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], feeds[details["name"]])
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}

    return run
