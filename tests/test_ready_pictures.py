"""What comes before and after the networks of the catalogue that look at pictures, against NumPy, SciPy and Pillow.

A mistake here puts boxes beside faces and skeletons beside people, while the networks themselves are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

import hither as ht
from hither import Spec
from hither.model import Model
from hither.models.anchors import Detector, grid
from hither.models.drawing import Drawing
from hither.models.pictures import Picture, image_spec
from hither.models.regions import Fit, Region, bounds, relative
from hither.models.stages import each

RNG = np.random.default_rng(0)


def turned(points: np.ndarray, centre: tuple[float, float], side: float, degrees: float) -> np.ndarray:
    """Places of a turned square, from 0 to 1, as places of the picture: complex numbers do the turning."""
    z = complex(*centre) + (points @ [1, 1j] - (0.5 + 0.5j)) * side * np.exp(1j * np.deg2rad(degrees))
    return np.stack([z.real, z.imag], -1)


def square_at(x: float, y: float, side: float, angle: float) -> Region:
    return Region(*(np.array([v], np.float32) for v in ([x, y], side, angle)))


@pytest.mark.parametrize(("height", "width", "size"), [(48, 64, 32), (64, 48, 32), (30, 47, 32), (20, 20, 32)])
def test_a_fitted_picture_keeps_its_aspect_and_its_places_come_back(height: int, width: int, size: int) -> None:
    picture = np.zeros((1, height, width, 1), np.float32)
    at = (height * 3 // 4, width // 4)
    picture[0, at[0] - 4 : at[0] + 4, at[1] - 4 : at[1] + 4] = 1
    fit = Fit(height, width, size)
    square = ht.asarray(fit.apply(ht.asarray(picture))).numpy()[0, ..., 0]
    assert square.shape == (size, size)
    rows, columns = np.mgrid[:size, :size] + 0.5
    seen = np.array([(square * columns).sum(), (square * rows).sum()], np.float32) / square.sum() / size
    np.testing.assert_allclose(fit.back(ht.asarray(seen)).numpy(), at[::-1], atol=0.6)
    share = square.sum() / 64 * (max(height, width) / size) ** 2  # the patch covers as many pixels as the scale says
    assert 0.85 < share < 1.15


def test_a_turned_crop_is_what_scipy_samples() -> None:
    picture = RNG.random((1, 40, 60, 2)).astype(np.float32)
    side, degrees, size = 18.0, 25.0, 8
    region = Region(
        np.array([[28.0, 19.0]], np.float32), np.array([side], np.float32), np.array([np.deg2rad(degrees)], np.float32)
    )
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    places = turned(np.stack([u, v], -1), (28, 19), side, degrees)
    expected = np.stack(
        [map_coordinates(picture[0, ..., c], [places[..., 1] - 0.5, places[..., 0] - 0.5], order=1) for c in range(2)], -1
    )
    np.testing.assert_allclose(region.crop(ht.asarray(picture), size).numpy()[0], expected, atol=1e-5)


def test_places_of_a_crop_come_back_to_the_picture() -> None:
    points = RNG.random((1, 5, 3)).astype(np.float32)
    region = square_at(28, 19, 18, 0.6)
    got = region.back(ht.asarray(points)).numpy()
    np.testing.assert_allclose(got[0, :, :2], turned(points[0, :, :2], (28, 19), 18, np.rad2deg(0.6)), rtol=1e-5)
    np.testing.assert_allclose(got[..., 2], points[..., 2] * 18, rtol=1e-6)
    np.testing.assert_allclose(relative(got, 40, 60), got / [60, 40, 60], rtol=1e-6)
    flat = got[0, :, :2]
    np.testing.assert_allclose(bounds(ht.asarray(got)).numpy()[0], [*flat.min(0), *flat.max(0)], rtol=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 30.0, -80.0, 170.0])
def test_a_region_is_turned_upright_and_moved_along_its_own_axes(degrees: float) -> None:
    """In the crop of an upright hand the middle finger is above the wrist, whatever way the hand was held."""
    wrist, finger = turned(np.array([[0.5, 0.8], [0.5, 0.3]]), (100, 90), 40, degrees).astype(np.float32)
    box = np.array([[90, 85, 110, 95]], np.float32)
    region = Region.around(ht.asarray(box), ht.asarray(wrist[None]), ht.asarray(finger[None]), np.pi / 2, scale=2.0, shift=-0.5)
    assert float(region.side[0]) == pytest.approx(40)
    assert np.cos(float(region.angle[0]) - np.deg2rad(degrees)) == pytest.approx(1, abs=1e-5)
    expected = turned(np.array([[0.5, 0.5 - 0.5 * 10 / 40]]), (100, 90), 40, degrees)
    np.testing.assert_allclose(region.centre.numpy(), expected, rtol=1e-4)


def test_anchors_are_the_centres_of_cells() -> None:
    made = grid(32, [(8, 2), (16, 1)])
    assert made.shape == (2 * 16 + 4, 2)
    np.testing.assert_allclose(made[[0, 1, 2, 31, 32, 35]] * 32, [[4, 4], [4, 4], [12, 4], [28, 28], [8, 8], [24, 24]])


def test_a_detector_decodes_and_averages_what_overlaps() -> None:
    """Three anchors: two that see one object a little apart, one that sees another; and one below the threshold."""
    anchors = np.array([[0.25, 0.25], [0.5, 0.5], [0.75, 0.75], [0.1, 0.9]], np.float32)
    logits = np.array([2.0, 1.0, 3.0, -1.0], np.float32)
    offsets = np.array(  # x, y, width, height and a point, in pixels of the 64 × 64 square
        [[0, 0, 16, 16, 4, 0], [-14, -14, 16, 16, -12, -16], [0, 0, 8, 8, 0, 2], [0, 0, 8, 8, 0, 0]], np.float32
    )

    def network(arrays: Mapping[str, Any]) -> dict[str, Any]:
        nothing = ht.sum(arrays["x"]) * 0.0  # so that the result depends on the input
        return {"offsets": ht.asarray(offsets)[None] + nothing, "logits": ht.asarray(logits)[None, :, None] + nothing}

    model = Model(network, {"x": Spec((1, 64, 64, 3))}, {"offsets": Spec((1, 4, 6)), "logits": Spec((1, 4, 1))})
    find = Detector(model, anchors, 0.0, 0.5, 4)
    found = ht.compile(lambda picture: vars(find(picture)), {"picture": Spec((1, 64, 128, 3))})(
        picture=np.ones((1, 64, 128, 3), np.float32)
    )
    # The picture is twice as wide as high: in the square it has half its size and 16 rows of nothing above it.
    scores = 1 / (1 + np.exp(-logits))
    centres = anchors * 64 + offsets[:, :2]
    boxes = np.concatenate([centres - offsets[:, 2:4] / 2, centres + offsets[:, 2:4] / 2], 1)
    joined = (scores[0] * boxes[0] + scores[1] * boxes[1]) / (scores[0] + scores[1])
    points = anchors * 64 + offsets[:, 4:]
    point = (scores[0] * points[0] + scores[1] * points[1]) / (scores[0] + scores[1])
    assert int(found["count"]) == 2
    np.testing.assert_allclose(found["scores"].numpy()[:2], [scores[2], scores[0]], rtol=1e-5)
    expected = np.stack([boxes[2], joined]) * 2 - [0, 32, 0, 32]
    np.testing.assert_allclose(found["boxes"].numpy()[:2], expected, rtol=1e-4)
    np.testing.assert_allclose(found["points"].numpy()[:2, 0], np.stack([points[2], point]) * 2 - [0, 32], rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_each_runs_for_what_there_is_and_leaves_out_what_scores_low(count: int) -> None:
    results = {"value": Spec((None, 2)), "number": Spec((None,), "int32")}

    def network(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        def one(i: Any) -> tuple[Any, dict[str, Any]]:
            row = ht.take(arrays["rows"], ht.reshape(i, (1,)), axis=0)
            return row[:, 0], {"value": row * 2.0, "number": ht.reshape(i, (1,))}

        return each(one, arrays["count"], 4, results, threshold=0.5)

    rows = np.array([[0.9, 1], [0.1, 2], [0.8, 3], [0.7, 4]], np.float32)
    model = Model(network, {"rows": Spec((4, 2)), "count": Spec((), "int32")}, results)
    found = model({"rows": rows, "count": np.int32(count)})
    kept = [i for i in range(count) if rows[i, 0] >= 0.5]
    np.testing.assert_array_equal(found["number"].numpy(), kept)
    np.testing.assert_allclose(found["value"].numpy(), rows[kept] * 2)


@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 60), (13, 200)])
def test_a_picture_in_a_frame_gives_places_back(height: int, width: int, tmp_path: Path) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    model = Model(lambda arrays: {}, {"image": image_spec((48, 64))}, {})
    picture = Picture.of(model, tmp_path / "x.png")
    assert picture.frame.shape == (1, 48, 64, 3)
    rows, columns = np.nonzero(picture.frame[0, ..., 0] > 127)
    corner = np.array([(columns.max() + 1) / 64, (rows.max() + 1) / 48])
    half = np.array([width // 2 / width, height // 2 / height])
    np.testing.assert_allclose(picture.back(corner), half, atol=0.13)  # a pixel of the frame
    np.testing.assert_allclose(picture.mask(picture.frame[0, ..., 0] / 255.0).mean(), half.prod(), atol=0.1)


@pytest.mark.parametrize("size", [(40, 50), (900, 1200)])
def test_drawings_stay_in_the_picture_and_show(size: tuple[int, int]) -> None:
    drawing = Drawing(np.full((*size, 3), 128, np.uint8))
    drawing.mask(np.pad(np.ones((size[0] // 2, size[1])), ((0, size[0] - size[0] // 2), (0, 0))))
    drawing.box((0.9, -0.1, 1.2, 0.5), "outside of it", 1)
    drawing.points([(0.5, 0.5)], 2)
    drawing.lines([(0.1, 0.1), (0.1, 0.9)], [(0, 1)], 4)
    made = np.asarray(drawing.image)
    assert made.shape == (*size, 3)
    assert (made[size[0] // 2 - 1, size[1] // 2] != 128).any()
    assert (made[round(size[0] * 0.45), round(size[1] * 0.3)] == 128).all()  # inside the mask nothing changes
