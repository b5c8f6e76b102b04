"""Calls are replaced by what they call, before everything else; barriers go when nothing is left that they had to stop."""

from __future__ import annotations

from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite


def inline(graph: Graph) -> Graph:
    """A Graph without calls. Branch and loop bodies keep theirs: they are optimised by themselves."""

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
        if node.primitive.name != "call":
            return None
        inner = inline(node.params["graph"])
        env = dict(zip(inner.inputs, operands, strict=True))
        for value, array in inner.constants.items():
            env[value] = builder.constant(array, value.name)
        for inside in inner.nodes:
            made = builder.add(inside.primitive, [env[o] for o in inside.operands], inside.params, inside.source)
            env.update(zip(inside.results, made, strict=True))
        return [env[v] for v in inner.outputs]

    return rewrite(graph, rule) if any(n.primitive.name == "call" for n in graph.nodes) else graph


def open_barriers(graph: Graph) -> Graph:
    """A Graph without barriers; equal nodes on their two sides stay apart."""

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
        return [operands[0]] if node.primitive.name == "barrier" else None

    return rewrite(graph, rule) if any(n.primitive.name == "barrier" for n in graph.nodes) else graph
