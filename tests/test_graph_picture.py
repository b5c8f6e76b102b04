"""Pictures of graphs: that boxes are the user's operators, blocks what repeats or is named together, and that nothing
overlaps, points upwards, or is loaded from elsewhere. What a person can read of it is looked at, not tested.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.topologies import bert_encoder, mobilenet_v2
from typer.testing import CliRunner

import hither as ht
from hither import nn
from hither.cli import application
from hither.cli.graph_picture import Level, html_page, picture, svg_file
from hither.cli.graph_picture.layout import Drawing, Layout, unfold_some
from hither.cli.graph_picture.operators import read, split_source
from hither.cli.graph_picture.parts import Part
from hither.graph.core import Abstract, Graph
from hither.graph.trace import source, trace_function, weight

RNG = np.random.default_rng(0)


def graph_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Graph:
    def results(*xs: Any) -> list[Any]:
        made = function(*xs)
        return made if isinstance(made, list) else [made]

    return trace_function(results, [Abstract(shape, ht.float32) for shape in shapes], [f"x{i}" for i in range(len(shapes))])[0]


def op(kind: str, name: str, function: Callable[..., Any], *operands: Any) -> Any:
    """An operator as an importer labels it."""
    with source(f"{kind} '{name}' of test.onnx"):
        return function(*operands)


def dense(x: Any, name: str) -> Any:
    w = weight(RNG.standard_normal((x.shape[-1], x.shape[-1])).astype(np.float32), f"{name}.w")
    return op("MatMul", name, lambda a: a @ w, x)


def residual(x: Any, name: str = "n") -> Any:
    h = op("Tanh", f"{name}b", ht.tanh, dense(x, f"{name}a"))
    return op("Add", f"{name}d", lambda a, b: a + b, dense(h, f"{name}c"), x)


def inner(level: Level) -> list[Part]:
    """The Parts of a Level that are no inputs and outputs."""
    return [p for p in level.parts if p.kind not in ("input", "output")]


def titles(parts: list[Part]) -> list[tuple[str, int]]:
    return [(p.title, p.times) for p in parts]


def leaves(level: Level) -> list[Part]:
    return [p for p in level.walk() if p.inside is None]


def random_graph(seed: int, size: int = 90) -> Graph:
    """Operators that read one to three earlier ones, most often recent ones."""
    rng = np.random.default_rng(seed)

    def network(x: Any) -> list[Any]:
        made = [x]
        for i in range(size):
            count = int(rng.integers(1, 4))
            chosen = [made[max(0, len(made) - 1 - int(rng.geometric(0.3)))] for _ in range(count)]
            made.append(op("Sum" if count > 1 else "Exp", f"n{i}", lambda *a: sum(a[1:], ht.exp(a[0])), *chosen))
        return made[-2:]

    return graph_of(network, (2, 3))


def onnx_graph(proto: Any, folder: Path) -> Graph:
    import onnx

    onnx.save(proto, folder / "net.onnx")
    return ht.load(folder / "net.onnx").graph()


# -- operators -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Conv 'features/0/conv' of model.onnx", ("Conv", "features/0/conv")),
        ("CONV_2D 'a of b' of m.tflite", ("CONV_2D", "a of b")),
        ('Add "it\'s" of m.onnx', ("Add", "it's")),
        ("net/dense_1 (Dense)", ("Dense", "net/dense_1")),
        ("Conv_12 (Conv) of model.onnx", ("Conv", "Conv_12")),
        ("something else", ("something else", "")),
        ("", ("tanh", "")),
    ],
)
def test_labels_are_read(label: str, expected: tuple[str, str]) -> None:
    assert split_source(label, "tanh") == expected


def test_a_box_is_an_operator_of_the_users_with_its_weights() -> None:
    """Primitives of one label are one box; what is computed from weights alone (a transpose) is a weight of its reader."""
    w = RNG.standard_normal((5, 3)).astype(np.float32)

    def network(x: Any) -> Any:
        moved = op("Transpose", "t", lambda a: ht.permute_dims(a, (1, 0)), weight(w, "w"))
        y = op("Gemm", "g", lambda a, b: a @ b + 1, x, moved)
        y = op("Reshape", "r", lambda a: ht.reshape(a, (5, 4)), y)
        y = op("Transpose", "t2", lambda a: ht.permute_dims(a, (1, 0)), y)
        return op("Softmax", "s", lambda a: ht.softmax(a), y)

    parts = inner(read(graph_of(network, (4, 3))))
    assert titles(parts) == [("Gemm", 1), ("Reshape → Transpose", 1), ("Softmax", 1)]
    gemm = parts[0]
    assert [(v.name, v.value.shape) for v in gemm.weights] == [("w", (5, 3))] and gemm.parameters == 15
    assert gemm.kind == "matmul" and gemm.flops == 2 * 4 * 5 * 3 + 4 * 5 and gemm.attributes["numbers"] == "1"
    assert [v.shape for v in gemm.inputs] == [(4, 3)] and [v.shape for v in gemm.outputs] == [(4, 5)]
    assert parts[1].kind == "movement" and len(parts[1].sources) == 2


def test_an_operator_is_of_the_kind_of_its_main_primitive() -> None:
    """A gather moves data, whatever it computes on its indices; a convolution is one though it adds a bias."""

    def network(x: Any) -> Any:
        indices = op("ArgMax", "i", lambda a: ht.argmax(a, axis=1), x)
        y = op("Gather", "g", lambda a, i: ht.take(a, ht.where(i < 0, i + 4, i), axis=0), x, indices)
        return op("Gemm", "m", lambda a: a @ weight(np.ones((3, 3), np.float32), "w") + a, y)

    assert [p.kind for p in inner(read(graph_of(network, (4, 3))))] == ["reduction", "movement", "matmul"]


def test_a_python_functions_primitives_are_its_operators() -> None:
    parts = inner(read(graph_of(lambda x: ht.tanh(x * 2.5) + x, (4, 3))))
    assert titles(parts) == [("mul", 1), ("tanh", 1), ("add", 1)]
    assert parts[0].attributes["numbers"] == "2.5"


def test_control_flow_is_nested_boxes() -> None:
    def network(x: Any, y: Any) -> Any:
        flag = op("ReduceSum", "flag", lambda a: ht.sum(a) > 0, x)

        def then(a: Any) -> Any:
            return op("Tanh", "yes", ht.tanh, a)

        def otherwise(a: Any) -> Any:
            return op("Exp", "no", ht.exp, op("Neg", "n", lambda b: -b, a))

        return op("If", "if", lambda f, a: ht.cond(f, then, otherwise, a), flag, op("Add", "sum", lambda a, b: a + b, x, y))

    parts = inner(read(graph_of(network, (4, 3), (4, 3))))
    chosen = next(p for p in parts if p.title == "If")
    assert chosen.kind == "control" and chosen.inside is not None
    assert [(p.title, [q.title for q in p.inside.parts]) for p in chosen.inside.parts if p.inside] == [
        ("then", ["Tanh"]), ("otherwise", ["Neg", "Exp"]),
    ]  # fmt: skip
    add = next(p for p in parts if p.title == "Add")
    assert all(b.inputs == add.outputs for b in chosen.inside.parts), "branches read what the model computes outside"
    ((result, ends),) = chosen.inside.results
    assert chosen.outputs == (result,) and set(ends) == {v for b in chosen.inside.parts for v in b.outputs}


def test_loops_keep_body_and_condition() -> None:
    def network(x: Any) -> Any:
        body = lambda a: op("Mul", "double", lambda b: b * 2, a)  # noqa: E731
        return op("Loop", "loop", lambda a: ht.while_loop(lambda b: ht.sum(b) < 9, body, a), x)

    loop = next(p for p in inner(read(graph_of(network, (3,)))) if p.kind == "control")
    assert loop.inside is not None and [p.title for p in loop.inside.parts] == ["condition", "body"]


def test_layers_name_their_operators() -> None:
    """`source` of what a network of layers computes is the path and class of the layer."""
    x = nn.Input((4,), name="x")
    head = nn.Sequential([nn.Input((8,)), nn.Dense(3, name="last")], name="head")
    net = nn.Functional(x, head(nn.Dense(8, name="first", activation="relu")(x)), name="net")
    graph = graph_of(net, (2, 4))
    assert {node.source for node in graph.nodes} - {""} == {"net/first (Dense)", "net/head/last (Dense)"}
    assert [(p.title, p.name) for p in inner(read(graph))] == [("Dense", "net/first"), ("Dense", "net/head/last")]


def test_what_a_layer_computes_itself_is_in_its_block() -> None:
    class Block(nn.Layer):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.inner = nn.Dense(4, name="inner")

        def call(self, x: Any) -> Any:
            return self.inner(ht.tanh(x)) + x

    def network(x: Any) -> Any:
        for i in range(9):
            x = Block(f"block_{i}")(x)
        return x

    (row,) = inner(picture(graph_of(network, (2, 4))))
    assert (row.title, row.times) == ("block_0 … block_8", 9) and row.inside is not None
    first = row.inside.parts[0]
    assert first.title == "block_0" and first.inside is not None
    assert [p.title for p in first.inside.parts] == ["tanh", "Dense", "add"]


# -- blocks --------------------------------------------------------------------------------------------------------------------


def test_a_small_graph_stays_flat() -> None:
    parts = inner(picture(graph_of(residual, (4, 3))))
    assert titles(parts) == [("MatMul", 1), ("Tanh", 1), ("MatMul", 1), ("Add", 1)]


def test_residual_blocks_in_a_row_are_one_box() -> None:
    def network(x: Any) -> Any:
        x = op("Exp", "first", ht.exp, x)
        for i in range(8):
            x = residual(x, f"n{i}")
        return op("Softmax", "last", ht.softmax, x)

    parts = inner(picture(graph_of(network, (4, 3))))
    assert titles(parts) == [("Exp", 1), ("MatMul · Tanh · Add", 8), ("Softmax", 1)]
    row = parts[1]
    assert row.inside is not None and row.leaves == 32 and row.parameters == 16 * 9
    assert all([q.title for q in p.inside.parts] == ["MatMul", "Tanh", "MatMul", "Add"] for p in row.inside.parts if p.inside)


def test_sequences_without_branches_are_found_by_repetition() -> None:
    def network(x: Any) -> Any:
        for i in range(12):
            x = op("Abs", f"c{i}", ht.abs, op("Tanh", f"b{i}", ht.tanh, dense(x, f"a{i}")))
            x = op("Sqrt", f"odd{i}", ht.sqrt, x) if i == 5 else x
        return x

    parts = inner(picture(graph_of(network, (4, 3))))
    assert titles(parts) == [("MatMul · Tanh · Abs", 6), ("Sqrt", 1), ("MatMul · Tanh · Abs", 6)]


def test_a_long_repetition_is_folded_by_its_period() -> None:
    def network(x: Any) -> Any:
        for i in range(60):
            x = op(("Exp", "Tanh", "Tanh")[i % 3], f"n{i}", ht.tanh, x)
        return x

    assert titles(inner(picture(graph_of(network, (4, 3))))) == [("Exp · Tanh", 20)]


def test_scopes_in_names_come_first() -> None:
    def network(x: Any) -> Any:
        for i in range(3):
            for name in ("attention", "mlp"):
                for step in "abcdef":
                    x = op("Tanh", f"/encoder/layers.{i}/{name}/{step}", ht.tanh, x)
        return op("Exp", "/encoder/pool/exp", ht.exp, x)

    parts = inner(picture(graph_of(network, (4, 3))))
    assert [p.title for p in parts] == ["layers", "Exp"]
    layers = parts[0].inside
    assert layers is not None
    rows = [q for p in layers.parts for q in (p.inside.parts if p.times > 1 and p.inside else [p])]
    assert [p.name for p in rows] == [f"encoder/layers/{i}" for i in range(3)] and all(p.leaves == 12 for p in rows)


def test_scopes_that_paths_leave_and_enter_again_do_not_become_boxes() -> None:
    """As one box, a and c would read b, which reads them: a cycle."""

    def network(x: Any) -> Any:
        for i in range(30):
            x = op("Tanh", f"{'s' if i % 2 else 'other'}/n{i}", ht.tanh, x)
        return x

    level = picture(graph_of(network, (4, 3)))
    assert not any(p.scope and p.inside for p in level.walk())


def test_transformer_layers_are_one_row_though_all_read_the_mask(tmp_path: Path) -> None:
    level = picture(onnx_graph(bert_encoder(8, layers=4, width=24, heads=2, vocabulary=50), tmp_path))
    assert [p.times for p in level.parts if p.times > 1] == [4]
    row = next(p for p in level.parts if p.times > 1)
    assert row.inside is not None and len({p.signature for p in row.inside.parts}) == 1
    assert len(inner(level)) <= 8, "embedding, mask and layers fit on one level"


def test_inverted_residuals_are_blocks(tmp_path: Path) -> None:
    level = picture(onnx_graph(mobilenet_v2(32), tmp_path))
    blocks = [(p.leaves // p.times, p.times) for p in level.parts if p.inside is not None]
    # table 2 of the paper: the first block of each stage has no skip (5 operators), the others do (6)
    assert blocks == [(5, 1), (6, 1), (5, 1), (6, 2), (5, 1), (6, 3), (5, 1), (6, 2), (5, 1), (6, 2), (5, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_folding_keeps_every_operator_and_makes_no_cycle(seed: int) -> None:
    graph = random_graph(seed)
    level = picture(graph)
    assert sorted(p.name for p in leaves(level)) == sorted(p.name for p in read(graph).parts)
    for one in [level, *(p.inside for p in level.walk() if p.inside is not None)]:
        known = set(one.inputs)
        for part in one.parts:
            assert known.issuperset(part.inputs), f"{part.title} reads what stands below it"
            known.update(part.outputs)
        assert all(known.issuperset(ends) for _, ends in one.results)


# -- layout --------------------------------------------------------------------------------------------------------------------


def check_layout(drawing: Drawing, level: Level) -> None:
    assert {b.part for b in drawing.boxes} == set(level.parts)
    boxes = drawing.boxes
    for i, a in enumerate(boxes):
        assert a.x >= -0.1 and a.y >= -0.1 and a.x + a.width <= drawing.width + 0.1 and a.y + a.height <= drawing.height + 0.1
        for b in boxes[:i]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
            assert apart, f"{a.part.title} and {b.part.title} overlap"
    for edge in drawing.edges:
        assert edge.start[1] <= edge.end[1] + 0.1, "an edge points upwards"
    for box in boxes:
        if box.inside is not None and box.part.inside is not None:
            assert box.inside.width <= box.width and box.inside.height < box.height
            check_layout(box.inside, box.part.inside)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_do_not_overlap_and_edges_point_down(seed: int) -> None:
    level = picture(random_graph(seed))
    layout = Layout(level)
    for unfolded in (set(), set(level.walk()), unfold_some(level, 40)):
        check_layout(layout.draw(unfolded), level)


def test_a_chain_beside_a_long_skip_is_straight() -> None:
    def network(x: Any) -> Any:
        y = x
        for i in range(6):
            y = op("Tanh", f"n{i}", ht.tanh, y)
        return op("Add", "add", lambda a, b: a + b, y, x)

    drawing = Layout(picture(graph_of(network, (4, 3)))).draw()
    assert len({round(b.x + b.width / 2, 3) for b in drawing.boxes}) == 1
    right = max(b.x + b.width for b in drawing.boxes)
    skip = [e for e in drawing.edges if e.straight and e.start[0] > right]
    assert len(skip) == 6 and len({e.start[0] for e in skip}) == 1, "the skip runs straight, beside all boxes"


def test_few_boxes_are_seen_at_first(tmp_path: Path) -> None:
    level = picture(onnx_graph(mobilenet_v2(32), tmp_path))

    def seen(drawing: Drawing) -> int:
        return sum(1 + (seen(b.inside) if b.inside else 0) for b in drawing.boxes)

    assert 30 < seen(Layout(level).draw(unfold_some(level, 60))) <= 60


# -- files ---------------------------------------------------------------------------------------------------------------------


def nasty(x: Any) -> Any:
    """Names that would break out of where they are written."""
    return op("Tanh", 'a </script><b> & "quoted" $DATA \x01', ht.tanh, x)


def test_the_svg_is_complete_xml() -> None:
    text = svg_file(picture(graph_of(lambda x: nasty(residual(x)), (4, 3))), 'a <b> & "c"')
    root = ElementTree.fromstring(text)
    texts = [t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"MatMul", "Tanh", "Add", "x0", "[4,3] float32", "[3,3]", 'a <b> & "c"'} <= set(texts)
    assert not re.search(r"(?:href|src)\s*=|url\(|@import", text)


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    text = html_page(picture(graph_of(lambda x: nasty(residual(x)), (4, 3))), "a </script><b> & $DATA")
    assert not re.search(r"https?://|(?:href|src)\s*=|url\(|@import|fetch\(|import\(", text)
    assert text.count("</script>") == 2 and "<b> & $DATA" not in text.split("<script", 1)[0].replace("&lt;b&gt;", "")


def test_the_page_draws_what_layout_says_and_unfolds(tmp_path: Path, chromium: Any) -> None:
    """The page's own layout agrees with layout.py, at first and after unfolding a block, whose boxes then show."""
    level = picture(onnx_graph(bert_encoder(8, layers=3, width=24, heads=2, vocabulary=50), tmp_path))
    (tmp_path / "graph.html").write_text(html_page(level, "net"), encoding="utf-8")
    tab = chromium.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("request", lambda request: problems.append(request.url) if not request.url.endswith("graph.html") else None)
    tab.goto((tmp_path / "graph.html").as_uri())
    parts, layout = list(level.walk()), Layout(level)

    def compare(unfolded: set[Part]) -> None:
        def places(drawing: Drawing) -> dict[int, tuple[float, float]]:
            found = {parts.index(b.part): (b.x, b.y) for b in drawing.boxes}
            for box in drawing.boxes:
                found |= places(box.inside) if box.inside is not None else {}
            return found

        script = """() => [...document.querySelectorAll("#view [data-part]")].map(
            (g) => [Number(g.dataset.part), g.transform.baseVal[0].matrix.e, g.transform.baseVal[0].matrix.f])"""
        shown = {int(part): (x, y) for part, x, y in tab.evaluate(script)}
        expected = places(layout.draw(unfolded))
        assert shown.keys() == expected.keys()
        for part, place in expected.items():
            np.testing.assert_allclose(shown[part], place, atol=0.5, err_msg=parts[part].title)

    unfolded = unfold_some(level, 48)
    compare(unfolded)
    hidden = [p for p in parts if p.inside is not None and p not in unfolded]
    folded = next(p for p in hidden if tab.query_selector(f"[data-part='{parts.index(p)}']"))
    tab.locator(f"[data-part='{parts.index(folded)}'] .toggle").first.dispatch_event("click")
    compare(unfolded | {folded})
    tab.locator(f"[data-part='{parts.index(folded)}']").dispatch_event("dblclick")
    compare(unfolded)
    tab.locator("#search").fill("softmax")
    tab.locator("#search").press("Enter")
    assert "1 of 3" in tab.locator("#hits").inner_text() and "Softmax" in tab.locator("#panel").inner_text()
    tab.locator("#unfold").click()
    compare({p for p in parts if p.inside is not None})
    tab.close()
    assert not problems


def test_inspect_writes_both(tmp_path: Path) -> None:
    import onnx

    onnx.save(mobilenet_v2(32), tmp_path / "net.onnx")
    files = ["--html", tmp_path / "g.html", "--svg", tmp_path / "g.svg"]
    arguments = ["inspect", tmp_path / "net.onnx", "--device", "wasm", *files]
    result = CliRunner().invoke(application(), [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "g.html: " in result.output and "g.svg: " in result.output
    assert "100 operators" in (tmp_path / "g.svg").read_text("utf-8")
    assert (tmp_path / "g.html").stat().st_size < 1 << 20
