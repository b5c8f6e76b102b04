"""Training steps, natively: hither and PyTorch, alternating in one process, with the same weights, batch and optimizer.

PyTorch is no dependency of the project: where it is not installed (or on PYTHONPATH) the report says so. It takes part twice:
as written in its tutorials, and tuned (channels last in memory, Adam fused), of which the faster one counts.
`python -m bench.train NET THREADS ROUNDS` is the process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import measure
from .nets import ROOT
from .trained import BLOCKS, HEADS, INNER, RATE, TRAINED, VOCABULARY, WIDTH, Trained

CHECKED = 4  # steps whose losses are compared before anything is timed
Step = Callable[[], float]  # one step on the batch, and its loss


def steady(net: Trained, threads: int, rounds: int) -> dict[str, Any]:
    """Times of a training step of all contestants, whose losses over the first steps agree."""
    record = measure.conditions()
    command = [sys.executable, "-m", "bench.train", net.name, str(threads), str(rounds)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"training {net.name} on {threads} threads failed:\n{done.stderr[-3000:]}")
    return {**record, **json.loads(done.stdout.splitlines()[-1]), "load_after": round(os.getloadavg()[0], 2)}


def expected_losses(net: Trained) -> list[float]:
    """The losses of hither's first steps, natively: what other engines and targets are held against."""
    step = hither(net, 1)
    return [step() for _ in range(CHECKED)]


def _steady(net: Trained, threads: int, rounds: int) -> dict[str, Any]:
    makers = {"hither": hither, "pytorch": pytorch, "pytorch, tuned": pytorch_tuned}
    steps: dict[str, Step] = {}
    skipped = {}
    for name, make in makers.items():
        if name != "hither" and importlib.util.find_spec("torch") is None:
            skipped[name] = "not installed: pip install torch (a CPU build is enough), or put it on PYTHONPATH"
            continue
        steps[name] = make(net, threads)
    losses = {name: np.array([step() for _ in range(CHECKED)]) for name, step in steps.items()}
    errors = {name: float(np.abs(found / losses["hither"] - 1).max()) for name, found in losses.items()}
    for name, error in errors.items():
        if not error < measure.TOLERANCE:
            raise measure.Disagreement(f"{name}'s losses {losses[name].tolist()} are not {losses['hither'].tolist()}")
    times = measure.alternate(steps, rounds, share=0.3)
    contestants = {name: {**measure.summary(found), "error": errors[name]} for name, found in times.items()}
    return {"contestants": contestants, "skipped": skipped}


def hither(net: Trained, threads: int) -> Step:
    """A Trainer's step, from arrays to the loss as a number, as `fit` does for each batch."""
    import hither as ht
    from hither.train.batches import Batch

    ht.set_num_threads(threads)
    trainer, batch = net.trainer(), Batch(*net.batch())
    steps = trainer.prepare(batch)
    return lambda: float(steps.run("train", batch)["batch_loss"].numpy())


def pytorch(net: Trained, threads: int) -> Step:
    """PyTorch in eager mode, as its tutorials write it."""
    return _pytorch(net, threads, tuned=False)


def pytorch_tuned(net: Trained, threads: int) -> Step:
    """Also eager, with all the settings that make it faster on a CPU; torch.compile measured slower on these nets."""
    return _pytorch(net, threads, tuned=True)


def _pytorch(net: Trained, threads: int, tuned: bool) -> Step:
    import torch

    torch.set_num_threads(threads)
    x, y = (torch.from_numpy(array) for array in net.batch())
    weights = net.weights()
    module = {"cnn": _torch_cnn, "transformer": _torch_transformer}[net.name](weights)
    if net.name == "cnn":
        x = x.permute(0, 3, 1, 2).contiguous()
        if tuned:
            module, x = module.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), RATE, eps=1e-7, fused=tuned or None)
    loss_of, y = torch.nn.CrossEntropyLoss(), y.long()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(module(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _torch_cnn(weights: dict[str, np.ndarray]) -> Any:
    import torch
    from torch import nn

    module = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    with torch.no_grad():
        for at, name in ((0, "conv1"), (3, "conv2"), (7, "hidden"), (9, "logits")):
            kernel = weights[f"{name}.kernel"]
            if name == "hidden":  # channels come first in what PyTorch flattens
                kernel = kernel.reshape(7, 7, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128)
            turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            module[at].weight.copy_(torch.from_numpy(turned.copy()))
            module[at].bias.copy_(torch.from_numpy(weights[f"{name}.bias"].copy()))
    return module


def _torch_transformer(weights: dict[str, np.ndarray]) -> Any:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            blocks = [nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0.0, batch_first=True) for _ in range(BLOCKS)]
            self.blocks = nn.Sequential(*blocks)
            self.logits = nn.Linear(WIDTH, 10)

        def forward(self, tokens: Any) -> Any:
            return self.logits(self.blocks(self.embedding(tokens)).mean(1))

    module = Encoder()

    def put(parameter: Any, array: np.ndarray) -> None:
        parameter.copy_(torch.from_numpy(np.array(array)))

    def dense(linear: Any, name: str) -> None:
        put(linear.weight, weights[f"{name}.kernel"].T)
        put(linear.bias, weights[f"{name}.bias"])

    with torch.no_grad():
        put(module.embedding.weight, weights["embedding.embeddings"])
        dense(module.logits, "logits")
        for i, block in enumerate(module.blocks):
            parts = ("query", "key", "value")
            kernels = [weights[f"attention{i}.{part}_dense.kernel"].reshape(WIDTH, WIDTH).T for part in parts]
            biases = [weights[f"attention{i}.{part}_dense.bias"].reshape(WIDTH) for part in parts]
            put(block.self_attn.in_proj_weight, np.concatenate(kernels))
            put(block.self_attn.in_proj_bias, np.concatenate(biases))
            put(block.self_attn.out_proj.weight, weights[f"attention{i}.output_dense.kernel"].reshape(WIDTH, WIDTH).T)
            put(block.self_attn.out_proj.bias, weights[f"attention{i}.output_dense.bias"])
            dense(block.linear1, f"inner{i}")
            dense(block.linear2, f"outer{i}")
            for norm, name in ((block.norm1, f"norm{i}a"), (block.norm2, f"norm{i}b")):
                put(norm.weight, weights[f"{name}.gamma"])
                put(norm.bias, weights[f"{name}.beta"])
    return module


def versions() -> dict[str, str]:
    """Of PyTorch, if it is there."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"pytorch": version("torch")}
    except PackageNotFoundError:
        return {"pytorch": "not installed"}


if __name__ == "__main__":
    chosen, count, turns = sys.argv[1:]
    print(json.dumps(_steady(TRAINED[chosen], int(count), int(turns))))
