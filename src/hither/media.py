"""Pictures and sounds as arrays, and pictures made of results: what files hold, without anything a model wants of them.

Pillow decodes pictures and soundfile sounds; PCM .wav files need neither.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import HitherError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff")


class MediaError(HitherError, ValueError):
    """A file is no picture or sound that can be read here; says what it would take."""


def read_image(path: str | os.PathLike[str], channels: int = 3) -> np.ndarray:
    """A picture as uint8 [height, width, channels], turned the way its camera was held. Of 16 bits the upper 8 are kept.

    Args:
        path: the file.
        channels: 3 (RGB), 4 (RGBA) or 1 (grey).

    Raises:
        MediaError: if it is no picture that Pillow reads, or one of numbers whose black and white are not known.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MediaError("reading pictures needs Pillow: pip install 'hither[image]'") from error
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise MediaError(f"pictures have 1, 3 or 4 channels, got {channels}")
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode == "P" and "transparency" in upright.info:
                upright = upright.convert("RGBA")  # a palette's own transparency has no other way out
            if upright.mode.startswith("I;16") or (
                upright.mode == "I" and opened.format == "PNG"
            ):  # Pillow clips them to bytes
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            if upright.mode in ("I", "F", "LAB", "HSV"):
                raise MediaError(f"{path} has pixels of mode {upright.mode!r}; save it with 8 or 16 bits, grey or RGB")
            pixels = np.asarray(upright.convert(mode))
    except UnidentifiedImageError as error:
        raise MediaError(f"{path} is no picture that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path} is too large a picture: {error}") from error
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:  # what Pillow raises for files that are cut off or damaged
        raise MediaError(f"{path} is damaged: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def resize_image(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, C] stretched to another size, bilinear with antialiasing."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    made = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR))
    return made[..., None] if made.ndim == 2 else made


def read_sound(path: str | os.PathLike[str], rate: int | None = None) -> tuple[np.ndarray, int]:
    """A sound as mono float32 samples from -1 to 1, and its rate in Hz.

    Args:
        path: the file.
        rate: resample to this rate; None keeps the file's.

    Raises:
        MediaError: if it is no sound that can be read here.
    """
    samples, own = _pcm(Path(path))
    if own < 1:
        raise MediaError(f"{path} is damaged: it says that it has {own} samples a second")
    if rate is None or rate == own:
        return samples.astype(np.float32), own
    return resample(samples, own, rate).astype(np.float32), rate


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples at another rate: the spectrum is cut or padded, which is exact for what both rates can hold."""
    count = round(len(samples) * wanted / rate)
    if not count or not len(samples):
        return np.zeros(count)
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(spectrum[: count // 2 + 1], count) * (count / len(samples))


def _pcm(path: Path) -> tuple[np.ndarray, int]:
    if path.suffix.lower() == ".wav":
        try:
            with wave.open(str(path)) as file:
                width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
                raw = file.readframes(file.getnframes())
            if width in (1, 2, 3, 4):
                whole = len(raw) // (width * channels)  # a file that is cut off ends within a frame
                data = _integers(raw[: whole * channels * width], width).reshape(-1, channels)
                return (data / 2.0**31).mean(1), rate
        except (wave.Error, EOFError):
            pass  # float samples or another container: soundfile says what it is
    try:
        import soundfile
    except ImportError as error:
        raise MediaError(f"reading {path.name} needs soundfile: pip install 'hither[audio]'") from error
    try:
        data, rate = soundfile.read(path, always_2d=True)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"cannot read {path}: {error}") from error
    return data.mean(1), rate


def _integers(raw: bytes, width: int) -> np.ndarray:
    """PCM samples of so many bytes as int32, whose upper bytes they are. Those of one byte have no sign in .wav files."""
    parts = np.zeros((len(raw) // width, 4), np.uint8)
    parts[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    if width == 1:
        parts[:, 3] ^= 0x80
    return parts.view("<i4")[:, 0]


def image_array(pixels: np.ndarray, spec: Any, shape: Sequence[Any], layout: str) -> np.ndarray:
    """A picture as the array that an input takes: (pixels * scale - mean) / std, its axes in the order of `layout`."""
    scale, mean, std = (default if v is None else v for v, default in ((spec.scale, 1), (spec.mean, 0), (spec.std, 1)))
    array = (pixels * np.asarray(scale) - np.asarray(mean)) / np.asarray(std)
    order = {"C": 2, "H": 0, "W": 1}
    array = array.transpose([order[a] for a in layout if a in order]) if "C" in layout else array[..., 0]
    if spec.dtype.kind in "iu":
        array = np.round(array)
    return array.astype(spec.dtype.numpy).reshape((1,) * (len(shape) - array.ndim) + array.shape)
