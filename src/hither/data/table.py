"""Tables: text files of rows and columns, as a Dataset with typed columns."""

from __future__ import annotations

import csv as reader
import gzip
import io
import math
import os
import zlib
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
        missing: what stands in for missing values: a value, or {column: value}; "drop" instead of a value leaves their rows
            out; None makes them an error.
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
    dropping = [i for n, i in places.items() if _drops(_filling(missing, n))]
    rows = [(line, cells) for line, cells in rows if not any(cells[i].strip() in marks for i in dropping)]
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
        if not made:
            raise InvalidTable(f"{path}: vector=True takes columns of numbers, and there are none besides the label")
        features = np.stack([a.astype(np.float32) for a in made.values()], axis=1)
    data = Dataset.from_arrays(features if target is None else (features, target))
    data.class_names = class_names
    return data


def _named(missing: Any) -> list[str]:
    return list(missing) if isinstance(missing, Mapping) else []


def _filling(missing: Any, column: str) -> Any:
    return missing.get(column) if isinstance(missing, Mapping) else missing


def _drops(filling: Any) -> bool:
    """Whether rows with missing values are left out."""
    return isinstance(filling, str) and filling == "drop"


def _cells(path: Path, delimiter: str, header: bool | Sequence[str]) -> tuple[list[str], Cells]:
    """The names of the columns, and the rows."""
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidTable(f"{path}, line {line}: no UTF-8 text ({error.reason}); save the table in that encoding") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidTable(f"{path} is no whole gzip file: {error}") from error
    lines = reader.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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


@np.errstate(over="ignore")  # of numbers that are too large, which are errors here
def _typed(path: str, column: str, cells: list[tuple[int, str]], kind: Any, marks: frozenset[str], filling: Any) -> np.ndarray:
    """A column as an array."""
    present = [text for _, text in cells if text not in marks]
    if kind is None:
        kind = _guessed(present + ([] if filling is None or _drops(filling) else [str(filling)]))
    kind = np.dtype(kind)
    if isinstance(filling, float) and filling.is_integer() and kind.kind in "iu":
        filling = int(filling)
    values: list[Any] = []
    for line, text in cells:
        if text in marks and filling is None:
            raise InvalidTable(
                f"{path}, line {line}: {column!r} is missing ({text!r}); say what stands in for it with missing=, or "
                'leave such rows out with missing="drop"'
            )
        try:
            values.append(_value(str(filling) if text in marks else text, kind))
        except (ValueError, OverflowError) as error:
            what = f"{filling!r}, which stands in for {text!r}," if text in marks else f"{text!r}, which"
            raise InvalidTable(f"{path}, line {line}: {column!r} is {what} is no {kind}") from error
    return np.array(values, kind if kind.kind != "U" else None)


def _value(text: str, kind: np.dtype) -> Any:
    """A cell as a value of a type.

    Raises:
        ValueError, OverflowError: it is none.
    """
    if kind.kind == "U":
        return text
    if kind.kind == "b":
        return _truth(text)
    value = kind.type(_plain(text))
    if kind.kind == "f" and np.isinf(value) and not math.isinf(float(text)):
        raise OverflowError(text)
    return value


def _plain(text: str) -> str:
    """The text of a number, as tables write it. What only Python takes for one (10_2, digits of other scripts) is a name."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return text


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
            numbers = [kind(_plain(text)) for text in texts]
        except ValueError:
            continue
        if kind is float or not numbers or -(2**31) <= min(numbers) <= max(numbers) < 2**31:
            return dtype
    return np.str_


__all__ = ["InvalidTable", "csv"]
