"""What a WebGPU runtime must do for a Code: buffers, kernel variants, dispatches; and the rules a Plan is held to.

`bindings.plan_bindings` makes Plans; the native runtime and the bundle's loader carry them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ... import dtypes as dt
from ...dtypes import DType
from ...errors import HitherError, UnsupportedFeature
from ...kernels.ir import INDEX, Kernel
from ...kernels.steps import ALIGN, Ref


class BindingError(HitherError, ValueError):
    """A Code cannot be bound under WebGPU's rules, or a plan breaks them."""


@dataclass(frozen=True)
class Limits:
    """The WebGPU limits a plan keeps to. The defaults are what every implementation of the specification has."""

    storage_buffers: int = 8
    binding_bytes: int = 128 << 20
    buffer_bytes: int = 256 << 20
    workgroups: int = 65535
    invocations: int = 256
    workgroup_size: tuple[int, int, int] = (256, 256, 64)
    workgroup_bytes: int = 16384


@dataclass(frozen=True)
class DeviceBuffer:
    """A GPU buffer the plan needs: bytes `offset` … `offset + size` of a region."""

    space: str
    offset: int
    size: int


@dataclass(frozen=True)
class Binding:
    """A range of DeviceBuffer number `buffer`, bound in one dispatch."""

    buffer: int
    offset: int
    size: int


@dataclass(frozen=True)
class Group:
    """What one or more kernel buffers are bound as: `pieces` consecutive bindings of array<element>.

    Every piece but the last has `piece` elements. `element` is f32, i32, u32 or f16; with `width` 4 the array is of vectors.
    """

    element: str
    access: str  # "read" | "read_write"
    atomic: bool = False
    pieces: int = 1
    piece: int = 0
    width: int = 1


@dataclass(frozen=True)
class Variant:
    """One kernel with one way of binding its buffers: buffer i is `slots[i]` = (group, offset in elements) of `groups`."""

    kernel: int  # in Plan.kernels
    groups: tuple[Group, ...]
    slots: tuple[tuple[int, int], ...]

    def access(self) -> tuple[str, ...]:
        """ "read" or "read_write" per binding number: the bind group layout."""
        return tuple(g.access for g in self.groups for _ in range(g.pieces))


@dataclass(frozen=True)
class Dispatch:
    """Run a variant over `workgroups` with `bindings[i]` at @binding(i)."""

    variant: int
    bindings: tuple[Binding, ...]
    workgroups: tuple[int, int, int]
    label: str = ""


@dataclass(frozen=True)
class Branch:
    """Read the u32 at `flag` back, then run one of two lists."""

    flag: Binding
    then: tuple[GpuStep, ...]
    otherwise: tuple[GpuStep, ...]


@dataclass(frozen=True)
class Repeat:
    """While the u32 at `flag`, read back each time, is not 0: run `body`, at most `bound` times where that is known."""

    flag: Binding
    body: tuple[GpuStep, ...]
    bound: int | None = None


GpuStep = Dispatch | Branch | Repeat


@dataclass
class Plan:
    """Everything a WebGPU runtime, native or in a page, must do for a Code."""

    kernels: list[Kernel]
    variants: list[Variant]
    buffers: list[DeviceBuffer]
    entries: dict[str, tuple[GpuStep, ...]]
    limits: Limits

    def locate(self, ref: Ref) -> list[tuple[int, int, int]]:
        """(buffer, offset in it, bytes) of the pieces of a Ref, in order: where an upload goes or a download comes from."""
        found = []
        for i, b in enumerate(self.buffers):
            low, high = max(ref.offset, b.offset), min(ref.offset + ref.nbytes, b.offset + b.size)
            if b.space == ref.space and low < high:
                found.append((i, low - b.offset, high - low))
        return found

    def needs(self) -> dict[str, int]:
        """The WebGPU limits this plan needs, by their names in the specification."""
        launched = list(dispatches(self))
        variants = self.variants
        used = [self.kernels[v.kernel] for v in variants]
        return {
            "maxStorageBuffersPerShaderStage": max((len(v.access()) for v in variants), default=0),
            "maxStorageBufferBindingSize": max((b.size for d in launched for b in d.bindings), default=0),
            "maxBufferSize": max((b.size for b in self.buffers), default=0),
            "maxComputeWorkgroupsPerDimension": max((max(d.workgroups) for d in launched), default=0),
            "maxComputeInvocationsPerWorkgroup": max(
                (k.workgroup[0] * k.workgroup[1] * k.workgroup[2] for k in used), default=0
            ),
            "maxComputeWorkgroupSizeX": max((k.workgroup[0] for k in used), default=0),
            "maxComputeWorkgroupSizeY": max((k.workgroup[1] for k in used), default=0),
            "maxComputeWorkgroupSizeZ": max((k.workgroup[2] for k in used), default=0),
            "maxComputeWorkgroupStorageSize": max((workgroup_bytes(k) for k in used), default=0),
        }


def steps_of(steps: tuple[GpuStep, ...]) -> Iterator[GpuStep]:
    """Every step, those inside branches and loops included."""
    for step in steps:
        yield step
        match step:
            case Branch():
                yield from steps_of(step.then)
                yield from steps_of(step.otherwise)
            case Repeat():
                yield from steps_of(step.body)


def dispatches(plan: Plan) -> Iterator[Dispatch]:
    """Every dispatch of every entry."""
    for entry in plan.entries.values():
        yield from (s for s in steps_of(entry) if isinstance(s, Dispatch))


# -- kernels -------------------------------------------------------------------------------------------------------------


def workgroups(kernel: Kernel, limits: Limits) -> tuple[int, int, int]:
    """How many workgroups a kernel is dispatched with; more than a dimension allows are spread over y."""
    if kernel.grid is not None:
        return kernel.grid
    size = kernel.workgroup[0] * kernel.workgroup[1] * kernel.workgroup[2]
    count = max(1, -(-kernel.parallel_extent() // size))
    rows = -(-count // limits.workgroups)
    return (-(-count // rows), rows, 1)


def workgroup_bytes(kernel: Kernel) -> int:
    """Bytes of workgroup memory a kernel declares, rounded as WGSL lays variables out."""
    return sum(-(-b.size * (2 if b.dtype is dt.float16 else 4) // 16) * 16 for b in kernel.scratch if b.space == "workgroup")


def packed(dtype: DType, float16: bool) -> bool:
    """True if a global buffer of this dtype holds several elements per 32-bit word, because WGSL cannot address them."""
    return dtype is not INDEX and dtype.bits < 32 and not (dtype is dt.float16 and float16)


def element(dtype: DType, float16: bool) -> str:
    """The WGSL element type of a global buffer of this storage dtype (64-bit integers are carried in 32)."""
    if packed(dtype, float16):
        return "u32"
    match dtype.kind, dtype.bits:
        case "f", 16:
            return "f16"
        case "f", 32:
            return "f32"
        case "i", 32 | 64:
            return "i32"
        case "u", 32 | 64:
            return "u32"
    raise UnsupportedFeature(f"WebGPU has no {dtype} buffers; cast to float32 first, or compile for the CPU")


# -- verifying -----------------------------------------------------------------------------------------------------------


def verify(plan: Plan) -> None:
    """Hold a Plan to the rules that browsers enforce and wgpu does not.

    Raises:
        BindingError: names the dispatch and the rule.
    """
    limits = plan.limits
    for i, b in enumerate(plan.buffers):
        if b.offset % ALIGN or b.size % 4:
            raise BindingError(f"buffer {i} of {b.space} is cut at {b.offset}, {b.size} bytes long")
    for kernel in plan.kernels:
        x, y, z = kernel.workgroup
        if x * y * z > limits.invocations or any(s > m for s, m in zip(kernel.workgroup, limits.workgroup_size)):
            raise BindingError(f"kernel {kernel.name}: workgroup {kernel.workgroup}, at most {limits.invocations} invocations")
        if workgroup_bytes(kernel) > limits.workgroup_bytes:
            raise BindingError(
                f"kernel {kernel.name} uses {workgroup_bytes(kernel)} bytes of workgroup memory of {limits.workgroup_bytes}"
            )
    for d in dispatches(plan):
        where = f"dispatch {d.label or plan.kernels[plan.variants[d.variant].kernel].name!r}"
        access = plan.variants[d.variant].access()
        if len(access) != len(d.bindings):
            raise BindingError(f"{where}: {len(d.bindings)} bindings for a layout of {len(access)}")
        if len(access) > limits.storage_buffers:
            raise BindingError(f"{where}: {len(access)} bindings, at most {limits.storage_buffers}")
        if max(d.workgroups) > limits.workgroups or min(d.workgroups) < 1:
            raise BindingError(f"{where}: {d.workgroups} workgroups, 1 to {limits.workgroups} per dimension")
        for r in d.bindings:
            if r.offset % ALIGN or r.size % 4 or not 0 < r.size <= limits.binding_bytes:
                raise BindingError(f"{where}: binding at {r.offset}, {r.size} bytes")
            if r.offset + r.size > plan.buffers[r.buffer].size:
                raise BindingError(f"{where}: binding reaches beyond its buffer: {r}")
        bound = list(zip(access, d.bindings))
        for i, (mine, a) in enumerate(bound):
            for other, c in bound[:i]:
                if a.buffer != c.buffer:
                    continue
                if mine != other:
                    raise BindingError(f"{where}: {plan.buffers[a.buffer].space} is bound both {mine} and {other}")
                if mine != "read" and a.offset < c.offset + c.size and c.offset < a.offset + a.size:
                    raise BindingError(f"{where}: read_write ranges overlap: {a} and {c}")
