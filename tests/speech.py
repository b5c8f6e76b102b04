"""Speech to test with: Debian's espeak-ng says any words. Its packages are unpacked, nothing is installed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hither import media
from hither.data.packages import fetch, fetch_tree
from hither.models import wakeword

_LIBRARIES = {
    "libespeak-ng.so.1": (
        "libespeak-ng1", "1.51+dfsg-10+deb12u2", "libespeak-ng.so.1.1.51",
        "3f8af2661fb818cc3a77253e13d2bd1ea720c8564a445c9e558e30b83ff8e0c2",
    ),
    "libpcaudio.so.0": (
        "libpcaudio0", "1.2-2", "libpcaudio.so.0.0.1", "f551bf4acbe3d51d84aebceea1cc0c41c3ce07c75ad775a29f3da46b9c8825ea",
    ),
    "libsonic.so.0": (
        "libsonic0", "0.2.0-12", "libsonic.so.0.2.0", "298b66233ef09946815dbfa29520c8c1f1e31d7b6531376f16e130562e698619",
    ),
}  # fmt: skip


def speaks() -> bool:
    """Whether espeak-ng of those packages runs here."""
    return sys.platform.startswith("linux") and platform.machine() == "x86_64"


def speaker(folder: Path) -> Callable[..., np.ndarray]:
    """(text, options of espeak-ng) → samples at 16 kHz; the program is put into `folder`."""
    where = "usr/lib/x86_64-linux-gnu"
    for name, (package, version, file, sha256) in _LIBRARIES.items():
        shutil.copyfile(fetch(package, version, f"{where}/{file}", sha256, "debian"), folder / name)
    program = folder / "espeak-ng"
    sha256 = "0a2f26e328f1dd4cec926987d3dc22bf841879132fd3aa497dd4fcad0d4d77a3"
    shutil.copyfile(fetch("espeak-ng", "1.51+dfsg-10+deb12u2", "usr/bin/espeak-ng", sha256, "debian"), program)
    program.chmod(0o755)
    data = fetch_tree(
        "espeak-ng-data", "1.51+dfsg-10+deb12u2", f"{where}/espeak-ng-data",
        "8ab0c31846b66086435979acb73db5e901838cf1c43335a13ed73e22a10d48d1", "debian",
    )  # fmt: skip
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "ESPEAK_DATA_PATH": str(data)}

    def speak(text: str, *options: str) -> np.ndarray:
        wave: Path = folder / "said.wav"
        subprocess.run([program, *options, "-w", wave, text], env=environment, check=True, timeout=60)
        return media.read_sound(wave, wakeword.RATE)[0].astype(np.float32)

    return speak
