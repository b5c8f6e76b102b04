"""Other runtimes that `hither bench --against` measures: each as a function from nothing to outputs by name.

They get the same arrays and as many threads, on the CPU, and compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .arguments import ArgumentError

Run = Callable[[], Mapping[str, Any]]


def onnxruntime(path: str, arrays: Mapping[str, Any], threads: int) -> Run:
    """ONNX Runtime's CPU provider, with all its graph optimisations."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ArgumentError("--against onnxruntime needs it installed: pip install onnxruntime") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common type but Exception
        raise ArgumentError(f"onnxruntime cannot load {path}: {_last_line(error)}") from error
    names = [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, dict(arrays))))


def openvino(path: str, arrays: Mapping[str, Any], threads: int) -> Run:
    """OpenVINO's CPU plugin in its latency mode; it reads inputs in place."""
    try:
        import openvino as ov
    except ImportError as error:
        raise ArgumentError("--against openvino needs it installed: pip install openvino") from error
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the processor has it
    }
    try:
        core = ov.Core()
        model = core.read_model(path)
        model.reshape({name: list(x.shape) for name, x in arrays.items()})
        aliases = [sorted(output.get_names()) for output in model.outputs]
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise ArgumentError(f"openvino cannot load {path}: {_last_line(error)}") from error

    def run() -> dict[str, Any]:
        found = request.infer(dict(arrays), share_inputs=True)
        return {name: found[i] for i, names in enumerate(aliases) for name in names}

    return run


RIVALS: dict[str, Callable[[str, Mapping[str, Any], int], Run]] = {"onnxruntime": onnxruntime, "openvino": openvino}


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__
