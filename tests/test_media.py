"""Pictures and sounds as files have them: depths of colour and of sound, and files that are cut off."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hither.media import MediaError, read_image, read_sound

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_to_eight(ending: str, channels: int, tmp_path: Path) -> None:
    """Pillow's own conversion clips: everything but the darkest 255 of 65536 levels would be white."""
    Image.fromarray(RAMP).save(tmp_path / f"ramp.{ending}")
    pixels = read_image(tmp_path / f"ramp.{ending}", channels)
    assert pixels.shape == (16, 16, channels) and pixels.dtype == np.uint8
    assert (pixels[..., : min(channels, 3)] == (RAMP // 257)[..., None]).all() and (pixels[..., 3:] == 255).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pictures_of_unknown_range_are_refused(dtype: type, tmp_path: Path) -> None:
    """Where white is cannot be known: 1.0 would become black, beside 0."""
    Image.fromarray((RAMP / 65535).astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match=r"a\.tif has pixels of mode .*8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_kinds_of_pictures(tmp_path: Path) -> None:
    """A palette with transparency, grey with transparency, print colours, one bit, a turned camera: as Pillow shows them."""
    colour = np.zeros((4, 6, 4), np.uint8)
    colour[..., 0], colour[:2, :, 3] = 200, 255
    Image.fromarray(colour).quantize(4).save(tmp_path / "palette.png")
    assert (read_image(tmp_path / "palette.png", 4)[..., 3] == colour[..., 3]).all()
    Image.fromarray(colour).convert("LA").save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png")[..., 0] == 60).all()  # 0.299 of 200
    Image.fromarray(colour[..., :3]).convert("CMYK").save(tmp_path / "print.jpg", quality=100, subsampling=0)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - colour[..., :3]).max() <= 2
    Image.fromarray(colour[..., 3]).convert("1").save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png", 1)[..., 0] == colour[..., 3]).all()
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned clockwise
    Image.fromarray(colour[..., 3]).save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png", 1)[..., 0] == np.rot90(colour[..., 3], -1)).all()


@pytest.mark.parametrize("width", [2, 4])
def test_sounds_that_are_cut_off_end_with_their_last_frame(width: int, tmp_path: Path) -> None:
    """As libsndfile reads them."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "cut.wav"
    values = np.linspace(-1, 1, 80, endpoint=False).reshape(40, 2)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, width, 8000, 0, "NONE", ""))
        file.writeframes((values * 2.0 ** (8 * width - 1)).astype(f"<i{width}").tobytes())
    whole = path.read_bytes()
    for missing in range(1, 2 * width + 2):
        path.write_bytes(whole[:-missing])
        samples, rate = read_sound(path)
        expected, _ = soundfile.read(path, always_2d=True)
        assert rate == 8000 and samples.shape == (40 - -(-missing // (2 * width)),)
        np.testing.assert_allclose(samples, expected.mean(1), atol=1e-6)
    path.write_bytes(whole[:24] + bytes(4) + whole[28:])
    with pytest.raises(MediaError, match=r"cut\.wav is damaged: it says that it has 0 samples a second"):
        read_sound(path, 16000)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_kinds_of_sounds(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels become their mean, and rates one; whole numbers of any width need no package."""
    soundfile = pytest.importorskip("soundfile")

    def tone(rate: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    soundfile.write(tmp_path / "tone.wav", np.stack([tone(22050) * 1.5, tone(22050) * 0.5], 1), 22050, subtype=kind)
    if kind.startswith("PCM"):
        expected, _ = soundfile.read(tmp_path / "tone.wav")
        monkeypatch.setitem(sys.modules, "soundfile", None)
        np.testing.assert_allclose(read_sound(tmp_path / "tone.wav")[0], expected.mean(1), atol=1e-7)
    samples, rate = read_sound(tmp_path / "tone.wav", 16000)
    assert rate == 16000 and samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(16000), atol=0.02 if kind in ("PCM_U8", "ULAW") else 1e-4)
