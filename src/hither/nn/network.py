"""Networks of layers: Functional, drawn with symbolic tensors, and Sequential, a plain stack.

Both are layers themselves, so networks nest, and a layer that occurs twice shares its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from ..errors import NameMismatch
from ..graph.tree import flatten, unflatten
from . import config
from .layer import Layer, parameters_of, running
from .module import Module
from .symbolic import Call, InputLayer, SymbolicTensor, symbols


class Network(Layer):
    """What Functional and Sequential share."""

    @property
    def layers(self) -> list[Layer]:
        """The layers, each once, in the order in which they run."""
        raise NotImplementedError

    def parts(self) -> Iterator[tuple[str, Module]]:
        return ((layer.name, layer) for layer in self.layers)

    def own_weights(self) -> Iterator[str]:
        return iter(())

    def run(self, inputs: Any, training: bool | None, mask: Any) -> tuple[Any, Any]:
        """The network's results, and their masks in the same structure."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.run(inputs, training, mask)[0]

    def with_mask(self, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any, training: bool | None) -> tuple[Any, Any]:
        self.ensure_built(*args)
        with running(self, training) as resolved:
            return self.run(args[0], resolved, kwargs.get("mask", masks))

    def load(self, path: Any) -> None:
        """Read the weights of a file (`.weights.h5`, `.h5`, `.keras`, TensorFlow.js) of a network like this one.

        Raises:
            InvalidModel: if the file is malformed, or its weights are others than this network's.
        """
        import_module("hither.formats").load(path, network=self)  # by name: formats stand below

    def drawn(self) -> list[Call]:
        """The layers' calls that make the network, inputs first; none while its input's shape is unknown."""
        raise NotImplementedError

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers, the shapes they make and the sizes of their weights.

        Args:
            print_fn: what takes the text.

        Raises:
            ValueError: a Sequential network that does not know its input's shape yet.

        Example:
            >>> import hither as ht
            >>> ht.nn.Sequential([ht.nn.Input((4,), name="x"), ht.nn.Dense(2, name="head")], name="net").summary()
            Sequential net
            ------------------------------------
            Layer (type)    Output shape  Params
            ------------------------------------
            x (InputLayer)  (None, 4)          0
            head (Dense)    (None, 2)         10
            ------------------------------------
            Params: 10 (10 trainable, 0 not)
        """
        from .summary import summary

        print_fn(summary(self))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or position.

        Raises:
            NameMismatch: if there is none.
        """
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NameMismatch(f"{self.name} has no layer {name!r}; its layers are {', '.join(x.name for x in self.layers)}")


@config.register("Model")
class Functional(Network):
    """A network from inputs to outputs, drawn by calling layers on symbolic tensors.

    Args:
        inputs, outputs: symbolic tensors, or lists or dicts of them.
        name: the network's name.

    Raises:
        ValueError: if an output depends on an input that is not among `inputs`.

    Example:
        >>> import numpy as np, hither as ht
        >>> x = ht.nn.Input((4,))
        >>> h = ht.nn.Dense(8, activation="relu")(x)
        >>> net = ht.nn.Functional(x, [ht.nn.Dense(1)(h), h])
        >>> [y.shape for y in net(np.ones((2, 4), np.float32))]
        [(2, 1), (2, 8)]
    """

    keras_module = "keras.src.models.functional"

    def __init__(self, inputs: Any, outputs: Any, *, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.input_structure, self.output_structure = inputs, outputs = _by_key(inputs), _by_key(outputs)
        self.inputs, self.outputs = symbols(inputs), symbols(outputs)
        self.calls, self._layers = _ordered(self.outputs, self.inputs, self.name)
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def drawn(self) -> list[Call]:
        return [*(t.call for t in self.inputs), *self.calls]

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs' layers."""
        return [t.call.layer.name for t in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """A dict's keys; else the names of the layers that make the outputs, numbered where one makes several."""
        if isinstance(self.output_structure, dict) and len(self.output_structure) == len(self.outputs):
            return [str(key) for key in self.output_structure]
        names: list[str] = []
        for tensor in self.outputs:
            base = tensor.call.layer.name
            name, count = base, 0
            while name in names:
                count += 1
                name = f"{base}_{count}"
            names.append(name)
        return names

    def run(self, inputs: Any, training: bool | None, mask: Any) -> tuple[Any, Any]:
        given, _ = flatten(self._in_order(inputs))
        if len(given) != len(self.inputs):
            raise NameMismatch(f"{self.name} has {len(self.inputs)} inputs, {', '.join(self.input_names)}; got {len(given)}")
        given_masks = list(mask) if isinstance(mask, list | tuple) else [mask]
        values: dict[SymbolicTensor, Any] = dict(zip(self.inputs, given))
        masks: dict[SymbolicTensor, Any] = {t: m for t, m in zip(self.inputs, given_masks) if m is not None}
        for call in self.calls:
            leaves, structure = flatten((call.args, call.kwargs))
            args, kwargs = unflatten(structure, [values[x] if isinstance(x, SymbolicTensor) else x for x in leaves])
            pinned = kwargs.pop("training", None)  # as in Keras, inference is inference for layers that were called to train
            training_here = training if pinned is None or training is False else pinned
            kwargs = {**_named_masks(call, masks), **kwargs}
            first = call.args[0] if call.args else None
            several = isinstance(first, list | tuple)
            here = [masks.get(t) for t in symbols(first)]
            made, made_mask = call.layer.with_mask(args, kwargs, here if several else (here or [None])[0], training_here)
            results = flatten(made)[0]
            values.update(zip(call.outputs, results))
            if made_mask is not None:
                marks = list(made_mask) if isinstance(made_mask, list | tuple) else [made_mask]
                masks.update(zip(call.outputs, marks))
        leaves, structure = flatten(self.output_structure)
        return unflatten(structure, [values[t] for t in leaves]), unflatten(structure, [masks.get(t) for t in leaves])

    def _in_order(self, inputs: Any) -> Any:
        """Inputs given by name, in the network's order."""
        if not isinstance(inputs, dict):
            return inputs
        if isinstance(self.input_structure, dict):
            order = list(self.input_structure)
        else:
            order = self.input_names
        missing = [n for n in order if n not in inputs]
        if missing:
            raise NameMismatch(f"{self.name} needs input {missing[0]!r}; its inputs are {', '.join(map(repr, order))}")
        return [inputs[n] for n in order]

    def get_config(self) -> dict[str, Any]:
        from .functional_config import write

        return write(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from .functional_config import read

        return read(config, cls)


def _by_key(structure: Any) -> Any:
    """Dicts in the order of their keys, as Keras has them: files name layers by the order of inputs and outputs."""
    return dict(sorted(structure.items())) if isinstance(structure, dict) else structure


def _named_masks(call: Call, masks: dict[SymbolicTensor, Any]) -> dict[str, Any]:
    """The masks that a layer takes by name: `value_mask` of the argument `value`."""
    names = parameters_of(type(call.layer).call)
    given = {**dict(zip(names[1:], call.args)), **call.kwargs}
    return {
        f"{name}_mask": masks[tensor]
        for name, tensor in given.items()
        if isinstance(tensor, SymbolicTensor) and tensor in masks and f"{name}_mask" in names
    }


def _ordered(outputs: Sequence[SymbolicTensor], inputs: Sequence[SymbolicTensor], name: str) -> tuple[list[Call], list[Layer]]:
    """The calls that lead from the inputs to the outputs, each after those that it needs; and the layers in Keras's order.

    Files name weights by that order: layers far from the outputs come first, of those equally far the ones that a walk from the
    outputs meets first.
    """
    done: dict[Call, None] = {}
    met: dict[Layer, int] = {}
    known = set(inputs)
    entries = {t.call for t in inputs}
    stack: list[tuple[Call, bool]] = [(t.call, False) for t in reversed(outputs)]
    while stack:
        call, ready = stack.pop()
        if call in done:
            continue
        met.setdefault(call.layer, len(met))
        if ready or call in entries:
            done[call] = None
            continue
        if isinstance(call.layer, InputLayer):
            raise ValueError(
                f"the outputs of {name} depend on {call.layer.name!r}, which is not among its inputs "
                f"({', '.join(t.call.layer.name for t in inputs)})"
            )
        stack.append((call, True))
        stack.extend((t.call, False) for t in reversed(call.inputs))
    from_end: dict[Call, int] = {}
    depth: dict[Layer, int] = {}
    for call in reversed(done):
        from_end[call] = depth[call.layer] = max(from_end.get(call, 0), depth.get(call.layer, 0))
        for tensor in () if call in entries else call.inputs:
            from_end[tensor.call] = max(from_end[call] + 1, from_end.get(tensor.call, 0))
    for tensor in inputs:
        if depth.setdefault(tensor.call.layer, 0) == 0:
            met.setdefault(tensor.call.layer, -1)
    layers = sorted(depth, key=lambda layer: (-depth[layer], met[layer]))
    return [call for call in done if not any(t in known for t in call.outputs)], layers


@config.register()
class Sequential(Network):
    """A stack of layers, each applied to what the one before made.

    Args:
        layers: the layers; the first may be an `Input`.
        name: the network's name.

    Example:
        >>> import numpy as np, hither as ht
        >>> net = ht.nn.Sequential([ht.nn.Dense(8, activation="relu"), ht.nn.Dense(2)])
        >>> net(np.ones((3, 4), np.float32)).shape
        (3, 2)
    """

    keras_module = "keras"

    def __init__(self, layers: Sequence[Any] = (), *, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self._layers: list[Layer] = []
        self._input: SymbolicTensor | None = None
        self.output: SymbolicTensor | None = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Put a layer on top."""
        if isinstance(layer, SymbolicTensor):
            layer = layer.call.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"a Sequential network is made of layers, got {type(layer).__name__}")
        if isinstance(layer, InputLayer):
            if self._layers or self._input is not None:
                raise ValueError("an Input stands before all other layers")
            self._input = self.output = layer.output
            return
        if any(layer.name == other.name and layer is not other for other in self._layers):
            raise ValueError(f"{self.name} has a layer {layer.name!r} already; give this one another name")
        shape = layer.batch_input_shape
        if not self._layers and self._input is None and shape is not None:
            self._input = self.output = InputLayer(batch_shape=shape).output
        elif not self._layers and self._input is None and isinstance(layer, Functional):
            self._input = self.output = InputLayer(batch_shape=layer.inputs[0].shape, dtype=layer.inputs[0].dtype).output
        self._layers.append(layer)
        if self.output is not None:
            self.output = layer(self.output)
            self.built = True

    def pop(self) -> Layer:
        """Take the layer on top off, and give it. What an optimizer has for its weights goes with the Trainer: make a new one.

        Raises:
            IndexError: if there is none.

        Example:
            >>> import hither as ht
            >>> net = ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(3), ht.nn.Dense(2)])
            >>> net.pop().units, net.output.shape
            (2, (None, 3))
        """
        if not self._layers:
            raise IndexError(f"{self.name} has no layer to take off")
        layer = self._layers.pop()
        if self.output is not None:
            self.output = self.output.call.inputs[0]
        return layer

    @property
    def layers(self) -> list[Layer]:
        return list(dict.fromkeys(self._layers))

    def drawn(self) -> list[Call]:
        found: list[Call] = []
        tensor = self.output
        while tensor is not None:
            found.append(tensor.call)
            tensor = tensor.call.inputs[0] if tensor.call.inputs else None
        return found[::-1]

    @property
    def input(self) -> SymbolicTensor | None:
        """The input, once its shape is known."""
        return self._input

    @property
    def input_names(self) -> list[str]:
        """The name of the input."""
        return [self._input.call.layer.name if self._input is not None else "input"]

    @property
    def output_names(self) -> list[str]:
        """The name of the last layer."""
        return [self._layers[-1].name] if self._layers else []

    def build(self, input_shape: Any) -> None:
        batch = input_shape[0] if any(getattr(m, "stateful", False) for _, m in self.modules()) else None
        self._input = tensor = InputLayer(batch_shape=(batch, *input_shape[1:])).output
        for layer in self._layers:
            tensor = layer(tensor)
        self.output = tensor

    def run(self, inputs: Any, training: bool | None, mask: Any) -> tuple[Any, Any]:
        value = inputs
        for layer in self._layers:
            value, mask = layer.with_mask((value,), {}, mask, training)
        return value, mask

    def get_config(self) -> dict[str, Any]:
        first = [] if self._input is None else [self._input.call.layer]
        layers = [config.serialize(layer) for layer in (*first, *self._layers)]
        return {"name": self.name, "trainable": self.trainable, "layers": layers}

    @classmethod
    def from_config(cls, data: Any) -> Any:
        entries = data.get("layers", []) if isinstance(data, dict) else data  # Keras 1 wrote a bare list
        about = data if isinstance(data, dict) else {}
        made = cls(
            [config.deserialize(entry, Layer) for entry in entries],
            name=about.get("name"),
            trainable=about.get("trainable", True),
        )
        shape = about.get("build_input_shape")
        if not made.built and isinstance(shape, list | tuple):
            made.ensure_built(InputLayer(batch_shape=shape).output)
        return made
