"""Writes a Graph as an ONNX model, node by node: each primitive by its rule, control flow as subgraphs.

Weights keep their names, so that a file that goes through hither can still be recognised. What ONNX has one operator for and
a Graph computes with several primitives becomes that operator (composites.py). ONNX's elementwise operators broadcast by
themselves, so a broadcast that only they read is not written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....dtypes import DType
from ....errors import PackageMissing, UnsupportedOperators
from ....graph.core import Graph, Node, Value
from ....graph.primitive import Elementwise
from ....passes import open_barriers, tidy
from ....program.compile import graphs_of
from .composites import Found, lined, without_leading_ones

OPSET = 18
IR_VERSION = 8  # of opset 18
_INLINE_LIMIT = (1 << 31) - (1 << 20)  # protobuf holds less than 2 GiB

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register `(writer, node, *operand names) -> result name or names` as the way to write these primitives."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def export(target: Any, specs: Mapping[str, Any] | None = None, *, name: str = "hither") -> Any:
    """An `onnx.ModelProto` of what `hither.compile` takes: a Model, a network of layers, a function.

    What a Model keeps from call to call is an input and an output of the file, `name` and `name.next`: the caller carries it.

    Args:
        target: the model.
        specs: {input name: Spec}: the shapes to write it for, where the model leaves them free.
        name: the graph's name.

    Raises:
        UnsupportedOperators: if it computes something that ONNX has no operators for; names all of it.
        ShapeMismatch: an extent stays free.
    """
    traced = next(iter(graphs_of(target, specs).values()))
    graph = open_barriers(tidy(traced))
    missing = sorted({("hither", n, OPSET) for n in _primitives(graph) if n not in RULES})
    if missing:
        raise UnsupportedOperators(f"{name} as ONNX", set(missing))
    return Writer(graph, name).model(getattr(traced, "output_lengths", {}))


def save(target: Any, path: str | os.PathLike[str], specs: Mapping[str, Any] | None = None) -> None:
    """Write an ONNX file; weights that do not fit into one go into `<file>.data` beside it. Arguments as for `export`.

    Raises:
        PackageMissing: onnx is not installed. Otherwise as `export`.
    """
    try:
        import onnx
    except ImportError as error:
        raise PackageMissing("writing ONNX files", "onnx", "onnx") from error

    where = Path(path)
    proto = export(target, specs, name=where.stem)
    if proto.ByteSize() < _INLINE_LIMIT:
        onnx.save(proto, where)
    else:
        onnx.save(proto, where, save_as_external_data=True, location=f"{where.name}.data")


def _primitives(graph: Graph) -> set[str]:
    found = {node.primitive.name for node in graph.nodes}
    for node in graph.nodes:
        for value in node.params.values():
            if isinstance(value, Graph):
                found |= _primitives(value)
    return found


class Writer:
    """One Graph being written. Rules add nodes with `op` and constants with `const`, by name."""

    def __init__(self, graph: Graph, name: str, outer: Writer | None = None) -> None:
        import onnx

        self.onnx, self.graph, self.name, self.outer = onnx, graph, name, outer
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Value, str] = {}
        self.found = Found(graph)
        self.root: Writer = self if outer is None else outer.root
        if outer is None:
            self.taken: set[str] = set()
            self.constants: dict[tuple[Any, ...], str] = {}

    # -- for rules ---------------------------------------------------------------------------------------------------------

    def op(self, op_type: str, *inputs: str, results: int = 1, name: str = "", **attributes: Any) -> Any:
        """Add a node; the name of its result, or a list of names if it has several."""
        outputs = [self.unique(name or op_type.lower()) for _ in range(results)]
        self.nodes.append(
            self.onnx.helper.make_node(op_type, list(inputs), outputs, self.unique(f"{op_type}_node"), **attributes)
        )
        return outputs[0] if results == 1 else outputs

    def const(self, values: Any, kind: Any = np.int64) -> str:
        """A constant: shapes, axes, literals. Equal ones are one."""
        array = np.asarray(values, kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        root = self.root
        if key not in root.constants:
            root.constants[key] = root._initializer(array, "const")
        return root.constants[key]

    def number(self, value: Any, like: DType) -> str:
        """A scalar of a dtype."""
        return self.const(value, like.numpy)

    def cast(self, x: str, to: DType) -> str:
        """Another dtype, the way C converts."""
        return self.op("Cast", x, to=self.element_type(to))

    def element_type(self, kind: DType) -> int:
        """ONNX's number for a dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind.numpy)))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """The same elements in another shape."""
        return self.op("Reshape", x, self.const(list(shape)), allowzero=int(0 in shape))

    def transpose(self, x: str, permutation: Sequence[int]) -> str:
        """Axes permuted; nothing if they stay."""
        return x if list(permutation) == list(range(len(permutation))) else self.op("Transpose", x, perm=list(permutation))

    def unique(self, name: str) -> str:
        """A name that nothing has yet."""
        taken = self.root.taken
        made, count = name, 0
        while made in taken:
            count += 1
            made = f"{name}_{count}"
        taken.add(made)
        return made

    def subgraph(self, graph: Graph, operands: Sequence[str], name: str) -> Any:
        """A GraphProto without inputs that computes a Graph of these values of the graphs around it."""
        inner = Writer(graph, name, self)
        inner.names.update(zip(graph.inputs, operands, strict=True))
        inner.run()
        return inner.proto([], inner.results())

    def inlined(self, graph: Graph, operands: Sequence[str]) -> list[str]:
        """The results of a Graph on these values, its nodes among this writer's."""
        inner = Writer(graph, self.name, self)
        inner.names.update(zip(graph.inputs, operands, strict=True))
        inner.nodes, inner.initializers = self.nodes, self.initializers
        inner.run()
        return [inner.name_of(v) for v in graph.outputs]

    # -- the whole -----------------------------------------------------------------------------------------------------------

    def _initializer(self, array: np.ndarray, name: str) -> str:
        made = self.unique(name or "weight")
        self.initializers.append(self.onnx.numpy_helper.from_array(np.asarray(array, order="C"), made))
        return made

    def run(self) -> None:
        """Write all nodes."""
        nodes, composites = self.found.plan()
        for node in nodes:
            if node.primitive.name == "broadcast":
                continue  # written where it is read as such
            composite = composites.get(id(node))
            if not any(r.abstract.size for r in node.results):  # not every operator of ONNX Runtime makes nothing
                names = [self.const(np.zeros(r.shape), r.dtype.numpy) for r in node.results]
            else:
                if composite is not None:
                    made = composite.write(self, *[self.name_of(o) for o in composite.operands])
                else:
                    made = RULES[node.primitive.name](self, node, *self._operands(node))
                names = made if isinstance(made, list) else [made]
            self.names.update(zip(node.results, names, strict=True))

    def _operands(self, node: Node) -> list[str]:
        """The names that a node reads: of elements that are repeated, those that ONNX repeats by itself."""
        if not isinstance(node.primitive.lowering, Elementwise) or len(node.operands) == 1:
            return [self.name_of(o) for o in node.operands]
        shapes = [self._small_shape(o) for o in node.operands]
        whole = np.broadcast_shapes(*shapes) == tuple(node.results[0].shape)
        return [self._small(o) if whole else self.name_of(o) for o in node.operands]

    def _small_shape(self, value: Value) -> tuple[int, ...]:
        spread, known = self.found.node(value, "broadcast"), self.found.known(value)
        if known is not None:
            return tuple(known.shape)
        return tuple(value.shape if spread is None else lined(spread))

    def _small(self, value: Value) -> str:
        """The name of something that broadcasts to the value."""
        spread, known = self.found.node(value, "broadcast"), self.found.known(value)
        if known is not None:
            return self.weight(known, self.found.named(value))
        if spread is None:
            return self.name_of(value)
        x, shape = spread.operands[0], lined(spread)
        return (
            self.name_of(x)
            if list(without_leading_ones(np.broadcast_to(0, shape)).shape) == list(x.shape)
            else self.reshape(self.name_of(x), shape)
        )

    def name_of(self, value: Value) -> str:
        """The name of a value; what does not exist yet, constants and broadcasts, is written."""
        if value not in self.names:
            array = self.graph.constants.get(value)
            if array is not None:
                self.names[value] = self.weight(array, value.name)
            else:
                spread = self.found.made[value]
                self.names[value] = RULES["broadcast"](self, spread, self.name_of(spread.operands[0]))
        return self.names[value]

    def weight(self, array: np.ndarray, name: str = "") -> str:
        """A constant that keeps the name of the weight it is; literals share one."""
        if array.size <= 1 or not name:
            return self.const(array, array.dtype)
        key = (name, array.dtype.str, array.shape, array.tobytes())
        root = self.root
        if key not in root.constants:
            root.constants[key] = root._initializer(array, name)
        return root.constants[key]

    def results(self) -> list[tuple[str, Value]]:
        """(name, value) of the outputs; what is not made here or is an output already gets a node that copies it."""
        made = {name for node in self.nodes for name in node.output}
        found: list[tuple[str, Value]] = []
        for value in self.graph.outputs:
            name = self.name_of(value)
            if name not in made or any(name == n for n, _ in found):
                name = self.op("Identity", name)
            found.append((name, value))
        return found

    def info(self, name: str, kind: DType, shape: Sequence[Any]) -> Any:
        """What ONNX says of an input or output."""
        return self.onnx.helper.make_tensor_value_info(name, self.element_type(kind), list(shape))

    def proto(self, inputs: list[Any], results: list[tuple[str, Value]]) -> Any:
        """The GraphProto."""
        outputs = [self.info(name, value.dtype, value.shape) for name, value in results]
        return self.onnx.helper.make_graph(self.nodes, self.name, inputs, outputs, self.initializers)

    def model(self, lengths: Mapping[str, tuple[int, int]]) -> Any:
        """The ModelProto. `lengths`: outputs that are trimmed to a length which another output holds (see ModelGraph)."""
        graph = self.graph
        inputs = []
        for i, value in enumerate(graph.inputs):
            label = graph.input_names[i] if i < len(graph.input_names) else value.name
            self.names[value] = self.unique(label or f"input_{i}")
            inputs.append(self.info(self.names[value], value.dtype, value.shape))
        outputs_wanted = [n or f"output_{i}" for i, n in enumerate(graph.output_names or [""] * len(graph.outputs))]
        outputs_wanted = [f"{n}.next" if n in self.taken else n for n in outputs_wanted]  # state: read, and computed anew
        self.taken.update(outputs_wanted)
        self.run()
        made = self.results()
        outputs = []
        for label, (name, value) in zip(outputs_wanted[: len(outputs_wanted) - len(lengths)], made):
            shape: list[Any] = list(value.shape)
            if label in lengths:
                index, axis = lengths[label]
                stop = self.op("Reshape", made[index][0], self.const([1]))
                name = self.op("Slice", name, self.const([0]), stop, self.const([axis]))
                shape[axis] = f"{label}_length"
            self.nodes.append(self.onnx.helper.make_node("Identity", [name], [label], self.unique(f"output_{label}")))
            outputs.append(self.info(label, value.dtype, shape))
        proto = self.onnx.helper.make_graph(self.nodes, self.name, inputs, outputs, self.initializers)
        opsets = [self.onnx.helper.make_opsetid("", OPSET)]
        made_model = self.onnx.helper.make_model(proto, opset_imports=opsets, producer_name="hither", ir_version=IR_VERSION)
        self.onnx.checker.check_model(made_model)
        return made_model


from . import rules_arrays, rules_elementwise, rules_nets  # noqa: E402, F401  (they fill RULES)
