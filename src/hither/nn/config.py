"""Configurations: layers, initializers and networks as plain data, and back, the way Keras 3 writes them.

`{"module": "keras.layers", "class_name": "Dense", "config": {"units": 10, …}, "registered_name": None}` is an object of the
registered class `Dense`. Nothing but registered classes is ever made: a file cannot name code.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import InvalidModel, UnsupportedFeature

T = TypeVar("T", bound=type)
CLASSES: dict[str, type] = {}


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


def find(name: str, base: type = object) -> type:
    """The registered class of this name.

    Raises:
        UnsupportedFeature: if there is none; says how to register one.
    """
    cls = CLASSES.get(name)
    if cls is None or not issubclass(cls, base):
        known = sorted(n for n, c in CLASSES.items() if issubclass(c, base))
        close = difflib.get_close_matches(name, known, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnsupportedFeature(
            f"there is no {base.__name__.lower() if base is not object else 'class'} {name!r} in hither.nn{hint} If it is your "
            "own, write it as a subclass of hither.nn.Layer and put @hither.nn.register(package=…) above it before loading"
        )
    return cls


def serialize(value: Any) -> Any:
    """An object with `get_config` as data; None, names and plain data stay what they are."""
    if hasattr(value, "get_config"):
        cls = type(value)
        name = next((n for n, c in CLASSES.items() if c is cls), cls.__name__)
        return {
            "module": getattr(cls, "keras_module", "keras.layers"),
            "class_name": cls.__name__,
            "config": value.get_config(),
            "registered_name": name if ">" in name else None,
        }
    if isinstance(value, tuple | list):
        return [serialize(v) for v in value]
    return value


def deserialize(data: Any, base: type = object) -> Any:
    """The object that `serialize` made this of, or that Keras or TensorFlow.js wrote.

    Raises:
        UnsupportedFeature: a class that is not registered.
        InvalidModel: no valid configuration.
    """
    if isinstance(data, base) and base is not object:
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("class_name"), str):
        raise InvalidModel(f"a configuration is a dict with class_name and config, got {_shown(data)}")
    registered = data.get("registered_name")
    cls = find(registered if isinstance(registered, str) and registered in CLASSES else data["class_name"], base)
    config = data.get("config") or {}
    if not isinstance(config, Mapping):
        raise InvalidModel(f"the config of {data['class_name']} is no dict: {_shown(config)}")
    try:
        made: Any = cls.from_config(dict(config)) if hasattr(cls, "from_config") else cls(**config)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise InvalidModel(f"{data['class_name']} cannot be made of {_shown(dict(config))}: {error}") from error
    return made


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 200 else text[:197] + "…"
