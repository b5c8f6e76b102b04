"""Kernel templates: hand-written loop nests for what fusion alone would not make fast.

Each family registers a function `(context, group) -> list[Lowered]` under the name that a primitive's lowering gives. Tiles,
vector widths and dtypes come from the machine; the group's epilogue is applied where a result element is finished.
"""

from __future__ import annotations

from collections.abc import Callable

from ..emitter import Context, Lowered
from ..fusion import Group, takes_epilogue

TemplateFunction = Callable[[Context, Group], list[Lowered]]
TEMPLATES: dict[str, TemplateFunction] = {}


def template(name: str, *, epilogue: bool = False) -> Callable[[TemplateFunction], TemplateFunction]:
    """Register a template. `epilogue`: it finishes each element through Emitter.finish_element."""

    def register(function: TemplateFunction) -> TemplateFunction:
        TEMPLATES[name] = function
        if epilogue:
            takes_epilogue(name)
        return function

    return register


from . import (  # noqa: E402, F401  (they register themselves)
    along,
    conv,
    conv_transpose,
    dynamic,
    filter_gradient,
    gemm,
    pool,
    pool_gradient,
    scatter,
)  # fmt: skip
