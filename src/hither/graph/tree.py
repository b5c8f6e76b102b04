"""Nested tuples, lists and dicts of arrays as flat sequences, and back: what lets functions take and give structures.

Named tuples keep their class; None is an empty structure. Everything else is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Structure:
    """The shape of a nested value: its container type, dict keys if it has them, and its parts. A leaf has kind None."""

    kind: type | None
    keys: tuple[Any, ...] = ()
    parts: tuple[Structure, ...] = ()

    @property
    def leaves(self) -> int:
        """How many leaves it has."""
        return 1 if self.kind is None else sum(p.leaves for p in self.parts)


_LEAF = Structure(None)


def flatten(value: Any) -> tuple[list[Any], Structure]:
    """The leaves of a nested value, in order, and its structure."""
    if value is None:
        return [], Structure(type(None))
    if isinstance(value, dict):
        keys, children = tuple(value), list(value.values())
    elif isinstance(value, tuple | list):
        keys, children = (), list(value)
    else:
        return [value], _LEAF
    leaves: list[Any] = []
    parts = []
    for child in children:
        inner, structure = flatten(child)
        leaves += inner
        parts.append(structure)
    return leaves, Structure(type(value), keys, tuple(parts))


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The nested value of this structure with these leaves.

    Raises:
        ValueError: if there are too many or too few leaves.
    """
    rest = iter(leaves)
    made = _build(structure, rest)
    extra = sum(1 for _ in rest)
    if extra:
        raise ValueError(f"{extra} leaves too many for a structure of {structure.leaves}")
    return made


def _build(structure: Structure, rest: Iterator[Any]) -> Any:
    kind: Any = structure.kind
    if kind is None:
        try:
            return next(rest)
        except StopIteration:
            raise ValueError(f"too few leaves for a structure of {structure.leaves}") from None
    if kind is type(None):
        return None
    children = [_build(part, rest) for part in structure.parts]
    if issubclass(kind, dict):
        return kind(zip(structure.keys, children))
    return kind(*children) if hasattr(kind, "_fields") else kind(children)


def tree_map(function: Callable[..., Any], value: Any) -> Any:
    """The same structure with the function applied to every leaf."""
    leaves, structure = flatten(value)
    return unflatten(structure, [function(leaf) for leaf in leaves])
