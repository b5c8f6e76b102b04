"""Transforms: gradients, Jacobians, vectorisation, and how they compose. Rules of single primitives are checked along the op
table (tests/test_primitives.py for gradients, here for batching)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.graph.primitive import Primitive

from .op_case import Op, check, flat_results
from .op_table import cases
from .targets import oracle

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def numeric(f: Any, x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """The gradient by central differences, in float64."""
    made = np.zeros_like(x, np.float64)
    for i in np.ndindex(x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[i] += h
        down[i] -= h
        made[i] = (f(up) - f(down)) / (2 * h)
    return made


def test_gradients_of_structures_and_several_arguments() -> None:
    def f(p: dict[str, Any], x: Any, n: Any) -> Any:
        return ht.sum(ht.tanh(x @ p["w"] + p["b"])) * n

    p = {"w": np.ones((4, 2), np.float32) / 4, "b": np.zeros(2, np.float32)}
    value, (dp, dx) = ht.value_and_grad(f, argnums=(0, 1))(p, X, 3)
    t = np.tanh(X @ p["w"])
    np.testing.assert_allclose(float(value), 3 * t.sum(), rtol=1e-5)
    slope = 3 * (1 - t**2)
    np.testing.assert_allclose(dp["w"].numpy(), X.T @ slope, rtol=1e-4)
    np.testing.assert_allclose(dp["b"].numpy(), slope.sum(0), rtol=1e-4)
    np.testing.assert_allclose(dx.numpy(), slope @ p["w"].T, rtol=1e-4)


def test_gradients_look_at_numbers_when_they_run_at_once() -> None:
    def f(x: Any) -> Any:
        while float(x) < 100:
            x = x * x
        return x

    assert float(ht.grad(f)(3.0)) == 8 * 3.0**7
    assert float(ht.grad(ht.grad(f))(3.0)) == 56 * 3.0**6
    with pytest.raises(TypeError, match="only being traced"):
        ht.jit(ht.grad(f))(np.float32(3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ht.sum(ht.asarray(np.sin(x))),
        lambda x: ht.sum(np.array(x) * x),
        lambda x: ht.sum(ht.asarray(x.numpy())),
        lambda x: _written(ht.zeros(3), x),
    ],
)
def test_no_gradient_is_lost_in_numpy(function: Any) -> None:
    """The gradient through it would be zero without a word."""
    for transform in (ht.grad, lambda f: ht.jit(ht.grad(f))):
        with pytest.raises(TypeError, match=r"being differentiated|only being traced|traced value"):
            transform(function)(np.array([1, 2, 3], np.float32))


def _written(made: Any, x: Any) -> Any:
    made[0] = x[0]
    return ht.sum(made)


def test_numpys_reductions_and_ranges_have_gradients() -> None:
    x = np.array([1, 2, 4], np.float32)
    np.testing.assert_allclose(ht.grad(lambda x: np.mean(x * x))(x).numpy(), 2 * x / 3, rtol=1e-6)
    made = ht.jit(ht.vmap(ht.grad(lambda a: ht.sum(ht.linspace(a, 5.0, 3) ** 2))))(x).numpy()
    np.testing.assert_allclose(made, 2 * x + (x + 5) / 2, rtol=1e-6)  # a² + ((a + 5) / 2)² + 25
    np.testing.assert_allclose(ht.grad(lambda a: ht.sum(ht.linspace(0.0, a, 4, endpoint=False)))(3.0).numpy(), 1.5)
    wide = ht.jit(lambda a: ht.linspace(a, 1.0, 8))(np.array(0.1))
    np.testing.assert_allclose(wide.numpy(), np.linspace(0.1, 1, 8), rtol=1e-15)


def test_aux_is_handed_through() -> None:
    (value, aux), g = ht.value_and_grad(lambda x: (ht.sum(x * x), {"twice": x * 2}), has_aux=True)(X)
    np.testing.assert_allclose(aux["twice"].numpy(), 2 * X)
    np.testing.assert_allclose(g.numpy(), 2 * X)
    _, (anything, again) = ht.grad(lambda x: (ht.sum(x), ("text", x)), has_aux=True)(X)
    assert anything == "text" and np.array_equal(again, X)
    assert float(value) == pytest.approx((X**2).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("function", "argument", "says"),
    [
        (lambda x: x * 2, X, "return one float, got float32"),
        (lambda x: ht.sum(x), np.arange(3), "int64"),
        (lambda x: ht.argmax(x), X, "return one float, got int64"),
    ],
)
def test_what_has_no_gradient_says_why(function: Any, argument: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        ht.grad(function)(argument)


def test_jacobian_and_hessian() -> None:
    def f(x: Any) -> Any:
        return ht.stack([x[0] ** 2 * x[1], ht.sin(x[0]), ht.sum(x)])

    x = np.array([0.5, 2.0], np.float32)
    want = [[2 * 0.5 * 2.0, 0.25], [np.cos(0.5), 0], [1, 1]]
    np.testing.assert_allclose(ht.jacobian(f)(x).numpy(), want, rtol=1e-5)
    np.testing.assert_allclose(ht.jit(ht.jacobian(f))(x).numpy(), want, rtol=1e-5)
    np.testing.assert_allclose(
        ht.hessian(lambda x: ht.sum(ht.exp(x) * x[0]))(x).numpy(),
        [[np.exp(0.5) * 2.5, np.exp(2.0)], [np.exp(2.0), np.exp(2.0) * 0.5]],
        rtol=1e-5,
    )


def test_gradients_through_control_flow_and_compiled() -> None:
    def f(x: Any) -> Any:
        y = ht.cond(ht.sum(x) > 0, lambda x: x * 2, lambda x: x * x, x)
        _, ys = ht.scan(lambda c, row: (c * 0.5 + ht.sum(row), c), ht.asarray(1.0), y)
        return ht.sum(ys * ys) + ht.fori_loop(0, 3, lambda i, v: v * 1.5, ht.sum(y))

    def reference(x: np.ndarray) -> float:
        y = x * 2 if x.sum() > 0 else x * x
        c, total = 1.0, 0.0
        for row in y:
            total += c * c
            c = c * 0.5 + row.sum()
        return total + y.sum() * 1.5**3

    for x in (X, -np.abs(X)):
        want = numeric(reference, x)
        np.testing.assert_allclose(ht.grad(f)(x).numpy(), want, rtol=2e-4, atol=1e-4)
        np.testing.assert_allclose(ht.jit(ht.grad(f))(x).numpy(), want, rtol=2e-4, atol=1e-4)


def test_custom_gradient() -> None:
    @ht.custom_gradient
    def straight_through(x: Any, scale: Any) -> Any:
        return ht.round(x * scale), lambda g: (g * scale, None)

    g = ht.grad(lambda x: ht.sum(straight_through(x, 2.0) * 3))(X)
    np.testing.assert_allclose(g.numpy(), np.full_like(X, 6.0))
    np.testing.assert_allclose(ht.jit(ht.grad(lambda x: ht.sum(straight_through(x, 2.0) * 3)))(X).numpy(), g.numpy())
    rows = ht.vmap(ht.grad(lambda x: ht.sum(straight_through(x, 2.0) * 3)))(X)
    np.testing.assert_allclose(rows.numpy(), g.numpy())
    rows = ht.grad(lambda x: ht.sum(ht.vmap(lambda row: straight_through(row, 2.0))(x)))(X)
    np.testing.assert_allclose(rows.numpy(), np.full_like(X, 2.0))
    with pytest.raises(ValueError, match=r"\(7,\).*\(3,\)"):  # which would be a gradient of another shape than its argument
        ht.grad(lambda x: ht.sum(ht.custom_gradient(lambda x: (x, lambda g: ht.ones((7,))))(x)))(np.ones(3, np.float32))


def test_a_scan_of_no_rows_gives_back_what_it_began_with() -> None:
    def last(c: Any, rows: Any) -> Any:
        carry, made = ht.scan(lambda c, r: (c * r, (c, r)), c, rows)
        assert [m.shape for m in made] == [(0,), (0,)]
        return carry * 3

    for f in (last, ht.jit(last)):
        assert float(f(2.0, np.ones((0,), np.float32))) == 6
        assert float(ht.grad(f)(2.0, np.ones((0,), np.float32))) == 3


def test_a_compiled_function_may_close_over_what_is_differentiated() -> None:
    assert float(ht.grad(lambda x: ht.jit(lambda: x * x)())(3.0)) == 6
    assert ht.vmap(lambda x: ht.jit(lambda y: x * y)(np.float32(2)))(np.arange(3, dtype=np.float32)).tolist() == [0, 2, 4]


def chain(x: Any) -> Any:
    for _ in range(4):
        x = ht.sin(ht.matmul(x, x) * 0.1)
    return x


def test_checkpoint_changes_no_gradient_and_needs_less_memory() -> None:
    x = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)

    def loss(block: Any, x: Any) -> Any:
        for _ in range(4):
            x = block(x)
        return ht.sum(x)

    plain, spare = (ht.grad(lambda x, b=b: loss(b, x)) for b in (chain, ht.checkpoint(chain)))
    np.testing.assert_allclose(spare(x).numpy(), plain(x).numpy(), rtol=1e-4, atol=1e-5)
    programs = [ht.compile(f, {"x": ht.Spec((64, 64))}, device="cpu") for f in (plain, spare)]
    results = [p(x=x)["output"].numpy() for p in programs]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)
    arenas = [p.memory()["arena"] for p in programs]
    assert arenas[1] < 0.65 * arenas[0], arenas


def test_vmap_of_axes_and_structures() -> None:
    def f(p: dict[str, Any], x: Any, k: Any) -> Any:
        return {"y": p["w"] @ x + k, "k": k}

    w = np.random.default_rng(2).standard_normal((5, 2, 3)).astype(np.float32)
    x = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
    made = ht.vmap(f, in_axes=({"w": 0}, 1, None), out_axes={"y": 1, "k": 0})({"w": w}, x, 2.0)
    np.testing.assert_allclose(made["y"].numpy(), np.einsum("bij,jb->ib", w, x) + 2, rtol=1e-5)
    np.testing.assert_allclose(made["k"].numpy(), np.full(5, 2.0))
    with pytest.raises(ValueError, match="one extent"):
        ht.vmap(lambda a, b: a + b)(np.ones(3), np.ones(4))


def test_transforms_nest() -> None:
    def loss(w: Any, x: Any) -> Any:
        return ht.sum(ht.tanh(w @ x) ** 2)

    w = np.random.default_rng(4).standard_normal((2, 4)).astype(np.float32)
    per_example = ht.jit(ht.vmap(ht.grad(loss), in_axes=(None, 0)))(w, X).numpy()
    for row, got in zip(X, per_example):
        t = np.tanh(w @ row)
        np.testing.assert_allclose(got, np.outer(2 * t * (1 - t**2), row), rtol=1e-4, atol=1e-6)


def test_while_loops_of_different_lengths_are_mapped() -> None:
    def collatz(n: Any) -> Any:
        return ht.while_loop(
            lambda s: s[0] != 1, lambda s: (ht.where(s[0] % 2 == 0, s[0] // 2, 3 * s[0] + 1), s[1] + 1), (n, 0)
        )

    _, steps = ht.vmap(collatz)(np.array([1, 6, 7, 27], np.int32))
    assert steps.numpy().tolist() == [0, 8, 16, 111]
    _, steps = ht.jit(ht.vmap(collatz))(np.array([1, 6, 7, 27], np.int32))
    assert steps.numpy().tolist() == [0, 8, 16, 111]


NOT_MAPPED = ("nonzero_bounded", "nms_bounded", "setdiff1d_bounded")  # what they find differs in number
ROWS = [c for c in cases() if c[2] in ("float32", "int32") and c[1].name not in NOT_MAPPED]


@pytest.mark.parametrize(("row", "dtype"), [c[1:] for c in ROWS], ids=[c[0] for c in ROWS])
def test_the_op_table_is_mapped(row: Op, dtype: str) -> None:
    """Two examples of every operand at once, then one operand shared, against the function called for each."""
    examples = [row.arrays(dtype, seed=s) for s in (0, 1)]
    operands = [np.stack(pair) for pair in zip(*examples)]
    if not operands:
        return
    everything = ht.vmap(lambda *xs: tuple(flat_results(row.function(*xs))))(*operands)
    for i, arrays in enumerate(examples):
        for got, expected in zip(everything, oracle(row.function, arrays), strict=True):
            check(got.numpy()[i], expected, row.tolerance, factor=2)
    if len(operands) < 2:
        return
    shared = [(None, *[0] * (len(operands) - 1)), (0, *[None] * (len(operands) - 1))]
    for axes in shared:
        given = [operands[j] if a == 0 else examples[0][j] for j, a in enumerate(axes)]
        made = ht.vmap(lambda *xs: tuple(flat_results(row.function(*xs))), in_axes=axes)(*given)
        for i, arrays in enumerate(examples):
            each = [arrays[j] if a == 0 else examples[0][j] for j, a in enumerate(axes)]
            for got, expected in zip(made, oracle(row.function, each), strict=True):
                check(got.numpy()[i], expected, row.tolerance, factor=2)


@pytest.mark.parametrize(
    "function",
    [
        lambda z, w: ht.sum(ht.real(z * w)),
        lambda z, w: ht.sum(ht.imag(z * w / (z + 3))),
        lambda z, w: ht.sum(ht.abs(ht.exp(z) - w) ** 2),
        lambda z, w: ht.sum(ht.real(ht.sign(z)) * ht.imag(ht.conj(w) ** 2)),
        lambda z, w: ht.sum(ht.abs(ht.matmul(z, ht.sin(w)))),
        lambda z, w: ht.sum(ht.real(ht.log(z)) * ht.imag(ht.sqrt(w)) + ht.real(ht.tanh(z) * ht.cumulative_sum(w, axis=1))),
        lambda z, w: ht.sum(ht.abs(ht.make_complex(ht.real(z), ht.imag(w)) * ht.make_complex(ht.imag(z), ht.abs(w)))),
        lambda z, w: ht.sum(ht.real(ht.checkpoint(lambda z: z * z * w)(z))),
        lambda z, w: ht.sum(ht.real(ht.fori_loop(0, 3, lambda i, v: v * z + w, z))),
    ],
)  # fmt: skip
def test_gradients_by_complex_numbers(function: Any) -> None:
    """(d/da) + i (d/db) by z = a + bi, to second order, against central differences of the parts."""
    rng = np.random.default_rng(0)
    z, w, dz, dw = (rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)) for _ in range(4))

    def slope(z: Any, w: Any) -> Any:
        gz, gw = ht.grad(function, argnums=(0, 1))(z, w)
        return ht.sum(ht.real(gz * dw)) + ht.sum(ht.imag(gw * dz))

    for f in (function, slope):
        gz, gw = ht.grad(f, argnums=(0, 1))(z, w)
        exact = float(np.sum(np.real(np.conj(gz.numpy()) * dz + np.conj(gw.numpy()) * dw)))
        h = 1e-6
        between = (float(f(z + h * dz, w + h * dw)) - float(f(z - h * dz, w - h * dw))) / (2 * h)
        np.testing.assert_allclose(exact, between, rtol=1e-5, atol=1e-6)


def test_a_gradient_of_ones_own_by_complex_numbers() -> None:
    """The rule is in the same convention as the gradients that `grad` gives."""

    @ht.custom_gradient
    def product(z: Any, w: Any) -> Any:
        return z * w, lambda g: (g * ht.conj(w), g * ht.conj(z))

    z, w = np.array([1 + 2j, 3 - 1j]), np.array([2 - 1j, 1j])
    plain = ht.grad(lambda z, w: ht.sum(ht.imag(z * w)), argnums=(0, 1))(z, w)
    own = ht.grad(lambda z, w: ht.sum(ht.imag(product(z, w))), argnums=(0, 1))(z, w)
    for a, b in zip(plain, own, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy())


def test_the_gradient_of_a_scan_grows_with_its_length() -> None:
    """Memory for four times the turns is about four times as much: not sixteen, as where every turn keeps all rows."""

    def loss(xs: Any) -> Any:
        last, rows = ht.scan(lambda c, x: (ht.tanh(c + x), c * x), ht.zeros((8,)), xs)
        return ht.sum(rows) + ht.sum(last)

    def arena(turns: int) -> int:
        return ht.compile(ht.grad(loss), {"xs": ht.Spec((turns, 8), "float32")}).memory()["arena"]

    assert arena(512) < 6 * arena(128)


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_scans_are_those_of_loops(order: int) -> None:
    """With weights that the function captures, both directions, integers beside, and a row without a gradient; compiled and
    under vmap. The reference is the same computation as a Python loop."""
    rng = np.random.default_rng(0)
    values = {"w": rng.normal(size=(3, 3)), "xs": rng.normal(size=(5, 2, 3)), "c": rng.normal(size=(2, 3))}

    def scanned(p: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            number, c = carry
            c = ht.tanh(c @ p["w"] + x)
            return (number + 1, c), {"rows": c * x, "numbers": number}

        start = (ht.asarray(0), p["c"])
        for reverse in (False, True):
            (_, c), made = ht.scan(step, start, p["xs"], reverse=reverse)
            start = (ht.asarray(0), c)
        return ht.sum(made["rows"] ** 2) + ht.sum(c)

    def looped(p: Any) -> Any:
        c = p["c"]
        for places in (range(5), range(4, -1, -1)):
            rows = []
            for i in places:
                c = ht.tanh(c @ p["w"] + p["xs"][i])
                rows.append(c * p["xs"][i])
        return ht.sum(ht.stack(rows) ** 2) + ht.sum(c)

    def made(function: Any) -> Any:
        first = ht.grad(function)
        return first if order == 1 else ht.grad(lambda p: sum(ht.sum(g * g) for g in first(p).values()))

    p = {n: ht.asarray(v) for n, v in values.items()}
    expected = made(looped)(p)
    batched = ht.vmap(made(scanned))({n: ht.stack([v, v]) for n, v in p.items()}) if order == 1 else {}
    for name, got in ht.jit(made(scanned))(p).items():
        np.testing.assert_allclose(got.numpy(), expected[name].numpy(), rtol=1e-9, atol=1e-9)
        if batched:
            np.testing.assert_allclose(batched[name].numpy()[1], expected[name].numpy(), rtol=1e-9, atol=1e-9)


def test_gradients_compute_what_is_looked_at_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is differentiated at once may look at its numbers; if it does not, nothing is computed twice, and if it
    does, only what leads there is."""
    runs: list[str] = []
    run = Primitive.run
    monkeypatch.setattr(Primitive, "run", lambda self, *a, **p: (runs.append(self.name), run(self, *a, **p))[1])
    x = ht.asarray(X)
    assert ht.vjp(lambda x: ht.sum(ht.exp(x)), x)[0].shape == ()
    assert runs.count("exp") == 1
    runs.clear()

    def chosen(x: Any) -> Any:
        y = ht.exp(x)
        return ht.sum(y if ht.sum(ht.sin(x)) > 100 else -y)

    np.testing.assert_allclose(ht.grad(chosen)(x).numpy(), -np.exp(X), rtol=1e-6)
    assert runs.count("sin") == 1 and runs.count("exp") == 1

    def halved(x: Any) -> Any:
        while ht.max(x) > 1e-3:  # thousands of nodes, each computed once and not once a look
            x = x * 0.99
        return ht.sum(x)

    runs.clear()
    turns = np.ceil(np.log(1e-3 / X.max()) / np.log(0.99))
    np.testing.assert_allclose(ht.grad(halved)(x).numpy(), np.full(X.shape, 0.99**turns), rtol=1e-3)
    assert runs.count("mul") <= 4 * turns  # looking, the value, the gradients by x and 0.99
