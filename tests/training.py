"""Training on real data: `make train` runs the examples, holds their accuracies against targets, and writes docs/training.md.

python -m tests.training [task…] [--device cpu] [--missing]: results are kept under build/training, with a report of each
training, and the page is made of what has been measured. An interrupted training goes on where it was. A task that misses its
target ends the run with an error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from types import ModuleType
from typing import Any

import numpy as np
from examples.training import digits, drums, emoji, fashion, finetune, spam
from examples.training.sources import FASHION_CLASSES

import hither as ht
from hither.nn import layer

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "build" / "training"
PAGE = ROOT / "docs" / "training.md"


@dataclass(frozen=True)
class Task:
    """An example to run, once for each combination of options. `target`: accuracy on samples that it has not seen.

    Of several ways to do a task, the last is to reach the target, and to be better than each of the others.
    """

    example: ModuleType
    target: float
    options: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The options of each run."""
        return [dict(zip(self.options, values)) for values in itertools.product(*self.options.values())]

    @property
    def about(self) -> str:
        """The first paragraphs of the example, without how to start it."""
        return "\n\n".join(p for p in (self.example.__doc__ or "").strip().split("\n\n") if "python -m" not in p)


TASKS = {
    "digits": Task(digits, 0.97),
    "fashion": Task(fashion, 0.91, labels=FASHION_CLASSES),
    "drums": Task(drums, 0.80, labels=tuple(drums.KINDS)),
    "spam": Task(spam, 0.95),
    "emoji": Task(emoji, 0.70, {"way": ("pixels", "scratch", "features"), "seed": (0, 1, 2)}),
    "finetune": Task(finetune, 0.55, {"way": ("frozen", "adapted")}),
}


@dataclass(frozen=True)
class Result:
    """What came out of a run. Accuracies and losses are of the test samples, epoch by epoch."""

    task: str
    options: dict[str, Any]
    device: str
    accuracy: list[float]
    loss: list[float]
    seconds: list[float]
    parameters: int
    machine: str


def stem_of(name: str, options: dict[str, Any], device: str) -> str:
    """What the files of a run are called."""
    return "-".join([name, *map(str, options.values()), device])


def run(name: str, options: dict[str, Any], device: str) -> Result:
    """Run an example, and keep its result and its report."""
    task, stem = TASKS[name], stem_of(name, options, device)
    MEASURED.mkdir(parents=True, exist_ok=True)
    backup = ht.train.BackupAndRestore(MEASURED / stem, save_freq=100, delete_checkpoint=True)
    print(f"== {stem}", flush=True)
    layer._names.clear()  # layers are called as in a process of its own, whatever ran before: a checkpoint knows them by name
    history = task.example.train(device=device, verbose=2, resume=backup, **options)
    history.report(MEASURED / f"{stem}.html", title=stem, labels=task.labels)
    parameters = sum(int(np.prod(w.shape)) for w in history.trainer.net.weights.values())
    said = history.history
    accuracy = said.get("val_accuracy") or said["val_binary_accuracy"]
    machine = platform.processor() or platform.machine()
    result = Result(name, options, device, accuracy, said["val_loss"], history.seconds, parameters, machine)
    (MEASURED / f"{stem}.json").write_text(json.dumps(asdict(result), indent=1))
    return result


def ways(results: list[Result]) -> dict[str, list[Result]]:
    """The runs of each way to do a task, those of several seeds together."""
    made: dict[str, list[Result]] = {}
    for result in results:
        made.setdefault(str(result.options.get("way", "")), []).append(result)
    order = TASKS[results[0].task].options.get("way", ("",))
    return {way: made[way] for way in order if way in made}


def missed(results: list[Result]) -> list[str]:
    """What a task's runs did not reach."""
    name, target = results[0].task, TASKS[results[0].task].target
    reached = {way: mean(r.accuracy[-1] for r in runs) for way, runs in ways(results).items()}
    *others, (last, best) = reached.items()
    wrong = [f"{name} {last}: {best:.2%}, the target is {target:.0%}"] if best < target else []
    return wrong + [f"{name}: {last} reaches {best:.2%} and {way} {other:.2%}" for way, other in others if other >= best]


def _accuracy(runs: list[Result]) -> str:
    values = [r.accuracy[-1] for r in runs]
    return f"{values[0]:.2%}" if len(values) == 1 else f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f} %"


def page(results: list[Result]) -> str:
    """docs/training.md."""
    lines = [
        "# Training",
        "",
        "What `make train` trains on real data: the files of [examples/training](../examples/training), with the accuracy that",
        "each must reach on samples it has not seen. Seeds are fixed; where there are several, the mean and the standard",
        "deviation over them are given. Times are rough, of one run beside whatever else the machine did.",
        "",
        "| task | device | parameters | epochs | target | reached | seconds per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    sections: list[str] = []
    for (name, device), group in itertools.groupby(results, lambda r: (r.task, r.device)):
        runs = list(group)
        if f"## {name}" not in sections:
            sections += ["", f"## {name}", "", TASKS[name].about, ""]
        for way, part in ways(runs).items():
            last = part[0]
            target = f"{TASKS[name].target:.0%}" if part == list(ways(runs).values())[-1] else ""
            lines.append(
                f"| {name} {way} | {device} | {last.parameters:,} | {len(last.accuracy)} | {target} | {_accuracy(part)} | "
                f"{median(s for r in part for s in r.seconds):.1f} |"
            )
            if not way:
                every = -(-len(last.accuracy) // 10)
                curve = ", ".join(f"{a:.2%}" for a in last.accuracy[every - 1 :: every])
                epochs = "each epoch" if every == 1 else f"every {every} epochs"
                sections.append(f"Test accuracy after {epochs} on {device}: {curve}.")
    return "\n".join([*lines, *sections, "", f"Measured {time.strftime('%Y-%m-%d')} with `python -m tests.training`.", ""])


def main(arguments: Any = None) -> int:
    """Run the tasks asked for, and write the page of all that have been."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], help="all if none is named")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--missing", action="store_true", help="only what has not been measured")
    options = parser.parse_args(arguments)
    wrong: list[str] = []
    for name in options.tasks or TASKS:
        for one in TASKS[name].runs:
            if not options.missing or not (MEASURED / f"{stem_of(name, one, options.device)}.json").exists():
                run(name, one, options.device)
    kept = [Result(**json.loads(p.read_text())) for p in sorted(MEASURED.glob("*.json"))]
    kept.sort(key=lambda r: (list(TASKS).index(r.task), r.device))
    PAGE.write_text(page(kept), encoding="utf-8")
    for _, group in itertools.groupby(kept, lambda r: (r.task, r.device)):
        wrong += missed(list(group))
    print("\n".join(wrong) or f"wrote {PAGE.relative_to(ROOT)}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
