"""Configurations: layers, initializers and networks as plain data, and back, the way Keras 3 writes them.

`{"module": "keras.layers", "class_name": "Dense", "config": {"units": 10, …}, "registered_name": None}` is an object of the
registered class `Dense`. Nothing but registered classes is ever made: a file cannot name code.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from ..errors import HitherError, InvalidModel, UnsupportedFeature

T = TypeVar("T", bound=type)
CLASSES: dict[str, type] = {}
# While one object is written or read: {identity: (number, its data)}, and {number: the object}.
_written: ContextVar[dict[int, tuple[int, dict[str, Any]]] | None] = ContextVar("written", default=None)
_made: ContextVar[dict[int, Any] | None] = ContextVar("made", default=None)


def register(*names: str, package: str | None = None) -> Callable[[T], T]:
    """Class decorator: make objects of this class loadable from files by its name, and by other names given.

    Args:
        names: further class names that mean this class (older spellings).
        package: prefix as in Keras's `register_keras_serializable(package=…)`: files then name it "package>Class".

    Example:
        >>> import hither as ht
        >>> @ht.nn.register(package="my")
        ... class Twice(ht.nn.Layer):
        ...     def call(self, x):
        ...         return x * 2
    """

    def add(cls: T) -> T:
        own = f"{package}>{cls.__name__}" if package else cls.__name__
        for name in (own, *names):
            if CLASSES.get(name, cls).__qualname__ != cls.__qualname__:
                raise ValueError(f"{name!r} is registered for {CLASSES[name]} already")
            CLASSES[name] = cls
        return cls

    return add


def config_name(class_name: str) -> str:
    """ "MeanSquaredError" → "mean_squared_error", "KLDivergence" → "kl_divergence"."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)).lower()


def find(name: str, base: type = object) -> type:
    """The registered class of this name, which Keras also writes in snake case ("true_positives") or all capitals ("MSE").

    Raises:
        UnsupportedFeature: if there is none; says how to register one.
    """
    cls = CLASSES.get(name) or CLASSES.get(name.lower())
    if cls is None or not issubclass(cls, base):
        cls = next((c for c in CLASSES.values() if issubclass(c, base) and config_name(c.__name__) == name), cls)
    return _found(name, cls, base)


def _found(name: str, cls: type | None, base: type) -> type:
    """The class, if there is one and it is of the right kind.

    Raises:
        UnsupportedFeature: if there is none; says how to register one.
    """
    if cls is None or not issubclass(cls, base):
        known = sorted(n for n, c in CLASSES.items() if issubclass(c, base))
        close = difflib.get_close_matches(name, known, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        what, parent = ("class", "hither.nn.Layer") if base is object else (base.__name__.lower(), public_name(base))
        raise UnsupportedFeature(
            f"there is no {what} {name!r} in hither{hint} If it is your own, write it as a subclass of {parent} and put "
            "@hither.nn.register(package=…) above it before loading"
        )
    return cls


def public_name(cls: type) -> str:
    """The shortest name that a class is known by: hither.optim.Optimizer, which stands in hither/optim/optimizer.py."""
    place = cls.__module__
    while "." in place and vars(sys.modules[place.rpartition(".")[0]]).get(cls.__name__) is cls:
        place = place.rpartition(".")[0]
    return f"{place}.{cls.__name__}"


def arguments(cls: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's entries as arguments of a class, without those that a file has and that say nothing here.

    Other versions of Keras have arguments of their own. One that is None was not used; `_SILENT` lists what others may be.
    """
    known: set[str] = set()
    for ancestor in cls.__mro__:
        if "__init__" in vars(ancestor):
            parameters = inspect.signature(vars(ancestor)["__init__"]).parameters.values()
            known.update(p.name for p in parameters)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return {k: v for k, v in config.items() if k in known or not (v is None or _is_silent(k, v))}


# Arguments of other versions of Keras, and the values with which they ask for nothing that is not done anyway.
_SILENT: dict[str, tuple[Any, ...] | None] = {
    "autocast": None, "flash_attention": (False,), "implementation": None, "input_dtype": None, "input_length": None,
    "optional": None, "ragged": (False,), "rms_scaling": (False,), "sparse": (False,), "synchronized": (False,),
    "time_major": (False,), "use_cudnn": None,
}  # fmt: skip


def _is_silent(name: str, value: Any) -> bool:
    allowed = _SILENT.get(name, ())
    return allowed is None or value in allowed


def serialize(value: Any) -> Any:
    """An object with `get_config`, or an activation, as data; None, names and plain data stay what they are.

    An object that occurs in several networks within the one that is written gets a number, by which readers know it again.
    """
    if _written.get() is None:
        token = _written.set({})
        try:
            return serialize(value)
        finally:
            _written.reset(token)
    if hasattr(value, "get_config"):
        cls = type(value)
        name = next((n for n, c in CLASSES.items() if c is cls), cls.__name__)
        data: dict[str, Any] = {
            "module": getattr(cls, "keras_module", "keras.layers"),
            "class_name": cls.__name__,
            "config": value.get_config(),
            "registered_name": name if ">" in name else None,
        }
        written = _written.get()
        assert written is not None
        if id(value) in written:
            number, first = written[id(value)]
            first["shared_object_id"] = data["shared_object_id"] = number
        else:
            written[id(value)] = len(written), data
        return data
    if isinstance(value, tuple | list):
        return [serialize(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return _name_of_function(value) if callable(value) else value


def _name_of_function(function: Callable[..., Any]) -> str:
    from .activations import name_of

    return name_of(function)


def deserialize(data: Any, base: type = object) -> Any:
    """The object that `serialize` made this of, or that Keras or TensorFlow.js wrote.

    Parts with the same `shared_object_id` are one object.

    Raises:
        UnsupportedFeature: a class that is not registered.
        InvalidModel: no valid configuration.
    """
    if isinstance(data, base) and base is not object:
        return data
    if _made.get() is None:
        token = _made.set({})
        try:
            return deserialize(data, base)
        finally:
            _made.reset(token)
    if not isinstance(data, Mapping) or not isinstance(data.get("class_name"), str):
        raise InvalidModel(f"a configuration is a dict with class_name and config, got {_shown(data)}")
    registered = data.get("registered_name")
    name = registered if isinstance(registered, str) and registered in CLASSES else data["class_name"]
    if _is_function(data, name):
        from .operations import OPERATIONS

        cls = _found(name, OPERATIONS.get(name), base)
    else:
        cls = find(name, base)
    known, number = _made.get(), data.get("shared_object_id")
    assert known is not None
    if isinstance(number, int) and isinstance(known.get(number), cls):
        return known[number]
    config = data.get("config") or {}
    if not isinstance(config, Mapping):
        raise InvalidModel(f"the config of {data['class_name']} is no dict: {_shown(config)}")
    try:
        made: Any = cls.from_config(dict(config)) if hasattr(cls, "from_config") else cls(**config)
    except HitherError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise InvalidModel(f"{data['class_name']} cannot be made of {_shown(dict(config))}: {error}") from error
    if isinstance(number, int):
        known[number] = made
    return made


def _is_function(data: Mapping[str, Any], name: str) -> bool:
    """Whether a configuration is of one of Keras's functions, which it writes as layers; some have names of layers."""
    module = data.get("module")
    if isinstance(module, str):
        return module.startswith("keras.src.ops.")
    nodes = data.get(
        "inbound_nodes"
    )  # in .h5 files no module tells; there functions lack what layers have (SpatialDropout no trainable)
    if not isinstance(nodes, list) or not nodes or not isinstance(nodes[0], Mapping):
        return False
    config = data.get("config")
    return name not in CLASSES or (isinstance(config, Mapping) and not config.keys() & {"trainable", "dtype"})


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 200 else text[:197] + "…"
