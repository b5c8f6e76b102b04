"""Kernel IR → LLVM IR text, for native CPUs (hither.runtime.cpu compiles and runs it)."""

from .printer import entry_symbol, print_module
from .types import Target

__all__ = ["Target", "entry_symbol", "print_module"]
