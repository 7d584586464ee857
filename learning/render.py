"""Rows -> markdown, JSON and plots. Pure: the same rows give the same bytes, and the markdown holds words and bands."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from learning.measure import CHECKPOINTED, Row, Run, Seed
from learning.rates import RATES
from learning.sides import NEEDS_DATA, RANK, TARGETS
from learning.task import HELD_OUT, SEEDS, STEPS, TRAINING

MARKDOWN, DATA = "learning.md", "learning.json"
TOGETHER = 1e-4
"""Losses that differ by less are the same but for rounding in float32."""
BANDS = ((0.01, "under 1 %"), (0.1, "1 to 10 %"), (0.5, "10 to 50 %"))


def to_json(rows: Sequence[Row], distributed: Mapping[str, str]) -> str:
    """The figures."""
    return json.dumps({"format": 1, "rows": [asdict(row) for row in rows], "ddp": dict(distributed)}, indent=1) + "\n"


def from_json(text: str) -> tuple[list[Row], dict[str, str]]:
    """Inverse of ``to_json``."""
    read = json.loads(text)
    return [_row(row) for row in read["rows"]], read["ddp"]


def markdown(rows: Sequence[Row], distributed: Mapping[str, str]) -> str:
    """The page."""
    lines = [
        "# Learning",
        "",
        "Tiny transformers (two blocks, 32 wide, made from their configs, pretrained here on one rule of succession) "
        "learn another rule: "
        f"{TRAINING} sequences to train on, {HELD_OUT} held out, {STEPS} steps of AdamW without decay, {SEEDS} seeds, "
        f"rank {RANK} on {', '.join(TARGETS)}, at the learning rate that the method's authors use. "
        "*peft*: its own tuner on the same data from the same start. *Control*: the same variant, trained on shuffled "
        "targets. Written by `python -m learning`; the figures are in [learning.json](learning.json).",
        "",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        lines += [f"## {model}", "", *_table([row for row in rows if row.model == model]), ""]
    lines += [
        "*training loss*, *held-out loss*: how much of it is gone after the last step, the mean over the seeds; "
        "*more than the control*: in every seed the held-out loss falls further than that of the control. "
        f"*peft's curve*: *the same* means within {TOGETHER:g} at every step of every seed; *within the seeds*, that "
        "the mean curves are nearer than one standard deviation over the seeds. *moved*: every trainable tensor did, "
        "no other tensor of the model. *reload*: saved and loaded onto a fresh base, the logits are equal bit for bit. "
        "*cache*: greedy generation gives the same tokens with a cache of keys and values as without. *checkpointing*: "
        "the gradients are the same when activations are recomputed.",
        "",
        "A small share at a small learning rate is what is measured: rates for models with billions of parameters and "
        f"thousands of steps move a model of this size little in {STEPS} steps.",
        "",
        "## Two processes",
        "",
        "`DistributedDataParallel` over gloo, half of a batch in each process: gradients, and tensors after a step of "
        "AdamW, beside those of a single process.",
        "",
        "| variant | gradients and step |",
        "|---|---|",
        *(f"| {name} | {'the same' if answer == 'same' else answer} |" for name, answer in distributed.items()),
        "",
        "## Learning rates",
        "",
        "| variant | learning rate | source |",
        "|---|---|---|",
        *(f"| {name} | {RATES[name].lr:g} | {RATES[name].source} |" for name in dict.fromkeys(r.variant for r in rows)),
        "",
        f"{' and '.join(NEEDS_DATA)} start from the training inputs. Plots: "
        + ", ".join(f"[{name}]({plot_name(name)})" for name in dict.fromkeys(row.variant for row in rows))
        + ".",
    ]
    return "\n".join(lines).rstrip() + "\n"


def plot_name(variant: str) -> str:
    """Its file, beside the page."""
    return f"learning/{variant}.svg"


def _table(rows: Sequence[Row]) -> list[str]:
    header = (
        "variant",
        "training loss",
        "held-out loss",
        "more than the control",
        "peft's curve",
        "moved",
        "reload",
        "cache",
        "checkpointing",
    )
    body = [" | ".join((row.variant, *cells(row).values())) for row in rows]
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *(f"| {line} |" for line in body)]


def cells(row: Row) -> dict[str, str]:
    """What the table says of a row, by column."""
    seeds = row.seeds
    return {
        "train": fall([seed.ours.train for seed in seeds]),
        "held_out": fall([seed.ours.held_out for seed in seeds]),
        "control": "yes" if all(_gain(s.ours) > _gain(s.control) for s in seeds) else "**no**",
        "peft": row.why_no_peft or curves(seeds),
        "moved": moved(seeds),
        "reload": "equal" if all(seed.reloaded for seed in seeds) else "**differs**",
        "cache": "same tokens" if all(seed.generated for seed in seeds) else "**other tokens**",
        "checkpointing": "same" if all(seed.checkpointed <= CHECKPOINTED for seed in seeds) else "**differs**",
    }


def fall(pairs: Sequence[tuple[float, float]]) -> str:
    """How much of a loss is gone, as a band; bold where it did not fall in every seed."""
    if any(end >= start for start, end in pairs):
        return "**does not fall**"
    share = statistics.mean((start - end) / start for start, end in pairs)
    return "down " + next((word for limit, word in BANDS if share < limit), "over 50 %")


def curves(seeds: Sequence[Seed]) -> str:
    """How near peft's curve is."""
    pairs = [(seed.ours.curve, seed.peft.curve) for seed in seeds if seed.peft is not None]
    if max(abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)) <= TOGETHER:
        return "the same"
    steps = list(zip(*(theirs for _, theirs in pairs), strict=True))
    ours = [statistics.mean(step) for step in zip(*(own for own, _ in pairs), strict=True)]
    near = all(
        abs(mean - statistics.mean(step)) <= (statistics.stdev(step) if len(step) > 1 else 0.0)
        for mean, step in zip(ours, steps, strict=True)
    )
    return "within the seeds" if near else "**another**"


def moved(seeds: Sequence[Seed]) -> str:
    """Whether what trains moved, and nothing else."""
    still = sorted({key for seed in seeds for key in seed.still})
    base = sorted({key for seed in seeds for key in seed.base_moved})
    if base:
        return f"**the base moved** ({base[0]})"
    return f"**still** ({', '.join(still)})" if still else "all, and the base not"


def _gain(run: Run) -> float:
    return run.held_out[0] - run.held_out[1]


def _row(data: dict[str, Any]) -> Row:
    return Row(**{**data, "seeds": tuple(_seed(seed) for seed in data["seeds"])})


def _seed(data: dict[str, Any]) -> Seed:
    runs = {name: None if data[name] is None else _run(data[name]) for name in ("ours", "peft", "control")}
    listed = {name: tuple(data[name]) for name in ("still", "base_moved")}
    return Seed(**{**data, **runs, **listed})


def _run(data: dict[str, Any]) -> Run:
    return Run(**{name: tuple(values) for name, values in data.items()})
