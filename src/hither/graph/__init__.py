"""Graphs: values, nodes, tracing, and the primitives they are made of."""
