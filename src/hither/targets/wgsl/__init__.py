"""Kernel IR → WGSL for WebGPU, natively and in browsers.

plan = plan_bindings(code, machine)     buffers, kernel variants, dispatches (bindings.py, plan.py)
texts = print_variants(plan, machine)   one WGSL module per variant (printer.py, expressions.py)
"""

from .bindings import plan_bindings
from .plan import BindingError, Limits, Plan, verify
from .printer import ENTRY, SEPARATOR, print_module, print_variants

__all__ = ["ENTRY", "SEPARATOR", "BindingError", "Limits", "Plan", "plan_bindings", "print_module", "print_variants", "verify"]
