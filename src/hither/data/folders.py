"""Folders of pictures and sounds as Datasets: a file is read when it is its turn, its class is the folder it lies in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HitherError
from ..media import IMAGES, SOUNDS, read_image, read_sound, resize_image
from .dataset import Dataset, Items, Positions
from .order import permutation

Labels = str | Callable[[Path], str | None] | None


class EmptyFolder(HitherError, ValueError):
    """A folder without the files that were looked for."""


def image_folder(
    folder: str | os.PathLike[str], size: int | tuple[int, int], *, channels: int = 3, labels: Labels = "inferred",
    class_names: Sequence[str] | None = None, validation_split: float | None = None, subset: str | None = None, seed: int = 0,
    crop_to_aspect_ratio: bool = False, dtype: Any = "float32", workers: int = 0,
) -> Any:  # fmt: skip
    """Pictures in folders that have the names of their classes: (picture [height, width, channels] of 0 … 255, class number).

    Args:
        folder: has a folder for each class; pictures may lie deeper in it. What begins with a dot is passed over.
        size: height and width to resize to (bilinear, averaging where it shrinks), or one number for both.
        channels: 3 (RGB), 4 (RGBA) or 1 (grey).
        labels: "inferred" from folders; None for pictures alone; or a function of a file's Path that gives the name of its
            class, or None to leave the file out.
        class_names: the classes in their order, others being left out; all, sorted, if not given.
        validation_split: the part of the files, chosen by the seed, that is for validation.
        subset: "training", "validation", or "both" for a pair of Datasets.
        seed: of the choice.
        crop_to_aspect_ratio: cut off what does not fit into the ratio of `size`, instead of distorting.
        dtype: of the picture; "uint8" takes a quarter of the memory.
        workers: threads that read pictures.

    Returns:
        A Dataset with `class_names`; files are in the order of their paths, so shuffle it.

    Raises:
        EmptyFolder: there is nothing to read.
        MediaError: names the file that is no picture; when it is its turn.

    Example:
        >>> train, held_out = hither.data.image_folder("flowers", 96, validation_split=0.2, subset="both")  # doctest: +SKIP
        >>> trainer.fit(train.shuffle().batch(32).prefetch(2), validation_data=held_out.batch(32))          # doctest: +SKIP
    """
    height, width = (size, size) if isinstance(size, int) else size

    def read(path: Path) -> np.ndarray:
        pixels = read_image(path, channels)
        if crop_to_aspect_ratio:
            pixels = _middle(pixels, height, width)
        return resize_image(pixels, height, width).astype(dtype)

    return _folder(Path(folder), IMAGES, read, labels, class_names, (validation_split, subset, seed), workers)


def audio_folder(
    folder: str | os.PathLike[str], sample_rate: int, length: int | None = None, *, labels: Labels = "inferred",
    class_names: Sequence[str] | None = None, validation_split: float | None = None, subset: str | None = None, seed: int = 0,
    workers: int = 0,
) -> Any:  # fmt: skip
    """Sounds in folders that have the names of their classes: (samples [length, 1] from -1 to 1, class number).

    Args:
        folder, labels, class_names, validation_split, subset, seed, workers: as for `image_folder`.
        sample_rate: in Hz. Sounds of another rate are resampled, those of several channels averaged.
        length: samples to cut to, or to fill up to with silence; None keeps each sound's own.

    Raises:
        EmptyFolder, MediaError: as for `image_folder`.

    Example:
        >>> data = hither.data.audio_folder("words", sample_rate=16000, length=16000)                   # doctest: +SKIP
    """

    def read(path: Path) -> np.ndarray:
        samples, _ = read_sound(path, sample_rate)
        if length is not None:
            samples = np.pad(samples[:length], (0, max(length - len(samples), 0)))
        return samples[:, None]

    return _folder(Path(folder), SOUNDS, read, labels, class_names, (validation_split, subset, seed), workers)


def _folder(
    folder: Path, suffixes: Sequence[str], read: Callable[[Path], np.ndarray], labels: Labels,
    class_names: Sequence[str] | None, part: tuple[float | None, str | None, int], workers: int,
) -> Any:  # fmt: skip
    """The Dataset, or two, of what `read` makes of the files."""
    found = _files(folder, suffixes, labels)
    names = None
    if labels is not None:
        names = sorted({str(label) for _, label in found}) if class_names is None else list(class_names)
        number = {n: i for i, n in enumerate(names)}
        found = [(path, label) for path, label in found if label in number]
        empty = [n for n in names if n not in {label for _, label in found}]
        if empty:
            raise EmptyFolder(f"{folder} has no file of class {empty[0]!r}")

    def dataset(chosen: Sequence[int]) -> Dataset:
        files = [found[i] for i in chosen]

        def at(epoch: int, positions: Positions) -> Items:
            return (files[i] for i in positions)

        def load(path: Path, label: str | None) -> Any:
            return read(path) if names is None else (read(path), np.int32(number[str(label)]))

        return Dataset(at=at, length=len(files), class_names=names).map(load, workers=workers)

    parts = _parts(len(found), *part)
    return dataset(parts[0]) if len(parts) == 1 else tuple(map(dataset, parts))


def _files(folder: Path, suffixes: Sequence[str], labels: Labels) -> list[tuple[Path, str | None]]:
    """The files, sorted, and their labels."""
    if not folder.is_dir():
        raise EmptyFolder(f"{folder} is no folder")
    if labels != "inferred" and labels is not None and not callable(labels):
        raise ValueError(f"labels is 'inferred', None, or a function of a file's path, got {labels!r}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file() and not _hidden(p, folder))
    if not paths:
        raise EmptyFolder(f"{folder} has no files that end in {', '.join(suffixes)}")
    if labels is None:
        return [(p, None) for p in paths]
    if callable(labels):
        named = [(p, label) for p in paths if (label := labels(p)) is not None]
        if not named:
            raise EmptyFolder(f"labels gives no class for any of the {len(paths)} files in {folder}")
        return list(named)
    inferred = [(p, p.relative_to(folder).parts[0]) for p in paths if p.parent != folder]
    if not inferred:
        raise EmptyFolder(
            f"{folder} has {len(paths)} files and no folders with files in them, which name the classes; put each class in a "
            "folder, or give labels=None or a function"
        )
    return list(inferred)


def _hidden(path: Path, folder: Path) -> bool:
    """Whether a file belongs to a tool and not to the data: macOS's "._cat.png", ".ipynb_checkpoints"."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _parts(count: int, fraction: float | None, subset: str | None, seed: int) -> list[Sequence[int]]:
    """Which files each Dataset has."""
    if (fraction is None) != (subset is None):
        raise ValueError(f"validation_split and subset go together, got {fraction} and {subset!r}")
    if fraction is None:
        return [range(count)]
    if subset not in ("training", "validation", "both"):
        raise ValueError(f"subset is 'training', 'validation' or 'both', got {subset!r}")
    held = int(count * fraction)
    if not 0 < held < count:
        raise ValueError(f"validation_split={fraction} of {count} files leaves one part without any")
    order = permutation(seed, 0, count)
    both: list[Sequence[int]] = [sorted(order[:-held].tolist()), sorted(order[-held:].tolist())]
    return both if subset == "both" else [both[subset == "validation"]]


def _middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest part in the middle that has the ratio of height and width."""
    rows, columns = pixels.shape[:2]
    cut = min(rows, max(1, round(columns * height / width))), min(columns, max(1, round(rows * width / height)))
    top, left = (rows - cut[0]) // 2, (columns - cut[1]) // 2
    return pixels[top : top + cut[0], left : left + cut[1]]


__all__ = ["EmptyFolder", "audio_folder", "image_folder"]
