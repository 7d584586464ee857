"""Seeded faults of the SVD-steering family."""

from __future__ import annotations

from proof.seeded.fault import Seeded
from proof.seeded.faults import antipasto, antipasto_ablate, antipasto_arrow, antipasto_corda, antipasto_rot

SEEDED_FAULTS: tuple[Seeded, ...] = (
    Seeded(antipasto.AntiPaSTOGainWithoutCoeff, "antipasto", "steering"),
    Seeded(antipasto.AntiPaSTOCoeffOnTheGain, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOExponentialGain, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOLinearGain, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOGainTurnedOver, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOGainAdded, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOIgnoresSuppressOnly, "antipasto", "forward", fault="an option is silently ignored"),
    Seeded(antipasto.AntiPaSTOSuppressIsDeadAtZero, "antipasto", "gradients"),
    Seeded(antipasto.AntiPaSTODeadGain, "antipasto", "gradients"),
    Seeded(antipasto.AntiPaSTOTrainsTheSpectrum, "antipasto", "params"),
    Seeded(antipasto.AntiPaSTOKeepsTheWholeWeight, "antipasto", "reconstruction"),
    Seeded(antipasto.AntiPaSTOResidualOfUnroundedFactors, "antipasto", "reconstruction"),
    Seeded(antipasto.AntiPaSTOIgnoresCalibration, "antipasto", "params", fault="an option is silently ignored"),
    Seeded(antipasto.AntiPaSTOChoosesAmongTheTop, "antipasto", "params"),
    Seeded(antipasto.AntiPaSTOChoosesTheLeast, "antipasto", "init"),
    Seeded(antipasto.AntiPaSTOOrderOfTheScores, "antipasto", "init"),
    Seeded(antipasto.AntiPaSTOScoresWithoutS, "antipasto", "init"),
    Seeded(antipasto.AntiPaSTOAlwaysRms, "antipasto", "init", fault="an option is silently ignored"),
    Seeded(antipasto.AntiPaSTOAlwaysMeanAbs, "antipasto", "init", fault="an option is silently ignored"),
    Seeded(antipasto.AntiPaSTOScoresCentred, "antipasto", "init"),
    Seeded(antipasto.AntiPaSTOSuppressesTheProduct, "antipasto", "forward"),
    Seeded(antipasto.AntiPaSTOIgnoresThePool, "antipasto", "init", fault="an option is silently ignored"),
    Seeded(
        antipasto.AntiPaSTOCalibratesTheResidual, "antipasto", "data_init", fault="calibration sees the residual model"
    ),
    Seeded(antipasto_arrow.AntiPaSTOArrowTransposedBlock, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowBlockWithoutIdentity, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowBlockNotSteered, "antipasto_arrow", "steering"),
    Seeded(antipasto_arrow.AntiPaSTOArrowBoundedBlock, "antipasto_arrow", "forward"),
    Seeded(
        antipasto_arrow.AntiPaSTOArrowIgnoresSuppressOnly,
        "antipasto_arrow",
        "forward",
        fault="an option is silently ignored",
    ),
    Seeded(antipasto_arrow.AntiPaSTOArrowSuppressesTheBlock, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowDiagonalBlock, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowBlockBeforeTheSpectrum, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowBlockOnTheLast, "antipasto_arrow", "forward"),
    Seeded(antipasto_arrow.AntiPaSTOArrowGainOnTheBlockToo, "antipasto_arrow", "params"),
    Seeded(antipasto_rot.AntiPaSTORotTurnsBack, "antipasto_rot", "forward", fault="a rotation turns the other way"),
    Seeded(
        antipasto_rot.AntiPaSTORotTurnsTheRightBasisBack,
        "antipasto_rot",
        "forward",
        fault="a rotation turns the other way",
    ),
    Seeded(
        antipasto_rot.AntiPaSTORotTurnsTheLeftBasisBack,
        "antipasto_rot",
        "forward",
        fault="a rotation turns the other way",
    ),
    Seeded(antipasto_rot.AntiPaSTORotOneRotationForBoth, "antipasto_rot", "influence"),
    Seeded(antipasto_rot.AntiPaSTORotFirstOrder, "antipasto_rot", "orthogonality"),
    Seeded(antipasto_rot.AntiPaSTORotDoubleAngle, "antipasto_rot", "forward"),
    Seeded(antipasto_rot.AntiPaSTORotByTheExponential, "antipasto_rot", "forward"),
    Seeded(antipasto_rot.AntiPaSTORotAngleNotBounded, "antipasto_rot", "forward"),
    Seeded(
        antipasto_rot.AntiPaSTORotBoundAlwaysHalf, "antipasto_rot", "forward", fault="an option is silently ignored"
    ),
    Seeded(antipasto_rot.AntiPaSTORotColumnByColumn, "antipasto_rot", "forward"),
    Seeded(antipasto_rot.AntiPaSTORotPairsAcrossBlocks, "antipasto_rot", "forward"),
    Seeded(antipasto_rot.AntiPaSTORotTurnsAtEveryCoeff, "antipasto_rot", "steering"),
    Seeded(antipasto_rot.AntiPaSTORotPoolsByRms, "antipasto_rot", "init"),
    Seeded(antipasto_rot.AntiPaSTORotShiftNotSteered, "antipasto_rot", "steering"),
    Seeded(antipasto_rot.AntiPaSTORotShiftIsAFactor, "antipasto_rot", "forward"),
    Seeded(antipasto_rot.AntiPaSTORotInBf16, "antipasto_rot", "low_precision"),
    Seeded(antipasto_rot.AntiPaSTORotDeltaAtZero, "antipasto_rot", "init", fault="AntiPaSTO delta at exactly zero"),
    Seeded(antipasto_rot.AntiPaSTORotDeltaAboutZero, "antipasto_rot", "init"),
    Seeded(antipasto_rot.AntiPaSTORotDeltaWithoutSpread, "antipasto_rot", "init"),
    Seeded(antipasto_ablate.AntiPaSTOAblateAlphaNotClamped, "antipasto_ablate", "contraction"),
    Seeded(antipasto_ablate.AntiPaSTOAblateAlphaThroughSigmoid, "antipasto_ablate", "forward"),
    Seeded(antipasto_ablate.AntiPaSTOAblateGradientPastTheClamp, "antipasto_ablate", "gradients"),
    Seeded(
        antipasto_ablate.AntiPaSTOAblateEpsilonIgnored,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Seeded(
        antipasto_ablate.AntiPaSTOAblateAlwaysTheSameStart,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Seeded(antipasto_ablate.AntiPaSTOAblateColumnsNotOrthogonal, "antipasto_ablate", "contraction"),
    Seeded(antipasto_ablate.AntiPaSTOAblateLengthForgotten, "antipasto_ablate", "contraction"),
    Seeded(antipasto_ablate.AntiPaSTOAblateWithoutEpsilon, "antipasto_ablate", "forward"),
    Seeded(antipasto_ablate.AntiPaSTOAblateRemovesTwice, "antipasto_ablate", "contraction"),
    Seeded(antipasto_ablate.AntiPaSTOAblateFirstDirectionOnly, "antipasto_ablate", "forward"),
    Seeded(antipasto_ablate.AntiPaSTOAblateOneShareForAll, "antipasto_ablate", "forward"),
    Seeded(antipasto_ablate.AntiPaSTOAblateOnTheInput, "antipasto_ablate", "forward"),
    Seeded(antipasto_ablate.AntiPaSTOAblateAlwaysAtWork, "antipasto_ablate", "steering"),
    Seeded(
        antipasto_ablate.AntiPaSTOAblateIgnoresOrientation,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Seeded(antipasto_ablate.AntiPaSTOAblateStartsAtZero, "antipasto_ablate", "init"),
    Seeded(antipasto_ablate.AntiPaSTOAblateLongDirections, "antipasto_ablate", "init"),
    Seeded(antipasto_corda.AntiPaSTOCorDAOfTheCovarianceItself, "antipasto_corda", "init"),
    Seeded(antipasto_corda.AntiPaSTOCorDACentred, "antipasto_corda", "init"),
    Seeded(antipasto_corda.AntiPaSTOCorDASummed, "antipasto_corda", "init"),
    Seeded(antipasto_corda.AntiPaSTOCorDAOfTheLastBatch, "antipasto_corda", "init"),
    Seeded(
        antipasto_corda.AntiPaSTOCorDAEpsilonIgnored, "antipasto_corda", "init", fault="an option is silently ignored"
    ),
    Seeded(antipasto_corda.AntiPaSTOCorDANotUnwound, "antipasto_corda", "init"),
    Seeded(
        antipasto_corda.AntiPaSTOCorDAUnorientedBasis, "antipasto_corda", "init", fault="an option is silently ignored"
    ),
    Seeded(antipasto_corda.AntiPaSTOCorDAGainWithoutCoeff, "antipasto_corda", "steering"),
    Seeded(antipasto_corda.AntiPaSTOCorDALinearGain, "antipasto_corda", "forward"),
    Seeded(
        antipasto_corda.AntiPaSTOCorDACountsPadding, "antipasto_corda", "init", fault="padding enters the statistics"
    ),
    Seeded(
        antipasto_corda.AntiPaSTOCorDACalibratesTheResidual,
        "antipasto_corda",
        "data_init",
        fault="calibration sees the residual model",
    ),
)
