"""Every correct re-writing, one line each."""

from __future__ import annotations

from proof.seeded.fault import Rewrite
from proof.seeded.faults import delora as delora_wrong
from proof.seeded.faults import dora as dora_wrong
from proof.seeded.faults import eva as eva_wrong
from proof.seeded.faults import hra as hra_wrong
from proof.seeded.faults import lora as lora_wrong
from proof.seeded.faults import pissa as pissa_wrong
from proof.seeded.faults import road as road_wrong
from proof.seeded.faults import svd_parts
from proof.seeded.rewrites import antipasto, antipasto_mixed, delora, dora, eva, hra, ia3, lora, pissa, road

PARTS: tuple[Rewrite, ...] = (
    Rewrite(lora_wrong.LoRAInParts, "lora"),
    Rewrite(dora_wrong.DoRAInParts, "dora"),
    Rewrite(hra_wrong.HRAInParts, "hra"),
    Rewrite(pissa_wrong.PiSSAInParts, "pissa"),
    Rewrite(delora_wrong.DeLoRAInParts, "delora"),
    Rewrite(eva_wrong.EVAInParts, "eva"),
    Rewrite(road_wrong.ROADInParts, "road"),
    Rewrite(svd_parts.AntiPaSTOInParts, "antipasto"),
    Rewrite(svd_parts.AntiPaSTOArrowInParts, "antipasto_arrow"),
    Rewrite(svd_parts.AntiPaSTOCorDAInParts, "antipasto_corda"),
    Rewrite(svd_parts.AntiPaSTORotInParts, "antipasto_rot"),
    Rewrite(svd_parts.AntiPaSTOAblateInParts, "antipasto_ablate"),
)
"""What seeded faults are built on. It must be right, or it would not be their own bug that kills them."""

REWRITES: tuple[Rewrite, ...] = (
    Rewrite(lora.LoRAByAddmm, "lora"),
    Rewrite(lora.LoRAByEinsum, "lora"),
    Rewrite(lora.LoRAWithItsOwnMask, "lora"),
    Rewrite(lora.LoRATransposed, "lora"),
    Rewrite(lora.LoRAInOneVector, "lora"),
    Rewrite(lora.LoRAFromLinears, "lora"),
    Rewrite(lora.LoRAByParametrize, "lora"),
    Rewrite(dora.DoRAAsOneWeight, "dora"),
    Rewrite(dora.DoRANormByExpansion, "dora"),
    Rewrite(dora.DoRAByUnitRows, "dora"),
    Rewrite(dora.DoRAInTheLayersDtype, "dora"),
    Rewrite(ia3.IA3InPlace, "ia3"),
    Rewrite(ia3.IA3OnTheWeight, "ia3"),
    Rewrite(ia3.IA3AsColumn, "ia3"),
    Rewrite(ia3.IA3AsChange, "ia3"),
    Rewrite(ia3.IA3FFOnTheWeight, "ia3_ff"),
    Rewrite(ia3.IA3FFByEinsum, "ia3_ff"),
    Rewrite(ia3.IA3FFAsRow, "ia3_ff"),
    Rewrite(hra.HRAByTriangularSolve, "hra"),
    Rewrite(hra.HRAAsMatrix, "hra"),
    Rewrite(hra.HRAOfUnitColumns, "hra"),
    Rewrite(hra.HRAInBlocksOfTwo, "hra"),
    Rewrite(pissa.PiSSAByEigenvalues, "pissa"),
    Rewrite(pissa.PiSSAOfOtherSigns, "pissa"),
    Rewrite(pissa.PiSSAAsOneWeight, "pissa"),
    Rewrite(delora.DeLoRAAsOneWeight, "delora"),
    Rewrite(delora.DeLoRANormsByEinsum, "delora"),
    Rewrite(delora.DeLoRAFoldedIntoA, "delora"),
    Rewrite(delora.DeLoRAWithItsOwnMask, "delora"),
    Rewrite(delora.DeLoRADropsBeforeTheCast, "delora"),
    Rewrite(eva.EVAByStreamingGram, "eva"),
    Rewrite(eva.EVAByMergingBatches, "eva"),
    Rewrite(eva.EVAByGramOfRows, "eva"),
    Rewrite(eva.EVAFromNumPy, "eva"),
    Rewrite(road.ROADByComplexNumbers, "road"),
    Rewrite(road.ROADAsMatrix, "road"),
    Rewrite(road.ROADByRolling, "road"),
    Rewrite(antipasto.AntiPaSTOAsOneWeight, "antipasto"),
    Rewrite(antipasto.AntiPaSTOOfOtherSigns, "antipasto"),
    Rewrite(antipasto.AntiPaSTOByEigenvalues, "antipasto"),
    Rewrite(antipasto.AntiPaSTOFromNumPy, "antipasto"),
    Rewrite(antipasto.AntiPaSTOCorDAAsOneWeight, "antipasto_corda"),
    Rewrite(antipasto.AntiPaSTOCorDAWithoutRoots, "antipasto_corda"),
    Rewrite(antipasto.AntiPaSTOCorDAByCholesky, "antipasto_corda"),
    Rewrite(antipasto_mixed.AntiPaSTORotByInverse, "antipasto_rot"),
    Rewrite(antipasto_mixed.AntiPaSTORotByOneSolve, "antipasto_rot"),
    Rewrite(antipasto_mixed.AntiPaSTORotByAngles, "antipasto_rot"),
    Rewrite(antipasto_mixed.AntiPaSTOAblateByProjector, "antipasto_ablate"),
    Rewrite(antipasto_mixed.AntiPaSTOAblateOneAfterTheOther, "antipasto_ablate"),
    Rewrite(antipasto_mixed.AntiPaSTOAblateFromNumPy, "antipasto_ablate"),
    Rewrite(antipasto_mixed.AntiPaSTOArrowAsOneCore, "antipasto_arrow"),
    Rewrite(antipasto_mixed.AntiPaSTOArrowByOuterProducts, "antipasto_arrow"),
    Rewrite(antipasto_mixed.AntiPaSTOArrowFromNumPy, "antipasto_arrow"),
)
