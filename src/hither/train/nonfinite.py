"""Where a NaN comes from: a step's Graph is run on NumPy, and from the loss backwards the first value that is not finite is
found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph.core import Graph, Node, Value


def origin(graph: Graph, arrays: Mapping[str, np.ndarray], output: str) -> str:
    """What made an output of a Graph NaN or infinite, in the user's terms: an input, a weight, or a layer and its operation.

    A NaN is followed to the operation whose operands have none; an infinity from there on to where it arose, because most NaNs
    are differences or quotients of infinities.

    Args:
        graph: with `source` on its nodes.
        arrays: of its inputs, by name.
        output: the output to explain.
    """
    kinds: dict[Value, str] = {}
    env: dict[Value, np.ndarray] = dict(graph.constants)
    env.update(zip(graph.inputs, (arrays[n] for n in graph.input_names), strict=True))
    kinds.update((value, _kind(array)) for value, array in env.items())
    last_use = {o: i for i, node in enumerate(graph.nodes) for o in node.operands}
    with np.errstate(all="ignore"):
        for i, node in enumerate(graph.nodes):
            results = node.primitive.run(*[env[o] for o in node.operands], **node.params)
            for value, array in zip(node.results, results, strict=True):
                env[value], kinds[value] = array, _kind(array)
            for operand in set(node.operands):
                if last_use[operand] == i:
                    env.pop(operand, None)
    value = graph.outputs[graph.output_names.index(output)]
    if not kinds[value]:
        return "nothing when it is computed on NumPy; the device's arithmetic overflowed"
    producers = graph.producers()
    while True:
        made: Node | None = producers.get(value)
        if made is None:
            break
        worse = [o for o in made.operands if kinds[o] == "NaN"] or [o for o in made.operands if kinds[o]]
        if not worse or (kinds[value] == "infinite" and kinds[worse[0]] != "infinite"):
            break
        value = worse[0]
    names = dict(zip(graph.inputs, graph.input_names))
    if value in names:
        return f"{_input(names[value])}, which holds {_article(kinds[value])} value already"
    if made is None:
        return f"a constant that is {kinds[value]}"
    return f"{made.source or 'the step'}, in {made.primitive.name!r}, which makes {_article(kinds[value])} value of finite ones"


def _article(kind: str) -> str:
    return "a NaN" if kind == "NaN" else "an infinite"


def _input(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "weights":
        return f"weight {rest!r}"
    return f"input {name!r}" if part in ("x", "y", "sample_weight") else f"state {name!r}"


def _kind(array: np.ndarray) -> str:
    """ "NaN", "infinite", or "" for finite values."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return ""
    return "NaN" if np.isnan(array).any() else "infinite"
