"""Training on real data: `make train` runs each task, holds its accuracy against a target, and writes docs/training.md.

python -m tests.training [task…] [--device cpu]: results are kept under build/training, with a report of each training, and the
page is made of what has been measured. A task that misses its target ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hither as ht

from .training_data import FASHION_CLASSES, Arrays, digits, fashion

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "build" / "training"
PAGE = ROOT / "docs" / "training.md"

LOSS = ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Task:
    """Something to learn. `net` and `optimizer` are made anew for each run; `steps` is how many steps it has in all."""

    data: Callable[[], tuple[Arrays, Arrays]]
    net: Callable[[], ht.nn.Module]
    optimizer: Callable[[int], ht.optim.Optimizer]
    epochs: int
    batch_size: int
    target: float  # accuracy on the test samples
    about: str
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Result:
    """What came out. Accuracies and losses are of the test samples, epoch by epoch."""

    task: str
    device: str
    accuracy: list[float]
    loss: list[float]
    seconds: list[float]
    parameters: int
    samples: int
    machine: str


def small_cnn() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((8, 8, 1)), L.Conv2D(32, 3, padding="same", activation="relu"), L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(), L.Flatten(), L.Dropout(0.3), L.Dense(10),
    ])  # fmt: skip


def fashion_cnn() -> ht.nn.Sequential:
    L = ht.nn
    return L.Sequential([
        L.Input((28, 28, 1)),
        L.Conv2D(32, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
        L.Conv2D(64, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
        L.Flatten(), L.Dropout(0.25), L.Dense(128, activation="relu"), L.Dense(10),
    ])  # fmt: skip


TASKS = {
    "digits": Task(
        digits, small_cnn, lambda steps: ht.optim.Adam(2e-3), 15, 64, 0.97,
        "Handwritten digits, 8×8, from scratch: two convolutions and a dense layer.",
    ),
    "fashion": Task(
        fashion, fashion_cnn, lambda steps: ht.optim.Adam(ht.optim.schedules.CosineDecay(2e-3, steps)), 5, 64, 0.91,
        "Fashion-MNIST, from scratch: two convolutions with batch normalisation, dropout, two dense layers; 64 at a time.",
        FASHION_CLASSES,
    ),
}  # fmt: skip


def run(name: str, device: str) -> Result:
    """Train, evaluate after each epoch, and keep the result and its report."""
    task = TASKS[name]
    (x, y), test = task.data()
    ht.nn.seed(0)
    net = task.net()
    steps = -(-len(x) // task.batch_size) * task.epochs
    trainer = ht.Trainer(net, LOSS, task.optimizer(steps), ["accuracy"], device=device, seed=0)
    MEASURED.mkdir(parents=True, exist_ok=True)
    backup = ht.train.BackupAndRestore(MEASURED / f"{name}-{device}", save_freq=100, delete_checkpoint=True)
    history = trainer.fit(
        x, y, batch_size=task.batch_size, epochs=task.epochs, validation_data=test, verbose=1, resume=backup
    )  # fmt: skip
    history.report(MEASURED / f"{name}-{device}.html", title=f"{name} on {device}", labels=task.labels)
    result = Result(
        name, device, history.history["val_accuracy"], history.history["val_loss"], history.seconds,
        sum(int(np.prod(w.shape)) for w in net.weights.values()), len(x), platform.processor() or platform.machine(),
    )  # fmt: skip
    (MEASURED / f"{name}-{device}.json").write_text(json.dumps(asdict(result), indent=1))
    return result


def page(results: list[Result]) -> str:
    """docs/training.md."""
    lines = [
        "# Training",
        "",
        "What `make train` trains on real data, with the accuracy that it must reach on samples it has not seen.",
        "Seeds are fixed; times are rough, of one run beside whatever else the machine did.",
        "",
        "| task | device | parameters | samples | epochs | target | reached | seconds per epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        task = TASKS[r.task]
        lines.append(
            f"| {r.task} | {r.device} | {r.parameters:,} | {r.samples:,} | {len(r.accuracy)} | {task.target:.0%} | "
            f"{r.accuracy[-1]:.2%} | {np.median(r.seconds):.1f} |"
        )
    for name in dict.fromkeys(r.task for r in results):
        lines += ["", f"## {name}", "", TASKS[name].about, ""]
        for r in (r for r in results if r.task == name):
            curve = ", ".join(f"{a:.2%}" for a in r.accuracy)
            lines.append(f"Test accuracy after each epoch on {r.device}: {curve}.")
    lines += ["", f"Measured {time.strftime('%Y-%m-%d')} with `python -m tests.training`.", ""]
    return "\n".join(lines)


def main(arguments: Any = None) -> int:
    """Run the tasks asked for, and write the page of all that have been."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], help="all if none is named")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    missed = []
    for name in options.tasks or TASKS:
        result = run(name, options.device)
        if result.accuracy[-1] < TASKS[name].target:
            missed.append(f"{name} on {result.device}: {result.accuracy[-1]:.2%}, the target is {TASKS[name].target:.0%}")
    kept = [Result(**json.loads(p.read_text())) for p in sorted(MEASURED.glob("*.json"))]
    kept.sort(key=lambda r: (list(TASKS).index(r.task), r.device))
    PAGE.write_text(page(kept), encoding="utf-8")
    print("\n".join(missed) or f"wrote {PAGE.relative_to(ROOT)}")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
