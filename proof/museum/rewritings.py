"""Every correct re-writing, one line each."""

from __future__ import annotations

from proof.museum.exhibit import Rewriting
from proof.museum.rewritten import antipasto, antipasto_mixed, delora, dora, eva, hra, ia3, lora, pissa, road
from proof.museum.wrong import delora as delora_wrong
from proof.museum.wrong import dora as dora_wrong
from proof.museum.wrong import eva as eva_wrong
from proof.museum.wrong import hra as hra_wrong
from proof.museum.wrong import lora as lora_wrong
from proof.museum.wrong import pissa as pissa_wrong
from proof.museum.wrong import road as road_wrong
from proof.museum.wrong import svd_parts

PARTS: tuple[Rewriting, ...] = (
    Rewriting(lora_wrong.LoRAInParts, "lora"),
    Rewriting(dora_wrong.DoRAInParts, "dora"),
    Rewriting(hra_wrong.HRAInParts, "hra"),
    Rewriting(pissa_wrong.PiSSAInParts, "pissa"),
    Rewriting(delora_wrong.DeLoRAInParts, "delora"),
    Rewriting(eva_wrong.EVAInParts, "eva"),
    Rewriting(road_wrong.ROADInParts, "road"),
    Rewriting(svd_parts.AntiPaSTOInParts, "antipasto"),
    Rewriting(svd_parts.AntiPaSTOArrowInParts, "antipasto_arrow"),
    Rewriting(svd_parts.AntiPaSTOCorDAInParts, "antipasto_corda"),
    Rewriting(svd_parts.AntiPaSTORotInParts, "antipasto_rot"),
    Rewriting(svd_parts.AntiPaSTOAblateInParts, "antipasto_ablate"),
)
"""What exhibits are built on. It must be right, or it would not be their own bug that kills them."""

REWRITINGS: tuple[Rewriting, ...] = (
    Rewriting(lora.LoRAByAddmm, "lora"),
    Rewriting(lora.LoRAByEinsum, "lora"),
    Rewriting(lora.LoRAWithItsOwnMask, "lora"),
    Rewriting(lora.LoRATransposed, "lora"),
    Rewriting(lora.LoRAInOneVector, "lora"),
    Rewriting(lora.LoRAFromLinears, "lora"),
    Rewriting(lora.LoRAByParametrize, "lora"),
    Rewriting(lora.LoRACachesTheUpdate, "lora"),
    Rewriting(dora.DoRAAsOneWeight, "dora"),
    Rewriting(dora.DoRANormByExpansion, "dora"),
    Rewriting(dora.DoRAByUnitRows, "dora"),
    Rewriting(dora.DoRACachesTheNorm, "dora"),
    Rewriting(ia3.IA3InPlace, "ia3"),
    Rewriting(ia3.IA3OnTheWeight, "ia3"),
    Rewriting(ia3.IA3AsColumn, "ia3"),
    Rewriting(ia3.IA3AsChange, "ia3"),
    Rewriting(ia3.IA3FFOnTheWeight, "ia3_ff"),
    Rewriting(ia3.IA3FFByEinsum, "ia3_ff"),
    Rewriting(ia3.IA3FFAsRow, "ia3_ff"),
    Rewriting(hra.HRAByTriangularSolve, "hra"),
    Rewriting(hra.HRAAsMatrix, "hra"),
    Rewriting(hra.HRAOfUnitColumns, "hra"),
    Rewriting(hra.HRAInBlocksOfTwo, "hra"),
    Rewriting(pissa.PiSSAByEigenvalues, "pissa"),
    Rewriting(pissa.PiSSAOfOtherSigns, "pissa"),
    Rewriting(pissa.PiSSAAsOneWeight, "pissa"),
    Rewriting(delora.DeLoRAAsOneWeight, "delora"),
    Rewriting(delora.DeLoRANormsByEinsum, "delora"),
    Rewriting(delora.DeLoRAFoldedIntoA, "delora"),
    Rewriting(delora.DeLoRAWithItsOwnMask, "delora"),
    Rewriting(eva.EVAByStreamingGram, "eva"),
    Rewriting(eva.EVAByMergingBatches, "eva"),
    Rewriting(eva.EVAByGramOfRows, "eva"),
    Rewriting(eva.EVAFromNumPy, "eva"),
    Rewriting(road.ROADByComplexNumbers, "road"),
    Rewriting(road.ROADAsMatrix, "road"),
    Rewriting(road.ROADByRolling, "road"),
    Rewriting(antipasto.AntiPaSTOAsOneWeight, "antipasto"),
    Rewriting(antipasto.AntiPaSTOOfOtherSigns, "antipasto"),
    Rewriting(antipasto.AntiPaSTOByEigenvalues, "antipasto"),
    Rewriting(antipasto.AntiPaSTOFromNumPy, "antipasto"),
    Rewriting(antipasto.AntiPaSTOCorDAAsOneWeight, "antipasto_corda"),
    Rewriting(antipasto.AntiPaSTOCorDAWithoutRoots, "antipasto_corda"),
    Rewriting(antipasto.AntiPaSTOCorDAByCholesky, "antipasto_corda"),
    Rewriting(antipasto_mixed.AntiPaSTORotByInverse, "antipasto_rot"),
    Rewriting(antipasto_mixed.AntiPaSTORotByOneSolve, "antipasto_rot"),
    Rewriting(antipasto_mixed.AntiPaSTORotByAngles, "antipasto_rot"),
    Rewriting(antipasto_mixed.AntiPaSTOAblateByProjector, "antipasto_ablate"),
    Rewriting(antipasto_mixed.AntiPaSTOAblateOneAfterTheOther, "antipasto_ablate"),
    Rewriting(antipasto_mixed.AntiPaSTOAblateFromNumPy, "antipasto_ablate"),
    Rewriting(antipasto_mixed.AntiPaSTOArrowAsOneCore, "antipasto_arrow"),
    Rewriting(antipasto_mixed.AntiPaSTOArrowByOuterProducts, "antipasto_arrow"),
    Rewriting(antipasto_mixed.AntiPaSTOArrowFromNumPy, "antipasto_arrow"),
)
