"""Every exhibit and every re-writing, one line each. Nothing gets here by being imported."""

from __future__ import annotations

from dataclasses import dataclass, replace

from conformance.entry import Entry
from conformance.model import Severity
from conformance.roster import ENTRIES, entry_for
from proof.museum.rewritten import dora as dora_rewritten
from proof.museum.rewritten import hra as hra_rewritten
from proof.museum.rewritten import ia3 as ia3_rewritten
from proof.museum.rewritten import lora as lora_rewritten
from proof.museum.wrong import antipasto, attacks, dora, hra, ia3, lora, lora_calls, lora_tensors, low_rank
from variants.runtime.adapter import Adapter


@dataclass(frozen=True)
class Exhibit:
    """A wrong variant: the audited entry it stands in for, and the check that must kill it.

    ``raises``: the bug shows as an error. Of any other exhibit the check must find a difference, so that a slip in the
    exhibit itself is not taken for its bug.
    """

    variant: type
    like: str
    killer: str
    severity: Severity = Severity.MUST_FIX
    raises: bool = False

    @property
    def name(self) -> str:
        return self.variant.__name__


@dataclass(frozen=True)
class Rewriting:
    """A correct variant in other words, and the audited entry it stands in for."""

    variant: type
    like: str

    @property
    def name(self) -> str:
        return self.variant.__name__


def entry_of(shown: Exhibit | Rewriting) -> Entry:
    """The entry it stands in for, with its code: an ``Adapter``, or anything with a ``build`` of its own."""
    like = next(entry for entry in ENTRIES if entry.name == shown.like)
    own = {name: getattr(shown.variant, name) for name in ("build", "build_stack") if hasattr(shown.variant, name)}
    if issubclass(shown.variant, Adapter):
        return replace(entry_for(shown.variant, like=like), **own)
    return replace(like, code=shown.variant, **own)


EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(attacks.DoRANanGradientAtAZeroRow, "dora", "gradients"),
    Exhibit(attacks.LoRAOtherScaleWithoutGradients, "lora", "forward"),
    Exhibit(attacks.LoRAScaleAtLeastOne, "lora", "forward"),
    Exhibit(attacks.LoRARankCountsUpToEight, "lora", "forward"),
    Exhibit(attacks.LoRAMirroredRows, "lora", "init"),
    Exhibit(attacks.LoRAClampsTheOutput, "lora", "forward"),
    Exhibit(attacks.LoRAFlipsHalfPrecisionSequences, "lora", "bf16"),
    Exhibit(attacks.LoRATrainsLouderInHalfPrecision, "lora", "bf16"),
    Exhibit(attacks.HRARoundsAnOddRankUp, "hra", "params"),
    Exhibit(attacks.HRAGramSchmidtHugeStart, "hra", "init"),
    Exhibit(attacks.EVARotatesWithinTheSpan, "eva", "init"),
    Exhibit(lora.LoRAAlphaNotDividedByRank, "lora", "forward"),
    Exhibit(lora.LoRAIgnoresRsLoRA, "lora", "forward"),
    Exhibit(lora.LoRAAlwaysRsLoRA, "lora", "forward"),
    Exhibit(lora.LoRAIntegerScale, "lora", "forward"),
    Exhibit(lora.LoRAScalesTwice, "lora", "forward"),
    Exhibit(lora.LoRABiasInsideTheScale, "lora", "forward"),
    Exhibit(lora.LoRABiasTwice, "lora", "forward"),
    Exhibit(lora.LoRANeedsABias, "lora", "forward", raises=True),
    Exhibit(lora.LoRADropoutIgnored, "lora", "forward"),
    Exhibit(lora.LoRADropoutInEvalToo, "lora", "forward"),
    Exhibit(lora.LoRADropoutOnTheUpdate, "lora", "forward"),
    Exhibit(lora.LoRADropoutKeepsWithP, "lora", "forward"),
    Exhibit(lora.LoRADropoutNotRescaled, "lora", "forward"),
    Exhibit(lora.LoRADropoutOneMaskForAll, "lora", "forward"),
    Exhibit(lora.LoRADropoutOfAnotherP, "lora", "forward"),
    Exhibit(lora.LoRAOffInTraining, "lora", "forward"),
    Exhibit(lora.LoRAOffInEval, "lora", "influence"),
    Exhibit(lora.LoRACutsTheBaseGradient, "lora", "gradients"),
    Exhibit(lora.LoRACutsTheBranchGradient, "lora", "gradients"),
    Exhibit(lora.LoRADeadB, "lora", "gradients"),
    Exhibit(lora.LoRADeadA, "lora", "gradients"),
    Exhibit(lora.LoRAGradientScaledAgain, "lora", "gradients"),
    Exhibit(lora.LoRAKeepsTheFirstUpdate, "lora", "influence"),
    Exhibit(lora.LoRAMergesAtEveryCall, "lora", "forward"),
    Exhibit(lora_tensors.LoRAKaimingOfTheScale, "lora", "init"),
    Exhibit(lora_tensors.LoRAFanFromTheRank, "lora", "init"),
    Exhibit(lora_tensors.LoRANormalForUniform, "lora", "init"),
    Exhibit(lora_tensors.LoRAGaussianOfTheRoot, "lora", "init"),
    Exhibit(lora_tensors.LoRAGaussianIgnored, "lora", "init"),
    Exhibit(lora_tensors.LoRAOneSeed, "lora", "init"),
    Exhibit(lora_tensors.LoRAKaimingB, "lora", "init"),
    Exhibit(lora_tensors.LoRARowsOfZeros, "lora", "init"),
    Exhibit(lora_tensors.LoRAStuckAtZero, "lora", "gradients"),
    Exhibit(lora_tensors.LoRAFrozenA, "lora", "params"),
    Exhibit(lora_tensors.LoRABufferA, "lora", "params"),
    Exhibit(lora_tensors.LoRATransposedStorage, "lora", "params"),
    Exhibit(lora_tensors.LoRAPlainTensorA, "lora", "params"),
    Exhibit(lora_tensors.LoRAUnlistedTensor, "lora", "params"),
    Exhibit(lora_tensors.LoRAListsATensorItIgnores, "lora", "influence"),
    Exhibit(lora_tensors.LoRASilentlyBf16, "lora", "params"),
    Exhibit(lora_tensors.LoRADtypeIgnored, "lora", "params"),
    Exhibit(lora_tensors.LoRABaseLeftTrainable, "lora", "params"),
    Exhibit(lora_tensors.LoRABiasLeftTrainable, "lora", "params"),
    Exhibit(lora_tensors.LoRABaseCastToFloat32, "lora", "params"),
    Exhibit(lora_calls.LoRAViewsItsInput, "lora", "forward", raises=True),
    Exhibit(lora_calls.LoRARestridesItsInput, "lora", "forward"),
    Exhibit(lora_calls.LoRAOnlyRows, "lora", "forward", raises=True),
    Exhibit(lora_calls.LoRASqueezesTheBatch, "lora", "forward"),
    Exhibit(lora_calls.LoRAMixesTheBatch, "lora", "forward"),
    Exhibit(lora_calls.LoRAFlattensTheOutput, "lora", "forward"),
    Exhibit(lora_calls.LoRAFailsOnAnEmptyBatch, "lora", "forward", raises=True),
    Exhibit(lora_calls.LoRADropoutInPlace, "lora", "forward"),
    Exhibit(lora_calls.LoRAScalesItsInputInPlace, "lora", "forward"),
    Exhibit(lora_calls.LoRAFloat32Output, "lora", "bf16"),
    Exhibit(lora_calls.LoRAComputesInFloat32, "lora", "forward"),
    Exhibit(lora_calls.LoRAComputesInBf16, "lora", "bf16"),
    Exhibit(lora_calls.LoRAUsesRoundedTensors, "lora", "bf16"),
    Exhibit(dora.DoRAScalesTheBias, "dora", "forward"),
    Exhibit(dora.DoRADropsTheOutputUnderneath, "dora", "forward"),
    Exhibit(dora.DoRABaseTermWithoutDropout, "dora", "forward"),
    Exhibit(dora.DoRANormNotDetached, "dora", "gradients"),
    Exhibit(dora.DoRANormOfTheUnscaledUpdate, "dora", "forward"),
    Exhibit(dora.DoRANormOfTheBase, "dora", "forward"),
    Exhibit(dora.DoRAKeepsTheFirstNorm, "dora", "forward"),
    Exhibit(dora.DoRAEpsilonInTheNorm, "dora", "forward"),
    Exhibit(dora.DoRAEpsilonOfTheLayer, "dora", "bf16"),
    Exhibit(dora.DoRANormInTheLayersDtype, "dora", "bf16"),
    Exhibit(dora.DoRANanAtAZeroRow, "dora", "forward"),
    Exhibit(dora.DoRAUpdateNotRescaled, "dora", "forward"),
    Exhibit(dora.DoRAIgnoresTheMagnitude, "dora", "influence"),
    Exhibit(dora.DoRADeadMagnitude, "dora", "gradients"),
    Exhibit(dora.DoRAMagnitudeOfOnes, "dora", "init"),
    Exhibit(dora.DoRAMagnitudeOfTheFrobeniusNorm, "dora", "init"),
    Exhibit(dora.DoRAColumnNorm, "dora", "params"),
    Exhibit(ia3.IA3GateBeforeTheBias, "ia3", "forward"),
    Exhibit(ia3.IA3GateOnTheInput, "ia3", "params"),
    Exhibit(ia3.IA3GateInBf16, "ia3", "bf16"),
    Exhibit(ia3.IA3GateAsDelta, "ia3", "init"),
    Exhibit(ia3.IA3NearOne, "ia3", "init"),
    Exhibit(ia3.IA3DeadGate, "ia3", "gradients"),
    Exhibit(ia3.IA3CutsTheInputGradient, "ia3", "gradients"),
    Exhibit(ia3.IA3OneGateForAll, "ia3", "params"),
    Exhibit(ia3.IA3UsesTheFirstGate, "ia3", "forward"),
    Exhibit(ia3.IA3SideByShape, "ia3", "forward"),
    Exhibit(ia3.IA3OffInTraining, "ia3", "forward"),
    Exhibit(ia3.IA3FFGateOnTheOutput, "ia3_ff", "params"),
    Exhibit(ia3.IA3FFGatesTheBias, "ia3_ff", "forward"),
    Exhibit(ia3.IA3FFGateInPlace, "ia3_ff", "forward"),
    Exhibit(ia3.IA3FFGateInPlaceBehindAutograd, "ia3_ff", "forward"),
    Exhibit(ia3.IA3FFFloat32Inside, "ia3_ff", "bf16", raises=True),
    Exhibit(ia3.IA3FFNormalised, "ia3_ff", "forward"),
    Exhibit(hra.HRAReversedOrder, "hra", "forward"),
    Exhibit(hra.HRASkipsTheLast, "hra", "forward"),
    Exhibit(hra.HRAProjectsOnce, "hra", "orthogonality"),
    Exhibit(hra.HRAEpsilonInTheLength, "hra", "forward"),
    Exhibit(hra.HRALengthDetached, "hra", "gradients"),
    Exhibit(hra.HRAIgnoresGramSchmidt, "hra", "forward"),
    Exhibit(hra.HRAGatedByZero, "hra", "gradients"),
    Exhibit(hra.HRAOnTheOutput, "hra", "params"),
    Exhibit(hra.HRAReflectsInTheLayersDtype, "hra", "bf16"),
    Exhibit(hra.HRAFanFromTheInput, "hra", "init"),
    Exhibit(hra.HRAUnpairedStart, "hra", "init"),
    Exhibit(hra.HRAHalvesInSequence, "hra", "init"),
    Exhibit(hra.HRAMirroredStart, "hra", "init"),
    Exhibit(hra.HRAUnitLengths, "hra", "init"),
    Exhibit(low_rank.PiSSAWithoutDivisionByS, "pissa", "init"),
    Exhibit(low_rank.PiSSAResidualOfUnroundedFactors, "pissa", "reconstruction"),
    Exhibit(low_rank.PiSSAKeepsTheWholeWeight, "pissa", "reconstruction"),
    Exhibit(low_rank.PiSSAOfTheSmallestValues, "pissa", "init"),
    Exhibit(low_rank.DeLoRAScalarNorm, "delora", "forward"),
    Exhibit(low_rank.DeLoRAZeroStrength, "delora", "gradients"),
    Exhibit(low_rank.DeLoRARandomB, "delora", "init"),
    Exhibit(low_rank.DeLoRANormAsParameter, "delora", "params"),
    Exhibit(low_rank.DeLoRANormNotClamped, "delora", "forward"),
    Exhibit(low_rank.EVAFreezesA, "eva", "params"),
    Exhibit(low_rank.EVANotCentred, "eva", "group_init"),
    Exhibit(low_rank.EVAOfTheFirstBatch, "eva", "group_init"),
    Exhibit(low_rank.EVACountsPadding, "eva", "init"),
    Exhibit(low_rank.ROADTurnsBack, "road", "forward"),
    Exhibit(low_rank.ROADLeavesTheBias, "road", "forward"),
    Exhibit(low_rank.ROADPairsNeighbours, "road", "forward"),
    Exhibit(antipasto.AntiPaSTOGainWithoutCoeff, "antipasto", "steering"),
    Exhibit(antipasto.AntiPaSTOCoeffOnTheGain, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOExponentialGain, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOIgnoresCalibration, "antipasto", "params"),
    Exhibit(antipasto.AntiPaSTOResidualOfUnroundedFactors, "antipasto", "reconstruction"),
    Exhibit(antipasto.AntiPaSTOCalibratesTheResidual, "antipasto", "group_init"),
    Exhibit(antipasto.AntiPaSTORotTurnsBack, "antipasto_rot", "forward"),
    Exhibit(antipasto.AntiPaSTORotFirstOrder, "antipasto_rot", "orthogonality"),
    Exhibit(antipasto.AntiPaSTORotTurnsAtEveryCoeff, "antipasto_rot", "steering"),
    Exhibit(antipasto.AntiPaSTORotDeltaAtZero, "antipasto_rot", "init"),
    Exhibit(antipasto.AntiPaSTOAblateAlphaNotClamped, "antipasto_ablate", "contraction"),
    Exhibit(antipasto.AntiPaSTOAblateColumnsNotOrthogonal, "antipasto_ablate", "contraction"),
    Exhibit(antipasto.AntiPaSTOAblateLengthForgotten, "antipasto_ablate", "contraction"),
    Exhibit(antipasto.AntiPaSTOArrowTransposedBlock, "antipasto_arrow", "forward"),
    Exhibit(antipasto.AntiPaSTOCorDAOfTheCovarianceItself, "antipasto_corda", "init"),
)

REWRITINGS: tuple[Rewriting, ...] = (
    # What exhibits are built on must be right, or it would not be their own bug that kills them.
    Rewriting(lora.LoRAInParts, "lora"),
    Rewriting(dora.DoRAInParts, "dora"),
    Rewriting(hra.HRAInParts, "hra"),
    Rewriting(lora_rewritten.LoRAByAddmm, "lora"),
    Rewriting(lora_rewritten.LoRAByEinsum, "lora"),
    Rewriting(lora_rewritten.LoRAWithItsOwnMask, "lora"),
    Rewriting(lora_rewritten.LoRATransposed, "lora"),
    Rewriting(lora_rewritten.LoRAInOneVector, "lora"),
    Rewriting(lora_rewritten.LoRAFromLinears, "lora"),
    Rewriting(lora_rewritten.LoRAByParametrize, "lora"),
    Rewriting(dora_rewritten.DoRAAsOneWeight, "dora"),
    Rewriting(dora_rewritten.DoRANormByExpansion, "dora"),
    Rewriting(dora_rewritten.DoRAByUnitRows, "dora"),
    Rewriting(ia3_rewritten.IA3InPlace, "ia3"),
    Rewriting(ia3_rewritten.IA3OnTheWeight, "ia3"),
    Rewriting(ia3_rewritten.IA3AsColumn, "ia3"),
    Rewriting(ia3_rewritten.IA3FFOnTheWeight, "ia3_ff"),
    Rewriting(hra_rewritten.HRAByTriangularSolve, "hra"),
    Rewriting(hra_rewritten.HRAAsMatrix, "hra"),
    Rewriting(hra_rewritten.HRAOfUnitColumns, "hra"),
)
