"""A folder that cannot be honoured is refused with one clear error, and the model is as it was."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
from torch import nn

from tests.exchange.peft_side import (
    CONFIG,
    assert_same_outputs,
    change_fields,
    loaded_in_peft,
    quiet,
    saved,
    trained_in_peft,
)
from tests.runtime.models import refused
from variants import AdapterError, import_peft
from variants.exchange.registry import PEFT_METHODS


def test_the_good_folder_is_taken(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise every refusal below would prove nothing."""
    folder = saved(base, tmp_path)
    change_fields(folder)
    (attachment,) = import_peft(copy.deepcopy(base), folder)
    assert len(attachment.layers) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": "lora_only"}, r"LORA with bias='lora_only' \(biases of the base that were trained\)"),
        ({"modules_to_save": ["score"]}, r"modules_to_save=\['score'\] \(whole modules beside the adapter\)"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"target_parameters": ["experts.weight"]}, r"target_parameters \['experts.weight'\]; want parameters of this"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying"),
        ({"alora_invocation_tokens": [3, 4]}, "aLoRA: at work only after these tokens"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA"),
        ({"velora_config": {"scale": 1.0}}, "VeLoRA"),
        ({"monteclora_config": {"num_samples": 4}}, "MonteCLoRA"),
        ({"kasa_config": {}}, "KaSA"),  # on, with its defaults
        ({"arrow_config": {"top_k": 2}}, "a router over several adapters"),
        ({"bias": "all", "use_qalora": True}, r"bias='all' .*; use_qalora=True"),
        ({"novelty": False}, r"novelty=False \(unknown here\)"),
        ({"novelty": {}}, r"novelty=\{\} \(unknown here\)"),
        ({"bias": None}, "bias=None"),
        ({"layers_to_transform": False}, "layers_to_transform=False"),
        ({"alpha_pattern": []}, r"alpha_pattern=\[\]; want values by pattern"),
        ({"novelty": {"r": 3}}, r"novelty=\{'r': 3\} \(unknown here\)"),
        ({"init_lora_weights": "pissa_niter_16"}, "random decomposition of the base is not in the files"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora' .*changes the base"),
        ({"init_lora_weights": "corda"}, "init_lora_weights='corda' .*changes the base"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq' .*changes the base"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights='lora_ga' .*changes the base"),
        ({"init_lora_weights": "mica"}, "init_lora_weights='mica'"),
        ({"init_lora_weights": 1}, "init_lora_weights=1 "),
        ({"init_lora_weights": "pissa", "use_dora": True}, "use_dora=True with init_lora_weights='pissa'"),
        ({"use_dora": "yes"}, "use_dora='yes'"),
        ({"use_rslora": "yes"}, r"LoRAConfig.rslora: got 'yes'"),
        ({"r": 3}, r"lora_A.weight: got \(2, 24\), want \(3, 24\)"),
        ({"r": 0}, "LoRAConfig.r: got 0"),
        ({"r": None}, "LoRAConfig.r: got None"),
        ({"lora_alpha": "8"}, "LoRAConfig.alpha: got '8'"),
        ({"lora_alpha": float("nan")}, "LoRAConfig.alpha: got nan"),
        ({"lora_dropout": 1.0}, "LoRAConfig.dropout: got 1.0"),
        ({"rank_pattern": {"q_proj": 3}}, r"q_proj.lora_A.weight: got \(2, 16\)"),
        ({"rank_pattern": [2]}, r"rank_pattern=\[2\]; want values by pattern"),
        ({"rank_pattern": {"(": 2}}, r"'\(' \(.*\); want a regular expression"),
        ({"alpha_pattern": {"q_proj": None}}, "LoRAConfig.alpha: got None"),
        ({"init_lora_weights": "eva", "eva_config": {"rho": 0.5}}, "EVAConfig.rho: got 0.5"),
        ({"init_lora_weights": "eva", "eva_config": 3}, "eva_config=3; want values"),
        ({"target_modules": None}, "no target_modules; want names or a regular expression"),
        ({"target_modules": []}, "no target_modules"),
        ({"target_modules": 3}, "target_modules=3; want a list of names or a string"),
        ({"target_modules": ["nowhere"]}, r"target_modules=\['nowhere'\], which name no module of this model"),
        ({"target_modules": "("}, r"'\(' \(.*\); want a regular expression"),
        ({"target_modules": ["q_proj"]}, r"tensors: \d unknown .*down_proj.lora_A.weight"),
        ({"target_modules": ["q_proj", "down_proj", "v_proj"]}, r"tensors: \d missing .*v_proj.lora_A.weight, "),
        (
            {"target_modules": ["embed_tokens", "q_proj"]},
            r"the target model.embed_tokens \(Embedding\); want linear layers",
        ),
        ({"exclude_modules": 3}, "exclude_modules=3; want a list of names"),
        ({"layers_pattern": "layers"}, "layers_to_transform=None with layers_pattern"),
        ({"layers_to_transform": [0], "target_modules": ".*q_proj"}, r"layers_to_transform=\[0\]"),
        ({"layers_to_transform": "0"}, "layers_to_transform='0'"),
        ({"peft_type": "ADALORA"}, "got peft_type='ADALORA'; want one of LORA, IA3, HRA, DELORA, ROAD"),
        ({"peft_type": None}, "got no peft_type"),
        ({"peft_type": ["LORA"]}, r"got peft_type=\['LORA'\]"),
        ({"peft_type": "HRA"}, "HRA with .*lora_alpha=8"),
    ],
)
def test_settings(changes: dict[str, Any], message: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise a setting would be ignored in silence, and the adapter would compute something else."""
    folder = saved(base, tmp_path)
    change_fields(folder, **changes)
    with refused(base, message):
        import_peft(base, folder)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
            {"feedforward_modules": None},
            "None; want a",
        ),
        (
            peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
            {"feedforward_modules": "("},
            "regular expr",
        ),
        (
            peft.IA3Config(target_modules=["v_proj"], feedforward_modules=[]),
            {"feedforward_modules": ["v_proj"]},
            r"v_proj.ia3_l: got \(8, 1\), want \(1, 16\)",
        ),
        (peft.HRAConfig(r=2, target_modules=["q_proj"]), {"bias": "hra_only"}, "HRA with bias='hra_only'"),
        (peft.HRAConfig(r=2, target_modules=["q_proj"]), {"apply_GS": 1}, "HRAConfig.gram_schmidt: got 1"),
        (
            peft.HRAConfig(r=3, init_weights=False, target_modules=["q_proj"]),
            {},
            "HRAConfig.r: got 3; want an even number",
        ),
        (peft.DeloraConfig(r=2, target_modules=["q_proj"]), {"bias": "all"}, "DELORA with bias='all'"),
        (peft.DeloraConfig(r=2, target_modules=["q_proj"]), {"delora_lambda": 0}, "DeLoRAConfig.lam: got 0;"),
        (
            peft.RoadConfig(group_size=4, target_modules=["q_proj"]),
            {"variant": "road_3"},
            "ROADConfig.kind: got 'road_3'",
        ),
        (
            peft.RoadConfig(group_size=4, target_modules=["q_proj"]),
            {"variant": "road_2"},
            r"road_alpha: got \(8,\), want \(16,\)",
        ),
        (
            peft.RoadConfig(group_size=4, target_modules=["q_proj"]),
            {"group_size": 6},
            "a divisor of the layer's 16 outputs",
        ),
        (
            peft.RoadConfig(group_size=4, target_modules=["q_proj"]),
            {"exclude_modules": ["x"]},
            "ROAD with exclude_modules",
        ),
    ],
)
def test_settings_of_other_methods(
    config: peft.PeftConfig, changes: dict[str, Any], message: str, base: nn.Module, tmp_path: Path
) -> None:
    """As above."""
    trained_in_peft(base, config, tmp_path)
    change_fields(tmp_path, **changes)
    with refused(base, message):
        import_peft(base, tmp_path)


def test_every_setting_of_this_peft_is_known() -> None:
    """Otherwise every adapter of the pinned peft would be refused for a setting at its default, or a setting that
    counts would be taken for an idle one: the lists are held against peft's own dataclasses.
    """
    from dataclasses import fields

    from variants.exchange.method import COMMON_IDLE

    configs = {
        "LORA": peft.LoraConfig,
        "IA3": peft.IA3Config,
        "HRA": peft.HRAConfig,
        "DELORA": peft.DeloraConfig,
        "ROAD": peft.RoadConfig,
    }
    assert configs.keys() == {method.peft_type for method in PEFT_METHODS}
    for method in PEFT_METHODS:
        lists = [set(method.honoured), set(method.rule), set(method.off), method.idle | COMMON_IDLE]
        theirs = {field.name for field in fields(configs[method.peft_type])}
        assert set.union(*lists) == theirs, method.peft_type
        assert sum(map(len, lists)) == len(theirs), "a setting stands twice"
        with quiet():
            defaults = vars(configs[method.peft_type]())
        for name, (neutral, _) in method.off.items():
            assert defaults[name] == neutral or not defaults[name], name
        assert {name: defaults[name] for name in method.honoured} == method.honoured


ODD: tuple[Any, ...] = (
    None,
    False,
    True,
    -1,
    2,
    1.5,
    "",
    "gaussian",
    [],
    {},
    [1],
    ["q_proj"],
    {"q_proj": 2},
    {"rho": 3.0},
)


def test_any_setting_is_refused_or_does_what_it_does_in_peft(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise a setting could be taken for one that does nothing, as an empty ``kasa_config`` looks and is not."""
    folder = saved(base, tmp_path, lora_alpha=5, init_lora_weights="gaussian")
    whole = json.loads((folder / CONFIG).read_text())
    (method,) = (each for each in PEFT_METHODS if each.peft_type == "LORA")
    compared, refusals = 0, 0
    for name in sorted({*method.honoured, *method.rule, *method.off}):
        for value in ODD:
            (folder / CONFIG).write_text(json.dumps({**whole, name: value}))
            model = copy.deepcopy(base)
            try:
                import_peft(model, folder)
            except AdapterError:
                refusals += 1
                continue
            try:
                with quiet():
                    want = loaded_in_peft(base, folder)
            except Exception:  # peft's own checks are of many kinds; here it is null in the place of a default
                assert value is None
                continue
            assert_same_outputs(model, want, base)
            compared += 1
    assert compared > 40
    assert refusals > 200


def test_settings_that_are_not_set(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise nothing that a newer peft wrote could be read."""
    folder = saved(base, tmp_path)
    change_fields(folder, novelty=None, modules_to_save=[], target_parameters=[])
    import_peft(base, folder)
