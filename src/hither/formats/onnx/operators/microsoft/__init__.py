"""Operators of ONNX Runtime's own domain, com.microsoft, that its optimisers and quantisers leave in files.

Semantics: docs/ContribOperators.md of ONNX Runtime. Each operator declares the attributes that it knows; others, and values
that nothing here computes, are refused by name.
"""

from __future__ import annotations

from . import attention, blockwise, fused, grouped, products, quantized, spectral, tensors

__all__ = ["attention", "blockwise", "fused", "grouped", "products", "quantized", "spectral", "tensors"]
