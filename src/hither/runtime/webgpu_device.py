"""The WebGPU device of this process: acquiring it, its limits and features, and the pipelines made on it.

One device serves every executable. A lost one is forgotten, so that the next executable gets a new one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from ..errors import HitherError
from ..kernels.ir import Machine
from ..targets.wgsl.plan import Plan
from ..targets.wgsl.printer import ENABLE_SUBGROUPS, ENTRY
from .webgpu_memory import Pool, Scratch


class WebGpuError(HitherError, RuntimeError):
    """WebGPU is missing or cannot run this program."""


class DeviceLost(WebGpuError):
    """The GPU device went away (driver reset, removal, out of memory). What it held is gone; load the program again."""


_WANTED_FEATURES = ("shader-f16", "subgroup", "timestamp-query")
_PIPELINES_KEPT = 1024

# names of the limits in the specification → in wgpu
LIMITS = {
    "maxStorageBuffersPerShaderStage": "max-storage-buffers-per-shader-stage",
    "maxStorageBufferBindingSize": "max-storage-buffer-binding-size",
    "maxBufferSize": "max-buffer-size",
    "maxComputeWorkgroupsPerDimension": "max-compute-workgroups-per-dimension",
    "maxComputeInvocationsPerWorkgroup": "max-compute-invocations-per-workgroup",
    "maxComputeWorkgroupSizeX": "max-compute-workgroup-size-x",
    "maxComputeWorkgroupSizeY": "max-compute-workgroup-size-y",
    "maxComputeWorkgroupSizeZ": "max-compute-workgroup-size-z",
    "maxComputeWorkgroupStorageSize": "max-compute-workgroup-storage-size",
}


class Device:
    """A wgpu device, its memory, and caches of what is made once: bind group layouts and pipelines by their text.

    `turn` is held while a program runs: programs work in the same scratch memory, and the device has one queue anyway.
    """

    def __init__(self, adapter: Any) -> None:
        import wgpu

        self.info: dict[str, Any] = dict(adapter.info)
        self.lost = False
        features = [f for f in _WANTED_FEATURES if f in adapter.features]
        limits = {name: adapter.limits[name] for name in LIMITS.values()}
        self.handle = adapter.request_device_sync(label="hither", required_features=features, required_limits=limits)
        self.features = frozenset(features)
        self.limits = {spec: int(self.handle.limits[name]) for spec, name in LIMITS.items()}
        self._layouts: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self._pipelines: OrderedDict[tuple[str, tuple[str, ...]], Any] = OrderedDict()
        self._lock = threading.Lock()
        self.turn = threading.Lock()
        self.pool = Pool(self.handle)
        self.usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC
        self.scratch = {space: Scratch(self.pool, self.usage, space, self.turn) for space in ("arena", "io")}
        self.staging = Scratch(self.pool, wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST, "staging", self.turn)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Turn the errors of a lost device into DeviceLost, and forget the device."""
        import wgpu

        try:
            yield
        except wgpu.GPUError as error:
            if "lost" not in str(error).lower() and "destroyed" not in str(error).lower():
                raise
            forget(self)
            raise DeviceLost(
                f"the WebGPU device {self.info.get('device')} was lost; load the program again ({error})"
            ) from error

    @cached_property
    def packed_dot(self) -> bool:
        """Whether WGSL has operations for products of bytes here: the wgpu package does not say, so one is tried."""
        import wgpu

        try:
            self.handle.create_shader_module(code="fn f(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }")
        except wgpu.GPUValidationError:
            return False
        return True

    def check(self, plan: Plan) -> None:
        """Refuse a Plan that needs more than the device has.

        Raises:
            WebGpuError: which limits, what is needed, what the device has.
        """
        short = [f"{n} (needs {v}, has {self.limits[n]})" for n, v in plan.needs().items() if v > self.limits[n]]
        if short:
            raise WebGpuError(
                f"the WebGPU device {self.info.get('device')} is too small for this program: {'; '.join(short)}; use a smaller "
                "batch or smaller inputs, precision='float16', or device='cpu'"
            )

    def layouts(self, access: tuple[str, ...]) -> tuple[Any, Any]:
        """(bind group layout, pipeline layout) for bindings of these accesses."""
        with self._lock:
            if access not in self._layouts:
                entries = [
                    {"binding": i, "visibility": 4, "buffer": {"type": "read-only-storage" if a == "read" else "storage"}}
                    for i, a in enumerate(access)
                ]
                group = self.handle.create_bind_group_layout(entries=entries)
                self._layouts[access] = (group, self.handle.create_pipeline_layout(bind_group_layouts=[group]))
            return self._layouts[access]

    def pipeline(self, text: str, access: tuple[str, ...]) -> Any:
        """The compute pipeline of a WGSL text, compiled at most once while it is in use often enough."""
        key = (text, access)
        with self._lock:
            if key in self._pipelines:
                self._pipelines.move_to_end(key)
                return self._pipelines[key]
        _, layout = self.layouts(access)
        # naga takes subgroup operations without the directive that the standard asks for, and refuses the directive
        module = self.handle.create_shader_module(code=text.replace(f"{ENABLE_SUBGROUPS}\n", ""))
        made = self.handle.create_compute_pipeline(layout=layout, compute={"module": module, "entry_point": ENTRY})
        with self._lock:
            self._pipelines[key] = made
            while len(self._pipelines) > _PIPELINES_KEPT:
                self._pipelines.popitem(last=False)
        return made


_device: Device | None = None
_device_lock = threading.Lock()


def device() -> Device:
    """The process's device.

    Raises:
        WebGpuError: wgpu is not installed, or no adapter is found; says what to install.
    """
    global _device
    with _device_lock:
        if _device is None:
            _device = Device(_adapter())
        return _device


when_lost: list[Callable[[], object]] = []  # called when a device was lost: what was made on it is of no use any more


def forget(lost: Device) -> None:
    """Drop a lost device."""
    global _device
    lost.lost = True
    with _device_lock:
        if _device is lost:
            _device = None
    for forgotten in when_lost:
        forgotten()


def _adapter() -> Any:
    try:
        import wgpu
    except ImportError as error:
        raise WebGpuError("device 'webgpu' needs the package wgpu: pip install 'hither[gpu]'") from error
    missing = (
        "no WebGPU adapter found: install a Vulkan, Metal or Direct3D 12 driver; without a GPU, on Debian and Ubuntu, "
        "`apt-get install mesa-vulkan-drivers libvulkan1` gives a software one. device='cpu' needs none"
    )
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:  # wgpu raises it for "not found"
        raise WebGpuError(f"{missing} ({error})") from error
    if adapter is None:
        raise WebGpuError(missing)
    return adapter


def webgpu_machine() -> Machine:
    """The Machine of this process's device, for compiling.

    Raises:
        WebGpuError: see `device`.
    """
    # fma=False: WGSL lets `fma` round twice, and software adapters do
    made = device()
    half, subgroups = (feature in made.features for feature in ("shader-f16", "subgroup"))
    return Machine(
        "wgsl", gpu=True, float16=half, subgroups=subgroups, fma=False, dot="signed", packed_dot=made.packed_dot,
        wide=("int64", "uint64"), vector_bits=32,
    )  # fmt: skip
