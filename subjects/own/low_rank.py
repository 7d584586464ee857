"""LoRA and its relatives: which option sets are asked, what must be refused, which differences are declared.

An option set in ``refused`` is for a layer 12 -> 20. Accepted silently, it would train something else than requested.
A declared deviation never widens a tolerance: the case still reads DIFFER, and the difference must show on every run.
"""

from __future__ import annotations

from conformance.nouns.verdict import Deviation
from subjects.own.entry import ON_CODES, row, sets

_LORA = sets({"rslora": True}, {"init": "gaussian"})
_LOW_RANK = ({"r": 0}, {"dropout": 1.5}, {"rslora": "no"})
_STARTS = (*_LOW_RANK, {"init": "zeros"})

LORA = row("lora", invariants=ON_CODES, has_dropout=True, options=_LORA, refused=sets(*_STARTS))

_ROUNDED_FACTORS = tuple(
    Deviation(
        cases=f"{reference}:pissa/params/t0-f32+bf16-*",
        what="with adapter tensors in bfloat16 on a float32 layer, W_res is W minus the product of the stored, rounded "
        f"tensors; {whose} the adapter after W_res is formed, so the initial output is off by that rounding",
        why="W_res plus the product that the forward adds must be W",
        link=link,
        by_default=False,
        shows=("base weight",),
    )
    for reference, whose, link in (
        ("peft", "peft casts", "https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/lora/layer.py"),
        ("authors", "the authors' script casts", "https://github.com/GraphPKU/PiSSA"),
    )
)

PISSA = row(
    "pissa",
    invariants=ON_CODES,
    has_dropout=True,
    options=sets({"rslora": True}, {"niter": 4}),
    refused=sets(*_LOW_RANK, {"r": 13}, {"niter": -1}),
    deviations=_ROUNDED_FACTORS,
)

DELORA = row(
    "delora",
    invariants=ON_CODES,
    has_dropout=True,
    options=sets({"lam": 4.0}, {"frozen_copies": True}),
    specials=("zero-direction",),
    refused=sets({"r": 0}, {"dropout": 1.5}, {"lam": 0.0}, {"frozen_copies": "yes"}),
)

DORA = row(
    "dora",
    invariants=ON_CODES,
    has_dropout=True,
    options=_LORA,
    specials=("zero-row", "cancelling"),
    refused=sets(*_STARTS),
)

EVA = row(
    "eva",
    invariants=("principal", "ranks", *ON_CODES),
    has_dropout=True,
    options=sets({"calibration": "mean"}, {"whiten": True}, {"calibration": "masked"}),
    refused=sets(
        {"calibration": None},
        {"calibration": "gap", "r": 13},
        {"calibration": "gap", "rho": 0.5},
        {"calibration": "gap", "whiten": "yes"},
    ),
    deviations=(
        Deviation(
            cases="authors:eva/ranks/*-rho=[12].[05]*",
            what="alpha grows with a layer's rank, so every layer keeps the scale alpha / r, as in peft; the authors' "
            "loader scales by alpha / (rank of the layer), which is adjust_scaling=False here",
            why="a layer that gets a larger rank must not get a smaller scale for it",
            link="https://github.com/ml-jku/EVA/blob/a5ac24bc04da5e6f50ee9de4e7ad5ee5ff4f438d/src/utils.py",
            by_default=True,
            shows=("scale of *",),
        ),
    ),
)
