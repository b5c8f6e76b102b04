"""What small weights cost and save: hither against its own float32, natively and as WebAssembly in Chromium, on one thread.

python -m bench --only precision                                                     for docs/benchmarks.md
python -m bench.precision native,browser "float16 int8,int8 int8,int8,calibrated" matvec    printed; any part may be left out

Bytes of weights held in memory and of the arena, the largest error relative to the largest output, and times relative to
float32's, all
precisions in turns. Nets that wait for memory (a matrix by a vector, a short sentence, a recurrent layer) stand beside
convolution nets, which do not.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.browser import serving

import hither as ht

from . import measure, topologies
from .browser import chromium
from .nets import NETS, Net

# of weights, of activations, and how these are scaled
FORMS = ("float16", "float16,float16", "int8", "int8,int8", "int8,int8,calibrated", "int4")
PLACES = ("native", "browser")
WAIT_FOR_MEMORY = ("matvec", "lstm", "minilm")
ROUNDS, SHARE_MS = 10, 100


@dataclass(frozen=True)
class Subject:
    """Something to compile, with its specs and one set of inputs."""

    target: Any
    specs: Mapping[str, Any]
    feeds: Mapping[str, np.ndarray]


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _matvec() -> Subject:
    w = _normal(4096, 4096) / 64
    return Subject(lambda x: ht.matmul(x, w), {"x": ht.Spec((1, 4096), "float32")}, {"x": _normal(1, 4096, seed=1)})


def _lstm() -> Subject:
    hidden, steps = 512, 50
    w, r = _normal(1, 4 * hidden, hidden) / 20, _normal(1, 4 * hidden, hidden, seed=2) / 20
    shape = (steps, 1, hidden)
    return Subject(lambda x: ht.lstm(x, w, r)[0], {"x": ht.Spec(shape, "float32")}, {"x": _normal(*shape, seed=1)})


def _net(net: Net) -> Subject:
    return Subject(ht.load(net.path()), net.specs(), net.feeds())


_IDS = ((1, 16), "int64")
MINILM = Net(
    "minilm-l6-16", "MiniLM-L6 encoder topology, 16 tokens", {"input_ids": _IDS, "attention_mask": _IDS},
    build=lambda: topologies.bert_encoder(16),
)  # fmt: skip

SUBJECTS: dict[str, Callable[[], Subject]] = {
    "matvec": _matvec,
    "lstm": _lstm,
    "minilm": lambda: _net(MINILM),
    "mobilenetv2": lambda: _net(NETS["mobilenetv2"]),
    "ppocr-rec": lambda: _net(NETS["ppocr-rec"]),
    "ppocr-det": lambda: _net(NETS["ppocr-det"]),
}


def _numbers(form: str, subject: Subject) -> dict[str, Any]:
    found: dict[str, Any] = dict(zip(("precision", "activations"), form.split(",")))
    if form.endswith(",calibrated"):
        found |= {"calibrate": [dict(subject.feeds)], "tolerance": {"top1": 0.0}}
    return found


def native(subject: Subject, forms: Sequence[str], rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """Each form's bytes, error and times."""
    ht.set_num_threads(1)
    programs = {form: ht.compile(subject.target, subject.specs, **_numbers(form, subject)) for form in forms}
    given = {k: v for k, v in subject.feeds.items() if k in {p.name for p in programs[forms[0]].entries["predict"].inputs}}
    outputs = {form: {k: v.numpy() for k, v in p(given).items()} for form, p in programs.items()}
    times = measure.alternate({form: lambda p=p: p(given) for form, p in programs.items()}, rounds, SHARE_MS / 1000)
    return {
        form: {
            "weights": programs[form].memory()["weights"],
            "arena": programs[form].plan.code.sizes["arena"],
            "error": measure.difference(outputs[form], outputs[forms[0]]),
            **measure.summary(times[form]),
        }
        for form in forms
    }


PAGE = """async ([forms, feeds, rounds, share]) => {
  const typed = { float32: Float32Array, int32: Int32Array, int64: (a) => BigInt64Array.from(a.map(BigInt)) };
  const inputs = {};
  for (const [name, { dtype, data }] of Object.entries(feeds))
    inputs[name] = dtype === "int64" ? typed.int64(data) : typed[dtype].from(data);
  const programs = {}, times = {}, found = {};
  for (const form of forms) {
    const { load } = await import(`/${form}/hither.js`);
    programs[form] = await load(`/${form}/`, { device: "wasm", threads: 1 });
    const results = await programs[form].run(inputs);
    found[form] = Object.values(results).map((r) => Array.from(r.data, Number));
    times[form] = [];
  }
  for (const form of forms)
    for (const end = performance.now() + 1500; performance.now() < end;) await programs[form].run(inputs);
  for (let round = 0; round < rounds; round++) for (const form of forms) {
    await programs[form].run(inputs);
    for (const end = performance.now() + share; ;) {
      const begin = performance.now();
      await programs[form].run(inputs);
      const now = performance.now();
      times[form].push(now - begin);
      if (now > end) break;
    }
  }
  return { times, found };
}"""


def browser(subject: Subject, forms: Sequence[str], rounds: int = ROUNDS, launched: Any = None) -> dict[str, dict[str, Any]]:
    """The same of bundles in a page; of a browser that runs already, if one is given."""
    running = chromium() if launched is None else nullcontext(launched)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as site, running as chrome:
        sizes = {}
        for form in forms:
            manifest = ht.bundle(
                subject.target, Path(folder) / form, subject.specs, targets=("wasm",), **_numbers(form, subject)
            )
            sizes[form] = {"weights": manifest["layouts"][0]["weights"], "arena": manifest["builds"][0]["arena"]}
        wanted = {s["name"] for s in manifest["variants"][0]["entries"]["predict"]["inputs"]}
        feeds = {k: {"dtype": v.dtype.name, "data": v.reshape(-1).tolist()} for k, v in subject.feeds.items() if k in wanted}
        page = chrome.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{site.origin}/{forms[0]}/manifest.json")
        got = page.evaluate(PAGE, [list(forms), feeds, rounds, SHARE_MS])
        page.close()
    outputs = {form: dict(enumerate(map(np.array, got["found"][form]))) for form in forms}
    return {
        form: {
            "weights": sizes[form]["weights"],
            "arena": sizes[form]["arena"],
            "error": measure.difference(outputs[form], outputs[forms[0]]),
            **measure.summary(np.array(got["times"][form]) / 1e3),
        }
        for form in forms
    }


def measured(name: str, place: str, rounds: int, launched: Any = None) -> dict[str, Any]:
    """A record of all forms of one subject for the report: {"forms": {form: bytes, error and times}}."""
    record = measure.conditions()
    forms, subject = ("float32", *FORMS), SUBJECTS[name]()
    found = native(subject, forms, rounds) if place == "native" else browser(subject, forms, rounds, launched)
    return {**record, "forms": found}


def main(where: str = "native,browser", forms: str = " ".join(FORMS), subjects: str = ",".join(SUBJECTS)) -> None:
    for name in subjects.split(","):
        subject = SUBJECTS[name]()
        for place in where.split(","):
            found = {"native": native, "browser": browser}[place](subject, ("float32", *forms.split()))
            base = found["float32"]
            for form, values in found.items():
                print(
                    f"{name:12} {place:8} {form:15} weights {values['weights'] / base['weights']:5.3f}  "
                    f"arena {values['arena'] / max(base['arena'], 1):5.3f}  "
                    f"median {values['median']:8.3f} ms  speed {base['median'] / values['median']:5.2f}  "
                    f"(best {base['min'] / values['min']:5.2f})  error {values['error']:.1e}",
                    flush=True,
                )
            print(json.dumps({"subject": name, "place": place, "found": found}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
