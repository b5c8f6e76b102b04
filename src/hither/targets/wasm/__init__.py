"""Kernel IR → WebAssembly bytes."""
