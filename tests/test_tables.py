"""Tables: types that columns get, missing values, labels, and errors that name the line."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hither.data import InvalidTable, csv

TABLE = 'age,height,name,kind\n3,1.5,"a, b",cat\n41, 2 ,c,dog\n7,,d,cat\n'


def table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_types_labels_and_missing_values(tmp_path: Path) -> None:
    path = table(tmp_path)
    data = csv(path, "kind", missing={"height": 9.0})
    assert data.class_names == ["cat", "dog"] and len(data) == 3
    rows = list(data)
    assert rows[0] == ({"age": 3, "height": 1.5, "name": "a, b"}, 0) and rows[1][1] == 1 and rows[2][0]["height"] == 9
    assert [rows[0][0][n].dtype for n in ("age", "height")] == [np.int32, np.float32] and rows[0][1].dtype == np.int32
    assert [float(r["age"]) for r in csv(path, missing="drop", types={"age": "float32"})] == [3, 41]
    vectors = csv(path, "kind", columns=["height", "age"], missing=0, vector=True)
    assert [x.tolist() for x, _ in vectors] == [[1.5, 3], [2, 41], [0, 7]]
    nan = list(csv(path, columns=["height"], missing=math.nan))[2]["height"]
    assert math.isnan(nan) and nan.dtype == np.float32
    bare = csv(table(tmp_path, "1;2\n3;4\n"), header=False, delimiter=";")
    assert list(bare) == [{"column_0": 1, "column_1": 2}, {"column_0": 3, "column_1": 4}]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TABLE, {}, r"line 4: 'height' is missing \(''\); .*drop"),
        (TABLE, {"label": "species"}, r"no column 'species'; it has 'age', 'height', 'name', 'kind'"),
        (TABLE, {"missing": 0, "types": {"name": "int32"}}, r"line 2: 'name' is 'a, b', which is no int32"),
        (TABLE, {"missing": 0, "vector": True}, r"'name' is text"),
        ("a,b\n1,2\n3\n", {}, r"line 3: 1 values for the 2 columns a, b"),
        ("a,a\n1,2\n", {}, r"two columns 'a'"),
        ('a\n"x\n', {}, r"line 2: unexpected end of data"),
        ("", {}, r"is empty"),
        ("a,b\n", {}, r"no rows"),
        ("a\n300\n", {"types": {"a": "uint8"}}, r"line 2: 'a' is '300', which is no uint8"),
        ("a\n1\n1e50\n", {}, r"line 3: 'a' is '1e50', which is no float32"),
        (
            "a,b\n3,1\n,1\n",
            {"types": {"a": "int32"}, "missing": math.nan},
            r"line 3: 'a' is nan, which stands in for '', is no int32",
        ),
        ("a,b\n3,1\n,1\n", {"types": {"a": "int32"}, "missing": 0.5}, r"'a' is 0.5"),
        ("kind\ncat\n", {"label": "kind", "vector": True}, r"none besides the label"),
    ],
)
def test_csv_mistakes(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidTable, match=message):
        csv(table(tmp_path, text), **options)


def test_columns_of_truth(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("flag\n0\ntrue\n1\nFalse\n")
    assert [bool(r["flag"]) for r in csv(path, types={"flag": "bool"})] == [False, True, True, False]
    path.write_text("flag\nperhaps\n")
    with pytest.raises(InvalidTable, match="perhaps"):
        list(csv(path, types={"flag": "bool"}))


def test_bytes_that_are_no_table(tmp_path: Path) -> None:
    """Another encoding, and archives that are none or cut short: the file is named."""
    path = tmp_path / "table.csv"
    path.write_bytes("a\n1\né\n".encode("latin-1"))
    with pytest.raises(InvalidTable, match=r"table\.csv, line 3: no UTF-8 text"):
        csv(path)
    packed = tmp_path / "table.csv.gz"
    whole = gzip.compress(b"a\n" + b"1\n" * 50)
    for content in (b"a\n1\n", whole[:-12], whole[:14] + b"\xff" * 8 + whole[22:]):
        packed.write_bytes(content)
        with pytest.raises(InvalidTable, match=r"table\.csv\.gz is no whole gzip file"):
            csv(packed)
    packed.write_bytes(whole)
    assert len(csv(packed)) == 50


def test_rows_are_dropped_for_some_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "a,b\n1,\n,3\n4,5\n")
    assert list(csv(path, missing={"a": "drop", "b": 7})) == [{"a": 1, "b": 7}, {"a": 4, "b": 5}]
    assert [int(r["b"]) for r in csv(path, types={"b": "int32"}, columns=["b"], missing=2.0)] == [2, 3, 5]


def test_names_of_digits_stay_text(tmp_path: Path) -> None:
    """What Python's int() takes and no table means: 10_2 is a name, as pandas has it."""
    assert [r["a"] for r in csv(table(tmp_path, "a\n10_2\n7\n"))] == ["10_2", "7"]
