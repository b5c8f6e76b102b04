"""Benchmarks: hither and the runtimes that people would pick instead, side by side (`python -m bench`)."""
