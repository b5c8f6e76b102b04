"""Layer: a module with Keras's life: made with its hyperparameters, built when it first sees an input, then called.

A layer's class writes `call`, and `build` where it has weights. `__call__` adds what all share: weights are made for the
first input's shape, symbolic inputs are recorded instead of computed, `training` reaches the layers inside, masks travel.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..array import Array
from ..errors import InvalidModel, ShapeMismatch, UnsupportedFeature
from ..graph.trace import Tracer, source
from ..graph.tree import flatten, tree_map
from ..ops import asarray
from . import config, constraints, initializers, regularizers
from .module import Module, fitting, note_made

_training: ContextVar[bool | None] = ContextVar("training", default=None)
_path: ContextVar[str] = ContextVar("path", default="")  # names of the layers being called, from the outermost
_room: ContextVar[list[int] | None] = ContextVar("room", default=None)  # numbers left in a file that weights come from
_penalties: ContextVar[list[Any] | None] = ContextVar("penalties", default=None)  # that layers add to the loss
_names: Counter[str] = Counter()


@contextmanager
def weights_to_come(numbers: int) -> Iterator[None]:
    """Layers built in the block begin with zeros that take no memory: their weights are read from a file, which has this many
    numbers. A network that asks for more is refused before anything is allocated.
    """
    token = _room.set([numbers])
    try:
        yield
    finally:
        _room.reset(token)


@contextmanager
def running(layer: Layer, training: bool | None) -> Iterator[bool]:
    """What is traced in the block is the layer's work, in training or not; None is what holds around it. Yields which it is."""
    resolved = training if training is not None else bool(_training.get())
    token, path = _training.set(resolved), _path.set(f"{_path.get()}{layer.name}/")
    try:
        with source(f"{_path.get()[:-1]} ({type(layer).__name__})"):
            yield resolved
    finally:
        _path.reset(path)
        _training.reset(token)


@contextmanager
def _located(layer: Layer, inputs: Sequence[Any]) -> Iterator[None]:
    """An error in the block has a note of the layer that it comes from, and of what that was given."""
    try:
        yield
    except Exception as error:
        if not getattr(error, "__notes__", None):  # the innermost says it
            shapes = ", ".join(str(_shapes(x)) for x in inputs if x is not None)
            error.add_note(f"in the layer {_path.get()[:-1] or layer.name} ({type(layer).__name__}), called with {shapes}")
        raise


@contextmanager
def collecting_penalties() -> Iterator[list[Any]]:
    """What layers called in the block add to the loss: numbers from `add_loss`, and their activity regularizers' penalties."""
    found: list[Any] = []
    token = _penalties.set(found)
    try:
        yield found
    finally:
        _penalties.reset(token)


class Weight:
    """What a layer knows of one of its arrays besides its values. `persistent`: files and `get_weights` hold it."""

    def __init__(self, trainable: bool, regularizer: Any = None, constraint: Any = None, persistent: bool = True) -> None:
        self.trainable, self.regularizer, self.constraint = trainable, regularizer, constraint
        self.persistent = persistent


class Layer(Module):
    """Base of all layers.

    Args:
        name: unique in its network; made of the class's name if not given ("dense", "dense_1").
        trainable: whether training changes the weights.
        dtype: dtype of the weights; None is float32.
        activity_regularizer: penalty on what the layer makes, for training.
        input_shape: for a network's first layer, the shape of an input without the batch axis; `batch_input_shape` with it.

    Example:
        >>> import numpy as np, hither as ht
        >>> class Shift(ht.nn.Layer):
        ...     def build(self, input_shape):
        ...         self.add_weight("offset", (input_shape[-1],), "zeros")
        ...     def call(self, x):
        ...         return x + self.offset
        >>> Shift()(np.ones((2, 3), np.float32)).shape
        (2, 3)
    """

    supports_masking = False  # whether a mask of the input is one of the output

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        input_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
    ) -> None:
        if not isinstance(name, str | None):
            raise TypeError(f"the name of a layer is text, got {name!r}")
        self.name = name or unique_name(type(self).__name__)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)  # of this layer alone, as in Keras: what it is made of may be there already
        self.dtype = dt.dtype(_policy(dtype) or "float32")
        self.built = False
        self.batch_input_shape = tuple(batch_input_shape) if batch_input_shape is not None else None
        if input_shape is not None:
            self.batch_input_shape = (None, *input_shape)
        self._kept: dict[str, Weight] = {}

    # -- what a layer's class writes -------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (None: free); for several inputs, a structure of shapes."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's function of its inputs. Takes `training` and `mask` if it names them."""
        raise NotImplementedError(f"{type(self).__name__} has no call()")

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """The mask of the output: the input's if the layer supports masking."""
        return mask if self.supports_masking else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that the layer makes of float32 of this shape, or of these; None where it is free. Found by tracing.

        Args:
            input_shape: (None, …) with the batch first, or a list of such.

        Example:
            >>> import hither as ht
            >>> ht.nn.Conv2D(8, 3).compute_output_shape((None, 28, 28, 1))
            (None, 26, 26, 8)
        """
        from .symbolic import InputLayer  # which knows layers

        several = bool(input_shape) and isinstance(input_shape[0], list | tuple)
        inputs = [InputLayer(batch_shape=tuple(s)).output for s in (input_shape if several else [input_shape])]
        return tree_map(lambda tensor: tensor.shape, self(inputs if several else inputs[0]))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer: those of `__init__`, which the layer keeps as attributes of their names.

        Raises:
            UnsupportedFeature: if one is kept elsewhere; write a `get_config` of the layer's own then.
        """
        data = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}
        for name in own_arguments(type(self)):
            if not hasattr(self, name):
                raise self.unsupported(f"get_config without an attribute {name!r} for the argument of that name")
            data[name] = config.serialize(getattr(self, name))
        return data

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Any:
        """A layer of `get_config`'s arguments, or of those that Keras wrote."""
        return cls(**config.arguments(cls, data))

    # -- weights -----------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str | None = None,
        shape: Sequence[int] = (),
        initializer: Any = "glorot_uniform",
        *,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        persistent: bool = True,
        dtype: Any = None,
    ) -> Array:
        """Make an array that is one of the layer's weights, and keep it as an attribute.

        The attribute is `name`, or the one that the result is assigned to at once, as in Keras:
        `self.w = self.add_weight(shape=(3, 4))`.

        Args:
            name: the attribute; made up if not given.
            shape: its shape.
            initializer: how it begins; None is "glorot_uniform".
            trainable: whether training changes it.
            regularizer, constraint: for training.
            persistent: whether files hold it; the state of a stateful layer, say, they do not.
            dtype: the layer's unless given.

        Raises:
            ShapeMismatch: if an extent of the shape is free.
        """
        if not isinstance(name, str | None):
            raise TypeError(f"add_weight takes the name first; give the shape as shape={name!r}")
        if name is None:
            name = next(n for i in itertools.count() if not hasattr(self, n := f"variable_{i}" if i else "variable"))
        if any(n is None for n in shape):
            raise ShapeMismatch(
                f"{self.name}: weight {name!r} would have the shape {tuple(shape)}; give the input a number where it is None"
            )
        wanted = self.dtype if dtype is None else dt.dtype(dtype)
        extents, room = tuple(int(n) for n in shape), _room.get()
        if room is None or not persistent:
            if min(extents, default=0) < 0:
                raise ShapeMismatch(f"{self.name}: weight {name!r} would have the shape {extents}; extents are 0 or more")
            begin = initializers.get("glorot_uniform" if initializer is None else initializer)
            setattr(self, name, asarray(begin(extents, dtype=wanted), dtype=wanted))
        else:
            room[0] -= math.prod(extents)
            if room[0] < 0 or min(extents, default=0) < 0:
                raise InvalidModel(f"{self.name}: weight {name!r} of shape {extents} is more than the file has numbers for")
            setattr(self, name, Array(np.broadcast_to(np.zeros((), wanted.numpy), extents)))
        self._kept[name] = Weight(trainable, regularizers.get(regularizer), constraints.get(constraint), persistent)
        note_made(self, name)
        made: Array = getattr(self, name)
        vars(self)["_latest"] = name, made
        return made

    def __setattr__(self, key: str, value: Any) -> None:
        kept: dict[str, Weight] = vars(self).get("_kept", {})
        name, made = vars(self).pop("_latest", (key, None))
        if name != key and value is made:  # what add_weight has just given: it is the one attribute that holds it
            vars(self).pop(name)
            kept[key] = kept.pop(name)
            super().__setattr__(key, value)
            note_made(self, key)
            return
        if isinstance(value, list | tuple | dict):
            own = {id(vars(self).get(n)) for n in kept}
            if any(id(v) in own for v in (value.values() if isinstance(value, dict) else value)):
                raise TypeError(
                    f"{type(self).__name__}.{key} is a {type(value).__name__} of weights, which would not be found there: keep "
                    "each as an attribute of its own"
                )
        super().__setattr__(key, value)

    def is_trainable(self, name: str) -> bool:
        kept = self._kept.get(name)
        return super().is_trainable(name) if kept is None else kept.trainable

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all arrays in Keras's order: layer by layer, those that can be trained before those that cannot."""
        return [np.array(getattr(m, n).numpy()) for m, n in self.weight_places()]

    def set_weights(self, arrays: Sequence[Any]) -> None:
        """Set all arrays, in the order of `get_weights`.

        Raises:
            ShapeMismatch: another number of arrays, or another shape.
        """
        places = self.weight_places()
        if len(places) != len(arrays):
            raise ShapeMismatch(f"{self.name} has {len(places)} weights, got {len(arrays)}")
        fit = [fitting(f"{self.name}.{name}", array, getattr(m, name)) for (m, name), array in zip(places, arrays)]
        for (module, name), array in zip(places, fit):
            setattr(module, name, array)

    def weight_places(self) -> list[tuple[Module, str]]:
        """(owner, attribute) of all arrays that files hold, in Keras's order."""
        return [(module, name) for _, module in self.modules() for name in saved(module)]

    def weight_regularizer(self, name: str) -> Any:
        """The penalty on an own array that training adds to the loss, or None."""
        return self._kept[name].regularizer if name in self._kept else None

    def weight_constraint(self, name: str) -> Any:
        """What training makes of an own array after each step, or None."""
        return self._kept[name].constraint if name in self._kept else None

    def count_params(self) -> int:
        """How many numbers the weights are."""
        return sum(w.size for w in self.weights.values())

    # -- calls ---------------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Apply the layer.

        Args:
            *args: arrays, traced arrays or symbolic tensors, as `call` takes them.
            training: whether this is a training step; None is what the layer around says, False at the outside.
            mask: which steps of a sequence count, for layers that use one: bool [batch, time].
        """
        from .symbolic import is_symbolic, record

        if is_symbolic(args, kwargs):
            named = {k: v for k, v in (("training", training), ("mask", mask)) if v is not None}
            return record(self, args, {**kwargs, **named})
        args = self.convert(args)
        accepted = parameters_of(type(self).call)
        with _located(self, args):
            self.ensure_built(*args)
        with running(self, training) as resolved, _located(self, args):
            given = {k: v for k, v in (("training", resolved), ("mask", mask)) if k in accepted}
            result = self.call(*args, **kwargs, **given)
            if self.activity_regularizer is not None and _penalties.get() is not None:
                for value in flatten(result)[0]:
                    penalty = self.activity_regularizer(value)
                    self.add_loss(penalty / value.shape[0] if value.shape else penalty)  # per sample, as Keras 3 does
            return result

    def add_loss(self, loss: Any) -> None:
        """Add a number to what training minimises; called from `call`. Outside of training it does nothing."""
        found = _penalties.get()
        if found is not None:
            found.append(loss)

    def convert(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments of a call, with arrays in any form as Arrays."""
        return tuple(_arrays(a) for a in args)

    def with_mask(self, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Any, training: bool | None) -> tuple[Any, Any]:
        """The layer's results and their mask.

        Args:
            args, kwargs: of the call; a mask among them counts instead of `masks`.
            masks: the mask of the first argument, or a list of masks for a list of arrays.
            training: as for a call.
        """
        if "mask" in kwargs:
            masks = kwargs["mask"]
            kwargs = {k: v for k, v in kwargs.items() if k != "mask"}
        result = self(*args, **kwargs, training=training, mask=masks)
        known = any(m is not None for m in masks) if isinstance(masks, list) else masks is not None
        makes_masks = type(self).compute_mask is not Layer.compute_mask
        return result, self.compute_mask(args[0] if args else None, masks) if known or makes_masks else None

    def ensure_built(self, *inputs: Any) -> None:
        """Make the weights if they are not there yet; inputs are anything with shapes."""
        if self.built:
            return
        shapes = [_shapes(x) for x in inputs if x is not None]
        self.build(shapes[0] if shapes else None)
        self.built = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def unsupported(self, what: str) -> UnsupportedFeature:
        """The error for a valid argument that hither does not do."""
        return UnsupportedFeature(f"{type(self).__name__} {self.name!r}: {what} is not supported")


def clear_session() -> None:
    """Count the names of layers from the beginning again, as `keras.utils.clear_session` does.

    Layers that are given no name are numbered through the process, as in Keras: a network that is made twice has other names
    the second time, and so other paths of its weights. Networks that exist keep theirs.

    Example:
        >>> import hither as ht
        >>> def network():
        ...     ht.nn.clear_session()
        ...     return ht.nn.Sequential([ht.nn.Input((4,)), ht.nn.Dense(8), ht.nn.Dense(2)])
        >>> [list(network().weights) == list(network().weights), list(network().weights)[2]]
        [True, 'dense_1.kernel']
    """
    _names.clear()


def unique_name(class_name: str) -> str:
    """ "Conv2D" → "conv2d", then "conv2d_1"…, as Keras counts."""
    base = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", class_name)).lower()
    base = re.sub(r"_(\d)d\b", r"\1d", base)
    count = _names[base]
    _names[base] += 1
    return f"{base}_{count}" if count else base


def _policy(dtype: Any) -> Any:
    """The dtype of weights in what Keras calls a dtype policy: a name or a configuration of one."""
    if isinstance(dtype, dict):
        given = dtype.get("config")
        dtype = given.get("name", "float32") if isinstance(given, dict) else "float32"
    return "float32" if dtype in ("mixed_float16", "mixed_bfloat16") else dtype


def _arrays(value: Any) -> Any:
    """Arguments that are arrays in some form, as Arrays."""
    if isinstance(value, list | tuple) and any(hasattr(v, "shape") for v in value):
        return type(value)(_arrays(v) for v in value)
    return asarray(value) if isinstance(value, np.ndarray | Array | Tracer | list) else value


def _shapes(value: Any) -> Any:
    """The shape of an array, or a list of shapes for a list of them."""
    if hasattr(value, "shape"):
        return tuple(value.shape)
    leaves, _ = flatten(value)
    return [tuple(leaf.shape) for leaf in leaves if hasattr(leaf, "shape")]


@cache
def parameters_of(function: Any) -> tuple[str, ...]:
    """The names of a function's parameters."""
    return tuple(inspect.signature(function).parameters)


def own_arguments(cls: type[Layer]) -> tuple[str, ...]:
    """The named arguments that a class's `__init__` adds to those of all layers."""
    parameters = inspect.signature(cls).parameters.values()
    common = {"name", "trainable", "dtype", "input_shape", "batch_input_shape"}
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in common)


def saved(module: Module) -> list[str]:
    """The names of a module's own arrays that files hold: those that can be trained first."""
    kept = module._kept if isinstance(module, Layer) else {}
    names = [name for name in module.own_weights() if name not in kept or kept[name].persistent]
    return sorted(names, key=lambda name: not module.is_trainable(name))
