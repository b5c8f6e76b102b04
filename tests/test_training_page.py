"""What `make train` says of what it has measured: targets missed are named, ways compared, the page has every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from examples.training import drums, spam
from examples.training.sources import embedded, literal

from .training import TASKS, Result, missed, page


def result(task: str, accuracy: list[float], **options: Any) -> Result:
    return Result(task, options, "cpu", accuracy, [0.5] * len(accuracy), [2.0] * len(accuracy), 1234, "test")


def emoji(pixels: float, scratch: float, features: float) -> list[Result]:
    means = {"pixels": pixels, "scratch": scratch, "features": features}
    return [result("emoji", [m + d], way=w, seed=s) for w, m in means.items() for s, d in enumerate((-0.02, 0.0, 0.02))]


def test_targets() -> None:
    """The last epoch counts, not the best; the best way has to be the last, on average over the seeds."""
    assert missed([result("digits", [0.5, 0.98])]) == []
    assert missed([result("digits", [0.98, 0.9])]) == ["digits : 90.00%, the target is 97%"]
    assert missed(emoji(0.3, 0.5, 0.75)) == []
    assert missed(emoji(0.3, 0.77, 0.75)) == ["emoji: features reaches 75.00% and scratch 77.00%"]
    assert len(missed(emoji(0.3, 0.5, 0.4))) == 2


def test_page() -> None:
    made = page([result("digits", [0.5, 0.98]), *emoji(0.3, 0.5, 0.75)])
    assert "| digits  | cpu | 1,234 | 2 | 97% | 98.00% | 2.0 |" in made
    assert "| emoji features | cpu | 1,234 | 1 | 70% | 75.0 ± 2.0 % | 2.0 |" in made
    assert "| emoji pixels | cpu | 1,234 | 1 |  | 30.0 ± 2.0 % |" in made
    assert made.count("\n## ") == 2 and "50.00%, 98.00%" in made and "python -m examples" not in made
    assert len(TASKS["emoji"].runs) == 9 and TASKS["digits"].runs == [{}]


def test_what_examples_make_of_their_data() -> None:
    names = {
        "EE_Kick_Hard_1.flac": "kick", "bd_02.flac": "kick", "PowR_SN_1.flac": "snare", "hhclosed_01.flac": "hihat",
        "closehihat3.flac": "hihat", "HiHatOpen-1.wav": "hihat", "t1_01.flac": "tom", "floortom_01.flac": "tom",
        "CrashRide18-0.wav": "cymbal", "EE_Kick_Stomp.flac": None,
        "beats_01-10.flac": None, "EE_Whistle.flac": None, "emptySample.flac": None,
    }  # fmt: skip
    assert {n: drums.kind(Path(n)) for n in names} == names
    made = spam.tokens([spam.words("<b>Buy</b> now, NOW!")], {"now": 2})
    assert made.shape == (1, spam.LENGTH) and made[0, :5].tolist() == [1, 2, 2, 1, 0]
    x = np.ones((drums.LENGTH, 1), np.float32)
    louder, y = drums.varied(x, np.int32(3), rng=np.random.default_rng(1))
    assert louder.shape == x.shape and y == 3 and 0 < (louder == 0).sum() < 400 and louder.max() != 1
    assert literal('x.exports={a:!0,b:[.5,"c:d"]}}') == '{"a": true, "b": [0.5, "c:d"]}'
    assert embedded('module.exports="aGVsbG8gd29ybGQ=";"YQ=="') == b"hello world"
