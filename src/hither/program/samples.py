"""Samples that a network is judged on: as a user gives them, checked, or random numbers that look like its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.core import Abstract
from ..spec import Spec
from .compile import CompileError
from .program import bind_inputs, check_input

SYNTHETIC = 4  # samples, where none are given

Samples = Sequence[Mapping[str, np.ndarray]]


def samples_of(calibrate: Any, inputs: Mapping[str, Abstract]) -> list[dict[str, np.ndarray]]:
    """Samples as {input: array}, checked against what the inputs take.

    Args:
        calibrate: an iterable of samples, each {input: array}, or an array where there is one input. Or one {input: array}
            whose arrays have one more axis in front: samples stacked.

    Raises:
        CompileError: there is no sample, or arrays of different lengths are stacked.
        NameMismatch, ShapeMismatch, DTypeMismatch: one does not fit; says which.
    """
    if isinstance(calibrate, Mapping):
        stacked = {name: np.asarray(a) for name, a in calibrate.items()}
        lengths = {len(a) if a.ndim else 0 for a in stacked.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise CompileError(f"stacked samples have arrays of one length, got {sorted(lengths)}; a list of samples works too")
        calibrate = [{name: a[i] for name, a in stacked.items()} for i in range(lengths.pop())]
    if not isinstance(calibrate, Iterable):
        raise CompileError(
            "calibrate= is samples of real inputs: a list of {input: array}, or of arrays where there is one input, or one "
            f"{{input: samples stacked}}; got a {type(calibrate).__name__}, {calibrate!r}"
        )
    made = []
    for sample in calibrate:
        given = bind_inputs(list(inputs), (sample,), {})
        made.append({name: check_input(name, kind, given[name]) for name, kind in inputs.items()})
    if not made:
        raise CompileError("calibrate= has no samples; give some, or leave it out for synthetic ones")
    return made


def samples_by_entry(
    calibrate: Any, inputs: Mapping[str, Mapping[str, Abstract]], specs: Mapping[str, Any] | None
) -> dict[str, list[dict[str, np.ndarray]]]:
    """The samples of each entry that has some.

    Args:
        calibrate: samples as `samples_of` takes them, of the first entry and of those that take the same inputs; or {entry:
            samples}; None: random ones, of the first.
        inputs: of each entry.
        specs: of the first one's inputs.

    Raises:
        CompileError, NameMismatch, ShapeMismatch, DTypeMismatch: as for `samples_of`; CompileError for names that are those of
            entries and of inputs.
    """
    first = next(iter(inputs))
    if calibrate is None:
        own = (specs or {}).get(first)
        return {first: samples_of(synthetic_samples(inputs[first], own if isinstance(own, Mapping) else specs), inputs[first])}
    if isinstance(calibrate, Mapping) and calibrate and set(calibrate) <= set(inputs):
        if set(calibrate) <= set(inputs[first]):
            names = ", ".join(map(repr, calibrate))
            raise CompileError(
                f"calibrate= names {names}: entries and inputs of {first!r} alike; give a list of {{input: array}}"
            )
        return {entry: samples_of(calibrate[entry], inputs[entry]) for entry in inputs if entry in calibrate}
    given = calibrate if isinstance(calibrate, Mapping) or not isinstance(calibrate, Iterable) else list(calibrate)
    return {entry: samples_of(given, of) for entry, of in inputs.items() if entry == first or dict(of) == dict(inputs[first])}


def synthetic_samples(
    inputs: Mapping[str, Abstract], specs: Mapping[str, Any] | None, seed: int = 0
) -> Iterable[dict[str, Any]]:
    """Random inputs: pictures of random colours for images, normal numbers for other floats, 0 and 1 for integers and bools."""
    draw = np.random.default_rng(seed)
    for _ in range(SYNTHETIC):
        yield {name: _random(draw, kind, (specs or {}).get(name)) for name, kind in inputs.items()}


def _random(draw: np.random.Generator, kind: Abstract, spec: Any) -> np.ndarray:
    if isinstance(spec, Spec) and spec.media == "image":
        raw = draw.uniform(0, 255, kind.shape)
        channels = [1] * len(kind.shape)
        channels[(spec.layout or "NHWC").index("C")] = -1
        scale, mean, std = (_spread(x, channels) for x in (spec.scale, spec.mean, spec.std))
        raw = (raw * (1 if scale is None else scale) - (0 if mean is None else mean)) / (1 if std is None else std)
        return np.asarray(raw).astype(kind.dtype.numpy)
    if kind.dtype.kind == "f":
        return draw.standard_normal(kind.shape).astype(kind.dtype.numpy)
    return draw.integers(0, 2, kind.shape).astype(kind.dtype.numpy)


def _spread(value: Any, channels: list[int]) -> Any:
    array = None if value is None else np.asarray(value, np.float64)
    return array if array is None or array.ndim == 0 else array.reshape(channels)


__all__ = ["Samples", "samples_by_entry", "samples_of", "synthetic_samples"]
