"""Transforms: functions of functions. Each takes a function of arrays and gives another; they nest, with jit too."""

from __future__ import annotations

from .checkpoint import checkpoint, custom_gradient
from .gradient import grad, hessian, jacobian, value_and_grad, vjp
from .vmap import vmap

__all__ = ["checkpoint", "custom_gradient", "grad", "hessian", "jacobian", "value_and_grad", "vjp", "vmap"]
