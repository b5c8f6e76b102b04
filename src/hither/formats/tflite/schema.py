"""What a TensorFlow Lite file holds, as checked plain data: subgraphs of tensors and operators, and the signatures over them.

The names of fields and options are the schema's own (tensorflow/compiler/mlir/lite/schema/schema.fbs). Nothing here refers to
the flatbuffer: reader.py makes these from it and checks every index, length and shape on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...dtypes import DType
from ...errors import UnsupportedFeature


@dataclass(frozen=True, eq=False)
class Quantization:
    """Real numbers as integers: `scale · (q - zero_point)`; one pair, or one for each index along `axis`."""

    scale: np.ndarray  # float32[1 or n]
    zero_point: np.ndarray  # int64, of the same length
    axis: int

    @property
    def per_axis(self) -> bool:
        return len(self.scale) > 1


@dataclass(frozen=True, eq=False)
class TensorDef:
    """A tensor: `array` is its value where the file holds one (sparse ones expanded), `dtype` None for resources."""

    name: str
    shape: tuple[int, ...]
    free: tuple[int | None, ...] | None  # the shape with None for free extents; None if not even the rank is fixed
    dtype: DType | None
    kind: str  # the type as the schema names it
    array: np.ndarray | None = field(default=None, repr=False)
    quantization: Quantization | None = None
    is_variable: bool = False

    @property
    def element(self) -> DType:
        """The dtype of a tensor of numbers.

        Raises:
            UnsupportedFeature: the tensor holds strings, or something else that is no number.
        """
        if self.dtype is None:
            raise UnsupportedFeature(f"tensor {self.name!r} holds {self.kind.lower()}, which hither does not compute with")
        return self.dtype


@dataclass(frozen=True, eq=False)
class OperatorDef:
    """An operator: indices of its tensors (-1 where one is left out), and its options by the schema's names."""

    op_type: str  # the builtin operator, or the name of a custom one
    is_custom: bool
    version: int
    label: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Mapping[str, Any] = field(repr=False)
    custom_options: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, eq=False)
class SubgraphDef:
    """One function of the file. Operators are in the order in which they run."""

    name: str
    tensors: Sequence[TensorDef]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: Sequence[OperatorDef]


@dataclass(frozen=True)
class Signature:
    """Names for the inputs and outputs of a subgraph: {name: index of the tensor}."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class ModelDef:
    """A whole file."""

    subgraphs: Sequence[SubgraphDef]
    signatures: Sequence[Signature]
    description: str
    metadata: Mapping[str, memoryview] = field(repr=False, default_factory=dict)
