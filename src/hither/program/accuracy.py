"""The accuracy guard: how far results move when a network computes with smaller numbers, and what must not be small.

Both precisions run on samples. Where results move further than is tolerated, each weight, and each result that is stored small,
is made small alone, and the ones that do most damage take a step towards float32 (bytes for activations, int8, float16), as few
and as small steps as will do. What was found is a report, which bundles carry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..graph.core import Graph
from ..passes import optimize
from ..passes.precision import Numbers, PrecisionWarning, stored_small, takes_ranges
from ..passes.ranges import Range, digest_of, with_extremes
from .accuracy_report import AccuracyError, AccuracyReport, Kept, OutputAccuracy
from .compile import CompileError, lengths_of, state_of
from .plan import plan
from .program import DEVICES, Program
from .samples import Samples, samples_by_entry, samples_of, synthetic_samples
from .trial import SWITCHES, candidates, with_switches

TOLERANCE = {"relative": 0.01}  # where samples are given and no tolerance is
SINGLES = 8  # samples that weights and results are tried on one by one


def guard(
    graphs: Mapping[str, Graph],
    specs: Mapping[str, Any] | None,
    numbers: Numbers,
    compiled: Callable[[Numbers], Program],
    calibrate: Any,
    tolerance: Mapping[str, float] | None,
) -> tuple[Program, AccuracyReport]:
    """A program within the tolerance, and the report on it.

    Args:
        graphs: what the entries compute, as traced. Those are judged that there are samples of (see `samples_by_entry`), one
            after the other: what an earlier one needs, later ones have.
        specs: of the first one's inputs, if they say more than the Graph does.
        numbers: to store and compute in.
        compiled: the program for the device in question, in such numbers.
        calibrate, tolerance: as for `hither.compile`.

    Raises:
        AccuracyError: results are off further than that even where all keeps float32, or float32 has no finite results on a
            sample.
        CompileError, NameMismatch, ShapeMismatch, DTypeMismatch: a sample or the tolerance is not what it must be.
    """
    tolerance = checked_tolerance(tolerance)
    state = state_of(graphs.values())
    inputs = {
        entry: {name: v.abstract for name, v in zip(graph.input_names, graph.inputs, strict=True) if name not in state}
        for entry, graph in graphs.items()
    }
    synthetic = calibrate is None
    samples = samples_by_entry(calibrate, inputs, specs)
    numbers, searches = _searched(graphs, numbers, samples, state, tolerance, synthetic)
    program, numbers, outputs = _kept_within(numbers, searches, samples, compiled, tolerance)
    first = next(iter(graphs))
    name = numbers.precision if numbers.activations == "float32" else f"{numbers.precision}, activations {numbers.activations}"
    kept: dict[str, Kept] = {}
    for search in searches.values():
        kept |= {key: one for key, one in search.kept(numbers).items() if key not in kept}
    report = AccuracyReport(
        name, tolerance, sum(map(len, samples.values())), synthetic,
        {_named(entry, out, first): one for entry, each in outputs.items() for out, one in each.items()},
        {_named(entry, out, first): one for entry, search in searches.items() for out, one in search.everything.items()},
        tuple(kept.values()), len(numbers.ranges), numbers.kept, numbers.steps, numbers.ranges,
        tuple(entry for entry in graphs if inputs[entry] and entry not in samples),
    )  # fmt: skip
    if not all(accepts(each, tolerance) for each in outputs.values()):
        raise AccuracyError(f"{name} cannot be had within the tolerance, though everything keeps float32:\n{report}")
    return program, report


def _searched(
    graphs: Mapping[str, Graph], numbers: Numbers, samples: Mapping[str, Samples], state: Mapping[str, np.ndarray],
    tolerance: Mapping[str, float], synthetic: bool,
) -> tuple[Numbers, dict[str, _Search]]:  # fmt: skip
    """What the entries need to keep the tolerance by trial, and their searches for it."""
    feeds = {entry: [{**state, **sample} for sample in each] for entry, each in samples.items()}
    ranges: dict[str, Range] = {}
    for entry, each in feeds.items() if not synthetic and numbers.activations == "int8" else ():
        for digest, found in seen_ranges(graphs[entry], numbers, each).items():
            ranges[digest] = ranges.get(digest, found).around(found)
    for scales in (ranges, {}) if ranges else ({},):  # the fast ones first
        numbers = replace(numbers, ranges=scales)
        searches = {entry: _Search(_Trials(graphs[entry], numbers, each), tolerance) for entry, each in feeds.items()}
        for entry, search in searches.items():
            require_finite(samples[entry], search.trials.exact, synthetic, state)
        if all(accepts(search.everything, tolerance) for search in searches.values()):
            break
    for search in searches.values():
        search.levels = search.found(numbers)
        numbers = search.chosen(numbers)
    return numbers, searches


def _kept_within(
    numbers: Numbers, searches: Mapping[str, _Search], samples: Mapping[str, Samples], compiled: Callable[[Numbers], Program],
    tolerance: Mapping[str, float],
) -> tuple[Program, Numbers, dict[str, dict[str, OutputAccuracy]]]:  # fmt: skip
    """The program, in the numbers that it needs because its device rounds otherwise than the trial did; and how accurate the
    entries' outputs are, which may be off further if everything keeps float32."""
    tried = 1
    while True:
        program = compiled(numbers)
        outputs = {
            entry: search.trials.compare([_run_anew(program, sample, entry) for sample in samples[entry]])
            for entry, search in searches.items()
        }
        off = [search for entry, search in searches.items() if not accepts(outputs[entry], tolerance)]
        if all(search.levels == search.last for search in off):
            return program, numbers, outputs
        for search in off:
            search.raise_first(tried)
            numbers = search.chosen(numbers)
        tried = 2 * tried + 1


def _named(entry: str, output: str, first: str) -> str:
    """An output of the first entry by its name, one of another with the entry's."""
    return output if entry == first else f"{entry}.{output}"


def seen_ranges(traced: Graph, numbers: Numbers, samples: Samples) -> dict[str, Range]:
    """Where the operands of convolutions by weights that are stored small lie in float32, over all samples, by the weight's
    digest. Those in bodies of branches and loops are not looked at."""
    graph = optimize(traced)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        small = stored_small(graph, numbers)
    watched, weights = with_extremes(graph, lambda node: takes_ranges(node, small.get(node.operands[1]), numbers.byte))
    if not weights:
        return {}
    program = Program(plan({"extremes": watched}, DEVICES["cpu"].machine()), "cpu", "extremes")
    found: dict[str, Range] = {}
    digests = [digest_of(graph.constants[weight]) for weight in weights]
    for sample in samples:
        ends = [float(v.numpy()) for v in program.run("extremes", dict(sample)).values()]
        for digest, low, high in zip(digests, ends[::2], ends[1::2], strict=True):
            if np.isfinite(low) and np.isfinite(high):
                found[digest] = found.get(digest, Range(low, high)).around(Range(low, high))
    return found


def compare(
    exact: Program, found: Program, precision: str, specs: Mapping[str, Any] | None, calibrate: Any,
    tolerance: Mapping[str, float] | None,
) -> AccuracyReport:  # fmt: skip
    """The report on one program against another that computes the same, more exactly.

    Raises:
        AccuracyError: results are off further than is tolerated, or the exact ones are not finite on a sample.
        CompileError, NameMismatch, ShapeMismatch, DTypeMismatch: as for `guard`.
    """
    tolerance = checked_tolerance(tolerance)
    inputs = {entry: {p.name: p.abstract for p in of.inputs} for entry, of in exact.entries.items()}
    first = exact.default_entry
    samples = samples_by_entry(calibrate, {first: inputs.pop(first), **inputs}, specs)
    outputs: dict[str, OutputAccuracy] = {}
    for entry, each in samples.items():
        pairs = [(_run_anew(exact, sample, entry), _run_anew(found, sample, entry)) for sample in each]
        require_finite(each, [wanted for wanted, _ in pairs], calibrate is None)
        outputs |= {_named(entry, name, first): one for name, one in _compared(*zip(*pairs)).items()}
    report = AccuracyReport(
        precision, tolerance, sum(map(len, samples.values())), calibrate is None, outputs, outputs,
        unjudged=tuple(entry for entry, given in inputs.items() if given and entry not in samples),
    )  # fmt: skip
    if not accepts(outputs, tolerance):
        raise AccuracyError(f"{precision} is not within the tolerance:\n{report}")
    return report


def _run_anew(program: Program, sample: Mapping[str, np.ndarray], entry: str) -> Mapping[str, Any]:
    """A run from the first state, in which the program is left."""
    result = program.run(entry, dict(sample))
    program.reset()
    return result


class _Trials:
    """One program that runs a Graph with any choice of candidates made small, and float32's results to compare with."""

    def __init__(self, traced: Graph, numbers: Numbers, samples: Samples) -> None:
        graph = optimize(traced)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)  # the program itself will say so
            self.candidates = candidates(graph, numbers)
            switched = with_switches(graph, numbers, self.candidates)
        self.samples = samples
        own = plan({"trial": switched}, DEVICES["cpu"].machine(), {"trial": lengths_of(traced)})
        self._program = Program(own, "cpu", "trial")
        self.exact = self._run([len(c.steps) - 1 for c in self.candidates], len(samples))

    def judge(self, levels: Sequence[int], most: int | None = None) -> dict[str, OutputAccuracy]:
        """What becomes of the outputs if the candidates are in these of their steps."""
        return self.compare(self._run(levels, min(most or len(self.samples), len(self.samples))))

    def compare(self, results: Sequence[Mapping[str, Any]]) -> dict[str, OutputAccuracy]:
        """Results on the first samples against those in float32; of outputs that both have."""
        return _compared(self.exact, results)

    def _run(self, levels: Sequence[int], count: int) -> list[Mapping[str, Any]]:
        switches = np.asarray(levels, np.int32)
        return [self._program.run("trial", {**sample, SWITCHES: switches}) for sample in self.samples[:count]]


class _Search:
    """The steps that candidates have to take towards float32: as few as will do, and as small ones, the most harmful first."""

    def __init__(self, trials: _Trials, tolerance: Mapping[str, float]) -> None:
        self.trials, self.tolerance = trials, tolerance
        self.last = [len(c.steps) - 1 for c in trials.candidates]
        self.first = [0] * len(self.last)
        self.levels = list(self.first)
        self.everything = trials.judge(self.levels)  # as small as was asked for
        self._alone: dict[int, list[Mapping[str, OutputAccuracy]]] = {}  # level → of each candidate, in that step alone

    def at(self, level: int) -> list[int]:
        """All candidates in this of their steps, or in the first or last that they can be in."""
        return [self._near(i, level) for i in range(len(self.last))]

    def _near(self, i: int, level: int) -> int:
        return max(self.first[i], min(level, self.last[i]))

    def alone(self, level: int) -> list[Mapping[str, OutputAccuracy]]:
        """What each candidate does in a step if all others keep float32."""
        if level not in self._alone:
            each = ([min(level, n) if i == j else n for j, n in enumerate(self.last)] for i in range(len(self.last)))
            self._alone[level] = [self.trials.judge(levels, SINGLES) for levels in each]
        return self._alone[level]

    def order(self, level: int = 0) -> list[int]:
        """The candidates by the damage that each does alone in a step, the worst first."""
        found = self.alone(level)
        return sorted(range(len(found)), key=lambda i: _damage(found[i], self.tolerance), reverse=True)

    def found(self, numbers: Numbers) -> list[int]:
        """The step of each, in such numbers at least. The first step that is accurate enough for all is too large for
        most: from there on, all but the fewest that need it go back a step, and all but the fewest of those another one."""
        for i, one in enumerate(self.trials.candidates):
            step = "float32" if one.key in numbers.kept else numbers.steps.get(one.key, one.steps[0])
            self.first[i] = one.steps.index(step)
        found = self.at(0)
        if not self.last or accepts(self.trials.judge(found), self.tolerance):
            return found
        most = max(self.last)
        reached = next((n for n in range(1, most) if accepts(self.trials.judge(self.at(n)), self.tolerance)), most)
        found, free = self.at(reached), list(range(len(self.last)))
        for level in range(reached - 1, -1, -1):
            order = [i for i in self.order(level) if i in set(free)]

            def tried(
                count: int, order: Sequence[int] = order, level: int = level, before: Sequence[int] = tuple(found)
            ) -> list[int]:
                levels = list(before)
                for i in order[count:]:
                    levels[i] = self._near(i, level)
                return levels

            if accepts(self.trials.judge(tried(0)), self.tolerance):
                count = 0
            else:
                count = _fewest(lambda n: accepts(self.trials.judge(tried(n)), self.tolerance), len(order))
            found, free = tried(count), order[count:]
        return found

    def chosen(self, numbers: Numbers) -> Numbers:
        """Numbers with the steps that were found."""
        each = list(zip(self.trials.candidates, self.levels, self.last, strict=True))
        kept = numbers.kept | {one.key for one, level, last in each if level == last}
        steps = {**numbers.steps, **{one.key: one.steps[level] for one, level, _ in each if level}}
        return replace(numbers, kept=kept, steps={key: step for key, step in steps.items() if key not in kept})

    def raise_first(self, count: int) -> None:
        """Have the most harmful ones take another step."""
        for i in self.order()[:count]:
            self.levels[i] = min(self.levels[i] + 1, self.last[i])

    def kept(self, numbers: Numbers) -> dict[str, Kept]:
        """What is reported of candidates that do not have what was asked for, by key, the most harmful first."""
        larger = {**numbers.steps, **dict.fromkeys(numbers.kept, "float32")}
        made: dict[str, Kept] = {}
        for i in self.order() if larger else ():
            one = self.trials.candidates[i]
            if one.key in larger:
                relative = max((o.relative for o in self.alone(0)[i].values()), default=0.0)
                made[one.key] = Kept(one.kind, one.name, one.shape, relative, larger[one.key])
        return made


def _compared(exact: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> dict[str, OutputAccuracy]:
    each: dict[str, list[OutputAccuracy]] = {}
    for wanted, result in zip(exact, found, strict=False):
        for name in result:
            each.setdefault(name, []).append(accuracy(wanted[name].numpy(), result[name].numpy()))
    return {name: _worst(several) for name, several in each.items()}


def _fewest(enough: Callable[[int], bool], most: int) -> int:
    """The smallest count that is enough, where more never is worse; `most` is taken to be."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# -- measures ------------------------------------------------------------------------------------------------------------


def accuracy(exact: np.ndarray, found: np.ndarray) -> OutputAccuracy:
    """How an output differs from what it should be."""
    if exact.shape != found.shape:  # another number of boxes
        return OutputAccuracy(1.0, 0.0 if exact.ndim and exact.shape[-1] > 1 else None)
    if not exact.size:
        return OutputAccuracy(0.0)
    if exact.dtype.kind not in "f":
        return OutputAccuracy(float(np.mean(exact != found)))
    rows = exact.ndim > 0 and exact.shape[-1] > 1
    finite = np.isfinite(exact)
    same = finite == np.isfinite(found)
    top1 = float(np.mean((exact.argmax(-1) == found.argmax(-1)) & same.all(-1))) if rows else None
    if not same.all():
        return OutputAccuracy(float("inf"), top1)
    if not np.array_equal(exact[~finite], found[~finite], equal_nan=True):
        return OutputAccuracy(float("inf"), top1)
    exact, found = exact[finite].astype(np.float64), found[finite].astype(np.float64)
    scale = float(np.abs(exact).max(initial=0))
    difference = float(np.abs(exact - found).max(initial=0))
    return OutputAccuracy(difference / scale if scale else float(difference > 0), top1)


def _worst(each: Sequence[OutputAccuracy]) -> OutputAccuracy:
    tops = [one.top1 for one in each if one.top1 is not None]
    return OutputAccuracy(max(one.relative for one in each), float(np.mean(tops)) if tops else None)


def accepts(found: Mapping[str, OutputAccuracy], tolerance: Mapping[str, float]) -> bool:
    """Whether all outputs are within the tolerance; none tolerates what is finite in float32 alone."""
    return all(
        np.isfinite(one.relative)
        and one.relative <= tolerance.get("relative", float("inf"))
        and (one.top1 is None or one.top1 >= tolerance.get("top1", 0))
        for one in found.values()
    )


def _damage(found: Mapping[str, OutputAccuracy], tolerance: Mapping[str, float]) -> tuple[float, float]:
    """How bad a weight is, by what is asked for first."""
    lost = max((1 - one.top1 for one in found.values() if one.top1 is not None), default=0.0)
    relative = max((one.relative for one in found.values()), default=0.0)
    return (lost, relative) if "top1" in tolerance and "relative" not in tolerance else (relative, lost)


# -- samples -------------------------------------------------------------------------------------------------------------


def checked_tolerance(tolerance: Mapping[str, float] | None) -> dict[str, float]:
    """The tolerance as it was meant.

    Raises:
        CompileError: a measure that does not exist, or a number out of its range.
    """
    given = TOLERANCE if tolerance is None else tolerance
    if not isinstance(given, Mapping) or not given or not set(given) <= {"relative", "top1"}:
        raise CompileError(
            'tolerance= is {"relative": largest error, as 0.01} or {"top1": least agreement, as 0.99}, or both; '
            f"got {tolerance!r}"
        )
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise CompileError(f"tolerance[{name!r}] is a share between 0 and 1, as 0.01; got {value!r}")
    return dict(given)


def require_finite(samples: Samples, exact: Sequence[Mapping[str, Any]], synthetic: bool, state: Collection[str] = ()) -> None:
    """Refuse samples that say nothing of an accuracy. Outputs may have infinities, as masks do, where inputs have none.

    Args:
        exact: the results on them in float32.
        synthetic: whether they are random numbers.
        state: results that are no outputs.

    Raises:
        AccuracyError: a result has NaN or no finite number; says which, and of which sample.
    """
    for number, (sample, results) in enumerate(zip(samples, exact, strict=True)):
        wrong = [name for name, array in sample.items() if _floats(array) and not np.isfinite(array).all()]
        for name, result in results.items():
            array = result.numpy()
            if name in state or not _floats(array) or np.isfinite(array).all():
                continue
            if wrong or np.isnan(array).any() or not np.isfinite(array).any():
                because = f"its input {wrong[0]!r} has such, too" if wrong else "its inputs are finite"
                advice = "give real samples with calibrate=" if synthetic else "leave it out, or mend it"
                raise AccuracyError(
                    f"{'random ' if synthetic else ''}sample {number + 1} of {len(samples)} says nothing of an accuracy: in "
                    f"float32 its output {name!r} has NaN or infinite numbers, and {because}; {advice}"
                )


def _floats(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc" and array.size > 0


__all__ = [
    "AccuracyError",
    "AccuracyReport",
    "Kept",
    "OutputAccuracy",
    "checked_tolerance",
    "guard",
    "samples_of",
    "synthetic_samples",
]
