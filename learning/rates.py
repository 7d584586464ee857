"""The learning rate that each method's authors train with, and where they say so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A learning rate with its source."""

    lr: float
    source: str


_LORA_LITE = "wassname/lora-lite, justfile at 0bd091f (bench-variant, Qwen3-0.6B on MetaMathQA)"

RATES: dict[str, Rate] = {
    "lora": Rate(2e-4, "arXiv 2106.09685, table 11 (GPT-2 medium, E2E)"),
    "pissa": Rate(2e-5, "arXiv 2404.02948; GraphPKU/PiSSA, scripts/metamath_llama2_7b/run_pissa.sh at 0c2aad1"),
    "delora": Rate(1e-3, "arXiv 2503.18225; ExplainableML/DeLoRA, scripts/glue_eval.sh at 2dd91e1 (MNLI)"),
    "ia3": Rate(3e-3, "arXiv 2205.05638, section 3.5; r-three/t-few, configs/ia3.json at 5edc84b"),
    "ia3_ff": Rate(3e-3, "arXiv 2205.05638, section 3.5; r-three/t-few, configs/ia3.json at 5edc84b"),
    "dora": Rate(
        2e-4, "arXiv 2402.09353; the authors' commonsense_reasoning/llama_7B_Dora.sh (as in MobiusDai/DoRA at 90ddb14)"
    ),
    "hra": Rate(1e-5, "arXiv 2405.17484; DaShenZi721/HRA, llama/tune.sh at a36690a (LLaMA2-7B on MetaMathQA)"),
    "eva": Rate(5e-4, "arXiv 2410.07170; ml-jku/EVA, bash/run_train.sh at e047fe4"),
    "road": Rate(1e-3, "arXiv 2409.00119; peft's page on RoAd (docs/source/package_reference/road.md)"),
    "antipasto": Rate(1e-4, _LORA_LITE),
    "antipasto_rot": Rate(1e-4, _LORA_LITE),
    "antipasto_ablate": Rate(1e-4, _LORA_LITE),
    "antipasto_corda": Rate(1e-4, _LORA_LITE),
    "antipasto_arrow": Rate(1e-4, _LORA_LITE),
}
