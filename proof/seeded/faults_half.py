"""Seeded faults of half precision besides the default, written before the limits that detect them."""

from __future__ import annotations

from functools import partial

from proof.seeded.fault import Seeded
from proof.seeded.faults import both_half

_Numbers = partial(Seeded, killer="low_precision", before=True)
_Residual = partial(Seeded, killer="reconstruction", before=True)
_Inputs = partial(Seeded, killer="data_init", before=True)
_Space = partial(Seeded, killer="space", before=True)

SEEDED_FAULTS: tuple[Seeded, ...] = (
    _Numbers(both_half.AntiPaSTOAllInHalf, "antipasto"),
    _Numbers(both_half.AntiPaSTOCorDAAllInHalf, "antipasto_corda"),
    _Numbers(both_half.AntiPaSTORotAllInHalf, "antipasto_rot"),
    _Numbers(both_half.AntiPaSTOGainInHalf, "antipasto"),
    _Numbers(both_half.AntiPaSTOCorDACoreInHalf, "antipasto_corda"),
    _Numbers(both_half.AntiPaSTOArrowMixesInHalf, "antipasto_arrow"),
    _Numbers(both_half.AntiPaSTOAblateDirectionsInHalf, "antipasto_ablate"),
    _Numbers(both_half.HRAGramInHalf, "hra"),
    _Residual(both_half.AntiPaSTOResidualInHalf, "antipasto"),
    _Residual(both_half.AntiPaSTOArrowResidualInHalf, "antipasto_arrow"),
    _Residual(both_half.AntiPaSTOAblateResidualInHalf, "antipasto_ablate"),
    _Residual(both_half.PiSSAResidualInHalf, "pissa"),
    _Inputs(both_half.EVAMomentsInHalf, "eva"),
    _Inputs(both_half.AntiPaSTOCorDAMomentsInHalf, "antipasto_corda"),
    _Space(both_half.LoRADropsBeforeTheCast, "lora"),
    _Space(both_half.DoRADropsBeforeTheCast, "dora"),
    _Space(both_half.LoRADropsTheUpdateInput, "lora"),
    _Space(both_half.LoRAReadsManyRowsByStorage, "lora"),
    _Space(both_half.AntiPaSTOReadsManyRowsByStorage, "antipasto"),
    _Space(both_half.LoRAForgetsTheLastStridedRows, "lora"),
    _Space(both_half.DeLoRATakesStridedGradientsByStorage, "delora"),
)
