"""peft's ``LORA``: LoRA, DoRA, EVA and PiSSA, told apart by ``use_dora`` and ``init_lora_weights``.

PiSSA has two ways, since peft's files hold A and B but not the W_res they were trained beside:

- out: as a LoRA of rank 2r on the untouched base, without loss beyond the rounding of W_res to the dtype of W,

      W_res + s B A = W + s [B, -B0] [A; A0]        W_res = W - s B0 A0

- in: ``init_lora_weights="pissa"``, with A0 and B0 from the exact decomposition of the base, as peft does when it
  loads; they are peft's up to rounding, and only if the base is the one that the adapter was trained on.
  ``pissa_niter_<n>`` is refused: its decomposition is random, and loading would decompose again to something else.

Source: ``peft.tuners.lora`` (``config.py``, ``layer.py``, ``model.py``: ``subtract_mutated_init``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from variants.dora import DoRA, DoRAConfig
from variants.eva import EVA, EVAConfig
from variants.exchange.matching import named, pattern_value, patterns_of
from variants.exchange.method import AS_IS, Ask, Part, PeftMethod, Settings, mapping, patterns, plain
from variants.exchange.stacked import names_of
from variants.lora import LoRA, LoRAConfig
from variants.lora_experts import LoRAExperts
from variants.pissa import PiSSA, PiSSAConfig
from variants.runtime.adapter import Adapter
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError

BASE_UNTOUCHED = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of ``init_lora_weights`` that leave the base's weights alone; all but EVA's say only how A and B started."""
BASE_CHANGED = "a start that changes the base in a way the files do not hold, or is unknown here"
LOW_RANK = {"A": ("lora_A.weight", AS_IS), "B": ("lora_B.weight", AS_IS)}


def _variant_of(settings: Settings, target: str, where: str) -> type[Adapter]:
    init, dora = settings["init_lora_weights"], settings["use_dora"]
    init = init.lower() if isinstance(init, str) else init
    want = "init_lora_weights among True, False, gaussian, orthogonal, eva, pissa"
    fix = "Convert it in peft first: save_pretrained(..., path_initial_model_for_weight_conversion=...)."
    if isinstance(init, str) and init.startswith("pissa_niter"):
        got = f"init_lora_weights={init!r}, whose random decomposition of the base is not in the files"
        raise AdapterError(got=got, want=want, where=where, fix=fix)
    if not isinstance(dora, bool) or (dora and init == "pissa"):
        got = f"use_dora={dora!r} with init_lora_weights={init!r}"
        raise AdapterError(got=got, want="DoRA on the base as it is, or none", where=where, fix=fix)
    if init == "pissa":
        return PiSSA
    if not any(init is each or (isinstance(init, str) and init == each) for each in BASE_UNTOUCHED):
        got = f"init_lora_weights={init!r} ({BASE_CHANGED})"
        raise AdapterError(got=got, want=want, where=where, fix=fix)
    return DoRA if dora else EVA if init == "eva" else LoRA


def _config_of(ask: Ask) -> AdapterConfig:
    settings, where = ask.settings, "import LORA"
    r, alpha, eva = settings["r"], settings["lora_alpha"], mapping(settings, "eva_config", where)
    if ask.target is not None:
        r = pattern_value(patterns(settings, "rank_pattern", where), ask.target, r)
        alpha = pattern_value(patterns(settings, "alpha_pattern", where), ask.target, alpha)
    options = {
        **ask.shared,
        "r": r,
        "alpha": alpha,
        "dropout": settings["lora_dropout"],
        "rslora": settings["use_rslora"],
    }
    if ask.variant is PiSSA:
        return PiSSAConfig(**options)
    if ask.variant is EVA:
        return EVAConfig(
            **options,
            rho=eva.get("rho", 2.0),
            whiten=eva.get("whiten", False),
            adjust_scaling=eva.get("adjust_scaling_factors", True),
        )
    init = "gaussian" if str(settings["init_lora_weights"]).lower() == "gaussian" else "kaiming"
    return (DoRAConfig if ask.variant is DoRA else LoRAConfig)(**options, init=init)


def _fields_of(parts: tuple[Part, ...], modules: list[str]) -> dict[str, Any]:
    (part,) = parts
    config: Any = part.config
    own: dict[str, Any] = {
        "lora_dropout": config.dropout,
        "use_dora": part.variant is DoRA,
        "use_rslora": config.rslora,
        "init_lora_weights": "gaussian" if getattr(config, "init", None) == "gaussian" else True,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
    }
    r, alpha = _rank(part.variant, config)
    ranks = {name: _rank(part.variant, adapter.config) for name, adapter in part.layers.items()}
    if part.variant is PiSSA:  # the converted update is a LoRA, and s = alpha / r whatever it was made of
        own |= {"use_rslora": False, "init_lora_weights": True}
    if part.variant is EVA:
        own["init_lora_weights"] = "eva"
        own["eva_config"] = {
            "rho": config.rho,
            "whiten": config.whiten,
            "adjust_scaling_factors": config.adjust_scaling,
        }
    return {
        **own,
        "target_modules": named(part.layers, modules) if part.layers else [],
        "r": r,
        "lora_alpha": alpha,
        "rank_pattern": patterns_of({name: each[0] for name, each in ranks.items()}, r),
        "alpha_pattern": patterns_of({name: each[1] for name, each in ranks.items()}, alpha),
    }


def _rank(variant: type[Adapter], config: Any) -> tuple[int, float | int]:
    """Rank and alpha in the file."""
    if variant is PiSSA:
        return 2 * config.r, plain(config.scale * 2 * config.r)
    return config.r, plain(config.alpha)


def _tensors_of(method: PeftMethod, adapter: Adapter) -> dict[str, Tensor]:
    if isinstance(adapter, PiSSA):
        A0, B0 = (t.to(adapter.A) for t in adapter.start)
        A, B = adapter.A.detach(), adapter.B.detach()
        return {"lora_A.weight": torch.cat((A, A0)), "lora_B.weight": torch.cat((B, -B0), dim=1)}
    have = adapter.state_dict(keep_vars=True)
    names = names_of(adapter.n) if isinstance(adapter, LoRAExperts) else method.names[type(adapter)]
    return {peft: conversion.to_peft(have[own].detach()) for own, (peft, conversion) in names.items()}


METHOD = PeftMethod(
    peft_type="LORA",
    honoured={
        "r": 8,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "rank_pattern": {},
        "alpha_pattern": {},
        "eva_config": None,
        "target_parameters": None,
    },
    off={
        "bias": ("none", "biases of the base that were trained"),
        "modules_to_save": (None, "whole modules beside the adapter"),
        "lora_bias": (False, "a bias of the update"),
        "layer_replication": (None, "layers that stand several times"),
        "trainable_token_indices": (None, "trained rows of the embedding"),
        "ensure_weight_tying": (False, "an adapter shared by tied layers"),
        "alora_invocation_tokens": (None, "aLoRA: at work only after these tokens"),
        "megatron_config": (None, "layers of Megatron"),
        "use_qalora": (False, "QALoRA"),
        "use_bdlora": (None, "BD-LoRA"),
        "velora_config": (None, "VeLoRA"),
        "monteclora_config": (None, "MonteCLoRA"),
        "kasa_config": (None, "KaSA"),
        "arrow_config": (None, "a router over several adapters"),
    },
    # What belongs to a way of starting, or to something that is refused where it is on. peft sets fan_in_fan_out by the
    # layer's class, whatever is written.
    idle=frozenset(
        "fan_in_fan_out loftq_config corda_config lora_ga_config megatron_core qalora_group_size runtime_config".split()
    ),
    names={LoRA: LOW_RANK, EVA: LOW_RANK, PiSSA: LOW_RANK, DoRA: {**LOW_RANK, "m": ("lora_magnitude_vector", AS_IS)}},
    variant_of=_variant_of,
    config_of=_config_of,
    fields_of=_fields_of,
    conv1d=True,
    tensors_of=_tensors_of,
)
