"""The whole benchmark on a tiny model and arithmetic made here: it shows that every part works, and ranks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark import arithmetic, provenance
from benchmark.run import run
from benchmark.settings import BARE, Settings
from conformance.running.background import Bar
from learning.sides import RANK, SMALL

RESULTS = "tiny.tsv"
LR = 1e-2
"""One rate for all: those of the papers are for large models and long runs, and move this one too little to see."""
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")


def run_all(
    names: Sequence[str], folder: Path, *, dirty: bool = False, seeds: int = 2, steps: int = 60, pretraining: int = 0
) -> None:
    """Make model and files, unless they are there, and a row for each variant and seed."""
    results = folder / RESULTS
    provenance.commit(results, dirty=dirty)  # before the minute of work that would be for nothing
    torch.set_num_threads(1)
    if not all((folder / name).exists() for name in (arithmetic.TRAIN, arithmetic.TEST, arithmetic.MODEL)):
        arithmetic.write(folder, steps=pretraining or arithmetic.PRETRAINING)
    planned = [(name, seed) for name in names for seed in range(1 if name == BARE else seeds)]
    bar = Bar("runs", len(planned))
    for name, seed in planned:
        settings = settings_of(name, folder, seed=seed, steps=steps)
        bar.step(run(settings, results, dirty=dirty, again=True, quiet=True))


def settings_of(name: str, folder: Path, *, seed: int = 0, steps: int = 60) -> Settings:
    """The arguments of a tiny run."""
    options = {} if name == BARE else dict(SMALL.get(name, {}))
    if name not in (BARE, "ia3", "ia3_ff", "road"):
        options["r"] = RANK
    return Settings(
        variant=name,
        model=folder / arithmetic.MODEL,
        train=folder / arithmetic.TRAIN,
        test=folder / arithmetic.TEST,
        options=tuple(f"{key}={value}" for key, value in sorted(options.items())),
        targets=() if name == BARE else TARGETS,
        lr=0.0 if name == BARE else LR,
        seed=seed,
        steps=steps,
        batch=32,
        micro=32,
        dtype="float32",
        train_size=900,
        valid_size=64,
        max_length=64,
        max_new=16,
        eval_batch=100,
    )
