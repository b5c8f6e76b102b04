"""Passes: Graph → Graph, each meaning-preserving, run in the order below before fusion."""

from __future__ import annotations

from ..graph.core import Graph
from .fold import fold
from .inline import inline, open_barriers
from .layout import channels_last
from .pairs import real_pairs
from .precision import store_weights
from .simplify import simplify


def tidy(graph: Graph) -> Graph:
    """What is known while compiling computed, and what does nothing gone; no layout chosen yet."""
    return simplify(fold(real_pairs(inline(graph))))


def optimize(graph: Graph) -> Graph:
    """What every compiled Graph goes through."""
    graph = simplify(channels_last(tidy(graph)))
    return open_barriers(simplify(fold(graph)))


__all__ = ["channels_last", "fold", "open_barriers", "optimize", "real_pairs", "simplify", "store_weights", "tidy"]
