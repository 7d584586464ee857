"""Configs of every method that peft has and we have, by name: which variants they become, and what makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft

from tests.exchange.peft_side import ALL, both_targets

Make = Callable[[str], peft.PeftConfig]


def lora(family: str, **options: Any) -> peft.LoraConfig:
    """Of LoRA, where the options do not say otherwise."""
    return peft.LoraConfig(**{"r": 3, "lora_alpha": 7, "target_modules": both_targets(family), **options})


METHODS: dict[str, tuple[tuple[str, ...], Make]] = {
    "lora": (("lora",), lora),
    "lora-rslora-gaussian": (("lora",), lambda f: lora(f, use_rslora=True, init_lora_weights="gaussian")),
    "lora-random-start": (("lora",), lambda f: lora(f, init_lora_weights=False)),
    "lora-orthogonal": (("lora",), lambda f: lora(f, r=4, init_lora_weights="orthogonal")),
    "lora-dropout": (("lora",), lambda f: lora(f, lora_dropout=0.25)),
    "lora-all-linear": (("lora",), lambda f: lora(f, target_modules="all-linear")),
    "lora-ranks": (
        ("lora",),
        lambda f: lora(f, rank_pattern={r"\.0\..*": 2, both_targets(f)[0]: 5}, alpha_pattern={both_targets(f)[0]: 3}),
    ),
    "lora-layers": (("lora",), lambda f: lora(f, layers_to_transform=[1])),
    "dora": (("dora",), lambda f: lora(f, use_dora=True)),
    "dora-rslora-ranks": (
        ("dora",),
        lambda f: lora(f, use_dora=True, use_rslora=True, rank_pattern={both_targets(f)[0]: 1}),
    ),
    "eva": (
        ("eva",),
        lambda f: lora(
            f,
            init_lora_weights="eva",
            eva_config=peft.EvaConfig(rho=1.5, whiten=True),
            rank_pattern={both_targets(f)[1]: 2},
            alpha_pattern={both_targets(f)[1]: 4.5},
        ),
    ),
    "ia3": (
        ("ia3", "ia3_ff"),
        lambda f: peft.IA3Config(target_modules=both_targets(f), feedforward_modules=list(ALL[f][2])),
    ),
    "ia3-outputs": (("ia3",), lambda f: peft.IA3Config(target_modules=both_targets(f), feedforward_modules=[])),
    "ia3-inputs": (
        ("ia3_ff",),
        lambda f: peft.IA3Config(target_modules=list(ALL[f][2]), feedforward_modules=list(ALL[f][2])),
    ),
    "hra": (("hra",), lambda f: peft.HRAConfig(r=4, target_modules=both_targets(f))),
    "hra-gram-schmidt": (
        ("hra",),
        lambda f: peft.HRAConfig(r=3, apply_GS=True, init_weights=False, target_modules=both_targets(f)),
    ),
    "delora": (("delora",), lambda f: peft.DeloraConfig(r=3, delora_lambda=5, target_modules=both_targets(f))),
    "delora-patterns": (
        ("delora",),
        lambda f: peft.DeloraConfig(
            r=3,
            module_dropout=0.1,
            rank_pattern={both_targets(f)[0]: 2},
            lambda_pattern={both_targets(f)[0]: 4},
            target_modules=both_targets(f),
        ),
    ),
    **{
        kind: (
            ("road",),
            lambda f, kind=kind: peft.RoadConfig(variant=kind, group_size=4, target_modules=both_targets(f)),
        )
        for kind in ("road_1", "road_2", "road_4")
    },
}
