"""A Drawing as SVG: complete by itself, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..report import count
from .layout import HEADER, MARGIN, Box, Drawing, Edge, Layout, unfold_some
from .parts import Level, Part
from .text import LINE_HEIGHT, MAX_WIDTH, PADDING, STACK, TITLE, TITLE_HEIGHT, fitting, lines_of, text_width

FRAME = 28.0  # around the picture
HEADING = 46.0
TITLE_END = 23.0  # the lower end of a title
BOXES = 48  # that are seen at first, about
LIGHT = {
    "bg": "#f6f7f9", "card": "#ffffff", "ink": "#16202c", "soft": "#5b6878", "faint": "#98a3b1", "line": "#cfd6df",
    "convolution": "#3b7dd8", "depthwise": "#17a398", "matmul": "#8457d6", "reduction": "#d9902f", "elementwise": "#d1557a",
    "movement": "#8d99a8", "control": "#1e9e62", "input": "#16202c", "output": "#16202c",
}  # fmt: skip
DARK = {
    "bg": "#0e131a", "card": "#161d27", "ink": "#e7edf4", "soft": "#9dabbb", "faint": "#667486", "line": "#3a4757",
    "convolution": "#5b9bf0", "depthwise": "#35c4b5", "matmul": "#a583ee", "reduction": "#eaa84b", "elementwise": "#ea7a9b",
    "movement": "#7d8a9b", "control": "#3fbf83", "input": "#e7edf4", "output": "#e7edf4",
}  # fmt: skip
KINDS = {
    "convolution": "convolution", "depthwise": "depthwise", "matmul": "matrix product", "reduction": "reduction, pool",
    "elementwise": "elementwise", "movement": "data movement", "control": "control flow",
}  # fmt: skip


def style() -> str:
    """The rules for everything that is drawn, with colours as plain values: not every viewer knows CSS variables."""
    return (
        _colours(LIGHT)
        + """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
.t { font-size: 13px; font-weight: 620; }
.s { font-size: 11px; }
.shape { font-size: 10.5px; text-anchor: middle; }
.edge { fill: none; stroke-width: 1.4; }
.port { stroke-dasharray: 1.5 3; stroke-opacity: .7; }
.tint { fill-opacity: .11; }
.inner .tint { fill-opacity: .045; }
.frame { stroke-width: 1; }
.sign { fill: none; stroke-width: 1.5; }
.head { font-size: 19px; font-weight: 650; }
"""
        + f"@media (prefers-color-scheme: dark) {{\n{_colours(DARK)}}}\n"
    )


def _colours(c: Mapping[str, str]) -> str:
    on_ends = c["line"] if c is LIGHT else c["card"]
    fills = {
        "bg": "bg", "frame": "card", "pad": "card", "t, .head": "ink", "s, .shape": "soft", "tip": "faint",
        "ends .frame": "ink", "ends .t": "bg", **{kind: kind for kind in KINDS},
    }  # fmt: skip
    strokes = {"frame, .pad": "line", "edge": "faint", "sign": "soft"}
    rules = [f".{name} {{ fill: {c[colour]}; }}" for name, colour in fills.items()]
    rules += [f".{name} {{ stroke: {c[colour]}; }}" for name, colour in strokes.items()]
    return "\n".join([*rules, f".ends .s {{ fill: {on_ends}; }}"]) + "\n"


def svg_file(level: Level, title: str, most: int = BOXES) -> str:
    """A static SVG of a picture with about `most` boxes at most: blocks beyond that stay folded."""
    drawing = Layout(level).draw(unfold_some(level, most))
    width, height = max(drawing.width, 420.0) + 2 * FRAME, drawing.height + 2 * FRAME + HEADING
    left = FRAME + max(0.0, (420.0 - drawing.width) / 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">\n<style>\n{style()}</style>\n'
        f'<rect class="bg" width="100%" height="100%"/>\n'
        f'<text class="head" x="{FRAME:.0f}" y="{FRAME + 14:.0f}">{_text(fitting(title, 19, width - 2 * FRAME))}</text>\n'
        f'<text class="s" x="{FRAME:.0f}" y="{FRAME + 32:.0f}">{_text(summary(level))}</text>\n'
        f'<g transform="translate({left:.1f} {FRAME + HEADING:.1f})">\n{_drawing(drawing)}\n</g>\n</svg>\n'
    )


def summary(level: Level) -> str:
    """How much there is of everything, in a line."""
    work = [p for p in level.parts if p.kind not in ("input", "output")]
    weights = {w.value: w.size for p in work for w in p.weights}
    return (
        f"{sum(p.leaves for p in work)} operators · {count(sum(weights.values()))} parameters · "
        f"{count(sum(p.flops for p in work))}FLOP"
    )


def _drawing(drawing: Drawing) -> str:
    out = [f'<path class="edge" d="M{x:.1f} {drawing.height:.1f}v{MARGIN:.0f}"/>' for x in drawing.exits.values()]
    out += [edge_svg(edge) for edge in drawing.edges]
    out += [_box(box) for box in drawing.boxes]
    for x, y, lines in drawing.labels:
        out += [f'<text class="shape" x="{x:.1f}" y="{y + 13 * i:.1f}">{_text(line)}</text>' for i, line in enumerate(lines)]
    return "\n".join(out)


def _box(box: Box) -> str:
    inside = ""
    if box.inside is not None:
        left = (box.width - box.inside.width) / 2
        clear = title_end(box.part)
        for x in box.inside.entries.values():  # through the header, below the title where it is in the way
            inside += f'<path class="edge port" d="M{left + x:.1f} {TITLE_END if left + x < clear else 0:.0f}V{HEADER:.0f}"/>'
        inside += f'<g class="inside" transform="translate({left:.1f} {HEADER:.1f})">{_drawing(box.inside)}</g>'
    own = box_svg(box.part, box.width, box.height, unfolded=box.inside is not None)
    return f'<g transform="translate({box.x:.1f} {box.y:.1f})">{own}{inside}</g>'


def box_svg(part: Part, width: float, height: float, unfolded: bool = False) -> str:
    """One box at the origin, without what is inside it."""
    if part.kind in ("input", "output"):
        frame = f'<rect class="frame" width="{width:.0f}" height="{height:.0f}" rx="{height / 2:.0f}"/>'
        middle = f'x="{width / 2:.0f}" text-anchor="middle"'
        return f'<g class="ends">{frame}{_words(lines_of(part), middle, MAX_WIDTH - PADDING)}</g>'
    stacked = part.times > 1 and not unfolded
    width, height = (width - 2 * STACK, height - 2 * STACK) if stacked else (width, height)
    size = f'width="{width:.0f}" height="{height:.0f}" rx="7"'
    frames = [f'<rect class="frame" x="{d}" y="{d}" {size}/>' for d in ((2 * STACK, STACK) if stacked else ())]
    frames += [
        f'<rect class="frame" {size}/>',
        f'<rect class="{part.kind} tint" {size}/>',
        f'<rect class="{part.kind}" width="4" height="{height:.0f}" rx="2"/>',
    ]
    room = (width if unfolded else MAX_WIDTH) - 2 * PADDING - (20 if part.inside is not None else 0)
    words = _words(lines_of(part)[: 1 if unfolded else None], f'x="{PADDING:.0f}"', room)
    sign = ""
    if part.inside is not None:
        sign = (
            f'<g class="toggle" transform="translate({width - 15:.0f} 14)"><circle class="pad" r="7.5"/>'
            f'<path class="sign" d="M-4 0H4{"" if unfolded else "M0 -4V4"}"/></g>'
        )
    return f'<g class="{"inner" if unfolded else "leaf"}">{"".join(frames)}{words}{sign}</g>'


def title_end(part: Part) -> float:
    """How far the title of an unfolded block reaches."""
    return PADDING + text_width(lines_of(part)[0], TITLE) + 4


def _words(lines: Sequence[str], place: str, room: float) -> str:
    """The lines of a box: the title, then smaller ones."""
    out = []
    for i, line in enumerate(lines):
        y = 18 if i == 0 else 18 + TITLE_HEIGHT + LINE_HEIGHT * (i - 1)
        out.append(
            f'<text class="{"s" if i else "t"}" {place} y="{y:.1f}">{_text(fitting(line, 11 if i else TITLE, room))}</text>'
        )
    return "".join(out)


def edge_svg(edge: Edge) -> str:
    """A piece of an edge."""
    (x1, y1), (x2, y2) = edge.start, edge.end
    tip = f'<path class="tip" d="M{x2:.1f} {y2:.1f}l-3.5 -6h7z"/>' if edge.arrow else ""
    return f'<path class="edge" d="{curve(x1, y1, x2, y2)}"/>{tip}'


def curve(x1: float, y1: float, x2: float, y2: float) -> str:
    """A curve that leaves and arrives vertically."""
    if abs(x1 - x2) < 0.5:
        return f"M{x1:.1f} {y1:.1f}V{y2:.1f}"
    middle = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"


def _text(text: str) -> str:
    """Text for XML, control characters (which XML forbids) shown as a replacement."""
    return escape("".join(c if c.isprintable() else "�" for c in text), quote=False)
