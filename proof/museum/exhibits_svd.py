"""Exhibits of the SVD-steering family."""

from __future__ import annotations

from proof.museum.exhibit import Exhibit
from proof.museum.wrong import antipasto, antipasto_ablate, antipasto_arrow, antipasto_corda, antipasto_rot

EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(antipasto.AntiPaSTOGainWithoutCoeff, "antipasto", "steering"),
    Exhibit(antipasto.AntiPaSTOCoeffOnTheGain, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOExponentialGain, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOLinearGain, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOGainTurnedOver, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOGainAdded, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOIgnoresSuppressOnly, "antipasto", "forward", fault="an option is silently ignored"),
    Exhibit(antipasto.AntiPaSTOSuppressIsDeadAtZero, "antipasto", "gradients"),
    Exhibit(antipasto.AntiPaSTODeadGain, "antipasto", "gradients"),
    Exhibit(antipasto.AntiPaSTOTrainsTheSpectrum, "antipasto", "params"),
    Exhibit(antipasto.AntiPaSTOKeepsTheWholeWeight, "antipasto", "reconstruction"),
    Exhibit(antipasto.AntiPaSTOResidualOfUnroundedFactors, "antipasto", "reconstruction"),
    Exhibit(antipasto.AntiPaSTOIgnoresCalibration, "antipasto", "params", fault="an option is silently ignored"),
    Exhibit(antipasto.AntiPaSTOChoosesAmongTheTop, "antipasto", "params"),
    Exhibit(antipasto.AntiPaSTOChoosesTheLeast, "antipasto", "init"),
    Exhibit(antipasto.AntiPaSTOOrderOfTheScores, "antipasto", "init"),
    Exhibit(antipasto.AntiPaSTOScoresWithoutS, "antipasto", "init"),
    Exhibit(antipasto.AntiPaSTOAlwaysRms, "antipasto", "init", fault="an option is silently ignored"),
    Exhibit(antipasto.AntiPaSTOAlwaysMeanAbs, "antipasto", "init", fault="an option is silently ignored"),
    Exhibit(antipasto.AntiPaSTOScoresCentred, "antipasto", "init"),
    Exhibit(antipasto.AntiPaSTOSuppressesTheProduct, "antipasto", "forward"),
    Exhibit(antipasto.AntiPaSTOIgnoresThePool, "antipasto", "init", fault="an option is silently ignored"),
    Exhibit(
        antipasto.AntiPaSTOCalibratesTheResidual, "antipasto", "group_init", fault="calibration sees the residual model"
    ),
    Exhibit(antipasto_arrow.AntiPaSTOArrowTransposedBlock, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowBlockWithoutIdentity, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowBlockNotSteered, "antipasto_arrow", "steering"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowBoundedBlock, "antipasto_arrow", "forward"),
    Exhibit(
        antipasto_arrow.AntiPaSTOArrowIgnoresSuppressOnly,
        "antipasto_arrow",
        "forward",
        fault="an option is silently ignored",
    ),
    Exhibit(antipasto_arrow.AntiPaSTOArrowSuppressesTheBlock, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowDiagonalBlock, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowBlockBeforeTheSpectrum, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowBlockOnTheLast, "antipasto_arrow", "forward"),
    Exhibit(antipasto_arrow.AntiPaSTOArrowGainOnTheBlockToo, "antipasto_arrow", "params"),
    Exhibit(antipasto_rot.AntiPaSTORotTurnsBack, "antipasto_rot", "forward", fault="a rotation turns the other way"),
    Exhibit(
        antipasto_rot.AntiPaSTORotTurnsTheRightBasisBack,
        "antipasto_rot",
        "forward",
        fault="a rotation turns the other way",
    ),
    Exhibit(
        antipasto_rot.AntiPaSTORotTurnsTheLeftBasisBack,
        "antipasto_rot",
        "forward",
        fault="a rotation turns the other way",
    ),
    Exhibit(antipasto_rot.AntiPaSTORotOneRotationForBoth, "antipasto_rot", "influence"),
    Exhibit(antipasto_rot.AntiPaSTORotFirstOrder, "antipasto_rot", "orthogonality"),
    Exhibit(antipasto_rot.AntiPaSTORotDoubleAngle, "antipasto_rot", "forward"),
    Exhibit(antipasto_rot.AntiPaSTORotByTheExponential, "antipasto_rot", "forward"),
    Exhibit(antipasto_rot.AntiPaSTORotAngleNotBounded, "antipasto_rot", "forward"),
    Exhibit(
        antipasto_rot.AntiPaSTORotBoundAlwaysHalf, "antipasto_rot", "forward", fault="an option is silently ignored"
    ),
    Exhibit(antipasto_rot.AntiPaSTORotColumnByColumn, "antipasto_rot", "forward"),
    Exhibit(antipasto_rot.AntiPaSTORotPairsAcrossBlocks, "antipasto_rot", "forward"),
    Exhibit(antipasto_rot.AntiPaSTORotTurnsAtEveryCoeff, "antipasto_rot", "steering"),
    Exhibit(antipasto_rot.AntiPaSTORotPoolsByRms, "antipasto_rot", "init"),
    Exhibit(antipasto_rot.AntiPaSTORotShiftNotSteered, "antipasto_rot", "steering"),
    Exhibit(antipasto_rot.AntiPaSTORotShiftIsAFactor, "antipasto_rot", "forward"),
    Exhibit(antipasto_rot.AntiPaSTORotInBf16, "antipasto_rot", "bf16"),
    Exhibit(antipasto_rot.AntiPaSTORotDeltaAtZero, "antipasto_rot", "init", fault="AntiPaSTO delta at exactly zero"),
    Exhibit(antipasto_rot.AntiPaSTORotDeltaAboutZero, "antipasto_rot", "init"),
    Exhibit(antipasto_rot.AntiPaSTORotDeltaWithoutSpread, "antipasto_rot", "init"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateAlphaNotClamped, "antipasto_ablate", "contraction"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateAlphaThroughSigmoid, "antipasto_ablate", "forward"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateGradientPastTheClamp, "antipasto_ablate", "gradients"),
    Exhibit(
        antipasto_ablate.AntiPaSTOAblateEpsilonIgnored,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Exhibit(
        antipasto_ablate.AntiPaSTOAblateAlwaysTheSameStart,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Exhibit(antipasto_ablate.AntiPaSTOAblateColumnsNotOrthogonal, "antipasto_ablate", "contraction"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateLengthForgotten, "antipasto_ablate", "contraction"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateWithoutEpsilon, "antipasto_ablate", "forward"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateRemovesTwice, "antipasto_ablate", "contraction"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateFirstDirectionOnly, "antipasto_ablate", "forward"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateOneShareForAll, "antipasto_ablate", "forward"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateOnTheInput, "antipasto_ablate", "forward"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateAlwaysAtWork, "antipasto_ablate", "steering"),
    Exhibit(
        antipasto_ablate.AntiPaSTOAblateIgnoresOrientation,
        "antipasto_ablate",
        "init",
        fault="an option is silently ignored",
    ),
    Exhibit(antipasto_ablate.AntiPaSTOAblateStartsAtZero, "antipasto_ablate", "init"),
    Exhibit(antipasto_ablate.AntiPaSTOAblateLongDirections, "antipasto_ablate", "init"),
    Exhibit(antipasto_corda.AntiPaSTOCorDAOfTheCovarianceItself, "antipasto_corda", "init"),
    Exhibit(antipasto_corda.AntiPaSTOCorDACentred, "antipasto_corda", "init"),
    Exhibit(antipasto_corda.AntiPaSTOCorDASummed, "antipasto_corda", "init"),
    Exhibit(antipasto_corda.AntiPaSTOCorDAOfTheLastBatch, "antipasto_corda", "init"),
    Exhibit(
        antipasto_corda.AntiPaSTOCorDAEpsilonIgnored, "antipasto_corda", "init", fault="an option is silently ignored"
    ),
    Exhibit(antipasto_corda.AntiPaSTOCorDANotUnwound, "antipasto_corda", "init"),
    Exhibit(
        antipasto_corda.AntiPaSTOCorDAUnorientedBasis, "antipasto_corda", "init", fault="an option is silently ignored"
    ),
    Exhibit(antipasto_corda.AntiPaSTOCorDAGainWithoutCoeff, "antipasto_corda", "steering"),
    Exhibit(antipasto_corda.AntiPaSTOCorDALinearGain, "antipasto_corda", "forward"),
    Exhibit(
        antipasto_corda.AntiPaSTOCorDACountsPadding, "antipasto_corda", "init", fault="padding enters the statistics"
    ),
    Exhibit(
        antipasto_corda.AntiPaSTOCorDACalibratesTheResidual,
        "antipasto_corda",
        "group_init",
        fault="calibration sees the residual model",
    ),
)
