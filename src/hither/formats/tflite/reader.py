"""Reads the flatbuffer of a TensorFlow Lite file, an untrusted one, into checked plain data (schema.py).

A flatbuffer is a web of offsets, and one from an untrusted file may point anywhere. The `tflite` package follows them and fails
where they leave the file; lengths are bounded here before anything is read, all that is read counts towards one budget (many
small tables may share one large vector), and indices, shapes, enumerations and sizes are checked before they are used.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...errors import HitherError, InvalidModel, LimitExceeded, PackageMissing, UnsupportedFeature
from ..interpreter import MAX_NODES, MAX_VALUE_BYTES
from ..room import Room
from .schema import ModelDef, OperatorDef, Quantization, Signature, SubgraphDef, TensorDef
from .sparsity import Level, expand

VERSION = 3
MAX_ITEMS = 1 << 24  # elements of all vectors that describe the network (its weights apart)
MAX_RANK = 16
MAX_EXPANDED_BYTES = 1 << 30  # of all sparse and 4-bit tensors together

# What damaged offsets make the flatbuffers package raise; anything else is a bug of ours and must surface as one.
_DAMAGED = (struct.error, ValueError, IndexError, TypeError, OverflowError, MemoryError, KeyError)

_DTYPES = {
    "FLOAT32": dt.float32, "FLOAT16": dt.float16, "FLOAT64": dt.float64, "INT8": dt.int8, "INT16": dt.int16,
    "INT32": dt.int32, "INT64": dt.int64, "UINT8": dt.uint8, "UINT16": dt.uint16, "UINT32": dt.uint32,
    "UINT64": dt.uint64, "BOOL": dt.bool_, "COMPLEX64": dt.complex64, "COMPLEX128": dt.complex128, "INT4": dt.int8,
    "BFLOAT16": dt.float32,
}  # fmt: skip
_PACKED = ("INT4", "BFLOAT16")  # stored in other widths than they are computed with


def parse(data: bytes, name: str) -> ModelDef:
    """What is in the bytes of a file.

    Raises:
        InvalidModel: the file is malformed, cut short, or of another version.
        LimitExceeded: it describes more than an untrusted file may.
    """
    with _reading(name):
        return _Reader(data, name).model()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except HitherError:
        raise
    except _DAMAGED as error:
        raise InvalidModel(f"{name} is no TensorFlow Lite file, or is damaged or cut short: {error}") from error


def schema_package() -> Any:
    """The generated accessors of the schema."""
    try:
        import tflite
    except ImportError as error:
        raise PackageMissing("reading TensorFlow Lite files", "tflite", "tflite") from error
    return tflite


@functools.cache
def enumeration(name: str) -> dict[int, str]:
    """Value → name of an enumeration of the schema."""
    members = vars(getattr(schema_package(), name))
    return {v: k for k, v in members.items() if not k.startswith("_") and isinstance(v, int)}


@functools.cache
def _fields(table: str) -> tuple[tuple[str, str, bool], ...]:
    """(name in the schema, accessor, whether it is a vector) of an options table."""
    accessors = [
        a for a in vars(getattr(schema_package(), table))
        if not a.startswith(("_", "GetRoot")) and a != "Init" and not a.endswith(("BufferHasIdentifier", "Length", "IsNone"))
    ]  # fmt: skip
    return tuple(
        (re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", a).lower(), a, f"{a}AsNumpy" in accessors)
        for a in accessors
        if not a.endswith("AsNumpy")
    )


class _Reader:
    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name
        self.items = 0
        self.expanded = Room(MAX_EXPANDED_BYTES, "sparse and packed tensors")
        self.copied = Room(2 * len(data), "tensors that lie askew and are copied")  # many may share one buffer
        self.tflite = schema_package()

    # -- vectors and numbers ---------------------------------------------------------------------------------------------

    def count(self, length: int, what: str, width: int = 4) -> int:
        """A vector's length, if so much fits into the file and the budget."""
        if not 0 <= length * width <= len(self.data):
            raise InvalidModel(f"{self.name}: {length} {what} do not fit into {len(self.data)} bytes: damaged or cut short")
        self.items += length
        if self.items > MAX_ITEMS:
            raise LimitExceeded(f"{self.name} describes more than {MAX_ITEMS} items")
        return length

    def tables(self, length: int, get: Callable[[int], Any], what: str) -> Iterator[Any]:
        for i in range(self.count(length, what)):
            found = get(i)
            if found is None:
                raise InvalidModel(f"{self.name}: one of the {what} is missing")
            yield found

    def vector(self, table: Any, field: str, width: int = 4) -> np.ndarray | None:
        """A vector of numbers; None if it is not there."""
        length = self.count(getattr(table, f"{field}Length")(), field, width)
        return getattr(table, f"{field}AsNumpy")() if length else None

    def integers(self, table: Any, field: str) -> tuple[int, ...]:
        found = self.vector(table, field)
        return () if found is None else tuple(found.tolist())

    def text(self, raw: bytes | None) -> str:
        if raw is None:
            return ""
        self.count(len(raw), "characters", 1)
        return raw.decode("utf-8", "replace")

    def named(self, kind: str, value: int, what: str) -> str:
        found = enumeration(kind).get(value)
        if found is None:
            raise InvalidModel(f"{self.name}: {what} has {kind} {value}, which the installed tflite package does not know")
        return found

    # -- the model ---------------------------------------------------------------------------------------------------------

    def model(self) -> ModelDef:
        if len(self.data) < 16 or self.data[4:8] != b"TFL3":
            raise InvalidModel(f"{self.name} does not hold a TensorFlow Lite model (bytes 4 to 8 are not TFL3)")
        root = self.tflite.Model.GetRootAs(self.data, 0)
        if root.Version() != VERSION:
            raise InvalidModel(f"{self.name} has schema version {root.Version()}; hither reads version {VERSION}")
        codes = [self.code(c) for c in self.tables(root.OperatorCodesLength(), root.OperatorCodes, "operator codes")]
        buffers = [self.buffer(b) for b in self.tables(root.BuffersLength(), root.Buffers, "buffers")]
        graphs = list(self.tables(root.SubgraphsLength(), root.Subgraphs, "subgraphs"))
        if not graphs:
            raise InvalidModel(f"{self.name} has no subgraph")
        subgraphs = [self.subgraph(g, codes, buffers, len(graphs)) for g in graphs]
        signatures = [
            self.signature(s, subgraphs) for s in self.tables(root.SignatureDefsLength(), root.SignatureDefs, "signatures")
        ]
        metadata: dict[str, memoryview] = {}
        for entry in self.tables(root.MetadataLength(), root.Metadata, "metadata"):
            if 0 <= entry.Buffer() < len(buffers):
                metadata[self.text(entry.Name())] = buffers[entry.Buffer()]
        return ModelDef(subgraphs, signatures, self.text(root.Description()), metadata)

    def code(self, code: Any) -> tuple[str, bool, int]:
        """(operator, whether it is a custom one, version)."""
        # Files from before there were more than 127 operators have the number in the older field alone.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        operator = self.named("BuiltinOperator", number, "an operator")
        if operator == "CUSTOM":
            return self.text(code.CustomCode()), True, code.Version()
        return operator, False, code.Version()

    def buffer(self, buffer: Any) -> memoryview:
        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:  # outside the flatbuffer, in files of more than 2 GiB
            if offset + size > len(self.data):
                raise InvalidModel(f"{self.name}: a buffer at {offset} of {size} bytes lies outside the file")
            return memoryview(self.data)[offset : offset + size]
        length = buffer.DataLength()
        if not 0 <= length <= len(self.data):
            raise InvalidModel(f"{self.name}: a buffer of {length} bytes does not fit into the file")
        return memoryview(buffer.DataAsNumpy()).cast("B") if length else memoryview(b"")

    def signature(self, signature: Any, subgraphs: list[SubgraphDef]) -> Signature:
        index, key = signature.SubgraphIndex(), self.text(signature.SignatureKey())
        if not 0 <= index < len(subgraphs):
            raise InvalidModel(f"{self.name}: signature {key!r} names subgraph {index} of {len(subgraphs)}")
        graph = subgraphs[index]

        def ports(length: int, get: Callable[[int], Any], known: tuple[int, ...]) -> dict[str, int]:
            found = {self.text(m.Name()): m.TensorIndex() for m in self.tables(length, get, "names")}
            if not set(found.values()) <= set(known):
                raise InvalidModel(f"{self.name}: signature {key!r} names tensors that its subgraph does not take or give")
            return found

        inputs = ports(signature.InputsLength(), signature.Inputs, graph.inputs)
        outputs = ports(signature.OutputsLength(), signature.Outputs, graph.outputs)
        if len(inputs) < len(set(graph.inputs)):
            raise InvalidModel(f"{self.name}: signature {key!r} names {len(inputs)} of {len(set(graph.inputs))} inputs")
        return Signature(key, index, inputs, outputs)

    # -- subgraphs ---------------------------------------------------------------------------------------------------------

    def subgraph(self, graph: Any, codes: list[Any], buffers: list[memoryview], count: int) -> SubgraphDef:
        name = self.text(graph.Name())
        tensors = [self.tensor(t, buffers) for t in self.tables(graph.TensorsLength(), graph.Tensors, "tensors")]
        operators = []
        for i, op in enumerate(self.tables(graph.OperatorsLength(), graph.Operators, "operators")):
            if i >= MAX_NODES:
                raise LimitExceeded(f"{self.name}: subgraph {name!r} has more than {MAX_NODES} operators")
            operators.append(self.operator(op, codes, tensors, count))
        inputs, outputs = self.integers(graph, "Inputs"), self.integers(graph, "Outputs")
        self.indices((*inputs, *outputs), len(tensors), f"subgraph {name!r}")
        return SubgraphDef(name, tensors, inputs, outputs, operators)

    def indices(self, indices: tuple[int, ...], count: int, where: str, least: int = 0) -> None:
        wrong = [i for i in indices if not least <= i < count]
        if wrong:
            raise InvalidModel(f"{self.name}: {where} names tensor {wrong[0]} of {count}")

    def operator(self, op: Any, codes: list[Any], tensors: list[TensorDef], subgraphs: int) -> OperatorDef:
        if not 0 <= op.OpcodeIndex() < len(codes):
            raise InvalidModel(f"{self.name}: an operator has code {op.OpcodeIndex()} of {len(codes)}")
        op_type, custom, version = codes[op.OpcodeIndex()]
        inputs, outputs = self.integers(op, "Inputs"), self.integers(op, "Outputs")
        between = self.integers(op, "Intermediates")
        self.indices((*inputs, *between), len(tensors), f"an operator {op_type}", -1)
        self.indices(outputs, len(tensors), f"an operator {op_type}")
        label = f"{op_type} {tensors[outputs[0]].name!r}" if outputs else op_type
        options: dict[str, Any] = {}
        for kind, accessor, table in (
            ("BuiltinOptions", op.BuiltinOptionsType(), op.BuiltinOptions),
            ("BuiltinOptions2", op.BuiltinOptions2Type(), op.BuiltinOptions2),
        ):
            union = self.named(kind, accessor, label)
            found = table() if union != "NONE" else None
            if found is not None:
                options |= self.options(union, found)
        for key, value in options.items():
            if key.endswith("subgraph_index") and not 0 <= value < subgraphs:
                raise InvalidModel(f"{self.name}: {label} names subgraph {value} of {subgraphs}")
        raw = self.vector(op, "CustomOptions", 1)
        return OperatorDef(
            op_type, custom, version, label, inputs, outputs, between, options, b"" if raw is None else raw.tobytes()
        )

    def options(self, name: str, table: Any) -> dict[str, Any]:
        """All fields of an options table, by the schema's names."""
        made = getattr(self.tflite, name)()
        made.Init(table.Bytes, table.Pos)
        found: dict[str, Any] = {}
        for key, accessor, is_vector in _fields(name):
            if is_vector:
                found[key] = self.vector(made, accessor, 1)
            else:
                value = getattr(made, accessor)
                if value.__code__.co_argcount == 1:  # not a vector of tables
                    content = value()
                    found[key] = self.text(content) if isinstance(content, bytes) else content
        return found

    # -- tensors -----------------------------------------------------------------------------------------------------------

    def tensor(self, tensor: Any, buffers: list[memoryview]) -> TensorDef:
        name = self.text(tensor.Name())
        kind = self.named("TensorType", tensor.Type(), f"tensor {name!r}")
        shape, free = self.integers(tensor, "Shape"), self.integers(tensor, "ShapeSignature")
        if len(shape) > MAX_RANK or any(n < 0 for n in shape) or (free and len(free) != len(shape)):
            raise InvalidModel(f"{self.name}: tensor {name!r} has shape {shape} and signature {free}")
        if any(f != n and f >= 0 for f, n in zip(free, shape)):
            raise InvalidModel(f"{self.name}: tensor {name!r} has shape {shape} but signature {free}")
        dtype = _DTYPES.get(kind)
        content = self.content(tensor, name, shape, kind, buffers)
        quantization = self.quantization(tensor.Quantization(), name, shape)
        # No shape is a scalar's, or one that is not known: only newer files tell.
        signature = tuple(None if f < 0 else f for f in free) if free else shape if shape or tensor.HasRank() else None
        return TensorDef(name, shape, signature, dtype, kind, content, quantization, bool(tensor.IsVariable()))

    def content(
        self, tensor: Any, name: str, shape: tuple[int, ...], kind: str, buffers: list[memoryview]
    ) -> np.ndarray | None:
        index = tensor.Buffer()
        if not 0 <= index < len(buffers):
            raise InvalidModel(f"{self.name}: tensor {name!r} lies in buffer {index} of {len(buffers)}")
        raw, dtype = buffers[index], _DTYPES.get(kind)
        if not raw or dtype is None:
            return None
        size = 1
        for n in shape:
            size *= n
        if size * dtype.itemsize > MAX_VALUE_BYTES:
            raise LimitExceeded(f"{self.name}: tensor {name!r} of shape {shape} is larger than {MAX_VALUE_BYTES} bytes")
        sparsity = tensor.Sparsity()
        if sparsity is not None or kind in _PACKED:
            self.expanded.take(size * dtype.itemsize, f"{self.name}: tensor {name!r}")
        if sparsity is not None:
            if kind in _PACKED:
                raise UnsupportedFeature(f"{self.name}: tensor {name!r} is a sparse one of {kind}")
            return self.sparse(sparsity, np.frombuffer(raw, dtype.numpy), name, shape)
        width = {"INT4": -(-size // 2), "BFLOAT16": 2 * size}.get(kind, size * dtype.itemsize)
        if len(raw) != width:
            raise InvalidModel(f"{self.name}: tensor {name!r} of shape {shape} takes {width} bytes, its buffer has {len(raw)}")
        if kind == "INT4":
            pairs = np.frombuffer(raw, np.uint8)
            nibbles = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:size].astype(np.int8)
            return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8).reshape(shape)
        if kind == "BFLOAT16":
            return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
        if kind == "BOOL":
            return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
        found = np.frombuffer(raw, dtype.numpy).reshape(shape)
        if found.flags.aligned:
            return found
        self.copied.take(found.nbytes, f"{self.name}: tensor {name!r}")
        return found.copy()

    def sparse(self, sparsity: Any, values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
        levels = [
            self.level(d) for d in self.tables(sparsity.DimMetadataLength(), sparsity.DimMetadata, "axes of a sparse tensor")
        ]
        order, blocks = self.integers(sparsity, "TraversalOrder"), self.integers(sparsity, "BlockMap")
        try:
            return expand(values, shape, order, blocks, levels)
        except ValueError as error:
            raise InvalidModel(f"{self.name}: tensor {name!r}: {error}") from error

    def level(self, dimension: Any) -> Level:
        if self.named("DimensionType", dimension.Format(), "a sparse axis") == "DENSE":
            return Level(dimension.DenseSize())
        return Level(
            0,
            self.index_vector(dimension.ArraySegmentsType(), dimension.ArraySegments()),
            self.index_vector(dimension.ArrayIndicesType(), dimension.ArrayIndices()),
        )

    def index_vector(self, kind: int, table: Any) -> np.ndarray:
        union = self.named("SparseIndexVector", kind, "a sparse axis")
        if union == "NONE" or table is None:
            return np.zeros(0, np.int64)
        made = getattr(self.tflite, union)()
        made.Init(table.Bytes, table.Pos)
        found = self.vector(made, "Values", 1)
        return np.zeros(0, np.int64) if found is None else found

    def quantization(self, found: Any, name: str, shape: tuple[int, ...]) -> Quantization | None:
        if found is None:
            return None
        scale = self.vector(found, "Scale")
        if scale is None:
            return None  # only the range that was seen, or custom parameters
        zero = self.vector(found, "ZeroPoint", 8)
        axis = found.QuantizedDimension()
        zeros = np.zeros(len(scale), np.int64) if zero is None else zero.astype(np.int64)
        if len(zeros) == 1 and len(scale) > 1:
            zeros = np.repeat(zeros, len(scale))
        fits = len(scale) == len(zeros) and (len(scale) == 1 or (0 <= axis < len(shape) and shape[axis] == len(scale)))
        if not fits:
            raise InvalidModel(
                f"{self.name}: tensor {name!r} of shape {shape} has {len(scale)} scales and {len(zeros)} zero points "
                f"along axis {axis}"
            )
        if not (np.isfinite(scale) & (scale >= 0)).all() or (np.abs(zeros) > 1 << 31).any():
            raise InvalidModel(f"{self.name}: tensor {name!r} has a scale or zero point that is no number")
        return Quantization(scale.astype(np.float32), zeros, axis)
