"""History: what a training reported, epoch by epoch, and pictures of it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .callbacks import Callback, Logs

if TYPE_CHECKING:
    from .epochs import Epochs

COLORS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#0891b2")


class History(Callback):
    """What `fit` returns: `history` is {name: [value of each epoch]}, `epoch` the epochs' numbers.

    Example:
        >>> import numpy as np, hither as ht
        >>> net = ht.nn.Sequential([ht.nn.Input((3,)), ht.nn.Dense(1)])
        >>> trainer = ht.Trainer(net, loss="mse", optimizer="sgd")
        >>> history = trainer.fit(np.ones((8, 3)), np.ones((8, 1)), epochs=2, verbose=0)
        >>> list(history.history), history.epoch
        (['loss'], [0, 1])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.seconds: list[float] = []
        self.validation: Epochs | None = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            array = np.asarray(value)
            self.history.setdefault(name, []).append(array.item() if array.ndim == 0 else array.tolist())

    def state(self) -> dict[str, Any]:
        return {"history": self.history, "epoch": self.epoch, "seconds": self.seconds}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.history = {n: list(v) for n, v in state["history"].items()}
        self.epoch, self.seconds = list(state["epoch"]), list(state["seconds"])

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """{what is measured: {"training" or "validation": values}} of all that is one number per epoch."""
        found: dict[str, dict[str, list[float]]] = {}
        for name, values in self.history.items():
            if all(isinstance(v, int | float) for v in values):
                kind = "validation" if name.startswith("val_") else "training"
                found.setdefault(name.removeprefix("val_"), {})[kind] = [float(v) for v in values]
        return found

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the curves: with matplotlib where it is installed; as an SVG where not, or if `path` ends in .svg.

        Args:
            path: a file to write: .svg, or anything that matplotlib writes.

        Returns:
            The figure, or the SVG's text.

        Raises:
            ValueError: `path` needs matplotlib, which is not installed.
        """
        where = None if path is None else Path(path)
        if where is not None and where.suffix == ".svg":
            where.write_text(text := self.svg(), encoding="utf-8")
            return text
        try:
            from matplotlib.figure import Figure
        except ImportError:
            if where is not None:
                raise ValueError(
                    f"{where.name} takes matplotlib, which is not installed; a name ending in .svg does not"
                ) from None
            return self.svg()
        curves = self.curves()
        figure = Figure(figsize=(4.5 * max(len(curves), 1), 3.2), layout="constrained")
        for i, (name, lines) in enumerate(curves.items()):
            axes = figure.add_subplot(1, len(curves), i + 1)
            for kind, values in lines.items():
                axes.plot([e + 1 for e in self.epoch[-len(values) :]], values, label=kind, marker="o", markersize=3)
            axes.set_title(name)
            axes.set_xlabel("epoch")
            axes.legend()
        if where is not None:
            figure.savefig(where)
        return figure

    def svg(self) -> str:
        """The curves side by side as one SVG."""
        curves = self.curves()
        width = 320
        parts = [
            f'<g transform="translate({i * width},0)">{chart(name, lines, self.epoch, width, 220)}</g>'
            for i, (name, lines) in enumerate(curves.items())
        ]
        size = f'width="{max(len(curves), 1) * width}" height="220"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'

    def report(self, path: str | Path, *, title: str = "", labels: Sequence[str] | None = None) -> None:
        """Write a page with the curves, the confusion matrix and accuracy of each class on the validation data, and the
        weights.

        The page needs nothing from anywhere else.

        Args:
            path: the HTML file.
            title: its heading.
            labels: names of the classes.
        """
        from .report import write

        write(self, Path(path), title, labels)


def chart(title: str, lines: Mapping[str, Sequence[float]], epochs: Sequence[int], width: int, height: int) -> str:
    """One diagram: the insides of an SVG of this size."""
    left, right, top, bottom = 52, 12, 26, 34
    inner_width, inner_height = width - left - right, height - top - bottom
    values = [v for line in lines.values() for v in line if math.isfinite(v)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    count = max((len(v) for v in lines.values()), default=1)
    first = (epochs[-count] if len(epochs) >= count else 0) + 1

    def at(i: int, value: float) -> tuple[float, float]:
        return left + inner_width * (i / max(count - 1, 1)), top + inner_height * (1 - (value - low) / (high - low))

    made = [f'<text x="{left}" y="15" font-weight="bold">{html.escape(title)}</text>']
    for k in range(5):
        value = low + (high - low) * k / 4
        y = at(0, value)[1]
        made.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        made.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:.3g}</text>')
    for i in sorted({0, (count - 1) // 2, count - 1}):
        x = at(i, low)[0]
        made.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" fill="#555">{first + i}</text>')
    for n, (kind, line) in enumerate(lines.items()):
        color = COLORS[n % len(COLORS)]
        places = [at(count - len(line) + i, v) for i, v in enumerate(line) if math.isfinite(v)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        made.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        made += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in places]
        made.append(f'<text x="{left + n * 100}" y="{height - 4}" fill="{color}">● {html.escape(kind)}</text>')
    return "".join(made)
