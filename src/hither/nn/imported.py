"""An imported Model as a layer: its weights become the layer's arrays, so that it can be cut, frozen, extended and trained.

The model's Graph is data: the named constants in it are the weights, and a call applies its nodes to whatever stands in their
places. So every format trains in the same way, and no importer knows of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..array import Array
from ..dtypes import dtype, float16, float32
from ..errors import NameMismatch, ShapeMismatch, UnsupportedFeature
from ..graph.core import Abstract, Graph, GraphBuilder, Node, Value, prune, rewrite
from ..graph.trace import call_graph, noting, weight
from ..model import Model
from ..passes.channels import output_axes
from ..spec import Spec
from ..transforms import vmap
from .layer import Layer, Weight
from .lora import adapted, low_rank_shapes
from .module import Module

Patterns = bool | str | Sequence[str] | Callable[[str], bool]
TRIED = {0: 1}  # extents that are free when the weights are looked for: one sample, and 64 of anything else
FREE = 64


def from_model(
    model: Model,
    outputs: str | Sequence[str] | None = None,
    *,
    freeze: Patterns = False,
    lora: int | Mapping[str, int] | None = None,
    name: str | None = None,
) -> Imported:
    """A layer that computes what an imported model does, with weights that a Trainer trains.

    Args:
        model: what `hither.load` gives, of whatever format.
        outputs: where to cut: the name of an output, of a value inside (ONNX and TFLite tensors, TF.js nodes), or of the node
            or layer that makes it; a list for several, which come in a dict. The model's outputs if not given.
        freeze: which weights stay as they are: True for all, patterns of names ("conv1*"), or a function of the name. Means and
            variances of batch normalisations, which gradients do not change, always stay.
        lora: the rank of a trained change to each matrix and convolution, or {pattern of names: rank}; those that have one, and
            all other weights, stay (see LoRA). What a pattern fits and has no such change (biases, and what is smaller than the
            rank) is passed over; a weight that is named is not. `merge()` makes the changes part of the weights.
        name: the layer's.

    Returns:
        A layer for Sequential and Functional networks. Batches may be of any size, also where the file fixes it to one sample:
        the network is then mapped over the samples.

    Raises:
        NameMismatch: there is no value of a name given; lists those that are close.
        UnsupportedFeature: the model keeps a state, or has outputs of data-dependent size; LoRA of a named weight that is no
            matrix.
        ValueError: a rank that is not below the extents of a named weight.

    Example:
        >>> model = hither.load("mobilenet.onnx")                                                       # doctest: +SKIP
        >>> backbone = hither.nn.from_model(model, "features", freeze=True)                             # doctest: +SKIP
        >>> net = hither.nn.Sequential([backbone, hither.nn.Dense(5)])                                  # doctest: +SKIP
        >>> hither.Trainer(net, loss=…).fit(pictures, labels)                                           # doctest: +SKIP
    """
    return Imported(model, outputs, freeze=freeze, lora=lora, name=name)


class Imported(Layer):
    """What `from_model` makes. The weights have the names that they have in the file."""

    def __init__(
        self, model: Model, outputs: str | Sequence[str] | None = None, *, freeze: Patterns = False,
        lora: int | Mapping[str, int] | None = None, name: str | None = None, trainable: bool = True,
    ) -> None:  # fmt: skip
        if not isinstance(model, Model):
            raise TypeError(f"from_model takes a Model, as hither.load gives it; got a {type(model).__name__}")
        super().__init__(name=name or re.sub(r"\W+", "_", model.name).strip("_") or "model", trainable=trainable)
        self.model = model
        self.cuts = [outputs] if isinstance(outputs, str) else list(outputs) if outputs is not None else None
        self.freeze, self.lora = freeze, lora
        self._graphs: dict[Any, tuple[Graph, dict[str, list[Value]]]] = {}
        self._attributes: dict[str, str] = {}  # a weight's name in the file → the attribute that holds it
        self._factors: dict[str, tuple[str, str, tuple[int, ...]]] = {}  # two attributes, and the weight's output axes
        self._noted: set[Value] = set()
        if len(model.inputs) == 1:
            (spec,) = model.inputs.values()
            if spec.shape is not None and spec.dtype.name == "float32" and all(isinstance(e, int) for e in spec.shape[1:]):
                self.batch_input_shape = (None, *(int(e) for e in spec.shape[1:] if e is not None))

    def parts(self) -> Iterator[tuple[str, Module]]:
        return iter(())

    # -- weights -------------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        shapes = self._by_name(input_shape) if input_shape is not None else {n: None for n in self.model.inputs}
        abstracts = {}
        for name, spec in self.model.inputs.items():
            seen = shapes[name]
            own = spec.shape if spec.shape is not None else seen
            given = seen if seen is not None and len(seen) == len(own or ()) else own
            if own is None or given is None:
                raise ShapeMismatch(f"{self.name}: the shape of input {name!r} is not known; call the layer once")
            pairs = [e if isinstance(e, int) else g for e, g in zip(own, given)]
            extents = tuple(n if isinstance(n, int) else TRIED.get(i, FREE) for i, n in enumerate(pairs))
            abstracts[name] = Abstract(extents, spec.dtype)
        graph, weights = self._graph(abstracts)
        for path, places in weights.items():
            attribute = path if not hasattr(type(self), path) and path not in vars(self) else f"{path}_"
            self._attributes[path] = attribute
            setattr(self, attribute, Array(np.array(graph.constants[places[0]])))
            self._kept[attribute] = Weight(self.lora is None and not self._matches(self.freeze, path))
        if self.lora is not None:
            self._adapt(graph, weights)
        fixed = self._statistics(graph)
        for path in fixed:
            self._kept[self._attributes[path]].trainable = False

    def _adapt(self, graph: Graph, weights: Mapping[str, list[Value]]) -> None:
        ranks = {"*": self.lora} if isinstance(self.lora, int) else dict(self.lora or {})
        users = graph.users()
        for path, places in weights.items():
            rank = ranks.get(path, next((r for pattern, r in ranks.items() if fnmatchcase(path, pattern)), None))
            if rank is None:
                continue
            outputs = _outputs(users, places)
            try:
                if outputs is None:
                    raise UnsupportedFeature(
                        f"{self.name}: nothing reads {path!r} {list(places[0].shape)} as a matrix, which LoRA changes"
                    )
                first, second = low_rank_shapes(path, places[0].shape, rank, outputs)
            except ValueError:
                if path in ranks:  # asked for by its name, not by a pattern that many fit
                    raise
                continue
            names = f"{path}.lora_a", f"{path}.lora_b"
            self.add_weight(names[0], first, "he_uniform")
            self.add_weight(names[1], second, "zeros")
            self._factors[path] = *names, outputs
        if not self._factors:
            raise NameMismatch(f"{self.name}: lora={self.lora!r} fits no matrix; the weights are {', '.join(weights)}")

    def merge(self) -> Imported:
        """Make the changes of low rank part of the weights they belong to."""
        for path, (_, b, _) in self._factors.items():
            attribute = self._attributes[path]
            setattr(self, attribute, self._weight(path))
            setattr(self, b, Array(np.zeros(getattr(self, b).shape, np.float32)))
        return self

    @staticmethod
    def _matches(patterns: Patterns, path: str) -> bool:
        if isinstance(patterns, bool):
            return patterns
        if callable(patterns):
            return bool(patterns(path))
        return any(fnmatchcase(path, p) for p in ([patterns] if isinstance(patterns, str) else patterns))

    def _weight(self, path: str) -> Any:
        array = getattr(self, self._attributes[path])
        if path not in self._factors:
            return array
        first, second, outputs = self._factors[path]
        a, b = getattr(self, first), getattr(self, second)
        return adapted(array, a, b, a.shape[1], outputs)

    def _statistics(self, graph: Graph) -> set[str]:
        return {v.name for v in graph.constants if v in self._noted and v.name in self._attributes}

    # -- the graph -----------------------------------------------------------------------------------------------------------

    def _graph(self, abstracts: Mapping[str, Abstract]) -> tuple[Graph, dict[str, list[Value]]]:
        """The model up to where it is cut, for inputs of these shapes, and its weights by name."""
        key = tuple(abstracts.items())
        if key not in self._graphs:
            with noting() as notes:
                whole = self.model.graph({n: Spec(a.shape, a.dtype) for n, a in abstracts.items()})
            if whole.state:
                raise UnsupportedFeature(
                    f"{self.name} keeps state from call to call ({', '.join(whole.state)}), which is not trained"
                )
            if whole.output_lengths:
                raise UnsupportedFeature(
                    f"{self.name}: the size of {next(iter(whole.output_lengths))!r} depends on data; cut the model before"
                )
            graph, replaced = _widened(whole if self.cuts is None else self._cut(whole, notes.named))
            self._noted = {replaced.get(v, v) for v in notes.statistics}
            weights: dict[str, list[Value]] = {}
            for value, array in graph.constants.items():
                if value.name and array.dtype.kind == "f" and array.size > 1:
                    known = weights.setdefault(value.name, [])
                    if not known or np.array_equal(graph.constants[known[0]], array):
                        known.append(value)
            self._graphs[key] = graph, weights
        return self._graphs[key]

    def _cut(self, graph: Graph, named: Mapping[str, Value]) -> Graph:
        made = {r for node in graph.nodes for r in node.results}
        found: dict[str, Value] = {n: v for n, v in named.items() if v in made}
        by_node: dict[str, Value] = {}
        for node in graph.nodes:  # the last node of a label makes its result
            for label in _labels(node.source):
                by_node[label] = node.results[0]
        found = {**by_node, **found, **dict(zip(graph.output_names, graph.outputs))}
        cuts = self.cuts or []
        for cut in cuts:
            if cut not in found:
                close = difflib.get_close_matches(cut, found, 6, 0.3) or list(found)[-6:]
                raise NameMismatch(
                    f"{self.name} computes nothing called {cut!r}; there are, for example, {', '.join(map(repr, close))} "
                    "(hither inspect MODEL --html shows all)"
                )
        outputs = tuple(found[c] for c in cuts)
        return prune(Graph(graph.inputs, graph.constants, graph.nodes, outputs, graph.input_names, tuple(cuts), graph.name))

    # -- calls ---------------------------------------------------------------------------------------------------------------

    def _by_name(self, inputs: Any) -> dict[str, Any]:
        names = list(self.model.inputs)
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        elif isinstance(inputs, list) or (isinstance(inputs, tuple) and not all(isinstance(n, int | None) for n in inputs)):
            given = dict(zip(names, inputs, strict=len(inputs) == len(names)))
        else:
            given = {names[0]: inputs}
        if set(given) != set(names):
            raise NameMismatch(f"{self.name} takes the inputs {', '.join(map(repr, names))}; got {', '.join(map(repr, given))}")
        return {n: given[n] for n in names}

    def call(self, inputs: Any) -> Any:
        arrays = self._by_name(inputs)
        whole = {n: Abstract(tuple(x.shape), dtype(x.dtype)) for n, x in arrays.items()}
        if self._fixed_to_one(whole):
            single = {n: Abstract((1, *a.shape[1:]), a.dtype) for n, a in whole.items()}

            def sample(*xs: Any) -> list[Any]:
                return [y[0] for y in self._apply(single, [x[None] for x in xs])]

            results = vmap(sample)(*arrays.values())
            graph, _ = self._graph(single)
        else:
            results = self._apply(whole, list(arrays.values()))
            graph, _ = self._graph(whole)
        return results[0] if len(results) == 1 else dict(zip(graph.output_names, results, strict=True))

    def _apply(self, abstracts: Mapping[str, Abstract], arrays: Sequence[Any]) -> list[Any]:
        graph, weights = self._graph(abstracts)
        lost = [path for path in weights if path not in self._attributes]
        if lost:
            raise UnsupportedFeature(f"{self.name}: weight {lost[0]!r} is only used for inputs of this size; build it for such")
        own = {path: self._weight(path) for path in weights}
        # as constants of a trace they stay as small as they are: what is evaluated at once broadcasts biases to whole pictures
        own = {path: weight(w.numpy(), path) if isinstance(w, Array) else w for path, w in own.items()}
        filled = {value: own[path] for path, places in weights.items() for value in places}
        return list(call_graph(graph, *arrays, constants=filled))

    def _fixed_to_one(self, abstracts: Mapping[str, Abstract]) -> bool:
        """Whether the file is for one sample at a time, and this is a batch of several."""
        firsts = [s.shape[0] if s.shape else None for s in self.model.inputs.values()]
        given = {a.shape[0] if a.shape else None for a in abstracts.values()}
        return all(n == 1 for n in firsts) and given != {1} and len(given) == 1

    def get_config(self) -> dict[str, Any]:
        raise UnsupportedFeature(
            f"{self.name!r} is an imported model, which has no configuration to write: keep its file, and save the "
            "weights alone (hither.save_weights(net.weights, …), or trainer.save(…, weights_only=True)), or "
            "write it all as .onnx, with specs"
        )


def _widened(graph: Graph) -> tuple[Graph, dict[Value, Value]]:
    """The weights that a file stores in halves and the model computes with in float32, as float32, which what training adds to
    them needs; and which have replaced which."""
    users = graph.users()
    replaced = {
        value: Value(Abstract(value.shape, float32), value.name)
        for value in graph.constants
        if value.dtype == float16 and value not in graph.outputs and _only_widened(users.get(value, ()))
    }
    constants = {replaced.get(v, v): a.astype(np.float32) if v in replaced else a for v, a in graph.constants.items()}

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        return [replaced[operands[0]]] if operands and operands[0] in replaced else None

    return rewrite(replace(graph, constants=constants), rule), replaced


def _only_widened(users: Sequence[Node]) -> bool:
    return all(n.primitive.name == "convert" and n.results[0].dtype == float32 for n in users)


def _outputs(users: Mapping[Value, Sequence[Node]], places: Sequence[Value]) -> tuple[int, ...] | None:
    """The output axes of a weight, as all that reads it has them. Of a matrix that no product reads itself (a recurrent
    layer's) either axis can be; None for other arrays, and for vectors."""
    shape = places[0].shape
    long = [axis for axis, n in enumerate(shape) if n > 1]
    found = {output_axes(users, place) for place in places}
    axes = found.pop() if len(found) == 1 else None
    if len(long) < 2:
        return None
    return axes if axes is not None or len(long) > 2 else (long[1],)


def _labels(source: str) -> list[str]:
    """What a node may be called: an importer writes "Conv 'conv1' of model.onnx", a network "net/block/conv1 (Conv2D)"."""
    quoted = re.match(r"(\w+) '(.*)' of ", source)
    if quoted:
        return [quoted[2]]
    path = source.rpartition(" (")[0]
    parts = path.split("/") if path else []
    return [label for i in range(len(parts)) for label in ("/".join(parts[: i + 1]), parts[i])]
