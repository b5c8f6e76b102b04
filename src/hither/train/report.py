"""The report of a training as one page that asks for nothing from anywhere: curves, what is taken for what, and the weights."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .history import History, chart

if TYPE_CHECKING:
    from .trainer import Trainer

MAX_CLASSES = 200  # in a table of class against class
MAX_TENSORS = 100  # with a histogram
BINS = 40


def write(history: History, path: Path, title: str, labels: Sequence[str] | None) -> None:
    """Write the page of a training to a file."""
    trainer = history.trainer
    heading = title or f"Training of {getattr(trainer.net, 'name', type(trainer.net).__name__)}"
    body = [_summary(history), _curves(history)]
    counts = confusion(trainer, history)
    if counts is not None:
        body += _classes(counts, labels)
    body.append(_weights(trainer))
    page = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    text = page.replace("$TITLE", html.escape(heading)).replace("$BODY", "\n".join(body))
    path.write_text(text, encoding="utf-8")


def confusion(trainer: Trainer, history: History) -> np.ndarray | None:
    """How many validation samples of each class (rows) were taken for each class (columns).

    None where there are no validation data, or the network has no single output of scores of classes.
    """
    if history.validation is None:
        return None
    total: np.ndarray | None = None
    for batch in history.validation.epoch(0):
        scores = trainer.predict_on_batch(batch.x)
        if isinstance(scores, list) or not isinstance(batch.y, np.ndarray):
            return None
        pair = classes_of(batch.y, scores.numpy())
        if pair is None:
            return None
        truth, said, count = pair
        if total is None:
            total = np.zeros((count, count), np.int64)
        inside = (truth >= 0) & (truth < count)
        np.add.at(total, (truth[inside], said[inside]), 1)
    return total


def classes_of(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The classes of targets and of predictions, and how many there are; None where they are no classes."""
    if scores.ndim != 2 or scores.shape[1] > MAX_CLASSES:
        return None
    count = scores.shape[1]
    if y.ndim == 2 and y.shape == scores.shape and count > 1:
        one_hot = ((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()
        return (y.argmax(1), scores.argmax(1), count) if one_hot else None
    flat = y.reshape(len(y), -1)
    if flat.shape[1] != 1 or not np.array_equal(flat, np.round(flat)):
        return None
    truth = flat[:, 0].astype(np.int64)
    if count > 1:
        return truth, scores.argmax(1), count
    if not ((truth == 0) | (truth == 1)).all():
        return None
    threshold = 0.5 if ((scores >= 0) & (scores <= 1)).all() else 0.0  # probabilities, or logits
    return truth, (scores[:, 0] > threshold).astype(np.int64), 2


def _summary(history: History) -> str:
    trainer, last = history.trainer, {n: v[-1] for n, v in history.history.items() if isinstance(v[-1], int | float)}
    weights = trainer.net.weights
    learned = sum(w.size for w in trainer.net.trainable_weights.values())
    rows = {
        "epochs": len(history.epoch),
        "seconds per epoch": f"{np.median(history.seconds):.2f}" if history.seconds else "",
        "optimizer": f"{type(trainer.optimizer).__name__}, learning rate {trainer.learning_rate:.4g}",
        "parameters": f"{sum(w.size for w in weights.values()):,}, of which {learned:,} are trained",
        "seed": trainer.seed,
        **{n: f"{v:.4f}" for n, v in last.items()},
    }
    cells = "".join(f"<tr><td>{html.escape(n)}</td><td>{html.escape(str(v))}</td></tr>" for n, v in rows.items())
    return f"<table>{cells}</table>"


def _curves(history: History) -> str:
    drawn = "".join(_svg(chart(name, lines, history.epoch, 340, 230), 340, 230) for name, lines in history.curves().items())
    return f"<h2>Curves</h2><div>{drawn}</div>"


def _svg(inside: str, width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11">{inside}</svg>'
    )


def _classes(counts: np.ndarray, labels: Sequence[str] | None) -> list[str]:
    names = [str(n) for n in labels] if labels is not None else [str(i) for i in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(f"labels names {len(names)} classes, and the network tells {len(counts)} apart")
    escaped = [html.escape(n) for n in names]
    rows, columns, right = counts.sum(1), counts.sum(0), counts.diagonal()
    head = "".join(f"<th>{n}</th>" for n in escaped)
    lines = []
    for i, name in enumerate(escaped):
        cells = []
        for j, number in enumerate(counts[i]):
            share = number / max(rows[i], 1)
            color = f"rgba({'37,99,235' if i == j else '220,38,38'},{share:.3f})"
            cells.append(f'<td class="cell" style="background:{color}">{number}</td>')
        lines.append(f"<tr><td>{name}</td>{''.join(cells)}</tr>")
    table = (
        '<h2>What is taken for what</h2><p class="note">Validation samples: a row for each true class, a column for each '
        f'predicted one.</p><div class="scroll"><table class="matrix"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'
    )
    lines = []
    for i, name in enumerate(escaped):
        recall, precision = right[i] / max(rows[i], 1), right[i] / max(columns[i], 1)
        bar = f'<span class="bar" style="width:{recall * 160:.0f}px"></span>'
        lines.append(
            f"<tr><td>{name}</td><td>{rows[i]}</td><td>{recall:.1%}</td><td>{precision:.1%}</td>"
            f'<td style="text-align:left">{bar}</td></tr>'
        )
    head = "<tr><th>class</th><th>samples</th><th>accuracy</th><th>precision</th><th></th></tr>"
    whole = f'<p class="note">{right.sum()} of {counts.sum()} right: {right.sum() / max(counts.sum(), 1):.2%}.</p>'
    return [table, f"<h2>Each class</h2>{whole}<table>{head}{''.join(lines)}</table>"]


def _weights(trainer: Trainer) -> str:
    weights = [(n, w.numpy()) for n, w in trainer.net.weights.items() if w.dtype.kind == "f" and w.size > 1]
    rows = []
    for name, array in weights[:MAX_TENSORS]:
        finite = array[np.isfinite(array)].astype(np.float64)
        bars = ""
        if finite.size:
            counts, _ = np.histogram(finite, bins=BINS)
            heights = counts / max(counts.max(), 1) * 34
            bars = "".join(
                f'<rect x="{4 * k}" y="{36 - h:.1f}" width="3.4" height="{h:.1f}" fill="#2563eb"/>'
                for k, h in enumerate(heights)
            )
        odd = array.size - finite.size
        numbers = [f"{v:.4g}" for v in (finite.min(), finite.mean(), finite.std(), finite.max())] if finite.size else [""] * 4
        cells = "".join(f"<td>{v}</td>" for v in numbers)
        shape = "×".join(map(str, array.shape))
        rows.append(
            f"<tr><td>{html.escape(name)}</td><td>{shape}</td>{cells}<td>{odd or ''}</td><td>{_svg(bars, 160, 38)}</td></tr>"
        )
    head = "<tr><th>weight</th><th>shape</th><th>min</th><th>mean</th><th>std</th><th>max</th><th>not finite</th><th></th></tr>"
    more = len(weights) - MAX_TENSORS
    note = f'<p class="note">and {more} more</p>' if more > 0 else ""
    return f'<h2>Weights</h2><div class="scroll"><table>{head}{"".join(rows)}</table></div>{note}'
