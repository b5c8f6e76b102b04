"""A Graph as a picture that a person can read: the model's operators, folded into blocks, laid out from top to bottom.

operators (nodes → the user's operators) → blocks (operators → nested blocks) → layers, layout (where boxes stand) →
svg, page (files). `Part` and `Level`, in parts, are what passes between them.
"""

from __future__ import annotations

from ...graph.core import Graph
from .blocks import fold
from .operators import read
from .page import html_page
from .parts import Level
from .svg import svg_file


def picture(graph: Graph) -> Level:
    """What is drawn of a Graph: its operators, folded into nested blocks, with its inputs and outputs."""
    return fold(read(graph))


__all__ = ["Level", "html_page", "picture", "svg_file"]
