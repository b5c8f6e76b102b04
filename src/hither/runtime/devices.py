"""Which device things run on unless told otherwise, and which devices there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import HitherError

NAMES = ("cpu", "webgpu", "wasm")
WITH_NUMPY = 'evaluate the Model with NumPy, without compiling it: model.to("numpy")'

_process_default = "cpu"
_chosen: ContextVar[str | None] = ContextVar("hither_device", default=None)


class UnknownDevice(HitherError, ValueError):
    """There is no device of this name."""


def require_device(name: str) -> str:
    """The name, if it is a device's.

    Raises:
        UnknownDevice: otherwise; lists the devices.
    """
    if name not in NAMES:
        known = ", ".join(map(repr, NAMES))
        if name == "numpy":
            raise UnknownDevice(f"nothing is compiled for 'numpy'; choose one of {known}, or {WITH_NUMPY}")
        raise UnknownDevice(f"no device {name!r}; there are {known}")
    return name


def default_device() -> str:
    """The device of the innermost `with device(...)`, else the process's default."""
    return _chosen.get() or _process_default


def set_default_device(name: str) -> None:
    """Where models, programs and jitted functions run from now on unless told otherwise.

    Example:
        >>> import hither as ht
        >>> ht.set_default_device("cpu")
    """
    global _process_default
    _process_default = require_device(name)


@contextmanager
def device(name: str) -> Iterator[None]:
    """Within the block, the default device is this one.

    Example:
        >>> import hither as ht
        >>> with ht.device("cpu"):
        ...     double = ht.jit(lambda x: x * 2)
    """
    token = _chosen.set(require_device(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def devices() -> dict[str, str]:
    """What there is to run on: {device: what it is, or why it cannot be used}.

    Example:
        >>> import hither as ht
        >>> "cpu" in ht.devices()
        True
    """
    from importlib.metadata import PackageNotFoundError, version

    from .cpu import host_machine
    from .webgpu_device import WebGpuError
    from .webgpu_device import device as gpu

    found = {}
    try:
        machine = host_machine()
        found["cpu"] = f"{machine.vector_bits}-bit vectors, {machine.vector_registers} registers"
    except ImportError as error:
        found["cpu"] = f"without llvmlite ({error}): kernels run as WebAssembly through wasmtime"
    try:
        info = gpu().info
        found["webgpu"] = f"{info.get('device', 'unknown')} ({info.get('backend_type', 'unknown')})"
    except (WebGpuError, ImportError) as error:
        found["webgpu"] = f"not usable: {error}"
    try:
        found["wasm"] = f"wasmtime {version('wasmtime')}"
    except PackageNotFoundError:
        found["wasm"] = 'not usable: pip install "hither[wasmtime]"'
    return found
