"""Exhibits of what users do besides calling a layer: configure, detach, save and load, merge, use several layers."""

from __future__ import annotations

from proof.museum.exhibit import Exhibit
from proof.museum.wrong import eva_ranks, exchanged, life, merged, options

EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(life.LoRAScaleNotSaved, "lora", "checkpoint", fault="scale or magnitude not saved"),
    Exhibit(life.DoRAMagnitudeNotSaved, "dora", "checkpoint", fault="scale or magnitude not saved"),
    Exhibit(life.LoRAComesBackTraining, "lora", "checkpoint", fault="saved in eval, restored in train"),
    Exhibit(life.LoRAComesBackFrozen, "lora", "checkpoint"),
    Exhibit(life.LoRAComesBackRounded, "lora", "checkpoint"),
    Exhibit(life.LoRALoadsOnAnyBase, "lora", "checkpoint"),
    Exhibit(life.LoRAFailedLoadChangesTheBase, "lora", "checkpoint"),
    Exhibit(life.EVALoadingAsksForData, "eva", "checkpoint", raises=True, fault="loading asks for calibration data"),
    Exhibit(life.AntiPaSTOLoadsThePlainSVD, "antipasto", "checkpoint", fault="loading rebuilds a plain SVD"),
    Exhibit(life.AntiPaSTOLeavesTheResidual, "antipasto", "detach", fault="detach leaves W_res"),
    Exhibit(life.PiSSADetachAddsTheFactors, "pissa", "detach"),
    Exhibit(life.LoRALeavesItsHook, "lora", "detach"),
    Exhibit(life.LoRALeavesTheBaseFrozen, "lora", "detach"),
    Exhibit(life.LoRASecondAttachFreezesTheFirst, "lora", "coexistence", fault="a second attach breaks the first"),
    Exhibit(life.LoRADetachOneTakesBoth, "lora", "coexistence", fault="a second attach breaks detach"),
    Exhibit(life.LoRASecondLoadFails, "lora", "coexistence", raises=True, fault="a second attach breaks load"),
    Exhibit(merged.LoRAMergeScalesTwice, "lora", "merge", fault="merge scales twice"),
    Exhibit(merged.LoRAMergeForgetsTheScale, "lora", "merge", fault="merge forgets the scale"),
    Exhibit(merged.LoRAMergesTwice, "lora", "merge"),
    Exhibit(merged.LoRAUnmergeSubtracts, "lora", "merge"),
    Exhibit(merged.LoRAMergesInBf16, "lora", "merge"),
    Exhibit(merged.IA3MergeForgetsTheBias, "ia3", "merge", fault="merge forgets the bias"),
    Exhibit(merged.ROADMergeForgetsTheBias, "road", "merge", fault="merge forgets the bias"),
    Exhibit(merged.DoRAMergeForgetsTheMagnitude, "dora", "merge"),
    Exhibit(merged.HRAMergesReversed, "hra", "merge"),
    Exhibit(options.LoRATakesAnyInit, "lora", "refusals", fault="an option is silently ignored"),
    Exhibit(options.ROADTakesAnyKind, "road", "refusals", fault="an option is silently ignored"),
    Exhibit(options.AntiPaSTOPoolsNothing, "antipasto", "refusals", fault="an option is silently ignored"),
    Exhibit(exchanged.LoRAExportForgetsAlpha, "lora", "exchange"),
    Exhibit(exchanged.LoRAImportForgetsRsLoRA, "lora", "exchange"),
    Exhibit(exchanged.DoRAExportWithoutMagnitude, "dora", "exchange"),
    Exhibit(exchanged.HRAExportReversed, "hra", "exchange"),
    Exhibit(exchanged.ROADExportSwapsItsTensors, "road", "exchange"),
    Exhibit(eva_ranks.EVASameRankForAll, "eva", "ranks"),
    Exhibit(eva_ranks.EVAScaleDoesNotFollow, "eva", "ranks"),
    Exhibit(eva_ranks.EVARanksByVariance, "eva", "ranks"),
    Exhibit(eva_ranks.EVARanksWithoutACap, "eva", "ranks"),
)
