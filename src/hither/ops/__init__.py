"""Public array functions by theme: compositions of primitives that work alike on concrete and on traced arrays.

Names and semantics follow the Python array API standard where it has the function. Nothing here knows of kernels or devices.
"""

from __future__ import annotations

import sys

from ..array import register_operations
from .activations import *  # noqa: F403
from .bits import *  # noqa: F403
from .control import *  # noqa: F403
from .conv import *  # noqa: F403
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .image import *  # noqa: F403
from .indexing import *  # noqa: F403
from .norm import *  # noqa: F403
from .operands import asarray, result_type
from .pictures import *  # noqa: F403
from .products import *  # noqa: F403
from .recurrent import *  # noqa: F403
from .reduce import *  # noqa: F403
from .sampling import *  # noqa: F403
from .search import *  # noqa: F403
from .segments import *  # noqa: F403
from .shape import *  # noqa: F403

register_operations(sys.modules[__name__])

_THEMES = (
    "activations", "bits", "control", "conv", "creation", "elementwise", "image", "indexing", "norm", "pictures", "products",
    "recurrent", "reduce", "sampling", "search", "segments", "shape",
)  # fmt: skip

__all__ = ["asarray", "result_type"]
for _theme in _THEMES:
    __all__ += sys.modules[f"{__name__}.{_theme}"].__all__
