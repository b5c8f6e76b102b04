"""Tables: text files of rows and columns, as a Dataset with typed columns."""

from __future__ import annotations

import csv as reader
import gzip
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HitherError
from .dataset import Dataset

MARKS = ("", "NA", "N/A", "NaN", "nan", "?")
Cells = list[tuple[int, list[str]]]  # rows with the numbers of their lines


class InvalidTable(HitherError, ValueError):
    """A table that does not fit what was asked of it; names the line and the column."""


def csv(
    path: str | os.PathLike[str], label: str | None = None, *, columns: Sequence[str] | None = None,
    types: Mapping[str, Any] | None = None, missing: Any = None, missing_marks: Sequence[str] = MARKS, vector: bool = False,
    delimiter: str = ",", header: bool | Sequence[str] = True,
) -> Dataset:  # fmt: skip
    """The rows of a table: {column: value}, or with a label ({column: value}, the label's value).

    Args:
        path: a text file (UTF-8, RFC 4180); ".gz" is unpacked.
        label: the column to be learned. Text becomes numbers of classes; the Dataset's `class_names` say of which.
        columns: those to read besides; all if not given.
        types: {column: dtype, or "str"}. Others are int32, float32 or text: the first that fits all values of the column.
        missing: what stands in for missing values: a value, or {column: value}; "drop" leaves their rows out; None makes them
            an error.
        missing_marks: how the file says that a value is missing.
        vector: the columns as one float32 array in their order, instead of a dict.
        delimiter: between columns.
        header: whether the first line has the names of the columns; or the names, for a file without.

    Raises:
        InvalidTable: a row, name or value that does not fit; says where.

    Example:
        >>> data = hither.data.csv("iris.csv", label="species", vector=True)                            # doctest: +SKIP
        >>> data.class_names                                                                            # doctest: +SKIP
        ['setosa', 'versicolor', 'virginica']
    """
    names, rows = _cells(Path(path), delimiter, header)
    wanted = [n for n in names if n != label] if columns is None else list(columns)
    for name in (*wanted, *([label] if label is not None else []), *(types or {}), *_named(missing)):
        if name not in names:
            raise InvalidTable(f"{path} has no column {name!r}; it has {', '.join(map(repr, names))}")
    used = [*wanted, *([label] if label is not None else [])]
    marks = frozenset(missing_marks)
    places = {n: names.index(n) for n in used}
    if isinstance(missing, str) and missing == "drop":
        rows = [(line, cells) for line, cells in rows if not any(cells[i].strip() in marks for i in places.values())]
    if not rows:
        raise InvalidTable(f"{path} has no rows")
    made = {
        n: _typed(
            str(path), n, [(line, cells[i].strip()) for line, cells in rows], (types or {}).get(n), marks, _filling(missing, n)
        )
        for n, i in places.items()
    }
    target, class_names = made.pop(label) if label is not None else None, None
    if target is not None and target.dtype.kind == "U":
        kinds, target = np.unique(target, return_inverse=True)
        class_names, target = kinds.tolist(), target.astype(np.int32)
    features: Any = made
    if vector:
        text = [n for n, a in made.items() if a.dtype.kind == "U"]
        if text:
            raise InvalidTable(
                f"{path}: vector=True takes columns of numbers, and {text[0]!r} is text; name the others in columns="
            )
        features = np.stack([a.astype(np.float32) for a in made.values()], axis=1)
    data = Dataset.from_arrays(features if target is None else (features, target))
    data.class_names = class_names
    return data


def _named(missing: Any) -> list[str]:
    return list(missing) if isinstance(missing, Mapping) else []


def _filling(missing: Any, column: str) -> Any:
    return missing.get(column) if isinstance(missing, Mapping) else missing


def _cells(path: Path, delimiter: str, header: bool | Sequence[str]) -> tuple[list[str], Cells]:
    """The names of the columns, and the rows."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = reader.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True)
    rows: Cells = []
    try:
        for cells in lines:
            if cells:
                rows.append((lines.line_num, cells))
    except reader.Error as error:
        raise InvalidTable(f"{path}, line {lines.line_num}: {error}") from error
    if not rows:
        raise InvalidTable(f"{path} is empty")
    if header is True:
        names = [n.strip() for n in rows.pop(0)[1]]
    else:
        names = list(header) if header else [f"column_{i}" for i in range(len(rows[0][1]))]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise InvalidTable(f"{path} has two columns {twice[0]!r}; give them names with header=[…]")
    for line, cells in rows:
        if len(cells) != len(names):
            raise InvalidTable(f"{path}, line {line}: {len(cells)} values for the {len(names)} columns {', '.join(names)}")
    return names, rows


def _typed(path: str, column: str, cells: list[tuple[int, str]], kind: Any, marks: frozenset[str], filling: Any) -> np.ndarray:
    """A column as an array."""
    present = [text for _, text in cells if text not in marks]
    if kind is None:
        kind = _guessed(present + ([] if filling is None or filling == "drop" else [str(filling)]))
    kind = np.dtype(kind)
    values: list[Any] = []
    for line, text in cells:
        if text in marks:
            if filling is None:
                raise InvalidTable(
                    f"{path}, line {line}: {column!r} is missing ({text!r}); say what stands in for it with missing=, or "
                    'leave such rows out with missing="drop"'
                )
            values.append(filling)
            continue
        try:
            values.append(text if kind.kind == "U" else _truth(text) if kind.kind == "b" else kind.type(text))
        except (ValueError, OverflowError) as error:
            raise InvalidTable(f"{path}, line {line}: {column!r} is {text!r}, which is no {kind}") from error
    return np.array([str(v) for v in values]) if kind.kind == "U" else np.array(values, kind)


def _truth(text: str) -> bool:
    """A bool, as files write it."""
    known = {"1": True, "true": True, "0": False, "false": False}
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]


def _guessed(texts: list[str]) -> Any:
    """int32, float32 or text: the first that fits all."""
    for kind, dtype in ((int, np.int32), (float, np.float32)):
        try:
            numbers = [kind(text) for text in texts]
        except ValueError:
            continue
        if kind is float or not numbers or -(2**31) <= min(numbers) <= max(numbers) < 2**31:
            return dtype
    return np.str_


__all__ = ["InvalidTable", "csv"]
