"""Module: a plain Python object whose arrays, and those of the modules in it, are found as a tree.

Nothing is registered: attributes that are arrays are the module's weights, attributes that are modules (or lists, tuples and
dicts of them) are its parts. `swapped` puts other arrays in their places for the time of a call, which is how one network is
run, differentiated and compiled without being written twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..array import Array
from ..errors import NameMismatch, ShapeMismatch, UnsupportedFeature
from ..graph.trace import Tracer
from ..ops import asarray

_made: ContextVar[list[tuple[Module, str, Any]] | None] = ContextVar("hither_made", default=None)


def note_made(module: Module, name: str) -> None:
    """An array that a layer makes for itself in the middle of a call: what it holds until the call changes it."""
    made = _made.get()
    if made is not None:
        made.append((module, name, getattr(module, name)))


class Module:
    """Base of everything that has weights. Subclass it, make arrays and modules attributes, and write `__call__`.

    Example:
        >>> import numpy as np, hither as ht
        >>> class Scale(ht.nn.Module):
        ...     def __init__(self):
        ...         self.factor = ht.asarray([2.0])
        ...     def __call__(self, x):
        ...         return x * self.factor
        >>> list(Scale().weights)
        ['factor']
    """

    _trainable = True

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights. Setting it sets it for all modules inside, too, as in Keras."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for _, module in self.modules():
            module._trainable = bool(value)

    def parts(self) -> Iterator[tuple[str, Module]]:
        """(key, module) of the modules directly inside this one. The keys are the steps of a weight's path."""
        for key, value in vars(self).items():
            yield from _modules(key, value)

    def own_weights(self) -> Iterator[str]:
        """The names of this module's own arrays, in the order in which they were set."""
        return (key for key, value in vars(self).items() if isinstance(value, Array | Tracer))

    def is_trainable(self, name: str) -> bool:
        """Whether training changes an own array; what follows from data alone (moving averages) it does not."""
        return getattr(self, name).dtype.kind == "f"

    def weight_regularizer(self, name: str) -> Any:
        """The penalty on an own array that training adds to the loss, or None."""
        return None

    def weight_constraint(self, name: str) -> Any:
        """What training makes of an own array after each step, or None."""
        return None

    def modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all inside it, each once, at the first path that leads there."""
        seen: set[int] = set()

        def visit(path: str, module: Module) -> Iterator[tuple[str, Module]]:
            if id(module) in seen:
                return
            seen.add(id(module))
            yield path, module
            for key, part in module.parts():
                yield from visit(f"{path}.{key}" if path else key, part)

        return visit("", self)

    def _places(self, trainable: bool | None = None) -> Iterator[tuple[str, Module, str]]:
        """(path, owner, name) of every array."""
        frozen: set[int] = set()
        for path, module in self.modules():
            if not module.trainable or id(module) in frozen:
                frozen.update(id(m) for _, m in module.modules())  # freezing a module freezes what is in it
            for name in module.own_weights():
                learns = id(module) not in frozen and module.is_trainable(name)
                if trainable is None or trainable == learns:
                    yield f"{path}.{name}" if path else name, module, name

    def weight_rules(self) -> Iterator[tuple[str, Any, Any]]:
        """(path, regularizer, constraint) of the arrays that training changes and that have one of them."""
        for path, module, name in self._places(True):
            regularizer, constraint = module.weight_regularizer(name), module.weight_constraint(name)
            if regularizer is not None or constraint is not None:
                yield path, regularizer, constraint

    @property
    def weights(self) -> dict[str, Any]:
        """{path: array} of all arrays, such as {"dense.kernel": …}."""
        return {path: getattr(module, name) for path, module, name in self._places()}

    @property
    def trainable_weights(self) -> dict[str, Any]:
        """The weights that training changes: those of layers whose `trainable` is set."""
        return {path: getattr(module, name) for path, module, name in self._places(True)}

    @property
    def non_trainable_weights(self) -> dict[str, Any]:
        """The weights that training leaves to the layers: moving averages, and everything in frozen layers."""
        return {path: getattr(module, name) for path, module, name in self._places(False)}

    def load_weights(self, weights: Mapping[str, Any], *, strict: bool = True) -> None:
        """Set arrays by path: all of them, or none where one does not fit.

        Args:
            weights: {path: array}.
            strict: whether every array must be given and nothing else.

        Raises:
            NameMismatch: a path that does not exist, or (strict) is not given.
            ShapeMismatch: an array of another shape.
        """
        if not isinstance(weights, Mapping):
            raise TypeError(
                f"load_weights takes arrays by path, got {weights!r:.80}; hither.load_weights(path) reads them from a "
                "safetensors file, and hither.load(path, network=net) takes those of any file"
            )
        places = {path: (module, name) for path, module, name in self._places()}
        unknown = [path for path in weights if path not in places]
        missing = [path for path in places if path not in weights]
        if unknown or (strict and missing):
            what = f"has no weight {unknown[0]!r}" if unknown else f"needs weight {missing[0]!r}, which is not given"
            counted = [re.sub(r"_\d+(?=\.)", "", path) for path in missing]
            hint = (
                ". Layers without a name are numbered through the process: name them, or begin with hither.nn.clear_session()"
                if unknown and re.sub(r"_\d+(?=\.)", "", unknown[0]) in counted
                else ""
            )
            raise NameMismatch(f"{type(self).__name__} {what}; its weights are {', '.join(map(repr, places)) or 'none'}{hint}")
        given = [(*place, path) for path, place in places.items() if path in weights]
        fits = [fitting(path, weights[path], getattr(module, name)) for module, name, path in given]
        for (module, name, _), array in zip(given, fits, strict=True):  # all of them, or none
            setattr(module, name, array)

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to choose loss and optimizer. Raises an error that shows the Trainer."""
        self._no_keras("compile")

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to train. Raises an error that shows the Trainer."""
        self._no_keras("fit")

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to evaluate. Raises an error that shows the Trainer."""
        self._no_keras("evaluate")

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to train. Raises an error that shows the Trainer."""
        self._no_keras("train_on_batch")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to run in batches. Raises an error that shows how."""
        raise UnsupportedFeature(
            "a hither network has no predict(); net(x) runs it at once, hither.compile(net, specs) makes a program of it, and "
            "hither.Trainer(net).predict(x) runs it in batches"
        )

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to save. Raises an error that shows how."""
        raise UnsupportedFeature(
            'a hither network has no save(); hither.save(net, "net.keras") does it, or a path that ends in .safetensors'
        )

    def save_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Keras's way to save the weights. Raises an error that shows how."""
        raise UnsupportedFeature(
            'a hither network has no save_weights(); hither.save_weights(net.weights, "net.safetensors") does it, or '
            'hither.save(net, "net.weights.h5")'
        )

    def _no_keras(self, method: str) -> None:
        raise UnsupportedFeature(
            f"a hither network has no {method}(); a Trainer has what trains it: "
            'trainer = hither.Trainer(net, loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"]); '
            "trainer.fit(x, y, epochs=3)"
        )

    def as_model(self, specs: Mapping[str, Any] | None = None) -> Any:
        """The module as a Model: what `compile` and `bundle` do with it first. See `hither.nn.as_model`."""
        from .as_model import as_model

        return as_model(self, specs)

    @contextmanager
    def swapped(self, weights: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """These arrays in place of the module's own until the block ends; then its own are back, those included that layers
        make for themselves in the block.

        Yields:
            A dict that holds, after the block, the arrays that were there at its end: layers that change their state (moving
            averages) do so by assigning to their attributes.
        """
        places = {path: (module, name) for path, module, name in self._places()}
        own = {path: getattr(*places[path]) for path in places}
        after: dict[str, Any] = {}
        around = _made.get()
        made: list[tuple[Module, str, Any]] = []
        token = _made.set(made)
        try:
            for path, array in weights.items():
                if path not in places:
                    raise NameMismatch(f"{type(self).__name__} has no weight {path!r}; its weights are {', '.join(places)}")
                setattr(*places[path], array)
            yield after
            after.update((path, getattr(*place)) for path, place in places.items())
        finally:
            _made.reset(token)
            for path, array in own.items():
                setattr(*places[path], array)
            for module, name, array in made:
                if isinstance(getattr(module, name, None), Tracer):
                    setattr(module, name, array)
            if around is not None:
                around.extend(made)


def _modules(key: str, value: Any) -> Iterator[tuple[str, Module]]:
    if isinstance(value, Module):
        yield key, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _modules(f"{key}.{i}", item)
    elif isinstance(value, dict):
        for k, item in value.items():
            yield from _modules(f"{key}.{k}", item)


def fitting(path: str, array: Any, wanted: Any) -> Any:
    """An array for the place of `wanted`: of its shape, in its dtype.

    Raises:
        ShapeMismatch: if the shape is another.
    """
    made = asarray(np.asarray(array) if not isinstance(array, Array | Tracer) else array)
    if tuple(made.shape) != tuple(wanted.shape):
        raise ShapeMismatch(f"weight {path!r} has shape {tuple(wanted.shape)}, got {tuple(made.shape)}")
    return made if made.dtype == wanted.dtype else made.astype(wanted.dtype)
