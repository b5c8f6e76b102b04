"""Programs: planning, compiling, running."""

from .compile import CompileError, compile
from .jit import jit
from .program import Program

__all__ = ["CompileError", "Program", "compile", "jit"]
