"""Reference implementations for the op table: plain loops over definitions, slow and obvious, sharing nothing with hither."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np


def erf(x: np.ndarray) -> np.ndarray:
    """math.erf on arrays."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def truncated_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integer quotients toward zero; 0 for a zero divisor."""
    made = [0 if y == 0 else math.trunc(int(x) / int(y)) for x, y in zip(a.flat, b.flat)]
    return np.array(made).reshape(a.shape)


def depth_to_space(x: np.ndarray, block: int, depth_first: bool) -> np.ndarray:
    """Element by element, from the ONNX definition."""
    n, c, h, w = x.shape
    deep = c // block**2
    made = np.empty((n, deep, h * block, w * block), x.dtype)
    for d, i, j in itertools.product(range(deep), range(block), range(block)):
        source = (i * block + j) * deep + d if depth_first else d * block * block + i * block + j
        made[:, d, i::block, j::block] = x[:, source]
    return made


def dynamic_update_slice(x: np.ndarray, update: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Starts are inside in the table's row."""
    made = x.copy()
    i, j = starts
    made[i : i + update.shape[0], j : j + update.shape[1]] = update
    return made


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda old, new: new, "add": lambda old, new: old + new, "mul": lambda old, new: old * new,
    "min": lambda old, new: np.minimum(old, new), "max": lambda old, new: np.maximum(old, new),
}  # fmt: skip


def scatter_nd(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, how: str = "set") -> np.ndarray:
    """One update after another."""
    made = x.copy()
    for at in np.ndindex(*indices.shape[:-1]):
        key = tuple(indices[at])
        made[key] = _COMBINE[how](made[key], updates[at])
    return made


def scatter_along(x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """Along axis 1."""
    made = x.copy()
    for row, column in np.ndindex(*indices.shape):
        made[row, indices[row, column]] = updates[row, column]
    return made


def nonzero_bounded(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """np.nonzero, padded with zeros to the largest size."""
    found = np.stack(np.nonzero(x))
    made = np.zeros((x.ndim, x.size), np.int64)
    made[:, : found.shape[1]] = found
    return made, np.array(found.shape[1])


def nms(
    boxes: np.ndarray, scores: np.ndarray, most: int, overlap: float, least: float, bound: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pick the best remaining box, drop what overlaps it, repeat."""

    def area(b: np.ndarray) -> float:
        return abs(b[2] - b[0]) * abs(b[3] - b[1])

    def iou(p: np.ndarray, q: np.ndarray) -> float:
        low = [max(min(p[i], p[i + 2]), min(q[i], q[i + 2])) for i in (0, 1)]
        high = [min(max(p[i], p[i + 2]), max(q[i], q[i + 2])) for i in (0, 1)]
        shared = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
        return shared / (area(p) + area(q) - shared)

    rows = []
    for b, c in np.ndindex(*scores.shape[:2]):
        left = {i for i in range(scores.shape[2]) if scores[b, c, i] > least}
        for _ in range(most):
            if not left:
                break
            best = max(left, key=lambda i: (scores[b, c, i], -i))
            rows.append((b, c, best))
            left = {i for i in left if i != best and iou(boxes[b, best], boxes[b, i]) <= overlap}
    made = np.zeros((bound, 3), np.int64)
    made[: len(rows)] = rows
    return made, np.array(len(rows))


def soft_nms(boxes: np.ndarray, scores: np.ndarray, most: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick the best box, lower the scores of all others by how much they overlap it, repeat."""
    left = dict(enumerate(scores.tolist()))
    chosen, gained = np.zeros(most, np.int32), np.zeros(most, scores.dtype)
    for turn in range(most):
        best = max(left, key=lambda i: (left[i], -i))
        chosen[turn], gained[turn] = best, left.pop(best)
        for i in left:
            low, high = np.maximum(boxes[i, :2], boxes[best, :2]), np.minimum(boxes[i, 2:], boxes[best, 2:])
            shared = np.prod(np.maximum(high - low, 0))
            whole = np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[best, 2:] - boxes[best, :2]) - shared
            left[i] *= float(np.exp(-((shared / whole) ** 2) / (2 * sigma)))
    return chosen, gained, np.array(most)


# -- windows -----------------------------------------------------------------------------------------------------------------


def tuple_of(value: Any, count: int) -> tuple[Any, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def pairs_of(value: Any, count: int) -> list[tuple[int, int]]:
    return [(p, p) if isinstance(p, int) else tuple(p) for p in tuple_of(value, count)]


def conv(x: np.ndarray, w: np.ndarray, strides: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> np.ndarray:
    """Every output element is the sum over its window."""
    count = x.ndim - 2
    s, d, pairs = tuple_of(strides, count), tuple_of(dilation, count), pairs_of(padding, count)
    padded = np.pad(x, [(0, 0), (0, 0), *pairs])
    reach = [(k - 1) * by + 1 for k, by in zip(w.shape[2:], d)]
    extents = [(n - r) // step + 1 for n, r, step in zip(padded.shape[2:], reach, s)]
    made = np.zeros((x.shape[0], w.shape[0], *extents), np.result_type(x, w))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for at in np.ndindex(*extents):
        window = padded[(slice(None), slice(None), *(slice(i * t, i * t + r, by) for i, t, r, by in zip(at, s, reach, d)))]
        for o in range(w.shape[0]):
            part = window[:, o // per_out * per_in : (o // per_out + 1) * per_in]
            made[(slice(None), o, *at)] = (part * w[o]).reshape(x.shape[0], -1).sum(1)
    return made


def conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    strides: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> np.ndarray:
    """Every input element adds its multiple of the window to the result."""
    count = x.ndim - 2
    s, d, extra = tuple_of(strides, count), tuple_of(dilation, count), tuple_of(output_padding, count)
    pairs = pairs_of(padding, count)
    reach = [(k - 1) * by + 1 for k, by in zip(w.shape[2:], d)]
    whole = [(n - 1) * t + r + e for n, t, r, e in zip(x.shape[2:], s, reach, extra)]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    made = np.zeros((x.shape[0], per_out * groups, *whole))
    for at in np.ndindex(*x.shape[2:]):
        where = tuple(slice(i * t, i * t + r, by) for i, t, r, by in zip(at, s, reach, d))
        for c in range(x.shape[1]):
            g = c // per_in
            value = x[(slice(None), c, *at)].reshape(-1, *(1,) * (count + 1))
            made[(slice(None), slice(g * per_out, (g + 1) * per_out), *where)] += value * w[c]
    return made[(slice(None), slice(None), *(slice(lo, n - hi) for (lo, hi), n in zip(pairs, whole)))]


def pool(
    x: np.ndarray, fold: Callable[..., Any], fill: float, window: Any, strides: Any = None, padding: Any = 0, dilation: Any = 1
) -> np.ndarray:
    """`fold` of every window."""
    count = x.ndim - 2
    k = tuple_of(window, count)
    s, d = tuple_of(k if strides is None else strides, count), tuple_of(dilation, count)
    padded = np.pad(x, [(0, 0), (0, 0), *pairs_of(padding, count)], constant_values=fill)
    reach = [(n - 1) * by + 1 for n, by in zip(k, d)]
    extents = [(n - r) // step + 1 for n, r, step in zip(padded.shape[2:], reach, s)]
    made = np.zeros((*x.shape[:2], *extents))
    for at in np.ndindex(*extents):
        part = padded[(slice(None), slice(None), *(slice(i * t, i * t + r, by) for i, t, r, by in zip(at, s, reach, d)))]
        made[(slice(None), slice(None), *at)] = fold(part, axis=tuple(range(2, x.ndim)))
    return made


def max_pool_indices(x: np.ndarray) -> np.ndarray:
    """Where in the flattened x the maximum of each 2 × 2 window is."""
    n, c, h, w = x.shape
    order = np.arange(x.size).reshape(x.shape)
    made = np.zeros((n, c, h // 2, w // 2), np.int64)
    for at in np.ndindex(*made.shape):
        i, j = 2 * at[2], 2 * at[3]
        part = x[at[0], at[1], i : i + 2, j : j + 2]
        made[at] = order[at[0], at[1], i : i + 2, j : j + 2].reshape(-1)[part.argmax()]
    return made


# -- normalisation -----------------------------------------------------------------------------------------------------------


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Shifted by the maximum."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def batch_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Channels on axis 1 of three."""
    return (x - m[:, None]) / np.sqrt(v[:, None] + 1e-5) * s[:, None] + b[:, None]


def layer_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * s + b


def instance_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Over the two spatial axes."""
    made = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    return made * s[:, None, None] + b[:, None, None]


def group_norm(x: np.ndarray, groups: int, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One sample and group at a time."""
    made = np.empty_like(x)
    size = x.shape[1] // groups
    for n, g in np.ndindex(x.shape[0], groups):
        part = x[n, g * size : (g + 1) * size]
        made[n, g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    return made * s[:, None, None] + b[:, None, None]


def local_response_norm(x: np.ndarray, size: int, alpha: float) -> np.ndarray:
    """Channel by channel, from the ONNX definition."""
    made = np.empty_like(x)
    for c in range(x.shape[1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + math.ceil((size - 1) / 2))
        made[:, c] = x[:, c] / (1 + alpha / size * (x[:, low : high + 1] ** 2).sum(1)) ** 0.75
    return made


# -- images ------------------------------------------------------------------------------------------------------------------


def resize_linear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, borders repeated; one result pixel at a time."""
    made = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        y, z = ((t + 0.5) * n / m - 0.5 for t, n, m in zip((i, j), x.shape[2:], size))
        for r, c in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(z), math.floor(z) + 1)):
            weight = (1 - abs(y - r)) * (1 - abs(z - c))
            made[:, :, i, j] += weight * x[:, :, min(max(r, 0), x.shape[2] - 1), min(max(c, 0), x.shape[3] - 1)]
    return made


def resize_matrix(x: np.ndarray, size: int, a: float) -> np.ndarray:
    """Cubic along the last axis with align_corners, as the product with a matrix of Keys's weights."""
    n = x.shape[-1]
    matrix = np.zeros((n, size))
    for j in range(size):
        at = j * (n - 1) / (size - 1)
        for sample in range(math.floor(at) - 1, math.floor(at) + 3):
            d = abs(at - sample)
            weight = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0
            matrix[min(max(sample, 0), n - 1), j] += weight
    return x @ matrix


# -- control -----------------------------------------------------------------------------------------------------------------


def scan_sums(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last running sum, and every running sum times the next element."""
    carry, rows = np.zeros(x.shape[1]), []
    for row in x:
        rows.append(carry * row)
        carry = carry + row
    return carry, np.stack(rows)


def squared(x: np.ndarray) -> np.ndarray:
    """Squared, plus one, until some element reaches 50."""
    while x.max() < 50:
        x = x * x + 1
    return x


# -- recurrence ----------------------------------------------------------------------------------------------------------------


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(
    x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray, lengths: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Forward, one sequence and step at a time; gates i, o, f, c."""
    steps, batch, _ = x.shape
    n = r.shape[2]
    y, hs, cs = np.zeros((steps, 1, batch, n)), np.zeros((1, batch, n)), np.zeros((1, batch, n))
    for k in range(batch):
        h, c = np.zeros(n), np.zeros(n)
        for t in range(steps if lengths is None else lengths[k]):
            g = w[0] @ x[t, k] + r[0] @ h + b[0, : 4 * n] + b[0, 4 * n :]
            i, o, f, new = _sigmoid(g[:n]), _sigmoid(g[n : 2 * n]), _sigmoid(g[2 * n : 3 * n]), np.tanh(g[3 * n :])
            c = f * c + i * new
            h = o * np.tanh(c)
            y[t, 0, k] = h
        hs[0, k], cs[0, k] = h, c
    return y, hs, cs


def gru_reverse(x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """From the last step to the first; gates z, r, h; reset after the product."""
    steps, batch, _ = x.shape
    n = r.shape[2]
    h, y = np.zeros((batch, n)), np.zeros((steps, 1, batch, n))
    for t in reversed(range(steps)):
        a, e = x[t] @ w[0].T + b[0, : 3 * n], h @ r[0].T + b[0, 3 * n :]
        z, reset = _sigmoid(a[:, :n] + e[:, :n]), _sigmoid(a[:, n : 2 * n] + e[:, n : 2 * n])
        h = (1 - z) * np.tanh(a[:, 2 * n :] + reset * e[:, 2 * n :]) + z * h
        y[t, 0] = h
    return y, h[None]


def rnn_both(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, ...]:
    """Both directions."""
    steps, batch, _ = x.shape
    y, hs = np.zeros((steps, 2, batch, r.shape[2])), np.zeros((2, batch, r.shape[2]))
    for d, order in enumerate((range(steps), reversed(range(steps)))):
        for t in order:
            hs[d] = y[t, d] = np.tanh(x[t] @ w[d].T + hs[d] @ r[d].T)
    return y, hs


def rotate(x: np.ndarray, angle: float, center: tuple[float, float], fill: float) -> np.ndarray:
    """Pixel by pixel: where each pixel of the result comes from, rounded halves up."""
    _, _, height, width = x.shape
    made = np.full(x.shape, fill)
    cx, cy = center[0] * width, center[1] * height
    for row in range(height):
        for column in range(width):
            dx, dy = column - cx, row - cy
            at = math.floor(dx * math.cos(angle) - dy * math.sin(angle) + cx + 0.5)
            down = math.floor(dx * math.sin(angle) + dy * math.cos(angle) + cy + 0.5)
            if 0 <= at < width and 0 <= down < height:
                made[:, :, row, column] = x[:, :, down, at]
    return made


def otsu(x: np.ndarray) -> int:
    """The threshold whose two classes differ most, by trying all."""
    values, best, limit = x.reshape(-1), 0.0, 0
    for level in range(255):
        low, high = values[values <= level], values[values > level]
        if len(low) and len(high):
            between = len(low) / len(values) * (len(high) / len(values)) * (low.mean() - high.mean()) ** 2
            if between > best + 1e-9:
                best, limit = between, level
    return limit


def space_to_batch(x: np.ndarray) -> np.ndarray:
    """Blocks of 2 by 3 after padding (1, 0) and (0, 2): every second row and third column of the picture is an example."""
    wide = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    return np.concatenate([wide[:, i::2, j::3] for i in range(2) for j in range(3)])


def batch_to_space(x: np.ndarray) -> np.ndarray:
    """The inverse of `space_to_batch`."""
    count = len(x) // 6
    made = np.empty((count, 2 * x.shape[1], 3 * x.shape[2], x.shape[3]), x.dtype)
    for i in range(2):
        for j in range(3):
            made[:, i::2, j::3] = x[(3 * i + j) * count :][:count]
    return made[:, 1:, :-2]
