"""What of a model survives from call to call, and what it is before the first.

There are two kinds: resources, which VAR_HANDLE names and a subgraph behind CALL_ONCE initialises, and tensors that the file
marks as variable (the state of recurrent layers), which start as zero. Initialising happens here, once, with NumPy; a call then
takes the values that the one before left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...errors import InvalidModel, LimitExceeded
from ...graph.trace import static_value
from ..interpreter import MAX_VALUE_BYTES
from .importer import Importer
from .schema import ModelDef, TensorDef


def reachable(model: ModelDef, start: int) -> list[int]:
    """A subgraph and all that it calls, directly or not, in order of first mention."""
    found, stack = [start], [start]
    while stack:
        for op in model.subgraphs[stack.pop()].operators:
            for key, value in op.options.items():
                called = key.endswith("subgraph_index") or (op.op_type == "CALL" and key == "subgraph")
                if called and 0 <= int(value) < len(model.subgraphs) and int(value) not in found:
                    found.append(int(value))
                    stack.append(int(value))
    return found


def initial_values(model: ModelDef, start: int, name: str) -> dict[str, np.ndarray]:
    """{variable: value before the first call} of a subgraph and what it calls.

    Raises:
        InvalidModel: two variable tensors have one name, or an initialiser needs inputs.
    """
    graphs = reachable(model, start)
    importer = Importer(model, name)
    for index in graphs:
        for op in model.subgraphs[index].operators:
            if op.op_type == "CALL_ONCE" and not op.is_custom:
                importer.run(int(op.options.get("init_subgraph_index", 0)), {})
    found: dict[str, np.ndarray] = {}
    for key, value in importer.variables.items():
        known = static_value(value)
        if known is None:
            raise InvalidModel(f"{name}: the initial value of variable {key!r} is not known")
        found[key] = known
    for tensor in _variable_tensors(model, graphs):
        if tensor.name in found:
            raise InvalidModel(f"{name}: two variables have the name {tensor.name!r}")
        if math.prod(tensor.shape) * tensor.element.itemsize > MAX_VALUE_BYTES:
            raise LimitExceeded(f"{name}: variable {tensor.name!r} of shape {tensor.shape} exceeds {MAX_VALUE_BYTES} bytes")
        found[tensor.name] = _zero(tensor)
    return found


def _variable_tensors(model: ModelDef, graphs: list[int]) -> Iterator[TensorDef]:
    for index in graphs:
        graph = model.subgraphs[index]
        used = {i for op in graph.operators for i in op.inputs if i >= 0}
        yield from (t for i, t in enumerate(graph.tensors) if t.is_variable and i in used and i not in graph.inputs)


def _zero(tensor: TensorDef) -> np.ndarray:
    if tensor.array is not None:
        return tensor.array
    quantization = tensor.quantization
    zero = int(quantization.zero_point[0]) if quantization is not None and tensor.element.is_integer else 0
    return np.full(tensor.shape, zero, tensor.element.numpy)


__all__ = ["initial_values", "reachable"]
