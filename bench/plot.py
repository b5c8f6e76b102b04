"""The plot: how many times as long the best peer takes, for each net, natively and in the browser."""

from __future__ import annotations

from pathlib import Path

from .results import Results
from .targets import geometric_mean

TITLES = {"native": "native, against onnxruntime and openvino", "wasm": "WebAssembly in Chromium, against its peers"}
COLOURS = {1: "#7aa6d6", 2: "#1f5fa8"}


def write(results: Results, path: Path) -> bool:
    """Write the plot as SVG; False when there is nothing to show.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    kinds = [kind for kind in TITLES if results.nets(kind)]
    if not kinds:
        return False
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit("the plot needs matplotlib: pip install 'hither[bench]' (make bench does)") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "hither", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4.6 * len(kinds) + 1, 3.8), squeeze=False, layout="constrained")
    for axis, kind in zip(axes[0], kinds, strict=True):
        nets, counts = results.nets(kind), results.threads(kind)
        labels = [*nets, "geometric mean"]
        height = 0.8 / len(counts)
        for i, threads in enumerate(counts):
            ratios = [results.ratio(kind, net, threads) for net in nets]
            ratios.append(geometric_mean([r for r in ratios if r is not None]))
            at = [row + (i - (len(counts) - 1) / 2) * height for row in range(len(labels))]
            name = f"{threads} thread" + "s" * (threads > 1)
            bars = axis.barh(at, [r or 0 for r in ratios], height * 0.92, color=COLOURS.get(threads), label=name)
            axis.bar_label(bars, [f"{r:.2f}" if r else "" for r in ratios], padding=2, fontsize=7)
        axis.axvline(1, color="#888888", linewidth=0.8, linestyle="--")
        axis.set_yticks(range(len(labels)), labels)
        axis.invert_yaxis()
        axis.set_title(TITLES[kind], fontsize=10)
        axis.margins(x=0.12)
    figure.supxlabel("time of the best peer ÷ time of hither; above 1, hither is faster", fontsize=9)
    bars, names = axes[0][0].get_legend_handles_labels()
    figure.legend(bars, names, loc="outside upper right", ncols=len(names), frameon=False, fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return True
