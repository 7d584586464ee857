"""A seeded fault with the check that must detect it, or a correct rewrite that must pass."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.nouns.finding import Severity


@dataclass(frozen=True)
class Seeded:
    """A wrong variant: the audited entry it stands in for, and the check that must kill it.

    ``raises``: the bug shows as an error. For any other seeded fault the check must find a difference, so that a slip
    in its code is not taken for the bug. ``fault``: which of ``FAULTS`` it stands for, if for one of them.
    """

    variant: type
    like: str
    killer: str
    severity: Severity = Severity.MUST_FIX
    raises: bool = False
    fault: str = ""
    before: bool = False
    """Written before the check that kills it, and without a look at that check's probes."""

    @property
    def name(self) -> str:
        return self.variant.__name__


@dataclass(frozen=True)
class Rewrite:
    """A correct variant in other words, and the audited entry it stands in for."""

    variant: type
    like: str

    @property
    def name(self) -> str:
        return self.variant.__name__


FAULTS = (
    "DoRA scales the bias",
    "DoRA does not detach the norm",
    "DoRA norm of the unscaled update",
    "DoRA base term without dropout",
    "DoRA magnitude never initialised",
    "HRA reflections in reverse order",
    "HRA gated by a zero scalar",
    "HRA fan-in wrong",
    "DeLoRA one norm in place of one per column",
    "DeLoRA strength starts at zero",
    "DeLoRA random B without frozen copies",
    "DeLoRA norm is a parameter",
    "EVA freezes A",
    "EVA not centred",
    "PiSSA without S / s",
    "PiSSA residual of unrounded factors",
    "IA3 feed-forward gate on the output",
    "IA3 gate at 1 in bfloat16",
    "alpha not divided by r",
    "alpha outside the decomposition",
    "rsLoRA ignored",
    "Kaiming's a is the scale",
    "fan-in taken from the rank",
    "no gradient reaches the layers below",
    "base weight left trainable",
    "a listed tensor is ignored",
    "a tensor is no parameter",
    "dropout ignored",
    "epsilon in a norm in bfloat16",
    "float32 output for bfloat16 input",
    "AntiPaSTO delta at exactly zero",
    "a rotation turns the other way",
    "calibration sees the residual model",
    "padding enters the statistics",
    "every gradient is zero",
    "tensors silently in bfloat16",
    "an option is silently ignored",
    "scale or magnitude not saved",
    "saved in eval, restored in train",
    "loading asks for calibration data",
    "loading rebuilds a plain SVD",
    "detach leaves W_res",
    "a second attach breaks the first",
    "a second attach breaks load",
    "a second attach breaks detach",
    "merge scales twice",
    "merge forgets the scale",
    "merge forgets the bias",
)
"""Faults that real implementations had."""
