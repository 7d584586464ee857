"""Seeded faults of the lifecycle: configure, detach, save and load, merge, several layers."""

from __future__ import annotations

from proof.seeded.fault import Seeded
from proof.seeded.faults import eva_ranks, exchanged, lifecycle, merged, options

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(lifecycle.LoRAScaleNotSaved, "lora", "checkpoint", fault="scale or magnitude not saved"),
    Seeded(lifecycle.DoRAMagnitudeNotSaved, "dora", "checkpoint", fault="scale or magnitude not saved"),
    Seeded(lifecycle.LoRAComesBackTraining, "lora", "checkpoint", fault="saved in eval, restored in train"),
    Seeded(lifecycle.LoRAComesBackFrozen, "lora", "checkpoint"),
    Seeded(lifecycle.LoRAComesBackRounded, "lora", "checkpoint"),
    Seeded(lifecycle.LoRALoadsOnAnyBase, "lora", "checkpoint"),
    Seeded(lifecycle.LoRAFailedLoadChangesTheBase, "lora", "checkpoint"),
    Seeded(
        lifecycle.EVALoadingAsksForData, "eva", "checkpoint", raises=True, fault="loading asks for calibration data"
    ),
    Seeded(lifecycle.AntiPaSTOLoadsThePlainSVD, "antipasto", "checkpoint", fault="loading rebuilds a plain SVD"),
    Seeded(lifecycle.AntiPaSTOLeavesTheResidual, "antipasto", "detach", fault="detach leaves W_res"),
    Seeded(lifecycle.PiSSADetachAddsTheFactors, "pissa", "detach"),
    Seeded(lifecycle.LoRALeavesItsHook, "lora", "detach"),
    Seeded(lifecycle.LoRALeavesTheBaseFrozen, "lora", "detach"),
    Seeded(lifecycle.LoRASecondAttachFreezesTheFirst, "lora", "coexistence", fault="a second attach breaks the first"),
    Seeded(lifecycle.LoRADetachOneTakesBoth, "lora", "coexistence", fault="a second attach breaks detach"),
    Seeded(lifecycle.LoRASecondLoadFails, "lora", "coexistence", raises=True, fault="a second attach breaks load"),
    Seeded(merged.LoRAMergeScalesTwice, "lora", "merge", fault="merge scales twice"),
    Seeded(merged.LoRAMergeForgetsTheScale, "lora", "merge", fault="merge forgets the scale"),
    Seeded(merged.LoRAMergesTwice, "lora", "merge"),
    Seeded(merged.LoRAUnmergeSubtracts, "lora", "merge"),
    Seeded(merged.LoRAMergesInBf16, "lora", "merge"),
    Seeded(merged.IA3MergeForgetsTheBias, "ia3", "merge", fault="merge forgets the bias"),
    Seeded(merged.ROADMergeForgetsTheBias, "road", "merge", fault="merge forgets the bias"),
    Seeded(merged.DoRAMergeForgetsTheMagnitude, "dora", "merge"),
    Seeded(merged.HRAMergesReversed, "hra", "merge"),
    Seeded(options.LoRATakesAnyInit, "lora", "refusals", fault="an option is silently ignored"),
    Seeded(options.ROADTakesAnyKind, "road", "refusals", fault="an option is silently ignored"),
    Seeded(options.AntiPaSTOPoolsNothing, "antipasto", "refusals", fault="an option is silently ignored"),
    Seeded(exchanged.LoRAExportForgetsAlpha, "lora", "exchange"),
    Seeded(exchanged.LoRAImportForgetsRsLoRA, "lora", "exchange"),
    Seeded(exchanged.DoRAExportWithoutMagnitude, "dora", "exchange"),
    Seeded(exchanged.HRAExportReversed, "hra", "exchange"),
    Seeded(exchanged.ROADExportSwapsItsTensors, "road", "exchange"),
    Seeded(eva_ranks.EVASameRankForAll, "eva", "ranks"),
    Seeded(eva_ranks.EVAScaleDoesNotFollow, "eva", "ranks"),
    Seeded(eva_ranks.EVARanksByVariance, "eva", "ranks"),
    Seeded(eva_ranks.EVARanksWithoutACap, "eva", "ranks"),
    Seeded(eva_ranks.EVAWhitensWhatIsShared, "eva", "shared_inputs"),
)
