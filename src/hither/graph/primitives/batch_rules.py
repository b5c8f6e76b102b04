"""Batching rules, by what they have in common. A rule is `(size, flags, *operands, **params) → result or results`.

Operands whose flag is set have a batch axis of `size` first, and so have all results, except pairs (result, flag).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...array import Array
from ..batching import run_batched, spread
from ..core import Abstract, Graph
from ..trace import trace_function
from .rules import apply, full

Rule = Callable[..., Any]
Flags = tuple[bool, ...]


def all_batched(name: str, **shifted: str) -> Rule:
    """A primitive that takes batched operands as they are once its parameters count the new axis.

    `shifted` says how: "axis" adds one; a parameter of one entry per axis gets a first entry: "zero", "one" or "size"; "axes"
    adds one to each and puts 0 first.
    """

    def rule(size: int, flags: Flags, *operands: Any, **params: Any) -> Any:
        for key, how in shifted.items():
            value = params[key]
            if how == "axis":
                params[key] = value + 1
            elif how == "axes":
                params[key] = (0, *(a + 1 for a in value))
            else:
                params[key] = ({"zero": 0, "one": 1, "size": size}[how], *value)
        return apply(name, *[spread(x, flag, size) for x, flag in zip(operands, flags, strict=True)], **params)

    return rule


def merged(x: Any) -> Any:
    """[size, n, …] as [size · n, …]."""
    shape = tuple(x.shape)
    return apply("reshape", x, shape=(shape[0] * shape[1], *shape[2:]))


def parted(x: Any, size: int) -> Any:
    """[size · n, …] as [size, n, …]."""
    shape = tuple(x.shape)
    return apply("reshape", x, shape=(size, shape[0] // size, *shape[1:]))


def moved(x: Any, start: int, stop: int) -> Any:
    """An axis moved to another place."""
    order = [i for i in range(len(x.shape)) if i != start]
    order.insert(stop, start)
    return apply("transpose", x, permutation=tuple(order))


def batch_matmul(size: int, flags: Flags, a: Any, b: Any, transpose_a: bool, transpose_b: bool, **params: Any) -> Any:
    """Rows of all instances are rows of one product where only the left operand is batched."""
    about = {"transpose_a": transpose_a, "transpose_b": transpose_b, **params}
    if flags == (True, False) and len(a.shape) == 3 and not transpose_a:
        return parted(apply("matmul", merged(a), b, **about), size)
    return apply("matmul", spread(a, flags[0], size), spread(b, flags[1], size), **about)


def batch_window(name: str) -> Rule:
    """Convolutions and pools: instances are more pictures; where each has weights of its own, more groups of channels."""

    def rule(size: int, flags: Flags, x: Any, *weights: Any, layout: str = "channels_first", **params: Any) -> Any:
        x = spread(x, flags[0], size)
        if not any(flags[1:]):
            return parted(apply(name, merged(x), *weights, layout=layout, **params), size)
        (w,) = weights
        last = layout == "channels_last"
        x = moved(x, len(x.shape) - 1, 2) if last else x  # [size, n, channels, …]
        x = moved(x, 0, 1)
        batch, _, channels, *spatial = x.shape
        x = apply("reshape", x, shape=(batch, size * channels, *spatial))
        params["groups"] *= size
        made = apply(name, x, merged(w), layout="channels_first", **params)
        batch, channels, *spatial = made.shape
        made = moved(apply("reshape", made, shape=(batch, size, channels // size, *spatial)), 1, 0)
        return moved(made, 2, len(made.shape) - 1) if last else made

    return rule


def _grid(shape: Sequence[int]) -> np.ndarray:
    """[*shape, rank]: the index of each place."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.int64).reshape(*shape, len(shape))


def _row_numbers(size: int, shape: Sequence[int]) -> np.ndarray:
    """[size, *shape, 1]: the instance that each place belongs to."""
    return np.broadcast_to(np.arange(size, dtype=np.int64).reshape(size, *[1] * len(shape), 1), (size, *shape, 1)).copy()


def _places(starts: Any, whole: Sequence[int], sizes: Sequence[int], size: int) -> Any:
    """[size, *sizes, rank]: the indices of a window at each instance's clamped start."""
    rank = len(whole)
    starts = starts if starts.dtype is dt.int64 else apply("convert", starts, dtype=dt.int64)
    most = np.array([n - s for n, s in zip(whole, sizes)], np.int64)
    starts = apply("min", starts, spread(Array(most), False, size))
    starts = apply("max", starts, spread(Array(np.zeros(rank, np.int64)), False, size))
    shape = (size, *sizes, rank)
    wide = apply("broadcast", starts, shape=shape, axes=(0, rank + 1))
    return apply("add", wide, spread(Array(_grid(sizes)), False, size))


def batch_dynamic_slice(size: int, flags: Flags, x: Any, starts: Any, sizes: tuple[int, ...]) -> Any:
    if not flags[1]:
        return apply("dynamic_slice", x, _after_zero(starts), sizes=(size, *sizes))
    x = spread(x, flags[0], size)
    return apply("gather_nd", x, _places(starts, x.shape[1:], sizes, size), batch_dims=1)


def batch_dynamic_update_slice(size: int, flags: Flags, x: Any, update: Any, starts: Any) -> Any:
    x, update = spread(x, flags[0], size), spread(update, flags[1], size)
    if not flags[2]:
        return apply("dynamic_update_slice", x, update, _after_zero(starts))
    sizes = tuple(update.shape[1:])
    places = _places(starts, x.shape[1:], sizes, size)
    places = apply("concat", Array(_row_numbers(size, sizes)), places, axis=len(sizes) + 1)
    return apply("scatter_nd", x, places, update, combine="set")


def _after_zero(starts: Any) -> Any:
    return apply("pad", starts, low=(1,), high=(0,), value=0)


def batch_take(size: int, flags: Flags, x: Any, indices: Any, axis: int) -> Any:
    if not flags[1]:
        return apply("take", x, indices, axis=axis + 1)
    if not flags[0]:
        return moved(apply("take", x, indices, axis=axis), axis, 0)
    rank = len(indices.shape) - 1
    rows = moved(x, axis + 1, 1)
    places = apply("reshape", indices, shape=(*indices.shape, 1))
    made = apply("gather_nd", rows, places, batch_dims=1)  # [size, *indices, *x without axis]
    for i in range(axis):
        made = moved(made, 1 + rank + i, 1 + i)
    return made


def batch_gather_nd(size: int, flags: Flags, x: Any, indices: Any, batch_dims: int) -> Any:
    if not flags[0] and not batch_dims:
        return apply("gather_nd", x, indices, batch_dims=0)
    return apply("gather_nd", spread(x, flags[0], size), spread(indices, flags[1], size), batch_dims=batch_dims + 1)


def batch_scatter_nd(size: int, flags: Flags, x: Any, indices: Any, updates: Any, combine: str) -> Any:
    x, indices, updates = (spread(v, flag, size) for v, flag in zip((x, indices, updates), flags))
    wide = indices if indices.dtype is dt.int64 else apply("convert", indices, dtype=dt.int64)
    shape = tuple(indices.shape[1:-1])
    places = apply("concat", Array(_row_numbers(size, shape)), wide, axis=len(shape) + 1)
    return apply("scatter_nd", x, places, updates, combine=combine)


# -- control flow ----------------------------------------------------------------------------------------------------------


def batched_graph(graph: Graph, flags: Flags, size: int, wanted: Flags | None = None) -> tuple[Graph, Flags]:
    """A Graph for batched inputs, and which of its outputs are batched: at least those that are wanted so."""
    abstracts = [
        Abstract((size, *v.shape), v.dtype) if flag else v.abstract for v, flag in zip(graph.inputs, flags, strict=True)
    ]
    found: list[bool] = []

    def run(*tracers: Any) -> list[Any]:
        made = run_batched(graph, list(zip(tracers, flags, strict=True)), size)
        target = wanted or (False,) * len(made)
        found.extend(flag or want for (_, flag), want in zip(made, target, strict=True))
        return [spread(x, flag, size) if want else x for (x, flag), want in zip(made, target, strict=True)]

    traced, captured = trace_function(run, abstracts, name=f"{graph.name}_batched")
    if captured:
        raise AssertionError(f"{graph.name} closes over {captured}")
    return traced, tuple(found)


def _list(made: Any) -> list[Any]:
    return list(made) if isinstance(made, tuple) else [made]


def batch_cond(size: int, flags: Flags, flag: Any, *operands: Any, then: Graph, otherwise: Graph) -> Any:
    """One branch where all instances take the same; else both, and each instance its own."""
    if not flags[0]:
        wanted = tuple(a or b for a, b in zip(*(batched_graph(g, flags[1:], size)[1] for g in (then, otherwise)), strict=True))
        graphs = [batched_graph(g, flags[1:], size, wanted)[0] for g in (then, otherwise)]
        made = _list(apply("cond", flag, *operands, then=graphs[0], otherwise=graphs[1]))
        return list(zip(made, wanted, strict=True))
    pairs = list(zip(operands, flags[1:], strict=True))
    both = [run_batched(g, pairs, size) for g in (then, otherwise)]
    return [_chosen(flag, spread(x, f, size), spread(y, g, size)) for (x, f), (y, g) in zip(*both, strict=True)]


def _chosen(flag: Any, a: Any, b: Any) -> Any:
    shape = tuple(a.shape)
    wide = apply("broadcast", flag, shape=shape, axes=(0,)) if len(shape) > 1 else flag
    return apply("select", wide, a, b)


def batch_while(
    size: int, flags: Flags, *operands: Any, condition: Graph, body: Graph, carried: int, bound: int | None = None,
    backward: Any = None,
) -> Any:  # fmt: skip
    """Turns go on until the last instance is done; one that is done before keeps what it has. A rule for the gradient is for
    one instance, so the batched loop has the general one."""
    state, constants = flags[:carried], flags[carried:]
    while True:  # what becomes batched in a turn is batched from the start
        _, after = batched_graph(body, (*state, *constants), size)
        again = tuple(a or b for a, b in zip(state, after, strict=True))
        if again == state:
            break
        state = again
    _, (goes_on,) = batched_graph(condition, (*state, *constants), size)
    if goes_on:
        state = (True,) * carried
    everything = (*state, *constants)
    given = [spread(x, flag, size) if want and not flag else x for x, flag, want in zip(operands, flags, everything)]
    checks, _ = batched_graph(condition, everything, size)
    turns, _ = batched_graph(body, everything, size, state)
    if not goes_on:
        made = apply("while_loop", *given, condition=checks, body=turns, carried=carried, bound=bound)
        return list(zip(_list(made), state, strict=True))
    from ..trace import call_graph

    def any_left(*values: Any) -> list[Any]:
        counted = apply("convert", call_graph(checks, *values)[0], dtype=dt.int32)
        return [apply("lt", full(0, counted, shape=()), apply("reduce_max", counted, axes=(0,)))]

    def turn(*values: Any) -> list[Any]:
        (left,) = call_graph(checks, *values)
        after = call_graph(turns, *values)
        return [_chosen(left, new, old) for new, old in zip(after, values)]

    abstracts = [v.abstract for v in checks.inputs]
    graphs = {"condition": trace_function(any_left, abstracts)[0], "body": trace_function(turn, abstracts)[0]}
    return tuple(_list(apply("while_loop", *given, **graphs, carried=carried, bound=bound)))


def batch_call(size: int, flags: Flags, *operands: Any, graph: Graph, backward: Any = None) -> Any:
    """The call of a batched Graph. A rule that the user gave is batched when it is used."""
    inner, made = batched_graph(graph, flags, size)
    rule = None
    if backward is not None:

        def rule(cotangents: tuple[Any, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
            return _batched_backward(backward, cotangents, given, flags, made, size)

    results = _list(apply("call", *operands, graph=inner, backward=rule))
    return list(zip(results, made, strict=True))


def _batched_backward(
    backward: Any, cotangents: tuple[Any, ...], operands: tuple[Any, ...], flags: Flags, made: Flags, size: int
) -> tuple[Any, ...]:
    """The user's rule for all instances; an operand that they share gets the sum of what each of them gives."""
    live = [g for g in cotangents if g is not None]
    abstracts = [
        Abstract(tuple(x.shape)[1:] if flag else tuple(x.shape), x.dtype)
        for x, flag in [*zip(operands, flags), *((g, m) for g, m in zip(cotangents, made) if g is not None)]
    ]
    present: list[bool] = []

    def run(*tracers: Any) -> list[Any]:
        rest = iter(tracers[len(operands) :])
        found = backward(tuple(None if g is None else next(rest) for g in cotangents), tuple(tracers[: len(operands)]))
        present.extend(g is not None for g in found)
        return [g for g in found if g is not None]

    graph, captured = trace_function(run, abstracts)
    pairs = [
        *zip(operands, flags),
        *((g, m) for g, m in zip(cotangents, made) if g is not None),
        *((c, False) for c in captured),
    ]
    assert len(live) == len(pairs) - len(operands) - len(captured)
    results = iter(run_batched(graph, pairs, size))
    found: list[Any] = []
    for flag, there in zip(flags, present):
        if not there:
            found.append(None)
            continue
        g, is_batched = next(results)
        if flag:
            found.append(spread(g, is_batched, size))
        else:
            found.append(apply("reduce_sum", g, axes=(0,)) if is_batched else g)
    return tuple(found)
