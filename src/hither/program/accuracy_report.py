"""What the accuracy guard reports: how far outputs are off, and what keeps larger numbers for that. Bundles carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import HitherError
from ..passes.ranges import Range


class AccuracyError(HitherError, ValueError):
    """A precision cannot be had within the tolerance; says how far results are off."""


@dataclass(frozen=True)
class OutputAccuracy:
    """How one output differs from what it is in float32, at worst over all samples.

    Args:
        relative: the largest difference, over the largest magnitude of the output in float32; of integers and bools, the share
            of elements that differ.
        top1: in how many rows the largest element is the same one, 0…1; None where there are no rows of several.
    """

    relative: float
    top1: float | None = None


@dataclass(frozen=True)
class Kept:
    """A weight, or the result of an operator, that keeps larger numbers than asked for (of a weight "int8", with activations
    in float32, "float16" or "float32"), and how far it alone moves the outputs if it does not."""

    kind: str  # "weight" | "result"
    name: str
    shape: tuple[int, ...]
    relative: float
    numbers: str = "float32"

    def __str__(self) -> str:
        return self.name or "a weight" if self.kind == "weight" else f"the result of {self.name}"


@dataclass(frozen=True)
class AccuracyReport:
    """What the accuracy guard found.

    Args:
        precision: what was asked for.
        tolerance: what was tolerated: {"relative": largest relative error} or {"top1": least agreement}, or both.
        samples: how many were run; `synthetic` if they are random numbers, not data.
        outputs: of the program as it is, per output.
        everything: of the program if everything were as small as was asked for.
        kept: the weights and results that keep larger numbers, the most harmful first; for the compiler `keys` tell those
            apart that keep float32, and `steps` what other weights are in.
        unjudged: entries that there were no samples of. Outputs of others than the first are "entry.output".
        calibrated: of bytes, how many weights multiply what has scales found on the samples (`ranges`); others find them in
            every run.
    """

    precision: str
    tolerance: Mapping[str, float]
    samples: int
    synthetic: bool
    outputs: Mapping[str, OutputAccuracy]
    everything: Mapping[str, OutputAccuracy]
    kept: tuple[Kept, ...] = ()
    calibrated: int = 0
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    steps: Mapping[str, str] = field(default_factory=dict, repr=False)
    ranges: Mapping[str, Range] = field(default_factory=dict, repr=False)
    unjudged: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as plain data, as manifests have it."""
        made = asdict(self)
        del made["keys"], made["steps"], made["ranges"]
        found: dict[str, Any] = _finite(made)
        return found

    def __str__(self) -> str:
        wanted = ", ".join(f"{k} {'≤' if k == 'relative' else '≥'} {v:g}" for k, v in self.tolerance.items())
        kind = f"{'synthetic ' if self.synthetic else ''}sample{'' if self.samples == 1 else 's'}"
        kind += " (random numbers: give real ones)" if self.synthetic else ""
        lines = [f"{self.precision} against float32 on {self.samples} {kind}; tolerated: {wanted}"]
        for name, found in self.outputs.items():
            before = self.everything[name]
            agree = "" if found.top1 is None else f", top-1 agreement {100 * found.top1:.1f} %"
            was = f" (with everything in {self.precision}: {_short(before)})" if self.kept else ""
            lines.append(f"  {name}: relative error {found.relative:.2g}{agree}{was}")
        if self.calibrated:
            of = "one weight has a scale" if self.calibrated == 1 else f"{self.calibrated} weights have scales"
            lines.append(f"  what multiplies {of} found on the samples")
        for one in self.kept:
            lines.append(f"  keeps {one.numbers}: {one} {list(one.shape)}, alone off by {one.relative:.2g}")
        if self.unjudged:
            lines.append(f"  not judged, for want of samples: {', '.join(self.unjudged)}")
        return "\n".join(lines)


def _finite(value: Any) -> Any:
    """JSON has no infinity; null stands for it."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _short(found: OutputAccuracy) -> str:
    return f"{found.relative:.2g}" + ("" if found.top1 is None else f", {100 * found.top1:.1f} %")


__all__ = ["AccuracyError", "AccuracyReport", "Kept", "OutputAccuracy"]
