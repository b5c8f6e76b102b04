"""Kernel IR → code. Three printers that read alike: llvm, wasm, wgsl."""
