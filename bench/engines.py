"""The native contestants: each gets a Net and a thread count and gives back a call that returns the outputs by name.

Peers are set up as their own documentation recommends for latency, on float32, with as many threads as are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from .nets import Net

Call = Callable[[], dict[str, np.ndarray]]


class Unavailable(RuntimeError):
    """A peer is not installed, or cannot run a net; the message goes into the report."""


def hither(net: Net, threads: int) -> tuple[Call, Any]:
    """The call, and the Program behind it."""
    import hither as ht

    ht.set_num_threads(threads)
    program = ht.compile(ht.load(str(net.path())), net.specs())
    wanted = {port.name for port in program.entries[program.default_entry].inputs}
    feeds = {name: x for name, x in net.feeds().items() if name in wanted}

    def call() -> dict[str, np.ndarray]:
        return {name: array.numpy() for name, array in program(feeds).items()}

    return call, program


def onnxruntime(net: Net, threads: int) -> tuple[Call, Any]:
    """ONNX Runtime's CPU provider, all its graph optimisations (the default)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(net.path()), options, providers=["CPUExecutionProvider"])
    feeds, names = net.feeds(), [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, feeds), strict=True)), session


def openvino(net: Net, threads: int) -> tuple[Call, Any]:
    """OpenVINO's CPU plugin in its latency mode; inputs are read in place."""
    try:
        import openvino as ov
    except ImportError as error:
        raise Unavailable("not installed: pip install openvino") from error
    feeds = net.feeds()
    try:
        core = ov.Core()
        model = core.read_model(str(net.path()))
        model.reshape({name: list(x.shape) for name, x in feeds.items()})
        names = [sorted(o.get_names()) for o in model.outputs]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise Unavailable(str(error).strip().splitlines()[-1][:120]) from error

    def call() -> dict[str, np.ndarray]:
        found = request.infer(feeds, share_inputs=True)
        return {name: found[i] for i, aliases in enumerate(names) for name in aliases}

    return call, request


ENGINES: dict[str, Callable[[Net, int], tuple[Call, Any]]] = {
    "hither": hither,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def versions() -> dict[str, str]:
    """Of every native contestant that is installed."""
    from importlib.metadata import PackageNotFoundError

    found = {}
    for name in ENGINES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
