"""Layers that change images at random: what they do for given draws as Keras does it, and how they draw by statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.nn import Layer

from .keras_reference import keras

RNG = np.random.default_rng(3)
IMAGES = (RNG.random((3, 7, 6, 2)) * 255).astype(np.float32)

# With equal bounds nothing is left to chance.
GIVEN: dict[str, tuple[str, tuple[Any, ...]]] = {
    "rotation": ("RandomRotation", ((0.07, 0.07),)),
    "rotation back": ("RandomRotation", ((-0.3, -0.3),)),
    "zoom nearer": ("RandomZoom", ((-0.4, -0.4),)),
    "zoom away": ("RandomZoom", ((0.3, 0.3), (0.1, 0.1))),
    "translation": ("RandomTranslation", ((0.3, 0.3), (-0.21, -0.21))),
}


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill_mode", ["reflect", "constant", "nearest"])
@pytest.mark.parametrize("case", GIVEN)
def test_maps_are_keras(case: str, fill_mode: str, interpolation: str) -> None:
    kind, arguments = GIVEN[case]
    options = {"fill_mode": fill_mode, "interpolation": interpolation, "fill_value": 3.0}
    theirs = getattr(keras.layers, kind)(*arguments, **options)
    ours = getattr(ht.nn, kind)(*arguments, **options)
    np.testing.assert_allclose(ours(IMAGES, training=True).numpy(), theirs(IMAGES, training=True), rtol=1e-4, atol=5e-3)
    np.testing.assert_allclose(ours(IMAGES[1], training=True).numpy(), theirs(IMAGES[1], training=True), rtol=1e-4, atol=5e-3)
    first = getattr(ht.nn, kind)(*arguments, **options, data_format="channels_first")
    flipped = first(IMAGES.transpose(0, 3, 1, 2), training=True).numpy()
    np.testing.assert_allclose(flipped.transpose(0, 2, 3, 1), ours(IMAGES, training=True).numpy(), rtol=1e-5, atol=1e-3)


def test_brightness_and_contrast_are_keras() -> None:
    """Brightness for a given change; contrast for the change that our result shows."""
    theirs = keras.layers.RandomBrightness((0.2, 0.2))(IMAGES.copy(), training=True)
    np.testing.assert_allclose(ht.nn.RandomBrightness((0.2, 0.2))(IMAGES, training=True).numpy(), theirs, rtol=1e-5)
    made = ht.nn.RandomContrast((0.9, 0.1), value_range=(-500, 500))(IMAGES, training=True).numpy()
    mean = IMAGES.mean((1, 2), keepdims=True)
    factor = ((made - mean) / (IMAGES - mean)).mean((1, 2, 3), keepdims=True)
    reference = keras.layers.RandomContrast(0.5, value_range=(-500, 500))
    expected = reference.transform_images(IMAGES.copy(), {"contrast_factor": factor}, training=True)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-2)
    assert (factor > 0.1).all() and (factor < 1.1).all() and len(np.unique(factor.round(4))) == 3
    cut = ht.nn.RandomContrast(1.0, value_range=(100, 150))(IMAGES, training=True).numpy()
    assert cut.min() == 100 and cut.max() == 150


def many(layer: Layer, image: np.ndarray, count: int = 400) -> np.ndarray:
    """What training makes of many copies of an image."""
    ht.nn.seed(1)
    return layer(np.broadcast_to(image, (count, *image.shape)).copy(), training=True).numpy()


def evenly(values: np.ndarray, low: float, high: float) -> bool:
    """Whether values are evenly distributed between bounds: Kolmogorov and Smirnov's test, p = 0.001."""
    unit = np.sort((values - low) / (high - low))
    steps = np.arange(len(unit) + 1) / len(unit)
    return bool(max(np.abs(unit - steps[1:]).max(), np.abs(unit - steps[:-1]).max()) < 1.95 / len(unit) ** 0.5)


def test_draws_are_even_and_an_image_s_own() -> None:
    """Brightness, translation, zoom and rotation of each image, read off a ramp."""
    grey = np.full((2, 2, 1), 100.0, np.float32)
    assert evenly(many(ht.nn.RandomBrightness(0.2), grey)[:, 0, 0, 0], 100 - 51, 100 + 51)
    down, right = np.meshgrid(np.arange(21.0, dtype=np.float32), np.arange(21.0, dtype=np.float32), indexing="ij")
    ramp = np.stack([down, right], axis=2)
    moved = many(ht.nn.RandomTranslation(0.3, (0.0, 0.4)), ramp)[:, 10, 10]
    assert evenly(10 - moved[:, 0], -6.3, 6.3) and evenly(10 - moved[:, 1], 0, 8.4)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.15, "the two directions are drawn apart"
    shown = many(ht.nn.RandomZoom(0.4), ramp)
    spans = shown[:, 11, 10, 0] - shown[:, 9, 10, 0]
    assert evenly(spans / 2, 0.6, 1.4)
    np.testing.assert_allclose(shown[:, 10, 11, 1] - shown[:, 10, 9, 1], spans, rtol=1e-3)
    turned = many(ht.nn.RandomRotation(0.25), ramp)
    assert evenly(np.arctan2(turned[:, 10, 11, 0] - turned[:, 10, 9, 0], turned[:, 10, 11, 1] - turned[:, 10, 9, 1]),
                  -np.pi / 2, np.pi / 2)  # fmt: skip


def test_flips() -> None:
    image = np.arange(4, dtype=np.float32).reshape(2, 2, 1)
    for mode, ways in (("horizontal", 2), ("vertical", 2), ("horizontal_and_vertical", 4)):
        kinds, counts = np.unique(many(ht.nn.RandomFlip(mode), image).reshape(400, 4), axis=0, return_counts=True)
        assert len(kinds) == ways and ((counts - 400 / ways) ** 2 / (400 / ways)).sum() < 16.3  # χ², p = 0.001 for 3
        assert {1.0, 2.0, 0.0, 3.0} >= set(kinds[:, 0])


def test_crops() -> None:
    """Every place comes, one for a batch; outside of training the middle, in the part's proportions."""
    layer = ht.nn.RandomCrop(5, 4)
    assert layer(IMAGES[:, :5, :4], training=True).shape == (3, 5, 4, 2)
    places = set()
    for seed in range(60):
        ht.nn.seed(seed)
        made = layer(IMAGES, training=True).numpy()
        found = [(i, j) for i in range(3) for j in range(3) if (made == IMAGES[:, i : i + 5, j : j + 4]).all()]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 9
    tall = ht.nn.RandomCrop(7, 3)
    np.testing.assert_array_equal(tall(IMAGES).numpy(), IMAGES[:, :, 1:4])
    middle = ht.nn.CenterCrop(14, 12)  # too large: the middle is scaled up, which Keras's layer agrees with
    np.testing.assert_allclose(ht.nn.RandomCrop(14, 12)(IMAGES, training=True).numpy(), middle(IMAGES).numpy())
    assert layer(IMAGES[0]).shape == (5, 4, 2)


LAYERS: list[Callable[[], Layer]] = [
    lambda: ht.nn.RandomFlip(seed=2),
    lambda: ht.nn.RandomRotation(0.1, "constant", fill_value=2.0),
    lambda: ht.nn.RandomZoom((-0.2, 0.1), 0.3),
    lambda: ht.nn.RandomTranslation(0.2, [0.1, 0.3], interpolation="nearest"),
    lambda: ht.nn.RandomContrast(0.2),
    lambda: ht.nn.RandomBrightness((-0.1, 0.4), value_range=(0, 1)),
    lambda: ht.nn.RandomCrop(4, 4),
]


@pytest.mark.parametrize("make", LAYERS, ids=lambda m: type(m()).__name__)
def test_life_of_a_layer(make: Callable[[], Layer]) -> None:
    """Off outside of training, equal draws for equal keys also where compiled, other draws for another seed, and a config that
    Keras reads and that makes an equal layer."""
    layer = make()
    off = layer(IMAGES).numpy()
    assert off.dtype == np.float32 and (off.shape != IMAGES.shape or (off == IMAGES).all())

    def drawn(layer: Layer, number: int, x: Any = IMAGES) -> Any:
        with ht.nn.randomness(ht.random.key(number)):
            return layer(x, training=True)

    once = drawn(layer, 4).numpy()
    assert (drawn(layer, 4).numpy() == once).all() and (drawn(layer, 5).numpy() != once).any()
    compiled = ht.jit(lambda x: drawn(layer, 4, x))(IMAGES).numpy()
    np.testing.assert_allclose(compiled, once, rtol=1e-4, atol=1e-3)
    again = ht.nn.deserialize(ht.nn.serialize(layer))
    assert (drawn(again, 4).numpy() == once).all()
    config = layer.get_config()
    theirs = getattr(keras.layers, type(layer).__name__).from_config({**config, "dtype": "float32"})
    assert theirs.name == layer.name
    other = ht.nn.deserialize(ht.nn.serialize(layer))
    other.seed = 77
    assert (drawn(other, 4).numpy() != once).any()


def test_factors_that_are_none() -> None:
    for wrong in (
        lambda: ht.nn.RandomRotation(1.5), lambda: ht.nn.RandomZoom((0.1, 0.2, 0.3)), lambda: ht.nn.RandomContrast(-0.5),
        lambda: ht.nn.RandomBrightness((-2.0, 0.0)), lambda: ht.nn.RandomRotation(0.1, "mirror"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="got"):
            wrong()


def test_training_with_augmentation() -> None:
    """A network whose first layers are these trains, and its metrics of test data see none of them."""
    x = np.zeros((40, 8, 8, 1), np.float32)
    y = np.arange(40) % 2
    x[y == 1, :, :4] = 255
    ht.nn.seed(0)
    layers = [ht.nn.RandomTranslation(0.1, 0.1), ht.nn.RandomBrightness(0.1), ht.nn.Rescaling(1 / 255), ht.nn.Flatten()]
    net = ht.nn.Sequential([ht.nn.Input((8, 8, 1)), *layers, ht.nn.Dense(2)])
    trainer = ht.Trainer(net, ht.nn.losses.SparseCategoricalCrossentropy(from_logits=True), "adam", ["accuracy"])
    trainer.fit(x, y, epochs=25, verbose=0)
    assert trainer.evaluate(x, y, verbose=0)["accuracy"] == 1.0


@pytest.mark.parametrize("axis", [-1, None, (1, 3)])
def test_normalization_measures_arrays_and_batches(axis: Any) -> None:
    """The statistics that Keras measures, of an array, and of uneven batches of a Dataset with targets beside."""
    theirs = keras.layers.Normalization(axis=axis)
    theirs.adapt(IMAGES)
    data = ht.data.Dataset.from_arrays((IMAGES, np.arange(3))).batch(2)
    for given in (IMAGES, ht.asarray(IMAGES), data):
        ours = ht.nn.Normalization(axis=axis)
        ours.adapt(given)
        np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES), rtol=1e-4, atol=1e-4)
